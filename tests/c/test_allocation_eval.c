/* Every allocation of metrics, bootstrap and probe fails once. */
#include "allocation.h"
#include "core/rng.h"
#include "eval/metrics.h"
#include "eval/probe.h"

enum { N = 60, K = 3, G = 20, RESAMPLES = 40, C = 5, EPOCHS = 3 };

static uint8_t y[N * K];
static double p[N * K], other[N * K];
static uint32_t patient[N];

static void draw_data(void)
{
    km_rng rng;
    km_rng_open(&rng, 1, KM_STREAM_BOOTSTRAP, 0, 0);
    for (int i = 0; i < N * K; i++) {
        y[i] = (uint8_t)km_rng_below(&rng, 2);
        p[i] = km_rng_uniform(&rng);
        other[i] = (p[i] + y[i]) / 2;
    }
    for (int i = 0; i < N; i++)
        patient[i] = (uint32_t)i % G;
}

static uint64_t metrics(void)
{
    const double cut[K] = {0.5, 0.4, 0.6};
    double score[K + 1], low[K + 1], high[K + 1], value[RESAMPLES], threshold[K], point[N], mean[7];
    double p_value[K + 1];
    int64_t count[K + 1], positives[N], negatives[N], points, recordings[7], ill[7];
    uint64_t h = 1;
    for (km_metric metric = KM_ROC_AUC; metric <= KM_CALIBRATION_ERROR; metric++) {
        const km_metrics_settings s = {metric, cut, 7, metric == KM_ROC_AUC ? 2 : 1};
        TRY(km_metrics_score(score, y, p, N, K, &s, &err));
        h = digest(h, score, sizeof score);
        TRY(km_metrics_bootstrap(score, low, high, count, y, p, patient, G, N, K, RESAMPLES, 0.95, 1, &s, NULL, NULL,
                                 &err));
        h = digest(digest(digest(h, low, sizeof low), high, sizeof high), count, sizeof count);
        TRY(km_metrics_resamples(value, y, p, patient, G, N, K, RESAMPLES, 1, &s, NULL, NULL, &err));
        h = digest(h, value, sizeof value);
        TRY(km_metrics_paired(score, low, high, p_value, count, y, p, other, patient, G, N, K, RESAMPLES, 0.95, 1, &s,
                              &s, NULL, NULL, &err));
        h = digest(digest(h, score, sizeof score), p_value, sizeof p_value);
    }
    TRY(km_metrics_threshold(threshold, y, p, N, K, 2, &err));
    TRY(km_metrics_curve(point, positives, negatives, &points, y, p, N, &err));
    TRY(km_metrics_reliability(recordings, ill, mean, y, p, N, 7, &err));
    h = digest(digest(h, threshold, sizeof threshold), point, (size_t)points * sizeof *point);
    return digest(h, recordings, sizeof recordings);
}

static uint64_t probe(void)
{
    static km_real x[N * C];
    km_real weight[2 * K * C], bias[2 * K], z[N * K];
    int32_t epoch[2];
    double validation[2 * EPOCHS], watched[2 * EPOCHS];
    const uint64_t seed[2] = {1, 2};
    const km_probe_settings s = {.C = C, .K = K, .epochs = EPOCHS, .batch_size = 16, .warmup_steps = 2, .lr = 1e-2,
                                 .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .threads = 2};
    for (int i = 0; i < N * C; i++)
        x[i] = (km_real)(i * 31 % 59) / 30 - 1;
    const km_probe_data train = {x, y, 40}, test = {x + 40 * C, y + 40 * K, N - 40};
    TRY(km_probe_fit(weight, bias, epoch, validation, watched, &train, &test, &test, seed, 2, &s, NULL, NULL, &err));
    TRY(km_probe_apply(z, x, weight, bias, N, C, K, &err));
    return digest(digest(digest(1, weight, sizeof weight), validation, sizeof validation), z, sizeof z);
}

int main(void)
{
    draw_data();
    exhaust("metrics", metrics);
    exhaust("probe", probe);
    return check_result();
}
