/* A linear map whose weights are in the product's own order. */
#include "ops/cpu/gemm.h"

size_t km_packed_size(int N, int K)
{
    size_t forward = km_gemm_packed_size(N, K), backward = km_gemm_packed_size(K, N);
    return forward > backward ? forward : backward;
}

void km_packed_weight(km_real *packed, const km_real *w, int N, int K, int backward)
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
    km_linear_backward(NULL, dw, dbias, dy, x, NULL, T, N, K, 0);
}
