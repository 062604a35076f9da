/* How well scores p separate or predict outcomes y in {0, 1}: one number a class, their mean over the
 * classes that have one (the macro average), and bootstrap intervals over patients.
 *
 * Every metric is one walk down a class's recordings, sorted by falling score, with a weight for each
 * recording. Ones give the metric itself; how often a resample drew each patient gives its value in
 * that resample. So a class is sorted once, however many resamples there are.
 *
 * A metric that compares positives with negatives is NaN for a class without both.                   */
#ifndef KM_METRICS_H
#define KM_METRICS_H

#include <stdint.h>

#include "core/error.h"

typedef enum km_metric {
    KM_ROC_AUC,             /* P(p+ > p-) + P(p+ = p-) / 2: mid-ranks                                  */
    KM_AVERAGE_PRECISION,   /* sum over distinct thresholds of precision times the gain in recall       */
    KM_F1,                  /* 2 TP / (2 TP + FP + FN), positive where p >= threshold                   */
    KM_ORACLE_F1,           /* the largest F1 of any threshold, chosen on the very data it is scored on */
    KM_BRIER,               /* mean (p - y)^2                                                           */
    KM_CALIBRATION_ERROR    /* sum over equal bins of [0, 1] of (share of recordings) |mean y - mean p| */
} km_metric;

typedef struct km_metrics_settings {
    km_metric metric;
    const double *threshold;    /* (K), F1 only; NaN: no F1    */
    int bins;                   /* calibration error only, > 0 */
    int threads;
} km_metrics_settings;

/* Called between blocks of resamples by the calling thread; not 0 stops with KM_STOPPED. */
typedef int km_metrics_hook(void *context);

/* score[0 .. K - 1] a class, score[K] the macro average. p must hold no NaN. */
km_status km_metrics_score(double *score,                                           /* (K + 1)         */
                           const uint8_t *y, const double *p,                       /* (N, K), (N, K)  */
                           int64_t N, int K, const km_metrics_settings *settings, km_error *err);

/* For each class the threshold of its largest F1, the highest one where several are equal; NaN
 * without both outcomes.                                                                         */
km_status km_metrics_threshold(double *threshold,                                   /* (K)             */
                               const uint8_t *y, const double *p,                   /* (N, K), (N, K)  */
                               int64_t N, int K, int threads, km_error *err);

/* A resample draws G patients with replacement; a recording counts as often as its patient was drawn.
 * low and high are percentiles of the resampled values, linear between neighbours, at (1 -+ level) / 2.
 * A resample in which a class lacks an outcome leaves that class out; count says how many resamples
 * are behind each interval. The same numbers on any number of threads.                              */
km_status km_metrics_bootstrap(double *score, double *low, double *high,            /* (K + 1) each    */
                               int64_t *count,                                      /* (K + 1)         */
                               const uint8_t *y, const double *p,                   /* (N, K), (N, K)  */
                               const uint32_t *patient, uint32_t G,                 /* (N), 0 .. G - 1 */
                               int64_t N, int K, int resamples, double level, uint64_t seed,
                               const km_metrics_settings *settings,
                               km_metrics_hook *hook, void *context, km_error *err);

/* The macro average of each resample, NaN where no class has both outcomes: what means over several data sets
 * are made of. Data sets with the same patients, numbered alike, G and seed draw the same ones in a resample.  */
km_status km_metrics_resamples(double *value,                                           /* (resamples)         */
                               const uint8_t *y, const double *p,                       /* (N, K)              */
                               const uint32_t *patient, uint32_t G,                     /* (N), 0 .. G - 1     */
                               int64_t N, int K, int resamples, uint64_t seed,
                               const km_metrics_settings *settings,
                               km_metrics_hook *hook, void *context, km_error *err);

/* As km_metrics_bootstrap, of the difference first - second of two models' scores on the same recordings. Both take
 * the same draws; a class counts where both have a value, and difference[K] is the mean over those classes. Of n
 * resampled differences d, p_value is min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (1 + n)): two-sided, never 0.   */
km_status km_metrics_paired(double *difference, double *low, double *high, double *p_value, /* (K + 1) each */
                            int64_t *count,                                         /* (K + 1)             */
                            const uint8_t *y, const double *first, const double *second,    /* (N, K) each */
                            const uint32_t *patient, uint32_t G,                    /* (N), 0 .. G - 1     */
                            int64_t N, int K, int resamples, double level, uint64_t seed,
                            const km_metrics_settings *first_settings,              /* the same, but for   */
                            const km_metrics_settings *second_settings,             /* the thresholds      */
                            km_metrics_hook *hook, void *context, km_error *err);

/* One class at each of its distinct scores, falling: how many positives and negatives have at least this score.
 * The arrays have room for N; points says how many were written.                                              */
km_status km_metrics_curve(double *threshold, int64_t *positives, int64_t *negatives,   /* (N) each */
                           int64_t *points, const uint8_t *y, const double *p, int64_t N, km_error *err);

/* One class in the equal bins of KM_CALIBRATION_ERROR: recordings, positives and mean p of each bin, NaN for none. */
km_status km_metrics_reliability(int64_t *recordings, int64_t *positives, double *mean,    /* (bins) each */
                                 const uint8_t *y, const double *p, int64_t N, int bins, km_error *err);

#endif
