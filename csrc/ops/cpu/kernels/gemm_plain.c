/* For any processor: vectors of 16 bytes, which every 64-bit one has. */
#define GEMM km_gemm_plain
#define TARGET
#define BYTES 16
#define ROWS 4
#define SPLAT(x) ((vector){0} + (x))
#ifdef __aarch64__
#ifdef KM_DOUBLE
#include <arm_neon.h>
#define MADD(a, b, c) ((vector)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#else
#include <arm_neon.h>
#define MADD(a, b, c) ((vector)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#endif
#else
#define MADD(a, b, c) ((a) * (b) + (c))
#endif
#include "ops/cpu/kernels/gemm_blocked.h"
