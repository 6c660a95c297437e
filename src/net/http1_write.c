/*
 * net/http1_write.c - HTTP/1.1 answers: the head by hand, the order of pipelined answers, when the connection
 * ends.
 *
 * An answer whose turn it is goes straight into the connection's output; one that is ready before its turn is
 * kept in the exchange (head as text, body as chunks, or the queue of one that is streamed). The first answer
 * that closes the connection ends the line: those behind it are told that their client is gone (RFC 9112,
 * 9.6).
 */
#include "net/conn.h"

static tn_str reason(int status)
{
    static const struct {
        int status;
        tn_str text;
    } known[] = {
        {200, TN_STR_INIT("OK")},
        {201, TN_STR_INIT("Created")},
        {202, TN_STR_INIT("Accepted")},
        {204, TN_STR_INIT("No Content")},
        {206, TN_STR_INIT("Partial Content")},
        {301, TN_STR_INIT("Moved Permanently")},
        {302, TN_STR_INIT("Found")},
        {303, TN_STR_INIT("See Other")},
        {304, TN_STR_INIT("Not Modified")},
        {307, TN_STR_INIT("Temporary Redirect")},
        {308, TN_STR_INIT("Permanent Redirect")},
        {400, TN_STR_INIT("Bad Request")},
        {401, TN_STR_INIT("Unauthorized")},
        {403, TN_STR_INIT("Forbidden")},
        {404, TN_STR_INIT("Not Found")},
        {405, TN_STR_INIT("Method Not Allowed")},
        {406, TN_STR_INIT("Not Acceptable")},
        {408, TN_STR_INIT("Request Timeout")},
        {409, TN_STR_INIT("Conflict")},
        {410, TN_STR_INIT("Gone")},
        {411, TN_STR_INIT("Length Required")},
        {412, TN_STR_INIT("Precondition Failed")},
        {413, TN_STR_INIT("Request Entity Too Large")},
        {414, TN_STR_INIT("URI Too Long")},
        {415, TN_STR_INIT("Unsupported Media Type")},
        {416, TN_STR_INIT("Range Not Satisfiable")},
        {417, TN_STR_INIT("Expectation Failed")},
        {422, TN_STR_INIT("Unprocessable Content")},
        {424, TN_STR_INIT("Failed Dependency")},
        {429, TN_STR_INIT("Too Many Requests")},
        {431, TN_STR_INIT("Request Header Fields Too Large")},
        {499, TN_STR_INIT("Client Closed Request")},
        {500, TN_STR_INIT("Internal Server Error")},
        {501, TN_STR_INIT("Not Implemented")},
        {502, TN_STR_INIT("Bad Gateway")},
        {503, TN_STR_INIT("Service Unavailable")},
        {504, TN_STR_INIT("Gateway Timeout")},
        {507, TN_STR_INIT("Insufficient Storage")},
        {530, TN_STR_INIT("Model Error")},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].text;
    return TN_STR("Status");
}

/* A field that net writes itself, or whose bytes would end the line: left out. */
static bool is_left_out(const tn_header *header)
{
    static const tn_str own[] = {TN_STR_INIT("content-length"), TN_STR_INIT("date"),
                                 TN_STR_INIT("connection"), TN_STR_INIT("transfer-encoding"),
                                 TN_STR_INIT("keep-alive")};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (tn_str_eq(header->name, own[i]))
            return true;
    return !tn_header_is_clean(header);
}

/* Eight bytes at a time. Each gives 0 where no byte is below, or equal to, c (at most 0x80). */
#define EVERY(c) (UINT64_C(0x0101010101010101) * (c))

static uint64_t any_below(uint64_t eight, unsigned c)
{
    return (eight - EVERY(c)) & ~eight & EVERY(0x80);
}

static uint64_t any_equal(uint64_t eight, unsigned c)
{
    return any_below(eight ^ EVERY(c), 1);
}

/* The bytes from at on, eight of them; the last eight again where there are fewer. s has eight at least. */
static uint64_t eight_of(tn_str s, size_t at)
{
    uint64_t eight;
    memcpy(&eight, s.ptr + (at < s.len - sizeof eight ? at : s.len - sizeof eight), sizeof eight);
    return eight;
}

static bool value_is_clean(tn_str value)
{
    uint64_t odd = value.len < 8;
    for (size_t i = 0; i < value.len && odd == 0; i += 8) {
        const uint64_t eight = eight_of(value, i);
        odd = any_below(eight, ' ') | any_equal(eight, 0x7f);
    }
    /* What is odd may be a tab. */
    for (size_t i = 0; i < value.len && odd != 0; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool name_is_clean(tn_str name)
{
    uint64_t odd = name.len < 8;
    for (size_t i = 0; i < name.len && odd == 0; i += 8) {
        const uint64_t eight = eight_of(name, i);
        odd = any_below(eight, ' ' + 1) | any_equal(eight, ':') | any_equal(eight, 0x7f) |
              (eight & EVERY(0x80));
    }
    for (size_t i = 0; i < name.len && odd != 0; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c <= ' ' || c == ':' || c >= 0x7f)
            return false;
    }
    return name.len > 0;
}

bool tn_header_is_clean(const tn_header *header)
{
    return name_is_clean(header->name) && value_is_clean(header->value);
}

#define STREAMED UINT64_MAX

static char *put(char *to, tn_str s)
{
    memcpy(to, s.ptr, s.len);
    return to + s.len;
}

/* Most bytes that put_head() can write. */
static size_t head_bound(const tn_response *response)
{
    size_t n = 256;
    for (size_t i = 0; i < response->n_headers; i++)
        n += response->headers[i].name.len + response->headers[i].value.len + 4;
    return n;
}

/* length: of the body, or STREAMED. */
static size_t put_head(char *to, tn_exchange *ex, const tn_response *response, uint64_t length)
{
    char *at = put(to, TN_STR("HTTP/1.1 "));
    at += tn_put_u64(at,
                     (uint64_t)(response->status >= 100 && response->status <= 999 ? response->status : 500));
    *at++ = ' ';
    at = put(at, reason(response->status));
    at = put(at, TN_STR("\r\n"));
    for (size_t i = 0; i < response->n_headers; i++) {
        const tn_header *header = &response->headers[i];
        if (is_left_out(header))
            continue;
        at = put(at, header->name);
        at = put(at, TN_STR(": "));
        at = put(at, header->value);
        at = put(at, TN_STR("\r\n"));
    }
    if (response->status == 204 || response->status == 304) {
        /* has no body by itself */
    } else if (length == STREAMED) {
        if (!ex->http10)
            at = put(at, TN_STR("transfer-encoding: chunked\r\n"));
    } else {
        at = put(at, TN_STR("content-length: "));
        at += tn_put_u64(at, length);
        at = put(at, TN_STR("\r\n"));
    }
    at = put(at, TN_STR("date: "));
    at = put(at, tn_loop_date(ex->loop));
    if (ex->last)
        at = put(at, TN_STR("\r\nconnection: close"));
    else if (ex->http10)
        at = put(at, TN_STR("\r\nconnection: keep-alive"));
    at = put(at, TN_STR("\r\n\r\n"));
    return (size_t)(at - to);
}

static bool has_body(const tn_exchange *ex, const tn_response *response)
{
    return !ex->is_head && response->status != 204 && response->status != 304;
}

/* The connection ends with this answer by what both sides said. */
static bool says_last(const tn_exchange *ex, bool close)
{
    return close || !ex->keep_alive || (ex->conn->draining && ex->next == NULL);
}

/* The same, or by how much of the request is unread. */
static bool is_last(const tn_exchange *ex, bool close)
{
    int64_t max_drop = tn_net_limits(ex->conn->loop->net)->max_drop_bytes;
    if (says_last(ex, close))
        return true;
    if (ex->body_done)
        return false;
    /*
     * A client that waits for "100 Continue" may or may not send the body now: what comes next would be
     * ambiguous.
     */
    return ex->expects_100 || ex->content_length < 0 || ex->dropped > max_drop ||
           ex->content_length - ex->body_bytes > max_drop;
}

/* Nothing is read behind the last answer. */
static void stop_after_last(tn_conn *conn, const tn_exchange *ex)
{
    if (!ex->last)
        return;
    conn->h1.stopped = true;
    if (conn->h1.reading == ex)
        conn->h1.reading = NULL;
}

/* The first exchange's answer is in the output: its mark, and what it means for the connection. */
static void answered(tn_conn *conn, tn_exchange *ex)
{
    bool last = ex->last, polite = ex->body_done && !ex->keep_alive && !ex->refused;
    tn_exchange_mark(ex, !ex->broken);
    tn_conn_unlink(conn, ex);
    if (conn->h1.reading != ex)
        tn_exchange_let_go(ex);
    /*
     * A client that asked for the end itself sends no more. The exchanges behind are forgotten when the loop
     * settles.
     */
    if (last)
        tn_conn_close_after(conn, !polite);
}

static void write_stored(tn_conn *conn, tn_exchange *ex)
{
    tn_out_copy(&conn->out, ex->text, ex->text_len);
    for (size_t i = 0; i < ex->n_chunks; i++)
        tn_out_borrow(&conn->out, ex->chunks[i].ptr, ex->chunks[i].len);
    answered(conn, ex);
}

/* The bytes of a streamed answer whose turn it is. */
static void put_piece(tn_out *out, const tn_exchange *ex, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char head[20];
    size_t at = sizeof head;
    head[--at] = '\n';
    head[--at] = '\r';
    for (size_t left = n; left > 0; left >>= 4)
        head[--at] = digits[left & 15];
    if (!ex->http10)
        tn_out_copy(out, head + at, sizeof head - at);
    tn_out_copy(out, bytes, n);
    if (!ex->http10)
        tn_out_copy(out, "\r\n", 2);
}

void tn_http1_continue_100(tn_conn *conn, tn_exchange *ex)
{
    ex->owes_100 = ex->expects_100 = false;
    ex->body_from_ns = ex->body_last_ns = conn->now_ns;
    tn_str text = TN_STR("HTTP/1.1 100 Continue\r\n\r\n");
    tn_out_copy(&conn->out, text.ptr, text.len);
    tn_conn_dirty(conn);
}

static void store(tn_exchange *ex, const tn_response *response, uint64_t length)
{
    ex->text = tn_pool_take(&ex->loop->pool, head_bound(response));
    tn_response kept = *response;
    if (!has_body(ex, response))
        kept.n_body = 0;
    if (!tn_exchange_store(ex, &kept) || ex->text == NULL) {
        tn_conn_kill(ex->conn);
        return;
    }
    ex->text_len = put_head(ex->text, ex, response, length);
}

/* The line of answers was cut before this one: nobody will read it. */
static void drop_answer(tn_conn *conn, tn_exchange *ex)
{
    tn_conn_unlink(conn, ex);
    tn_exchange_mark(ex, false);
    if (conn->h1.reading != ex)
        tn_exchange_let_go(ex);
}

/* A streamed answer is complete, or never will be. It is the first. */
static void end_stream(tn_conn *conn, tn_exchange *ex)
{
    if (ex->broken)
        ex->last = true;
    else if (!ex->bodiless && !ex->http10)
        tn_out_copy(&conn->out, "0\r\n\r\n", 5);
    answered(conn, ex);
}

/* It is the turn of a streamed answer, which waited: what there is of it goes out. */
static void begin_stream(tn_conn *conn, tn_exchange *ex)
{
    if (ex->owes_100)
        tn_http1_continue_100(conn, ex);
    tn_out_copy(&conn->out, ex->text, ex->text_len);
    if (ex->queue_len > 0)
        put_piece(&conn->out, ex, ex->queue, ex->queue_len);
    tn_pool_give(&ex->loop->pool, ex->queue);
    ex->queue = NULL;
    ex->queue_len = 0;
    tn_exchange_unstore(ex, ex->left);
    ex->direct = true;
}

/* The first answer has gone: those behind it that are ready. */
static void next_turns(tn_conn *conn)
{
    for (tn_exchange *ex = conn->first; ex != NULL && !conn->closing; ex = conn->first) {
        if (ex->streaming) {
            begin_stream(conn, ex);
            if (!ex->answered)
                break;
            end_stream(conn, ex);
        } else if (ex->answered) {
            write_stored(conn, ex);
        } else {
            break;
        }
    }
    if (conn->first != NULL && conn->first->owes_100)
        tn_http1_continue_100(conn, conn->first);
    if (conn->first == NULL && conn->eof)
        tn_conn_close_after(conn, false);
}

void tn_http1_send(tn_exchange *ex, const tn_response *response)
{
    tn_conn *conn = ex->conn;
    uint64_t length = 0;
    for (size_t i = 0; i < response->n_body; i++)
        length += response->body[i].len;
    ex->last = is_last(ex, response->close);
    stop_after_last(conn, ex);
    if (conn->closing) {
        drop_answer(conn, ex);
        return;
    }
    if (conn->first != ex) {
        store(ex, response, length);
        return;
    }
    char *room = tn_out_room(&conn->out, head_bound(response));
    if (room != NULL) {
        tn_out_commit(&conn->out, put_head(room, ex, response, length));
        for (size_t i = 0; has_body(ex, response) && i < response->n_body; i++)
            tn_out_borrow(&conn->out, response->body[i].ptr, response->body[i].len);
    }
    answered(conn, ex);
    next_turns(conn);
}

/* Streamed answers. */

void tn_http1_stream(tn_exchange *ex, const tn_response *head)
{
    tn_conn *conn = ex->conn;
    bool waits = ex->expects_100 && !ex->body_done && ex->sink != NULL;
    ex->last = says_last(ex, head->close) || ex->http10;
    if (ex->last)
        conn->h1.stopped = true;
    ex->owes_100 = ex->owes_100 || waits; /* it is told before the head, or never */
    if (conn->closing)
        return;
    ex->text = tn_pool_take(&ex->loop->pool, head_bound(head));
    if (ex->text == NULL) {
        tn_conn_kill(conn);
        return;
    }
    ex->text_len = put_head(ex->text, ex, head, STREAMED);
    if (conn->first == ex)
        begin_stream(conn, ex);
}

void tn_http1_unstream(tn_exchange *ex)
{
    tn_exchange_unstore(ex, ex->left);
    tn_pool_give(&ex->loop->pool, ex->text);
    ex->text = NULL;
    ex->text_len = ex->queue_len = 0;
    ex->answer_bytes = 0;
    ex->streaming = ex->owes_100 = false;
}

void tn_http1_write(tn_exchange *ex, const void *bytes, size_t n)
{
    put_piece(&ex->conn->out, ex, bytes, n);
    tn_conn_dirty(ex->conn);
}

void tn_http1_finish(tn_exchange *ex)
{
    tn_conn *conn = ex->conn;
    ex->last = ex->last || ex->broken || is_last(ex, false);
    stop_after_last(conn, ex);
    if (conn->closing) {
        drop_answer(conn, ex);
    } else if (ex->direct) {
        end_stream(conn, ex);
        next_turns(conn);
    }
}
