#include "ops/ops.h"

KM_VECTOR void km_vector_add(km_real *y, const km_real *x, const km_real *z, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] + z[i];
}

KM_VECTOR void km_vector_accumulate(km_real *y, const km_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

KM_VECTOR void km_vector_scale(km_real *x, km_real a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= a;
}

/* Eight interleaved sums: a fixed order, whatever the vector width. */
KM_VECTOR double km_vector_square_sum(const km_real *x, size_t n)
{
    double sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += (double)x[i + j] * x[i + j];
    for (int j = 0; i + j < n; j++)
        sum[j] += (double)x[i + j] * x[i + j];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}
