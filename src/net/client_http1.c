/* net/client_http1.c - a client's HTTP/1.1: the request's head, and llhttp over the answer. */
#include "net/client_conn.h"

static tn_client_conn *conn_of(llhttp_t *parser)
{
    return parser->data;
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    tn_client_conn *conn = conn_of(parser);
    /* A name may come in two pieces: then its timing is lost, and no more. */
    conn->in_timing = tn_str_ieq((tn_str){at, n}, TN_STR("server-timing"));
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    tn_client_conn *conn = conn_of(parser);
    if (!conn->in_timing)
        return 0;
    if (n > sizeof conn->timing - conn->timing_len)
        n = sizeof conn->timing - conn->timing_len;
    memcpy(conn->timing + conn->timing_len, at, n);
    conn->timing_len += n;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    tn_client_body(conn_of(parser), at, n);
    return 0;
}

static int on_complete(llhttp_t *parser)
{
    tn_client_conn *conn = conn_of(parser);
    if (parser->status_code < 200) /* an interim answer: the one that counts follows */
        return 0;
    conn->answer.status = parser->status_code;
    conn->close = !llhttp_should_keep_alive(parser);
    conn->ended = true;
    return 0;
}

static const llhttp_settings_t settings = {.on_header_field = on_field,
                                           .on_header_value = on_value,
                                           .on_body = on_body,
                                           .on_message_complete = on_complete};

bool tn_client_http1_open(tn_client_conn *conn)
{
    llhttp_init(&conn->parser, HTTP_RESPONSE, &settings);
    conn->parser.data = conn;
    return true;
}

bool tn_client_http1_begin(tn_client_conn *conn)
{
    const tn_client_request *r = conn->request;
    const tn_client_options *o = tn_client_of(conn);
    tn_buf *head = &conn->head;
    tn_buf_str(head, r->method);
    tn_buf_char(head, ' ');
    tn_buf_str(head, r->path);
    tn_buf_printf(head, " HTTP/1.1\r\nHost: %s:%s\r\n", o->host, o->port);
    if (r->content_type.len > 0)
        tn_buf_printf(head, "Content-Type: %.*s\r\n", TN_FMT(r->content_type));
    if (r->body.len > 0 || !tn_str_eq(r->method, TN_STR("GET")))
        tn_buf_printf(head, "Content-Length: %zu\r\n", r->body.len);
    for (size_t i = 0; i + 1 < r->n_fields; i += 2)
        tn_buf_printf(head, "%.*s: %.*s\r\n", TN_FMT(r->fields[i]), TN_FMT(r->fields[i + 1]));
    tn_buf_z(head, "\r\n");
    return !head->failed;
}

bool tn_client_http1_feed(tn_client_conn *conn, const char *bytes, size_t n)
{
    if (llhttp_execute(&conn->parser, bytes, n) == HPE_OK)
        return true;
    conn->answer.error = "the answer is no HTTP/1.1";
    return false;
}

bool tn_client_http1_eof(tn_client_conn *conn)
{
    return llhttp_finish(&conn->parser) == HPE_OK && conn->ended;
}
