#include "simulate/patient.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    km_group group;
} mechanisms[KM_MECHANISM_COUNT] = {
#define X(id, group, name) {name, KM_GROUP_##group},
    KM_MECHANISMS(X)
#undef X
};

const char *km_patient_mechanism_name(int mechanism)
{
    return mechanisms[mechanism].name;
}

/* The rhythm's P waves, if it has regular ones: what an AV block needs. */
static int has_p_waves(int rhythm)
{
    return rhythm <= KM_SINOATRIAL_BLOCK || rhythm == KM_ATRIAL_TACHYCARDIA || rhythm == KM_ECTOPIC_ATRIAL ||
           rhythm == KM_PACED_ATRIAL;
}

static int is_sinus(int rhythm)
{
    return rhythm <= KM_SINOATRIAL_BLOCK;
}

/* The ventricles are reached through the bundle of His. */
static int is_conducted(int rhythm)
{
    return rhythm < KM_IDIOVENTRICULAR || rhythm == KM_PACED_ATRIAL;
}

/* Whether two mechanisms can't be at work in the same heart. */
static int contradict(int a, int b)
{
    if (a > b) {
        const int swap = a;
        a = b;
        b = swap;
    }
    const km_group x = mechanisms[a].group, y = mechanisms[b].group;
    if (a == KM_NORMAL)
        return b != KM_SINUS;
    if (x == KM_GROUP_FREE || y == KM_GROUP_FREE)
        return (a == KM_DEXTROCARDIA || b == KM_DEXTROCARDIA) && (a == KM_ARMS_REVERSED || b == KM_ARMS_REVERSED);
    if (x == y)
        return !(a == KM_SINUS && is_sinus(b));
    if (x == KM_GROUP_RHYTHM) {
        if (y == KM_GROUP_AV) {
            if (b == KM_AV_BLOCK_3 && (a == KM_FIBRILLATION || a == KM_FLUTTER))
                return 0;
            return !has_p_waves(a) || (b == KM_PREEXCITATION && !is_sinus(a));
        }
        if (y == KM_GROUP_ATRIAL_ECTOPY)
            return !is_sinus(a) || a == KM_SINUS_PAUSE || a == KM_SINOATRIAL_BLOCK;
        if (y == KM_GROUP_VENTRICULAR_ECTOPY)
            return !is_conducted(a) || a == KM_SVT;
        return !is_conducted(a);
    }
    if (x == KM_GROUP_AV && a == KM_PREEXCITATION)
        return y == KM_GROUP_RIGHT || y == KM_GROUP_LEFT || y == KM_GROUP_INFARCT || y == KM_GROUP_AXIS;
    if (x == KM_GROUP_AV && a >= KM_WENCKEBACH && a <= KM_AV_BLOCK_3)
        return y == KM_GROUP_ATRIAL_ECTOPY || y == KM_GROUP_VENTRICULAR_ECTOPY;
    if (x == KM_GROUP_ATRIAL_ECTOPY && y == KM_GROUP_VENTRICULAR_ECTOPY)
        return 0;
    if (x == KM_GROUP_RIGHT && y == KM_GROUP_LEFT)
        return b != KM_ANTERIOR_FASCICLE && b != KM_POSTERIOR_FASCICLE;
    if (x == KM_GROUP_LEFT && y == KM_GROUP_AXIS)
        return b == KM_LEFT_AXIS ? a == KM_POSTERIOR_FASCICLE : a == KM_ANTERIOR_FASCICLE;
    if (x == KM_GROUP_LEFT && (a == KM_LBBB || a == KM_SLOW_MYOCARDIUM))
        return y == KM_GROUP_REPOLARISATION || y == KM_GROUP_INFARCT || y == KM_GROUP_AGE;
    if (x == KM_GROUP_INFARCT && y == KM_GROUP_REPOLARISATION)
        return b >= KM_INJURY_ANTERIOR;
    if (x == KM_GROUP_AGE && y == KM_GROUP_REPOLARISATION)
        return b >= KM_INJURY_ANTERIOR;
    return 0;
}

km_status km_patient_check(const uint8_t *forced, km_error *err)
{
    for (int a = 0; a < KM_MECHANISM_COUNT; a++) {
        if (!forced[a])
            continue;
        for (int b = a + 1; b < KM_MECHANISM_COUNT; b++)
            if (forced[b] && contradict(a, b))
                return km_error_set(err, KM_VALUE, "findings: \"%s\" and \"%s\" cannot be in the same recording",
                                    mechanisms[a].name, mechanisms[b].name);
    }
    return KM_OK;
}

static double uniform(km_rng *rng, double low, double high)
{
    return low + (high - low) * km_rng_uniform(rng);
}

static double normal(km_rng *rng, double mean, double deviation, double low, double high)
{
    return fmin(fmax(mean + deviation * km_rng_normal(rng), low), high);
}

static int chance(km_rng *rng, double p)
{
    return km_rng_uniform(rng) < p;
}

static void draw_mechanisms(km_patient *patient, km_rng *rng, const double *prevalence, const uint8_t *forced)
{
    uint8_t *has = patient->has;
    memset(has, 0, sizeof patient->has);
    if (forced != NULL) {
        memcpy(has, forced, sizeof patient->has);
    } else {
        /* One of a group at most, in the groups' order; what contradicts an earlier one is left out. */
        for (int group = 0; group <= KM_GROUP_FREE; group++) {
            double left = km_rng_uniform(rng);
            for (int m = 0; m < KM_MECHANISM_COUNT; m++) {
                if ((int)mechanisms[m].group != group)
                    continue;
                if (group == KM_GROUP_FREE)
                    left = km_rng_uniform(rng);
                left -= prevalence[m];
                if (left >= 0)
                    continue;
                int fits = 1;
                for (int other = 0; other < KM_MECHANISM_COUNT; other++)
                    fits &= !(has[other] && contradict(m, other));
                has[m] = (uint8_t)fits;
                if (group != KM_GROUP_FREE)
                    break;
            }
        }
    }
    int rhythm = 0, infarct = 0, age = 0;
    for (int m = 0; m < KM_MECHANISM_COUNT; m++) {
        rhythm |= has[m] && mechanisms[m].group == KM_GROUP_RHYTHM;
        infarct |= has[m] && mechanisms[m].group == KM_GROUP_INFARCT;
        age |= has[m] && mechanisms[m].group == KM_GROUP_AGE;
    }
    if (!rhythm)
        has[KM_SINUS] = 1;
    if (age && !infarct) {
        if (forced != NULL)
            has[KM_INFARCT_ANTERIOR + (int)km_rng_below(rng, KM_INFARCT_INFEROPOSTERIOR - KM_INFARCT_ANTERIOR + 1)] = 1;
        else
            has[KM_ACUTE] = has[KM_RECENT] = has[KM_OLD] = 0;
    }
    if (infarct && !age)
        has[KM_ACUTE + (int)km_rng_below(rng, 3)] = 1;
}

/* Share of a chest lead's field that is the same everywhere in the heart; the rest depends on the distance. */
#define FAR 0.7

static void draw_torso(km_torso *torso, km_rng *rng, const km_patient *patient)
{
    /* From Dower's fields (Dower 1968) and electrodes on an elliptic chest about the heart, moved until the
     * distribution of normal beats was that of recorded ones (docs/simulator.md). */
    static const float limb[2][3] = {{0.61f, 0.085f, -0.035f}, {0.28f, 0.864f, -0.116f}};
    static const float chest[6][3] = {{-5.5f, -2.4f, -5.1f}, {0.6f, -1.0f, -6.8f}, {4.1f, 2.1f, -6.0f},
                                      {4.7f, 4.9f, -2.8f},   {8.0f, 3.9f, -1.6f}, {9.9f, 2.9f, 1.3f}};
    static const float far[6][3] = {{-0.065f, 0.149f, -0.649f}, {0.511f, 0.533f, -1.433f}, {0.768f, 0.698f, -1.074f},
                                    {0.890f, 0.483f, -0.433f},  {0.826f, 0.444f, -0.099f}, {0.654f, 0.442f, 0.007f}};
    const double size = normal(rng, patient->female ? 0.97 : 1.03, 0.06, 0.82, 1.25);
    const double depth = normal(rng, 1.0, 0.07, 0.8, 1.2);
    const double up = normal(rng, 0, 1.1, -2.5, 2.5), left = normal(rng, 0, 0.7, -1.5, 1.5);
    for (int i = 0; i < 2; i++) {
        const double gain = normal(rng, 1, 0.08, 0.8, 1.25);
        for (int k = 0; k < 3; k++)
            torso->limb[i][k] = (float)(gain * (limb[i][k] + 0.089 * km_rng_normal(rng)));
    }
    for (int i = 0; i < 6; i++) {
        torso->chest[i][0] = (float)(size * chest[i][0] + left + normal(rng, 0, 0.75, -3, 3));
        torso->chest[i][1] = (float)(size * chest[i][1] + up + normal(rng, 0, 0.84, -3, 3));
        torso->chest[i][2] = (float)(size * depth * chest[i][2] + normal(rng, 0, 0.4, -1, 1));
        for (int k = 0; k < 3; k++)
            torso->far[i][k] = (float)(FAR * (far[i][k] + 0.129 * km_rng_normal(rng)));
    }
    torso->falloff = (float)normal(rng, 3.08, 0.15, 2.6, 3.5);
    torso->gain = (float)((1 - FAR) * 1.45 * pow(8.5, torso->falloff - 1.0));
}

static double rate_of(const uint8_t *has, km_rng *rng)
{
    static const struct { int mechanism; double mean, deviation, low, high; } rates[] = {
        {KM_SINUS_TACHYCARDIA, 114, 11, 101, 165}, {KM_SINUS_BRADYCARDIA, 53, 4.5, 36, 59},
        {KM_SINUS_ARRHYTHMIA, 70, 8, 56, 90},      {KM_SINUS_PAUSE, 65, 10, 48, 90},
        {KM_SINOATRIAL_BLOCK, 70, 9, 55, 95},      {KM_FIBRILLATION, 92, 24, 42, 170},
        {KM_FLUTTER, 300, 28, 230, 350},           {KM_SVT, 175, 20, 140, 230},
        {KM_ATRIAL_TACHYCARDIA, 140, 20, 108, 200}, {KM_MULTIFOCAL_TACHYCARDIA, 122, 12, 103, 150},
        {KM_ECTOPIC_ATRIAL, 70, 12, 52, 98},       {KM_WANDERING, 70, 9, 54, 95},
        {KM_JUNCTIONAL, 50, 5, 38, 59},            {KM_ACCELERATED_JUNCTIONAL, 78, 9, 62, 99},
        {KM_IDIOVENTRICULAR, 36, 4, 26, 44},       {KM_ACCELERATED_IDIOVENTRICULAR, 75, 12, 52, 99},
        {KM_VENTRICULAR_TACHYCARDIA, 165, 22, 122, 230}, {KM_VENTRICULAR_FIBRILLATION, 300, 40, 220, 400},
        {KM_PACED_ATRIAL, 68, 7, 58, 92},          {KM_PACED_VENTRICULAR, 68, 7, 58, 92},
        {KM_PACED_DUAL, 68, 7, 58, 92},
    };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (has[rates[i].mechanism])
            return normal(rng, rates[i].mean, rates[i].deviation, rates[i].low, rates[i].high);
    return normal(rng, 73, 11, 60.5, 99);
}

/* Repolarisation: ms for a cm to the left, down and to the back, beside what activation and layer make of it: shorter
 * in front, so that T is upright in V2 .. V4. */
static const double delay[3] = {-1.36, 0.43, 2.3};

void km_patient_draw(km_patient *patient, km_rng *rng, const double *prevalence, const uint8_t *forced)
{
    km_patient *p = patient;
    const uint8_t *has = p->has;
    draw_mechanisms(p, rng, prevalence, forced);
    p->female = chance(rng, 0.48);
    p->age = normal(rng, 61, 17, 18, 95);

    p->rate = rate_of(has, rng);
    p->respiration = normal(rng, 0.25, 0.05, 0.12, 0.45);
    p->sinus_variation = has[KM_SINUS_ARRHYTHMIA] ? uniform(rng, 0.13, 0.24)
                                                  : uniform(rng, 0.004, 0.05) * (p->age < 40 ? 1.4 : 0.8);
    p->jitter = uniform(rng, 0.003, 0.014);
    p->pr = normal(rng, 158 + 0.15 * (p->age - 60) - 0.25 * (p->rate < 180 ? p->rate - 70 : 0), 18, 121, 199);
    if (has[KM_AV_BLOCK_1])
        p->pr = normal(rng, 232, 28, 204, 340);
    else if (has[KM_WENCKEBACH])
        p->pr = normal(rng, 200, 22, 165, 260);
    else if (has[KM_SHORT_PR])
        p->pr = normal(rng, 108, 8, 88, 118);
    else if (has[KM_PREEXCITATION])
        p->pr = normal(rng, 150, 12, 130, 175);
    p->ectopy = uniform(rng, 0.10, 0.28);

    p->qrs = normal(rng, p->female ? 86 : 93, 7.5, 72, 108);
    p->qtc = normal(rng, p->female ? 414 : 406, 17, 365, p->female ? 455 : 445);
    if (has[KM_LONG_QT])
        p->qtc = normal(rng, 500, 26, 472, 600);
    else if (has[KM_SHORT_QT])
        p->qtc = normal(rng, 322, 10, 290, 338);
    else if (has[KM_HYPOCALCEMIA])
        p->qtc = normal(rng, 492, 18, 470, 550);
    else if (has[KM_HYPERCALCEMIA])
        p->qtc = normal(rng, 340, 10, 310, 355);
    else if (has[KM_DIGITALIS])
        p->qtc -= 25;

    /* The long axis turns with age and build; vertical in the thin, horizontal in the stout. */
    p->turn = has[KM_POOR_R] ? normal(rng, 0.75, 0.1, 0.55, 1.0) : normal(rng, 0.25, 0.23, -0.5, 0.9);
    p->lift = normal(rng, 0.195 - 0.004 * (p->age - 60), 0.35, -0.9, 1.0);
    p->roll = normal(rng, -0.1, 0.44, -1.2, 1.2);
    if (has[KM_LEFT_AXIS])
        p->lift = normal(rng, -1.15, 0.15, -1.5, -0.8);
    else if (has[KM_RIGHT_AXIS])
        p->lift = normal(rng, 1.1, 0.15, 0.8, 1.5);
    else if (has[KM_ANTERIOR_FASCICLE])         /* found together: these blocks are told by the axis */
        p->lift -= 0.5;
    else if (has[KM_POSTERIOR_FASCICLE])
        p->lift += 0.4;
    p->scale = exp(normal(rng, -0.12, 0.205, -0.8, 0.6)) * (p->female ? 0.92 : 1.04);
    if (has[KM_LOW_VOLTAGE])
        p->scale = exp(normal(rng, log(0.30), 0.12, -1.7, -1.0));
    else if (has[KM_LVH])
        p->scale = fmax(p->scale, 0.9);
    p->left_mass = has[KM_LVH] ? uniform(rng, 1.1, 1.8) : normal(rng, 1, 0.08, 0.8, 1.2);
    p->right_mass = has[KM_RVH] ? uniform(rng, 4, 8) : normal(rng, 1, 0.12, 0.7, 1.4);
    p->strain = (has[KM_LVH] || has[KM_RVH]) && chance(rng, 0.55) ? uniform(rng, 0.15, 0.85) : 0;
    p->gradient = normal(rng, 22, 4.4, 5, 36);
    p->slope = normal(rng, 0.8, 0.12, 0.4, 1.2);
    for (int k = 0; k < 3; k++)
        p->delay[k] = delay[k] + 1.06 * km_rng_normal(rng);
    p->t_width = normal(rng, 61, 6, 44, 80);
    p->infarct_stage = has[KM_ACUTE] ? 0 : has[KM_RECENT] ? 1 : 2;
    p->infarct_size = uniform(rng, 1.5, 3.3);
    p->severity = uniform(rng, 0.35, 1.0);
    p->septal_gap = chance(rng, 0.12);
    p->pathway = km_rng_uniform(rng);
    p->preexcitation = uniform(rng, 34, 66);

    p->p = normal(rng, 102 + 0.12 * (p->age - 60), 9, 78, 119);
    p->atrial_scale = exp(normal(rng, 0, 0.22, -0.5, 0.5));
    p->left_atrium = has[KM_LEFT_ATRIUM] ? uniform(rng, 1.8, 2.8) : normal(rng, 1, 0.12, 0.7, 1.3);
    p->right_atrium = has[KM_RIGHT_ATRIUM] ? uniform(rng, 2.2, 3.2) : normal(rng, 1, 0.12, 0.7, 1.3);
    if (has[KM_LEFT_ATRIUM])
        p->p = normal(rng, 130, 7, 120, 155);
    if (has[KM_RIGHT_ATRIUM])
        p->atrial_scale = fmax(p->atrial_scale, 1.0);
    draw_torso(&p->torso, rng, p);
}
