/* What stands behind km_gemm: a BLAS, or the kernels of ops/cpu/kernels. */
#ifndef KM_GEMM_H
#define KM_GEMM_H

#include "core/isa.h"
#include "ops/ops.h"

/* As km_gemm, with more: bias (N), added to every row unless it is NULL, while a tile of y is still in registers;
 * packed: unless it is NULL it stands for b, which is not read.                                               */
typedef void km_gemm_function(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b,
                              int ldb, int b_transposed, int M, int N, int K, km_real alpha, km_real beta,
                              const km_real *bias, const void *packed);
/* packed: what multiply makes of op(b) (K, N) on its way, to be used more than once; on a boundary of 64
 * bytes, km_gemm_packed_size(N, K) long. */
typedef void km_gemm_packer(void *packed, const km_real *b, int ldb, int b_transposed, int N, int K);

km_gemm_function km_gemm_full, km_gemm_full_bf16;
km_gemm_packer km_gemm_pack, km_gemm_pack_bf16;

/* In km_real, whatever the kernel. */
static inline size_t km_gemm_packed_size(int N, int K)
{
    return ((size_t)N + 31) / 32 * 32 * ((size_t)K + 1) + 16 * 32;
}

/* Our own kernels, one file an instruction set and precision. Each element of y is the sum over k in order, one
 * multiply-add a step, in blocks of a fixed length: it does not depend on M, N or the place of its row
 * or column, so an answer never depends on what else is in the batch. In float32 AVX2 and AVX-512 agree to the
 * bit, in bfloat16 all of them.                                                                           */
typedef struct km_gemm_kernel {
    km_gemm_function *multiply;
    km_gemm_packer *pack;
} km_gemm_kernel;
/* Bytes of packed panels that every few rows go through again: three quarters of the second-level cache. The bits
 * of a product do not depend on it.                                                                       */
int km_gemm_resident(void);

extern const km_gemm_kernel km_gemm_plain, km_gemm_avx2, km_gemm_avx512, km_gemm_bf16_plain, km_gemm_bf16_avx2,
    km_gemm_bf16_avx512, km_gemm_bf16_avx512bf16;

/* The kernel for an instruction set, NULL where this build or processor does not have it. */
const km_gemm_kernel *km_gemm_choose(km_isa isa, km_precision precision);

/* Each thread's room for packed blocks, from the loader's thread-local storage: no call allocates. */
extern _Thread_local unsigned char km_gemm_space[(144 << 10) * sizeof(km_real)];

/* "openblas", "system" or "builtin", and what the library says about itself ("" if nothing). */
const char *km_gemm_library(void);
const char *km_gemm_details(void);

#endif
