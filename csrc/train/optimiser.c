#include "train/optimiser.h"

#include <math.h>
#include <string.h>

#include "core/threads.h"
#include "ops/ops.h"

km_status km_optimiser_create(km_optimiser *optimiser, const km_model *model, km_error *err)
{
    size_t size = km_model_layout(model, KM_PARAMETERS)->size;
    memset(optimiser, 0, sizeof *optimiser);
    km_status status = km_arena_create(&optimiser->arena, 2 * (size + 64) * sizeof(km_real), err);
    if (status == KM_OK) {
        optimiser->m = km_arena_reals(&optimiser->arena, size);
        optimiser->v = km_arena_reals(&optimiser->arena, size);
    }
    return status;
}

void km_optimiser_free(km_optimiser *optimiser)
{
    km_arena_free(&optimiser->arena);
    memset(optimiser, 0, sizeof *optimiser);
}

typedef struct update_context {
    km_optimiser *optimiser;
    km_model *model;
    const km_ops *ops;
    km_real *parameters;
    double lr, clip;
} update_context;

static void update_tensor(void *pointer, int index, int thread)
{
    update_context *x = pointer;
    const km_config *c = km_model_config(x->model);
    const km_tensor *t = &km_model_layout(x->model, KM_PARAMETERS)->tensors[index];
    double decay = c->decay_all || t->init == KM_INIT_WEIGHT || t->init == KM_INIT_CONV ? c->weight_decay : 0;
    (void)thread;
    x->ops->adamw(x->parameters + t->offset, x->optimiser->m + t->offset,
                  x->optimiser->v + t->offset, km_model_data(x->model, KM_GRADIENTS) + t->offset, t->count, x->clip,
                  x->lr, c->beta1, c->beta2, c->eps, decay, km_optimiser_updates(x->optimiser));
}

double km_optimiser_norm(km_model *model)
{
    const km_layout *layout = km_model_layout(model, KM_PARAMETERS);
    double square = 0;
    for (int i = 0; i < layout->count; i++)
        square += km_ops_cpu(KM_FLOAT32)->vector_square_sum(
            km_model_data(model, KM_GRADIENTS) + layout->tensors[i].offset, layout->tensors[i].count);
    return sqrt(square);
}

double km_optimiser_clip(const km_config *c, double norm)
{
    return c->clip > 0 && norm > c->clip ? c->clip / norm : 1;
}

int64_t km_optimiser_updates(const km_optimiser *optimiser)
{
    return optimiser->step - optimiser->passed;
}

void km_optimiser_update(km_optimiser *optimiser, km_model *model, double lr, double norm, int threads)
{
    const km_layout *layout = km_model_layout(model, KM_PARAMETERS);
    optimiser->step++;
    update_context x = {optimiser, model, km_ops_cpu(KM_FLOAT32), km_model_data(model, KM_PARAMETERS), lr,
                        km_optimiser_clip(km_model_config(model), norm)};
    km_threads_run(threads, layout->count, update_tensor, &x);
}
