/* Their sources once more, on top of the other product. */
#include "ops/cpu/bf16.h"

#include "ops/cpu/gemm.h"

#define km_gemm km_gemm_bf16
#define km_gemm_full km_gemm_full_bf16
#define km_gemm_pack km_gemm_pack_bf16
#define km_linear_forward km_linear_forward_bf16
#define km_linear_backward km_linear_backward_bf16
#define km_packed_size km_packed_size_bf16
#define km_packed_weight km_packed_weight_bf16
#define km_packed_forward km_packed_forward_bf16
#define km_packed_backward km_packed_backward_bf16
#define km_tokens_forward km_tokens_forward_bf16
#define km_tokens_backward km_tokens_backward_bf16
#define km_attention_scratch km_attention_scratch_bf16
#define km_attention_forward km_attention_forward_bf16
#define km_attention_backward km_attention_backward_bf16
#define km_attention_weights km_attention_weights_bf16
#define km_conv_scratch km_conv_scratch_bf16
#define km_conv_forward km_conv_forward_bf16
#define km_conv_backward km_conv_backward_bf16
#include "ops/cpu/attention.c"
#include "ops/cpu/conv.c"
#include "ops/cpu/linear.c"
#include "ops/cpu/packed.c"
#include "ops/cpu/tokens.c"
