#include "data/lexicon.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { FEW = 8 };                                           /* quick to make, soon full */
#else
enum { FEW = 1024 };                                        /* entries that tables begin with; a power of two */
#endif
enum { MARK_END = 1, MARK_BEGIN = 2, FIRST_WORD = 3 };      /* ids that are no words */
enum { ROOT_PHRASES, ROOT_LISTS, ROOTS };                   /* nodes where paths begin */
enum { MAX_LISTS = 10000 };
enum { LONG_WORD = 8, SHORT_WORD = 5 };                     /* letters a word needs for the spelling rules */
enum { FIRST_PART = 5, LAST_PART = 4 };                     /* letters of a compound's parts: "post" is none */

/* 64-bit keys to non-negative numbers, open addressing. Words are keyed by their hash. */
typedef struct map {
    uint64_t *key;          /* 0: free */
    int32_t *value;
    int64_t capacity, count;
} map;

typedef struct node {
    int32_t gap;            /* the node reached by allowing filler words, or 0 */
    int32_t terminal;       /* index + 1 of its last phrase, or 0              */
    uint8_t plain, context, marks, listed;  /* kinds of edges that leave it    */
} node;

typedef struct entry {
    km_phrase phrase;
    int32_t next;           /* index + 1 of another phrase at the same node    */
} entry;

struct km_lexicon {
    char **ending;
    int endings;
    map ids;                /* stem, and '=' exact form -> id                  */
    map respelled;          /* stem after a spelling rule -> id, -1: several   */
    map edges;              /* node, id, context -> node                       */
    char **stem;            /* by id; NULL for exact forms and lists           */
    int32_t *flags;         /* by id                                           */
    int32_t words, words_capacity;
    int32_t *list;          /* id of each word list, 0 where unused            */
    int32_t lists;
    node *nodes;
    int32_t node_count, node_capacity;
    entry *entries;
    int32_t entry_count, entry_capacity;
};

/* ---- maps ---------------------------------------------------------------------------------- */

static inline uint64_t scatter(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9E3779B97F4A7C15u;
    return x ^ (x >> 29);
}

static inline int32_t map_get(const map *m, uint64_t key, int32_t otherwise)
{
    if (m->capacity == 0)
        return otherwise;
    for (uint64_t i = scatter(key) & (uint64_t)(m->capacity - 1);; i = (i + 1) & (uint64_t)(m->capacity - 1)) {
        if (m->key[i] == key)
            return m->value[i];
        if (m->key[i] == 0)
            return otherwise;
    }
}

static void map_place(map *m, uint64_t key, int32_t value)
{
    uint64_t i = scatter(key) & (uint64_t)(m->capacity - 1);
    while (m->key[i] != 0 && m->key[i] != key)
        i = (i + 1) & (uint64_t)(m->capacity - 1);
    m->count += m->key[i] == 0;
    m->key[i] = key;
    m->value[i] = value;
}

static km_status map_put(map *m, uint64_t key, int32_t value, km_error *err)
{
    if (2 * (m->count + 1) > m->capacity) {
        map grown = {.capacity = m->capacity == 0 ? FEW : 2 * m->capacity};
        grown.key = calloc((size_t)grown.capacity, sizeof *grown.key);
        grown.value = calloc((size_t)grown.capacity, sizeof *grown.value);
        if (grown.key == NULL || grown.value == NULL) {
            free(grown.key);
            free(grown.value);
            return km_error_set(err, KM_MEMORY, "out of memory: a lexicon of %lld entries", (long long)m->count);
        }
        for (int64_t i = 0; i < m->capacity; i++)
            if (m->key[i] != 0)
                map_place(&grown, m->key[i], m->value[i]);
        free(m->key);
        free(m->value);
        *m = grown;
    }
    map_place(m, key, value);
    return KM_OK;
}

static void map_free(map *m)
{
    free(m->key);
    free(m->value);
}

/* FNV-1a; exact forms hash apart from stems. */
static inline uint64_t hash(const char *letters, int length, bool exact)
{
    uint64_t h = 0xCBF29CE484222325u ^ (exact ? 0x3D : 0);
    for (int i = 0; i < length; i++)
        h = (h ^ (uint8_t)letters[i]) * 0x100000001B3u;
    return h != 0 ? h : 1;
}

static inline uint64_t edge(int32_t from, int32_t id, int context)
{
    return ((uint64_t)from << 32 | (uint64_t)id << 1 | (uint64_t)context) + 1;
}

/* ---- words --------------------------------------------------------------------------------- */

/* Length of the word without its inflections: endings come off while four letters stay (three before
 * an s, five before a t).                                                                            */
static int stem_length(const km_lexicon *lexicon, const char *letters, int length)
{
    for (int e = 0; e < lexicon->endings;) {
        const char *ending = lexicon->ending[e];
        int n = (int)strlen(ending);
        int least = n == 1 && *ending == 's' ? 3 : n == 1 && *ending == 't' ? 5 : 4;
        if (length - n >= least && memcmp(letters + length - n, ending, (size_t)n) == 0) {
            length -= n;
            e = 0;
        } else {
            e++;
        }
    }
    return length;
}

/* One spelling for all that sound or look alike. */
static int respell(char *out, const char *letters, int length)
{
    int n = 0;
    for (int i = 0; i < length; i++) {
        char c = letters[i], next = i + 1 < length ? letters[i + 1] : 0;
        if (c == 'p' && next == 'h') {
            c = 'f';
            i++;
        } else if (c == 't' && next == 'h') {
            i++;
        } else if (c == 'c' && next == 'k') {
            i++;
            c = 'k';
        } else if ((c == 'i' && next == 'e') || (c == 's' && next == 'z')) {
            i++;
        } else if (c == 'e' && next == 'i') {
            c = 'i';
            i++;
        }
        if (c == 'y')
            c = 'i';
        if (c == 'c' || c == 'z')
            c = 'k';
        if (n == 0 || out[n - 1] != c)
            out[n++] = c;
    }
    return n;
}

/* Of two words that sound alike the first keeps the spelling; a slip of the pen that could be two words is
 * nobody's.                                                                                            */
static km_status respelled_put(km_lexicon *lexicon, const char *letters, int length, int32_t id, bool sound,
                               km_error *err)
{
    uint64_t key = hash(letters, length, false);
    int32_t before = map_get(&lexicon->respelled, key, 0);
    if (before == id || (before != 0 && sound))
        return KM_OK;
    return map_put(&lexicon->respelled, key, before == 0 ? id : -1, err);
}

/* A word is there wholly or, where memory runs out, not at all: *id and the lexicon are as before then. */
static km_status word_id(km_lexicon *lexicon, const char *letters, int length, bool exact, int32_t *id, km_error *err)
{
    uint64_t key = hash(letters, length, exact);
    int32_t known = map_get(&lexicon->ids, key, 0);
    if (known != 0) {
        *id = known;
        return KM_OK;
    }
    if (lexicon->words >= lexicon->words_capacity) {
        int32_t capacity = lexicon->words_capacity == 0 ? FEW : 2 * lexicon->words_capacity;
        char **stem = realloc(lexicon->stem, (size_t)capacity * sizeof *stem);
        if (stem == NULL)
            goto memory;
        lexicon->stem = stem;
        int32_t *flags = realloc(lexicon->flags, (size_t)capacity * sizeof *flags);
        if (flags == NULL)
            goto memory;
        lexicon->flags = flags;
        lexicon->words_capacity = capacity;
    }
    char *copy = NULL;
    if (!exact) {
        copy = malloc((size_t)length + 1);
        if (copy == NULL)
            goto memory;
        memcpy(copy, letters, (size_t)length);
        copy[length] = 0;
    }
    km_status status = map_put(&lexicon->ids, key, lexicon->words, err);
    if (status != KM_OK) {
        free(copy);
        return status;
    }
    *id = lexicon->words++;
    lexicon->stem[*id] = copy;
    lexicon->flags[*id] = 0;
    return KM_OK;
memory:
    return km_error_set(err, KM_MEMORY, "out of memory: a lexicon of %d words", (int)lexicon->words);
}

/* An unknown stem, by rule. */
static int32_t respelled_find(const km_lexicon *lexicon, const char *letters, int length)
{
    char other[2 * KM_TOKEN_LETTERS];
    const char *lost = memchr(letters, '#', (size_t)length);
    if (lost != NULL) {
        /* A lost letter was an umlaut or sharp s. */
        static const char *const replacements[] = {"u", "a", "o", "ss"};
        int at = (int)(lost - letters);
        for (int r = 0; r < 4; r++) {
            int n = (int)strlen(replacements[r]);
            memcpy(other, letters, (size_t)at);
            memcpy(other + at, replacements[r], (size_t)n);
            memcpy(other + at + n, lost + 1, (size_t)(length - at - 1));
            int m = length - 1 + n;
            int32_t id = map_get(&lexicon->ids, hash(other, stem_length(lexicon, other, m), false), 0);
            if (id != 0)
                return id;
            if (memchr(other, '#', (size_t)m) != NULL && r == 0 && (id = respelled_find(lexicon, other, m)) != 0)
                return id;
        }
        return 0;
    }
    if (length < SHORT_WORD)
        return 0;
    int n = respell(other, letters, length);
    int32_t id = map_get(&lexicon->respelled, hash(other, n, false), 0);
    if (id == 0)
        id = map_get(&lexicon->respelled, hash(letters, length, false), 0);
    if (id != 0)
        return id > 0 ? id : 0;
    /* One letter too many, never the first: a lost prefix changes the meaning. */
    if (length > LONG_WORD)
        for (int skip = 1; skip < length; skip++) {
            memcpy(other, letters, (size_t)skip);
            memcpy(other + skip, letters + skip + 1, (size_t)(length - skip - 1));
            id = map_get(&lexicon->ids, hash(other, length - 1, false), 0);
            if (id != 0 && lexicon->stem[id] != NULL)
                return id;
        }
    return 0;
}

km_word km_lexicon_find(const km_lexicon *lexicon, const char *letters, int length)
{
    km_word word = {0};
    int stem = stem_length(lexicon, letters, length);
    word.stem = map_get(&lexicon->ids, hash(letters, stem, false), 0);
    word.exact = map_get(&lexicon->ids, hash(letters, length, true), 0);
    if (word.stem == 0)
        word.stem = respelled_find(lexicon, letters, stem);
    if (word.stem != 0)
        word.flags |= lexicon->flags[word.stem];
    if (word.exact != 0)
        word.flags |= lexicon->flags[word.exact];
    return word;
}

/* A known word as it is written, without the spelling rules. */
static km_word part_find(const km_lexicon *lexicon, const char *letters, int length)
{
    km_word word = {.stem = map_get(&lexicon->ids, hash(letters, stem_length(lexicon, letters, length), false), 0),
                    .exact = map_get(&lexicon->ids, hash(letters, length, true), 0)};
    if (word.stem != 0)
        word.flags |= lexicon->flags[word.stem];
    if (word.exact != 0)
        word.flags |= lexicon->flags[word.exact];
    return word;
}

/* Parts of a compound from number `count` on: the rest as one word, or the longest first part whose rest can
 * be read in its turn.                                                                                    */
static int split(const km_lexicon *lexicon, const char *letters, int length, km_word *parts, int *lengths, int count)
{
    if (count > 0 && length >= LAST_PART) {
        parts[count] = part_find(lexicon, letters, length);
        lengths[count] = length;
        if (parts[count].stem != 0 || parts[count].exact != 0)
            return count + 1;
    }
    for (int n = length - LAST_PART; count + 1 < KM_LEXICON_PARTS && n >= FIRST_PART; n--) {
        km_word first = part_find(lexicon, letters, n);
        if (first.stem == 0 && first.exact == 0)
            continue;
        int all = split(lexicon, letters + n, length - n, parts, lengths, count + 1);
        if (all > 0) {
            parts[count] = first;
            lengths[count] = n;
            return all;
        }
    }
    return 0;
}

int km_lexicon_split(const km_lexicon *lexicon, const char *letters, int length, km_word parts[KM_LEXICON_PARTS],
                     int lengths[KM_LEXICON_PARTS])
{
    return split(lexicon, letters, length, parts, lengths, 0);
}

/* ---- building ------------------------------------------------------------------------------ */

km_status km_lexicon_create(km_lexicon **out, const char *const *endings, int count, km_error *err)
{
    km_lexicon *lexicon = calloc(1, sizeof *lexicon);
    *out = lexicon;
    if (lexicon == NULL)
        goto memory;
    lexicon->words = FIRST_WORD;
    lexicon->words_capacity = 0;
    lexicon->ending = calloc((size_t)count + 1, sizeof *lexicon->ending);
    lexicon->nodes = calloc(FEW, sizeof *lexicon->nodes);
    if (lexicon->ending == NULL || lexicon->nodes == NULL)
        goto memory;
    lexicon->node_capacity = FEW;
    lexicon->node_count = ROOTS;
    for (int i = 0; i < count; i++) {
        lexicon->ending[i] = malloc(strlen(endings[i]) + 1);
        if (lexicon->ending[i] == NULL)
            goto memory;
        strcpy(lexicon->ending[i], endings[i]);
        lexicon->endings++;
    }
    return KM_OK;
memory:
    km_lexicon_free(lexicon);
    *out = NULL;
    return km_error_set(err, KM_MEMORY, "out of memory: a lexicon");
}

void km_lexicon_free(km_lexicon *lexicon)
{
    if (lexicon == NULL)
        return;
    for (int i = 0; i < lexicon->endings; i++)
        free(lexicon->ending[i]);
    for (int32_t id = FIRST_WORD; id < lexicon->words; id++)
        free(lexicon->stem[id]);
    free(lexicon->ending);
    free(lexicon->stem);
    free(lexicon->flags);
    free(lexicon->list);
    map_free(&lexicon->ids);
    map_free(&lexicon->respelled);
    map_free(&lexicon->edges);
    free(lexicon->nodes);
    free(lexicon->entries);
    free(lexicon);
}

static km_status node_create(km_lexicon *lexicon, int32_t *index, km_error *err)
{
    if (lexicon->node_count == lexicon->node_capacity) {
        node *grown = realloc(lexicon->nodes, 2 * (size_t)lexicon->node_capacity * sizeof *grown);
        if (grown == NULL)
            return km_error_set(err, KM_MEMORY, "out of memory: a lexicon of %d nodes", (int)lexicon->node_count);
        lexicon->nodes = grown;
        lexicon->node_capacity *= 2;
    }
    *index = lexicon->node_count++;
    lexicon->nodes[*index] = (node){0};
    return KM_OK;
}

static km_status step(km_lexicon *lexicon, int32_t *at, int32_t id, bool context, bool list, km_error *err)
{
    uint64_t key = edge(*at, id, context);
    int32_t to = map_get(&lexicon->edges, key, 0);
    if (to == 0) {
        km_status status = node_create(lexicon, &to, err);
        if (status != KM_OK)
            return status;
        status = map_put(&lexicon->edges, key, to, err);
        if (status != KM_OK) {
            lexicon->node_count--;
            return status;
        }
        node *from = &lexicon->nodes[*at];
        from->marks |= id < FIRST_WORD;
        from->context |= context;
        from->plain |= !context;
        from->listed |= list;
    }
    if (*at < ROOTS && id >= FIRST_WORD)
        lexicon->flags[id] |= *at == ROOT_LISTS ? KM_WORD_LISTED : KM_WORD_STARTS;
    *at = to;
    return KM_OK;
}

/* The id of word list `number`. */
static km_status list_id(km_lexicon *lexicon, int number, int32_t *id, km_error *err)
{
    if (number < 0 || number >= MAX_LISTS)
        return km_error_set(err, KM_VALUE, "word list %d, must be 0 to %d", number, MAX_LISTS - 1);
    if (number >= lexicon->lists) {
        int32_t *grown = realloc(lexicon->list, ((size_t)number + 1) * sizeof *grown);
        if (grown == NULL)
            return km_error_set(err, KM_MEMORY, "out of memory: a lexicon of %d word lists", number + 1);
        memset(grown + lexicon->lists, 0, (size_t)(number + 1 - lexicon->lists) * sizeof *grown);
        lexicon->list = grown;
        lexicon->lists = number + 1;
    }
    if (lexicon->list[number] == 0) {
        char name[16];
        int length = snprintf(name, sizeof name, "{%d}", number);
        km_status status = word_id(lexicon, name, length, true, &lexicon->list[number], err);
        if (status != KM_OK)
            return status;
    }
    *id = lexicon->list[number];
    return KM_OK;
}

km_status km_lexicon_word_add(km_lexicon *lexicon, km_text text, int flags, km_error *err)
{
    km_tokens tokens = {0};
    km_status status = km_tokens_read(&tokens, text, err);
    for (int64_t i = 0; status == KM_OK && i < tokens.count; i++) {
        const km_token *token = &tokens.token[i];
        int32_t id;
        status = word_id(lexicon, token->letters, stem_length(lexicon, token->letters, token->length), false, &id, err);
        if (status == KM_OK)
            lexicon->flags[id] |= flags;
    }
    km_tokens_free(&tokens);
    return status;
}

/* One character of a phrase; phrases are given like texts. */
static uint32_t character(km_text text, int64_t i)
{
    switch (text.width) {
    case 1: return ((const uint8_t *)text.characters)[i];
    case 2: return ((const uint16_t *)text.characters)[i];
    default: return ((const uint32_t *)text.characters)[i];
    }
}

km_status km_lexicon_phrase_add(km_lexicon *lexicon, km_text text, km_phrase what, km_error *err)
{
    km_tokens tokens = {0};
    km_status status = KM_OK;
    int32_t at = what.kind == KM_PHRASE_LIST ? ROOT_LISTS : ROOT_PHRASES, unused;
    int words = 0, counted = 0;
    int64_t i = 0;
    if ((int)what.kind < 0 || what.kind >= KM_PHRASE_KINDS)
        return km_error_set(err, KM_VALUE, "phrase kind is %d, must be 0 to %d", (int)what.kind, KM_PHRASE_KINDS - 1);
    if (what.kind == KM_PHRASE_LIST)
        status = list_id(lexicon, what.target, &unused, err);
    if (status != KM_OK)
        return status;

    while (i < text.length) {
        if (character(text, i) == ' ') {
            i++;
            continue;
        }
        int64_t start = i;
        while (i < text.length && character(text, i) != ' ')
            i++;
        int64_t end = i;
        uint32_t c = character(text, start);
        if (end - start == 1 && (c == '^' || c == '$')) {
            status = step(lexicon, &at, c == '^' ? MARK_BEGIN : MARK_END, false, false, err);
            if (status != KM_OK)
                goto done;
            continue;
        }
        if (end - start == 1 && c == '+') {
            if (at < ROOTS || what.kind == KM_PHRASE_LIST) {
                status = km_error_set(err, KM_VALUE, "+ cannot begin a phrase, nor stand in a word list");
                goto done;
            }
            if (lexicon->nodes[at].gap == 0) {
                int32_t gap = 0;
                status = node_create(lexicon, &gap, err);
                if (status != KM_OK)
                    goto done;
                lexicon->nodes[at].gap = gap;
            }
            at = lexicon->nodes[at].gap;
            continue;
        }
        bool context = c == '<' && character(text, end - 1) == '>' && end - start > 2;
        if (context) {
            start++;
            end--;
        }
        if (character(text, start) == '{') {
            int number = 0;
            int64_t digit = start + 1;
            for (; digit < end && character(text, digit) >= '0' && character(text, digit) <= '9' && number < MAX_LISTS;
                 digit++)
                number = 10 * number + (int)character(text, digit) - '0';
            int32_t id = 0;
            if (digit != end - 1 || digit == start + 1 || character(text, digit) != '}' || what.kind == KM_PHRASE_LIST)
                status = km_error_set(err, KM_VALUE, "a word list is written {number}, and not within another");
            else
                status = list_id(lexicon, number, &id, err);
            if (status == KM_OK)
                status = step(lexicon, &at, id, context, true, err);
            if (status != KM_OK)
                goto done;
            words++;
            counted += !context;
            continue;
        }
        bool exact = character(text, start) == '=' && end - start > 1;
        if (exact)
            start++;
        bool abbreviation = character(text, end - 1) == '.' && end - start > 1;
        km_text word = {.characters = (const char *)text.characters + start * text.width,
                        .width = text.width, .length = end - start};
        status = km_tokens_read(&tokens, word, err);
        if (status != KM_OK)
            goto done;
        for (int64_t t = 0; t < tokens.count; t++) {
            const km_token *token = &tokens.token[t];
            int length = exact ? token->length : stem_length(lexicon, token->letters, token->length);
            int32_t id;
            status = word_id(lexicon, token->letters, length, exact, &id, err);
            if (status != KM_OK)
                goto done;
            if (abbreviation && t == tokens.count - 1) {
                bool digits = token->letters[0] >= '0' && token->letters[0] <= '9';
                lexicon->flags[id] |= digits ? 0 : KM_WORD_ABBREVIATION;
            }
            status = step(lexicon, &at, id, context, false, err);
            if (status != KM_OK)
                goto done;
            words++;
            counted += !context;
        }
    }
    if (counted == 0 || words > KM_LEXICON_WORDS) {
        status = km_error_set(err, KM_VALUE, "a phrase has %d words (%d without context), must have 1 to %d", words,
                              counted, KM_LEXICON_WORDS);
        goto done;
    }
    for (int32_t e = lexicon->nodes[at].terminal; e != 0; e = lexicon->entries[e - 1].next) {
        const km_phrase *there = &lexicon->entries[e - 1].phrase;
        if (there->kind == what.kind && there->target == what.target && there->side == what.side)
            goto done;
    }
    if (lexicon->entry_count == lexicon->entry_capacity) {
        int32_t capacity = lexicon->entry_capacity == 0 ? FEW : 2 * lexicon->entry_capacity;
        entry *grown = realloc(lexicon->entries, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            status = km_error_set(err, KM_MEMORY, "out of memory: a lexicon of %d phrases", (int)capacity);
            goto done;
        }
        lexicon->entries = grown;
        lexicon->entry_capacity = capacity;
    }
    lexicon->entries[lexicon->entry_count] = (entry){.phrase = what, .next = lexicon->nodes[at].terminal};
    lexicon->nodes[at].terminal = ++lexicon->entry_count;
done:
    km_tokens_free(&tokens);
    return status;
}

km_status km_lexicon_finish(km_lexicon *lexicon, km_error *err)
{
    char other[2 * KM_TOKEN_LETTERS];
    km_status status = KM_OK;
    for (int32_t id = FIRST_WORD; status == KM_OK && id < lexicon->words; id++) {
        const char *stem = lexicon->stem[id];
        int length = stem == NULL ? 0 : (int)strlen(stem);
        if (length >= SHORT_WORD)
            status = respelled_put(lexicon, other, respell(other, stem, length), id, true, err);
    }
    for (int32_t id = FIRST_WORD; status == KM_OK && id < lexicon->words; id++) {
        const char *stem = lexicon->stem[id];
        int length = stem == NULL ? 0 : (int)strlen(stem);
        /* Two letters exchanged. */
        for (int i = 1; length >= LONG_WORD && status == KM_OK && i + 1 < length; i++) {
            memcpy(other, stem, (size_t)length);
            other[i] = stem[i + 1];
            other[i + 1] = stem[i];
            if (stem[i] != stem[i + 1])
                status = respelled_put(lexicon, other, length, id, false, err);
        }
        /* One letter missing. */
        for (int skip = 1; length >= LONG_WORD && status == KM_OK && skip < length; skip++) {
            memcpy(other, stem, (size_t)skip);
            memcpy(other + skip, stem + skip + 1, (size_t)(length - skip - 1));
            status = respelled_put(lexicon, other, length - 1, id, false, err);
        }
    }
    return status;
}

/* ---- matching ------------------------------------------------------------------------------ */

int km_lexicon_list(const km_lexicon *lexicon, const km_word *words, int64_t first, int64_t end, km_listed *listed,
                    int count, int capacity)
{
    for (int64_t start = first; start < end; start++) {
        if (!(words[start].flags & KM_WORD_LISTED))
            continue;
        /* Members have no gaps: one path, two where a stem and an exact form both go on. */
        int32_t at[KM_LEXICON_WORDS * 2] = {ROOT_LISTS};
        int paths = 1;
        for (int64_t t = start; t < end && paths > 0 && t - start < 64; t++) {
            int32_t to[KM_LEXICON_WORDS * 2];
            int going = 0;
            for (int p = 0; p < paths; p++)
                for (int form = 0; form < 2; form++) {
                    int32_t id = form == 0 ? words[t].stem : words[t].exact;
                    int32_t next = id == 0 ? 0 : map_get(&lexicon->edges, edge(at[p], id, 0), 0);
                    if (next == 0 || going == KM_LEXICON_WORDS * 2)
                        continue;
                    to[going++] = next;
                    for (int32_t e = lexicon->nodes[next].terminal; e != 0; e = lexicon->entries[e - 1].next)
                        if (count < capacity)
                            listed[count++] = (km_listed){
                                .first = start, .last = t, .id = lexicon->list[lexicon->entries[e - 1].phrase.target]};
                }
            memcpy(at, to, (size_t)going * sizeof *at);
            paths = going;
        }
    }
    return count;
}

typedef struct walk {
    const km_lexicon *lexicon;
    const km_sentence *sentence;
    int64_t first;
    km_match *matches;
    int count, capacity;
} walk;

static void reached(walk *w, int32_t at, uint64_t mask, uint64_t context)
{
    for (int32_t e = w->lexicon->nodes[at].terminal; e != 0; e = w->lexicon->entries[e - 1].next) {
        const km_phrase *phrase = &w->lexicon->entries[e - 1].phrase;
        bool seen = false;                  /* the nearest end of the same phrase is enough */
        for (int m = w->count - 1; m >= 0 && w->matches[m].first == w->first && !seen; m--)
            seen = w->matches[m].phrase == phrase && (w->matches[m].mask & ~mask) != 0;
        if (seen || w->count == w->capacity)
            continue;
        int low = __builtin_ctzll(mask), high = 63 - __builtin_clzll(mask);
        w->matches[w->count++] = (km_match){.phrase = phrase, .first = w->first, .from = w->first + low,
                                            .to = w->first + high, .mask = mask, .context = context};
    }
}

static void follow(walk *w, int32_t at, int64_t position, uint64_t mask, uint64_t context, int fillers);

/* Takes the edges of `at` that the tokens position to last, read as `id`, allow. comma: the fillers before them
 * hold one; what a finding needs after it stands on this side ("no acute changes, old infarct").           */
static void take(walk *w, int32_t at, int32_t id, int64_t position, int64_t last, uint64_t mask, uint64_t context,
                 bool comma)
{
    const km_lexicon *lexicon = w->lexicon;
    uint64_t bits = (~(uint64_t)0 >> (63 - (last - position))) << (position - w->first);
    for (int is_context = 0; is_context < 2; is_context++) {
        if (!(is_context ? lexicon->nodes[at].context : lexicon->nodes[at].plain))
            continue;
        if (is_context && comma && mask != 0)
            continue;
        int32_t to = map_get(&lexicon->edges, edge(at, id, is_context), 0);
        if (to == 0)
            continue;
        uint64_t m = is_context ? mask : mask | bits, c = is_context ? context | bits : context;
        if (m != 0)
            reached(w, to, m, c);
        follow(w, to, last + 1, m, c, 0);
        if (lexicon->nodes[to].gap != 0)
            follow(w, lexicon->nodes[to].gap, last + 1, m, c, KM_LEXICON_GAP);
    }
}

/* Everything that can be read from node `at` on with token `position` next; fillers: how many may be skipped. */
static void follow(walk *w, int32_t at, int64_t position, uint64_t mask, uint64_t context, int fillers)
{
    const km_lexicon *lexicon = w->lexicon;
    const km_sentence *sentence = w->sentence;
    const node *here = &lexicon->nodes[at];
    const int allowed = fillers;
    bool comma = false;
    for (;; position++, fillers--) {
        if (position >= sentence->end) {
            int32_t to = here->marks ? map_get(&lexicon->edges, edge(at, MARK_END, 0), 0) : 0;
            if (to != 0 && mask != 0)
                reached(w, to, mask, context);
            return;
        }
        if (position - w->first >= 64)
            return;
        if (fillers < allowed && sentence->tokens[position].before & KM_BREAK_COLON)
            return;                         /* what follows a colon is said of something else */
        comma |= allowed > 0 && sentence->tokens[position].before & KM_BREAK_COMMA;
        const km_word *word = &sentence->words[position];
        if (word->stem != 0)
            take(w, at, word->stem, position, position, mask, context, comma);
        if (word->exact != 0)
            take(w, at, word->exact, position, position, mask, context, comma);
        if (here->listed) {
            int32_t l = sentence->from[position - sentence->base];
            for (; l < sentence->from[position - sentence->base + 1]; l++)
                if (sentence->listed[l].last - w->first < 64)
                    take(w, at, sentence->listed[l].id, position, sentence->listed[l].last, mask, context, comma);
        }
        if (fillers == 0 || !(word->flags & KM_WORD_FILLER))
            return;
    }
}

int km_lexicon_match(const km_lexicon *lexicon, const km_sentence *sentence, int64_t first, int begins,
                     km_match *matches, int count, int capacity)
{
    walk w = {.lexicon = lexicon, .sentence = sentence, .first = first,
              .matches = matches, .count = count, .capacity = capacity};
    if ((sentence->words[first].flags & KM_WORD_STARTS)
        || sentence->from[first - sentence->base + 1] > sentence->from[first - sentence->base])
        follow(&w, ROOT_PHRASES, first, 0, 0, 0);
    if (begins) {
        int32_t at = map_get(&lexicon->edges, edge(ROOT_PHRASES, MARK_BEGIN, 0), 0);
        if (at != 0)
            follow(&w, at, first, 0, 0, 0);
    }
    return w.count;
}
