/* A heart of a patient: ventricles and atria as tissue, what activates them in each kind of beat, and the waves that
 * follow. The left ventricle is half an ellipsoid of rings and sectors with an inner and an outer layer, the right one
 * a thinner crescent before its septum; the atria are two hollow spheres.                                          */
#ifndef KM_HEART_H
#define KM_HEART_H

#include "simulate/patient.h"
#include "simulate/tissue.h"

/* Where a beat of the ventricles, or of the atria, comes from. */
typedef enum km_origin {
    KM_ORIGIN_HIS, KM_ORIGIN_ABERRANT, KM_ORIGIN_FOCUS_A, KM_ORIGIN_FOCUS_B, KM_ORIGIN_PACED, KM_ORIGIN_ESCAPE,
    KM_ORIGINS_VENTRICULAR,
    KM_ORIGIN_SINUS = KM_ORIGINS_VENTRICULAR, KM_ORIGIN_ATRIAL_A, KM_ORIGIN_ATRIAL_B, KM_ORIGIN_ATRIAL_C,
    KM_ORIGIN_RETROGRADE, KM_ORIGIN_FLUTTER,
    KM_ORIGINS
} km_origin;

typedef struct km_heart {
    const km_patient *patient;
    km_tissue ventricles, atria;
    float apd[KM_TISSUE_NODES];             /* ms: of the ventricles' nodes                             */
    float amplitude[KM_TISSUE_NODES];
    float early;                            /* ms: first activation of a conducted beat (before 0 with a pathway) */
    double qt;                              /* ms: of a conducted beat                                  */
    km_tissue_step step;
} km_heart;

/* What a wave's clock shows, in ms from the beat's time. */
typedef struct km_heart_times {
    float first, last;                      /* activation                                               */
    float end;                              /* of repolarisation                                        */
} km_heart_times;

/* rr: mean seconds between beats, for QT. */
void km_heart_create(km_heart *heart, const km_patient *patient, double rr, km_rng *rng);
void km_heart_wave(km_wave *wave, km_heart_times *times, const km_heart *heart, km_origin origin);

#endif
