/* The training loop (SPEC 7): epochs in an order drawn from the seed, batches from a source, the five-phase step,
 * AdamW on one cosine, validation after every epoch. Everything is a function of the step number: stopping and going
 * on gives the uninterrupted run, bit for bit.                                                                   */
#ifndef KM_TRAINER_H
#define KM_TRAINER_H

#include "core/error.h"
#include "model/model.h"
#include "train/optimiser.h"

/* Where batches come from. draw fills a batch that stays valid until the next draw. */
typedef struct km_source {
    void *context;
    km_status (*draw)(void *context, km_batch *batch, const int64_t *index, int B, const km_config *config,
                      uint64_t seed, uint32_t epoch, int threads, km_error *err);
} km_source;

/* What is minimised: pretraining's losses (km_model_gradients), or another loss of the encoder's features that has
 * parameters of its own (train/head.h).                                                                           */
typedef struct km_objective {
    void *context;
    /* Losses of a batch; the model's gradients in KM_GRADIENTS, the context's own with itself, and their norm. */
    km_status (*gradients)(void *context, km_losses *losses, double *norm, km_model *model, const km_batch *batch,
                           const km_step *step, km_error *err);
    /* Update number `step` (from 1) of the context's own parameters, its gradients times clip. */
    void (*update)(void *context, const km_config *config, double lr, double clip, int64_t step);
} km_objective;

typedef enum km_event {
    KM_EVENT_STEP,              /* an update was done                                              */
    KM_EVENT_VALIDATING,        /* a validation batch was done: a place to stop, nothing to record */
    KM_EVENT_VALIDATION         /* a validation was done                                           */
} km_event;

typedef struct km_progress {
    km_event event;
    int64_t step, steps;        /* updates done, and of the whole run           */
    int64_t epoch;              /* from 1: the epoch this step belongs to       */
    int64_t recordings;         /* of this step, or so far in the validation    */
    int skipped;                /* recordings that could not be used            */
    int64_t repaired, dropped;  /* samples interpolated, leads found absent     */
    km_losses losses;           /* of the step, or mean over the validation     */
    double lr, gradient_norm;   /* of a step                                    */
    const char *nonfinite;      /* NULL, or of a step that was no update: which number was not finite */
    const int64_t *index;       /* (indices) the step's recordings, in the source */
    int indices;
} km_progress;

/* Called after every step, validation batch and validation; not 0 stops the run with KM_STOPPED. */
typedef int km_hook(void *context, const km_progress *progress);

typedef struct km_trainer {
    km_model *model;            /* not owned                                    */
    km_optimiser optimiser;
    km_source source;
    km_objective objective;
    int threads;
    int64_t *train, train_count;            /* indices into the source          */
    int64_t *validation, validation_count;
    int64_t *order, ordered_epoch;          /* this epoch's order of train      */
    int64_t *index;                         /* (batch) of the current batch     */
    km_real *statistics;                    /* the running statistics before the step, to go back to */
    int64_t validated;          /* the step after which validation was last done, 0: never */
    int skip_nonfinite;         /* 1: a step whose loss or gradient is not finite is no update; 0: it is an error */
    char nonfinite[160];        /* which number that was, in words                         */
} km_trainer;

/* Copies the index lists and the objective, NULL for pretraining's. KM_VALUE when there is nothing to train on, or
 * something to validate on with another objective: km_trainer_validate knows pretraining's losses alone.        */
km_status km_trainer_create(km_trainer *trainer, km_model *model, km_source source, const km_objective *objective,
                            const int64_t *train, int64_t train_count, const int64_t *validation,
                            int64_t validation_count, int threads, km_error *err);
void km_trainer_free(km_trainer *trainer);

/* Steps in an epoch: whole batches, or one partial one where there is no more. */
int64_t km_trainer_epoch_steps(const km_trainer *trainer);

/* Goes on from optimiser.step until `until` steps are done or all epochs are, whichever comes first. A loss or gradient
 * that is not finite never reaches the parameters: KM_STATE, with step, tensor and recordings in the message, or, with
 * skip_nonfinite, a step without an update, which optimiser.passed counts. A validation loss that is not finite is an
 * error in the first case and reported as it is in the second.                                                       */
km_status km_trainer_run(km_trainer *trainer, int64_t until, km_hook *hook, void *context, km_error *err);

/* Evaluation losses over the validation indices in fixed batches of batch_size, masks of epoch 0; a mean over
 * recordings, into progress with the counts. KM_VALUE when there are none. hook as in km_trainer_run.         */
km_status km_trainer_validate(km_trainer *trainer, km_progress *progress, km_hook *hook, void *context, km_error *err);

#endif
