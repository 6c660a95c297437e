/*
 * net/out.h - what a connection has to send: bytes of its own and borrowed ones in one order, for writev.
 *
 * Small pieces are copied into blocks of the pool, where neighbours melt into one vector entry; large ones
 * are borrowed. A mark is put behind the bytes of an answer and runs when they went to the kernel, or never
 * will. Pure: no I/O. One thread: the loop's. When memory is short the queue turns `failed`, and its
 * connection must be closed; marks are never lost (they are intrusive).
 */
#ifndef TN_NET_OUT_H
#define TN_NET_OUT_H

#include <stdbool.h>
#include <sys/uio.h>

#include "net/pool.h"

/* Up to this length a borrowed piece is copied instead: cheaper than a vector entry of its own. */
#define TN_OUT_COPY_MAX 2048

typedef struct tn_out_mark tn_out_mark;
struct tn_out_mark {
    tn_out_mark *next;
    uint64_t at; /* place in the stream of bytes */
    bool sent;
    void (*run)(tn_out_mark *mark);
};

typedef struct tn_out_block tn_out_block;

typedef struct tn_out {
    tn_pool *pool;
    struct iovec *iov; /* first .. end are waiting */
    size_t first, end, cap;
    tn_out_block *oldest, *newest;
    tn_out_mark *marks, *last_mark;
    uint64_t queued, sent; /* bytes since the connection began */
    bool failed;
} tn_out;

void tn_out_init(tn_out *out, tn_pool *pool);
/*
 * n contiguous bytes to write into, followed by tn_out_commit() of at most n; NULL when memory is short (then
 * failed).
 */
char *tn_out_room(tn_out *out, size_t n);
void tn_out_commit(tn_out *out, size_t n);
void tn_out_copy(tn_out *out, const void *bytes, size_t n);
/* The bytes stay the caller's and must live until a mark put later runs. */
void tn_out_borrow(tn_out *out, const void *bytes, size_t n);
/*
 * Runs mark->run(mark) from tn_out_run() when all bytes queued before went out. sent: what mark->sent will
 * say then (it is false anyway when the queue is dropped).
 */
void tn_out_put_mark(tn_out *out, tn_out_mark *mark, bool sent);
static inline uint64_t tn_out_pending(const tn_out *out)
{
    return out->queued - out->sent;
}
/* The vector to send now: its length (0: nothing), at most max. */
size_t tn_out_vector(const tn_out *out, const struct iovec **iov, size_t max);
/* n bytes of it went out: memory that only they needed goes back to the pool. */
void tn_out_advance(tn_out *out, size_t n);
/* Runs the marks that are due. A mark may queue more. */
void tn_out_run(tn_out *out);
/* Forgets all bytes and runs all marks with sent = false. */
void tn_out_drop(tn_out *out);

#endif
