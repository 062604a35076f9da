/* Every allocation of resampling and of the sampler fails once. */
#include "allocation.h"
#include "small.h"

static uint64_t resampling(void)
{
    enum { LEADS = 3, LENGTH = 700 };
    static const double rates[][2] = {{500, 100}, {100, 257}, {360, 500}, {500, 123.456}};
    float in[LEADS * LENGTH], out[LEADS * 2 * LENGTH];
    uint64_t h = 1;
    for (int i = 0; i < LEADS * LENGTH; i++)
        in[i] = i % 97 == 0 ? NAN : (float)(i * 31 % 59) / 10;
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        const int64_t n = rates[r][1] > 200 ? LENGTH / 2 : LENGTH;
        int64_t length;
        TRY(km_preprocess_length(&length, n, rates[r][0], rates[r][1], &err));
        TRY(km_preprocess_resample(out, in, LEADS, n, rates[r][0], rates[r][1], 2, &err));
        h = digest(h, out, (size_t)(LEADS * length) * sizeof *out);
    }
    return h;
}

static uint64_t rows(uint64_t h, const km_sampler *sampler)
{
    const km_batch *b = &sampler->batch;
    h = digest(h, b->offset, ((size_t)b->B + 1) * sizeof *b->offset);
    h = digest(h, b->segment, (size_t)b->T * sizeof *b->segment);
    return digest(h, b->patches, (size_t)b->T * P * sizeof *b->patches);
}

/* Batches that grow, then windows of recordings given by hand. */
static uint64_t sampling(void)
{
    static store s;
    static const int64_t index[N] = {8, 0, 1, 2, 3, 4, 5, 6, 7};
    static float signal[2 * 5 * S];
    static const int32_t lead[2] = {7, 2};
    const km_config c = small();
    uint64_t h = 1;
    fill(&s);
    for (int i = 0; i < 2 * 5 * S; i++)
        signal[i] = (float)(i * 31 % 59) / 10;
    for (int count = 1; count <= N; count += 4) {
        TRY(km_sampler_batch(&s.sampler, &s.corpus, index, count, &c, 7, 1, 1, 2, &err));
        h = rows(h, &s.sampler);
    }
    const km_sampler_input inputs[2] = {{signal, lead, 2, 5 * S, "a"}, {signal, lead, 1, S, "b"}};
    for (int first = 1; first >= 0; first--) {
        TRY(km_sampler_windows(&s.sampler, inputs, 2, &c, first, !first, 2, &err));
        h = rows(h, &s.sampler);
    }
    km_sampler_free(&s.sampler);
    return h;
}

int main(void)
{
    exhaust("resampling", resampling);
    exhaust("sampler", sampling);
    return check_result();
}
