#include "ops/ops.h"

KM_VECTOR static void embed(km_real *x, const int32_t *lead_id, const int32_t *segment, const km_real *lead,
                            const km_real *temporal, int T, int C)
{
    for (int t = 0; t < T; t++) {
        km_real *row = x + (size_t)t * C;
        for (int c = 0; c < C; c++)
            row[c] = 0;
        if (lead != NULL)
            for (int c = 0; c < C; c++)
                row[c] += lead[(size_t)lead_id[t] * C + c];
        if (temporal != NULL)
            for (int c = 0; c < C; c++)
                row[c] += temporal[(size_t)segment[t] * C + c];
    }
}

KM_VECTOR static void scatter(km_real *dtable, const km_real *dx, const int32_t *id, int T, int C)
{
    for (int t = 0; t < T; t++)
        for (int c = 0; c < C; c++)
            dtable[(size_t)id[t] * C + c] += dx[(size_t)t * C + c];
}

void km_tokens_forward(km_real *x, const km_real *patches, const int32_t *lead_id, const int32_t *segment,
                       const km_real *w, const km_real *lead, const km_real *temporal, int T, int C, int P)
{
    embed(x, lead_id, segment, lead, temporal, T, C);
    km_gemm(x, C, patches, P, 0, w, P, 1, T, C, P, 1, 1);
}

void km_tokens_backward(km_real *dw, km_real *dlead, km_real *dtemporal, const km_real *dx, const km_real *patches,
                        const int32_t *lead_id, const int32_t *segment, int T, int C, int P)
{
    km_gemm(dw, P, dx, C, 1, patches, P, 0, C, P, T, 1, 1);
    if (dlead != NULL)
        scatter(dlead, dx, lead_id, T, C);
    if (dtemporal != NULL)
        scatter(dtemporal, dx, segment, T, C);
}
