/*
 * api/document.c - a raw document for a model's handler: the body goes to the handler's pre(), the answer
 * comes from its post().
 */
#include "api/access.h"
#include "api/http.h"
#include "api/surfaces.h"

typedef struct document_state {
    tn_target target;
} document_state;

static tern_code document_decode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    size_t bytes = 0;
    r->job.call = call;
    r->job.request.body = tn_region_view(&r->body);
    r->job.request.deadline_ns = call->deadline_ns;
    tern_code code = tn_handler_pre(&r->job, st);
    for (uint32_t i = 0; code == TERN_OK && i < call->n_inputs; i++)
        bytes += call->inputs[i].size;
    if (code == TERN_OK)
        code = tn_request_charge(r, bytes, st);
    return code;
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

static void document_answer(tn_request *r)
{
    tn_http_request_answer(r, r->job.content_type.len > 0 ? r->job.content_type : TN_STR("application/json"));
}

static const tn_surface document_surface = {.answer = document_answer, .error = tn_http_request_error};

static void document_on_body(tn_request *r)
{
    if (r->server->rest_timeout_ms > 0)
        r->call.deadline_ns = tn_now_ns() + r->server->rest_timeout_ms * TN_NS_PER_MS;
    tn_request_submit(r);
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
    tn_arena *arena = &r->call.arena;
    r->job.request = (tern_handler_request){
        .struct_size = sizeof(tern_handler_request),
        .content_type = tn_arena_dup(arena, type),
        .accept = tn_arena_dup(arena, tn_exchange_header(ex, "accept")),
        .custom_attributes =
            tn_arena_dup(arena, tn_exchange_header(ex, "x-amzn-sagemaker-custom-attributes")),
        .url = tn_arena_dup(arena, tn_exchange_header(ex, "x-tern-document-url")),
    };
    const tn_access *access = tn_access_of(ex);
    if (access != NULL) {
        r->job.request.traceparent =
            tn_arena_dup(arena, (tn_str){access->traceparent, sizeof access->traceparent});
        r->job.request.tracestate = tn_arena_dup(arena, (tn_str){access->state, access->state_len});
    }
    r->job.max_response = (size_t)r->server->limits.max_response_bytes;
    return TERN_OK;
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
    else
        tn_request_read_body(r, document_on_body);
}
