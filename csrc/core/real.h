/* The number type of the model's arithmetic: float to ship, double to test.
 * The double build (KM_DOUBLE) exists so that finite differences agree to 1e-8.           */
#ifndef KM_REAL_H
#define KM_REAL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef KM_DOUBLE
typedef double km_real;
#define KM_REAL_NAME "float64"
#define km_sqrt sqrt
#else
typedef float km_real;
#define KM_REAL_NAME "float32"
#define km_sqrt sqrtf
#endif

/* Plain loops that the compiler vectorises once per instruction set; the loader picks one at run time, by
 * what the processor can do. Other compilers and processors have one version, for the baseline, and so has
 * a build with KM_BASELINE (setup.py: KMERL_BASELINE=1, or where the system cannot choose at run time).
 * KM_FUSED: besides, a product and the sum it goes into are rounded once where the processor can do that. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 \
    && !defined(KM_BASELINE)
#define KM_VECTOR __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define KM_FUSED KM_VECTOR __attribute__((optimize("fp-contract=fast")))
#else
#define KM_VECTOR
#define KM_FUSED
#endif

#endif
