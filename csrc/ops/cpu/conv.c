/* Convolution along time as a matrix product: row t of the unfolded input is the K C samples that output t sees, which
 * lie next to each other in x (L, C). They are unfolded a few rows at a time, so that they stay in cache.           */
#include <string.h>

#include "ops/ops.h"

enum { KM_UNFOLDED = 1 << 17 };     /* elements unfolded at a time */

static int unfolded_rows(int C, int K)
{
    return KM_UNFOLDED / (K * C) > 1 ? KM_UNFOLDED / (K * C) : 1;
}

size_t km_conv_scratch(int C, int K)
{
    return K > 1 ? (size_t)unfolded_rows(C, K) * (size_t)(K * C) : 0;
}

/* The part of output t's K C samples that x has: elements skip .. skip + count - 1, from x + *start on. */
static void seen(int *skip, int *count, size_t *start, int t, int L, int C, int K, int stride)
{
    int first = t * stride - K / 2, before = first < 0 ? -first : 0, behind = first + K > L ? first + K - L : 0;
    *skip = before * C;
    *count = (K - before - behind) * C;
    *start = (size_t)(first + before) * (size_t)C;
}

static void unfold(km_real *columns, const km_real *x, int first, int rows, int L, int C, int K, int stride)
{
    int n = K * C, skip, count;
    size_t start;
    for (int r = 0; r < rows; r++, columns += n) {
        seen(&skip, &count, &start, first + r, L, C, K, stride);
        if (count < n)
            memset(columns, 0, (size_t)n * sizeof *columns);
        memcpy(columns + skip, x + start, (size_t)count * sizeof *columns);
    }
}

KM_VECTOR static void fold(km_real *dx, const km_real *columns, int first, int rows, int L, int C, int K, int stride)
{
    int skip, count;
    size_t start;
    for (int r = 0; r < rows; r++, columns += K * C) {
        seen(&skip, &count, &start, first + r, L, C, K, stride);
        for (int i = 0; i < count; i++)
            dx[start + (size_t)i] += columns[skip + i];
    }
}

void km_conv_forward(km_real *y, km_real *scratch, const km_real *x, const km_real *w, int L, int C, int N, int K,
                     int stride)
{
    int T = (L - 1) / stride + 1, most = unfolded_rows(C, K);
    if (K == 1) {
        km_gemm(y, N, x, stride * C, 0, w, C, 1, T, N, C, 1, 0);
        return;
    }
    for (int first = 0; first < T; first += most) {
        int rows = T - first < most ? T - first : most;
        unfold(scratch, x, first, rows, L, C, K, stride);
        km_gemm(y + (size_t)first * N, N, scratch, K * C, 0, w, K * C, 1, rows, N, K * C, 1, 0);
    }
}

void km_conv_backward(km_real *dx, km_real *dw, km_real *scratch, const km_real *dy, const km_real *x,
                      const km_real *w, int L, int C, int N, int K, int stride, int add)
{
    int T = (L - 1) / stride + 1, most = unfolded_rows(C, K);
    if (dx != NULL && !add)
        memset(dx, 0, (size_t)L * (size_t)C * sizeof *dx);
    if (K == 1) {
        km_gemm(dw, C, dy, N, 1, x, stride * C, 0, N, C, T, 1, 1);
        if (dx != NULL)
            km_gemm(dx, stride * C, dy, N, 0, w, C, 0, T, C, N, 1, 1);
        return;
    }
    for (int first = 0; first < T; first += most) {
        int rows = T - first < most ? T - first : most;
        const km_real *part = dy + (size_t)first * N;
        unfold(scratch, x, first, rows, L, C, K, stride);
        km_gemm(dw, K * C, part, N, 1, scratch, K * C, 0, N, K * C, rows, 1, 1);
        if (dx != NULL) {
            km_gemm(scratch, K * C, part, N, 0, w, K * C, 0, rows, K * C, N, 1, 0);
            fold(dx, scratch, first, rows, L, C, K, stride);
        }
    }
}
