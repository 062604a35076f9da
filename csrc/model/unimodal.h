/* The uni-modal contrast of MERL (SPEC 10): between two bias-free linear maps of the same feature, each followed by
 * dropout, at the cross-modal contrast's temperature, both directions summed:
 *   u_i = normalize(dropout(W_i x)),  i = 1, 2        L = InfoNCE(u_1, u_2)
 * With ResNet-18 x is the average over time of the 1x1 convolution's channels, which is the convolution's map of the
 * average: x = Linear(feature) with the convolution's weights.                                                      */
#ifndef KM_UNIMODAL_H
#define KM_UNIMODAL_H

#include "core/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct km_unimodal {
    km_real *u[2], *rnorm[2];           /* (B, J), (B)                    */
    km_real *du[2];                     /* (B, J)                         */
    km_real *h;                         /* (B, J)  scratch                */
    km_real *x, *dx;                    /* (B, J)  with ResNet-18         */
    km_real *pairs;                     /* 2 B^2 + 2 B  scratch of the loss */
} km_unimodal;

void km_unimodal_layout(km_unimodal *unimodal, km_arena *arena, const km_config *c, int B);

/* From the features (B, C). dropout NULL: evaluation; its site is set here, from the
 * recordings' ids, or their places where recording is NULL.                                                    */
void km_unimodal_forward(km_unimodal *unimodal, const km_real *features, const int64_t *recording,
                         const km_dropout *dropout, const km_params *w, const km_config *c, const km_ops *o, int B);

/* The loss; fills du (unweighted), adds to *dlog_scale. */
double km_unimodal_loss(km_unimodal *unimodal, double *dlog_scale, const km_params *w, const km_config *c,
                        const km_ops *o, int B);

/* weight * du back: dfeatures (B, C) is added to, and so are the maps' gradients. */
void km_unimodal_backward(km_real *dfeatures, km_params *dw, km_unimodal *unimodal, const km_real *features,
                          const int64_t *recording, const km_dropout *dropout, const km_params *w, const km_config *c,
                          const km_ops *o, int B, km_real weight);

#endif
