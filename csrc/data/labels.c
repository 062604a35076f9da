#include "data/labels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { CACHE = 16, REMEMBERED = 1 << 3, MEMORY = 1 << 12 };     /* quick to make, soon full */
#else
enum {
    CACHE = 4096,           /* recently seen word forms; a power of two                  */
    REMEMBERED = 1 << 15,   /* sentences read lately; a power of two                     */
    MEMORY = 4 << 20        /* bytes for them                                            */
};
#endif

enum {
    REACH = 4,              /* unknown words a negation or hedge looks across            */
    REACH_EITHER = 1,       /* and one that may stand on both sides, before it turns left */
    LONGEST = 400,          /* tokens of a sentence; more are read as several            */
    LINK = 2,               /* unknown words between two members of a list               */
    CACHE_LETTERS = 23,
    ROOM = 192,             /* matches one token can begin                               */
    LISTS = 12              /* members of word lists a token begins, on average          */
};

typedef struct cached {
    km_word word[KM_LEXICON_PARTS];
    int parts[KM_LEXICON_PARTS];        /* letters of each word of a compound */
    uint8_t count, length;
    char letters[CACHE_LETTERS];
} cached;

/* A sentence and what was read in it: machines repeat a few thousand statements. Positions are tokens,
 * relative to the sentence. The key follows the findings in memory.                                   */
typedef struct brief {
    int32_t entity;
    uint16_t status, from, to;
} brief;

typedef struct remembered {
    uint64_t hash;
    int32_t key_length, count, kind;
    int32_t at;             /* of its findings, in labels->memory; entries from before the last clearing are void */
} remembered;

typedef struct found {      /* one match of the current sentence */
    km_match match;
    int32_t status;
    bool dropped;
} found;

struct km_labels {
    const km_lexicon *lexicon;
    km_above above;
    km_tokens tokens;
    /* The sentence being read, compounds taken apart: the parts keep the place of the whole. */
    km_token *token;
    km_word *words;         /* by token */
    uint8_t *covered;       /* by token: part of a surviving match */
    int64_t token_count, token_capacity, words_capacity, covered_capacity;
    km_match *matches;
    int64_t match_count, match_capacity;
    km_listed *listed;      /* members of word lists in the sentence, and where each token's begin */
    int32_t *from;
    int64_t listed_capacity, from_capacity;
    found *found;           /* findings of the sentence, left to right   */
    found *cue;             /* its negations and hedges                  */
    int64_t found_count, cue_count, found_capacity, cue_capacity;
    km_finding *findings;
    int64_t finding_count, finding_capacity;
    km_statement *statements;
    int64_t statement_count, statement_capacity;
    cached cache[CACHE];
    remembered *remembered; /* (REMEMBERED)                              */
    char *memory;           /* (MEMORY)                                  */
    int32_t memory_used;
};

km_status km_labels_create(km_labels **labels, const km_lexicon *lexicon, km_above above, km_error *err)
{
    *labels = calloc(1, sizeof **labels);
    if (*labels == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: a reader of reports");
    (*labels)->remembered = calloc(REMEMBERED, sizeof *(*labels)->remembered);
    (*labels)->memory = malloc(MEMORY);
    if ((*labels)->remembered == NULL || (*labels)->memory == NULL) {
        km_labels_free(*labels);
        *labels = NULL;
        return km_error_set(err, KM_MEMORY, "out of memory: a reader of reports");
    }
    (*labels)->lexicon = lexicon;
    (*labels)->above = above;
    return KM_OK;
}

void km_labels_free(km_labels *labels)
{
    if (labels == NULL)
        return;
    km_tokens_free(&labels->tokens);
    free(labels->token);
    free(labels->words);
    free(labels->covered);
    free(labels->matches);
    free(labels->listed);
    free(labels->from);
    free(labels->found);
    free(labels->cue);
    free(labels->findings);
    free(labels->statements);
    free(labels->remembered);
    free(labels->memory);
    free(labels);
}

/* Room for `count` items of `size` bytes: the block, moved if need be, or NULL where memory is out
 * (the old block stays).                                                                        */
static void *grow(void *block, int64_t *capacity, int64_t count, size_t size)
{
    int64_t wanted = *capacity < 128 ? 128 : *capacity;
    if (block != NULL && count <= *capacity)
        return block;
    while (wanted < count)
        wanted *= 2;
    block = realloc(block, (size_t)wanted * size);
    if (block != NULL)
        *capacity = wanted;
    return block;
}

static km_status memory(km_error *err)
{
    return km_error_set(err, KM_MEMORY, "out of memory: reading a report");
}

static void look_up(const km_lexicon *lexicon, const km_token *token, cached *entry)
{
    entry->count = 1;
    entry->parts[0] = token->length;
    entry->word[0] = km_lexicon_find(lexicon, token->letters, token->length);
    if (entry->word[0].stem != 0 || entry->word[0].exact != 0)
        return;
    int count = km_lexicon_split(lexicon, token->letters, token->length, entry->word, entry->parts);
    if (count > 0) {
        entry->count = (uint8_t)count;
        return;
    }
    entry->word[0] = (km_word){0};
    entry->parts[0] = token->length;
}

/* The words of a token, from memory where it was seen lately; `own` takes those of a token too long to keep. */
static const cached *find(km_labels *labels, const km_token *token, cached *own)
{
    if (token->length > CACHE_LETTERS) {
        look_up(labels->lexicon, token, own);
        return own;
    }
    uint32_t h = (uint32_t)token->length;
    for (int i = 0; i < token->length; i++)
        h = h * 31 + (uint8_t)token->letters[i];
    cached *slot = &labels->cache[(h ^ h >> 15) & (CACHE - 1)];
    if (slot->length != token->length || memcmp(slot->letters, token->letters, (size_t)token->length) != 0) {
        look_up(labels->lexicon, token, slot);
        slot->length = (uint8_t)token->length;
        memcpy(slot->letters, token->letters, (size_t)token->length);
    }
    return slot;
}

/* Does a sentence end between token i - 1 and token i? */
static bool parted(km_labels *labels, int64_t i)
{
    const km_token *token = &labels->tokens.token[i];
    if (token->before & KM_BREAK_STOP)
        return true;
    if (!(token->before & KM_BREAK_DOT))
        return false;
    const km_token *last = token - 1;
    bool ordinal = last->length == 1 && last->letters[0] >= '0' && last->letters[0] <= '9';
    cached own;
    return !(find(labels, last, &own)->word[0].flags & KM_WORD_ABBREVIATION)
           && !(ordinal && find(labels, token, &own)->word[0].flags & KM_WORD_ORDINAL);
}

/* ---- which matches stand ------------------------------------------------------------------- */

/* Are a's tokens all among b's? */
static bool within(const km_match *a, const km_match *b)
{
    int64_t shift = b->first - a->first;
    if (shift >= 64 || shift <= -64)
        return false;
    if (shift >= 0)
        return (a->mask & (((uint64_t)1 << shift) - 1)) == 0 && (a->mask >> shift & ~b->mask) == 0;
    shift = -shift;
    return a->mask >> (64 - shift) == 0 && (a->mask << shift & ~b->mask) == 0;
}

static bool share(const km_match *a, uint64_t mask, const km_match *b)
{
    int64_t shift = b->first - a->first;
    if (shift >= 64 || shift <= -64)
        return false;
    return (shift >= 0 ? mask >> shift & b->mask : mask << -shift & b->mask) != 0;
}

static bool is_above(const km_above *above, int32_t upper, int32_t lower)
{
    for (int64_t a = above->offset[lower]; a < above->offset[lower + 1]; a++)
        if (above->entity[a] == upper)
            return true;
    return false;
}

/* Is the match parted by a comma from its context ("infarct, old")? */
static bool crosses_comma(const km_labels *labels, const km_match *match)
{
    int64_t to = match->first + 63 - __builtin_clzll(match->mask | match->context);
    for (int64_t t = match->first + __builtin_ctzll(match->mask | match->context) + 1; t <= to; t++)
        if (labels->token[t].before & KM_BREAK_COMMA)
            return true;
    return false;
}

/* Does b take a's place? A longer match does, unless a is the superclass of what b names ("atrial fibrillation
 * with rapid ventricular response"), or b a remark that leaves what it contains alone; of two over the same
 * words a decoy does, and of two for the same entity the first, or the one on this side of a comma.      */
static bool displaces(const km_labels *labels, const km_match *b, const km_match *a, bool earlier)
{
    const km_phrase *one = b->phrase, *other = a->phrase;
    bool both_entities = one->kind == KM_PHRASE_ENTITY && other->kind == KM_PHRASE_ENTITY;
    /* What a comma begins takes its words from what only reaches across it: "ST flat, T inverted". */
    if ((both_entities || one->kind == KM_PHRASE_DECOY) && b->from > a->from && b->to > a->to
        && labels->token[b->from].before & KM_BREAK_COMMA && share(a, a->mask, b)
        && !(labels->token[b->from + 1].before & KM_BREAK_JOIN))
        return true;
    if (!within(a, b))      /* "anterior ST changes, anterior injury": the injury's own region is the nearer one */
        return both_entities && one->target == other->target && b->from >= a->from && b->to <= a->to
               && b->to - b->from < a->to - a->from && share(a, a->mask, b) && !within(b, a);
    if (one->kind == KM_PHRASE_REMARK && one->side != 0 && other->kind != KM_PHRASE_REMARK)
        return false;
    if (!within(b, a))
        return !(both_entities && is_above(&labels->above, other->target, one->target));
    if (one->kind == KM_PHRASE_DECOY)
        return other->kind != KM_PHRASE_DECOY || earlier;
    if (one->kind != other->kind || one->target != other->target || one->side != other->side)
        return false;
    bool comma = (a->context | b->context) != 0 && crosses_comma(labels, a);
    return comma == ((a->context | b->context) != 0 && crosses_comma(labels, b)) ? earlier : comma;
}

/* Sorts what stands of the sentence's matches into findings and cues. Returns whether a remark stands. */
static km_status sort_out(km_labels *labels, bool *remark, km_error *err)
{
    int64_t n = labels->match_count;
    *remark = false;
    labels->found_count = labels->cue_count = 0;
    found *room = grow(labels->found, &labels->found_capacity, n, sizeof *room);
    if (room == NULL)
        return memory(err);
    labels->found = room;
    room = grow(labels->cue, &labels->cue_capacity, n, sizeof *room);
    if (room == NULL)
        return memory(err);
    labels->cue = room;
    for (int64_t i = 0; i < n; i++) {
        const km_match *a = &labels->matches[i];
        bool stands = true;
        for (int64_t j = i + 1; stands && j < n && labels->matches[j].first <= a->to; j++)
            stands = !displaces(labels, &labels->matches[j], a, false);
        for (int64_t j = i - 1; stands && j >= 0 && labels->matches[j].first + 64 > a->first; j--)
            stands = !displaces(labels, &labels->matches[j], a, true);
        if (!stands)
            continue;
        for (int64_t t = a->from; t <= a->to; t++)
            labels->covered[t] |= (a->mask >> (t - a->first) & 1) != 0;
        switch (a->phrase->kind) {
        case KM_PHRASE_ENTITY: {
            int64_t at = labels->found_count++;
            while (at > 0 && labels->found[at - 1].match.from > a->from) {
                labels->found[at] = labels->found[at - 1];
                at--;
            }
            labels->found[at] = (found){.match = *a, .status = KM_ASSERTED};
            break;
        }
        case KM_PHRASE_NEGATION:
        case KM_PHRASE_HEDGE:
            labels->cue[labels->cue_count++] = (found){.match = *a};
            break;
        case KM_PHRASE_REMARK:
        case KM_PHRASE_DECOY:
            *remark = true;
            break;
        default:
            break;
        }
    }
    return KM_OK;
}

/* Drops findings that take their two ends from two others: in "inferior ST change - possible anterior injury" no
 * inferior injury is meant. "Inferior ST depression and T wave inversion" stays, the second end is its superclass. */
static void drop_mixtures(km_labels *labels)
{
    int64_t n = 0;
    for (int64_t k = 0; k < labels->found_count; k++) {
        const km_match *a = &labels->found[k].match;
        bool mixed = false;
        bool gap = a->to - a->from >= __builtin_popcountll(a->mask);
        for (int64_t l = 0; gap && l < labels->found_count && !mixed; l++) {
            const km_match *last = &labels->found[l].match;
            if (last->to != a->to || last->from <= a->from
                || is_above(&labels->above, last->phrase->target, a->phrase->target))
                continue;
            for (int64_t f = 0; f < labels->found_count && !mixed; f++) {
                const km_match *first = &labels->found[f].match;
                mixed = first->from == a->from && first->to > a->from && first->to < last->from;
            }
        }
        labels->found[k].dropped = mixed;
    }
    for (int64_t k = 0; k < labels->found_count; k++)
        if (!labels->found[k].dropped)
            labels->found[n++] = labels->found[k];
    labels->found_count = n;
}

/* ---- negations and hedges ------------------------------------------------------------------ */

typedef struct between {
    int unknown;            /* words that are neither filler nor connector nor part of a match */
    bool barrier, connected, comma;
} between;

/* What stands between token a and token b, a < b. */
static between look(const km_labels *labels, int64_t a, int64_t b)
{
    between gap = {0};
    for (int64_t t = a + 1; t <= b; t++) {
        int before = labels->token[t].before;
        if (before & KM_BREAK_COMMA) {
            gap.comma = true;
            gap.connected = false;      /* "in II and aVF, old infarct": that "and" joined leads */
        }
        gap.connected |= (before & KM_BREAK_JOIN) != 0;
        if (t == b)
            break;
        int flags = labels->words[t].flags;
        gap.connected |= (flags & KM_WORD_CONNECTOR) != 0;
        gap.barrier |= (flags & KM_WORD_BARRIER) != 0 && !labels->covered[t];
        gap.unknown += (flags & (KM_WORD_FILLER | KM_WORD_CONNECTOR)) == 0;
    }
    return gap;
}

static bool cue_between(const km_labels *labels, const km_match *except, int64_t a, int64_t b)
{
    for (int64_t c = 0; c < labels->cue_count; c++) {
        const km_match *cue = &labels->cue[c].match;
        if (cue != except && cue->from > a && cue->to < b)
            return true;
    }
    return false;
}

static void mark(found *f, int32_t status)
{
    if (f->status != KM_NEGATED)
        f->status = status;
}

/* Last and first token of a match or of its context. */
static int64_t reach_of(const km_match *match)
{
    return match->first + 63 - __builtin_clzll(match->mask | match->context);
}

static int64_t start_of(const km_match *match)
{
    return match->first + __builtin_ctzll(match->mask | match->context);
}

/* To the right of a cue: the nearest finding with all that overlap it, then the members of its list, which needs
 * a connector ("A, B or C"), unless the cue opens one that ends the sentence ("consider A, B, C").            */
static bool mark_right(km_labels *labels, const km_match *cue, int32_t status, int reach)
{
    int64_t n = labels->found_count, k = 0;
    while (k < n && labels->found[k].match.from <= cue->to)
        k++;
    if (k == n)
        return false;
    between gap = look(labels, cue->to, labels->found[k].match.from);
    if (gap.barrier || gap.unknown > reach || cue_between(labels, cue, cue->to, labels->found[k].match.from))
        return false;
    int64_t last = reach_of(&labels->found[k].match), nearest = k;
    int64_t pending = -1;           /* first finding joined by commas only, until a connector confirms */
    mark(&labels->found[k++], status);
    for (; k < n; k++) {
        const km_match *next = &labels->found[k].match;
        if (next->from > last) {
            gap = look(labels, last, next->from);
            if (gap.barrier || gap.unknown > LINK || cue_between(labels, cue, last, next->from))
                break;
            bool same_head = false;         /* "... anterior ischaemia or strain lateral ischaemia" is one list */
            for (int64_t h = nearest; status == KM_HEDGED && next->from == last + 1 && h < k; h++)
                same_head |= labels->words[labels->found[h].match.to].stem == labels->words[next->to].stem;
            if (gap.connected || same_head) {
                for (int64_t p = pending; p >= 0 && p < k; p++)
                    mark(&labels->found[p], status);
                pending = -1;
            } else if (gap.comma) {
                pending = pending < 0 ? k : pending;
            } else {
                break;
            }
        }
        if (pending < 0)
            mark(&labels->found[k], status);
        last = reach_of(next) > last ? reach_of(next) : last;
    }
    if (cue->phrase->side == KM_SIDE_LIST && k == n && last + 1 == labels->token_count)
        for (; pending >= 0 && pending < n; pending++)
            mark(&labels->found[pending], status);
    return true;
}

/* To the left of a cue, likewise; a list needs connectors. */
static bool mark_left(km_labels *labels, const km_match *cue, int32_t status, int reach)
{
    int64_t n = labels->found_count, nearest = -1;
    for (int64_t k = 0; k < n && labels->found[k].match.from < cue->from; k++)
        if (labels->found[k].match.to < cue->from
            && (nearest < 0 || labels->found[k].match.to >= labels->found[nearest].match.to))
            nearest = k;
    if (nearest < 0)
        return false;
    between gap = look(labels, labels->found[nearest].match.to, cue->from);
    if (gap.barrier || gap.unknown > reach
        || cue_between(labels, cue, labels->found[nearest].match.to, cue->from))
        return false;
    int64_t first = start_of(&labels->found[nearest].match);
    mark(&labels->found[nearest], status);
    for (int64_t k = n - 1; k >= 0; k--) {
        const km_match *previous = &labels->found[k].match;
        if (k == nearest || previous->to >= cue->from)
            continue;
        if (previous->to < first) {
            gap = look(labels, previous->to, first);
            if (!gap.connected || gap.barrier || gap.unknown > LINK
                || cue_between(labels, cue, previous->to, first))
                break;
        }
        mark(&labels->found[k], status);
        first = previous->from < first ? previous->from : first;
    }
    return true;
}

/* Have two entities a superclass in common, or is one the other's? */
static bool related(const km_above *above, int32_t a, int32_t b)
{
    if (is_above(above, a, b) || is_above(above, b, a))
        return true;
    for (int64_t i = above->offset[a]; i < above->offset[a + 1]; i++)
        if (is_above(above, above->entity[i], b))
            return true;
    return false;
}

static void decide(km_labels *labels)
{
    for (int64_t c = 0; c < labels->cue_count; c++) {
        const km_match *cue = &labels->cue[c].match;
        int32_t status = cue->phrase->kind == KM_PHRASE_NEGATION ? KM_NEGATED : KM_HEDGED;
        const km_match *around = NULL;      /* "T waves are not inverted": that, and what shares its words */
        for (int64_t k = 0; k < labels->found_count; k++) {
            const km_match *match = &labels->found[k].match;
            if (match->from < cue->from && match->to > cue->to)
                around = match;
            if (around != NULL && (match == around || (match->from > cue->to && share(match, match->mask, around))))
                mark(&labels->found[k], status);
        }
        if (around != NULL)
            continue;
        switch (cue->phrase->side) {
        case KM_SIDE_RIGHT:
        case KM_SIDE_LIST:
            mark_right(labels, cue, status, REACH);
            break;
        case KM_SIDE_LEFT:      /* a question mark doubts the words it touches */
            mark_left(labels, cue, status, labels->token[cue->from].letters[0] == '?' ? 0 : REACH);
            break;
        default: {
            /* A comma after it parts it from what follows: "infarct possible, left axis deviation". */
            bool ends = cue->to + 1 < labels->token_count
                        && labels->token[cue->to + 1].before & KM_BREAK_COMMA
                        && !(labels->token[cue->from].before & KM_BREAK_COMMA);
            if ((ends || !mark_right(labels, cue, status, REACH_EITHER)) && !mark_left(labels, cue, status, REACH))
                mark_right(labels, cue, status, REACH);
        }
        }
    }
    /* A finding that leans on a related one ("infarct, old") is no surer than that one. */
    for (int64_t k = 0; k < labels->found_count; k++) {
        found *leaning = &labels->found[k];
        for (int64_t j = 0; leaning->match.context != 0 && j < labels->found_count; j++) {
            const found *other = &labels->found[j];
            if (other->status != KM_ASSERTED && leaning->status == KM_ASSERTED
                && share(&leaning->match, leaning->match.context, &other->match)
                && related(&labels->above, leaning->match.phrase->target, other->match.phrase->target))
                leaning->status = other->status;
        }
    }
}

/* ---- reading ------------------------------------------------------------------------------- */

static km_status statement_add(km_labels *labels, int64_t start, int64_t end, int32_t kind, km_error *err)
{
    km_statement *room = grow(labels->statements, &labels->statement_capacity, labels->statement_count + 1,
                              sizeof *room);
    if (room == NULL)
        return memory(err);
    labels->statements = room;
    labels->statements[labels->statement_count++] = (km_statement){.start = start, .end = end, .kind = kind};
    return KM_OK;
}

/* Fills token and words with the text's tokens [first, end), compounds taken apart. */
static km_status take_apart(km_labels *labels, int64_t first, int64_t end, km_error *err)
{
    int64_t most = KM_LEXICON_PARTS * (end - first), n = 0;
    km_token *token = grow(labels->token, &labels->token_capacity, most, sizeof *token);
    if (token == NULL)
        return memory(err);
    labels->token = token;
    km_word *words = grow(labels->words, &labels->words_capacity, most, sizeof *words);
    if (words == NULL)
        return memory(err);
    labels->words = words;
    uint8_t *covered = grow(labels->covered, &labels->covered_capacity, most, sizeof *covered);
    if (covered == NULL)
        return memory(err);
    labels->covered = covered;
    for (int64_t i = first; i < end; i++) {
        cached own;
        const cached *entry = find(labels, &labels->tokens.token[i], &own);
        for (int p = 0; p < entry->count; p++, n++) {
            token[n] = labels->tokens.token[i];
            words[n] = entry->word[p];
            if (p > 0) {
                token[n].before = 0;
                token[n].letters = token[n - 1].letters + token[n - 1].length;
            }
            token[n].length = entry->parts[p];
        }
    }
    labels->token_count = n;
    return KM_OK;
}

/* The sentence in token and words. *cut: the character where codes begin that are no report, else -1. */
static km_status sentence(km_labels *labels, int64_t *cut, km_error *err)
{
    const km_token *tokens = labels->token;
    const int64_t first = 0, end = labels->token_count;
    int64_t stop = -1;
    km_listed *listed = grow(labels->listed, &labels->listed_capacity, LISTS * (end - first), sizeof *listed);
    if (listed == NULL)
        return memory(err);
    labels->listed = listed;
    int32_t *from = grow(labels->from, &labels->from_capacity, end - first + 1, sizeof *from);
    if (from == NULL)
        return memory(err);
    labels->from = from;
    int32_t members = km_lexicon_list(labels->lexicon, labels->words, first, end, listed, 0,
                                      (int)(LISTS * (end - first)));
    for (int64_t i = first, l = 0; i <= end; i++) {
        while (l < members && listed[l].first < i)
            l++;
        from[i - first] = (int32_t)l;
    }
    km_sentence view = {.words = labels->words, .tokens = tokens, .listed = listed, .from = from,
                        .base = first, .end = end};
    labels->match_count = 0;
    for (int64_t i = first; i < end && stop < 0; i++) {
        int64_t before = labels->match_count;
        km_match *room = grow(labels->matches, &labels->match_capacity, before + ROOM, sizeof *room);
        if (room == NULL)
            return memory(err);
        labels->matches = room;
        labels->match_count = km_lexicon_match(labels->lexicon, &view, i, i == first, labels->matches, (int)before,
                                               (int)before + ROOM);
        for (int64_t m = before; m < labels->match_count; m++)
            if (labels->matches[m].phrase->kind == KM_PHRASE_TAIL) {
                stop = i;
                labels->match_count = before;
                break;
            }
    }
    bool remark;
    memset(labels->covered + first, 0, (size_t)(end - first));
    km_status status = sort_out(labels, &remark, err);
    if (status != KM_OK)
        return status;
    drop_mixtures(labels);
    decide(labels);
    km_finding *room = grow(labels->findings, &labels->finding_capacity, labels->finding_count + labels->found_count,
                            sizeof *room);
    if (room == NULL)
        return memory(err);
    labels->findings = room;
    for (int64_t k = 0; k < labels->found_count; k++) {
        const found *f = &labels->found[k];
        labels->findings[labels->finding_count++] = (km_finding){
            .start = tokens[f->match.from].start, .end = tokens[f->match.to].end,
            .entity = f->match.phrase->target, .status = f->status};
    }
    *cut = stop < 0 ? -1 : tokens[stop].start;
    int64_t last = (stop < 0 ? end : stop) - 1;
    if (last < first)
        return KM_OK;
    bool words = false;         /* numbers and single letters alone say nothing */
    for (int64_t i = first; i <= last; i++)
        words |= tokens[i].length > 1 && !(tokens[i].letters[0] >= '0' && tokens[i].letters[0] <= '9');
    int32_t kind = labels->found_count > 0 ? KM_CLINICAL : remark || !words ? KM_TECHNICAL : KM_UNMATCHED;
    return statement_add(labels, tokens[first].start, tokens[last].end, kind, err);
}

/* The place of a sentence among those remembered: its entry, a free one (key_length 0), or NULL for a
 * sentence too long to keep.                                                                        */
static remembered *remember(km_labels *labels, const char *key, int64_t key_length)
{
    if (key_length > 1000)
        return NULL;
    uint64_t hash = 0xCBF29CE484222325u;
    int64_t i = 0;
    for (; i + 8 <= key_length; i += 8) {
        uint64_t eight;
        memcpy(&eight, key + i, 8);
        hash = (hash ^ eight) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    for (; i < key_length; i++)
        hash = (hash ^ (uint8_t)key[i]) * 0x100000001B3u;
    hash ^= hash >> 32;
    for (int probe = 0; probe < 8; probe++) {
        remembered *entry = &labels->remembered[(hash + (uint64_t)probe) & (REMEMBERED - 1)];
        if (entry->key_length == 0) {
            entry->hash = hash;
            return entry;
        }
        if (entry->hash == hash && entry->key_length == key_length
            && memcmp(labels->memory + entry->at + entry->count * (int32_t)sizeof(brief), key, (size_t)key_length) == 0)
            return entry;
    }
    return NULL;
}

/* Keeps the findings of the sentence just read, from number `before` on. */
static void keep(km_labels *labels, remembered *entry, const char *key, int64_t key_length, int64_t first,
                 int64_t before)
{
    const km_token *tokens = labels->tokens.token;
    int64_t count = labels->finding_count - before, bytes = count * (int64_t)sizeof(brief) + key_length;
    bytes = (bytes + 7) / 8 * 8;
    if (labels->memory_used + bytes > MEMORY) {
        if (bytes > MEMORY)
            return;
        memset(labels->remembered, 0, REMEMBERED * sizeof *labels->remembered);
        labels->memory_used = 0;
        return;
    }
    entry->at = labels->memory_used;
    brief *kept = (brief *)(labels->memory + entry->at);
    for (int64_t f = 0, from = first, to = first; f < count; f++) {
        const km_finding *finding = &labels->findings[before + f];
        for (from = first; tokens[from].start < finding->start;)
            from++;
        for (to = from; tokens[to].end < finding->end;)
            to++;
        kept[f] = (brief){.entity = finding->entity, .status = (uint16_t)finding->status,
                          .from = (uint16_t)(from - first), .to = (uint16_t)(to - first)};
    }
    memcpy(kept + count, key, (size_t)key_length);
    entry->count = (int32_t)count;
    entry->kind = labels->statements[labels->statement_count - 1].kind;
    entry->key_length = (int32_t)key_length;
    labels->memory_used += (int32_t)bytes;
}

static km_status recall(km_labels *labels, const remembered *entry, int64_t first, int64_t end, km_error *err)
{
    const km_token *tokens = labels->tokens.token + first;
    km_finding *room = grow(labels->findings, &labels->finding_capacity, labels->finding_count + entry->count,
                            sizeof *room);
    if (room == NULL)
        return memory(err);
    labels->findings = room;
    const brief *kept = (const brief *)(labels->memory + entry->at);
    for (int32_t f = 0; f < entry->count; f++)
        labels->findings[labels->finding_count++] = (km_finding){
            .start = tokens[kept[f].from].start, .end = tokens[kept[f].to].end,
            .entity = kept[f].entity, .status = kept[f].status};
    return statement_add(labels, tokens[0].start, labels->tokens.token[end - 1].end, entry->kind, err);
}

km_status km_labels_read(km_labels *labels, km_text text, km_error *err)
{
    labels->finding_count = labels->statement_count = 0;
    km_status status = km_tokens_read(&labels->tokens, text, err);
    if (status != KM_OK)
        return status;
    int64_t n = labels->tokens.count;
    const km_token *tokens = labels->tokens.token;
    for (int64_t first = 0; first < n;) {
        int64_t end = first + 1, cut = -1;
        while (end < n && end - first < LONGEST && !parted(labels, end))
            end++;
        const char *key = tokens[first].letters;
        int64_t key_length = tokens[end - 1].letters + tokens[end - 1].length - key;
        remembered *known = remember(labels, key, key_length);
        if (known != NULL && known->key_length != 0) {
            status = recall(labels, known, first, end, err);
        } else {
            int64_t before = labels->finding_count;
            status = take_apart(labels, first, end, err);
            if (status == KM_OK)
                status = sentence(labels, &cut, err);
            if (status == KM_OK && known != NULL && cut < 0)
                keep(labels, known, key, key_length, first, before);
        }
        if (status != KM_OK)
            return status;
        if (cut >= 0)
            return statement_add(labels, cut, tokens[n - 1].end, KM_TECHNICAL, err);
        first = end;
    }
    return KM_OK;
}

int64_t km_labels_findings_get(const km_labels *labels, const km_finding **findings)
{
    *findings = labels->findings;
    return labels->finding_count;
}

int64_t km_labels_statements_get(const km_labels *labels, const km_statement **statements)
{
    *statements = labels->statements;
    return labels->statement_count;
}

void km_labels_row_get(const km_labels *labels, int hedged, uint8_t *row)
{
    const km_above *above = &labels->above;
    memset(row, 0, (size_t)above->Q);
    for (int64_t f = 0; f < labels->finding_count; f++) {
        const km_finding *finding = &labels->findings[f];
        if (finding->status == KM_NEGATED || (finding->status == KM_HEDGED && !hedged))
            continue;
        row[finding->entity] = 1;
        for (int64_t a = above->offset[finding->entity]; a < above->offset[finding->entity + 1]; a++)
            row[above->entity[a]] = 1;
    }
}
