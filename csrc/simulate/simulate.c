#include "simulate/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/threads.h"

struct km_simulate_scratch {
    km_patient patient;
    km_heart heart;
    km_rhythm rhythm;
    km_recorder recorder;
    km_wave wave[KM_ORIGINS];
    km_heart_times times[KM_ORIGINS];
    uint8_t ready[KM_ORIGINS];
    km_row *rows;                   /* (samples) */
};

enum { ATTEMPTS = 12 };

km_status km_simulate_scratch_create(km_simulate_scratch **scratch, int64_t samples, km_error *err)
{
    km_simulate_scratch *s = calloc(1, sizeof *s);
    if (s != NULL)
        s->rows = malloc((size_t)samples * sizeof *s->rows);
    if (s == NULL || s->rows == NULL) {
        free(s);
        *scratch = NULL;
        return km_error_set(err, KM_MEMORY, "out of memory: a simulated recording of %lld samples", (long long)samples);
    }
    *scratch = s;
    return KM_OK;
}

void km_simulate_scratch_free(km_simulate_scratch *scratch)
{
    if (scratch == NULL)
        return;
    free(scratch->rows);
    free(scratch);
}

km_status km_simulate_check(const km_simulate_settings *settings, km_error *err)
{
    if (!(settings->fs >= 50 && settings->fs <= 2000))
        return km_error_set(err, KM_VALUE, "fs must be 50 to 2000 Hz, got %g", settings->fs);
    if (!(settings->samples >= settings->fs && settings->samples <= 300 * settings->fs))
        return km_error_set(err, KM_VALUE, "seconds must be 1 to 300, got %g",
                            (double)settings->samples / settings->fs);
    if (!(settings->noise >= 0 && settings->noise <= 10))
        return km_error_set(err, KM_VALUE, "noise must be 0 to 10, got %g", settings->noise);
    for (int m = 0; m < KM_MECHANISM_COUNT; m++)
        if (!(settings->prevalence[m] >= 0 && settings->prevalence[m] <= 1))
            return km_error_set(err, KM_VALUE, "prevalence of \"%s\" must be in [0, 1], got %g",
                                km_patient_mechanism_name(m), settings->prevalence[m]);
    return settings->forced != NULL ? km_patient_check(settings->forced, err) : KM_OK;
}

static const km_wave *wave_of(km_simulate_scratch *s, km_origin origin)
{
    if (!s->ready[origin]) {
        km_heart_wave(&s->wave[origin], &s->times[origin], &s->heart, origin);
        s->ready[origin] = 1;
    }
    return &s->wave[origin];
}

/* rows += gain * part, read at 1 kHz between its rows from `time` s on; its last row stays until `until` s. */
KM_VECTOR static void place(km_row *rows, int64_t samples, double fs, const km_row *part, int part_rows, double time,
                            double until, float gain)
{
    const double start = time - KM_TISSUE_BEFORE / 1000.0;
    int64_t t = (int64_t)ceil(start * fs), end = (int64_t)(until * fs) + 1;
    t = t < 0 ? 0 : t;
    end = end > samples ? samples : end;
    const double step = 1000.0 / fs, offset = -1000.0 * start;
    for (; t < end; t++) {
        const float at = (float)((double)t * step + offset);
        const int row = (int)at < part_rows - 2 ? (int)at : part_rows - 2;
        const float second = at - (float)row < 1 ? gain * (at - (float)row) : gain, first = gain - second;
        const float *a = part[row], *b = part[row + 1];
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
            rows[t][l] += first * a[l] + second * b[l];
    }
}

static void place_beat(km_simulate_scratch *s, const km_simulate_settings *settings, const km_beat *beat)
{
    const km_wave *w = wave_of(s, (km_origin)beat->origin);
    /* APD follows the cycle before it; breathing moves the heart. */
    double later = 0;
    if (beat->origin < KM_ORIGINS_VENTRICULAR)
        later = 0.001 * fmin(fmax(130 * (beat->rr - s->rhythm.mean_rr), -80), 45);
    const float gain = 1 + 0.04f * sinf((float)(6.2831853 * s->patient.respiration * beat->time));
    const int rows = w->rise_rows > w->fall_rows ? w->rise_rows : w->fall_rows;
    const double until = beat->time + later + (rows - KM_TISSUE_BEFORE) / 1000.0;
    place(s->rows, settings->samples, settings->fs, w->rise, w->rise_rows, beat->time, until, gain);
    place(s->rows, settings->samples, settings->fs, w->fall, w->fall_rows, beat->time + later, until, gain);
    if (beat->paced) {                          /* a stimulus of one to two samples */
        const double early = beat->origin < KM_ORIGINS_VENTRICULAR ? 0.004 : 0.010;
        const int64_t at = (int64_t)((beat->time - early) * settings->fs);
        const float height = beat->origin < KM_ORIGINS_VENTRICULAR ? 0.9f : 0.4f;
        static const float seen[KM_TISSUE_CHANNELS] = {0.5f, 0.9f, -0.6f, -0.8f, -0.3f, 0.4f, 0.7f, 0.8f};
        const float size = (float)fmod(s->patient.pathway * 9.7, 1.0);
        for (int k = 0; k < 2; k++)
            for (int l = 0; l < KM_TISSUE_CHANNELS && at + k >= 0 && at + k < settings->samples; l++)
                s->rows[at + k][l] += height * size * size * seen[l] * (k == 0 ? 1 : 0.5f);
    }
}

/* Disordered waves: a few oscillators whose frequency and strength wander, each seen as a node of the tissue is. */
static void add_fibrillation(km_simulate_scratch *s, const km_simulate_settings *settings, const km_tissue *tissue,
                             double hz, double height, km_rng *rng)
{
    enum { WAVES = 5, SINE = 1024 };
    float sine[SINE];
    for (int i = 0; i < SINE; i++) {                /* a fundamental and its second harmonic: not quite round */
        const float x = 6.2831853f * (float)i / SINE;
        sine[i] = sinf(x) + 0.3f * sinf(2 * x + 0.6f);
    }
    km_row seen[WAVES];
    double norm = 1e-9;
    for (int w = 0; w < WAVES; w++) {
        memcpy(seen[w], tissue->seen[km_rng_below(rng, (uint32_t)tissue->nodes)], sizeof seen[w]);
        for (int l = 0; l < 3; l++)
            norm += seen[w][l] * seen[w][l];
    }
    const float scale = (float)(height / sqrt(norm));
    uint32_t phase[WAVES];
    double rate[WAVES], strength[WAVES];
    for (int w = 0; w < WAVES; w++) {
        phase[w] = km_rng_next(rng);
        rate[w] = hz * (1 + 0.08 * km_rng_normal(rng));
        strength[w] = 1;
    }
    const int64_t block = (int64_t)fmax(0.1 * settings->fs, 1);
    for (int64_t t = 0; t < settings->samples; t += block) {
        uint32_t step[WAVES];
        float from[WAVES], to[WAVES];
        for (int w = 0; w < WAVES; w++) {
            rate[w] += 0.25 * (hz - rate[w]) + 0.07 * hz * km_rng_normal(rng);
            from[w] = (float)strength[w];
            strength[w] += 0.2 * (1 - strength[w]) + 0.22 * km_rng_normal(rng);
            to[w] = (float)strength[w];
            step[w] = (uint32_t)(fmin(fmax(rate[w], 1), 20) / settings->fs * 4294967296.0);
        }
        const int64_t count = t + block < settings->samples ? block : settings->samples - t;
        for (int64_t k = 0; k < count; k++) {
            const float x = (float)k / (float)block;
            for (int w = 0; w < WAVES; w++, phase[w - 1] += step[w - 1]) {
                const float v = scale * (from[w] + x * (to[w] - from[w])) * sine[phase[w] >> 22];
                for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                    s->rows[t + k][l] += v * seen[w][l];
            }
        }
    }
}

/* The beat that interpretation goes by. */
static km_origin dominant(const km_patient *p, const km_rhythm *rhythm)
{
    int count[KM_ORIGINS_VENTRICULAR] = {0}, best = KM_ORIGIN_HIS;
    for (int i = 0; i < rhythm->count; i++)
        if (rhythm->beat[i].origin < KM_ORIGINS_VENTRICULAR && rhythm->beat[i].time > 0)
            count[rhythm->beat[i].origin]++;
    for (int o = 0; o < KM_ORIGINS_VENTRICULAR; o++)
        if (count[o] > count[best] && (o != KM_ORIGIN_FOCUS_A || count[KM_ORIGIN_HIS] == 0))
            best = o;
    (void)p;
    return (km_origin)best;
}

void km_simulate_record(float *signal, uint8_t *found, float *measure, char *text, int32_t *length,
                        const km_simulate_settings *settings, uint32_t index, km_simulate_scratch *scratch)
{
    km_simulate_scratch *s = scratch;
    km_rng rng;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        km_rng_open(&rng, settings->seed, KM_STREAM_SIMULATE, index, (uint64_t)attempt);
        km_patient_draw(&s->patient, &rng, settings->prevalence, settings->forced);
        const double rr = km_rhythm_mean_rr(&s->patient, &rng);
        km_heart_create(&s->heart, &s->patient, rr, &rng);
        km_rhythm_create(&s->rhythm, &s->patient, (double)settings->samples / settings->fs, rr, &rng);
        memset(s->ready, 0, sizeof s->ready);
        const km_origin leading = dominant(&s->patient, &s->rhythm);
        const km_wave *wave = wave_of(s, leading), *p_wave = wave_of(s, KM_ORIGIN_SINUS);
        km_criteria_measure(measure, &s->patient, &s->heart, &s->rhythm, wave, &s->times[leading], p_wave,
                            &s->times[KM_ORIGIN_SINUS]);
        km_criteria_apply(found, measure, &settings->criteria);
        int missing = 0;
        for (int w = 0; w < settings->wanted_count; w++)
            missing |= !(found[settings->wanted[w]] & 1);
        if (!missing)
            break;
    }
    if (text != NULL) {
        km_rng words;
        km_rng_open(&words, settings->seed, KM_STREAM_SIMULATE, index, (uint64_t)ATTEMPTS);
        *length = km_grammar_write(text, &settings->grammar, found, measure, &words);
    }
    if (signal == NULL)
        return;
    memset(s->rows, 0, (size_t)settings->samples * sizeof *s->rows);
    for (int i = 0; i < s->rhythm.count; i++)
        place_beat(s, settings, &s->rhythm.beat[i]);
    const uint8_t *has = s->patient.has;
    if (has[KM_FIBRILLATION]) {
        const double hz = 5.8 + 1.6 * km_rng_uniform(&rng), share = km_rng_uniform(&rng);
        const double height = 0.035 + 0.09 * share * share;
        add_fibrillation(s, settings, &s->heart.atria, hz, height, &rng);
    }
    if (has[KM_VENTRICULAR_FIBRILLATION])
        add_fibrillation(s, settings, &s->heart.ventricles, s->patient.rate / 60, 0.25 + 0.5 * km_rng_uniform(&rng),
                         &rng);
    km_recorder_draw(&s->recorder, &rng, settings->fs, settings->noise);
    s->recorder.arms_reversed = has[KM_ARMS_REVERSED];
    km_recorder_record(s->rows, settings->samples, &s->recorder, &rng);
    km_recorder_write(signal, s->rows, settings->samples, &s->recorder);
}

typedef struct job {
    float *signal, *measure;
    uint8_t *found;
    char *text;
    int32_t *length;
    const km_simulate_settings *settings;
    const int64_t *index;
    km_simulate_scratch **scratch;
} job;

static void run(void *context, int i, int thread)
{
    const job *j = context;
    const size_t n = (size_t)i;
    km_simulate_record(j->signal != NULL ? j->signal + n * KM_LEADS * (size_t)j->settings->samples : NULL,
                       j->found + n * (size_t)j->settings->criteria.labels, j->measure + n * KM_MEASURES,
                       j->text != NULL ? j->text + n * KM_GRAMMAR_TEXT : NULL, j->length != NULL ? j->length + n : NULL,
                       j->settings, (uint32_t)j->index[i], j->scratch[thread]);
}

km_status km_simulate_records(float *signal, uint8_t *found, float *measure, char *text, int32_t *length,
                              const km_simulate_settings *settings, const int64_t *index, int count, int threads,
                              km_error *err)
{
    km_status status = km_simulate_check(settings, err);
    if (status != KM_OK)
        return status;
    for (int i = 0; i < count; i++)
        if (index[i] < 0 || index[i] > UINT32_MAX)
            return km_error_set(err, KM_INDEX, "recording %lld does not exist: a simulator has 0 to 4294967295",
                                (long long)index[i]);
    if (threads < 1)
        threads = 1;
    if (threads > count)
        threads = count > 0 ? count : 1;
    km_simulate_scratch **scratch = calloc((size_t)threads, sizeof *scratch);
    if (scratch == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: %d threads", threads);
    for (int i = 0; i < threads && status == KM_OK; i++)
        status = km_simulate_scratch_create(&scratch[i], settings->samples, err);
    if (status == KM_OK) {
        job j = {signal, measure, found, text, length, settings, index, scratch};
        km_threads_run(threads, count, run, &j);
    }
    for (int i = 0; i < threads; i++)
        km_simulate_scratch_free(scratch[i]);
    free(scratch);
    return status;
}
