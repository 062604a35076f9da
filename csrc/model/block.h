/* One pre-norm transformer block of the ECG encoder (SPEC 3) over a span's packed tokens:
 *   x1 = x + Out(Attention(QKV(Norm1(x)))),   y = x1 + Fc2(GELU(Fc1(Norm2(x1)))).
 * Attention runs within each recording only.                                                    */
#ifndef KM_BLOCK_H
#define KM_BLOCK_H

#include "core/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct km_block {           /* what the backward pass needs   */
    const km_real *x;               /* (T, C)  the residual stream in */
    km_real *n1, *mean1, *rstd1;    /* (T, C), (T), (T)               */
    km_real *qkv;                   /* (T, 3C)                        */
    km_real *lse;                   /* (H, T_b) of each recording     */
    km_real *attention;             /* (T, C)                         */
    km_real *x1;                    /* (T, C)                         */
    int keep;                       /* 0: the rest has room for R = km_ops.mlp_rows rows, used again; 1: R = T */
    km_real *n2, *mean2, *rstd2;    /* (R, C), (R), (R)               */
    km_real *h, *g;                 /* (R, F), (R, F)                 */
} km_block;

typedef struct km_block_scratch {   /* used within one call           */
    km_real *attention;             /* km_attention_scratch           */
    km_real *dg;                    /* (T, F)   backward only         */
    km_real *dn, *dattention;       /* (T, C)   backward only         */
    km_real *dqkv;                  /* (T, 3C)  backward only         */
} km_block_scratch;

/* T tokens, at most `longest` of them in one recording. keep: for a backward pass. */
void km_block_layout(km_block *block, km_arena *arena, const km_config *c, const km_ops *o, int T, int keep);
void km_block_scratch_layout(km_block_scratch *scratch, km_arena *arena, const km_config *c, int T, int longest,
                             int backward);

/* w: packed for the pass (model/weights.h). */
void km_block_forward(km_real *y, km_block *block, km_block_scratch *scratch, const km_real *x,
                      const km_block_params *w, const km_config *c, const km_ops *o, const int32_t *offset, int B);

/* dx holds dy on entry and the gradient of x on return (the residual stream). */
void km_block_backward(km_real *dx, km_block_params *dw, const km_block *block, km_block_scratch *scratch,
                       const km_block_params *w, const km_config *c, const km_ops *o, const int32_t *offset, int B);

#endif
