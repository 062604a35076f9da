#include "model/weights.h"

#include <stddef.h>
#include <string.h>

#include "core/threads.h"

/* A matrix to be packed: w (N, K), and the field of the view that points to it. */
typedef struct matrix {
    const km_real *w;
    int N, K;
    size_t field;
} matrix;

/* Whether a tensor is packed, and what of it. */
static int choose(matrix *m, const km_tensor *t, const km_real *flat, const km_config *c)
{
    const size_t layers = offsetof(km_params, layers);
    if (t->init != KM_INIT_WEIGHT || t->field < offsetof(km_params, blocks))
        return 0;
    *m = (matrix){flat + t->offset, (int)t->rows, (int)t->cols, t->field};
    if (c->isolate_queries && t->field >= layers &&
        (t->field - layers) % sizeof(km_layer_params) == offsetof(km_layer_params, self_qkv_weight)) {
        m->N = (int)t->rows / 3;
        m->w += (size_t)2 * m->N * m->K;
    }
    return 1;
}

static void layout_weights(km_weights *weights, km_arena *arena, const km_layout *layout, km_real *flat,
                           const km_config *c, const km_ops *o)
{
    matrix m;
    km_layout_view(&weights->view, layout, flat);
    for (int i = 0; i < layout->count; i++)
        if (choose(&m, &layout->tensors[i], flat, c)) {
            km_real *packed = km_arena_reals(arena, o->packed_size(m.N, m.K));
            memcpy((char *)&weights->view + m.field, &packed, sizeof packed);
        }
}

km_status km_weights_reserve(km_weights *weights, const km_layout *layout, km_real *flat, int backward,
                             const km_config *c, const km_ops *o, km_error *err)
{
    km_arena measure = {NULL, 0, 0};
    if (weights->arena.base != NULL)
        return KM_OK;
    layout_weights(weights, &measure, layout, flat, c, o);
    km_status status = km_arena_create(&weights->arena, measure.used, err);
    if (status == KM_OK)
        layout_weights(weights, &weights->arena, layout, flat, c, o);
    weights->backward = backward;
    return status;
}

void km_weights_free(km_weights *weights)
{
    km_arena_free(&weights->arena);
}

typedef struct packing {
    km_weights *weights;
    const km_layout *layout;
    const km_real *flat;
    const km_config *config;
    const km_ops *ops;
} packing;

static void pack_tensor(void *pointer, int index, int thread)
{
    packing *x = pointer;
    matrix m;
    (void)thread;
    if (!choose(&m, &x->layout->tensors[index], x->flat, x->config))
        return;
    km_real *packed;
    memcpy(&packed, (char *)&x->weights->view + m.field, sizeof packed);
    x->ops->packed_weight(packed, m.w, m.N, m.K, x->weights->backward);
}

void km_weights_pack(km_weights *weights, const km_layout *layout, const km_real *flat, const km_config *c,
                     const km_ops *o, int threads)
{
    packing x = {weights, layout, flat, c, o};
    km_threads_run(threads, layout->count, pack_tensor, &x);
}
