/* Recordings of any bytes in real files, as a group: one byte of choices, the header up to a zero byte, the signal
 * file (named s.dat) behind it. The same recording stands twice in the group, between them one that is not there.  */
#define _GNU_SOURCE
#include "fuzz.h"
#include "data/wfdb_file.h"

#include <fcntl.h>
#include <unistd.h>

enum { COUNT = 3, ROOM = 3000 };

static char folder[64], header_path[96], signal_path[96], missing_path[96];
static int header_handle, signal_handle;

static void end(void)
{
    unlink(header_path);
    unlink(signal_path);
    rmdir(folder);
}

/* In memory where that can be: opening a file anew and cutting it off on a disk takes most of the time. */
static void begin(void)
{
    const char *place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/kmerl-fuzz-XXXXXX", place);
    FUZZ_HOLDS(mkdtemp(folder) != NULL);
    snprintf(header_path, sizeof header_path, "%s/r.hea", folder);
    snprintf(signal_path, sizeof signal_path, "%s/s.dat", folder);
    snprintf(missing_path, sizeof missing_path, "%s/no.hea", folder);
    header_handle = open(header_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    signal_handle = open(signal_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    FUZZ_HOLDS(header_handle >= 0 && signal_handle >= 0);
    atexit(end);
}

static void write_file(int handle, const uint8_t *data, size_t size)
{
    FUZZ_HOLDS(pwrite(handle, data, size, 0) == (ssize_t)size && ftruncate(handle, (off_t)size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int begun;
    if (!begun)
        begin();
    begun = 1;
    if (size == 0)
        return 0;
    const unsigned choice = *data++;
    const uint8_t *zero = size > 1 ? memchr(data, 0, size - 1) : NULL;
    const size_t length = zero != NULL ? (size_t)(zero - data) : size - 1, rest = zero != NULL ? size - 2 - length : 0;
    write_file(header_handle, data, length);
    write_file(signal_handle, zero != NULL ? zero + 1 : data, rest);

    static const double seconds[4] = {-1, 0.5, 10, 1e300};
    const int64_t room = choice & 8 ? ROOM : (int64_t)(choice >> 4) * 40;
    int16_t *out = malloc((size_t)room * sizeof *out + 1);      /* of its exact size, but for a byte */
    km_wfdb_file files[COUNT] = {{.path = header_path}, {.path = missing_path}, {.path = header_path}};
    const int taken = km_wfdb_file_pack(files, COUNT, out, room, seconds[choice & 3], choice >> 2 & 1);
    FUZZ_HOLDS(taken >= 1 && taken <= COUNT);
    int64_t used = 0;
    for (int i = 0; i < taken; i++) {
        const km_steps *s = &files[i].steps;
        if (!files[i].done)
            continue;
        const int leads = __builtin_popcount(s->leads);
        FUZZ_HOLDS(i != 1 && leads >= 1 && (s->leads & s->dropped) == 0 && (s->leads | s->dropped) < 1u << 12);
        FUZZ_HOLDS(files[i].start == used && files[i].count == leads * s->samples);
        FUZZ_HOLDS(s->samples >= KM_STEPS_SHORTEST && files[i].count <= room - used);
        FUZZ_HOLDS(s->missing >= 0 && s->clipped >= 0 && s->missing + s->clipped <= files[i].count);
        int64_t missing = 0;
        for (int64_t k = 0; k < files[i].count; k++)
            missing += out[used + k] == KM_STEPS_MISSING;
        FUZZ_HOLDS(missing == s->missing);
        used += files[i].count;
    }
    if (taken == COUNT && files[0].done && files[2].done)       /* the same bytes whatever was read before */
        FUZZ_HOLDS(memcmp(out, out + files[2].start, (size_t)files[0].count * sizeof *out) == 0);
    for (int i = 0; i < COUNT; i++)
        km_wfdb_file_free(&files[i]);
    free(out);
    return 0;
}
