/* Memory in one 64-byte-aligned block, handed out in order. The same code that lays tensors
 * out first measures: with base NULL every take returns NULL and only counts.
 * Under AddressSanitizer a poisoned red zone follows every tensor.                          */
#ifndef KM_ARENA_H
#define KM_ARENA_H

#include "core/error.h"
#include "core/real.h"

typedef struct km_arena {
    unsigned char *base;    /* NULL while measuring            */
    size_t capacity;        /* bytes behind base               */
    size_t used;            /* bytes handed out since a reset  */
} km_arena;

/* Zeroed memory; capacity 0 is allowed. free accepts an arena that was never created (all zero). */
km_status km_arena_create(km_arena *arena, size_t capacity, km_error *err);
void km_arena_free(km_arena *arena);

/* Forget everything handed out; the memory stays. */
void km_arena_reset(km_arena *arena);

/* count elements of size bytes, 64-byte aligned; NULL while measuring. Asking for more than the
 * capacity is a programming error and aborts in debug builds: measure first.                    */
void *km_arena_take(km_arena *arena, size_t count, size_t size);

static inline km_real *km_arena_reals(km_arena *arena, size_t count)
{
    return (km_real *)km_arena_take(arena, count, sizeof(km_real));
}

#endif
