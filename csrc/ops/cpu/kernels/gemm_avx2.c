#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <stddef.h>

#ifndef GEMM
#define GEMM km_gemm_avx2
#endif
#define TARGET __attribute__((target("avx2,fma")))
#define BYTES 32
#define ROWS 6
#ifdef KM_DOUBLE
#define SPLAT(x) ((vector)_mm256_set1_pd(x))
#define MADD(a, b, c) ((vector)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define SPLAT(x) ((vector)_mm256_set1_ps(x))
#define MADD(a, b, c) ((vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define TRANSPOSE transpose

/* 8 x 8: within pairs of rows, within fours, then the halves. */
TARGET static inline void transpose(float *to, size_t to_pitch, const float *from, size_t from_pitch)
{
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(from + (size_t)i * from_pitch);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0xEE);
        }
    for (int j = 0; j < 4; j++) {
        _mm256_storeu_ps(to + (size_t)j * to_pitch, _mm256_permute2f128_ps(r[j], r[4 + j], 0x20));
        _mm256_storeu_ps(to + (size_t)(4 + j) * to_pitch, _mm256_permute2f128_ps(r[j], r[4 + j], 0x31));
    }
}
#endif
#include "ops/cpu/kernels/gemm_blocked.h"

#endif
