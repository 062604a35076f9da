/* What is measured in a simulated recording, and the table of criteria that turns measurements into labels. The table
 * comes from kmerl/data/simulator.json; here it is numbers.                                                       */
#ifndef KM_CRITERIA_H
#define KM_CRITERIA_H

#include "data/leads.h"
#include "simulate/heart.h"
#include "simulate/rhythm.h"

/* One number a recording. Times in ms, voltages in mV, angles in degrees. */
#define KM_SCALARS(X)                                                                                          \
    X(rate) X(atrial_rate) X(rr_variation) X(pr) X(qrs) X(qt) X(qtc) X(p) X(axis)                              \
    X(p_height) X(p_front) X(p_end) X(sokolow) X(cornell) X(limb_voltage) X(chest_voltage) X(rs_v1) X(conducted) \
    X(premature_atrial) X(premature_ventricular) X(premature_junctional) X(blocked) X(female) X(age)           \
    X(st_spread) X(transition) X(inverted) X(stage) X(abnormal)

/* Twelve numbers, one a lead, of the dominant beat: duration and depth of Q, heights of R, R' and S, ST 60 ms behind J,
 * T (the larger of its two extremes).                                                                             */
#define KM_FAMILIES(X) X(q_time) X(q) X(r) X(s) X(r_late) X(st) X(t)

enum {
#define X(name) KM_SCALAR_##name,
    KM_SCALARS(X)
#undef X
    KM_SCALAR_COUNT
};
enum {
#define X(name) KM_FAMILY_##name,
    KM_FAMILIES(X)
#undef X
    KM_FAMILY_COUNT
};

/* A measurement's place: scalars, families by lead, mechanisms, then the labels as they are found. */
enum {
    KM_MEASURE_FAMILY = KM_SCALAR_COUNT,
    KM_MEASURE_MECHANISM = KM_MEASURE_FAMILY + KM_FAMILY_COUNT * KM_LEADS,
    KM_MEASURE_LABEL = KM_MEASURE_MECHANISM + KM_MECHANISM_COUNT,
    KM_MAX_LABELS = 256,
    KM_MEASURES = KM_MEASURE_LABEL + KM_MAX_LABELS
};

typedef struct km_condition {
    int32_t measure;        /* for a family: that of lead I                                 */
    int32_t leads;          /* set of leads, 0: a scalar                                    */
    int32_t need;           /* how many of them                                             */
    int32_t above;          /* 1: measure >= value, 0: measure < value                      */
    double value;
} km_condition;

/* Rules in order, each a label and alternatives, each alternative a run of conditions that all hold. */
typedef struct km_criteria {
    int rules, labels;
    const int32_t *label;           /* (rules) */
    const int32_t *kind;            /* (rules) 0 benign, 1 abnormal, 2 hedged only              */
    const int32_t *alternative;     /* (rules + 1) first alternative of each                    */
    const int32_t *condition;       /* (alternatives + 1) first condition of each               */
    const km_condition *conditions;
} km_criteria;

/* measure (KM_MEASURES): fills scalars, families and mechanisms. */
void km_criteria_measure(float *measure, const km_patient *patient, const km_heart *heart, const km_rhythm *rhythm,
                         const km_wave *wave, const km_heart_times *times, const km_wave *p_wave,
                         const km_heart_times *p_times);

/* found (labels): bit 0 asserted, bit 1 hedged. Fills the labels' part of measure. */
void km_criteria_apply(uint8_t *found, float *measure, const km_criteria *criteria);

/* KM_VALUE where a table's numbers lead outside. conditions: how many there are. */
km_status km_criteria_check(const km_criteria *criteria, int alternatives, int conditions, km_error *err);

/* "rate", "st", ... -> its place, or -1; *family says whether it is one of twelve. */
int km_criteria_find(const char *name, int *family);

#endif
