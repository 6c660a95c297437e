/*
 * net/conn.c - a connection's life: reading by turns, writing in one vector, closing without losing the last
 * answer, timeouts.
 *
 * One event makes at most: a few reads (as long as they fill the room, up to a turn's bytes), the parsing of
 * what came, and in tn_conn_settle() one write of all that was answered. What the parser leaves (too many
 * requests wait, or the turn is over) is stashed, and reading stops until it is used up, so a connection
 * never holds more than one read's worth of unparsed bytes.
 */
#include "net/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* Vector entries of one write. */
#define VECTOR_MAX 64
/* Reads for heads and small bodies. */
#define SMALL_READ        ((size_t)64 * 1024)
#define MIN_RATE_AFTER_NS (10 * TN_NS_PER_S)
/* Lingering while the server goes down. */
#define DRAIN_LINGER_MS 500

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE_LEN (sizeof preface - 1)

/* The socket's own reading and writing. */

static ssize_t socket_recv(tn_conn *conn, char *room, size_t n)
{
    ssize_t got;
    do
        got = recv(conn->fd, room, n, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t socket_send(tn_conn *conn, const struct iovec *iov, size_t n)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};
    ssize_t sent;
    do /* one piece is sent without the kernel's copy of a list */
        sent = n == 1 ? send(conn->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                      : sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static void socket_shut(tn_conn *conn)
{
    shutdown(conn->fd, SHUT_WR);
}

static void socket_close(tn_conn *conn)
{
    close(conn->fd);
}

static const tn_conn_io socket_io = {socket_recv, socket_send, socket_shut, socket_close, NULL};

/* Lists. */

void tn_conn_link(tn_conn *conn, tn_exchange *ex)
{
    ex->linked = true;
    ex->next = NULL;
    ex->prev = conn->last;
    if (conn->last != NULL)
        conn->last->next = ex;
    else
        conn->first = ex;
    conn->last = ex;
    conn->n_exchanges++;
}

void tn_conn_unlink(tn_conn *conn, tn_exchange *ex)
{
    if (!ex->linked)
        return;
    ex->linked = false;
    if (ex->prev != NULL)
        ex->prev->next = ex->next;
    else
        conn->first = ex->next;
    if (ex->next != NULL)
        ex->next->prev = ex->prev;
    else
        conn->last = ex->prev;
    ex->next = ex->prev = NULL;
    conn->n_exchanges--;
}

void tn_conn_dirty(tn_conn *conn)
{
    if (conn->dirty || conn->gone)
        return;
    conn->dirty = true;
    conn->next_dirty = conn->loop->dirty;
    conn->loop->dirty = conn;
}

void tn_conn_kill(tn_conn *conn)
{
    conn->dead = true;
    tn_conn_dirty(conn);
}

void tn_conn_close_after(tn_conn *conn, bool linger)
{
    conn->closing = true;
    conn->lingers = conn->lingers || linger;
    tn_conn_dirty(conn);
}

void tn_conn_count_error(tn_conn *conn)
{
    tn_count(&conn->loop->counts.protocol_errors, 1);
}

bool tn_conn_is_full(const tn_conn *conn)
{
    return tn_out_pending(&conn->out) + conn->stored >
           (uint64_t)tn_net_limits(conn->loop->net)->max_write_backlog_bytes;
}

/* Life. */

static void on_poll(uv_poll_t *handle, int status, int events);

tn_conn *tn_conn_open(tn_loop *loop, int fd, int32_t tag, const tn_conn_io *io, void *io_user)
{
    tn_conn *conn = tn_pool_take(&loop->pool, sizeof *conn);
    if (conn == NULL)
        goto fail;
    memset(conn, 0, sizeof *conn);
    conn->fd = fd;
    conn->io = io != NULL ? io : &socket_io;
    conn->io_user = io_user;
    conn->loop = loop;
    conn->tag = tag;
    conn->now_ns = conn->idle_ns = conn->progress_ns = tn_now_ns();
    tn_out_init(&conn->out, &loop->pool);
    if (fd >= 0) {
        if (uv_poll_init(&loop->uv, &conn->poll, fd) != 0)
            goto fail;
        conn->poll.data = conn;
        conn->events = UV_READABLE;
        uv_poll_start(&conn->poll, UV_READABLE, on_poll);
    }
    conn->next = loop->conns;
    if (loop->conns != NULL)
        loop->conns->prev = conn;
    loop->conns = conn;
    tn_count(&loop->counts.connections_total, 1);
    tn_count(&loop->counts.connections_open, 1);
    tn_loop_sweep_on(loop);
    if (loop->phase == TN_LOOP_CLOSED)
        tn_conn_kill(conn);
    return conn;
fail:
    tn_pool_give(&loop->pool, conn);
    if (fd >= 0)
        close(fd);
    tn_net_give_place(loop->net);
    return NULL;
}

static void on_closed(uv_handle_t *handle)
{
    tn_conn *conn = handle->data;
    tn_pool_give(&conn->loop->pool, conn);
}

static void leave_lists(tn_loop *loop, tn_conn *conn)
{
    tn_conn **link = &loop->dirty;
    while (conn->dirty && *link != NULL && *link != conn)
        link = &(*link)->next_dirty;
    if (conn->dirty && *link == conn)
        *link = conn->next_dirty;
    tn_conn **lists[] = {&loop->again, &loop->turn};
    for (size_t i = 0; i < 2 && conn->again; i++) {
        link = lists[i];
        while (*link != NULL && *link != conn)
            link = &(*link)->next_again;
        if (*link == conn)
            *link = conn->next_again;
    }
    conn->dirty = conn->again = false;
}

static void tear_down(tn_conn *conn)
{
    tn_loop *loop = conn->loop;
    conn->dead = conn->gone = true;
    if (conn->protocol == TN_PROTOCOL_HTTP1)
        tn_http1_close(conn);
    else if (conn->protocol == TN_PROTOCOL_HTTP2)
        tn_http2_close(conn);
    tn_out_drop(&conn->out);
    tn_pool_give(&loop->pool, conn->stash);
    conn->stash = NULL;
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        loop->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    leave_lists(loop, conn);
    tn_count(&loop->counts.connections_open, -1);
    if (conn->fd >= 0)
        uv_close((uv_handle_t *)&conn->poll, on_closed);
    conn->io->close(conn);
    if (conn->fd < 0)
        tn_pool_give(&loop->pool, conn);
    tn_net_give_place(loop->net);
}

/* Reading. */

static void feed(tn_conn *conn, const char *bytes, size_t n);

/*
 * Tells the protocol by the first bytes, which may come one by one. What is kept meanwhile is the stash,
 * shorter than the preface. A first byte of TLS gets no answer: its client could not read it.
 */
static void feed_unknown(tn_conn *conn, const char *bytes, size_t n)
{
    char begin[PREFACE_LEN];
    size_t kept = conn->stash_len;
    size_t more = n < PREFACE_LEN - kept ? n : PREFACE_LEN - kept;
    if (kept > 0)
        memcpy(begin, conn->stash, kept);
    memcpy(begin + kept, bytes, more);
    if (kept == 0 && begin[0] == 0x16) {
        tn_conn_count_error(conn);
        tn_conn_kill(conn);
        return;
    }
    bool like_http2 = memcmp(begin, preface, kept + more) == 0;
    if (like_http2 && kept + more < PREFACE_LEN) {
        if (conn->stash == NULL)
            conn->stash = tn_pool_take(&conn->loop->pool, PREFACE_LEN);
        if (conn->stash == NULL) {
            tn_conn_kill(conn);
            return;
        }
        memcpy(conn->stash, begin, kept + more);
        conn->stash_len = kept + more;
        return;
    }
    tn_pool_give(&conn->loop->pool, conn->stash);
    conn->stash = NULL;
    conn->stash_len = 0;
    conn->protocol = like_http2 ? TN_PROTOCOL_HTTP2 : TN_PROTOCOL_HTTP1;
    if (!like_http2)
        tn_http1_open(conn);
    else if (!tn_http2_open(conn)) {
        conn->protocol = TN_PROTOCOL_UNKNOWN;
        tn_conn_kill(conn);
        return;
    }
    if (kept > 0)
        feed(conn, begin, kept);
    feed(conn, bytes, n);
}

/* Keeps what was not parsed. bytes may lie in the stash itself. */
static void keep(tn_conn *conn, const char *bytes, size_t n)
{
    if (conn->stash != NULL && bytes >= conn->stash && bytes <= conn->stash + conn->stash_len) {
        conn->stash_at = (size_t)(bytes - conn->stash);
        return;
    }
    size_t len = conn->stash_len - conn->stash_at;
    if (conn->stash_at > 0)
        memmove(conn->stash, conn->stash + conn->stash_at, len);
    conn->stash_at = 0;
    conn->stash_len = len;
    char *stash = tn_pool_resize(&conn->loop->pool, conn->stash, len + n);
    if (stash == NULL) {
        tn_conn_kill(conn);
        return;
    }
    memcpy(stash + len, bytes, n);
    conn->stash = stash;
    conn->stash_len = len + n;
}

static void feed(tn_conn *conn, const char *bytes, size_t n)
{
    if (conn->dead || conn->closing || n == 0)
        return;
    if (conn->protocol == TN_PROTOCOL_UNKNOWN) {
        feed_unknown(conn, bytes, n);
        return;
    }
    size_t used = 0;
    if (conn->stash_at == conn->stash_len)
        used = conn->protocol == TN_PROTOCOL_HTTP1 ? tn_http1_feed(conn, bytes, n)
                                                   : tn_http2_feed(conn, bytes, n);
    if (used < n && !conn->dead && !conn->closing) {
        keep(conn, bytes + used, n - used);
        if (conn->turn >= TN_CONN_TURN)
            tn_loop_again(conn->loop, conn);
    }
}

/* True when more requests may be read. */
static bool may_parse(const tn_conn *conn)
{
    if (conn->dead || conn->closing)
        return false;
    /* HTTP/2 must be read on for its windows to open; it refuses streams instead. */
    return conn->protocol != TN_PROTOCOL_HTTP1 || (!tn_conn_is_full(conn) && tn_http1_wants(conn));
}

static void feed_stash(tn_conn *conn)
{
    size_t at = conn->stash_at, n = conn->stash_len - at;
    if (n == 0 || conn->protocol == TN_PROTOCOL_UNKNOWN)
        return;
    /* For feed() the stash is empty now; keep() puts back what is left. */
    char *stash = conn->stash;
    conn->stash_at = conn->stash_len;
    feed(conn, stash + at, n);
    if (conn->stash == stash && conn->stash_at == conn->stash_len) {
        tn_pool_give(&conn->loop->pool, stash);
        conn->stash = NULL;
        conn->stash_at = conn->stash_len = 0;
    }
}

static bool wants_input(const tn_conn *conn)
{
    if (conn->dead || conn->eof)
        return false;
    if (conn->linger || conn->protocol == TN_PROTOCOL_UNKNOWN)
        return true;
    if (conn->closing)
        return conn->lingers;
    return conn->stash_at == conn->stash_len && may_parse(conn);
}

static void end_of_input(tn_conn *conn)
{
    conn->eof = true;
    conn->eof_ns = conn->now_ns;
    if (conn->protocol == TN_PROTOCOL_HTTP1 && !conn->closing)
        tn_http1_eof(conn);
    else if (!conn->closing || conn->linger)
        tn_conn_kill(conn);
}

/* One read. False when there is no more for now. */
static bool read_once(tn_conn *conn, size_t *total)
{
    char *room = conn->loop->scratch;
    size_t space = conn->protocol == TN_PROTOCOL_HTTP2 || conn->closing ? TN_SCRATCH_BYTES : SMALL_READ;
    bool direct = false;
    if (conn->protocol == TN_PROTOCOL_HTTP1 && !conn->closing)
        direct = tn_http1_room(conn, &room, &space);
    else if (conn->protocol == TN_PROTOCOL_HTTP2 && !conn->closing)
        space = tn_http2_room(conn, &room, space);
    ssize_t n = conn->io->recv(conn, room, space);
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return false;
    if (n < 0) {
        tn_conn_kill(conn);
        return false;
    }
    if (n == 0) {
        end_of_input(conn);
        return false;
    }
    *total += (size_t)n;
    tn_count(&conn->loop->counts.bytes_read, n);
    conn->idle_ns = conn->now_ns;
    if (conn->closing) {
        conn->lingered += (uint64_t)n;
        if (conn->lingered > (uint64_t)tn_net_limits(conn->loop->net)->max_drop_bytes)
            tn_conn_kill(conn);
    } else {
        feed(conn, room, (size_t)n);
    }
    if (direct && conn->h1.reading == NULL)
        return false; /* the room was filled by what remained of the body: likely that is all */
    return (size_t)n == space && *total < TN_CONN_TURN_BYTES;
}

static void read_turn(tn_conn *conn)
{
    size_t total = 0;
    while (wants_input(conn) && conn->turn < TN_CONN_TURN && read_once(conn, &total))
        continue;
}

void tn_conn_readable(tn_conn *conn)
{
    conn->turn = 0;
    conn->now_ns = tn_now_ns();
    tn_conn_dirty(conn);
    read_turn(conn);
}

/* True when it should read without being woken by its socket. */
static bool reads_unasked(const tn_conn *conn)
{
    return conn->io->pending != NULL && wants_input(conn) && conn->io->pending(conn);
}

void tn_conn_continue(tn_conn *conn)
{
    conn->turn = 0;
    conn->now_ns = tn_now_ns();
    if (may_parse(conn))
        feed_stash(conn);
    if (reads_unasked(conn))
        read_turn(conn);
    if (!conn->dead)
        tn_stream_give_room(conn);
    tn_conn_dirty(conn);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    tn_conn *conn = handle->data;
    if (status < 0) {
        /* The socket has an error, such as a reset; libuv has stopped watching it. */
        conn->events = 0;
        tn_conn_kill(conn);
    } else {
        if (events & UV_WRITABLE)
            conn->blocked = false;
        if (events & UV_READABLE)
            tn_conn_readable(conn);
        if ((events & UV_PRIORITIZED) && !(events & UV_READABLE) && conn->events == UV_PRIORITIZED) {
            /* Urgent data that nobody wants would wake the loop for ever. */
            uv_poll_stop(handle);
            conn->events = 0;
        }
        tn_conn_dirty(conn);
    }
    tn_loop_settle(conn->loop);
}

/* Writing. */

static void write_out(tn_conn *conn)
{
    while (!conn->blocked && !conn->dead) {
        const struct iovec *iov;
        if (conn->protocol == TN_PROTOCOL_HTTP2)
            tn_http2_pull(conn);
        if (conn->out.failed)
            tn_conn_kill(conn);
        size_t n = tn_out_vector(&conn->out, &iov, VECTOR_MAX);
        if (n == 0 || conn->dead)
            break;
        size_t whole = 0;
        for (size_t i = 0; i < n; i++)
            whole += iov[i].iov_len;
        ssize_t sent = conn->io->send(conn, iov, n);
        if (sent == -EAGAIN || sent == -EWOULDBLOCK)
            sent = 0;
        if (sent < 0) {
            tn_conn_kill(conn);
            break;
        }
        /* What starts to wait now has its whole time before it. */
        if (sent > 0 || !conn->waiting)
            conn->progress_ns = conn->now_ns;
        conn->blocked = conn->waiting = (size_t)sent < whole;
        conn->idle_ns = conn->now_ns;
        tn_count(&conn->loop->counts.bytes_written, sent);
        tn_out_advance(&conn->out, (size_t)sent);
    }
    tn_out_run(&conn->out);
}

/*
 * All is sent: close, or wait a little for the client to do so, lest the kernel's reset destroy the answer on
 * its way.
 */
static void finish(tn_conn *conn)
{
    if (conn->linger)
        return;
    /*
     * Even where the client asked for the end, unread bytes of its (an empty line, say) would make the kernel
     * reset.
     */
    if (!conn->lingers && !conn->eof)
        conn->lingers = conn->io->recv(conn, conn->loop->scratch, SMALL_READ) > 0;
    if (!conn->lingers || conn->eof) {
        tn_conn_kill(conn);
        return;
    }
    conn->linger = true;
    conn->linger_ns = conn->now_ns;
    conn->io->shut(conn);
    tn_pool_give(&conn->loop->pool, conn->stash);
    conn->stash = NULL;
    conn->stash_at = conn->stash_len = 0;
}

static void watch(tn_conn *conn)
{
    int events = UV_PRIORITIZED;
    if (reads_unasked(conn) || tn_stream_has_room(conn))
        tn_loop_again(conn->loop, conn);
    if (conn->fd < 0)
        return;
    if (wants_input(conn))
        events = UV_READABLE;
    if (conn->blocked)
        events |= UV_WRITABLE;
    if (events == conn->events || (conn->events == 0 && events == UV_PRIORITIZED))
        return;
    conn->events = events;
    uv_poll_start(&conn->poll, events, on_poll);
}

/* Behind a closing answer nothing is answered any more. */
static void forget_rest(tn_conn *conn)
{
    if (conn->closing && conn->protocol == TN_PROTOCOL_HTTP1)
        tn_http1_close(conn);
    else if (conn->closing && conn->protocol == TN_PROTOCOL_HTTP2)
        tn_http2_forget(conn);
}

void tn_conn_settle(tn_conn *conn)
{
    if (conn->gone)
        return;
    conn->now_ns = tn_now_ns();
    for (;;) {
        forget_rest(conn);
        if (!conn->dead)
            write_out(conn);
        if (conn->stash_at == conn->stash_len || conn->turn >= TN_CONN_TURN || !may_parse(conn) ||
            conn->protocol == TN_PROTOCOL_UNKNOWN)
            break;
        feed_stash(conn);
    }
    if (!conn->dead && tn_out_pending(&conn->out) == 0 && conn->first == NULL) {
        if (conn->closing)
            finish(conn);
        else if (conn->draining && conn->protocol != TN_PROTOCOL_HTTP2)
            conn->dead = true;
    }
    if (conn->dead)
        tear_down(conn);
    else
        watch(conn);
}

/* Timeouts. */

int64_t tn_conn_body_due(const tn_conn *conn, const tn_exchange *ex)
{
    const tn_limits *limits = tn_net_limits(conn->loop->net);
    int64_t due = ex->body_last_ns + limits->idle_timeout_ms * TN_NS_PER_MS;
    if (limits->min_body_rate > 0) {
        int64_t seconds = ex->body_bytes / limits->min_body_rate;
        int64_t slow = ex->body_from_ns + MIN_RATE_AFTER_NS + seconds * TN_NS_PER_S;
        if (slow < due)
            due = slow;
    }
    return due;
}

static bool is_over(int64_t now, int64_t since_ns, int64_t limit_ms)
{
    return now - since_ns >= limit_ms * TN_NS_PER_MS;
}

static void check_idle(tn_conn *conn, int64_t now)
{
    const tn_limits *limits = tn_net_limits(conn->loop->net);
    int64_t patience = limits->idle_timeout_ms;
    /* Who has never asked gets no longer than a head may take. */
    if (!conn->had_request && limits->header_timeout_ms < patience)
        patience = limits->header_timeout_ms;
    /* Neither the client's pings nor ours make an HTTP/2 connection busy. */
    int64_t since_ns = conn->protocol == TN_PROTOCOL_HTTP2 ? conn->h2.quiet_ns : conn->idle_ns;
    if (!is_over(now, since_ns, patience))
        return;
    if (conn->protocol == TN_PROTOCOL_HTTP2)
        tn_http2_drain(conn);
    else
        tn_conn_kill(conn);
}

/*
 * The kernel calls a socket writable only when a good part of its queue is free, which at a slow reader's
 * pace takes minutes. That the queue gets shorter is progress, too.
 */
static void look_at_queue(tn_conn *conn)
{
    int queued = 0;
    if (conn->fd < 0 || ioctl(conn->fd, SIOCOUTQ, &queued) != 0)
        return;
    if (queued < conn->kernel_queue)
        conn->progress_ns = conn->now_ns;
    conn->kernel_queue = queued;
}

void tn_conn_check(tn_conn *conn, int64_t now)
{
    const tn_limits *limits = tn_net_limits(conn->loop->net);
    if (conn->gone)
        return;
    conn->now_ns = now;
    if (conn->blocked)
        look_at_queue(conn);
    if (conn->linger) {
        bool in_haste = conn->draining && limits->linger_ms > DRAIN_LINGER_MS;
        if (is_over(now, conn->linger_ns, in_haste ? DRAIN_LINGER_MS : limits->linger_ms))
            tn_conn_kill(conn);
    } else if (tn_out_pending(&conn->out) > 0 && is_over(now, conn->progress_ns, limits->write_timeout_ms)) {
        tn_conn_kill(conn);
    } else if (conn->eof && is_over(now, conn->eof_ns, limits->half_close_ms) &&
               tn_out_pending(&conn->out) == 0) {
        tn_conn_kill(conn);
    } else if (conn->protocol == TN_PROTOCOL_HTTP2) {
        tn_http2_check(conn, now);
        if (conn->n_exchanges == 0)
            check_idle(conn, now);
    } else if (conn->protocol == TN_PROTOCOL_HTTP1 && now >= tn_http1_due(conn)) {
        tn_http1_fail(conn, 408, "The request did not arrive in time.");
    } else if (conn->n_exchanges == 0) {
        check_idle(conn, now);
    }
}

void tn_conn_drain(tn_conn *conn)
{
    conn->draining = true;
    /* A request that is in the kernel's hands already is not lost. */
    if (conn->n_exchanges == 0 && conn->protocol != TN_PROTOCOL_HTTP2)
        tn_conn_readable(conn);
    if (conn->protocol == TN_PROTOCOL_HTTP1)
        conn->h1.stopped = true;
    if (conn->protocol == TN_PROTOCOL_HTTP2)
        tn_http2_drain(conn);
    else if (conn->n_exchanges == 0 && tn_out_pending(&conn->out) == 0 && !conn->linger)
        tn_conn_kill(conn);
    tn_conn_dirty(conn);
}
