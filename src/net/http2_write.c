/*
 * net/http2_write.c - HTTP/2 answers: heads, bodies without a copy, trailers.
 *
 * nghttp2 decides which frame is next; frames of all streams go into the connection's one output and leave by
 * one writev. Of DATA only the 9 bytes of the frame's head are copied, the body is borrowed until the mark
 * that is put when the stream closes. No more is taken from nghttp2 while enough waits already, so that
 * control frames never stand behind a large body.
 */
#include "net/http2_write.h"

#include "base/clock.h"
#include "net/conn.h"

/* With so much in the output, nghttp2 is not asked for more. */
#define ENOUGH     ((uint64_t)1 << 20)
#define FRAME_HEAD 9
/* Fields of an answer that need no memory of their own. */
#define FEW_FIELDS 32

static ssize_t on_send(nghttp2_session *session, const uint8_t *bytes, size_t n, int flags, void *user)
{
    tn_conn *conn = user;
    if (tn_out_pending(&conn->out) >= ENOUGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    tn_out_copy(&conn->out, bytes, n);
    return conn->out.failed ? NGHTTP2_ERR_CALLBACK_FAILURE : (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *user)
{
    tn_conn *conn = user;
    tn_exchange *ex = source->ptr;
    if (tn_out_pending(&conn->out) >= ENOUGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    tn_out_copy(&conn->out, head, FRAME_HEAD);
    tn_exchange_unstore(ex, n);
    ex->progress_ns = conn->now_ns;
    while (n > 0) {
        const tn_chunk *chunk = &ex->chunks[ex->chunk];
        size_t part = chunk->len - ex->chunk_at < n ? chunk->len - ex->chunk_at : n;
        tn_out_borrow(&conn->out, (const char *)chunk->ptr + ex->chunk_at, part);
        n -= part;
        ex->chunk_at += part;
        if (ex->chunk_at == chunk->len) {
            ex->chunk++;
            ex->chunk_at = 0;
        }
    }
    return conn->out.failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *room, size_t n,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    tn_exchange *ex = source->ptr;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (ex->left > n)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (ex->n_trailers > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream_id, ex->trailers, ex->n_trailers) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)ex->left;
}

void tn_http2_write_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
}

void tn_http2_pull(tn_conn *conn)
{
    nghttp2_session *session = conn->h2.session;
    if (conn->closing || tn_out_pending(&conn->out) >= ENOUGH)
        return;
    if (nghttp2_session_want_write(session) && nghttp2_session_send(session) != 0) {
        tn_conn_kill(conn);
        return;
    }
    bool over =
        !nghttp2_session_want_write(session) && (conn->h2.ended || !nghttp2_session_want_read(session));
    if (over)
        tn_conn_close_after(conn, true);
}

static nghttp2_nv field(tn_str name, tn_str value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len, value.len,
                        NGHTTP2_NV_FLAG_NONE};
}

/* A field that net writes itself, or that HTTP/2 forbids (RFC 9113, 8.2.2), or that is broken: left out. */
static bool is_left_out(const tn_header *header)
{
    static const tn_str own[] = {TN_STR_INIT("content-length"), TN_STR_INIT("date"),
                                 TN_STR_INIT("connection"),     TN_STR_INIT("transfer-encoding"),
                                 TN_STR_INIT("keep-alive"),     TN_STR_INIT("upgrade")};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (tn_str_eq(header->name, own[i]))
            return true;
    return !tn_header_is_clean(header);
}

/*
 * Keeps the trailers in one piece: the fields, then their text. They are needed when the body has gone out.
 */
static bool keep_trailers(tn_exchange *ex, const tn_response *response)
{
    size_t n = response->n_trailers, size = n * sizeof(nghttp2_nv);
    for (size_t i = 0; i < n; i++)
        size += response->trailers[i].name.len + response->trailers[i].value.len;
    nghttp2_nv *fields = tn_pool_take(&ex->loop->pool, size);
    if (fields == NULL)
        return false;
    char *text = (char *)(fields + n);
    ex->text = (char *)fields;
    ex->trailers = fields;
    for (size_t i = 0; i < n; i++) {
        tn_str name = response->trailers[i].name, value = response->trailers[i].value;
        if (is_left_out(&response->trailers[i]))
            continue;
        memcpy(text, name.ptr, name.len);
        if (value.len > 0)
            memcpy(text + name.len, value.ptr, value.len);
        fields[ex->n_trailers++] = field((tn_str){text, name.len}, (tn_str){text + name.len, value.len});
        text += name.len + value.len;
    }
    return true;
}

/* Fills fields (room for n_headers + 3) and returns how many they are. */
static size_t make_head(nghttp2_nv *fields, tn_exchange *ex, const tn_response *response, tn_str status,
                        tn_str length)
{
    size_t n = 0;
    fields[n++] = field(TN_STR(":status"), status);
    for (size_t i = 0; i < response->n_headers; i++)
        if (!is_left_out(&response->headers[i]))
            fields[n++] = field(response->headers[i].name, response->headers[i].value);
    if (length.len > 0)
        fields[n++] = field(TN_STR("content-length"), length);
    fields[n++] = field(TN_STR("date"), tn_loop_date(ex->loop));
    return n;
}

static bool submit(tn_exchange *ex, const tn_response *response)
{
    nghttp2_nv few[FEW_FIELDS], *fields = few;
    char status[20], length[20];
    bool no_body =
        ex->is_head || response->status == 204 || response->status == 304 || response->trailers_only;
    tn_response kept = *response;
    uint64_t whole = 0;
    for (size_t i = 0; i < response->n_body; i++)
        whole += response->body[i].len;
    if (no_body)
        kept.n_body = kept.n_trailers = 0;
    if (!tn_exchange_store(ex, &kept) || (kept.n_trailers > 0 && !keep_trailers(ex, &kept)))
        return false;
    if (response->n_headers + 3 > FEW_FIELDS)
        fields = tn_pool_take(&ex->loop->pool, (response->n_headers + 3) * sizeof *fields);
    if (fields == NULL)
        return false;
    tn_str status_text = {
        status,
        tn_put_u64(status,
                   (uint64_t)(response->status >= 200 && response->status <= 999 ? response->status : 500))};
    /* Of a message with trailers (gRPC) no length is told, as its other implementations do. */
    tn_str length_text = {length, 0};
    if (response->n_trailers == 0 && !response->trailers_only && response->status != 204 &&
        response->status != 304)
        length_text.len = tn_put_u64(length, whole);
    size_t n = make_head(fields, ex, response, status_text, length_text);
    nghttp2_data_provider provider = {.source.ptr = ex, .read_callback = read_body};
    bool has_more = ex->left > 0 || ex->n_trailers > 0;
    int failed =
        nghttp2_submit_response(ex->conn->h2.session, ex->stream_id, fields, n, has_more ? &provider : NULL);
    if (fields != few)
        tn_pool_give(&ex->loop->pool, fields);
    return failed == 0;
}

/* Streamed answers. Bytes are copied: what streams sends little. */

static ssize_t read_stream(nghttp2_session *session, int32_t stream_id, uint8_t *room, size_t n,
                           uint32_t *flags, nghttp2_data_source *source, void *user)
{
    tn_exchange *ex = nghttp2_session_get_stream_user_data(session, stream_id);
    if (ex == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is being reset */
    size_t waiting = ex->queue_len - ex->queue_at, part = waiting < n ? waiting : n;
    if (waiting == 0 && !ex->answered)
        return NGHTTP2_ERR_DEFERRED;
    if (waiting == 0 && ex->broken)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM INTERNAL_ERROR */
    if (part > 0)
        memcpy(room, ex->queue + ex->queue_at, part);
    ex->queue_at += part;
    tn_exchange_unstore(ex, part);
    ex->progress_ns = ex->conn->now_ns;
    if (ex->answered && !ex->broken && part == waiting) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (ex->n_trailers > 0) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, stream_id, ex->trailers, ex->n_trailers) != 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)part;
}

void tn_http2_stream(tn_exchange *ex, const tn_response *head)
{
    nghttp2_nv few[FEW_FIELDS], *fields = few;
    char status[20];
    nghttp2_data_provider provider = {.source.ptr = ex, .read_callback = read_stream};
    if (head->n_headers + 3 > FEW_FIELDS)
        fields = tn_pool_take(&ex->loop->pool, (head->n_headers + 3) * sizeof *fields);
    if (fields == NULL) {
        tn_conn_kill(ex->conn);
        return;
    }
    tn_str text = {status, tn_put_u64(status, (uint64_t)head->status)};
    size_t n = make_head(fields, ex, head, text, (tn_str){0});
    if (nghttp2_submit_response(ex->conn->h2.session, ex->stream_id, fields, n, &provider) != 0)
        tn_conn_kill(ex->conn);
    if (fields != few)
        tn_pool_give(&ex->loop->pool, fields);
}

void tn_http2_resume(tn_exchange *ex)
{
    nghttp2_session_resume_data(ex->conn->h2.session, ex->stream_id); /* fails when it was not waiting */
    tn_conn_dirty(ex->conn);
}

void tn_http2_finish(tn_exchange *ex, const tn_header *trailers, size_t n_trailers)
{
    const tn_response response = {.trailers = trailers, .n_trailers = n_trailers};
    if (n_trailers > 0 && !keep_trailers(ex, &response))
        tn_conn_kill(ex->conn);
    tn_http2_resume(ex);
}

void tn_http2_send(tn_exchange *ex, const tn_response *response)
{
    ex->progress_ns = ex->conn->now_ns = tn_now_ns();
    if (!submit(ex, response))
        tn_conn_kill(ex->conn);
}

void tn_http2_continue_100(tn_conn *conn, tn_exchange *ex)
{
    nghttp2_nv status = field(TN_STR(":status"), TN_STR("100"));
    ex->expects_100 = false;
    if (nghttp2_submit_headers(conn->h2.session, NGHTTP2_FLAG_NONE, ex->stream_id, NULL, &status, 1, NULL) !=
        0)
        tn_conn_kill(conn);
    tn_conn_dirty(conn);
}
