/* AdamW over the model's flat arrays, with decay on all parameters or on matrices only, and clipping of the
 * global gradient norm.                                                                                    */
#ifndef KM_OPTIMISER_H
#define KM_OPTIMISER_H

#include "core/arena.h"
#include "model/model.h"

typedef struct km_optimiser {
    km_arena arena;
    km_real *m, *v;         /* first and second moments, laid out like the parameters */
    int64_t step;           /* updates done                                           */
} km_optimiser;

km_status km_optimiser_create(km_optimiser *optimiser, const km_model *model, km_error *err);
void km_optimiser_free(km_optimiser *optimiser);

/* One update from the model's gradients at learning rate lr. Returns the gradients' global norm before clipping. */
double km_optimiser_update(km_optimiser *optimiser, km_model *model, double lr, int threads);

#endif
