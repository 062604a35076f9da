#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

enum { KM_ALIGN = 64 / sizeof(km_real) };

/* Writes tensor number layout->count (counts only while tensors is NULL). */
static void add(km_layout *layout, size_t field, const char *scope, int index, const char *name, int64_t rows,
                int64_t cols, km_init init)
{
    if (layout->tensors != NULL) {
        km_tensor *tensor = &layout->tensors[layout->count];
        if (scope != NULL)
            snprintf(tensor->name, sizeof tensor->name, "%s.%d.%s", scope, index, name);
        else
            snprintf(tensor->name, sizeof tensor->name, "%s", name);
        tensor->rows = rows;
        tensor->cols = cols;
        tensor->count = (size_t)rows * (size_t)(cols > 0 ? cols : 1);
        tensor->offset = layout->size;
        tensor->init = init;
        tensor->field = field;
        layout->size += (tensor->count + KM_ALIGN - 1) / KM_ALIGN * KM_ALIGN;
    }
    layout->count++;
}

static void list_parameters(km_layout *layout, const km_config *c)
{
#define X(pointer, name, rows, cols, init, needs) \
    if (needs)                                    \
        add(layout, offsetof(km_params, pointer), NULL, 0, name, rows, cols, KM_INIT_##init);
    KM_MODEL_PARAMS(X)
#undef X
    for (int i = 0; c->encoder == KM_RESNET18 && i < KM_RESNET_BLOCKS; i++) {
        size_t start = offsetof(km_params, residual) + (size_t)i * sizeof(km_residual_params);
#define X(pointer, name, rows, cols, init, needs)                                                              \
    if (needs)                                                                                                 \
        add(layout, start + offsetof(km_residual_params, pointer), "encoder.residual", i, name, rows, cols,     \
            KM_INIT_##init);
        KM_RESIDUAL_PARAMS(X)
#undef X
    }
    for (int i = 0; i < c->depth; i++) {
        size_t start = offsetof(km_params, blocks) + (size_t)i * sizeof(km_block_params);
#define X(pointer, name, rows, cols, init, needs) \
    add(layout, start + offsetof(km_block_params, pointer), "encoder.blocks", i, name, rows, cols, KM_INIT_##init);
        KM_BLOCK_PARAMS(X)
#undef X
    }
    for (int i = 0; c->query_weight > 0 && i < c->query_layers; i++) {
        size_t start = offsetof(km_params, layers) + (size_t)i * sizeof(km_layer_params);
#define X(pointer, name, rows, cols, init, needs) \
    add(layout, start + offsetof(km_layer_params, pointer), "query.layers", i, name, rows, cols, KM_INIT_##init);
        KM_LAYER_PARAMS(X)
#undef X
    }
}

static void list_statistics(km_layout *layout, const km_config *c)
{
#define X(pointer, name, rows, init, needs) \
    if (needs)                              \
        add(layout, offsetof(km_statistics, pointer), NULL, 0, name, rows, 0, KM_INIT_##init);
    KM_MODEL_STATISTICS(X)
#undef X
    for (int i = 0; c->encoder == KM_RESNET18 && i < KM_RESNET_BLOCKS; i++) {
        size_t start = offsetof(km_statistics, residual) + (size_t)i * sizeof(km_residual_statistics);
#define X(pointer, name, rows, init, needs)                                                                    \
    if (needs)                                                                                                 \
        add(layout, start + offsetof(km_residual_statistics, pointer), "encoder.residual", i, name, rows, 0,    \
            KM_INIT_##init);
        KM_RESIDUAL_STATISTICS(X)
#undef X
    }
}

km_status km_layout_create(km_layout *layout, const km_config *config, int statistics, km_error *err)
{
    memset(layout, 0, sizeof *layout);
    for (int pass = 0; pass < 2; pass++) {
        if (statistics)
            list_statistics(layout, config);
        else
            list_parameters(layout, config);
        if (pass == 0) {
            layout->tensors = calloc((size_t)layout->count + 1, sizeof *layout->tensors);
            if (layout->tensors == NULL)
                return km_error_set(err, KM_MEMORY, "out of memory: the list of %d parameters", layout->count);
            layout->count = 0;
        }
    }
    return KM_OK;
}

void km_layout_free(km_layout *layout)
{
    free(layout->tensors);
    memset(layout, 0, sizeof *layout);
}

void km_layout_view(void *view, const km_layout *layout, km_real *base)
{
    for (int i = 0; i < layout->count; i++) {
        km_real *pointer = base + layout->tensors[i].offset;
        memcpy((char *)view + layout->tensors[i].field, &pointer, sizeof pointer);
    }
}

void km_layout_initialize(const km_layout *layout, km_real *base, const km_config *config)
{
    for (int i = 0; i < layout->count; i++) {
        const km_tensor *tensor = &layout->tensors[i];
        km_real *x = base + tensor->offset;
        km_rng rng;
        km_rng_open(&rng, (uint64_t)config->seed, KM_STREAM_INIT, (uint32_t)i, 0);
        for (size_t k = 0; k < tensor->count; k++) {
            double draw;
            switch (tensor->init) {
            case KM_INIT_WEIGHT:
                do
                    draw = km_rng_normal(&rng);
                while (fabs(draw) > 2);
                x[k] = (km_real)(config->weight_std * draw);
                break;
            case KM_INIT_CONV:
                x[k] = (km_real)((2 * km_rng_uniform(&rng) - 1) / sqrt((double)tensor->cols));
                break;
            case KM_INIT_EMBED: x[k] = (km_real)(0.02 * km_rng_normal(&rng)); break;
            case KM_INIT_ZERO: x[k] = 0; break;
            case KM_INIT_ONE: x[k] = 1; break;
            case KM_INIT_SCALE: x[k] = (km_real)log(1 / config->temperature); break;
            }
        }
    }
}
