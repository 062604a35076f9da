/* Batch normalisation of a batch in parts: columns are never summed across, so the loops vectorise over them and give
 * the same bits whatever the vector width. Blocks of rows are summed in km_real and joined in double.            */
#include "ops/ops.h"

enum { KM_WIDE = 512, KM_ROWS = 32 };       /* columns and rows at a time */

/* Chan, Golub and LeVeque 1983: the moments of two samples together. */
static void merge(double *mean, double *square, double n, double other_mean, double other_square, double m)
{
    double d = other_mean - *mean, share = m / (n + m);
    *mean += d * share;
    *square += other_square + d * d * n * share;
}

KM_VECTOR void km_batchpart_moments(double *moments, const km_real *x, int T, int C)
{
    for (int c = 0; c < 2 * C; c++)
        moments[c] = 0;
    for (int first = 0; first < C; first += KM_WIDE) {
        int n = C - first < KM_WIDE ? C - first : KM_WIDE;
        for (int t = 0; t < T; t += KM_ROWS) {
            int rows = T - t < KM_ROWS ? T - t : KM_ROWS;
            const km_real *block = x + (size_t)t * C + first;
            km_real sum[KM_WIDE] = {0}, square[KM_WIDE] = {0}, share = 1 / (km_real)rows;
            for (int r = 0; r < rows; r++)
                for (int j = 0; j < n; j++)
                    sum[j] += block[(size_t)r * C + j];
            for (int j = 0; j < n; j++)
                sum[j] *= share;
            for (int r = 0; r < rows; r++)
                for (int j = 0; j < n; j++) {
                    km_real d = block[(size_t)r * C + j] - sum[j];
                    square[j] += d * d;
                }
            for (int j = 0; j < n; j++)
                merge(&moments[first + j], &moments[C + first + j], t, (double)sum[j], (double)square[j], rows);
        }
    }
}

void km_batchpart_join(km_real *mean, km_real *var, km_real *running_mean, km_real *running_var, const double *moments,
                       int parts, int T, int C, km_real momentum)
{
    for (int c = 0; c < C; c++) {
        double m = 0, square = 0, rows = (double)parts * T;
        for (int p = 0; p < parts; p++) {
            const double *part = moments + (size_t)p * 2 * C;
            merge(&m, &square, (double)p * T, part[c], part[C + c], T);
        }
        mean[c] = (km_real)m;
        var[c] = (km_real)(square / rows);
        if (running_mean != NULL) {
            double unbiased = square / (rows > 1 ? rows - 1 : 1);
            running_mean[c] = (km_real)((1 - momentum) * running_mean[c] + momentum * m);
            running_var[c] = (km_real)((1 - momentum) * running_var[c] + momentum * unbiased);
        }
    }
}

KM_VECTOR void km_batchpart_forward(km_real *y, const km_real *x, const km_real *mean, const km_real *var,
                                    const km_real *gain, const km_real *bias, const km_real *residual, int T, int C,
                                    km_real eps, int relu)
{
    for (int first = 0; first < C; first += KM_WIDE) {
        int n = C - first < KM_WIDE ? C - first : KM_WIDE;
        km_real scale[KM_WIDE], low = relu ? 0 : -(km_real)HUGE_VAL;
        for (int j = 0; j < n; j++)
            scale[j] = gain[first + j] / km_sqrt(var[first + j] + eps);
        for (int t = 0; t < T; t++) {
            size_t i = (size_t)t * C + first;
            const km_real *xt = x + i, *m = mean + first, *b = bias + first;
            km_real *yt = y + i;
            if (residual != NULL)
                for (int j = 0; j < n; j++) {
                    km_real v = (xt[j] - m[j]) * scale[j] + b[j] + residual[i + (size_t)j];
                    yt[j] = v > low ? v : low;
                }
            else
                for (int j = 0; j < n; j++) {
                    km_real v = (xt[j] - m[j]) * scale[j] + b[j];
                    yt[j] = v > low ? v : low;
                }
        }
    }
}

KM_VECTOR void km_batchpart_sums(double *sums, km_real *dy, const km_real *y, const km_real *x, const km_real *mean,
                                 const km_real *var, int T, int C, km_real eps)
{
    for (int c = 0; c < 2 * C; c++)
        sums[c] = 0;
    for (int first = 0; first < C; first += KM_WIDE) {
        int n = C - first < KM_WIDE ? C - first : KM_WIDE;
        for (int t = 0; t < T; t += KM_ROWS) {
            int end = T - t < KM_ROWS ? T : t + KM_ROWS;
            km_real sum[KM_WIDE] = {0}, dot[KM_WIDE] = {0};
            for (int r = t; r < end; r++) {
                size_t i = (size_t)r * C + first;
                km_real *d = dy + i;
                const km_real *xr = x + i, *m = mean + first;
                if (y != NULL) {
                    const km_real *yr = y + i;
                    for (int j = 0; j < n; j++)
                        d[j] = yr[j] > 0 ? d[j] : 0;
                }
                for (int j = 0; j < n; j++) {
                    sum[j] += d[j];
                    dot[j] += d[j] * (xr[j] - m[j]);
                }
            }
            for (int j = 0; j < n; j++) {
                sums[first + j] += (double)sum[j];
                sums[C + first + j] += (double)dot[j];
            }
        }
    }
    for (int c = 0; c < C; c++)
        sums[C + c] /= sqrt((double)var[c] + (double)eps);
}

void km_batchpart_join_sums(double *total, km_real *dgain, km_real *dbias, const double *sums, int parts, int C)
{
    for (int c = 0; c < 2 * C; c++) {
        double s = 0;
        for (int p = 0; p < parts; p++)
            s += sums[(size_t)p * 2 * C + c];
        total[c] = s;
    }
    for (int c = 0; c < C; c++) {
        dbias[c] += (km_real)total[c];
        dgain[c] += (km_real)total[C + c];
    }
}

KM_VECTOR void km_batchpart_backward(km_real *dx, const km_real *dy, const km_real *x, const km_real *mean,
                                     const km_real *var, const km_real *gain, const double *total, int64_t rows, int T,
                                     int C, km_real eps)
{
    for (int first = 0; first < C; first += KM_WIDE) {
        int n = C - first < KM_WIDE ? C - first : KM_WIDE;
        km_real scale[KM_WIDE], shift[KM_WIDE], slope[KM_WIDE];
        for (int j = 0; j < n; j++) {
            double rstd = 1 / sqrt((double)var[first + j] + (double)eps);
            scale[j] = (km_real)(gain[first + j] * rstd);
            shift[j] = (km_real)(total[first + j] / (double)rows);
            slope[j] = (km_real)(total[C + first + j] / (double)rows * rstd);
        }
        for (int t = 0; t < T; t++) {
            size_t i = (size_t)t * C + first;
            const km_real *d = dy + i, *xt = x + i, *m = mean + first;
            for (int j = 0; j < n; j++)
                dx[i + (size_t)j] = scale[j] * (d[j] - shift[j] - (xt[j] - m[j]) * slope[j]);
        }
    }
}
