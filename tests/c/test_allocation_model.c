/* Every allocation of the model and its training fails once. */
#include "allocation.h"
#include "ops/ops.h"
#include "small.h"

static uint64_t part(uint64_t h, km_model *model, km_part which)
{
    const km_layout *layout = km_model_layout(model, which);
    for (int i = 0; i < layout->count; i++)
        h = digest(h, km_model_data(model, which) + layout->tensors[i].offset,
                   layout->tensors[i].count * sizeof(km_real));
    return h;
}

/* Two sizes of batch, so that what is there grows; then all that an evaluation can ask for. */
static uint64_t steps(const km_config *c, const km_batch *batch, int threads)
{
    km_model *model;
    km_losses losses;
    km_real dfeatures[B * 512];
    const km_real *features;
    const km_step step = {threads, 1, 0, 3};
    uint64_t h = 1;
    for (size_t i = 0; i < sizeof dfeatures / sizeof *dfeatures; i++)
        dfeatures[i] = (km_real)(i % 7) - 3;
    TRY(km_model_create(&model, c, &err));
    for (int size = 2; size <= batch->B; size += batch->B - 2) {
        km_batch some = *batch;
        some.B = size;
        some.T = batch->offset[size];
        TRY(km_model_gradients(model, &losses, &some, &step, &err));
        h = part(digest(h, &losses.total, sizeof losses.total), model, KM_GRADIENTS);
        TRY(km_model_forward(model, &features, &some, &step, &err));
        h = digest(h, features, (size_t)size * (size_t)c->width * sizeof(km_real));
        km_model_backward(model, dfeatures, &some, &step);
        h = part(h, model, KM_GRADIENTS);
        TRY(km_model_losses(model, &losses, &some, threads, &err));
        h = digest(h, &losses.total, sizeof losses.total);
    }
    h = part(h, model, KM_STATISTICS);
    km_model_free(model);
    return h;
}

static uint64_t evaluation(const km_config *c, const km_batch *batch)
{
    km_model *model;
    km_classes *classes = NULL;
    km_real logits[B * Q], features[B * 512], ecg[B * 64], text[B * 64], attention[Q * B * 12];
    const int queries = c->query_weight > 0;
    const km_outputs all = {queries ? logits : NULL, features, ecg, text, queries ? attention : NULL};
    const size_t J = (size_t)c->projection_width;
    uint64_t h = 1;
    TRY(km_model_create(&model, c, &err));
    if (queries)
        TRY(km_classes_create(&classes, model, batch->entities, Q, &err));
    for (int threads = 1; threads <= 2; threads++) {
        TRY(km_model_evaluate(model, &all, batch, classes, threads, &err));
        h = digest(h, features, (size_t)batch->B * (size_t)c->width * sizeof *features);
        h = digest(digest(h, ecg, (size_t)batch->B * J * sizeof *ecg), text, (size_t)batch->B * J * sizeof *text);
        if (queries)
            h = digest(digest(h, logits, (size_t)batch->B * Q * sizeof *logits), attention,
                       (size_t)(Q * batch->T) * sizeof *attention);
    }
    TRY(km_model_project_text(model, text, batch->report, batch->B, &err));
    h = digest(h, text, (size_t)batch->B * J * sizeof *text);
    km_classes_free(classes);
    km_model_free(model);
    return h;
}

static uint64_t vit(void)
{
    data d;
    const km_batch batch = batch_of(&d);
    km_config c = small();
    c.dropout = 0.1;
    c.unimodal_weight = 1;              /* the uni-modal loss too */
    const uint64_t h = steps(&c, &batch, 2);
    c = small();
    c.memory_mb = 0;                    /* activations made again */
    c.precision = KM_BF16;
    return h ^ steps(&c, &batch, 1);
}

static uint64_t vit_evaluation(void)
{
    data d;
    const km_batch batch = batch_of(&d);
    const km_config c = small();
    return evaluation(&c, &batch);
}

/* Three recordings of ResNet-18, eleven million parameters. */
static km_batch resnet_batch(data *d, km_real *patches, int count)
{
    km_batch batch = batch_of(d);
    batch.B = 3;
    batch.T = batch.offset[3];
    for (int i = 0; i < count; i++)
        patches[i] = (km_real)(i * 37 % 101) / 50 - 1;
    memset(d->lead, 0, sizeof d->lead);
    batch.patches = patches;
    return batch;
}

static uint64_t resnet(void)
{
    static km_real patches[20 * KM_LEADS * P];
    data d;
    const km_batch batch = resnet_batch(&d, patches, 20 * KM_LEADS * P);
    const km_config c = small_resnet();
    return steps(&c, &batch, 2);
}

static uint64_t resnet_evaluation(void)
{
    static km_real patches[20 * KM_LEADS * P];
    data d;
    const km_batch batch = resnet_batch(&d, patches, 20 * KM_LEADS * P);
    const km_config c = small_resnet();
    return evaluation(&c, &batch);
}

/* Pretraining from the store, with validation, and going on; then fine-tuning a head. A run that memory stopped goes on
 * with the same trainer.                                                                                          */
static uint64_t training(void)
{
    static store s;
    static const int64_t train[7] = {0, 1, 2, 3, 4, 5, 6}, validation[2] = {7, 8};
    const km_config c = small();
    km_model *model;
    km_trainer trainer;
    km_head head;
    km_progress progress = {0};
    uint64_t h = 1;
    fill(&s);
    TRY(km_corpus_check(&s.corpus, &err));
    TRY(km_model_create(&model, &c, &err));
    TRY(km_trainer_create(&trainer, model, (km_source){&s, draw}, NULL, train, 7, validation, 2, 2, &err));
    TRY(km_trainer_run(&trainer, 2, NULL, NULL, &err));
    TRY(km_trainer_run(&trainer, 9, NULL, NULL, &err));
    TRY((progress = (km_progress){0}, km_trainer_validate(&trainer, &progress, NULL, NULL, &err)));
    CHECK(trainer.optimiser.step == 3 && trainer.validated == 3);
    h = digest(part(part(h, model, KM_PARAMETERS), model, KM_STATISTICS), &progress.losses.total, sizeof(double));
    km_trainer_free(&trainer);

    TRY(km_head_create(&head, &c, Q, &err));
    const km_objective objective = km_head_objective(&head);
    TRY(km_trainer_create(&trainer, model, (km_source){&s, draw}, &objective, train, 7, NULL, 0, 1, &err));
    TRY(km_trainer_run(&trainer, 2, NULL, NULL, &err));
    h = digest(part(h, model, KM_PARAMETERS), head.w, head.size * sizeof *head.w);
    km_trainer_free(&trainer);
    km_head_free(&head);
    km_model_free(model);
    km_sampler_free(&s.sampler);
    return h;
}

int main(void)
{
    exhaust("vit", vit);
    exhaust("vit, evaluation", vit_evaluation);
    exhaust("training", training);
    exhaust("resnet", resnet);
    exhaust("resnet, evaluation", resnet_evaluation);
    return check_result();
}
