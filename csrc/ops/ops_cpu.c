#include "ops/cpu/bf16.h"

/* 112 rows of a hidden layer of 768 are 344 KB, a third of a usual second-level cache, and whole tiles of 14. Not with
 * a library's products: it packs the weights in every call and may round a row otherwise beside fewer others. */
enum {
    BUILTIN_MLP_ROWS = 112,
#ifdef KM_BLAS_BUILTIN
    MLP_ROWS = BUILTIN_MLP_ROWS
#else
    MLP_ROWS = 0
#endif
};

static const km_ops tables[] = {
    [KM_FLOAT32] = {
        .backend = "cpu",
        .mlp_rows = MLP_ROWS,
#define X(operation) .operation = km_##operation,
        KM_OPERATIONS(X)
#undef X
    },
    [KM_BF16] = {       /* our own kernels in any build */
        .backend = "cpu",
        .mlp_rows = BUILTIN_MLP_ROWS,
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
