/* The model's step, evaluation and training loop, on a configuration small enough for sanitizers and valgrind. */
#include "check.h"
#include "kmerl.h"

#include <stdlib.h>
#include <string.h>

#include "small.h"

/* Gradients of a configuration on so many threads; the caller frees. */
static km_real *gradients(const km_config *c, const km_batch *batch, int threads, km_losses *losses)
{
    km_model *model;
    km_error err = {0};
    km_step step = {threads, 1, 0, 0};
    CHECK(km_model_create(&model, c, &err) == KM_OK);
    CHECK(km_model_gradients(model, losses, batch, &step, &err) == KM_OK);
    CHECK(km_model_gradients(model, losses, batch, &step, &err) == KM_OK);  /* again, in memory that is there */
    size_t bytes = km_model_layout(model, KM_PARAMETERS)->size * sizeof(km_real);
    km_real *copy = malloc(bytes);
    memcpy(copy, km_model_data(model, KM_GRADIENTS), bytes);
    km_model_free(model);
    return copy;
}

/* The same bits on one thread and three, with activations kept and made again, with every option on the way. */
static void test_gradients(void)
{
    data d;
    km_batch batch = batch_of(&d);
    for (int variant = 0; variant < 6; variant++) {
        km_config c = small();
        c.projection_norm = variant % 3;
        c.isolate_queries = variant == 1;
        c.learn_temperature = variant == 2;
        c.dropout = variant == 3 ? 0.2 : 0;
        c.contrast_weight = variant == 4 ? 0 : 1;
        c.query_weight = variant == 5 ? 0 : 1;
        c.mask_duplicates = variant == 0;
        km_losses one, other;
        km_real *first = gradients(&c, &batch, 1, &one);
        c.memory_mb = 0;
        km_real *second = gradients(&c, &batch, 3, &other);
        km_layout layout;
        km_error err = {0};
        CHECK(km_layout_create(&layout, &c, 0, &err) == KM_OK);
        double square = 0;
        for (int i = 0; i < layout.count; i++) {
            const km_tensor *t = &layout.tensors[i];
            CHECK(memcmp(first + t->offset, second + t->offset, t->count * sizeof(km_real)) == 0);
            for (size_t k = 0; k < t->count; k++)
                square += first[t->offset + k] * first[t->offset + k];
        }
        CHECK(square > 0 && isfinite(square));
        CHECK(one.total == other.total && one.duplicates == 4);
        km_layout_free(&layout);
        free(first);
        free(second);
    }
}

/* ResNet-18, and the encoder alone, both ways: the same bits on one thread and three, whatever memory_mb holds. */
static void test_resnet(void)
{
    static km_real patches[20 * KM_LEADS * P], dfeatures[B * 512];
    data d;
    km_batch batch = batch_of(&d);
    km_rng rng;
    km_rng_open(&rng, 2, KM_STREAM_INIT, 0, 0);
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++)
        patches[i] = (km_real)km_rng_normal(&rng);
    for (size_t i = 0; i < sizeof dfeatures / sizeof *dfeatures; i++)
        dfeatures[i] = (km_real)km_rng_normal(&rng);
    memset(d.lead, 0, sizeof d.lead);
    batch.patches = patches;

    km_config c = small_resnet();
    km_losses one, other;
    km_real *first = gradients(&c, &batch, 1, &one);
    c.memory_mb = 0;
    km_real *second = gradients(&c, &batch, 3, &other);
    CHECK(one.total == other.total && isfinite(one.total) && one.unimodal > 0);

    km_model *model;
    km_error err = {0};
    km_step step = {2, 1, 1, 0};
    const km_real *features;
    CHECK(km_model_create(&model, &c, &err) == KM_OK);
    const km_layout *layout = km_model_layout(model, KM_PARAMETERS);
    for (int i = 0; i < layout->count; i++) {
        const km_tensor *t = &layout->tensors[i];
        CHECK(memcmp(first + t->offset, second + t->offset, t->count * sizeof(km_real)) == 0);
    }
    CHECK(km_model_forward(model, &features, &batch, &step, &err) == KM_OK);
    km_model_backward(model, dfeatures, &batch, &step);
    for (int i = 0; i < layout->count; i++) {
        const km_tensor *t = &layout->tensors[i];
        double square = 0;
        for (size_t k = 0; k < t->count; k++)
            square += fabs((double)km_model_data(model, KM_GRADIENTS)[t->offset + k]);
        CHECK(isfinite(square) && (square > 0) == (strncmp(t->name, "encoder.", 8) == 0));
    }
    km_real ecg[B * 64];
    km_outputs outputs = {NULL, NULL, ecg, NULL, NULL};
    CHECK(km_model_evaluate(model, &outputs, &batch, NULL, 3, &err) == KM_OK);
    km_model_free(model);
    free(first);
    free(second);
}

static void test_evaluation_does_not_see_the_batch(void)
{
    data d;
    km_batch batch = batch_of(&d);
    km_config c = small();
    km_model *model;
    km_classes *classes;
    km_error err = {0};
    CHECK(km_model_create(&model, &c, &err) == KM_OK);
    CHECK(km_classes_create(&classes, model, d.entities, Q, &err) == KM_OK);
    km_real logits[B * Q], ecg[B * 16], attention[Q * B * 12], alone[Q];
    km_outputs outputs = {logits, NULL, ecg, NULL, attention}, single = {alone, NULL, NULL, NULL, NULL};
    CHECK(km_model_evaluate(model, &outputs, &batch, classes, 2, &err) == KM_OK);
    for (int b = 0; b < B; b++) {
        int first = d.offset[b], n = d.offset[b + 1] - first;
        int32_t offset[2] = {0, n};
        km_batch one = {.B = 1, .T = n, .D = D, .patches = d.patches + first * P, .lead = d.lead + first,
                        .segment = d.segment + first, .offset = offset};
        CHECK(km_model_evaluate(model, &single, &one, classes, 1, &err) == KM_OK);
        CHECK(memcmp(alone, logits + b * Q, sizeof alone) == 0);
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += attention[Q * first + i];
        CHECK(fabs(sum - 1) < 1e-5);
    }
    km_classes_free(classes);
    km_model_free(model);
}

static void test_bad_batches_are_refused(void)
{
    data d;
    km_config c = small();
    km_model *model;
    km_error err = {0};
    km_losses losses;
    km_step step = {1, 1, 0, 0};
    CHECK(km_model_create(&model, &c, &err) == KM_OK);
    km_batch batch = batch_of(&d);
    d.lead[3] = 12;
    CHECK(km_model_gradients(model, &losses, &batch, &step, &err) == KM_VALUE && strstr(err.message, "lead[3]"));
    batch = batch_of(&d);
    d.segment[0] = M;
    CHECK(km_model_gradients(model, &losses, &batch, &step, &err) == KM_VALUE && strstr(err.message, "segment[0]"));
    batch = batch_of(&d);
    d.offset[2] = d.offset[1];
    CHECK(km_model_gradients(model, &losses, &batch, &step, &err) == KM_VALUE && strstr(err.message, "recording 1"));
    batch = batch_of(&d);
    batch.report = NULL;
    CHECK(km_model_gradients(model, &losses, &batch, &step, &err) == KM_VALUE && strstr(err.message, "report"));
    km_model_free(model);
    c.width = 100;
    CHECK(km_model_create(&model, &c, &err) == KM_VALUE && model == NULL);
}

/* ---- training on a corpus in memory --------------------------------------------------------------- */

typedef struct record {
    int steps, validations, stop_at;
} record;

static int hook(void *context, const km_progress *progress)
{
    record *r = context;
    r->steps += progress->event == KM_EVENT_STEP;
    r->validations += progress->event == KM_EVENT_VALIDATION;
    CHECK(isfinite(progress->losses.total) && progress->recordings > 0 && progress->skipped == 0);
    return progress->event == KM_EVENT_STEP && progress->step == r->stop_at;
}

static int count_passed(void *context, const km_progress *progress)
{
    *(int *)context += progress->nonfinite != NULL && strstr(progress->nonfinite, "loss (") != NULL &&
                       progress->indices == 4 && progress->index[0] >= 0;
    return 0;
}

/* A loss that is not a number: an error that names step and recordings, or a step without an update. */
static void test_training_with_a_loss_that_is_not_finite(void)
{
    store *s = malloc(sizeof *s);
    km_config c = small();
    km_error err = {0};
    int64_t train[7] = {0, 1, 2, 3, 4, 5, 6}, validation[1] = {7};
    km_model *model;
    fill(s);
    for (int i = 0; i < 7; i++)
        s->embeddings[i * D] = (km_real)NAN;
    CHECK(km_model_create(&model, &c, &err) == KM_OK);
    size_t bytes = km_model_layout(model, KM_PARAMETERS)->size * sizeof(km_real);
    km_real *before = malloc(bytes);
    memcpy(before, km_model_data(model, KM_PARAMETERS), bytes);
    for (int skip = 0; skip < 2; skip++) {
        km_trainer trainer;
        int passed = 0;
        CHECK(km_trainer_create(&trainer, model, (km_source){s, draw}, NULL, train, 7, validation, skip, 1, &err) ==
              KM_OK);
        trainer.skip_nonfinite = skip;
        if (skip) {
            CHECK(km_trainer_run(&trainer, 2, count_passed, &passed, &err) == KM_OK);
            CHECK(passed == 2 && trainer.optimiser.step == 2 && trainer.optimiser.passed == 2);
        } else {
            CHECK(km_trainer_run(&trainer, 2, NULL, NULL, &err) == KM_STATE);
            CHECK(trainer.optimiser.step == 0 && strstr(err.message, "step 1: ") != NULL &&
                  strstr(err.message, "of recordings ") != NULL && strstr(err.message, " may help") != NULL);
        }
        CHECK(memcmp(before, km_model_data(model, KM_PARAMETERS), bytes) == 0);
        km_trainer_free(&trainer);
    }
    free(before);
    km_model_free(model);
    km_sampler_free(&s->sampler);
    free(s);
}

/* Stopping by the hook, by `until`, and going on gives the parameters of the undisturbed run. */
static void test_training_goes_on_where_it_stopped(void)
{
    store *s = malloc(sizeof *s);
    km_config c = small();
    km_error err = {0};
    int64_t train[7] = {0, 1, 2, 3, 4, 5, 6}, validation[2] = {7, 8};
    km_model *models[2];
    fill(s);
    for (int run = 0; run < 2; run++) {
        km_trainer trainer;
        record seen = {0, 0, run == 1 ? 2 : -1};
        CHECK(km_model_create(&models[run], &c, &err) == KM_OK);
        CHECK(km_trainer_create(&trainer, models[run], (km_source){s, draw}, NULL, train, 7, validation, 2, 1 + run, &err) ==
              KM_OK);
        CHECK(km_trainer_epoch_steps(&trainer) == 1);
        if (run == 1) {
            CHECK(km_trainer_run(&trainer, 1, hook, &seen, &err) == KM_OK && trainer.optimiser.step == 1);
            CHECK(km_trainer_run(&trainer, 9, hook, &seen, &err) == KM_STOPPED && trainer.optimiser.step == 2);
        }
        CHECK(km_trainer_run(&trainer, 9, hook, &seen, &err) == KM_OK);
        CHECK(seen.steps == 3 && seen.validations == 3 && trainer.validated == 3);
        km_trainer_free(&trainer);
    }
    size_t bytes = km_model_layout(models[0], KM_PARAMETERS)->size * sizeof(km_real);
    CHECK(memcmp(km_model_data(models[0], KM_PARAMETERS), km_model_data(models[1], KM_PARAMETERS), bytes) == 0);
    bytes = km_model_layout(models[0], KM_STATISTICS)->size * sizeof(km_real);
    CHECK(memcmp(km_model_data(models[0], KM_STATISTICS), km_model_data(models[1], KM_STATISTICS), bytes) == 0);
    km_model_free(models[0]);
    km_model_free(models[1]);

    km_model *model;
    km_trainer trainer;
    CHECK(km_model_create(&model, &c, &err) == KM_OK);
    CHECK(km_trainer_create(&trainer, model, (km_source){s, draw}, NULL, train, 0, NULL, 0, 1, &err) == KM_VALUE);
    km_trainer_free(&trainer);
    km_model_free(model);
    km_sampler_free(&s->sampler);
    free(s);
}

int main(void)
{
    test_gradients();
    test_resnet();
    test_evaluation_does_not_see_the_batch();
    test_bad_batches_are_refused();
    test_training_goes_on_where_it_stopped();
    test_training_with_a_loss_that_is_not_finite();
    return check_result();
}
