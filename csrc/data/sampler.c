#include "data/sampler.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "core/threads.h"
#include "data/leads.h"
#include "data/masks.h"
#include "data/preprocess.h"

enum { TOO_SHORT = 1, NO_LEAD };    /* km_sampler_row.problem */

typedef struct job {
    const km_config *config;
    const km_corpus *corpus;        /* training: masked windows of recordings of a corpus      */
    const km_sampler_input *inputs; /* inference (corpus NULL): unmasked windows of these      */
    km_sampler_row *rows;
    uint64_t seed;
    uint32_t epoch;
    int64_t M, P;                   /* segments a window at most, samples a segment            */
    /* where the tokens go */
    km_real *patches, *report, *labels;
    int32_t *lead, *segment, *offset;
    /* a slice for each thread */
    float *x;                       /* (threads, 12, M P)                                      */
    uint32_t *middle;               /* (threads, M P)                                          */
    uint8_t *keep;                  /* (threads, 12 M)                                         */
} job;

/* Where the samples of a lead are */

static const int16_t *stored(const km_corpus *c, int64_t recording, int lead, int64_t start)
{
    const int before = km_leads_count((uint16_t)(c->leads[recording] & ((1u << lead) - 1)));
    return c->shards[c->shard[recording]] + c->start[recording] + (int64_t)before * c->samples[recording] + start;
}

static const float *given(const km_sampler_input *input, int lead, int64_t start)
{
    int row = 0;
    while (input->lead[row] != lead)
        row++;
    return input->signal + row * input->samples + start;
}

/* km_preprocess_usable for stored steps: a range of one step is flat. */
KM_VECTOR static int stored_usable(const int16_t *x, int64_t n, double max_missing)
{
    int32_t missing = 0;
    int16_t low = INT16_MAX, high = INT16_MIN;
    for (int64_t i = 0; i < n; i++) {
        int16_t value = x[i] == KM_CORPUS_MISSING ? INT16_MAX : x[i];
        missing += x[i] == KM_CORPUS_MISSING;
        low = value < low ? value : low;
        high = x[i] > high ? x[i] : high;       /* the mark for missing ones is the lowest number */
    }
    return missing < n && missing <= max_missing * (double)n && high - low > 1;
}

static int usable(const job *j, const km_sampler_row *row, int lead)
{
    const int64_t n = row->segments * j->P;
    if (j->corpus != NULL)
        return stored_usable(stored(j->corpus, row->recording, lead, row->start), n, j->config->max_missing);
    return km_preprocess_usable(NULL, given(&j->inputs[row->recording], lead, row->start), n, j->config->max_missing);
}

/* One lead's window in mV, repaired; returns how many samples were. */
KM_VECTOR static void load_stored(float *x, const int16_t *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = from[i] == KM_CORPUS_MISSING ? NAN : (float)from[i] * KM_CORPUS_STEP;
}

static int64_t load(float *x, const job *j, const km_sampler_row *row, int lead)
{
    const int64_t n = row->segments * j->P;
    if (j->corpus != NULL)
        load_stored(x, stored(j->corpus, row->recording, lead, row->start), n);
    else
        memcpy(x, given(&j->inputs[row->recording], lead, row->start), (size_t)n * sizeof *x);
    return km_preprocess_repair(x, n);
}

/* What a recording's window and masks are drawn by. */
static int64_t identity(const km_corpus *c, int64_t recording)
{
    return c->id != NULL ? c->id[recording] : recording;
}

/* Plan: window, visible leads and number of tokens of each row */

static int64_t count_tokens(const km_config *c, int leads, int64_t segments, int masked)
{
    const double ratio = c->mask_ratio;
    const int by_segment = c->tokenisation == KM_AGNOSTIC_TOKENS;
    if (!masked || c->segment_masking == KM_NO_SEGMENTS)
        return by_segment ? segments : leads * segments;
    if (by_segment)
        return km_masks_kept(segments, ratio);
    if (c->segment_masking == KM_SEGMENTS_AT_ONCE)
        return km_masks_kept(leads * segments, ratio);
    return leads * km_masks_kept(segments, ratio);
}

static void plan_stored(const job *j, km_sampler_row *row)
{
    const km_config *c = j->config;
    const int64_t r = row->recording, n = j->corpus->samples[r], window = km_config_samples(c);
    if (n > window && c->window == KM_RANDOM) {
        km_rng rng;
        km_rng_open(&rng, j->seed, KM_STREAM_WINDOW, j->epoch, (uint64_t)identity(j->corpus, r));
        row->start = km_rng_below(&rng, (uint32_t)(n - window + 1));
    }
    row->segments = (int32_t)((n < window ? n : window) / j->P);
    row->present = j->corpus->leads[r];
    if (row->segments == 0) {
        row->problem = TOO_SHORT;
        return;
    }
    int order[KM_LEADS];
    const int count = km_leads_count(row->present);
    int wanted = km_masks_leads(order, row->present, c->masked_leads, j->seed, j->epoch, identity(j->corpus, r));
    for (int i = 0; i < count; i++) {
        if (wanted == 0 && c->normalisation_scope == KM_VISIBLE)
            break;
        if (!usable(j, row, order[i])) {
            row->dropped |= (uint16_t)(1u << order[i]);
        } else if (wanted > 0) {
            row->visible |= (uint16_t)(1u << order[i]);
            wanted--;
        }
    }
}

static void plan_row(void *context, int b, int thread)
{
    (void)thread;
    const job *j = context;
    km_sampler_row *row = &j->rows[b];
    if (j->corpus != NULL) {
        plan_stored(j, row);
    } else {
        for (int lead = 0; lead < KM_LEADS; lead++) {
            if (row->present >> lead & 1)
                *(usable(j, row, lead) ? &row->visible : &row->dropped) |= (uint16_t)(1u << lead);
        }
    }
    if (row->problem == 0 && row->visible == 0)
        row->problem = NO_LEAD;
    row->tokens = (int32_t)count_tokens(j->config, km_leads_count(row->visible), row->segments, j->corpus != NULL);
}

/* Fill: samples, normalisation, tokens of each row */

static void write_patch(km_real *patch, const float *x, int64_t P)
{
    for (int64_t i = 0; i < P; i++)
        patch[i] = (km_real)x[i];
}

/* The segments of a group that are kept: all where nothing is masked. */
static void choose(uint8_t *keep, int64_t n, const job *j, const km_sampler_row *row, int group)
{
    if (j->corpus == NULL || j->config->segment_masking == KM_NO_SEGMENTS)
        memset(keep, 1, (size_t)n);
    else
        km_masks_segments(keep, n, km_masks_kept(n, j->config->mask_ratio), j->seed, j->epoch,
                          identity(j->corpus, row->recording), group);
}

/* x[lead]: the normalised window of a visible lead. */
static void write_tokens(const job *j, const km_sampler_row *row, int64_t t, const float *const x[KM_LEADS],
                         uint8_t *keep)
{
    const int64_t P = j->P, M = row->segments;
    if (j->config->tokenisation == KM_AGNOSTIC_TOKENS) {
        choose(keep, M, j, row, KM_LEADS);
        for (int64_t m = 0; m < M; m++) {
            if (!keep[m])
                continue;
            km_real *patch = j->patches + t * KM_LEADS * P;
            memset(patch, 0, (size_t)(KM_LEADS * P) * sizeof *patch);
            for (int lead = 0; lead < KM_LEADS; lead++) {
                if (row->visible >> lead & 1)
                    write_patch(patch + lead * P, x[lead] + m * P, P);
            }
            j->lead[t] = 0;
            j->segment[t++] = (int32_t)m;
        }
        return;
    }
    const int at_once = j->config->segment_masking == KM_SEGMENTS_AT_ONCE;
    if (at_once)
        choose(keep, km_leads_count(row->visible) * M, j, row, KM_LEADS);
    for (int lead = 0; lead < KM_LEADS; lead++) {
        if (!(row->visible >> lead & 1))
            continue;
        if (!at_once)
            choose(keep, M, j, row, lead);
        for (int64_t m = 0; m < M; m++) {
            if (!keep[m])
                continue;
            write_patch(j->patches + t * P, x[lead] + m * P, P);
            j->lead[t] = lead;
            j->segment[t++] = (int32_t)m;
        }
        keep += at_once ? M : 0;
    }
}

static void fill_row(void *context, int b, int thread)
{
    const job *j = context;
    const km_config *c = j->config;
    km_sampler_row *row = &j->rows[b];
    const int64_t n = row->segments * j->P, most = j->M * j->P;
    float *x = j->x + thread * KM_LEADS * most;
    const float *at[KM_LEADS] = {NULL};
    uint16_t read = row->visible;
    if (c->normalisation_scope == KM_PRESENT)
        read = (uint16_t)(row->present & ~row->dropped);
    int count = 0;
    for (int lead = 0; lead < KM_LEADS; lead++) {
        if (read >> lead & 1) {
            at[lead] = x + count++ * n;
            row->repaired += load((float *)at[lead], j, row, lead);
        }
    }
    km_preprocess_normalise(x, count, n, (km_normalisation)c->normalisation, j->middle + thread * most);
    write_tokens(j, row, j->offset[b], at, j->keep + thread * KM_LEADS * j->M);

    if (j->corpus == NULL)
        return;
    const int64_t report = j->corpus->report[row->recording], D = j->corpus->D, Q = j->corpus->Q;
    if (D > 0)
        memcpy(j->report + b * D, j->corpus->embeddings + report * D, (size_t)D * sizeof *j->report);
    for (int64_t q = 0; q < Q; q++)
        j->labels[b * Q + q] = (km_real)j->corpus->labels[report * Q + q];
}

/* Buffers */

static km_status grow(km_arena *arena, size_t bytes, km_error *err)
{
    if (arena->capacity < bytes || arena->base == NULL) {
        km_arena_free(arena);
        return km_arena_create(arena, bytes, err);
    }
    km_arena_reset(arena);
    return KM_OK;
}

static void layout_plan(km_arena *arena, job *j, int64_t **report_id, int64_t **recording, int B, int D, int Q)
{
    j->rows = km_arena_take(arena, (size_t)B, sizeof *j->rows);
    j->offset = km_arena_take(arena, (size_t)B + 1, sizeof *j->offset);
    *report_id = km_arena_take(arena, (size_t)B, sizeof **report_id);
    *recording = km_arena_take(arena, (size_t)B, sizeof **recording);
    j->report = km_arena_reals(arena, (size_t)B * (size_t)D);
    j->labels = km_arena_reals(arena, (size_t)B * (size_t)Q);
}

static void layout_tokens(km_arena *arena, job *j, int64_t tokens, int64_t patch)
{
    j->patches = km_arena_reals(arena, (size_t)tokens * (size_t)patch);
    j->lead = km_arena_take(arena, (size_t)tokens, sizeof *j->lead);
    j->segment = km_arena_take(arena, (size_t)tokens, sizeof *j->segment);
}

static void layout_scratch(km_arena *arena, job *j, int threads)
{
    const size_t n = (size_t)threads * (size_t)(j->M * j->P);
    j->x = km_arena_take(arena, KM_LEADS * n, sizeof *j->x);
    j->middle = km_arena_take(arena, n, sizeof *j->middle);
    j->keep = km_arena_take(arena, (size_t)threads * KM_LEADS * (size_t)j->M, sizeof *j->keep);
}

static km_status take_plan(km_sampler *s, job *j, int64_t **report_id, int64_t **recording, int B, int D, int Q,
                           km_error *err)
{
    km_arena measure = {NULL, 0, 0};
    layout_plan(&measure, j, report_id, recording, B, D, Q);
    km_status status = grow(&s->plan, measure.used, err);
    if (status != KM_OK)
        return status;
    layout_plan(&s->plan, j, report_id, recording, B, D, Q);
    memset(j->rows, 0, (size_t)B * sizeof *j->rows);
    s->rows = j->rows;
    return KM_OK;
}

static km_status take_tokens(km_sampler *s, job *j, int64_t tokens, int threads, km_error *err)
{
    const int64_t patch = km_config_patch(j->config);
    if (tokens > INT32_MAX)
        return km_error_set(err, KM_VALUE, "the batch would have %lld tokens, %d at most: give fewer recordings at "
                            "once", (long long)tokens, INT32_MAX);
    km_arena measure = {NULL, 0, 0};
    layout_tokens(&measure, j, tokens, patch);
    km_status status = grow(&s->tokens, measure.used, err);
    if (status != KM_OK)
        return status;
    layout_tokens(&s->tokens, j, tokens, patch);
    measure.used = 0;
    layout_scratch(&measure, j, threads);
    status = grow(&s->scratch, measure.used, err);
    if (status == KM_OK)
        layout_scratch(&s->scratch, j, threads);
    return status;
}

void km_sampler_free(km_sampler *sampler)
{
    km_arena_free(&sampler->plan);
    km_arena_free(&sampler->tokens);
    km_arena_free(&sampler->scratch);
    memset(sampler, 0, sizeof *sampler);
}

static km_status check_sizes(job *j, int threads, km_error *err)
{
    const km_config *c = j->config;
    j->P = c->segment_samples;
    if (j->P < 1 || km_config_samples(c) < j->P)
        return km_error_set(err, KM_VALUE, "segment_samples must be between 1 and the %lld samples of a window, got "
                            "%lld", (long long)km_config_samples(c), (long long)j->P);
    j->M = km_config_segments(c);
    if (threads < 1)
        return km_error_set(err, KM_VALUE, "threads must be at least 1, got %d", threads);
    return KM_OK;
}

static void set_offsets(const job *j, int B)
{
    j->offset[0] = 0;
    for (int b = 0; b < B; b++)
        j->offset[b + 1] = j->offset[b] + j->rows[b].tokens;
}

/* The whole call */

/* Why row b cannot be used. */
static km_status refuse(const job *j, const km_sampler_row *row, km_error *err)
{
    const long long recording = (long long)row->recording;
    if (row->problem == TOO_SHORT)
        return km_error_set(err, KM_VALUE, "recording %lld has %d samples, shorter than one segment of %lld", recording,
                            (int)j->corpus->samples[row->recording], (long long)j->P);
    return km_error_set(err, KM_VALUE, "recording %lld has no lead left: each of its %d is flat or has more than %g %% "
                        "missing samples", recording, km_leads_count(row->present), 100.0 * j->config->max_missing);
}

km_status km_sampler_batch(km_sampler *sampler, const km_corpus *corpus, const int64_t *indices, int B,
                           const km_config *config, uint64_t seed, uint32_t epoch, int skip, int threads,
                           km_error *err)
{
    job j = {.config = config, .corpus = corpus, .seed = seed, .epoch = epoch};
    int64_t *report_id, *recording, repaired = 0, dropped = 0;
    const int asked = B;
    if (B < 1)
        return km_error_set(err, KM_VALUE, "indices is empty: a batch needs a recording");
    km_status status = check_sizes(&j, threads, err);
    if (status != KM_OK)
        return status;
    status = take_plan(sampler, &j, &report_id, &recording, B, corpus->D, corpus->Q, err);
    if (status != KM_OK)
        return status;
    for (int b = 0; b < B; b++) {
        if (indices[b] < 0 || indices[b] >= corpus->count)
            return km_error_set(err, KM_INDEX, "indices[%d] is %lld; the store has %lld recordings", b,
                                (long long)indices[b], (long long)corpus->count);
        j.rows[b].recording = indices[b];
    }

    km_threads_run(threads, B, plan_row, &j);
    B = 0;
    for (int b = 0; b < asked; b++) {
        if (j.rows[b].problem == 0) {
            recording[B] = identity(corpus, j.rows[b].recording);
            report_id[B] = corpus->report[j.rows[b].recording];
            dropped += km_leads_count(j.rows[b].dropped);
            j.rows[B++] = j.rows[b];
        } else if (!skip) {
            return refuse(&j, &j.rows[b], err);
        }
    }
    if (B == 0) {
        sampler->batch = (km_batch){.skipped = asked};
        return KM_OK;
    }
    set_offsets(&j, B);

    /* Room for the largest batch that the masks can give: the buffers stay as they are from step to step. */
    int masked = 0;
    while (masked < KM_LEADS - 1 && config->masked_leads[masked] <= 0.0)
        masked++;
    status = take_tokens(sampler, &j, asked * count_tokens(config, KM_LEADS - masked, j.M, 1), threads, err);
    if (status != KM_OK)
        return status;
    km_threads_run(threads, B, fill_row, &j);
    for (int b = 0; b < B; b++)
        repaired += j.rows[b].repaired;
    sampler->batch = (km_batch){
        .B = B, .T = j.offset[B], .Q = corpus->Q, .D = corpus->D,
        .patches = j.patches, .lead = j.lead, .segment = j.segment, .offset = j.offset,
        .report = corpus->D > 0 ? j.report : NULL, .report_id = report_id,
        .labels = corpus->Q > 0 ? j.labels : NULL, .entities = corpus->D > 0 ? corpus->entities : NULL,
        .recording = recording,
        .skipped = asked - B, .repaired = repaired, .dropped = dropped,
    };
    return KM_OK;
}

/* How many windows a recording of n samples has. */
static int64_t count_windows(int64_t n, int64_t window, int64_t P, int first)
{
    if (n < P)
        return 0;
    return first || n < window ? 1 : n / window + (n % window >= P);
}

/* One row for each lead that `row` shows, as if it were the only one there; how many. */
static int take_apart(km_sampler_row *out, km_sampler_row row, const km_config *config)
{
    int count = 0;
    for (int lead = 0; lead < KM_LEADS; lead++) {
        if (!(row.visible >> lead & 1))
            continue;
        out[count] = row;
        out[count].present = out[count].visible = (uint16_t)(1u << lead);
        out[count++].tokens = (int32_t)count_tokens(config, 1, row.segments, 0);
    }
    return count;
}

km_status km_sampler_windows(km_sampler *sampler, const km_sampler_input *inputs, int count, const km_config *config,
                             int first, int apart, int threads, km_error *err)
{
    job j = {.config = config, .inputs = inputs};
    const int64_t window = km_config_samples(config);
    int64_t *report_id, *recording, rows = 0, most = 0;     /* windows, and at most so many rows of the batch */
    km_status status = check_sizes(&j, threads, err);
    if (status != KM_OK)
        return status;
    for (int i = 0; i < count; i++) {
        int64_t windows = count_windows(inputs[i].samples, window, j.P, first);
        if (windows == 0)
            return km_error_set(err, KM_VALUE, "%s has %lld samples at %g Hz, shorter than one segment of %lld",
                                inputs[i].name, (long long)inputs[i].samples, config->fs, (long long)j.P);
        rows += windows;
        most += apart && inputs[i].leads > 1 ? windows * inputs[i].leads : windows;
    }
    if (rows == 0)
        return km_error_set(err, KM_VALUE, "there are no recordings: a batch needs one");
    if (most > INT32_MAX)
        return km_error_set(err, KM_VALUE, "the batch would have %lld rows: give fewer recordings at once",
                            (long long)most);
    status = take_plan(sampler, &j, &report_id, &recording, (int)most, 0, 0, err);
    if (status != KM_OK)
        return status;
    /* Windows are planned at the end, where taking one apart, each into as many rows as it has leads, overtakes none */
    job plan = j;
    plan.rows = j.rows + (most - rows);
    km_sampler_row *row = plan.rows;
    for (int i = 0; i < count; i++) {
        int64_t windows = count_windows(inputs[i].samples, window, j.P, first);
        for (int64_t w = 0; w < windows; w++, row++) {
            int64_t left = inputs[i].samples - w * window;
            row->recording = i;
            row->start = w * window;
            row->segments = (int32_t)((left < window ? left : window) / j.P);
            for (int k = 0; k < inputs[i].leads; k++)
                row->present |= (uint16_t)(1u << inputs[i].lead[k]);
        }
    }

    km_threads_run(threads, (int)rows, plan_row, &plan);
    int B = 0;
    int64_t tokens = 0;
    for (int64_t w = 0, last = 0; w < rows; w++) {
        const km_sampler_row planned = plan.rows[w];
        const int64_t i = planned.recording;
        if (planned.problem == 0) {
            if (apart)
                B += take_apart(j.rows + B, planned, config);
            else
                j.rows[B++] = planned;
            last = i + 1;       /* recordings up to here have a window */
        } else if (last <= i && (w + 1 == rows || plan.rows[w + 1].recording != i)) {
            return km_error_set(err, KM_VALUE, "%s has no lead left: each of its %d is flat or has more than %g %% "
                                "missing samples", inputs[i].name, inputs[i].leads, 100.0 * config->max_missing);
        }
    }
    for (int b = 0; b < B; b++)
        tokens += j.rows[b].tokens;
    status = take_tokens(sampler, &j, tokens, threads, err);
    if (status != KM_OK)
        return status;
    set_offsets(&j, B);
    km_threads_run(threads, B, fill_row, &j);
    sampler->batch = (km_batch){
        .B = B, .T = j.offset[B], .patches = j.patches, .lead = j.lead, .segment = j.segment, .offset = j.offset,
    };
    return KM_OK;
}
