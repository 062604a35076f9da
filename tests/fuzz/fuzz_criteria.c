/* A simulator's table of any numbers: what the check accepts can be applied, and finds only labels there are. */
#include "fuzz.h"
#include "simulate/criteria.h"

enum { MOST = 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float measure[KM_MEASURES];
    int32_t label[MOST], kind[MOST], alternative[MOST + 1], condition[MOST + 1];
    km_condition conditions[MOST];
    km_error err = {0};
    if (size < 4)
        return 0;
    const int rules = data[0] % (MOST + 1), alternatives = data[1] % (MOST + 1), count = data[2] % (MOST + 1);
    const int labels = data[3] < 250 ? data[3] % 9 : data[3] * 8 - 2000;
    size_t at = 4;
#define NEXT (at < size ? data[at++] : 0)
#define PLACE(value) ((value) < 240 ? (value) % (MOST + 1) : (int8_t)(value))
    for (int i = 0; i < rules; i++) {
        const int l = NEXT, k = NEXT, a = NEXT;
        label[i] = l < 240 ? l % 9 : (int8_t)l * 100;
        kind[i] = k < 240 ? k % 3 : (int8_t)k;
        alternative[i] = PLACE(a);
    }
    alternative[rules] = PLACE(NEXT);
    for (int i = 0; i <= alternatives; i++) {
        const int c = NEXT;
        condition[i] = PLACE(c);
    }
    for (int i = 0; i < count; i++) {
        const int low = NEXT, high = NEXT, leads = NEXT, more = NEXT, need = NEXT, above = NEXT, value = NEXT;
        conditions[i] = (km_condition){.measure = (int16_t)(low | high << 8), .leads = leads | more << 8,
                                       .need = need < 250 ? need % 13 : (int8_t)need, .above = above & 1,
                                       .value = value - 128};
    }
    /* Exact sizes, so that a sanitizer sees every step beyond. */
    km_criteria criteria = {.rules = rules, .labels = labels,
                            .label = fuzz_copy(label, (size_t)rules * sizeof *label),
                            .kind = fuzz_copy(kind, (size_t)rules * sizeof *kind),
                            .alternative = fuzz_copy(alternative, (size_t)(rules + 1) * sizeof *alternative),
                            .condition = fuzz_copy(condition, (size_t)(alternatives + 1) * sizeof *condition),
                            .conditions = fuzz_copy(conditions, (size_t)count * sizeof *conditions)};
    const km_status status = km_criteria_check(&criteria, alternatives, count, &err);
    if (status == KM_OK) {
        uint8_t *found = malloc((size_t)labels + 1);
        km_criteria_apply(found, measure, &criteria);
        for (int i = 0; i < labels; i++)
            FUZZ_HOLDS(found[i] <= 3);
        free(found);
    } else {
        FUZZ_HOLDS(status == KM_VALUE && err.message[0] != 0);
    }
    free((void *)criteria.label);
    free((void *)criteria.kind);
    free((void *)criteria.alternative);
    free((void *)criteria.condition);
    free((void *)criteria.conditions);
    return 0;
}
