/* mV to steps in blocks of their exact size, against the definition in data/steps.h. */
#include "check.h"
#include "core/rng.h"
#include "data/steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static km_error err;

/* One lead of n samples, of its exact size. */
static float *ramp(int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.001f * (float)(i % 50);
    return x;
}

static void test_values(void)
{
    static const struct {
        float mv;
        int step, missing, clipped;
    } cases[] = {
        {0.0f, 0, 0, 0},           {-0.0f, 0, 0, 0},
        {1.0f, 1000, 0, 0},        {-1.2345f, -1234, 0, 0},
        {0.0005f, 0, 0, 0},        {0.0015f, 2, 0, 0},         /* halves to even */
        {32.767f, 32767, 0, 0},    {-32.767f, -32767, 0, 0},
        {32.768f, 32767, 0, 1},    {-32.768f, -32767, 0, 1},
        {3e38f, 32767, 0, 1},      {-3e38f, -32767, 0, 1},
        {NAN, -32768, 1, 0},       {INFINITY, -32768, 1, 0},
        {-INFINITY, -32768, 1, 0}, {1e-42f, 0, 0, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        for (int64_t at = 0; at < 1003; at += 334) {            /* within blocks, and in the rest behind them */
            enum { SAMPLES = 1003 };
            float *x = ramp(SAMPLES);
            int16_t *out = malloc(SAMPLES * sizeof *out);
            const int id = 4;
            km_steps s;
            x[at] = cases[k].mv;
            CHECK(km_steps_pack(&s, out, x, SAMPLES, &id, 1, SAMPLES, &err) == KM_OK);
            CHECK(s.leads == 1u << 4 && s.dropped == 0 && s.samples == SAMPLES);
            CHECK(out[at] == cases[k].step && s.missing == cases[k].missing && s.clipped == cases[k].clipped);
            for (int i = 0; i < SAMPLES; i++)
                CHECK(i == at || out[i] == i % 50);
            free(x);
            free(out);
        }
    }
}

/* Canonical order whatever that of the rows; a stride; flat and missing leads are left out, and their place is used. */
static void test_leads(void)
{
    enum { ROWS = 5, SAMPLES = 2300, STRIDE = 2310 };
    static const int ids[ROWS] = {11, 2, 7, 0, 5};
    static const uint32_t KEPT = 1u << 11 | 1u << 7 | 1u << 0, DROPPED = 1u << 2 | 1u << 5;
    float *x = malloc((ROWS * STRIDE - (STRIDE - SAMPLES)) * sizeof *x);
    int16_t *out = malloc((size_t)ROWS * SAMPLES * sizeof *out);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < SAMPLES; i++)
            x[r * STRIDE + i] = r == 1 ? 0.001f * (float)(i % 2) : r == 4 ? NAN : 0.001f * (float)(100 * r + i % 3);
    km_steps s;
    CHECK(km_steps_pack(&s, out, x, STRIDE, ids, ROWS, SAMPLES, &err) == KM_OK);
    CHECK(s.leads == KEPT && s.dropped == DROPPED && s.missing == 0 && s.clipped == 0);
    static const int order[3] = {3, 2, 0};
    for (int r = 0; r < 3; r++)
        for (int i = 0; i < SAMPLES; i++)
            CHECK(out[r * SAMPLES + i] == 100 * order[r] + i % 3);
    x[1 * STRIDE + 7] = 0.002f;                                 /* two steps are no rounding */
    CHECK(km_steps_pack(&s, out, x, STRIDE, ids, ROWS, SAMPLES, &err) == KM_OK && s.leads == (KEPT | 1u << 2));
    free(x);
    free(out);
}

/* 80 % of what training sees must be there in one lead; what lies behind the window does not count. */
static void test_missing(void)
{
    const int64_t samples = KM_STEPS_WINDOW + 500;
    float *x = ramp(samples);
    int16_t *out = malloc((size_t)samples * sizeof *out);
    const int id = 0;
    km_steps s;
    for (int i = 0; i < KM_STEPS_WINDOW / 5; i++)
        x[i] = NAN;
    for (int64_t i = KM_STEPS_WINDOW; i < samples; i++)
        x[i] = NAN;
    CHECK(km_steps_pack(&s, out, x, samples, &id, 1, samples, &err) == KM_OK);
    CHECK(s.missing == KM_STEPS_WINDOW / 5 + 500);
    x[2000] = INFINITY;
    CHECK(km_steps_pack(&s, out, x, samples, &id, 1, samples, &err) == KM_VALUE);
    CHECK(strstr(err.message, "20 %") != NULL);
    for (int64_t i = 0; i < samples; i++)
        x[i] = NAN;
    CHECK(km_steps_pack(&s, out, x, samples, &id, 1, samples, &err) == KM_VALUE && s.dropped == 1);
    free(x);
    free(out);
}

static void test_lengths(void)
{
    float *x = ramp(KM_STEPS_SHORTEST);
    int16_t out[KM_STEPS_SHORTEST];
    const int id = 0;
    km_steps s;
    CHECK(km_steps_pack(&s, out, x, 1, &id, 1, KM_STEPS_SHORTEST, &err) == KM_OK);
    CHECK(km_steps_pack(&s, out, x, 1, &id, 1, KM_STEPS_SHORTEST - 1, &err) == KM_VALUE);
    CHECK(strstr(err.message, "too short") != NULL);
    CHECK(km_steps_pack(&s, out, x, 1, &id, 1, 0, &err) == KM_VALUE);
    CHECK(km_steps_pack(&s, out, x, 1, &id, 1, INT64_C(1) << 31, &err) == KM_VALUE);
    CHECK(strstr(err.message, "2147483648") != NULL);
    CHECK(km_steps_pack(&s, out, x, 1, &id, 0, KM_STEPS_SHORTEST, &err) == KM_VALUE);
    free(x);
}

/* Every step there is, in whole multiples of 1 uV and otherwise: what km_steps_pack makes of the same in mV. */
static void test_rescale(void)
{
    enum { ALL = 65536 };
    static const double cases[][2] = {{0, 1e-3}, {0, 1 / 200.0}, {-7, 4 / 1000.0}, {32000, 1e-3}, {1 << 20, 1.0}, {5, -1e-3},
                                      {-1048576, -0.999}, {0.5, 1e-3}, {0, 1 / 2000.0}, {123, 1 / 39511.32508452368},
                                      {(1 << 20) + 1, 1e-3}, {0, 1e20}, {3, 1e-12}, {-32768, 1 / 333.0}};
    int16_t *raw = malloc(ALL * sizeof *raw), *out = malloc(ALL * sizeof *out), *expected = malloc(ALL * sizeof *out);
    float *x = malloc(ALL * sizeof *x);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const double baseline = cases[k][0], scale = cases[k][1];
        const int id = 9;
        km_steps s, t;
        for (int i = 0; i < ALL; i++) {
            raw[i] = (int16_t)(uint16_t)(i * 40503);            /* each once, in no order */
            x[i] = raw[i] == KM_STEPS_MISSING ? NAN : (float)((raw[i] - baseline) * scale);
        }
        const km_status one = km_steps_pack(&s, expected, x, ALL, &id, 1, ALL, &err);
        CHECK(km_steps_rescale(&t, out, raw, ALL, &baseline, &scale, &id, 1, ALL, &err) == one);
        CHECK(memcmp(out, expected, ALL * sizeof *out) == 0 && t.leads == s.leads && t.dropped == s.dropped);
        CHECK(t.missing == s.missing && t.clipped == s.clipped && t.samples == s.samples);
    }
    free(raw);
    free(out);
    free(expected);
    free(x);
}

int main(void)
{
    test_values();
    test_rescale();
    test_leads();
    test_missing();
    test_lengths();
    return check_result();
}
