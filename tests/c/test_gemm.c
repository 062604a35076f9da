#include "check.h"
#include "ops/cpu/gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Exact in bfloat16. */
static km_real value(size_t i)
{
    return (km_real)((double)(i * 2654435761u % 257) / 128 - 1);
}

/* Buffers of exactly the needed size, so that AddressSanitizer and valgrind see the first step beyond. */
static void compare(const km_gemm_kernel *kernel, int M, int N, int K, int at, int bt, km_real alpha, km_real beta, int pad)
{
    int lda = (at ? M : K) + pad, ldb = (bt ? K : N) + pad, ldy = N + pad;
    size_t na = (size_t)((at ? K : M) - 1) * (size_t)lda + (size_t)(at ? M : K);
    size_t nb = (size_t)((bt ? N : K) - 1) * (size_t)ldb + (size_t)(bt ? K : N);
    size_t ny = (size_t)(M - 1) * (size_t)ldy + (size_t)N;
    km_real *a = malloc(na * sizeof *a), *b = malloc(nb * sizeof *b), *y = malloc(ny * sizeof *y);
    CHECK(a != NULL && b != NULL && y != NULL);
    for (size_t i = 0; i < na; i++)
        a[i] = value(i);
    for (size_t i = 0; i < nb; i++)
        b[i] = value(i + 77);
    for (size_t i = 0; i < ny; i++)
        y[i] = value(i + 555);
    km_real *packed = NULL;
    if ((M + N) % 2 == 0) {
        packed = aligned_alloc(64, (km_gemm_packed_size(N, K) * sizeof *packed + 63) / 64 * 64);
        CHECK(packed != NULL);
        kernel->pack(packed, b, ldb, bt, N, K);
    }
    kernel->multiply(y, ldy, a, lda, at, b, ldb, bt, M, N, K, alpha, beta, NULL, packed);
    free(packed);
    double worst = 0;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < ldy && (size_t)i * (size_t)ldy + (size_t)j < ny; j++) {
            size_t place = (size_t)i * (size_t)ldy + (size_t)j;
            double expected = value(place + 555);
            if (j < N) {
                double sum = 0;
                for (int k = 0; k < K; k++)
                    sum += (double)(at ? a[(size_t)k * (size_t)lda + (size_t)i] : a[(size_t)i * (size_t)lda + (size_t)k]) *
                           (double)(bt ? b[(size_t)j * (size_t)ldb + (size_t)k] : b[(size_t)k * (size_t)ldb + (size_t)j]);
                expected = (double)alpha * sum + (double)beta * expected;
            }
            worst = fmax(worst, fabs((double)y[place] - expected));
        }
    CHECK(worst < (sizeof(km_real) == 4 ? 1e-4 : 1e-12));
    free(a);
    free(b);
    free(y);
}

static void test(const km_gemm_kernel *kernel)
{
    static const int sizes[] = {1, 3, 4, 7, 14, 16, 17, 33, 65};
    for (int m = 0; m < 9; m++)
        for (int n = 0; n < 9; n++)
            for (int transposed = 0; transposed < 4; transposed++)
                compare(kernel, sizes[m], sizes[n], 1 + (m * 7 + n) % 11, transposed & 1, transposed >> 1, (km_real)0.5,
                        (km_real)(n % 3), m % 2);
    for (int transposed = 0; transposed < 4; transposed++) {
        compare(kernel, 5, 520, 259, transposed & 1, transposed >> 1, 1, 1, 0);
        compare(kernel, 29, 31, 513, transposed & 1, transposed >> 1, 1, 0, 3);
        compare(kernel, 5, 1601, 511, transposed & 1, transposed >> 1, 1, 0, 0);    /* two strips of a packed op(b) */
    }
    km_real y = 3;
    const km_real bias = 5;
    kernel->multiply(&y, 1, NULL, 0, 0, NULL, 0, 0, 1, 1, 0, 1, 2, NULL, NULL);
    CHECK(y == 6);
    kernel->multiply(&y, 1, NULL, 0, 0, NULL, 0, 0, 1, 1, 0, 1, 0, &bias, NULL);
    CHECK(y == 5);
}

int main(void)
{
    static const km_gemm_kernel used[] = {{km_gemm_full, km_gemm_pack}, {km_gemm_full_bf16, km_gemm_pack_bf16}};
    for (int precision = KM_FLOAT32; precision <= KM_BF16; precision++) {
        test(&used[precision]);
        for (int isa = 0; isa < KM_ISA_COUNT; isa++)
            if (km_gemm_choose((km_isa)isa, (km_precision)precision) != NULL)
                test(km_gemm_choose((km_isa)isa, (km_precision)precision));
    }
    CHECK(strlen(km_gemm_library()) > 0 && km_gemm_details() != NULL);
    return check_result();
}
