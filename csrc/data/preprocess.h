/* From samples in mV to the samples a model sees: resampling, repair, normalisation (SPEC 1).
 * Samples are float32 in both builds; sums are double. NaN and infinities are missing samples.   */
#ifndef KM_PREPROCESS_H
#define KM_PREPROCESS_H

#include <stdint.h>

#include "core/error.h"
#include "model/config.h"

/* A lead whose values span less than this is flat: the store keeps steps of 1 uV, and one step is rounding. */
#define KM_FLAT_RANGE 0.0015f   /* mV */

/* Length after resampling: round(n * fs_out / fs_in), at least 1. KM_VALUE for rates outside 1 .. 100000 Hz,
 * fs_in above 1000 fs_out, no samples, or more than 2^40 of them afterwards.                                  */
km_status km_preprocess_length(int64_t *length, int64_t n, double fs_in, double fs_out, km_error *err);

/* out[j] = sum_i h(j * fs_in / fs_out - i) x[i],   h(u) = c sinc(c u) kaiser(u / W),   c = min(1, fs_out / fs_in):
 * a polyphase filter without delay, Kaiser window with beta 5, W = 10 / c input samples to each side (SciPy's
 * resample_poly has the same), applied about the lead's mean, the first and last sample held beyond the edges.
 * Missing samples are interpolated first; an output sample is NaN where the input sample nearest to it is missing.
 * out (leads, length), in (leads, n).                                                                              */
km_status km_preprocess_resample(float *out, const float *in, int leads, int64_t n, double fs_in, double fs_out,
                                 int threads, km_error *err);

/* Replaces missing samples by linear interpolation between their neighbours, edges held; 0 where nothing is there.
 * Returns how many were missing.                                                                                   */
int64_t km_preprocess_repair(float *x, int64_t n);

/* 1 where a lead can be used: at most max_missing of its samples are missing and the others are not flat.
 * *missing, unless NULL, receives the number of missing samples.                                            */
int km_preprocess_usable(int64_t *missing, const float *x, int64_t n, double max_missing);

/* The middle value; of an even number the mean of the two in the middle. x has no missing samples.
 * O(n) in every case. scratch: n values.                                                                    */
double km_preprocess_median(const float *x, int64_t n, uint32_t *scratch);

/* In place, x (leads, n), no missing samples. Over all samples of all leads, divisor N = leads n:
 *   KM_ZSCORE            d = x - median of its lead,  y = d / (std(d) + 1e-6),  clipped to -8 .. 8
 *   KM_MINMAX            y = (x - min) / (max - min + 1e-8)
 * and alone for each lead:
 *   KM_PER_LEAD          as KM_ZSCORE, with the lead's own std
 *   KM_NO_NORMALISATION  y = x
 * std is about the mean of all d. scratch: n values.                                                        */
void km_preprocess_normalise(float *x, int leads, int64_t n, km_normalisation kind, uint32_t *scratch);

/* MERL's (SPEC 1): out (leads, length) = the first `taken` samples of in (leads, n), missing ones interpolated,
 * zeros behind them; then over all of out, padding included,
 *   y = (x - min) / (max - min + 1e-8),   or, as it stores them,   y = trunc(1000 (x - min) / (max - min)) / 1000.
 * taken <= length.                                                                                                  */
void km_preprocess_merl(float *out, const float *in, int leads, int64_t n, int64_t taken, int64_t length, int stored);

#endif
