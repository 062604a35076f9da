/* All arithmetic of the model, one table a backend. This page gives each operation's formula,
 * shapes and gradient rule; ops/cpu/<operation>.c implements it, tests/twins.py repeats it in NumPy.
 *
 * Conventions: outputs, saved-for-backward, inputs, parameters, sizes. dx is the gradient of x.
 * Parameter gradients accumulate (+=). Activation gradients are assigned unless the name says add.
 * Matrices are row-major; weights are (out, in). Operations are serial, never allocate, cannot fail.
 * Letters: T rows (tokens), C width, H heads, E head size, B recordings, Q entities, P patch, D text width. */
#ifndef KM_OPS_H
#define KM_OPS_H

#include "core/real.h"

/* y = beta * y + alpha * op(a) op(b),  op(a) (M, K), op(b) (K, N), op transposes when its flag is set;
 * lda, ldb, ldy are the row strides of the arrays as stored.  ops/cpu/gemm.c: BLAS or our own kernels.     */
void km_gemm(km_real *y, int ldy, const km_real *a, int lda, int a_transposed, const km_real *b, int ldb,
             int b_transposed, int M, int N, int K, km_real alpha, km_real beta);

/* y = x w^T + bias;  bias may be NULL. */
void km_linear_forward(km_real *y,                                          /* (T, N)                     */
                       const km_real *x,                                    /* (T, K)                     */
                       const km_real *w, const km_real *bias,               /* (N, K), (N)                */
                       int T, int N, int K);
/* dx = dy w (assigned; added when add is 1; skipped when dx is NULL).  dw += dy^T x,  dbias += sum_t dy;
 * dw and dbias may be NULL.                                                                              */
void km_linear_backward(km_real *dx, km_real *dw, km_real *dbias, const km_real *dy, const km_real *x,
                        const km_real *w, int T, int N, int K, int add);

/* The same of a w that is used again and again, in the product's own order: packed_weight makes packed, of
 * packed_size(N, K) elements on a boundary of 64 bytes, for packed_forward (backward 0) or packed_backward (1).
 * Results are those of linear_forward and linear_backward, to the last bit.                              */
size_t km_packed_size(int N, int K);
void km_packed_weight(km_real *packed, const km_real *w, int N, int K, int backward);  /* w (N, K)           */
void km_packed_forward(km_real *y, const km_real *x, const km_real *packed, const km_real *bias, int T, int N, int K);
void km_packed_backward(km_real *dx, km_real *dw, km_real *dbias, const km_real *dy, const km_real *x,
                        const km_real *packed, int T, int N, int K, int add);

/* Eq. 1-3: x[t] = temporal[segment[t]] + lead[lead_id[t]] + W patch[t];  lead and temporal may be NULL. */
void km_tokens_forward(km_real *x,                                          /* (T, C)                     */
                       const km_real *patches,                              /* (T, P)                     */
                       const int32_t *lead_id, const int32_t *segment,      /* (T), (T)                   */
                       const km_real *w, const km_real *lead, const km_real *temporal, /* (C, P), (12, C), (M, C) */
                       int T, int C, int P);
void km_tokens_backward(km_real *dw, km_real *dlead, km_real *dtemporal, const km_real *dx, const km_real *patches,
                        const int32_t *lead_id, const int32_t *segment, int T, int C, int P);

/* n = (x - mean) * rstd,  y = n * gain + bias,  rstd = 1 / sqrt(var + eps), one mean and rstd a row. */
void km_layernorm_forward(km_real *y, km_real *mean, km_real *rstd,         /* (T, C), (T), (T)           */
                          const km_real *x, const km_real *gain, const km_real *bias, /* (T, C), (C), (C) */
                          int T, int C, km_real eps);
/* dx (+)= rstd * (dn - mean(dn) - n * mean(dn * n)),  dn = dy * gain; += when add is 1 (the residual stream).
 * dgain += sum_t dy * n,  dbias += sum_t dy.                                                             */
void km_layernorm_backward(km_real *dx, km_real *dgain, km_real *dbias, const km_real *dy, const km_real *x,
                           const km_real *mean, const km_real *rstd, const km_real *gain, int T, int C, int add);

/* Over the rows of a whole batch (one statistic a column). Training: y = (x - mean) * rstd * gain + bias with
 * the batch's mean and biased variance, saved; running <- (1 - momentum) running + momentum * (mean, unbiased var)
 * unless running_mean is NULL.                                                                            */
void km_batchnorm_forward(km_real *y, km_real *mean, km_real *rstd,         /* (B, C), (C), (C)           */
                          km_real *running_mean, km_real *running_var,      /* (C), (C)                   */
                          const km_real *x, const km_real *gain, const km_real *bias, /* (B, C), (C), (C) */
                          int B, int C, km_real eps, km_real momentum);
void km_batchnorm_backward(km_real *dx, km_real *dgain, km_real *dbias, const km_real *dy, const km_real *x,
                           const km_real *mean, const km_real *rstd, const km_real *gain, int B, int C);
/* Evaluation: y = (x - running_mean) / sqrt(running_var + eps) * gain + bias. */
void km_batchnorm_apply(km_real *y, const km_real *x, const km_real *running_mean, const km_real *running_var,
                        const km_real *gain, const km_real *bias, int B, int C, km_real eps);

/* Batch normalisation of a batch that comes in parts of T rows (one a recording), joined in their order:
 *   moments -> join -> forward;   sums -> join_sums -> backward.
 * Statistics are those of batchnorm_forward, but the biased variance in place of rstd.
 * moments (2, C) of one part: means, and sums of squared deviations from them. */
void km_batchpart_moments(double *moments, const km_real *x, int T, int C);
void km_batchpart_join(km_real *mean, km_real *var,                         /* (C), (C)                   */
                       km_real *running_mean, km_real *running_var,         /* (C), (C), or NULL          */
                       const double *moments, int parts, int T, int C, km_real momentum);   /* (parts, 2, C) */
/* y = (x - mean) / sqrt(var + eps) * gain + bias (+ residual), and then max(y, 0) when relu is 1. Statistics of the
 * batch, or running ones in evaluation. residual (T, C) or NULL.                                          */
void km_batchpart_forward(km_real *y, const km_real *x, const km_real *mean, const km_real *var, const km_real *gain,
                          const km_real *bias, const km_real *residual, int T, int C, km_real eps, int relu);
/* dy becomes 0 where the ReLU's output y is (y NULL: no ReLU): from here on the residual's gradient too.
 * sums (2, C) of one part: sum of dy, sum of dy n with n = (x - mean) / sqrt(var + eps). */
void km_batchpart_sums(double *sums, km_real *dy, const km_real *y, const km_real *x, const km_real *mean,
                       const km_real *var, int T, int C, km_real eps);
/* total (2, C) = sums (parts, 2, C) over all parts;  dgain += sum dy n,  dbias += sum dy. */
void km_batchpart_join_sums(double *total, km_real *dgain, km_real *dbias, const double *sums, int parts, int C);
/* dx = gain / sqrt(var + eps) * (dy - mean(dy) - n mean(dy n)), means over all `rows` rows of the batch. */
void km_batchpart_backward(km_real *dx, const km_real *dy, const km_real *x, const km_real *mean, const km_real *var,
                           const km_real *gain, const double *total, int64_t rows, int T, int C, km_real eps);

/* Convolution along time, zeros around, K odd: y[t] = sum_k w[:, k] x[t stride + k - K / 2] of the
 * (L - 1) / stride + 1 outputs t. scratch: km_conv_scratch(C, K) elements. */
size_t km_conv_scratch(int C, int K);
void km_conv_forward(km_real *y, km_real *scratch, const km_real *x, const km_real *w, /* (., N), (L, C), (N, K C) */
                     int L, int C, int N, int K, int stride);
/* dx assigned (added when add is 1; skipped when NULL), dw +=. */
void km_conv_backward(km_real *dx, km_real *dw, km_real *scratch, const km_real *dy, const km_real *x,
                      const km_real *w, int L, int C, int N, int K, int stride, int add);

/* Exact GELU: y = x/2 (1 + erf(x / sqrt 2)).  dx = dy * (Phi(x) + x phi(x)).  n elements. */
void km_gelu_forward(km_real *y, const km_real *x, size_t n);
void km_gelu_backward(km_real *dx, const km_real *dy, const km_real *x, size_t n);
/* y = max(x, 0);  dx = dy where y > 0 (the saved output stands in for x). */
void km_relu_forward(km_real *y, const km_real *x, size_t n);
void km_relu_backward(km_real *dx, const km_real *dy, const km_real *y, size_t n);

/* Attention of one recording (or text): for each head, out = softmax(q k^T / sqrt(E)) v.
 * q (Tq, H, E) with row stride ldq, k and v (Tk, H, E) with row stride ldk, out (Tq, H, E) with row stride ldo:
 * slices of packed projections. lse (H, Tq): log of the softmax denominator, saved; the probabilities are
 * recomputed in the backward pass. dropout > 0 drops probabilities, scaled by 1 / (1 - dropout), with masks
 * from (seed, step, site). scratch: km_attention_scratch(Tq, Tk, E) elements.                             */
typedef struct km_dropout {
    double rate;                /* 0: no dropout, the rest unused        */
    uint64_t seed;
    uint32_t step;
    uint64_t site;              /* unique for recording, layer and place */
} km_dropout;
size_t km_attention_scratch(int Tq, int Tk, int E);
void km_attention_forward(km_real *out, km_real *lse, km_real *scratch, const km_real *q, const km_real *k,
                          const km_real *v, int Tq, int Tk, int H, int E, int ldq, int ldk, int ldo,
                          const km_dropout *dropout);
/* dq, dk, dv assigned, with the strides of q, k, v; out and dout with stride ldo. */
void km_attention_backward(km_real *dq, km_real *dk, km_real *dv, km_real *scratch, const km_real *dout,
                           const km_real *out, const km_real *lse, const km_real *q, const km_real *k,
                           const km_real *v, int Tq, int Tk, int H, int E, int ldq, int ldk, int ldo,
                           const km_dropout *dropout);
/* weights (Tq, Tk): the probabilities, averaged over heads. */
void km_attention_weights(km_real *weights, km_real *scratch, const km_real *q, const km_real *k, int Tq, int Tk,
                          int H, int E, int ldq, int ldk);

/* y = x where kept, scaled by 1 / (1 - rate), else 0. Its own gradient rule: dx = forward of dy. In place allowed. */
void km_dropout_forward(km_real *y, const km_real *x, size_t n, const km_dropout *dropout);

/* Mean over each recording's tokens, rows offset[b] .. offset[b + 1] - 1:  y (B, C), x (T, C). */
void km_pool_forward(km_real *y, const km_real *x, const int32_t *offset, int B, int C);
void km_pool_backward(km_real *dx, const km_real *dy, const int32_t *offset, int B, int C, int add);

/* n elements: add: y = x + z;  accumulate: y += x;  scale: x *= a;  square_sum: sum of x^2, in double. */
void km_vector_add(km_real *y, const km_real *x, const km_real *z, size_t n);
void km_vector_accumulate(km_real *y, const km_real *x, size_t n);
void km_vector_scale(km_real *x, km_real a, size_t n);
double km_vector_square_sum(const km_real *x, size_t n);

/* y = x / |x|, one norm a row: rnorm (B) = 1 / max(|x|, 1e-12).  dx = rnorm * (dy - y (dy . y)). */
void km_normalize_forward(km_real *y, km_real *rnorm, const km_real *x, int B, int C);
void km_normalize_backward(km_real *dx, const km_real *dy, const km_real *y, const km_real *rnorm, int B, int C);

/* Contrast (SPEC 5): s = scale * ecg text^T, rows of ecg and text L2-normalised.  Cross entropy of each row
 * (e2t) and each column (t2e) against the diagonal, mean over the batch.
 * directions 2: their sum, 1: their mean, 0: e2t only.  positive 0: left out of the denominator (decoupled).
 * same_text (B), NULL or ids: off-diagonal pairs with the same id are left out of the denominators.
 * Returns the loss; d_ecg, d_text assigned, d_scale += dL/dscale. scratch: 2 B^2 + 2 B elements.
 * decoupled with a single recording, or nothing else left in a denominator: that row adds 0.               */
double km_infonce(km_real *d_ecg, km_real *d_text, double *d_scale, km_real *scratch,
                  const km_real *ecg, const km_real *text, double scale, const int64_t *same_text,
                  int B, int C, int directions, int positive);

/* BCE with logits: sum over n of max(z, 0) - z y + log(1 + exp(-|z|));  dz = weight * (sigmoid(z) - y). */
double km_bce(km_real *dz, const km_real *z, const km_real *y, double weight, size_t n);

/* AdamW, one pass over n elements (decoupled decay): w -= lr * (m / c1 / (sqrt(v / c2) + eps) + decay * w),
 * m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  c = 1 - b^step,  g = gradient * clip.                  */
void km_adamw(km_real *w, km_real *m, km_real *v, const km_real *gradient, size_t n, double clip, double lr,
              double b1, double b2, double eps, double decay, int64_t step);

/* The table: what the model calls. Backends fill it. The first list is of operations that multiply matrices: the
 * precision is that of the products' factors, everything else is km_real in any table.                       */
#define KM_OPERATIONS(X) KM_PRODUCT_OPERATIONS(X) KM_OTHER_OPERATIONS(X)
#define KM_PRODUCT_OPERATIONS(X)                                                                           \
    X(gemm) X(linear_forward) X(linear_backward) X(packed_size) X(packed_weight) X(packed_forward)           \
    X(packed_backward) X(tokens_forward) X(tokens_backward) X(attention_scratch) X(attention_forward)      \
    X(attention_backward) X(attention_weights) X(conv_scratch) X(conv_forward) X(conv_backward)
#define KM_OTHER_OPERATIONS(X)                                                                             \
    X(layernorm_forward) X(layernorm_backward) X(batchnorm_forward) X(batchnorm_backward)                  \
    X(batchnorm_apply) X(gelu_forward) X(gelu_backward) X(relu_forward) X(relu_backward)                   \
    X(dropout_forward) X(pool_forward) X(pool_backward) X(vector_add) X(vector_accumulate)                 \
    X(vector_scale) X(vector_square_sum) X(normalize_forward) X(normalize_backward) X(infonce) X(bce)      \
    X(adamw) X(batchpart_moments) X(batchpart_join) X(batchpart_forward) X(batchpart_sums)                 \
    X(batchpart_join_sums) X(batchpart_backward)

typedef struct km_ops {
    const char *backend;
    int mlp_rows;       /* rows that go through an MLP together, so that its hidden layer stays in cache; 0: all */
#define X(operation) __typeof__(km_##operation) *operation;
    KM_OPERATIONS(X)
#undef X
} km_ops;

/* KM_BF16: both factors of a product are rounded to bfloat16, sums stay km_real. */
typedef enum km_precision { KM_FLOAT32, KM_BF16 } km_precision;

/* The CPU's table; valid for ever. */
const km_ops *km_ops_cpu(km_precision precision);

#endif
