#include "ops/ops.h"

static const km_ops table = {
    .backend = "cpu",
#define X(operation) .operation = km_##operation,
    KM_OPERATIONS(X)
#undef X
};

const km_ops *km_ops_cpu(void)
{
    return &table;
}
