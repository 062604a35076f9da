#include "model/encoder.h"

void km_encoder_layout(km_encoder *e, km_arena *arena, const km_config *c, const km_ops *o, int T, int keep)
{
    size_t n = (size_t)T * (size_t)c->width;
    for (int i = 0; i <= c->depth; i++)
        e->x[i] = keep || i < 2 ? km_arena_reals(arena, n) : e->x[i - 2];
    for (int i = 0; i < c->depth; i++) {
        if (keep || i == 0)
            km_block_layout(&e->blocks[i], arena, c, o, T, keep);
        else
            e->blocks[i] = e->blocks[0];
    }
    e->mean = km_arena_reals(arena, (size_t)T);
    e->rstd = km_arena_reals(arena, (size_t)T);
    e->z = km_arena_reals(arena, n);
}

/* Agnostic tokens have no lead; all of them are of lead 0, whose embedding is their bias. */
static km_real *lead_table(const km_params *w)
{
    return w->tokens_bias != NULL ? w->tokens_bias : w->tokens_lead;
}

void km_encoder_forward(km_real *pooled, km_encoder *e, km_block_scratch *s, const km_real *patches,
                        const int32_t *lead, const int32_t *segment, const int32_t *offset, int B, const km_params *w,
                        const km_config *c, const km_ops *o)
{
    int T = offset[B], C = (int)c->width;
    o->tokens_forward(e->x[0], patches, lead, segment, w->tokens_weight, lead_table(w), w->tokens_temporal, T, C,
                      (int)km_config_patch(c));
    for (int i = 0; i < c->depth; i++)
        km_block_forward(e->x[i + 1], &e->blocks[i], s, e->x[i], &w->blocks[i], c, o, offset, B);
    if (c->final_norm == KM_NORM_MEAN) {
        o->pool_forward(e->z, e->x[c->depth], offset, B, C);
        o->layernorm_forward(pooled, e->mean, e->rstd, e->z, w->norm_weight, w->norm_bias, B, C, KM_LAYERNORM_EPS);
        return;
    }
    o->layernorm_forward(e->z, e->mean, e->rstd, e->x[c->depth], w->norm_weight, w->norm_bias, T, C, KM_LAYERNORM_EPS);
    o->pool_forward(pooled, e->z, offset, B, C);
}

void km_encoder_backward(km_params *dw, km_real *dx, km_real *dz, const km_real *dpooled, int tokens,
                         const km_encoder *e, km_block_scratch *s, const km_real *patches, const int32_t *lead,
                         const int32_t *segment, const int32_t *offset, int B, const km_params *w, const km_config *c,
                         const km_ops *o)
{
    int T = offset[B], C = (int)c->width;
    if (c->final_norm == KM_NORM_MEAN) {
        o->layernorm_backward(dz, dw->norm_weight, dw->norm_bias, dpooled, e->z, e->mean, e->rstd, w->norm_weight, B,
                              C, 0);
        o->pool_backward(dx, dz, offset, B, C, 0);
    } else {
        if (dpooled != NULL)
            o->pool_backward(dz, dpooled, offset, B, C, tokens);
        o->layernorm_backward(dx, dw->norm_weight, dw->norm_bias, dz, e->x[c->depth], e->mean, e->rstd, w->norm_weight,
                              T, C, 0);
    }
    for (int i = (int)c->depth - 1; i >= 0; i--)
        km_block_backward(dx, &dw->blocks[i], &e->blocks[i], s, &w->blocks[i], c, o, offset, B);
    o->tokens_backward(dw->tokens_weight, lead_table(dw), dw->tokens_temporal, dx, patches, lead, segment, T, C,
                       (int)km_config_patch(c));
}
