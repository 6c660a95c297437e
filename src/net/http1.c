/*
 * net/http1.c - HTTP/1.1 requests: llhttp's callbacks make exchanges of them.
 *
 * llhttp is strict here, but for two things: a bare LF ends lines of the head (RFC 9112, 2.2 allows it and
 * TensorFlow Serving accepts it; chunks stay strict), and an Upgrade is ignored. Framing that could be read
 * in two ways is refused with 400. A callback that refuses notes status and reason and makes llhttp stop; the
 * refusal itself is made when llhttp has returned. Statuses follow what TensorFlow Serving was recorded to
 * answer (bad chunks and chunk extensions: 413, HTTP/2.0: 400).
 */
#include "net/conn.h"

#include "base/clock.h"

static tn_conn *conn_of(llhttp_t *parser)
{
    return parser->data;
}

static int refuse(llhttp_t *parser, int status, const char *why)
{
    tn_http1 *h1 = &conn_of(parser)->h1;
    h1->fail_status = status;
    h1->fail_why = why;
    return HPE_USER;
}

static const tn_limits *limits_of(const tn_conn *conn)
{
    return tn_net_limits(conn->loop->net);
}

/* The head. */

static int on_message_begin(llhttp_t *parser)
{
    tn_conn *conn = conn_of(parser);
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = tn_exchange_new(conn);
    if (ex == NULL)
        return refuse(parser, 503, "The server is short of memory.");
    h1->reading = ex;
    h1->name_len = h1->extra_bytes = 0;
    h1->versioned = h1->in_trailers = false;
    h1->span_left = 0;
    conn->had_request = true;
    conn->turn++;
    tn_conn_link(conn, ex);
    llhttp_set_lenient_optional_cr_before_lf(parser, 1);
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    tn_conn *conn = conn_of(parser);
    tn_exchange *ex = conn->h1.reading;
    if (ex->buf_len + n > (size_t)limits_of(conn)->max_request_line_bytes)
        return refuse(parser, 414, "The request target is too long.");
    if (!tn_exchange_append(ex, at, n))
        return refuse(parser, 503, "The server is short of memory.");
    ex->target = (tn_str){ex->buf, ex->buf_len};
    return 0;
}

/*
 * llhttp takes a bare LF behind the version only with a second leniency, which would let a bare CR end lines,
 * too. It is on for this one place, until the first field's name.
 */
static int on_version_complete(llhttp_t *parser)
{
    conn_of(parser)->h1.versioned = true;
    llhttp_set_lenient_optional_lf_after_cr(parser, 1);
    return 0;
}

/* Text of a field: counted, and kept unless it is of a trailer. */
static int add_text(llhttp_t *parser, const char *at, size_t n)
{
    tn_conn *conn = conn_of(parser);
    tn_exchange *ex = conn->h1.reading;
    size_t *count = conn->h1.in_trailers ? &conn->h1.extra_bytes : &ex->head_bytes;
    *count += n;
    if (*count > (size_t)limits_of(conn)->max_header_bytes)
        return refuse(parser, 431, "The header fields are too long.");
    if (!conn->h1.in_trailers && !tn_exchange_append(ex, at, n))
        return refuse(parser, 503, "The server is short of memory.");
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    tn_http1 *h1 = &conn_of(parser)->h1;
    tn_exchange *ex = h1->reading;
    if (h1->in_trailers)
        return add_text(parser, at, n);
    llhttp_set_lenient_optional_lf_after_cr(parser, 0);
    if (h1->name_len == 0)
        h1->name = ex->buf_len;
    int failed = add_text(parser, at, n);
    if (failed)
        return failed;
    h1->name_len += n;
    for (char *c = ex->buf + ex->buf_len - n; n > 0; c++, n--)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    return 0;
}

static int on_header_field_complete(llhttp_t *parser)
{
    tn_http1 *h1 = &conn_of(parser)->h1;
    h1->value = h1->reading->buf_len;
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    return add_text(parser, at, n);
}

static int on_header_value_complete(llhttp_t *parser)
{
    tn_conn *conn = conn_of(parser);
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = h1->reading;
    if (h1->in_trailers)
        return 0;
    if (ex->n_headers >= (size_t)limits_of(conn)->max_headers)
        return refuse(parser, 431, "There are too many header fields.");
    size_t end = ex->buf_len;
    while (end > h1->value && (ex->buf[end - 1] == ' ' || ex->buf[end - 1] == '\t'))
        end--;
    if (!tn_exchange_add_header(ex, h1->name, h1->name_len, h1->value, end - h1->value))
        return refuse(parser, 503, "The server is short of memory.");
    h1->name_len = 0;
    return 0;
}

/* "http://host/path" is as good as "/path" (RFC 9112, 3.2.2). */
static tn_str origin_form(tn_str target)
{
    if (target.len == 0 || target.ptr[0] == '/')
        return target;
    ptrdiff_t scheme = tn_str_find(target, TN_STR("://"));
    if (scheme < 0)
        return target;
    tn_str rest = tn_str_sub(target, (size_t)scheme + 3, target.len);
    ptrdiff_t path = tn_str_chr(rest, '/');
    return path < 0 ? TN_STR("/") : tn_str_sub(rest, (size_t)path, rest.len);
}

/* Transfer-Encoding is "chunked" and nothing else, and only in HTTP/1.1 (RFC 9112, 6.1). */
static int framing_refusal(tn_exchange *ex, const llhttp_t *parser, const char **why)
{
    tn_str coding = tn_exchange_header(ex, "transfer-encoding");
    if (coding.ptr == NULL)
        return 0;
    if (ex->http10) {
        *why = "Transfer-Encoding needs HTTP/1.1.";
        return 400;
    }
    if (parser->flags & F_CONTENT_LENGTH) {
        *why = "Transfer-Encoding and Content-Length exclude each other.";
        return 400;
    }
    if (!tn_str_ieq(coding, TN_STR("chunked"))) {
        *why = "The only transfer coding that is understood is chunked.";
        /* RFC 9112, 6.1 and 6.3: where chunked is not the last, nobody can tell how long the body is. */
        return coding.len >= 7 &&
                       tn_str_ieq(tn_str_sub(coding, coding.len - 7, coding.len), TN_STR("chunked"))
                   ? 501
                   : 400;
    }
    return 0;
}

static int head_refusal(tn_exchange *ex, const llhttp_t *parser, bool versioned, const char **why)
{
    if (!versioned || parser->http_major > 1) {
        *why = "The request line needs the version HTTP/1.1 or HTTP/1.0.";
        return 400;
    }
    int status = framing_refusal(ex, parser, why);
    return status != 0 ? status : tn_exchange_refusal(ex, why);
}

static int on_headers_complete(llhttp_t *parser)
{
    tn_conn *conn = conn_of(parser);
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = h1->reading;
    ex->method = tn_str_from(llhttp_method_name((llhttp_method_t)parser->method));
    ex->target = origin_form(ex->target);
    ex->is_head = parser->method == HTTP_HEAD;
    ex->http10 = parser->http_major < 1 || parser->http_minor == 0;
    ex->keep_alive = llhttp_should_keep_alive(parser);
    ex->body_from_ns = ex->body_last_ns = conn->now_ns;
    h1->in_trailers = true;
    if (parser->flags & F_CONTENT_LENGTH)
        ex->content_length =
            (int64_t)(parser->content_length <= INT64_MAX ? parser->content_length : INT64_MAX);
    else if (!(parser->flags & (F_CHUNKED | F_TRANSFER_ENCODING)))
        ex->content_length = 0;
    parser->upgrade = 0;
    llhttp_set_lenient_optional_cr_before_lf(parser, 0);
    llhttp_set_lenient_optional_lf_after_cr(parser, 0);
    const char *why = NULL;
    int status = head_refusal(ex, parser, h1->versioned, &why);
    if (status != 0)
        return refuse(parser, status, why);
    if (ex->http10)
        ex->expects_100 = false; /* RFC 9110, 10.1.1 */
    if (ex->content_length > 0)
        h1->span_left = ex->content_length;
    tn_exchange_begin(ex);
    if (ex->expects_100 && !ex->answered && ex->sink != NULL && ex->content_length != 0) {
        if (conn->first == ex)
            tn_http1_continue_100(conn, ex);
        else
            ex->owes_100 = true;
    }
    return h1->stopped && h1->reading == NULL ? HPE_PAUSED : 0;
}

/* The body. */

static int on_chunk_header(llhttp_t *parser)
{
    conn_of(parser)->h1.span_left = (int64_t)parser->content_length;
    return 0;
}

static int on_chunk_extension(llhttp_t *parser, const char *at, size_t n)
{
    return refuse(parser, 413, "Chunk extensions are not accepted.");
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    tn_conn *conn = conn_of(parser);
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = h1->reading;
    const tn_limits *limits = limits_of(conn);
    if (ex->body_bytes + (int64_t)n > limits->max_body_bytes)
        return refuse(parser, 413, "The body is larger than this server accepts.");
    h1->span_left -= (int64_t)n;
    ex->expects_100 = ex->owes_100 = false;
    ex->body_last_ns = conn->now_ns;
    tn_exchange_body(ex, at, n);
    if (h1->reading != ex)
        return HPE_USER;
    if (ex->answered && ex->dropped > limits->max_drop_bytes)
        return refuse(parser, 413, "The rest of the body is too long.");
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    tn_conn *conn = conn_of(parser);
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = h1->reading;
    h1->reading = NULL;
    h1->span_left = 0;
    if (ex != NULL) {
        if (!ex->keep_alive)
            h1->stopped = true;
        bool linked = ex->linked;
        tn_exchange_body_end(ex);
        if (!linked)
            tn_exchange_let_go(ex);
    }
    const bool enough = conn->turn >= TN_CONN_TURN || !tn_http1_wants(conn) || tn_conn_is_full(conn);
    /* The next request may lie in the same bytes, with a method that llhttp must not see: other_method(). */
    h1->between = !enough && tn_net_takes_any_method(conn->loop->net, conn->tag);
    return enough || h1->between ? HPE_PAUSED : 0;
}

/* Pointers are the parser's for good, so one table serves all. */
static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_chunk_extension_name = on_chunk_extension,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
    .on_version_complete = on_version_complete,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value_complete = on_header_value_complete,
    .on_chunk_header = on_chunk_header,
};

/* The connection. */

void tn_http1_open(tn_conn *conn)
{
    memset(&conn->h1, 0, sizeof conn->h1);
    llhttp_init(&conn->h1.parser, HTTP_REQUEST, &settings);
    /* HTTP/1.2 counts as 1.1: RFC 9110, 6.2; head_refusal() */
    llhttp_set_lenient_version(&conn->h1.parser, 1);
    conn->h1.parser.data = conn;
}

bool tn_http1_wants(const tn_conn *conn)
{
    const tn_http1 *h1 = &conn->h1;
    const tn_exchange *ex = h1->reading;
    if (h1->stopped && ex == NULL)
        return false;
    if (ex != NULL)
        return ex->answered || ex->dropped <= limits_of(conn)->max_drop_bytes;
    return conn->n_exchanges < (size_t)limits_of(conn)->max_pipelined_requests;
}

bool tn_http1_room(tn_conn *conn, char **room, size_t *space)
{
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = h1->reading;
    if (ex == NULL || ex->sink == NULL || h1->span_left <= 0 || ex->sink->reserve == NULL)
        return false;
    char *place = NULL;
    size_t free_bytes = 0;
    tn_sink *sink = ex->sink;
    if (sink->reserve(sink, (size_t)h1->span_left, &place, &free_bytes) != TERN_OK) {
        ex->sink = NULL;
        return false;
    }
    if (place == NULL || free_bytes == 0)
        return false;
    *room = place;
    *space = free_bytes < (size_t)h1->span_left ? free_bytes : (size_t)h1->span_left;
    return true;
}

/* "FOO /path" is a method that is not known; what does not even look like that is no HTTP. */
static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

static bool looks_like_method(const char *bytes, const char *at, size_t n)
{
    const char *end = bytes + n, *first = at < end ? at : end, *c = first;
    while (first > bytes && is_letter(first[-1]))
        first--;
    while (c < end && is_letter(*c))
        c++;
    if (c == first || c == end || *c != ' ')
        return false;
    /* A request line has a version, as far as it is here. */
    const char *line_end = memchr(c, '\n', (size_t)(end - c));
    return line_end == NULL || memmem(c + 1, (size_t)(line_end - c - 1), " HTTP/", 6) != NULL;
}

static void parse_error(tn_conn *conn, llhttp_errno_t error, const char *bytes, size_t n)
{
    tn_http1 *h1 = &conn->h1;
    if (h1->fail_status != 0) {
        tn_http1_fail(conn, h1->fail_status, h1->fail_why);
        return;
    }
    if (h1->stopped && h1->reading == NULL)
        return; /* a callback wanted no more */
    int status = 400;
    if (error == HPE_INVALID_CHUNK_SIZE)
        status = 413;
    if (error == HPE_INVALID_METHOD && looks_like_method(bytes, llhttp_get_error_pos(&h1->parser), n))
        status = 501;
    char why[128];
    const char *reason = llhttp_get_error_reason(&h1->parser);
    snprintf(why, sizeof why, "The request is not valid HTTP/1.1: %s.", reason != NULL ? reason : "broken");
    tn_http1_fail(conn, status, why);
}

/*
 * Length of a method in front of a request that llhttp does not know and the application wants all the same,
 * or 0.
 */
static size_t other_method(const tn_conn *conn, const char *bytes, size_t n)
{
    static const char *const known[] = {
#define XX(number, name, string) #string,
        HTTP_METHOD_MAP(XX)
#undef XX
    };
    size_t len = 0;
    if (conn->h1.reading != NULL || !tn_net_takes_any_method(conn->loop->net, conn->tag))
        return 0;
    while (len < n && is_letter(bytes[len]) && (bytes[len] & 0x20) == (bytes[len] == '-' ? 0x20 : 0))
        len++;
    if (len == 0 || len == n || bytes[len] != ' ')
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i]) == len && memcmp(known[i], bytes, len) == 0)
            return 0;
    return len;
}

size_t tn_http1_feed(tn_conn *conn, const char *bytes, size_t n)
{
    tn_http1 *h1 = &conn->h1;
    if (!tn_http1_wants(conn))
        return h1->stopped ? n : 0;
    if (!conn->had_request && (bytes[0] == '\r' || bytes[0] == '\n')) {
        tn_http1_fail(conn, 400, "The request begins with an empty line.");
        return n;
    }
    if (!conn->had_request && n >= 4 && memcmp(bytes, "PRI ", 4) == 0) {
        /* llhttp would wait for the rest of HTTP/2's preface. */
        tn_http1_fail(conn, 400, "This is neither HTTP/1.1 nor the preface of HTTP/2.");
        return n;
    }
    size_t used = 0;
    do {
        const char *at = bytes + used;
        const size_t other = other_method(conn, at, n - used);
        h1->between = false;
        llhttp_errno_t error = other > 0 ? llhttp_execute(&h1->parser, "PURGE", 5) : HPE_OK;
        if (error == HPE_OK)
            error = llhttp_execute(&h1->parser, at + other, n - used - other);
        if (error == HPE_OK)
            return n;
        if (error != HPE_PAUSED) {
            parse_error(conn, error, at, n - used);
            return n;
        }
        used = (size_t)(llhttp_get_error_pos(&h1->parser) - bytes);
        llhttp_resume(&h1->parser);
    } while (h1->between && used < n);
    return used;
}

/* Nobody will read the answer of ex, which is in the list or being read. */
void tn_http1_forget(tn_conn *conn, tn_exchange *ex)
{
    if (conn->h1.reading == ex)
        conn->h1.reading = NULL;
    bool was_linked = ex->linked;
    tn_conn_unlink(conn, ex);
    if (ex->streaming)
        tn_exchange_unstore(ex, ex->left);
    if (ex->answered) {
        if (was_linked)
            tn_exchange_mark(ex, false);
        tn_exchange_let_go(ex);
    } else if (tn_exchange_reclaim(ex)) {
        tn_exchange_let_go(ex);
    }
}

void tn_http1_fail(tn_conn *conn, int status, const char *why)
{
    tn_http1 *h1 = &conn->h1;
    tn_exchange *ex = h1->reading;
    h1->stopped = true;
    h1->reading = NULL;
    if (ex != NULL && ex->answered) {
        /*
         * It was answered before its body broke: no more is said, and the connection ends behind that answer.
         */
        tn_conn_count_error(conn);
        if (ex->linked) {
            ex->last = true;
        } else {
            tn_exchange_let_go(ex);
            tn_conn_close_after(conn, true);
        }
        return;
    }
    if (ex != NULL && ex->direct) {
        /* Its answer has begun, and now lacks its end. */
        tn_conn_count_error(conn);
        tn_http1_forget(conn, ex);
        tn_conn_close_after(conn, true);
        return;
    }
    if (ex != NULL && ex->streaming)
        tn_http1_unstream(ex);
    if (ex != NULL && ex->head_done && !tn_exchange_reclaim(ex)) {
        tn_conn_unlink(conn, ex);
        ex = NULL;
    }
    if (ex == NULL) {
        ex = tn_exchange_new(conn);
        if (ex == NULL) {
            tn_conn_kill(conn);
            return;
        }
        tn_conn_link(conn, ex);
    }
    ex->keep_alive = false;
    ex->refused = true;
    tn_exchange_refuse(ex, status, why);
}

void tn_http1_eof(tn_conn *conn)
{
    tn_http1 *h1 = &conn->h1;
    h1->stopped = true;
    if (h1->reading != NULL) {
        tn_conn_count_error(conn);
        tn_http1_forget(conn, h1->reading);
    }
    if (conn->first == NULL)
        tn_conn_close_after(conn, false);
}

int64_t tn_http1_due(const tn_conn *conn)
{
    const tn_exchange *ex = conn->h1.reading;
    if (ex == NULL || ex->owes_100 || ex->streaming || tn_conn_is_full(conn) || !tn_http1_wants(conn))
        return INT64_MAX;
    if (!ex->head_done)
        return ex->started_ns + limits_of(conn)->header_timeout_ms * TN_NS_PER_MS;
    return tn_conn_body_due(conn, ex);
}

void tn_http1_close(tn_conn *conn)
{
    while (conn->first != NULL)
        tn_http1_forget(conn, conn->first);
    if (conn->h1.reading != NULL)
        tn_http1_forget(conn, conn->h1.reading);
}
