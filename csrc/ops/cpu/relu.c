#include "ops/ops.h"

KM_VECTOR void km_relu_forward(km_real *y, const km_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > 0 ? x[i] : 0;
}

KM_VECTOR void km_relu_backward(km_real *dx, const km_real *dy, const km_real *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        km_real g = dy[i];          /* read in any case: a load that depends on y would not be vectorised */
        dx[i] = y[i] > 0 ? g : 0;
    }
}
