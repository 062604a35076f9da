/* Excitable tissue as a graph of nodes, seen by electrodes. A node's transmembrane potential steps from 0 to its
 * amplitude when it is activated and back when it repolarises; current flows along edges, so that lead l sees
 *   phi_l(t) = sum over edges (i, j)  a_ij (V_i(t) - V_j(t)) L_l(middle of the edge) . e_ij  =  sum_i  c_li V_i(t)
 * with L_l the lead's field (mV per unit of dipole), e_ij the direction from i to j and a_ij the edge's cross-section:
 * the dipole of a volume is conductivity times - grad V, (V_i - V_j) / length, times its volume, a_ij length.
 * QRS, ST and T come out of the same sum: a scar takes its edges away, an injured node has a smaller amplitude, a late
 * node is late in both steps.                                                                                     */
#ifndef KM_TISSUE_H
#define KM_TISSUE_H

#include <stdint.h>

/* fmaxf and fminf of numbers that are none NaN: the compiler calls libm for those. */
static inline float km_higher(float a, float b)
{
    return a > b ? a : b;
}

static inline float km_lower(float a, float b)
{
    return a < b ? a : b;
}

enum {
    KM_TISSUE_NODES = 192,
    KM_TISSUE_EDGES = 512,
    KM_TISSUE_CHANNELS = 8,         /* I, II, V1 .. V6: the independent leads                       */
    KM_TISSUE_ROWS = 1200,          /* ms of a wave                                                 */
    KM_TISSUE_BEFORE = 80           /* ms of a wave before time 0                                   */
};

typedef float km_row[KM_TISSUE_CHANNELS];

typedef struct km_tissue {
    int nodes, edges;
    float at[KM_TISSUE_NODES][3];           /* cm from the heart's centre: to the left, down, to the back  */
    float alive[KM_TISSUE_NODES];           /* 1: sound, 0: scar                                    */
    uint8_t end[KM_TISSUE_EDGES][2];
    float area[KM_TISSUE_EDGES];            /* cm2: cross-section                                   */
    float delay[KM_TISSUE_EDGES];           /* ms to cross it                                       */
    km_row seen[KM_TISSUE_NODES];           /* c_li                                                 */
} km_tissue;

/* What the leads see over time, at 1 kHz; row 0 is KM_TISSUE_BEFORE ms before the beat's time. After its last row the
 * first part stays where it is, and the two parts' last rows cancel.                                               */
typedef struct km_wave {
    km_row rise[KM_TISSUE_ROWS];            /* from activation                                      */
    km_row fall[KM_TISSUE_ROWS];            /* from repolarisation                                  */
    int rise_rows, fall_rows;
} km_wave;

/* How steps look. */
typedef struct km_tissue_step {
    int rise;                               /* ms: width of each of the three boxes that smooth it  */
    int fall;
    int slope;                              /* ms: how long phase 2 takes                           */
    float sloping;                          /* share of the amplitude that is lost in phase 2       */
    float late, late_by;                    /* share that repolarises late_by ms later: the U wave  */
} km_tissue_step;

int km_tissue_node(km_tissue *tissue, float x, float y, float z);
/* area in cm2, speed in cm/ms. */
void km_tissue_edge(km_tissue *tissue, int i, int j, float area, float speed);

/* The field of every channel at a point. */
typedef void km_field(float field[KM_TISSUE_CHANNELS][3], const void *context, const float at[3]);
void km_tissue_see(km_tissue *tissue, km_field *field, const void *context);

/* Earliest arrival from the nodes whose time is set; others must be KM_TISSUE_NEVER. slow (nodes) multiplies the
 * delay of edges that touch a node; NULL: 1.                                                                      */
#define KM_TISSUE_NEVER 1e9f
void km_tissue_activate(float *time, const km_tissue *tissue, const float *slow);

/* amplitude (nodes); times in ms from the beat's time. */
void km_tissue_wave(km_wave *wave, const km_tissue *tissue, const float *activation, const float *repolarisation,
                    const float *amplitude, const km_tissue_step *step);

#endif
