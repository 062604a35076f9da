/* A vocabulary of any lines: the first byte of a line says what it adds (a word, or a phrase of one of the kinds
 * with its side and target), then a text is read with it: the lines themselves, joined.                        */
#include "fuzz_report.h"

enum { ENTITIES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const endings[] = {"en", "es", "e", "s", "t"};
    static const int32_t above[] = {0};
    static const int64_t offset[ENTITIES + 1] = {0, 0, 1, 1, 1, 1, 1, 1, 1};
    km_error err = {0};
    km_lexicon *lexicon = NULL;
    km_labels *labels = NULL;
    FUZZ_HOLDS(km_lexicon_create(&lexicon, endings, 5, &err) == KM_OK);
    for (size_t at = 0; at < size;) {
        const uint8_t *stop = memchr(data + at, '\n', size - at);
        const size_t end = stop != NULL ? (size_t)(stop - data) : size;
        if (end > at) {
            const int what = data[at], kind = what % (KM_PHRASE_KINDS + 2);
            const km_phrase phrase = {(km_phrase_kind)kind, what / 9 % 4, what % ENTITIES};
            char *line = fuzz_copy(data + at + 1, end - at - 1);
            const km_text text = {line, 1, (int64_t)(end - at - 1)};
            const km_status status = kind > KM_PHRASE_KINDS
                                         ? km_lexicon_word_add(lexicon, text, what & 31, &err)
                                         : km_lexicon_phrase_add(lexicon, text, phrase, &err);
            FUZZ_HOLDS(status == KM_OK || (status == KM_VALUE && err.message[0] != 0));
            free(line);
        }
        at = end + 1;
    }
    FUZZ_HOLDS(km_lexicon_finish(lexicon, &err) == KM_OK);
    FUZZ_HOLDS(km_labels_create(&labels, lexicon, (km_above){above, offset, ENTITIES}, &err) == KM_OK);
    fuzz_read(labels, data, size, 1, ENTITIES);
    km_labels_free(labels);
    km_lexicon_free(lexicon);
    return 0;
}
