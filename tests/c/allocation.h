/* Linked with --wrap (setup.py), every allocation of the core passes here, and the n-th can be made to fail: it alone,
 * or it and all behind it. A scenario calls TRY on whatever can fail. The call during which memory ran out must say
 * KM_MEMORY with a message; called again, with memory, it must succeed, and the scenario must end in the same digest
 * as undisturbed, with nothing left allocated.                                                                    */
#ifndef ALLOCATION_H
#define ALLOCATION_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/error.h"

static atomic_long allocation_calls, allocation_live, allocation_failures;
static long allocation_from, allocation_to;     /* calls that fail; 0: none */

static int allocation_refused(void)
{
    const long n = atomic_fetch_add(&allocation_calls, 1) + 1;
    if (n < allocation_from || n > allocation_to)
        return 0;
    atomic_fetch_add(&allocation_failures, 1);
    return 1;
}

static void *allocation_counted(void *block)
{
    atomic_fetch_add(&allocation_live, block != NULL);
    return block;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *block);

void *__wrap_malloc(size_t size)
{
    return allocation_refused() ? NULL : allocation_counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_refused() ? NULL : allocation_counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size)
{
    if (allocation_refused())
        return NULL;
    void *moved = __real_realloc(block, size);
    atomic_fetch_add(&allocation_live, block == NULL && moved != NULL);
    return moved;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocation_refused() ? NULL : allocation_counted(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *block)
{
    atomic_fetch_sub(&allocation_live, block != NULL);
    __real_free(block);
}

static km_error err;
static int allocation_reports;

#define TRY(call)                                                                                \
    do {                                                                                         \
        const long failures = allocation_failures;                                               \
        const km_status status = (call);                                                         \
        CHECK((status == KM_MEMORY) == (allocation_failures > failures));                        \
        if (status == KM_MEMORY) {                                                               \
            allocation_reports++;                                                                \
            allocation_to = 0;                                                                   \
            CHECK(strstr(err.message, "out of memory") != NULL);                                 \
            CHECK((call) == KM_OK);                                                              \
        } else {                                                                                 \
            CHECK(status == KM_OK);                                                              \
        }                                                                                        \
    } while (0)

/* FNV-1a over the bytes of a result. */
static uint64_t digest(uint64_t h, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001B3u;
    return h;
}

/* Runs the scenario once undisturbed, then with every allocation failing. */
static void exhaust(const char *name, uint64_t (*scenario)(void))
{
    allocation_calls = allocation_from = allocation_to = 0;
    const long live = allocation_live;
    scenario();                                         /* what is made once a process stays */
    const long kept = allocation_live;
    allocation_calls = 0;
    const uint64_t expected = scenario();
    const long count = allocation_calls, before = allocation_live;
    CHECK(count > 0 && kept == live && before == live);
    for (long n = 1; n <= count; n++) {
        for (int rest = 0; rest < 2; rest++) {
            const int failed = check_failures;
            allocation_calls = allocation_failures = allocation_reports = 0;
            allocation_from = n;
            allocation_to = rest ? 1L << 40 : n;
            const uint64_t came = scenario();
            allocation_to = 0;
            CHECK(allocation_reports == 1);
            CHECK(came == expected);
            CHECK(allocation_live == live);
            if (check_failures > failed)
                fprintf(stderr, "%s: allocation %ld of %ld%s\n", name, n, count, rest ? " and all behind it" : "");
        }
    }
    printf("%s: %ld allocations, each failed alone and with all behind it\n", name, count);
}

#endif
