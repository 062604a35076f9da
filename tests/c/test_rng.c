#include "check.h"
#include "core/rng.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* Known answers of Philox4x32-10 as published with Random123 (kat_vectors). Stream 0 leaves the counter's top
 * word to b.                                                                                                 */
static void test_known_answers(void)
{
    static const struct {
        uint64_t seed;
        uint32_t i, a;
        uint64_t b;
        uint32_t out[4];
    } cases[] = {
        {0, 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {0xffffffffffffffff, 0xffffffff, 0xffffffff, 0xffffffffffffffff, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x243f6a88, 0x85a308d3, 0x0370734413198a2e, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int n = 0; n < 3; n++) {
        uint32_t out[4];
        km_rng_block(out, cases[n].seed, (km_stream)0, cases[n].a, cases[n].b, cases[n].i);
        for (int j = 0; j < 4; j++)
            CHECK(out[j] == cases[n].out[j]);
    }
}

/* A sequence is its blocks, one after the other. */
static void test_sequence(void)
{
    km_rng rng;
    km_rng_open(&rng, 42, KM_STREAM_LEADS, 3, 5);
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t block[4];
        km_rng_block(block, 42, KM_STREAM_LEADS, 3, 5, i);
        for (int j = 0; j < 4; j++)
            CHECK(km_rng_next(&rng) == block[j]);
    }
}

/* Every part of the address matters. */
static void test_addresses_differ(void)
{
    uint32_t base[4], other[4];
    km_rng_block(base, 1, KM_STREAM_LEADS, 2, 3, 4);
    for (int change = 0; change < 6; change++) {
        km_rng_block(other, 1 + (change == 0) + ((uint64_t)(change == 1) << 40),
                     change == 2 ? KM_STREAM_SEGMENTS : KM_STREAM_LEADS, 2 + (change == 3), 3 + (change == 4), 4 + (change == 5));
        CHECK(other[0] != base[0] || other[1] != base[1]);
    }
}

static void test_distributions(void)
{
    km_rng rng;
    km_rng_open(&rng, 7, KM_STREAM_BOOTSTRAP, 0, 0);
    enum { N = 30000 };
    int count[3] = {0};
    double sum = 0, square = 0, mean = 0;
    for (int i = 0; i < N; i++) {
        uint32_t below = km_rng_below(&rng, 3);
        CHECK(below < 3);
        count[below % 3]++;
        double u = km_rng_uniform(&rng);
        CHECK(u >= 0 && u < 1);
        mean += u / N;
        double z = km_rng_normal(&rng);
        CHECK(isfinite(z));
        sum += z / N;
        square += z * z / N;
    }
    for (int i = 0; i < 3; i++)
        CHECK(abs(count[i] - N / 3) < 5 * sqrt(N * 2 / 9.0));
    CHECK(fabs(mean - 0.5) < 5 * sqrt(1 / 12.0 / N));
    CHECK(fabs(sum) < 5 * sqrt(1.0 / N));
    CHECK(fabs(square - 1) < 5 * sqrt(2.0 / N));
    CHECK(km_rng_below(&rng, 1) == 0);
}

static void test_permutation(void)
{
    enum { N = 1000 };
    int64_t order[N];
    int seen[N] = {0}, moved = 0;
    km_rng rng;
    km_rng_open(&rng, 0, KM_STREAM_ORDER, 1, 0);
    km_rng_permute(&rng, order, N);
    for (int i = 0; i < N; i++) {
        CHECK(order[i] >= 0 && order[i] < N);
        seen[order[i]]++;
        moved += order[i] != i;
    }
    for (int i = 0; i < N; i++)
        CHECK(seen[i] == 1);
    CHECK(moved > N - 20);
    km_rng_permute(&rng, order, 0);
    km_rng_permute(&rng, order, 1);
    CHECK(order[0] == 0);
}

int main(void)
{
    test_known_answers();
    test_sequence();
    test_addresses_differ();
    test_distributions();
    test_permutation();
    return check_result();
}
