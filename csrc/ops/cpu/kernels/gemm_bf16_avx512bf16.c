/* Products in bfloat16: vdpbf16ps adds two of them to each of 16 float sums, the odd one first. */
#include "core/isa.h"
#include "core/real.h"

#if defined(KM_AVX512BF16) && !defined(KM_DOUBLE)

#include <immintrin.h>
#include <stddef.h>

#define GEMM km_gemm_bf16_avx512bf16
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,fma")))
#define BYTES 64
#ifdef __SANITIZE_ADDRESS__
#define ROWS 4
#else
#define ROWS 14
#endif
#define BF16 1
#define PAIRS 1
#define SPLAT(x) ((vector)_mm512_set1_ps(x))
#define MADD(a, b, c) ((vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define SPLAT_PAIR(x) ((elements)_mm512_set1_epi32((int)(x)))
#define MADD_PAIR(a, b, c) ((vector)_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#include "ops/cpu/kernels/transpose_avx512.h"
#define TRANSPOSE transpose

/* n numbers, pairs of which become one element; a last one alone has 0 beside it. */
TARGET static inline void copy_along(uint32_t *to, const float *from, int n)
{
    int i = 0;
    for (; i + 32 <= n; i += 32)
        _mm512_storeu_si512(to + i / 2,
                            (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i)));
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(to + i / 2), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + i)));
    if (i < n) {
        __m512 rest = _mm512_maskz_loadu_ps((__mmask16)((1u << (n - i)) - 1), from + i);
        __mmask8 pairs = (__mmask8)((1u << ((n - i + 1) / 2)) - 1);
        _mm256_mask_storeu_epi32(to + i / 2, pairs, (__m256i)_mm512_cvtneps_pbh(rest));
    }
}

/* Rows 2 k and 2 k + 1 of `width` numbers become row k of as many elements. */
TARGET static inline __attribute__((always_inline)) void copy_across(uint32_t *to, size_t to_pitch, const float *from,
                                                                     size_t from_pitch, int rows, int width)
{
    for (int k = 0; k < rows; k += 2, from += 2 * from_pitch, to += to_pitch)
        for (int c = 0; c < width; c += 16) {
            __mmask16 mask = width - c < 16 ? (__mmask16)((1u << (width - c)) - 1) : (__mmask16)0xFFFF;
            __mmask16 second = k + 1 < rows ? mask : 0;
            __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from + c)));
            __m512i high = _mm512_cvtepu16_epi32(
                (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(second, from + from_pitch + c)));
            _mm512_mask_storeu_epi32(to + c, mask, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
}
#include "ops/cpu/kernels/gemm_blocked.h"

#endif
