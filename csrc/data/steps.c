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

km_status km_steps_pack(km_steps *steps, int16_t *out, const float *x, int64_t stride, const int *ids, int leads,
                        int64_t samples, km_error *err)
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
            pack_block(&t, out + from, x + row[lead] * stride + from,
                       (int)(left < BLOCK ? left : BLOCK));
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
