/* What stands behind km_gemm: a BLAS, or the kernels of ops/cpu/kernels. */
#ifndef KM_GEMM_H
#define KM_GEMM_H

#include "core/isa.h"
#include "ops/ops.h"

typedef __typeof__(km_gemm) km_gemm_function;

/* Our own kernels, one file an instruction set. Each element of y is the sum over k in order, one
 * multiply-add a step, in blocks of a fixed length: it does not depend on M, N or the place of its row
 * or column, so an answer never depends on what else is in the batch. AVX2 and AVX-512 agree to the bit.
 * Packed blocks live in thread-local storage of a fixed size (kernels/gemm_blocked.h).                   */
km_gemm_function km_gemm_plain, km_gemm_avx2, km_gemm_avx512;

/* The kernel for an instruction set, NULL where this build or processor does not have it. */
km_gemm_function *km_gemm_kernel(km_isa isa);

/* "openblas", "system" or "builtin", and what the library says about itself ("" if nothing). */
const char *km_gemm_library(void);
const char *km_gemm_details(void);

#endif
