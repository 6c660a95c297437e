/*
 * net/stream.c - answers that come piece by piece, whatever the protocol: see net.h.
 *
 * What is written waits in the exchange's queue until HTTP/2's windows take it, or until the pipelined
 * HTTP/1.1 answers before it have gone; a HTTP/1.1 answer whose turn it is goes straight into the
 * connection's output. Who asked for room is called in a turn of its own (tn_loop_again), so that an endless
 * stream to a fast reader does not keep the other connections out.
 */
#include <assert.h>

#include "net/conn.h"

void tn_exchange_stream(tn_exchange *ex, const tn_response *head)
{
    assert(ex->taken && !ex->answered && !ex->streaming && ex->gone != NULL);
    ex->streaming = true;
    ex->bodiless = ex->is_head || head->status == 204 || head->status == 304;
    ex->status = head->status;
    if (ex->taker != NULL) {
        ex->taker->stream(ex->taker, head);
        return;
    }
    assert(ex->conn != NULL);
    ex->progress_ns = ex->conn->now_ns;
    if (ex->http2)
        tn_http2_stream(ex, head);
    else
        tn_http1_stream(ex, head);
    tn_conn_dirty(ex->conn);
}

size_t tn_exchange_room(const tn_exchange *ex)
{
    const tn_conn *conn = ex->conn;
    if (ex->bodiless)
        return TN_STREAM_MAX;
    if (ex->taker != NULL)
        return ex->taker->room(ex->taker);
    if (conn->closing)
        return TN_STREAM_MAX;
    if (tn_conn_is_full(conn))
        return 0;
    uint64_t waiting = ex->direct ? tn_out_pending(&conn->out) : ex->queue_len - ex->queue_at;
    return waiting < TN_STREAM_MAX ? TN_STREAM_MAX - (size_t)waiting : 0;
}

static bool enqueue(tn_exchange *ex, const void *bytes, size_t n)
{
    size_t waiting = ex->queue_len - ex->queue_at;
    if (ex->queue_at > 0 && ex->queue_len + n > tn_pool_size(ex->queue)) {
        memmove(ex->queue, ex->queue + ex->queue_at, waiting);
        ex->queue_at = 0;
        ex->queue_len = waiting;
    }
    char *queue = tn_pool_resize(&ex->loop->pool, ex->queue, ex->queue_len + n);
    if (queue == NULL)
        return false;
    ex->queue = queue;
    memcpy(queue + ex->queue_len, bytes, n);
    ex->queue_len += n;
    if (ex->left == 0)
        ex->progress_ns = ex->conn->now_ns; /* it has its whole time before it */
    ex->left += n;
    ex->conn->stored += n;
    return true;
}

bool tn_exchange_write(tn_exchange *ex, const void *bytes, size_t n)
{
    assert(ex->taken && ex->streaming);
    if (n > tn_exchange_room(ex))
        return false;
    if (n == 0 || ex->bodiless)
        return true;
    if (ex->taker != NULL)
        return ex->taker->write(ex->taker, bytes, n);
    if (ex->conn->closing)
        return true;
    if (ex->direct)
        tn_http1_write(ex, bytes, n);
    else if (!enqueue(ex, bytes, n)) {
        tn_conn_kill(ex->conn);
        return false;
    }
    ex->answer_bytes += n;
    if (ex->http2)
        tn_http2_resume(ex);
    return true;
}

static void end(tn_exchange *ex, const tn_header *trailers, size_t n_trailers)
{
    assert(ex->taken && ex->streaming);
    tn_exchange_want_room(ex, NULL, NULL);
    ex->taken = false;
    ex->answered = true;
    ex->gone = NULL;
    ex->sink = NULL;
    if (ex->taker != NULL) {
        tn_inner_finish(ex);
        return;
    }
    tn_conn_dirty(ex->conn);
    if (ex->http2)
        tn_http2_finish(ex, trailers, n_trailers);
    else
        tn_http1_finish(ex);
}

void tn_exchange_finish(tn_exchange *ex, const tn_header *trailers, size_t n_trailers)
{
    end(ex, trailers, n_trailers);
}

void tn_exchange_break(tn_exchange *ex)
{
    ex->broken = !ex->bodiless;
    end(ex, NULL, 0);
}

/* Room for more. */

void tn_exchange_want_room(tn_exchange *ex, void (*room)(void *user, tn_exchange *ex), void *user)
{
    bool asked = ex->room != NULL;
    ex->room = room;
    ex->room_user = user;
    ex->room_due = false;
    if (ex->taker != NULL) {
        if (room != NULL && !asked)
            ex->taker->want_room(ex->taker);
        return;
    }
    if (asked != (room != NULL))
        ex->conn->n_want_room += room != NULL ? 1 : (size_t)-1;
    if (room != NULL)
        tn_conn_dirty(ex->conn);
}

static bool has_room(const tn_exchange *ex)
{
    return ex->room != NULL && tn_exchange_room(ex) >= TN_STREAM_MAX / 2;
}

bool tn_stream_has_room(const tn_conn *conn)
{
    if (conn->n_want_room == 0)
        return false;
    for (const tn_exchange *ex = conn->first; ex != NULL; ex = ex->next)
        if (has_room(ex))
            return true;
    return false;
}

/* Who asks again from inside room() is not called in this turn. The list may change with every call. */
void tn_stream_give_room(tn_conn *conn)
{
    if (conn->n_want_room == 0)
        return;
    for (tn_exchange *ex = conn->first; ex != NULL; ex = ex->next)
        ex->room_due = has_room(ex);
    tn_exchange *ex = conn->first;
    while (ex != NULL) {
        if (!ex->room_due) {
            ex = ex->next;
            continue;
        }
        void (*room)(void *, tn_exchange *) = ex->room;
        void *user = ex->room_user;
        tn_exchange_want_room(ex, NULL, NULL);
        room(user, ex);
        ex = conn->first;
    }
}
