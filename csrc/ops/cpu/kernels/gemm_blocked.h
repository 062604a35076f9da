/* The matrix product of one instruction set and precision; included by the files beside it, which define
 *   GEMM                   the kernel's name
 *   TARGET                 its target attribute
 *   BYTES                  bytes in a vector
 *   ROWS                   most rows in a tile of y, 4, 6 or 14; a tile is two vectors wide
 *   SPLAT(x)               a vector of x
 *   MADD(a, b, c)          a b + c, with one rounding where the processor can
 *   TRANSPOSE(to, to_pitch, from, from_pitch)   of LANES x LANES elements; optional
 *   BF16                   1: a and b are rounded to bfloat16
 *   PAIRS                  1: an element of the copies is a pair of bfloat16, the even k in its low half; with
 *                          SPLAT_PAIR, MADD_PAIR, copy_along and copy_across
 *
 * y is worked through in strips of LONGEST along k and WIDTH along n. Of each strip of op(b) a copy is made in
 * panels of two vectors, [panel][k][2 LANES], short panels filled up with zeros; it stays in the second-level
 * cache. Of an op(b) packed before, a strip is as wide as km_gemm_resident allows. Then, for up to ROWS rows of op(a)
 * at a time, a copy [row][k] (or [k][row] if a is transposed) is made that stays in the first-level cache, and
 * multiplied into one tile of y after the other, all in registers. Rows that need neither rounding nor transposing
 * are read where they are, unless their stride is a multiple of 2 KiB: then they would share cache sets.
 *
 * The sum over k of an element is one chain of multiply-adds a strip, whatever the tile's height: rows do not
 * depend on how many others there are, nor on where they stand. bfloat16: of each two k the odd one first, as the
 * processors that have such products do; the product of two bfloat16 is exact in float, so that every instruction
 * set gives the same bits (but for numbers under 2^-126, which only some take for 0).                            */
#include "ops/cpu/gemm.h"

#include <string.h>

#define INLINED static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#ifndef BF16
#define BF16 0
#endif
#ifndef PAIRS
#define PAIRS 0
#endif

enum {
    STEP = PAIRS ? 2 : 1,                   /* k of an element                                         */
    LANES = BYTES / (int)sizeof(km_real),
    PANEL = 2 * LANES,
    LONGEST = BF16 ? 512 : 256,             /* strip along k                                           */
    DEPTH = LONGEST / STEP,                 /* the same in elements                                    */
    PITCH = DEPTH + 16,                     /* row pitch of the copy of op(a): no two rows in one set  */
    WIDTH = (BF16 && !PAIRS ? 256 : 512) / PANEL * PANEL,   /* strip along n                           */
    ALIAS = 2048 / (int)sizeof(km_real)     /* row strides by whose multiples rows share cache sets    */
};

typedef km_real vector __attribute__((vector_size(BYTES)));
typedef km_real loose __attribute__((vector_size(BYTES), aligned(sizeof(km_real)), may_alias));
#if PAIRS
typedef uint32_t element;
typedef uint32_t elements __attribute__((vector_size(BYTES), may_alias));
#else
typedef km_real element;
typedef vector elements;
#define SPLAT_PAIR SPLAT
#define MADD_PAIR MADD
#endif

_Static_assert(sizeof(element) * DEPTH * (WIDTH + PANEL) <= sizeof km_gemm_space, "the copy of op(b) has no room");

#if !PAIRS
#if BF16
/* Rounded to the nearest bfloat16, ties to even; NaN stays, numbers under 2^-126 become 0. */
TARGET INLINED km_real rounded(km_real x)
{
    float single = (float)x;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    uint32_t nearest = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
    uint32_t magnitude = bits & 0x7FFFFFFF;
    bits = magnitude > 0x7F800000 ? bits | 0x00400000 : magnitude < 0x00800000 ? bits & 0x80000000 : nearest;
    memcpy(&single, &bits, sizeof single);
    return (km_real)single;
}
#endif

/* n numbers along k. */
TARGET INLINED void copy_along(element *to, const km_real *from, int n)
{
#if BF16
    int k = 0;
    for (; k + 2 <= n; k += 2) {
        to[k] = rounded(from[k + 1]);
        to[k + 1] = rounded(from[k]);
    }
    if (k < n)
        to[k] = rounded(from[k]);
#else
    memcpy(to, from, (size_t)n * sizeof *to);
#endif
}

/* rows k of `width` numbers across k; width is a constant where it can be. */
TARGET INLINED void copy_across(element *to, size_t to_pitch, const km_real *from, size_t from_pitch, int rows,
                                int width)
{
    for (int k = 0; k < rows; k++) {
#if BF16
        element *row = to + (size_t)(k + 1 == rows && k % 2 == 0 ? k : k ^ 1) * to_pitch;
        for (int c = 0; c < width; c++)
            row[c] = rounded(from[(size_t)k * from_pitch + c]);
#else
        memcpy(to + (size_t)k * to_pitch, from + (size_t)k * from_pitch, (size_t)width * sizeof *to);
#endif
    }
}
#endif

#ifndef TRANSPOSE
#define TRANSPOSE(to, to_pitch, from, from_pitch)                       \
    for (int row = 0; row < LANES; row++)                               \
        for (int column = 0; column < LANES; column++)                  \
            (to)[(size_t)column * (to_pitch) + row] = (from)[(size_t)row * (from_pitch) + column]
#endif

/* y tile (m, n) = alpha a b + beta y + bias, n <= wide * LANES; a's element (i, k) at i * row + k * step; bias may be
 * NULL.  m, wide and step are constants where this is inlined, so that the accumulators are registers.      */
TARGET INLINED void tile(km_real *y, size_t ldy, const element *a, size_t row, int step, const element *b, int m,
                         int wide, int n, int depth, km_real alpha, km_real beta, const km_real *bias)
{
    vector sum[ROWS][2];
    UNROLL
    for (int i = 0; i < m; i++) {
        sum[i][0] = sum[i][1] = (vector){0};
        __builtin_prefetch(y + (size_t)i * ldy, 1);     /* may be as far as memory: a gradient of the weights */
        if (wide > 1)
            __builtin_prefetch(y + (size_t)i * ldy + LANES, 1);
    }
    for (int k = 0; k < depth; k++) {
        const elements *panel = (const elements *)(b + (size_t)k * PANEL);
        elements b0 = panel[0], b1 = panel[wide - 1];
        UNROLL
        for (int i = 0; i < m; i++) {
            elements s = SPLAT_PAIR(a[(size_t)i * row + (size_t)(k * step)]);
            sum[i][0] = MADD_PAIR(s, b0, sum[i][0]);
            if (wide > 1)
                sum[i][1] = MADD_PAIR(s, b1, sum[i][1]);
        }
    }
    vector va = SPLAT(alpha), vb = SPLAT(beta), shift[2] = {{0}, {0}};
    if (bias != NULL)
        memcpy(shift, bias, (size_t)n * sizeof *bias);
    if (n == wide * LANES) {
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int v = 0; v < wide; v++) {
                loose *out = (loose *)(y + (size_t)i * ldy) + v;
                vector s = sum[i][v] * va + shift[v];
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
            edge[v] = MADD(vb, edge[v], sum[i][v] * va + shift[v]);
        memcpy(out, edge, (size_t)n * sizeof *out);
    }
}

#define TILE(rows)                                                                              \
    case rows:                                                                                  \
        if (pitch == 1 && n > LANES)                                                            \
            tile(y, ldy, a, 1, ROWS, b, rows, 2, n, depth, alpha, beta, bias);                  \
        else if (pitch == 1)                                                                    \
            tile(y, ldy, a, 1, ROWS, b, rows, 1, n, depth, alpha, beta, bias);                  \
        else if (n > LANES)                                                                     \
            tile(y, ldy, a, pitch, 1, b, rows, 2, n, depth, alpha, beta, bias);                 \
        else                                                                                    \
            tile(y, ldy, a, pitch, 1, b, rows, 1, n, depth, alpha, beta, bias);                 \
        break;

/* pitch: from row to row of a; 1: a is [k][row] with ROWS rows. */
TARGET static void tile_of(km_real *y, size_t ldy, const element *a, size_t pitch, const element *b, int m, int n,
                           int depth, km_real alpha, km_real beta, const km_real *bias)
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

/* A panel of op(b): row k of `depth` rows holds columns 0 .. columns - 1, then zeros. n_k numbers along k. */
TARGET static void pack_panel(element *to, const km_real *b, size_t ldb, int b_transposed, int columns, int n_k,
                              int depth)
{
    if (!b_transposed) {
        if (columns == PANEL) {
            copy_across(to, PANEL, b, ldb, n_k, PANEL);
        } else {
            memset(to, 0, (size_t)depth * PANEL * sizeof *to);
            copy_across(to, PANEL, b, ldb, n_k, columns);
        }
        return;
    }
    for (int c = 0; c < PANEL; c += LANES) {
        /* The last block may write up to LANES - 1 rows beyond depth: the next panel's, or the space's spare ones. */
        element rows[LANES * PITCH] __attribute__((aligned(64)));
        for (int i = 0; i < LANES; i++)
            if (c + i < columns)
                copy_along(rows + (size_t)i * PITCH, b + (size_t)(c + i) * ldb, n_k);
            else
                memset(rows + (size_t)i * PITCH, 0, (size_t)depth * sizeof *rows);
        for (int k = 0; k < depth; k += LANES)
            TRANSPOSE(to + (size_t)k * PANEL + c, PANEL, rows + k, PITCH);
    }
}

TARGET static void pack_b(element *to, const km_real *b, size_t ldb, int b_transposed, int n, int n_k, int depth)
{
    for (int j = 0; j < n; j += PANEL)
        pack_panel(to + (size_t)j * depth, b + (size_t)j * (b_transposed ? ldb : 1), ldb, b_transposed,
                   n - j < PANEL ? n - j : PANEL, n_k, depth);
}

/* m rows of op(a); `there` of them, at least m, exist from here on. */
TARGET static void pack_a(element *to, const km_real *a, size_t lda, int a_transposed, int m, int there, int n_k)
{
    if (!a_transposed)
        for (int i = 0; i < m; i++)
            copy_along(to + (size_t)i * PITCH, a + (size_t)i * lda, n_k);
    else if (there >= ROWS)
        copy_across(to, ROWS, a, lda, n_k, ROWS);
    else
        copy_across(to, ROWS, a, lda, n_k, m);
}

/* Length of the next of `strips` strips that cover `rest` numbers along k: almost equal, fixed by K alone; of bfloat16
 * whole pairs.                                                                                                   */
INLINED int strip_length(int rest, int strips)
{
    int length = (rest + BF16) / (1 + BF16) / strips * (1 + BF16);
    return length < rest ? length : rest;
}

TARGET static void pack(void *packed, const km_real *b, int ldb, int b_transposed, int N, int K)
{
    element *to = packed;
    int strips = (K + LONGEST - 1) / LONGEST;
    for (int k = 0, n_k; k < K; k += n_k) {
        n_k = strip_length(K - k, strips--);
        int depth = (n_k + STEP - 1) / STEP;
        pack_b(to, b + (size_t)k * (b_transposed ? 1 : (size_t)ldb), (size_t)ldb, b_transposed, N, n_k, depth);
        to += (size_t)depth * ((N + PANEL - 1) / PANEL * PANEL);
    }
}

TARGET static void multiply(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
                            int b_transposed, int M, int N, int K, km_real alpha, km_real beta, const km_real *bias,
                            const void *packed)
{
    element packed_a[ROWS * PITCH] __attribute__((aligned(64)));
    const size_t a_row = a_transposed ? 1 : (size_t)lda, a_step = a_transposed ? (size_t)lda : 1;
    const size_t b_step = b_transposed ? 1 : (size_t)ldb, b_column = b_transposed ? (size_t)ldb : 1;
    const int in_place = !BF16 && !a_transposed && lda > 1 && lda % ALIAS != 0;
    const size_t pitch = a_transposed ? 1 : in_place ? (size_t)lda : PITCH;
    const element *strip = packed;
    const int resident = packed != NULL ? km_gemm_resident() / (int)sizeof(element) : 0;
    if (K <= 0) {
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                km_real *out = y + (size_t)i * (size_t)ldy + j;
                *out = (beta == 0 ? 0 : beta * *out) + (bias != NULL ? bias[j] : 0);
            }
        return;
    }
    if (M <= 0 || N <= 0)
        return;
    int strips = (K + LONGEST - 1) / LONGEST, tiles = (M + ROWS - 1) / ROWS;
    for (int k = 0, n_k; k < K; k += n_k) {
        n_k = strip_length(K - k, strips--);
        int depth = (n_k + STEP - 1) / STEP;
        int widest = packed != NULL ? resident / depth / PANEL * PANEL : WIDTH;
        for (int j = 0; j < N; j += widest) {
            int width = N - j < widest ? N - j : widest;
            const element *panels = packed != NULL ? strip + (size_t)j * depth : (element *)km_gemm_space;
            if (packed == NULL)
                pack_b((element *)km_gemm_space, b + (size_t)k * b_step + (size_t)j * b_column, (size_t)ldb,
                       b_transposed, width, n_k, depth);
            for (int t = 0, i = 0, m; t < tiles; t++, i += m) {
                m = (M - i) / (tiles - t);
                const km_real *rows = a + (size_t)i * a_row + (size_t)k * a_step;
                if (!in_place)
                    pack_a(packed_a, rows, (size_t)lda, a_transposed, m, M - i, n_k);
                for (int p = 0; p < width; p += PANEL)
                    tile_of(y + (size_t)i * (size_t)ldy + j + p, (size_t)ldy,
                            in_place ? (const element *)(const void *)rows : packed_a, pitch,
                            panels + (size_t)p * depth, m, width - p < PANEL ? width - p : PANEL, depth, alpha,
                            k == 0 ? beta : 1, k == 0 && bias != NULL ? bias + j + p : NULL);
            }
        }
        if (packed != NULL)
            strip += (size_t)depth * ((N + PANEL - 1) / PANEL * PANEL);
    }
}

const km_gemm_kernel GEMM = {multiply, pack};
