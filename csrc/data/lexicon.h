/* Words and phrases to look for, compiled: a dictionary of stems and one trie of phrases over them.
 *
 * A phrase is written as words between blanks, already in the order of the text:
 *   infarct          the word in any inflection (endings are stripped on both sides)
 *   =alt             this form only
 *   intraventr.      an abbreviation: its full stop ends no sentence
 *   +                up to KM_LEXICON_GAP filler words may stand here
 *   <mi>             context: must be there, is not part of the finding
 *   {7}              any phrase of word list 7 (a phrase of kind KM_PHRASE_LIST, target 7)
 *   ^  $             start, end of a sentence
 * A word the dictionary does not know is looked up once more by rule: doubled letters, ph/f, th/t,
 * y/i, c/k/z, sz/s, ie/ei; in long words two letters exchanged, one missing or one too many; then as
 * a compound of known words.                                                                    */
#ifndef KM_LEXICON_H
#define KM_LEXICON_H

#include <stdint.h>

#include "core/error.h"
#include "data/tokens.h"

enum { KM_LEXICON_GAP = 16, KM_LEXICON_WORDS = 16, KM_LEXICON_PARTS = 3 };

typedef enum km_phrase_kind {
    KM_PHRASE_ENTITY,       /* a finding: target is its row in the vocabulary             */
    KM_PHRASE_NEGATION,     /* "no", "is absent"                                          */
    KM_PHRASE_HEDGE,        /* "possible", "cannot be excluded"                           */
    KM_PHRASE_REMARK,       /* technical or administrative                                */
    KM_PHRASE_DECOY,        /* looks like a finding and is none: "LAD territory"          */
    KM_PHRASE_TAIL,         /* the rest of the text is codes, not report                  */
    KM_PHRASE_LIST,         /* a member of a word list: target is the list's number       */
    KM_PHRASE_KINDS
} km_phrase_kind;

/* On which side of a negation or hedge its finding stands; LIST: to the right, and what commas join to it. */
enum { KM_SIDE_RIGHT = 1, KM_SIDE_LEFT = 2, KM_SIDE_EITHER = 3, KM_SIDE_LIST = 4 };

typedef struct km_phrase {
    km_phrase_kind kind;
    int side;               /* KM_SIDE_, of negations and hedges; 1 of remarks that leave what they
                             * contain alone                                                    */
    int target;
} km_phrase;

/* What a word may do besides being part of phrases. */
enum {
    KM_WORD_FILLER = 1,         /* may stand in a gap                                     */
    KM_WORD_CONNECTOR = 2,      /* joins the members of a list: and, or                   */
    KM_WORD_BARRIER = 4,        /* ends the reach of a negation or hedge: but, with       */
    KM_WORD_ABBREVIATION = 8,   /* its full stop ends no sentence                         */
    KM_WORD_ORDINAL = 16,       /* after "1.": grade                                      */
    KM_WORD_STARTS = 32,        /* a phrase begins with it                                */
    KM_WORD_LISTED = 64         /* a member of a word list begins with it                 */
};

typedef struct km_word {
    int32_t stem, exact;    /* ids, 0 where unknown */
    int32_t flags;
} km_word;

/* A member of a word list, found in a sentence. */
typedef struct km_listed {
    int64_t first, last;    /* tokens             */
    int32_t id;             /* of the list        */
} km_listed;

typedef struct km_match {
    const km_phrase *phrase;
    int64_t first;          /* token where the path began                    */
    int64_t from, to;       /* first and last token that count               */
    uint64_t mask, context; /* tokens, relative to first                     */
} km_match;

typedef struct km_lexicon km_lexicon;

/* endings: inflections to strip, longest first. */
km_status km_lexicon_create(km_lexicon **lexicon, const char *const *endings, int count, km_error *err);
void km_lexicon_free(km_lexicon *lexicon);

/* flags: KM_WORD_ bits to add to a word and its inflections. */
km_status km_lexicon_word_add(km_lexicon *lexicon, km_text word, int flags, km_error *err);

/* Adds one phrase; its words are folded as texts are. An empty phrase, an unknown kind or more than
 * KM_LEXICON_WORDS words are refused.                                                            */
km_status km_lexicon_phrase_add(km_lexicon *lexicon, km_text phrase, km_phrase what, km_error *err);

/* After the last addition: prepares what the rules for unknown words need. */
km_status km_lexicon_finish(km_lexicon *lexicon, km_error *err);

/* Looks one token up. */
km_word km_lexicon_find(const km_lexicon *lexicon, const char *letters, int length);

/* An unknown token as a compound of two or three known words ("erregungsrueckbildungs|zeichen"): fills
 * parts and the letters of each, returns their number, or 0.                                       */
int km_lexicon_split(const km_lexicon *lexicon, const char *letters, int length, km_word parts[KM_LEXICON_PARTS],
                     int lengths[KM_LEXICON_PARTS]);

/* The members of word lists in the tokens [first, end), in order of their first token: appends to
 * listed (count of capacity), returns the new count; what does not fit is dropped.               */
int km_lexicon_list(const km_lexicon *lexicon, const km_word *words, int64_t first, int64_t end, km_listed *listed,
                    int count, int capacity);

/* All phrases that begin at token `first` of a sentence that ends before `end`: appends to matches (count
 * of capacity), returns the new count; what does not fit is dropped. `begins`: first starts the sentence.
 * listed: what km_lexicon_list found, from[t - base] the first entry at token t or later.              */
typedef struct km_sentence {
    const km_word *words;
    const km_token *tokens;
    const km_listed *listed;
    const int32_t *from;
    int64_t base, end;
} km_sentence;

int km_lexicon_match(const km_lexicon *lexicon, const km_sentence *sentence, int64_t first, int begins,
                     km_match *matches, int count, int capacity);

#endif
