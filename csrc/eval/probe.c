#include "eval/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/rng.h"
#include "core/threads.h"
#include "eval/metrics.h"
#include "ops/cpu/vmath.h"
#include "ops/ops.h"
#include "train/schedule.h"

/* The square of a gradient from larger features would not fit the second moments' float. */
static const double KM_LARGEST_FEATURE = 1e18;

/* ---- One block of KM_STRIPES classes: w (C + 1, KM_STRIPES), the biases last ---- */

/* z = bias + sum_c x[c] w[c], c rising, for B recordings: four at a time share a row of w. */
static KM_VECTOR void logits(km_real *z, const km_real *const *x, int B, const km_real *w, int C)
{
    km_stripes bias, row;
    km_load(&bias, w + (size_t)C * KM_STRIPES);
    int b = 0;
    for (; b + 4 <= B; b += 4) {
        const km_real *x0 = x[b], *x1 = x[b + 1], *x2 = x[b + 2], *x3 = x[b + 3];
        km_stripes sum[4] = {bias, bias, bias, bias};
        for (int c = 0; c < C; c++) {
            km_load(&row, w + (size_t)c * KM_STRIPES);
            sum[0] += row * x0[c];
            sum[1] += row * x1[c];
            sum[2] += row * x2[c];
            sum[3] += row * x3[c];
        }
        memcpy(z + (size_t)b * KM_STRIPES, sum, sizeof sum);
    }
    for (; b < B; b++) {
        km_stripes sum = bias;
        for (int c = 0; c < C; c++) {
            km_load(&row, w + (size_t)c * KM_STRIPES);
            sum += row * x[b][c];
        }
        memcpy(z + (size_t)b * KM_STRIPES, &sum, sizeof sum);
    }
}

/* dz = scale (sigmoid(z) - y) in place; scale is 0 for columns that are no class. */
static KM_VECTOR void residuals(km_real *z, const uint8_t *const *y, int B, const km_real *scale)
{
    for (int b = 0; b < B; b++)
        for (int k = 0; k < KM_STRIPES; k++) {
            km_real *at = z + (size_t)b * KM_STRIPES + k;
            *at = scale[k] * (1 / (1 + km_exp(-*at)) - y[b][k]);
        }
}

/* gradient[c] = sum_b x[b][c] dz[b], b rising; four rows at a time share a dz. */
static KM_VECTOR void gradients(km_real *gradient, const km_real *const *x, const km_real *dz, int B, int C)
{
    km_stripes d, bias = {0};
    int c = 0;
    for (; c + 4 <= C; c += 4) {
        km_stripes sum[4] = {{0}, {0}, {0}, {0}};
        for (int b = 0; b < B; b++) {
            const km_real *at = x[b] + c;
            km_load(&d, dz + (size_t)b * KM_STRIPES);
            sum[0] += d * at[0];
            sum[1] += d * at[1];
            sum[2] += d * at[2];
            sum[3] += d * at[3];
        }
        memcpy(gradient + (size_t)c * KM_STRIPES, sum, sizeof sum);
    }
    for (; c < C; c++) {
        km_stripes sum = {0};
        for (int b = 0; b < B; b++) {
            km_load(&d, dz + (size_t)b * KM_STRIPES);
            sum += d * x[b][c];
        }
        memcpy(gradient + (size_t)c * KM_STRIPES, &sum, sizeof sum);
    }
    for (int b = 0; b < B; b++) {
        km_load(&d, dz + (size_t)b * KM_STRIPES);
        bias += d;
    }
    memcpy(gradient + (size_t)C * KM_STRIPES, &bias, sizeof bias);
}

/* ---- Fitting ---- */

enum { TRAIN, VALIDATION, WATCHED, SETS };
enum { CHUNK = 64 };                /* recordings scored at a time */

typedef struct fitting {
    const km_probe_settings *settings;
    const uint64_t *seed;           /* (S)                                                    */
    const km_probe_data *set[SETS];
    uint8_t *y[SETS];               /* (blocks, N, KM_STRIPES): outcomes by block             */
    double *score[SETS];            /* (S, blocks, KM_STRIPES): AUROC of each class           */
    km_real *w, *m, *v, *best;      /* (S, blocks, C + 1, KM_STRIPES)                         */
    int blocks, groups;             /* a task is a repeat's group of blocks                   */
    size_t size;                    /* (C + 1) KM_STRIPES: numbers of a block                 */
    unsigned char *scratch;         /* (threads, scratch_size)                                */
    size_t scratch_size;
    int64_t steps;                  /* of an epoch                                            */
    int epoch;                      /* the one being run, from 0                              */
    km_error *failed;               /* (tasks)                                                */
} fitting;

/* What a thread works with. */
typedef struct scratch {
    int64_t *order;                 /* (N)                                                    */
    const km_real **x;              /* (rows)                                                 */
    const uint8_t **y;              /* (rows)                                                 */
    km_real *z;                     /* (rows, KM_STRIPES)                                     */
    km_real *gradient;              /* (C + 1, KM_STRIPES)                                    */
    double *p;                      /* (largest set to score, KM_STRIPES)                     */
} scratch;

static int width(const fitting *f, int block)
{
    int rest = f->settings->K - block * KM_STRIPES;
    return rest < KM_STRIPES ? rest : KM_STRIPES;
}

static scratch take(const fitting *f, km_arena *arena)
{
    size_t rows = (size_t)(f->settings->batch_size > CHUNK ? f->settings->batch_size : CHUNK);
    int64_t scored = f->set[VALIDATION]->N > f->set[WATCHED]->N ? f->set[VALIDATION]->N : f->set[WATCHED]->N;
    scratch s;
    s.order = km_arena_take(arena, (size_t)f->set[TRAIN]->N, sizeof *s.order);
    s.x = km_arena_take(arena, rows, sizeof *s.x);
    s.y = km_arena_take(arena, rows, sizeof *s.y);
    s.z = km_arena_reals(arena, rows * KM_STRIPES);
    s.gradient = km_arena_reals(arena, f->size);
    s.p = km_arena_take(arena, (size_t)scored * KM_STRIPES, sizeof *s.p);
    return s;
}

static void train_block(const fitting *f, const scratch *t, int B, int block, km_real *w, km_real *m, km_real *v,
                        int64_t step)
{
    const km_probe_settings *s = f->settings;
    km_real scale[KM_STRIPES];
    for (int k = 0; k < KM_STRIPES; k++)
        scale[k] = (km_real)(k < width(f, block) ? 1.0 / ((double)B * s->K) : 0);
    logits(t->z, t->x, B, w, s->C);
    residuals(t->z, t->y, B, scale);
    gradients(t->gradient, t->x, t->z, B, s->C);
    km_ops_cpu(KM_FLOAT32)->adamw(w, m, v, t->gradient, f->size, 1,
                        km_schedule_rate(s->lr, step, s->warmup_steps, f->steps * s->epochs), s->beta1, s->beta2,
                        s->eps, 0, step + 1);
}

/* AUROC of a block's classes on a set, into score (KM_STRIPES). */
static km_status score_block(const fitting *f, const scratch *t, int set, int block, const km_real *w, double *score,
                             km_error *err)
{
    const km_probe_data *data = f->set[set];
    const km_metrics_settings settings = {.metric = KM_ROC_AUC, .threads = 1};
    double with_macro[KM_STRIPES + 1];
    int C = f->settings->C;
    for (int64_t first = 0; first < data->N; first += CHUNK) {
        int B = (int)(data->N - first < CHUNK ? data->N - first : CHUNK);
        for (int b = 0; b < B; b++)
            t->x[b] = data->x + (size_t)(first + b) * (size_t)C;
        logits(t->z, t->x, B, w, C);
        for (int i = 0; i < B * KM_STRIPES; i++)
            t->p[first * KM_STRIPES + i] = t->z[i];
    }
    km_status status = km_metrics_score(with_macro, f->y[set] + (size_t)block * (size_t)data->N * KM_STRIPES, t->p,
                                        data->N, KM_STRIPES, &settings, err);
    memcpy(score, with_macro, KM_STRIPES * sizeof *score);
    return status;
}

/* One epoch of one repeat's group of blocks. */
static void run_epoch(void *context, int index, int thread)
{
    fitting *f = context;
    int repeat = index / f->groups, group = index % f->groups;
    int first = group * f->blocks / f->groups, end = (group + 1) * f->blocks / f->groups;
    int64_t N = f->set[TRAIN]->N, C = f->settings->C;
    km_arena arena = {f->scratch + (size_t)thread * f->scratch_size, f->scratch_size, 0};
    scratch t = take(f, &arena);
    km_rng rng;
    km_rng_open(&rng, f->seed[repeat], KM_STREAM_PROBE, (uint32_t)f->epoch + 1, 0);
    km_rng_permute(&rng, t.order, N);
    for (int64_t i = 0; i < f->steps; i++) {
        int64_t at = i * f->settings->batch_size;
        int B = (int)(N - at < f->settings->batch_size ? N - at : f->settings->batch_size);
        for (int b = 0; b < B; b++)
            t.x[b] = f->set[TRAIN]->x + t.order[at + b] * C;
        for (int block = first; block < end; block++) {
            size_t offset = ((size_t)repeat * (size_t)f->blocks + (size_t)block) * f->size;
            for (int b = 0; b < B; b++)
                t.y[b] = f->y[TRAIN] + (block * N + t.order[at + b]) * KM_STRIPES;
            train_block(f, &t, B, block, f->w + offset, f->m + offset, f->v + offset, f->epoch * f->steps + i);
        }
    }
    for (int set = VALIDATION; set < SETS; set++)
        for (int block = first; block < end && f->set[set]->N > 0; block++) {
            size_t place = (size_t)repeat * (size_t)f->blocks + (size_t)block;
            if (score_block(f, &t, set, block, f->w + place * f->size, f->score[set] + place * KM_STRIPES,
                            &f->failed[index]) != KM_OK)
                return;
        }
}

static double macro(const fitting *f, int set, int repeat)
{
    double sum = 0;
    int count = 0;
    if (f->set[set]->N == 0)
        return NAN;
    for (int k = 0; k < f->settings->K; k++) {      /* blocks are full but for the last: class k is column k */
        double score = f->score[set][(size_t)repeat * (size_t)f->blocks * KM_STRIPES + (size_t)k];
        sum += isnan(score) ? 0 : score;
        count += !isnan(score);
    }
    return count > 0 ? sum / count : NAN;
}

void km_probe_first_weights(km_real *w, size_t stride, int C, uint64_t seed, int k)
{
    km_rng rng;
    km_rng_open(&rng, seed, KM_STREAM_PROBE, 0, (uint64_t)k);
    for (int c = 0; c < C; c++) {
        double draw;
        do
            draw = km_rng_normal(&rng);
        while (fabs(draw) > 2);
        w[(size_t)c * stride] = (km_real)(0.02 * draw);
    }
}

static void by_block(uint8_t *out, const km_probe_data *data, int K)
{
    for (int64_t i = 0; i < data->N; i++)
        for (int k = 0; k < K; k++)
            out[(k / KM_STRIPES * data->N + i) * KM_STRIPES + k % KM_STRIPES] = data->y[i * K + k];
}

static km_status check_set(const km_probe_data *data, const char *name, const km_probe_settings *s, km_error *err)
{
    for (int64_t i = 0; i < data->N * s->C; i++)
        if (!(fabs((double)data->x[i]) <= KM_LARGEST_FEATURE))
            return km_error_set(err, KM_VALUE, "%s: feature %lld of recording %lld is %g, expected a finite number of "
                                "size 1e18 at most", name, (long long)(i % s->C), (long long)(i / s->C),
                                (double)data->x[i]);
    for (int64_t i = 0; i < data->N * s->K; i++)
        if (data->y[i] > 1)
            return km_error_set(err, KM_VALUE, "%s: outcome %lld of recording %lld is %d, expected 0 or 1", name,
                                (long long)(i % s->K), (long long)(i / s->K), data->y[i]);
    return KM_OK;
}

static km_status check(const fitting *f, int S, km_error *err)
{
    const km_probe_settings *s = f->settings;
    static const char *const names[] = {"train", "validation", "watched"};
    if (s->C < 1 || s->K < 1 || S < 1 || s->epochs < 1 || s->batch_size < 1 || s->threads < 1 || s->warmup_steps < 0)
        return km_error_set(err, KM_VALUE, "features (%d), classes (%d), seeds (%d), epochs (%d), batch_size (%d) and "
                            "threads (%d) must be at least 1, warmup_steps (%d) at least 0", s->C, s->K, S, s->epochs,
                            s->batch_size, s->threads, s->warmup_steps);
    if (!(s->lr > 0 && s->lr < INFINITY && s->beta1 >= 0 && s->beta1 < 1 && s->beta2 >= 0 && s->beta2 < 1
          && s->eps > 0 && s->eps < INFINITY))
        return km_error_set(err, KM_VALUE, "lr (%g) and eps (%g) must be above 0, betas (%g, %g) from 0 to below 1",
                            s->lr, s->eps, s->beta1, s->beta2);
    if (f->set[TRAIN]->N < 1)
        return km_error_set(err, KM_VALUE, "there is no recording to train on");
    for (int set = 0; set < SETS; set++) {
        if (f->set[set]->N > INT32_MAX)
            return km_error_set(err, KM_VALUE, "%s has more than 2^31 - 1 recordings", names[set]);
        km_status status = check_set(f->set[set], names[set], s, err);
        if (status != KM_OK)
            return status;
    }
    return KM_OK;
}

/* Everything of the fit from one arena; the same function measures and takes. */
static void lay_out(fitting *f, km_arena *arena, int S, int threads)
{
    size_t blocks = (size_t)S * (size_t)f->blocks;
    km_arena measure = {0};
    km_real **arrays[] = {&f->w, &f->m, &f->v, &f->best};
    for (int i = 0; i < 4; i++)
        *arrays[i] = km_arena_reals(arena, blocks * f->size);
    for (int set = 0; set < SETS; set++) {
        f->y[set] = km_arena_take(arena, (size_t)f->blocks * (size_t)f->set[set]->N * KM_STRIPES, 1);
        f->score[set] = km_arena_take(arena, blocks * KM_STRIPES, sizeof(double));
    }
    f->failed = km_arena_take(arena, (size_t)S * (size_t)f->groups, sizeof *f->failed);
    take(f, &measure);
    f->scratch_size = (measure.used + 63) / 64 * 64;
    f->scratch = km_arena_take(arena, (size_t)threads, f->scratch_size);
}

static void give(const fitting *f, int repeat, km_real *weight, km_real *bias)
{
    size_t C = (size_t)f->settings->C;
    for (int k = 0; k < f->settings->K; k++) {
        size_t place = (size_t)repeat * (size_t)f->blocks + (size_t)(k / KM_STRIPES);
        const km_real *best = f->best + place * f->size + k % KM_STRIPES;
        for (size_t c = 0; c < C; c++)
            weight[(size_t)k * C + c] = best[c * KM_STRIPES];
        bias[k] = best[C * KM_STRIPES];
    }
}

km_status km_probe_fit(km_real *weight, km_real *bias, int32_t *epoch, double *validation_score, double *watched_score,
                       const km_probe_data *train, const km_probe_data *validation, const km_probe_data *watched,
                       const uint64_t *seed, int S, const km_probe_settings *settings, km_probe_hook *hook,
                       void *context, km_error *err)
{
    fitting f = {.settings = settings, .seed = seed, .set = {train, validation, watched}};
    km_arena arena = {0};
    km_status status = check(&f, S, err);
    if (status != KM_OK)
        return status;
    f.blocks = (settings->K + KM_STRIPES - 1) / KM_STRIPES;
    f.groups = (settings->threads + S - 1) / S < f.blocks ? (settings->threads + S - 1) / S : f.blocks;
    f.size = ((size_t)settings->C + 1) * KM_STRIPES;
    f.steps = (train->N + settings->batch_size - 1) / settings->batch_size;
    int tasks = S * f.groups, threads = settings->threads < tasks ? settings->threads : tasks;
    lay_out(&f, &arena, S, threads);
    if ((status = km_arena_create(&arena, arena.used, err)) != KM_OK)
        return status;
    lay_out(&f, &arena, S, threads);
    for (int set = 0; set < SETS; set++)
        by_block(f.y[set], f.set[set], settings->K);
    for (int i = 0; i < S * settings->K; i++) {
        size_t place = (size_t)(i / settings->K) * (size_t)f.blocks + (size_t)(i % settings->K / KM_STRIPES);
        km_probe_first_weights(f.w + place * f.size + i % settings->K % KM_STRIPES, KM_STRIPES, settings->C,
                               seed[i / settings->K], i % settings->K);
    }
    memset(epoch, 0, (size_t)S * sizeof *epoch);
    size_t whole = (size_t)f.blocks * f.size;       /* numbers of one repeat */
    for (f.epoch = 0; f.epoch < settings->epochs; f.epoch++) {
        km_threads_run(threads, tasks, run_epoch, &f);
        for (int i = 0; i < tasks; i++)
            if (f.failed[i].status != KM_OK) {
                status = km_error_set(err, f.failed[i].status, "%s", f.failed[i].message);
                goto exit;
            }
        for (int r = 0; r < S; r++) {
            double *scores = validation_score + (size_t)r * (size_t)settings->epochs;
            watched_score[(size_t)r * (size_t)settings->epochs + (size_t)f.epoch] = macro(&f, WATCHED, r);
            scores[f.epoch] = macro(&f, VALIDATION, r);
            int better = !isnan(scores[f.epoch]) && (epoch[r] == 0 || scores[f.epoch] > scores[epoch[r] - 1]);
            if (better || (epoch[r] == 0 && f.epoch == settings->epochs - 1)) {
                epoch[r] = f.epoch + 1;
                memcpy(f.best + (size_t)r * whole, f.w + (size_t)r * whole, whole * sizeof *f.w);
            }
        }
        if (hook != NULL && hook(context, f.epoch + 1) != 0) {
            status = km_error_set(err, KM_STOPPED, "stopped after %d of %d epochs", f.epoch + 1, settings->epochs);
            goto exit;
        }
    }
    for (int r = 0; r < S; r++)
        give(&f, r, weight + (size_t)r * (size_t)settings->K * (size_t)settings->C,
             bias + (size_t)r * (size_t)settings->K);

exit:
    km_arena_free(&arena);
    return status;
}

km_status km_probe_apply(km_real *z, const km_real *x, const km_real *weight, const km_real *bias, int64_t N, int C,
                         int K, km_error *err)
{
    km_arena arena;
    size_t size = ((size_t)C + 1) * KM_STRIPES;
    km_status status = km_arena_create(&arena, (size + CHUNK * KM_STRIPES + 128) * sizeof(km_real), err);
    if (status != KM_OK)
        return status;
    km_real *w = km_arena_reals(&arena, size), *part = km_arena_reals(&arena, CHUNK * KM_STRIPES);
    const km_real *rows[CHUNK];
    for (int first = 0; first < K; first += KM_STRIPES) {
        int columns = K - first < KM_STRIPES ? K - first : KM_STRIPES;
        for (int k = 0; k < columns; k++) {
            for (int c = 0; c < C; c++)
                w[(size_t)c * KM_STRIPES + (size_t)k] = weight[(size_t)(first + k) * (size_t)C + (size_t)c];
            w[(size_t)C * KM_STRIPES + (size_t)k] = bias[first + k];
        }
        for (int64_t i = 0; i < N; i += CHUNK) {
            int B = (int)(N - i < CHUNK ? N - i : CHUNK);
            for (int b = 0; b < B; b++)
                rows[b] = x + (i + b) * C;
            logits(part, rows, B, w, C);
            for (int b = 0; b < B; b++)
                memcpy(z + (i + b) * K + first, part + (size_t)b * KM_STRIPES, (size_t)columns * sizeof *z);
        }
    }
    km_arena_free(&arena);
    return KM_OK;
}
