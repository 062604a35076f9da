#include "ops/cpu/gemm.h"

KM_VECTOR static void sum_rows(km_real *dbias, const km_real *dy, int T, int N)
{
    int t = 0;
    for (; t + 4 <= T; t += 4)      /* four rows while dbias is in registers */
        for (int n = 0; n < N; n++) {
            const km_real *d = dy + (size_t)t * N + n;
            dbias[n] = dbias[n] + d[0] + d[N] + d[2 * (size_t)N] + d[3 * (size_t)N];
        }
    for (; t < T; t++)
        for (int n = 0; n < N; n++)
            dbias[n] += dy[(size_t)t * N + n];
}

static void parameter_gradients(km_real *dw, km_real *dbias, const km_real *dy, const km_real *x, int T, int N, int K)
{
    if (dw != NULL)
        km_gemm(dw, K, dy, N, 1, x, K, 0, N, K, T, 1, 1);
    if (dbias != NULL)
        sum_rows(dbias, dy, T, N);
}

void km_linear_forward(km_real *y, const km_real *x, const km_real *w, const km_real *bias, int T, int N, int K)
{
    km_gemm_full(y, N, x, K, 0, w, K, 1, T, N, K, 1, 0, bias, NULL);
}

void km_linear_backward(km_real *dx, km_real *dw, km_real *dbias, const km_real *dy, const km_real *x,
                        const km_real *w, int T, int N, int K, int add)
{
    if (dx != NULL)
        km_gemm(dx, K, dy, N, 0, w, K, 0, T, K, N, 1, add ? 1 : 0);
    parameter_gradients(dw, dbias, dy, x, T, N, K);
}

size_t km_weight_size(int N, int K)
{
    size_t forward = km_gemm_packed_size(N, K), backward = km_gemm_packed_size(K, N);
    return forward > backward ? forward : backward;
}

void km_weight_pack(km_real *packed, const km_real *w, int N, int K, int backward)
{
    if (backward)
        km_gemm_pack(packed, w, K, 0, K, N);
    else
        km_gemm_pack(packed, w, K, 1, N, K);
}

void km_packed_forward(km_real *y, const km_real *x, const km_real *packed, const km_real *bias, int T, int N, int K)
{
    km_gemm_full(y, N, x, K, 0, NULL, 0, 1, T, N, K, 1, 0, bias, packed);
}

void km_packed_backward(km_real *dx, km_real *dw, km_real *dbias, const km_real *dy, const km_real *x,
                        const km_real *packed, int T, int N, int K, int add)
{
    if (dx != NULL)
        km_gemm_full(dx, K, dy, N, 0, NULL, 0, 0, T, K, N, 1, add ? 1 : 0, NULL, packed);
    parameter_gradients(dw, dbias, dy, x, T, N, K);
}
