#include "check.h"
#include "core/rng.h"
#include "data/preprocess.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Against sorting, with many equal values and without. */
static void test_median(void)
{
    km_rng rng;
    km_rng_open(&rng, 2, KM_STREAM_SIMULATE, 0, 0);
    for (int trial = 0; trial < 300; trial++) {
        const int n = 1 + (int)km_rng_below(&rng, 64), few = trial % 2;
        float x[64];
        uint32_t *scratch = malloc((size_t)n * sizeof *scratch);
        for (int i = 0; i < n; i++)
            x[i] = few ? (float)km_rng_below(&rng, 4) - 2.0f : (float)km_rng_normal(&rng);
        double median = km_preprocess_median(x, n, scratch);
        qsort(x, (size_t)n, sizeof *x, compare);
        CHECK(median == 0.5 * ((double)x[(n - 1) / 2] + (double)x[n / 2]));
        free(scratch);
    }
}

static void test_repair_and_usable(void)
{
    float x[10] = {NAN, 1, NAN, NAN, 4, 5, INFINITY, 7, 8, -INFINITY};
    int64_t missing;
    CHECK(km_preprocess_usable(&missing, x, 10, 0.5) && missing == 5);
    CHECK(!km_preprocess_usable(NULL, x, 10, 0.4));
    CHECK(km_preprocess_repair(x, 10) == 5);
    static const float expected[10] = {1, 1, 2, 3, 4, 5, 6, 7, 8, 8};
    for (int i = 0; i < 10; i++)
        CHECK(x[i] == expected[i]);
    CHECK(km_preprocess_repair(x, 10) == 0);
    float flat[4] = {1.0f, 1.001f, NAN, 1.0f}, gone[2] = {NAN, NAN};
    CHECK(!km_preprocess_usable(NULL, flat, 4, 1.0));
    flat[1] = 1.002f;
    CHECK(km_preprocess_usable(NULL, flat, 4, 1.0));
    CHECK(!km_preprocess_usable(NULL, gone, 2, 1.0));
    CHECK(km_preprocess_repair(gone, 2) == 2 && gone[0] == 0.0f);
}

/* Every pair of rates writes what it says and reads nothing beyond: the blocks have their exact sizes. */
static void test_resample_stays_inside(void)
{
    static const double rates[] = {1, 2, 99.5, 100, 257, 360, 499.99, 500, 1000, 4321.1, 100000};
    km_error err;
    for (int i = 0; i < 11; i++) {
        for (int j = 0; j < 11; j++) {
            for (int64_t n = 1; n <= 1000; n = n * 10 + 1) {
                int64_t length;
                const km_status status = km_preprocess_length(&length, n, rates[i], rates[j], &err);
                CHECK(status == (rates[i] > 1000 * rates[j] ? KM_VALUE : KM_OK));
                if (status != KM_OK)
                    continue;
                CHECK(length >= 1);
                if (length > 200000)
                    continue;
                float *in = malloc((size_t)n * sizeof *in), *out = malloc((size_t)length * sizeof *out);
                for (int64_t k = 0; k < n; k++)
                    in[k] = 2.0f;
                CHECK(km_preprocess_resample(out, in, 1, n, rates[i], rates[j], 1, &err) == KM_OK);
                CHECK(out[0] == 2.0f && out[length - 1] == 2.0f);
                free(in);
                free(out);
            }
        }
    }
    int64_t length;
    CHECK(km_preprocess_length(&length, INT64_MAX / 2, 1, 100000, &err) == KM_VALUE);
    CHECK(km_preprocess_length(&length, 10, NAN, 500, &err) == KM_VALUE);
}

int main(void)
{
    test_median();
    test_repair_and_usable();
    test_resample_stays_inside();
    return check_result();
}
