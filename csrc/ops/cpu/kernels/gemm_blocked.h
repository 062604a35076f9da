/* The matrix product of one instruction set; included by gemm_plain.c, gemm_avx2.c, gemm_avx512.c, which define
 *   GEMM                   the function's name
 *   TARGET                 its target attribute
 *   BYTES                  bytes in a vector
 *   ROWS                   most rows in a tile of y, 4, 6 or 14; a tile is two vectors wide
 *   SPLAT(x)               a vector of x
 *   MADD(a, b, c)          a b + c, with one rounding where the processor can
 *
 * y is worked through in strips of DEPTH along k and WIDTH along n. Of each strip of op(b) a copy is made in
 * panels of two vectors, [panel][k][2 LANES], short panels filled up with zeros; it stays in the second-level
 * cache. Then, for up to ROWS rows of op(a) at a time, a copy [row][k] (or [k][row] if a is transposed) is made
 * that stays in the first-level cache, and multiplied into one tile of y after the other, all in registers.
 *
 * The sum over k of an element is one chain of multiply-adds a strip, whatever the tile's height: rows do not
 * depend on how many others there are, nor on where they stand.                                               */
#include "ops/cpu/gemm.h"

#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#define INLINED static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum {
    LANES = BYTES / (int)sizeof(km_real),
    PANEL = 2 * LANES,
    DEPTH = 256,                            /* strip along k                                           */
    PITCH = DEPTH + 16,                     /* row pitch of the copy of op(a): no two rows in one set  */
    WIDTH = 512 / PANEL * PANEL             /* strip along n                                           */
};

typedef km_real vector __attribute__((vector_size(BYTES)));
typedef km_real loose __attribute__((vector_size(BYTES), aligned(sizeof(km_real)), may_alias));

/* 512 KiB for float in each thread that multiplies, from the loader's thread-local storage: no call allocates. */
static _Thread_local km_real packed_b[DEPTH * WIDTH] __attribute__((aligned(64)));

/* y tile (m, n) = alpha a b + beta y, n <= wide * LANES; a's element (i, k) at i * row + k * step.  m, wide, row and
 * step are constants where this is inlined, so that the accumulators are registers.                              */
TARGET INLINED void tile(km_real *y, size_t ldy, const km_real *a, int row, int step, const km_real *b, int m, int wide,
                         int n, int depth, km_real alpha, km_real beta)
{
    vector sum[ROWS][2];
    UNROLL
    for (int i = 0; i < m; i++)
        sum[i][0] = sum[i][1] = (vector){0};
    for (int k = 0; k < depth; k++) {
        const vector *panel = (const vector *)(b + (size_t)k * PANEL);
        vector b0 = panel[0], b1 = panel[wide - 1];
        UNROLL
        for (int i = 0; i < m; i++) {
            vector s = SPLAT(a[i * row + k * step]);
            sum[i][0] = MADD(s, b0, sum[i][0]);
            if (wide > 1)
                sum[i][1] = MADD(s, b1, sum[i][1]);
        }
    }
    vector va = SPLAT(alpha), vb = SPLAT(beta);
    if (n == wide * LANES) {
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int v = 0; v < wide; v++) {
                loose *out = (loose *)(y + (size_t)i * ldy) + v;
                vector s = sum[i][v] * va;
                *out = beta != 0 ? MADD(vb, (vector)*out, s) : s;
            }
        return;
    }
    UNROLL
    for (int i = 0; i < m; i++) {
        km_real *out = y + (size_t)i * ldy;
        vector edge[2] = {{0}, {0}};
        if (beta != 0)
            memcpy(edge, out, (size_t)n * sizeof *out);
        UNROLL
        for (int v = 0; v < wide; v++)
            edge[v] = MADD(vb, edge[v], sum[i][v] * va);
        memcpy(out, edge, (size_t)n * sizeof *out);
    }
}

#define TILE(rows)                                                                              \
    case rows:                                                                                  \
        if (a_transposed && n > LANES)                                                          \
            tile(y, ldy, a, 1, ROWS, b, rows, 2, n, depth, alpha, beta);                        \
        else if (a_transposed)                                                                  \
            tile(y, ldy, a, 1, ROWS, b, rows, 1, n, depth, alpha, beta);                        \
        else if (n > LANES)                                                                     \
            tile(y, ldy, a, PITCH, 1, b, rows, 2, n, depth, alpha, beta);                       \
        else                                                                                    \
            tile(y, ldy, a, PITCH, 1, b, rows, 1, n, depth, alpha, beta);                       \
        break;

TARGET static void tile_of(km_real *y, size_t ldy, const km_real *a, int a_transposed, const km_real *b, int m, int n,
                           int depth, km_real alpha, km_real beta)
{
    switch (m) {
    TILE(1) TILE(2) TILE(3) TILE(4)
#if ROWS > 4
    TILE(5) TILE(6)
#endif
#if ROWS > 6
    TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)
#endif
    }
}

/* to[k][0 .. 3] = from[0 .. 3][k]: four columns of op(b), stored as rows. */
TARGET static void transpose4(km_real *to, const km_real *from, size_t pitch, int depth)
{
    const km_real *r0 = from, *r1 = r0 + pitch, *r2 = r1 + pitch, *r3 = r2 + pitch;
    int k = 0;
#if defined(__SSE__) && !defined(KM_DOUBLE)
    for (; k + 4 <= depth; k += 4) {
        __m128 v0 = _mm_loadu_ps(r0 + k), v1 = _mm_loadu_ps(r1 + k);
        __m128 v2 = _mm_loadu_ps(r2 + k), v3 = _mm_loadu_ps(r3 + k);
        _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
        _mm_store_ps(to + (size_t)k * PANEL, v0);
        _mm_store_ps(to + (size_t)(k + 1) * PANEL, v1);
        _mm_store_ps(to + (size_t)(k + 2) * PANEL, v2);
        _mm_store_ps(to + (size_t)(k + 3) * PANEL, v3);
    }
#endif
    for (; k < depth; k++) {
        km_real *out = to + (size_t)k * PANEL;
        out[0] = r0[k];
        out[1] = r1[k];
        out[2] = r2[k];
        out[3] = r3[k];
    }
}

/* Rows of `width` elements out of rows with a pitch; width is a constant where it can be. */
TARGET INLINED void copy_rows(km_real *to, size_t to_pitch, const km_real *from, size_t from_pitch, int rows, int width)
{
    for (int i = 0; i < rows; i++)
        memcpy(to + (size_t)i * to_pitch, from + (size_t)i * from_pitch, (size_t)width * sizeof *to);
}

/* packed_b <- rows k of op(b), columns 0 .. n - 1, in panels. */
TARGET static void pack_b(const km_real *b, size_t ldb, int b_transposed, int n, int depth)
{
    for (int j = 0; j < n; j += PANEL) {
        km_real *to = packed_b + (size_t)j * depth;
        int columns = n - j < PANEL ? n - j : PANEL;
        if (!b_transposed && columns == PANEL) {
            copy_rows(to, PANEL, b + j, ldb, depth, PANEL);
            continue;
        }
        if (columns < PANEL)
            memset(to, 0, (size_t)depth * PANEL * sizeof *to);
        if (!b_transposed) {
            copy_rows(to, PANEL, b + j, ldb, depth, columns);
            continue;
        }
        int c = 0;
        for (; c + 4 <= columns; c += 4)
            transpose4(to + c, b + (size_t)(j + c) * ldb, ldb, depth);
        for (; c < columns; c++)
            for (int k = 0; k < depth; k++)
                to[(size_t)k * PANEL + c] = b[(size_t)(j + c) * ldb + k];
    }
}

/* m rows of op(a); `there` of them, at least m, exist from here on. */
TARGET static void pack_a(km_real *to, const km_real *a, size_t lda, int a_transposed, int m, int there, int depth)
{
    if (!a_transposed)
        copy_rows(to, PITCH, a, lda, m, depth);
    else if (there >= ROWS)
        copy_rows(to, ROWS, a, lda, depth, ROWS);
    else
        copy_rows(to, ROWS, a, lda, depth, m);
}

TARGET void GEMM(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
                 int b_transposed, int M, int N, int K, km_real alpha, km_real beta)
{
    km_real packed_a[ROWS * PITCH] __attribute__((aligned(64)));
    const size_t a_row = a_transposed ? 1 : (size_t)lda, a_step = a_transposed ? (size_t)lda : 1;
    const size_t b_step = b_transposed ? 1 : (size_t)ldb, b_column = b_transposed ? (size_t)ldb : 1;
    if (K <= 0) {
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++)
                y[(size_t)i * (size_t)ldy + j] = beta == 0 ? 0 : beta * y[(size_t)i * (size_t)ldy + j];
        return;
    }
    if (M <= 0)
        return;
    int strips = (K + DEPTH - 1) / DEPTH, tiles = (M + ROWS - 1) / ROWS;
    for (int k = 0, depth; k < K; k += depth) {
        depth = (K - k) / strips--;         /* strips of almost equal length, fixed by K alone */
        for (int j = 0; j < N; j += WIDTH) {
            int width = N - j < WIDTH ? N - j : WIDTH;
            pack_b(b + (size_t)k * b_step + (size_t)j * b_column, (size_t)ldb, b_transposed, width, depth);
            for (int t = 0, i = 0, m; t < tiles; t++, i += m) {
                m = (M - i) / (tiles - t);
                pack_a(packed_a, a + (size_t)i * a_row + (size_t)k * a_step, (size_t)lda, a_transposed, m, M - i,
                       depth);
                for (int p = 0; p < width; p += PANEL)
                    tile_of(y + (size_t)i * (size_t)ldy + j + p, (size_t)ldy, packed_a, a_transposed,
                            packed_b + (size_t)p * depth, m, width - p < PANEL ? width - p : PANEL, depth, alpha,
                            k == 0 ? beta : 1);
            }
        }
    }
}
