/* The frozen text encoder (SPEC 4): a BERT of any size, forward only. With E the width:
 *   x = LayerNorm(word[id] + position[t] + type[0])
 *   a layer: x = LayerNorm(x + out(attention(qkv(x)))),  x = LayerNorm(x + fc2(gelu(fc1(x))))      (post-norm)
 *   mean: mean_t x[t];  cls: x[0];  pooler: tanh(pooler(x[0]))
 * Texts are packed rows without padding. Each text has its own matrix products on its own aligned arrays, so an
 * embedding does not depend, to the last bit, on what else is asked for or on the number of threads.             */
#ifndef KM_TEXT_H
#define KM_TEXT_H

#include "core/error.h"
#include "core/real.h"

typedef enum km_pooling { KM_MEAN_TOKEN, KM_CLS_TOKEN, KM_POOLER_OUTPUT } km_pooling;

typedef struct km_text_config {
    int vocabulary, positions, types;           /* rows of the three embedding tables     */
    int width, layers, heads, mlp_width;
    int pooler;                                 /* 0 or 1: whether there is one           */
    double eps;                                 /* of every LayerNorm                     */
} km_text_config;

/* The one list of weights: the struct, the arena's layout and the Python names follow.
 *   X(field, name, rows, cols, needs)   cols 0: a vector.  Expressions see `c`, a km_text_config.         */
#define KM_TEXT_WEIGHTS(X)                                                                  \
    X(word,          "embeddings.word",        c->vocabulary, c->width,     1)              \
    X(position,      "embeddings.position",    c->positions, c->width,      1)              \
    X(type,          "embeddings.type",        c->types, c->width,          1)              \
    X(norm_weight,   "embeddings.norm.weight", c->width, 0,                 1)              \
    X(norm_bias,     "embeddings.norm.bias",   c->width, 0,                 1)              \
    X(pooler_weight, "pooler.weight",          c->width, c->width,          c->pooler)      \
    X(pooler_bias,   "pooler.bias",            c->width, 0,                 c->pooler)

/* One set a layer: "layers.<i>." + name. */
#define KM_TEXT_LAYER_WEIGHTS(X)                                                            \
    X(qkv_weight,    "attention.qkv.weight",   3 * c->width, c->width,      1)              \
    X(qkv_bias,      "attention.qkv.bias",     3 * c->width, 0,             1)              \
    X(out_weight,    "attention.out.weight",   c->width, c->width,          1)              \
    X(out_bias,      "attention.out.bias",     c->width, 0,                 1)              \
    X(norm1_weight,  "norm1.weight",           c->width, 0,                 1)              \
    X(norm1_bias,    "norm1.bias",             c->width, 0,                 1)              \
    X(fc1_weight,    "mlp.fc1.weight",         c->mlp_width, c->width,      1)              \
    X(fc1_bias,      "mlp.fc1.bias",           c->mlp_width, 0,             1)              \
    X(fc2_weight,    "mlp.fc2.weight",         c->width, c->mlp_width,      1)              \
    X(fc2_bias,      "mlp.fc2.bias",           c->width, 0,                 1)              \
    X(norm2_weight,  "norm2.weight",           c->width, 0,                 1)              \
    X(norm2_bias,    "norm2.bias",             c->width, 0,                 1)

/* One weight of the list. */
typedef struct km_text_weight {
    char name[48];
    int rows, cols;
    km_real *data;              /* (rows, cols), or (rows) where cols is 0 */
} km_text_weight;

/* KM_VALUE with the field, its value and what is allowed, for the first field that is not. */
km_status km_text_check(const km_text_config *config, km_error *err);

/* How many weights a checked config has; their names and shapes in the arena's order, data NULL. */
int km_text_count(const km_text_config *config);
void km_text_list(km_text_weight *list, const km_text_config *config);      /* (count) */

/* The encoder with zeroed weights, to be filled through km_text_get before the first forward. The caller owns it. */
typedef struct km_text km_text;
km_status km_text_create(km_text **text, const km_text_config *config, km_error *err);
void km_text_free(km_text *text);
const km_text_config *km_text_config_get(const km_text *text);
const km_text_weight *km_text_get(const km_text *text, int i);              /* i < count */

/* Embeds n texts. Reads the encoder only: several threads may call it at once. */
km_status km_text_forward(km_real *out,                                     /* (n, width)                       */
                          const km_text *text,
                          const int32_t *ids, const int32_t *offset,        /* (offset[n]), (n + 1): text i has */
                          int n,                                            /* ids offset[i] .. offset[i+1] - 1 */
                          km_pooling pooling, int threads, km_error *err);

#endif
