#include "eval/answer.h"

void km_answer_sigmoid(km_real *p, const km_real *z, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double e = exp(-fabs((double)z[i]));
        p[i] = (km_real)((z[i] >= 0 ? 1 : e) / (1 + e));
    }
}

void km_answer_cosine(km_real *p, const km_real *ecg, const km_real *text, int n, int Q, int J)
{
    for (int i = 0; i < n; i++)
        for (int q = 0; q < Q; q++) {
            double dot = 0;
            for (int j = 0; j < J; j++)
                dot += (double)ecg[(size_t)i * J + j] * text[(size_t)q * J + j];
            dot = dot > 1 ? 1 : dot < -1 ? -1 : dot;
            p[(size_t)i * Q + q] = (km_real)((1 + dot) / 2);
        }
}

void km_answer_average(km_real *out, const km_real *x, const int64_t *owner, const int32_t *segments, int n, int count,
                       int C)
{
    int first = 0;
    for (int r = 0; r < count; r++) {
        int last = first;
        double total = 0;
        for (; last < n && owner[last] == r; last++)
            total += segments[last];
        for (int c = 0; c < C; c++) {
            double sum = 0;
            for (int i = first; i < last; i++)
                sum += segments[i] * (double)x[(size_t)i * C + c];
            out[(size_t)r * C + c] = (km_real)(sum / total);
        }
        first = last;
    }
}

static double dot(const km_real *a, const km_real *b, int D)
{
    double sum = 0;
    for (int d = 0; d < D; d++)
        sum += (double)a[d] * b[d];
    return sum;
}

void km_answer_nearest(double *cosine, int64_t *nearest, const km_real *x, const km_real *y, int n, int m, int D)
{
    for (int i = 0; i < n; i++) {
        const km_real *a = x + (size_t)i * D;
        nearest[i] = -1;
        for (int j = 0; j < m; j++) {
            const km_real *b = y + (size_t)j * D;
            double lengths = sqrt(dot(a, a, D) * dot(b, b, D)), c = lengths > 0 ? dot(a, b, D) / lengths : 0;
            if (nearest[i] < 0 || c > cosine[i]) {
                cosine[i] = c;
                nearest[i] = j;
            }
        }
    }
}
