/* A text as folded tokens: lower case, no accents, transcriptions and mojibake undone, "L.V.H." one word, each
 * token with its exact place in the text as given.                                                     */
#ifndef KM_TOKENS_H
#define KM_TOKENS_H

#include <stdint.h>

#include "core/error.h"

/* Characters of 1, 2 or 4 bytes (Latin-1, UCS-2, UCS-4). Any value is accepted: lone surrogates and
 * control characters separate tokens.                                                             */
typedef struct km_text {
    const void *characters;
    int width;
    int64_t length;
} km_text;

/* What stands between a token and the one before it. */
enum {
    KM_BREAK_COMMA = 1,         /* , : ( ) * and a dash between blanks      */
    KM_BREAK_JOIN = 2,          /* / + &                                    */
    KM_BREAK_DOT = 4,           /* a full stop, or the end of an abbreviation */
    KM_BREAK_STOP = 8,          /* ; ! | line end, start of the text        */
    KM_BREAK_WIDE = 16,         /* three blanks or more                     */
    KM_BREAK_COLON = 32
};

enum { KM_TOKEN_LETTERS = 48 };     /* longer tokens are cut: nothing in a vocabulary is longer */

typedef struct km_token {
    int64_t start, end;             /* characters of the text           */
    const char *letters;            /* a-z 0-9; # for a lost letter, ~ for other scripts; ? for a question mark,
                                     * ?? for one that touches the word before it                           */
    int length;                     /* letters                          */
    int before;                     /* KM_BREAK_ bits                   */
} km_token;

/* The letters of all tokens follow one another, before each one byte that tells its breaks: equal bytes
 * from the first to the last letter of a sentence mean equal sentences.                              */
typedef struct km_tokens {
    km_token *token;
    int64_t count, capacity;
    char *letters;
    int64_t letters_capacity;
    int after;                      /* KM_BREAK_ bits after the last token */
} km_tokens;

/* Fills tokens (all zero before the first call; memory is kept and reused). */
km_status km_tokens_read(km_tokens *tokens, km_text text, km_error *err);

/* Accepts tokens that were never filled. */
void km_tokens_free(km_tokens *tokens);

#endif
