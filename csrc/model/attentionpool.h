/* The attention pooling that ends MERL's ResNet (SPEC 10), of one recording's map z (L, C):
 *   h = Linear(z)  (a 1x1 convolution),  x = [token; h + positions]  (L + 1, J)
 *   out = Linear(Attention(q of the token's row, keys and values of all rows)),  J / 64 heads                      */
#ifndef KM_ATTENTIONPOOL_H
#define KM_ATTENTIONPOOL_H

#include "core/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct km_attentionpool {
    km_real *x, *kv;                    /* (L + 1, J), (L + 1, 2 J)   */
    km_real *q, *lse, *attention;       /* (J), (H), (J)              */
    km_real *scratch;                   /* km_attention_scratch       */
    km_real *dx, *dkv, *dq, *dattention;        /* backward only      */
} km_attentionpool;

void km_attentionpool_layout(km_attentionpool *pool, km_arena *arena, const km_config *c, int backward);

void km_attentionpool_forward(km_real *out, km_attentionpool *pool, const km_real *z, const km_params *w,
                              const km_config *c, const km_ops *o);

/* After the forward pass of the same z: dz (L, C) assigned. */
void km_attentionpool_backward(km_real *dz, km_params *dw, km_attentionpool *pool, const km_real *dout,
                               const km_real *z, const km_params *w, const km_config *c, const km_ops *o);

#endif
