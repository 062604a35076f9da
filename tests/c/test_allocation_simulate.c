/* Every allocation of the simulator and of training on it fails once. */
#include "allocation.h"
#include "small.h"

static km_simulate_settings settings(void)
{
    static const int32_t none[2] = {0, 0};
    static double prevalence[KM_MECHANISM_COUNT];
    for (int m = 0; m < KM_MECHANISM_COUNT; m++)
        prevalence[m] = 0.2;
    km_simulate_settings s = {.seed = 7, .prevalence = prevalence, .noise = 1, .fs = 100, .samples = 200};
    s.criteria.alternative = none;
    s.criteria.condition = none;
    return s;
}

static uint64_t records(void)
{
    static float signal[2 * 12 * 200], measure[2 * KM_MEASURES];
    static const int64_t index[2] = {0, 5};
    const km_simulate_settings s = settings();
    uint8_t found[2];
    uint64_t h = 1;
    for (int threads = 1; threads <= 2; threads++) {
        TRY(km_simulate_records(signal, found, measure, NULL, NULL, &s, index, 2, threads, &err));
        h = digest(h, signal, sizeof signal);
    }
    return h;
}

/* Batches that grow, on threads that grow. */
static uint64_t feed(void)
{
    static const int64_t index[3] = {0, 1, 2};
    km_config c = small();
    c.fs = 100;
    km_feed f = {.settings = settings(), .leads = 0xfff, .epoch_recordings = 3};
    km_batch batch;
    uint64_t h = 1;
    for (int count = 1; count <= 3; count += 2) {
        TRY(km_feed_draw(&f, &batch, index, count, &c, 1, 1, count > 1 ? 2 : 1, &err));
        h = digest(h, batch.patches, (size_t)(batch.T * P) * sizeof(km_real));
    }
    km_feed_free(&f);
    return h;
}

int main(void)
{
    exhaust("simulator", records);
    exhaust("feed", feed);
    return check_result();
}
