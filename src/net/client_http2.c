/* net/client_http2.c - a client's HTTP/2: one stream at a time, nghttp2 keeps the protocol's state. */
#include "net/client_conn.h"

#define WINDOW     (64 << 20) /* an answer never waits for us */
#define MAX_FRAME  (1 << 20)
#define PULL_MAX   ((size_t)256 << 10) /* bytes that are moved at a time */
#define FRAME_HEAD 9

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    tn_client_conn *conn = source->ptr;
    (void)session, (void)stream, (void)to, (void)user;
    size_t n = conn->request->body.len - conn->body_at - conn->body_left;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n <= room)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)(n < room ? n : room);
}

/* Frames as large as the server takes. */
static ssize_t frame_length(nghttp2_session *session, uint8_t type, int32_t stream, int32_t session_window,
                            int32_t stream_window, uint32_t most, void *user)
{
    int32_t n = session_window < stream_window ? session_window : stream_window;
    (void)session, (void)type, (void)stream, (void)user;
    return n < (int32_t)most ? n : (int32_t)most;
}

/* One frame at a time: its bytes go from the body to the socket. */
static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                     nghttp2_data_source *source, void *user)
{
    tn_client_conn *conn = source->ptr;
    (void)session, (void)frame, (void)user;
    if (conn->body_left > 0)
        return NGHTTP2_ERR_WOULDBLOCK;
    tn_buf_append(&conn->head, head, FRAME_HEAD);
    conn->body_left = n;
    return 0;
}

static int number(const uint8_t *value, size_t n)
{
    uint64_t v;
    return tn_str_u64((tn_str){(const char *)value, n}, &v) && v < 1000 ? (int)v : -1;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    tn_client_conn *conn = user;
    const tn_str key = {(const char *)name, name_len};
    (void)session, (void)flags;
    if (frame->hd.stream_id != conn->stream)
        return 0;
    if (tn_str_eq(key, TN_STR(":status"))) {
        conn->answer.status = number(value, len);
    } else if (tn_str_eq(key, TN_STR("grpc-status"))) {
        conn->answer.grpc_status = number(value, len);
    } else if (tn_str_eq(key, TN_STR("server-timing")) && len <= sizeof conn->timing) {
        memcpy(conn->timing, value, len);
        conn->timing_len = len;
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t n,
                   void *user)
{
    tn_client_conn *conn = user;
    (void)session, (void)flags;
    if (stream == conn->stream)
        tn_client_body(conn, (const char *)bytes, n);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *user)
{
    tn_client_conn *conn = user;
    (void)session;
    if (stream != conn->stream)
        return 0;
    conn->ended = true;
    if (error_code != NGHTTP2_NO_ERROR && conn->answer.status == 0)
        conn->answer.error = "the server reset the stream";
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        ((tn_client_conn *)user)->close = true;
    return 0;
}

bool tn_client_http2_open(tn_client_conn *conn)
{
    nghttp2_session_callbacks *callbacks;
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
                                               {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME}};
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return false;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, frame_length);
    int failed = nghttp2_session_client_new(&conn->session, callbacks, conn);
    nghttp2_session_callbacks_del(callbacks);
    return failed == 0 && nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, 3) == 0 &&
           nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, WINDOW) == 0;
}

static nghttp2_nv pair(tn_str name, tn_str value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len, value.len,
                        NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

bool tn_client_http2_begin(tn_client_conn *conn)
{
    const tn_client_request *r = conn->request;
    const tn_client_options *o = tn_client_of(conn);
    char authority[512];
    int n = snprintf(authority, sizeof authority, "%s:%s", o->host, o->port);
    nghttp2_nv fields[32];
    size_t count = 0;
    if (n < 0 || (size_t)n >= sizeof authority)
        return false;
    fields[count++] = pair(TN_STR(":method"), r->method);
    fields[count++] = pair(TN_STR(":scheme"), TN_STR("http"));
    fields[count++] = pair(TN_STR(":authority"), (tn_str){authority, (size_t)n});
    fields[count++] = pair(TN_STR(":path"), r->path);
    if (r->content_type.len > 0)
        fields[count++] = pair(TN_STR("content-type"), r->content_type);
    for (size_t i = 0; i + 1 < r->n_fields && count < sizeof fields / sizeof fields[0]; i += 2)
        fields[count++] = pair(r->fields[i], r->fields[i + 1]);
    const nghttp2_data_provider body = {.source.ptr = conn, .read_callback = read_body};
    conn->stream =
        nghttp2_submit_request(conn->session, NULL, fields, count, r->body.len > 0 ? &body : NULL, NULL);
    return conn->stream > 0;
}

bool tn_client_http2_feed(tn_client_conn *conn, const char *bytes, size_t n)
{
    if (nghttp2_session_mem_recv(conn->session, (const uint8_t *)bytes, n) == (ssize_t)n)
        return true;
    conn->answer.error = "the answer is no HTTP/2";
    return false;
}

bool tn_client_http2_pull(tn_client_conn *conn)
{
    const uint8_t *bytes;
    ssize_t n;
    tn_buf_clear(&conn->head);
    tn_buf_clear(&conn->tail);
    conn->head_at = conn->tail_at = 0;
    while (conn->head.len + conn->tail.len < PULL_MAX && conn->body_left == 0 &&
           (n = nghttp2_session_mem_send(conn->session, &bytes)) > 0)
        tn_buf_append(conn->body_left > 0 ? &conn->tail : &conn->head, bytes, (size_t)n);
    return conn->head.len > 0;
}

void tn_client_http2_close(tn_client_conn *conn)
{
    nghttp2_session_del(conn->session);
    conn->session = NULL;
}
