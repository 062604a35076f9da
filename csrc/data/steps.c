#include "data/steps.h"

#include <math.h>
#include <string.h>

#include "core/real.h"
#include "data/leads.h"

enum { BLOCK = 1000 };     /* divides KM_STEPS_WINDOW */

typedef struct tally {
    int32_t low, high, missing, clipped;
} tally;

/* count <= BLOCK. Three plain loops: as one the compiler does not vectorise them. */
KM_VECTOR static void pack_block(tally *result, int16_t *out, const float *x, int count)
{
    float step[BLOCK];
    int32_t there[BLOCK];           /* all bits, or none */
    int32_t low = KM_STEPS_LARGEST, high = -KM_STEPS_LARGEST, missing = 0, clipped = 0;
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        there[i] = -(int32_t)((bits & 0x7fffffffu) < 0x7f800000u);      /* finite */
        bits &= (uint32_t)there[i];
        memcpy(&step[i], &bits, sizeof bits);
    }
    for (int i = 0; i < count; i++) {
        float s = rintf(step[i] * 1000.0f);
        clipped += fabsf(s) > (float)KM_STEPS_LARGEST ? 1 : 0;
        s = s > (float)KM_STEPS_LARGEST ? (float)KM_STEPS_LARGEST : s;
        step[i] = s < -(float)KM_STEPS_LARGEST ? -(float)KM_STEPS_LARGEST : s;
    }
    for (int i = 0; i < count; i++) {
        const int32_t whole = (int32_t)step[i], mask = there[i];
        const int32_t least = (whole & mask) | (KM_STEPS_LARGEST & ~mask);
        const int32_t most = (whole & mask) | (-KM_STEPS_LARGEST & ~mask);
        low = least < low ? least : low;
        high = most > high ? most : high;
        missing += 1 + mask;
        out[i] = (int16_t)((whole & mask) | (KM_STEPS_MISSING & ~mask));
    }
    *result = (tally){low, high, missing, clipped};
}

/* What is in packed steps. Above the lowest one, in 16 bits without a sign, a missing one is the largest there is. */
KM_VECTOR static void survey(tally *result, const int16_t *out, int count)
{
    uint16_t low = 2 * KM_STEPS_LARGEST, missing = 0;
    int16_t high = -KM_STEPS_LARGEST;
    for (int i = 0; i < count; i++) {
        const uint16_t above = (uint16_t)(out[i] + KM_STEPS_LARGEST);
        low = above < low ? above : low;
        high = out[i] > high ? out[i] : high;
    }
    for (int i = 0; i < count; i++)
        missing = (uint16_t)(missing + (uint16_t)(out[i] == KM_STEPS_MISSING ? 1 : 0));
    *result = (tally){low - KM_STEPS_LARGEST, high, missing, result->clipped};
}

/* (raw - baseline) times, whole numbers that stay within 32 bits; returns how many were clipped. */
KM_VECTOR static int32_t multiply(int16_t *out, const int16_t *raw, int count, int32_t baseline, int32_t times)
{
    int32_t clipped = 0;
    for (int i = 0; i < count; i++) {
        const int32_t s = (raw[i] - baseline) * times;
        const int32_t most = s > KM_STEPS_LARGEST ? KM_STEPS_LARGEST : s;
        const int32_t both = most < -KM_STEPS_LARGEST ? -KM_STEPS_LARGEST : most;
        clipped += (both != s) & (raw[i] != KM_STEPS_MISSING);
        out[i] = (int16_t)(raw[i] == KM_STEPS_MISSING ? KM_STEPS_MISSING : both);
    }
    return clipped;
}

/* As pack_block of (raw - baseline) scale. */
KM_VECTOR static int32_t rescale(int16_t *out, const int16_t *raw, int count, double baseline, double scale)
{
    float step[BLOCK];
    int32_t clipped = 0;
    for (int i = 0; i < count; i++)
        step[i] = rintf((float)((raw[i] - baseline) * scale) * 1000.0f);
    for (int i = 0; i < count; i++) {
        const float most = step[i] > (float)KM_STEPS_LARGEST ? (float)KM_STEPS_LARGEST : step[i];
        const float both = most < -(float)KM_STEPS_LARGEST ? -(float)KM_STEPS_LARGEST : most;
        clipped += (both != step[i]) & (raw[i] != KM_STEPS_MISSING);
        out[i] = (int16_t)(raw[i] == KM_STEPS_MISSING ? KM_STEPS_MISSING : (int32_t)both);
    }
    return clipped;
}

/* Rows of samples: in mV, or as their file has them. */
typedef struct rows {
    const float *x;
    const int16_t *raw;
    const double *baseline, *scale;
    int64_t stride;
} rows;

static void pack_part(tally *t, int16_t *out, const rows *in, int row, int64_t from, int count)
{
    if (in->x != NULL) {
        pack_block(t, out, in->x + row * in->stride + from, count);
        return;
    }
    /* Where 1 uV is a whole number of a step's halves, thirds, ...: (raw - baseline) times is exact, and what rounding
     * in float would have come to, as long as it is not clipped anyway.                                           */
    const int16_t *raw = in->raw + row * in->stride + from;
    const double baseline = in->baseline[row], scale = in->scale[row], times = rint(1000.0 * scale);
    if (fabs(baseline) <= 1 << 20 && baseline == rint(baseline) && fabs(times) <= 1000 && scale == times / 1000.0)
        t->clipped = multiply(out, raw, count, (int32_t)baseline, (int32_t)times);
    else
        t->clipped = rescale(out, raw, count, baseline, scale);
    survey(t, out, count);
}

static km_status pack(km_steps *steps, int16_t *out, const rows *in, const int *ids, int leads, int64_t samples,
                      km_error *err)
{
    *steps = (km_steps){.samples = samples};
    if (samples < KM_STEPS_SHORTEST)
        return km_error_set(err, KM_VALUE, "the recording is %g s long, too short for one segment of %g s",
                            (double)samples / KM_STEPS_FS, (double)KM_STEPS_SHORTEST / KM_STEPS_FS);
    if (samples > INT32_MAX)
        return km_error_set(err, KM_VALUE, "the recording has %lld samples a lead at 500 Hz, more than 2^31 - 1",
                            (long long)samples);
    const int64_t window = samples < KM_STEPS_WINDOW ? samples : KM_STEPS_WINDOW;
    int row[KM_LEADS], usable = 0;
    for (int lead = 0; lead < KM_LEADS; lead++)
        row[lead] = -1;
    for (int i = 0; i < leads; i++)
        row[ids[i]] = i;
    for (int lead = 0; lead < KM_LEADS; lead++) {
        if (row[lead] < 0)
            continue;
        int32_t low = KM_STEPS_LARGEST, high = -KM_STEPS_LARGEST;
        int64_t missing = 0, clipped = 0, early = 0;        /* early: missing ones of the window */
        for (int64_t from = 0; from < samples; from += BLOCK) {
            const int64_t left = samples - from;
            tally t;
            pack_part(&t, out + from, in, row[lead], from, (int)(left < BLOCK ? left : BLOCK));
            low = t.low < low ? t.low : low;
            high = t.high > high ? t.high : high;
            missing += t.missing;
            clipped += t.clipped;
            early += from < KM_STEPS_WINDOW ? t.missing : 0;
        }
        if (high <= low + 1) {
            steps->dropped |= UINT32_C(1) << lead;
            continue;
        }
        usable += (double)(window - early) >= 0.8 * (double)window;
        steps->leads |= UINT32_C(1) << lead;
        steps->missing += missing;
        steps->clipped += clipped;
        out += samples;
    }
    if (usable == 0)
        return km_error_set(err, KM_VALUE, "no lead is left: all %d are flat or have more than 20 %% of samples "
                            "missing", leads);
    return KM_OK;
}

km_status km_steps_pack(km_steps *steps, int16_t *out, const float *x, int64_t stride, const int *ids, int leads,
                        int64_t samples, km_error *err)
{
    const rows in = {.x = x, .stride = stride};
    return pack(steps, out, &in, ids, leads, samples, err);
}

km_status km_steps_rescale(km_steps *steps, int16_t *out, const int16_t *raw, int64_t stride, const double *baseline,
                           const double *scale, const int *ids, int leads, int64_t samples, km_error *err)
{
    const rows in = {.raw = raw, .baseline = baseline, .scale = scale, .stride = stride};
    return pack(steps, out, &in, ids, leads, samples, err);
}
