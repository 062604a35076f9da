#include "ops/ops.h"

KM_VECTOR void km_pool_forward(km_real *y, const km_real *x, const int32_t *offset, int B, int C)
{
    for (int b = 0; b < B; b++) {
        km_real *row = y + (size_t)b * C;
        km_real share = 1 / (km_real)(offset[b + 1] - offset[b]);
        for (int c = 0; c < C; c++)
            row[c] = 0;
        for (int32_t t = offset[b]; t < offset[b + 1]; t++)
            for (int c = 0; c < C; c++)
                row[c] += x[(size_t)t * C + c];
        for (int c = 0; c < C; c++)
            row[c] *= share;
    }
}

KM_VECTOR void km_pool_backward(km_real *dx, const km_real *dy, const int32_t *offset, int B, int C, int add)
{
    for (int b = 0; b < B; b++) {
        const km_real *row = dy + (size_t)b * C;
        km_real share = 1 / (km_real)(offset[b + 1] - offset[b]);
        for (int32_t t = offset[b]; t < offset[b + 1]; t++)
            for (int c = 0; c < C; c++)
                dx[(size_t)t * C + c] = (add ? dx[(size_t)t * C + c] : 0) + row[c] * share;
    }
}
