#include "data/wfdb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/real.h"
#include "data/leads.h"

enum { MOST_SIGNALS = 4096, BLOCK = 512 };

/* Text: slices of the header, consumed from the left. */

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static km_wfdb_text trimmed(const char *start, const char *end)
{
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    return (km_wfdb_text){start, (size_t)(end - start)};
}

/* Lines end in \n, \r\n or \r, the last one perhaps in nothing. */
static int next_line(km_wfdb_text *line, km_wfdb_text *text)
{
    if (text->length == 0)
        return 0;
    const char *end = text->start + text->length, *p = text->start;
    while (p < end && *p != '\n' && *p != '\r')
        p++;
    *line = trimmed(text->start, p);
    if (p < end)
        p += *p == '\r' && p + 1 < end && p[1] == '\n' ? 2 : 1;
    *text = (km_wfdb_text){p, (size_t)(end - p)};
    return 1;
}

static int next_token(km_wfdb_text *token, km_wfdb_text *line)
{
    const char *p = line->start, *end = line->start + line->length;
    while (p < end && is_blank(*p))
        p++;
    token->start = p;
    while (p < end && !is_blank(*p))
        p++;
    token->length = (size_t)(p - token->start);
    *line = (km_wfdb_text){p, (size_t)(end - p)};
    return token->length > 0;
}

static int take_char(km_wfdb_text *token, char c)
{
    if (token->length == 0 || token->start[0] != c)
        return 0;
    token->start++;
    token->length--;
    return 1;
}

/* A decimal number at the start of the token; strtod would follow the locale. Exact up to 15 digits. */
static int take_number(double *value, km_wfdb_text *token)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *p = token->start, *end = token->start + token->length;
    int negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    double mantissa = 0.0;
    int digits = 0, exponent = 0;
    for (; p < end && is_digit(*p); p++, digits++)
        mantissa = mantissa * 10.0 + (*p - '0');
    if (p < end && *p == '.') {
        for (p++; p < end && is_digit(*p); p++, digits++) {
            if (mantissa < 1e15) {
                mantissa = mantissa * 10.0 + (*p - '0');
                exponent--;
            }
        }
    }
    if (digits == 0)
        return 0;
    if (p + 1 < end && (*p == 'e' || *p == 'E')) {
        const char *q = p + 1;
        int sign = *q == '-' ? -1 : 1, power = 0;
        if (*q == '-' || *q == '+')
            q++;
        if (q < end && is_digit(*q)) {
            for (; q < end && is_digit(*q); q++)
                power = power < 10000 ? power * 10 + (*q - '0') : power;
            exponent += sign * power;
            p = q;
        }
    }
    if (exponent < -22 || exponent > 22)
        mantissa *= pow(10.0, exponent);
    else
        mantissa = exponent < 0 ? mantissa / tens[-exponent] : mantissa * tens[exponent];
    *value = negative ? -mantissa : mantissa;
    *token = (km_wfdb_text){p, (size_t)(end - p)};
    return 1;
}

/* A whole number at the start of the token, within +-2^53. */
static int take_integer(int64_t *value, km_wfdb_text *token)
{
    const char *p = token->start, *end = token->start + token->length;
    int negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end || !is_digit(*p))
        return 0;
    int64_t n = 0;
    for (; p < end && is_digit(*p); p++) {
        n = n * 10 + (*p - '0');
        if (n > INT64_C(9007199254740992))
            return 0;
    }
    *value = negative ? -n : n;
    *token = (km_wfdb_text){p, (size_t)(end - p)};
    return 1;
}

/* For messages: at most 60 characters of a text. */
#define SHOWN(text) ((int)((text).length < 60 ? (text).length : 60)), (text).start

static int same_text(km_wfdb_text a, km_wfdb_text b)
{
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

/* File names are relative and stay in the folder of the header: no root, no drive, no "..", no standard input. */
static km_status check_path(km_wfdb_text path, km_error *err)
{
    int leaves = path.length == 0 || path.start[0] == '/' || path.start[0] == '\\' ||
                 (path.length == 1 && path.start[0] == '-') || (path.length > 1 && path.start[1] == ':');
    size_t part = 0;
    for (size_t i = 0; i <= path.length; i++) {
        if (i == path.length || path.start[i] == '/' || path.start[i] == '\\') {
            if (i - part == 2 && path.start[part] == '.' && path.start[part + 1] == '.')
                leaves = 1;
            part = i + 1;
        }
    }
    if (leaves)
        return km_error_set(err, KM_VALUE, "the header names the file '%.*s', which is not in the folder of the "
                            "record; refused", SHOWN(path));
    return KM_OK;
}

/* The record line. A field that is not what stands in its place ends the fields that are read: what follows
 * are time and date in one of their many forms.                                                             */
static km_status read_record_line(km_wfdb *header, km_wfdb_text line, km_error *err)
{
    km_wfdb_text token, rest;
    int64_t n;
    next_token(&token, &line);
    for (size_t i = 0; i < token.length; i++) {
        if (token.start[i] == '/') {
            rest = (km_wfdb_text){token.start + i + 1, token.length - i - 1};
            if (!take_integer(&n, &rest) || rest.length > 0 || n < 1 || n > 1000000)
                return km_error_set(err, KM_VALUE, "header, record line: number of segments expected after '/', got "
                                    "'%.*s'", SHOWN(token));
            header->segments = (int)n;
            break;
        }
    }
    if (!next_token(&token, &line))
        return km_error_set(err, KM_VALUE, "header, record line: number of signals expected after the name, got "
                            "nothing");
    rest = token;
    if (!take_integer(&n, &rest) || rest.length > 0 || n < 0 || n > MOST_SIGNALS)
        return km_error_set(err, KM_VALUE, "header, record line: number of signals expected, got '%.*s'", SHOWN(token));
    if (n == 0)
        return km_error_set(err, KM_VALUE, "header, record line: the recording has 0 signals");
    header->signal_count = (int)n;

    header->fs = 250.0;     /* what the format means by leaving it out */
    if (!next_token(&token, &line))
        return KM_OK;
    rest = token;
    if (!take_number(&header->fs, &rest) || (rest.length > 0 && rest.start[0] != '/' && rest.start[0] != '('))
        return km_error_set(err, KM_VALUE, "header, record line: sampling frequency in Hz expected, got '%.*s'",
                            SHOWN(token));
    if (!(header->fs >= 1.0 && header->fs <= 100000.0))
        return km_error_set(err, KM_VALUE, "header, record line: sampling frequency must be between 1 and 100000 Hz, "
                            "got '%.*s'", SHOWN(token));
    if (!next_token(&token, &line))
        return KM_OK;
    rest = token;
    if (take_integer(&n, &rest) && rest.length == 0) {
        if (n < 0 || n > INT64_C(1) << 40)
            return km_error_set(err, KM_VALUE, "header, record line: number of samples out of range: '%.*s'",
                                SHOWN(token));
        header->samples = n;
        return KM_OK;
    }
    for (size_t i = 0; i < token.length; i++) {
        if (token.start[i] == ':' || token.start[i] == '/' || token.start[i] == '-' || token.start[i] == '.')
            return KM_OK;
    }
    return km_error_set(err, KM_VALUE, "header, record line: number of samples expected, got '%.*s'", SHOWN(token));
}

/* format[xframe][:skew][+offset] */
static km_status read_format(km_wfdb_signal *signal, km_wfdb_text token, int number, km_error *err)
{
    km_wfdb_text rest = token;
    int64_t n, frame = 1;
    signal->frame = 1;
    int ok = take_integer(&n, &rest) && n >= 0 && n <= 100000;
    if (ok) {
        signal->format = (int)n;
        if (take_char(&rest, 'x'))
            ok = take_integer(&frame, &rest) && frame >= 1 && frame <= 1000000;
        if (ok && take_char(&rest, ':'))
            ok = take_integer(&signal->skew, &rest) && signal->skew >= 0;
        if (ok && take_char(&rest, '+'))
            ok = take_integer(&signal->start, &rest) && signal->start >= 0;
        ok = ok && rest.length == 0;
        signal->frame = (int)frame;
    }
    if (!ok)
        return km_error_set(err, KM_VALUE, "header, signal line %d: format expected, such as 16 or 16x1+24, got '%.*s'",
                            number, SHOWN(token));
    return KM_OK;
}

/* gain[(baseline)][/units]; returns 0 where the token is something else. */
static km_status read_gain(km_wfdb_signal *signal, int *has_baseline, km_wfdb_text token, int number, km_error *err)
{
    km_wfdb_text rest = token;
    int ok = take_number(&signal->gain, &rest);
    if (ok && take_char(&rest, '(')) {
        ok = take_number(&signal->baseline, &rest) && take_char(&rest, ')');
        *has_baseline = 1;
    }
    if (ok && take_char(&rest, '/')) {
        signal->units = rest;
        rest.length = 0;
    }
    if (!ok || rest.length > 0 || !isfinite(signal->gain) || !isfinite(signal->baseline))
        return km_error_set(err, KM_VALUE, "header, signal line %d: gain expected, such as 1000, 1000(0) or 1000/mV, "
                            "got '%.*s'", number, SHOWN(token));
    if (signal->gain == 0.0)
        signal->gain = 200.0;
    return KM_OK;
}

static km_status read_signal_line(km_wfdb_signal *signal, km_wfdb_text line, int number, km_error *err)
{
    km_wfdb_text token, rest;
    int has_baseline = 0;
    int64_t field[5] = {0, 0, 0, 0, 0};     /* resolution, zero, initial value, checksum, block size */
    signal->gain = 200.0;
    next_token(&signal->file, &line);
    km_status status = check_path(signal->file, err);
    if (status != KM_OK)
        return status;
    if (!next_token(&token, &line))
        return km_error_set(err, KM_VALUE, "header, signal line %d: format expected after the file name, got nothing",
                            number);
    status = read_format(signal, token, number, err);
    if (status != KM_OK)
        return status;

    /* Everything further may be left out; the first text that is not the next field begins the lead's name. */
    rest = line;
    if (next_token(&token, &rest) && (is_digit(token.start[0]) || strchr("+-.", token.start[0]) != NULL ||
                                      memchr(token.start, '/', token.length) != NULL)) {
        status = read_gain(signal, &has_baseline, token, number, err);
        if (status != KM_OK)
            return status;
        line = rest;
        for (int i = 0; i < 5; i++) {
            int64_t n;
            rest = line;
            if (!next_token(&token, &rest) || !take_integer(&n, &token) || token.length > 0)
                break;
            field[i] = n;
            signal->has_checksum |= i == 3;
            line = rest;
        }
    }
    signal->checksum = (uint16_t)field[3];
    if (!has_baseline)
        signal->baseline = (double)field[1];
    signal->name = trimmed(line.start, line.start + line.length);
    signal->lead = km_leads_find(signal->name.start, signal->name.length);
    return KM_OK;
}

static km_status read_segment_line(km_wfdb_text *segment, km_wfdb_text line, int number, km_error *err)
{
    next_token(segment, &line);
    if (segment->length == 1 && segment->start[0] == '~')
        return KM_OK;
    km_status status = check_path(*segment, err);
    if (status == KM_OK && memchr(segment->start, '/', segment->length) != NULL)
        status = km_error_set(err, KM_VALUE, "header, segment line %d: record name expected, got '%.*s'", number,
                              SHOWN(*segment));
    return status;
}

/* column: the signal's place among those of its file. All of a file start at the same byte. */
static km_status set_columns(km_wfdb *header, km_error *err)
{
    for (int i = 1; i < header->signal_count; i++) {
        km_wfdb_signal *signal = &header->signal[i];
        for (int j = i - 1; j >= 0; j--) {
            if (same_text(header->signal[j].file, signal->file)) {
                signal->column = header->signal[j].column + 1;
                if (header->signal[j].start != signal->start || header->signal[j].format != signal->format)
                    return km_error_set(err, KM_VALUE, "header: signals %d and %d are in the same file '%.*s' but "
                                        "differ in format or first byte", j + 1, i + 1, SHOWN(signal->file));
                break;
            }
        }
    }
    return KM_OK;
}

km_status km_wfdb_create(km_wfdb *header, const char *text, size_t length, km_error *err)
{
    km_status status = KM_OK;
    memset(header, 0, sizeof *header);
    header->segments = 1;
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        length -= 3;
    }
    if (length > 0 && memchr(text, '\0', length) != NULL)
        return km_error_set(err, KM_VALUE, "not a WFDB header: it holds zero bytes; expected text");

    /* Count the lines first: they, not the number a header states, decide how much memory is taken. */
    int comments = 0, lines = 0;
    km_wfdb_text line, rest = {text, length};
    while (next_line(&line, &rest)) {
        if (line.length > 0)
            *(line.start[0] == '#' ? &comments : &lines) += 1;
        if (lines > 1000000 || comments > 1000000)
            return km_error_set(err, KM_VALUE, "not a WFDB header: more than a million lines");
    }
    if (lines == 0)
        return km_error_set(err, KM_VALUE, "not a WFDB header: it has no record line");
    header->comment = calloc((size_t)comments + 1, sizeof *header->comment);
    header->signal = calloc((size_t)lines, sizeof *header->signal);
    header->segment = calloc((size_t)lines, sizeof *header->segment);
    if (header->comment == NULL || header->signal == NULL || header->segment == NULL) {
        status = km_error_set(err, KM_MEMORY, "out of memory reading a header of %d lines", lines);
        goto exit;
    }

    int number = 0;     /* lines read, comments apart: 0 is the record line */
    rest = (km_wfdb_text){text, length};
    while (next_line(&line, &rest)) {
        if (line.length == 0)
            continue;
        if (line.start[0] == '#') {
            while (take_char(&line, '#'))
                ;
            header->comment[header->comment_count++] = trimmed(line.start, line.start + line.length);
            continue;
        }
        if (number == 0) {
            status = read_record_line(header, line, err);
            int expected = header->segments > 1 ? header->segments : header->signal_count;
            if (status == KM_OK && lines - 1 != expected)
                status = km_error_set(err, KM_VALUE, "header: the record line says %d %s, %d %s lines follow", expected,
                                      header->segments > 1 ? "segments" : "signals", lines - 1,
                                      header->segments > 1 ? "segment" : "signal");
        } else if (header->segments > 1) {
            status = read_segment_line(&header->segment[header->segment_count++], line, number, err);
        } else {
            status = read_signal_line(&header->signal[number - 1], line, number, err);
        }
        if (status != KM_OK)
            goto exit;
        number++;
    }
    if (header->segments > 1)
        header->signal_count = 0;       /* the signals are its segments': nothing may be asked about them here */
    else
        status = set_columns(header, err);

exit:
    if (status != KM_OK)
        km_wfdb_free(header);
    return status;
}

void km_wfdb_free(km_wfdb *header)
{
    free(header->comment);
    free(header->signal);
    free(header->segment);
    memset(header, 0, sizeof *header);
}

km_status km_wfdb_select(int *rows, int *row_count, const km_wfdb *header, const int *leads, int count, int strict,
                         km_error *err)
{
    int found[KM_LEADS];    /* the signal of a lead, or -1 */
    for (int lead = 0; lead < KM_LEADS; lead++)
        found[lead] = -1;
    *row_count = 0;
    for (int i = 0; i < header->signal_count; i++) {
        const km_wfdb_signal *signal = &header->signal[i];
        if (signal->lead < 0) {
            if (leads != NULL || !strict)
                continue;
            if (signal->name.length == 0)
                return km_error_set(err, KM_VALUE, "header, signal line %d: the lead has no name", i + 1);
            return km_error_set(err, KM_VALUE, "header, signal line %d: unknown lead '%.*s'; known: I II III aVR aVL "
                                "aVF V1 V2 V3 V4 V5 V6 (leads=\"known\" reads those and leaves the others)", i + 1,
                                SHOWN(signal->name));
        }
        if (found[signal->lead] >= 0)
            return km_error_set(err, KM_VALUE, "header: lead %s is there twice, in signal lines %d and %d",
                                km_leads_name(signal->lead), found[signal->lead] + 1, i + 1);
        found[signal->lead] = i;
        if (leads == NULL)
            rows[(*row_count)++] = i;
    }
    for (int i = 0; leads != NULL && i < count; i++) {
        if (found[leads[i]] < 0)
            return km_error_set(err, KM_VALUE, "the recording has no lead %s", km_leads_name(leads[i]));
        rows[(*row_count)++] = found[leads[i]];
    }
    if (*row_count == 0)
        return km_error_set(err, KM_VALUE, "the recording has none of the twelve leads: its %d signals have other "
                            "names", header->signal_count);
    return KM_OK;
}

int km_wfdb_readable(const km_wfdb *header, int signal)
{
    for (int i = 0; i < header->signal_count; i++) {
        const km_wfdb_signal *s = &header->signal[i];
        if (same_text(s->file, header->signal[signal].file) && (s->format != 16 || s->frame != 1 || s->skew != 0))
            return 0;
    }
    return 1;
}

km_status km_wfdb_scale(double *scale, const km_wfdb_signal *signal, km_error *err)
{
    static const struct {
        const char *name;
        double scale;
    } units[] = {
        {"", 1.0},
        {"mv", 1.0},
        {"v", 1e3},
        {"uv", 1e-3},
        {"\xc2\xb5v", 1e-3},    /* micro sign, UTF-8   */
        {"\xce\xbcv", 1e-3},    /* Greek mu, UTF-8     */
        {"\xb5v", 1e-3},        /* micro sign, Latin-1 */
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i].name), j = 0;
        if (length != signal->units.length)
            continue;
        while (j < length) {
            char c = signal->units.start[j];
            if (c >= 'A' && c <= 'Z')
                c = (char)(c - 'A' + 'a');
            if (c != units[i].name[j])
                break;
            j++;
        }
        if (j == length) {
            *scale = units[i].scale;
            return KM_OK;
        }
    }
    return km_error_set(err, KM_VALUE, "lead %.*s has the unknown unit '%.*s'; known: mV, uV, V", SHOWN(signal->name),
                        SHOWN(signal->units));
}

int km_wfdb_width(const km_wfdb *header, int signal)
{
    int width = 0;
    for (int i = 0; i < header->signal_count; i++)
        width += same_text(header->signal[i].file, header->signal[signal].file);
    return width;
}

km_status km_wfdb_length(int64_t *samples, const km_wfdb *header, int signal, uint64_t size, int verify, km_error *err)
{
    const km_wfdb_signal *s = &header->signal[signal];
    uint64_t width = (uint64_t)km_wfdb_width(header, signal), start = (uint64_t)s->start;
    uint64_t there = size < start ? 0 : (size - start) / (2 * width);
    uint64_t said = (uint64_t)header->samples;
    if (there == 0)
        return km_error_set(err, KM_VALUE, "file %.*s is truncated: it has %llu bytes, not one sample of %llu signals",
                            SHOWN(s->file), (unsigned long long)size, (unsigned long long)width);
    if (said > there)
        return km_error_set(err, KM_VALUE, "file %.*s is truncated: it holds %llu samples a signal, the header says "
                            "%llu", SHOWN(s->file), (unsigned long long)there, (unsigned long long)said);
    if (said != 0 && said < there && verify)
        return km_error_set(err, KM_VALUE, "file %.*s holds %llu samples a signal, the header says %llu "
                            "(verify=False reads as many as the header says)", SHOWN(s->file),
                            (unsigned long long)there, (unsigned long long)said);
    *samples = (int64_t)(said != 0 ? said : there);
    return KM_OK;
}

static uint32_t read_uint32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* A MATLAB file, version 4: five 32-bit numbers (type, rows, columns, imaginary, length of the name), the name,
 * then the matrix by columns. Type 30: little endian, 16-bit integers. Its rows are the signals.              */
km_status km_wfdb_check_matlab(const km_wfdb *header, int signal, int64_t samples, const unsigned char *data,
                               size_t size, km_error *err)
{
    const km_wfdb_signal *s = &header->signal[signal];
    const int width = km_wfdb_width(header, signal);
    if (size >= 10 && memcmp(data, "MATLAB 5.0", 10) == 0)
        return km_error_set(err, KM_VALUE, "file %.*s is a MATLAB file of version 5; expected version 4 or plain "
                            "samples", SHOWN(s->file));
    if (size < 20 || read_uint32(data) != 30)
        return KM_OK;
    uint32_t rows = read_uint32(data + 4), columns = read_uint32(data + 8), name = read_uint32(data + 16);
    if (read_uint32(data + 12) != 0 || (uint64_t)s->start != 20 + (uint64_t)name)
        return KM_OK;   /* not a MATLAB header after all: samples that look like one */
    if (rows != (uint32_t)width || columns != (uint64_t)samples)
        return km_error_set(err, KM_VALUE, "file %.*s holds %u signals of %u samples, the header says %d of %lld",
                            SHOWN(s->file), rows, columns, width, (long long)samples);
    return KM_OK;
}

/* Taking interleaved samples apart: 8 signals of 8 frames at once where the compiler can shuffle vectors. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TILE 8
#endif
#endif

#ifdef TILE
typedef int16_t eight __attribute__((vector_size(2 * TILE)));

#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

/* out[c][t] = sample c of frame t; a frame is `frame` bytes. out[c] NULL: not wanted. */
static inline void split_tile(int16_t *const *out, int64_t at, const unsigned char *p, size_t frame)
{
    eight a[TILE], b[TILE];
    for (int t = 0; t < TILE; t++)
        memcpy(&a[t], p + (size_t)t * frame, sizeof a[t]);
    for (int pass = 0; pass < 3; pass++) {      /* a perfect shuffle of rows t and t + 4, three times: the transpose */
        for (int t = 0; t < TILE / 2; t++) {
            b[2 * t] = LOW(a[t], a[t + TILE / 2]);
            b[2 * t + 1] = HIGH(a[t], a[t + TILE / 2]);
        }
        memcpy(a, b, sizeof a);
    }
    for (int c = 0; c < TILE; c++)
        if (out[c] != NULL)
            memcpy(out[c] + at, &a[c], sizeof a[c]);
}
#endif

static void split_one(int16_t *out, int64_t n, const unsigned char *p, size_t frame)
{
    for (int64_t i = 0; i < n; i++, p += frame)
        out[i] = (int16_t)(p[0] | p[1] << 8);
}

km_status km_wfdb_split(int16_t *steps, int64_t stride, const km_wfdb *header, const int *rows, int count, int64_t from,
                        int64_t n, const unsigned char *data, size_t size, km_error *err)
{
    const km_wfdb_signal *first = &header->signal[rows[0]];
    const int width = km_wfdb_width(header, rows[0]);
    const uint64_t start = (uint64_t)first->start, frame = 2 * (uint64_t)width;
    if ((uint64_t)size < start || ((uint64_t)size - start) / frame < (uint64_t)(from + n))
        return km_error_set(err, KM_VALUE, "file %.*s is truncated: %zu bytes", SHOWN(first->file), size);
    const unsigned char *p = data + start + (uint64_t)from * frame;
    int64_t done = 0;
#ifdef TILE
    /* Columns in groups of 8, the last one moved to the left so that it ends with the frame. */
    for (int c = 0; width >= TILE && c < width; c += TILE) {
        const int column = c + TILE <= width ? c : width - TILE;
        int16_t *out[TILE] = {NULL};
        int wanted = 0;
        for (int i = 0; i < count; i++) {
            const int at = header->signal[rows[i]].column - column;
            if (at >= c - column && at < TILE) {
                out[at] = steps + i * stride;
                wanted++;
            }
        }
        if (wanted > 0)
            for (int64_t t = 0; t + TILE <= n; t += TILE)
                split_tile(out, t, p + (uint64_t)t * frame + 2 * (uint64_t)column, frame);
        done = n / TILE * TILE;
    }
#endif
    for (int i = 0; i < count; i++)
        split_one(steps + i * stride + done, n - done,
                  p + (uint64_t)done * frame + 2 * (uint64_t)header->signal[rows[i]].column, frame);
    return KM_OK;
}

KM_VECTOR static uint16_t sum_steps(const int16_t *steps, int64_t n)
{
    uint16_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum = (uint16_t)(sum + (uint16_t)steps[i]);
    return sum;
}

static km_status check_sum(uint16_t sum, const km_wfdb_signal *s, km_error *err)
{
    if (s->has_checksum && sum != s->checksum)
        return km_error_set(err, KM_VALUE, "lead %.*s fails its checksum: the header says %d, the samples of file "
                            "%.*s give %d (verify=False reads all the same)", SHOWN(s->name), (int)(int16_t)s->checksum,
                            SHOWN(s->file), (int)(int16_t)sum);
    return KM_OK;
}

km_status km_wfdb_check(const int16_t *steps, int64_t samples, const km_wfdb *header, int signal, km_error *err)
{
    return check_sum(sum_steps(steps, samples), &header->signal[signal], err);
}

KM_VECTOR void km_wfdb_convert(float *x, const int16_t *steps, int64_t n, double baseline, double scale)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = steps[i] == INT16_MIN ? NAN : (float)((steps[i] - baseline) * scale);
}

km_status km_wfdb_decode(float *x, int64_t samples, const km_wfdb *header, int signal, const unsigned char *data,
                         size_t size, int verify, km_error *err)
{
    const km_wfdb_signal *s = &header->signal[signal];
    double scale;
    uint16_t sum = 0;
    km_status status = km_wfdb_scale(&scale, s, err);
    if (status == KM_OK && verify)
        status = km_wfdb_check_matlab(header, signal, samples, data, size, err);
    for (int64_t from = 0; from < samples && status == KM_OK; from += BLOCK) {
        int16_t steps[BLOCK];
        const int64_t n = samples - from < BLOCK ? samples - from : BLOCK;
        status = km_wfdb_split(steps, BLOCK, header, &signal, 1, from, n, data, size, err);
        if (status == KM_OK) {
            sum = (uint16_t)(sum + sum_steps(steps, n));
            km_wfdb_convert(x + from, steps, n, s->baseline, scale / s->gain);
        }
    }
    return status == KM_OK && verify ? check_sum(sum, s, err) : status;
}
