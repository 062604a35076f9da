/* The whole model: parameters, the five-phase training step, and evaluation.
 *
 *   sweep 1   parallel over spans   tokens, encoder forward, pooled features
 *   join      whole batch           projectors, contrast and its gradient; the queries' shared half
 *   sweep 2   parallel over lanes   query network and BCE forward and backward, encoder backward
 *   reduce    fixed order           sum of the lanes
 *   update    train/optimiser       AdamW
 *
 * A span is a run of whole recordings; lane l takes spans l, l + lanes, ... in order. Neither depends on the
 * number of threads, so neither do the bits. In evaluation every recording is a span of its own: an answer
 * does not depend on what else is in the batch.                                                            */
#ifndef KM_MODEL_H
#define KM_MODEL_H

#include "core/error.h"
#include "data/batch.h"
#include "model/config.h"
#include "model/params.h"

typedef struct km_model km_model;

km_status km_model_create(km_model **model, const km_config *config, km_error *err);
void km_model_free(km_model *model);

/* Parameters from config.seed, statistics to (0, 1). */
void km_model_initialize(km_model *model);

/* Then, query_init centred: the first queries of the names that are taught, embeddings x (n, text_width), n >= 1, get
 * mean 0 and mean square 1 (model/query.h). KM_VALUE without a query network.                                       */
km_status km_model_centre_queries(km_model *model, const km_real *x, int n, km_error *err);

const km_config *km_model_config(const km_model *model);

/* The flat arrays, owned by the model; gradients are those of the last km_model_gradients. Whoever changes parameters
 * asks for them anew each time: the model keeps a copy in the products' order until then.                       */
typedef enum km_part { KM_PARAMETERS, KM_STATISTICS, KM_GRADIENTS } km_part;
const km_layout *km_model_layout(const km_model *model, km_part part);
km_real *km_model_data(km_model *model, km_part part);

typedef struct km_losses {
    double contrast, unimodal, query;   /* unweighted; 0 where the weight is 0                 */
    double total;               /* the sum of weight * loss                                    */
    int duplicates;             /* recordings whose report another one of the batch has too     */
} km_losses;

typedef struct km_step {
    int threads;
    int training;               /* dropout if configured; 0: none                              */
    int update_statistics;      /* batch norm's running statistics take this batch in          */
    uint32_t step;              /* dropout masks are a function of (seed, step, recording)     */
} km_step;

/* Forward and backward with batch statistics. Needs batch->report when contrast_weight > 0, labels and
 * entities when query_weight > 0.                                                                        */
km_status km_model_gradients(km_model *model, km_losses *losses, const km_batch *batch, const km_step *step,
                             km_error *err);

/* The encoder alone, both ways: what an objective of one's own stands on (fine-tuning: a linear head and its BCE).
 *
 *   km_model_forward(model, &features, batch, step, err)      training mode, whatever the encoder
 *   ... loss of features (B, C), and its gradient dfeatures (B, C) ...
 *   km_model_backward(model, dfeatures, batch, step)          the encoder's gradients, in km_model_data(KM_GRADIENTS)
 *   km_optimiser_update(...)                                  one's own head has its own km_adamw
 *
 * features belong to the model and hold until its next call; batch and step must be the same in both calls; the batch
 * needs no texts. Gradients are assigned: those of parameters outside the encoder are 0. C is config.width. In
 * evaluation mode (running statistics) the same features come from km_model_evaluate.                              */
km_status km_model_forward(km_model *model, const km_real **features, const km_batch *batch, const km_step *step,
                           km_error *err);
void km_model_backward(km_model *model, const km_real *dfeatures, const km_batch *batch, const km_step *step);

/* What km_model_evaluate can compute; NULL where not wanted. */
typedef struct km_outputs {
    km_real *logits;            /* (B, Q)                                                       */
    km_real *features;          /* (B, C)  pooled tokens                                        */
    km_real *ecg;               /* (B, J)  projected, L2-normalised                             */
    km_real *text;              /* (B, J)  needs batch->report                                  */
    km_real *attention;         /* recording b: (Q, T_b) from Q * offset[b]                     */
} km_outputs;

/* KM_VALUE without a query network (query_weight 0).
 * A class set: the query network's half that does not see the ECG, computed once for these embeddings
 * (Q, D). Valid until the parameters change.                                                          */
typedef struct km_classes km_classes;
km_status km_classes_create(km_classes **classes, km_model *model, const km_real *entities, int Q, km_error *err);
void km_classes_free(km_classes *classes);
int km_classes_count(const km_classes *classes);

/* Evaluation mode: running statistics, no dropout. classes may be NULL unless logits or attention are wanted. */
km_status km_model_evaluate(km_model *model, const km_outputs *outputs, const km_batch *batch,
                            const km_classes *classes, int threads, km_error *err);

/* L2-normalised text embeddings (n, J) of n report-like texts (n, D): the other side of the cosine. */
km_status km_model_project_text(km_model *model, km_real *text, const km_real *report, int n, km_error *err);

/* Evaluation mode losses of a batch. */
km_status km_model_losses(km_model *model, km_losses *losses, const km_batch *batch, int threads, km_error *err);

#endif
