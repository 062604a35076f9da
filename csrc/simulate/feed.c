#include "simulate/feed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/threads.h"

typedef struct job {
    const km_feed *feed;
    int B;
    int64_t *id;                    /* (B) recordings of the simulator           */
    int64_t *row;                   /* (B) 0 .. B - 1                            */
    int16_t *steps;                 /* (B, leads, samples) in steps of 1 uV      */
    uint8_t *found, *labels;        /* (B, criteria.labels), (B, Q)              */
    km_real *report;                /* (B, D)                                    */
    float *signal, *measure;        /* (threads, 12, samples), (threads, ...)    */
    /* the batch as a corpus of one shard */
    int32_t *shard, *samples, *report_row;
    int64_t *start;
    uint16_t *leads;
} job;

static void layout(job *j, km_arena *arena, const km_feed *s, int B, int threads)
{
    const size_t n = (size_t)B, samples = (size_t)s->settings.samples, lanes = (size_t)threads;
    j->feed = s;
    j->B = B;
    j->id = km_arena_take(arena, n, sizeof *j->id);
    j->row = km_arena_take(arena, n, sizeof *j->row);
    j->steps = km_arena_take(arena, n * (size_t)km_leads_count(s->leads) * samples, sizeof *j->steps);
    j->found = km_arena_take(arena, n * (size_t)s->settings.criteria.labels, 1);
    j->labels = km_arena_take(arena, n * (size_t)s->Q, 1);
    j->report = km_arena_reals(arena, n * (size_t)s->D);
    j->signal = km_arena_take(arena, lanes * KM_LEADS * samples, sizeof *j->signal);
    j->measure = km_arena_take(arena, lanes * KM_MEASURES, sizeof *j->measure);
    j->shard = km_arena_take(arena, n, sizeof *j->shard);
    j->samples = km_arena_take(arena, n, sizeof *j->samples);
    j->report_row = km_arena_take(arena, n, sizeof *j->report_row);
    j->start = km_arena_take(arena, n, sizeof *j->start);
    j->leads = km_arena_take(arena, n, sizeof *j->leads);
}

KM_VECTOR static void quantise(int16_t *steps, const float *x, int64_t n)
{
    const float most = INT16_MAX;
    for (int64_t i = 0; i < n; i++) {
        float step = x[i] * 1000.0f;        /* steps of 1 uV, as in a store */
        step = step > most ? most : step < -most ? -most : step;
        steps[i] = x[i] == x[i] ? (int16_t)rintf(step) : KM_CORPUS_MISSING;
    }
}

static void make(void *context, int b, int thread)
{
    const job *j = context;
    const km_feed *s = j->feed;
    const int labels = s->settings.criteria.labels;
    const int64_t samples = s->settings.samples;
    float *signal = j->signal + (int64_t)thread * KM_LEADS * samples;
    uint8_t *found = j->found + (int64_t)b * labels, *entities = j->labels + (int64_t)b * s->Q;
    km_real *report = j->report + (int64_t)b * s->D;
    int16_t *steps = j->steps + (int64_t)b * km_leads_count(s->leads) * samples;
    km_simulate_record(signal, found, j->measure + (int64_t)thread * KM_MEASURES, NULL, NULL, &s->settings,
                       (uint32_t)j->id[b], s->scratch[thread]);
    for (int lead = 0; lead < KM_LEADS; lead++) {
        if (s->leads >> lead & 1) {
            quantise(steps, signal + lead * samples, samples);
            steps += samples;
        }
    }
    int count = 0;
    for (int l = 0; l < labels; l++) {
        found[l] &= 1;          /* asserted */
        if (!found[l])
            continue;
        count++;
        for (int q = 0; q < s->Q; q++)
            entities[q] |= s->entities_of[l * s->Q + q];
        for (int d = 0; d < s->D; d++)
            report[d] += s->vectors[(int64_t)l * s->D + d];
    }
    for (int d = 0; d < s->D && count > 0; d++)
        report[d] /= (km_real)count;
}

/* Recordings with the same findings have the same text: the row of the first of them stands for all. */
static void number_reports(const job *j)
{
    const size_t labels = (size_t)j->feed->settings.criteria.labels;
    for (int b = 0; b < j->B; b++) {
        int row = 0;
        while (memcmp(j->found + (size_t)row * labels, j->found + (size_t)b * labels, labels) != 0)
            row++;
        j->report_row[b] = row;
    }
}

static km_status prepare(km_feed *s, job *j, int B, int threads, km_error *err)
{
    km_arena measure = {NULL, 0, 0};
    layout(j, &measure, s, B, threads);
    if (s->arena.capacity < measure.used) {
        km_arena_free(&s->arena);
        const km_status status = km_arena_create(&s->arena, measure.used, err);
        if (status != KM_OK)
            return status;
    }
    km_arena_reset(&s->arena);
    layout(j, &s->arena, s, B, threads);
    if (s->threads < threads) {
        km_simulate_scratch **scratch = realloc(s->scratch, (size_t)threads * sizeof(*scratch));
        if (scratch == NULL)
            return km_error_set(err, KM_MEMORY, "out of memory: %d threads", threads);
        s->scratch = scratch;
        for (; s->threads < threads; s->threads++) {
            const km_status status = km_simulate_scratch_create(&scratch[s->threads], s->settings.samples, err);
            if (status != KM_OK)
                return status;
        }
    }
    return KM_OK;
}

km_status km_feed_draw(void *context, km_batch *batch, const int64_t *index, int B, const km_config *config,
                         uint64_t seed, uint32_t epoch, int threads, km_error *err)
{
    km_feed *s = context;
    job j;
    if (threads < 1)
        return km_error_set(err, KM_VALUE, "threads must be at least 1, got %d", threads);
    km_status status = prepare(s, &j, B, threads, err);
    if (status != KM_OK)
        return status;
    memset(j.labels, 0, (size_t)B * (size_t)s->Q);
    memset(j.report, 0, (size_t)B * (size_t)s->D * sizeof *j.report);
    const int64_t first = epoch > 0 ? (int64_t)(epoch - 1) * s->epoch_recordings : 0;
    const int rows = km_leads_count(s->leads);
    for (int b = 0; b < B; b++) {
        j.id[b] = first + index[b];
        if (j.id[b] < 0 || j.id[b] > UINT32_MAX)
            return km_error_set(err, KM_INDEX, "recording %lld does not exist: a simulator has 0 to 4294967295",
                                (long long)j.id[b]);
        j.shard[b] = 0;
        j.start[b] = (int64_t)b * rows * s->settings.samples;
        j.leads[b] = s->leads;
        j.samples[b] = (int32_t)s->settings.samples;
        j.row[b] = b;
    }
    km_threads_run(threads, B, make, &j);
    number_reports(&j);

    const int16_t *shard = j.steps;
    const int64_t length = (int64_t)B * rows * s->settings.samples;
    const km_corpus corpus = {
        .count = B, .shard_count = 1, .shards = &shard, .shard_length = &length, .shard = j.shard, .start = j.start,
        .leads = j.leads, .samples = j.samples, .report = j.report_row, .id = j.id, .reports = B, .D = s->D, .Q = s->Q,
        .embeddings = j.report, .labels = j.labels, .entities = s->entities,
    };
    status = km_sampler_batch(&s->sampler, &corpus, j.row, B, config, seed, epoch, 1, threads, err);
    *batch = s->sampler.batch;
    return status;
}

void km_feed_free(km_feed *feed)
{
    for (int i = 0; i < feed->threads; i++)
        km_simulate_scratch_free(feed->scratch[i]);
    free(feed->scratch);
    feed->scratch = NULL;
    feed->threads = 0;
    km_arena_free(&feed->arena);
    km_sampler_free(&feed->sampler);
}
