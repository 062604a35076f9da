#include "model/projector.h"

static const km_real MOMENTUM = (km_real)0.1, EPS = (km_real)1e-5;      /* SPEC 5 */

void km_projector_layout(km_projector *p, km_arena *arena, const km_config *c, int B, int training)
{
    size_t b = (size_t)B, J = (size_t)c->projection_width, longer = b > J ? b : J;
    km_real **embeddings[] = {&p->h1, &p->n1, &p->r1, &p->h2, &p->n2, &p->ecg, &p->t1, &p->g, &p->t2, &p->text};
    for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++)
        *embeddings[i] = km_arena_reals(arena, b * J);
    p->mean1 = km_arena_reals(arena, longer);
    p->rstd1 = km_arena_reals(arena, longer);
    p->mean2 = km_arena_reals(arena, longer);
    p->rstd2 = km_arena_reals(arena, longer);
    p->ecg_rnorm = km_arena_reals(arena, b);
    p->text_rnorm = km_arena_reals(arena, b);
    p->decg = p->dtext = p->d1 = p->d2 = p->pairs = NULL;
    if (training) {
        p->decg = km_arena_reals(arena, b * J);
        p->dtext = km_arena_reals(arena, b * J);
        p->d1 = km_arena_reals(arena, b * J);
        p->d2 = km_arena_reals(arena, b * J);
        p->pairs = km_arena_reals(arena, 2 * b * b + 2 * b);
    }
}

static void norm_forward(km_real *y, km_real *mean, km_real *rstd, km_real *running_mean, km_real *running_var,
                         const km_real *x, const km_real *gain, const km_real *bias, const km_config *c,
                         const km_ops *o, int B, int training, int update)
{
    int J = (int)c->projection_width;
    if (c->projection_norm == KM_NORM_LAYER)
        o->layernorm_forward(y, mean, rstd, x, gain, bias, B, J, EPS);
    else if (training)
        o->batchnorm_forward(y, mean, rstd, update ? running_mean : NULL, update ? running_var : NULL, x, gain, bias, B,
                             J, EPS, MOMENTUM);
    else
        o->batchnorm_apply(y, x, running_mean, running_var, gain, bias, B, J, EPS);
}

static void norm_backward(km_real *dx, km_real *dgain, km_real *dbias, const km_real *dy, const km_real *x,
                          const km_real *mean, const km_real *rstd, const km_real *gain, const km_config *c,
                          const km_ops *o, int B)
{
    int J = (int)c->projection_width;
    if (c->projection_norm == KM_NORM_LAYER)
        o->layernorm_backward(dx, dgain, dbias, dy, x, mean, rstd, gain, B, J, 0);
    else
        o->batchnorm_backward(dx, dgain, dbias, dy, x, mean, rstd, gain, B, J);
}

void km_projector_forward(km_projector *p, const km_real *pooled, const km_real *report, km_statistics *running,
                          const km_params *w, const km_config *c, const km_ops *o, int B, int training, int update)
{
    int J = (int)c->projection_width, C = (int)c->width, D = (int)c->text_width;
    int norm = c->projection_norm != KM_NORM_NONE;
    const km_real *n1 = norm ? p->n1 : p->h1, *n2 = norm ? p->n2 : p->h2;
    if (c->encoder == KM_RESNET18) {
        n2 = pooled;
    } else {
        o->linear_forward(p->h1, pooled, w->ecg_fc1_weight, w->ecg_fc1_bias, B, J, C);
        if (norm)
            norm_forward(p->n1, p->mean1, p->rstd1, running->norm1_mean, running->norm1_var, p->h1,
                         w->ecg_norm1_weight, w->ecg_norm1_bias, c, o, B, training, update);
        o->relu_forward(p->r1, n1, (size_t)B * J);
        o->linear_forward(p->h2, p->r1, w->ecg_fc2_weight, w->ecg_fc2_bias, B, J, J);
        if (norm)
            norm_forward(p->n2, p->mean2, p->rstd2, running->norm2_mean, running->norm2_var, p->h2,
                         w->ecg_norm2_weight, w->ecg_norm2_bias, c, o, B, training, update);
    }
    o->normalize_forward(p->ecg, p->ecg_rnorm, n2, B, J);
    if (report == NULL)
        return;
    o->linear_forward(p->t1, report, w->text_fc1_weight, w->text_fc1_bias, B, J, D);
    o->gelu_forward(p->g, p->t1, (size_t)B * J);
    o->linear_forward(p->t2, p->g, w->text_fc2_weight, w->text_fc2_bias, B, J, J);
    o->normalize_forward(p->text, p->text_rnorm, p->t2, B, J);
}

double km_projector_loss(km_projector *p, double *dlog_scale, const int64_t *report_id, const km_params *w,
                         const km_config *c, const km_ops *o, int B)
{
    double scale = w->log_scale != NULL ? exp((double)*w->log_scale) : 1 / c->temperature, dscale = 0;
    double loss = o->infonce(p->decg, p->dtext, &dscale, p->pairs, p->ecg, p->text, scale,
                             c->mask_duplicates ? report_id : NULL, B, (int)c->projection_width,
                             (int)c->contrast_directions, (int)c->contrast_positive);
    *dlog_scale += dscale * scale;
    return loss;
}

void km_projector_backward(km_real *dpooled, km_params *dw, km_projector *p, const km_real *pooled,
                           const km_real *report, const km_params *w, const km_config *c, const km_ops *o, int B)
{
    int J = (int)c->projection_width, C = (int)c->width, D = (int)c->text_width;
    int norm = c->projection_norm != KM_NORM_NONE;
    size_t n = (size_t)B * J;

    if (c->encoder == KM_RESNET18) {
        o->normalize_backward(dpooled, p->decg, p->ecg, p->ecg_rnorm, B, J);
    } else {
        o->normalize_backward(p->d1, p->decg, p->ecg, p->ecg_rnorm, B, J);
        if (norm)
            norm_backward(p->d1, dw->ecg_norm2_weight, dw->ecg_norm2_bias, p->d1, p->h2, p->mean2, p->rstd2,
                          w->ecg_norm2_weight, c, o, B);
        o->linear_backward(p->d2, dw->ecg_fc2_weight, dw->ecg_fc2_bias, p->d1, p->r1, w->ecg_fc2_weight, B, J, J, 0);
        o->relu_backward(p->d2, p->d2, p->r1, n);
        if (norm)
            norm_backward(p->d2, dw->ecg_norm1_weight, dw->ecg_norm1_bias, p->d2, p->h1, p->mean1, p->rstd1,
                          w->ecg_norm1_weight, c, o, B);
        o->linear_backward(dpooled, dw->ecg_fc1_weight, dw->ecg_fc1_bias, p->d2, pooled, w->ecg_fc1_weight, B, J, C,
                           0);
    }

    o->normalize_backward(p->d1, p->dtext, p->text, p->text_rnorm, B, J);
    o->linear_backward(p->d2, dw->text_fc2_weight, dw->text_fc2_bias, p->d1, p->g, w->text_fc2_weight, B, J, J, 0);
    o->gelu_backward(p->d2, p->d2, p->t1, n);
    o->linear_backward(NULL, dw->text_fc1_weight, dw->text_fc1_bias, p->d2, report, w->text_fc1_weight, B, J, D, 0);
}
