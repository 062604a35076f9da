#include "core/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define KM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KM_ASAN 1
#endif
#endif

#ifdef KM_ASAN
#include <sanitizer/asan_interface.h>
#define KM_POISON(address, bytes) __asan_poison_memory_region(address, bytes)
#define KM_UNPOISON(address, bytes) __asan_unpoison_memory_region(address, bytes)
#else
#define KM_POISON(address, bytes) ((void)(address), (void)(bytes))
#define KM_UNPOISON(address, bytes) ((void)(address), (void)(bytes))
#endif

enum { KM_ALIGNMENT = 64, KM_RED_ZONE = 64 };

km_status km_arena_create(km_arena *arena, size_t capacity, km_error *err)
{
    memset(arena, 0, sizeof *arena);
    if (capacity == 0)
        return KM_OK;
    capacity = (capacity + KM_ALIGNMENT - 1) / KM_ALIGNMENT * KM_ALIGNMENT;
    arena->base = aligned_alloc(KM_ALIGNMENT, capacity);
    if (arena->base == NULL)
        return km_error_set(err, KM_MEMORY, "out of memory: %.1f MB could not be allocated", (double)capacity / 1e6);
    memset(arena->base, 0, capacity);
    arena->capacity = capacity;
    KM_POISON(arena->base, arena->capacity);
    return KM_OK;
}

void km_arena_free(km_arena *arena)
{
    if (arena->base != NULL)
        KM_UNPOISON(arena->base, arena->capacity);
    free(arena->base);
    memset(arena, 0, sizeof *arena);
}

void km_arena_reset(km_arena *arena)
{
    arena->used = 0;
    if (arena->base != NULL)
        KM_POISON(arena->base, arena->capacity);
}

void *km_arena_take(km_arena *arena, size_t count, size_t size)
{
    size_t bytes = (count * size + KM_ALIGNMENT - 1) / KM_ALIGNMENT * KM_ALIGNMENT;
    size_t start = arena->used;
    arena->used += bytes;
#ifdef KM_ASAN
    arena->used += KM_RED_ZONE;
#endif
    if (arena->base == NULL)
        return NULL;
    assert(arena->used <= arena->capacity);
    KM_UNPOISON(arena->base + start, count * size);
    return arena->base + start;
}
