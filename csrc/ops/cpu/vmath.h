/* Arithmetic that the compiler can vectorise: branch-free exp and normal distribution for float, and sums in
 * the interleaved accumulators of one 64-byte vector (a fixed order, whatever the processor's width). The
 * double build, made for checking, uses the C library.                                                    */
#ifndef KM_VMATH_H
#define KM_VMATH_H

#include <string.h>

#include "core/real.h"

#define KM_INLINE static inline __attribute__((always_inline))

/* One vector of accumulators: 16 floats or 8 doubles. The compiler splits it where registers are narrower. */
typedef km_real km_stripes __attribute__((vector_size(64)));
typedef __typeof__((km_stripes){0} > (km_stripes){0}) km_lanes;     /* comparison results: 0 or all ones */
enum { KM_STRIPES = 64 / sizeof(km_real) };

#ifdef KM_DOUBLE

KM_INLINE km_real km_exp_negative(km_real x) { return exp(x); }
KM_INLINE km_real km_exp(km_real x) { return exp(x); }

/* Phi(x) and phi(x) of the standard normal distribution. */
KM_INLINE void km_normal(km_real *cdf, km_real *pdf, km_real x)
{
    *cdf = 0.5 * erfc(-x * 0.70710678118654752440);
    *pdf = 0.39894228040143267794 * exp(-0.5 * x * x);
}

#else

/* exp(x) = 2^n exp(r), |r| <= log(2) / 2; a polynomial of degree 6 fitted for the least largest relative error, exact
 * at 0, errs by less than 1e-8. x must not be over 88; results under exp(-87) stay there.                    */
KM_INLINE km_real km_exp_negative(km_real x)
{
    const float magic = 12582912.0f;            /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504088896341f + magic;
    float n = shifted - magic;
    float r = x - n * 0.693145751953125f;       /* log 2 in two parts: n times the first is exact */
    r = r - n * 1.42860682030941723e-6f;
    float p = 0.00138145401f;
    p = p * r + 0.00836874511f;
    p = p * r + 0.0416683908f;
    p = p * r + 0.166665204f;
    p = p * r + 0.499999934f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t power, bits;                       /* n stands in the low bits of shifted: added to p's exponent */
    memcpy(&power, &shifted, sizeof power);
    memcpy(&bits, &p, sizeof bits);
    bits += power << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* Of any x; results over exp(88) stay there. */
KM_INLINE km_real km_exp(km_real x) { return km_exp_negative(x > 88.0f ? 88.0f : x); }

/* Phi(x) and phi(x). With z = |x| / sqrt 2:  erfc(z) = exp(-z^2) g(t),  t = 1 / (1 + 0.4 z),  g a polynomial of
 * degree 9 without constant term, fitted to erfcx on [0, 200] by reweighted least squares: relative error 1.3e-7.
 * The same exponential serves both.                                                                        */
KM_INLINE void km_normal(km_real *cdf, km_real *pdf, km_real x)
{
    float z = fabsf(x) * 0.70710678118654752f;
    float e = km_exp_negative(-z * z);
    float t = 1.0f / (1.0f + 0.4f * z);
    float g = 0.0502708397f;
    g = g * t - 0.182936805f;
    g = g * t + 0.169143815f;
    g = g * t - 0.00565801498f;
    g = g * t + 0.141455824f;
    g = g * t + 0.16853548f;
    g = g * t + 0.207843572f;
    g = g * t + 0.225669551f;
    g = g * t + 0.225675862f;
    float tail = 0.5f * g * t * e;
    *cdf = x > 0 ? 1.0f - tail : tail;
    *pdf = 0.398942280401432678f * e;
}

#endif

KM_INLINE void km_load(km_stripes *v, const km_real *x) { memcpy(v, x, sizeof *v); }

/* Joined pairwise: a fixed tree. */
KM_INLINE km_real km_join_sum(const km_stripes *v)
{
    km_real s[KM_STRIPES];
    memcpy(s, v, sizeof s);
    for (int width = KM_STRIPES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            s[i] += s[i + width];
    return s[0];
}

KM_INLINE km_real km_sum(const km_real *x, int n)
{
    km_stripes sum = {0}, v;
    int i = 0;
    for (; i + KM_STRIPES <= n; i += KM_STRIPES) {
        km_load(&v, x + i);
        sum += v;
    }
    km_real rest = 0;
    for (; i < n; i++)
        rest += x[i];
    return km_join_sum(&sum) + rest;
}

KM_INLINE km_real km_dot(const km_real *x, const km_real *y, int n)
{
    km_stripes sum = {0}, v, w;
    int i = 0;
    for (; i + KM_STRIPES <= n; i += KM_STRIPES) {
        km_load(&v, x + i);
        km_load(&w, y + i);
        sum += v * w;
    }
    km_real rest = 0;
    for (; i < n; i++)
        rest += x[i] * y[i];
    return km_join_sum(&sum) + rest;
}

KM_INLINE km_real km_max(const km_real *x, int n)
{
    km_real max = x[0];
    int i = 0;
    if (n >= 2 * KM_STRIPES) {                  /* two chains: one would wait for itself */
        km_stripes best[2], v;
        for (int k = 0; k < 2; k++)
            km_load(&best[k], x + k * KM_STRIPES);
        for (; i + 2 * KM_STRIPES <= n; i += 2 * KM_STRIPES)
            for (int k = 0; k < 2; k++) {
                km_load(&v, x + i + k * KM_STRIPES);
                km_lanes greater = v > best[k];
                best[k] = (km_stripes)(((km_lanes)v & greater) | ((km_lanes)best[k] & ~greater));
            }
        for (int k = 0; k < 2; k++)
            for (int j = 0; j < KM_STRIPES; j++)
                max = best[k][j] > max ? best[k][j] : max;
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

#endif
