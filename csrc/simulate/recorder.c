#include "simulate/recorder.h"

#include <math.h>
#include <string.h>

#include "core/real.h"

#define TURN 6.283185307f

enum { SINE = 1024 };

static double uniform(km_rng *rng, double low, double high)
{
    return low + (high - low) * km_rng_uniform(rng);
}

static int chance(km_rng *rng, double p)
{
    return km_rng_uniform(rng) < p;
}

void km_recorder_draw(km_recorder *recorder, km_rng *rng, double fs, double level)
{
    static const float low_pass[] = {0, 150, 150, 100, 40, 35}, high_pass[] = {0.05f, 0.05f, 0.15f, 0.5f, 0.5f, 0.67f};
    static const float step[] = {0.001f, 0.001f, 0.00244f, 0.005f};
    const float scale = (float)level;
    km_recorder *r = recorder;
    r->fs = fs;
    r->wander = scale * (float)(0.05 * exp(0.8 * km_rng_normal(rng)));
    r->muscle = scale * (float)(0.010 * exp(0.7 * km_rng_normal(rng)));
    r->mains = chance(rng, 0.3) ? scale * (float)(0.008 * exp(0.8 * km_rng_normal(rng))) : 0;
    r->mains_hz = chance(rng, 0.6) ? 50 : 60;
    r->motion = chance(rng, 0.06) ? scale * (float)uniform(rng, 0.2, 0.8) : 0;
    const int low = (int)km_rng_below(rng, 6), high = (int)km_rng_below(rng, 6), steps = (int)km_rng_below(rng, 4);
    r->low_pass = level > 0 ? low_pass[low] : 0;
    r->high_pass = level > 0 ? high_pass[high] : 0;
    r->step = level > 0 ? step[steps] : 0;
    const int clips = chance(rng, 0.01), loose = chance(rng, 0.03), flat = chance(rng, 0.012);
    const int which = (int)km_rng_below(rng, 6);
    r->limit = level > 0 && clips ? (float)uniform(rng, 1.2, 2.5) : level > 0 ? 32.767f : 1e9f;
    r->loose = level > 0 && loose ? which : -1;
    r->flat = level > 0 && flat ? which : -1;
    r->arms_reversed = 0;
}

/* Stateless noise: a hash of key and counter, four bytes of it added up: nearly normal, mean 0, variance 1. */
static inline float noise(uint32_t key, uint32_t counter)
{
    uint32_t x = counter * 0x9E3779B9u ^ key;
    x ^= x >> 16;
    x *= 0x85EBCA6Bu;
    x ^= x >> 13;
    x *= 0xC2B2AE35u;
    x ^= x >> 16;
    const int sum = (int)(x & 255) + (int)(x >> 8 & 255) + (int)(x >> 16 & 255) + (int)(x >> 24);
    return ((float)sum - 510.0f) * (1.0f / 147.8f);
}

/* n: noise of LA, LL, V1 .. V6; right: that of RA. What the leads see of it. */
static inline void add_electrodes(float *row, const float *n, float right)
{
    const float terminal = (right + n[0] + n[1]) * (1.0f / 3);
    row[0] += n[0] - right;
    row[1] += n[1] - right;
    for (int l = 2; l < KM_TISSUE_CHANNELS; l++)
        row[l] += n[l] - terminal;
}

KM_VECTOR static void add_muscle(km_row *rows, int64_t samples, const float *gain, float right_gain, uint32_t key)
{
    float before[KM_TISSUE_CHANNELS] = {0}, right_before = 0;
    for (int64_t t = 0; t < samples; t++) {
        float n[KM_TISSUE_CHANNELS];
        const uint32_t at = (uint32_t)t * 16u;
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
            const float x = noise(key, at + (uint32_t)l);
            n[l] = gain[l] * (x + 0.5f * before[l]);
            before[l] = x;
        }
        const float x = noise(key, at + 8u), right = right_gain * (x + 0.5f * right_before);
        right_before = x;
        add_electrodes(rows[t], n, right);
    }
}

/* A smooth random walk through knots, one each `every` samples; the nine electrodes have their own. */
static void add_wander(km_row *rows, int64_t samples, double fs, float level, double breath, km_rng *rng)
{
    const int64_t every = (int64_t)fmax(0.4 * fs, 1);
    float from[9], to[9], gain[9];
    const float phase = (float)km_rng_uniform(rng);
    for (int i = 0; i < 9; i++) {
        from[i] = to[i] = 0;
        gain[i] = level * (float)exp(0.5 * km_rng_normal(rng));
    }
    for (int64_t t = 0; t < samples; t += every) {
        const float breathing = sinf(TURN * ((float)((double)(t + every) / fs * breath) + phase));
        for (int i = 0; i < 9; i++) {
            from[i] = to[i];
            to[i] = 0.93f * to[i] + gain[i] * (0.55f * (float)km_rng_normal(rng) + 0.35f * breathing);
        }
        const int64_t count = t + every < samples ? every : samples - t;
        for (int64_t k = 0; k < count; k++) {
            const float x = (float)k / (float)every, y = x * x * (3 - 2 * x);
            float n[KM_TISSUE_CHANNELS];
            for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                n[l] = from[l] + y * (to[l] - from[l]);
            add_electrodes(rows[t + k], n, from[8] + y * (to[8] - from[8]));
        }
    }
}

static void add_mains(km_row *rows, int64_t samples, double fs, float hz, const float *gain, km_rng *rng)
{
    float sine[SINE];
    for (int i = 0; i < SINE; i++)
        sine[i] = sinf(TURN * (float)i / SINE);
    const uint32_t step = (uint32_t)(fmod(hz / fs, 1.0) * 4294967296.0);
    uint32_t phase = km_rng_next(rng);
    for (int64_t t = 0; t < samples; t++, phase += step) {
        const float s = sine[phase >> 22];
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
            rows[t][l] += gain[l] * s;
    }
}

/* One electrode is pulled: a jump that decays. */
static void add_motion(km_row *rows, int64_t samples, double fs, float level, km_rng *rng)
{
    const int events = 1 + (int)km_rng_below(rng, 3);
    for (int e = 0; e < events; e++) {
        const int lead = (int)km_rng_below(rng, KM_TISSUE_CHANNELS);
        const int64_t at = (int64_t)(km_rng_uniform(rng) * (double)samples);
        float height = level * (float)km_rng_normal(rng);
        const float decay = expf(-1 / (float)(uniform(rng, 0.1, 0.8) * fs));
        for (int64_t t = at; t < samples && fabsf(height) > 1e-4f; t++, height *= decay)
            rows[t][lead] += height;
    }
}

/* y = x - slow mean: first order. */
KM_VECTOR static void high_pass(km_row *rows, int64_t samples, double fs, float hz)
{
    const float a = 1 - expf(-TURN * hz / (float)fs);
    float mean[KM_TISSUE_CHANNELS];
    for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
        mean[l] = rows[0][l];
    for (int64_t t = 0; t < samples; t++)
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
            mean[l] += a * (rows[t][l] - mean[l]);
            rows[t][l] -= mean[l];
        }
}

/* Butterworth, second order. */
KM_VECTOR static void low_pass(km_row *rows, int64_t samples, double fs, float hz)
{
    const double w = tan(3.14159265358979 * hz / fs), norm = 1 / (1 + 1.41421356 * w + w * w);
    const float b0 = (float)(w * w * norm), a1 = (float)(2 * (w * w - 1) * norm),
                a2 = (float)((1 - 1.41421356 * w + w * w) * norm);
    float s1[KM_TISSUE_CHANNELS], s2[KM_TISSUE_CHANNELS];
    for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {          /* settled at the first sample */
        s1[l] = rows[0][l] * (1 - b0);
        s2[l] = rows[0][l] * (b0 - a2);
    }
    for (int64_t t = 0; t < samples; t++)
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
            const float x = rows[t][l], y = b0 * x + s1[l];
            s1[l] = 2 * b0 * x - a1 * y + s2[l];
            s2[l] = b0 * x - a2 * y;
            rows[t][l] = y;
        }
}

void km_recorder_record(km_row *rows, int64_t samples, const km_recorder *recorder, km_rng *rng)
{
    const km_recorder *r = recorder;
    float gain[KM_TISSUE_CHANNELS], mains[KM_TISSUE_CHANNELS], right = r->muscle * 1.2f;
    for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
        gain[l] = r->muscle * (float)exp(0.4 * km_rng_normal(rng)) * (l < 2 ? 1.2f : 0.8f);
        mains[l] = r->mains * (float)km_rng_normal(rng);
        if (r->loose >= 0 && l - 2 == r->loose) {
            gain[l] = gain[l] * 6 + 0.03f;
            mains[l] += 0.15f;
        }
    }
    if (r->muscle > 0)
        add_muscle(rows, samples, gain, right, km_rng_next(rng));
    if (r->wander > 0)
        add_wander(rows, samples, r->fs, r->wander, 0.25, rng);
    if ((r->mains > 0 || r->loose >= 0) && r->mains_hz < 0.45 * r->fs)
        add_mains(rows, samples, r->fs, r->mains_hz, mains, rng);
    if (r->motion > 0)
        add_motion(rows, samples, r->fs, r->motion, rng);
    if (r->high_pass > 0)
        high_pass(rows, samples, r->fs, r->high_pass);
    if (r->low_pass > 0 && r->low_pass < 0.4 * r->fs)
        low_pass(rows, samples, r->fs, r->low_pass);
    if (r->arms_reversed)                                   /* I turns round, II and III change places */
        for (int64_t t = 0; t < samples; t++) {
            rows[t][1] -= rows[t][0];
            rows[t][0] = -rows[t][0];
        }
}

/* One lead, `first` channel times a plus `second` times b. */
KM_VECTOR static void write_lead(float *signal, const float *first, float a, const float *second, float b, int count)
{
    for (int t = 0; t < count; t++)
        signal[t] = a * first[t] + b * second[t];
}

KM_VECTOR static void convert(float *channel, int count, float limit, float step)
{
    if (step <= 0)
        return;
    const float per = 1 / step, room = limit * per;
    for (int t = 0; t < count; t++) {
        float x = channel[t] * per;
        x = x > room ? room : x;
        x = x < -room ? -room : x;
        channel[t] = step * (float)(int32_t)(x + (x < 0 ? -0.5f : 0.5f));
    }
}

void km_recorder_write(float *signal, const km_row *rows, int64_t samples, const km_recorder *recorder)
{
    enum { BLOCK = 256 };
    static const struct { int8_t first, second; float a, b; } leads[12] = {
        {0, 1, 1, 0},         {1, 0, 1, 0},       {1, 0, 1, -1},      {0, 1, -0.5f, -0.5f},
        {0, 1, 1, -0.5f},     {1, 0, 1, -0.5f},   {2, 0, 1, 0},       {3, 0, 1, 0},
        {4, 0, 1, 0},         {5, 0, 1, 0},       {6, 0, 1, 0},       {7, 0, 1, 0},
    };
    float channel[KM_TISSUE_CHANNELS][BLOCK];
    for (int64_t at = 0; at < samples; at += BLOCK) {
        const int count = samples - at < BLOCK ? (int)(samples - at) : BLOCK;
        for (int t = 0; t < count; t++)
            for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                channel[l][t] = rows[at + t][l];
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
            convert(channel[l], count, recorder->limit, recorder->step);
            if (recorder->flat == l - 2 && l >= 2)
                memset(channel[l], 0, (size_t)count * sizeof *channel[l]);
        }
        for (int i = 0; i < 12; i++)
            write_lead(signal + i * samples + at, channel[leads[i].first], leads[i].a, channel[leads[i].second],
                       leads[i].b, count);
    }
}
