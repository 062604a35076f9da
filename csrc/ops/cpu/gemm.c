#include "ops/cpu/gemm.h"

km_gemm_function *km_gemm_kernel(km_isa isa)
{
    if (!km_isa_has(isa))
        return NULL;
    switch (isa) {
#if defined(__x86_64__) && defined(__GNUC__)
    case KM_ISA_AVX512: return km_gemm_avx512;
    case KM_ISA_AVX2: return km_gemm_avx2;
#endif
    default: return km_gemm_plain;
    }
}

#ifdef KM_BLAS_BUILTIN

const char *km_gemm_library(void)
{
    return "builtin";
}

const char *km_gemm_details(void)
{
    return "";
}

void km_gemm(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
             int b_transposed, int M, int N, int K, km_real alpha, km_real beta)
{
    km_gemm_kernel(km_isa_get())(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta);
}

#else

#include <pthread.h>

/* The C interface of BLAS as its authors wrote it down; enumerations pass as int. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

#ifdef KM_BLAS_OPENBLAS
#define BLAS(name) scipy_##name
#define OPTIONAL
#else
#define BLAS(name) name
#define OPTIONAL __attribute__((weak))      /* only OpenBLAS has them */
#endif

#ifdef KM_DOUBLE
#define BLAS_GEMM BLAS(cblas_dgemm)
#else
#define BLAS_GEMM BLAS(cblas_sgemm)
#endif

void BLAS_GEMM(int order, int transpose_a, int transpose_b, int m, int n, int k, km_real alpha, const km_real *a,
               int lda, const km_real *b, int ldb, km_real beta, km_real *c, int ldc);
OPTIONAL void BLAS(openblas_set_num_threads)(int threads);
OPTIONAL const char *BLAS(openblas_get_config)(void);

const char *km_gemm_library(void)
{
#ifdef KM_BLAS_OPENBLAS
    return "openblas";
#else
    return "system";
#endif
}

const char *km_gemm_details(void)
{
#ifdef KM_BLAS_SYSTEM
    if (openblas_get_config == NULL)
        return "";
#endif
    return BLAS(openblas_get_config)();
}

/* Operations are serial: threads are ours. The bundled OpenBLAS is a private copy; a system's OpenBLAS is
 * shared with the rest of the process and is left alone until the first product.                          */
static void use_one_thread(void)
{
#ifdef KM_BLAS_SYSTEM
    if (openblas_set_num_threads == NULL)
        return;
#endif
    BLAS(openblas_set_num_threads)(1);
}

void km_gemm(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
             int b_transposed, int M, int N, int K, km_real alpha, km_real beta)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (M <= 0 || N <= 0 || K <= 0) {       /* BLAS complains about the strides of empty matrices */
        km_gemm_plain(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta);
        return;
    }
    pthread_once(&once, use_one_thread);
    BLAS_GEMM(ROW_MAJOR, a_transposed ? TRANSPOSE : NO_TRANSPOSE, b_transposed ? TRANSPOSE : NO_TRANSPOSE, M, N, K,
              alpha, a, lda, b, ldb, beta, y, ldy);
}

#endif
