/* WFDB recordings: the header's text and the samples of format 16, as pure functions on bytes.
 * Whoever opens the files hands in what they hold; nothing here touches a file system, so that a
 * fuzzer can call every function with anything.
 *
 * A header is lines of text:
 *     name[/segments] signals [fs[/counter[(base)]] [samples [time [date]]]]
 *     file format[xframe][:skew][+offset] [gain[(baseline)][/units]
 *          [resolution [zero [initial value [checksum [block size [lead]]]]]]]
 *     # comment
 * Dates and times are not needed and not parsed: recordings in circulation write them in every way. */
#ifndef KM_WFDB_H
#define KM_WFDB_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Part of the header's text; valid as long as that is. */
typedef struct km_wfdb_text {
    const char *start;
    size_t length;
} km_wfdb_text;

typedef struct km_wfdb_signal {
    km_wfdb_text file;      /* relative to the folder of the header                                        */
    km_wfdb_text name;      /* the description: a lead's name                                              */
    km_wfdb_text units;     /* empty: mV                                                                   */
    int lead;               /* canonical id, or -1: not one of the twelve                                  */
    int format;             /* 16: two's complement, little endian                                         */
    int frame;              /* samples a frame; 1 unless signals differ in rate                            */
    int64_t skew;           /* samples                                                                     */
    int64_t start;          /* bytes before the first sample                                               */
    double gain;            /* steps per unit; never 0                                                     */
    double baseline;        /* the step that means 0 units                                                 */
    int has_checksum;
    uint16_t checksum;      /* sum of all samples, modulo 65536                                            */
    int column;             /* its place among the signals of its file                                     */
} km_wfdb_signal;

typedef struct km_wfdb {
    double fs;              /* Hz                                                                          */
    int64_t samples;        /* a signal; 0: the header does not say                                        */
    int segments;           /* 1, or more: a recording of several records, without signals of its own      */
    int signal_count;       /* 0 where there are segments                                                      */
    int comment_count;
    int segment_count;      /* entries of segment: 0 unless segments > 1                                   */
    km_wfdb_signal *signal;
    km_wfdb_text *comment;  /* without "#" and blanks around                                               */
    km_wfdb_text *segment;  /* names of the records, "~" for a gap                                         */
} km_wfdb;

/* Reads a header. On failure the message says which line and what it should be. */
km_status km_wfdb_create(km_wfdb *header, const char *text, size_t length, km_error *err);
void km_wfdb_free(km_wfdb *header);     /* accepts an all-zero struct */

/* Which signals to read. rows receives signal indices, at most signal_count or count of them; *row_count how many.
 *   leads NULL, strict 1: all, in the header's order; a name that is none of the twelve is an error
 *   leads NULL, strict 0: those of the twelve leads, in the header's order
 *   leads (count) canonical ids: these, in this order.
 * Missing and duplicate names are errors in every case.                                                       */
km_status km_wfdb_select(int *rows, int *row_count, const km_wfdb *header, const int *leads, int count, int strict,
                         km_error *err);

/* 1 where km_wfdb_decode can read the file of this signal: format 16, one sample a frame, no skew. */
int km_wfdb_readable(const km_wfdb *header, int signal);

/* Millivolts a unit: 1 for mV or no units, 1000 for V, 0.001 for uV; KM_VALUE for all others. */
km_status km_wfdb_scale(double *scale, const km_wfdb_signal *signal, km_error *err);

/* How many signals the file of this signal holds, interleaved. */
int km_wfdb_width(const km_wfdb *header, int signal);

/* Samples a signal in the file of this signal, size bytes long. With verify a file longer than the header says
 * is an error; a shorter one always is.                                                                        */
km_status km_wfdb_length(int64_t *samples, const km_wfdb *header, int signal, uint64_t size, int verify,
                         km_error *err);

/* steps (count, n), rows `stride` apart: samples from .. from + n - 1 of these signals, all of the file that data
 * (size bytes) is from its beginning. KM_VALUE where it does not hold from + n whole frames.                    */
km_status km_wfdb_split(int16_t *steps, int64_t stride, const km_wfdb *header, const int *rows, int count, int64_t from,
                        int64_t n, const unsigned char *data, size_t size, km_error *err);

/* The checksum of one signal, steps (samples) all there is of it. */
km_status km_wfdb_check(const int16_t *steps, int64_t samples, const km_wfdb *header, int signal, km_error *err);

/* What a MATLAB file (size bytes from its beginning) states about itself must agree with the header. */
km_status km_wfdb_check_matlab(const km_wfdb *header, int signal, int64_t samples, const unsigned char *data,
                               size_t size, km_error *err);

/* x[i] = (steps[i] - baseline) * scale in mV, scale that of km_wfdb_scale over the gain; NaN where a step is -32768. */
void km_wfdb_convert(float *x, const int16_t *steps, int64_t n, double baseline, double scale);

/* All of this for one signal: x (samples) in mV from the bytes of its file; with verify both checks. */
km_status km_wfdb_decode(float *x, int64_t samples, const km_wfdb *header, int signal, const unsigned char *data,
                         size_t size, int verify, km_error *err);

#endif
