/* The weights of the encoder's blocks and the query network's layers in the order in which products read them
 * (ops.h, packed_weight): made once a step, and once for any number of answers.                              */
#ifndef KM_WEIGHTS_H
#define KM_WEIGHTS_H

#include "core/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct km_weights {
    km_arena arena;
    km_params view;             /* the parameters, but for the weights of blocks and layers: those are packed.
                                 * Isolated queries: self_qkv_weight holds the values' third alone.           */
    int backward;               /* which pass they are packed for                                            */
} km_weights;

/* Room for the weights of one pass; nothing happens where there is room already. */
km_status km_weights_reserve(km_weights *weights, const km_layout *layout, km_real *flat, int backward,
                             const km_config *c, const km_ops *o, km_error *err);
void km_weights_free(km_weights *weights);

/* From the parameters as they are. */
void km_weights_pack(km_weights *weights, const km_layout *layout, const km_real *flat, const km_config *c,
                     const km_ops *o, int threads);

#endif
