/* What must hold of every report read, whatever the vocabulary. */
#ifndef FUZZ_REPORT_H
#define FUZZ_REPORT_H

#include "data/labels.h"
#include "fuzz.h"

static inline km_text fuzz_text(const char *characters)
{
    return (km_text){characters, 1, (int64_t)strlen(characters)};
}

/* Findings and statements lie in the text; asserted findings are in the row; again, from memory, the same. */
static inline void fuzz_read(km_labels *labels, const uint8_t *data, size_t size, int width, int Q)
{
    uint8_t *row = malloc((size_t)Q);
    void *characters = fuzz_copy(data, size / (size_t)width * (size_t)width);
    const km_text text = {characters, width, (int64_t)(size / (size_t)width)};
    const km_finding *finding;
    const km_statement *statement;
    int64_t before = -1;
    for (int again = 0; again < 2; again++) {
        FUZZ_HOLDS(km_labels_read(labels, text, NULL) == KM_OK);
        const int64_t count = km_labels_findings_get(labels, &finding);
        FUZZ_HOLDS(before == -1 || before == count);
        before = count;
        km_labels_row_get(labels, 0, row);
        for (int64_t i = 0; i < count; i++) {
            const km_finding *f = &finding[i];
            FUZZ_HOLDS(f->start >= 0 && f->start < f->end && f->end <= text.length);
            FUZZ_HOLDS(f->entity >= 0 && f->entity < Q && f->status >= KM_ASSERTED && f->status <= KM_HEDGED);
            FUZZ_HOLDS(f->status != KM_ASSERTED || row[f->entity] == 1);
        }
        const int64_t statements = km_labels_statements_get(labels, &statement);
        for (int64_t i = 0; i < statements; i++)
            FUZZ_HOLDS(statement[i].start >= 0 && statement[i].start <= statement[i].end &&
                       statement[i].end <= text.length);
        km_labels_row_get(labels, 1, row);
    }
    free(characters);
    free(row);
}

#endif
