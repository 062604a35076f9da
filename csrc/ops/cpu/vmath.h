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

KM_INLINE km_real km_exp(km_real x) { return exp(x); }

/* Phi(x) and phi(x) of the standard normal distribution. */
KM_INLINE void km_normal(km_real *cdf, km_real *pdf, km_real x)
{
    *cdf = 0.5 * erfc(-x * 0.70710678118654752440);
    *pdf = 0.39894228040143267794 * exp(-0.5 * x * x);
}

#else

/* exp(x) = 2^n exp(r), |r| <= log(2) / 2; the Taylor polynomial of degree 7 errs by less than 1e-8.
 * Results under 2^-126 become 0 or a denormal's neighbour; over exp(88) they stay finite.            */
KM_INLINE km_real km_exp(km_real x)
{
    const float magic = 12582912.0f;            /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504088896341f + magic;
    float n = shifted - magic;
    float r = x - n * 0.693145751953125f;       /* log 2 in two parts: n times the first is exact */
    r = r - n * 1.42860682030941723e-6f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4B400000 + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* Phi(x) and phi(x). With z = |x| / sqrt 2:  erfc(z) = exp(-z^2) g(t),  t = 1 / (1 + 0.4 z),  g a polynomial of
 * degree 9 without constant term, fitted to erfcx on [0, 200] by reweighted least squares: relative error 1.3e-7.
 * The same exponential serves both.                                                                        */
KM_INLINE void km_normal(km_real *cdf, km_real *pdf, km_real x)
{
    float z = fabsf(x) * 0.70710678118654752f;
    float e = km_exp(-z * z);
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
    if (n >= KM_STRIPES) {
        km_stripes best, v;
        km_load(&best, x);
        for (; i + KM_STRIPES <= n; i += KM_STRIPES) {
            km_load(&v, x + i);
            km_lanes greater = v > best;
            best = (km_stripes)(((km_lanes)v & greater) | ((km_lanes)best & ~greater));
        }
        for (int j = 0; j < KM_STRIPES; j++)
            max = best[j] > max ? best[j] : max;
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

#endif
