/* The objective of fine-tuning: a linear head with bias on the pooled feature, trained together with the encoder, and
 * binary cross-entropy with the batch's labels, mean over batch and classes. The head takes the model's optimiser
 * settings, and its gradient belongs to the norm that clipping looks at.                                           */
#ifndef KM_HEAD_H
#define KM_HEAD_H

#include "core/arena.h"
#include "train/trainer.h"

typedef struct km_head {
    km_arena arena;
    int C, K;                       /* features, classes                                   */
    size_t size;                    /* K C + K: weights (K, C), then biases (K)            */
    km_real *w, *m, *v, *gradient;  /* (size) each: values, AdamW's moments, gradient      */
    km_real *z, *dfeatures;         /* (batch_size, K) logits and gradient; (batch_size, C) */
} km_head;

/* For a model of this configuration, with the first weights of a probe of its seed (eval/probe.h). */
km_status km_head_create(km_head *head, const km_config *config, int classes, km_error *err);
void km_head_free(km_head *head);

/* Borrows the head. Batches need labels (B, K), B at most batch_size. */
km_objective km_head_objective(km_head *head);

#endif
