/* The laws of the simulated heart, and outputs that stay within their buffers. */
#include "check.h"
#include "simulate/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void along_x(float field[KM_TISSUE_CHANNELS][3], const void *context, const float at[3])
{
    (void)context;
    (void)at;
    memset(field, 0, KM_TISSUE_CHANNELS * sizeof *field);
    for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
        field[l][0] = 1;
}

/* Two nodes 2 cm apart along x, 3 cm2: while the first alone is active the lead sees a dipole of 3; a wave towards
 * the electrode is positive, whatever is uniform is not seen.                                                      */
static void test_two_nodes(void)
{
    static km_tissue t;
    static km_wave w;
    km_tissue_node(&t, 0, 0, 0);
    km_tissue_node(&t, 2, 0, 0);
    km_tissue_edge(&t, 0, 1, 3, 0.05f);
    km_tissue_see(&t, along_x, NULL);
    CHECK(fabsf(t.seen[0][0] - 3) < 1e-6f && t.seen[1][0] == -t.seen[0][0]);
    float time[2] = {0, KM_TISSUE_NEVER};
    km_tissue_activate(time, &t, NULL);
    CHECK(time[0] == 0 && fabsf(time[1] - 40) < 1e-4f);
    const float slow[2] = {1, 2.5f};
    float late[2] = {0, KM_TISSUE_NEVER};
    km_tissue_activate(late, &t, slow);
    CHECK(fabsf(late[1] - 100) < 1e-3f);

    const float end[2] = {300, 300}, amplitude[2] = {1, 1}, injured[2] = {1, 0.6f};
    const km_tissue_step step = {.rise = 4, .fall = 20};
    km_tissue_wave(&w, &t, time, end, amplitude, &step);
    CHECK(fabsf(w.rise[KM_TISSUE_BEFORE + 20][0] - 3) < 1e-4f);
    CHECK(fabsf(w.rise[w.rise_rows - 1][0]) < 1e-4f);
    CHECK(fabsf(w.rise[w.rise_rows - 1][0] + w.fall[w.fall_rows - 1][0]) == 0);
    km_tissue_wave(&w, &t, time, end, injured, &step);     /* ST: the injured node lacks 0.4 of its step */
    CHECK(fabsf(w.rise[w.rise_rows - 1][0] - 1.2f) < 1e-4f);
    t.alive[1] = 0;
    km_tissue_see(&t, along_x, NULL);
    CHECK(t.seen[0][0] == 0 && t.seen[1][0] == 0);
}

static void forced(uint8_t *has, int a, int b)
{
    memset(has, 0, KM_MECHANISM_COUNT);
    has[a] = 1;
    has[b] = 1;
}

/* QRS and QT come out as they were drawn; a blocked bundle makes the wave longer. */
static void test_heart(void)
{
    static km_patient p;
    static km_heart h;
    static km_wave w;
    km_heart_times times;
    uint8_t has[KM_MECHANISM_COUNT];
    for (int seed = 0; seed < 20; seed++) {
        km_rng rng;
        km_rng_open(&rng, (uint64_t)seed, KM_STREAM_SIMULATE, 0, 0);
        forced(has, KM_SINUS, KM_NORMAL);
        km_patient_draw(&p, &rng, NULL, has);
        km_heart_create(&h, &p, 60 / p.rate, &rng);
        CHECK(h.ventricles.nodes <= KM_TISSUE_NODES && h.ventricles.edges <= KM_TISSUE_EDGES);
        km_heart_wave(&w, &times, &h, KM_ORIGIN_HIS);
        CHECK(fabs(times.last - times.first - p.qrs) < 2);
        CHECK(fabs(times.end - h.qt) < 25);
        p.has[KM_LBBB] = 1;
        km_heart_wave(&w, &times, &h, KM_ORIGIN_HIS);
        CHECK(times.last - times.first > p.qrs + 15);
        for (int o = 0; o < KM_ORIGINS; o++) {
            km_heart_wave(&w, &times, &h, (km_origin)o);
            CHECK(w.rise_rows <= KM_TISSUE_ROWS && w.fall_rows <= KM_TISSUE_ROWS);
            for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                CHECK(isfinite(w.rise[w.rise_rows - 1][l]) && isfinite(w.fall[0][l]));
        }
    }
}

/* Wenckebach: PR grows until a beat is dropped; complete block: atria and ventricles each keep their own time. */
static void test_rhythms(void)
{
    static km_patient p;
    static km_rhythm r;
    uint8_t has[KM_MECHANISM_COUNT];
    km_rng rng;
    km_rng_open(&rng, 1, KM_STREAM_SIMULATE, 0, 0);
    forced(has, KM_SINUS, KM_WENCKEBACH);
    km_patient_draw(&p, &rng, NULL, has);
    km_rhythm_create(&r, &p, 20, 60 / p.rate, &rng);
    int atrial = 0, ventricular = 0;
    for (int i = 0; i < r.count; i++)
        *(r.beat[i].origin < KM_ORIGINS_VENTRICULAR ? &ventricular : &atrial) += 1;
    CHECK(r.blocked >= 2 && ventricular < atrial && ventricular > atrial / 2);

    forced(has, KM_SINUS, KM_AV_BLOCK_3);
    km_patient_draw(&p, &rng, NULL, has);
    const double rr = km_rhythm_mean_rr(&p, &rng);
    km_rhythm_create(&r, &p, 20, rr, &rng);
    CHECK(rr > 60 / 47.0 && r.pr == 0);

    km_error err;
    forced(has, KM_SINUS, KM_FIBRILLATION);
    CHECK(km_patient_check(has, &err) == KM_VALUE && strstr(err.message, "atrial fibrillation") != NULL);
    forced(has, KM_SINUS, KM_SINUS_TACHYCARDIA);
    CHECK(km_patient_check(has, &err) == KM_OK);
}

/* Whole recordings at several rates: finite, and the same on one thread and three. */
static void test_records(void)
{
    static const int32_t none[2] = {0, 0};
    static const int64_t index[3] = {0, 5, 4294967295};
    double prevalence[KM_MECHANISM_COUNT];
    for (int m = 0; m < KM_MECHANISM_COUNT; m++)
        prevalence[m] = 0.2;
    km_simulate_settings settings = {.seed = 7, .prevalence = prevalence, .noise = 1};
    settings.criteria.alternative = none;
    settings.criteria.condition = none;
    for (int k = 0; k < 3; k++) {
        settings.fs = (double[]){50, 360, 1000}[k];
        settings.samples = (int64_t)(3 * settings.fs);
        const size_t n = (size_t)(3 * 12 * settings.samples);
        float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *m = malloc(3 * KM_MEASURES * sizeof *m);
        uint8_t found[1];
        km_error err;
        CHECK(km_simulate_records(a, found, m, NULL, NULL, &settings, index, 3, 1, &err) == KM_OK);
        CHECK(km_simulate_records(b, found, m, NULL, NULL, &settings, index, 3, 3, &err) == KM_OK);
        CHECK(memcmp(a, b, n * sizeof *a) == 0);
        for (size_t i = 0; i < n; i++)
            CHECK(isfinite(a[i]) && fabsf(a[i]) < 40);
        free(a);
        free(b);
        free(m);
    }
    settings.fs = 10;
    km_error err;
    CHECK(km_simulate_check(&settings, &err) == KM_VALUE);
}

int main(void)
{
    test_two_nodes();
    test_heart();
    test_rhythms();
    test_records();
    return check_result();
}
