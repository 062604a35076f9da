/* The ECG encoder F_E (Eq. 1-3, SPEC 3) over a span: packed patches -> tokens z, pooled features. */
#ifndef KM_ENCODER_H
#define KM_ENCODER_H

#include "model/block.h"

typedef struct km_encoder {
    km_real *x[KM_MAX_DEPTH + 1];       /* (T, C)  residual stream before each block, and after the last */
    km_block blocks[KM_MAX_DEPTH];
    km_real *mean, *rstd;               /* (T)     of the final norm                                     */
    km_real *z;                         /* (T, C)  the tokens, normed; or (B, C) their means, to be normed */
} km_encoder;

/* keep 1: every block's activations have their own place, for the backward pass; 0: all blocks share one. */
void km_encoder_layout(km_encoder *encoder, km_arena *arena, const km_config *c, const km_ops *o, int T, int keep);

/* patches (T, P), lead (T), segment (T), offset (B + 1) from 0 -> encoder->z and pooled (B, C). */
void km_encoder_forward(km_real *pooled, km_encoder *encoder, km_block_scratch *scratch, const km_real *patches,
                        const int32_t *lead, const int32_t *segment, const int32_t *offset, int B, const km_params *w,
                        const km_config *c, const km_ops *o);

/* From the gradients of the features, dpooled (B, C) or NULL, and, when tokens is 1, of the normed tokens, dz (T, C).
 * dz is used up; dx (T, C) is scratch.                                                                           */
void km_encoder_backward(km_params *dw, km_real *dx, km_real *dz, const km_real *dpooled, int tokens,
                         const km_encoder *encoder, km_block_scratch *scratch, const km_real *patches,
                         const int32_t *lead, const int32_t *segment, const int32_t *offset, int B, const km_params *w,
                         const km_config *c, const km_ops *o);

#endif
