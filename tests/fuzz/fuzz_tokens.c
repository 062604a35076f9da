/* Text of any characters in any width: tokens lie in the text, in order, with letters of the alphabet. */
#include "fuzz.h"
#include "data/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const int width = 1 << data[0] % 3;
    const int64_t length = (int64_t)(size - 1) / width;
    void *characters = fuzz_copy(data + 1, (size_t)length * (size_t)width);
    km_tokens tokens = {0};
    for (int part = 1; part <= 2; part++) {             /* again in memory that is there */
        const km_text text = {characters, width, length * part / 2};
        FUZZ_HOLDS(km_tokens_read(&tokens, text, NULL) == KM_OK);
        int64_t last = 0;
        for (int64_t i = 0; i < tokens.count; i++) {
            const km_token *t = &tokens.token[i];
            FUZZ_HOLDS(t->start >= last && t->end > t->start && t->end <= text.length);
            FUZZ_HOLDS(t->length >= 1 && t->length <= KM_TOKEN_LETTERS);
            for (int k = 0; k < t->length; k++)
                FUZZ_HOLDS(strchr("abcdefghijklmnopqrstuvwxyz0123456789#~?", t->letters[k]) != NULL);
            last = t->start;
        }
    }
    km_tokens_free(&tokens);
    free(characters);
    return 0;
}
