/*
 * net/http2.c - HTTP/2 requests: nghttp2's callbacks make exchanges of streams; floods, timeouts, GOAWAY.
 *
 * nghttp2 keeps the protocol's state and never touches the socket: bytes go in by nghttp2_session_mem_recv()
 * in slices, frames come out by tn_http2_pull() (http2_write.c). Flow control windows are large and opened
 * again as data is committed, which is at once: an upload is held back by the socket, never by another
 * stream.
 * Floods: every frame that does no work costs credit, which time and real requests give back; who runs out
 * gets GOAWAY ENHANCE_YOUR_CALM (CVE-2023-44487 rapid reset, CVE-2019-9511..9518, CVE-2024-28182
 * CONTINUATION, CVE-2025-8671 MadeYouReset).
 */
#include <nghttp2/nghttp2.h>

#include "base/clock.h"
#include "net/conn.h"
#include "net/http2_write.h"

#define STREAM_WINDOW        (8 << 20)
#define CONNECTION_WINDOW    (16 << 20)
#define MAX_FRAME            (256 << 10)
#define MIN_SLICE            ((size_t)8 << 10)
#define MAX_SLICE            ((size_t)64 << 10)
#define BULK                 ((size_t)64 << 10) /* of a frame: read to where it is to lie */
#define HEAD_READ            ((size_t)4 << 10)  /* what is read between two such frames, and copied */

#define CREDIT_MAX           10000
#define CREDIT_PER_SECOND    2000
#define CREDIT_PER_REQUEST   6
#define CREDIT_PER_DATA_SENT 2
#define COST_RESET           10
#define COST_FRAME           1
#define COST_ANSWERED_FRAME  2 /* PING and SETTINGS make us write */

/*
 * How long after the shutdown notice the final GOAWAY follows, unless the notice's PING is answered before.
 */
#define DRAIN_NS (500 * TN_NS_PER_MS)
static const uint8_t drain_ping[8] = {'t', 'e', 'r', 'n', 'd', 'r', 'a', 'n'};

static const tn_limits *limits_of(const tn_conn *conn)
{
    return tn_net_limits(conn->loop->net);
}

/* The end of the session: GOAWAY is queued; what comes in is no longer read. */
static void end_session(tn_conn *conn, uint32_t error_code)
{
    if (conn->h2.ended)
        return;
    conn->h2.ended = true;
    nghttp2_session_terminate_session(conn->h2.session, error_code);
    tn_conn_dirty(conn);
}

/* False when the credit is used up; then the session has been ended. */
static bool spend(tn_conn *conn, int64_t cost)
{
    tn_http2 *h2 = &conn->h2;
    int64_t gained = (conn->now_ns - h2->credit_ns) * CREDIT_PER_SECOND / TN_NS_PER_S;
    if (gained > 0) {
        h2->credit_ns = conn->now_ns;
        h2->credit += gained;
    }
    h2->credit -= cost;
    if (h2->credit > CREDIT_MAX)
        h2->credit = CREDIT_MAX;
    if (h2->credit >= 0)
        return true;
    end_session(conn, NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
}

static tn_exchange *exchange_of(const tn_conn *conn, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(conn->h2.session, stream_id);
}

static void drop_stream(tn_conn *conn, tn_exchange *ex)
{
    nghttp2_session_set_stream_user_data(conn->h2.session, ex->stream_id, NULL);
    tn_conn_unlink(conn, ex);
}

/* Refuses a stream that the application may hold. */
static void refuse(tn_conn *conn, tn_exchange *ex, int status, const char *why)
{
    int32_t id = ex->stream_id;
    if (ex->answered)
        return;
    if (ex->streaming)
        tn_exchange_unstore(ex, ex->left);
    bool ours = !ex->head_done || tn_exchange_reclaim(ex);
    if (!ours || ex->streaming) {
        drop_stream(conn, ex);
        nghttp2_submit_rst_stream(conn->h2.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
        tn_conn_dirty(conn);
        if (ours)
            tn_exchange_let_go(ex);
        return;
    }
    ex->refused = true;
    tn_exchange_refuse(ex, status, why);
}

/* Requests. */

static bool is_request_head(const nghttp2_frame *frame)
{
    return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    tn_conn *conn = user;
    conn->h2.head_ns = conn->now_ns;
    if (!is_request_head(frame))
        return 0;
    if (tn_conn_is_full(conn)) {
        /* Too many answers wait for the client to read them. It may ask again. */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    tn_exchange *ex = tn_exchange_new(conn);
    if (ex == NULL) {
        conn->h2.head_ns = 0;
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    ex->stream_id = frame->hd.stream_id;
    ex->keep_alive = true;
    conn->had_request = true;
    conn->h2.quiet_ns = conn->now_ns;
    conn->turn++;
    tn_conn_link(conn, ex);
    nghttp2_session_set_stream_user_data(session, ex->stream_id, ex);
    return 0;
}

static void refuse_later(tn_exchange *ex, int status, const char *why)
{
    if (ex->refusal == 0) {
        ex->refusal = status;
        ex->refusal_why = why;
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_bytes,
                     size_t name_len, const uint8_t *value_bytes, size_t value_len, uint8_t flags, void *user)
{
    tn_conn *conn = user;
    const tn_limits *limits = limits_of(conn);
    tn_exchange *ex = is_request_head(frame) ? exchange_of(conn, frame->hd.stream_id) : NULL;
    if (ex == NULL)
        return 0;
    tn_str name = {(const char *)name_bytes, name_len}, value = {(const char *)value_bytes, value_len};
    bool is_path = tn_str_eq(name, TN_STR(":path"));
    if (is_path && value.len > (size_t)limits->max_request_line_bytes)
        refuse_later(ex, 414, "The request target is too long.");
    if (!is_path)
        ex->head_bytes += name.len + value.len;
    if (ex->head_bytes > (size_t)limits->max_header_bytes)
        refuse_later(ex, 431, "The header fields are too long.");
    if (ex->n_headers >= (size_t)limits->max_headers)
        refuse_later(ex, 431, "There are too many header fields.");
    if (ex->refusal != 0)
        return 0;
    if (tn_str_eq(name, TN_STR(":authority")))
        name = TN_STR("host");
    size_t at = ex->buf_len;
    if (!tn_exchange_append(ex, name.ptr, name.len) || !tn_exchange_append(ex, value.ptr, value.len)) {
        refuse_later(ex, 503, "The server is short of memory.");
        return 0;
    }
    tn_str kept = {ex->buf + at + name.len, value.len};
    if (is_path)
        ex->target = kept;
    else if (tn_str_eq(name, TN_STR(":method")))
        ex->method = kept;
    else if (name.ptr[0] != ':' && !tn_exchange_add_header(ex, at, name.len, at + name.len, value.len))
        refuse_later(ex, 503, "The server is short of memory.");
    if (tn_str_eq(name, TN_STR("content-length")) && !tn_str_i64(value, &ex->content_length))
        ex->content_length = INT64_MAX;
    return 0;
}

static void head_complete(tn_conn *conn, tn_exchange *ex, bool no_body)
{
    int64_t now = conn->now_ns;
    ex->is_head = tn_str_eq(ex->method, TN_STR("HEAD"));
    ex->body_from_ns = ex->body_last_ns = now;
    if (no_body)
        ex->content_length = 0;
    if (ex->refusal == 0)
        ex->refusal = tn_exchange_refusal(ex, &ex->refusal_why);
    if (ex->refusal != 0) {
        refuse(conn, ex, ex->refusal, ex->refusal_why);
        return;
    }
    tn_exchange_begin(ex);
    if (ex->expects_100 && !no_body && !ex->answered && ex->sink != NULL)
        tn_http2_continue_100(conn, ex);
}

static bool pays(tn_conn *conn, const nghttp2_frame_hd *hd)
{
    tn_http2 *h2 = &conn->h2;
    bool ack = (hd->flags & NGHTTP2_FLAG_ACK) != 0;
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        return spend(conn, -CREDIT_PER_REQUEST);
    case NGHTTP2_CONTINUATION:
        /* One for each KB of the longest head is plenty. */
        if (++h2->continuations <= 8 + limits_of(conn)->max_header_bytes / 1024)
            return spend(conn, COST_FRAME);
        end_session(conn, NGHTTP2_ENHANCE_YOUR_CALM);
        return false;
    case NGHTTP2_DATA:
        return hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM) || spend(conn, COST_FRAME);
    case NGHTTP2_RST_STREAM:
        return spend(conn, COST_RESET);
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
        return ack || spend(conn, COST_ANSWERED_FRAME);
    default:
        return spend(conn, COST_FRAME);
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    tn_conn *conn = user;
    const bool plain = hd->type == NGHTTP2_DATA && !(hd->flags & NGHTTP2_FLAG_PADDED);
    conn->h2.data_left = plain ? hd->length : 0;
    conn->h2.data_stream = hd->stream_id;
    conn->h2.in_bulk = conn->h2.in_bulk && conn->h2.data_left >= BULK;
    if (hd->type == NGHTTP2_HEADERS)
        conn->h2.continuations = 0;
    return !conn->h2.ended && pays(conn, hd) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    tn_conn *conn = user;
    tn_conn_count_error(conn);
    conn->h2.head_ns = 0;
    return spend(conn, COST_RESET) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void final_goaway(tn_conn *conn)
{
    nghttp2_session *session = conn->h2.session;
    conn->h2.drain_ns = 0;
    nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    tn_conn_dirty(conn);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    tn_conn *conn = user;
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) && conn->h2.drain_ns != 0 &&
        memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0)
        final_goaway(conn);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        conn->h2.head_ns = 0;
    tn_exchange *ex = exchange_of(conn, frame->hd.stream_id);
    if (ex == NULL)
        return 0;
    if (is_request_head(frame))
        head_complete(conn, ex, ends);
    /* The application may have been told meanwhile that this stream is gone. */
    if (ends && exchange_of(conn, frame->hd.stream_id) == ex && !ex->body_done)
        tn_exchange_body_end(ex);
    return 0;
}

/*
 * Answered early: the client need not send the rest (RFC 9113, 8.1). It is told only some time after the
 * answer, since some (curl before 8) forget an answer that a reset follows at once.
 */
static void end_upload(tn_conn *conn, tn_exchange *ex)
{
    ex->linger_ns = 0;
    nghttp2_submit_rst_stream(conn->h2.session, NGHTTP2_FLAG_NONE, ex->stream_id, NGHTTP2_NO_ERROR);
    tn_conn_dirty(conn);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *bytes, size_t n,
                   void *user)
{
    tn_conn *conn = user;
    tn_exchange *ex = exchange_of(conn, stream_id);
    if (ex == NULL)
        return 0;
    conn->h2.data_left -= n < conn->h2.data_left ? n : conn->h2.data_left;
    ex->expects_100 = false;
    ex->body_last_ns = conn->now_ns;
    if (!ex->answered && ex->body_bytes + (int64_t)n > limits_of(conn)->max_body_bytes) {
        refuse(conn, ex, 413, "The body is larger than this server accepts.");
        return 0; /* a stream may be gone */
    }
    tn_exchange_body(ex, (const char *)bytes, n);
    if (ex->linger_ns != 0 && ex->dropped > limits_of(conn)->max_drop_bytes)
        end_upload(conn, ex);
    return 0;
}

static void stream_ends(tn_conn *conn, tn_exchange *ex)
{
    conn->h2.quiet_ns = conn->now_ns;
    tn_conn_unlink(conn, ex);
    if (ex->answered) {
        if (!ex->marked)
            tn_exchange_mark(ex, ex->left == 0 && !ex->broken);
        tn_conn_dirty(conn);
        tn_exchange_let_go(ex);
        return;
    }
    if (ex->streaming)
        tn_exchange_unstore(ex, ex->left);
    if (tn_exchange_reclaim(ex))
        tn_exchange_let_go(ex);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user)
{
    tn_conn *conn = user;
    tn_exchange *ex = exchange_of(conn, stream_id);
    if (ex != NULL)
        stream_ends(conn, ex);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    tn_conn *conn = user;
    int32_t id = frame->hd.stream_id;
    bool is_data = frame->hd.type == NGHTTP2_DATA;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        tn_conn_count_error(conn);
    if (is_data && conn->h2.credit < CREDIT_MAX)
        conn->h2.credit += CREDIT_PER_DATA_SENT;
    bool ends = (is_data || frame->hd.type == NGHTTP2_HEADERS) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (!ends || nghttp2_session_get_stream_remote_close(session, id) != 0)
        return 0;
    /* Answered early. The bytes are on their way, so the answer is done, though the stream is not. */
    tn_exchange *ex = exchange_of(conn, id);
    if (ex != NULL && ex->answered && !ex->marked) {
        tn_exchange_mark(ex, true);
        ex->linger_ns = conn->now_ns;
    }
    return 0;
}

/* nghttp2's memory is the loop's pool. */

static void *pool_malloc(size_t size, void *pool)
{
    return tn_pool_take(pool, size);
}

static void pool_free(void *ptr, void *pool)
{
    tn_pool_give(pool, ptr);
}

static void *pool_calloc(size_t n, size_t size, void *pool)
{
    size_t whole;
    if (__builtin_mul_overflow(n, size, &whole))
        return NULL;
    void *ptr = tn_pool_take(pool, whole);
    return ptr != NULL ? memset(ptr, 0, whole) : NULL;
}

static void *pool_realloc(void *ptr, size_t size, void *pool)
{
    return tn_pool_resize(pool, ptr, size);
}

/* The loop and the connection. */

bool tn_http2_prepare(tn_loop *loop)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *options = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&options) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return false;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    tn_http2_write_callbacks(callbacks);
    nghttp2_option_set_no_closed_streams(options, 1);
#ifdef TN_NGHTTP2_RESET_LIMIT
    /*
     * Newer versions count resets, too, but do not see that a client under load may cancel much and ask for
     * much.
     */
    nghttp2_option_set_stream_reset_rate_limit(options, CREDIT_MAX, CREDIT_PER_SECOND);
#endif
    loop->h2_callbacks = callbacks;
    loop->h2_options = options;
    return true;
}

void tn_http2_unprepare(tn_loop *loop)
{
    nghttp2_session_callbacks_del(loop->h2_callbacks);
    nghttp2_option_del(loop->h2_options);
    loop->h2_callbacks = loop->h2_options = NULL;
}

bool tn_http2_open(tn_conn *conn)
{
    const tn_limits *limits = limits_of(conn);
    tn_http2 *h2 = &conn->h2;
    memset(h2, 0, sizeof *h2);
    h2->credit = CREDIT_MAX;
    h2->credit_ns = h2->opened_ns = h2->quiet_ns = conn->now_ns;
    h2->slice = MIN_SLICE;
    nghttp2_mem memory = {&conn->loop->pool, pool_malloc, pool_free, pool_calloc, pool_realloc};
    nghttp2_session *session = NULL;
    if (nghttp2_session_server_new3(&session, conn->loop->h2_callbacks, conn, conn->loop->h2_options,
                                    &memory) != 0)
        return false;
    h2->session = session;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)limits->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->max_header_bytes},
    };
    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) !=
            0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0) {
        nghttp2_session_del(session);
        h2->session = NULL;
        return false;
    }
    return true;
}

size_t tn_http2_room(tn_conn *conn, char **room, size_t space)
{
    tn_http2 *h2 = &conn->h2;
    tn_exchange *ex = h2->data_left > 0 ? exchange_of(conn, h2->data_stream) : NULL;
    tn_sink *sink = ex != NULL && !h2->ended ? ex->sink : NULL;
    char *place = NULL;
    size_t free_bytes = 0;
    if (h2->in_bulk && h2->data_left == 0)
        return HEAD_READ;
    if (!h2->in_bulk && h2->data_left < BULK)
        return space;
    h2->in_bulk = false;
    if (sink == NULL || sink->reserve == NULL)
        return space;
    if (sink->reserve(sink, h2->data_left, &place, &free_bytes) != TERN_OK) {
        ex->sink = NULL;
        return space;
    }
    if (place == NULL || free_bytes == 0)
        return space;
    h2->in_bulk = true;
    *room = place;
    return free_bytes < h2->data_left ? free_bytes : h2->data_left;
}

size_t tn_http2_feed(tn_conn *conn, const char *bytes, size_t n)
{
    tn_http2 *h2 = &conn->h2;
    size_t used = 0;
    if (h2->ended)
        return n;
    h2->read_ns = conn->now_ns;
    h2->ping_ns = 0;
    tn_conn_dirty(conn);
    /* Small slices while requests come, so that a turn ends in time; large ones while a body does. */
    while (used < n && conn->turn < TN_CONN_TURN) {
        uint32_t before = conn->turn;
        size_t slice = n - used < h2->slice ? n - used : h2->slice;
        ssize_t got = nghttp2_session_mem_recv(h2->session, (const uint8_t *)bytes + used, slice);
        if (got < 0) {
            end_session(conn,
                        got == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
            return n;
        }
        used += (size_t)got;
        if (h2->ended || conn->dead)
            return n;
        if (conn->turn != before || h2->in_small_pieces)
            h2->slice = MIN_SLICE;
        else if (h2->slice < MAX_SLICE)
            h2->slice *= 2;
    }
    return used;
}

/* Timeouts and ends. */

static void check_stream(tn_conn *conn, tn_exchange *ex, int64_t now)
{
    const tn_limits *limits = limits_of(conn);
    bool reads_nothing = ex->left > 0 && now - ex->progress_ns >= limits->write_timeout_ms * TN_NS_PER_MS;
    if (ex->streaming && !ex->answered) {
        if (reads_nothing)
            refuse(conn, ex, 0, "");
    } else if (!ex->answered && ex->head_done && !ex->body_done && now >= tn_conn_body_due(conn, ex)) {
        refuse(conn, ex, 408, "The request did not arrive in time.");
    } else if (ex->linger_ns != 0) {
        if (conn->draining || now - ex->linger_ns >= limits->linger_ms * TN_NS_PER_MS)
            end_upload(conn, ex);
    } else if (ex->answered && !ex->marked &&
               now - ex->progress_ns >= limits->write_timeout_ms * TN_NS_PER_MS) {
        /* The client opens no window for it. */
        nghttp2_submit_rst_stream(conn->h2.session, NGHTTP2_FLAG_NONE, ex->stream_id, NGHTTP2_CANCEL);
        tn_conn_dirty(conn);
    }
}

/* A client that is silent for long is asked whether it lives (RFC 9113, 6.7). */
static void check_alive(tn_conn *conn, int64_t now)
{
    const tn_limits *limits = limits_of(conn);
    tn_http2 *h2 = &conn->h2;
    if (limits->keepalive_ms == 0 || h2->ended)
        return;
    if (h2->ping_ns != 0) {
        if (now - h2->ping_ns >= limits->keepalive_timeout_ms * TN_NS_PER_MS)
            tn_conn_kill(conn);
    } else if (now - h2->read_ns >= limits->keepalive_ms * TN_NS_PER_MS) {
        h2->ping_ns = now;
        nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
        tn_conn_dirty(conn);
    }
}

static void check_age(tn_conn *conn, int64_t now)
{
    const tn_limits *limits = limits_of(conn);
    int64_t age = limits->max_connection_age_ms, grace = limits->max_connection_age_grace_ms;
    int64_t ns = now - conn->h2.opened_ns;
    if (age == 0 || ns < age * TN_NS_PER_MS)
        return;
    tn_http2_drain(conn);
    if (grace > 0 && ns >= (age + grace) * TN_NS_PER_MS)
        tn_conn_kill(conn);
}

void tn_http2_check(tn_conn *conn, int64_t now)
{
    tn_http2 *h2 = &conn->h2;
    for (tn_exchange *ex = conn->first, *next; ex != NULL; ex = next) {
        next = ex->next;
        check_stream(conn, ex, now);
    }
    if (h2->head_ns != 0 && now - h2->head_ns >= limits_of(conn)->header_timeout_ms * TN_NS_PER_MS)
        end_session(conn, NGHTTP2_ENHANCE_YOUR_CALM);
    if (h2->drain_ns != 0 && now >= h2->drain_ns)
        final_goaway(conn);
    check_alive(conn, now);
    check_age(conn, now);
}

void tn_http2_drain(tn_conn *conn)
{
    tn_http2 *h2 = &conn->h2;
    if (h2->notified)
        return;
    h2->notified = true;
    h2->drain_ns = tn_now_ns() + DRAIN_NS;
    nghttp2_submit_shutdown_notice(h2->session);
    nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, drain_ping);
    tn_conn_dirty(conn);
}

void tn_http2_forget(tn_conn *conn)
{
    while (conn->first != NULL) {
        tn_exchange *ex = conn->first;
        nghttp2_session_set_stream_user_data(conn->h2.session, ex->stream_id, NULL);
        stream_ends(conn, ex);
    }
}

void tn_http2_close(tn_conn *conn)
{
    tn_http2_forget(conn);
    nghttp2_session_del(conn->h2.session);
    conn->h2.session = NULL;
}
