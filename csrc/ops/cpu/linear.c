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

void km_linear_forward(km_real *y, const km_real *x, const km_real *w, const km_real *bias, int T, int N, int K)
{
    km_gemm_full(y, N, x, K, 0, w, K, 1, T, N, K, 1, 0, bias, NULL);
}

void km_linear_backward(km_real *dx, km_real *dw, km_real *dbias, const km_real *dy, const km_real *x,
                        const km_real *w, int T, int N, int K, int add)
{
    if (dx != NULL)
        km_gemm(dx, K, dy, N, 0, w, K, 0, T, K, N, 1, add ? 1 : 0);
    if (dw != NULL)
        km_gemm(dw, K, dy, N, 1, x, K, 0, N, K, T, 1, 1);
    if (dbias != NULL)
        sum_rows(dbias, dy, T, N);
}
