/* Recordings in files, packed as a store keeps them: what is read, what is left to others, and where a group ends. */
#define _GNU_SOURCE
#include "check.h"
#include "core/rng.h"
#include "data/preprocess.h"
#include "data/wfdb_file.h"
#include "recordings.h"

#include <math.h>
#include <sys/stat.h>

enum { LEADS = 3, SAMPLES = 700 };

/* Samples of a file, interleaved; step -32768 is there. */
static void draw(int16_t *steps, int leads, int samples, uint32_t seed)
{
    km_rng rng;
    km_rng_open(&rng, seed, KM_STREAM_SIMULATE, 0, 0);
    for (int i = 0; i < leads * samples; i++)
        steps[i] = (int16_t)(km_rng_below(&rng, 4001) - 2000);
    steps[leads * (samples / 2)] = INT16_MIN;
}

static void write_steps(const char *name, const int16_t *steps, int count)
{
    unsigned char *bytes = malloc(2 * (size_t)count);
    for (int i = 0; i < count; i++) {
        bytes[2 * i] = (unsigned char)((uint16_t)steps[i] & 255);
        bytes[2 * i + 1] = (unsigned char)((uint16_t)steps[i] >> 8);
    }
    recordings_write(name, bytes, 2 * (size_t)count);
    free(bytes);
}

static void write_header(const char *name, const char *text)
{
    recordings_write(name, text, strlen(text));
}

/* One file with room of its exact size; what was done. The caller frees. */
static int pack_one(km_wfdb_file *file, int16_t *out, int64_t room, const char *header, double seconds, int verify)
{
    *file = (km_wfdb_file){.path = recordings_path(header)};
    CHECK(km_wfdb_file_pack(file, 1, out, room, seconds, verify) == 1);
    return file->done;
}

static int16_t sum_of(const int16_t *steps, int column, int leads, int samples)
{
    uint32_t sum = 0;
    for (int i = 0; i < samples; i++)
        sum += (uint32_t)steps[i * leads + column];
    return (int16_t)(uint16_t)sum;
}

/* Every gain, baseline and unit: as km_wfdb_decode and km_steps_pack have it, which are tested by themselves. */
static void test_values(void)
{
    static const char *const gains[] = {"1000/mV", "1000(0)/mV", "200(0)/mV", "250(-7)/mV",  "1000(32000)/mV", "1/uV", "-1000/mV",
                                        "500.5(3.5)/mV", "1e6/V", "0.25(11)/mV", "2000/mV", "333(-32768)/mV", "1000(2147483648)/mV", "1e-34/mV",
                                        "1e-320/mV"};
    int16_t steps[2 * SAMPLES];
    draw(steps, 2, SAMPLES, 1);
    for (int i = 0; i < 20; i++)                                /* the whole range */
        steps[2 * i] = (int16_t)(i % 2 == 0 ? 32767 - i : -32767 + i);
    write_steps("v.dat", steps, 2 * SAMPLES);
    for (size_t g = 0; g < sizeof gains / sizeof *gains; g++) {
        char text[300];
        const int length = snprintf(text, sizeof text,
                                    "v 2 500 %d\nv.dat 16 %s 16 0 0 %d 0 V1\nv.dat 16 %s 16 0 0 %d 0 I\n#a remark\n",
                                    SAMPLES, gains[g], sum_of(steps, 0, 2, SAMPLES), gains[g],
                                    sum_of(steps, 1, 2, SAMPLES));
        write_header("v.hea", text);
        km_wfdb header;
        km_error err;
        float x[2 * SAMPLES];
        static const int ids[2] = {6, 0};
        int16_t expected[2 * SAMPLES], *out = malloc(sizeof expected);
        unsigned char bytes[4 * SAMPLES];
        for (int i = 0; i < 2 * SAMPLES; i++) {
            bytes[2 * i] = (unsigned char)((uint16_t)steps[i] & 255);
            bytes[2 * i + 1] = (unsigned char)((uint16_t)steps[i] >> 8);
        }
        km_steps s;
        CHECK(km_wfdb_create(&header, text, (size_t)length, &err) == KM_OK);
        for (int r = 0; r < 2; r++)
            CHECK(km_wfdb_decode(x + r * SAMPLES, SAMPLES, &header, r, bytes, sizeof bytes, 1, &err) == KM_OK);
        km_wfdb_free(&header);
        const km_status status = km_steps_pack(&s, expected, x, SAMPLES, ids, 2, SAMPLES, &err);

        km_wfdb_file file;
        const int done = pack_one(&file, out, 2 * SAMPLES, "v.hea", -1, 1);
        CHECK(done == (status == KM_OK));
        if (done) {
            CHECK(file.start == 0 && file.steps.leads == s.leads && file.steps.dropped == s.dropped &&
                  file.steps.samples == s.samples && file.steps.missing == s.missing && file.steps.clipped == s.clipped);
            CHECK(file.count == SAMPLES * __builtin_popcount(s.leads));
            CHECK(memcmp(out, expected, (size_t)file.count * sizeof *out) == 0);
            CHECK(file.header.comment_count == 1 && memcmp(file.header.comment[0].start, "a remark", 8) == 0);
        }
        km_wfdb_file_free(&file);
        free(out);
    }
    recordings_remove("v.dat");
    recordings_remove("v.hea");
}

/* The beginning, at 500 Hz and resampled; the filter sees what lies behind it. */
static void test_seconds(void)
{
    static const struct {
        int fs, samples;
        double seconds;
        int length;
    } cases[] = {{500, SAMPLES, -1, SAMPLES}, {500, SAMPLES, 1, 500}, {500, SAMPLES, 9, SAMPLES}, {500, SAMPLES, 1e300, SAMPLES},
                 {100, 300, -1, 1500},        {100, 300, 1, 500},     {1000, 3000, 1, 500},       {1000, 3000, 1e300, 1500}};
    int16_t steps[LEADS * 3000];
    draw(steps, LEADS, 3000, 2);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[300];
        const int n = cases[k].samples;
        snprintf(text, sizeof text, "s %d %d %d\ns.dat 16 1000 16 0 0 %d 0 I\ns.dat 16 1000 16 0 0 %d 0 V2\n"
                 "s.dat 16 1000 16 0 0 %d 0 aVR\n", LEADS, cases[k].fs, n, sum_of(steps, 0, LEADS, n),
                 sum_of(steps, 1, LEADS, n), sum_of(steps, 2, LEADS, n));
        write_header("s.hea", text);
        write_steps("s.dat", steps, LEADS * n);
        const int64_t room = LEADS * cases[k].length;
        int16_t *out = malloc((size_t)room * sizeof *out);
        km_wfdb_file file;
        CHECK(pack_one(&file, out, room, "s.hea", cases[k].seconds, 1));
        CHECK(file.steps.samples == cases[k].length && file.count == room && file.steps.leads == (1u | 1u << 3 | 1u << 7));

        const double seen = ceil(cases[k].seconds * cases[k].fs + 10 * fmax(1, cases[k].fs / 500.0)) + 2;
        const int cut = cases[k].seconds > 0 && seen < n ? (int)seen : n;
        float *x = malloc(LEADS * (size_t)cut * sizeof *x), *y = malloc(LEADS * 1500 * sizeof *y);
        static const int rows[LEADS] = {0, 2, 1};               /* of the file, in canonical order */
        int64_t length = cut;
        km_error err;
        for (int i = 0; i < cut; i++)
            for (int r = 0; r < LEADS; r++) {
                const int16_t step = steps[i * LEADS + rows[r]];
                x[r * cut + i] = step == INT16_MIN ? NAN : (float)(step * (1.0 / 1000.0));
            }
        CHECK(km_preprocess_length(&length, cut, cases[k].fs, 500, &err) == KM_OK && length <= 1500);
        CHECK(km_preprocess_resample(y, x, LEADS, cut, cases[k].fs, 500, 1, &err) == KM_OK);
        for (int r = 0; r < LEADS; r++)
            for (int i = 0; i < cases[k].length; i++) {
                const float mv = y[r * length + i];
                CHECK(out[r * cases[k].length + i] == (isnan(mv) ? KM_STEPS_MISSING : (int16_t)rintf(1000 * mv)));
            }
        km_wfdb_file_free(&file);
        free(x);
        free(y);
        free(out);
    }
    recordings_remove("s.dat");
    recordings_remove("s.hea");
}

/* What is left to others: nothing is done, nothing is kept, nothing crashes. */
static void test_refused(void)
{
    static const struct {
        const char *why, *header;
        int64_t bytes;          /* of the signal file; negative: none */
        int verify;             /* refused with this; 2: with both    */
    } cases[] = {
        {"nothing in the header", "", 1000, 2},
        {"no header", "\1\2\3", 1000, 2},
        {"no signal file", "r 1 500 250\nr.dat 16 1000 16 0 0 0 0 I\n", -1, 2},
        {"an empty signal file", "r 1 500\nr.dat 16 1000 16 0 0 0 0 I\n", 0, 2},
        {"a truncated one", "r 1 500 250\nr.dat 16 1000 16 0 0\n", 499, 2},
        {"a longer one", "r 1 500 249\nr.dat 16 1000/mV I\n", 500, 1},
        {"a wrong checksum", "r 1 500 250\nr.dat 16 1000 16 0 0 1 0 I\n", 500, 1},
        {"another format", "r 1 500 250\nr.dat 212 1000/mV I\n", 500, 2},
        {"frames", "r 1 500 125\nr.dat 16x2 1000/mV I\n", 500, 2},
        {"skew", "r 1 500 240\nr.dat 16:2 1000/mV I\n", 500, 2},
        {"another lead", "r 2 500 125\nr.dat 16 1000/mV I\nr.dat 16 1000/mV MCL1\n", 500, 2},
        {"a lead twice", "r 2 500 125\nr.dat 16 1000/mV I\nr.dat 16 1000/mV I\n", 500, 2},
        {"an unknown unit", "r 1 500 250\nr.dat 16 1000/mmHg I\n", 500, 2},
        {"two files", "r 2 500 250\nr.dat 16 1000/mV I\nr.hea 16 1000/mV II\n", 500, 2},
        {"several segments", "r/2 1 500 250\na 125\nb 125\n", 500, 2},
        {"a file elsewhere", "r 1 500 250\n../r.dat 16 1000/mV I\n", 500, 2},
        {"a root", "r 1 500 250\n/dev/zero 16 1000/mV I\n", 500, 2},
        {"samples beyond any file", "r 1 500 1099511627776\nr.dat 16 1000/mV I\n", 500, 2},
        {"a first byte beyond any file", "r 1 500 250\nr.dat 16+9007199254740992 1000/mV I\n", 500, 2},
        {"too short", "r 1 500 99\nr.dat 16 1000/mV I\n", 198, 2},
        {"flat", "r 1 500 250\nr.dat 16 1e9/mV I\n", 500, 2},
        {"too long once resampled", "r 1 1 250\nr.dat 16 1000/mV I\n", 500, 2},
        {"MATLAB of version 5", "r 1 500 250\nr.dat 16 1000/mV I\n", -5, 1},
    };
    unsigned char bytes[1000];
    for (int i = 0; i < 1000; i++)
        bytes[i] = (unsigned char)(i * 37 % 251 & (i % 2 == 0 ? 255 : 3));
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        write_header("r.hea", cases[k].header);
        if (cases[k].bytes >= 0)
            recordings_write("r.dat", bytes, (size_t)cases[k].bytes);
        if (cases[k].bytes == -5) {
            memcpy(bytes, "MATLAB 5.0", 10);
            recordings_write("r.dat", bytes, 500);
        }
        for (int verify = 0; verify < 2; verify++) {
            int16_t *out = malloc(500 * sizeof *out);
            km_wfdb_file file;
            const int done = pack_one(&file, out, 500, "r.hea", -1, verify);
            if (done != (cases[k].verify == 1 && !verify))
                fprintf(stderr, "%s: done is %d with verify %d\n", cases[k].why, done, verify);
            CHECK(done == (cases[k].verify == 1 && !verify) && (done || (file.start == 0 && file.count == 0)));
            km_wfdb_file_free(&file);
            km_wfdb_file_free(&file);                           /* twice is once */
            free(out);
        }
        recordings_remove("r.dat");
        recordings_remove("r.hea");
    }
}

/* Paths that are no files: missing, a folder, a pipe that nobody writes (it must not wait), and a file too large. */
static void test_places(void)
{
    km_wfdb_file file;
    int16_t out[500];
    CHECK(!pack_one(&file, out, 500, "nowhere.hea", -1, 1));
    CHECK(!pack_one(&file, out, 500, "", -1, 1));
    CHECK(mkfifo(recordings_path("pipe"), 0600) == 0);
    CHECK(!pack_one(&file, out, 500, "pipe", -1, 1));
    write_header("p.hea", "p 1 500 250\npipe 16 1000/mV I\n");
    CHECK(!pack_one(&file, out, 500, "p.hea", -1, 1));
    km_wfdb_file_free(&file);
    recordings_remove("pipe");

    write_header("p.hea", "p 1 500\nlarge 16 1000/mV I\n");
    recordings_write("large", "", 0);
    CHECK(truncate(recordings_path("large"), (INT64_C(1) << 26) + 2) == 0);
    CHECK(!pack_one(&file, out, 500, "p.hea", 1, 1));
    km_wfdb_file_free(&file);
    CHECK(!pack_one(&file, out, 500, "large", 1, 1));
    recordings_remove("large");
    recordings_remove("p.hea");

    km_wfdb_file relative = {.path = "no-such-recording.hea"};  /* no folder in it */
    CHECK(km_wfdb_file_pack(&relative, 1, out, 500, -1, 1) == 1 && !relative.done);
    km_wfdb_file_free(&relative);
}

/* Recordings one behind the other; a bad one between them takes no room; a group ends where the next has none. */
static void test_groups(void)
{
    int16_t steps[200], out[1000];
    km_wfdb_file files[5];
    draw(steps, 1, 200, 3);
    write_steps("g.dat", steps, 200);
    write_header("good.hea", "g 1 500 200\ng.dat 16 1000/mV V6\n");
    write_header("bad.hea", "g 1 500 200\ng.dat 16 1000 16 0 0 77 0 V6\n");
    static const char *const names[5] = {"good.hea", "bad.hea", "good.hea", "good.hea", "good.hea"};
    static const struct {
        int64_t room;
        int first, taken;       /* of names; how many are gone through */
    } cases[] = {{1000, 0, 5}, {800, 0, 5}, {799, 0, 4}, {599, 0, 3}, {399, 0, 1}, {200, 0, 1}, {199, 0, 1},
                 {199, 1, 1}, {0, 0, 1}, {0, 1, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const int count = 5 - cases[k].first;
        for (int i = 0; i < count; i++)
            files[i] = (km_wfdb_file){.path = recordings_path(names[cases[k].first + i])};
        for (int i = 0; i < 1000; i++)
            out[i] = 12345;
        char paths[5][300];
        for (int i = 0; i < count; i++) {
            snprintf(paths[i], sizeof paths[i], "%s", recordings_path(names[cases[k].first + i]));
            files[i].path = paths[i];
        }
        const int taken = km_wfdb_file_pack(files, count, out, cases[k].room, -1, 1);
        CHECK(taken == cases[k].taken);
        int64_t used = 0;
        for (int i = 0; i < taken; i++) {
            const int good = strcmp(names[cases[k].first + i], "good.hea") == 0 && used + 200 <= cases[k].room;
            CHECK(files[i].done == good);
            if (good) {
                CHECK(files[i].start == used && files[i].count == 200);
                for (int t = 0; t < 200; t++)
                    CHECK(out[used + t] == steps[t]);
                used += 200;
            }
        }
        for (int64_t i = used; i < 1000; i++)
            CHECK(out[i] == 12345 || i < cases[k].room);
        for (int i = 0; i < count; i++)
            km_wfdb_file_free(&files[i]);
    }
    recordings_remove("g.dat");
    recordings_remove("good.hea");
    recordings_remove("bad.hea");
}

int main(void)
{
    recordings_begin();
    test_values();
    test_seconds();
    test_refused();
    test_places();
    test_groups();
    recordings_end();
    return check_result();
}
