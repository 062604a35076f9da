#include "core/rng.h"
#include "ops/ops.h"

/* Element i is kept when the i-th random number of (seed, step, site) is at least rate * 2^32. */
void km_dropout_forward(km_real *y, const km_real *x, size_t n, const km_dropout *dropout)
{
    uint32_t threshold = (uint32_t)(dropout->rate * 4294967296.0);
    km_real keep = (km_real)(1 / (1 - dropout->rate));
    for (size_t i = 0; i < n; i += 4) {
        uint32_t random[4];
        km_rng_block(random, dropout->seed, KM_STREAM_DROPOUT, dropout->step, dropout->site, (uint32_t)(i / 4));
        for (size_t j = i; j < n && j < i + 4; j++)
            y[j] = random[j - i] >= threshold ? x[j] * keep : 0;
    }
}
