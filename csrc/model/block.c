#include "model/block.h"

/* Of T rows, those that go through the MLP together. */
static int mlp_rows(const km_ops *o, int T)
{
    return o->mlp_rows > 0 && o->mlp_rows < T ? o->mlp_rows : T;
}

void km_block_layout(km_block *b, km_arena *arena, const km_config *c, const km_ops *o, int T, int keep)
{
    size_t t = (size_t)T, C = (size_t)c->width, F = (size_t)c->mlp_width, rows = keep ? t : (size_t)mlp_rows(o, T);
    b->n1 = km_arena_reals(arena, t * C);
    b->mean1 = km_arena_reals(arena, t);
    b->rstd1 = km_arena_reals(arena, t);
    b->qkv = km_arena_reals(arena, t * 3 * C);
    b->lse = km_arena_reals(arena, t * (size_t)c->heads);
    b->attention = km_arena_reals(arena, t * C);
    b->x1 = km_arena_reals(arena, t * C);
    b->keep = keep;
    b->n2 = km_arena_reals(arena, rows * C);
    b->mean2 = km_arena_reals(arena, rows);
    b->rstd2 = km_arena_reals(arena, rows);
    b->h = km_arena_reals(arena, rows * F);
    b->g = km_arena_reals(arena, rows * F);
}

void km_block_scratch_layout(km_block_scratch *s, km_arena *arena, const km_config *c, int T, int longest, int backward)
{
    size_t t = (size_t)T, C = (size_t)c->width;
    s->attention = km_arena_reals(arena, km_attention_scratch(longest, longest, KM_HEAD_SIZE));
    s->dg = s->dn = s->dattention = s->dqkv = NULL;
    if (backward) {
        s->dg = km_arena_reals(arena, t * (size_t)c->mlp_width);
        s->dn = km_arena_reals(arena, t * C);
        s->dattention = km_arena_reals(arena, t * C);
        s->dqkv = km_arena_reals(arena, t * 3 * C);
    }
}

void km_block_forward(km_real *y, km_block *b, km_block_scratch *s, const km_real *x, const km_block_params *w,
                      const km_config *c, const km_ops *o, const int32_t *offset, int B)
{
    int T = offset[B], C = (int)c->width, F = (int)c->mlp_width, H = (int)c->heads;
    b->x = x;
    o->layernorm_forward(b->n1, b->mean1, b->rstd1, x, w->norm1_weight, w->norm1_bias, T, C, KM_LAYERNORM_EPS);
    o->packed_forward(b->qkv, b->n1, w->qkv_weight, w->qkv_bias, T, 3 * C, C);
    for (int i = 0; i < B; i++) {
        size_t first = (size_t)offset[i];
        int n = offset[i + 1] - offset[i];
        const km_real *q = b->qkv + first * 3 * C;
        o->attention_forward(b->attention + first * C, b->lse + first * H, s->attention, q, q + C, q + 2 * C, n, n, H,
                             KM_HEAD_SIZE, 3 * C, 3 * C, C, NULL);
    }
    o->packed_forward(b->x1, b->attention, w->out_weight, w->out_bias, T, C, C);
    o->vector_accumulate(b->x1, x, (size_t)T * C);
    for (int t = 0, n; t < T; t += n) {
        n = mlp_rows(o, T - t);
        size_t first = (size_t)t * C, at = b->keep ? (size_t)t : 0;
        km_real *n2 = b->n2 + at * C, *h = b->h + at * F, *g = b->g + at * F;
        o->layernorm_forward(n2, b->mean2 + at, b->rstd2 + at, b->x1 + first, w->norm2_weight, w->norm2_bias, n, C,
                             KM_LAYERNORM_EPS);
        o->packed_forward(h, n2, w->fc1_weight, w->fc1_bias, n, F, C);
        o->gelu_forward(g, h, (size_t)n * F);
        o->packed_forward(y + first, g, w->fc2_weight, w->fc2_bias, n, C, F);
        o->vector_accumulate(y + first, b->x1 + first, (size_t)n * C);
    }
}

void km_block_backward(km_real *dx, km_block_params *dw, const km_block *b, km_block_scratch *s,
                       const km_block_params *w, const km_config *c, const km_ops *o, const int32_t *offset, int B)
{
    int T = offset[B], C = (int)c->width, F = (int)c->mlp_width, H = (int)c->heads;
    o->packed_backward(s->dg, dw->fc2_weight, dw->fc2_bias, dx, b->g, w->fc2_weight, T, C, F, 0);
    o->gelu_backward(s->dg, s->dg, b->h, (size_t)T * F);
    o->packed_backward(s->dn, dw->fc1_weight, dw->fc1_bias, s->dg, b->n2, w->fc1_weight, T, F, C, 0);
    o->layernorm_backward(dx, dw->norm2_weight, dw->norm2_bias, s->dn, b->x1, b->mean2, b->rstd2, w->norm2_weight, T, C,
                          1);
    o->packed_backward(s->dattention, dw->out_weight, dw->out_bias, dx, b->attention, w->out_weight, T, C, C, 0);
    for (int i = 0; i < B; i++) {
        size_t first = (size_t)offset[i];
        int n = offset[i + 1] - offset[i];
        const km_real *q = b->qkv + first * 3 * C;
        km_real *dq = s->dqkv + first * 3 * C;
        o->attention_backward(dq, dq + C, dq + 2 * C, s->attention, s->dattention + first * C,
                              b->attention + first * C, b->lse + first * H, q, q + C, q + 2 * C, n, n, H, KM_HEAD_SIZE,
                              3 * C, 3 * C, C, NULL);
    }
    o->packed_backward(s->dn, dw->qkv_weight, dw->qkv_bias, s->dqkv, b->n1, w->qkv_weight, T, 3 * C, C, 0);
    o->layernorm_backward(dx, dw->norm1_weight, dw->norm1_bias, s->dn, b->x, b->mean1, b->rstd1, w->norm1_weight, T, C,
                          1);
}
