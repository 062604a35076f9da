/* Attention of one recording, head by head, in tiles of query rows so that scores stay in cache:
 *   S = scale q k^T,  P = softmax(S),  out = P v,  scale = 1 / sqrt(E).
 * Keys and values are packed once a head. Only the rows' log-sum-exp is saved; the backward pass recomputes
 * P = exp(S - lse).                                                                                        */
#include "core/rng.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/vmath.h"
#include "ops/ops.h"

/* Query rows at a time, multiples of the 14 rows of a tile of the product; the backward pass sums over them. */
enum { KM_TILE = 56, KM_TILE_BACKWARD = 112 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

size_t km_attention_scratch(int Tq, int Tk, int E)
{
    size_t rows = (size_t)least(Tq, KM_TILE_BACKWARD), boundary = 64 / sizeof(km_real);
    return 2 * km_gemm_packed_size(Tk, E) + km_gemm_packed_size(E, Tk) + 2 * rows * (size_t)Tk + 6 * boundary;
}

/* n elements from the next boundary of 64 bytes on. */
static km_real *take(km_real **scratch, size_t n)
{
    km_real *start = (km_real *)(((uintptr_t)*scratch + 63) / 64 * 64);
    *scratch = start + n;
    return start;
}

/* s becomes exp(s - max), to be divided by its sum, whose inverse goes to share. */
KM_FUSED static void softmax(km_real *s, km_real *share, km_real *lse, int rows, int Tk)
{
    for (int i = 0; i < rows; i++) {
        km_real *row = s + (size_t)i * Tk;
        km_real max = km_max(row, Tk);
        for (int j = 0; j < Tk; j++)
            row[j] = km_exp_negative(row[j] - max);
        km_real sum = km_sum(row, Tk);
        share[i] = 1 / sum;
        if (lse != NULL)
            lse[i] = max + (km_real)log(sum);
    }
}

KM_VECTOR static void scale_rows(km_real *x, int ld, const km_real *share, int rows, int n)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < n; j++)
            x[(size_t)i * ld + j] *= share[i];
}

KM_FUSED static void softmax_again(km_real *s, const km_real *lse, int rows, int Tk)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < Tk; j++)
            s[(size_t)i * Tk + j] = km_exp_negative(s[(size_t)i * Tk + j] - lse[i]);
}

/* dS = P * (dP - delta) * scale, into dp;  delta_i = sum_j P_ij dP_ij = dout_i . out_i. */
KM_VECTOR static void score_gradient(km_real *dp, const km_real *p, const km_real *delta, int rows, int Tk,
                                     km_real scale)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < Tk; j++) {
            size_t k = (size_t)i * Tk + j;
            dp[k] = p[k] * (dp[k] - delta[i]) * scale;
        }
}

KM_VECTOR static void row_dots(km_real *delta, const km_real *x, const km_real *y, int rows, int E, int ld)
{
    for (int i = 0; i < rows; i++)
        delta[i] = km_dot(x + (size_t)i * ld, y + (size_t)i * ld, E);
}

/* s *= mask / (1 - rate): probabilities first .. first + n - 1 of (H, Tq, Tk), counted over all heads. */
static void drop(km_real *s, size_t first, size_t n, const km_dropout *dropout)
{
    uint32_t threshold = (uint32_t)(dropout->rate * 4294967296.0);
    km_real keep = (km_real)(1 / (1 - dropout->rate));
    uint32_t random[4];
    size_t block = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        if ((first + i) / 4 != block) {
            block = (first + i) / 4;
            km_rng_block(random, dropout->seed, KM_STREAM_DROPOUT, dropout->step, dropout->site, (uint32_t)block);
        }
        s[i] = random[(first + i) % 4] >= threshold ? s[i] * keep : 0;
    }
}

static int dropping(const km_dropout *dropout)
{
    return dropout != NULL && dropout->rate > 0;
}

void km_attention_forward(km_real *out, km_real *lse, km_real *scratch, const km_real *q, const km_real *k,
                          const km_real *v, int Tq, int Tk, int H, int E, int ldq, int ldk, int ldo,
                          const km_dropout *dropout)
{
    km_real scale = 1 / (km_real)sqrt((double)E);
    km_real *keys = take(&scratch, km_gemm_packed_size(Tk, E)), *values = take(&scratch, km_gemm_packed_size(E, Tk));
    km_real *s = take(&scratch, (size_t)least(Tq, KM_TILE) * Tk), share[KM_TILE];
    for (int h = 0; h < H; h++) {
        km_gemm_pack(keys, k + h * E, ldk, 1, Tk, E);
        km_gemm_pack(values, v + h * E, ldk, 0, E, Tk);
        for (int first = 0; first < Tq; first += KM_TILE) {
            int rows = least(Tq - first, KM_TILE);
            km_real *to = out + (size_t)first * ldo + h * E;
            km_gemm_full(s, Tk, q + (size_t)first * ldq + h * E, ldq, 0, NULL, 0, 0, rows, Tk, E, scale, 0, NULL, keys);
            softmax(s, share, lse + (size_t)h * Tq + first, rows, Tk);
            if (dropping(dropout))
                drop(s, ((size_t)h * Tq + first) * Tk, (size_t)rows * Tk, dropout);
            km_gemm_full(to, ldo, s, Tk, 0, NULL, 0, 0, rows, E, Tk, 1, 0, NULL, values);
            scale_rows(to, ldo, share, rows, E);
        }
    }
}

void km_attention_backward(km_real *dq, km_real *dk, km_real *dv, km_real *scratch, const km_real *dout,
                           const km_real *out, const km_real *lse, const km_real *q, const km_real *k,
                           const km_real *v, int Tq, int Tk, int H, int E, int ldq, int ldk, int ldo,
                           const km_dropout *dropout)
{
    km_real scale = 1 / (km_real)sqrt((double)E);
    km_real *columns = take(&scratch, km_gemm_packed_size(Tk, E)), *values = take(&scratch, km_gemm_packed_size(Tk, E));
    km_real *keys = take(&scratch, km_gemm_packed_size(E, Tk));
    size_t tile = (size_t)least(Tq, KM_TILE_BACKWARD) * Tk;
    km_real *p = take(&scratch, tile), *dp = take(&scratch, tile), delta[KM_TILE_BACKWARD];
    for (int h = 0; h < H; h++) {
        size_t ik = (size_t)h * E;
        km_gemm_pack(columns, k + ik, ldk, 1, Tk, E);
        km_gemm_pack(values, v + ik, ldk, 1, Tk, E);
        km_gemm_pack(keys, k + ik, ldk, 0, E, Tk);
        for (int first = 0; first < Tq; first += KM_TILE_BACKWARD) {
            int rows = least(Tq - first, KM_TILE_BACKWARD);
            size_t iq = (size_t)first * ldq + ik, io = (size_t)first * ldo + ik;
            size_t number = ((size_t)h * Tq + first) * Tk, n = (size_t)rows * Tk;
            km_real more = first == 0 ? 0 : 1;      /* dk and dv are sums over tiles */

            km_gemm_full(p, Tk, q + iq, ldq, 0, NULL, 0, 0, rows, Tk, E, scale, 0, NULL, columns);
            softmax_again(p, lse + (size_t)h * Tq + first, rows, Tk);
            km_gemm_full(dp, Tk, dout + io, ldo, 0, NULL, 0, 0, rows, Tk, E, 1, 0, NULL, values);
            row_dots(delta, dout + io, out + io, rows, E, ldo);
            if (dropping(dropout)) {
                /* dv sees the dropped probabilities, dS the undropped ones: p is dropped, used and made again. */
                drop(dp, number, n, dropout);
                drop(p, number, n, dropout);
                km_gemm(dv + ik, ldk, p, Tk, 1, dout + io, ldo, 0, Tk, E, rows, 1, more);
                km_gemm_full(p, Tk, q + iq, ldq, 0, NULL, 0, 0, rows, Tk, E, scale, 0, NULL, columns);
                softmax_again(p, lse + (size_t)h * Tq + first, rows, Tk);
            } else {
                km_gemm(dv + ik, ldk, p, Tk, 1, dout + io, ldo, 0, Tk, E, rows, 1, more);
            }
            score_gradient(dp, p, delta, rows, Tk, scale);
            km_gemm_full(dq + iq, ldq, dp, Tk, 0, NULL, 0, 0, rows, E, Tk, 1, 0, NULL, keys);
            km_gemm(dk + ik, ldk, dp, Tk, 1, q + iq, ldq, 0, Tk, E, rows, 1, more);
        }
    }
}

void km_attention_weights(km_real *weights, km_real *scratch, const km_real *q, const km_real *k, int Tq, int Tk,
                          int H, int E, int ldq, int ldk)
{
    km_real scale = 1 / (km_real)sqrt((double)E), share[KM_TILE];
    for (int first = 0; first < Tq; first += KM_TILE) {
        int rows = least(Tq - first, KM_TILE);
        km_real *w = weights + (size_t)first * Tk;
        for (size_t i = 0; i < (size_t)rows * Tk; i++)
            w[i] = 0;
        for (int h = 0; h < H; h++) {
            km_gemm(scratch, Tk, q + (size_t)first * ldq + h * E, ldq, 0, k + h * E, ldk, 1, rows, Tk, E, scale, 0);
            softmax(scratch, share, NULL, rows, Tk);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < Tk; j++)
                    w[(size_t)i * Tk + j] += share[i] / (km_real)H * scratch[(size_t)i * Tk + j];
        }
    }
}
