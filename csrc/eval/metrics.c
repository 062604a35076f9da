#include "eval/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "core/threads.h"

/* One class, by falling score. A step is (recording << 2) | (y << 1) | (last of its equal scores). */
typedef struct column {
    const uint32_t *step;   /* (N) */
    const double *p;        /* (N) */
    int64_t N;
    double threshold;
    int bins;
} column;

static inline uint32_t recording(uint32_t step) { return step >> 2; }
static inline uint32_t outcome(uint32_t step) { return step >> 1 & 1; }
static inline uint32_t last(uint32_t step) { return step & 1; }

typedef struct outcomes {
    uint64_t positive, negative;
} outcomes;

static inline void add(outcomes *to, uint32_t y, uint32_t w)
{
    to->positive += w & -y;
    to->negative += w & (y - 1);
}

static outcomes total(const column *c, const uint32_t *w)
{
    outcomes all = {0, 0};
    for (int64_t i = 0; i < c->N; i++)
        add(&all, outcome(c->step[i]), w[recording(c->step[i])]);
    return all;
}

static int both(outcomes all) { return all.positive > 0 && all.negative > 0; }

static double f1_of(outcomes above, outcomes all)
{
    return 2.0 * (double)above.positive / (double)(above.positive + above.negative + all.positive);
}

/* Pairs of a positive and a negative in the right order, ties as half, over all pairs. Twice that is an
 * integer: sum over groups of equal scores of negatives in it * (2 positives above + positives in it).  */
static double roc_auc(const column *c, const uint32_t *w)
{
    outcomes above = {0, 0}, equal = {0, 0};
    uint64_t twice = 0;
    for (int64_t i = 0; i < c->N; i++) {
        uint32_t step = c->step[i];
        add(&equal, outcome(step), w[recording(step)]);
        if (last(step)) {
            twice += equal.negative * (2 * above.positive + equal.positive);
            above.positive += equal.positive;
            above.negative += equal.negative;
            equal.positive = equal.negative = 0;
        }
    }
    return both(above) ? (double)twice / (2.0 * (double)above.positive * (double)above.negative) : NAN;
}

/* sum_t (R_t - R_{t-1}) P_t over distinct scores t, falling. */
static double average_precision(const column *c, const uint32_t *w)
{
    outcomes above = {0, 0};
    uint64_t before = 0;
    double sum = 0;
    for (int64_t i = 0; i < c->N; i++) {
        uint32_t step = c->step[i];
        add(&above, outcome(step), w[recording(step)]);
        if (last(step) && above.positive > before) {
            sum += (double)(above.positive - before) * (double)above.positive
                   / (double)(above.positive + above.negative);
            before = above.positive;
        }
    }
    return both(above) ? sum / (double)above.positive : NAN;
}

static double f1(const column *c, const uint32_t *w)
{
    outcomes all = total(c, w), above = {0, 0};
    for (int64_t i = 0; i < c->N && c->p[i] >= c->threshold; i++)
        add(&above, outcome(c->step[i]), w[recording(c->step[i])]);
    return both(all) && !isnan(c->threshold) ? f1_of(above, all) : NAN;
}

static double best_f1(double *threshold, const column *c, const uint32_t *w)
{
    outcomes all = total(c, w), above = {0, 0};
    double best = both(all) ? -1 : NAN;     /* nothing is larger than NaN */
    *threshold = NAN;
    for (int64_t i = 0; i < c->N; i++) {
        add(&above, outcome(c->step[i]), w[recording(c->step[i])]);
        if (last(c->step[i]) && f1_of(above, all) > best) {
            best = f1_of(above, all);
            *threshold = c->p[i];
        }
    }
    return best;
}

static double oracle_f1(const column *c, const uint32_t *w)
{
    double threshold;
    return best_f1(&threshold, c, w);
}

static double brier(const column *c, const uint32_t *w)
{
    double sum = 0, count = 0;
    for (int64_t i = 0; i < c->N; i++) {
        double weight = w[recording(c->step[i])], residual = c->p[i] - outcome(c->step[i]);
        sum += weight * residual * residual;
        count += weight;
    }
    return sum / count;
}

static inline int bin_of(double p, int bins)
{
    int b = (int)(p * bins);
    return b < bins ? b : bins - 1;
}

/* sum_b (n_b / n) |mean_b y - mean_b p| = (1 / n) sum_b |sum_b (y - p)|; scores fall, so bins come in order. */
static double calibration_error(const column *c, const uint32_t *w)
{
    double sum = 0, count = 0, gap = 0;
    int bin = c->bins;
    for (int64_t i = 0; i < c->N; i++) {
        double weight = w[recording(c->step[i])];
        int b = bin_of(c->p[i], c->bins);
        if (b != bin) {
            sum += fabs(gap);
            gap = 0;
            bin = b;
        }
        gap += weight * (outcome(c->step[i]) - c->p[i]);
        count += weight;
    }
    return (sum + fabs(gap)) / count;
}

typedef double walk(const column *c, const uint32_t *w);

static walk *const walks[] = {
    [KM_ROC_AUC] = roc_auc,
    [KM_AVERAGE_PRECISION] = average_precision,
    [KM_F1] = f1,
    [KM_ORACLE_F1] = oracle_f1,
    [KM_BRIER] = brier,
    [KM_CALIBRATION_ERROR] = calibration_error,
};

/* ---- Sorting: one task a class ---- */

typedef struct scored {
    double p;
    uint32_t recording;
} scored;

static int by_falling_score(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    if (a->p != b->p)
        return a->p > b->p ? -1 : 1;
    return a->recording < b->recording ? -1 : a->recording > b->recording;
}

typedef struct table {
    uint32_t *step;         /* (K, N)                                        */
    double *p;              /* (K, N)                                        */
    uint32_t *ones;         /* (N)                                           */
    scored *scratch;        /* (threads, N)                                  */
    const uint8_t *y;       /* (N, K)                                        */
    const double *scores;   /* (N, K)                                        */
    const km_metrics_settings *settings;
    int64_t N;
    int K;
} table;

static column table_column(const table *t, int k)
{
    column c = {.step = t->step + k * t->N, .p = t->p + k * t->N, .N = t->N, .bins = t->settings->bins};
    if (t->settings->metric == KM_F1)
        c.threshold = t->settings->threshold[k];
    return c;
}

static void sort_class(void *context, int k, int thread)
{
    table *t = context;
    scored *s = t->scratch + thread * t->N;
    uint32_t *step = t->step + k * t->N;
    double *p = t->p + k * t->N;
    for (int64_t i = 0; i < t->N; i++)
        s[i] = (scored){t->scores[i * t->K + k], (uint32_t)i};
    qsort(s, (size_t)t->N, sizeof *s, by_falling_score);
    for (int64_t i = 0; i < t->N; i++) {
        uint32_t y = t->y[(int64_t)s[i].recording * t->K + k] != 0;
        uint32_t ends = i + 1 == t->N || s[i + 1].p != s[i].p;
        step[i] = s[i].recording << 2 | y << 1 | ends;
        p[i] = s[i].p;
    }
}

static void table_close(table *t)
{
    free(t->step);
    free(t->p);
    free(t->ones);
    free(t->scratch);
    memset(t, 0, sizeof *t);
}

static km_status table_open(table *t, const uint8_t *y, const double *p, int64_t N, int K,
                            const km_metrics_settings *settings, km_error *err)
{
    *t = (table){.y = y, .scores = p, .settings = settings, .N = N, .K = K};
    if (N < 1 || N >= (int64_t)1 << 30)
        return km_error_set(err, KM_VALUE, "N is %lld recordings, expected 1 to 2^30 - 1", (long long)N);
    if (K < 1)
        return km_error_set(err, KM_VALUE, "K is %d classes, expected at least 1", K);
    if (settings->threads < 1)
        return km_error_set(err, KM_VALUE, "threads is %d, expected at least 1", settings->threads);
    if (settings->metric == KM_CALIBRATION_ERROR && settings->bins < 1)
        return km_error_set(err, KM_VALUE, "bins is %d, expected at least 1", settings->bins);
    size_t n = (size_t)N, k = (size_t)K;
    int threads = settings->threads < K ? settings->threads : K;
    t->step = malloc(n * k * sizeof *t->step);
    t->p = malloc(n * k * sizeof *t->p);
    t->ones = malloc(n * sizeof *t->ones);
    t->scratch = malloc(n * (size_t)threads * sizeof *t->scratch);
    if (t->step == NULL || t->p == NULL || t->ones == NULL || t->scratch == NULL) {
        table_close(t);
        return km_error_set(err, KM_MEMORY, "out of memory: %lld recordings by %d classes", (long long)N, K);
    }
    for (int64_t i = 0; i < N; i++)
        t->ones[i] = 1;
    km_threads_run(threads, K, sort_class, t);
    return KM_OK;
}

/* ---- Scores ---- */

/* score[K] becomes the mean of those of score[0 .. K - 1] that are numbers. */
static void average(double *score, int K)
{
    double sum = 0;
    int count = 0;
    for (int k = 0; k < K; k++) {
        if (!isnan(score[k])) {
            sum += score[k];
            count++;
        }
    }
    score[K] = count > 0 ? sum / count : NAN;
}

static void score_all(double *score, const table *t, const uint32_t *w)
{
    for (int k = 0; k < t->K; k++) {
        column c = table_column(t, k);
        score[k] = walks[t->settings->metric](&c, w);
    }
    average(score, t->K);
}

km_status km_metrics_score(double *score, const uint8_t *y, const double *p, int64_t N, int K,
                           const km_metrics_settings *settings, km_error *err)
{
    table t;
    km_status status = table_open(&t, y, p, N, K, settings, err);
    if (status == KM_OK)
        score_all(score, &t, t.ones);
    table_close(&t);
    return status;
}

km_status km_metrics_threshold(double *threshold, const uint8_t *y, const double *p, int64_t N, int K, int threads,
                               km_error *err)
{
    km_metrics_settings settings = {.metric = KM_ORACLE_F1, .threads = threads};
    table t;
    km_status status = table_open(&t, y, p, N, K, &settings, err);
    for (int k = 0; status == KM_OK && k < K; k++) {
        column c = table_column(&t, k);
        best_f1(&threshold[k], &c, t.ones);
    }
    table_close(&t);
    return status;
}

/* score of the only table, or its difference to that of the second one, class by class. */
static void score_tables(double *score, double *other, const table *t, int tables, const uint32_t *w)
{
    score_all(score, &t[0], w);
    if (tables == 1)
        return;
    score_all(other, &t[1], w);
    for (int k = 0; k < t->K; k++)
        score[k] -= other[k];
    average(score, t->K);
}

/* ---- Curves: one class ---- */

km_status km_metrics_curve(double *threshold, int64_t *positives, int64_t *negatives, int64_t *points,
                           const uint8_t *y, const double *p, int64_t N, km_error *err)
{
    km_metrics_settings settings = {.metric = KM_ROC_AUC, .threads = 1};
    table t;
    km_status status = table_open(&t, y, p, N, 1, &settings, err);
    int64_t n = 0;
    outcomes above = {0, 0};
    for (int64_t i = 0; status == KM_OK && i < N; i++) {
        add(&above, outcome(t.step[i]), 1);
        if (last(t.step[i])) {
            threshold[n] = t.p[i];
            positives[n] = (int64_t)above.positive;
            negatives[n++] = (int64_t)above.negative;
        }
    }
    *points = n;
    table_close(&t);
    return status;
}

km_status km_metrics_reliability(int64_t *recordings, int64_t *positives, double *mean, const uint8_t *y,
                                 const double *p, int64_t N, int bins, km_error *err)
{
    if (bins < 1)
        return km_error_set(err, KM_VALUE, "bins is %d, expected at least 1", bins);
    for (int b = 0; b < bins; b++) {
        recordings[b] = positives[b] = 0;
        mean[b] = 0;
    }
    for (int64_t i = 0; i < N; i++) {
        int b = bin_of(p[i], bins);
        recordings[b]++;
        positives[b] += y[i] != 0;
        mean[b] += p[i];
    }
    for (int b = 0; b < bins; b++)
        mean[b] = recordings[b] > 0 ? mean[b] / (double)recordings[b] : NAN;
    return KM_OK;
}

/* ---- Bootstrap: one task a resample ---- */

typedef struct resampling {
    const table *t;             /* (tables)             */
    int tables;                 /* 1, or 2: differences */
    const uint32_t *patient;    /* (N)                  */
    uint32_t G;
    uint64_t seed;
    int first;                  /* resample of task 0   */
    uint32_t *drawn;            /* (threads, G)         */
    uint32_t *weight;           /* (threads, N)         */
    double *other;              /* (threads, K + 1)     */
    double *value;              /* (resamples, K + 1)   */
} resampling;

static void resample(void *context, int index, int thread)
{
    resampling *r = context;
    int64_t N = r->t->N, columns = r->t->K + 1;
    uint32_t *drawn = r->drawn + (size_t)thread * r->G, *weight = r->weight + thread * N;
    km_rng rng;
    km_rng_open(&rng, r->seed, KM_STREAM_BOOTSTRAP, (uint32_t)(r->first + index), 0);
    memset(drawn, 0, r->G * sizeof *drawn);
    for (uint32_t g = 0; g < r->G; g++)
        drawn[km_rng_below(&rng, r->G)]++;
    for (int64_t i = 0; i < N; i++)
        weight[i] = drawn[r->patient[i]];
    score_tables(r->value + (r->first + index) * columns, r->other + thread * columns, r->t, r->tables, weight);
}

static int rising(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* The value at share q of n sorted ones, linear between neighbours. */
static double percentile(const double *sorted, int64_t n, double q)
{
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    if (i + 1 >= n)
        return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* Blocks of about 2e8 steps keep the hook's waits short. */
static int block_size(const table *t, int threads)
{
    double block = 2e8 / ((double)t->N * t->K);
    return block < threads ? threads : block > 4096 ? 4096 : (int)block;
}

/* Two-sided: 0 of n sorted differences as far out as their nearer end, the observed one counted too. */
static double two_sided(const double *sorted, int64_t n)
{
    int64_t below = 0, above = 0;
    for (int64_t i = 0; i < n; i++) {
        below += sorted[i] <= 0;
        above += sorted[i] >= 0;
    }
    double p = 2.0 * (double)(1 + (below < above ? below : above)) / (double)(1 + n);
    return n == 0 ? NAN : p < 1 ? p : 1;
}

/* Fills r->value; `resampling_close` frees it, whatever the status. */
static km_status resampling_run(resampling *r, int resamples, km_metrics_hook *hook, void *context, km_error *err)
{
    if (resamples < 1)
        return km_error_set(err, KM_VALUE, "resamples is %d, expected at least 1", resamples);
    int64_t N = r->t->N;
    int K = r->t->K, threads = r->t->settings->threads < resamples ? r->t->settings->threads : resamples;
    r->drawn = malloc((size_t)threads * r->G * sizeof *r->drawn);
    r->weight = malloc((size_t)threads * (size_t)N * sizeof *r->weight);
    r->other = malloc((size_t)threads * (size_t)(K + 1) * sizeof *r->other);
    r->value = malloc((size_t)resamples * (size_t)(K + 1) * sizeof *r->value);
    if (r->drawn == NULL || r->weight == NULL || r->other == NULL || r->value == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: %d resamples of %lld recordings by %d classes", resamples,
                            (long long)N, K);
    for (int block = block_size(r->t, threads); r->first < resamples; r->first += block) {
        if (hook != NULL && hook(context) != 0)
            return km_error_set(err, KM_STOPPED, "stopped after %d of %d resamples", r->first, resamples);
        km_threads_run(threads, block < resamples - r->first ? block : resamples - r->first, resample, r);
    }
    return KM_OK;
}

static void resampling_close(resampling *r)
{
    free(r->value);
    free(r->other);
    free(r->weight);
    free(r->drawn);
}

/* Resampled values of one table, or of the difference of two; p_value may be NULL. */
static km_status bootstrap(double *score, double *low, double *high, double *p_value, int64_t *count, const table *t,
                           int tables, const uint32_t *patient, uint32_t G, int resamples, double level,
                           uint64_t seed, km_metrics_hook *hook, void *context, km_error *err)
{
    int K = t->K;
    double *sorted = NULL;
    resampling r = {.t = t, .tables = tables, .patient = patient, .G = G, .seed = seed};
    km_status status = resampling_run(&r, resamples, hook, context, err);
    if (status != KM_OK)
        goto exit;
    sorted = malloc((size_t)resamples * sizeof *sorted);
    if (sorted == NULL) {
        status = km_error_set(err, KM_MEMORY, "out of memory: %d resamples", resamples);
        goto exit;
    }
    score_tables(score, r.other, t, tables, t->ones);
    for (int k = 0; k <= K; k++) {
        int64_t n = 0;
        for (int i = 0; i < resamples; i++) {
            double value = r.value[(int64_t)i * (K + 1) + k];
            if (!isnan(value))
                sorted[n++] = value;
        }
        qsort(sorted, (size_t)n, sizeof *sorted, rising);
        low[k] = n > 0 ? percentile(sorted, n, (1 - level) / 2) : NAN;
        high[k] = n > 0 ? percentile(sorted, n, (1 + level) / 2) : NAN;
        if (p_value != NULL)
            p_value[k] = two_sided(sorted, n);
        count[k] = n;
    }

exit:
    free(sorted);
    resampling_close(&r);
    return status;
}

km_status km_metrics_resamples(double *value, const uint8_t *y, const double *p, const uint32_t *patient, uint32_t G,
                               int64_t N, int K, int resamples, uint64_t seed, const km_metrics_settings *settings,
                               km_metrics_hook *hook, void *context, km_error *err)
{
    resampling r = {.tables = 1, .patient = patient, .G = G, .seed = seed};
    table t;
    km_status status = table_open(&t, y, p, N, K, settings, err);
    r.t = &t;
    if (status == KM_OK)
        status = resampling_run(&r, resamples, hook, context, err);
    for (int i = 0; status == KM_OK && i < resamples; i++)
        value[i] = r.value[(int64_t)i * (K + 1) + K];
    resampling_close(&r);
    table_close(&t);
    return status;
}

km_status km_metrics_bootstrap(double *score, double *low, double *high, int64_t *count,
                               const uint8_t *y, const double *p, const uint32_t *patient, uint32_t G,
                               int64_t N, int K, int resamples, double level, uint64_t seed,
                               const km_metrics_settings *settings, km_metrics_hook *hook, void *context,
                               km_error *err)
{
    table t;
    km_status status = table_open(&t, y, p, N, K, settings, err);
    if (status == KM_OK)
        status = bootstrap(score, low, high, NULL, count, &t, 1, patient, G, resamples, level, seed, hook, context,
                           err);
    table_close(&t);
    return status;
}

km_status km_metrics_paired(double *difference, double *low, double *high, double *p_value, int64_t *count,
                            const uint8_t *y, const double *first, const double *second, const uint32_t *patient,
                            uint32_t G, int64_t N, int K, int resamples, double level, uint64_t seed,
                            const km_metrics_settings *first_settings, const km_metrics_settings *second_settings,
                            km_metrics_hook *hook, void *context, km_error *err)
{
    table t[2] = {{0}, {0}};
    km_status status = table_open(&t[0], y, first, N, K, first_settings, err);
    if (status == KM_OK)
        status = table_open(&t[1], y, second, N, K, second_settings, err);
    if (status == KM_OK)
        status = bootstrap(difference, low, high, p_value, count, t, 2, patient, G, resamples, level, seed, hook,
                           context, err);
    table_close(&t[0]);
    table_close(&t[1]);
    return status;
}
