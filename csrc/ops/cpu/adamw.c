/* Adam with decoupled weight decay (Loshchilov and Hutter 2019), one pass over memory. */
#include "ops/ops.h"

KM_VECTOR void km_adamw(km_real *w, km_real *m, km_real *v, const km_real *gradient, size_t n, double clip, double lr,
                        double b1, double b2, double eps, double decay, int64_t step)
{
    const km_real beta1 = (km_real)b1, beta2 = (km_real)b2, rest1 = (km_real)(1 - b1), rest2 = (km_real)(1 - b2);
    const km_real rate = (km_real)(lr / (1 - pow(b1, (double)step)));
    const km_real correct2 = (km_real)(1 / (1 - pow(b2, (double)step)));
    const km_real shrink = (km_real)(1 - lr * decay), epsilon = (km_real)eps, factor = (km_real)clip;
    for (size_t i = 0; i < n; i++) {
        km_real g = gradient[i] * factor;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        w[i] = w[i] * shrink - rate * m[i] / (km_sqrt(v[i] * correct2) + epsilon);
    }
}
