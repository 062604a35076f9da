#include "ops/ops.h"

double km_bce(km_real *dz, const km_real *z, const km_real *y, double weight, size_t n)
{
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        double e = exp(-fabs((double)z[i]));
        double sigmoid = z[i] >= 0 ? 1 / (1 + e) : e / (1 + e);
        loss += (z[i] > 0 ? z[i] : 0) - (double)z[i] * y[i] + log1p(e);
        dz[i] = (km_real)(weight * (sigmoid - y[i]));
    }
    return loss;
}
