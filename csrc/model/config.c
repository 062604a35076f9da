#include "model/config.h"

#include "ops/ops.h"

#include <math.h>

/* A field outside low .. high (inclusive). */
#define RANGE(field, low, high)                                                                                   \
    if (!((double)c->field >= (double)(low) && (double)c->field <= (double)(high)))                               \
    return km_error_set(err, KM_VALUE, #field " must be between %.12g and %.12g, got %.12g", (double)(low),        \
                        (double)(high), (double)c->field)

#define CHOICE(field, last) RANGE(field, 0, last)

/* What the options of the transformer must be where there is none; preset merl-resnet sets them all. */
static km_status check_resnet(const km_config *c, km_error *err)
{
    if (c->width != km_resnet_width(KM_RESNET_BLOCKS - 1) || c->depth || c->heads || c->mlp_width)
        return km_error_set(err, KM_VALUE, "encoder=\"resnet18\" is %d wide and has no depth, heads or mlp_width",
                            km_resnet_width(KM_RESNET_BLOCKS - 1));
    if (c->tokenisation != KM_AGNOSTIC_TOKENS || c->lead_embedding || c->temporal_embedding || c->token_bias ||
        c->final_norm != KM_NORM_TOKENS)
        return km_error_set(err, KM_VALUE,
                            "encoder=\"resnet18\" has no tokens: it needs tokenisation=\"agnostic\", which lays out "
                            "its batches, and no lead_embedding, temporal_embedding, token_bias or final_norm");
    if (c->query_weight > 0)
        return km_error_set(err, KM_VALUE, "encoder=\"resnet18\" needs query_weight=0: it has no query network");
    if (c->projection_norm != KM_NORM_NONE || c->projection_width % KM_HEAD_SIZE != 0)
        return km_error_set(err, KM_VALUE,
                            "encoder=\"resnet18\" projects by attention pooling: it needs projection_norm=\"none\" and "
                            "a projection_width that is a multiple of %d, got %lld",
                            KM_HEAD_SIZE, (long long)c->projection_width);
    return KM_OK;
}

km_status km_config_check(const km_config *c, km_error *err)
{
    RANGE(fs, 1, 100000);
    RANGE(seconds, 0.001, 86400);
    RANGE(max_missing, 0, 1);
    CHOICE(normalisation, KM_NO_NORMALISATION);
    CHOICE(normalisation_scope, KM_PRESENT);
    CHOICE(window, KM_RANDOM);
    RANGE(segment_samples, 1, 1000000);
    CHOICE(tokenisation, KM_AGNOSTIC_TOKENS);
    CHOICE(lead_embedding, 1);
    CHOICE(temporal_embedding, 1);
    CHOICE(segment_masking, KM_NO_SEGMENTS);
    RANGE(mask_ratio, 0, 0.99);
    CHOICE(encoder, KM_RESNET18);
    if (c->encoder == KM_VIT) {
        RANGE(width, KM_HEAD_SIZE, 8192);
        RANGE(depth, 1, KM_MAX_DEPTH);
        RANGE(heads, 1, 128);
        RANGE(mlp_width, 1, 65536);
    }
    RANGE(text_width, 1, 65536);
    CHOICE(token_bias, 1);
    CHOICE(final_norm, KM_NORM_MEAN);
    RANGE(projection_width, 1, 65536);
    CHOICE(projection_norm, KM_NORM_NONE);
    RANGE(temperature, 1e-4, 1e4);
    CHOICE(learn_temperature, 1);
    CHOICE(contrast_directions, KM_SUM);
    CHOICE(contrast_positive, 1);
    CHOICE(mask_duplicates, 1);
    RANGE(contrast_weight, 0, 1e6);
    RANGE(unimodal_weight, 0, 1e6);
    RANGE(unimodal_dropout, 0, 0.99);
    RANGE(query_width, 1, 65536);
    RANGE(query_layers, 1, KM_MAX_QUERY_LAYERS);
    RANGE(query_heads, 1, 128);
    RANGE(query_mlp_width, 1, 65536);
    CHOICE(isolate_queries, 1);
    RANGE(dropout, 0, 0.99);
    CHOICE(query_reduction, KM_REDUCE_SUM);
    RANGE(query_weight, 0, 1e6);
    RANGE(lr, 0, 1e3);
    RANGE(beta1, 0, 0.999999);
    RANGE(beta2, 0, 0.99999999);
    RANGE(eps, 1e-30, 1);
    RANGE(weight_decay, 0, 1e3);
    CHOICE(decay_all, 1);
    RANGE(clip, 0, 1e12);
    RANGE(warmup_steps, 0, 1e12);
    RANGE(batch_size, 1, 1 << 20);
    RANGE(epochs, 1, 1 << 20);
    RANGE(weight_std, 1e-6, 1e3);
    CHOICE(precision, KM_BF16);
    RANGE(lanes, 1, KM_MAX_LANES);
    RANGE(span_recordings, 1, 4096);
    RANGE(span_tokens, 1, 1 << 20);
    RANGE(memory_mb, 0, 1e9);

    int64_t samples = km_config_samples(c);
    if (samples % c->segment_samples != 0)
        return km_error_set(err, KM_VALUE,
                            "segment_samples must divide the window: %lld samples (%.12g s at %.12g Hz) are no "
                            "multiple of %lld",
                            (long long)samples, c->seconds, c->fs, (long long)c->segment_samples);
    if (c->contrast_weight == 0 && c->query_weight == 0)
        return km_error_set(err, KM_VALUE, "contrast_weight and query_weight are both 0: nothing would be learned");
    double total = 0;
    for (int i = 0; i < KM_LEADS; i++) {
        if (!(c->masked_leads[i] >= 0))
            return km_error_set(err, KM_VALUE, "masked_leads: the probability of %d masked leads is %.12g", i,
                                c->masked_leads[i]);
        total += c->masked_leads[i];
    }
    if (fabs(total - 1) > 1e-9)
        return km_error_set(err, KM_VALUE, "masked_leads: the probabilities sum to %.12g, not to 1", total);
    if (c->encoder == KM_RESNET18)
        return check_resnet(c, err);
    if (c->heads * KM_HEAD_SIZE != c->width)
        return km_error_set(err, KM_VALUE, "width must be heads * %d: got width %lld and heads %lld", KM_HEAD_SIZE,
                            (long long)c->width, (long long)c->heads);
    if (c->tokenisation == KM_AGNOSTIC_TOKENS && c->lead_embedding)
        return km_error_set(err, KM_VALUE,
                            "lead_embedding must be False with tokenisation=\"agnostic\": its tokens hold all leads");
    if (c->tokenisation == KM_AGNOSTIC_TOKENS && c->segment_masking == KM_SEGMENTS_AT_ONCE)
        return km_error_set(err, KM_VALUE,
                            "segment_masking=\"at once\" needs tokenisation=\"lead\": agnostic tokens are masked once");
    if (c->tokenisation != KM_AGNOSTIC_TOKENS && c->token_bias)
        return km_error_set(err, KM_VALUE,
                            "token_bias must be False with tokenisation=\"lead\": the lead embedding stands for it");
    if (c->final_norm == KM_NORM_MEAN && c->query_weight > 0)
        return km_error_set(err, KM_VALUE,
                            "final_norm=\"mean\" needs query_weight=0: the query network reads normed tokens");
    return KM_OK;
}
