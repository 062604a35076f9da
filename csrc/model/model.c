#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/threads.h"
#include "model/encoder.h"
#include "model/projector.h"
#include "model/query.h"
#include "model/resnet.h"
#include "model/unimodal.h"
#include "model/weights.h"
#include "ops/ops.h"

/* One thread's place to work. */
typedef struct worker {
    km_arena arena;
    km_encoder encoder;
    km_block_scratch scratch;
    km_query_span memory;
    km_query query;
    km_projector projector;             /* evaluation: one recording         */
    km_real *features, *projected;      /* (C), (J)                          */
    km_real *dz, *dx;                   /* (T, C)                            */
    km_real *logits, *dlogits;          /* (Q)                               */
    int32_t *offset;                    /* a span's offsets, from 0          */
} worker;

typedef struct lane {
    km_arena arena;
    km_params gradients;
    km_real *flat;                      /* layout size                       */
    km_real *dx1, *dq;                  /* (Q, W), (Q, A)                    */
} lane;

typedef struct span {
    int first, count;                   /* recordings                        */
    km_encoder *kept;                   /* its activations, or NULL: again   */
} span;

struct km_model {
    km_config config;
    const km_ops *ops;
    const km_ops *exact;                /* float32 products, for the contrast: it amplifies differences */
    km_layout layout, statistics_layout;
    km_arena parameters_arena, statistics_arena, gradients_arena;
    km_real *flat, *statistics_flat, *gradients_flat;
    km_params parameters, gradients;
    km_statistics statistics;
    km_weights forward, backward;       /* the parameters as the passes read them */
    int packed;                         /* forward is made of the parameters as they are */

    /* The step's memory: grows with the largest batch seen, never within a step of a size seen before. */
    int worker_count;
    worker *workers;
    int lane_count;
    lane lanes[KM_MAX_LANES];
    int span_capacity, span_count;
    span *spans;
    km_encoder *kept;                   /* span_capacity of them              */
    km_arena kept_arena, join_arena;
    km_projector projector;
    km_unimodal unimodal;
    km_query_shared shared;
    km_real *pooled, *dpooled;          /* (B, C)                             */
    km_resnet resnet;                   /* in place of spans and encoders     */
    km_real *projected, *dprojected;    /* (B, J)  its attention pooling      */
    double *recording_loss;             /* (B)                                */
    size_t recording_loss_capacity;
};

struct km_classes {
    int Q;
    km_arena arena;
    km_query_shared shared;
};

/* ---- life ---------------------------------------------------------------------------------------- */

km_status km_model_create(km_model **out, const km_config *config, km_error *err)
{
    *out = NULL;
    km_status status = km_config_check(config, err);
    if (status != KM_OK)
        return status;
    km_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: the model");
    m->config = *config;
    m->ops = km_ops_cpu((km_precision)config->precision);
    m->exact = km_ops_cpu(KM_FLOAT32);
    if ((status = km_layout_create(&m->layout, config, 0, err)) != KM_OK ||
        (status = km_layout_create(&m->statistics_layout, config, 1, err)) != KM_OK ||
        (status = km_arena_create(&m->parameters_arena, (m->layout.size + 64) * sizeof(km_real), err)) != KM_OK ||
        (status = km_arena_create(&m->statistics_arena, (m->statistics_layout.size + 64) * sizeof(km_real), err)) !=
            KM_OK)
        goto done;
    m->flat = km_arena_reals(&m->parameters_arena, m->layout.size);
    m->statistics_flat = km_arena_reals(&m->statistics_arena, m->statistics_layout.size);
    km_layout_view(&m->parameters, &m->layout, m->flat);
    km_layout_view(&m->statistics, &m->statistics_layout, m->statistics_flat);
    km_model_initialize(m);
done:
    if (status != KM_OK)
        km_model_free(m);
    else
        *out = m;
    return status;
}

void km_model_free(km_model *m)
{
    if (m == NULL)
        return;
    for (int i = 0; i < m->worker_count; i++)
        km_arena_free(&m->workers[i].arena);
    for (int i = 0; i < KM_MAX_LANES; i++)
        km_arena_free(&m->lanes[i].arena);
    km_resnet_free(&m->resnet);
    km_weights_free(&m->forward);
    km_weights_free(&m->backward);
    km_arena_free(&m->kept_arena);
    km_arena_free(&m->join_arena);
    km_arena_free(&m->parameters_arena);
    km_arena_free(&m->statistics_arena);
    km_arena_free(&m->gradients_arena);
    km_layout_free(&m->layout);
    km_layout_free(&m->statistics_layout);
    free(m->workers);
    free(m->spans);
    free(m->kept);
    free(m->recording_loss);
    free(m);
}

void km_model_initialize(km_model *m)
{
    m->packed = 0;
    km_layout_initialize(&m->layout, m->flat, &m->config);
    km_layout_initialize(&m->statistics_layout, m->statistics_flat, &m->config);
}

km_status km_model_centre_queries(km_model *m, const km_real *x, int n, km_error *err)
{
    const km_config *c = &m->config;
    if (c->query_weight == 0)
        return km_error_set(err, KM_VALUE, "a model of query_weight=0 has no queries to centre");
    m->packed = 0;
    km_query_centre(m->parameters.query_weight, m->parameters.query_bias, x, n, (int)c->query_width,
                    (int)c->text_width);
    return KM_OK;
}

const km_config *km_model_config(const km_model *m)
{
    return &m->config;
}

const km_layout *km_model_layout(const km_model *m, km_part part)
{
    return part == KM_STATISTICS ? &m->statistics_layout : &m->layout;
}

km_real *km_model_data(km_model *m, km_part part)
{
    if (part == KM_PARAMETERS)
        m->packed = 0;
    return part == KM_PARAMETERS ? m->flat : part == KM_STATISTICS ? m->statistics_flat : m->gradients_flat;
}

/* ---- memory -------------------------------------------------------------------------------------- */

/* An emptied arena of at least capacity bytes. */
static km_status reserve(km_arena *arena, size_t capacity, km_error *err)
{
    if (arena->capacity >= capacity) {
        km_arena_reset(arena);
        return KM_OK;
    }
    km_arena_free(arena);
    return km_arena_create(arena, capacity, err);
}

static km_status reserve_workers(km_model *m, int threads, km_error *err)
{
    if (threads <= m->worker_count)
        return KM_OK;
    worker *workers = realloc(m->workers, (size_t)threads * sizeof *workers);
    if (workers == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: %d threads", threads);
    memset(workers + m->worker_count, 0, (size_t)(threads - m->worker_count) * sizeof *workers);
    m->workers = workers;
    m->worker_count = threads;
    return KM_OK;
}

/* The weights of the forward pass: packed anew where parameters may have changed. */
static km_status pack_forward(km_model *m, int threads, km_error *err)
{
    km_status status = km_weights_reserve(&m->forward, &m->layout, m->flat, 0, &m->config, m->ops, err);
    if (status != KM_OK || m->packed)
        return status;
    km_weights_pack(&m->forward, &m->layout, m->flat, &m->config, m->ops, threads);
    m->packed = 1;
    return KM_OK;
}

static km_status pack_backward(km_model *m, int threads, km_error *err)
{
    km_status status = km_weights_reserve(&m->backward, &m->layout, m->flat, 1, &m->config, m->ops, err);
    if (status == KM_OK)
        km_weights_pack(&m->backward, &m->layout, m->flat, &m->config, m->ops, threads);
    return status;
}

/* T tokens and B recordings at most in a span, `longest` tokens in a recording; Q 0: no query network. */
static void layout_worker(worker *w, km_arena *arena, const km_config *c, const km_ops *o, int T, int B, int longest,
                          int Q, int training)
{
    size_t n = (size_t)T * (size_t)c->width;
    if (!training)
        km_projector_layout(&w->projector, arena, c, 1, 0);
    w->features = km_arena_reals(arena, (size_t)c->width);
    if (c->encoder == KM_RESNET18) {
        w->projected = km_arena_reals(arena, (size_t)c->projection_width);
        return;
    }
    w->offset = km_arena_take(arena, (size_t)B + 1, sizeof *w->offset);
    km_encoder_layout(&w->encoder, arena, c, o, T, training);
    km_block_scratch_layout(&w->scratch, arena, c, T, longest, training);
    if (training) {
        w->dz = km_arena_reals(arena, n);
        w->dx = km_arena_reals(arena, n);
    }
    if (Q > 0) {
        km_query_span_layout(&w->memory, arena, c, T, training);
        km_query_layout(&w->query, arena, c, Q, longest, training);
        w->logits = km_arena_reals(arena, (size_t)Q);
        w->dlogits = km_arena_reals(arena, (size_t)Q);
    }
}

static km_status prepare_workers(km_model *m, int threads, int T, int B, int longest, int Q, int training,
                                 km_error *err)
{
    km_status status = reserve_workers(m, threads, err);
    worker measured;
    km_arena measure = {NULL, 0, 0};
    memset(&measured, 0, sizeof measured);
    layout_worker(&measured, &measure, &m->config, m->ops, T, B, longest, Q, training);
    for (int i = 0; status == KM_OK && i < threads; i++) {
        status = reserve(&m->workers[i].arena, measure.used, err);
        if (status == KM_OK)
            layout_worker(&m->workers[i], &m->workers[i].arena, &m->config, m->ops, T, B, longest, Q, training);
    }
    return status;
}

static void layout_join(km_model *m, km_arena *arena, int B, int Q)
{
    size_t n = (size_t)B * (size_t)m->config.width;
    m->pooled = km_arena_reals(arena, n);
    m->dpooled = km_arena_reals(arena, n);
    if (m->config.encoder == KM_RESNET18) {
        m->projected = km_arena_reals(arena, (size_t)B * (size_t)m->config.projection_width);
        m->dprojected = km_arena_reals(arena, (size_t)B * (size_t)m->config.projection_width);
    }
    km_projector_layout(&m->projector, arena, &m->config, B, 1);
    if (m->config.unimodal_weight > 0)
        km_unimodal_layout(&m->unimodal, arena, &m->config, B);
    if (Q > 0)
        km_query_shared_layout(&m->shared, arena, &m->config, Q, 1);
}

/* Cuts the batch into spans, for the transformer, and gives the workers and what is kept of the spans their size. */
static km_status prepare_spans(km_model *m, const km_batch *batch, int threads, int Q, km_error *err)
{
    const km_config *c = &m->config;
    km_status status = KM_OK;
    if (m->span_capacity < batch->B) {
        span *spans = realloc(m->spans, (size_t)batch->B * sizeof *spans);
        if (spans != NULL)
            m->spans = spans;
        km_encoder *kept = realloc(m->kept, (size_t)batch->B * sizeof *kept);
        if (kept != NULL)
            m->kept = kept;
        double *loss = realloc(m->recording_loss, (size_t)batch->B * sizeof *loss);
        if (loss != NULL)
            m->recording_loss = loss;
        if (spans == NULL || kept == NULL || loss == NULL)
            return km_error_set(err, KM_MEMORY, "out of memory: a batch of %d recordings", batch->B);
        m->span_capacity = batch->B;
    }

    int longest = 0, widest = 0;
    m->span_count = 0;
    for (int b = 0; b < batch->B; b++) {
        int n = batch->offset[b + 1] - batch->offset[b];
        span *last = m->span_count > 0 ? &m->spans[m->span_count - 1] : NULL;
        if (last == NULL || last->count >= c->span_recordings ||
            batch->offset[b + 1] - batch->offset[last->first] > c->span_tokens) {
            last = &m->spans[m->span_count++];
            last->first = b;
            last->count = 0;
            last->kept = NULL;
        }
        last->count++;
        int tokens = batch->offset[b + 1] - batch->offset[last->first];
        longest = n > longest ? n : longest;
        widest = tokens > widest ? tokens : widest;
    }
    status = prepare_workers(m, threads, widest, (int)c->span_recordings, longest, Q, 1, err);
    if (status != KM_OK)
        return status;

    /* Keep the first spans' activations, as many as the budget holds beside the workers' and the lanes' place; half of
     * the budget is for them in any case. */
    size_t lanes = (size_t)(m->span_count < c->lanes ? m->span_count : c->lanes);
    size_t budget = (size_t)c->memory_mb << 20, used = 0;
    size_t others = (size_t)threads * m->workers[0].arena.capacity + lanes * m->layout.size * sizeof(km_real);
    budget -= others < budget / 2 ? others : budget / 2;
    int keep = 0;
    for (; keep < m->span_count; keep++) {
        const span *s = &m->spans[keep];
        km_arena measure = {NULL, 0, 0};
        km_encoder_layout(&m->kept[keep], &measure, c, m->ops,
                          batch->offset[s->first + s->count] - batch->offset[s->first], 1);
        if (used + measure.used > budget)
            break;
        used += measure.used;
    }
    if ((status = reserve(&m->kept_arena, used, err)) != KM_OK)
        return status;
    for (int i = 0; i < keep; i++) {
        span *s = &m->spans[i];
        km_encoder_layout(&m->kept[i], &m->kept_arena, c, m->ops,
                          batch->offset[s->first + s->count] - batch->offset[s->first], 1);
        s->kept = &m->kept[i];
    }
    return KM_OK;
}

/* Gives every arena its size. */
static km_status prepare_step(km_model *m, const km_batch *batch, int threads, int Q, km_error *err)
{
    const km_config *c = &m->config;
    km_status status = c->encoder == KM_RESNET18 ? km_resnet_reserve(&m->resnet, c, batch->B, threads, err)
                                                 : prepare_spans(m, batch, threads, Q, err);
    if (status != KM_OK)
        return status;

    km_arena measure = {NULL, 0, 0};
    layout_join(m, &measure, batch->B, Q);
    if ((status = reserve(&m->join_arena, measure.used, err)) != KM_OK)
        return status;
    layout_join(m, &m->join_arena, batch->B, Q);

    if (m->gradients_flat == NULL) {
        if ((status = km_arena_create(&m->gradients_arena, (m->layout.size + 64) * sizeof(km_real), err)) != KM_OK)
            return status;
        m->gradients_flat = km_arena_reals(&m->gradients_arena, m->layout.size);
        km_layout_view(&m->gradients, &m->layout, m->gradients_flat);
    }
    int tasks = c->encoder == KM_RESNET18 ? batch->B : m->span_count;
    m->lane_count = tasks < c->lanes ? tasks : (int)c->lanes;
    size_t dx1 = (size_t)Q * (size_t)c->query_width, dq = (size_t)Q * (size_t)km_config_attention(c);
    for (int i = 0; i < m->lane_count; i++) {
        lane *l = &m->lanes[i];
        if ((status = reserve(&l->arena, (m->layout.size + dx1 + dq + 192) * sizeof(km_real), err)) != KM_OK)
            return status;
        l->flat = km_arena_reals(&l->arena, m->layout.size);
        l->dx1 = km_arena_reals(&l->arena, dx1);
        l->dq = km_arena_reals(&l->arena, dq);
        km_layout_view(&l->gradients, &m->layout, l->flat);
    }
    return KM_OK;
}

/* ---- the training step --------------------------------------------------------------------------- */

typedef struct step_context {
    km_model *model;
    const km_batch *batch;
    const km_step *step;
    int Q;                              /* 0: no query network                    */
    int contrast;
    const km_real *dpooled;             /* (B, C) of what reads the features; or NULL */
    const km_real *dprojected;          /* (B, J) of attention pooling; or NULL   */
    double query_scale;                 /* of dL/dlogit                           */
} step_context;

static void span_offsets(int32_t *offset, const km_batch *batch, const span *s)
{
    for (int i = 0; i <= s->count; i++)
        offset[i] = batch->offset[s->first + i] - batch->offset[s->first];
}

static void encode_span(km_model *m, km_encoder *encoder, worker *w, const km_batch *batch, const span *s)
{
    size_t first = (size_t)batch->offset[s->first];
    km_encoder_forward(m->pooled + (size_t)s->first * m->config.width, encoder, &w->scratch,
                       batch->patches + first * (size_t)km_config_patch(&m->config), batch->lead + first,
                       batch->segment + first, w->offset, s->count, &m->forward.view, &m->config, m->ops);
}

static void sweep_one(void *pointer, int index, int thread)
{
    step_context *x = pointer;
    km_model *m = x->model;
    worker *w = &m->workers[thread];
    const span *s = &m->spans[index];
    span_offsets(w->offset, x->batch, s);
    encode_span(m, s->kept != NULL ? s->kept : &w->encoder, w, x->batch, s);
}

static km_dropout step_dropout(const step_context *x, int recording)
{
    const km_config *c = &x->model->config;
    km_dropout d = {x->step->training ? c->dropout : 0, (uint64_t)c->seed, x->step->step, 0};
    if (recording >= 0)
        d.site = km_query_site(x->batch->recording != NULL ? x->batch->recording[recording] : recording);
    return d;
}

/* Forward and backward of one recording through the query network, within its span's memory. */
static void query_recording(step_context *x, worker *w, lane *l, const span *s, int i)
{
    km_model *m = x->model;
    int b = s->first + i, first = w->offset[i], n = w->offset[i + 1] - first;
    km_dropout dropout = step_dropout(x, b);
    km_query_forward(w->logits, &w->query, &m->shared, &w->memory, first, n, &m->forward.view, &m->config,
                     m->ops, &dropout, x->Q);
    m->recording_loss[b] =
        m->ops->bce(w->dlogits, w->logits, x->batch->labels + (size_t)b * x->Q, x->query_scale, (size_t)x->Q);
    km_query_backward(l->dx1, l->dq, &l->gradients, w->dlogits, &w->query, &w->memory, first, n, &m->backward.view,
                      &m->config, m->ops, &dropout, x->Q);
}

static void clear_lane(void *pointer, int index, int thread)
{
    step_context *x = pointer;
    lane *l = &x->model->lanes[index];
    (void)thread;
    memset(l->flat, 0, x->model->layout.size * sizeof(km_real));
    memset(l->dx1, 0, (size_t)x->Q * (size_t)x->model->config.query_width * sizeof(km_real));
    memset(l->dq, 0, (size_t)x->Q * (size_t)km_config_attention(&x->model->config) * sizeof(km_real));
}

static void sweep_two(void *pointer, int index, int thread)
{
    step_context *x = pointer;
    km_model *m = x->model;
    const km_config *c = &m->config;
    const km_ops *o = m->ops;
    worker *w = &m->workers[thread];
    lane *l = &m->lanes[index];
    for (int k = index; k < m->span_count; k += m->lane_count) {
        const span *s = &m->spans[k];
        km_encoder *encoder = s->kept;
        span_offsets(w->offset, x->batch, s);
        int T = w->offset[s->count];
        if (encoder == NULL) {
            encoder = &w->encoder;
            encode_span(m, encoder, w, x->batch, s);
        }
        if (x->Q > 0) {
            km_query_memory(&w->memory, encoder->z, &m->forward.view, c, o, T);
            for (int i = 0; i < s->count; i++)
                query_recording(x, w, l, s, i);
            km_query_memory_backward(w->dz, &l->gradients, &w->memory, encoder->z, &m->backward.view, c, o, T);
        }
        size_t first = (size_t)x->batch->offset[s->first];
        const km_real *dpooled = x->dpooled != NULL ? x->dpooled + (size_t)s->first * c->width : NULL;
        km_encoder_backward(&l->gradients, w->dx, w->dz, dpooled, x->Q > 0, encoder, &w->scratch,
                            x->batch->patches + first * (size_t)km_config_patch(c), x->batch->lead + first,
                            x->batch->segment + first, w->offset, s->count, &m->backward.view, c, o);
    }
}

enum { KM_REDUCE_CHUNK = 1 << 16 };     /* elements a task sums over all lanes */

static void reduce(void *pointer, int index, int thread)
{
    step_context *x = pointer;
    km_model *m = x->model;
    (void)thread;
    size_t first = (size_t)index * KM_REDUCE_CHUNK;
    size_t n = m->layout.size - first < KM_REDUCE_CHUNK ? m->layout.size - first : KM_REDUCE_CHUNK;
    for (int i = 0; i < m->lane_count; i++)
        m->ops->vector_accumulate(m->gradients_flat + first, m->lanes[i].flat + first, n);
}

/* Sweep 1: the encoder over the whole batch, its features into m->pooled. */
static km_status encode(step_context *x, km_error *err)
{
    km_model *m = x->model;
    int threads = x->step->threads > 0 ? x->step->threads : 1;
    km_status status = prepare_step(m, x->batch, threads, x->Q, err);
    if (status == KM_OK)
        status = pack_forward(m, threads, err);
    if (status == KM_OK)
        status = pack_backward(m, threads, err);
    if (status != KM_OK)
        return status;
    memset(m->gradients_flat, 0, m->layout.size * sizeof(km_real));
    if (m->config.encoder == KM_RESNET18)
        km_resnet_forward(m->pooled, x->contrast ? m->projected : NULL, &m->resnet, x->batch, &m->statistics,
                          x->step->update_statistics, &m->parameters, &m->config, m->ops, x->step->threads);
    else
        km_threads_run(x->step->threads, m->span_count, sweep_one, x);
    return KM_OK;
}

/* Sweep 2 and reduce: the gradients of encoder and query network, added to m->gradients. */
static void encode_backward(step_context *x)
{
    km_model *m = x->model;
    km_threads_run(x->step->threads, m->lane_count, clear_lane, x);
    if (m->config.encoder == KM_RESNET18) {
        km_params *lanes[KM_MAX_LANES];
        for (int i = 0; i < m->lane_count; i++)
            lanes[i] = &m->lanes[i].gradients;
        km_resnet_backward(&m->gradients, lanes, m->lane_count, x->dpooled, x->dprojected, &m->resnet, x->batch,
                           &m->parameters, &m->config, m->ops, x->step->threads);
    } else {
        km_threads_run(x->step->threads, m->lane_count, sweep_two, x);
    }
    km_threads_run(x->step->threads, (int)((m->layout.size + KM_REDUCE_CHUNK - 1) / KM_REDUCE_CHUNK), reduce, x);
}

km_status km_model_forward(km_model *m, const km_real **features, const km_batch *batch, const km_step *step,
                           km_error *err)
{
    step_context x = {.model = m, .batch = batch, .step = step};
    km_status status = km_batch_check(batch, &m->config, err);
    if (status == KM_OK)
        status = encode(&x, err);
    *features = m->pooled;
    return status;
}

void km_model_backward(km_model *m, const km_real *dfeatures, const km_batch *batch, const km_step *step)
{
    step_context x = {.model = m, .batch = batch, .step = step, .dpooled = dfeatures};
    encode_backward(&x);
}

static int count_duplicates(const int64_t *id, int B)
{
    int count = 0;
    for (int i = 0; id != NULL && i < B; i++)
        for (int j = 0; j < B; j++)
            if (i != j && id[i] == id[j]) {
                count++;
                break;
            }
    return count;
}

static double total(const km_losses *losses, const km_config *c)
{
    return c->contrast_weight * losses->contrast + c->unimodal_weight * losses->unimodal +
           c->query_weight * losses->query;
}

static km_status check_batch(const km_model *m, const km_batch *batch, int contrast, int query, km_error *err)
{
    if (contrast && batch->report == NULL)
        return km_error_set(err, KM_VALUE, "report embeddings are needed when contrast_weight > 0");
    if (query && (batch->labels == NULL || batch->entities == NULL || batch->Q < 1))
        return km_error_set(err, KM_VALUE, "labels and entities are needed when query_weight > 0");
    if (contrast && m->config.mask_duplicates && batch->report_id == NULL)
        return km_error_set(err, KM_VALUE,
                            "report_id is needed with mask_duplicates: it tells which reports are the same");
    return km_batch_check(batch, &m->config, err);
}

km_status km_model_gradients(km_model *m, km_losses *losses, const km_batch *batch, const km_step *step, km_error *err)
{
    const km_config *c = &m->config;
    const km_ops *o = m->ops;
    int contrast = c->contrast_weight > 0, query = c->query_weight > 0;
    km_status status = check_batch(m, batch, contrast, query, err);
    if (status != KM_OK)
        return status;
    step_context x = {.model = m, .batch = batch, .step = step, .Q = query ? batch->Q : 0, .contrast = contrast};
    x.query_scale = c->query_weight / batch->B / (c->query_reduction == KM_REDUCE_MEAN && query ? batch->Q : 1);
    if ((status = encode(&x, err)) != KM_OK)
        return status;
    memset(losses, 0, sizeof *losses);
    losses->duplicates = count_duplicates(batch->report_id, batch->B);

    double dlog_scale = 0;
    if (contrast) {
        km_real weight = (km_real)c->contrast_weight;
        const km_real *projected = c->encoder == KM_RESNET18 ? m->projected : m->pooled;
        km_real *dprojected = c->encoder == KM_RESNET18 ? m->dprojected : m->dpooled;
        size_t n = (size_t)batch->B * (size_t)c->projection_width;
        km_projector_forward(&m->projector, projected, batch->report, &m->statistics, &m->parameters, c, m->exact,
                             batch->B, 1, step->update_statistics);
        losses->contrast =
            km_projector_loss(&m->projector, &dlog_scale, batch->report_id, &m->parameters, c, m->exact, batch->B);
        o->vector_scale(m->projector.decg, weight, n);
        o->vector_scale(m->projector.dtext, weight, n);
        dlog_scale *= c->contrast_weight;
        km_projector_backward(dprojected, &m->gradients, &m->projector, projected, batch->report, &m->parameters, c,
                              m->exact, batch->B);
        if (c->encoder == KM_RESNET18)
            x.dprojected = dprojected;
        else
            x.dpooled = dprojected;
    }
    if (c->unimodal_weight > 0) {
        km_dropout dropout = {step->training ? c->unimodal_dropout : 0, (uint64_t)c->seed, step->step, 0};
        double dscale = 0;
        km_unimodal_forward(&m->unimodal, m->pooled, batch->recording, &dropout, &m->parameters, c, m->exact, batch->B);
        losses->unimodal = km_unimodal_loss(&m->unimodal, &dscale, &m->parameters, c, m->exact, batch->B);
        dlog_scale += dscale * c->unimodal_weight;
        if (x.dpooled == NULL)
            memset(m->dpooled, 0, (size_t)batch->B * (size_t)c->width * sizeof(km_real));
        km_unimodal_backward(m->dpooled, &m->gradients, &m->unimodal, m->pooled, batch->recording, &dropout,
                             &m->parameters, c, m->exact, batch->B, (km_real)c->unimodal_weight);
        x.dpooled = m->dpooled;
    }
    if (m->gradients.log_scale != NULL)
        *m->gradients.log_scale += (km_real)dlog_scale;
    km_dropout shared = step_dropout(&x, -1);
    if (query)
        km_query_open(&m->shared, batch->entities, &m->forward.view, c, o, &shared, batch->Q);

    encode_backward(&x);
    if (query) {
        size_t n = (size_t)batch->Q * (size_t)c->query_width;
        size_t questions = (size_t)batch->Q * (size_t)km_config_attention(c);
        memset(m->shared.dx1, 0, n * sizeof(km_real));
        memset(m->shared.dq, 0, questions * sizeof(km_real));
        for (int i = 0; i < m->lane_count; i++) {
            o->vector_accumulate(m->shared.dx1, m->lanes[i].dx1, n);
            o->vector_accumulate(m->shared.dq, m->lanes[i].dq, questions);
        }
        km_query_close(&m->gradients, &m->shared, batch->entities, &m->backward.view, c, o, &shared, batch->Q);
        for (int b = 0; b < batch->B; b++)
            losses->query += m->recording_loss[b];
        losses->query /= (double)batch->B * (c->query_reduction == KM_REDUCE_MEAN ? batch->Q : 1);
    }
    losses->total = total(losses, c);
    return KM_OK;
}

/* ---- evaluation ---------------------------------------------------------------------------------- */

km_status km_classes_create(km_classes **out, km_model *m, const km_real *entities, int Q, km_error *err)
{
    *out = NULL;
    if (Q < 1)
        return km_error_set(err, KM_VALUE, "classes is empty: expected at least one class");
    if (m->config.query_weight == 0)
        return km_error_set(err, KM_VALUE, "a model of query_weight=0 has no query network to ask");
    km_classes *classes = calloc(1, sizeof *classes);
    if (classes == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: %d classes", Q);
    classes->Q = Q;
    km_arena measure = {NULL, 0, 0};
    km_query_shared_layout(&classes->shared, &measure, &m->config, Q, 0);
    km_status status = km_arena_create(&classes->arena, measure.used, err);
    if (status == KM_OK)
        status = pack_forward(m, 1, err);
    if (status != KM_OK) {
        km_classes_free(classes);
        return status;
    }
    km_query_shared_layout(&classes->shared, &classes->arena, &m->config, Q, 0);
    km_query_open(&classes->shared, entities, &m->forward.view, &m->config, m->ops, NULL, Q);
    *out = classes;
    return KM_OK;
}

void km_classes_free(km_classes *classes)
{
    if (classes == NULL)
        return;
    km_arena_free(&classes->arena);
    free(classes);
}

int km_classes_count(const km_classes *classes)
{
    return classes->Q;
}

typedef struct evaluation {
    km_model *model;
    const km_outputs *outputs;
    const km_batch *batch;
    const km_classes *classes;
} evaluation;

static void evaluate_recording(void *pointer, int b, int thread)
{
    evaluation *x = pointer;
    km_model *m = x->model;
    const km_config *c = &m->config;
    const km_ops *o = m->ops;
    const km_outputs *out = x->outputs;
    worker *w = &m->workers[thread];
    size_t first = (size_t)x->batch->offset[b];
    int n = x->batch->offset[b + 1] - x->batch->offset[b], Q = x->classes != NULL ? x->classes->Q : 0;
    size_t J = (size_t)c->projection_width, C = (size_t)c->width;
    km_real *pooled = out->features != NULL ? out->features + (size_t)b * C : w->features, *projected = pooled;

    if (c->encoder == KM_RESNET18) {
        projected = w->projected;
        km_resnet_evaluate(pooled, out->ecg != NULL ? projected : NULL, &m->resnet.workers[thread], x->batch, b,
                           &m->statistics, &m->parameters, c, o);
    } else {
        w->offset[0] = 0;
        w->offset[1] = n;
        km_encoder_forward(pooled, &w->encoder, &w->scratch, x->batch->patches + first * (size_t)km_config_patch(c),
                           x->batch->lead + first, x->batch->segment + first, w->offset, 1, &m->forward.view, c, o);
    }
    if (out->ecg != NULL || out->text != NULL) {
        const km_real *report = out->text != NULL ? x->batch->report + (size_t)b * x->batch->D : NULL;
        km_projector_forward(&w->projector, projected, report, &m->statistics, &m->parameters, c, m->exact, 1, 0, 0);
        if (out->ecg != NULL)
            memcpy(out->ecg + (size_t)b * J, w->projector.ecg, J * sizeof(km_real));
        if (out->text != NULL)
            memcpy(out->text + (size_t)b * J, w->projector.text, J * sizeof(km_real));
    }
    if (Q > 0 && (out->logits != NULL || out->attention != NULL)) {
        km_query_memory(&w->memory, w->encoder.z, &m->forward.view, c, o, n);
        km_query_forward(w->logits, &w->query, &x->classes->shared, &w->memory, 0, n, &m->forward.view, c, o, NULL, Q);
        if (out->logits != NULL)
            memcpy(out->logits + (size_t)b * Q, w->logits, (size_t)Q * sizeof(km_real));
        if (out->attention != NULL)
            km_query_attention(out->attention + (size_t)Q * first, &w->query, &w->memory, 0, n, c, o, Q);
    }
}

km_status km_model_evaluate(km_model *m, const km_outputs *outputs, const km_batch *batch, const km_classes *classes,
                            int threads, km_error *err)
{
    km_status status = km_batch_check(batch, &m->config, err);
    if (status != KM_OK)
        return status;
    if (outputs->text != NULL && batch->report == NULL)
        return km_error_set(err, KM_VALUE, "report embeddings are needed for the text side");
    int longest = 0;
    for (int b = 0; b < batch->B; b++) {
        int n = batch->offset[b + 1] - batch->offset[b];
        longest = n > longest ? n : longest;
    }
    threads = threads < 1 ? 1 : threads > batch->B ? batch->B : threads;
    status = prepare_workers(m, threads, longest, 1, longest, classes != NULL ? classes->Q : 0, 0, err);
    if (status == KM_OK)
        status = pack_forward(m, threads, err);
    if (status == KM_OK && m->config.encoder == KM_RESNET18)
        status = km_resnet_reserve(&m->resnet, &m->config, 0, threads, err);
    if (status != KM_OK)
        return status;
    evaluation x = {m, outputs, batch, classes};
    km_threads_run(threads, batch->B, evaluate_recording, &x);
    return KM_OK;
}

km_status km_model_project_text(km_model *m, km_real *text, const km_real *report, int n, km_error *err)
{
    km_arena arena, measure = {NULL, 0, 0};
    km_projector projector;
    size_t J = (size_t)m->config.projection_width, C = (size_t)m->config.width, longer = C > J ? C : J;
    km_projector_layout(&projector, &measure, &m->config, 1, 0);
    (void)km_arena_reals(&measure, longer);
    km_status status = km_arena_create(&arena, measure.used, err);
    if (status != KM_OK)
        return status;
    km_projector_layout(&projector, &arena, &m->config, 1, 0);
    km_real *no_ecg = km_arena_reals(&arena, longer);
    for (int i = 0; i < n; i++) {
        km_projector_forward(&projector, no_ecg, report + (size_t)i * m->config.text_width, &m->statistics,
                             &m->parameters, &m->config, m->exact, 1, 0, 0);
        memcpy(text + (size_t)i * J, projector.text, J * sizeof(km_real));
    }
    km_arena_free(&arena);
    return KM_OK;
}

/* Where the losses of a batch are worked out. */
typedef struct loss_space {
    km_outputs outputs;
    km_projector pairs;                 /* only the embeddings and the loss's places */
    km_unimodal unimodal;
    km_real *dlogits;                   /* (Q)                                       */
} loss_space;

static void layout_losses(loss_space *space, km_arena *arena, const km_config *c, size_t B, size_t Q, int contrast)
{
    size_t J = (size_t)c->projection_width;
    memset(space, 0, sizeof *space);
    if (Q > 0) {
        space->outputs.logits = km_arena_reals(arena, B * Q);
        space->dlogits = km_arena_reals(arena, Q);
    }
    if (contrast) {
        space->outputs.ecg = space->pairs.ecg = km_arena_reals(arena, B * J);
        space->outputs.text = space->pairs.text = km_arena_reals(arena, B * J);
        space->pairs.decg = km_arena_reals(arena, B * J);
        space->pairs.dtext = km_arena_reals(arena, B * J);
        space->pairs.pairs = km_arena_reals(arena, 2 * B * B + 2 * B);
    }
    if (c->unimodal_weight > 0) {
        space->outputs.features = km_arena_reals(arena, B * (size_t)c->width);
        km_unimodal_layout(&space->unimodal, arena, c, (int)B);
    }
}

km_status km_model_losses(km_model *m, km_losses *losses, const km_batch *batch, int threads, km_error *err)
{
    const km_config *c = &m->config;
    int contrast = c->contrast_weight > 0, query = c->query_weight > 0;
    memset(losses, 0, sizeof *losses);
    km_status status = check_batch(m, batch, contrast, query, err);
    if (status != KM_OK)
        return status;

    size_t B = (size_t)batch->B, Q = query ? (size_t)batch->Q : 0;
    km_classes *classes = NULL;
    km_arena arena = {NULL, 0, 0}, measure = {NULL, 0, 0};
    loss_space space;
    layout_losses(&space, &measure, c, B, Q, contrast);
    if ((status = km_arena_create(&arena, measure.used, err)) != KM_OK)
        goto done;
    layout_losses(&space, &arena, c, B, Q, contrast);
    if (query && (status = km_classes_create(&classes, m, batch->entities, batch->Q, err)) != KM_OK)
        goto done;
    if ((status = km_model_evaluate(m, &space.outputs, batch, classes, threads, err)) != KM_OK)
        goto done;

    losses->duplicates = count_duplicates(batch->report_id, batch->B);
    double unused = 0;
    if (c->unimodal_weight > 0) {
        km_unimodal_forward(&space.unimodal, space.outputs.features, NULL, NULL, &m->parameters, c, m->exact, batch->B);
        losses->unimodal = km_unimodal_loss(&space.unimodal, &unused, &m->parameters, c, m->exact, batch->B);
    }
    if (contrast) {
        losses->contrast =
            km_projector_loss(&space.pairs, &unused, batch->report_id, &m->parameters, c, m->exact, batch->B);
    }
    if (query) {
        for (size_t b = 0; b < B; b++)
            losses->query += m->ops->bce(space.dlogits, space.outputs.logits + b * Q, batch->labels + b * Q, 1, Q);
        losses->query /= (double)B * (c->query_reduction == KM_REDUCE_MEAN ? (double)Q : 1);
    }
    losses->total = total(losses, c);
done:
    km_classes_free(classes);
    km_arena_free(&arena);
    return status;
}
