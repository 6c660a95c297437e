/*
 * base/arena.h - memory of one call: bump allocation, freed at once.
 *
 * Blocks are kept for reuse by tn_arena_reset(), so that the warm path of a small request makes no malloc.
 * One thread at a time (the owner of the call). Everything is bounded by `max`: over it, or when memory is
 * short, tn_arena_alloc() returns NULL and the caller reports RESOURCE_EXHAUSTED.
 */
#ifndef TN_BASE_ARENA_H
#define TN_BASE_ARENA_H

#include "base/str.h"

#define TN_ARENA_ALIGN ((size_t)16)

typedef struct tn_arena_block tn_arena_block;
typedef struct tn_arena_cleanup tn_arena_cleanup;

/* Memory of the block follows it. */
struct tn_arena_block {
    tn_arena_block *next;
    size_t size; /* usable bytes */
    size_t used;
    size_t pad;
};

typedef struct tn_arena {
    tn_arena_block *blocks; /* newest first */
    tn_arena_cleanup *cleanups;
    size_t total; /* bytes asked from malloc */
    size_t max;
} tn_arena;

void tn_arena_init(tn_arena *a, size_t max);
/* For tn_arena_alloc(): where the newest block has no room. size is a multiple of TN_ARENA_ALIGN. */
void *tn_arena_alloc_slow(tn_arena *a, size_t size);

/* 16-byte aligned, not cleared. NULL over the limit. size 0 gives a valid pointer. */
static inline void *tn_arena_alloc(tn_arena *a, size_t size)
{
    if (size > SIZE_MAX - TN_ARENA_ALIGN)
        return NULL;
    size = (size + TN_ARENA_ALIGN - 1) & ~(TN_ARENA_ALIGN - 1);
    if (size == 0)
        size = TN_ARENA_ALIGN;
    tn_arena_block *b = a->blocks;
    if (b == NULL || b->size - b->used < size)
        return tn_arena_alloc_slow(a, size);
    void *p = (char *)(b + 1) + b->used;
    b->used += size;
    return p;
}

void *tn_arena_zalloc(tn_arena *a, size_t size);
/* n * size with overflow check. */
void *tn_arena_array(tn_arena *a, size_t n, size_t size);
/* Copy, with a NUL after it that is not counted. {NULL,0} when memory is short. */
tn_str tn_arena_dup(tn_arena *a, tn_str s);
/* printf into the arena; {NULL,0} when memory is short. */
tn_str tn_arena_printf(tn_arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* fn(arg) runs at reset or free, newest first. false when memory is short (fn was not registered). */
bool tn_arena_defer(tn_arena *a, void (*fn)(void *), void *arg);
/* Runs the cleanups and forgets all memory; keeps the largest block up to 64 kB for reuse. */
void tn_arena_reset(tn_arena *a);
void tn_arena_free(tn_arena *a);
/* For tern_run.alloc: arena is the context. */
void *tn_arena_alloc_fn(void *arena, size_t size);

#endif
