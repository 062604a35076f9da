/* Header and samples as bytes, in blocks of their exact size, so that a sanitizer sees every step beyond. */
#include "check.h"
#include "core/rng.h"
#include "data/wfdb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char GOOD[] = "r/1 3 500/500(0) 4 12:00:00 1/2/2000\n"
                           "r.dat 16x1+2 1000(0)/mV 16 0 1 10 0 I\n"
                           "r.dat 16+2 200.5(-3)/uV 16 0 5 26 0 aVF\n"
                           "x.mat 212 0 12 7 0 0 0 vx\n"
                           "# Age: 60\n";

/* km_wfdb_create on a copy that ends where it ends. */
static km_status create(km_wfdb *header, char **copy, const char *text, size_t length, km_error *err)
{
    *copy = malloc(length > 0 ? length : 1);
    memcpy(*copy, text, length);
    return km_wfdb_create(header, *copy, length, err);
}

static void test_header(void)
{
    km_wfdb header;
    km_error err;
    char *copy;
    CHECK(create(&header, &copy, GOOD, strlen(GOOD), &err) == KM_OK);
    CHECK(header.fs == 500.0 && header.samples == 4 && header.segments == 1 && header.signal_count == 3);
    CHECK(header.comment_count == 1 && memcmp(header.comment[0].start, "Age: 60", 7) == 0);
    const km_wfdb_signal *s = header.signal;
    CHECK(s[0].lead == 0 && s[0].start == 2 && s[0].gain == 1000.0 && s[0].has_checksum && s[0].checksum == 10);
    CHECK(s[1].lead == 5 && s[1].column == 1 && s[1].gain == 200.5 && s[1].baseline == -3.0);
    CHECK(s[2].lead == -1 && s[2].column == 0 && s[2].gain == 200.0 && s[2].baseline == 7.0 && s[2].format == 212);
    CHECK(km_wfdb_readable(&header, 0) && !km_wfdb_readable(&header, 2));
    CHECK(km_wfdb_width(&header, 1) == 2 && km_wfdb_width(&header, 2) == 1);

    int rows[3], count, ids[2] = {5, 0};
    CHECK(km_wfdb_select(rows, &count, &header, NULL, 0, 1, &err) == KM_VALUE && strstr(err.message, "'vx'") != NULL);
    CHECK(km_wfdb_select(rows, &count, &header, NULL, 0, 0, &err) == KM_OK && count == 2 && rows[1] == 1);
    CHECK(km_wfdb_select(rows, &count, &header, ids, 2, 1, &err) == KM_OK && count == 2 && rows[0] == 1);
    ids[0] = 7;
    CHECK(km_wfdb_select(rows, &count, &header, ids, 2, 1, &err) == KM_VALUE && strstr(err.message, "V2") != NULL);
    km_wfdb_free(&header);
    free(copy);
}

static void test_samples(void)
{
    static const unsigned char BYTES[] = {99, 99, 1, 0, 5, 0, 2, 0, 6, 0, 3, 0, 7, 0, 4, 0, 8, 0};
    km_wfdb header;
    km_error err;
    char *copy;
    float x[4];
    int64_t samples;
    CHECK(create(&header, &copy, GOOD, strlen(GOOD), &err) == KM_OK);
    unsigned char *data = malloc(sizeof BYTES);
    memcpy(data, BYTES, sizeof BYTES);
    CHECK(km_wfdb_length(&samples, &header, 0, sizeof BYTES, 1, &err) == KM_OK && samples == 4);
    CHECK(km_wfdb_length(&samples, &header, 0, sizeof BYTES - 1, 0, &err) == KM_VALUE);
    CHECK(km_wfdb_length(&samples, &header, 0, sizeof BYTES + 4, 1, &err) == KM_VALUE);
    CHECK(km_wfdb_length(&samples, &header, 0, sizeof BYTES + 4, 0, &err) == KM_OK && samples == 4);
    CHECK(km_wfdb_length(&samples, &header, 0, 1, 0, &err) == KM_VALUE);
    CHECK(km_wfdb_decode(x, 4, &header, 0, data, sizeof BYTES, 1, &err) == KM_OK);
    CHECK(x[0] == 0.001f && x[3] == 0.004f);
    CHECK(km_wfdb_decode(x, 4, &header, 1, data, sizeof BYTES, 1, &err) == KM_OK);
    CHECK(fabs(x[0] - 8.0 / 200.5 * 1e-3) < 1e-9 && fabs(x[3] - 11.0 / 200.5 * 1e-3) < 1e-9);
    CHECK(km_wfdb_decode(x, 4, &header, 1, data, sizeof BYTES - 1, 1, &err) == KM_VALUE);
    data[4] ^= 1;
    CHECK(km_wfdb_decode(x, 4, &header, 1, data, sizeof BYTES, 1, &err) == KM_VALUE);
    CHECK(strstr(err.message, "aVF") != NULL);
    CHECK(km_wfdb_decode(x, 4, &header, 1, data, sizeof BYTES, 0, &err) == KM_OK);
    data[2] = 0;
    data[3] = 0x80;
    CHECK(km_wfdb_decode(x, 4, &header, 0, data, sizeof BYTES, 0, &err) == KM_OK && isnan(x[0]) && !isnan(x[1]));
    km_wfdb_free(&header);
    free(copy);
    free(data);
}

/* Mutated headers never read outside their bytes, and what is accepted can be decoded within its file. */
static void test_mutations(void)
{
    static const char ALPHABET[] = "0123456789-+./x:()#~ \n\r\tIVmuav\xb5\0";
    km_rng rng;
    km_rng_open(&rng, 1, KM_STREAM_SIMULATE, 0, 0);
    int accepted = 0;
    for (int trial = 0; trial < 20000; trial++) {
        char text[256];
        size_t length = strlen(GOOD);
        memcpy(text, GOOD, length);
        for (uint32_t change = km_rng_below(&rng, 4); change < 4; change++) {
            size_t at = km_rng_below(&rng, (uint32_t)length);
            switch (km_rng_below(&rng, 3)) {
            case 0: text[at] = ALPHABET[km_rng_below(&rng, sizeof ALPHABET - 1)]; break;
            case 1: memmove(text + at, text + at + 1, length - at - 1), length -= length > 1; break;
            default: length = at > 0 && change == 3 ? at : length; break;
            }
        }
        km_wfdb header;
        km_error err;
        char *copy;
        if (create(&header, &copy, text, length, &err) == KM_OK) {
            int rows[64], count;
            unsigned char *data = calloc(64, 1);
            accepted++;
            CHECK(header.signal_count <= 64);
            if (km_wfdb_select(rows, &count, &header, NULL, 0, 0, &err) == KM_OK) {
                for (int i = 0; i < count; i++) {
                    int64_t samples;
                    float x[32];
                    double scale;
                    if (!km_wfdb_readable(&header, rows[i]) ||
                        km_wfdb_scale(&scale, &header.signal[rows[i]], &err) != KM_OK ||
                        km_wfdb_length(&samples, &header, rows[i], 64, 0, &err) != KM_OK)
                        continue;
                    CHECK(samples <= 32 && km_wfdb_decode(x, samples, &header, rows[i], data, 64, 0, &err) == KM_OK);
                }
            }
            free(data);
        } else {
            CHECK(strlen(err.message) > 10 && header.signal == NULL);
        }
        km_wfdb_free(&header);
        free(copy);
    }
    CHECK(accepted > 100);
}

static void test_nothing(void)
{
    km_wfdb header;
    km_error err;
    CHECK(km_wfdb_create(&header, NULL, 0, &err) == KM_VALUE);
    km_wfdb_free(&header);
}

int main(void)
{
    test_nothing();
    test_header();
    test_samples();
    test_mutations();
    return check_result();
}
