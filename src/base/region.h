/*
 * base/region.h - one contiguous body of a request that may become large.
 *
 * Address space is reserved, memory comes as bytes arrive, and each arrival is charged to a byte budget, so
 * that a client that announces 1 GB and sends nothing costs nothing. Growing never copies (mremap). One
 * thread at a time.
 */
#ifndef TN_BASE_REGION_H
#define TN_BASE_REGION_H

#include "base/budget.h"
#include "base/str.h"

typedef struct tn_region {
    char *ptr;
    size_t len;     /* bytes committed */
    size_t cap;     /* bytes that may be written without growing */
    size_t max;     /* limit of len */
    size_t charged; /* bytes taken from budget */
    tn_budget *budget;
    bool mapped; /* mmap, else malloc */
} tn_region;

/*
 * From now on mappings of ended regions, up to so many bytes in all regions together (at the start none), are
 * kept for later ones; what is over the limit goes. Their pages count against no budget. Any thread.
 */
void tn_region_keep(size_t limit);

/* budget: borrowed, may be NULL. expected: announced length or 0. Allocates nothing yet. */
void tn_region_init(tn_region *r, tn_budget *budget, size_t expected, size_t max);
/*
 * Room for at least 1 and if possible `want` more bytes at the end: *room, *space bytes.
 * TERN_INVALID_ARGUMENT over max; TERN_RESOURCE_EXHAUSTED when memory is short.
 */
TERN_MUST_USE tern_code tn_region_room(tn_region *r, size_t want, char **room, size_t *space,
                                       tern_status *st);
/* n bytes were written into the room. TERN_RESOURCE_EXHAUSTED when the budget does not allow them. */
TERN_MUST_USE tern_code tn_region_commit(tn_region *r, size_t n, tern_status *st);
/* Copies n bytes to the end: room + commit. */
TERN_MUST_USE tern_code tn_region_append(tn_region *r, const void *bytes, size_t n, tern_status *st);
static inline tn_str tn_region_view(const tn_region *r)
{
    return (tn_str){r->ptr, r->len};
}
/* Gives memory and budget back. The region may be initialised again. */
void tn_region_free(tn_region *r);

#endif
