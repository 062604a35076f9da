#include "ops/ops.h"
void km_gemm(km_real *y, int ldy, const km_real *a, int lda, int at, const km_real *b, int ldb, int bt, int M, int N, int K, km_real alpha, km_real beta)
{
    for (int i = 0; i < M; i++) for (int j = 0; j < N; j++) {
        double s = 0;
        for (int k = 0; k < K; k++) s += (double)(at ? a[(size_t)k*lda+i] : a[(size_t)i*lda+k]) * (bt ? b[(size_t)j*ldb+k] : b[(size_t)k*ldb+j]);
        y[(size_t)i*ldy+j] = (km_real)(alpha*s + (beta == 0 ? 0 : beta*y[(size_t)i*ldy+j]));
    }
}
