#include "ops/ops.h"

KM_VECTOR void km_relu_forward(km_real *y, const km_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > 0 ? x[i] : 0;
}

KM_VECTOR void km_relu_backward(km_real *dx, const km_real *dy, const km_real *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}
