/*
 * handler/script_segment.h - shared memory between the server and the workers of one pool.
 *
 * A segment is a memfd that the server makes, maps and seals (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL), so
 * that no worker can take a page away under the server's feet. Sizes are powers of two; what is given back is
 * kept warm for the next call, here and mapped in the workers that know it, so that in the long run nobody
 * faults a page in. Bytes in use count against the budget of all requests; those of idle segments are bounded
 * by max_idle.
 *
 * A worker can write into its segments at any time. So what is parsed is copied first; tensors of numbers are
 * used in place.
 *
 * Threads: any; a segment is counted by references.
 */
#ifndef TN_HANDLER_SCRIPT_SEGMENT_H
#define TN_HANDLER_SCRIPT_SEGMENT_H

#include <stdatomic.h>

#include "base/budget.h"
#include "handler/script_wire.h"

#define TN_SCRIPT_WORKERS_MAX 64

typedef struct tn_segments tn_segments;

typedef struct tn_segment {
    uint64_t id; /* never 0, never used again */
    int fd;
    char *ptr; /* size bytes */
    size_t size;
    atomic_uint refs;
    size_t used;        /* most bytes that this use of it has counted */
    size_t charged;     /* of the budget */
    size_t touched;     /* most bytes ever used: what it keeps of memory */
    atomic_bool spoilt; /* a worker holds on to it: it is not used again */
    tn_segments *owner;
    struct tn_segment *next;
    /* The pool's: which worker (by place) has it mapped; the number of the process, 0: none. */
    uint32_t known[TN_SCRIPT_WORKERS_MAX];
} tn_segment;

/*
 * budget: borrowed, may be NULL. max_bytes: of one segment. NULL when memory is short.
 */
tn_segments *tn_segments_new(tn_budget *budget, size_t max_bytes, size_t max_idle);
/* Segments that are still out, in the hands of an engine, may come back later. Accepts NULL. */
void tn_segments_free(tn_segments *s);
/*
 * One of at least size bytes, with one reference; its content is not cleared: it may be what other calls of
 * the same pool left. INVALID_ARGUMENT over max_bytes, RESOURCE_EXHAUSTED when there is no memory.
 */
TERN_MUST_USE tern_code tn_segment_take(tn_segments *s, size_t size, tn_segment **out, tern_status *st);
/* The first n bytes are in use now. RESOURCE_EXHAUSTED over the budget. Whoever owns this use of it. */
TERN_MUST_USE tern_code tn_segment_use(tn_segment *segment, size_t n, tern_status *st);
tn_segment *tn_segment_retain(tn_segment *segment);
/* Accepts NULL. */
void tn_segment_release(tn_segment *segment);
/*
 * A buffer over [offset, offset + size) that holds a reference until it is released. NULL when memory is
 * short.
 */
tern_buffer *tn_segment_buffer(tn_segment *segment, size_t offset, size_t size);
/* Ids of segments that went away since the last question: at most max; returns how many. */
size_t tn_segments_gone(tn_segments *s, uint64_t *ids, size_t max);
/* Bytes of idle segments. */
size_t tn_segments_idle(tn_segments *s);

#endif
