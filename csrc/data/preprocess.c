#include "data/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/real.h"
#include "core/threads.h"

/* Resampling */

#define PI 3.14159265358979323846

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { MOST_PHASES = 32, STEPS = 16, CHUNK = 64 };      /* filters that are quick to make, tasks of few samples */
#else
enum {
    MOST_PHASES = 1024,     /* ratios with more phases interpolate between STEPS + 1 of them        */
    STEPS = 512,
    CHUNK = 2048            /* samples of one task, of the input or the output, whichever are more  */
};
#endif

enum {
    HALF_WIDTH = 10,        /* zero crossings of the kernel to each side                            */
    MOST_RATIO = 1000,      /* fs_in / fs_out: a filter has at most MOST_PHASES * 20 MOST_RATIO weights  */
    WIDE = 16,              /* leads that are filtered side by side                                 */
    SUMS = 4,               /* partial sums of a product; taps are a multiple of it                 */
    LANES = 8               /* partial sums of the other sums                                       */
};
static const double BETA = 5.0;

/* One sample of WIDE leads. The compiler makes of it what the processor has; each lead's sums are the same
 * to the last bit whatever that is, and whichever leads are beside it.                                      */
typedef float row __attribute__((vector_size(4 * WIDE)));

/* Modified Bessel function of the first kind, order 0, of x, for y = x^2 / 4 up to BETA^2 / 4:
 * sum_k y^k / (k!)^2 = 1 + y (1 + y / 4 (1 + y / 9 (1 + ... ))), to double precision.          */
static inline double bessel_i0(double y)
{
#define TERM(k) sum = 1.0 + sum * y * (1.0 / ((k) * (k)));
    double sum = 1.0;
    TERM(20.0) TERM(19.0) TERM(18.0) TERM(17.0) TERM(16.0) TERM(15.0) TERM(14.0) TERM(13.0) TERM(12.0) TERM(11.0)
    TERM(10.0) TERM(9.0) TERM(8.0) TERM(7.0) TERM(6.0) TERM(5.0) TERM(4.0) TERM(3.0) TERM(2.0) TERM(1.0)
#undef TERM
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
KM_VECTOR static double set_phase(float *weight, int taps, int half, double fraction, double c)
{
    /* sinc(c u), u = first, first - 1, ...: the sine by rotation */
    const double first = fraction + (double)(half - 1), turn_sin = sin(PI * c), turn_cos = cos(PI * c);
    double sine = sin(PI * c * first), cosine = cos(PI * c * first);
    for (int k = 0; k < taps; k++) {
        double u = first - (double)k, next = sine * turn_cos - cosine * turn_sin;
        weight[k] = u == 0.0 ? 1.0f : (float)(sine / (PI * c * u));
        cosine = cosine * turn_cos + sine * turn_sin;
        sine = next;
    }
    /* kaiser(u / W), W = HALF_WIDTH / c, 0 beyond */
    double sum = 0.0;
    for (int k = 0; k < taps; k++) {
        double r = (first - (double)k) * (c / HALF_WIDTH), inside = 1.0 - r * r;
        double window = bessel_i0(BETA * BETA / 4.0 * (inside > 0.0 ? inside : 0.0));
        weight[k] = (float)((double)weight[k] * (inside > 0.0 ? window : 0.0));
    }
    for (int k = 0; k < taps; k++)
        sum += (double)weight[k];
    return sum;
}

static km_status filter_create(filter *f, double fs_in, double fs_out, km_error *err)
{
    const double ratio = fs_out / fs_in, c = ratio < 1.0 ? ratio : 1.0;
    memset(f, 0, sizeof *f);
    f->step = fs_in / fs_out;
    f->exact = as_fraction(&f->up, &f->down, ratio);
    f->half = (int)ceil(HALF_WIDTH / c) + 1;
    f->taps = (2 * f->half + SUMS - 1) / SUMS * SUMS;
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

km_status km_preprocess_length(int64_t *length, int64_t n, double fs_in, double fs_out, km_error *err)
{
    if (!(fs_in >= 1.0 && fs_in <= 100000.0) || !(fs_out >= 1.0 && fs_out <= 100000.0))
        return km_error_set(err, KM_VALUE, "fs must be between 1 and 100000 Hz, got %g",
                            fs_in >= 1.0 && fs_in <= 100000.0 ? fs_out : fs_in);
    if (fs_in > MOST_RATIO * fs_out)
        return km_error_set(err, KM_VALUE, "fs of %g Hz is more than %d times %g Hz: its filter would be longer than a "
                            "recording", fs_in, MOST_RATIO, fs_out);
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
    int leads;
    filter filter;
    float *clean;           /* (leads, n): the input, repaired, about the mean of its lead          */
    float *level;           /* (leads): those means                                                 */
    int64_t *missing;       /* (leads)                                                              */
    int64_t chunk, rows;    /* output samples of a task, input samples they need                    */
    row *x;                 /* (threads, rows): the input of a task, WIDE leads side by side        */
} resampling;

/* sum_i x[i] in LANES sums. */
static double sum_of(const float *x, int64_t n)
{
    double sum[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++)
            sum[k] += (double)x[i + k];
    }
    for (int k = 0; i < n; i++, k++)
        sum[k] += (double)x[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Phases differ in gain by 1e-3: about its mean a lead keeps its level, and a flat one stays flat. */
static void clean_lead(void *context, int lead, int thread)
{
    (void)thread;
    const resampling *r = context;
    float *x = r->clean + lead * r->n;
    memcpy(x, r->in + lead * r->n, (size_t)r->n * sizeof *x);
    r->missing[lead] = km_preprocess_repair(x, r->n);
    r->level[lead] = (float)(sum_of(x, r->n) / (double)r->n);
    for (int64_t i = 0; i < r->n; i++)
        x[i] -= r->level[lead];
}

/* x[i] = input sample first + i of `leads` leads, the first and last sample held beyond the edges. */
static void spread(row *x, const float *clean, int leads, int64_t n, int64_t first, int64_t rows)
{
    const int64_t low = first < 0 ? -first : 0, high = n - first < rows ? n - first : rows;
    memset(x, 0, (size_t)rows * sizeof *x);
    for (int lead = 0; lead < leads; lead++) {
        float *column = (float *)x + lead;
        const float *own = clean + lead * n;
        for (int64_t i = 0; i < low && i < rows; i++)
            column[i * WIDE] = own[0];
        for (int64_t i = low; i < high; i++)
            column[i * WIDE] = own[first + i];
        for (int64_t i = high > 0 ? high : 0; i < rows; i++)
            column[i * WIDE] = own[n - 1];
    }
}

/* y[i] = sum_k w[k] x[k] for the output samples from .. from + count - 1; x[0] is input sample `first`. */
KM_VECTOR static void filter_rows(row *y, const filter *f, const row *x, int64_t first, int64_t from, int64_t count)
{
    int64_t sample = 0, phase = 0, whole = 0, part = 0;
    if (f->exact) {
        sample = from * f->down / f->up, phase = from * f->down % f->up;
        whole = f->down / f->up, part = f->down % f->up;
    }
    for (int64_t i = 0; i < count; i++) {
        float fraction = 0.0f;      /* of the way from this phase to the next, for ratios without phases of their own */
        if (!f->exact) {
            double t = (double)(from + i) * f->step, floor_t = floor(t), steps = (t - floor_t) * STEPS;
            sample = (int64_t)floor_t;
            phase = (int64_t)steps;
            fraction = (float)(steps - (double)phase);
        }
        const row *at = x + sample - f->half + 1 - first;
        row sums[2];
        for (int side = 0; side < (f->exact ? 1 : 2); side++) {
            const float *w = f->weight + (phase + side) * f->taps;
            row a = {0}, b = {0}, c = {0}, d = {0};
            for (int k = 0; k < f->taps; k += SUMS) {
                a += w[k] * at[k];
                b += w[k + 1] * at[k + 1];
                c += w[k + 2] * at[k + 2];
                d += w[k + 3] * at[k + 3];
            }
            sums[side] = (a + c) + (b + d);
        }
        y[i] = f->exact ? sums[0] : sums[0] + fraction * (sums[1] - sums[0]);
        sample += whole;
        phase += part;
        if (f->exact && phase >= f->up) {
            phase -= f->up;
            sample++;
        }
    }
}

/* Task: one chunk of the output of WIDE leads. */
static void resample_chunk(void *context, int index, int thread)
{
    const resampling *r = context;
    const filter *f = &r->filter;
    const int64_t chunks = (r->length + r->chunk - 1) / r->chunk;
    const int lead0 = (int)(index / chunks) * WIDE, leads = r->leads - lead0 < WIDE ? r->leads - lead0 : WIDE;
    const int64_t from = index % chunks * r->chunk, left = r->length - from, count = left < r->chunk ? left : r->chunk;
    const int64_t first = (int64_t)floor((double)from * f->step) - f->half;
    row *x = r->x + thread * r->rows;
    spread(x, r->clean + lead0 * r->n, leads, r->n, first, r->rows);
    for (int64_t block = 0; block < count; block += WIDE) {
        row y[WIDE];
        const int64_t size = count - block < WIDE ? count - block : WIDE;
        filter_rows(y, f, x, first, from + block, size);
        for (int lead = 0; lead < leads; lead++) {
            float *out = r->out + (lead0 + lead) * r->length + from + block;
            for (int64_t i = 0; i < size; i++)
                out[i] = r->level[lead0 + lead] + y[i][lead];
        }
    }
    for (int lead = lead0; lead < lead0 + leads; lead++) {
        for (int64_t j = from; r->missing[lead] > 0 && j < from + count; j++) {
            int64_t nearest = (int64_t)((double)j * f->step + 0.5);
            if (!isfinite(r->in[lead * r->n + (nearest < r->n ? nearest : r->n - 1)]))
                r->out[lead * r->length + j] = NAN;
        }
    }
}

km_status km_preprocess_resample(float *out, const float *in, int leads, int64_t n, double fs_in, double fs_out,
                                 int threads, km_error *err)
{
    resampling r = {.out = out, .in = in, .n = n, .leads = leads};
    km_status status = km_preprocess_length(&r.length, n, fs_in, fs_out, err);
    if (status != KM_OK)
        return status;
    if (fs_in == fs_out || leads < 1) {
        for (int64_t i = 0; i < leads * n; i++)
            out[i] = isfinite(in[i]) ? in[i] : NAN;
        return KM_OK;
    }
    status = filter_create(&r.filter, fs_in, fs_out, err);
    if (status != KM_OK)
        return status;

    /* Chunks whose input stays in cache. */
    r.chunk = (int64_t)(CHUNK / r.filter.step) / WIDE * WIDE;
    r.chunk = r.chunk < WIDE ? WIDE : r.chunk > CHUNK ? CHUNK : r.chunk;
    r.rows = (int64_t)ceil((double)r.chunk * r.filter.step) + r.filter.taps + 4;
    const int64_t tasks = (r.length + r.chunk - 1) / r.chunk * ((leads + WIDE - 1) / WIDE);
    threads = threads < 1 ? 1 : threads > tasks ? (int)tasks : threads;
    r.clean = malloc((size_t)leads * (size_t)n * sizeof *r.clean);
    r.level = malloc((size_t)leads * sizeof *r.level);
    r.missing = malloc((size_t)leads * sizeof *r.missing);
    r.x = aligned_alloc(sizeof *r.x, (size_t)threads * (size_t)r.rows * sizeof *r.x);
    if (r.clean == NULL || r.level == NULL || r.missing == NULL || r.x == NULL || tasks > INT32_MAX) {
        status = km_error_set(err, KM_MEMORY, "out of memory resampling %d leads of %lld samples", leads, (long long)n);
    } else {
        km_threads_run(threads, leads, clean_lead, &r);
        km_threads_run(threads, (int)tasks, resample_chunk, &r);
    }
    free(r.clean);
    free(r.level);
    free(r.missing);
    free(r.x);
    free(r.filter.weight);
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

void km_preprocess_merl(float *out, const float *in, int leads, int64_t n, int64_t taken, int64_t length, int stored)
{
    const int64_t count = n < taken ? n : taken;
    memset(out, 0, (size_t)(leads * length) * sizeof *out);
    for (int lead = 0; lead < leads; lead++) {
        memcpy(out + lead * length, in + lead * n, (size_t)count * sizeof *out);
        km_preprocess_repair(out + lead * length, count);
    }
    if (!stored) {
        minmax(out, leads * length);
        return;
    }
    float low = out[0], high = out[0];
    for (int64_t i = 1; i < leads * length; i++) {
        low = out[i] < low ? out[i] : low;
        high = out[i] > high ? out[i] : high;
    }
    const double range = high > low ? (double)high - (double)low : 1.0;
    for (int64_t i = 0; i < leads * length; i++)
        out[i] = (float)(trunc(((double)out[i] - (double)low) / range * 1000.0) / 1000.0);
}
