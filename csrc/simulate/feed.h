/* Training on simulated recordings: a source of batches that are new in every epoch and never stored.
 * Recording i of epoch e (from 1) is recording (e - 1) epoch_recordings + i of the simulator; a validation (epoch 0)
 * names its recordings itself. Labels are the entities found; the text vector is the mean of the vectors of the
 * findings' names, since no text encoder runs here.                                                              */
#ifndef KM_FEED_H
#define KM_FEED_H

#include "core/arena.h"
#include "data/sampler.h"
#include "simulate/simulate.h"

typedef struct km_feed {
    km_simulate_settings settings;      /* what it points to is not owned                                   */
    uint16_t leads;                     /* that the recordings have: bit i is canonical lead i              */
    int64_t epoch_recordings;
    int Q, D;
    const uint8_t *entities_of;         /* (criteria.labels, Q) a finding and all above it                  */
    const km_real *vectors;             /* (criteria.labels, D) of the findings' names, pooled as reports   */
    const km_real *entities;            /* (Q, D) of the entities' names as queries                         */

    /* One batch: grows with the largest seen. */
    km_arena arena;
    km_simulate_scratch **scratch;      /* (threads)                                                        */
    int threads;
    km_sampler sampler;
} km_feed;

/* A zeroed km_feed with settings and the rest filled in is ready; free leaves it empty. */
void km_feed_free(km_feed *feed);

/* As km_source.draw (train/trainer.h), context a km_feed. */
km_status km_feed_draw(void *context, km_batch *batch, const int64_t *index, int B, const km_config *config,
                         uint64_t seed, uint32_t epoch, int threads, km_error *err);

#endif
