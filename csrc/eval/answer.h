/* From logits and embeddings to probabilities, and from windows to recordings. Every row is worked out by itself, in a
 * fixed order: an answer does not depend, to the last bit, on the others computed with it.                          */
#ifndef KM_ANSWER_H
#define KM_ANSWER_H

#include "core/real.h"

/* p = 1 / (1 + exp(-z)), n elements. */
void km_answer_sigmoid(km_real *p, const km_real *z, size_t n);

/* p (n, Q) = (1 + cos) / 2 of unit rows ecg (n, J) and text (Q, J). */
void km_answer_cosine(km_real *p, const km_real *ecg, const km_real *text, int n, int Q, int J);

/* out (count, C): the mean of x's rows (n, C) with each owner 0 .. count - 1, weighted by their segments (> 0), so
 * that a short last window counts by its length; owners are ascending, each has a row. Rows are a recording's windows,
 * or a window's leads, which have all the same segments: their plain mean, and of one row its very bits.            */
void km_answer_average(km_real *out, const km_real *x, const int64_t *owner, const int32_t *segments, int n, int count,
                       int C);

/* For each of n rows x (n, D) the most similar of m rows y (m, D) >= 1: its cosine and number, the first of equals.
 * A row of zeros has cosine 0 to everything.                                                                     */
void km_answer_nearest(double *cosine, int64_t *nearest, const km_real *x, const km_real *y, int n, int m, int D);

#endif
