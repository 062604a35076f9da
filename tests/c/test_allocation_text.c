/* Every allocation of reading reports and headers fails once. */
#include "allocation.h"
#include "data/labels.h"
#include "data/wfdb.h"

static km_text latin(const char *characters)
{
    return (km_text){characters, 1, (int64_t)strlen(characters)};
}

static uint64_t tokens(void)
{
    km_tokens t = {0};
    char text[1024];
    memset(text, 'a', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2)
        text[i] = ' ';
    TRY(km_tokens_read(&t, latin("st elevation"), &err));
    TRY(km_tokens_read(&t, (km_text){text, 1, sizeof text}, &err));
    const uint64_t h = digest(1, &t.count, sizeof t.count);
    km_tokens_free(&t);
    return h;
}

/* Words, phrases, word lists, sentences enough that the reader grows. */
static uint64_t labels(void)
{
    static const char *const endings[] = {"es", "e", "s"};
    static const int32_t above[] = {0};
    static const int64_t offset[] = {0, 0, 1};
    km_lexicon *lexicon = NULL;
    km_labels *reader = NULL;
    const km_finding *finding;
    const km_statement *statement;
    uint64_t h = 1;
    char word[32], text[8192] = "";
    TRY(km_lexicon_create(&lexicon, endings, 3, &err));
    TRY(km_lexicon_word_add(lexicon, latin("and"), KM_WORD_CONNECTOR, &err));
    TRY(km_lexicon_phrase_add(lexicon, latin("elevation"), (km_phrase){KM_PHRASE_LIST, 0, 3}, &err));
    TRY(km_lexicon_phrase_add(lexicon, latin("no"), (km_phrase){KM_PHRASE_NEGATION, KM_SIDE_RIGHT, 0}, &err));
    TRY(km_lexicon_phrase_add(lexicon, latin("st + {3}"), (km_phrase){KM_PHRASE_ENTITY, 0, 0}, &err));
    for (int i = 0; i < 60; i++) {
        snprintf(word, sizeof word, "word%c%c%c%s", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676, i % 2 ? "" : " =x");
        TRY(km_lexicon_phrase_add(lexicon, latin(word), (km_phrase){KM_PHRASE_ENTITY, 0, 1}, &err));
    }
    TRY(km_lexicon_finish(lexicon, &err));
    TRY(km_labels_create(&reader, lexicon, (km_above){above, offset, 2}, &err));
    for (int i = 0; i < 300; i++)
        strcat(text, i % 3 ? "no st elevation and wordbaa. " : "wodrbaa, wordfaas ");
    for (int part = 1; part <= 8; part *= 8) {
        TRY(km_labels_read(reader, (km_text){text, 1, (int64_t)strlen(text) * part / 8}, &err));
        const int64_t n = km_labels_findings_get(reader, &finding), m = km_labels_statements_get(reader, &statement);
        for (int64_t i = 0; i < n; i++)
            h = digest(digest(digest(h, &finding[i].start, 8), &finding[i].entity, 4), &finding[i].status, 4);
        h = digest(digest(h, &n, sizeof n), &m, sizeof m);
    }
    km_labels_free(reader);
    km_lexicon_free(lexicon);
    return h;
}

static uint64_t header(void)
{
    static const char text[] = "r 1 500 4\nr.dat 16 1000/mV 16 0 1 10 0 I\n# Age: 60\n";
    km_wfdb wfdb;
    TRY(km_wfdb_create(&wfdb, text, sizeof text - 1, &err));
    const uint64_t h = digest(1, &wfdb.signal[0].gain, sizeof(double));
    km_wfdb_free(&wfdb);
    return h;
}

int main(void)
{
    exhaust("tokens", tokens);
    exhaust("labels", labels);
    exhaust("header", header);
    return check_result();
}
