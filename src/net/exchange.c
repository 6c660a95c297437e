/*
 * net/exchange.c - the exchange object: memory of the head, the application's view of it, the way of a body
 * into its sink, and the end of it all. What differs between the protocols is in http1.c and http2.c.
 *
 * The text of a head lies in one buffer that may move while it grows; slices into it are moved along. Every
 * exchange is of the loop's pool, with a buffer and a table of fields that fit nearly every request.
 */
#include "net/exchange.h"

#include <assert.h>
#include <netdb.h>
#include <sys/socket.h>

#include "net/conn.h"

#define FIRST_TEXT    2000
#define FIRST_HEADERS 24

static void mark_runs(tn_out_mark *mark);

static tn_exchange *take(tn_loop *loop)
{
    tn_pool *pool = &loop->pool;
    tn_exchange *ex = tn_pool_take(pool, sizeof *ex);
    if (ex == NULL)
        return NULL;
    memset(ex, 0, sizeof *ex);
    ex->buf = tn_pool_take(pool, FIRST_TEXT);
    ex->headers = tn_pool_take(pool, FIRST_HEADERS * sizeof *ex->headers);
    if (ex->buf == NULL || ex->headers == NULL) {
        tn_pool_give(pool, ex->buf);
        tn_pool_give(pool, ex->headers);
        tn_pool_give(pool, ex);
        return NULL;
    }
    ex->cap_headers = tn_pool_size(ex->headers) / sizeof *ex->headers;
    ex->loop = loop;
    ex->content_length = -1;
    ex->chunks = ex->few;
    ex->mark.run = mark_runs;
    tn_count(&loop->counts.exchanges_open, 1);
    return ex;
}

tn_exchange *tn_exchange_new(tn_conn *conn)
{
    tn_exchange *ex = take(conn->loop);
    if (ex == NULL)
        return NULL;
    ex->conn = conn;
    ex->tag = conn->tag;
    ex->started_ns = conn->now_ns;
    ex->http2 = conn->protocol == TN_PROTOCOL_HTTP2;
    ex->held = true;
    return ex;
}

tn_exchange *tn_exchange_new_inner(tn_loop *loop, tn_taker *taker)
{
    tn_exchange *ex = take(loop);
    if (ex == NULL)
        return NULL;
    ex->taker = taker;
    ex->inner = ex->head_done = ex->told = true;
    tn_count(&loop->counts.inner_open, 1);
    return ex;
}

/* Tells the application that the exchange is over, once. */
static void tell_end(tn_exchange *ex, bool sent)
{
    const tn_net_app *app = tn_net_app_of(ex->loop->net);
    if (!ex->head_done || ex->told || app->on_end == NULL)
        return;
    ex->told = true;
    app->on_end(app->context, ex, sent);
}

static void free_when_done(tn_exchange *ex)
{
    if (ex->held || ex->taken || (ex->marked && !ex->spent))
        return;
    assert(ex->room == NULL);
    tell_end(ex, false);
    tn_pool *pool = &ex->loop->pool;
    tn_count(&ex->loop->counts.exchanges_open, -1);
    if (ex->inner)
        tn_count(&ex->loop->counts.inner_open, -1);
    tn_pool_give(pool, ex->queue);
    tn_pool_give(pool, ex->own_chunks);
    tn_pool_give(pool, ex->text);
    tn_pool_give(pool, ex->own);
    tn_pool_give(pool, ex->headers);
    tn_pool_give(pool, ex->buf);
    tn_pool_give(pool, ex);
}

static void mark_runs(tn_out_mark *mark)
{
    tn_exchange *ex = TN_CONTAINER(mark, tn_exchange, mark);
    ex->spent = true;
    tell_end(ex, mark->sent);
    void (*release)(void *, bool) = ex->release;
    ex->release = NULL;
    if (release != NULL)
        release(ex->release_arg, mark->sent);
    free_when_done(ex);
}

void tn_exchange_let_go(tn_exchange *ex)
{
    ex->held = false;
    free_when_done(ex);
}

void tn_exchange_mark(tn_exchange *ex, bool sent)
{
    ex->marked = true;
    tn_exchange_unstore(ex, ex->left);
    tn_out_put_mark(ex->conn != NULL ? &ex->conn->out : &ex->loop->strays, &ex->mark,
                    sent && ex->conn != NULL);
}

/* The head's text. */

static void move_slice(tn_str *slice, const char *from, size_t len, char *to)
{
    if (slice->ptr >= from && slice->ptr <= from + len)
        slice->ptr = to + (slice->ptr - from);
}

bool tn_exchange_append(tn_exchange *ex, const char *bytes, size_t n)
{
    size_t cap = tn_pool_size(ex->buf);
    if (n > cap - ex->buf_len) {
        tn_pool *pool = &ex->loop->pool;
        size_t want = ex->buf_len + n > cap * 2 ? ex->buf_len + n : cap * 2;
        char *bigger = tn_pool_take(pool, want);
        if (bigger == NULL)
            return false;
        memcpy(bigger, ex->buf, ex->buf_len);
        move_slice(&ex->method, ex->buf, ex->buf_len, bigger);
        move_slice(&ex->target, ex->buf, ex->buf_len, bigger);
        for (size_t i = 0; i < ex->n_headers; i++) {
            move_slice(&ex->headers[i].name, ex->buf, ex->buf_len, bigger);
            move_slice(&ex->headers[i].value, ex->buf, ex->buf_len, bigger);
        }
        tn_pool_give(pool, ex->buf);
        ex->buf = bigger;
    }
    memcpy(ex->buf + ex->buf_len, bytes, n);
    ex->buf_len += n;
    return true;
}

bool tn_exchange_add_header(tn_exchange *ex, size_t name, size_t name_len, size_t value, size_t value_len)
{
    if (ex->n_headers == ex->cap_headers) {
        tn_header *more = tn_pool_resize(&ex->loop->pool, ex->headers, ex->cap_headers * 2 * sizeof *more);
        if (more == NULL)
            return false;
        ex->headers = more;
        ex->cap_headers = tn_pool_size(more) / sizeof *more;
    }
    ex->headers[ex->n_headers++] = (tn_header){{ex->buf + name, name_len}, {ex->buf + value, value_len}};
    return true;
}

/* Both protocols. */

static bool is_known_method(tn_str method)
{
    static const char known[][8] = {"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (method.len == strlen(known[i]) && memcmp(method.ptr, known[i], method.len) == 0)
            return true;
    return false;
}

int tn_exchange_refusal(tn_exchange *ex, const char **why)
{
    tn_str expect = tn_exchange_header(ex, "expect");
    if (tn_net_takes_any_method(ex->loop->net, ex->tag)) {
        if (tn_str_eq(ex->method, TN_STR("TRACE")) || tn_str_eq(ex->method, TN_STR("CONNECT"))) {
            *why = "The method is not allowed.";
            return 405;
        }
    } else if (!is_known_method(ex->method)) {
        *why = "The method is not implemented.";
        return 501;
    }
    if (ex->content_length > tn_net_limits(ex->loop->net)->max_body_bytes) {
        *why = "The body is larger than this server accepts.";
        return 413;
    }
    if (expect.ptr != NULL) {
        if (!tn_str_ieq(expect, TN_STR("100-continue"))) {
            *why = "The only expectation that can be met is 100-continue.";
            return 417;
        }
        ex->expects_100 = true;
    }
    return 0;
}

void tn_exchange_begin(tn_exchange *ex)
{
    const tn_net_app *app = tn_net_app_of(ex->loop->net);
    tn_count(&ex->loop->counts.requests_total, 1);
    ex->head_done = true;
    ex->taken = true;
    app->on_request(app->context, ex);
}

void tn_exchange_body(tn_exchange *ex, const char *bytes, size_t n)
{
    tn_sink *sink = ex->sink;
    ex->body_bytes += (int64_t)n;
    if (sink == NULL)
        ex->dropped += (int64_t)n;
    else if (sink->commit(sink, bytes, n) != TERN_OK)
        ex->sink = NULL;
}

void tn_exchange_body_end(tn_exchange *ex)
{
    tn_sink *sink = ex->sink;
    ex->body_done = true;
    ex->sink = NULL;
    if (sink != NULL)
        sink->end(sink);
}

bool tn_exchange_reclaim(tn_exchange *ex)
{
    tn_sink *sink = ex->sink;
    ex->sink = NULL;
    if (sink != NULL)
        sink->abort(sink);
    if (!ex->taken)
        return true;
    if (ex->gone == NULL) {
        ex->conn = NULL;
        ex->held = false;
        return false;
    }
    void (*gone)(void *, tn_exchange *) = ex->gone;
    tn_exchange_want_room(ex, NULL, NULL);
    ex->gone = NULL;
    ex->taken = false;
    gone(ex->gone_user, ex);
    return true;
}

/* Notes that n bytes of its answer are stored no longer. */
void tn_exchange_unstore(tn_exchange *ex, uint64_t n)
{
    ex->left -= n;
    if (ex->conn != NULL)
        ex->conn->stored -= n;
}

static bool keep_chunks(tn_exchange *ex, const tn_response *response)
{
    ex->release = response->release;
    ex->release_arg = response->release_arg;
    ex->progress_ns = ex->conn->now_ns;
    if (response->n_body > TN_EXCHANGE_CHUNKS && response->release != NULL) {
        /* The array stays, as the bytes do. */
        ex->chunks = response->body;
        ex->n_chunks = response->n_body;
        for (size_t i = 0; i < response->n_body; i++)
            ex->left += response->body[i].len;
        return true;
    }
    tn_chunk *chunks = ex->few;
    if (response->n_body > TN_EXCHANGE_CHUNKS) {
        chunks = tn_pool_take(&ex->loop->pool, response->n_body * sizeof *chunks);
        if (chunks == NULL)
            return false;
        ex->chunks = ex->own_chunks = chunks;
    }
    for (size_t i = 0; i < response->n_body; i++) {
        if (response->body[i].len == 0)
            continue;
        chunks[ex->n_chunks++] = response->body[i];
        ex->left += response->body[i].len;
    }
    return true;
}

bool tn_exchange_store(tn_exchange *ex, const tn_response *response)
{
    bool kept = keep_chunks(ex, response);
    ex->conn->stored += ex->left;
    return kept;
}

static void answer(tn_exchange *ex, const tn_response *response)
{
    ex->answered = true;
    ex->status = response->status;
    for (size_t i = 0; i < response->n_body; i++)
        ex->answer_bytes += response->body[i].len;
    ex->gone = NULL;
    ex->sink = NULL;
    ex->release = response->release;
    ex->release_arg = response->release_arg;
    if (ex->taker != NULL) {
        tn_inner_send(ex, response);
        return;
    }
    if (ex->conn == NULL) {
        tn_exchange_mark(ex, false);
        return;
    }
    tn_conn_dirty(ex->conn);
    if (ex->http2)
        tn_http2_send(ex, response);
    else
        tn_http1_send(ex, response);
}

void tn_exchange_refuse(tn_exchange *ex, int status, const char *why)
{
    static const tn_header json[] = {{TN_STR_INIT("content-type"), TN_STR_INIT("application/json")}};
    char text[256], plain[160];
    size_t len = 0;
    for (const char *c = why; *c != '\0' && len < sizeof plain - 1; c++)
        plain[len++] = *c < ' ' || *c == '"' || *c == '\\' ? ' ' : *c;
    plain[len] = '\0';
    int n = snprintf(text, sizeof text, "{\"error\": \"%s\"}\n", plain);
    assert(n > 0 && (size_t)n < sizeof text);
    tn_conn_count_error(ex->conn);
    ex->own = tn_pool_take(&ex->loop->pool, (size_t)n);
    if (ex->own != NULL)
        memcpy(ex->own, text, (size_t)n);
    tn_chunk body = {ex->own, ex->own != NULL ? (size_t)n : 0};
    tn_response response = {
        .status = status, .headers = json, .n_headers = 1, .body = &body, .n_body = 1, .close = true};
    ex->head_done = true;
    answer(ex, &response);
}

/* For the application. */

void tn_exchange_send(tn_exchange *ex, const tn_response *response)
{
    assert(ex->taken && !ex->answered);
    ex->taken = false;
    answer(ex, response);
}

tn_str tn_exchange_method(const tn_exchange *ex)
{
    return ex->method;
}

tn_str tn_exchange_target(const tn_exchange *ex)
{
    return ex->target;
}

tn_str tn_exchange_header(const tn_exchange *ex, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < ex->n_headers; i++) {
        const tn_header *header = &ex->headers[i];
        if (header->name.len == len && memcmp(header->name.ptr, name, len) == 0)
            return header->value;
    }
    return TN_STR_NONE;
}

const tn_header *tn_exchange_headers(const tn_exchange *ex, size_t *n)
{
    *n = ex->n_headers;
    return ex->headers;
}

bool tn_exchange_is_http2(const tn_exchange *ex)
{
    return ex->http2;
}

int64_t tn_exchange_content_length(const tn_exchange *ex)
{
    return ex->content_length;
}

int tn_exchange_listener(const tn_exchange *ex)
{
    return ex->tag;
}

tn_loop *tn_exchange_loop(const tn_exchange *ex)
{
    return ex->loop;
}

int64_t tn_exchange_started_ns(const tn_exchange *ex)
{
    return ex->started_ns;
}

void **tn_exchange_user(tn_exchange *ex)
{
    return &ex->user;
}

size_t tn_exchange_peer(const tn_exchange *ex, char *text, size_t size)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[64], port[8];
    int n;
    if (ex->conn == NULL || ex->conn->dead || ex->conn->gone || ex->conn->fd < 0 ||
        getpeername(ex->conn->fd, (struct sockaddr *)&address, &length) != 0)
        n = snprintf(text, size, "-");
    else if (address.ss_family == AF_UNIX)
        n = snprintf(text, size, "unix");
    else if (getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        n = snprintf(text, size, "-");
    else if (strncmp(host, "::ffff:", 7) == 0 && strchr(host, '.') != NULL) /* IPv4 on a dual-stack socket */
        n = snprintf(text, size, "%s:%s", host + 7, port);
    else
        n = snprintf(text, size, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

int tn_exchange_status(const tn_exchange *ex)
{
    return ex->status;
}

uint64_t tn_exchange_bytes_in(const tn_exchange *ex)
{
    return (uint64_t)ex->body_bytes;
}

uint64_t tn_exchange_bytes_out(const tn_exchange *ex)
{
    return ex->is_head ? 0 : ex->answer_bytes;
}

void tn_exchange_set_sink(tn_exchange *ex, tn_sink *sink)
{
    assert(ex->taken && !ex->answered);
    ex->sink = sink;
}

void tn_exchange_yield(tn_exchange *ex)
{
    if (ex->conn != NULL)
        ex->conn->turn = TN_CONN_TURN;
}

void tn_exchange_in_small_pieces(tn_exchange *ex)
{
    if (ex->conn != NULL && ex->http2)
        ex->conn->h2.in_small_pieces = true;
}

void tn_exchange_on_gone(tn_exchange *ex, void (*gone)(void *user, tn_exchange *ex), void *user)
{
    ex->gone = gone;
    ex->gone_user = user;
}
