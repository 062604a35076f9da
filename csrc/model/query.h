/* The cardiac query network F_CQ (Sec. 2.5, SPEC 6):
 *   q      = Linear(entities)                                  (Q, W)   the same for every recording
 *   memory = LayerNorm(Linear(z))                              (T, W)
 *   layer:   x1 = x  + SelfAttention(Norm1(x))
 *            x2 = x1 + CrossAttention(Norm2(x1), memory)
 *            y  = x2 + Fc2(ReLU(Fc1(Norm3(x2))))
 *   logit  = Linear(Norm(x))                                   (Q)      one shared row
 * The first layer's x1, and q of its cross-attention, do not see the ECG: km_query_open computes them once per
 * class set or step, and km_query_close carries their gradients, summed over recordings, back to the parameters.
 * Everything else runs recording by recording; only the memory and its keys and values span a whole span. */
#ifndef KM_QUERY_H
#define KM_QUERY_H

#include "core/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct km_query_layer {
    const km_real *x;                   /* (Q, W)                              */
    km_real *n1, *mean1, *rstd1;        /* (Q, W), (Q), (Q)                    */
    km_real *qkv;                       /* (Q, 3A); unused by isolated queries */
    km_real *lse1, *attention1;         /* (H, Q), (Q, A)                      */
    km_real *x1;                        /* (Q, W)                              */
    km_real *n2, *mean2, *rstd2;
    km_real *q, *lse2, *attention2;     /* (Q, A), (H, Q), (Q, A)              */
    km_real *x2;                        /* (Q, W)                              */
    km_real *n3, *mean3, *rstd3;
    km_real *h;                         /* (Q, F) after ReLU and dropout       */
    km_real *y;                         /* (Q, W)                              */
} km_query_layer;

typedef struct km_query_shared {        /* what does not depend on the ECG     */
    km_real *q;                         /* (Q, W)                              */
    km_query_layer first;               /* up to its cross-attention's q       */
    km_real *scratch;                   /* km_attention_scratch                */
    km_real *dx1, *dq;                  /* (Q, W), (Q, A)  sums over recordings */
    km_real *branch, *dn, *dattention, *dqkv;   /* backward scratch            */
} km_query_shared;

typedef struct km_query_span {
    km_real *projected, *mean, *rstd;   /* (T, W), (T), (T)                    */
    km_real *memory;                    /* (T, W)                              */
    km_real *kv[KM_MAX_QUERY_LAYERS];   /* (T, 2A)                             */
    km_real *dkv[KM_MAX_QUERY_LAYERS];  /* (T, 2A)                             */
    km_real *dmemory;                   /* (T, W)                              */
} km_query_span;

typedef struct km_query {               /* one recording at a time             */
    km_query_layer layers[KM_MAX_QUERY_LAYERS];
    km_real *n, *mean, *rstd;           /* (Q, W), (Q), (Q)                    */
    km_real *scratch;                   /* km_attention_scratch                */
    km_real *dx, *branch, *dn, *dattention, *dqkv, *dh;     /* backward scratch */
} km_query;

void km_query_shared_layout(km_query_shared *shared, km_arena *arena, const km_config *c, int Q, int backward);
void km_query_span_layout(km_query_span *span, km_arena *arena, const km_config *c, int T, int backward);
void km_query_layout(km_query *query, km_arena *arena, const km_config *c, int Q, int longest, int backward);

/* First values of the projection from those drawn: the queries of x (n, D), names' embeddings, get mean 0 in each of W
 * components and mean square 1 over all. Names share most of what an embedding says: without this their queries are
 * nearly the same. One name, or the same n times, has no spread: mean 0 alone.                                      */
void km_query_centre(km_real *weight, km_real *bias, const km_real *x, int n, int W, int D);

/* dropout NULL: evaluation. Its site is that of the recording (see km_query_site); the shared half has its own. */
uint64_t km_query_site(int64_t recording);

/* Weights are packed for the pass (model/weights.h) in all that follow. */
void km_query_open(km_query_shared *shared, const km_real *entities, const km_params *w, const km_config *c,
                   const km_ops *o, const km_dropout *dropout, int Q);
void km_query_memory(km_query_span *span, const km_real *z, const km_params *w, const km_config *c, const km_ops *o,
                     int T);
/* logits (Q) of the recording whose tokens are rows first .. first + n - 1 of the span. */
void km_query_forward(km_real *logits, km_query *query, const km_query_shared *shared, const km_query_span *span,
                      int first, int n, const km_params *w, const km_config *c, const km_ops *o,
                      const km_dropout *dropout, int Q);
/* dx1 (Q, W) and dq (Q, A) of the first layer +=;  fills the rows of span->dkv. */
void km_query_backward(km_real *dx1, km_real *dq, km_params *dw, const km_real *dlogits, km_query *query,
                       km_query_span *span, int first, int n, const km_params *w, const km_config *c, const km_ops *o,
                       const km_dropout *dropout, int Q);
/* dz (T, C) assigned. */
void km_query_memory_backward(km_real *dz, km_params *dw, km_query_span *span, const km_real *z, const km_params *w,
                              const km_config *c, const km_ops *o, int T);
/* From shared->dx1 and shared->dq. */
void km_query_close(km_params *dw, km_query_shared *shared, const km_real *entities, const km_params *w,
                    const km_config *c, const km_ops *o, const km_dropout *dropout, int Q);

/* After km_query_forward: weights (Q, n), the last layer's cross-attention averaged over heads; rows sum to 1. */
void km_query_attention(km_real *weights, const km_query *query, const km_query_span *span, int first, int n,
                        const km_config *c, const km_ops *o, int Q);

#endif
