/* Batch normalisation: statistics a column over the rows of the whole batch, summed in double. */
#include "ops/ops.h"

enum { KM_COLUMNS = 64 };   /* columns handled at once, so that their sums stay in registers and cache */

void km_batchnorm_forward(km_real *y, km_real *mean, km_real *rstd, km_real *running_mean, km_real *running_var,
                          const km_real *x, const km_real *gain, const km_real *bias, int B, int C, km_real eps,
                          km_real momentum)
{
    for (int first = 0; first < C; first += KM_COLUMNS) {
        int n = C - first < KM_COLUMNS ? C - first : KM_COLUMNS;
        double sum[KM_COLUMNS] = {0}, square[KM_COLUMNS] = {0};
        for (int b = 0; b < B; b++)
            for (int j = 0; j < n; j++)
                sum[j] += x[(size_t)b * C + first + j];
        for (int j = 0; j < n; j++)
            sum[j] /= B;
        for (int b = 0; b < B; b++)
            for (int j = 0; j < n; j++) {
                double d = x[(size_t)b * C + first + j] - sum[j];
                square[j] += d * d;
            }
        for (int j = 0; j < n; j++) {
            int c = first + j;
            mean[c] = (km_real)sum[j];
            rstd[c] = (km_real)(1 / sqrt(square[j] / B + eps));
            if (running_mean != NULL) {
                /* One recording has no unbiased variance; its biased one, zero, stands in. */
                double unbiased = square[j] / (B > 1 ? B - 1 : 1);
                running_mean[c] = (km_real)((1 - momentum) * running_mean[c] + momentum * sum[j]);
                running_var[c] = (km_real)((1 - momentum) * running_var[c] + momentum * unbiased);
            }
        }
    }
    for (int b = 0; b < B; b++)
        for (int c = 0; c < C; c++)
            y[(size_t)b * C + c] = (x[(size_t)b * C + c] - mean[c]) * rstd[c] * gain[c] + bias[c];
}

/* dx = rstd * (dn - mean_b(dn) - n * mean_b(dn n)),  dn = dy gain,  n = (x - mean) rstd. */
void km_batchnorm_backward(km_real *dx, km_real *dgain, km_real *dbias, const km_real *dy, const km_real *x,
                           const km_real *mean, const km_real *rstd, const km_real *gain, int B, int C)
{
    for (int first = 0; first < C; first += KM_COLUMNS) {
        int n = C - first < KM_COLUMNS ? C - first : KM_COLUMNS;
        double sum[KM_COLUMNS] = {0}, dot[KM_COLUMNS] = {0};
        for (int b = 0; b < B; b++)
            for (int j = 0; j < n; j++) {
                int c = first + j;
                size_t i = (size_t)b * C + c;
                sum[j] += dy[i];
                dot[j] += dy[i] * ((double)x[i] - mean[c]) * rstd[c];
            }
        for (int b = 0; b < B; b++)
            for (int j = 0; j < n; j++) {
                int c = first + j;
                size_t i = (size_t)b * C + c;
                double normed = ((double)x[i] - mean[c]) * rstd[c];
                dx[i] = (km_real)(gain[c] * rstd[c] * (dy[i] - sum[j] / B - normed * dot[j] / B));
            }
        for (int j = 0; j < n; j++) {
            dgain[first + j] += (km_real)dot[j];
            dbias[first + j] += (km_real)sum[j];
        }
    }
}

void km_batchnorm_apply(km_real *y, const km_real *x, const km_real *running_mean, const km_real *running_var,
                        const km_real *gain, const km_real *bias, int B, int C, km_real eps)
{
    for (int b = 0; b < B; b++)
        for (int c = 0; c < C; c++) {
            km_real rstd = 1 / km_sqrt(running_var[c] + eps);
            y[(size_t)b * C + c] = (x[(size_t)b * C + c] - running_mean[c]) * rstd * gain[c] + bias[c];
        }
}
