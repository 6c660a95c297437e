/*
 * tests/fuzz/net_memory.c - the connection from memory, and an application that uses net.h in every way.
 *
 * Letters behind the slash: e echo, w echo with tiny rooms, f a sink that fails and answers at once, g one
 * that fails and is answered later, l later, n later without on_gone, b a large body, t trailers, o trailers
 * only, c close, v one that answers when the body has ended, but to everybody who waits, s a stream that
 * sends back what comes, p a stream as long as asked for, written whenever there is room, x the same, broken
 * off. Others: 200 at once.
 */
#include "net_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/region.h"

typedef struct net_memory_call {
    tn_sink sink;
    net_memory *m;
    tn_exchange *ex;
    struct net_memory_call *next, **link;
    bool linked, has_sink;
    char kind;
    size_t bytes;
    bool streams;
    char room[64];
    tn_region body;
    tn_chunk chunk;
} call;

static const tn_header type[] = {{TN_STR_INIT("content-type"), TN_STR_INIT("text/plain")}};
static const tn_chunk ok = {"ok\n", 3};
static char big[70000];

static void must(bool kept, const char *promise)
{
    if (kept)
        return;
    fprintf(stderr, "net_memory: not kept: %s\n", promise);
    abort();
}

static void unlink_call(call *c)
{
    if (!c->linked)
        return;
    c->linked = false;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
}

static void link_call(call *c)
{
    if (c->linked)
        return;
    c->linked = true;
    c->next = c->m->calls;
    c->link = &c->m->calls;
    if (c->next != NULL)
        c->next->link = &c->next;
    c->m->calls = c;
}

static void free_call(call *c)
{
    must(!c->has_sink, "a sink is closed before its exchange ends");
    unlink_call(c);
    tn_region_free(&c->body);
    c->m->live--;
    free(c);
}

static void on_gone(void *user, tn_exchange *ex)
{
    call *c = user;
    must(c->ex == ex, "gone comes at most once, and not after the answer");
    c->ex = NULL;
    c->m->gone++;
    free_call(c);
}

static void released(void *arg, bool sent)
{
    call *c = arg;
    *(sent ? &c->m->released : &c->m->unsent) += 1;
    free_call(c);
}

/* The end of a streamed answer: nothing is released, the exchange is forgotten at once. */
static void finish_stream(call *c)
{
    static const tn_header trailers[] = {{TN_STR_INIT("grpc-status"), TN_STR_INIT("0")}};
    tn_exchange *ex = c->ex;
    must(ex != NULL, "a stream is ended once");
    c->ex = NULL;
    c->has_sink = false;
    if (c->kind == 'x')
        tn_exchange_break(ex);
    else
        tn_exchange_finish(ex, trailers, c->bytes % 2);
    free_call(c);
}

/* Writes while it may, and asks for more room: 2 MB for every path that is longer than its letter. */
static void pour(void *user, tn_exchange *ex)
{
    call *c = user;
    size_t whole = tn_exchange_target(ex).len > 2 ? (size_t)2 << 20 : 100;
    must(c->ex == ex, "room is given to whoever asked");
    while (c->bytes < whole) {
        size_t n = whole - c->bytes < 65000 ? whole - c->bytes : 65000;
        if (!tn_exchange_write(ex, big, n)) {
            must(tn_exchange_room(ex) < n || c->m->conn->dead, "what there is room for is taken");
            tn_exchange_want_room(ex, pour, c);
            return;
        }
        c->bytes += n;
    }
    finish_stream(c);
}

static void answer(call *c)
{
    static const tn_header trailers[] = {{TN_STR_INIT("grpc-status"), TN_STR_INIT("0")}};
    tn_response response = {.status = 200,
                            .headers = type,
                            .n_headers = 1,
                            .body = &ok,
                            .n_body = 1,
                            .release = released,
                            .release_arg = c};
    tn_exchange *ex = c->ex;
    must(ex != NULL, "an answer is asked for once");
    if (c->streams) {
        finish_stream(c);
        return;
    }
    if (c->kind == 'b')
        c->chunk = (tn_chunk){big, sizeof big};
    else if (c->kind == 'e' || c->kind == 'w')
        c->chunk = (tn_chunk){c->body.ptr, c->body.len};
    else
        c->chunk = ok;
    response.body = &c->chunk;
    if (c->kind == 't') {
        response.trailers = trailers;
        response.n_trailers = 1;
    }
    if (c->kind == 'o')
        response.trailers_only = true;
    if (c->kind == 'f' || c->kind == 'g')
        response.status = 429;
    response.close = c->kind == 'c';
    c->ex = NULL;
    c->has_sink = false; /* sending an answer closes a sink without a word */
    unlink_call(c);
    tn_exchange_send(ex, &response);
}

static tern_code reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    call *c = TN_CONTAINER(sink, call, sink);
    must(c->has_sink && want > 0, "nothing is reserved on a closed sink");
    *space = 0;
    if (c->kind == 'e') {
        tern_status st;
        return tn_region_room(&c->body, want, room, space, &st);
    }
    if (c->kind == 'w') {
        *room = c->room;
        *space = sizeof c->room;
    }
    return TERN_OK;
}

static tern_code commit(tn_sink *sink, const char *ptr, size_t n)
{
    call *c = TN_CONTAINER(sink, call, sink);
    tern_status st;
    must(c->has_sink && n > 0, "nothing is committed to a closed sink");
    c->bytes += n;
    if (c->kind == 's') {
        if (c->bytes < 3000 && tn_exchange_write(c->ex, ptr, n))
            return TERN_OK;
        c->m->closed_sinks++;
        finish_stream(c);
        return TERN_RESOURCE_EXHAUSTED;
    }
    if ((c->kind == 'f' || c->kind == 'g') && c->bytes > 10) {
        c->has_sink = false;
        if (c->kind == 'f')
            answer(c);
        else
            link_call(c);
        return TERN_RESOURCE_EXHAUSTED;
    }
    if (c->kind == 'e' && c->body.ptr != NULL && ptr == c->body.ptr + c->body.len)
        return tn_region_commit(&c->body, n, &st);
    return tn_region_append(&c->body, ptr, n, &st);
}

static void end(tn_sink *sink)
{
    call *c = TN_CONTAINER(sink, call, sink);
    must(c->has_sink, "a sink is closed once");
    c->has_sink = false;
    c->m->closed_sinks++;
    if (c->kind == 's') {
        finish_stream(c);
        return;
    }
    if (c->kind == 'v')
        net_memory_answer(c->m, false);
    answer(c);
}

static void aborted(tn_sink *sink)
{
    call *c = TN_CONTAINER(sink, call, sink);
    must(c->has_sink && c->ex != NULL, "abort closes a sink once, before gone");
    c->has_sink = false;
    c->m->closed_sinks++;
}

static void on_request(void *context, tn_exchange *ex)
{
    static const tn_response head = {.status = 200, .headers = type, .n_headers = 1};
    net_memory *m = context;
    tn_str target = tn_exchange_target(ex);
    size_t n;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    for (size_t i = 0; i < n; i++)
        must(tn_str_find(headers[i].value, TN_STR("\n")) < 0 && headers[i].name.len > 0, "fields are clean");
    char kind = target.len > 1 ? target.ptr[1] : '/';
    if (strchr("ewfglnbtocvspx", kind) == NULL || kind == '\0') {
        tn_response response = {.status = 200, .headers = type, .n_headers = 1, .body = &ok, .n_body = 1};
        tn_exchange_send(ex, &response);
        return;
    }
    call *c = calloc(1, sizeof *c);
    must(c != NULL, "there is memory");
    c->m = m;
    c->ex = ex;
    c->kind = kind;
    c->streams = strchr("spx", kind) != NULL;
    m->live++;
    tn_region_init(&c->body, NULL, 0, (size_t)1 << 24);
    if (kind != 'n')
        tn_exchange_on_gone(ex, on_gone, c);
    if (strchr("ewfgvs", kind) != NULL) {
        c->sink = (tn_sink){reserve, commit, end, aborted};
        c->has_sink = true;
        m->sinks++;
        tn_exchange_set_sink(ex, &c->sink);
        if (kind == 's')
            tn_exchange_stream(ex, &head);
    } else if (kind == 'p' || kind == 'x') {
        tn_exchange_stream(ex, &head);
        link_call(c);
        pour(c, ex);
    } else if (strchr("btoc", kind) != NULL) {
        answer(c);
    } else {
        link_call(c);
    }
}

/* The client's side. */

static uint32_t random_of(net_memory *m)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 17;
    m->seed ^= m->seed << 5;
    return m->seed;
}

/* How much of n moves now, at least 1. */
static size_t cut(net_memory *m, size_t n)
{
    if (m->seed == 0 || n < 2)
        return n;
    uint32_t r = random_of(m);
    size_t most = r & 1 ? 16 : (r & 2 ? 300 : n);
    return 1 + (r >> 8) % (most < n ? most : n);
}

static ssize_t memory_recv(tn_conn *conn, char *room, size_t n)
{
    net_memory *m = conn->io_user;
    size_t left = m->in_len - m->in_at;
    if (left == 0)
        return m->in_ends ? 0 : -EAGAIN;
    n = cut(m, n < left ? n : left);
    memcpy(room, m->in + m->in_at, n);
    m->in_at += n;
    return (ssize_t)n;
}

static ssize_t memory_send(tn_conn *conn, const struct iovec *iov, size_t n)
{
    net_memory *m = conn->io_user;
    size_t whole = 0;
    if (m->stuck || (m->seed != 0 && (random_of(m) & 7) == 0))
        return -EAGAIN;
    for (size_t i = 0; i < n; i++)
        whole += iov[i].iov_len;
    whole = cut(m, whole);
    size_t left = whole;
    if (m->keep_out) {
        m->out = realloc(m->out, m->out_len + whole + 1);
        must(m->out != NULL, "there is memory");
    }
    for (size_t i = 0; left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        if (m->keep_out)
            memcpy(m->out + m->out_len, iov[i].iov_base, part);
        else
            m->out_len +=
                ((const volatile char *)iov[i].iov_base)[part - 1] == 0; /* touch it, for AddressSanitizer */
        if (m->keep_out)
            m->out_len += part;
        left -= part;
    }
    return (ssize_t)whole;
}

static void memory_shut(tn_conn *conn)
{
    ((net_memory *)conn->io_user)->shut = true;
}

static void memory_close(tn_conn *conn)
{
    ((net_memory *)conn->io_user)->conn = NULL;
}

static const tn_conn_io memory_io = {memory_recv, memory_send, memory_shut, memory_close, NULL};

void net_memory_open(net_memory *m, const tn_limits *limits)
{
    tern_status st;
    memset(m, 0, sizeof *m);
    memset(big, 'b', sizeof big);
    tn_net_options options = {.loops = 1,
                              .limits = limits != NULL ? *limits : tn_limits_default(),
                              .app = {.context = m, .on_request = on_request}};
    must(tn_net_new(&options, &m->net, &st) == TERN_OK, "a net can be made");
    m->loop = tn_net_loop(m->net, 0);
}

bool net_memory_connect(net_memory *m)
{
    must(tn_net_take_place(m->net), "there is a place");
    m->in = "";
    m->in_len = m->in_at = m->out_len = 0;
    m->in_ends = m->shut = false;
    m->conn = tn_conn_open(m->loop, -1, 1, &memory_io, m);
    return m->conn != NULL;
}

/* One round of what a running loop would do. */
static void turn(net_memory *m)
{
    if (m->conn != NULL && !m->stuck && m->conn->blocked) {
        m->conn->blocked = false;
        tn_conn_dirty(m->conn);
    }
    if (m->conn != NULL)
        tn_conn_readable(m->conn);
    tn_loop_settle(m->loop);
    uv_run(&m->loop->uv, UV_RUN_NOWAIT);
}

void net_memory_feed(net_memory *m, const char *bytes, size_t n)
{
    m->in = bytes;
    m->in_len = n;
    m->in_at = 0;
    for (int quiet = 0, rounds = 0; m->conn != NULL && quiet < 3 && rounds < 100000; rounds++) {
        size_t in = m->in_at;
        uint64_t sent = m->conn->out.sent, queued = m->conn->out.queued;
        size_t stash = m->conn->stash_len - m->conn->stash_at;
        turn(m);
        bool moved = m->conn == NULL || m->in_at != in || m->conn->out.sent != sent ||
                     m->conn->out.queued != queued || m->conn->stash_len - m->conn->stash_at != stash;
        quiet = moved ? 0 : quiet + 1;
        if (m->seed != 0 && m->conn != NULL && m->conn->blocked && quiet == 2 && !m->stuck)
            quiet = 0;
    }
}

void net_memory_answer(net_memory *m, bool newest_first)
{
    while (m->calls != NULL) {
        call *c = m->calls;
        while (!newest_first && c->next != NULL)
            c = c->next;
        answer(c);
    }
}

void net_memory_later(net_memory *m, int64_t ms)
{
    if (m->conn != NULL)
        tn_conn_check(m->conn, tn_now_ns() + ms * TN_NS_PER_MS);
    tn_loop_settle(m->loop);
}

void net_memory_disconnect(net_memory *m)
{
    if (m->conn != NULL)
        tn_conn_kill(m->conn);
    tn_loop_settle(m->loop);
    must(m->conn == NULL, "a killed connection goes away");
    net_memory_answer(m, true); /* those without on_gone */
    tn_loop_settle(m->loop);
    must(m->live == 0, "every call ends");
    tn_net_counts counts = tn_net_count(m->net);
    must(counts.exchanges_open == 0 && counts.connections_open == 0, "nothing stays open");
}

void net_memory_close(net_memory *m)
{
    net_memory_disconnect(m);
    tn_net_free(m->net);
    free(m->out);
}
