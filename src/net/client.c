/*
 * net/client.c - the sockets of a load generator's connections: connect, write what is to be written, read
 * into the protocol, time limits. See net/client.h.
 *
 * What fails inside tn_client_start() is put on a list and told at the next poll, so that a callback which
 * starts again at once cannot recurse.
 */
#include "net/client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "net/client_conn.h"

#define READ_BYTES    ((size_t)256 << 10)
#define EVENTS        256
#define LOOK_NS       (100 * TN_NS_PER_MS) /* for what is late */
#define HEAD_MAX      ((size_t)4 << 20)
#define LARGEST_BLOCK ((size_t)1 << 20) /* written at a time */

struct tn_client {
    tn_client_options options;
    struct sockaddr_storage address;
    socklen_t address_len;
    int epoll;
    tn_client_conn *conns;
    unsigned *failed; /* connections whose request could not even begin */
    unsigned n_failed;
    int64_t looked_ns;
    bool told; /* done() was called in this poll */
    char *read_to;
};

const tn_client_options *tn_client_of(const tn_client_conn *conn)
{
    return &conn->client->options;
}

void tn_client_body(tn_client_conn *conn, const char *bytes, size_t n)
{
    size_t room = conn->body.max - conn->body.len;
    conn->answer.body_bytes += n;
    tn_buf_append(&conn->body, bytes, n < room ? n : room);
}

/* ---- Connections ---- */

static void close_conn(tn_client_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    if (conn->session != NULL)
        tn_client_http2_close(conn);
    conn->fd = -1;
    conn->connecting = conn->registered = conn->wants_write = false;
}

static void watch(tn_client_conn *conn, bool write)
{
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = conn};
    if (conn->registered && conn->wants_write == write)
        return;
    if (epoll_ctl(conn->client->epoll, conn->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd, &event) ==
        0) {
        conn->registered = true;
        conn->wants_write = write;
    }
}

static bool open_conn(tn_client_conn *conn)
{
    const tn_client *c = conn->client;
    const int on = 1;
    conn->close = false;
    conn->fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return false;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!(c->options.http2 ? tn_client_http2_open(conn) : tn_client_http1_open(conn)))
        return false;
    conn->connecting = connect(conn->fd, (const struct sockaddr *)&c->address, c->address_len) != 0;
    if (conn->connecting && errno != EINPROGRESS)
        return false;
    watch(conn, true);
    return conn->registered;
}

/* The request is over. */
static void end(tn_client_conn *conn)
{
    tn_client *c = conn->client;
    tn_client_answer *a = &conn->answer;
    conn->busy = false;
    if (conn->body_left > 0) /* answered before it was sent, which nobody does any more */
        conn->close = true;
    if (a->error != NULL) {
        a->status = 0;
        conn->close = true;
    }
    if (conn->close)
        close_conn(conn);
    a->ended_ns = tn_now_ns();
    a->server_timing = (tn_str){conn->timing, conn->timing_len};
    a->body = tn_buf_view(&conn->body);
    c->told = true;
    c->options.done(c->options.context, conn->index, a);
}

static void fail(tn_client_conn *conn, const char *why)
{
    if (!conn->busy) {
        close_conn(conn);
        return;
    }
    if (conn->answer.error == NULL)
        conn->answer.error = why;
    end(conn);
}

/* ---- Bytes ---- */

/* false: the connection broke. *stuck: the socket takes no more for now. */
static bool write_some(tn_client_conn *conn, bool *stuck)
{
    const bool http2 = tn_client_of(conn)->http2;
    *stuck = false;
    for (;;) {
        const bool all =
            conn->head_at == conn->head.len && conn->body_left == 0 && conn->tail_at == conn->tail.len;
        if (all && (!http2 || !tn_client_http2_pull(conn)))
            return !conn->head.failed && !conn->tail.failed;
        const size_t body = conn->body_left < LARGEST_BLOCK ? conn->body_left : LARGEST_BLOCK;
        const struct iovec pieces[3] = {
            {conn->head.ptr + conn->head_at, conn->head.len - conn->head_at},
            {body > 0 ? (char *)(uintptr_t)conn->request->body.ptr + conn->body_at : NULL, body},
            {conn->tail.ptr + conn->tail_at, body < conn->body_left ? 0 : conn->tail.len - conn->tail_at}};
        const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = 3};
        ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (n < 0) {
            *stuck = errno == EAGAIN || errno == EINTR;
            return *stuck;
        }
        size_t left = (size_t)n;
        const size_t of_head = left < pieces[0].iov_len ? left : pieces[0].iov_len;
        left -= of_head;
        const size_t of_body = left < pieces[1].iov_len ? left : pieces[1].iov_len;
        conn->head_at += of_head;
        conn->body_at += of_body;
        conn->body_left -= of_body;
        conn->tail_at += left - of_body;
    }
}

static void flush_conn(tn_client_conn *conn)
{
    bool stuck;
    if (conn->connecting)
        return;
    if (!write_some(conn, &stuck))
        fail(conn, "the connection broke while the request was sent");
    else
        watch(conn, stuck);
}

/* After bytes: the answer may be complete. */
static void look(tn_client_conn *conn)
{
    if (conn->ended && conn->busy)
        end(conn);
    else if (conn->close && !conn->busy)
        close_conn(conn);
}

static void read_some(tn_client_conn *conn)
{
    tn_client *c = conn->client;
    const bool http2 = c->options.http2;
    for (;;) {
        ssize_t n = recv(conn->fd, c->read_to, READ_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            conn->close = true;
            if (n == 0 && !http2 && conn->busy && tn_client_http1_eof(conn))
                end(conn);
            else
                fail(conn, "the server closed the connection before it answered");
            return;
        }
        bool good = http2 ? tn_client_http2_feed(conn, c->read_to, (size_t)n)
                          : tn_client_http1_feed(conn, c->read_to, (size_t)n);
        if (!good) {
            fail(conn, "the answer was not understood");
            return;
        }
        if (http2) /* windows, acknowledgements */
            flush_conn(conn);
        if (conn->fd < 0)
            return;
        if (conn->ended || (conn->close && !conn->busy)) {
            look(conn);
            return;
        }
        if ((size_t)n < READ_BYTES)
            return;
    }
}

static void on_event(tn_client_conn *conn, uint32_t events)
{
    if (conn->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0)
            return;
        if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
            fail(conn, "the server does not take the connection");
            return;
        }
        conn->connecting = false;
    }
    if ((events & EPOLLOUT) != 0)
        flush_conn(conn);
    if (conn->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        read_some(conn);
}

static void end_late_ones(tn_client *c, int64_t now_ns)
{
    if (now_ns - c->looked_ns < LOOK_NS)
        return;
    c->looked_ns = now_ns;
    for (unsigned i = 0; i < c->options.connections; i++)
        if (c->conns[i].busy && now_ns - c->conns[i].answer.started_ns > c->options.timeout_ms * TN_NS_PER_MS)
            fail(&c->conns[i], "no answer in time");
}

/* ---- The manual is in net/client.h ---- */

void tn_client_start(tn_client *c, unsigned connection, const tn_client_request *request)
{
    tn_client_conn *conn = &c->conns[connection];
    conn->request = request;
    conn->answer = (tn_client_answer){.grpc_status = -1, .started_ns = tn_now_ns()};
    conn->busy = true;
    conn->ended = conn->in_timing = false;
    conn->timing_len = conn->body_at = 0;
    tn_buf_clear(&conn->body);
    if (!c->options.http2 || conn->fd < 0) {
        tn_buf_clear(&conn->head);
        tn_buf_clear(&conn->tail);
        conn->head_at = conn->tail_at = 0;
        conn->body_left = c->options.http2 ? 0 : request->body.len;
    }
    bool good = conn->fd >= 0 || open_conn(conn);
    if (good)
        good = c->options.http2 ? tn_client_http2_begin(conn) : tn_client_http1_begin(conn);
    bool stuck = true; /* until it is connected */
    if (good && !conn->connecting)
        good = write_some(conn, &stuck);
    if (good)
        watch(conn, stuck);
    else
        c->failed[c->n_failed++] = connection;
}

void tn_client_poll(tn_client *c, int64_t until_ns)
{
    struct epoll_event events[EVENTS];
    c->told = false;
    for (;;) {
        for (unsigned n = c->n_failed; n > 0; n--) {
            /* Taken off the list first: done() may start it again. */
            tn_client_conn *conn = &c->conns[c->failed[--c->n_failed]];
            fail(conn, "no connection could be made");
        }
        const int64_t now_ns = tn_now_ns();
        end_late_ones(c, now_ns);
        if (c->told)
            until_ns = now_ns;
        int64_t wait_ns = until_ns - now_ns;
        if (wait_ns > LOOK_NS)
            wait_ns = LOOK_NS;
        if (wait_ns < 0)
            wait_ns = 0;
        const struct timespec wait = {.tv_nsec = wait_ns};
        int n = epoll_pwait2(c->epoll, events, EVENTS, &wait, NULL);
        for (int i = 0; i < n; i++) {
            tn_client_conn *conn = events[i].data.ptr;
            if (conn->fd >= 0)
                on_event(conn, events[i].events);
        }
        if (c->told || tn_now_ns() >= until_ns)
            return;
    }
}

/* The first address of the host that takes a connection. */
static tern_code find_address(tn_client *c, tern_status *st)
{
    const tn_client_options *o = &c->options;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(o->host, o->port, &hints, &found);
    if (error != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "%s:%s: %s", o->host, o->port, gai_strerror(error));
    int fault = 0;
    for (const struct addrinfo *a = found; a != NULL && c->address_len == 0; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            memcpy(&c->address, a->ai_addr, a->ai_addrlen);
            c->address_len = a->ai_addrlen;
        } else {
            fault = errno;
        }
        if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(found);
    if (c->address_len == 0)
        return tern_fail(st, TERN_UNAVAILABLE, "%s:%s: %s", o->host, o->port, strerror(fault));
    return TERN_OK;
}

tern_code tn_client_new(const tn_client_options *options, tn_client **out, tern_status *st)
{
    tn_client *c = calloc(1, sizeof *c);
    tern_code code = TERN_OK;
    if (c != NULL) {
        c->options = *options;
        c->epoll = epoll_create1(EPOLL_CLOEXEC);
        c->conns = calloc(options->connections, sizeof *c->conns);
        c->failed = calloc(options->connections, sizeof *c->failed);
        c->read_to = malloc(READ_BYTES);
    }
    if (c == NULL || c->conns == NULL || c->failed == NULL || c->read_to == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u connections", options->connections);
        goto out;
    }
    for (unsigned i = 0; i < options->connections; i++) {
        tn_client_conn *conn = &c->conns[i];
        conn->client = c;
        conn->index = i;
        conn->fd = -1;
        tn_buf_init(&conn->head, HEAD_MAX);
        tn_buf_init(&conn->tail, HEAD_MAX);
        tn_buf_init(&conn->body, options->keep_body);
    }
    if (c->epoll < 0)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "epoll: %s", strerror(errno));
    else
        code = find_address(c, st);
out:
    if (code != TERN_OK) {
        tn_client_free(c);
        c = NULL;
    }
    *out = c;
    return code;
}

void tn_client_free(tn_client *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; c->conns != NULL && i < c->options.connections; i++) {
        tn_client_conn *conn = &c->conns[i];
        if (conn->client == NULL)
            break;
        close_conn(conn);
        tn_buf_free(&conn->head);
        tn_buf_free(&conn->tail);
        tn_buf_free(&conn->body);
    }
    if (c->epoll >= 0)
        close(c->epoll);
    free(c->conns);
    free(c->failed);
    free(c->read_to);
    free(c);
}
