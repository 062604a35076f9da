#include "ops/cpu/gemm.h"

#include "ops/cpu/bf16.h"

#include <stdatomic.h>
#include <unistd.h>

_Thread_local unsigned char km_gemm_space[(144 << 10) * sizeof(km_real)] __attribute__((aligned(64)));

int km_gemm_resident(void)
{
    static atomic_int resident;     /* every thread that finds 0 computes the same value */
    int bytes = atomic_load_explicit(&resident, memory_order_relaxed);
    if (bytes == 0) {
        long cache = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
        cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        /* Not told: the smallest of usual ones. More than 2 MiB are shared by several cores. */
        cache = cache < 256 << 10 ? 256 << 10 : cache > 2 << 20 ? 2 << 20 : cache;
        bytes = (int)(cache / 4 * 3);
        atomic_store_explicit(&resident, bytes, memory_order_relaxed);
    }
    return bytes;
}

const km_gemm_kernel *km_gemm_choose(km_isa isa, km_precision precision)
{
    int bf16 = precision == KM_BF16;
    if (!km_isa_has(isa))
        return NULL;
    switch (isa) {
#if defined(KM_AVX512BF16) && !defined(KM_DOUBLE)
    case KM_ISA_AVX512BF16: return bf16 ? &km_gemm_bf16_avx512bf16 : &km_gemm_avx512;
#else
    case KM_ISA_AVX512BF16:
#endif
#if defined(__x86_64__) && defined(__GNUC__)
    case KM_ISA_AVX512: return bf16 ? &km_gemm_bf16_avx512 : &km_gemm_avx512;
    case KM_ISA_AVX2: return bf16 ? &km_gemm_bf16_avx2 : &km_gemm_avx2;
#endif
    default: return bf16 ? &km_gemm_bf16_plain : &km_gemm_plain;
    }
}

void km_gemm_full_bf16(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
                       int b_transposed, int M, int N, int K, km_real alpha, km_real beta, const km_real *bias,
                       const void *packed)
{
    km_gemm_choose(km_isa_get(), KM_BF16)
        ->multiply(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta, bias, packed);
}

void km_gemm_pack_bf16(void *packed, const km_real *b, int ldb, int b_transposed, int N, int K)
{
    km_gemm_choose(km_isa_get(), KM_BF16)->pack(packed, b, ldb, b_transposed, N, K);
}

void km_gemm_bf16(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
                  int b_transposed, int M, int N, int K, km_real alpha, km_real beta)
{
    km_gemm_full_bf16(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta, NULL, NULL);
}

void km_gemm(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
             int b_transposed, int M, int N, int K, km_real alpha, km_real beta)
{
    km_gemm_full(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta, NULL, NULL);
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

void km_gemm_full(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
                  int b_transposed, int M, int N, int K, km_real alpha, km_real beta, const km_real *bias,
                  const void *packed)
{
    km_gemm_choose(km_isa_get(), KM_FLOAT32)
        ->multiply(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta, bias, packed);
}

void km_gemm_pack(void *packed, const km_real *b, int ldb, int b_transposed, int N, int K)
{
    km_gemm_choose(km_isa_get(), KM_FLOAT32)->pack(packed, b, ldb, b_transposed, N, K);
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

void km_gemm_full(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
                  int b_transposed, int M, int N, int K, km_real alpha, km_real beta, const km_real *bias,
                  const void *packed)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (M <= 0 || N <= 0 || K <= 0) {       /* BLAS complains about the strides of empty matrices */
        km_gemm_plain.multiply(y, ldy, a, lda, a_transposed, b, ldb, b_transposed, M, N, K, alpha, beta, bias, NULL);
        return;
    }
    pthread_once(&once, use_one_thread);
    if (packed != NULL) {
        b = packed;
        ldb = N;
        b_transposed = 0;
    }
    for (int i = 0; bias != NULL && i < M; i++)
        for (int j = 0; j < N; j++) {
            km_real *out = y + (size_t)i * (size_t)ldy + j;
            *out = bias[j] + (beta == 0 ? 0 : beta * *out);
        }
    BLAS_GEMM(ROW_MAJOR, a_transposed ? TRANSPOSE : NO_TRANSPOSE, b_transposed ? TRANSPOSE : NO_TRANSPOSE, M, N, K,
              alpha, a, lda, b, ldb, bias != NULL ? 1 : beta, y, ldy);
}

/* A library packs for itself: op(b), row by row. */
void km_gemm_pack(void *packed, const km_real *b, int ldb, int b_transposed, int N, int K)
{
    km_real *to = packed;
    for (int k = 0; k < K; k++)
        for (int n = 0; n < N; n++)
            to[(size_t)k * N + n] = b_transposed ? b[(size_t)n * (size_t)ldb + k] : b[(size_t)k * (size_t)ldb + n];
}

#endif
