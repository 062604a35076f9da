#include "ops/cpu/bf16.h"

static const km_ops tables[] = {
    [KM_FLOAT32] = {
        .backend = "cpu",
#define X(operation) .operation = km_##operation,
        KM_OPERATIONS(X)
#undef X
    },
    [KM_BF16] = {
        .backend = "cpu",
#define X(operation) .operation = km_##operation##_bf16,
        KM_PRODUCT_OPERATIONS(X)
#undef X
#define X(operation) .operation = km_##operation,
        KM_OTHER_OPERATIONS(X)
#undef X
    },
};

const km_ops *km_ops_cpu(km_precision precision)
{
    return &tables[precision];
}
