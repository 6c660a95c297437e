/*
 * base/region.c - see base/region.h.
 *
 * Up to 64 kB a region is malloc'ed (the allocator reuses it warm); above, it is an anonymous mapping: pages
 * come as they are touched, so address space may be reserved for the whole announced length, and mremap grows
 * without a copy. Mappings of ended regions are kept for later ones: faults, clearing and unmapping were half
 * of what a body of megabytes cost.
 */
#include "base/region.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SMALL     (64u << 10)
#define HUGE_PAGE (2u << 20)
#define HUGE                                                                                                 \
    (4u << 20) /* a mapping from here on has such pages where they are to be had: one fault for 512 */
#define UNKNOWN_START (16u << 10)
#define BUDGET_STEP   (64u << 10) /* budget is taken in steps: one atomic add for many small arrivals */

enum { KEPT = 16 };

/* Guarded by lock. */
static struct {
    pthread_mutex_t lock;
    size_t limit, bytes;
    uint32_t n;
    struct {
        char *ptr;
        size_t cap;
    } items[KEPT];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

void tn_region_keep(size_t limit)
{
    pthread_mutex_lock(&kept.lock);
    kept.limit = limit;
    while (kept.n > 0 && kept.bytes > limit) {
        kept.n--;
        kept.bytes -= kept.items[kept.n].cap;
        munmap(kept.items[kept.n].ptr, kept.items[kept.n].cap);
    }
    pthread_mutex_unlock(&kept.lock);
}

/* A kept mapping of *cap to twice as many bytes, with its size in *cap; NULL when there is none. */
static char *take_kept(size_t *cap)
{
    char *ptr = NULL;
    pthread_mutex_lock(&kept.lock);
    for (uint32_t i = kept.n; i-- > 0 && ptr == NULL;)
        if (kept.items[i].cap >= *cap && kept.items[i].cap / 2 <= *cap) {
            ptr = kept.items[i].ptr;
            *cap = kept.items[i].cap;
            kept.bytes -= *cap;
            kept.items[i] = kept.items[--kept.n];
        }
    pthread_mutex_unlock(&kept.lock);
    return ptr;
}

/* Takes the mapping where there is room for it; else it is the caller's still. */
static bool keep(char *ptr, size_t cap)
{
    pthread_mutex_lock(&kept.lock);
    const bool room = kept.n < KEPT && cap <= kept.limit && kept.bytes <= kept.limit - cap;
    if (room) {
        kept.items[kept.n].ptr = ptr;
        kept.items[kept.n++].cap = cap;
        kept.bytes += cap;
    }
    pthread_mutex_unlock(&kept.lock);
    return room;
}

void tn_region_init(tn_region *r, tn_budget *budget, size_t expected, size_t max)
{
    *r = (tn_region){.max = max, .budget = budget};
    /* cap holds the wish until the first room is asked for. */
    r->cap = expected > max ? max : expected;
}

static tern_code no_memory(tern_status *st, size_t size)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "No memory for a request body of %zu bytes; try again later", size);
}

static void *remap(void *old, size_t old_size, size_t size)
{
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer does not see mremap(): where it moved to, another thread's reads seemed to go on. */
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) {
        memcpy(p, old, old_size);
        munmap(old, old_size);
    }
    return p;
#else
    return mremap(old, old_size, size, MREMAP_MAYMOVE);
#endif
}

static tern_code grow(tn_region *r, size_t cap, tern_status *st)
{
    char *p;
    if (cap <= SMALL) {
        p = realloc(r->ptr, cap);
        if (p == NULL)
            return no_memory(st, cap);
    } else {
        cap = (cap + 4095) & ~(size_t)4095;
        if (r->mapped)
            p = remap(r->ptr, r->cap, cap);
        else if ((p = take_kept(&cap)) == NULL)
            p = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return no_memory(st, cap);
        if (!r->mapped) {
            if (r->len > 0)
                memcpy(p, r->ptr, r->len);
            free(r->ptr);
            r->mapped = true;
        }
    }
    r->ptr = p;
    r->cap = cap;
    return TERN_OK;
}

tern_code tn_region_room(tn_region *r, size_t want, char **room, size_t *space, tern_status *st)
{
    if (r->len >= r->max)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "The request body is larger than %zu bytes (--max_body_bytes)", r->max);
    size_t need = want > r->max - r->len ? r->max : r->len + want;
    tern_code code = TERN_OK;
    if (r->ptr == NULL) {
        size_t first = r->cap > 0 ? r->cap : UNKNOWN_START;
        r->cap = 0;
        code = grow(r, first < need && first == UNKNOWN_START ? need : first, st);
    } else if (r->cap == r->len) {
        size_t cap = r->cap * 2;
        if (cap > r->max)
            cap = r->max;
        code = grow(r, cap < need ? need : cap, st);
    }
    if (code != TERN_OK)
        return code;
    *room = r->ptr + r->len;
    *space = (r->cap < r->max ? r->cap : r->max) - r->len;
    return TERN_OK;
}

tern_code tn_region_commit(tn_region *r, size_t n, tern_status *st)
{
    r->len += n;
    if (r->len <= r->charged)
        return TERN_OK;
    size_t more = r->len - r->charged;
    more = (more + BUDGET_STEP - 1) / BUDGET_STEP * BUDGET_STEP;
    if (!tn_budget_take(r->budget, more))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
    r->charged += more;
    return TERN_OK;
}

tern_code tn_region_append(tn_region *r, const void *bytes, size_t n, tern_status *st)
{
    const char *from = bytes;
    while (n > 0) {
        char *room;
        size_t space;
        tern_code code = tn_region_room(r, n, &room, &space, st);
        if (code != TERN_OK)
            return code;
        if (space > n)
            space = n;
        memcpy(room, from, space);
        code = tn_region_commit(r, space, st);
        if (code != TERN_OK)
            return code;
        from += space;
        n -= space;
    }
    return TERN_OK;
}

void tn_region_free(tn_region *r)
{
    if (!r->mapped)
        free(r->ptr);
    else if (!keep(r->ptr, r->cap))
        munmap(r->ptr, r->cap);
    tn_budget_give(r->budget, r->charged);
    *r = (tn_region){.max = r->max, .budget = r->budget};
}
