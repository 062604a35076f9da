#include "simulate/rhythm.h"

#include <math.h>
#include <string.h>

#define BEFORE 2.5      /* s that are simulated before the recording begins: its first beats have a past */

static double uniform(km_rng *rng, double low, double high)
{
    return low + (high - low) * km_rng_uniform(rng);
}

static int chance(km_rng *rng, double p)
{
    return km_rng_uniform(rng) < p;
}

static int add(km_rhythm *r, double time, km_origin origin, double rr, int paced)
{
    if (r->count == KM_RHYTHM_BEATS || time < r->from || time > r->to)
        return 0;
    r->beat[r->count++] = (km_beat){(float)time, (float)rr, (uint8_t)origin, (uint8_t)paced};
    return time >= 0.1 && time < r->to - 1.2;       /* it can be seen as a whole */
}

double km_rhythm_mean_rr(const km_patient *patient, km_rng *rng)
{
    const uint8_t *has = patient->has;
    if (has[KM_AV_BLOCK_3])
        return 60 / uniform(rng, 28, 46);
    if (has[KM_FLUTTER]) {
        static const int ratio[] = {2, 2, 3, 4, 4};
        return ratio[km_rng_below(rng, 5)] * 60 / patient->rate;
    }
    if (has[KM_AV_BLOCK_2_1])
        return 2 * 60 / patient->rate;
    if (has[KM_AV_BLOCK_HIGH])
        return 3 * 60 / patient->rate;
    return 60 / patient->rate;
}

/* The sinus node's cycle: a mean, breathing, a slow wave, and noise. */
typedef struct clock_of {
    double rr, variation, jitter, breath, slow, phase, slow_phase;
} clock_of;

static double cycle(const clock_of *c, double time, km_rng *rng)
{
    const double wave = c->variation * sin(6.2831853 * (c->breath * time + c->phase)) +
                        0.4 * c->variation * sin(6.2831853 * (c->slow * time + c->slow_phase));
    return fmax(c->rr * (1 + wave + c->jitter * km_rng_normal(rng)), 0.2);
}

static void fill_regular(km_rhythm *r, double rr, double jitter, km_origin origin, int paced, km_rng *rng)
{
    double t = r->from + rr * km_rng_uniform(rng), step = rr;
    while (t < r->to) {
        add(r, t, origin, step, paced);
        step = rr * (1 + jitter * km_rng_normal(rng));
        t += fmax(step, 0.15);
    }
}

/* Atrial fibrillation: the AV node lets through what comes when it has recovered; a gamma-like distribution of RR. */
static void fill_fibrillation(km_rhythm *r, const km_patient *p, double rr, km_rng *rng)
{
    const int pvc = p->has[KM_VENTRICULAR_PREMATURE] || p->has[KM_VENTRICULAR_MULTIFOCAL];
    double t = r->from + rr * km_rng_uniform(rng), step = rr;
    while (t < r->to) {
        add(r, t, KM_ORIGIN_HIS, step, 0);
        if (pvc && chance(rng, p->ectopy)) {
            const double at = t + uniform(rng, 0.42, 0.58) * fmin(1, 0.35 + 0.65 * rr);
            r->premature_ventricular += add(r, at, chance(rng, 0.5) && p->has[KM_VENTRICULAR_MULTIFOCAL]
                                            ? KM_ORIGIN_FOCUS_B : KM_ORIGIN_FOCUS_A, at - t, 0);
            t = at;
        }
        double sum = 0;
        for (int i = 0; i < 5; i++)
            sum -= log(1 - km_rng_uniform(rng));
        step = rr * (0.42 + 0.58 * sum / 5);
        step = fmax(step, 0.26);
        t += step;
    }
}

static void fill_flutter(km_rhythm *r, const km_patient *p, double rr, km_rng *rng)
{
    const double f = 60 / p->rate;
    const int ratio = (int)(rr / f + 0.5), variable = chance(rng, 0.35);
    double t = r->from + f * km_rng_uniform(rng), last = t - rr;
    int wait = 0;
    for (; t < r->to; t += f) {
        add(r, t, KM_ORIGIN_FLUTTER, f, 0);
        if (p->has[KM_AV_BLOCK_3])
            continue;
        if (wait-- <= 0) {
            const double at = t + 0.16;
            add(r, at, KM_ORIGIN_HIS, at - last, 0);
            last = at;
            wait = (variable ? (int[]){2, 3, 4, 4, 2}[km_rng_below(rng, 5)] : ratio) - 1;
        }
    }
}

/* Rhythms whose atria lead one beat at a time: sinus, atrial foci, an atrial pacemaker; the AV node with its blocks;
 * premature beats of the atria, the junction and the ventricles.                                                 */
static void fill_atrial(km_rhythm *r, const km_patient *p, km_rng *rng)
{
    const uint8_t *has = p->has;
    clock_of clock = {60 / p->rate, p->sinus_variation, p->jitter, p->respiration, 0.09, km_rng_uniform(rng),
                      km_rng_uniform(rng)};
    if (has[KM_MULTIFOCAL_TACHYCARDIA])
        clock.jitter = 0.14;
    else if (has[KM_PACED_ATRIAL])
        clock.jitter = clock.variation = 0;
    const int wide = has[KM_WENCKEBACH] || has[KM_MOBITZ_2] ? 3 + (int)km_rng_below(rng, 3) : 0;
    const int bigeminy = has[KM_VENTRICULAR_BIGEMINY], trigeminy = has[KM_VENTRICULAR_TRIGEMINY];
    const int pvc = bigeminy || trigeminy || has[KM_VENTRICULAR_PREMATURE] || has[KM_VENTRICULAR_COUPLETS] ||
                    has[KM_VENTRICULAR_RUN] || has[KM_VENTRICULAR_MULTIFOCAL] || has[KM_VENTRICULAR_INTERPOLATED];
    const int pac = has[KM_ATRIAL_PREMATURE] || has[KM_ATRIAL_PREMATURE_BLOCKED] || has[KM_ATRIAL_BIGEMINY] ||
                    has[KM_ABERRANT] || has[KM_JUNCTIONAL_PREMATURE];
    const double pvc_coupling = uniform(rng, 0.50, 0.62), pac_coupling = uniform(rng, 0.58, 0.72);
    const double sure = uniform(rng, 1.2, 4.5);        /* the first premature beat comes at the latest here */
    double paused = uniform(rng, 1.5, 4.5);
    int position = (int)km_rng_below(rng, 4), since = position, seen = 0;
    double t = r->from + clock.rr * km_rng_uniform(rng), last_v = t - clock.rr, last_p = t - clock.rr;
    double pr_sum = 0;
    int pr_count = 0;
    while (t < r->to) {
        km_origin origin = KM_ORIGIN_SINUS;
        if (has[KM_ATRIAL_TACHYCARDIA] || has[KM_ECTOPIC_ATRIAL])
            origin = KM_ORIGIN_ATRIAL_A;
        else if (has[KM_MULTIFOCAL_TACHYCARDIA] || has[KM_WANDERING]) {
            const int kind = has[KM_WANDERING] ? (int)(t / 2.6 + 3) % 3 : (int)km_rng_below(rng, 4);
            origin = (km_origin)(KM_ORIGIN_SINUS + kind);
        }
        /* Pauses of the sinus node. */
        if ((has[KM_SINUS_PAUSE] || has[KM_SINOATRIAL_BLOCK]) && t > paused) {
            t += has[KM_SINOATRIAL_BLOCK] ? clock.rr : uniform(rng, 1.1, 1.9) * fmax(clock.rr, 0.9) + 0.8;
            paused = t + uniform(rng, 3.5, 7);
        }
        /* A premature beat in place of this one. */
        int premature = 0, junctional = 0, aberrant = 0, blocked = 0;
        const int due = has[KM_ATRIAL_BIGEMINY] ? since % 2 == 1
                                                : since > 1 && (chance(rng, p->ectopy) || (!seen && last_p > sure));
        if (pac && due) {
            double coupling = pac_coupling + 0.02 * km_rng_normal(rng);
            blocked = has[KM_ATRIAL_PREMATURE_BLOCKED] && chance(rng, 0.8);
            aberrant = has[KM_ABERRANT] && chance(rng, 0.85);
            junctional = has[KM_JUNCTIONAL_PREMATURE];
            if (blocked)
                coupling = fmin(0.46, 0.36 / clock.rr);
            else if (aberrant)
                coupling = fmin(coupling, 0.55);
            t = last_p + fmax(coupling * clock.rr, 0.33);
            origin = (km_origin)(KM_ORIGIN_ATRIAL_A + (chance(rng, 0.2) ? 1 : 0));
            premature = 1;
            since = -1;
        }
        if (!junctional) {
            const int counted = add(r, t, origin, t - last_p, has[KM_PACED_ATRIAL]);
            if (premature && !junctional) {
                r->premature_atrial += counted;
                seen |= t > 0;
            }
        }
        /* The AV node. */
        double pr = p->pr / 1000 + 0.003 * km_rng_normal(rng);
        if (premature)
            pr += 0.02;
        int conducted = !blocked;
        if (has[KM_WENCKEBACH]) {
            const int in = position % (wide + 1);
            pr += in == 0 ? 0 : 0.075 + 0.03 * (in - 1);
            conducted = in < wide;
        } else if (has[KM_MOBITZ_2]) {
            conducted = position % (wide + 1) < wide;
        } else if (has[KM_AV_BLOCK_2_1]) {
            conducted = position % 2 == 0;
        } else if (has[KM_AV_BLOCK_HIGH]) {
            conducted = position % 3 == 0;
        } else if (has[KM_AV_BLOCK_3]) {
            conducted = 0;
        }
        position++;
        since++;
        if (junctional) {
            const double at = t + 0.10;
            const int counted = add(r, at, KM_ORIGIN_HIS, at - last_v, 0);
            r->premature_junctional += counted;
            seen |= at > 0;
            add(r, at - 0.02, KM_ORIGIN_RETROGRADE, 1, 0);
            last_v = at;
        } else if (conducted && t + pr - last_v > 0.30) {
            const double at = t + pr;
            add(r, at, aberrant ? KM_ORIGIN_ABERRANT : KM_ORIGIN_HIS, at - last_v, 0);
            last_v = at;
            if (!premature) {
                pr_sum += pr;
                pr_count++;
            }
        } else if (!conducted || blocked) {
            r->blocked += t >= 0 && t < r->to - 1.2;
        }
        const double before = t;
        last_p = t;
        t += cycle(&clock, t, rng) * (premature ? uniform(rng, 1.0, 1.12) : 1);

        /* A premature beat of the ventricles after it: the next sinus beat finds them refractory. */
        if (pvc && !premature && last_v > before) {
            const int now = bigeminy ? 1 : trigeminy ? position % 2 == 0
                                         : chance(rng, p->ectopy) || (!r->premature_ventricular && before > sure);
            if (now) {
                int run = has[KM_VENTRICULAR_COUPLETS] && chance(rng, 0.75) ? 2
                          : has[KM_VENTRICULAR_RUN] && chance(rng, 0.8) ? 3 + (int)km_rng_below(rng, 5) : 1;
                double at = last_v + fmax(pvc_coupling * fmin(clock.rr, 0.95), 0.34) + 0.01 * km_rng_normal(rng);
                if (has[KM_VENTRICULAR_INTERPOLATED])
                    at = last_v + 0.40 * fmax(clock.rr, 0.9);
                for (int k = 0; k < run; k++) {
                    const km_origin focus = has[KM_VENTRICULAR_MULTIFOCAL] && r->premature_ventricular % 2 == 1
                                                ? KM_ORIGIN_FOCUS_B : KM_ORIGIN_FOCUS_A;
                    const int counted = add(r, at, focus, at - last_v, 0);
                    r->premature_ventricular += counted;
                    last_v = at;
                    at += uniform(rng, 0.33, 0.42);
                }
                if (!has[KM_VENTRICULAR_INTERPOLATED]) {
                    /* Sinus beats go on unseen; those that would arrive too early are not conducted. */
                    while (t + p->pr / 1000 - last_v < 0.42) {
                        add(r, t, origin, t - last_p, 0);
                        last_p = t;
                        t += cycle(&clock, t, rng);
                    }
                }
            }
        }
    }
    r->pr = pr_count > 0 ? 1000 * pr_sum / pr_count : 0;
}

void km_rhythm_create(km_rhythm *rhythm, const km_patient *patient, double seconds, double mean_rr, km_rng *rng)
{
    km_rhythm *r = rhythm;
    const km_patient *p = patient;
    const uint8_t *has = p->has;

    r->count = r->premature_atrial = r->premature_ventricular = r->blocked = r->premature_junctional = 0;
    r->pr = 0;
    r->mean_rr = mean_rr;
    r->from = -BEFORE;
    r->to = seconds + 1;
    const double rr = mean_rr;
    if (has[KM_FIBRILLATION] && !has[KM_AV_BLOCK_3]) {
        fill_fibrillation(r, p, rr, rng);
    } else if (has[KM_FLUTTER]) {
        fill_flutter(r, p, rr, rng);
    } else if (has[KM_SVT]) {
        fill_regular(r, rr, 0.004, KM_ORIGIN_HIS, 0, rng);
        const int beats = r->count;             /* the atria follow within or behind QRS */
        const double after = chance(rng, 0.55) ? 0.03 : uniform(rng, 0.09, 0.13);
        for (int i = 0; i < beats; i++)
            add(r, r->beat[i].time + after, KM_ORIGIN_RETROGRADE, rr, 0);
    } else if (has[KM_JUNCTIONAL] || has[KM_ACCELERATED_JUNCTIONAL]) {
        fill_regular(r, rr, 0.012, KM_ORIGIN_HIS, 0, rng);
        const int beats = r->count, kind = (int)km_rng_below(rng, 3);
        for (int i = 0; i < beats && kind < 2; i++)
            add(r, r->beat[i].time + (kind == 0 ? -0.085 : 0.02), KM_ORIGIN_RETROGRADE, rr, 0);
    } else if (has[KM_IDIOVENTRICULAR] || has[KM_ACCELERATED_IDIOVENTRICULAR] || has[KM_VENTRICULAR_TACHYCARDIA]) {
        fill_regular(r, rr, has[KM_VENTRICULAR_TACHYCARDIA] ? 0.012 : 0.02, KM_ORIGIN_FOCUS_A, 0, rng);
        fill_regular(r, 60 / uniform(rng, 62, 92), 0.01, KM_ORIGIN_SINUS, 0, rng);
    } else if (has[KM_VENTRICULAR_FIBRILLATION]) {
        /* no beats */
    } else if (has[KM_PACED_VENTRICULAR]) {
        fill_regular(r, rr, 0, KM_ORIGIN_PACED, 1, rng);
        if (chance(rng, 0.5))
            fill_regular(r, 60 / uniform(rng, 60, 95), 0.015, KM_ORIGIN_SINUS, 0, rng);
    } else if (has[KM_PACED_DUAL]) {
        fill_regular(r, rr, 0, KM_ORIGIN_SINUS, 1, rng);
        const int beats = r->count;
        const double delay = uniform(rng, 0.14, 0.2);
        for (int i = 0; i < beats; i++)
            add(r, r->beat[i].time + delay, KM_ORIGIN_PACED, rr, 1);
    } else if (!has[KM_FIBRILLATION]) {
        fill_atrial(r, p, rng);
    }
    if (has[KM_AV_BLOCK_3])
        fill_regular(r, rr, 0.01, 60 / rr < 39 ? KM_ORIGIN_ESCAPE : KM_ORIGIN_HIS, 0, rng);
}
