/* A model small enough for sanitizers and valgrind, a batch for it, and a store in memory to train it on. */
#ifndef SMALL_H
#define SMALL_H

#include <string.h>

#include "core/rng.h"
#include "kmerl.h"

enum { B = 5, Q = 3, D = 8, P = 10, M = 6 };

static inline km_config small(void)
{
    km_config c;
    memset(&c, 0, sizeof c);
    c.fs = 30;
    c.seconds = 2;
    c.max_missing = 0.2;
    c.segment_samples = P;
    c.lead_embedding = c.temporal_embedding = 1;
    c.mask_ratio = 0.25;
    c.width = 64;
    c.depth = 2;
    c.heads = 1;
    c.mlp_width = 32;
    c.text_width = D;
    c.projection_width = 16;
    c.temperature = 0.07;
    c.contrast_directions = KM_SUM;
    c.contrast_positive = 1;
    c.contrast_weight = c.query_weight = 1;
    c.query_width = 16;
    c.query_layers = 2;
    c.query_heads = 1;
    c.query_mlp_width = 24;
    c.lr = 1e-3;
    c.beta1 = 0.9;
    c.beta2 = 0.999;
    c.eps = 1e-8;
    c.decay_all = 1;
    c.batch_size = 4;
    c.weight_std = 0.02;
    c.epochs = 3;
    c.lanes = 2;
    c.span_recordings = 2;
    c.span_tokens = 100;
    c.memory_mb = 16;
    c.masked_leads[9] = c.masked_leads[10] = 0.5;
    return c;
}

/* MERL's ResNet-18; patches of a batch for it are (T, 12 P), leads 0. */
static inline km_config small_resnet(void)
{
    km_config c = small();
    c.encoder = KM_RESNET18;
    c.tokenisation = KM_AGNOSTIC_TOKENS;
    c.lead_embedding = c.temporal_embedding = 0;
    c.width = 512;
    c.depth = c.heads = c.mlp_width = 0;
    c.projection_width = 64;
    c.projection_norm = KM_NORM_NONE;
    c.query_weight = 0;
    c.unimodal_weight = 1;
    c.unimodal_dropout = 0.2;
    return c;
}

typedef struct data {
    km_real patches[B * 12 * P], report[B * D], labels[B * Q], entities[Q * D];
    int32_t lead[B * 12], segment[B * 12], offset[B + 1];
    int64_t id[B];
} data;

static inline km_batch batch_of(data *d)
{
    km_rng rng;
    km_rng_open(&rng, 1, KM_STREAM_INIT, 0, 0);
    int T = 0;
    d->offset[0] = 0;
    for (int b = 0; b < B; b++) {
        for (int i = 0; i < 2 + b; i++, T++) {
            d->lead[T] = b;
            d->segment[T] = i % M;
        }
        d->offset[b + 1] = T;
        d->id[b] = b / 2;
        for (int q = 0; q < Q; q++)
            d->labels[b * Q + q] = (b + q) % 2;
    }
    for (int i = 0; i < T * P; i++)
        d->patches[i] = (km_real)km_rng_normal(&rng);
    for (int i = 0; i < B * D; i++)
        d->report[i] = (km_real)km_rng_normal(&rng);
    for (int i = 0; i < Q * D; i++)
        d->entities[i] = (km_real)km_rng_normal(&rng);
    return (km_batch){.B = B, .T = T, .Q = Q, .D = D, .patches = d->patches, .lead = d->lead, .segment = d->segment,
                      .offset = d->offset, .report = d->report, .report_id = d->id, .labels = d->labels,
                      .entities = d->entities};
}

enum { N = 9, S = 60 };

typedef struct store {
    int16_t samples[N * 2 * S];
    const int16_t *shards[1];
    int64_t length[1], start[N];
    int32_t shard[N], count[N], report[N];
    uint16_t leads[N];
    uint8_t labels[N * Q];
    km_real embeddings[N * D], entities[Q * D];
    km_sampler sampler;
    km_corpus corpus;
} store;

static inline void fill(store *s)
{
    km_rng rng;
    memset(s, 0, sizeof *s);
    km_rng_open(&rng, 2, KM_STREAM_INIT, 0, 0);
    for (int i = 0; i < N * 2 * S; i++)
        s->samples[i] = (int16_t)(1000 * km_rng_normal(&rng));
    for (int i = 0; i < N; i++) {
        s->start[i] = i * 2 * S;
        s->count[i] = S;
        s->report[i] = i;
        s->leads[i] = (uint16_t)(3u << i);
        for (int q = 0; q < Q; q++)
            s->labels[i * Q + q] = (uint8_t)((i + q) % 2);
    }
    for (int i = 0; i < N * D; i++)
        s->embeddings[i] = (km_real)km_rng_normal(&rng);
    for (int i = 0; i < Q * D; i++)
        s->entities[i] = (km_real)km_rng_normal(&rng);
    s->shards[0] = s->samples;
    s->length[0] = N * 2 * S;
    s->corpus = (km_corpus){.count = N, .shard_count = 1, .shards = s->shards, .shard_length = s->length,
                            .shard = s->shard, .start = s->start, .leads = s->leads, .samples = s->count,
                            .report = s->report, .reports = N, .D = D, .Q = Q, .embeddings = s->embeddings,
                            .labels = s->labels, .entities = s->entities};
}

static inline km_status draw(void *context, km_batch *batch, const int64_t *index, int count, const km_config *c,
                             uint64_t seed, uint32_t epoch, int threads, km_error *err)
{
    store *s = context;
    km_status status = km_sampler_batch(&s->sampler, &s->corpus, index, count, c, seed, epoch, 1, threads, err);
    *batch = s->sampler.batch;
    return status;
}

#endif
