#include "ops/cpu/vmath.h"
#include "ops/ops.h"

KM_FUSED void km_gelu_forward(km_real *y, const km_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        km_real cdf, pdf;
        km_normal(&cdf, &pdf, x[i]);
        y[i] = x[i] * cdf;
    }
}

KM_FUSED void km_gelu_backward(km_real *dx, const km_real *dy, const km_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        km_real cdf, pdf;
        km_normal(&cdf, &pdf, x[i]);
        dx[i] = dy[i] * (cdf + x[i] * pdf);
    }
}
