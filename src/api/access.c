/* api/access.c - see api/access.h. */
#include "api/access.h"

#include <stdlib.h>

#define POOLED_ENTRIES 256
#define LINE_MAX_BYTES (32u << 10)
#define MOST_HEADERS   16

typedef struct access_pool {
    tn_access *free;
    size_t n;
    tn_buf line;
} access_pool;

static access_pool *pool_of(tn_loop *loop)
{
    void **slot = tn_request_access_slot(loop);
    if (slot == NULL)
        return NULL;
    if (*slot == NULL) {
        access_pool *pool = calloc(1, sizeof *pool);
        if (pool != NULL)
            tn_buf_init(&pool->line, LINE_MAX_BYTES);
        *slot = pool;
    }
    return *slot;
}

void tn_access_pool_free(tn_loop *loop)
{
    void **slot = tn_request_access_slot(loop);
    access_pool *pool = slot != NULL ? *slot : NULL;
    if (pool == NULL)
        return;
    for (tn_access *a = pool->free, *next; a != NULL; a = next) {
        next = a->next_free;
        free(a);
    }
    tn_buf_free(&pool->line);
    free(pool);
    *slot = NULL;
}

static tn_access *take(access_pool *pool)
{
    tn_access *a = pool->free;
    if (a != NULL) {
        pool->free = a->next_free;
        pool->n--;
    } else {
        a = malloc(sizeof *a);
    }
    if (a != NULL)
        memset(a, 0, offsetof(tn_access, traceparent));
    return a;
}

static void give(access_pool *pool, tn_access *a)
{
    if (pool == NULL || pool->n >= POOLED_ENTRIES) {
        free(a);
        return;
    }
    a->next_free = pool->free;
    pool->free = a;
    pool->n++;
}

tn_access *tn_access_of(tn_exchange *ex)
{
    return *tn_exchange_user(ex);
}

/* ---- the trace ---- */

/* The only field of that name, or absent when there is none or more than one. */
static tn_str single_header(const tn_exchange *ex, tn_str name)
{
    size_t n;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    tn_str found = TN_STR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (!tn_str_eq(headers[i].name, name))
            continue;
        if (found.ptr != NULL)
            return TN_STR_NONE;
        found = headers[i].value;
    }
    return found;
}

/* All tracestate fields as one list (3.3.1.4), when it is good. */
static void take_state(tn_access *a, const tn_exchange *ex)
{
    size_t n, len = 0;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    for (size_t i = 0; i < n; i++) {
        tn_str value = headers[i].value;
        if (!tn_str_eq(headers[i].name, TN_STR("tracestate")) || value.len == 0)
            continue;
        if (value.len + 1 > sizeof a->state - len)
            return;
        if (len > 0)
            a->state[len++] = ',';
        memcpy(a->state + len, value.ptr, value.len);
        len += value.len;
    }
    if (tn_tracestate_good((tn_str){a->state, len}))
        a->state_len = (uint32_t)len;
}

static uint32_t copy(char *to, size_t size, tn_str from)
{
    size_t n = from.len < size ? from.len : size;
    if (n > 0)
        memcpy(to, from.ptr, n);
    return (uint32_t)n;
}

void tn_access_begin(tn_server *server, tn_exchange *ex)
{
    tn_str parent = single_header(ex, TN_STR("traceparent"));
    if (server->access_log == NULL && (parent.ptr == NULL || server->strict))
        return;
    access_pool *pool = pool_of(tn_exchange_loop(ex));
    tn_access *a = pool != NULL ? take(pool) : NULL;
    if (a == NULL)
        return;
    a->has_parent = parent.ptr != NULL && tn_trace_parse(parent, &a->trace);
    if (a->has_parent)
        take_state(a, ex);
    tn_trace_begin(&a->trace, !a->has_parent);
    tn_trace_write(&a->trace, a->traceparent);
    if (server->access_log != NULL) {
        a->peer_len = (uint32_t)tn_exchange_peer(ex, a->peer, sizeof a->peer);
        a->request_id_len = copy(a->request_id, sizeof a->request_id, tn_exchange_header(ex, "x-request-id"));
    }
    *tn_exchange_user(ex) = a;
}

void tn_access_send(tn_server *server, tn_exchange *ex, const tn_response *response)
{
    const tn_access *a = tn_access_of(ex);
    tn_header headers[MOST_HEADERS + 2];
    tn_response more = *response;
    if (a == NULL || server->strict || response->n_headers > MOST_HEADERS) {
        tn_exchange_send(ex, response);
        return;
    }
    if (response->n_headers > 0)
        memcpy(headers, response->headers, response->n_headers * sizeof headers[0]);
    headers[more.n_headers++] = (tn_header){TN_STR("traceparent"), {a->traceparent, TN_TRACEPARENT}};
    if (a->state_len > 0)
        headers[more.n_headers++] = (tn_header){TN_STR("tracestate"), {a->state, a->state_len}};
    more.headers = headers;
    tn_exchange_send(ex, &more);
}

/* ---- what is noted on the way ---- */

static void note_code(tn_exchange *ex, tern_code code)
{
    tn_access *a = tn_access_of(ex);
    if (a == NULL)
        return;
    a->has_code = true;
    a->code = code;
    a->answered_ns = tn_now_ns();
}

void tn_access_answered(tn_server *server, tn_exchange *ex, tern_code code)
{
    if ((unsigned)code < TN_CODES)
        atomic_fetch_add_explicit(&server->answers[code], 1, memory_order_relaxed);
    note_code(ex, code);
}

void tn_access_about(tn_exchange *ex, tn_method method, tn_str model)
{
    tn_access *a = tn_access_of(ex);
    if (a == NULL)
        return;
    a->has_method = true;
    a->method = method;
    a->model_len = copy(a->model, sizeof a->model, model);
}

void tn_access_about_request(tn_request *r)
{
    tn_access *a = r->ex != NULL ? tn_access_of(r->ex) : NULL;
    const tn_version *v = r->call.version;
    if (a == NULL)
        return;
    if (v != NULL) {
        a->has_version = true;
        a->version = v->number;
    }
    tn_access_about(r->ex, r->method, v != NULL ? v->model : r->stats != NULL ? r->stats->name : TN_STR_NONE);
    a->stage_ns[TN_STAGE_READ] = r->call.stage_ns[TN_STAGE_READ];
}

void tn_access_note(tn_request *r, tern_code code)
{
    tn_access *a = r->ex != NULL ? tn_access_of(r->ex) : NULL;
    if (a == NULL)
        return;
    note_code(r->ex, code);
    tn_access_about_request(r);
    if (r->submitted) /* while the call is away the rest is not ours */
        return;
    memcpy(a->stage_ns, r->call.stage_ns, sizeof a->stage_ns);
    if (r->call.signature != NULL)
        a->signature_len = copy(a->signature, sizeof a->signature, r->call.signature->name);
}

/* ---- the end ---- */

static void write_line(tn_server *server, access_pool *pool, tn_exchange *ex, const tn_access *a, bool sent)
{
    int64_t total_ns = tn_now_ns() - tn_exchange_started_ns(ex);
    if (total_ns < server->slow_ns)
        return;
    const tn_access_line line = {.entry = a,
                                 .wall_ns = tn_wall_ns() - total_ns,
                                 .total_ns = total_ns,
                                 .method = tn_exchange_method(ex),
                                 .target = tn_exchange_target(ex),
                                 .http2 = tn_exchange_is_http2(ex),
                                 .sent = sent,
                                 .status = tn_exchange_status(ex),
                                 .bytes_in = tn_exchange_bytes_in(ex),
                                 .bytes_out = tn_exchange_bytes_out(ex)};
    tn_buf_clear(&pool->line);
    tn_access_write(&line, server->access_json, &pool->line);
    if (!pool->line.failed)
        tn_log_writer_line(server->access_log, tn_buf_view(&pool->line));
}

void tn_access_end(void *context, tn_exchange *ex, bool sent)
{
    tn_server *server = context;
    tn_access *a = tn_access_of(ex);
    if (a == NULL && server->access_log == NULL)
        return;
    access_pool *pool = pool_of(tn_exchange_loop(ex));
    if (a != NULL && a->answered_ns != 0)
        a->stage_ns[TN_STAGE_WRITE] = tn_now_ns() - a->answered_ns;
    if (server->access_log != NULL && pool != NULL)
        write_line(server, pool, ex, a, sent);
    if (a != NULL)
        give(pool, a);
    *tn_exchange_user(ex) = NULL;
}
