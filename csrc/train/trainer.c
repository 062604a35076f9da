#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "ops/ops.h"
#include "train/schedule.h"

/* The square of a larger gradient would not fit the second moments' float. */
static const double KM_LARGEST_NORM = 1e18;

static int64_t *copy(const int64_t *list, int64_t count, km_status *status, km_error *err)
{
    int64_t *out = malloc(((size_t)count + 1) * sizeof *out);
    if (out == NULL)
        *status = km_error_set(err, KM_MEMORY, "out of memory: a list of %lld recordings", (long long)count);
    else if (list != NULL)
        memcpy(out, list, (size_t)count * sizeof *out);
    return out;
}

static int64_t batch_size(const km_trainer *t)
{
    int64_t size = km_model_config(t->model)->batch_size;
    return size < t->train_count ? size : t->train_count;
}

int64_t km_trainer_epoch_steps(const km_trainer *t)
{
    return t->train_count / batch_size(t);
}

static km_status pretraining_gradients(void *context, km_losses *losses, double *norm, km_model *model,
                                       const km_batch *batch, const km_step *step, km_error *err)
{
    (void)context;
    *norm = 0;
    return km_model_gradients(model, losses, batch, step, err);
}

static void pretraining_update(void *context, const km_config *config, double lr, double clip, int64_t step)
{
    (void)context, (void)config, (void)lr, (void)clip, (void)step;
}

km_status km_trainer_create(km_trainer *t, km_model *model, km_source source, const km_objective *objective,
                            const int64_t *train, int64_t train_count, const int64_t *validation,
                            int64_t validation_count, int threads, km_error *err)
{
    memset(t, 0, sizeof *t);
    if (train_count < 1)
        return km_error_set(err, KM_VALUE, "there is no recording to train on");
    if (objective != NULL && validation_count > 0)
        return km_error_set(err, KM_VALUE, "validation losses are pretraining's: expected no recording to validate on, "
                            "got %lld", (long long)validation_count);
    km_status status = KM_OK;
    int64_t largest = km_model_config(model)->batch_size;
    t->model = model;
    t->source = source;
    t->objective = objective != NULL ? *objective : (km_objective){NULL, pretraining_gradients, pretraining_update};
    t->threads = threads;
    t->train_count = train_count;
    t->validation_count = validation_count;
    t->train = copy(train, train_count, &status, err);
    t->validation = copy(validation, validation_count, &status, err);
    t->order = copy(NULL, train_count, &status, err);
    t->index = copy(NULL, largest, &status, err);
    t->statistics = malloc((km_model_layout(model, KM_STATISTICS)->size + 1) * sizeof *t->statistics);
    if (t->statistics == NULL)
        status = km_error_set(err, KM_MEMORY, "out of memory: the running statistics");
    if (status == KM_OK)
        status = km_optimiser_create(&t->optimiser, model, err);
    if (status != KM_OK)
        km_trainer_free(t);
    return status;
}

void km_trainer_free(km_trainer *t)
{
    km_optimiser_free(&t->optimiser);
    free(t->train);
    free(t->validation);
    free(t->order);
    free(t->index);
    free(t->statistics);
    memset(t, 0, sizeof *t);
}

/* What became of the recordings that a batch was to hold. */
static void count_batch(km_progress *progress, const km_batch *batch)
{
    progress->recordings += batch->B;
    progress->skipped += batch->skipped;
    progress->repaired += batch->repaired;
    progress->dropped += batch->dropped;
}

static km_status stopped(const km_trainer *t, km_error *err)
{
    return km_error_set(err, KM_STOPPED, "stopped after step %lld", (long long)t->optimiser.step);
}

/* "recordings 4, 17, 2": the first of them, as the source numbers them. */
static const char *numbers(char text[static 160], const int64_t *index, int count)
{
    int used = snprintf(text, 160, "recording%s", count == 1 ? "" : "s"), i;
    for (i = 0; i < count && used < 100; i++)
        used += snprintf(text + used, 160 - (size_t)used, "%s %" PRId64, i > 0 ? "," : "", index[i]);
    if (i < count)
        snprintf(text + used, 160 - (size_t)used, " and %d more", count - i);
    return text;
}

/* Which loss, or the gradient of which tensor, is not finite, or else the largest; into t->nonfinite. */
static void name_nonfinite(km_trainer *t, const km_losses *losses, double own)
{
    const km_layout *layout = km_model_layout(t->model, KM_PARAMETERS);
    const struct { const char *name; double value; } all[] = {
        {"contrast", losses->contrast}, {"unimodal", losses->unimodal}, {"query", losses->query},
        {"total", losses->total}};
    for (int i = 0; i < 4; i++)
        if (!isfinite(all[i].value)) {
            snprintf(t->nonfinite, sizeof t->nonfinite, "the loss (%s) is %g", all[i].name, all[i].value);
            return;
        }
    int worst = -1;
    double largest = own;               /* of the objective's own parameters */
    for (int i = 0; i < layout->count && isfinite(largest); i++) {
        double square = km_ops_cpu(KM_FLOAT32)->vector_square_sum(
            km_model_data(t->model, KM_GRADIENTS) + layout->tensors[i].offset, layout->tensors[i].count);
        if (!(sqrt(square) <= largest)) {
            largest = sqrt(square);
            worst = i;
        }
    }
    snprintf(t->nonfinite, sizeof t->nonfinite, "the gradient of %s has norm %g",
             worst < 0 ? "the head" : layout->tensors[worst].name, largest);
}

km_status km_trainer_validate(km_trainer *t, km_progress *progress, km_hook *hook, void *context, km_error *err)
{
    const km_config *c = km_model_config(t->model);
    km_losses sum = {0};
    if (t->validation_count < 1)
        return km_error_set(err, KM_VALUE, "there is no recording to validate on");
    for (int64_t first = 0; first < t->validation_count; first += c->batch_size) {
        int64_t rest = t->validation_count - first;
        int n = (int)(rest < c->batch_size ? rest : c->batch_size);
        km_batch batch;
        km_losses part;
        km_status status = t->source.draw(t->source.context, &batch, t->validation + first, n, c, (uint64_t)c->seed, 0,
                                          t->threads, err);
        if (status != KM_OK)
            return status;
        count_batch(progress, &batch);
        if (batch.B == 0)
            continue;
        if ((status = km_model_losses(t->model, &part, &batch, t->threads, err)) != KM_OK)
            return status;
        if (!t->skip_nonfinite && !isfinite(part.total)) {
            char text[160];
            return km_error_set(err, KM_STATE, "step %lld: the validation loss is not finite: of %s it is %g (contrast "
                                "%g, unimodal %g, query %g)", (long long)t->optimiser.step,
                                numbers(text, t->validation + first, n), part.total, part.contrast, part.unimodal,
                                part.query);
        }
        sum.contrast += batch.B * part.contrast;
        sum.unimodal += batch.B * part.unimodal;
        sum.query += batch.B * part.query;
        sum.total += batch.B * part.total;
        sum.duplicates += part.duplicates;
        progress->event = KM_EVENT_VALIDATING;
        if (hook != NULL && hook(context, progress) != 0)
            return stopped(t, err);
    }
    if (progress->recordings == 0)
        return km_error_set(err, KM_VALUE,
                            "none of the %lld recordings to validate on can be used: each is shorter than a segment or "
                            "has no usable lead", (long long)t->validation_count);
    progress->event = KM_EVENT_VALIDATION;
    progress->losses.contrast = sum.contrast / (double)progress->recordings;
    progress->losses.unimodal = sum.unimodal / (double)progress->recordings;
    progress->losses.query = sum.query / (double)progress->recordings;
    progress->losses.total = sum.total / (double)progress->recordings;
    progress->losses.duplicates = sum.duplicates;
    return KM_OK;
}

/* Puts the recordings of update number `step` (from 0) into t->index; returns how many. */
static int choose(km_trainer *t, int64_t step, int64_t *epoch)
{
    const km_config *c = km_model_config(t->model);
    int64_t size = batch_size(t), steps = km_trainer_epoch_steps(t);
    *epoch = step / steps + 1;
    if (t->ordered_epoch != *epoch) {
        km_rng rng;
        km_rng_open(&rng, (uint64_t)c->seed, KM_STREAM_ORDER, (uint32_t)*epoch, 0);
        km_rng_permute(&rng, t->order, t->train_count);
        t->ordered_epoch = *epoch;
    }
    for (int64_t i = 0; i < size; i++)
        t->index[i] = t->train[t->order[step % steps * size + i]];
    return (int)size;
}

static km_status one_step(km_trainer *t, km_progress *progress, km_error *err)
{
    const km_config *c = km_model_config(t->model);
    int64_t step = t->optimiser.step;
    km_batch batch;
    int size = choose(t, step, &progress->epoch);
    km_status status = t->source.draw(t->source.context, &batch, t->index, size, c, (uint64_t)c->seed,
                                      (uint32_t)progress->epoch, t->threads, err);
    if (status != KM_OK)
        return status;
    count_batch(progress, &batch);
    if (batch.B == 0)
        return km_error_set(err, KM_VALUE, "step %lld: none of its %d recordings can be used: each is shorter than a "
                            "segment or has no usable lead", (long long)step + 1, size);
    km_step how = {t->threads, 1, 1, (uint32_t)step};
    size_t bytes = km_model_layout(t->model, KM_STATISTICS)->size * sizeof(km_real);
    memcpy(t->statistics, km_model_data(t->model, KM_STATISTICS), bytes);
    double own = 0;
    status = t->objective.gradients(t->objective.context, &progress->losses, &own, t->model, &batch, &how, err);
    progress->gradient_norm = status == KM_OK ? hypot(km_optimiser_norm(t->model), own) : 0;
    int finite = isfinite(progress->losses.total) && progress->gradient_norm < KM_LARGEST_NORM;
    if (status == KM_OK && !finite) {
        char text[160];
        name_nonfinite(t, &progress->losses, own);
        if (!t->skip_nonfinite)
            status = km_error_set(err, KM_STATE,
                                  "step %lld: the loss or its gradient is not finite: %s (contrast %g, unimodal %g, "
                                  "query %g, gradient norm %g), of %s; training stopped before it changed the model, a "
                                  "smaller lr or clip= may help",
                                  (long long)step + 1, t->nonfinite, progress->losses.contrast,
                                  progress->losses.unimodal, progress->losses.query, progress->gradient_norm,
                                  numbers(text, t->index, size));
    }
    if (status != KM_OK || !finite)
        memcpy(km_model_data(t->model, KM_STATISTICS), t->statistics, bytes);
    if (status != KM_OK)
        return status;
    progress->lr = km_schedule_rate(c->lr, step, c->warmup_steps, progress->steps);
    progress->index = t->index;
    progress->indices = size;
    if (finite) {
        km_optimiser_update(&t->optimiser, t->model, progress->lr, progress->gradient_norm, t->threads);
        t->objective.update(t->objective.context, c, progress->lr, km_optimiser_clip(c, progress->gradient_norm),
                            km_optimiser_updates(&t->optimiser));
    } else {
        progress->nonfinite = t->nonfinite;
        t->optimiser.step++;
        t->optimiser.passed++;
    }
    progress->step = t->optimiser.step;
    return KM_OK;
}

km_status km_trainer_run(km_trainer *t, int64_t until, km_hook *hook, void *context, km_error *err)
{
    int64_t epoch_steps = km_trainer_epoch_steps(t), steps = epoch_steps * km_model_config(t->model)->epochs;
    km_status status = KM_OK;
    until = until < steps ? until : steps;
    for (;;) {
        km_progress progress = {.event = KM_EVENT_STEP, .step = t->optimiser.step, .steps = steps};
        int64_t done = t->optimiser.step;
        if (done > 0 && done % epoch_steps == 0 && t->validated < done && t->validation_count > 0) {
            progress.epoch = done / epoch_steps;
            status = km_trainer_validate(t, &progress, hook, context, err);
            if (status == KM_OK)
                t->validated = done;
        } else if (done < until) {
            status = one_step(t, &progress, err);
        } else {
            return KM_OK;
        }
        if (status != KM_OK)
            return status;
        if (hook != NULL && hook(context, &progress) != 0)
            return stopped(t, err);
    }
}
