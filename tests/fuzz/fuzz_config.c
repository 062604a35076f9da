/* A configuration of any numbers: entries of nine bytes, a field and its value (small integers, or all eight bytes),
 * over one that is allowed. What is accepted lays out parameters that follow one another without overlap.         */
#include "fuzz.h"
#include "model/params.h"

static km_config allowed(void)
{
    km_config c = {.fs = 500, .seconds = 10, .max_missing = 0.2, .segment_samples = 100, .lead_embedding = 1,
                   .temporal_embedding = 1, .width = 192, .depth = 2, .heads = 3, .mlp_width = 768, .text_width = 384,
                   .projection_width = 256, .temperature = 0.07, .contrast_positive = 1, .contrast_weight = 1,
                   .query_width = 256, .query_layers = 2, .query_heads = 4, .query_mlp_width = 512, .query_weight = 1,
                   .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .batch_size = 64, .epochs = 1,
                   .weight_std = 0.02, .lanes = 4,
                   .span_recordings = 8, .span_tokens = 4096, .masked_leads = {[9] = 0.5, [10] = 0.5}};
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
#define INT(field) {offsetof(km_config, field), 1},
#define REAL(field) {offsetof(km_config, field), 0},
    static const struct {
        size_t at;
        int whole;
    } fields[] = {KM_CONFIG_FIELDS(INT, REAL)};
#undef INT
#undef REAL
    enum { FIELDS = sizeof fields / sizeof *fields };
    km_config c = allowed();
    km_error err = {0};
    for (; size >= 9; data += 9, size -= 9) {
        const int field = data[0] % (FIELDS + KM_LEADS);
        const size_t at = field < FIELDS ? fields[field].at : offsetof(km_config, masked_leads) + (size_t)(field - FIELDS) * sizeof(double);
        int64_t number;
        double real;
        memcpy(&number, data + 1, sizeof number);
        memcpy(&real, data + 1, sizeof real);
        if (data[0] >= 128) {
            number = (int16_t)number;
            real = (double)number / 256;
        }
        if (field < FIELDS && fields[field].whole)
            memcpy((char *)&c + at, &number, sizeof number);
        else
            memcpy((char *)&c + at, &real, sizeof real);
    }
    if (km_config_check(&c, &err) != KM_OK) {
        FUZZ_HOLDS(err.status == KM_VALUE && err.message[0] != 0);
        return 0;
    }
    for (int statistics = 0; statistics < 2; statistics++) {
        km_layout layout;
        FUZZ_HOLDS(km_layout_create(&layout, &c, statistics, &err) == KM_OK);
        size_t end = 0;
        for (int i = 0; i < layout.count; i++) {
            const km_tensor *t = &layout.tensors[i];
            FUZZ_HOLDS(t->offset >= end && t->rows > 0 && t->name[0] != 0 && strlen(t->name) < sizeof t->name - 1);
            FUZZ_HOLDS(t->count == (size_t)t->rows * (size_t)(t->cols > 0 ? t->cols : 1));
            end = t->offset + t->count;
        }
        FUZZ_HOLDS(end <= layout.size && layout.size < (size_t)1 << 48);
        km_layout_free(&layout);
    }
    return 0;
}
