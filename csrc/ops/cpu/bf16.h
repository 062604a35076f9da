/* The operations that multiply matrices, with bfloat16 factors: km_<operation>_bf16, the signatures of ops.h. */
#ifndef KM_BF16_H
#define KM_BF16_H

#include "ops/ops.h"

#define X(operation) __typeof__(km_##operation) km_##operation##_bf16;
KM_PRODUCT_OPERATIONS(X)
#undef X

#endif
