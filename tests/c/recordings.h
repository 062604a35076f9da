/* WFDB recordings in a folder of their own, removed by recordings_end. Whoever includes this defines _GNU_SOURCE. */
#ifndef RECORDINGS_H
#define RECORDINGS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char recordings_folder[32];

static inline void recordings_begin(void)
{
    strcpy(recordings_folder, "/tmp/kmerl-XXXXXX");
    if (mkdtemp(recordings_folder) == NULL) {
        perror(recordings_folder);
        exit(2);
    }
}

/* The path of a file of the folder, in one of four places that take turns. */
static inline const char *recordings_path(const char *name)
{
    static char path[4][300];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", recordings_folder, name);
    return path[turn];
}

static inline void recordings_write(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(recordings_path(name), "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        perror(recordings_path(name));
        exit(2);
    }
}

static inline void recordings_remove(const char *name)
{
    unlink(recordings_path(name));
}

static inline void recordings_end(void)
{
    if (rmdir(recordings_folder) != 0) {
        perror(recordings_folder);
        exit(2);
    }
}

#endif
