/* Rows to unit length. */
#include "ops/cpu/vmath.h"
#include "ops/ops.h"

KM_VECTOR void km_normalize_forward(km_real *y, km_real *rnorm, const km_real *x, int B, int C)
{
    for (int b = 0; b < B; b++) {
        const km_real *row = x + (size_t)b * C;
        km_real norm = km_sqrt(km_dot(row, row, C));
        rnorm[b] = 1 / (norm > (km_real)1e-12 ? norm : (km_real)1e-12);
        for (int c = 0; c < C; c++)
            y[(size_t)b * C + c] = row[c] * rnorm[b];
    }
}

KM_VECTOR void km_normalize_backward(km_real *dx, const km_real *dy, const km_real *y, const km_real *rnorm, int B,
                                     int C)
{
    for (int b = 0; b < B; b++) {
        size_t i = (size_t)b * C;
        km_real dot = km_dot(dy + i, y + i, C);
        for (int c = 0; c < C; c++)
            dx[i + c] = rnorm[b] * (dy[i + c] - y[i + c] * dot);
    }
}
