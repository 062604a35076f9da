#include "model/attentionpool.h"

#include <string.h>

void km_attentionpool_layout(km_attentionpool *p, km_arena *arena, const km_config *c, int backward)
{
    size_t J = (size_t)c->projection_width, T = (size_t)km_resnet_positions(c) + 1;
    p->x = km_arena_reals(arena, T * J);
    p->kv = km_arena_reals(arena, T * 2 * J);
    p->q = km_arena_reals(arena, J);
    p->lse = km_arena_reals(arena, J / KM_HEAD_SIZE);
    p->attention = km_arena_reals(arena, J);
    p->scratch = km_arena_reals(arena, km_attention_scratch(1, (int)T, KM_HEAD_SIZE));
    p->dx = p->dkv = p->dq = p->dattention = NULL;
    if (backward) {
        p->dx = km_arena_reals(arena, T * J);
        p->dkv = km_arena_reals(arena, T * 2 * J);
        p->dq = km_arena_reals(arena, J);
        p->dattention = km_arena_reals(arena, J);
    }
}

void km_attentionpool_forward(km_real *out, km_attentionpool *p, const km_real *z, const km_params *w,
                              const km_config *c, const km_ops *o)
{
    int J = (int)c->projection_width, L = (int)km_resnet_positions(c), H = J / KM_HEAD_SIZE;
    memcpy(p->x, w->pool_token, (size_t)J * sizeof(km_real));
    o->linear_forward(p->x + J, z, w->down_weight, w->down_bias, L, J, (int)c->width);
    o->vector_accumulate(p->x + J, w->pool_positions, (size_t)L * (size_t)J);
    o->linear_forward(p->q, p->x, w->pool_q_weight, w->pool_q_bias, 1, J, J);
    o->linear_forward(p->kv, p->x, w->pool_kv_weight, w->pool_kv_bias, L + 1, 2 * J, J);
    o->attention_forward(p->attention, p->lse, p->scratch, p->q, p->kv, p->kv + J, 1, L + 1, H, KM_HEAD_SIZE, J, 2 * J,
                         J, NULL);
    o->linear_forward(out, p->attention, w->pool_out_weight, w->pool_out_bias, 1, J, J);
}

void km_attentionpool_backward(km_real *dz, km_params *dw, km_attentionpool *p, const km_real *dout, const km_real *z,
                               const km_params *w, const km_config *c, const km_ops *o)
{
    int J = (int)c->projection_width, L = (int)km_resnet_positions(c), H = J / KM_HEAD_SIZE;
    o->linear_backward(p->dattention, dw->pool_out_weight, dw->pool_out_bias, dout, p->attention, w->pool_out_weight, 1,
                       J, J, 0);
    o->attention_backward(p->dq, p->dkv, p->dkv + J, p->scratch, p->dattention, p->attention, p->lse, p->q, p->kv,
                          p->kv + J, 1, L + 1, H, KM_HEAD_SIZE, J, 2 * J, J, NULL);
    o->linear_backward(p->dx, dw->pool_kv_weight, dw->pool_kv_bias, p->dkv, p->x, w->pool_kv_weight, L + 1, 2 * J, J,
                       0);
    o->linear_backward(p->dx, dw->pool_q_weight, dw->pool_q_bias, p->dq, p->x, w->pool_q_weight, 1, J, J, 1);
    o->vector_accumulate(dw->pool_token, p->dx, (size_t)J);
    o->vector_accumulate(dw->pool_positions, p->dx + J, (size_t)L * (size_t)J);
    o->linear_backward(dz, dw->down_weight, dw->down_bias, p->dx + J, z, w->down_weight, L, J, (int)c->width, 0);
}
