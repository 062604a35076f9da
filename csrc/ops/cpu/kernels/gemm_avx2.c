#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define GEMM km_gemm_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define BYTES 32
#define ROWS 6
#ifdef KM_DOUBLE
#define SPLAT(x) ((vector)_mm256_set1_pd(x))
#define MADD(a, b, c) ((vector)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define SPLAT(x) ((vector)_mm256_set1_ps(x))
#define MADD(a, b, c) ((vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#endif
#include "ops/cpu/kernels/gemm_blocked.h"

#endif
