/*
 * net/out.c - the output queue of a connection: see out.h.
 *
 * Blocks are a list in the order of the stream; a block goes back to the pool when the stream has passed its
 * last byte, and an empty queue holds no block at all, so that idle connections cost nothing.
 */
#include "net/out.h"

#include <string.h>

#define BLOCK_BYTES  (16 * 1024)
#define FIRST_VECTOR 16

struct tn_out_block {
    tn_out_block *next;
    uint64_t end; /* place in the stream behind its last byte */
    size_t len, cap;
    char bytes[];
};

void tn_out_init(tn_out *out, tn_pool *pool)
{
    memset(out, 0, sizeof *out);
    out->pool = pool;
}

static bool vector_room(tn_out *out)
{
    if (out->end < out->cap)
        return true;
    if (out->first > out->cap / 2) {
        memmove(out->iov, out->iov + out->first, (out->end - out->first) * sizeof *out->iov);
        out->end -= out->first;
        out->first = 0;
        return true;
    }
    size_t cap = out->cap == 0 ? FIRST_VECTOR : out->cap * 2;
    struct iovec *iov = tn_pool_resize(out->pool, out->iov, cap * sizeof *iov);
    if (iov == NULL) {
        out->failed = true;
        return false;
    }
    out->iov = iov;
    out->cap = cap;
    return true;
}

char *tn_out_room(tn_out *out, size_t n)
{
    tn_out_block *block = out->newest;
    if (block != NULL && block->cap - block->len >= n)
        return block->bytes + block->len;
    size_t size = sizeof *block + n > BLOCK_BYTES ? sizeof *block + n : BLOCK_BYTES;
    block = tn_pool_take(out->pool, size);
    if (block == NULL) {
        out->failed = true;
        return NULL;
    }
    block->next = NULL;
    block->end = out->queued;
    block->len = 0;
    block->cap = tn_pool_size(block) - sizeof *block;
    if (out->newest != NULL)
        out->newest->next = block;
    else
        out->oldest = block;
    out->newest = block;
    return block->bytes;
}

void tn_out_commit(tn_out *out, size_t n)
{
    tn_out_block *block = out->newest;
    char *bytes = block->bytes + block->len;
    if (n == 0 || out->failed)
        return;
    struct iovec *last = out->end > out->first ? &out->iov[out->end - 1] : NULL;
    if (last != NULL && (char *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += n;
    } else {
        if (!vector_room(out))
            return;
        out->iov[out->end++] = (struct iovec){bytes, n};
    }
    block->len += n;
    out->queued += n;
    block->end = out->queued;
}

void tn_out_copy(tn_out *out, const void *bytes, size_t n)
{
    if (n == 0)
        return;
    char *room = tn_out_room(out, n);
    if (room == NULL)
        return;
    memcpy(room, bytes, n);
    tn_out_commit(out, n);
}

void tn_out_borrow(tn_out *out, const void *bytes, size_t n)
{
    if (n <= TN_OUT_COPY_MAX) {
        tn_out_copy(out, bytes, n);
        return;
    }
    if (out->failed || !vector_room(out))
        return;
    out->iov[out->end++] = (struct iovec){(void *)(uintptr_t)bytes, n};
    out->queued += n;
}

void tn_out_put_mark(tn_out *out, tn_out_mark *mark, bool sent)
{
    mark->next = NULL;
    mark->at = out->queued;
    mark->sent = sent;
    if (out->last_mark != NULL)
        out->last_mark->next = mark;
    else
        out->marks = mark;
    out->last_mark = mark;
}

size_t tn_out_vector(const tn_out *out, const struct iovec **iov, size_t max)
{
    size_t n = out->end - out->first;
    *iov = n > 0 ? out->iov + out->first : NULL;
    return n < max ? n : max;
}

void tn_out_advance(tn_out *out, size_t n)
{
    out->sent += n;
    while (n > 0) {
        struct iovec *iov = &out->iov[out->first];
        if (n < iov->iov_len) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= n;
            break;
        }
        n -= iov->iov_len;
        out->first++;
    }
    if (out->first == out->end)
        out->first = out->end = 0;
    while (out->oldest != NULL && out->oldest->end <= out->sent) {
        tn_out_block *block = out->oldest;
        out->oldest = block->next;
        if (out->oldest == NULL)
            out->newest = NULL;
        tn_pool_give(out->pool, block);
    }
}

void tn_out_run(tn_out *out)
{
    while (out->marks != NULL && out->marks->at <= out->sent) {
        tn_out_mark *mark = out->marks;
        out->marks = mark->next;
        if (out->marks == NULL)
            out->last_mark = NULL;
        mark->run(mark);
    }
}

void tn_out_drop(tn_out *out)
{
    while (out->oldest != NULL) {
        tn_out_block *block = out->oldest;
        out->oldest = block->next;
        tn_pool_give(out->pool, block);
    }
    out->newest = NULL;
    tn_pool_give(out->pool, out->iov);
    out->iov = NULL;
    out->first = out->end = out->cap = 0;
    out->queued = out->sent;
    while (out->marks != NULL) {
        tn_out_mark *mark = out->marks;
        out->marks = mark->next;
        if (out->marks == NULL)
            out->last_mark = NULL;
        mark->sent = false;
        mark->run(mark);
    }
}
