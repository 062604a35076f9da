#include "train/head.h"

#include <math.h>
#include <string.h>

#include "eval/probe.h"
#include "ops/ops.h"

static void lay_out(km_head *head, km_arena *arena, int64_t batch_size)
{
    km_real **arrays[] = {&head->w, &head->m, &head->v, &head->gradient};
    for (int i = 0; i < 4; i++)
        *arrays[i] = km_arena_reals(arena, head->size);
    head->z = km_arena_reals(arena, (size_t)batch_size * (size_t)head->K);
    head->dfeatures = km_arena_reals(arena, (size_t)batch_size * (size_t)head->C);
}

km_status km_head_create(km_head *head, const km_config *config, int classes, km_error *err)
{
    memset(head, 0, sizeof *head);
    if (classes < 1)
        return km_error_set(err, KM_VALUE, "classes is %d, expected at least 1", classes);
    head->C = (int)config->width;
    head->K = classes;
    head->size = (size_t)classes * ((size_t)head->C + 1);
    lay_out(head, &head->arena, config->batch_size);
    km_status status = km_arena_create(&head->arena, head->arena.used, err);
    if (status != KM_OK)
        return status;
    lay_out(head, &head->arena, config->batch_size);
    for (int k = 0; k < classes; k++)
        km_probe_first_weights(head->w + (size_t)k * (size_t)head->C, 1, head->C, (uint64_t)config->seed, k);
    return KM_OK;
}

void km_head_free(km_head *head)
{
    km_arena_free(&head->arena);
    memset(head, 0, sizeof *head);
}

static km_status gradients(void *context, km_losses *losses, double *norm, km_model *model, const km_batch *batch,
                           const km_step *step, km_error *err)
{
    km_head *h = context;
    const km_ops *o = km_ops_cpu(KM_FLOAT32);
    const km_real *features;
    size_t weights = (size_t)h->K * (size_t)h->C, n = (size_t)batch->B * (size_t)h->K;
    if (batch->labels == NULL || batch->Q != h->K || batch->B > km_model_config(model)->batch_size)
        return km_error_set(err, KM_VALUE, "the batch has %d recordings and %d labels of each, expected %lld "
                            "recordings at most and %d labels", batch->B, batch->labels == NULL ? 0 : batch->Q,
                            (long long)km_model_config(model)->batch_size, h->K);
    km_status status = km_model_forward(model, &features, batch, step, err);
    if (status != KM_OK)
        return status;
    memset(losses, 0, sizeof *losses);
    memset(h->gradient, 0, h->size * sizeof *h->gradient);
    o->linear_forward(h->z, features, h->w, h->w + weights, batch->B, h->K, h->C);
    losses->total = o->bce(h->z, h->z, batch->labels, 1.0 / (double)n, n) / (double)n;
    o->linear_backward(h->dfeatures, h->gradient, h->gradient + weights, h->z, features, h->w, batch->B, h->K, h->C, 0);
    km_model_backward(model, h->dfeatures, batch, step);
    *norm = sqrt(o->vector_square_sum(h->gradient, h->size));
    return KM_OK;
}

static void update(void *context, const km_config *c, double lr, double clip, int64_t step)
{
    km_head *h = context;
    const km_ops *o = km_ops_cpu(KM_FLOAT32);
    size_t weights = (size_t)h->K * (size_t)h->C;
    o->adamw(h->w, h->m, h->v, h->gradient, weights, clip, lr, c->beta1, c->beta2, c->eps, c->weight_decay, step);
    /* Biases decay where all parameters do. */
    o->adamw(h->w + weights, h->m + weights, h->v + weights, h->gradient + weights, (size_t)h->K, clip, lr, c->beta1,
             c->beta2, c->eps, c->decay_all ? c->weight_decay : 0, step);
}

km_objective km_head_objective(km_head *head)
{
    return (km_objective){head, gradients, update};
}
