/* AdamW over the model's flat arrays, with decay on all parameters or on matrices only, and clipping of the
 * global gradient norm.                                                                                    */
#ifndef KM_OPTIMISER_H
#define KM_OPTIMISER_H

#include "core/arena.h"
#include "model/model.h"

typedef struct km_optimiser {
    km_arena arena;
    km_real *m, *v;         /* first and second moments, laid out like the parameters */
    int64_t step;           /* steps done                                             */
    int64_t passed;         /* of these, without an update (trainer.h)                */
} km_optimiser;

km_status km_optimiser_create(km_optimiser *optimiser, const km_model *model, km_error *err);
void km_optimiser_free(km_optimiser *optimiser);

/* The global norm of the model's gradients; not finite when one of them is not. */
double km_optimiser_norm(km_model *model);

/* What gradients of this norm are multiplied by. */
double km_optimiser_clip(const km_config *config, double norm);

/* Steps that were updates: what AdamW's bias correction counts. */
int64_t km_optimiser_updates(const km_optimiser *optimiser);

/* One update from the model's gradients, whose norm is given, at learning rate lr. */
void km_optimiser_update(km_optimiser *optimiser, km_model *model, double lr, double norm, int threads);

#endif
