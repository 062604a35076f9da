/* Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, Parallel random numbers: as
 * easy as 1, 2, 3). A draw is a pure function of (seed, stream, a, b, i): no state, so masks and
 * dropout are the same on one thread or many, on any backend, after a resume or not.             */
#ifndef KM_RNG_H
#define KM_RNG_H

#include <stdint.h>

/* What the numbers are for; two purposes never share a counter. */
typedef enum km_stream {
    KM_STREAM_INIT = 1,     /* a: parameter index                                         */
    KM_STREAM_LEADS,        /* a: epoch, b: recording                                     */
    KM_STREAM_SEGMENTS,     /* a: epoch, b: recording                                     */
    KM_STREAM_WINDOW,       /* a: epoch, b: recording                                     */
    KM_STREAM_ORDER,        /* a: epoch                                                   */
    KM_STREAM_DROPOUT,      /* a: step, b: recording and site                             */
    KM_STREAM_BOOTSTRAP,    /* a: resample                                                */
    KM_STREAM_SPLIT,        /* a: patient                                                 */
    KM_STREAM_SIMULATE,     /* a: recording                                               */
    KM_STREAM_PROBE         /* a: epoch; 0: first weights, b: class                       */
} km_stream;

typedef struct km_rng {
    uint32_t key[2];        /* seed                                                       */
    uint32_t counter[4];    /* stream and block; a; b; i                                  */
    uint32_t block[4];      /* the numbers of the current counter                         */
    int left;               /* how many of them are unused                                */
} km_rng;

/* The i-th block of four numbers of (seed, stream, a, b). */
void km_rng_block(uint32_t out[4], uint64_t seed, km_stream stream, uint32_t a, uint64_t b, uint32_t i);

/* A sequence over those blocks, for code that needs an unknown number of draws. Each of the
 * sequences (seed, stream, a, b) has 2^32 blocks.                                             */
void km_rng_open(km_rng *rng, uint64_t seed, km_stream stream, uint32_t a, uint64_t b);
uint32_t km_rng_next(km_rng *rng);
uint32_t km_rng_below(km_rng *rng, uint32_t n);     /* uniform in 0 .. n - 1, exactly (rejection) */
double km_rng_uniform(km_rng *rng);                 /* in [0, 1), 53 bits                         */
double km_rng_normal(km_rng *rng);                  /* mean 0, variance 1                         */

/* order becomes a uniform permutation of 0 .. n - 1 (Fisher-Yates). */
void km_rng_permute(km_rng *rng, int64_t *order, int64_t n);

#endif
