/* A batch as the model sees it: packed tokens of B recordings, no padding. */
#ifndef KM_BATCH_H
#define KM_BATCH_H

#include "core/error.h"
#include "core/real.h"
#include "model/config.h"

typedef struct km_batch {
    int B, T, Q, D;             /* recordings, tokens, entities, text width                                 */
    const km_real *patches;     /* (T, P)   normalised samples                                              */
    const int32_t *lead;        /* (T)      canonical lead ids 0 .. 11; 0 for lead-agnostic tokens          */
    const int32_t *segment;     /* (T)      0 .. M - 1                                                      */
    const int32_t *offset;      /* (B + 1)  recording b owns tokens offset[b] .. offset[b + 1] - 1          */
    const km_real *report;      /* (B, D)   text embeddings of the reports                                  */
    const int64_t *report_id;   /* (B)      equal ids: the same text; NULL where unknown                    */
    const km_real *labels;      /* (B, Q)   0 or 1                                                          */
    const km_real *entities;    /* (Q, D)   text embeddings of the entity names                             */
    const int64_t *recording;   /* (B)      ids that dropout's masks are made from; NULL: the place b       */
    int skipped;                /* recordings that were asked for and could not be used                     */
    int64_t repaired, dropped;  /* missing samples interpolated, leads found absent, in those that were     */
} km_batch;

/* KM_VALUE for the first thing that does not fit together or the configuration: sizes, offsets, ids. */
km_status km_batch_check(const km_batch *batch, const km_config *config, km_error *err);

#endif
