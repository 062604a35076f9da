/* Who is recorded: which mechanisms are at work, and every number that the heart, the rhythm and the torso are made
 * from. Drawn from one random sequence; ranges and their sources stand in docs/simulator.md.                       */
#ifndef KM_PATIENT_H
#define KM_PATIENT_H

#include <stdint.h>

#include "core/error.h"
#include "core/rng.h"

/* Mechanisms of one group exclude each other; those of group FREE go with everything. Names are the vocabulary's. */
typedef enum km_group {
    KM_GROUP_HEALTH, KM_GROUP_RHYTHM, KM_GROUP_AV, KM_GROUP_RIGHT, KM_GROUP_LEFT, KM_GROUP_ATRIAL_ECTOPY,
    KM_GROUP_VENTRICULAR_ECTOPY, KM_GROUP_AXIS, KM_GROUP_INFARCT, KM_GROUP_AGE, KM_GROUP_REPOLARISATION,
    KM_GROUP_QT, KM_GROUP_FREE
} km_group;

#define KM_MECHANISMS(X)                                                        \
    X(NORMAL, HEALTH, "normal ECG")                                             \
    X(SINUS, RHYTHM, "sinus rhythm")                                            \
    X(SINUS_TACHYCARDIA, RHYTHM, "sinus tachycardia")                           \
    X(SINUS_BRADYCARDIA, RHYTHM, "sinus bradycardia")                           \
    X(SINUS_ARRHYTHMIA, RHYTHM, "sinus arrhythmia")                             \
    X(SINUS_PAUSE, RHYTHM, "sinus pause or arrest")                             \
    X(SINOATRIAL_BLOCK, RHYTHM, "sinoatrial block")                             \
    X(FIBRILLATION, RHYTHM, "atrial fibrillation")                              \
    X(FLUTTER, RHYTHM, "atrial flutter")                                        \
    X(SVT, RHYTHM, "supraventricular tachycardia")                              \
    X(ATRIAL_TACHYCARDIA, RHYTHM, "atrial tachycardia")                         \
    X(MULTIFOCAL_TACHYCARDIA, RHYTHM, "multifocal atrial tachycardia")          \
    X(ECTOPIC_ATRIAL, RHYTHM, "ectopic atrial rhythm")                          \
    X(WANDERING, RHYTHM, "wandering atrial pacemaker")                          \
    X(JUNCTIONAL, RHYTHM, "junctional rhythm")                                  \
    X(ACCELERATED_JUNCTIONAL, RHYTHM, "accelerated junctional rhythm")          \
    X(IDIOVENTRICULAR, RHYTHM, "idioventricular rhythm")                        \
    X(ACCELERATED_IDIOVENTRICULAR, RHYTHM, "accelerated idioventricular rhythm") \
    X(VENTRICULAR_TACHYCARDIA, RHYTHM, "ventricular tachycardia")               \
    X(VENTRICULAR_FIBRILLATION, RHYTHM, "ventricular fibrillation")             \
    X(PACED_ATRIAL, RHYTHM, "atrial paced rhythm")                              \
    X(PACED_VENTRICULAR, RHYTHM, "ventricular paced rhythm")                    \
    X(PACED_DUAL, RHYTHM, "dual chamber paced rhythm")                          \
    X(AV_BLOCK_1, AV, "first degree AV block")                                  \
    X(WENCKEBACH, AV, "Mobitz type I AV block")                                 \
    X(MOBITZ_2, AV, "Mobitz type II AV block")                                  \
    X(AV_BLOCK_2_1, AV, "2:1 AV block")                                         \
    X(AV_BLOCK_HIGH, AV, "high degree AV block")                                \
    X(AV_BLOCK_3, AV, "third degree AV block")                                  \
    X(SHORT_PR, AV, "short PR interval")                                        \
    X(PREEXCITATION, AV, "Wolff-Parkinson-White syndrome")                      \
    X(RBBB, RIGHT, "right bundle branch block")                                 \
    X(INCOMPLETE_RBBB, RIGHT, "incomplete right bundle branch block")           \
    X(LBBB, LEFT, "left bundle branch block")                                   \
    X(INCOMPLETE_LBBB, LEFT, "incomplete left bundle branch block")             \
    X(ANTERIOR_FASCICLE, LEFT, "left anterior fascicular block")                \
    X(POSTERIOR_FASCICLE, LEFT, "left posterior fascicular block")              \
    X(SLOW_MYOCARDIUM, LEFT, "nonspecific intraventricular conduction disturbance") \
    X(ATRIAL_PREMATURE, ATRIAL_ECTOPY, "atrial premature complex")              \
    X(ATRIAL_PREMATURE_BLOCKED, ATRIAL_ECTOPY, "blocked premature atrial complex") \
    X(ATRIAL_BIGEMINY, ATRIAL_ECTOPY, "atrial bigeminy")                        \
    X(ABERRANT, ATRIAL_ECTOPY, "aberrantly conducted supraventricular complexes") \
    X(JUNCTIONAL_PREMATURE, ATRIAL_ECTOPY, "junctional premature complex")      \
    X(VENTRICULAR_PREMATURE, VENTRICULAR_ECTOPY, "ventricular premature complex") \
    X(VENTRICULAR_BIGEMINY, VENTRICULAR_ECTOPY, "ventricular bigeminy")         \
    X(VENTRICULAR_TRIGEMINY, VENTRICULAR_ECTOPY, "ventricular trigeminy")       \
    X(VENTRICULAR_COUPLETS, VENTRICULAR_ECTOPY, "ventricular couplets")         \
    X(VENTRICULAR_RUN, VENTRICULAR_ECTOPY, "non-sustained ventricular tachycardia") \
    X(VENTRICULAR_MULTIFOCAL, VENTRICULAR_ECTOPY, "multifocal ventricular premature complexes") \
    X(VENTRICULAR_INTERPOLATED, VENTRICULAR_ECTOPY, "interpolated ventricular premature complexes") \
    X(LVH, FREE, "left ventricular hypertrophy")                                \
    X(RVH, FREE, "right ventricular hypertrophy")                               \
    X(LEFT_ATRIUM, FREE, "left atrial enlargement")                             \
    X(RIGHT_ATRIUM, FREE, "right atrial enlargement")                           \
    X(LEFT_AXIS, AXIS, "left axis deviation")                                   \
    X(RIGHT_AXIS, AXIS, "right axis deviation")                                 \
    X(LOW_VOLTAGE, FREE, "low QRS voltage")                                     \
    X(POOR_R, FREE, "poor R wave progression")                                  \
    X(INFARCT_ANTERIOR, INFARCT, "anterior myocardial infarction")              \
    X(INFARCT_ANTEROSEPTAL, INFARCT, "anteroseptal myocardial infarction")      \
    X(INFARCT_SEPTAL, INFARCT, "septal myocardial infarction")                  \
    X(INFARCT_ANTEROLATERAL, INFARCT, "anterolateral myocardial infarction")    \
    X(INFARCT_LATERAL, INFARCT, "lateral myocardial infarction")                \
    X(INFARCT_INFERIOR, INFARCT, "inferior myocardial infarction")              \
    X(INFARCT_INFEROLATERAL, INFARCT, "inferolateral myocardial infarction")    \
    X(INFARCT_POSTERIOR, INFARCT, "posterior myocardial infarction")            \
    X(INFARCT_INFEROPOSTERIOR, INFARCT, "inferoposterior myocardial infarction") \
    X(ACUTE, AGE, "acute myocardial infarction")                                \
    X(RECENT, AGE, "recent myocardial infarction")                              \
    X(OLD, AGE, "old myocardial infarction")                                    \
    X(ISCHEMIA, REPOLARISATION, "myocardial ischemia")                          \
    X(ISCHEMIA_ANTERIOR, REPOLARISATION, "anterior ischemia")                   \
    X(ISCHEMIA_ANTEROLATERAL, REPOLARISATION, "anterolateral ischemia")         \
    X(ISCHEMIA_LATERAL, REPOLARISATION, "lateral ischemia")                     \
    X(ISCHEMIA_INFERIOR, REPOLARISATION, "inferior ischemia")                   \
    X(INJURY_ANTERIOR, REPOLARISATION, "anterior injury")                       \
    X(INJURY_LATERAL, REPOLARISATION, "lateral injury")                         \
    X(INJURY_INFERIOR, REPOLARISATION, "inferior injury")                       \
    X(PERICARDITIS, REPOLARISATION, "pericarditis")                             \
    X(EARLY_REPOLARISATION, REPOLARISATION, "early repolarization")             \
    X(DIGITALIS, REPOLARISATION, "digitalis effect")                            \
    X(HYPERKALEMIA, REPOLARISATION, "hyperkalemia")                             \
    X(HYPOKALEMIA, REPOLARISATION, "hypokalemia")                               \
    X(BRUGADA, REPOLARISATION, "Brugada pattern")                               \
    X(NONSPECIFIC_STT, REPOLARISATION, "nonspecific ST-T change")               \
    X(NONSPECIFIC_T, REPOLARISATION, "nonspecific T wave abnormality")          \
    X(LONG_QT, QT, "prolonged QT interval")                                     \
    X(SHORT_QT, QT, "short QT interval")                                        \
    X(HYPOCALCEMIA, QT, "hypocalcemia")                                         \
    X(HYPERCALCEMIA, QT, "hypercalcemia")                                       \
    X(ARMS_REVERSED, FREE, "suspect arm ECG leads reversed")                    \
    X(DEXTROCARDIA, FREE, "dextrocardia")

typedef enum km_mechanism {
#define X(id, group, name) KM_##id,
    KM_MECHANISMS(X)
#undef X
    KM_MECHANISM_COUNT
} km_mechanism;

const char *km_patient_mechanism_name(int mechanism);

/* Which leads of the torso and how they lie: everything in cm and mV, to the left, down, to the back. */
typedef struct km_torso {
    float limb[2][3];               /* fields of I and II                                           */
    float chest[6][3];              /* electrodes of V1 .. V6 from the heart's centre               */
    float gain, falloff;            /* of a chest electrode's field: gain d / |d|^falloff, and      */
    float far[6][3];                /* what the far part of the torso makes the same everywhere     */
} km_torso;

typedef struct km_patient {
    uint8_t has[KM_MECHANISM_COUNT];
    int female;
    double age;
    /* rhythm */
    double rate;                    /* of the leading pacemaker, a minute                           */
    double respiration;             /* Hz */
    double sinus_variation, jitter; /* shares of RR: with respiration, from beat to beat            */
    double pr;                      /* ms */
    double ectopy;                  /* chance of a premature beat, per beat                         */
    /* ventricles */
    double qrs, qtc;                /* ms: of the undisturbed heart (Fridericia)                    */
    double turn, lift, roll;        /* rad: long axis in the horizontal and frontal plane, about itself */
    double scale;                   /* amplitude                                                    */
    double left_mass, right_mass;
    double strain;                  /* 0 none .. 1 repolarisation reversed                          */
    double gradient, slope;         /* of repolarisation: ms from outside in; share of activation time */
    double delay[3];                /* of repolarisation, ms a cm: to the left, down, to the back       */
    double t_width;                 /* ms */
    int infarct_stage;              /* 0 acute, 1 recent, 2 old                                     */
    double infarct_size;            /* cm */
    double severity;                /* 0 .. 1 of whatever repolarisation mechanism there is         */
    int septal_gap;                 /* no septal q: the first vector is weak                        */
    double pathway;                 /* where an accessory pathway or ventricular focus is, 0 .. 1   */
    double preexcitation;           /* ms before the bundle of His                                  */
    /* atria */
    double p;                       /* ms */
    double right_atrium, left_atrium, atrial_scale;
    km_torso torso;
} km_patient;

/* Draws a patient. prevalence (KM_MECHANISM_COUNT) in [0, 1]: chances of a mechanism; those of a group's members add
 * up and what is left is none. forced (KM_MECHANISM_COUNT) or NULL: exactly these. */
void km_patient_draw(km_patient *patient, km_rng *rng, const double *prevalence, const uint8_t *forced);

/* KM_VALUE, with both names, where two of `forced` contradict each other. */
km_status km_patient_check(const uint8_t *forced, km_error *err);

#endif
