/* Reports by a small grammar: a style (machine or physician, English or German) has phrases for each label, frames for
 * what is only possible, phrases that deny, and remarks. The phrases come from kmerl/data/simulator.json.           */
#ifndef KM_GRAMMAR_H
#define KM_GRAMMAR_H

#include "simulate/criteria.h"

enum { KM_GRAMMAR_TEXT = 4096 };

typedef struct km_grammar {
    int styles, labels;
    const char *text;               /* phrases, one after the other, UTF-8                              */
    const int32_t *phrase;          /* (phrases + 1) offsets into text                                  */
    const int32_t *said;            /* (styles * labels + 1) first phrase of each label in each style   */
    const int32_t *frames;          /* (styles + 1) first phrase with {x}, for hedges                   */
    const int32_t *denials;         /* (styles + 1) first phrase that denies; what it denies:           */
    const int32_t *denied;          /* (phrases) label, -1: none                                        */
    const int32_t *remarks;         /* (styles + 1) */
    const int32_t *joint;           /* (styles) phrase between two statements                           */
    const int32_t *sentence;        /* (styles) 1: statements begin with a capital and the text ends with a stop */
    const double *weight;           /* (styles) how often                                               */
    const uint8_t *above;           /* (labels, labels): row implies column                             */
} km_grammar;

/* Writes a report of at most KM_GRAMMAR_TEXT bytes, no terminating zero; returns its length. found as of
 * km_criteria_apply: every asserted label is said, by its own name or that of one that implies it.                 */
int km_grammar_write(char *text, const km_grammar *grammar, const uint8_t *found, const float *measure, km_rng *rng);

#endif
