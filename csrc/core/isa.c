#include "core/isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[KM_ISA_COUNT] = {"plain", "avx2", "avx512", "avx512bf16"};

const char *km_isa_name(km_isa isa)
{
    return names[isa];
}

int km_isa_has(km_isa isa)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
#ifdef KM_AVX512BF16
    if (isa == KM_ISA_AVX512BF16)
        return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw");
#endif
    if (isa == KM_ISA_AVX512)
        return __builtin_cpu_supports("avx512f") != 0;
    if (isa == KM_ISA_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return isa == KM_ISA_PLAIN;
}

static km_isa best(void)
{
    int isa = KM_ISA_COUNT - 1;
    while (!km_isa_has((km_isa)isa))
        isa--;
    return (km_isa)isa;
}

km_status km_isa_check(km_error *err)
{
    const char *text = getenv("KMERL_ISA");
    if (text == NULL || text[0] == '\0')
        return KM_OK;
    for (int isa = 0; isa < KM_ISA_COUNT; isa++) {
        if (strcmp(text, names[isa]) != 0)
            continue;
        if (km_isa_has((km_isa)isa))
            return KM_OK;
        return km_error_set(err, KM_VALUE, "KMERL_ISA is %s, which this processor does not have; its best is %s", text,
                            names[best()]);
    }
    return km_error_set(err, KM_VALUE, "KMERL_ISA is '%.40s'; allowed values are plain, avx2, avx512, avx512bf16",
                        text);
}

km_isa km_isa_get(void)
{
    /* 1 + the choice. Every thread that finds 0 computes the same value. */
    static atomic_int chosen;
    int isa = atomic_load_explicit(&chosen, memory_order_relaxed) - 1;
    if (isa < 0) {
        const char *text = getenv("KMERL_ISA");
        isa = (int)best();
        for (int i = 0; text != NULL && i < KM_ISA_COUNT; i++)
            if (strcmp(text, names[i]) == 0 && km_isa_has((km_isa)i))
                isa = i;
        atomic_store_explicit(&chosen, isa + 1, memory_order_relaxed);
    }
    return (km_isa)isa;
}
