/* The one list of parameters. Adding a parameter is one line here: the struct, the arena layout, the
 * checkpoint's directory and the Python names follow.
 *   X(field, name, rows, cols, init, needs)   cols 0: a vector.  Expressions see `c`, a km_config.
 * init: WEIGHT truncated N(0, weight_std) at two deviations, CONV uniform within 1 / sqrt(cols),
 * EMBED N(0, 0.02), ZERO, ONE, or SCALE log(1 / temperature).
 * kind for the decay option: WEIGHT and CONV decay always; EMBED, ZERO, ONE, SCALE not under decay="matrices".
 * needs: the parameter exists only where this holds.                                                     */
#ifndef KM_PARAMS_H
#define KM_PARAMS_H

#include "core/error.h"
#include "core/real.h"
#include "model/config.h"

#define KM_MODEL_PARAMS(X)                                                                                         \
    X(tokens_weight,     "encoder.tokens.weight",       c->width, km_config_patch(c),      WEIGHT, c->encoder == KM_VIT) \
    X(tokens_lead,       "encoder.tokens.lead",         12, c->width,                      EMBED,  c->lead_embedding) \
    X(tokens_bias,       "encoder.tokens.bias",         c->width, 0,                       ZERO,   c->token_bias)  \
    X(tokens_temporal,   "encoder.tokens.temporal",     km_config_segments(c), c->width,   EMBED,  c->temporal_embedding) \
    X(stem_weight,       "encoder.stem.weight",         KM_RESNET_STEM, 7 * KM_LEADS,      CONV,   c->encoder == KM_RESNET18) \
    X(stem_norm_weight,  "encoder.stem.norm.weight",    KM_RESNET_STEM, 0,                 ONE,    c->encoder == KM_RESNET18) \
    X(stem_norm_bias,    "encoder.stem.norm.bias",      KM_RESNET_STEM, 0,                 ZERO,   c->encoder == KM_RESNET18) \
    X(norm_weight,       "encoder.norm.weight",         c->width, 0,                       ONE, c->encoder == KM_VIT) \
    X(norm_bias,         "encoder.norm.bias",           c->width, 0,                       ZERO, c->encoder == KM_VIT) \
    X(ecg_fc1_weight,    "ecg_projector.fc1.weight",    c->projection_width, c->width,     WEIGHT, c->encoder == KM_VIT) \
    X(ecg_fc1_bias,      "ecg_projector.fc1.bias",      c->projection_width, 0,            ZERO, c->encoder == KM_VIT) \
    X(ecg_norm1_weight,  "ecg_projector.norm1.weight",  c->projection_width, 0,            ONE,    c->projection_norm != KM_NORM_NONE) \
    X(ecg_norm1_bias,    "ecg_projector.norm1.bias",    c->projection_width, 0,            ZERO,   c->projection_norm != KM_NORM_NONE) \
    X(ecg_fc2_weight,    "ecg_projector.fc2.weight",    c->projection_width, c->projection_width, WEIGHT, c->encoder == KM_VIT) \
    X(ecg_fc2_bias,      "ecg_projector.fc2.bias",      c->projection_width, 0,            ZERO, c->encoder == KM_VIT) \
    X(ecg_norm2_weight,  "ecg_projector.norm2.weight",  c->projection_width, 0,            ONE,    c->projection_norm != KM_NORM_NONE) \
    X(ecg_norm2_bias,    "ecg_projector.norm2.bias",    c->projection_width, 0,            ZERO,   c->projection_norm != KM_NORM_NONE) \
    X(down_weight,       "ecg_projector.down.weight",   c->projection_width, c->width,     WEIGHT, c->encoder == KM_RESNET18) \
    X(down_bias,         "ecg_projector.down.bias",     c->projection_width, 0,            ZERO,   c->encoder == KM_RESNET18) \
    X(pool_token,        "ecg_projector.pool.token",    c->projection_width, 0,            EMBED,  c->encoder == KM_RESNET18) \
    X(pool_positions,    "ecg_projector.pool.positions", km_resnet_positions(c), c->projection_width, EMBED, c->encoder == KM_RESNET18) \
    X(pool_q_weight,     "ecg_projector.pool.q.weight", c->projection_width, c->projection_width, WEIGHT, c->encoder == KM_RESNET18) \
    X(pool_q_bias,       "ecg_projector.pool.q.bias",   c->projection_width, 0,            ZERO,   c->encoder == KM_RESNET18) \
    X(pool_kv_weight,    "ecg_projector.pool.kv.weight", 2 * c->projection_width, c->projection_width, WEIGHT, c->encoder == KM_RESNET18) \
    X(pool_kv_bias,      "ecg_projector.pool.kv.bias",  2 * c->projection_width, 0,        ZERO,   c->encoder == KM_RESNET18) \
    X(pool_out_weight,   "ecg_projector.pool.out.weight", c->projection_width, c->projection_width, WEIGHT, c->encoder == KM_RESNET18) \
    X(pool_out_bias,     "ecg_projector.pool.out.bias", c->projection_width, 0,            ZERO,   c->encoder == KM_RESNET18) \
    X(text_fc1_weight,   "text_projector.fc1.weight",   c->projection_width, c->text_width, WEIGHT, 1)             \
    X(text_fc1_bias,     "text_projector.fc1.bias",     c->projection_width, 0,            ZERO,   1)              \
    X(text_fc2_weight,   "text_projector.fc2.weight",   c->projection_width, c->projection_width, WEIGHT, 1)       \
    X(text_fc2_bias,     "text_projector.fc2.bias",     c->projection_width, 0,            ZERO,   1)              \
    X(log_scale,         "contrast.log_scale",          1, 0,                              SCALE,  c->learn_temperature) \
    X(unimodal1_weight,  "unimodal.linear1.weight",     c->projection_width, km_config_unimodal(c), WEIGHT, c->unimodal_weight > 0) \
    X(unimodal2_weight,  "unimodal.linear2.weight",     c->projection_width, km_config_unimodal(c), WEIGHT, c->unimodal_weight > 0) \
    X(query_weight,      "query.projection.weight",     c->query_width, c->text_width,     WEIGHT, c->query_weight > 0) \
    X(query_bias,        "query.projection.bias",       c->query_width, 0,                 ZERO, c->query_weight > 0) \
    X(memory_weight,     "query.memory.weight",         c->query_width, c->width,          WEIGHT, c->query_weight > 0) \
    X(memory_bias,       "query.memory.bias",           c->query_width, 0,                 ZERO, c->query_weight > 0) \
    X(memory_norm_weight, "query.memory_norm.weight",   c->query_width, 0,                 ONE, c->query_weight > 0) \
    X(memory_norm_bias,  "query.memory_norm.bias",      c->query_width, 0,                 ZERO, c->query_weight > 0) \
    X(query_norm_weight, "query.norm.weight",           c->query_width, 0,                 ONE, c->query_weight > 0) \
    X(query_norm_bias,   "query.norm.bias",             c->query_width, 0,                 ZERO, c->query_weight > 0) \
    X(classifier_weight, "query.classifier.weight",     1, c->query_width,                 WEIGHT, c->query_weight > 0) \
    X(classifier_bias,   "query.classifier.bias",       1, 0,                              ZERO, c->query_weight > 0)

/* One set a transformer block of the encoder: "encoder.blocks.<i>." + name. */
#define KM_BLOCK_PARAMS(X)                                                      \
    X(norm1_weight, "norm1.weight",         c->width, 0,             ONE,    1) \
    X(norm1_bias,   "norm1.bias",           c->width, 0,             ZERO,   1) \
    X(qkv_weight,   "attention.qkv.weight", 3 * c->width, c->width,  WEIGHT, 1) \
    X(qkv_bias,     "attention.qkv.bias",   3 * c->width, 0,         ZERO,   1) \
    X(out_weight,   "attention.out.weight", c->width, c->width,      WEIGHT, 1) \
    X(out_bias,     "attention.out.bias",   c->width, 0,             ZERO,   1) \
    X(norm2_weight, "norm2.weight",         c->width, 0,             ONE,    1) \
    X(norm2_bias,   "norm2.bias",           c->width, 0,             ZERO,   1) \
    X(fc1_weight,   "mlp.fc1.weight",       c->mlp_width, c->width,  WEIGHT, 1) \
    X(fc1_bias,     "mlp.fc1.bias",         c->mlp_width, 0,         ZERO,   1) \
    X(fc2_weight,   "mlp.fc2.weight",       c->width, c->mlp_width,  WEIGHT, 1) \
    X(fc2_bias,     "mlp.fc2.bias",         c->width, 0,             ZERO,   1)

/* One set a block of ResNet-18: "encoder.residual.<i>." + name. The weights of a convolution are (out, taps * in). */
#define KM_RESIDUAL_PARAMS(X)                                                                        \
    X(conv1_weight,         "conv1.weight",         km_resnet_width(i), 3 * km_resnet_input(i), CONV, 1) \
    X(norm1_weight,         "norm1.weight",         km_resnet_width(i), 0,                      ONE,  1) \
    X(norm1_bias,           "norm1.bias",           km_resnet_width(i), 0,                      ZERO, 1) \
    X(conv2_weight,         "conv2.weight",         km_resnet_width(i), 3 * km_resnet_width(i), CONV, 1) \
    X(norm2_weight,         "norm2.weight",         km_resnet_width(i), 0,                      ONE,  1) \
    X(norm2_bias,           "norm2.bias",           km_resnet_width(i), 0,                      ZERO, 1) \
    X(shortcut_weight,      "shortcut.weight",      km_resnet_width(i), km_resnet_input(i),     CONV, km_resnet_stride(i) > 1) \
    X(shortcut_norm_weight, "shortcut.norm.weight", km_resnet_width(i), 0,                      ONE,  km_resnet_stride(i) > 1) \
    X(shortcut_norm_bias,   "shortcut.norm.bias",   km_resnet_width(i), 0,             ZERO, km_resnet_stride(i) > 1)

/* One set a layer of the cardiac query network: "query.layers.<i>." + name. A = query_heads * 64. */
#define KM_LAYER_PARAMS(X)                                                                       \
    X(norm1_weight,     "norm1.weight",            c->query_width, 0,                ONE,    1)  \
    X(norm1_bias,       "norm1.bias",              c->query_width, 0,                ZERO,   1)  \
    X(self_qkv_weight,  "self_attention.qkv.weight", 3 * km_config_attention(c), c->query_width, WEIGHT, 1) \
    X(self_qkv_bias,    "self_attention.qkv.bias", 3 * km_config_attention(c), 0,    ZERO,   1)  \
    X(self_out_weight,  "self_attention.out.weight", c->query_width, km_config_attention(c), WEIGHT, 1) \
    X(self_out_bias,    "self_attention.out.bias", c->query_width, 0,                ZERO,   1)  \
    X(norm2_weight,     "norm2.weight",            c->query_width, 0,                ONE,    1)  \
    X(norm2_bias,       "norm2.bias",              c->query_width, 0,                ZERO,   1)  \
    X(cross_q_weight,   "cross_attention.q.weight", km_config_attention(c), c->query_width, WEIGHT, 1) \
    X(cross_q_bias,     "cross_attention.q.bias",  km_config_attention(c), 0,        ZERO,   1)  \
    X(cross_kv_weight,  "cross_attention.kv.weight", 2 * km_config_attention(c), c->query_width, WEIGHT, 1) \
    X(cross_kv_bias,    "cross_attention.kv.bias", 2 * km_config_attention(c), 0,    ZERO,   1)  \
    X(cross_out_weight, "cross_attention.out.weight", c->query_width, km_config_attention(c), WEIGHT, 1) \
    X(cross_out_bias,   "cross_attention.out.bias", c->query_width, 0,               ZERO,   1)  \
    X(norm3_weight,     "norm3.weight",            c->query_width, 0,                ONE,    1)  \
    X(norm3_bias,       "norm3.bias",              c->query_width, 0,                ZERO,   1)  \
    X(fc1_weight,       "mlp.fc1.weight",          c->query_mlp_width, c->query_width, WEIGHT, 1) \
    X(fc1_bias,         "mlp.fc1.bias",            c->query_mlp_width, 0,            ZERO,   1)  \
    X(fc2_weight,       "mlp.fc2.weight",          c->query_width, c->query_mlp_width, WEIGHT, 1) \
    X(fc2_bias,         "mlp.fc2.bias",            c->query_width, 0,                ZERO,   1)

/* Running statistics of batch normalisation: not trained, listed apart. */
#define KM_MODEL_STATISTICS(X)                                                                   \
    X(stem_mean,  "encoder.stem.norm.running_mean",   KM_RESNET_STEM,      ZERO, c->encoder == KM_RESNET18) \
    X(stem_var,   "encoder.stem.norm.running_var",    KM_RESNET_STEM,      ONE,  c->encoder == KM_RESNET18) \
    X(norm1_mean, "ecg_projector.norm1.running_mean", c->projection_width, ZERO, c->projection_norm == KM_NORM_BATCH) \
    X(norm1_var,  "ecg_projector.norm1.running_var",  c->projection_width, ONE,  c->projection_norm == KM_NORM_BATCH) \
    X(norm2_mean, "ecg_projector.norm2.running_mean", c->projection_width, ZERO, c->projection_norm == KM_NORM_BATCH) \
    X(norm2_var,  "ecg_projector.norm2.running_var",  c->projection_width, ONE,  c->projection_norm == KM_NORM_BATCH)
#define KM_RESIDUAL_STATISTICS(X)                                                                \
    X(norm1_mean,    "norm1.running_mean",         km_resnet_width(i), ZERO, 1)                  \
    X(norm1_var,     "norm1.running_var",          km_resnet_width(i), ONE,  1)                  \
    X(norm2_mean,    "norm2.running_mean",         km_resnet_width(i), ZERO, 1)                  \
    X(norm2_var,     "norm2.running_var",          km_resnet_width(i), ONE,  1)                  \
    X(shortcut_mean, "shortcut.norm.running_mean", km_resnet_width(i), ZERO, km_resnet_stride(i) > 1) \
    X(shortcut_var,  "shortcut.norm.running_var",  km_resnet_width(i), ONE,  km_resnet_stride(i) > 1)

/* Pointers into one flat array laid out by a km_layout; NULL for what this configuration lacks. */
#define X(field, name, rows, cols, init, needs) km_real *field;
typedef struct km_block_params { KM_BLOCK_PARAMS(X) } km_block_params;
typedef struct km_layer_params { KM_LAYER_PARAMS(X) } km_layer_params;
typedef struct km_residual_params { KM_RESIDUAL_PARAMS(X) } km_residual_params;
typedef struct km_params {
    KM_MODEL_PARAMS(X)
    km_block_params blocks[KM_MAX_DEPTH];
    km_residual_params residual[KM_RESNET_BLOCKS];
    km_layer_params layers[KM_MAX_QUERY_LAYERS];
} km_params;
#undef X
#define X(field, name, rows, init, needs) km_real *field;
typedef struct km_residual_statistics { KM_RESIDUAL_STATISTICS(X) } km_residual_statistics;
typedef struct km_statistics {
    KM_MODEL_STATISTICS(X)
    km_residual_statistics residual[KM_RESNET_BLOCKS];
} km_statistics;
#undef X

typedef enum km_init { KM_INIT_WEIGHT, KM_INIT_CONV, KM_INIT_EMBED, KM_INIT_ZERO, KM_INIT_ONE, KM_INIT_SCALE } km_init;

/* One tensor of the layout: its name, shape, place in the flat array, and the pointer that names it. */
typedef struct km_tensor {
    char name[64];
    int64_t rows, cols;     /* cols 0: a vector of rows elements                 */
    size_t offset, count;   /* elements from the flat array's start, and of them */
    km_init init;
    size_t field;           /* bytes into km_params or km_statistics             */
} km_tensor;

typedef struct km_layout {
    int count;
    km_tensor *tensors;
    size_t size;            /* elements of the flat array: every tensor starts on a 64-byte boundary */
} km_layout;

/* The parameters, or (statistics 1) the running statistics, of a configuration. */
km_status km_layout_create(km_layout *layout, const km_config *config, int statistics, km_error *err);
void km_layout_free(km_layout *layout);

/* Points the fields of a km_params or km_statistics into base. */
void km_layout_view(void *view, const km_layout *layout, km_real *base);

/* Fills the flat array from the seed: tensor i draws from stream (INIT, i), so that adding a parameter at the
 * end changes no other.                                                                                       */
void km_layout_initialize(const km_layout *layout, km_real *base, const km_config *config);

#endif
