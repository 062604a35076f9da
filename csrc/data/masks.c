#include "data/masks.h"

#include "core/rng.h"

int km_masks_leads(int order[KM_LEADS], uint16_t present, const double masked_leads[KM_LEADS], uint64_t seed,
                   uint32_t epoch, int64_t recording)
{
    km_rng rng;
    km_rng_open(&rng, seed, KM_STREAM_LEADS, epoch, (uint64_t)recording);
    const double u = km_rng_uniform(&rng);
    int masked = 0;
    double sum = 0.0;
    for (int m = 0; m < KM_LEADS; m++) {
        if (masked_leads[m] <= 0.0)
            continue;
        masked = m;         /* the last count with a probability takes what rounding leaves over */
        sum += masked_leads[m];
        if (u < sum)
            break;
    }

    int count = 0;
    for (int lead = 0; lead < KM_LEADS; lead++) {
        if (present >> lead & 1)
            order[count++] = lead;
    }
    for (int i = count - 1; i > 0; i--) {
        int j = (int)km_rng_below(&rng, (uint32_t)i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    int visible = KM_LEADS - masked;
    return visible < count ? visible : count > 0 ? count : 1;
}

int64_t km_masks_kept(int64_t n, double ratio)
{
    /* 50 * (1 - 0.9) is a hair under 5 in binary: the hair is given back. */
    int64_t kept = (int64_t)((double)n * (1.0 - ratio) + 1e-9);
    return kept < 1 ? 1 : kept;
}

void km_masks_segments(uint8_t *keep, int64_t n, int64_t kept, uint64_t seed, uint32_t epoch, int64_t recording,
                       int group)
{
    /* Selection sampling: of the `left` still to look at, each is taken with probability kept / left. */
    km_rng rng;
    km_rng_open(&rng, seed, KM_STREAM_SEGMENTS, epoch, (uint64_t)recording * 16 + (uint64_t)group);
    for (int64_t i = 0; i < n; i++) {
        keep[i] = (int64_t)km_rng_below(&rng, (uint32_t)(n - i)) < kept;
        kept -= keep[i];
    }
}
