/* Factors rounded to bfloat16, multiplied as numbers of km_real: for processors without such products. */
#define GEMM km_gemm_bf16_avx512
#define BF16 1
#include "ops/cpu/kernels/gemm_avx512.c"
