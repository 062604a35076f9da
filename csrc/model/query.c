#include "model/query.h"

#include <math.h>
#include <string.h>

/* Places in a layer where dropout acts; layer 0's last two are those of model/unimodal.c. */
enum { SELF_WEIGHTS, SELF_BRANCH, CROSS_WEIGHTS, CROSS_BRANCH, HIDDEN, MLP_BRANCH, PLACES = 8 };

static double projected(const km_real *weight, const km_real *x, int D)
{
    double sum = 0;
    for (int k = 0; k < D; k++)
        sum += (double)weight[k] * (double)x[k];
    return sum;
}

void km_query_centre(km_real *weight, km_real *bias, const km_real *x, int n, int W, int D)
{
    double square = 0;
    for (int i = 0; i < W; i++) {
        const km_real *row = weight + (size_t)i * D;
        double mean = 0;
        for (int j = 0; j < n; j++)
            mean += projected(row, x + (size_t)j * D, D) / n;
        for (int j = 0; j < n; j++) {
            const double d = projected(row, x + (size_t)j * D, D) - mean;
            square += d * d;
        }
        bias[i] = (km_real)-mean;
    }
    const double scale = square > 0 ? 1 / sqrt(square / ((double)n * W)) : 1;
    for (int i = 0; i < W; i++)
        bias[i] = (km_real)((double)bias[i] * scale);
    for (size_t k = 0; k < (size_t)W * D; k++)
        weight[k] = (km_real)((double)weight[k] * scale);
}

uint64_t km_query_site(int64_t recording)
{
    /* Site 0 belongs to the half that all recordings share. */
    return ((uint64_t)recording + 1) * PLACES * KM_MAX_QUERY_LAYERS;
}

static km_dropout at(const km_dropout *dropout, int layer, int place)
{
    km_dropout d = {0, 0, 0, 0};
    if (dropout != NULL) {
        d = *dropout;
        d.site += (uint64_t)(layer * PLACES + place);
    }
    return d;
}

/* x (Q, W) becomes dropout(x) + residual. */
static void join_branch(km_real *x, const km_real *residual, const km_dropout *d, const km_ops *o, size_t n)
{
    if (d->rate > 0)
        o->dropout_forward(x, x, n, d);
    o->vector_accumulate(x, residual, n);
}

/* The gradient that enters a branch: dx itself, or its dropped copy. */
static const km_real *branch_gradient(km_real *copy, const km_real *dx, const km_dropout *d, const km_ops *o, size_t n)
{
    if (d->rate == 0)
        return dx;
    o->dropout_forward(copy, dx, n, d);
    return copy;
}

static void layout_self(km_query_layer *l, km_arena *arena, const km_config *c, size_t Q)
{
    size_t W = (size_t)c->query_width, A = (size_t)km_config_attention(c);
    l->n1 = km_arena_reals(arena, Q * W);
    l->mean1 = km_arena_reals(arena, Q);
    l->rstd1 = km_arena_reals(arena, Q);
    l->qkv = km_arena_reals(arena, Q * 3 * A);
    l->lse1 = km_arena_reals(arena, Q * (size_t)c->query_heads);
    l->attention1 = km_arena_reals(arena, Q * A);
    l->x1 = km_arena_reals(arena, Q * W);
}

/* What the cross-attention asks. */
static void layout_questions(km_query_layer *l, km_arena *arena, const km_config *c, size_t Q)
{
    l->n2 = km_arena_reals(arena, Q * (size_t)c->query_width);
    l->mean2 = km_arena_reals(arena, Q);
    l->rstd2 = km_arena_reals(arena, Q);
    l->q = km_arena_reals(arena, Q * (size_t)km_config_attention(c));
}

static void layout_cross(km_query_layer *l, km_arena *arena, const km_config *c, size_t Q)
{
    size_t W = (size_t)c->query_width, A = (size_t)km_config_attention(c);
    l->lse2 = km_arena_reals(arena, Q * (size_t)c->query_heads);
    l->attention2 = km_arena_reals(arena, Q * A);
    l->x2 = km_arena_reals(arena, Q * W);
    l->n3 = km_arena_reals(arena, Q * W);
    l->mean3 = km_arena_reals(arena, Q);
    l->rstd3 = km_arena_reals(arena, Q);
    l->h = km_arena_reals(arena, Q * (size_t)c->query_mlp_width);
    l->y = km_arena_reals(arena, Q * W);
}

void km_query_shared_layout(km_query_shared *s, km_arena *arena, const km_config *c, int Q, int backward)
{
    size_t n = (size_t)Q, W = (size_t)c->query_width, A = (size_t)km_config_attention(c);
    memset(s, 0, sizeof *s);
    s->q = km_arena_reals(arena, n * W);
    layout_self(&s->first, arena, c, n);
    layout_questions(&s->first, arena, c, n);
    s->scratch = km_arena_reals(arena, km_attention_scratch(Q, Q, KM_HEAD_SIZE));
    if (backward) {
        s->dx1 = km_arena_reals(arena, n * W);
        s->dq = km_arena_reals(arena, n * A);
        s->branch = km_arena_reals(arena, n * W);
        s->dn = km_arena_reals(arena, n * W);
        s->dattention = km_arena_reals(arena, n * A);
        s->dqkv = km_arena_reals(arena, n * 3 * A);
    }
}

void km_query_span_layout(km_query_span *s, km_arena *arena, const km_config *c, int T, int backward)
{
    size_t t = (size_t)T, W = (size_t)c->query_width, A = (size_t)km_config_attention(c);
    memset(s, 0, sizeof *s);
    s->projected = km_arena_reals(arena, t * W);
    s->mean = km_arena_reals(arena, t);
    s->rstd = km_arena_reals(arena, t);
    s->memory = km_arena_reals(arena, t * W);
    for (int i = 0; i < c->query_layers; i++) {
        s->kv[i] = km_arena_reals(arena, t * 2 * A);
        if (backward)
            s->dkv[i] = km_arena_reals(arena, t * 2 * A);
    }
    if (backward)
        s->dmemory = km_arena_reals(arena, t * W);
}

void km_query_layout(km_query *q, km_arena *arena, const km_config *c, int Q, int longest, int backward)
{
    size_t n = (size_t)Q, W = (size_t)c->query_width, A = (size_t)km_config_attention(c);
    memset(q, 0, sizeof *q);
    for (int i = 0; i < c->query_layers; i++) {
        km_query_layer *l = &q->layers[i];
        if (backward || i < 2) {
            if (i > 0) {                            /* the first layer's are shared */
                layout_self(l, arena, c, n);
                layout_questions(l, arena, c, n);
            }
            layout_cross(l, arena, c, n);
        } else {
            *l = q->layers[1];                      /* evaluation: two layers take turns ... */
            l->y = q->layers[i % 2].y;              /* ... so that x and y differ            */
        }
    }
    q->n = km_arena_reals(arena, n * W);
    q->mean = km_arena_reals(arena, n);
    q->rstd = km_arena_reals(arena, n);
    q->scratch = km_arena_reals(arena, km_attention_scratch(Q, Q > longest ? Q : longest, KM_HEAD_SIZE));
    if (backward) {
        q->dx = km_arena_reals(arena, n * W);
        q->branch = km_arena_reals(arena, n * W);
        q->dn = km_arena_reals(arena, n * W);
        q->dattention = km_arena_reals(arena, n * A);
        q->dqkv = km_arena_reals(arena, n * 3 * A);
        q->dh = km_arena_reals(arena, n * (size_t)c->query_mlp_width);
    }
}

/* x1 = x + Out(SelfAttention(Norm1(x))). An isolated query attends to itself alone: its attention is its value. */
static void self_forward(km_query_layer *l, km_real *scratch, const km_real *x, const km_layer_params *w,
                         const km_config *c, const km_ops *o, const km_dropout *dropout, int layer, int Q)
{
    int W = (int)c->query_width, A = (int)km_config_attention(c), H = (int)c->query_heads;
    km_dropout weights = at(dropout, layer, SELF_WEIGHTS), branch = at(dropout, layer, SELF_BRANCH);
    l->x = x;
    o->layernorm_forward(l->n1, l->mean1, l->rstd1, x, w->norm1_weight, w->norm1_bias, Q, W, KM_LAYERNORM_EPS);
    if (c->isolate_queries) {
        o->packed_forward(l->attention1, l->n1, w->self_qkv_weight, w->self_qkv_bias + 2 * A, Q, A, W);
    } else {
        o->packed_forward(l->qkv, l->n1, w->self_qkv_weight, w->self_qkv_bias, Q, 3 * A, W);
        o->attention_forward(l->attention1, l->lse1, scratch, l->qkv, l->qkv + A, l->qkv + 2 * A, Q, Q, H, KM_HEAD_SIZE,
                             3 * A, 3 * A, A, &weights);
    }
    o->packed_forward(l->x1, l->attention1, w->self_out_weight, w->self_out_bias, Q, W, A);
    join_branch(l->x1, x, &branch, o, (size_t)Q * W);
}

/* dx holds the gradient of x1 on entry and that of x on return. */
static void self_backward(km_real *dx, km_layer_params *dw, const km_query_layer *l, km_real *scratch, km_real *copy,
                          km_real *dn, km_real *dattention, km_real *dqkv, const km_layer_params *w,
                          const km_config *c, const km_ops *o, const km_dropout *dropout, int layer, int Q)
{
    int W = (int)c->query_width, A = (int)km_config_attention(c), H = (int)c->query_heads;
    size_t values = (size_t)2 * A * W;
    km_dropout weights = at(dropout, layer, SELF_WEIGHTS), branch = at(dropout, layer, SELF_BRANCH);
    const km_real *dy = branch_gradient(copy, dx, &branch, o, (size_t)Q * W);
    o->packed_backward(dattention, dw->self_out_weight, dw->self_out_bias, dy, l->attention1, w->self_out_weight, Q, W,
                       A, 0);
    if (c->isolate_queries) {
        o->packed_backward(dn, dw->self_qkv_weight + values, dw->self_qkv_bias + 2 * A, dattention, l->n1,
                           w->self_qkv_weight, Q, A, W, 0);
    } else {
        o->attention_backward(dqkv, dqkv + A, dqkv + 2 * A, scratch, dattention, l->attention1, l->lse1, l->qkv,
                              l->qkv + A, l->qkv + 2 * A, Q, Q, H, KM_HEAD_SIZE, 3 * A, 3 * A, A, &weights);
        o->packed_backward(dn, dw->self_qkv_weight, dw->self_qkv_bias, dqkv, l->n1, w->self_qkv_weight, Q, 3 * A, W, 0);
    }
    o->layernorm_backward(dx, dw->norm1_weight, dw->norm1_bias, dn, l->x, l->mean1, l->rstd1, w->norm1_weight, Q, W, 1);
}

/* q = Linear(Norm2(x1)). */
static void ask(km_query_layer *l, const km_layer_params *w, const km_config *c, const km_ops *o, int Q)
{
    int W = (int)c->query_width;
    o->layernorm_forward(l->n2, l->mean2, l->rstd2, l->x1, w->norm2_weight, w->norm2_bias, Q, W, KM_LAYERNORM_EPS);
    o->packed_forward(l->q, l->n2, w->cross_q_weight, w->cross_q_bias, Q, (int)km_config_attention(c), W);
}

/* dx1 += the gradient that comes through q. */
static void ask_backward(km_real *dx1, km_layer_params *dw, const km_query_layer *l, const km_real *dq, km_real *dn,
                         const km_layer_params *w, const km_config *c, const km_ops *o, int Q)
{
    int W = (int)c->query_width;
    o->packed_backward(dn, dw->cross_q_weight, dw->cross_q_bias, dq, l->n2, w->cross_q_weight, Q,
                       (int)km_config_attention(c), W, 0);
    o->layernorm_backward(dx1, dw->norm2_weight, dw->norm2_bias, dn, l->x1, l->mean2, l->rstd2, w->norm2_weight, Q, W,
                          1);
}

void km_query_open(km_query_shared *s, const km_real *entities, const km_params *w, const km_config *c,
                   const km_ops *o, const km_dropout *dropout, int Q)
{
    km_dropout shared = {0, 0, 0, 0};
    if (dropout != NULL) {
        shared = *dropout;
        shared.site = 0;
    }
    o->linear_forward(s->q, entities, w->query_weight, w->query_bias, Q, (int)c->query_width, (int)c->text_width);
    self_forward(&s->first, s->scratch, s->q, &w->layers[0], c, o, &shared, 0, Q);
    ask(&s->first, &w->layers[0], c, o, Q);
}

void km_query_close(km_params *dw, km_query_shared *s, const km_real *entities, const km_params *w,
                    const km_config *c, const km_ops *o, const km_dropout *dropout, int Q)
{
    km_dropout shared = {0, 0, 0, 0};
    if (dropout != NULL) {
        shared = *dropout;
        shared.site = 0;
    }
    ask_backward(s->dx1, &dw->layers[0], &s->first, s->dq, s->dn, &w->layers[0], c, o, Q);
    self_backward(s->dx1, &dw->layers[0], &s->first, s->scratch, s->branch, s->dn, s->dattention, s->dqkv,
                  &w->layers[0], c, o, &shared, 0, Q);
    o->linear_backward(NULL, dw->query_weight, dw->query_bias, s->dx1, entities, w->query_weight, Q,
                       (int)c->query_width, (int)c->text_width, 0);
}

void km_query_memory(km_query_span *s, const km_real *z, const km_params *w, const km_config *c, const km_ops *o, int T)
{
    int W = (int)c->query_width, A = (int)km_config_attention(c);
    o->linear_forward(s->projected, z, w->memory_weight, w->memory_bias, T, W, (int)c->width);
    o->layernorm_forward(s->memory, s->mean, s->rstd, s->projected, w->memory_norm_weight, w->memory_norm_bias, T, W,
                         KM_LAYERNORM_EPS);
    for (int i = 0; i < c->query_layers; i++)
        o->packed_forward(s->kv[i], s->memory, w->layers[i].cross_kv_weight, w->layers[i].cross_kv_bias, T, 2 * A, W);
}

void km_query_memory_backward(km_real *dz, km_params *dw, km_query_span *s, const km_real *z, const km_params *w,
                              const km_config *c, const km_ops *o, int T)
{
    int W = (int)c->query_width, A = (int)km_config_attention(c);
    for (int i = 0; i < c->query_layers; i++)
        o->packed_backward(s->dmemory, dw->layers[i].cross_kv_weight, dw->layers[i].cross_kv_bias, s->dkv[i], s->memory,
                           w->layers[i].cross_kv_weight, T, 2 * A, W, i > 0);
    o->layernorm_backward(s->dmemory, dw->memory_norm_weight, dw->memory_norm_bias, s->dmemory, s->projected, s->mean,
                          s->rstd, w->memory_norm_weight, T, W, 0);
    o->linear_backward(dz, dw->memory_weight, dw->memory_bias, s->dmemory, z, w->memory_weight, T, W, (int)c->width, 0);
}

void km_query_forward(km_real *logits, km_query *query, const km_query_shared *shared, const km_query_span *span,
                      int first, int n, const km_params *w, const km_config *c, const km_ops *o,
                      const km_dropout *dropout, int Q)
{
    int W = (int)c->query_width, A = (int)km_config_attention(c), F = (int)c->query_mlp_width, H = (int)c->query_heads;
    size_t size = (size_t)Q * W;
    for (int i = 0; i < c->query_layers; i++) {
        km_query_layer *l = &query->layers[i];
        const km_layer_params *p = &w->layers[i];
        const km_real *keys = span->kv[i] + (size_t)first * 2 * A;
        km_dropout weights = at(dropout, i, CROSS_WEIGHTS), cross = at(dropout, i, CROSS_BRANCH);
        km_dropout hidden = at(dropout, i, HIDDEN), mlp = at(dropout, i, MLP_BRANCH);
        if (i == 0) {
            l->x1 = shared->first.x1;
            l->q = shared->first.q;
        } else {
            self_forward(l, query->scratch, query->layers[i - 1].y, p, c, o, dropout, i, Q);
            ask(l, p, c, o, Q);
        }

        o->attention_forward(l->attention2, l->lse2, query->scratch, l->q, keys, keys + A, Q, n, H, KM_HEAD_SIZE, A,
                             2 * A, A, &weights);
        o->packed_forward(l->x2, l->attention2, p->cross_out_weight, p->cross_out_bias, Q, W, A);
        join_branch(l->x2, l->x1, &cross, o, size);

        o->layernorm_forward(l->n3, l->mean3, l->rstd3, l->x2, p->norm3_weight, p->norm3_bias, Q, W, KM_LAYERNORM_EPS);
        o->packed_forward(l->h, l->n3, p->fc1_weight, p->fc1_bias, Q, F, W);
        o->relu_forward(l->h, l->h, (size_t)Q * F);
        if (hidden.rate > 0)
            o->dropout_forward(l->h, l->h, (size_t)Q * F, &hidden);
        o->packed_forward(l->y, l->h, p->fc2_weight, p->fc2_bias, Q, W, F);
        join_branch(l->y, l->x2, &mlp, o, size);
    }
    o->layernorm_forward(query->n, query->mean, query->rstd, query->layers[c->query_layers - 1].y, w->query_norm_weight,
                         w->query_norm_bias, Q, W, KM_LAYERNORM_EPS);
    o->linear_forward(logits, query->n, w->classifier_weight, w->classifier_bias, Q, 1, W);
}

void km_query_backward(km_real *dx1, km_real *dq, km_params *dw, const km_real *dlogits, km_query *query,
                       km_query_span *span, int first, int n, const km_params *w, const km_config *c, const km_ops *o,
                       const km_dropout *dropout, int Q)
{
    int W = (int)c->query_width, A = (int)km_config_attention(c), F = (int)c->query_mlp_width, H = (int)c->query_heads;
    size_t size = (size_t)Q * W;
    km_real *dx = query->dx, *dn = query->dn;
    o->linear_backward(dn, dw->classifier_weight, dw->classifier_bias, dlogits, query->n, w->classifier_weight, Q, 1, W,
                       0);
    o->layernorm_backward(dx, dw->query_norm_weight, dw->query_norm_bias, dn, query->layers[c->query_layers - 1].y,
                          query->mean, query->rstd, w->query_norm_weight, Q, W, 0);
    for (int i = (int)c->query_layers - 1; i >= 0; i--) {
        const km_query_layer *l = &query->layers[i];
        const km_layer_params *p = &w->layers[i];
        km_layer_params *dp = &dw->layers[i];
        const km_real *keys = span->kv[i] + (size_t)first * 2 * A;
        km_real *dkeys = span->dkv[i] + (size_t)first * 2 * A;
        km_dropout weights = at(dropout, i, CROSS_WEIGHTS), cross = at(dropout, i, CROSS_BRANCH);
        km_dropout hidden = at(dropout, i, HIDDEN), mlp = at(dropout, i, MLP_BRANCH);

        const km_real *dy = branch_gradient(query->branch, dx, &mlp, o, size);
        o->packed_backward(query->dh, dp->fc2_weight, dp->fc2_bias, dy, l->h, p->fc2_weight, Q, W, F, 0);
        if (hidden.rate > 0)
            o->dropout_forward(query->dh, query->dh, (size_t)Q * F, &hidden);
        o->relu_backward(query->dh, query->dh, l->h, (size_t)Q * F);
        o->packed_backward(dn, dp->fc1_weight, dp->fc1_bias, query->dh, l->n3, p->fc1_weight, Q, F, W, 0);
        o->layernorm_backward(dx, dp->norm3_weight, dp->norm3_bias, dn, l->x2, l->mean3, l->rstd3, p->norm3_weight,
                              Q, W, 1);

        dy = branch_gradient(query->branch, dx, &cross, o, size);
        o->packed_backward(query->dattention, dp->cross_out_weight, dp->cross_out_bias, dy, l->attention2,
                           p->cross_out_weight, Q, W, A, 0);
        o->attention_backward(query->dqkv, dkeys, dkeys + A, query->scratch, query->dattention, l->attention2, l->lse2,
                              l->q, keys, keys + A, Q, n, H, KM_HEAD_SIZE, A, 2 * A, A, &weights);
        if (i > 0) {
            ask_backward(dx, dp, l, query->dqkv, dn, p, c, o, Q);
            self_backward(dx, dp, l, query->scratch, query->branch, dn, query->dattention, query->dqkv, p, c, o,
                          dropout, i, Q);
        }
    }
    o->vector_accumulate(dx1, dx, size);
    o->vector_accumulate(dq, query->dqkv, (size_t)Q * A);
}

void km_query_attention(km_real *weights, const km_query *query, const km_query_span *span, int first, int n,
                        const km_config *c, const km_ops *o, int Q)
{
    int A = (int)km_config_attention(c), last = (int)c->query_layers - 1;
    o->attention_weights(weights, query->scratch, query->layers[last].q, span->kv[last] + (size_t)first * 2 * A, Q, n,
                         (int)c->query_heads, KM_HEAD_SIZE, A, 2 * A);
}
