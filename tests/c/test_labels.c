/* The reading of reports, without Python: folding, phrases, negation, spans, and text that is none. */
#include "check.h"
#include "data/labels.h"

#include <stdlib.h>
#include <string.h>

static km_text latin(const char *characters)
{
    return (km_text){.characters = characters, .width = 1, .length = (int64_t)strlen(characters)};
}

enum { FIBRILLATION, BLOCK, FIRST_DEGREE, ENTITIES };

static km_lexicon *lexicon_for_tests(void)
{
    static const char *const endings[] = {"es", "e", "s"};
    km_error err = {0};
    km_lexicon *lexicon = NULL;
    CHECK(km_lexicon_create(&lexicon, endings, 3, &err) == KM_OK);
    CHECK(km_lexicon_word_add(lexicon, latin("in"), KM_WORD_FILLER, &err) == KM_OK);
    CHECK(km_lexicon_word_add(lexicon, latin("or"), KM_WORD_CONNECTOR, &err) == KM_OK);
    CHECK(km_lexicon_word_add(lexicon, latin("but"), KM_WORD_BARRIER, &err) == KM_OK);
    static const struct {
        const char *text;
        km_phrase phrase;
    } phrases[] = {
        {"fibrillation", {KM_PHRASE_LIST, 0, 0}},
        {"vorhofflimmern", {KM_PHRASE_LIST, 0, 0}},
        {"{0}", {KM_PHRASE_ENTITY, 0, FIBRILLATION}},
        {"av block", {KM_PHRASE_ENTITY, 0, BLOCK}},
        {"first + av block", {KM_PHRASE_ENTITY, 0, FIRST_DEGREE}},
        {"no", {KM_PHRASE_NEGATION, KM_SIDE_RIGHT, 0}},
        {"m\xF6glich", {KM_PHRASE_HEDGE, KM_SIDE_LEFT, 0}},
        {"?", {KM_PHRASE_HEDGE, KM_SIDE_RIGHT, 0}},
        {")?", {KM_PHRASE_HEDGE, KM_SIDE_LEFT, 0}},
        {"artifact", {KM_PHRASE_REMARK, 0, 0}},
        {"edit", {KM_PHRASE_TAIL, 0, 0}},
    };
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        CHECK(km_lexicon_phrase_add(lexicon, latin(phrases[i].text), phrases[i].phrase, &err) == KM_OK);

    /* What cannot be a phrase is refused. */
    CHECK(km_lexicon_phrase_add(lexicon, latin(""), phrases[2].phrase, &err) == KM_VALUE);
    CHECK(km_lexicon_phrase_add(lexicon, latin("+ a"), phrases[2].phrase, &err) == KM_VALUE);
    CHECK(km_lexicon_phrase_add(lexicon, latin("<a>"), phrases[2].phrase, &err) == KM_VALUE);
    CHECK(km_lexicon_phrase_add(lexicon, latin("{x}"), phrases[2].phrase, &err) == KM_VALUE);
    km_text seventeen = latin("a b c d e f g h i j k l m n o p q");
    CHECK(km_lexicon_phrase_add(lexicon, seventeen, phrases[2].phrase, &err) == KM_VALUE);
    CHECK(km_lexicon_finish(lexicon, &err) == KM_OK);
    return lexicon;
}

static void check_finding(const km_labels *labels, int64_t i, int entity, int status, int64_t start, int64_t end)
{
    const km_finding *findings;
    CHECK(km_labels_findings_get(labels, &findings) > i);
    if (km_labels_findings_get(labels, &findings) <= i)
        return;
    CHECK(findings[i].entity == entity);
    CHECK(findings[i].status == status);
    CHECK(findings[i].start == start);
    CHECK(findings[i].end == end);
}

int main(void)
{
    static const int32_t above[] = {BLOCK};
    static const int64_t offset[] = {0, 0, 0, 1};
    km_error err = {0};
    km_lexicon *lexicon = lexicon_for_tests();
    km_labels *labels = NULL;
    const km_finding *findings;
    const km_statement *statements;
    uint8_t row[ENTITIES];
    CHECK(km_labels_create(&labels, lexicon, (km_above){above, offset, ENTITIES}, &err) == KM_OK);

    for (int again = 0; again < 2; again++) {           /* the second time from memory */
        km_text text = latin("No fibrillation in II or AV block, but Vorhof\xAD" "Flimmern m\xD6glich");
        CHECK(km_labels_read(labels, text, &err) == KM_OK);
        CHECK(km_labels_findings_get(labels, &findings) == 3);
        check_finding(labels, 0, FIBRILLATION, KM_NEGATED, 3, 15);
        check_finding(labels, 1, BLOCK, KM_NEGATED, 25, 33);
        check_finding(labels, 2, FIBRILLATION, KM_HEDGED, 39, 54);
        km_labels_row_get(labels, 0, row);
        CHECK(row[FIBRILLATION] == 0 && row[BLOCK] == 0);
        km_labels_row_get(labels, 1, row);
        CHECK(row[FIBRILLATION] == 1 && row[BLOCK] == 0);
    }

    /* The superclass named in the same words stays; its column follows from the subclass anyway. */
    CHECK(km_labels_read(labels, latin("first in av blocks"), &err) == KM_OK);
    CHECK(km_labels_findings_get(labels, &findings) == 2);
    km_labels_row_get(labels, 0, row);
    CHECK(row[FIRST_DEGREE] == 1 && row[BLOCK] == 1 && row[FIBRILLATION] == 0);

    /* A letter exchanged in a long word; kinds of statements; codes cut off. */
    CHECK(km_labels_read(labels, latin("fibrilaltion. Artifact. xyz. Edit: AV block"), &err) == KM_OK);
    CHECK(km_labels_findings_get(labels, &findings) == 1);
    CHECK(km_labels_statements_get(labels, &statements) == 4);
    CHECK(statements[0].kind == KM_CLINICAL && statements[1].kind == KM_TECHNICAL);
    CHECK(statements[2].kind == KM_UNMATCHED && statements[3].kind == KM_TECHNICAL);

    /* A compound of known words has the span of the whole; initials are one word; a question mark doubts the
     * words it touches, else those that follow.                                                          */
    CHECK(km_labels_read(labels, latin("Vorhofflimmernartifact"), &err) == KM_OK);
    CHECK(km_labels_findings_get(labels, &findings) == 1);
    check_finding(labels, 0, FIBRILLATION, KM_ASSERTED, 0, 22);
    CHECK(km_labels_read(labels, latin("A.V. block, fibrillation? in AV block ?fibrillation"), &err) == KM_OK);
    CHECK(km_labels_findings_get(labels, &findings) == 4);
    check_finding(labels, 0, BLOCK, KM_ASSERTED, 0, 10);
    check_finding(labels, 1, FIBRILLATION, KM_HEDGED, 12, 24);
    check_finding(labels, 2, BLOCK, KM_ASSERTED, 29, 37);
    check_finding(labels, 3, FIBRILLATION, KM_HEDGED, 39, 51);

    /* Every width of characters; nothing at all; every byte there is. */
    static const uint32_t wide[] = {0x1F600, 'a', 'v', '-', 'b', 'l', 'o', 'c', 'k', 0xD800};
    CHECK(km_labels_read(labels, (km_text){.characters = wide, .width = 4, .length = 10}, &err) == KM_OK);
    check_finding(labels, 0, BLOCK, KM_ASSERTED, 1, 9);
    CHECK(km_labels_read(labels, latin(""), &err) == KM_OK);
    CHECK(km_labels_findings_get(labels, &findings) == 0 && km_labels_statements_get(labels, &statements) == 0);
    unsigned char bytes[4096];
    uint32_t state = 1;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            state = state * 1664525u + 1013904223u;
            unsigned char any = (unsigned char)(state >> 24);
            bytes[i] = round < 100 ? any : (unsigned char)"ab no(s)#?.,+- \xC3\xBC"[any & 15];
        }
        km_text text = {.characters = bytes, .width = 1, .length = sizeof bytes};
        CHECK(km_labels_read(labels, text, &err) == KM_OK);
    }
    km_labels_free(labels);
    km_labels_free(NULL);
    km_lexicon_free(lexicon);
    km_lexicon_free(NULL);
    return check_result();
}
