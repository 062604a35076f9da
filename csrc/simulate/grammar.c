#include "simulate/grammar.h"

#include <math.h>
#include <string.h>

typedef struct writer {
    char *text;
    int length;
} writer;

static void put(writer *w, const char *text, int length)
{
    if (length > KM_GRAMMAR_TEXT - w->length)
        length = KM_GRAMMAR_TEXT - w->length;
    memcpy(w->text + w->length, text, (size_t)length);
    w->length += length;
}

static void put_number(writer *w, float value)
{
    char digits[12];
    int n = 0, number = (int)lroundf(fabsf(value) < 1e6f ? value : 0);
    const int negative = number < 0;
    number = negative ? -number : number;
    do
        digits[sizeof digits - 1 - n++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    if (negative)
        digits[sizeof digits - 1 - n++] = '-';
    put(w, digits + sizeof digits - n, n);
}

/* A phrase with its {numbers} filled in; {x} is replaced by another phrase. */
static void put_phrase(writer *w, const km_grammar *g, int phrase, int x, const float *measure)
{
    static const struct { const char *name; int measure; } numbers[] = {
        {"{rate}", KM_SCALAR_rate}, {"{pr}", KM_SCALAR_pr}, {"{qrs}", KM_SCALAR_qrs}, {"{qt}", KM_SCALAR_qt},
        {"{qtc}", KM_SCALAR_qtc}, {"{axis}", KM_SCALAR_axis}, {"{p}", KM_SCALAR_p}, {"{atrial}", KM_SCALAR_atrial_rate},
    };
    const char *at = g->text + g->phrase[phrase], *end = g->text + g->phrase[phrase + 1];
    while (at < end) {
        int done = 0;
        if (*at == '{') {
            if (end - at >= 3 && memcmp(at, "{x}", 3) == 0 && x >= 0) {
                put_phrase(w, g, x, -1, measure);
                done = 3;
            }
            for (size_t i = 0; !done && i < sizeof numbers / sizeof *numbers; i++) {
                const int length = (int)strlen(numbers[i].name);
                if (end - at >= length && memcmp(at, numbers[i].name, (size_t)length) == 0) {
                    put_number(w, measure[numbers[i].measure]);
                    done = length;
                }
            }
        }
        if (done) {
            at += done;
            continue;
        }
        put(w, at, 1);
        at++;
    }
}

static int pick(km_rng *rng, const int32_t *first, int index)
{
    const int count = first[index + 1] - first[index];
    return count > 0 ? first[index] + (int)km_rng_below(rng, (uint32_t)count) : -1;
}

static void put_statement(writer *w, const km_grammar *g, int style, int phrase, int x, const float *measure)
{
    if (phrase < 0)
        return;
    if (w->length > 0)
        put_phrase(w, g, g->joint[style], -1, measure);
    const int start = w->length;
    put_phrase(w, g, phrase, x, measure);
    char *c = w->text + start;
    if (g->sentence[style] && start < w->length && *c >= 'a' && *c <= 'z')
        *c = (char)(*c - 'a' + 'A');
}

int km_grammar_write(char *text, const km_grammar *grammar, const uint8_t *found, const float *measure, km_rng *rng)
{
    const km_grammar *g = grammar;
    writer w = {text, 0};
    double total = 0, at;
    for (int s = 0; s < g->styles; s++)
        total += g->weight[s];
    int style = 0;
    for (at = km_rng_uniform(rng) * total - g->weight[0]; at >= 0 && style + 1 < g->styles;)
        at -= g->weight[++style];
    for (int i = 0; i < g->labels; i++) {
        if (!(found[i] & 1))
            continue;
        int implied = 0;
        for (int j = 0; j < g->labels; j++)
            implied |= j != i && (found[j] & 1) && g->above[j * g->labels + i] &&
                       g->said[style * g->labels + j + 1] > g->said[style * g->labels + j];
        if (!implied)
            put_statement(&w, g, style, pick(rng, g->said, style * g->labels + i), -1, measure);
    }
    for (int i = 0; i < g->labels; i++)
        if ((found[i] & 2) && !(found[i] & 1) && km_rng_uniform(rng) < 0.6) {
            const int frame = pick(rng, g->frames, style), what = pick(rng, g->said, style * g->labels + i);
            put_statement(&w, g, style, frame, what, measure);
        }
    if (km_rng_uniform(rng) < 0.18) {
        const int phrase = pick(rng, g->denials, style);
        int fits = phrase >= 0;
        for (int i = 0; fits && i < g->labels; i++)
            if (found[i] && g->denied[phrase] >= 0 &&
                (i == g->denied[phrase] || g->above[i * g->labels + g->denied[phrase]]))
                fits = 0;
        if (fits)
            put_statement(&w, g, style, phrase, -1, measure);
    }
    if (km_rng_uniform(rng) < 0.12)
        put_statement(&w, g, style, pick(rng, g->remarks, style), -1, measure);
    if (g->sentence[style] && w.length > 0)
        put(&w, ".", 1);
    return w.length;
}
