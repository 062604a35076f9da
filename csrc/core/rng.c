#include "core/rng.h"

#include <math.h>

static void philox(uint32_t out[4], const uint32_t key[2], const uint32_t counter[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The counter's four words: i; a; the low word of b; and the stream above the low 24 bits of b's high word. */
static void set_counter(uint32_t counter[4], km_stream stream, uint32_t a, uint64_t b, uint32_t i)
{
    counter[0] = i;
    counter[1] = a;
    counter[2] = (uint32_t)b;
    counter[3] = ((uint32_t)stream << 24) ^ (uint32_t)(b >> 32);
}

void km_rng_block(uint32_t out[4], uint64_t seed, km_stream stream, uint32_t a, uint64_t b, uint32_t i)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t counter[4];
    set_counter(counter, stream, a, b, i);
    philox(out, key, counter);
}

void km_rng_open(km_rng *rng, uint64_t seed, km_stream stream, uint32_t a, uint64_t b)
{
    rng->key[0] = (uint32_t)seed;
    rng->key[1] = (uint32_t)(seed >> 32);
    set_counter(rng->counter, stream, a, b, 0);
    rng->left = 0;
}

uint32_t km_rng_next(km_rng *rng)
{
    if (rng->left == 0) {
        philox(rng->block, rng->key, rng->counter);
        rng->counter[0]++;
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

uint32_t km_rng_below(km_rng *rng, uint32_t n)
{
    /* Numbers under 2^32 mod n would make small results likelier; draw again instead. */
    uint32_t reject = (0u - n) % n;
    uint32_t x;
    do
        x = km_rng_next(rng);
    while (x < reject);
    return x % n;
}

double km_rng_uniform(km_rng *rng)
{
    uint64_t high = km_rng_next(rng) >> 5, low = km_rng_next(rng) >> 6;
    return (double)((high << 26) | low) * (1.0 / 9007199254740992.0);
}

double km_rng_normal(km_rng *rng)
{
    double u = 1.0 - km_rng_uniform(rng), v = km_rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

void km_rng_permute(km_rng *rng, int64_t *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)km_rng_below(rng, (uint32_t)(i + 1));
        int64_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}
