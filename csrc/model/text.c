#include "model/text.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/threads.h"
#include "ops/ops.h"

enum { SPAN_TOKENS = 512 };

typedef struct layer {
#define X(field, name, rows, cols, needs) km_real *field;
    KM_TEXT_LAYER_WEIGHTS(X)
#undef X
} layer;

struct km_text {
    km_text_config config;
    const km_ops *ops;
    km_arena arena;             /* the weights, in the order of the list */
    km_text_weight *list;       /* (count)                               */
    layer *layers;              /* (config.layers)                       */
#define X(field, name, rows, cols, needs) km_real *field;
    KM_TEXT_WEIGHTS(X)
#undef X
};

/* A span: texts one after the other. A row of a product does not depend on the others (ops/cpu/gemm.h), so that
 * each weight matrix is read once for all of them.                                                          */
typedef struct activations {
    int n, T;                   /* texts, and tokens of all of them      */
    const int32_t *ids;         /* (T)                                   */
    const int32_t *offset;      /* (n + 1)   counted from offset[0]      */
    km_real *x;                 /* (T, C)    the stream                  */
    km_real *y;                 /* (T, C)    attention's heads           */
    km_real *z;                 /* (T, C)    a branch's result           */
    km_real *qkv;               /* (T, 3 C)                              */
    km_real *hidden, *active;   /* (T, M)    before and after GELU       */
    km_real *mean, *rstd;       /* (T)                                   */
    km_real *lse;               /* (H, T_i) of each text                 */
    km_real *scratch;           /* km_attention_scratch                  */
} activations;

/* Weights */

km_status km_text_check(const km_text_config *config, km_error *err)
{
    const struct {
        const char *name;
        int value, limit;
    } sizes[] = {
        {"vocabulary", config->vocabulary, 1 << 24}, {"positions", config->positions, 1 << 16},
        {"types", config->types, 1 << 16},           {"width", config->width, 1 << 14},
        {"layers", config->layers, 1 << 10},         {"heads", config->heads, 1 << 10},
        {"mlp_width", config->mlp_width, 1 << 16},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].limit)
            return km_error_set(err, KM_VALUE, "%s is %d, expected 1 to %d", sizes[i].name, sizes[i].value,
                                sizes[i].limit);
    if (config->width % config->heads != 0)
        return km_error_set(err, KM_VALUE, "width %d is not divisible by heads %d", config->width, config->heads);
    if (config->pooler != 0 && config->pooler != 1)
        return km_error_set(err, KM_VALUE, "pooler is %d, expected 0 or 1", config->pooler);
    if (!(config->eps > 0 && config->eps < 1))
        return km_error_set(err, KM_VALUE, "eps is %g, expected a number between 0 and 1", config->eps);
    return KM_OK;
}

int km_text_count(const km_text_config *config)
{
    const km_text_config *c = config;
    int count = 0, per_layer = 0;
#define X(field, name, rows, cols, needs) count += (needs) ? 1 : 0;
    KM_TEXT_WEIGHTS(X)
#undef X
#define X(field, name, rows, cols, needs) per_layer += (needs) ? 1 : 0;
    KM_TEXT_LAYER_WEIGHTS(X)
#undef X
    return count + c->layers * per_layer;
}

void km_text_list(km_text_weight *list, const km_text_config *config)
{
    const km_text_config *c = config;
#define X(field, label, r, k, needs)                                    \
    if (needs) {                                                        \
        *list = (km_text_weight){.rows = (r), .cols = (k)};             \
        snprintf(list->name, sizeof list->name, "%s", label);           \
        list++;                                                         \
    }
    KM_TEXT_WEIGHTS(X)
#undef X
    for (int i = 0; i < c->layers; i++) {
#define X(field, label, r, k, needs)                                    \
    if (needs) {                                                        \
        *list = (km_text_weight){.rows = (r), .cols = (k)};             \
        snprintf(list->name, sizeof list->name, "layers.%d.%s", i, label); \
        list++;                                                         \
    }
        KM_TEXT_LAYER_WEIGHTS(X)
#undef X
    }
}

static void take_weights(km_text *text)
{
    const km_text_config *c = &text->config;
    int count = km_text_count(c);
    for (int i = 0; i < count; i++) {
        km_text_weight *weight = &text->list[i];
        weight->data = km_arena_reals(&text->arena, (size_t)weight->rows * (weight->cols > 0 ? weight->cols : 1));
    }
    /* The struct's pointers follow the list's order. */
    const km_text_weight *next = text->list;
#define X(field, name, rows, cols, needs) text->field = (needs) ? (next++)->data : NULL;
    KM_TEXT_WEIGHTS(X)
#undef X
    for (int i = 0; i < c->layers; i++) {
        layer *l = &text->layers[i];
#define X(field, name, rows, cols, needs) l->field = (needs) ? (next++)->data : NULL;
        KM_TEXT_LAYER_WEIGHTS(X)
#undef X
    }
}

km_status km_text_create(km_text **text, const km_text_config *config, km_error *err)
{
    km_status status = km_text_check(config, err);
    *text = NULL;
    if (status != KM_OK)
        return status;
    km_text *new = calloc(1, sizeof *new);
    if (new != NULL) {
        new->config = *config;
        new->ops = km_ops_cpu(KM_FLOAT32);
        new->list = calloc((size_t)km_text_count(config), sizeof *new->list);
        new->layers = calloc((size_t)config->layers, sizeof *new->layers);
    }
    if (new == NULL || new->list == NULL || new->layers == NULL) {
        status = km_error_set(err, KM_MEMORY, "out of memory: no room for a text encoder");
        goto exit;
    }
    km_text_list(new->list, config);
    take_weights(new);          /* measures */
    status = km_arena_create(&new->arena, new->arena.used, err);
    if (status != KM_OK)
        goto exit;
    take_weights(new);
    *text = new;
    new = NULL;
exit:
    km_text_free(new);
    return status;
}

void km_text_free(km_text *text)
{
    if (text == NULL)
        return;
    km_arena_free(&text->arena);
    free(text->list);
    free(text->layers);
    free(text);
}

const km_text_config *km_text_config_get(const km_text *text)
{
    return &text->config;
}

const km_text_weight *km_text_get(const km_text *text, int i)
{
    return &text->list[i];
}

/* Forward */

/* x[t] = word[id[t]] + position[t] + type[0], t counted within each text */
static void embed(km_real *x, const km_text *text, const activations *a)
{
    int C = text->config.width;
    for (int i = 0; i < a->n; i++)
        for (int t = a->offset[i] - a->offset[0], from = t; t < a->offset[i + 1] - a->offset[0]; t++) {
            const km_real *word = text->word + (size_t)a->ids[t] * C;
            const km_real *position = text->position + (size_t)(t - from) * C;
            for (int c = 0; c < C; c++)
                x[(size_t)t * C + c] = word[c] + text->type[c] + position[c];
        }
}

/* x = LayerNorm(z) */
static void norm(const km_text *text, activations *a, const km_real *weight, const km_real *bias)
{
    text->ops->layernorm_forward(a->x, a->mean, a->rstd, a->z, weight, bias, a->T, text->config.width,
                                 (km_real)text->config.eps);
}

static void encode(const km_text *text, activations *a)
{
    const km_ops *ops = text->ops;
    int C = text->config.width, M = text->config.mlp_width, H = text->config.heads, E = C / H, T = a->T;
    embed(a->z, text, a);
    norm(text, a, text->norm_weight, text->norm_bias);
    for (int l = 0; l < text->config.layers; l++) {
        const layer *w = &text->layers[l];
        ops->linear_forward(a->qkv, a->x, w->qkv_weight, w->qkv_bias, T, 3 * C, C);
        for (int i = 0; i < a->n; i++) {
            size_t first = (size_t)(a->offset[i] - a->offset[0]);
            int n = a->offset[i + 1] - a->offset[i];
            const km_real *q = a->qkv + first * 3 * C;
            ops->attention_forward(a->y + first * C, a->lse + first * H, a->scratch, q, q + C, q + 2 * C, n, n, H, E,
                                   3 * C, 3 * C, C, NULL);
        }
        ops->linear_forward(a->z, a->y, w->out_weight, w->out_bias, T, C, C);
        ops->vector_accumulate(a->z, a->x, (size_t)T * C);
        norm(text, a, w->norm1_weight, w->norm1_bias);
        ops->linear_forward(a->hidden, a->x, w->fc1_weight, w->fc1_bias, T, M, C);
        ops->gelu_forward(a->active, a->hidden, (size_t)T * M);
        ops->linear_forward(a->z, a->active, w->fc2_weight, w->fc2_bias, T, C, M);
        ops->vector_accumulate(a->z, a->x, (size_t)T * C);
        norm(text, a, w->norm2_weight, w->norm2_bias);
    }
}

/* out (C) of text i of the span. */
static void pool(km_real *out, const km_text *text, const activations *a, int i, km_pooling pooling)
{
    int C = text->config.width, T = a->offset[i + 1] - a->offset[i];
    const km_real *x = a->x + (size_t)(a->offset[i] - a->offset[0]) * C;
    switch (pooling) {
    case KM_MEAN_TOKEN:
        text->ops->pool_forward(out, x, (const int32_t[]){0, T}, 1, C);
        break;
    case KM_CLS_TOKEN:
        memcpy(out, x, (size_t)C * sizeof *out);
        break;
    case KM_POOLER_OUTPUT:
        text->ops->linear_forward(out, x, text->pooler_weight, text->pooler_bias, 1, C, C);
        for (int c = 0; c < C; c++)
            out[c] = (km_real)tanh((double)out[c]);
        break;
    }
}

typedef struct job {
    const km_text *text;
    const int32_t *ids, *offset;
    const int *first;           /* (spans + 1): span s owns texts first[s] .. first[s + 1] - 1 */
    km_arena *arenas;           /* (threads)                                                   */
    km_pooling pooling;
    km_real *out;
} job;

/* The span's activations; with an arena that only measures the pointers are NULL. */
static activations take_span(km_arena *arena, const job *job, int s)
{
    const km_text_config *c = &job->text->config;
    const int32_t *offset = job->offset + job->first[s];
    int n = job->first[s + 1] - job->first[s], longest = 0;
    size_t rows = (size_t)(offset[n] - offset[0]);
    for (int i = 0; i < n; i++)
        longest = offset[i + 1] - offset[i] > longest ? offset[i + 1] - offset[i] : longest;
    return (activations){
        .n = n,
        .T = (int)rows,
        .ids = job->ids + offset[0],
        .offset = offset,
        .x = km_arena_reals(arena, rows * c->width),
        .y = km_arena_reals(arena, rows * c->width),
        .z = km_arena_reals(arena, rows * c->width),
        .qkv = km_arena_reals(arena, rows * 3 * c->width),
        .hidden = km_arena_reals(arena, rows * c->mlp_width),
        .active = km_arena_reals(arena, rows * c->mlp_width),
        .mean = km_arena_reals(arena, rows),
        .rstd = km_arena_reals(arena, rows),
        .lse = km_arena_reals(arena, rows * c->heads),
        .scratch = km_arena_reals(arena, job->text->ops->attention_scratch(longest, longest, c->width / c->heads)),
    };
}

static void run_span(void *context, int s, int thread)
{
    const job *job = context;
    km_arena_reset(&job->arenas[thread]);
    activations a = take_span(&job->arenas[thread], job, s);
    encode(job->text, &a);
    for (int i = 0; i < a.n; i++)
        pool(job->out + (size_t)(job->first[s] + i) * job->text->config.width, job->text, &a, i, job->pooling);
}

static km_status check_tokens(const km_text_config *c, const int32_t *ids, const int32_t *offset, int n, km_error *err)
{
    if (offset[0] != 0)
        return km_error_set(err, KM_VALUE, "offset starts at %d, expected 0", offset[0]);
    for (int i = 0; i < n; i++) {
        int64_t T = (int64_t)offset[i + 1] - offset[i];
        if (T < 1 || T > c->positions)
            return km_error_set(err, KM_VALUE, "text %d has %lld tokens, expected 1 to %d", i, (long long)T,
                                c->positions);
    }
    for (int t = 0; t < offset[n]; t++)
        if (ids[t] < 0 || ids[t] >= c->vocabulary)
            return km_error_set(err, KM_VALUE, "token id %d is not among the %d of the embedding table", ids[t],
                                c->vocabulary);
    return KM_OK;
}

km_status km_text_forward(km_real *out, const km_text *text, const int32_t *ids, const int32_t *offset, int n,
                          km_pooling pooling, int threads, km_error *err)
{
    if (pooling == KM_POOLER_OUTPUT && !text->config.pooler)
        return km_error_set(err, KM_VALUE, "pooling is \"pooler\", but this encoder has no pooler");
    if (threads < 1)
        return km_error_set(err, KM_VALUE, "threads is %d, expected at least 1", threads);
    km_status status = check_tokens(&text->config, ids, offset, n, err);
    if (status != KM_OK || n == 0)
        return status;

    int spans = 0;
    int *first = malloc(((size_t)n + 1) * sizeof *first);
    job job = {.text = text, .ids = ids, .offset = offset, .first = first, .pooling = pooling, .out = out};
    if (first == NULL) {
        status = km_error_set(err, KM_MEMORY, "out of memory: no room for %d texts", n);
        goto exit;
    }
    first[0] = 0;
    for (int i = 0; i < n; i++)
        if (i == n - 1 || offset[i + 2] - offset[first[spans]] > SPAN_TOKENS)
            first[++spans] = i + 1;
    threads = threads < spans ? threads : spans;
    job.arenas = calloc((size_t)threads, sizeof *job.arenas);
    if (job.arenas == NULL) {
        status = km_error_set(err, KM_MEMORY, "out of memory: no room for %d threads", threads);
        goto exit;
    }
    size_t largest = 0;
    for (int s = 0; s < spans; s++) {
        km_arena measure = {0};
        take_span(&measure, &job, s);
        largest = measure.used > largest ? measure.used : largest;
    }
    for (int i = 0; i < threads && status == KM_OK; i++)
        status = km_arena_create(&job.arenas[i], largest, err);
    if (status == KM_OK)
        km_threads_run(threads, spans, run_span, &job);
exit:
    for (int i = 0; job.arenas != NULL && i < threads; i++)
        km_arena_free(&job.arenas[i]);
    free(job.arenas);
    free(first);
    return status;
}
