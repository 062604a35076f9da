#include "model/unimodal.h"

#include "model/query.h"

/* Of a recording's dropout sites, the ones that layer 0 of the query network leaves over. */
enum { FIRST_PLACE = 6 };

void km_unimodal_layout(km_unimodal *m, km_arena *arena, const km_config *c, int B)
{
    size_t b = (size_t)B, n = b * (size_t)c->projection_width;
    for (int i = 0; i < 2; i++) {
        m->u[i] = km_arena_reals(arena, n);
        m->rnorm[i] = km_arena_reals(arena, b);
        m->du[i] = km_arena_reals(arena, n);
    }
    m->h = km_arena_reals(arena, n);
    m->x = m->dx = NULL;
    if (c->encoder == KM_RESNET18) {
        m->x = km_arena_reals(arena, n);
        m->dx = km_arena_reals(arena, n);
    }
    m->pairs = km_arena_reals(arena, 2 * b * b + 2 * b);
}

/* The mask of map i on every row of x (B, J): its own gradient rule. */
static void drop(km_real *x, int i, const int64_t *recording, const km_dropout *dropout, const km_ops *o, int B,
                 size_t J)
{
    for (int b = 0; dropout != NULL && dropout->rate > 0 && b < B; b++) {
        km_dropout d = *dropout;
        d.site = km_query_site(recording != NULL ? recording[b] : b) + (uint64_t)(FIRST_PLACE + i);
        o->dropout_forward(x + (size_t)b * J, x + (size_t)b * J, J, &d);
    }
}

void km_unimodal_forward(km_unimodal *m, const km_real *features, const int64_t *recording, const km_dropout *dropout,
                         const km_params *w, const km_config *c, const km_ops *o, int B)
{
    const km_real *map[2] = {w->unimodal1_weight, w->unimodal2_weight}, *x = m->x != NULL ? m->x : features;
    int J = (int)c->projection_width;
    if (m->x != NULL)
        o->linear_forward(m->x, features, w->down_weight, w->down_bias, B, J, (int)c->width);
    for (int i = 0; i < 2; i++) {
        o->linear_forward(m->h, x, map[i], NULL, B, J, (int)km_config_unimodal(c));
        drop(m->h, i, recording, dropout, o, B, (size_t)J);
        o->normalize_forward(m->u[i], m->rnorm[i], m->h, B, J);
    }
}

double km_unimodal_loss(km_unimodal *m, double *dlog_scale, const km_params *w, const km_config *c, const km_ops *o,
                        int B)
{
    double scale = w->log_scale != NULL ? exp((double)*w->log_scale) : 1 / c->temperature, dscale = 0;
    double loss = o->infonce(m->du[0], m->du[1], &dscale, m->pairs, m->u[0], m->u[1], scale, NULL, B,
                             (int)c->projection_width, KM_SUM, 1);
    *dlog_scale += dscale * scale;
    return loss;
}

void km_unimodal_backward(km_real *dfeatures, km_params *dw, km_unimodal *m, const km_real *features,
                          const int64_t *recording, const km_dropout *dropout, const km_params *w, const km_config *c,
                          const km_ops *o, int B, km_real weight)
{
    const km_real *x = m->x != NULL ? m->x : features;
    km_real *dx = m->x != NULL ? m->dx : dfeatures;
    const km_real *map[2] = {w->unimodal1_weight, w->unimodal2_weight};
    km_real *dmap[2] = {dw->unimodal1_weight, dw->unimodal2_weight};
    int J = (int)c->projection_width;
    for (int i = 0; i < 2; i++) {
        o->vector_scale(m->du[i], weight, (size_t)B * (size_t)J);
        o->normalize_backward(m->h, m->du[i], m->u[i], m->rnorm[i], B, J);
        drop(m->h, i, recording, dropout, o, B, (size_t)J);
        o->linear_backward(dx, dmap[i], NULL, m->h, x, map[i], B, J, (int)km_config_unimodal(c), m->x == NULL || i > 0);
    }
    if (m->x != NULL)
        o->linear_backward(dfeatures, dw->down_weight, dw->down_bias, m->dx, features, w->down_weight, B, J,
                           (int)c->width, 1);
}
