#include "data/batch.h"

km_status km_batch_check(const km_batch *b, const km_config *c, km_error *err)
{
    if (b->B < 1)
        return km_error_set(err, KM_VALUE, "the batch is empty: expected at least one recording");
    if (b->offset[0] != 0 || b->offset[b->B] != b->T)
        return km_error_set(err, KM_VALUE, "offset must run from 0 to the number of tokens %d, got %d to %d", b->T,
                            b->offset[0], b->offset[b->B]);
    for (int i = 0; i < b->B; i++)
        if (b->offset[i + 1] <= b->offset[i])
            return km_error_set(err, KM_VALUE, "offset: recording %d has no tokens (%d to %d)", i, b->offset[i],
                                b->offset[i + 1]);
    int leads = c->tokenisation == KM_AGNOSTIC_TOKENS ? 1 : KM_LEADS;
    int64_t segments = km_config_segments(c);
    for (int t = 0; t < b->T; t++) {
        if (b->lead[t] < 0 || b->lead[t] >= leads)
            return km_error_set(err, KM_VALUE, "lead[%d] is %d, expected 0 to %d", t, b->lead[t], leads - 1);
        if (b->segment[t] < 0 || b->segment[t] >= segments)
            return km_error_set(err, KM_VALUE, "segment[%d] is %d, expected 0 to %lld", t, b->segment[t],
                                (long long)segments - 1);
    }
    if ((b->report != NULL || b->entities != NULL) && b->D != c->text_width)
        return km_error_set(err, KM_VALUE, "text embeddings are %d wide, the model's text_width is %lld", b->D,
                            (long long)c->text_width);
    return KM_OK;
}
