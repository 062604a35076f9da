/* The public C API of the core, on one page. Python's binding (csrc/python) is one user of it, tests/c another.
 *
 * Errors    Whatever can fail returns a km_status and fills the caller's km_error: which argument, what came, what was
 *           expected. Nothing prints, exits or keeps global state. On failure outputs are not to be used; handles
 *           that a create or open function was to make are NULL.
 * Handles   Made by create or open, released by free or close, which accept NULL (or a zeroed struct).
 *             km_model_create       km_model_free         parameters, statistics, gradients, working memory
 *             km_classes_create     km_classes_free       a class set; needs its model, valid until parameters change
 *             km_optimiser_create   km_optimiser_free     AdamW's moments
 *             km_trainer_create     km_trainer_free       a run; borrows model, source and objective
 *             km_head_create        km_head_free          what fine-tuning adds to a model
 *             (zeroed)              km_sampler_free       a batch's buffers; a batch is valid until the next one
 *             km_text_create        km_text_free          a text encoder
 * Borrowed  km_corpus and km_batch only point: whoever fills them keeps the memory. km_model_data points into
 *           the model.
 * Threads   A handle is used by one thread at a time; different handles are independent. Calls that take `threads` run
 *           on so many (core/threads.h), and what they compute does not depend on it.
 * Numbers   km_real is float, or double in builds with KM_DOUBLE. Arrays are dense, row-major, shapes in comments. */
#ifndef KM_KMERL_H
#define KM_KMERL_H

#include "core/error.h"         /* km_status, km_error                                                 */
#include "core/real.h"          /* km_real                                                             */

#include "data/leads.h"         /* names and canonical ids of leads                                    */
#include "data/wfdb.h"          /* WFDB headers and signals from bytes                                 */
#include "data/wfdb_file.h"     /* recordings from files to what a store keeps                         */
#include "data/steps.h"         /* samples as a store keeps them                                       */
#include "data/preprocess.h"    /* resampling, repair, normalisation                                   */
#include "data/masks.h"         /* lead and segment masks                                              */
#include "data/corpus.h"        /* recordings in memory or mapped                                      */
#include "data/batch.h"         /* what the model sees                                                 */
#include "data/sampler.h"       /* recordings to batches                                               */

#include "model/config.h"       /* every choice, and what contradicts                                  */
#include "model/params.h"       /* the list of parameters and its layout                               */
#include "model/model.h"        /* the step, evaluation                                                */
#include "model/text.h"         /* the text encoder                                                    */

#include "train/schedule.h"
#include "train/optimiser.h"
#include "train/trainer.h"
#include "train/head.h"         /* fine-tuning: a linear head on the encoder                           */

#include "simulate/simulate.h"  /* recordings that belong to no patient                                */
#include "simulate/feed.h"      /* training on them                                                    */

#include "eval/answer.h"        /* logits to probabilities                                             */
#include "eval/metrics.h"       /* AUROC and its kin, bootstrap                                        */
#include "eval/probe.h"         /* a linear layer on frozen features                                   */

#endif
