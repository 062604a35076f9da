/* A store of any numbers, as files that are not what they say would give it: entries of 16 bytes, one a recording,
 * then samples. What the check accepts can be drawn from, and the batch passes the model's own check.            */
#include "fuzz.h"
#include "data/sampler.h"

enum { MOST = 8, P = 10, SHARD = 600, REPORTS = 3, D = 2, Q = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const km_real embeddings[REPORTS * D] = {1, 2, 3, 4, 5, 6}, entities[Q * D] = {1, 0, 0, 1};
    static const uint8_t labels[REPORTS * Q] = {0, 1, 1, 0, 1, 1};
    static km_sampler sampler;                          /* its memory stays between inputs */
    const km_config c = {.fs = 30, .seconds = 2, .max_missing = 0.2, .segment_samples = P, .mask_ratio = 0.25,
                         .lead_embedding = 1, .temporal_embedding = 1, .text_width = D, .projection_width = 4,
                         .contrast_weight = 1, .query_weight = 1, .masked_leads = {[3] = 0.5, [10] = 0.5}};
    int32_t shard[MOST], samples[MOST], report[MOST];
    int64_t start[MOST], index[MOST + 1], id[MOST], length[1];
    uint16_t leads[MOST];
    km_error err = {0};
    if (size < 1)
        return 0;
    const uint8_t what = *data++;
    const int count = size - 1 < 16 * MOST ? (int)((size - 1) / 16) : MOST;
    size -= 1 + 16 * (size_t)count;
    for (int i = 0; i < count; i++, data += 16) {
        int16_t few[2];
        memcpy(few, data, sizeof few);
        memcpy(&leads[i], data + 4, 2);
        memcpy(&start[i], data + 8, 8);
        shard[i] = data[6] < 240 ? 0 : (int8_t)data[6];
        report[i] = data[7] < 240 ? data[7] % REPORTS : (int8_t)data[7];
        samples[i] = what & 1 ? few[0] : (int32_t)((uint32_t)(uint16_t)few[0] << 16 | (uint16_t)few[1]);
        if (what & 2)
            start[i] &= 511;
        if (what & 4)
            leads[i] &= 0xfff;
        index[i] = count - 1 - i;
        id[i] = start[i];
    }
    index[count] = what % (MOST + 2);
    int16_t *values = malloc(SHARD * sizeof *values);
    for (int i = 0; i < SHARD; i++)
        values[i] = size >= 2 ? (int16_t)(data[2 * i % (size - 1)] | data[(2 * i + 1) % size] << 8) : (int16_t)(i * 7);
    const int16_t *shards[1] = {values};
    length[0] = SHARD;
    const km_corpus corpus = {count, 1, shards, length, shard, start, leads, samples, report, what & 8 ? id : NULL,
                              REPORTS, D, Q, embeddings, labels, entities};
    km_status status = km_corpus_check(&corpus, &err);
    FUZZ_HOLDS(status == KM_OK || (status == KM_VALUE && err.message[0] != 0));
    if (status == KM_OK && count > 0) {
        status = km_sampler_batch(&sampler, &corpus, index, count, &c, what, what / 3, what >> 4 & 1, 1, &err);
        FUZZ_HOLDS(status == KM_OK || status == KM_VALUE);
        if (status == KM_OK && sampler.batch.B > 0)
            FUZZ_HOLDS(km_batch_check(&sampler.batch, &c, &err) == KM_OK);
        status = km_sampler_batch(&sampler, &corpus, index + count, 1, &c, what, 1, 1, 1, &err);
        FUZZ_HOLDS((status == KM_INDEX) == (index[count] >= count));
    }
    free(values);
    return 0;
}
