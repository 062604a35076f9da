/* A training step of a size seen before allocates nothing, nor does answering once the memory is there. */
#include "check.h"
#include "kmerl.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "ops/ops.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

/* The C library's allocations, counted; what has no counter here calls one of these. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
static _Atomic long allocations;

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *pointer, size_t size)
{
    allocations++;
    return __libc_realloc(pointer, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    allocations++;
    return __libc_memalign(alignment, size);
}

enum { B = 6, Q = 3, D = 8, P = 10, T = 24 };

static void test(int precision, int threads)
{
    static km_real patches[T * P], report[B * D], labels[B * Q], entities[Q * D], logits[B * Q];
    static int32_t lead[T], segment[T], offset[B + 1];
    static int64_t id[B];
    km_rng rng;
    km_rng_open(&rng, 1, KM_STREAM_INIT, 0, 0);
    for (int i = 0; i < T; i++) {
        lead[i] = i % 4;
        segment[i] = i % 6;
    }
    for (int b = 0; b <= B; b++)
        offset[b] = 4 * b;
    for (int i = 0; i < T * P; i++)
        patches[i] = (km_real)km_rng_normal(&rng);
    for (int i = 0; i < B * D; i++)
        report[i] = (km_real)km_rng_normal(&rng);
    for (int i = 0; i < Q * D; i++)
        entities[i] = (km_real)km_rng_normal(&rng);
    km_batch batch = {.B = B, .T = T, .Q = Q, .D = D, .patches = patches, .lead = lead, .segment = segment,
                      .offset = offset, .report = report, .report_id = id, .labels = labels, .entities = entities};
    km_config c = {.fs = 30, .seconds = 2, .segment_samples = P, .lead_embedding = 1, .temporal_embedding = 1,
                   .width = 64, .depth = 2, .heads = 1, .mlp_width = 32, .text_width = D, .projection_width = 16,
                   .temperature = 0.07, .contrast_directions = KM_SUM, .contrast_positive = 1, .contrast_weight = 1,
                   .query_weight = 1, .query_width = 16, .query_layers = 2, .query_heads = 1, .query_mlp_width = 24,
                   .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay_all = 1, .batch_size = B, .epochs = 1,
                   .weight_std = 0.02,
                   .precision = precision, .lanes = 2, .span_recordings = 2, .span_tokens = 100, .memory_mb = 16,
                   .masked_leads = {1}};
    km_error err = {0};
    km_model *model;
    km_optimiser optimiser;
    km_classes *classes;
    km_losses losses;
    km_outputs outputs = {.logits = logits};
    CHECK(km_model_create(&model, &c, &err) == KM_OK);
    CHECK(km_optimiser_create(&optimiser, model, &err) == KM_OK);
    long before = 0;
    for (int i = 0; i < 4; i++) {
        before = i == 1 ? allocations : before;
        CHECK(km_model_gradients(model, &losses, &batch, &(km_step){threads, 1, 1, (uint32_t)i}, &err) == KM_OK);
        km_optimiser_update(&optimiser, model, 1e-3, km_optimiser_norm(model), threads);
    }
    CHECK(allocations == before);
    CHECK(km_classes_create(&classes, model, entities, Q, &err) == KM_OK);
    for (int i = 0; i < 3; i++) {
        before = i == 1 ? allocations : before;
        CHECK(km_model_evaluate(model, &outputs, &batch, classes, threads, &err) == KM_OK);
    }
    CHECK(allocations == before);
    km_classes_free(classes);
    km_optimiser_free(&optimiser);
    km_model_free(model);
}

int main(void)
{
    long before = allocations;
    void *volatile some = malloc(1);
    free(some);
    if (allocations == before)      /* valgrind's own allocator stands in front */
        return check_result();
    for (int precision = KM_FLOAT32; precision <= KM_BF16; precision++)
        for (int threads = 1; threads <= 3; threads++)
            test(precision, threads);
    return check_result();
}

#else

int main(void)
{
    return check_result();
}

#endif
