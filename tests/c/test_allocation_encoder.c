/* Every allocation of the text encoder fails once. */
#include "allocation.h"
#include "model/text.h"

static uint64_t encoder(void)
{
    enum { N = 9, C = 24 };
    static const int lengths[N] = {3, 1, 600, 17, 2, 39, 16, 8, 300};
    static const km_text_config sizes = {.vocabulary = 20, .positions = 600, .types = 2, .width = C, .layers = 1,
                                         .heads = 3, .mlp_width = 40, .pooler = 1, .eps = 1e-6};
    km_text *text;
    int32_t ids[1000], offset[N + 1] = {0};
    km_real out[N * C];
    uint64_t h = 1;
    TRY(km_text_create(&text, &sizes, &err));
    for (int i = 0; i < km_text_count(&sizes); i++) {
        const km_text_weight *w = km_text_get(text, i);
        for (int k = 0; k < w->rows * (w->cols > 0 ? w->cols : 1); k++)
            w->data[k] = (km_real)((k * 7 + i) % 11 - 5) / 8;
    }
    for (int i = 0; i < N; i++)
        offset[i + 1] = offset[i] + lengths[i];
    for (int t = 0; t < offset[N]; t++)
        ids[t] = t * 7 % 20;
    for (int threads = 1; threads <= 3; threads++) {
        TRY(km_text_forward(out, text, ids, offset, N, KM_MEAN_TOKEN, threads, &err));
        h = digest(h, out, sizeof out);
    }
    km_text_free(text);
    return h;
}

int main(void)
{
    exhaust("text encoder", encoder);
    return check_result();
}
