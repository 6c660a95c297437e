/*
 * api/http.c - see api/http.h.
 */
#include "api/http.h"

#include "api/access.h"

#include <stdlib.h>

#include "base/log.h"
#include "codec/json.h"

#define MAX_HEADERS  (16 + TN_HANDLER_HEADERS)
#define WRITTEN_KEPT (32u << 10) /* of an answer that broke off: so much may stand before the error */

typedef struct header_list {
    tn_header items[MAX_HEADERS];
    size_t n;
} header_list;

static void add(header_list *list, tn_str name, tn_str value)
{
    if (list->n < MAX_HEADERS)
        list->items[list->n++] = (tn_header){name, value};
}

/* Cross-origin headers stand on every answer under /v1 when they are asked for (http_server.cc). */
static void add_common(header_list *list, const tn_server *server, tn_str content_type, int status)
{
    if (content_type.len > 0)
        add(list, TN_STR("content-type"), content_type);
    if (server->cors) {
        const bool more = server->rest_extensions;
        add(list, TN_STR("access-control-allow-origin"), TN_STR("*"));
        add(list, TN_STR("access-control-allow-methods"),
            more ? TN_STR("POST, GET, HEAD") : TN_STR("POST, GET"));
        add(list, TN_STR("access-control-allow-headers"),
            more ? TN_STR("Content-Type, Content-Encoding, Authorization") : TN_STR("Content-Type"));
        if (more)
            add(list, TN_STR("access-control-expose-headers"),
                TN_STR("X-Tern-Model, X-Tern-Model-Version, Server-Timing, Retry-After"));
    }
    if (status == 429 || status == 503)
        add(list, TN_STR("retry-after"), TN_STR("1"));
}

/* A body of its own. */
typedef struct copied {
    tn_chunk chunk;
    char text[];
} copied;

static void free_copied(void *arg, bool sent)
{
    (void)sent;
    free(arg);
}

void tn_http_copy_body(tn_response *response, tn_str text)
{
    copied *c = malloc(sizeof *c + text.len);
    if (c != NULL) {
        if (text.len > 0)
            memcpy(c->text, text.ptr, text.len);
        c->chunk = (tn_chunk){c->text, text.len};
        response->body = &c->chunk;
        response->n_body = text.len > 0;
        response->release = free_copied;
        response->release_arg = c;
    }
}

static void send_copied(tn_server *server, tn_exchange *ex, tn_response *response, tn_str text,
                        tern_code code)
{
    tn_http_copy_body(response, text);
    tn_access_answered(server, ex, code);
    tn_access_send(server, ex, response);
}

void tn_http_text(tn_server *server, tn_exchange *ex, int status, tn_str content_type, tn_str text,
                  tern_code code)
{
    header_list list = {.n = 0};
    add_common(&list, server, content_type, status);
    tn_response response = {.status = status, .headers = list.items, .n_headers = list.n};
    send_copied(server, ex, &response, text, code);
}

void tn_http_send(tn_server *server, tn_exchange *ex, int status, const tn_header *headers, size_t n,
                  tn_str text, tern_code code)
{
    header_list list = {.n = 0};
    add_common(&list, server, TN_STR_NONE, status);
    for (size_t i = 0; i < n; i++)
        add(&list, headers[i].name, headers[i].value);
    tn_response response = {.status = status, .headers = list.items, .n_headers = list.n};
    send_copied(server, ex, &response, text, code);
}

void tn_http_error_body(const tn_server *server, tn_buf *out, tn_str message)
{
    tn_buf_z(out, "{\n    \"error\": ");
    /* The original sends what is not UTF-8 as it is. */
    if (server->strict)
        tn_json_quote_raw(out, message);
    else
        tn_json_quote(out, message);
    tn_buf_z(out, "\n}");
}

/* Bytes that an error of this text may take in JSON. */
static size_t error_bound(tn_str text)
{
    return text.len * 6 + 256;
}

void tn_http_error_text(tn_server *server, tn_exchange *ex, tern_code code, tn_str text)
{
    tn_buf body;
    tn_buf_init(&body, error_bound(text));
    tn_http_error_body(server, &body, text);
    tn_http_text(server, ex, tn_code_http(code), TN_STR("application/json"), tn_buf_view(&body), code);
    tn_buf_free(&body);
}

void tn_http_error(tn_server *server, tn_exchange *ex, const tern_status *st)
{
    tn_http_error_text(server, ex, st->code, (tn_str){st->message, st->length});
}

/* What st says, in full when it is the status of a call that left more than a status holds. */
static tn_str whole_text(const tn_request *r, const tern_status *st)
{
    const tn_str cut = {st->message, st->length};
    return !r->submitted && r->error_text.len > cut.len && tn_str_starts(r->error_text, cut) ? r->error_text
                                                                                             : cut;
}

size_t tn_http_request_error_bound(const tn_request *r, const tern_status *st)
{
    return error_bound(whole_text(r, st)) + WRITTEN_KEPT;
}

void tn_http_request_error_body(const tn_request *r, const tern_status *st, tn_buf *out)
{
    /*
     * What the encoder had written before its error stays in front, as in the original (json_tensor.cc,
     * http_server.cc).
     */
    if (!r->submitted && r->out.len > 0 && r->out.len < WRITTEN_KEPT)
        tn_buf_str(out, tn_buf_view(&r->out));
    tn_http_error_body(r->server, out, whole_text(r, st));
}

void tn_http_request_error(tn_request *r, const tern_status *st)
{
    header_list list = {.n = 0};
    /* While the call is away its job is not ours. */
    int status = !r->submitted && r->job.status >= 400 ? r->job.status : tn_code_http(st->code);
    tn_response response = {.status = status};
    tn_buf body;
    tn_buf_init(&body, tn_http_request_error_bound(r, st));
    tn_http_request_error_body(r, st, &body);
    add_common(&list, r->server, TN_STR("application/json"), status);
    response.headers = list.items;
    response.n_headers = list.n;
    tn_request_send_text(r, &response, tn_buf_view(&body), st->code);
    tn_buf_free(&body);
}

void tn_http_request_send(tn_request *r, const tn_http_answer *answer)
{
    header_list list = {.n = 0};
    char timing[512], version[24];
    const int status = answer->status != 0 ? answer->status : 200;
    tn_response response = {.status = status, .body = answer->chunks, .n_body = answer->n_chunks};
    add_common(&list, r->server, answer->content_type, status);
    if (answer->coding.len > 0)
        add(&list, TN_STR("content-encoding"), answer->coding);
    if (answer->varies)
        add(&list, TN_STR("vary"), TN_STR("accept, accept-encoding"));
    if (r->server->rest_extensions && r->call.version != NULL) {
        const size_t n = tn_put_i64(version, r->call.version->number);
        add(&list, TN_STR("x-tern-model"), r->call.version->model);
        add(&list, TN_STR("x-tern-model-version"), (tn_str){version, n});
    }
    if (!r->server->strict) {
        size_t n = tn_request_timing(r, timing, sizeof timing);
        if (n > 0)
            add(&list, TN_STR("server-timing"), (tn_str){timing, n});
    }
    for (uint32_t i = 0; i < answer->n_headers; i++)
        add(&list, answer->headers[i].name, answer->headers[i].value);
    response.headers = list.items;
    response.n_headers = list.n;
    tn_request_send(r, &response, tn_http_code(status));
}
