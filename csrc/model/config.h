/* Everything that decides what is computed: the C side of kmerl/config.py, field by field, same names.
 * Plain numbers; Python turns names into them. km_config_check refuses what contradicts itself.          */
#ifndef KM_CONFIG_H
#define KM_CONFIG_H

#include <stdint.h>

#include "core/error.h"
#include "core/real.h"

#define KM_LAYERNORM_EPS ((km_real)1e-5)     /* everywhere in the ECG model (SPEC 3) */

typedef enum km_encoder_kind { KM_VIT, KM_RESNET18 } km_encoder_kind;
enum { KM_LEADS = 12, KM_HEAD_SIZE = 64, KM_MAX_DEPTH = 48, KM_MAX_QUERY_LAYERS = 16, KM_MAX_LANES = 64 };

typedef enum km_normalisation { KM_ZSCORE, KM_MINMAX, KM_PER_LEAD, KM_NO_NORMALISATION } km_normalisation;
typedef enum km_scope { KM_VISIBLE, KM_PRESENT } km_scope;              /* leads whose statistics normalise   */
typedef enum km_window { KM_FIRST, KM_RANDOM } km_window;               /* of recordings longer than seconds  */
typedef enum km_tokenisation { KM_LEAD_TOKENS, KM_AGNOSTIC_TOKENS } km_tokenisation;
typedef enum km_segment_masking { KM_SEGMENTS_BY_LEAD, KM_SEGMENTS_AT_ONCE, KM_NO_SEGMENTS } km_segment_masking;
typedef enum km_final_norm { KM_NORM_TOKENS, KM_NORM_MEAN } km_final_norm;  /* what encoder.norm acts on      */
typedef enum km_norm { KM_NORM_BATCH, KM_NORM_LAYER, KM_NORM_NONE } km_norm;
typedef enum km_directions { KM_E2T, KM_MEAN, KM_SUM } km_directions;   /* the values km_infonce takes        */
typedef enum km_reduction { KM_REDUCE_MEAN, KM_REDUCE_SUM } km_reduction;   /* of L_CQ over entities          */

#define KM_CONFIG_FIELDS(INT, REAL)                                                                       \
    /* signal (SPEC 1) */                                                                                 \
    REAL(fs) REAL(seconds) REAL(max_missing) INT(normalisation) INT(normalisation_scope) INT(window)      \
    /* tokens and masks (SPEC 2) */                                                                       \
    INT(segment_samples) INT(tokenisation) INT(lead_embedding) INT(temporal_embedding)                    \
    INT(segment_masking) REAL(mask_ratio)                                                                 \
    /* encoder (SPEC 3) */                                                                                \
    INT(encoder) INT(width) INT(depth) INT(heads) INT(mlp_width) INT(text_width) INT(token_bias)          \
    INT(final_norm)                                                                                       \
    /* contrast (SPEC 5) */                                                                               \
    INT(projection_width) INT(projection_norm) REAL(temperature) INT(learn_temperature)                   \
    INT(contrast_directions) INT(contrast_positive) INT(mask_duplicates) REAL(contrast_weight)            \
    REAL(unimodal_weight) REAL(unimodal_dropout)                                                          \
    /* query network (SPEC 6) */                                                                          \
    INT(query_width) INT(query_layers) INT(query_heads) INT(query_mlp_width) INT(isolate_queries)         \
    REAL(dropout) INT(query_reduction) REAL(query_weight)                                                 \
    /* optimiser and run (SPEC 7) */                                                                      \
    REAL(lr) REAL(beta1) REAL(beta2) REAL(eps) REAL(weight_decay) INT(decay_all) REAL(clip)               \
    INT(warmup_steps) INT(batch_size) INT(epochs) INT(seed) REAL(weight_std) INT(precision)             \
    /* execution: lanes and spans set the order in which gradients are summed, memory_mb nothing */        \
    INT(lanes) INT(span_recordings) INT(span_tokens) INT(memory_mb)

typedef struct km_config {
#define INT(field) int64_t field;
#define REAL(field) double field;
    KM_CONFIG_FIELDS(INT, REAL)
#undef INT
#undef REAL
    double masked_leads[KM_LEADS];      /* probability that exactly i leads are masked, i = 0 .. 11 */
} km_config;

/* Samples a window, segments a lead, samples a patch, width of the query network's attention. */
static inline int64_t km_config_samples(const km_config *c) { return (int64_t)(c->fs * c->seconds + 0.5); }
static inline int64_t km_config_segments(const km_config *c) { return km_config_samples(c) / c->segment_samples; }
static inline int64_t km_config_patch(const km_config *c)
{
    return c->tokenisation == KM_AGNOSTIC_TOKENS ? KM_LEADS * c->segment_samples : c->segment_samples;
}
/* Width of the feature that the uni-modal maps read. */
static inline int64_t km_config_unimodal(const km_config *c)
{
    return c->encoder == KM_RESNET18 ? c->projection_width : c->width;
}
static inline int64_t km_config_attention(const km_config *c) { return c->query_heads * KM_HEAD_SIZE; }

/* ResNet-18 along time (SPEC 10): blocks 0 .. 7, two a stage; block 0 reads the stem's 64 channels. */
enum { KM_RESNET_BLOCKS = 8, KM_RESNET_STEM = 64 };
static inline int km_resnet_width(int block) { return KM_RESNET_STEM << block / 2; }
static inline int km_resnet_input(int block) { return block > 0 ? km_resnet_width(block - 1) : KM_RESNET_STEM; }
static inline int km_resnet_stride(int block) { return block > 0 && block % 2 == 0 ? 2 : 1; }
/* Positions behind the last block: stem and three stages halve the samples, rounding up. */
static inline int64_t km_resnet_positions(const km_config *c) { return (km_config_samples(c) + 15) / 16; }

/* KM_VALUE with the field, its value and what is allowed, for the first field that is not. */
km_status km_config_check(const km_config *config, km_error *err);

#endif
