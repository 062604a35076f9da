/* The learning rate (SPEC 7, App. B): linear warm-up, then one cosine to 0 over all steps. */
#ifndef KM_SCHEDULE_H
#define KM_SCHEDULE_H

#include <stdint.h>

/* step counts from 0; total includes the warm-up.
 *   step < warmup: lr (step + 1) / warmup;  else lr (1 + cos(pi (step - warmup) / (total - warmup))) / 2 */
double km_schedule_rate(double lr, int64_t step, int64_t warmup, int64_t total);

#endif
