/* For any processor: vectors of 16 bytes, which every 64-bit one has. */
#ifndef GEMM
#define GEMM km_gemm_plain
#endif
#define TARGET
#define BYTES 16
#define ROWS 4
#define SPLAT(x) ((vector){0} + (x))
#ifdef __aarch64__
#include <arm_neon.h>
#ifdef KM_DOUBLE
#define MADD(a, b, c) ((vector)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#else
#define MADD(a, b, c) ((vector)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#endif
#else
#define MADD(a, b, c) ((a) * (b) + (c))
#endif
#if defined(__SSE__) && !defined(KM_DOUBLE)
#include <xmmintrin.h>
#define TRANSPOSE(to, to_pitch, from, from_pitch)                                               \
    do {                                                                                        \
        __m128 r0 = _mm_loadu_ps(from), r1 = _mm_loadu_ps((from) + (from_pitch));               \
        __m128 r2 = _mm_loadu_ps((from) + 2 * (from_pitch)), r3 = _mm_loadu_ps((from) + 3 * (from_pitch)); \
        _MM_TRANSPOSE4_PS(r0, r1, r2, r3);                                                      \
        _mm_storeu_ps(to, r0);                                                                  \
        _mm_storeu_ps((to) + (to_pitch), r1);                                                   \
        _mm_storeu_ps((to) + 2 * (to_pitch), r2);                                               \
        _mm_storeu_ps((to) + 3 * (to_pitch), r3);                                               \
    } while (0)
#endif
#include "ops/cpu/kernels/gemm_blocked.h"
