/* From report text to findings: which entities are named, where, and whether asserted, negated or
 * hedged; and what kind of statement each sentence is.                                         */
#ifndef KM_LABELS_H
#define KM_LABELS_H

#include <stdint.h>

#include "core/error.h"
#include "data/lexicon.h"
#include "data/tokens.h"

enum { KM_ASSERTED, KM_NEGATED, KM_HEDGED };                    /* status of a finding  */
enum { KM_CLINICAL, KM_TECHNICAL, KM_UNMATCHED };               /* kind of a statement  */

typedef struct km_finding {
    int64_t start, end;     /* characters of the text */
    int32_t entity, status;
} km_finding;

typedef struct km_statement {
    int64_t start, end;
    int32_t kind;
} km_statement;

typedef struct km_labels km_labels;

/* Superclasses: entity[offset[q] .. offset[q + 1]) are all entities above q, of every level, ascending. */
typedef struct km_above {
    const int32_t *entity;
    const int64_t *offset;  /* (Q + 1) */
    int32_t Q;
} km_above;

/* What one thread needs to read texts. The lexicon, whose targets are below above.Q, and the arrays of
 * `above` must outlive it.                                                                           */
km_status km_labels_create(km_labels **labels, const km_lexicon *lexicon, km_above above, km_error *err);
void km_labels_free(km_labels *labels);

/* Reads one text. Results stay until the next read. */
km_status km_labels_read(km_labels *labels, km_text text, km_error *err);

/* Results, in the order of the text. */
int64_t km_labels_findings_get(const km_labels *labels, const km_finding **findings);
int64_t km_labels_statements_get(const km_labels *labels, const km_statement **statements);

/* The entities of one read as a row of 0 and 1: asserted ones, hedged ones too if asked, each with all
 * entities above it.                                                                                */
void km_labels_row_get(const km_labels *labels, int hedged, uint8_t *row);     /* (Q) */

#endif
