#include "check.h"
#include "core/rng.h"
#include "model/text.h"

#include <limits.h>
#include <string.h>

enum { N = 9, C = 24 };

static const km_text_config sizes = {
    .vocabulary = 20, .positions = 600, .types = 2, .width = C, .layers = 2, .heads = 3, .mlp_width = 40,
    .pooler = 1, .eps = 1e-6,
};

/* An encoder with random weights. */
static km_text *make(void)
{
    km_text *text = NULL;
    km_error err = {0};
    CHECK(km_text_create(&text, &sizes, &err) == KM_OK);
    km_rng rng;
    km_rng_open(&rng, 0, KM_STREAM_INIT, 0, 0);
    for (int i = 0; i < km_text_count(&sizes); i++) {
        const km_text_weight *weight = km_text_get(text, i);
        int count = weight->rows * (weight->cols > 0 ? weight->cols : 1);
        for (int k = 0; k < count; k++)
            weight->data[k] = (km_real)(km_rng_normal(&rng) / 2);
    }
    return text;
}

/* Texts of every kind of length, one longer than a span. */
static void lay_out(int32_t *ids, int32_t *offset)
{
    static const int lengths[N] = {3, 1, 600, 17, 2, 39, 16, 8, 300};
    for (int i = 0; i < N; i++)
        offset[i + 1] = offset[i] + lengths[i];
    for (int t = 0; t < offset[N]; t++)
        ids[t] = t * 7 % 20;
}

static void test_neighbours_and_threads_change_no_bit(void)
{
    km_text *text = make();
    km_error err = {0};
    int32_t ids[1000], offset[N + 1] = {0};
    km_real alone[N * C], together[N * C];
    lay_out(ids, offset);
    for (km_pooling pooling = KM_MEAN_TOKEN; pooling <= KM_POOLER_OUTPUT; pooling++) {
        for (int i = 0; i < N; i++) {
            int32_t one[2] = {0, offset[i + 1] - offset[i]};
            CHECK(km_text_forward(alone + i * C, text, ids + offset[i], one, 1, pooling, 1, &err) == KM_OK);
        }
        for (int threads = 1; threads <= 3; threads++) {
            memset(together, 0, sizeof together);
            CHECK(km_text_forward(together, text, ids, offset, N, pooling, threads, &err) == KM_OK);
            CHECK(memcmp(alone, together, sizeof alone) == 0);
        }
        CHECK(alone[0] != 0 && alone[0] != alone[C]);
    }
    km_text_free(text);
}

static void test_the_list(void)
{
    km_text *text = make();
    km_text_weight list[64];
    int count = km_text_count(&sizes);
    CHECK(count == 7 + 2 * 12);
    km_text_list(list, &sizes);
    CHECK(strcmp(list[0].name, "embeddings.word") == 0 && list[0].rows == 20 && list[0].cols == C);
    CHECK(strcmp(list[count - 1].name, "layers.1.norm2.bias") == 0 && list[count - 1].cols == 0);
    for (int i = 0; i < count; i++)
        CHECK(strcmp(list[i].name, km_text_get(text, i)->name) == 0 && km_text_get(text, i)->data != NULL);
    km_text_free(text);
    km_text_free(NULL);
}

static void test_what_is_refused(void)
{
    km_text *text = make(), *none = text;
    km_error err = {0};
    km_real out[2 * C];
    int32_t ids[3] = {1, 2, 3}, good[3] = {0, 1, 3}, empty[3] = {0, 0, 3}, back[3] = {0, -1, 3}, late[3] = {1, 2, 3};
    CHECK(km_text_forward(out, text, ids, good, 2, KM_MEAN_TOKEN, 1, &err) == KM_OK);
    CHECK(km_text_forward(out, text, ids, good, 0, KM_MEAN_TOKEN, 1, &err) == KM_OK);
    CHECK(km_text_forward(out, text, ids, good, 2, KM_MEAN_TOKEN, 0, &err) == KM_VALUE);
    CHECK(km_text_forward(out, text, ids, empty, 2, KM_MEAN_TOKEN, 1, &err) == KM_VALUE);
    CHECK(km_text_forward(out, text, ids, back, 2, KM_MEAN_TOKEN, 1, &err) == KM_VALUE);
    CHECK(km_text_forward(out, text, ids, late, 2, KM_MEAN_TOKEN, 1, &err) == KM_VALUE);
    ids[2] = 20;
    CHECK(km_text_forward(out, text, ids, good, 2, KM_MEAN_TOKEN, 1, &err) == KM_VALUE);
    CHECK(strstr(err.message, "token id 20") != NULL);
    ids[2] = INT_MIN;
    CHECK(km_text_forward(out, text, ids, good, 2, KM_MEAN_TOKEN, 1, &err) == KM_VALUE);
    km_text_free(text);

    km_text_config wrong = sizes;
    wrong.heads = 5;
    CHECK(km_text_create(&none, &wrong, &err) == KM_VALUE && none == NULL);
    wrong = sizes;
    wrong.vocabulary = INT_MAX;
    CHECK(km_text_create(&none, &wrong, &err) == KM_VALUE && strstr(err.message, "vocabulary is 2147483647") != NULL);
}

int main(void)
{
    test_neighbours_and_threads_change_no_bit();
    test_the_list();
    test_what_is_refused();
    return check_result();
}
