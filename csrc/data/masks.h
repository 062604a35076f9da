/* Dynamic lead masking and lead-independent segment masking (SPEC 2, the paper's Sec. 2.3).
 * Masks are pure functions of (seed, epoch, recording): the same on any thread, backend or resumed run. */
#ifndef KM_MASKS_H
#define KM_MASKS_H

#include <stdint.h>

#include "model/config.h"

/* Lead masking. Draws m, the number of masked leads, with P(m) = masked_leads[m], m = 0 .. 11, and a uniform
 * permutation of the leads present (a set: bit i is lead i) into order. Returns how many of them to show:
 *     max(1, min(12 - m, number present)).
 * m counts from 12 whatever the recording has: one that lacks leads shows as many as a whole one, as far as it can.
 * Whoever finds a lead unusable takes the next of the order: the visible leads are a uniform subset of the usable. */
int km_masks_leads(int order[KM_LEADS], uint16_t present, const double masked_leads[KM_LEADS], uint64_t seed,
                   uint32_t epoch, int64_t recording);

/* How many of n segments a ratio keeps: int(n (1 - ratio)), at least 1. */
int64_t km_masks_kept(int64_t n, double ratio);

/* keep (n): 1 for a uniform subset of `kept`, else 0. group: the lead, or KM_LEADS for all tokens at once. */
void km_masks_segments(uint8_t *keep, int64_t n, int64_t kept, uint64_t seed, uint32_t epoch, int64_t recording,
                       int group);

#endif
