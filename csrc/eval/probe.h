/* The linear probe (SPEC 9): one linear layer with bias on frozen features x, binary cross-entropy of every class
 * (mean over batch and classes), AdamW without decay, warm-up and cosine to 0. Repeats differ in their seed, which
 * draws the first weights and the order of every epoch; the last batch of an epoch may be smaller.
 *
 * No class's weights or gradient depend on another class's, so classes are trained in blocks as wide as a vector,
 * and blocks and repeats are spread over threads: the bits are the same on any number of them.                   */
#ifndef KM_PROBE_H
#define KM_PROBE_H

#include <stdint.h>

#include "core/error.h"
#include "core/real.h"

typedef struct km_probe_data {
    const km_real *x;       /* (N, C) features, finite and within 1e18 */
    const uint8_t *y;       /* (N, K) outcomes, 0 or 1                 */
    int64_t N;              /* may be 0 but in training                */
} km_probe_data;

typedef struct km_probe_settings {
    int C, K;
    int epochs, batch_size, warmup_steps;
    double lr, beta1, beta2, eps;
    int threads;
} km_probe_settings;

/* Called by the calling thread after every epoch with their number; not 0 stops with KM_STOPPED. */
typedef int km_probe_hook(void *context, int epochs);

/* S probes, one a seed, each with the weights of the epoch (from 1) whose macro AUROC on `validation` is the highest,
 * the earliest of equal ones. Where that is never defined (no recordings, no class with both outcomes) the last epoch
 * is taken. `watched` is only scored after every epoch; nothing is chosen by it. Scores are NaN where undefined.   */
km_status km_probe_fit(km_real *weight, km_real *bias, int32_t *epoch,          /* (S, K, C), (S, K), (S)         */
                       double *validation_score, double *watched_score,         /* (S, epochs) each, macro AUROC  */
                       const km_probe_data *train, const km_probe_data *validation, const km_probe_data *watched,
                       const uint64_t *seed, int S, const km_probe_settings *settings,
                       km_probe_hook *hook, void *context, km_error *err);

/* The weights (C), `stride` apart, that class k starts from with this seed: truncated normal, deviation 0.02 (SPEC 3);
 * biases start at 0. They do not depend on how many classes there are.                                              */
void km_probe_first_weights(km_real *w, size_t stride, int C, uint64_t seed, int k);

/* Logits z = x weight^T + bias, by the sums that km_probe_fit scores with. */
km_status km_probe_apply(km_real *z,                                            /* (N, K)                         */
                         const km_real *x, const km_real *weight, const km_real *bias,
                         int64_t N, int C, int K, km_error *err);

#endif
