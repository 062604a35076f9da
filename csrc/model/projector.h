/* The two projectors and the contrast between them (Eq. 4, SPEC 5), over a whole batch:
 *   ecg  = normalize(Norm(Linear(ReLU(Norm(Linear(pooled))))))      Norm: batch, layer or none
 *          (with ResNet-18: normalize(pooled), of the attention pooling's output (B, J), in place of both layers)
 *   text = normalize(Linear(GELU(Linear(report))))
 *   L    = InfoNCE(ecg, text) at scale 1 / temperature                                            */
#ifndef KM_PROJECTOR_H
#define KM_PROJECTOR_H

#include "core/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct km_projector {
    km_real *h1, *n1, *r1, *h2, *n2;            /* (B, J)  ECG side                        */
    km_real *mean1, *rstd1, *mean2, *rstd2;     /* (J) with batch norm, (B) with layer norm */
    km_real *ecg, *ecg_rnorm;                   /* (B, J), (B)                             */
    km_real *t1, *g, *t2;                       /* (B, J)  text side                       */
    km_real *text, *text_rnorm;                 /* (B, J), (B)                             */
    km_real *decg, *dtext;                      /* (B, J)                                  */
    km_real *d1, *d2;                           /* (B, J)  scratch                         */
    km_real *pairs;                             /* 2 B^2 + 2 B  scratch of the loss        */
} km_projector;

/* training 0: only what km_projector_forward needs. */
void km_projector_layout(km_projector *projector, km_arena *arena, const km_config *c, int B, int training);

/* Fills projector->ecg and, when report is not NULL, projector->text. training: batch statistics (the running
 * ones are updated when update is 1); otherwise running statistics.                                          */
void km_projector_forward(km_projector *projector, const km_real *pooled, const km_real *report, km_statistics *running,
                          const km_params *w, const km_config *c, const km_ops *o, int B, int training, int update);

/* The loss of the forward pass's embeddings; fills decg and dtext (unweighted), adds to *dlog_scale. */
double km_projector_loss(km_projector *projector, double *dlog_scale, const int64_t *report_id, const km_params *w,
                         const km_config *c, const km_ops *o, int B);

/* From decg and dtext: dpooled, of the shape of pooled, assigned, parameter gradients added. Training mode only. */
void km_projector_backward(km_real *dpooled, km_params *dw, km_projector *projector, const km_real *pooled,
                           const km_real *report, const km_params *w, const km_config *c, const km_ops *o, int B);

#endif
