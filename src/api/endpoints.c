/*
 * api/endpoints.c - SageMaker's runtime API: its paths, what is checked before the model is asked, and
 * InvokeEndpoint. See api/endpoints.h.
 *
 * The inner request has the fields of the client's but for those that belong to its connection or to AWS'
 * signing. Its good answer goes out with its memory and all its fields; any other becomes a ModelError.
 */
#include "api/endpoints.h"

#include <stdlib.h>

#include "api/access.h"
#include "api/async.h"
#include "api/sagemaker.h"
#include "api/surfaces.h"

#define MOST_FIELDS       160
#define CUSTOM_ATTRIBUTES "x-amzn-sagemaker-custom-attributes"
#define TARGET_MODEL      "x-amzn-sagemaker-target-model"
#define ATTRIBUTES_MAX    1024

typedef enum endpoint_call { CALL_NONE, CALL_INVOKE, CALL_STREAM, CALL_ASYNC } endpoint_call;

/* ---- The path ---- */

static endpoint_call match(tn_str path, tn_str *name)
{
    static const tn_str prefix = TN_STR_INIT("/endpoints/");
    static const struct {
        tn_str tail;
        endpoint_call call;
    } calls[] = {
        {TN_STR_INIT("/invocations"), CALL_INVOKE},
        {TN_STR_INIT("/invocations-response-stream"), CALL_STREAM},
        {TN_STR_INIT("/async-invocations"), CALL_ASYNC},
    };
    if (!tn_str_starts(path, prefix))
        return CALL_NONE;
    tn_str rest = tn_str_sub(path, prefix.len, path.len);
    ptrdiff_t slash = tn_str_chr(rest, '/');
    if (slash <= 0)
        return CALL_NONE;
    *name = tn_str_sub(rest, 0, (size_t)slash);
    rest = tn_str_sub(rest, (size_t)slash, rest.len);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (tn_str_eq(rest, calls[i].tail))
            return calls[i].call;
    return CALL_NONE;
}

/* ---- The invocation ---- */

static tn_str keep(char *to, size_t size, tn_str from)
{
    size_t n = from.len < size ? from.len : size;
    if (n > 0)
        memcpy(to, from.ptr, n);
    return (tn_str){to, n};
}

static void describe(tn_invocation *i, const tn_exchange *ex, tn_str name)
{
    tn_str variant = tn_exchange_header(ex, "x-amzn-sagemaker-target-variant");
    i->envelope.endpoint = keep(i->name, sizeof i->name, name);
    i->envelope.variant =
        keep(i->variant, sizeof i->variant, variant.len > 0 ? variant : TN_STR("AllTraffic"));
    i->envelope.region = keep(i->region, sizeof i->region, tn_envelope_region(ex));
    tn_uuid(i->request_id);
    i->envelope.request_id = (tn_str){i->request_id, sizeof i->request_id};
}

void tn_invocation_free(tn_relay *relay)
{
    tn_invocation *i = tn_invocation_of(relay);
    tn_tap_close(i->tap, false);
    if (i->holds && i->held.release != NULL)
        i->held.release(i->held.release_arg, false);
    tn_buf_free(&i->frame);
    free(i);
}

void tn_invocation_body(tn_relay *relay, const char *bytes, size_t n)
{
    tn_tap_input(tn_invocation_of(relay)->tap, bytes, n);
}

/* ---- What the model is asked ---- */

/* Fields that are the connection's or the signature's. SageMaker compresses no answers. */
static bool is_left_out(tn_str name)
{
    static const tn_str own[] = {
        TN_STR_INIT("accept-encoding"),
        TN_STR_INIT("authorization"),
        TN_STR_INIT("connection"),
        TN_STR_INIT("content-length"),
        TN_STR_INIT("expect"),
        TN_STR_INIT("keep-alive"),
        TN_STR_INIT("te"),
        TN_STR_INIT("transfer-encoding"),
        TN_STR_INIT("upgrade"),
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (tn_str_eq(name, own[i]))
            return true;
    return tn_str_starts(name, TN_STR("x-amz-")) || tn_str_starts(name, TN_STR("amz-sdk-"));
}

/* Accept, and for an asynchronous call Content-Type, travel under other names: their own are the API's. */
static size_t inner_fields(const tn_exchange *ex, endpoint_call call, tn_header *fields, size_t max)
{
    static const tn_str accept = TN_STR_INIT("accept"), type = TN_STR_INIT("content-type");
    size_t n_all, n = 0;
    const tn_header *all = tn_exchange_headers(ex, &n_all);
    tn_str other_accept =
        call != CALL_INVOKE ? tn_exchange_header(ex, "x-amzn-sagemaker-accept") : TN_STR_NONE;
    tn_str other_type =
        call == CALL_ASYNC ? tn_exchange_header(ex, "x-amzn-sagemaker-content-type") : TN_STR_NONE;
    bool no_accept = other_accept.ptr != NULL || call == CALL_ASYNC, no_type = call == CALL_ASYNC;
    if (other_accept.ptr != NULL)
        fields[n++] = (tn_header){accept, other_accept};
    if (other_type.ptr != NULL)
        fields[n++] = (tn_header){type, other_type};
    for (size_t i = 0; i < n_all && n < max; i++)
        if (!is_left_out(all[i].name) && !(no_accept && tn_str_eq(all[i].name, accept)) &&
            !(no_type && tn_str_eq(all[i].name, type)))
            fields[n++] = all[i];
    return n;
}

/* The name as one segment of a path. */
static tn_str percent_encode(tn_str s, tn_arena *arena)
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = tn_arena_alloc(arena, s.len * 3 + 1);
    size_t n = 0;
    if (to == NULL)
        return TN_STR_NONE;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-._~", c ? c : ' ') != NULL) {
            to[n++] = (char)c;
        } else {
            to[n++] = '%';
            to[n++] = digits[c >> 4];
            to[n++] = digits[c & 15];
        }
    }
    return (tn_str){to, n};
}

static tn_readiness readiness(tn_server *server, tn_str name)
{
    return tn_models_readiness(server->models, name, NULL, NULL);
}

/*
 * The model of a call: that of the target header, where several may be asked; in tern serve one that is
 * called as the endpoint; else the default one (absent).
 */
static tn_str model_of(tn_server *server, const tn_exchange *ex, tn_str endpoint)
{
    static const tn_str archive = TN_STR_INIT(".tar.gz");
    tn_str target = tn_exchange_header(ex, TARGET_MODEL);
    if (target.len > 0) {
        /* SageMaker's names are those of the archives. */
        tn_str bare = tn_str_sub(target, 0, target.len - (target.len > archive.len ? archive.len : 0));
        bool packed = tn_str_ends(target, archive) && readiness(server, target) == TN_MODEL_UNKNOWN;
        return packed ? bare : target;
    }
    if (server->sagemaker == NULL && readiness(server, endpoint) != TN_MODEL_UNKNOWN)
        return endpoint;
    return TN_STR_NONE;
}

static bool refuse(tn_server *server, tn_exchange *ex, const tn_invocation *i, tn_fault fault,
                   const char *error_code, const char *format, tn_str what)
{
    char text[1024];
    int n = snprintf(text, sizeof text, format, TN_FMT(tn_str_sub(what, 0, 512)));
    tn_envelope_fault(server, ex, &i->envelope, fault, tn_str_from(error_code),
                      (tn_str){text, n < 0                     ? 0
                                     : (size_t)n < sizeof text ? (size_t)n
                                                               : sizeof text - 1});
    return false;
}

/* What SageMaker itself refuses. false: was answered. */
static bool check(tn_server *server, tn_exchange *ex, const tn_invocation *i, tn_str model)
{
    const tn_sagemaker *sm = server->sagemaker;
    tn_str target = tn_exchange_header(ex, TARGET_MODEL);
    if (tn_exchange_header(ex, CUSTOM_ATTRIBUTES).len > ATTRIBUTES_MAX)
        return refuse(
            server, ex, i, TN_FAULT_VALIDATION, "",
            "1 validation error detected: Value at 'customAttributes' failed to satisfy constraint: "
            "Member must have length less than or equal to 1024%.*s",
            TN_STR(""));
    if (sm != NULL && !sm->several && target.len > 0)
        return refuse(server, ex, i, TN_FAULT_VALIDATION, "TARGET_MODEL_HEADER_NOT_SUPPORTED",
                      "Endpoint %.*s is not a multi-model endpoint and does not support target model header.",
                      i->envelope.endpoint);
    if (sm != NULL && sm->several && target.len == 0)
        return refuse(server, ex, i, TN_FAULT_VALIDATION, "",
                      "Request %.*s is missing a target model header.", i->envelope.request_id);
    if (atomic_load_explicit(&server->draining, memory_order_relaxed))
        return refuse(server, ex, i, TN_FAULT_UNAVAILABLE, "",
                      "The server is going down; try again elsewhere%.*s", TN_STR(""));
    tn_str asked = model.len > 0 ? model : server->default_model;
    if (asked.len > 0 && readiness(server, asked) == TN_MODEL_LOADING)
        return refuse(server, ex, i, TN_FAULT_NOT_READY, "",
                      "Model %.*s is not loaded yet; wait and try your request again.", asked);
    return true;
}

void tn_endpoints_hand_over(tn_server *server, tn_exchange *ex)
{
    tn_target_parts parts = tn_target_split(tn_exchange_target(ex));
    tn_exchange_inner_begin(ex);
    if (server->sagemaker != NULL)
        tn_sagemaker_route(server, ex);
    else
        (void)tn_sagemaker_on_request(server, ex, &parts); /* its paths are all there */
}

static void begin(tn_server *server, tn_exchange *ex, endpoint_call call, tn_str name, tn_arena *arena)
{
    tn_header fields[MOST_FIELDS];
    tn_invocation *i = calloc(1, sizeof *i);
    if (i == NULL) {
        const tn_response busy = {.status = 503};
        tn_access_answered(server, ex, TERN_RESOURCE_EXHAUSTED);
        tn_exchange_send(ex, &busy);
        return;
    }
    describe(i, ex, name);
    tn_buf_init(&i->frame, 2 * TN_EVENT_PART_MAX);
    tn_str model = model_of(server, ex, name);
    if (!check(server, ex, i, model)) {
        free(i);
        return;
    }
    tn_str target = TN_STR("/invocations");
    if (model.len > 0)
        target = tn_arena_printf(arena, "/models/%.*s/invoke", TN_FMT(percent_encode(model, arena)));
    tn_inner inner = {.method = TN_STR("POST"),
                      .target = target,
                      .headers = fields,
                      .n_headers = inner_fields(ex, call, fields, MOST_FIELDS)};
    if (call == CALL_ASYNC) {
        tn_async_call(server, ex, &i->envelope, target, fields, inner.n_headers);
        tn_invocation_free(&i->relay);
        return;
    }
    tn_relay *relay = &i->relay;
    const tn_relay_kind *kind = call == CALL_STREAM ? &tn_invocation_stream_kind : &tn_invocation_kind;
    if (target.ptr == NULL || !tn_relay_begin(relay, server, kind, ex, &inner)) {
        (void)refuse(server, ex, i, TN_FAULT_UNAVAILABLE, "", "No memory for this request; try again%.*s",
                     TN_STR(""));
        free(i);
        return;
    }
    i->tap = tn_tap_open(server, ex, i->envelope.endpoint, i->envelope.variant);
    tn_relay_enter(relay);
    tn_endpoints_hand_over(server, relay->inner);
    tn_relay_leave(relay);
}

bool tn_endpoints_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    tn_str coded;
    endpoint_call call = match(parts->path, &coded);
    if (call == CALL_NONE)
        return false;
    tn_arena arena;
    tn_arena_init(&arena, (size_t)server->limits.max_request_line_bytes * 4 + 4096);
    tn_str name = tn_percent_decode(coded, &arena);
    tn_invocation unknown = {0};
    describe(&unknown, ex, name.ptr != NULL ? name : coded);
    if (!tn_str_eq(tn_exchange_method(ex), TN_STR("POST")))
        (void)refuse(server, ex, &unknown, TN_FAULT_VALIDATION, "",
                     "The method %.*s is not known here; use POST", tn_exchange_method(ex));
    else if (name.ptr == NULL)
        (void)refuse(server, ex, &unknown, TN_FAULT_VALIDATION, "",
                     "The endpoint's name %.*s has a broken percent-encoding", coded);
    else
        begin(server, ex, call, name, &arena);
    tn_arena_free(&arena);
    return true;
}

/* ---- What it answered ---- */

size_t tn_invocation_fields(const tn_invocation *i, const tn_response *response, bool stream,
                            tn_header *fields, size_t max)
{
    size_t n = 0;
    fields[n++] = (tn_header){TN_STR("x-amzn-requestid"), i->envelope.request_id};
    fields[n++] = (tn_header){TN_STR("x-amzn-invoked-production-variant"), i->envelope.variant};
    if (stream)
        fields[n++] = (tn_header){TN_STR("content-type"), TN_STR("application/vnd.amazon.eventstream")};
    for (size_t k = 0; k < response->n_headers && n < max; k++) {
        tn_header field = response->headers[k];
        if (stream && tn_str_eq(field.name, TN_STR("content-type")))
            field.name = TN_STR("x-amzn-sagemaker-content-type");
        fields[n++] = field;
    }
    return n;
}

static bool has_field(const tn_response *response, tn_str name)
{
    for (size_t i = 0; i < response->n_headers; i++)
        if (tn_str_eq(response->headers[i].name, name))
            return true;
    return false;
}

/* The first bytes of a body, in one piece; freed by the caller. */
static tn_str first_bytes(const tn_response *response, char *room, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < response->n_body && n < size; i++) {
        size_t part = response->body[i].len < size - n ? response->body[i].len : size - n;
        if (part > 0)
            memcpy(room + n, response->body[i].ptr, part);
        n += part;
    }
    return (tn_str){room, n};
}

/*
 * A refusal of this server's own for want of room, not of the model, which says when to try again, is
 * SageMaker's: clients may retry it.
 */
bool tn_invocation_refused(tn_invocation *i, const tn_response *response)
{
    char text[TN_ENVELOPE_MESSAGE + 1];
    tn_exchange *ex = i->relay.outer;
    if (response->status >= 200 && response->status < 300)
        return false;
    tn_str body = first_bytes(response, text, sizeof text);
    if ((response->status == 429 || response->status == 503) && has_field(response, TN_STR("retry-after")))
        tn_envelope_fault(NULL, ex, &i->envelope, TN_FAULT_UNAVAILABLE, TN_STR_NONE, body);
    else
        tn_envelope_model_error(ex, &i->envelope, response->status, body);
    tn_relay_end(&i->relay);
    return true;
}

static bool send_answer(tn_relay *relay, const tn_response *response)
{
    tn_invocation *i = tn_invocation_of(relay);
    tn_header fields[TN_INVOCATION_FIELDS];
    if (tn_invocation_refused(i, response))
        return false;
    tn_tap_answer(i->tap, response);
    i->tap = NULL;
    tn_response more = *response;
    more.status = 200;
    more.headers = fields;
    more.n_headers = tn_invocation_fields(i, response, false, fields, TN_INVOCATION_FIELDS);
    return tn_relay_pass_send(relay, &more);
}

/* A streamed answer. Of one that is not good the envelope needs the status and how it begins. */

bool tn_invocation_collects(tn_invocation *i, const tn_response *head)
{
    if (head->status >= 200 && head->status < 300)
        return false;
    i->status = head->status;
    return true;
}

bool tn_invocation_collect(tn_invocation *i, const void *bytes, size_t n)
{
    size_t left = TN_ENVELOPE_MESSAGE + 1 - i->frame.len;
    tn_buf_append(&i->frame, bytes, n < left ? n : left);
    return true;
}

void tn_invocation_collected(tn_invocation *i)
{
    tn_envelope_model_error(i->relay.outer, &i->envelope, i->status, tn_buf_view(&i->frame));
    tn_relay_end(&i->relay);
}

static void stream_answer(tn_relay *relay, const tn_response *head)
{
    tn_invocation *i = tn_invocation_of(relay);
    tn_header fields[TN_INVOCATION_FIELDS];
    if (tn_invocation_collects(i, head))
        return;
    tn_tap_head(i->tap, head);
    tn_response more = *head;
    more.status = 200;
    more.n_headers = tn_invocation_fields(i, head, false, fields, TN_INVOCATION_FIELDS);
    more.headers = fields;
    tn_relay_pass_stream(relay, &more);
}

static bool write_answer(tn_relay *relay, const void *bytes, size_t n)
{
    tn_invocation *i = tn_invocation_of(relay);
    if (i->status != 0)
        return tn_invocation_collect(i, bytes, n);
    tn_tap_output(i->tap, bytes, n);
    return tn_relay_pass_write(relay, bytes, n);
}

static size_t room_for_answer(const tn_relay *relay)
{
    return tn_invocation_of(relay)->status != 0 ? TN_STREAM_MAX : tn_relay_pass_room(relay);
}

static void finish_answer(tn_relay *relay, bool broken)
{
    tn_invocation *i = tn_invocation_of(relay);
    tn_tap_close(i->tap, !broken && i->status == 0);
    i->tap = NULL;
    if (i->status != 0)
        tn_invocation_collected(i);
    else
        tn_relay_pass_finish(relay, broken);
}

const tn_relay_kind tn_invocation_kind = {.send = send_answer,
                                          .stream = stream_answer,
                                          .write = write_answer,
                                          .room = room_for_answer,
                                          .finish = finish_answer,
                                          .free = tn_invocation_free,
                                          .body = tn_invocation_body};
