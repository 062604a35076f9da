/* Samples as a store keeps them (docs/store.md): int16 in steps of 1 uV, leads in canonical order. */
#ifndef KM_STEPS_H
#define KM_STEPS_H

#include <stdint.h>

#include "core/error.h"

enum {
    KM_STEPS_FS = 500,              /* Hz                                                              */
    KM_STEPS_WINDOW = 5000,         /* samples: what training sees of a recording                      */
    KM_STEPS_SHORTEST = 100,        /* samples: less holds no segment of the default size              */
    KM_STEPS_LARGEST = 32767,       /* what lies beyond is clipped                                     */
    KM_STEPS_MISSING = -32768
};

typedef struct km_steps {
    uint32_t leads, dropped;        /* bit l: lead l was kept, was left out                            */
    int64_t samples;                /* a lead                                                          */
    int64_t missing, clipped;       /* samples of the leads that were kept                             */
} km_steps;

/* out (kept leads, samples) = round(1000 x), x (leads, samples) in mV with rows `stride` apart, NaN and infinities
 * missing. A lead is left out where what is there spans one step at most (rounding), or nothing is there; KM_VALUE
 * where none remains that has 80 % of the first KM_STEPS_WINDOW samples, or samples is below KM_STEPS_SHORTEST or
 * above 2^31 - 1. ids: the canonical lead of each row, none twice. out has room for all rows.                     */
km_status km_steps_pack(km_steps *steps, int16_t *out, const float *x, int64_t stride, const int *ids, int leads,
                        int64_t samples, km_error *err);

/* The same, to the bit, of x = (float)((steps - baseline) scale), raw (leads, samples), -32768 missing; baseline and
 * scale (leads), (32768 + |baseline|) |scale| < KM_STEPS_BOUND.                                                   */
#define KM_STEPS_BOUND 1e30
km_status km_steps_rescale(km_steps *steps, int16_t *out, const int16_t *raw, int64_t stride, const double *baseline,
                           const double *scale, const int *ids, int leads, int64_t samples, km_error *err);

#endif
