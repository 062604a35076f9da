/* What electrodes, amplifier and converter add. Rows are samples, columns the eight independent leads; noise arises at
 * electrodes, so that Einthoven's and Goldberger's relations hold.                                                */
#ifndef KM_RECORDER_H
#define KM_RECORDER_H

#include "core/rng.h"
#include "simulate/tissue.h"

typedef struct km_recorder {
    double fs;
    float wander, muscle, mains, motion;    /* mV */
    float mains_hz;
    float high_pass, low_pass;              /* Hz; 0: none                                              */
    float step, limit;                      /* mV a step of the converter; where it saturates           */
    int loose;                              /* a chest electrode with bad contact, or -1                */
    int arms_reversed;
    int flat;                               /* a chest lead that is not connected, or -1                */
} km_recorder;

/* level scales all noise; 0 draws a perfect recorder. */
void km_recorder_draw(km_recorder *recorder, km_rng *rng, double fs, double level);

/* rows (samples) in place. */
void km_recorder_record(km_row *rows, int64_t samples, const km_recorder *recorder, km_rng *rng);

/* The twelve leads (12, samples) in mV, clipped and in steps of the converter. */
void km_recorder_write(float *signal, const km_row *rows, int64_t samples, const km_recorder *recorder);

#endif
