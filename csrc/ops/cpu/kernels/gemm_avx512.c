#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <stddef.h>

#ifndef GEMM
#define GEMM km_gemm_avx512
#endif
#define TARGET __attribute__((target("avx512f,fma")))
#define BYTES 64
#ifdef __SANITIZE_ADDRESS__
#define ROWS 4      /* the checks make every unrolled tile huge; the logic is the same */
#else
#define ROWS 14
#endif
#ifdef KM_DOUBLE
#define SPLAT(x) ((vector)_mm512_set1_pd(x))
#define MADD(a, b, c) ((vector)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#else
#define SPLAT(x) ((vector)_mm512_set1_ps(x))
#define MADD(a, b, c) ((vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "ops/cpu/kernels/transpose_avx512.h"
#define TRANSPOSE transpose
#endif
#include "ops/cpu/kernels/gemm_blocked.h"

#endif
