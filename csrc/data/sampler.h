/* From recordings to a packed batch: windows, absent leads, masks, repair, normalisation, tokens (SPEC 1 and 2).
 * Tokens are ordered by recording, lead (canonical id), segment. A recording's window is its whole segments: samples
 * behind the last one are not looked at. Work is parallel over recordings; the threads do not change the result.     */
#ifndef KM_SAMPLER_H
#define KM_SAMPLER_H

#include "core/arena.h"
#include "core/error.h"
#include "data/batch.h"
#include "data/corpus.h"
#include "model/config.h"

/* What became of one row of a batch. */
typedef struct km_sampler_row {
    int64_t recording;          /* index in the corpus or among the inputs                              */
    int64_t start;              /* first sample of the window                                           */
    int64_t repaired;           /* missing samples interpolated, in the leads that were read            */
    int32_t segments;           /* whole segments a lead                                                */
    int32_t tokens;
    uint16_t present;           /* leads the recording has (sets: bit i is canonical lead i)            */
    uint16_t dropped;           /* of these, found absent: flat, or more missing than max_missing       */
    uint16_t visible;           /* of these, shown                                                      */
    int32_t problem;
} km_sampler_row;

/* The buffers of a batch, reused: they grow when a batch needs more and never shrink. */
typedef struct km_sampler {
    km_batch batch;             /* points into the arenas: valid until the next call                    */
    km_sampler_row *rows;       /* (batch.B)                                                            */
    km_arena plan, tokens, scratch;
} km_sampler;

/* A zeroed km_sampler is ready for use; free leaves it zeroed. */
void km_sampler_free(km_sampler *sampler);

/* What a training step sees of recordings `indices` (B) of the corpus: one window each, masked. batch.report, labels
 * and report_id are those of the recordings; entities are the corpus's own.
 * A recording shorter than a segment or without a usable lead is KM_VALUE; where skip is 1 it is left out and counted
 * instead (which depends on nothing but seed, epoch and recording), and batch.B may be 0.
 * KM_INDEX: no such recording.                                                                                      */
km_status km_sampler_batch(km_sampler *sampler, const km_corpus *corpus, const int64_t *indices, int B,
                           const km_config *config, uint64_t seed, uint32_t epoch, int skip, int threads,
                           km_error *err);

typedef struct km_sampler_input {
    const float *signal;        /* (leads, samples) in mV at config's rate; not finite: missing         */
    const int32_t *lead;        /* (leads) canonical ids, each once                                     */
    int leads;
    int64_t samples;
    const char *name;           /* for messages                                                         */
} km_sampler_input;

/* What an answer is computed from: consecutive windows of each of `count` recordings, or only the first, unmasked.
 * apart: a row for each visible lead of each window, in turn, as if the recording had that lead alone, but for
 * `dropped`, which is the window's in each of them.
 * The last window of a recording may be shorter, a whole segment at least. A window without a usable lead is skipped;
 * a recording with none left, or shorter than a segment, is KM_VALUE with its name. No reports, labels or entities.  */
km_status km_sampler_windows(km_sampler *sampler, const km_sampler_input *inputs, int count, const km_config *config,
                             int first, int apart, int threads, km_error *err);

#endif
