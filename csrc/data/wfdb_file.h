/* WFDB recordings from the file system to the samples a store keeps, without Python between two of them. */
#ifndef KM_WFDB_FILE_H
#define KM_WFDB_FILE_H

#include "data/steps.h"
#include "data/wfdb.h"

typedef struct km_wfdb_file {
    const char *path;           /* of the header                                                            */
    int done;                   /* 0: not read here. Whoever reads it another way also finds out why.       */
    km_steps steps;
    int64_t start, count;       /* where in the output                                                      */
    km_wfdb header;             /* its texts point into `text`                                              */
    char *text;
} km_wfdb_file;

/* Reads recordings one after the other until one does not fit into what is left of out (room); returns how many
 * were gone through, 1 or more of count >= 1. What is read here: the twelve leads and nothing else, in one regular
 * file of format 16 that is not huge, without a fault. seconds: as many of the beginning, negative: all; other rates
 * are resampled to 500 Hz. verify as in km_wfdb_length and km_wfdb_decode.                                        */
int km_wfdb_file_pack(km_wfdb_file *files, int count, int16_t *out, int64_t room, double seconds, int verify);
void km_wfdb_file_free(km_wfdb_file *file);

#endif
