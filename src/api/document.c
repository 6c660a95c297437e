/*
 * api/document.c - a raw document for a model's handler: the body goes to the handler's pre(), the answer
 * comes from its post(), in this process, or in one of the handler's own (document_isolated.c).
 */
#include "api/document.h"
#include "api/access.h"
#include "api/early.h"
#include "api/http.h"
#include "api/surfaces.h"
#include "handler/isolated.h"

/* An attempt while the body arrives. */
static tern_code decode_early(tn_request *r, tn_arrival *arrival, tern_status *st)
{
    r->job.request.body = arrival->bytes;
    if (r->server->rest_timeout_ms > 0) /* more or less: else it is done again */
        r->job.request.deadline_ns = tn_now_ns() + r->server->rest_timeout_ms * TN_NS_PER_MS;
    r->job.arrival = arrival;
    tern_code code = tn_handler_pre(&r->job, st);
    r->job.arrival = NULL;
    if (code == TERN_OK && tn_early_complete(r)) {
        r->call.stage_ns[TN_STAGE_PREPROCESS] = tn_call_lap(&r->call);
        return TERN_OK;
    }
    tn_handler_forget(&r->job);
    return tn_early_failed(st);
}

static tern_code document_decode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    tn_arrival *arrival = tn_early_of(r);
    r->job.call = call;
    if (arrival != NULL)
        return decode_early(r, arrival, st);
    r->job.request.body = tn_region_view(&r->body);
    r->job.request.deadline_ns = call->deadline_ns;
    return tn_handler_pre(&r->job, st);
}

static tern_code document_encode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    return tn_handler_post(&r->job, st);
}

static const tn_call_steps document_steps = {.name = "document",
                                             .kind = TN_COST_DOCUMENT,
                                             .method = TN_METHOD_DOCUMENT,
                                             .one_thread = true, /* handler.h: pre() and post() */
                                             .decode = document_decode,
                                             .encode = document_encode,
                                             .done = tn_request_done};

void tn_document_answer(tn_request *r, tn_str body)
{
    const tn_handler_job *job = &r->job;
    r->chunk = (tn_chunk){body.ptr, body.len};
    const tn_http_answer answer = {.content_type = job->content_type,
                                   .status = job->status,
                                   .headers = job->headers,
                                   .n_headers = job->n_headers,
                                   .chunks = &r->chunk,
                                   .n_chunks = body.len > 0};
    tn_http_request_send(r, &answer);
}

static void document_answer(tn_request *r)
{
    tn_document_answer(r, tn_buf_view(&r->job.body));
}

static const tn_surface document_surface = {.answer = document_answer, .error = tn_http_request_error};

static void document_on_body(tn_request *r)
{
    if (r->server->rest_timeout_ms > 0)
        r->call.deadline_ns = tn_now_ns() + r->server->rest_timeout_ms * TN_NS_PER_MS;
    tn_request_submit(r);
}

static bool begin_early(tn_request *r)
{
    return tn_handler_reads_arriving(r->call.version);
}

/* The head, for a handler that may run when its client is gone. */
static tern_code copy_head(tn_request *r, tn_exchange *ex, tern_status *st)
{
    tn_arena *arena = &r->call.arena;
    size_t n;
    const tn_header *sent = tn_exchange_headers(ex, &n);
    tern_handler_header *headers = tn_arena_array(arena, n, sizeof *headers);
    bool whole = headers != NULL;
    for (size_t i = 0; whole && i < n; i++) {
        headers[i] =
            (tern_handler_header){tn_arena_dup(arena, sent[i].name), tn_arena_dup(arena, sent[i].value)};
        whole = headers[i].name.ptr != NULL && headers[i].value.ptr != NULL;
    }
    if (!whole)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    tern_handler_request *asked = &r->job.request;
    *asked = (tern_handler_request){.struct_size = sizeof *asked,
                                    .headers = headers,
                                    .n_headers = (uint32_t)n,
                                    .target = tn_arena_dup(arena, tn_exchange_target(ex))};
    asked->content_type = tern_handler_request_header(asked, "content-type");
    asked->accept = tern_handler_request_header(asked, "accept");
    asked->custom_attributes = tern_handler_request_header(asked, "x-amzn-sagemaker-custom-attributes");
    asked->url = tern_handler_request_header(asked, "x-tern-document-url");
    const tn_access *access = tn_access_of(ex);
    if (access != NULL) {
        asked->traceparent = tn_arena_dup(arena, (tn_str){access->traceparent, sizeof access->traceparent});
        asked->tracestate = tn_arena_dup(arena, (tn_str){access->state, access->state_len});
    }
    return TERN_OK;
}

static tern_code start(tn_request *r, tn_exchange *ex, const tn_target *target, tern_status *st)
{
    tn_str type = tn_exchange_header(ex, "content-type");
    tern_code code = tn_request_acquire(r, target, st);
    if (code != TERN_OK)
        return code;
    if (!tn_handler_takes(r->call.version, type))
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Unsupported Media Type: model %.*s has no handler for Content-Type %.*s; send "
                         "application/json, or a "
                         "type that its handler takes",
                         TN_FMT(target->name),
                         TN_FMT(type.len > 0 ? tn_str_sub(type, 0, 256) : TN_STR("Unknown")));
    code = copy_head(r, ex, st);
    r->job.max_response = (size_t)r->server->limits.max_response_bytes;
    r->job.budget = &r->server->budget;
    if (code != TERN_OK)
        return code;
    if (tn_handler_is_isolated(r->call.version))
        return tn_document_isolated(r, ex, st);
    tn_early_read_body(r, document_on_body, begin_early);
    return TERN_OK;
}

bool tn_document_takes(tn_server *server, const tn_target *target, tn_str content_type)
{
    tn_version *v = NULL;
    tern_status st;
    if (tn_models_acquire(server->models, target, &v, &st) != TERN_OK)
        return false;
    const bool takes = tn_handler_takes(v, content_type);
    tn_version_release(v);
    return takes;
}

bool tn_document_take(tn_server *server, tn_exchange *ex, tn_str model, tn_str version)
{
    tn_target target = {.name = model, .has_version = version.ptr != NULL};
    if ((target.has_version && !tn_str_i64(version, &target.version)) ||
        !tn_document_takes(server, &target, tn_exchange_header(ex, "content-type")))
        return false;
    tn_document_call(server, ex, &target);
    return true;
}

/*
 * Whether this model has a handler is known before its body is: what cannot be used is refused before it is
 * sent.
 */
void tn_document_call(tn_server *server, tn_exchange *ex, const tn_target *target)
{
    tern_status st;
    tn_request *r = tn_request_new(server, ex, &document_surface, &document_steps);
    if (r == NULL)
        return;
    if (start(r, ex, target, &st) != TERN_OK)
        tn_request_fail(r, &st);
}
