#include "simulate/criteria.h"

#include <math.h>
#include <string.h>

int km_criteria_find(const char *name, int *family)
{
    static const char *const scalars[] = {
#define X(name) #name,
        KM_SCALARS(X)
#undef X
    };
    static const char *const families[] = {
#define X(name) #name,
        KM_FAMILIES(X)
#undef X
    };
    *family = 0;
    for (int i = 0; i < KM_SCALAR_COUNT; i++)
        if (strcmp(name, scalars[i]) == 0)
            return i;
    *family = 1;
    for (int i = 0; i < KM_FAMILY_COUNT; i++)
        if (strcmp(name, families[i]) == 0)
            return KM_MEASURE_FAMILY + i * KM_LEADS;
    return -1;
}

/* What lead l shows `row` rows into a wave. */
static float see(const km_wave *w, int row, int lead)
{
    float v[3];                                     /* I, II, and the lead where it is a chest lead */
    const int a = row < w->rise_rows ? row : w->rise_rows - 1, b = row < w->fall_rows ? row : w->fall_rows - 1;
    if (row < 0)
        return 0;
    for (int l = 0; l < 2; l++)
        v[l] = w->rise[a][l] + w->fall[b][l];
    switch (lead) {
    case 0: return v[0];
    case 1: return v[1];
    case 2: return v[1] - v[0];
    case 3: return -0.5f * (v[0] + v[1]);
    case 4: return v[0] - 0.5f * v[1];
    case 5: return v[1] - 0.5f * v[0];
    default: return w->rise[a][lead - 4] + w->fall[b][lead - 4];
    }
}

static void measure_lead(float *out, const km_wave *w, const km_heart_times *times, int lead)
{
    const int on = KM_TISSUE_BEFORE + (int)times->first, off = KM_TISSUE_BEFORE + (int)times->last;
    const int end = KM_TISSUE_BEFORE + (int)times->end;
    float r = 0, s = 0, q = 0, r_late = 0;
    int r_at = on;
    for (int i = on; i <= off; i++) {
        const float v = see(w, i, lead);
        if (v > r) {
            r = v;
            r_at = i;
        }
    }
    int q_rows = 0, last = r_at;
    float lowest = 0;
    for (int i = on; i <= off; i++) {
        const float v = see(w, i, lead);
        if (i < r_at || r < 0.05f) {
            q = km_lower(q, v);
            q_rows += v < -0.02f;
        } else {
            s = km_lower(s, v);
        }
        if (v < lowest) {
            lowest = v;
            last = i;
        }
    }
    /* A small r before the nadir is an r, not the absence of Q: Q counts only when it comes first. */
    for (int i = last; i <= off; i++)
        r_late = km_higher(r_late, see(w, i, lead));
    float first_r = 0;
    for (int i = on; i < last; i++)
        first_r = km_higher(first_r, see(w, i, lead));
    if (first_r > 0.06f && last < r_at && last > on) {      /* r S R': q was an S */
        s = km_lower(s, lowest);
        q = 0;
        q_rows = 0;
    }
    float high = 0, low = 0;
    for (int i = off + 80; i <= end + 20; i += 2) {
        const float v = see(w, i, lead);
        high = km_higher(high, v);
        low = km_lower(low, v);
    }
    out[KM_FAMILY_q_time * KM_LEADS] = (float)q_rows;
    out[KM_FAMILY_q * KM_LEADS] = -q;
    out[KM_FAMILY_r * KM_LEADS] = r;
    out[KM_FAMILY_s * KM_LEADS] = -s;
    out[KM_FAMILY_r_late * KM_LEADS] = r_late;
    out[KM_FAMILY_st * KM_LEADS] = see(w, off + 50, lead);
    out[KM_FAMILY_t * KM_LEADS] = high > -low ? high : low;
}

void km_criteria_measure(float *measure, const km_patient *patient, const km_heart *heart, const km_rhythm *rhythm,
                         const km_wave *wave, const km_heart_times *times, const km_wave *p_wave,
                         const km_heart_times *p_times)
{
    (void)heart;
    memset(measure, 0, KM_MEASURES * sizeof *measure);
    for (int i = 0; i < KM_MECHANISM_COUNT; i++)
        measure[KM_MEASURE_MECHANISM + i] = patient->has[i];
    float *m = measure, *lead = measure + KM_MEASURE_FAMILY;
    for (int l = 0; l < KM_LEADS; l++)
        measure_lead(lead + l, wave, times, l);

    double sum = 0, squares = 0;
    int beats = 0, conducted = 0, atrial = 0;
    for (int i = 0; i < rhythm->count; i++) {
        const km_beat *b = &rhythm->beat[i];
        if (b->time < 0 || b->time > rhythm->to - 1)
            continue;
        if (b->origin >= KM_ORIGINS_VENTRICULAR) {
            atrial++;
            continue;
        }
        conducted += b->origin == KM_ORIGIN_HIS;
        sum += b->rr;
        squares += (double)b->rr * b->rr;
        beats++;
    }
    const double mean = beats > 0 ? sum / beats : rhythm->mean_rr;
    const double variance = beats > 1 ? squares / beats - mean * mean : 0;
    m[KM_SCALAR_rate] = (float)(60 / mean);
    m[KM_SCALAR_atrial_rate] = (float)(60 * atrial / (rhythm->to - 1));
    m[KM_SCALAR_rr_variation] = (float)(sqrt(fmax(variance, 0)) / mean);
    m[KM_SCALAR_pr] = (float)(rhythm->pr + (rhythm->pr > 0 ? times->first + 5 : 0));
    m[KM_SCALAR_qrs] = times->last - times->first;
    m[KM_SCALAR_qt] = times->end - times->first;
    m[KM_SCALAR_qtc] = (float)(m[KM_SCALAR_qt] / cbrt(mean));
    m[KM_SCALAR_p] = p_times->last - p_times->first;
    m[KM_SCALAR_conducted] = (float)conducted;
    m[KM_SCALAR_premature_atrial] = (float)rhythm->premature_atrial;
    m[KM_SCALAR_premature_ventricular] = (float)rhythm->premature_ventricular;
    m[KM_SCALAR_premature_junctional] = (float)rhythm->premature_junctional;
    m[KM_SCALAR_blocked] = (float)rhythm->blocked;
    m[KM_SCALAR_female] = (float)patient->female;
    m[KM_SCALAR_age] = (float)patient->age;
    m[KM_SCALAR_stage] = (float)patient->infarct_stage;

    /* Axis from the net areas of I and aVF (which sees 2 / sqrt(3) of a vector less than I does). */
    const int on = KM_TISSUE_BEFORE + (int)times->first, off = KM_TISSUE_BEFORE + (int)times->last;
    double area_i = 0, area_f = 0;
    for (int i = on; i <= off; i++) {
        area_i += see(wave, i, 0);
        area_f += see(wave, i, 5);
    }
    m[KM_SCALAR_axis] = (float)(atan2(1.1547 * area_f, area_i) * 57.29578);
    float limb = 0, chest = 0, p_height = 0, p_front = 0, p_end = 0;
    const float *q = lead + KM_FAMILY_q * KM_LEADS, *r = lead + KM_FAMILY_r * KM_LEADS;
    const float *s = lead + KM_FAMILY_s * KM_LEADS;
    for (int l = 0; l < KM_LEADS; l++) {
        const float height = r[l] + km_higher(q[l], s[l]);
        if (l < 6)
            limb = km_higher(limb, height);
        else
            chest = km_higher(chest, height);
    }
    const float s_v1 = km_higher(q[6], s[6]), s_v2 = km_higher(q[7], s[7]), s_v3 = km_higher(q[8], s[8]);
    m[KM_SCALAR_limb_voltage] = limb;
    m[KM_SCALAR_chest_voltage] = chest;
    m[KM_SCALAR_sokolow] = km_higher(s_v1, s_v2) + km_higher(r[10], r[11]);
    m[KM_SCALAR_cornell] = r[4] + s_v3;
    m[KM_SCALAR_rs_v1] = r[6] / km_higher(s_v1, 0.01f);
    m[KM_SCALAR_transition] = 7;
    for (int l = 11; l >= 6; l--)
        if (r[l] > km_higher(q[l], s[l]))
            m[KM_SCALAR_transition] = (float)(l - 5);
    for (int i = KM_TISSUE_BEFORE - 5; i < KM_TISSUE_BEFORE + (int)p_times->last; i++) {
        p_height = km_higher(p_height, see(p_wave, i, 1));
        p_front = km_higher(p_front, see(p_wave, i, 6));
        p_end = km_lower(p_end, see(p_wave, i, 6));
    }
    m[KM_SCALAR_p_height] = p_height;
    m[KM_SCALAR_p_front] = p_front;
    m[KM_SCALAR_p_end] = -p_end;
    const float *st = lead + KM_FAMILY_st * KM_LEADS, *t = lead + KM_FAMILY_t * KM_LEADS;
    for (int l = 0; l < KM_LEADS; l++) {
        m[KM_SCALAR_st_spread] += st[l] > 0.08f && l != 3;
        m[KM_SCALAR_inverted] += t[l] < -0.08f && l != 3 && l != 6 && l != 2;
    }
}

static int holds(const km_condition *c, const float *measure)
{
    if (c->leads == 0)
        return (measure[c->measure] >= c->value) == (c->above != 0);
    int count = 0;
    for (int l = 0; l < KM_LEADS; l++)
        count += (c->leads >> l & 1) && (measure[c->measure + l] >= c->value) == (c->above != 0);
    return count >= c->need;
}

void km_criteria_apply(uint8_t *found, float *measure, const km_criteria *criteria)
{
    memset(found, 0, (size_t)criteria->labels);
    for (int rule = 0; rule < criteria->rules; rule++) {
        const int label = criteria->label[rule];
        int met = 0;
        for (int a = criteria->alternative[rule]; a < criteria->alternative[rule + 1] && !met; a++) {
            met = 1;
            for (int c = criteria->condition[a]; c < criteria->condition[a + 1] && met; c++)
                met = holds(&criteria->conditions[c], measure);
        }
        if (!met)
            continue;
        if (criteria->kind[rule] == 2) {
            if (!(found[label] & 1))
                found[label] |= 2;
            continue;
        }
        found[label] = 1;
        measure[KM_MEASURE_LABEL + label] = 1;
        if (criteria->kind[rule] == 1)
            measure[KM_SCALAR_abnormal] += 1;
    }
}

km_status km_criteria_check(const km_criteria *criteria, int alternatives, int conditions, km_error *err)
{
    if (criteria->labels > KM_MAX_LABELS)
        return km_error_set(err, KM_VALUE, "criteria name %d labels, at most %d are possible", criteria->labels,
                            KM_MAX_LABELS);
    int last = 0;
    for (int i = 0; i < criteria->rules; i++)
        if (criteria->label[i] < 0 || criteria->label[i] >= criteria->labels || criteria->kind[i] < 0 ||
            criteria->kind[i] > 2 || criteria->alternative[i] > criteria->alternative[i + 1])
            return km_error_set(err, KM_VALUE, "rule %d of the criteria leads outside the table", i);
    if (criteria->alternative[0] != 0 || criteria->alternative[criteria->rules] != alternatives)
        return km_error_set(err, KM_VALUE, "the criteria's alternatives do not fit the table");
    for (int i = 0; i < alternatives; i++) {
        if (criteria->condition[i] != last || criteria->condition[i + 1] < last)
            return km_error_set(err, KM_VALUE, "alternative %d of the criteria leads outside the table", i);
        last = criteria->condition[i + 1];
    }
    if (last != conditions)
        return km_error_set(err, KM_VALUE, "the criteria have %d conditions, the table %d", last, conditions);
    for (int i = 0; i < conditions; i++) {
        const km_condition *c = &criteria->conditions[i];
        const int span = c->leads == 0 ? 1 : KM_LEADS;
        if (c->measure < 0 || c->measure + span > KM_MEASURES || c->leads < 0 || c->leads > 0xfff)
            return km_error_set(err, KM_VALUE, "condition %d of the criteria measures what does not exist", i);
    }
    return KM_OK;
}
