#include "data/corpus.h"

#include "data/leads.h"

km_status km_corpus_check(const km_corpus *c, km_error *err)
{
    for (int64_t i = 0; i < c->count; i++) {
        const long long at = (long long)i;
        const int count = km_leads_count(c->leads[i]);
        if (c->shard[i] < 0 || c->shard[i] >= c->shard_count)
            return km_error_set(err, KM_VALUE, "recording %lld: shard %d is none of the %d there are", at,
                                (int)c->shard[i], c->shard_count);
        if (count == 0 || c->leads[i] >> KM_LEADS != 0)
            return km_error_set(err, KM_VALUE, "recording %lld: leads 0x%x is no set of the twelve", at,
                                (unsigned)c->leads[i]);
        const int64_t length = c->shard_length[c->shard[i]], size = (int64_t)count * c->samples[i];
        if (c->samples[i] < 1 || c->start[i] < 0 || size > length || c->start[i] > length - size)
            return km_error_set(err, KM_VALUE, "recording %lld: %d leads of %d samples from sample %lld leave shard "
                                "%d, which has %lld", at, count, (int)c->samples[i], (long long)c->start[i],
                                (int)c->shard[i], (long long)length);
        if ((c->D > 0 || c->Q > 0) && (c->report[i] < 0 || c->report[i] >= c->reports))
            return km_error_set(err, KM_VALUE, "recording %lld: report %d is none of the %lld there are", at,
                                (int)c->report[i], (long long)c->reports);
    }
    return KM_OK;
}
