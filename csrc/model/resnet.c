#include "model/resnet.h"

#include <stdlib.h>
#include <string.h>

#include "core/threads.h"

static const km_real MOMENTUM = (km_real)0.1, EPS = (km_real)1e-5;
enum { LAST = KM_RESNET_BLOCKS, WIDEST = 512 };

/* ---- shapes and parameters ----------------------------------------------------------------------- */

static int first_of(int block) { return 1 + 3 * block; }
static int second_of(int block) { return 2 + 3 * block; }
static int shortcut_of(int block) { return 3 + 3 * block; }
static int has_shortcut(int block) { return km_resnet_stride(block) > 1; }

typedef struct conv {
    int L, C, T, N, K, stride;          /* x (L, C) -> y (T, N)                */
    int there;                          /* 0: a shortcut that is the identity  */
} conv;

static conv conv_at(int k, const km_config *c)
{
    conv v = {(int)km_config_samples(c), KM_LEADS, 0, KM_RESNET_STEM, 7, 2, 1};
    if (k > 0) {
        int block = (k - 1) / 3, part = (k - 1) % 3;
        v.L = (v.L - 1) / 2 + 1;
        for (int i = 0; i < block; i++)
            v.L = (v.L - 1) / km_resnet_stride(i) + 1;
        v.C = km_resnet_input(block);
        v.N = km_resnet_width(block);
        v.K = part < 2 ? 3 : 1;
        v.stride = km_resnet_stride(block);
        v.there = part < 2 || has_shortcut(block);
        if (part == 1) {
            v.L = (v.L - 1) / v.stride + 1;
            v.C = v.N;
            v.stride = 1;
        }
    }
    v.T = (v.L - 1) / v.stride + 1;
    return v;
}

typedef struct weights {
    km_real *conv, *gain, *bias;
} weights;

static weights weights_at(int k, const km_params *w)
{
    if (k == 0)
        return (weights){w->stem_weight, w->stem_norm_weight, w->stem_norm_bias};
    const km_residual_params *r = &w->residual[(k - 1) / 3];
    switch ((k - 1) % 3) {
    case 0: return (weights){r->conv1_weight, r->norm1_weight, r->norm1_bias};
    case 1: return (weights){r->conv2_weight, r->norm2_weight, r->norm2_bias};
    default: return (weights){r->shortcut_weight, r->shortcut_norm_weight, r->shortcut_norm_bias};
    }
}

static km_resnet_norm running_at(int k, const km_statistics *s)
{
    if (k == 0)
        return (km_resnet_norm){s->stem_mean, s->stem_var, NULL};
    const km_residual_statistics *r = &s->residual[(k - 1) / 3];
    switch ((k - 1) % 3) {
    case 0: return (km_resnet_norm){r->norm1_mean, r->norm1_var, NULL};
    case 1: return (km_resnet_norm){r->norm2_mean, r->norm2_var, NULL};
    default: return (km_resnet_norm){r->shortcut_mean, r->shortcut_var, NULL};
    }
}

/* ---- memory -------------------------------------------------------------------------------------- */

static size_t map_size(int k, const km_config *c)
{
    conv v = conv_at(k, c);
    return v.there ? (size_t)v.T * (size_t)v.N : 0;
}

static size_t largest_map(const km_config *c)
{
    size_t largest = 0;
    for (int k = 0; k < KM_RESNET_CONVS; k++)
        largest = map_size(k, c) > largest ? map_size(k, c) : largest;
    return largest;
}

static void layout_training(km_resnet *r, km_arena *arena, const km_config *c, int B)
{
    size_t largest = largest_map(c);
    km_resnet_maps *maps = km_arena_take(arena, (size_t)B, sizeof *maps), one;
    r->parts = km_arena_take(arena, (size_t)B * 2 * WIDEST, sizeof *r->parts);
    r->shortcut_parts = km_arena_take(arena, (size_t)B * 2 * WIDEST, sizeof *r->shortcut_parts);
    for (int k = 0; k < KM_RESNET_CONVS; k++) {
        size_t n = (size_t)conv_at(k, c).N;
        r->norms[k].mean = km_arena_reals(arena, n);
        r->norms[k].var = km_arena_reals(arena, n);
        r->norms[k].total = km_arena_take(arena, 2 * n, sizeof(double));
    }
    size_t budget = (size_t)c->memory_mb << 20, start = arena->used;
    int again = 0;
    for (int b = 0; b < B; b++) {
        km_resnet_maps *m = maps != NULL ? &maps[b] : &one;
        km_real *place[3] = {NULL, NULL, NULL};
        for (int i = 0; again && i < 3; i++)
            place[i] = km_arena_reals(arena, largest);
        for (int k = 0; k < KM_RESNET_CONVS; k++)
            m->x[k] = again ? place[(k + 2) % 3] : km_arena_reals(arena, map_size(k, c));
        m->again = again;
        m->y[0] = km_arena_reals(arena, map_size(0, c));
        for (int i = 0; i < LAST; i++)
            m->y[i + 1] = km_arena_reals(arena, map_size(second_of(i), c));
        m->dy = km_arena_reals(arena, largest);
        m->other = km_arena_reals(arena, largest);
        size_t each = (arena->used - start) / (size_t)(b + 1);
        again = again || arena->used - start + each > budget;
    }
    r->maps = maps;
    r->B = B;
}

static void layout_worker(km_resnet_worker *w, km_arena *arena, const km_config *c)
{
    size_t largest = largest_map(c), columns = 0;
    for (int k = 0; k < KM_RESNET_CONVS; k++) {
        conv v = conv_at(k, c);
        size_t n = km_conv_scratch(v.C, v.K);
        columns = n > columns ? n : columns;
    }
    w->signal = km_arena_reals(arena, (size_t)km_config_samples(c) * KM_LEADS);
    w->columns = km_arena_reals(arena, columns);
    w->a = km_arena_reals(arena, largest);
    w->b = km_arena_reals(arena, largest);
    w->c = km_arena_reals(arena, largest);
    w->d = km_arena_reals(arena, largest);
    km_attentionpool_layout(&w->pool, arena, c, 1);
}

/* An emptied arena of at least capacity bytes. */
static km_status renew(km_arena *arena, size_t capacity, km_error *err)
{
    if (arena->capacity >= capacity) {
        km_arena_reset(arena);
        return KM_OK;
    }
    km_arena_free(arena);
    return km_arena_create(arena, capacity, err);
}

km_status km_resnet_reserve(km_resnet *r, const km_config *c, int B, int threads, km_error *err)
{
    km_arena measure = {NULL, 0, 0};
    km_status status;
    if (B > 0 && B != r->B) {
        layout_training(r, &measure, c, B);
        r->B = 0;
        if ((status = renew(&r->arena, measure.used, err)) != KM_OK)
            return status;
        layout_training(r, &r->arena, c, B);
    }
    if (threads <= r->worker_count)
        return KM_OK;
    km_resnet_worker *workers = realloc(r->workers, (size_t)threads * sizeof *workers);
    if (workers == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: %d threads", threads);
    r->workers = workers;
    km_resnet_worker measured;
    measure.used = 0;
    layout_worker(&measured, &measure, c);
    for (; r->worker_count < threads; r->worker_count++) {
        km_resnet_worker *w = &workers[r->worker_count];
        memset(w, 0, sizeof *w);
        if ((status = km_arena_create(&w->arena, measure.used, err)) != KM_OK)
            return status;
        layout_worker(w, &w->arena, c);
    }
    return KM_OK;
}

void km_resnet_free(km_resnet *r)
{
    for (int i = 0; i < r->worker_count; i++)
        km_arena_free(&r->workers[i].arena);
    km_arena_free(&r->arena);
    free(r->workers);
    memset(r, 0, sizeof *r);
}

/* ---- one recording, one layer -------------------------------------------------------------------- */

/* signal (S, 12) of recording b, 0 where the batch has no segment. */
static void unpack(km_real *signal, const km_batch *batch, int b, const km_config *c)
{
    int P = (int)c->segment_samples;
    memset(signal, 0, (size_t)km_config_samples(c) * KM_LEADS * sizeof *signal);
    for (int t = batch->offset[b]; t < batch->offset[b + 1]; t++) {
        const km_real *patch = batch->patches + (size_t)t * (size_t)(KM_LEADS * P);
        km_real *at = signal + (size_t)batch->segment[t] * (size_t)(KM_LEADS * P);
        for (int lead = 0; lead < KM_LEADS; lead++)
            for (int i = 0; i < P; i++)
                at[i * KM_LEADS + lead] = patch[lead * P + i];
    }
}

static void convolve(km_real *y, km_real *columns, const km_real *x, int k, const km_params *w, const km_config *c,
                     const km_ops *o)
{
    conv v = conv_at(k, c);
    o->conv_forward(y, columns, x, weights_at(k, w).conv, v.L, v.C, v.N, v.K, v.stride);
}

static void norm(km_real *y, const km_real *x, int k, const km_resnet_norm *statistics, const km_real *residual,
                 int relu, const km_params *w, const km_config *c, const km_ops *o)
{
    conv v = conv_at(k, c);
    weights at = weights_at(k, w);
    o->batchpart_forward(y, x, statistics->mean, statistics->var, at.gain, at.bias, residual, v.T, v.N, EPS, relu);
}

/* ---- training ------------------------------------------------------------------------------------ */

typedef struct sweep {
    km_resnet *r;
    const km_batch *batch;
    const km_params *w;
    const km_config *c;
    const km_ops *o;
    int block;
    km_real *features, *projected;              /* forward              */
    km_params **lanes;                          /* backward             */
    int lane_count;
    const km_real *dfeatures, *dprojected;
} sweep;

static void take_moments(const sweep *s, double *parts, int b, int k)
{
    conv v = conv_at(k, s->c);
    s->o->batchpart_moments(parts + (size_t)b * 2 * (size_t)v.N, s->r->maps[b].x[k], v.T, v.N);
}

static void join(const sweep *s, const double *parts, int k, km_statistics *running, int update)
{
    conv v = conv_at(k, s->c);
    km_resnet_norm moving = running_at(k, running);
    s->o->batchpart_join(s->r->norms[k].mean, s->r->norms[k].var, update ? moving.mean : NULL,
                         update ? moving.var : NULL, parts, s->batch->B, v.T, v.N, MOMENTUM);
}

static void convolve_stem(void *pointer, int b, int thread)
{
    sweep *s = pointer;
    km_resnet_worker *t = &s->r->workers[thread];
    unpack(t->signal, s->batch, b, s->c);
    convolve(s->r->maps[b].x[0], t->columns, t->signal, 0, s->w, s->c, s->o);
    take_moments(s, s->r->parts, b, 0);
}

/* y of a block (or, block -1, of the stem), whose convolutions are done. */
static void finish(const sweep *s, km_resnet_maps *m, km_resnet_worker *t, int block)
{
    const km_resnet_norm *n = s->r->norms;
    if (block < 0) {
        norm(m->y[0], m->x[0], 0, &n[0], NULL, 1, s->w, s->c, s->o);
        return;
    }
    const km_real *residual = m->y[block];
    if (has_shortcut(block)) {
        int k = shortcut_of(block);
        norm(t->a, m->x[k], k, &n[k], NULL, 0, s->w, s->c, s->o);
        residual = t->a;
    }
    int k = second_of(block);
    norm(m->y[block + 1], m->x[k], k, &n[k], residual, 1, s->w, s->c, s->o);
}

/* The convolutions of a block (or, block -1, of the stem) from what goes into it, where they were not kept. */
static void convolve_again(const sweep *s, km_resnet_maps *m, km_resnet_worker *t, int b, int block)
{
    if (block < 0) {
        unpack(t->signal, s->batch, b, s->c);
        convolve(m->x[0], t->columns, t->signal, 0, s->w, s->c, s->o);
        return;
    }
    int first = first_of(block), second = second_of(block), shortcut = shortcut_of(block);
    convolve(m->x[first], t->columns, m->y[block], first, s->w, s->c, s->o);
    norm(t->a, m->x[first], first, &s->r->norms[first], NULL, 1, s->w, s->c, s->o);
    convolve(m->x[second], t->columns, t->a, second, s->w, s->c, s->o);
    if (has_shortcut(block))
        convolve(m->x[shortcut], t->columns, m->y[block], shortcut, s->w, s->c, s->o);
}

static void convolve_first(void *pointer, int b, int thread)
{
    sweep *s = pointer;
    km_resnet_maps *m = &s->r->maps[b];
    km_resnet_worker *t = &s->r->workers[thread];
    int first = first_of(s->block), shortcut = shortcut_of(s->block);
    finish(s, m, t, s->block - 1);
    convolve(m->x[first], t->columns, m->y[s->block], first, s->w, s->c, s->o);
    take_moments(s, s->r->parts, b, first);
    if (has_shortcut(s->block)) {
        convolve(m->x[shortcut], t->columns, m->y[s->block], shortcut, s->w, s->c, s->o);
        take_moments(s, s->r->shortcut_parts, b, shortcut);
    }
}

static void convolve_second(void *pointer, int b, int thread)
{
    sweep *s = pointer;
    km_resnet_maps *m = &s->r->maps[b];
    km_resnet_worker *t = &s->r->workers[thread];
    int first = first_of(s->block), second = second_of(s->block);
    norm(t->a, m->x[first], first, &s->r->norms[first], NULL, 1, s->w, s->c, s->o);
    convolve(m->x[second], t->columns, t->a, second, s->w, s->c, s->o);
    take_moments(s, s->r->parts, b, second);
}

static void end(void *pointer, int b, int thread)
{
    sweep *s = pointer;
    km_resnet_maps *m = &s->r->maps[b];
    km_resnet_worker *t = &s->r->workers[thread];
    int32_t all[2] = {0, (int32_t)km_resnet_positions(s->c)};
    finish(s, m, t, LAST - 1);
    s->o->pool_forward(s->features + (size_t)b * WIDEST, m->y[LAST], all, 1, WIDEST);
    if (s->projected != NULL)
        km_attentionpool_forward(s->projected + (size_t)b * (size_t)s->c->projection_width, &t->pool, m->y[LAST], s->w,
                                 s->c, s->o);
}

void km_resnet_forward(km_real *features, km_real *projected, km_resnet *r, const km_batch *batch,
                       km_statistics *running, int update, const km_params *w, const km_config *c, const km_ops *o,
                       int threads)
{
    sweep s = {.r = r, .batch = batch, .w = w, .c = c, .o = o, .features = features, .projected = projected};
    km_threads_run(threads, batch->B, convolve_stem, &s);
    join(&s, r->parts, 0, running, update);
    for (s.block = 0; s.block < LAST; s.block++) {
        km_threads_run(threads, batch->B, convolve_first, &s);
        join(&s, r->parts, first_of(s.block), running, update);
        if (has_shortcut(s.block))
            join(&s, r->shortcut_parts, shortcut_of(s.block), running, update);
        km_threads_run(threads, batch->B, convolve_second, &s);
        join(&s, r->parts, second_of(s.block), running, update);
    }
    km_threads_run(threads, batch->B, end, &s);
}

/* ---- backward: recordings b = lane, lane + lanes, ... ---------------------------------------------- */

static void take_sums(const sweep *s, double *parts, int b, int k, km_real *dy, const km_real *y)
{
    conv v = conv_at(k, s->c);
    const km_resnet_norm *n = &s->r->norms[k];
    s->o->batchpart_sums(parts + (size_t)b * 2 * (size_t)v.N, dy, y, s->r->maps[b].x[k], n->mean, n->var, v.T, v.N,
                         EPS);
}

static void join_sums(const sweep *s, km_params *dw, const double *parts, int k)
{
    weights d = weights_at(k, dw);
    s->o->batchpart_join_sums(s->r->norms[k].total, d.gain, d.bias, parts, s->batch->B, conv_at(k, s->c).N);
}

/* dx of norm k from its dy. */
static void norm_backward(const sweep *s, km_real *dx, const km_real *dy, int b, int k)
{
    conv v = conv_at(k, s->c);
    const km_resnet_norm *n = &s->r->norms[k];
    s->o->batchpart_backward(dx, dy, s->r->maps[b].x[k], n->mean, n->var, weights_at(k, s->w).gain, n->total,
                             (int64_t)v.T * s->batch->B, v.T, v.N, EPS);
}

static void convolve_backward(const sweep *s, km_real *dx, int lane, km_real *columns, const km_real *dy,
                              const km_real *x, int k, int add)
{
    conv v = conv_at(k, s->c);
    s->o->conv_backward(dx, weights_at(k, s->lanes[lane]).conv, columns, dy, x, weights_at(k, s->w).conv, v.L, v.C, v.N,
                        v.K, v.stride, add);
}

/* From the gradient of a block's y, m->dy: through its ReLU, and what its norms (block -1: the stem's) have to join. */
static void open_block(const sweep *s, km_resnet_maps *m, int b, int block)
{
    take_sums(s, s->r->parts, b, block < 0 ? 0 : second_of(block), m->dy, m->y[block + 1]);
    if (block >= 0 && has_shortcut(block))
        take_sums(s, s->r->shortcut_parts, b, shortcut_of(block), m->dy, NULL);
}

static void end_backward(void *pointer, int lane, int thread)
{
    sweep *s = pointer;
    km_resnet_worker *t = &s->r->workers[thread];
    int32_t all[2] = {0, (int32_t)km_resnet_positions(s->c)};
    size_t J = (size_t)s->c->projection_width;
    for (int b = lane; b < s->batch->B; b += s->lane_count) {
        km_resnet_maps *m = &s->r->maps[b];
        if (s->dprojected != NULL) {
            km_attentionpool_forward(t->a, &t->pool, m->y[LAST], s->w, s->c, s->o);
            km_attentionpool_backward(m->dy, s->lanes[lane], &t->pool, s->dprojected + (size_t)b * J, m->y[LAST], s->w,
                                      s->c, s->o);
        }
        if (s->dfeatures != NULL)
            s->o->pool_backward(m->dy, s->dfeatures + (size_t)b * WIDEST, all, 1, WIDEST, s->dprojected != NULL);
        open_block(s, m, b, LAST - 1);
    }
}

static void second_backward(void *pointer, int lane, int thread)
{
    sweep *s = pointer;
    km_resnet_worker *t = &s->r->workers[thread];
    int first = first_of(s->block), second = second_of(s->block);
    for (int b = lane; b < s->batch->B; b += s->lane_count) {
        km_resnet_maps *m = &s->r->maps[b];
        norm_backward(s, t->b, m->dy, b, second);
        norm(t->a, m->x[first], first, &s->r->norms[first], NULL, 1, s->w, s->c, s->o);
        convolve_backward(s, m->other, lane, t->columns, t->b, t->a, second, 0);
        take_sums(s, s->r->parts, b, first, m->other, t->a);
    }
}

static void first_backward(void *pointer, int lane, int thread)
{
    sweep *s = pointer;
    km_resnet_worker *t = &s->r->workers[thread];
    int first = first_of(s->block), shortcut = shortcut_of(s->block);
    for (int b = lane; b < s->batch->B; b += s->lane_count) {
        km_resnet_maps *m = &s->r->maps[b];
        km_real *dx = m->other;
        norm_backward(s, t->b, m->other, b, first);
        convolve_backward(s, dx, lane, t->columns, t->b, m->y[s->block], first, 0);
        if (has_shortcut(s->block)) {
            norm_backward(s, t->b, m->dy, b, shortcut);
            convolve_backward(s, dx, lane, t->columns, t->b, m->y[s->block], shortcut, 1);
        } else {
            s->o->vector_accumulate(dx, m->dy, map_size(second_of(s->block), s->c));
        }
        m->other = m->dy;
        m->dy = dx;
        if (m->again)
            convolve_again(s, m, t, b, s->block - 1);
        open_block(s, m, b, s->block - 1);
    }
}

static void stem_backward(void *pointer, int lane, int thread)
{
    sweep *s = pointer;
    km_resnet_worker *t = &s->r->workers[thread];
    for (int b = lane; b < s->batch->B; b += s->lane_count) {
        norm_backward(s, t->b, s->r->maps[b].dy, b, 0);
        unpack(t->signal, s->batch, b, s->c);
        convolve_backward(s, NULL, lane, t->columns, t->b, t->signal, 0, 0);
    }
}

void km_resnet_backward(km_params *dw, km_params **lanes, int lane_count, const km_real *dfeatures,
                        const km_real *dprojected, km_resnet *r, const km_batch *batch, const km_params *w,
                        const km_config *c, const km_ops *o, int threads)
{
    sweep s = {.r = r, .batch = batch, .w = w, .c = c, .o = o, .lanes = lanes, .lane_count = lane_count,
               .dfeatures = dfeatures, .dprojected = dprojected};
    km_threads_run(threads, lane_count, end_backward, &s);
    for (s.block = LAST - 1; s.block >= 0; s.block--) {
        join_sums(&s, dw, r->parts, second_of(s.block));
        if (has_shortcut(s.block))
            join_sums(&s, dw, r->shortcut_parts, shortcut_of(s.block));
        km_threads_run(threads, lane_count, second_backward, &s);
        join_sums(&s, dw, r->parts, first_of(s.block));
        km_threads_run(threads, lane_count, first_backward, &s);
    }
    join_sums(&s, dw, r->parts, 0);
    km_threads_run(threads, lane_count, stem_backward, &s);
}

/* ---- evaluation ---------------------------------------------------------------------------------- */

void km_resnet_evaluate(km_real *features, km_real *projected, km_resnet_worker *t, const km_batch *batch, int b,
                        const km_statistics *running, const km_params *w, const km_config *c, const km_ops *o)
{
    int32_t all[2] = {0, (int32_t)km_resnet_positions(c)};
    km_real *x = t->a, *hidden = t->b, *y = t->c;
    km_resnet_norm n = running_at(0, running);
    unpack(t->signal, batch, b, c);
    convolve(x, t->columns, t->signal, 0, w, c, o);
    norm(x, x, 0, &n, NULL, 1, w, c, o);
    for (int i = 0; i < LAST; i++) {
        const km_real *residual = x;
        n = running_at(first_of(i), running);
        convolve(hidden, t->columns, x, first_of(i), w, c, o);
        norm(hidden, hidden, first_of(i), &n, NULL, 1, w, c, o);
        convolve(y, t->columns, hidden, second_of(i), w, c, o);
        if (has_shortcut(i)) {
            n = running_at(shortcut_of(i), running);
            convolve(t->d, t->columns, x, shortcut_of(i), w, c, o);
            norm(t->d, t->d, shortcut_of(i), &n, NULL, 0, w, c, o);
            residual = t->d;
        }
        n = running_at(second_of(i), running);
        norm(y, y, second_of(i), &n, residual, 1, w, c, o);
        km_real *next = y;
        y = x;
        x = next;
    }
    o->pool_forward(features, x, all, 1, WIDEST);
    if (projected != NULL)
        km_attentionpool_forward(projected, &t->pool, x, w, c, o);
}
