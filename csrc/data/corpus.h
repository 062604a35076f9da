/* A store as the core sees it: views of memory that somebody else owns and may have mapped from files. */
#ifndef KM_CORPUS_H
#define KM_CORPUS_H

#include "core/error.h"
#include "core/real.h"

#define KM_CORPUS_STEP 0.001f       /* mV a step                */
#define KM_CORPUS_MISSING INT16_MIN

typedef struct km_corpus {
    int64_t count;                  /* N recordings                                                          */
    int shard_count;
    const int16_t *const *shards;   /* samples in steps of 1 uV, KM_CORPUS_MISSING for missing               */
    const int64_t *shard_length;    /* (shard_count) samples                                                 */
    const int32_t *shard;           /* (N) where a recording's samples are                                   */
    const int64_t *start;           /* (N) index of its first sample there                                   */
    const uint16_t *leads;          /* (N) the leads it has: bit i is canonical lead i                       */
    const int32_t *samples;         /* (N) per lead; rows in canonical order, (leads, samples)               */
    const int32_t *report;          /* (N) row of its report in embeddings and labels                        */
    const int64_t *id;              /* (N) what its masks are drawn by; NULL: its place here                 */
    int64_t reports;                /* R distinct reports                                                    */
    int D, Q;                       /* text width, entities; 0 where there are none yet                      */
    const km_real *embeddings;      /* (R, D)                                                                */
    const uint8_t *labels;          /* (R, Q)                                                                */
    const km_real *entities;        /* (Q, D)                                                                */
} km_corpus;

/* Every recording lies within its shard, has a lead and a sample, and names a report there is: KM_VALUE with the
 * first that does not. Call it once; the sampler relies on it.                                                   */
km_status km_corpus_check(const km_corpus *corpus, km_error *err);

#endif
