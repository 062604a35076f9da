#include "check.h"
#include "eval/metrics.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { N = 6, K = 2 };

/* Class 0 has ties and both outcomes, class 1 no positive. */
static const uint8_t y[N * K] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
static const double p[N * K] = {0.9, 0.1, 0.9, 0.2, 0.5, 0.3, 0.5, 0.4, 0.1, 0.5, 0.0, 1.0};

static int near(double a, double b) { return fabs(a - b) < 1e-12; }

static void test_values(void)
{
    double score[K + 1], threshold[K] = {0.5, 0.5};
    const double expected[] = {
        [KM_ROC_AUC] = 5.0 / 9,
        [KM_AVERAGE_PRECISION] = (1.0 / 2 + 2.0 / 4 + 3.0 / 5) / 3,
        [KM_F1] = 2 * 2.0 / (2 * 2 + 2 + 1),
        [KM_ORACLE_F1] = 2 * 3.0 / (2 * 3 + 2),
        [KM_BRIER] = (0.01 + 0.81 + 0.25 + 0.25 + 0.81 + 0.0) / 6,
        [KM_CALIBRATION_ERROR] = (fabs(2 - 2.8) + fabs(1 - 0.1)) / 6,
    };
    for (int metric = KM_ROC_AUC; metric <= KM_CALIBRATION_ERROR; metric++) {
        for (int threads = 1; threads <= 3; threads++) {
            km_metrics_settings settings = {(km_metric)metric, threshold, 2, threads};
            km_error err;
            CHECK(km_metrics_score(score, y, p, N, K, &settings, &err) == KM_OK);
            CHECK(near(score[0], expected[metric]));
            CHECK(isnan(score[1]) == (metric < KM_BRIER));
            CHECK(near(score[K], metric < KM_BRIER ? score[0] : (score[0] + score[1]) / 2));
        }
    }
}

static void test_threshold(void)
{
    double threshold[K];
    km_error err;
    CHECK(km_metrics_threshold(threshold, y, p, N, K, 1, &err) == KM_OK);
    CHECK(threshold[0] == 0.1 && isnan(threshold[1]));
}

static int stop_at_second(void *context) { return ++*(int *)context == 2; }

static void test_bootstrap(void)
{
    const uint32_t patient[N] = {0, 0, 1, 2, 2, 3};
    double score[3][K + 1], low[3][K + 1], high[3][K + 1];
    int64_t count[3][K + 1];
    km_error err;
    for (int run = 0; run < 3; run++) {
        km_metrics_settings settings = {KM_ROC_AUC, NULL, 0, 1 + run};
        CHECK(km_metrics_bootstrap(score[run], low[run], high[run], count[run], y, p, patient, 4, N, K, 300, 0.95, 9,
                                   &settings, NULL, NULL, &err) == KM_OK);
        CHECK(memcmp(low[run], low[0], sizeof low[0]) == 0 && memcmp(high[run], high[0], sizeof high[0]) == 0);
    }
    CHECK(low[0][0] <= score[0][0] && score[0][0] <= high[0][0]);
    CHECK(isnan(low[0][1]) && count[0][1] == 0);
    CHECK(count[0][0] > 250 && count[0][0] < 300);      /* some resamples hold one outcome only */

    km_metrics_settings settings = {KM_ROC_AUC, NULL, 0, 1};
    int calls = 0;
    CHECK(km_metrics_bootstrap(score[0], low[0], high[0], count[0], y, p, patient, 4, N, K, 10000, 0.95, 9, &settings,
                               stop_at_second, &calls, &err) == KM_STOPPED);
    CHECK(strstr(err.message, "of 10000 resamples") != NULL);
}

static void test_paired(void)
{
    const uint32_t patient[N] = {0, 0, 1, 2, 2, 3};
    double other[N * K], difference[K + 1], low[K + 1], high[K + 1], p_value[K + 1], score[2][K + 1];
    int64_t count[K + 1];
    km_error err;
    for (int i = 0; i < N * K; i++)
        other[i] = 1 - p[i];
    km_metrics_settings settings = {KM_ROC_AUC, NULL, 0, 2};
    CHECK(km_metrics_paired(difference, low, high, p_value, count, y, p, other, patient, 4, N, K, 300, 0.95, 9, &settings,
                            &settings, NULL, NULL, &err) == KM_OK);
    CHECK(km_metrics_score(score[0], y, p, N, K, &settings, &err) == KM_OK);
    CHECK(km_metrics_score(score[1], y, other, N, K, &settings, &err) == KM_OK);
    CHECK(near(difference[0], score[0][0] - score[1][0]) && near(difference[K], difference[0]));
    CHECK(low[0] < 0 && high[0] > 0 && p_value[0] > 0 && p_value[0] <= 1);
    CHECK(isnan(difference[1]) && isnan(p_value[1]) && count[1] == 0 && count[0] > 250);
    settings.threads = 0;
    CHECK(km_metrics_paired(difference, low, high, p_value, count, y, p, other, patient, 4, N, K, 300, 0.95, 9, &settings,
                            &settings, NULL, NULL, &err) == KM_VALUE);
}

static void test_curve(void)
{
    const uint8_t one[N] = {1, 0, 1, 0, 1, 0};
    const double scores[N] = {0.9, 0.9, 0.5, 0.5, 0.1, 1.0};
    double threshold[N], mean[2];
    int64_t positives[N], negatives[N], points, recordings[2];
    km_error err;
    CHECK(km_metrics_curve(threshold, positives, negatives, &points, one, scores, N, &err) == KM_OK && points == 4);
    CHECK(threshold[0] == 1.0 && threshold[1] == 0.9 && threshold[3] == 0.1);
    CHECK(positives[0] == 0 && positives[1] == 1 && positives[2] == 2 && positives[3] == 3);
    CHECK(negatives[0] == 1 && negatives[1] == 2 && negatives[3] == 3);
    CHECK(km_metrics_curve(threshold, positives, negatives, &points, one, scores, 0, &err) == KM_VALUE);
    CHECK(km_metrics_reliability(recordings, positives, mean, one, scores, N, 2, &err) == KM_OK);
    CHECK(recordings[0] == 1 && recordings[1] == 5 && positives[0] == 1 && positives[1] == 2);
    CHECK(near(mean[0], 0.1) && near(mean[1], 3.8 / 5));
    CHECK(km_metrics_reliability(recordings, positives, mean, one, scores, N, 0, &err) == KM_VALUE);
}

static void test_bad_arguments(void)
{
    double score[K + 1];
    km_error err;
    km_metrics_settings settings = {KM_CALIBRATION_ERROR, NULL, 0, 1};
    CHECK(km_metrics_score(score, y, p, N, K, &settings, &err) == KM_VALUE && strstr(err.message, "bins") != NULL);
    settings = (km_metrics_settings){KM_BRIER, NULL, 0, 0};
    CHECK(km_metrics_score(score, y, p, N, K, &settings, &err) == KM_VALUE && strstr(err.message, "threads") != NULL);
    settings.threads = 1;
    CHECK(km_metrics_score(score, y, p, 0, K, &settings, &err) == KM_VALUE);
    CHECK(km_metrics_score(score, y, p, N, 0, &settings, &err) == KM_VALUE);
}

int main(void)
{
    test_values();
    test_threshold();
    test_bootstrap();
    test_paired();
    test_curve();
    test_bad_arguments();
    return check_result();
}
