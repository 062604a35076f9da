/* Layer normalisation over the last dimension, one mean and rstd a row. */
#include "ops/cpu/vmath.h"
#include "ops/ops.h"

KM_VECTOR void km_layernorm_forward(km_real *y, km_real *mean, km_real *rstd, const km_real *x, const km_real *gain,
                                    const km_real *bias, int T, int C, km_real eps)
{
    for (int t = 0; t < T; t++) {
        const km_real *xt = x + (size_t)t * C;
        km_real *yt = y + (size_t)t * C;
        km_real m = km_sum(xt, C) / C;
        for (int c = 0; c < C; c++)
            yt[c] = xt[c] - m;
        km_real r = 1 / km_sqrt(km_dot(yt, yt, C) / C + eps);
        for (int c = 0; c < C; c++)
            yt[c] = yt[c] * r * gain[c] + bias[c];
        mean[t] = m;
        rstd[t] = r;
    }
}

enum { KM_ROWS = 4 };      /* whose shares of dgain and dbias are added while these are in registers */

/* dgain += sum_t dy n,  dbias += sum_t dy, row after row. rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void parameter_gradients(
    km_real *dgain, km_real *dbias, const km_real *dy, const km_real *x, const km_real *mean, const km_real *rstd,
    int rows, int C)
{
    for (int c = 0; c < C; c++) {
        km_real gain = dgain[c], bias = dbias[c];
        for (int t = 0; t < rows; t++) {
            km_real d = dy[(size_t)t * C + c];
            gain += d * ((x[(size_t)t * C + c] - mean[t]) * rstd[t]);
            bias += d;
        }
        dgain[c] = gain;
        dbias[c] = bias;
    }
}

KM_VECTOR void km_layernorm_backward(km_real *dx, km_real *dgain, km_real *dbias, const km_real *dy, const km_real *x,
                                     const km_real *mean, const km_real *rstd, const km_real *gain, int T, int C,
                                     int add)
{
    for (int t = 0; t < T; t++) {
        const km_real *xt = x + (size_t)t * C, *dyt = dy + (size_t)t * C;
        km_real *dxt = dx + (size_t)t * C;
        if (t % KM_ROWS == 0 && T - t >= KM_ROWS)       /* before dx, which may be dy, is written */
            parameter_gradients(dgain, dbias, dyt, xt, mean + t, rstd + t, KM_ROWS, C);
        else if (t >= T / KM_ROWS * KM_ROWS)
            parameter_gradients(dgain, dbias, dyt, xt, mean + t, rstd + t, 1, C);
        km_real m = mean[t], r = rstd[t];
        km_stripes sum = {0}, dot = {0}, vdy, vgain, vx;
        km_real rest_sum = 0, rest_dot = 0;
        int c = 0;
        for (; c + KM_STRIPES <= C; c += KM_STRIPES) {
            km_load(&vdy, dyt + c);
            km_load(&vgain, gain + c);
            km_load(&vx, xt + c);
            vdy *= vgain;
            sum += vdy;
            dot += vdy * (vx - m);
        }
        for (; c < C; c++) {
            rest_sum += dyt[c] * gain[c];
            rest_dot += dyt[c] * gain[c] * (xt[c] - m);
        }
        km_real mean_dn = (km_join_sum(&sum) + rest_sum) / C, mean_dn_n = (km_join_sum(&dot) + rest_dot) * r / C;
        for (c = 0; c < C; c++) {
            km_real n = (xt[c] - m) * r;
            km_real d = r * (dyt[c] * gain[c] - mean_dn - n * mean_dn_n);
            dxt[c] = add ? dxt[c] + d : d;
        }
    }
}
