/* Simulated recordings: patient, heart, rhythm, recorder, criteria and report of (seed, index). Each is a pure function
 * of the two and of the settings, whatever the count, the order or the threads.                                      */
#ifndef KM_SIMULATE_H
#define KM_SIMULATE_H

#include "simulate/criteria.h"
#include "simulate/grammar.h"
#include "simulate/recorder.h"

/* Raised by every change after which a seed gives other ECGs, labels or reports: no run goes on from the old ones. */
enum { KM_SIMULATE_REVISION = 2 };

typedef struct km_simulate_settings {
    uint64_t seed;
    double fs;                      /* Hz, 50 to 2000                                                   */
    int64_t samples;                /* a lead                                                           */
    double noise;                   /* 0: a perfect recorder, 1: real ones                              */
    const double *prevalence;       /* (KM_MECHANISM_COUNT)                                             */
    const uint8_t *forced;          /* (KM_MECHANISM_COUNT) or NULL: exactly these                      */
    const int32_t *wanted;          /* (wanted_count) labels that must come out; drawn again until they do */
    int wanted_count;
    km_criteria criteria;
    km_grammar grammar;
} km_simulate_settings;

/* Working memory of one thread: reused, its size depends on the recording's length alone. */
typedef struct km_simulate_scratch km_simulate_scratch;
km_status km_simulate_scratch_create(km_simulate_scratch **scratch, int64_t samples, km_error *err);
void km_simulate_scratch_free(km_simulate_scratch *scratch);

/* KM_VALUE where the settings contradict themselves. */
km_status km_simulate_check(const km_simulate_settings *settings, km_error *err);

/* Recording `index`. signal (12, samples) in mV; found (criteria.labels); measure (KM_MEASURES);
 * text (KM_GRAMMAR_TEXT) and its length. signal, text and length may be NULL. */
void km_simulate_record(float *signal, uint8_t *found, float *measure, char *text, int32_t *length,
                        const km_simulate_settings *settings, uint32_t index, km_simulate_scratch *scratch);

/* Recordings index[0 .. count - 1], outputs one after the other. */
km_status km_simulate_records(float *signal, uint8_t *found, float *measure, char *text, int32_t *length,
                              const km_simulate_settings *settings, const int64_t *index, int count, int threads,
                              km_error *err);

#endif
