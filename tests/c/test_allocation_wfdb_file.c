/* Every allocation of reading recordings from files fails once. A recording for which there is no memory is left to
 * others as if it could not be read here; the others of its group are read all the same.                          */
#define _GNU_SOURCE
#include "allocation.h"
#include "data/wfdb_file.h"
#include "recordings.h"

enum { COUNT = 3, ROOM = 4000 };

static km_status pack(km_wfdb_file *files, int16_t *out)
{
    static const char *const names[COUNT] = {"a.hea", "b.hea", "a.hea"};
    char paths[COUNT][300];
    km_status status = KM_OK;
    for (int i = 0; i < COUNT; i++) {
        snprintf(paths[i], sizeof paths[i], "%s", recordings_path(names[i]));
        files[i] = (km_wfdb_file){.path = paths[i]};
    }
    CHECK(km_wfdb_file_pack(files, COUNT, out, ROOM, 2, 1) == COUNT);
    for (int i = 0; i < COUNT; i++)
        if (!files[i].done)
            status = km_error_set(&err, KM_MEMORY, "out of memory: recording %d was not read", i);
    if (status != KM_OK)
        for (int i = 0; i < COUNT; i++)
            km_wfdb_file_free(&files[i]);
    return status;
}

static uint64_t reading(void)
{
    km_wfdb_file files[COUNT];
    static int16_t out[ROOM];
    uint64_t h = 1;
    TRY(pack(files, out));
    for (int i = 0; i < COUNT; i++) {
        h = digest(h, out + files[i].start, (size_t)files[i].count * sizeof *out);
        h = digest(h, &files[i].steps.leads, sizeof files[i].steps.leads);
        km_wfdb_file_free(&files[i]);
    }
    return h;
}

int main(void)
{
    static const char A[] = "a 2 500 500\ns.dat 16 200(3)/mV I\ns.dat 16 1000/mV aVF\n#remark\n";
    static const char B[] = "b 2 100 500\ns.dat 16 200(3)/mV I\ns.dat 16 1000/mV aVF\n";
    unsigned char bytes[2000];
    for (int i = 0; i < 2000; i++)
        bytes[i] = (unsigned char)(i * 37 % 251 & (i % 2 == 0 ? 255 : 1));
    recordings_begin();
    recordings_write("a.hea", A, sizeof A - 1);
    recordings_write("b.hea", B, sizeof B - 1);
    recordings_write("s.dat", bytes, sizeof bytes);
    exhaust("recordings in files", reading);
    recordings_remove("a.hea");
    recordings_remove("b.hea");
    recordings_remove("s.dat");
    recordings_end();
    return check_result();
}
