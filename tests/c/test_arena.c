#include "check.h"
#include "core/arena.h"

#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISONED(address) __asan_address_is_poisoned(address)
#else
#define POISONED(address) ((void)(address), 1)
#endif

static void lay_out(km_arena *arena, km_real *reals[2], int32_t **ids)
{
    reals[0] = km_arena_reals(arena, 7);
    *ids = km_arena_take(arena, 3, sizeof **ids);
    reals[1] = km_arena_reals(arena, 100);
}

/* The same code measures and then takes; what it takes is aligned, zeroed and apart. */
static void test_measure_then_take(void)
{
    km_arena measure = {0}, arena;
    km_error err = {0};
    km_real *reals[2];
    int32_t *ids;
    lay_out(&measure, reals, &ids);
    CHECK(reals[0] == NULL && reals[1] == NULL && ids == NULL);
    CHECK(measure.used >= 107 * sizeof(km_real) + 3 * sizeof(int32_t));
    CHECK(km_arena_create(&arena, measure.used, &err) == KM_OK);
    lay_out(&arena, reals, &ids);
    CHECK(arena.used == measure.used);
    CHECK((uintptr_t)reals[0] % 64 == 0 && (uintptr_t)ids % 64 == 0 && (uintptr_t)reals[1] % 64 == 0);
    CHECK((char *)ids >= (char *)(reals[0] + 7) && (char *)reals[1] >= (char *)(ids + 3));
    for (int i = 0; i < 100; i++)
        CHECK(reals[1][i] == 0);
    reals[0][6] = 1;
    ids[2] = 1;
    reals[1][99] = 1;
    CHECK(POISONED(reals[0] + 7) && POISONED(ids + 3) && POISONED(reals[1] + 100));

    km_real *first = reals[0];
    km_arena_reset(&arena);
    CHECK(POISONED(first));
    lay_out(&arena, reals, &ids);
    CHECK(reals[0] == first);
    km_arena_free(&arena);
    CHECK(arena.base == NULL);
}

static void test_nothing(void)
{
    km_arena arena;
    km_error err = {0};
    CHECK(km_arena_create(&arena, 0, &err) == KM_OK);
    km_arena_free(&arena);
    km_arena never = {0};
    km_arena_free(&never);
}

static void test_too_much(void)
{
#if !defined(__SANITIZE_ADDRESS__)      /* which ends the program instead of returning NULL */
    km_arena arena;
    km_error err = {0};
    CHECK(km_arena_create(&arena, (size_t)1 << 62, &err) == KM_MEMORY);
    CHECK(err.status == KM_MEMORY && strstr(err.message, "memory") != NULL);
    CHECK(arena.base == NULL);
    km_arena_free(&arena);
#endif
}

int main(void)
{
    test_measure_then_take();
    test_nothing();
    test_too_much();
    return check_result();
}
