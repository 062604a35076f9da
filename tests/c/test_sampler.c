/* Buffers: sized once, reused, and nothing written beside them. */
#include "check.h"
#include "core/rng.h"
#include "data/masks.h"
#include "data/sampler.h"

#include <stdlib.h>
#include <string.h>

enum { N = 5, S = 1000, P = 100 };

static km_config make_config(void)
{
    km_config c;
    memset(&c, 0, sizeof c);
    c.fs = 500;
    c.seconds = 2;
    c.max_missing = 0.2;
    c.segment_samples = P;
    c.mask_ratio = 0.25;
    c.masked_leads[9] = c.masked_leads[10] = c.masked_leads[11] = 1.0 / 3;
    return c;
}

static void test_batch(void)
{
    static const int64_t indices[N] = {4, 0, 1, 2, 3};
    int16_t *shard = malloc(N * 12 * S * sizeof *shard);
    const int16_t *shards[1] = {shard};
    const int64_t shard_length[1] = {N * 12 * S};
    int32_t which[N] = {0}, samples[N], report[N] = {0, 1, 2, 0, 1};
    int64_t start[N];
    uint16_t leads[N];
    km_real embeddings[3 * 2] = {1, 2, 3, 4, 5, 6}, entities[2 * 2] = {0};
    uint8_t labels[3 * 2] = {0, 1, 1, 0, 1, 1};
    km_rng rng;
    km_rng_open(&rng, 3, KM_STREAM_SIMULATE, 0, 0);
    for (int64_t i = 0; i < N * 12 * S; i++)
        shard[i] = (int16_t)(km_rng_below(&rng, 2000) - 1000);
    for (int i = 0; i < N; i++) {
        samples[i] = S;
        start[i] = (int64_t)i * 12 * S;
        leads[i] = 0xfff;
    }
    km_corpus corpus = {N, 1, shards, shard_length, which, start, leads, samples, report, NULL,
                        3, 2, 2, embeddings, labels, entities};
    km_error err;
    CHECK(km_corpus_check(&corpus, &err) == KM_OK);

    km_config config = make_config();
    km_sampler one = {0}, two = {0};
    unsigned char *plan = NULL, *tokens = NULL, *scratch = NULL;
    for (uint32_t epoch = 0; epoch < 20; epoch++) {
        CHECK(km_sampler_batch(&one, &corpus, indices, N, &config, 7, epoch, 0, 1, &err) == KM_OK);
        CHECK(km_sampler_batch(&two, &corpus, indices, N, &config, 7, epoch, 0, 3, &err) == KM_OK);
        const km_batch *a = &one.batch, *b = &two.batch;
        CHECK(a->B == N && a->Q == 2 && a->D == 2 && a->T == a->offset[N] && a->entities == entities);
        CHECK(a->T == b->T && memcmp(a->patches, b->patches, (size_t)a->T * P * sizeof(km_real)) == 0);
        CHECK(memcmp(a->lead, b->lead, (size_t)a->T * sizeof *a->lead) == 0);
        CHECK(memcmp(a->segment, b->segment, (size_t)a->T * sizeof *a->segment) == 0);
        CHECK(a->report_id[0] == 1 && a->report[0] == 3 && a->labels[0] == 1 && a->labels[1] == 0);
        if (epoch == 0) {
            plan = one.plan.base;
            tokens = one.tokens.base;
            scratch = one.scratch.base;
        }
        /* batches of any number of visible leads fit the first buffers */
        CHECK(one.plan.base == plan && one.tokens.base == tokens && one.scratch.base == scratch);
    }
    CHECK(km_sampler_batch(&one, &corpus, indices, 0, &config, 7, 0, 0, 1, &err) == KM_VALUE);
    const int64_t beyond[1] = {N};
    CHECK(km_sampler_batch(&one, &corpus, beyond, 1, &config, 7, 0, 0, 1, &err) == KM_INDEX);
    memset(shard, 0, 12 * S * sizeof *shard);
    const int64_t flat[1] = {0};
    CHECK(km_sampler_batch(&one, &corpus, flat, 1, &config, 7, 0, 0, 1, &err) == KM_VALUE);
    km_sampler_free(&one);
    km_sampler_free(&two);
    km_sampler_free(&two);

    start[N - 1] = 12 * S * (N - 1) + 1;
    CHECK(km_corpus_check(&corpus, &err) == KM_VALUE && strstr(err.message, "recording 4") != NULL);
    free(shard);
}

static void test_windows(void)
{
    km_config config = make_config();
    km_sampler sampler = {0};
    km_error err;
    const int64_t n = 2 * S + 3 * P + 7;
    float *signal = malloc(2 * (size_t)n * sizeof *signal);
    const int32_t lead[2] = {7, 2};
    km_rng rng;
    km_rng_open(&rng, 4, KM_STREAM_SIMULATE, 0, 0);
    for (int64_t i = 0; i < 2 * n; i++)
        signal[i] = (float)km_rng_normal(&rng);
    km_sampler_input inputs[2] = {{signal, lead, 2, n, "a"}, {signal, lead, 1, P, "b"}};
    CHECK(km_sampler_windows(&sampler, inputs, 2, &config, 0, 0, 2, &err) == KM_OK);
    CHECK(sampler.batch.B == 4 && sampler.batch.T == 20 + 20 + 6 + 1);
    CHECK(sampler.rows[2].segments == 3 && sampler.rows[2].start == 2 * S && sampler.rows[3].recording == 1);
    CHECK(sampler.batch.lead[0] == 2 && sampler.batch.lead[10] == 7);
    CHECK(km_sampler_windows(&sampler, inputs, 2, &config, 1, 0, 2, &err) == KM_OK && sampler.batch.B == 2);
    CHECK(km_sampler_windows(&sampler, inputs, 2, &config, 0, 1, 2, &err) == KM_OK);
    CHECK(sampler.batch.B == 3 * 2 + 1 && sampler.batch.T == 20 + 20 + 6 + 1 && sampler.batch.offset[1] == 10);
    CHECK(sampler.rows[0].visible == 1 << 2 && sampler.rows[1].visible == 1 << 7 && sampler.rows[1].start == 0);
    CHECK(sampler.rows[4].present == 1 << 2 && sampler.rows[5].start == 2 * S && sampler.rows[5].segments == 3);
    CHECK(sampler.rows[6].recording == 1 && sampler.rows[6].visible == 1 << 7 && sampler.rows[6].tokens == 1);
    inputs[1].samples = P - 1;
    CHECK(km_sampler_windows(&sampler, inputs, 2, &config, 1, 0, 2, &err) == KM_VALUE && err.message[0] == 'b');
    CHECK(km_sampler_windows(&sampler, inputs, 0, &config, 1, 0, 2, &err) == KM_VALUE);
    config.segment_samples = 0;
    CHECK(km_sampler_windows(&sampler, inputs, 1, &config, 1, 0, 2, &err) == KM_VALUE);
    km_sampler_free(&sampler);
    free(signal);
}

static void test_masks(void)
{
    const km_config config = make_config();
    int order[KM_LEADS];
    for (int64_t recording = 0; recording < 100; recording++) {
        int count = km_masks_leads(order, 0x0f0, config.masked_leads, 1, 0, recording);
        unsigned seen = 0;
        for (int i = 0; i < 4; i++)
            seen |= 1u << order[i];
        CHECK(count >= 1 && count <= 3 && seen == 0x0f0);
        uint8_t keep[50];
        int kept = 0;
        km_masks_segments(keep, 50, km_masks_kept(50, 0.25), 1, 0, recording, 5);
        for (int i = 0; i < 50; i++)
            kept += keep[i];
        CHECK(kept == 37);
    }
    CHECK(km_masks_kept(1, 0.9) == 1);
}

int main(void)
{
    test_batch();
    test_windows();
    test_masks();
    return check_result();
}
