/*
 * api/sagemaker_answers.c - see api/sagemaker_service.h.
 */
#include "api/http.h"
#include "api/sagemaker_service.h"
#include "codec/falcon_error.h"
#include "codec/python_text.h"

#define HEADER_MAX (64u << 10) /* of all fields of one name together */

typedef struct answer {
    int status;
    tn_header headers[3];
    size_t n_headers;
    tn_buf body;
} answer;

static tern_code code_of(int status)
{
    switch (status) {
    case 200:
        return TERN_OK;
    case 404:
        return TERN_NOT_FOUND;
    case 408:
    case 504:
        return TERN_DEADLINE_EXCEEDED;
    case 409:
        return TERN_ALREADY_EXISTS;
    case 413:
    case 429:
    case 507:
        return TERN_RESOURCE_EXHAUSTED;
    case 501:
        return TERN_UNIMPLEMENTED;
    case 502:
    case 503:
        return TERN_UNAVAILABLE;
    default:
        return status < 500 ? TERN_INVALID_ARGUMENT : TERN_INTERNAL;
    }
}

static void init(answer *a, int status, size_t bytes)
{
    *a = (answer){
        .status = status, .headers = {{TN_STR("content-type"), TN_STR("application/json")}}, .n_headers = 1};
    tn_buf_init(&a->body, bytes);
}

static void send(answer *a, tn_server *server, tn_exchange *ex)
{
    tn_http_send(server, ex, a->status, a->headers, a->n_headers, tn_buf_view(&a->body), code_of(a->status));
    tn_buf_free(&a->body);
}

static void send_request(answer *a, tn_request *r)
{
    if (a->status == 429 || a->status == 503) /* as tn_http_send() has it */
        a->headers[a->n_headers++] = (tn_header){TN_STR("retry-after"), TN_STR("1")};
    tn_response response = {.status = a->status, .headers = a->headers, .n_headers = a->n_headers};
    tn_request_send_text(r, &response, tn_buf_view(&a->body), code_of(a->status));
    tn_buf_free(&a->body);
}

tn_str tn_service_header(const tn_exchange *ex, const char *name, tn_buf *room)
{
    size_t n, found = 0;
    const tn_header *all = tn_exchange_headers(ex, &n);
    const tn_str wanted = tn_str_from(name);
    tn_str first = TN_STR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (!tn_str_eq(all[i].name, wanted))
            continue;
        if (++found == 1) {
            first = all[i].value;
            continue;
        }
        if (found == 2)
            tn_buf_str(room, first);
        tn_buf_char(room, ',');
        tn_buf_str(room, all[i].value);
    }
    return found > 1 && !room->failed ? tn_buf_view(room) : first;
}

static void falcon_error(answer *a, const tn_exchange *ex, int status, tn_str title, tn_str description)
{
    char text[32];
    tn_buf room;
    tn_buf_init(&room, HEADER_MAX);
    init(a, status, (title.len + description.len) * 6 + 512);
    const tn_falcon_form form = tn_falcon_form_of(tn_service_header(ex, "accept", &room));
    tn_falcon_body(&a->body, form, title.ptr != NULL ? title : tn_falcon_status(status, text), description);
    a->headers[0].value = tn_falcon_type(form);
    a->headers[a->n_headers++] = (tn_header){TN_STR("vary"), TN_STR("Accept")};
    tn_buf_free(&room);
}

void tn_service_error(tn_server *server, tn_exchange *ex, int status, tn_str title, tn_str description)
{
    answer a;
    falcon_error(&a, ex, status, title, description);
    send(&a, server, ex);
}

void tn_service_not_allowed(tn_server *server, tn_exchange *ex, tn_str allow)
{
    answer a;
    falcon_error(&a, ex, 405, TN_STR_NONE, TN_STR_NONE);
    a.headers[a.n_headers++] = (tn_header){TN_STR("allow"), allow};
    send(&a, server, ex);
}

void tn_service_request_error(tn_request *r, int status, tn_str title, tn_str description)
{
    answer a;
    falcon_error(&a, r->ex, status, title, description);
    send_request(&a, r);
}

static void own_error(answer *a, int status, tn_str error)
{
    init(a, status, error.len * 6 + 64);
    tn_buf_z(&a->body, "{\"error\": ");
    tn_python_json(&a->body, error);
    tn_buf_char(&a->body, '}');
}

void tn_service_own_error(tn_server *server, tn_exchange *ex, int status, tn_str error)
{
    answer a;
    own_error(&a, status, error);
    send(&a, server, ex);
}

void tn_service_request_own_error(tn_request *r, int status, tn_str error)
{
    answer a;
    own_error(&a, status, error);
    send_request(&a, r);
}

void tn_service_text(tn_server *server, tn_exchange *ex, int status, tn_str text)
{
    tn_http_text(server, ex, status, TN_STR("application/json"), text, code_of(status));
}

void tn_service_request_text(tn_request *r, int status, tn_str text)
{
    answer a;
    init(&a, status, text.len + 1);
    tn_buf_str(&a.body, text);
    send_request(&a, r);
}
