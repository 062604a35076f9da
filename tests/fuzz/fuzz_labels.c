/* A report of any characters, read with one fixed vocabulary that uses everything a phrase can be. */
#include "fuzz_report.h"

enum { ENTITIES = 6 };

/* The same for all inputs of a process. */
static km_lexicon *vocabulary(void)
{
    static const char *const endings[] = {"en", "es", "e", "s", "t"};
    static const struct {
        const char *text;
        km_phrase phrase;
    } phrases[] = {
        {"fibrillation", {KM_PHRASE_LIST, 0, 0}},      {"vorhofflimmern", {KM_PHRASE_LIST, 0, 0}},
        {"{0}", {KM_PHRASE_ENTITY, 0, 0}},             {"av block", {KM_PHRASE_ENTITY, 0, 1}},
        {"first + av block", {KM_PHRASE_ENTITY, 0, 2}}, {"<mi> old + =alt", {KM_PHRASE_ENTITY, 0, 3}},
        {"st + {1}", {KM_PHRASE_ENTITY, 0, 4}},        {"elevation", {KM_PHRASE_LIST, 0, 1}},
        {"high take off", {KM_PHRASE_LIST, 0, 1}},     {"^ intraventr. block $", {KM_PHRASE_ENTITY, 0, 5}},
        {"no", {KM_PHRASE_NEGATION, KM_SIDE_RIGHT, 0}}, {"absent", {KM_PHRASE_NEGATION, KM_SIDE_LEFT, 0}},
        {"nicht", {KM_PHRASE_NEGATION, KM_SIDE_EITHER, 0}}, {"m\xF6glich", {KM_PHRASE_HEDGE, KM_SIDE_LEFT, 0}},
        {"?", {KM_PHRASE_HEDGE, KM_SIDE_RIGHT, 0}},    {")?", {KM_PHRASE_HEDGE, KM_SIDE_LEFT, 0}},
        {"artifact", {KM_PHRASE_REMARK, 0, 0}},        {"no significant change", {KM_PHRASE_REMARK, 1, 0}},
        {"block hours", {KM_PHRASE_DECOY, 0, 0}},      {"edit", {KM_PHRASE_TAIL, 0, 0}},
    };
    static const struct {
        const char *text;
        int flags;
    } words[] = {{"in of the", KM_WORD_FILLER}, {"and or", KM_WORD_CONNECTOR}, {"but with", KM_WORD_BARRIER},
                 {"dr bzw", KM_WORD_ABBREVIATION}, {"grade", KM_WORD_ORDINAL}};
    km_lexicon *lexicon = NULL;
    FUZZ_HOLDS(km_lexicon_create(&lexicon, endings, 5, NULL) == KM_OK);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        FUZZ_HOLDS(km_lexicon_word_add(lexicon, fuzz_text(words[i].text), words[i].flags, NULL) == KM_OK);
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        FUZZ_HOLDS(km_lexicon_phrase_add(lexicon, fuzz_text(phrases[i].text), phrases[i].phrase, NULL) == KM_OK);
    FUZZ_HOLDS(km_lexicon_finish(lexicon, NULL) == KM_OK);
    return lexicon;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int32_t above[] = {1, 1};
    static const int64_t offset[ENTITIES + 1] = {0, 0, 0, 1, 1, 1, 2};
    static km_lexicon *lexicon;
    static km_labels *labels;
    if (lexicon == NULL) {
        lexicon = vocabulary();
        FUZZ_HOLDS(km_labels_create(&labels, lexicon, (km_above){above, offset, ENTITIES}, NULL) == KM_OK);
    }
    if (size > 0)
        fuzz_read(labels, data + 1, size - 1, 1 << data[0] % 3, ENTITIES);
    return 0;
}
