#include "simulate/tissue.h"

#include <math.h>
#include <string.h>

#include "core/real.h"

int km_tissue_node(km_tissue *tissue, float x, float y, float z)
{
    const int i = tissue->nodes++;
    tissue->at[i][0] = x;
    tissue->at[i][1] = y;
    tissue->at[i][2] = z;
    tissue->alive[i] = 1;
    return i;
}

void km_tissue_edge(km_tissue *tissue, int i, int j, float area, float speed)
{
    const float *a = tissue->at[i], *b = tissue->at[j];
    const float d[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
    const float length = sqrtf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    const int e = tissue->edges++;
    tissue->end[e][0] = (uint8_t)i;
    tissue->end[e][1] = (uint8_t)j;
    tissue->area[e] = area;
    tissue->delay[e] = length / speed;
}

void km_tissue_see(km_tissue *tissue, km_field *field, const void *context)
{
    memset(tissue->seen, 0, sizeof tissue->seen);
    for (int e = 0; e < tissue->edges; e++) {
        const int i = tissue->end[e][0], j = tissue->end[e][1];
        const float *a = tissue->at[i], *b = tissue->at[j];
        float middle[3], step[3], fields[KM_TISSUE_CHANNELS][3];
        for (int k = 0; k < 3; k++) {
            middle[k] = 0.5f * (a[k] + b[k]);
            step[k] = b[k] - a[k];
        }
        const float length = sqrtf(step[0] * step[0] + step[1] * step[1] + step[2] * step[2]);
        const float w = tissue->area[e] * tissue->alive[i] * tissue->alive[j] / length;
        field(fields, context, middle);
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
            const float *f = fields[l];
            const float c = w * (f[0] * step[0] + f[1] * step[1] + f[2] * step[2]);
            tissue->seen[i][l] += c;
            tissue->seen[j][l] -= c;
        }
    }
}

void km_tissue_activate(float *time, const km_tissue *tissue, const float *slow)
{
    float delay[KM_TISSUE_EDGES];
    for (int e = 0; e < tissue->edges; e++) {
        const int i = tissue->end[e][0], j = tissue->end[e][1];
        delay[e] = tissue->delay[e] * (slow == NULL ? 1.0f : km_higher(slow[i], slow[j]));
    }
    /* Bellman and Ford, there and back, until nothing changes: a few sweeps. */
    for (int changed = 1; changed;) {
        changed = 0;
        for (int sweep = 0; sweep < 2; sweep++) {
            for (int k = 0; k < tissue->edges; k++) {
                const int e = sweep == 0 ? k : tissue->edges - 1 - k;
                const int i = tissue->end[e][0], j = tissue->end[e][1];
                if (time[i] + delay[e] < time[j]) {
                    time[j] = time[i] + delay[e];
                    changed = 1;
                } else if (time[j] + delay[e] < time[i]) {
                    time[i] = time[j] + delay[e];
                    changed = 1;
                }
            }
        }
    }
}

/* scale * coefficient of a step at `time` ms, shared between the two rows around it. */
static void scatter(km_row *rows, int count, const km_row coefficient, float scale, float time)
{
    const float at = km_lower(km_higher(time + KM_TISSUE_BEFORE, 0), (float)(count - 2));
    const int row = (int)at;
    const float second = scale * (at - (float)row), first = scale - second;
    for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
        rows[row][l] += first * coefficient[l];
        rows[row + 1][l] += second * coefficient[l];
    }
}

/* y[t] = mean of x[t - left .. t + right], 0 outside. */
KM_VECTOR static void smooth(km_row *y, const km_row *x, int count, int left, int right)
{
    float sum[KM_TISSUE_CHANNELS] = {0};
    const float scale = 1.0f / (float)(left + right + 1);
    for (int t = 0; t < right && t < count; t++)
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
            sum[l] += x[t][l];
    for (int t = 0; t < count; t++) {
        if (t + right < count)
            for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                sum[l] += x[t + right][l];
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
            y[t][l] = scale * sum[l];
        if (t - left >= 0)
            for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                sum[l] -= x[t - left][l];
    }
}

/* x: sums, from its first row on, of what it held, smoothed three times. */
static void smooth_and_sum(km_row *x, km_row *scratch, int count, int width)
{
    const int half = width / 2;
    smooth(scratch, x, count, half, half);
    smooth(x, scratch, count, half, half);
    smooth(scratch, x, count, half, half);
    memcpy(x[0], scratch[0], sizeof *x);
    for (int t = 1; t < count; t++)
        for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
            x[t][l] = scratch[t][l] + x[t - 1][l];
}

static int rows_for(float last, int width)
{
    const int rows = KM_TISSUE_BEFORE + (int)last + 2 * width + 4;
    return rows < KM_TISSUE_ROWS ? rows : KM_TISSUE_ROWS;
}

void km_tissue_wave(km_wave *wave, const km_tissue *tissue, const float *activation, const float *repolarisation,
                    const float *amplitude, const km_tissue_step *step)
{
    km_row scratch[KM_TISSUE_ROWS];
    float rise = 0, fall = 0;
    for (int i = 0; i < tissue->nodes; i++) {
        rise = km_higher(rise, activation[i]);
        fall = km_higher(fall, repolarisation[i]);
    }
    const int rise_rows = rows_for(rise, step->rise);
    const int fall_rows = rows_for(fall + (step->late > 0 ? step->late_by : 0), step->fall);
    wave->rise_rows = rise_rows;
    wave->fall_rows = fall_rows;
    memset(wave->rise, 0, (size_t)rise_rows * sizeof *wave->rise);
    memset(wave->fall, 0, (size_t)fall_rows * sizeof *wave->fall);
    for (int i = 0; i < tissue->nodes; i++) {
        scatter(wave->rise, rise_rows, tissue->seen[i], amplitude[i], activation[i]);
        scatter(wave->fall, fall_rows, tissue->seen[i], -amplitude[i] * (1 - step->late), repolarisation[i]);
        if (step->late > 0)
            scatter(wave->fall, fall_rows, tissue->seen[i], -amplitude[i] * step->late,
                    repolarisation[i] + step->late_by);
    }
    smooth_and_sum(wave->rise, scratch, rise_rows, step->rise);
    if (step->sloping > 0) {                /* earlier rows take a share of each step */
        smooth(scratch, wave->fall, fall_rows, 0, step->slope);
        for (int t = 0; t < fall_rows; t++)
            for (int l = 0; l < KM_TISSUE_CHANNELS; l++)
                wave->fall[t][l] += step->sloping * (scratch[t][l] - wave->fall[t][l]);
    }
    smooth_and_sum(wave->fall, scratch, fall_rows, step->fall);
    /* What is left over by rounding would stay for ever. */
    for (int l = 0; l < KM_TISSUE_CHANNELS; l++) {
        const float rest = wave->rise[rise_rows - 1][l] + wave->fall[fall_rows - 1][l];
        wave->fall[fall_rows - 1][l] -= rest;
    }
}
