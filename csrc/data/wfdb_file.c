#define _GNU_SOURCE
#include "data/wfdb_file.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/leads.h"
#include "data/preprocess.h"

enum { LARGEST_FILE = 1 << 26 };        /* bytes */

/* Memory that one recording after the other uses. */
typedef struct block {
    void *data;
    size_t size;
} block;

typedef struct scratch {
    block bytes, steps, signal, resampled, path;
} scratch;

static int block_reserve(block *b, size_t size)
{
    if (size > b->size) {
        free(b->data);
        b->data = malloc(size);
        b->size = b->data != NULL ? size : 0;
    }
    return b->data != NULL;
}

/* The first `wanted` bytes (negative: all) of a regular file; 0 where that cannot be. */
static int read_file(block *b, size_t *there, uint64_t *size, const char *path, int64_t wanted)
{
    struct stat status;
    int ok = 0;
    const int handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (handle < 0)
        return 0;
    if (fstat(handle, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= LARGEST_FILE) {
        *size = (uint64_t)status.st_size;
        *there = wanted >= 0 && (uint64_t)wanted < *size ? (size_t)wanted : (size_t)*size;
        ok = block_reserve(b, *there + 1) && read(handle, b->data, *there) == (ssize_t)*there;
    }
    close(handle);
    return ok;
}

static int read_header(km_wfdb_file *file, scratch *s)
{
    km_error err;
    size_t length;
    uint64_t size;
    if (!read_file(&s->bytes, &length, &size, file->path, -1))
        return 0;
    file->text = malloc(length + 1);
    if (file->text == NULL)
        return 0;
    memcpy(file->text, s->bytes.data, length);
    return km_wfdb_create(&file->header, file->text, length, &err) == KM_OK && file->header.segments == 1;
}

/* The signal file of row 0, where it is that of all rows. */
static int read_signals(size_t *there, uint64_t *size, const km_wfdb_file *file, const int *rows, int count, scratch *s)
{
    const km_wfdb_signal *first = &file->header.signal[rows[0]];
    for (int i = 1; i < count; i++) {
        const km_wfdb_text name = file->header.signal[rows[i]].file;
        if (name.length != first->file.length || memcmp(name.start, first->file.start, name.length) != 0)
            return 0;
    }
    const char *slash = strrchr(file->path, '/');
    const size_t folder = slash != NULL ? (size_t)(slash - file->path) + 1 : 0;
    if (!km_wfdb_readable(&file->header, rows[0]) || !block_reserve(&s->path, folder + first->file.length + 1))
        return 0;
    char *path = s->path.data;
    memcpy(path, file->path, folder);
    memcpy(path + folder, first->file.start, first->file.length);
    path[folder + first->file.length] = '\0';
    const int64_t width = km_wfdb_width(&file->header, rows[0]);
    const int64_t wanted = file->header.samples > 0 ? first->start + 2 * file->header.samples * width : -1;
    return read_file(&s->bytes, there, size, path, wanted);
}

/* 1: done; 0: not read here; -1: no room. */
static int pack_file(km_wfdb_file *file, int16_t *out, int64_t room, double seconds, int verify, scratch *s)
{
    km_error err;
    int rows[KM_LEADS], ids[KM_LEADS], count;
    size_t there;
    uint64_t size;
    int64_t stride, samples;
    if (!read_header(file, s) || km_wfdb_select(rows, &count, &file->header, NULL, 0, 1, &err) != KM_OK ||
        !read_signals(&there, &size, file, rows, count, s) ||
        km_wfdb_length(&stride, &file->header, rows[0], size, verify, &err) != KM_OK)
        return 0;

    /* All samples are decoded, for the checksums; of other rates the filter sees 10 samples of the slower one
     * beyond the last that is kept (SPEC 1).                                                                  */
    const double fs = file->header.fs, limit = 1099511627776.0;
    const int cut = seconds >= 0 && seconds < limit / KM_STEPS_FS;
    const int64_t kept = cut ? (int64_t)rint(seconds * KM_STEPS_FS) : INT64_MAX;
    samples = stride;
    if (fs == KM_STEPS_FS) {
        samples = samples < kept ? samples : kept;
    } else if (seconds >= 0 && seconds * fs < limit) {
        const int64_t seen = (int64_t)ceil(seconds * fs + 10 * (fs > KM_STEPS_FS ? fs / KM_STEPS_FS : 1.0)) + 2;
        samples = samples < seen ? samples : seen;
    }
    int64_t length = samples;
    if (fs != KM_STEPS_FS && km_preprocess_length(&length, samples, fs, KM_STEPS_FS, &err) != KM_OK)
        return 0;
    const int64_t last = length < kept ? length : kept;
    if (last > room / count)
        return -1;

    double baseline[KM_LEADS], scale[KM_LEADS];
    int bounded = 1;
    if (!block_reserve(&s->steps, (size_t)count * (size_t)stride * sizeof(int16_t)))
        return 0;
    const int16_t *raw = s->steps.data;
    if (km_wfdb_split(s->steps.data, stride, &file->header, rows, count, 0, stride, s->bytes.data, there, &err) !=
            KM_OK ||
        (verify && km_wfdb_check_matlab(&file->header, rows[0], stride, s->bytes.data, there, &err) != KM_OK))
        return 0;
    for (int i = 0; i < count; i++) {
        const km_wfdb_signal *signal = &file->header.signal[rows[i]];
        if (km_wfdb_scale(&scale[i], signal, &err) != KM_OK ||
            (verify && km_wfdb_check(raw + i * stride, stride, &file->header, rows[i], &err) != KM_OK))
            return 0;
        ids[i] = signal->lead;
        baseline[i] = signal->baseline;
        scale[i] /= signal->gain;
        bounded &= (32768 + fabs(baseline[i])) * fabs(scale[i]) < KM_STEPS_BOUND;
    }
    if (fs == KM_STEPS_FS && bounded)
        return km_steps_rescale(&file->steps, out, raw, stride, baseline, scale, ids, count, last, &err) == KM_OK;

    if (!block_reserve(&s->signal, (size_t)count * (size_t)samples * sizeof(float)))
        return 0;
    float *x = s->signal.data;
    for (int i = 0; i < count; i++)
        km_wfdb_convert(x + i * samples, raw + i * stride, samples, baseline[i], scale[i]);
    if (fs != KM_STEPS_FS) {
        if (!block_reserve(&s->resampled, (size_t)count * (size_t)length * sizeof(float)) ||
            km_preprocess_resample(s->resampled.data, x, count, samples, fs, KM_STEPS_FS, 1, &err) != KM_OK)
            return 0;
        x = s->resampled.data;
    }
    return km_steps_pack(&file->steps, out, x, length, ids, count, last, &err) == KM_OK;
}

int km_wfdb_file_pack(km_wfdb_file *files, int count, int16_t *out, int64_t room, double seconds, int verify)
{
    scratch s = {0};
    int64_t used = 0;
    int i = 0;
    for (; i < count; i++) {
        const int result = pack_file(&files[i], out + used, room - used, seconds, verify, &s);
        files[i].done = result == 1;
        if (result < 0 && i > 0) {
            km_wfdb_file_free(&files[i]);
            break;
        }
        if (result < 1)
            continue;
        files[i].start = used;
        for (uint32_t bits = files[i].steps.leads; bits != 0; bits &= bits - 1)
            files[i].count += files[i].steps.samples;
        used += files[i].count;
    }
    free(s.bytes.data);
    free(s.steps.data);
    free(s.signal.data);
    free(s.resampled.data);
    free(s.path.data);
    return i;
}

void km_wfdb_file_free(km_wfdb_file *file)
{
    km_wfdb_free(&file->header);
    free(file->text);
    file->text = NULL;
}
