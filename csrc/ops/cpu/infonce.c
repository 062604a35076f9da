/* Symmetric InfoNCE and its variants. Row i of s = scale ecg text^T asks which text belongs to recording i (e2t),
 * column i which recording to text i (t2e):
 *   loss_i = log sum_{j allowed} exp(s_ij) - s_ii,   ds_ij = p_ij - [i = j],   means over the batch.
 * Sums run in double: B is small beside everything else.                                                  */
#include "ops/ops.h"

/* One direction: weight * loss of each row (stride 1) or column (stride B) is added up, its gradient added to ds. */
static double one_direction(km_real *ds, const km_real *s, const int64_t *same_text, int B, int positive,
                            size_t along, size_t across, double weight)
{
    double loss = 0;
    for (int i = 0; i < B; i++) {
        const km_real *row = s + i * across;
        km_real *drow = ds + i * across;
        double max = -HUGE_VAL, sum = 0;
        for (int pass = 0; pass < 3; pass++)
            for (int j = 0; j < B; j++) {
                if (j == i ? !positive : same_text != NULL && same_text[i] == same_text[j])
                    continue;
                double z = row[j * along];
                if (pass == 0)
                    max = z > max ? z : max;
                else if (pass == 1)
                    sum += exp(z - max);
                else
                    drow[j * along] += (km_real)(weight * exp(z - max) / sum);
            }
        if (sum == 0)
            continue;       /* nothing to tell apart: only possible without the positive pair */
        loss += weight * (max + log(sum) - row[i * along]);
        drow[i * along] -= (km_real)weight;
    }
    return loss;
}

double km_infonce(km_real *d_ecg, km_real *d_text, double *d_scale, km_real *scratch, const km_real *ecg,
                  const km_real *text, double scale, const int64_t *same_text, int B, int C, int directions,
                  int positive)
{
    size_t n = (size_t)B * B;
    km_real *s = scratch, *ds = scratch + n;
    km_gemm(s, B, ecg, C, 0, text, C, 1, B, B, C, (km_real)scale, 0);
    for (size_t i = 0; i < n; i++)
        ds[i] = 0;

    double weight = (directions == 1 ? 0.5 : 1.0) / B;
    double loss = one_direction(ds, s, same_text, B, positive, 1, (size_t)B, weight);
    if (directions != 0)
        loss += one_direction(ds, s, same_text, B, positive, (size_t)B, 1, weight);

    double dot = 0;
    for (size_t i = 0; i < n; i++)
        dot += (double)ds[i] * s[i];
    *d_scale += dot / scale;
    km_gemm(d_ecg, C, ds, B, 0, text, C, 0, B, C, B, (km_real)scale, 0);
    km_gemm(d_text, C, ds, B, 1, ecg, C, 0, B, C, B, (km_real)scale, 0);
    return loss;
}
