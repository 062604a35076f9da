#include "data/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/real.h"
#include "core/threads.h"

/* Resampling */

#define PI 3.14159265358979323846

enum {
    HALF_WIDTH = 10,        /* zero crossings of the kernel to each side                       */
    MOST_PHASES = 1024,     /* ratios with more phases interpolate between STEPS + 1 of them   */
    STEPS = 512,
    LANES = 8               /* taps are a multiple of this                                     */
};
static const double BETA = 5.0;

/* Modified Bessel function of the first kind, order 0: sum_k ((x/2)^k / k!)^2. */
static double bessel_i0(double x)
{
    double term = 1.0, sum = 1.0, quarter = x * x / 4.0;
    for (int k = 1; k < 50 && term > 1e-17 * sum; k++) {
        term *= quarter / ((double)k * k);
        sum += term;
    }
    return sum;
}

typedef struct filter {
    int64_t up, down;       /* fs_out / fs_in where exact != 0      */
    int exact;
    double step;            /* input samples an output sample       */
    int phases, taps, half; /* taps of a phase start at input sample floor(t) - half + 1 */
    float *weight;          /* (phases, taps)                       */
} filter;

/* fs_out / fs_in as up / down in lowest terms, by continued fractions; 0 where up would exceed MOST_PHASES. */
static int as_fraction(int64_t *up, int64_t *down, double ratio)
{
    double x = ratio;
    int64_t p0 = 0, q0 = 1, p1 = 1, q1 = 0;
    for (int i = 0; i < 40; i++) {
        double whole = floor(x);
        if (whole > 1e9)
            return 0;
        int64_t p = (int64_t)whole * p1 + p0, q = (int64_t)whole * q1 + q0;
        if (p > MOST_PHASES || q > INT64_C(100000000))
            return 0;
        p0 = p1, q0 = q1, p1 = p, q1 = q;
        if (fabs((double)p / (double)q - ratio) <= 1e-12 * ratio) {
            *up = p;
            *down = q;
            return 1;
        }
        x = 1.0 / (x - whole);
    }
    return 0;
}

/* h for an output sample that lies `fraction` of an input sample after input sample 0; returns the sum. */
static double set_phase(float *weight, int taps, int half, double fraction, double c)
{
    const double width = HALF_WIDTH / c;
    double sum = 0.0;
    for (int k = 0; k < taps; k++) {
        double u = fraction - (double)(k - half + 1), r = u / width, h = 0.0;
        if (fabs(r) < 1.0)
            h = (u == 0.0 ? 1.0 : sin(PI * c * u) / (PI * c * u)) * bessel_i0(BETA * sqrt(1.0 - r * r));
        weight[k] = (float)h;
        sum += h;
    }
    return sum;
}

static km_status filter_create(filter *f, double fs_in, double fs_out, km_error *err)
{
    const double ratio = fs_out / fs_in, c = ratio < 1.0 ? ratio : 1.0;
    memset(f, 0, sizeof *f);
    f->step = fs_in / fs_out;
    f->exact = as_fraction(&f->up, &f->down, ratio);
    f->half = (int)ceil(HALF_WIDTH / c) + 1;
    f->taps = (2 * f->half + LANES - 1) / LANES * LANES;
    f->phases = f->exact ? (int)f->up : STEPS + 1;
    f->weight = malloc((size_t)f->phases * (size_t)f->taps * sizeof *f->weight);
    if (f->weight == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory resampling from %g to %g Hz", fs_in, fs_out);
    /* The phases sum to 1 on average, as in one long filter of unit gain. */
    const int distinct = f->exact ? f->phases : STEPS;
    double sum = 0.0;
    for (int phase = 0; phase < f->phases; phase++) {
        double one = set_phase(f->weight + (size_t)phase * f->taps, f->taps, f->half, (double)phase / distinct, c);
        sum += phase < distinct ? one : 0.0;
    }
    const float scale = (float)((double)distinct / sum);
    for (size_t i = 0; i < (size_t)f->phases * (size_t)f->taps; i++)
        f->weight[i] *= scale;
    return KM_OK;
}

/* sum_k w[k] x[k] in LANES sums, so that the order of additions does not depend on the instruction set. */
static inline float dot(const float *w, const float *x, int taps)
{
    float sum[LANES] = {0};
    for (int k = 0; k < taps; k += LANES) {
        for (int i = 0; i < LANES; i++)
            sum[i] += w[k + i] * x[k + i];
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* out[j] = level + sum_k w[k] x[k].  x points to input sample 0; half samples before it and taps behind the
 * last one exist.                                                                                            */
KM_VECTOR static void filter_apply(float *out, int64_t length, const float *x, float level, const filter *f)
{
    if (f->exact) {
        int64_t position = 0, phase = 0;
        const int64_t whole = f->down / f->up, part = f->down % f->up;
        for (int64_t j = 0; j < length; j++) {
            out[j] = level + dot(f->weight + phase * f->taps, x + position - f->half + 1, f->taps);
            position += whole;
            phase += part;
            if (phase >= f->up) {
                phase -= f->up;
                position++;
            }
        }
        return;
    }
    for (int64_t j = 0; j < length; j++) {
        double t = (double)j * f->step, floor_t = floor(t), place = (t - floor_t) * STEPS;
        int phase = (int)place;
        float fraction = (float)(place - phase);
        const float *at = x + (int64_t)floor_t - f->half + 1, *weight = f->weight + (size_t)phase * f->taps;
        float a = dot(weight, at, f->taps);
        out[j] = level + (fraction > 0.0f ? a + fraction * (dot(weight + f->taps, at, f->taps) - a) : a);
    }
}

km_status km_preprocess_length(int64_t *length, int64_t n, double fs_in, double fs_out, km_error *err)
{
    if (!(fs_in >= 1.0 && fs_in <= 100000.0) || !(fs_out >= 1.0 && fs_out <= 100000.0))
        return km_error_set(err, KM_VALUE, "fs must be between 1 and 100000 Hz, got %g",
                            fs_in >= 1.0 && fs_in <= 100000.0 ? fs_out : fs_in);
    if (n < 1)
        return km_error_set(err, KM_VALUE, "signal has no samples");
    double samples = floor((double)n * fs_out / fs_in + 0.5);
    if (samples > 1099511627776.0)
        return km_error_set(err, KM_VALUE, "signal has too many samples at %g Hz: %g", fs_out, samples);
    *length = samples < 1.0 ? 1 : (int64_t)samples;
    return KM_OK;
}

typedef struct resampling {
    float *out;
    const float *in;
    int64_t n, length;
    const filter *filter;
    float *padded;          /* (threads, before + n + after) */
    int64_t before, after;
} resampling;

static void resample_lead(void *context, int lead, int thread)
{
    const resampling *r = context;
    const float *in = r->in + lead * r->n;
    float *out = r->out + lead * r->length;
    float *x = r->padded + thread * (r->before + r->n + r->after) + r->before;
    memcpy(x, in, (size_t)r->n * sizeof *x);
    int64_t missing = km_preprocess_repair(x, r->n);
    /* The filter sees the lead about its mean: its phases differ in gain by 1e-3, and a flat lead must stay flat. */
    double sum = 0.0;
    for (int64_t i = 0; i < r->n; i++)
        sum += (double)x[i];
    const float level = (float)(sum / (double)r->n);
    for (int64_t i = 0; i < r->n; i++)
        x[i] -= level;
    for (int64_t i = 1; i <= r->before; i++)
        x[-i] = x[0];
    for (int64_t i = 0; i < r->after; i++)
        x[r->n + i] = x[r->n - 1];
    filter_apply(out, r->length, x, level, r->filter);
    for (int64_t j = 0; missing > 0 && j < r->length; j++) {
        int64_t nearest = (int64_t)floor((double)j * r->filter->step + 0.5);
        if (!isfinite(in[nearest < r->n ? nearest : r->n - 1]))
            out[j] = NAN;
    }
}

km_status km_preprocess_resample(float *out, const float *in, int leads, int64_t n, double fs_in, double fs_out,
                                 int threads, km_error *err)
{
    filter f = {0};
    resampling r = {out, in, n, 0, &f, NULL, 0, 0};
    km_status status = km_preprocess_length(&r.length, n, fs_in, fs_out, err);
    if (status != KM_OK)
        return status;
    if (fs_in == fs_out) {
        for (int64_t i = 0; i < leads * n; i++)
            out[i] = isfinite(in[i]) ? in[i] : NAN;
        return KM_OK;
    }
    status = filter_create(&f, fs_in, fs_out, err);
    if (status != KM_OK)
        return status;
    /* The last output sample lies at most half an output sample beyond the last input sample. */
    r.before = f.half;
    r.after = f.taps + (int64_t)ceil(f.step) + 1;
    threads = threads < leads ? threads : leads;
    threads = threads < 1 ? 1 : threads;
    r.padded = malloc((size_t)threads * (size_t)(r.before + n + r.after) * sizeof *r.padded);
    if (r.padded == NULL)
        status = km_error_set(err, KM_MEMORY, "out of memory resampling %lld samples", (long long)n);
    else
        km_threads_run(threads, leads, resample_lead, &r);
    free(r.padded);
    free(f.weight);
    return status;
}

/* Missing samples */

int64_t km_preprocess_repair(float *x, int64_t n)
{
    int64_t missing = 0, before = -1;       /* before: the last sample that is there */
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            before = i;
            continue;
        }
        int64_t after = i + 1;
        while (after < n && !isfinite(x[after]))
            after++;
        missing += after - i;
        double left = before >= 0 ? (double)x[before] : after < n ? (double)x[after] : 0.0;
        double right = after < n ? (double)x[after] : left;
        double step = (right - left) / (double)(after - before);
        for (int64_t k = i; k < after; k++)
            x[k] = (float)(left + step * (double)(k - before));
        i = after - 1;
    }
    return missing;
}

int km_preprocess_usable(int64_t *missing, const float *x, int64_t n, double max_missing)
{
    int64_t count = 0;
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            count++;
            continue;
        }
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (missing != NULL)
        *missing = count;
    return count < n && (double)count <= max_missing * (double)n && (double)high - (double)low >= (double)KM_FLAT_RANGE;
}

/* Normalisation */

/* Unsigned integers in the order of the floats, and back. */
static uint32_t float_key(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static double key_float(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

double km_preprocess_median(const float *x, int64_t n, uint32_t *scratch)
{
    /* Radix selection: 11, 11 and 10 bits from the top, keeping only the keys that agree so far. */
    static const int shift[3] = {21, 10, 0}, bits[3] = {11, 11, 10};
    int64_t rank = (n - 1) / 2, left = n;
    uint32_t key = 0, next = UINT32_MAX;        /* next: the smallest key seen above those kept */
    for (int64_t i = 0; i < n; i++)
        scratch[i] = float_key(x[i]);
    for (int pass = 0; pass < 3; pass++) {
        int32_t count[2048] = {0};
        const uint32_t mask = (1u << bits[pass]) - 1;
        for (int64_t i = 0; i < left; i++)
            count[(scratch[i] >> shift[pass]) & mask]++;
        uint32_t bin = 0;
        while (rank >= count[bin])
            rank -= count[bin++];
        int64_t kept = 0;
        for (int64_t i = 0; i < left; i++) {
            uint32_t digit = (scratch[i] >> shift[pass]) & mask;
            if (digit > bin && scratch[i] < next)
                next = scratch[i];
            if (digit == bin)
                scratch[kept++] = scratch[i];
        }
        left = kept;
        key |= bin << shift[pass];
    }
    /* left keys equal the lower middle one, which is number rank of them. */
    if (n % 2 == 1)
        return key_float(key);
    return 0.5 * (key_float(key) + key_float(rank + 1 < left ? key : next));
}

/* sum and square = sum over i of d and d^2, d = x[i] - centre, in LANES sums. */
KM_VECTOR static void moments(double *sum, double *square, const float *x, int64_t n, double centre)
{
    double s[LANES] = {0}, q[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            double d = (double)x[i + k] - centre;
            s[k] += d;
            q[k] += d * d;
        }
    }
    for (int k = 0; i < n; i++, k++) {
        double d = (double)x[i] - centre;
        s[k] += d;
        q[k] += d * d;
    }
    *sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    *square = ((q[0] + q[4]) + (q[2] + q[6])) + ((q[1] + q[5]) + (q[3] + q[7]));
}

/* y = (x - centre) * scale, clipped to -8 .. 8. */
KM_VECTOR static void standardise(float *x, int64_t n, double centre, double scale)
{
    for (int64_t i = 0; i < n; i++) {
        double y = ((double)x[i] - centre) * scale;
        y = y < -8.0 ? -8.0 : y;
        x[i] = (float)(y > 8.0 ? 8.0 : y);
    }
}

static double deviation(double sum, double square, double count)
{
    double mean = sum / count, variance = square / count - mean * mean;
    return variance > 0.0 ? sqrt(variance) : 0.0;
}

static void zscore(float *x, int leads, int64_t n, int per_lead, uint32_t *scratch)
{
    double median[KM_LEADS], sum[KM_LEADS], square[KM_LEADS], all_sum = 0.0, all_square = 0.0;
    for (int lead = 0; lead < leads; lead++) {
        median[lead] = km_preprocess_median(x + lead * n, n, scratch);
        moments(&sum[lead], &square[lead], x + lead * n, n, median[lead]);
        all_sum += sum[lead];
        all_square += square[lead];
    }
    for (int lead = 0; lead < leads; lead++) {
        double std = per_lead ? deviation(sum[lead], square[lead], (double)n)
                              : deviation(all_sum, all_square, (double)leads * (double)n);
        standardise(x + lead * n, n, median[lead], 1.0 / (std + 1e-6));
    }
}

static void minmax(float *x, int64_t count)
{
    float low = x[0], high = x[0];
    for (int64_t i = 1; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const double scale = 1.0 / ((double)high - (double)low + 1e-8);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(((double)x[i] - (double)low) * scale);
}

void km_preprocess_normalise(float *x, int leads, int64_t n, km_normalisation kind, uint32_t *scratch)
{
    switch (kind) {
    case KM_ZSCORE: zscore(x, leads, n, 0, scratch); break;
    case KM_PER_LEAD: zscore(x, leads, n, 1, scratch); break;
    case KM_MINMAX: minmax(x, leads * n); break;
    case KM_NO_NORMALISATION: break;
    }
}
