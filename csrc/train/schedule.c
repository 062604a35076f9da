#include "train/schedule.h"

#include <math.h>

double km_schedule_rate(double lr, int64_t step, int64_t warmup, int64_t total)
{
    if (step < warmup)
        return lr * (double)(step + 1) / (double)warmup;
    if (step >= total)
        return 0;
    return lr * 0.5 * (1 + cos(3.14159265358979323846 * (double)(step - warmup) / (double)(total - warmup)));
}
