#include "data/tokens.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Base letter of U+00C0 to U+024F; S is ss, * a letter without a base, blank no letter. */
static const char bases[] =
    "aaaaaaaceeeeiiiidnooooo ouuuuytSaaaaaaaceeeeiiiidnooooo ouuuuytyaaaaaaccccccccddddeeeeeeeeeeggggggggh"
    "hhhiiiiiiiiii**jjkkkllllll**llnnnnnn*nnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs**********"
    "**********************oo*************uu****************************aaiioouuuuuuuuuu*aaaaaa**ggkkoooo*"
    "*j***gg**nnaaaaooaaaaeeeeiiiioooorrrruuuusstt**hh******aaeeooooooooyy****************************";

static inline uint32_t at(km_text text, int64_t i)
{
    switch (text.width) {
    case 1: return ((const uint8_t *)text.characters)[i];
    case 2: return ((const uint16_t *)text.characters)[i];
    default: return ((const uint32_t *)text.characters)[i];
    }
}

/* The second half of an UTF-8 pair C3 xx that was read as Latin-1 or Windows-1252, or 0. */
static uint32_t mojibake(uint32_t c)
{
    if (c >= 0x80 && c <= 0xBF)
        return c + 0x40;
    switch (c) {
    case 0x201E: return 0xC4;
    case 0x2026: return 0xC5;
    case 0x2013: return 0xD6;
    case 0x0153: return 0xDC;
    case 0x0178: return 0xDF;
    default: return 0;
    }
}

/* Folds one character: 'a'-'z', '0'-'9', 'S' (ss), '~' (a letter of another script), ' ' (no letter),
 * '_' (a mark to skip).                                                                           */
static inline char fold(uint32_t c)
{
    if (c < 0x80) {
        if (c >= 'a' && c <= 'z')
            return (char)c;
        if (c >= 'A' && c <= 'Z')
            return (char)(c + 32);
        if (c >= '0' && c <= '9')
            return (char)c;
        return ' ';
    }
    if (c < 0xC0)
        return c == 0xAD ? '_' : ' ';
    if (c < 0x250) {
        char base = bases[c - 0xC0];
        return base == '*' ? '~' : base;
    }
    if ((c >= 0x300 && c <= 0x36F) || (c >= 0x200B && c <= 0x200D) || c == 0xFEFF)
        return '_';
    if ((c >= 0x2000 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x303F) || (c >= 0xD800 && c <= 0xF8FF) || c >= 0xFE00)
        return ' ';
    return '~';
}

static inline bool is_letter(char f)
{
    return (f >= 'a' && f <= 'z') || f == 'S' || f == '~';
}

static inline bool is_digit(char f)
{
    return f >= '0' && f <= '9';
}

/* A plural or gender ending in brackets, as in "contraction(s)", "extrasystole(n)", "extrasystoli(er)":
 * its length with both brackets, or 0. "qrs(t)" is no such thing.                                    */
static int bracketed_ending(km_text text, int64_t i)
{
    static const char *const endings[] = {"s", "n", "e", "a", "r", "en", "er", "es", "ar", "or"};
    char inside[3];
    int length = 0;
    while (length < 3 && i + 1 + length < text.length) {
        char f = fold(at(text, i + 1 + length));
        if (!is_letter(f))
            break;
        inside[length++] = f;
    }
    if (length == 0 || length > 2 || i + 1 + length >= text.length || at(text, i + 1 + length) != ')')
        return 0;
    for (size_t e = 0; e < sizeof endings / sizeof *endings; e++)
        if ((int)strlen(endings[e]) == length && memcmp(endings[e], inside, (size_t)length) == 0)
            return length + 2;
    return 0;
}

/* Does the full stop at i join single letters, as in "L.V.H."? `letters`: those of the token before it. */
static bool joins_letters(km_text text, int64_t i, int letters, bool joined)
{
    if ((letters != 1 && !joined) || at(text, i) != '.' || i + 1 >= text.length || !is_letter(fold(at(text, i + 1))))
        return false;
    char after = i + 2 < text.length ? fold(at(text, i + 2)) : ' ';
    return !is_letter(after) && !is_digit(after);
}

/* A new token at the end, or NULL where memory is out. Writes its byte of breaks. */
static km_token *append(km_tokens *tokens, int64_t start, char **letters, int before)
{
    *(*letters)++ = (char)(0x80 | before);
    if (tokens->count == tokens->capacity) {
        int64_t capacity = tokens->capacity < 64 ? 64 : 2 * tokens->capacity;
        km_token *grown = realloc(tokens->token, (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return NULL;
        tokens->token = grown;
        tokens->capacity = capacity;
    }
    km_token *token = &tokens->token[tokens->count++];
    *token = (km_token){.start = start, .end = start + 1, .letters = *letters, .before = before};
    return token;
}

km_status km_tokens_read(km_tokens *tokens, km_text text, km_error *err)
{
    tokens->count = 0;
    tokens->after = KM_BREAK_STOP;
    if (3 * text.length > tokens->letters_capacity) {       /* at most two letters a character, a byte a token */
        char *grown = realloc(tokens->letters, 3 * (size_t)text.length);
        if (grown == NULL)
            goto memory;
        tokens->letters = grown;
        tokens->letters_capacity = 3 * text.length;
    }

    char *letters = tokens->letters;
    int before = KM_BREAK_STOP, blanks = 0;
    int64_t i = 0;
    while (i < text.length) {
        uint32_t c = at(text, i);
        char f = fold(c);
        uint32_t next = i + 1 < text.length ? at(text, i + 1) : ' ';
        char next_fold = fold(next);
        bool lost = (c == '#' || c == 0xFFFD) && is_letter(next_fold);

        if (f != ' ' && f != '_') {
            ;
        } else if (lost) {
            f = '#';
        } else {
            /* Between tokens. */
            char previous = i > 0 ? fold(at(text, i - 1)) : ' ';
            switch (c) {
            case ' ': case '\t': case 0xA0:
                if (++blanks >= 3)
                    before |= KM_BREAK_WIDE;
                i++;
                continue;
            case ',': case '(': case ')': case '*': case '[': case ']':
                before |= KM_BREAK_COMMA;
                break;
            case ':':
                before |= is_digit(previous) && is_digit(next_fold) ? 0 : KM_BREAK_COLON | KM_BREAK_COMMA;
                break;
            case '-': case 0x2013: case 0x2014:
                if (!is_letter(previous) && !is_digit(previous) && !is_letter(next_fold) && !is_digit(next_fold))
                    before |= KM_BREAK_COMMA;
                break;
            case '/': case '+': case '&':
                before |= KM_BREAK_JOIN;
                break;
            case ';': case '!': case '|': case '\n': case '\r': case '\f': case '\v': case 0x2028: case 0x2029:
                before |= KM_BREAK_STOP;
                break;
            case '.': {
                const km_token *last = tokens->count > 0 ? &tokens->token[tokens->count - 1] : NULL;
                bool joined = is_letter(next_fold) || is_digit(next_fold);
                if (!(joined && is_digit(previous)) && !(joined && last != NULL && last->length == 1))
                    before |= KM_BREAK_DOT;
                break;
            }
            case '?':
                if (i == 0 || at(text, i - 1) != '?') {
                    km_token *mark = append(tokens, i, &letters, before);
                    if (mark == NULL)
                        goto memory;
                    bool touches = i > 0 && (previous != ' ' || at(text, i - 1) == ')');
                    for (mark->length = 0; mark->length <= touches; mark->length++)
                        *letters++ = '?';
                    before = 0;
                }
                break;
            default:
                break;
            }
            blanks = 0;
            i++;
            continue;
        }

        /* A token: letters and digits up to the next separator. */
        km_token *token = append(tokens, i, &letters, before);
        if (token == NULL)
            goto memory;
        char last = 0;
        bool joined = false;
        while (i < text.length) {
            c = at(text, i);
            if (joins_letters(text, i, token->length, joined)) {
                joined = true;
                last = 0;
                i++;
                continue;
            }
            if (c == 0xC3 && i + 1 < text.length && mojibake(at(text, i + 1)) != 0) {
                c = mojibake(at(text, i + 1));
                i++;
            }
            f = fold(c);
            if (f == ' ') {
                if (c != '#' && c != 0xFFFD && c != '?')
                    break;
                if (i + 1 >= text.length || !is_letter(fold(at(text, i + 1))))
                    break;
                f = '#';
            }
            i++;
            if (f == '_')
                continue;
            /* ae, oe, ue are how umlauts are transcribed; both fold to the bare vowel. LAE and RAE are none. */
            bool own = token->length == 2 && (i >= text.length || !is_letter(fold(at(text, i))));
            if (f == 'e' && !own && (last == 'a' || last == 'o' || last == 'u')) {
                last = 0;
                continue;
            }
            last = f;
            if (token->length < KM_TOKEN_LETTERS - 1) {
                *letters++ = f == 'S' ? 's' : f;
                token->length++;
                if (f == 'S') {
                    *letters++ = 's';
                    token->length++;
                }
            }
        }
        if (token->length == 0) {           /* a multiplication or division sign read as Latin-1 begins like a letter */
            tokens->count--;
            letters--;
            continue;
        }
        token->end = i;
        if (i < text.length && at(text, i) == '(')
            i += bracketed_ending(text, i);
        before = 0;
        blanks = 0;
        if (joined && i < text.length && at(text, i) == '.')        /* "L.V.H. with strain" */
            i++;
    }
    tokens->after = before | KM_BREAK_STOP;
    return KM_OK;
memory:
    return km_error_set(err, KM_MEMORY, "out of memory: a text of %lld characters", (long long)text.length);
}

void km_tokens_free(km_tokens *tokens)
{
    free(tokens->token);
    free(tokens->letters);
    memset(tokens, 0, sizeof *tokens);
}
