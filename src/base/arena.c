/*
 * base/arena.c - see base/arena.h.
 *
 * Blocks double from 4 kB to 1 MB; what is larger than half a block gets one of its own, behind the current
 * one, so that the room left in the current block is not lost.
 */
#include "base/arena.h"

#include <stdlib.h>

#define FIRST_BLOCK   4096
#define LARGEST_BLOCK (1u << 20)
#define KEPT_BLOCK    (64u << 10)

struct tn_arena_cleanup {
    tn_arena_cleanup *next;
    void (*fn)(void *);
    void *arg;
};

_Static_assert(sizeof(tn_arena_block) % TN_ARENA_ALIGN == 0, "memory behind the head must be aligned");

void tn_arena_init(tn_arena *a, size_t max)
{
    *a = (tn_arena){.max = max};
}

static tn_arena_block *block_new(tn_arena *a, size_t size)
{
    if (size > a->max || a->total > a->max - size)
        return NULL;
    tn_arena_block *b = malloc(sizeof *b + size);
    if (b == NULL)
        return NULL;
    b->size = size;
    b->used = 0;
    a->total += size;
    return b;
}

void *tn_arena_alloc_slow(tn_arena *a, size_t size)
{
    size_t next = a->blocks != NULL ? a->blocks->size * 2 : FIRST_BLOCK;
    if (next > LARGEST_BLOCK)
        next = LARGEST_BLOCK;
    if (next < FIRST_BLOCK)
        next = FIRST_BLOCK;
    bool own = size > next / 2;
    tn_arena_block *b = block_new(a, own ? size : next);
    if (b == NULL)
        return NULL;
    b->used = size;
    if (own && a->blocks != NULL) {
        b->next = a->blocks->next;
        a->blocks->next = b;
    } else {
        b->next = a->blocks;
        a->blocks = b;
    }
    return b + 1;
}

void *tn_arena_zalloc(tn_arena *a, size_t size)
{
    void *p = tn_arena_alloc(a, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

void *tn_arena_array(tn_arena *a, size_t n, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(n, size, &bytes) ? NULL : tn_arena_alloc(a, bytes);
}

tn_str tn_arena_dup(tn_arena *a, tn_str s)
{
    char *p = s.len < SIZE_MAX ? tn_arena_alloc(a, s.len + 1) : NULL;
    if (p == NULL)
        return TN_STR_NONE;
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return (tn_str){p, s.len};
}

tn_str tn_arena_printf(tn_arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *p = n >= 0 ? tn_arena_alloc(a, (size_t)n + 1) : NULL;
    if (p != NULL)
        vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return p != NULL ? (tn_str){p, (size_t)n} : TN_STR_NONE;
}

bool tn_arena_defer(tn_arena *a, void (*fn)(void *), void *arg)
{
    tn_arena_cleanup *c = tn_arena_alloc(a, sizeof *c);
    if (c == NULL)
        return false;
    *c = (tn_arena_cleanup){.next = a->cleanups, .fn = fn, .arg = arg};
    a->cleanups = c;
    return true;
}

static void run_cleanups(tn_arena *a)
{
    while (a->cleanups != NULL) {
        tn_arena_cleanup *c = a->cleanups;
        a->cleanups = c->next;
        c->fn(c->arg);
    }
}

void tn_arena_reset(tn_arena *a)
{
    run_cleanups(a);
    tn_arena_block *keep = NULL;
    for (tn_arena_block *b = a->blocks, *next; b != NULL; b = next) {
        next = b->next;
        if (b->size <= KEPT_BLOCK && (keep == NULL || b->size > keep->size)) {
            free(keep);
            keep = b;
        } else {
            free(b);
        }
    }
    a->blocks = keep;
    a->total = 0;
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
        a->total = keep->size;
    }
}

void tn_arena_free(tn_arena *a)
{
    run_cleanups(a);
    for (tn_arena_block *b = a->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
    a->total = 0;
}

void *tn_arena_alloc_fn(void *arena, size_t size)
{
    return tn_arena_alloc(arena, size);
}
