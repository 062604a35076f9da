/* When the chambers beat. Pacemakers, the AV node and ectopic foci as a timeline: each beat of the atria or of the
 * ventricles is a time and an origin; waves are placed there.                                                     */
#ifndef KM_RHYTHM_H
#define KM_RHYTHM_H

#include "simulate/heart.h"

enum { KM_RHYTHM_BEATS = 1024 };

typedef struct km_beat {
    float time;             /* s from the recording's start: when the His bundle, the focus or the stimulus fires */
    float rr;               /* s since the beat before                                                            */
    uint8_t origin;         /* km_origin                                                                          */
    uint8_t paced;          /* a stimulus artefact stands before it                                               */
} km_beat;

typedef struct km_rhythm {
    km_beat beat[KM_RHYTHM_BEATS];
    int count;
    double mean_rr;         /* s: of the ventricles, as planned                                                   */
    double from, to;        /* s: what is filled                                                                  */
    /* what happened within the recording */
    int premature_atrial, premature_ventricular, blocked, premature_junctional;
    double pr;              /* ms: mean of the conducted beats; 0: none                                           */
} km_rhythm;

/* Seconds between ventricular beats that the patient's rhythm has on the whole. */
double km_rhythm_mean_rr(const km_patient *patient, km_rng *rng);

/* Fills the time from before 0 to behind `seconds`. */
void km_rhythm_create(km_rhythm *rhythm, const km_patient *patient, double seconds, double mean_rr, km_rng *rng);

#endif
