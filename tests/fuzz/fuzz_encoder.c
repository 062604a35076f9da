/* Tokenised texts of any ids and offsets, read by one small text encoder; then sizes of any kind. */
#include "fuzz.h"
#include "model/text.h"

#include <math.h>

enum { C = 12, MOST = 16 };

static const km_text_config sizes = {.vocabulary = 20, .positions = 30, .types = 2, .width = C, .layers = 1,
                                     .heads = 2, .mlp_width = 8, .pooler = 1, .eps = 1e-6};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static km_text *text;
    km_error err = {0};
    if (text == NULL) {
        FUZZ_HOLDS(km_text_create(&text, &sizes, &err) == KM_OK);
        for (int i = 0; i < km_text_count(&sizes); i++) {
            const km_text_weight *w = km_text_get(text, i);
            for (int k = 0; k < w->rows * (w->cols > 0 ? w->cols : 1); k++)
                w->data[k] = (km_real)((k * 7 + i) % 11 - 5) / 8;
        }
    }
    if (size < 2)
        return 0;
    const int n = data[0] % (MOST + 1), pooling = data[1] % 3;
    data += 2, size -= 2;
    const int count = size > (size_t)n ? (int)(size - (size_t)n) : 0;
    int32_t *ids = malloc(((size_t)count + 1) * sizeof *ids), *offset = malloc(((size_t)n + 1) * sizeof *offset);
    km_real *out = malloc(((size_t)n + 1) * C * sizeof *out);
    offset[0] = 0;
    for (int i = 0; i < n; i++) {           /* the last offset is the number of ids, as whoever calls makes it */
        const int step = (size_t)i < size ? (int8_t)data[i] : 1;
        offset[i + 1] = i + 1 == n ? count : offset[i] + step;
    }
    for (int i = 0; i < count; i++)
        ids[i] = data[n + i] < 250 ? data[n + i] % 20 : ((int8_t)data[n + i] + 3) * 100000000;
    const km_status status = km_text_forward(out, text, ids, offset, n, (km_pooling)pooling, 1, &err);
    FUZZ_HOLDS(status == KM_OK || (status == KM_VALUE && err.message[0] != 0));
    for (int i = 0; status == KM_OK && i < n * C; i++)
        FUZZ_HOLDS(isfinite(out[i]));
    free(out);
    free(offset);
    free(ids);

    int field[8];
    if (size >= sizeof field + sizeof(double)) {
        km_text_config other;
        memcpy(field, data, sizeof field);
        other = (km_text_config){field[0], field[1], field[2], field[3], field[4], field[5], field[6], field[7], 0};
        memcpy(&other.eps, data + sizeof field, sizeof other.eps);
        if (km_text_check(&other, &err) == KM_OK)
            FUZZ_HOLDS(km_text_count(&other) >= 5 + 12 * other.layers);
        else
            FUZZ_HOLDS(err.message[0] != 0);
    }
    return 0;
}
