/*
 * api/tfserving_rest.c - TensorFlow Serving's REST API, version 1: predict, status, metadata; classify and
 * regress are in tfserving_examples.c.
 *
 * Routes as in model_servers/http_rest_api_handler.cc: two patterns over path, query and fragment, matched
 * without regard to case, with the method names alone in lower case. Without extensions (called as
 * tensorflow_model_server) a query string is part of what is matched.
 */
#include "api/tfserving_rest.h"
#include "api/access.h"
#include "api/coding.h"
#include "api/early.h"
#include "api/http.h"
#include "api/rest_formats.h"
#include "api/surfaces.h"
#include "api/tfserving_json.h"

typedef enum rest_verb {
    VERB_PREDICT,
    VERB_CLASSIFY,
    VERB_REGRESS,
    VERB_STATUS,
    VERB_METADATA,
    VERB_NONE /* one of the first three, in other letters */
} rest_verb;

/* A matched path. Slices into the target, not decoded. */
typedef struct rest_route {
    rest_verb verb;
    tn_str name;
    bool has_version;
    tn_str version;
    bool has_label;
    tn_str label;
} rest_route;

/* Cuts the segment [^/:]+ off the front. */
static bool cut_segment(tn_str *rest, tn_str *segment)
{
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != '/' && rest->ptr[n] != ':')
        n++;
    *segment = tn_str_sub(*rest, 0, n);
    *rest = tn_str_sub(*rest, n, rest->len);
    return n > 0;
}

static bool cut_prefix(tn_str *rest, tn_str prefix)
{
    if (!tn_str_istarts(*rest, prefix))
        return false;
    *rest = tn_str_sub(*rest, prefix.len, rest->len);
    return true;
}

/* "/versions/N" or "/labels/L", both optional. false: something else stands there that can match neither. */
static void cut_choice(tn_str *rest, rest_route *route)
{
    tn_str saved = *rest;
    size_t digits = 0;
    if (cut_prefix(rest, TN_STR("/versions/"))) {
        while (digits < rest->len && rest->ptr[digits] >= '0' && rest->ptr[digits] <= '9')
            digits++;
        if (digits > 0) {
            route->has_version = true;
            route->version = tn_str_sub(*rest, 0, digits);
            *rest = tn_str_sub(*rest, digits, rest->len);
            return;
        }
        *rest = saved;
    } else if (cut_prefix(rest, TN_STR("/labels/"))) {
        if (cut_segment(rest, &route->label)) {
            route->has_label = true;
            return;
        }
        *rest = saved;
    }
}

/* What may follow the name in a GET: the choice and "/metadata". */
static bool match_get_tail(tn_str rest, rest_route *route)
{
    cut_choice(&rest, route);
    tn_str tail = rest;
    route->verb = VERB_STATUS;
    if (cut_prefix(&rest, TN_STR("/metadata")))
        /* The pattern ignores case, the dispatch does not: "/Metadata" is matched and answers the status. */
        route->verb = tn_str_starts(tail, TN_STR("/metadata")) ? VERB_METADATA : VERB_STATUS;
    return rest.len == 0;
}

static bool match_get(tn_str target, rest_route *route)
{
    tn_str rest = target;
    *route = (rest_route){0};
    if (!cut_prefix(&rest, TN_STR("/v1/models")))
        return false;
    tn_str after = rest;
    if (after.len > 0 && after.ptr[0] == '/') {
        after = tn_str_sub(after, 1, after.len);
        if (cut_segment(&after, &route->name) && match_get_tail(after, route))
            return true;
    }
    *route = (rest_route){0};
    return match_get_tail(rest, route);
}

static bool match_post(tn_str target, rest_route *route)
{
    tn_str rest = target;
    *route = (rest_route){0};
    if (!cut_prefix(&rest, TN_STR("/v1/models/")) || !cut_segment(&rest, &route->name))
        return false;
    cut_choice(&rest, route);
    /* The pattern ignores case, the dispatch does not: ":Predict" is matched, and then malformed. */
    if (tn_str_eq(rest, TN_STR(":predict")))
        route->verb = VERB_PREDICT;
    else if (tn_str_eq(rest, TN_STR(":classify")))
        route->verb = VERB_CLASSIFY;
    else if (tn_str_eq(rest, TN_STR(":regress")))
        route->verb = VERB_REGRESS;
    else if (tn_str_ieq(rest, TN_STR(":predict")) || tn_str_ieq(rest, TN_STR(":classify")) ||
             tn_str_ieq(rest, TN_STR(":regress")))
        route->verb = VERB_NONE;
    else
        return false;
    return true;
}

/* Counts an answer that is given without a tn_request. */
static void count(tn_server *server, tn_exchange *ex, tn_method method, tn_str model, tern_code code)
{
    tn_access_about(ex, method, model);
    if (server->stats != NULL)
        tn_stats_answer(tn_stats_find(server->stats, model), method, code,
                        tn_now_ns() - tn_exchange_started_ns(ex), 0);
}

static void malformed_text(const tn_server *server, tn_str method, tn_str target, tn_buf *text)
{
    tn_buf_printf(text, "Malformed request: %.*s ", TN_FMT(method));
    tn_buf_str(text, target);
    rest_route route;
    const bool hints = server->rest_extensions && !server->strict;
    if (hints && match_post(target, &route) && route.verb != VERB_NONE)
        tn_buf_z(text, "; this path wants POST");
    else if (hints && match_get(target, &route))
        tn_buf_z(text, "; this path wants GET");
    else if (hints)
        tn_buf_z(text,
                 "; paths are /v1/models/NAME[/versions/N|/labels/L], the same with /metadata, and with "
                 ":predict, :classify or :regress for POST");
}

static void malformed(tn_server *server, tn_exchange *ex, tn_str target)
{
    tn_buf text;
    count(server, ex, TN_METHOD_REST_OTHER, TN_STR(""), TERN_INVALID_ARGUMENT);
    tn_buf_init(&text, target.len + 512);
    malformed_text(server, tn_exchange_method(ex), target, &text);
    tn_http_error_text(server, ex, TERN_INVALID_ARGUMENT, tn_buf_view(&text));
    tn_buf_free(&text);
}

/* Names and labels decoded, the version as a number. The target's slices live in the arena. */
static tern_code target_of(const rest_route *route, tn_arena *arena, tn_target *target, tern_status *st)
{
    *target = (tn_target){.has_version = route->has_version, .has_label = route->has_label};
    target->name = tn_percent_decode(route->name, arena);
    if (target->name.ptr == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Bad Request: broken percent-encoding in the model's name");
    if (route->has_label) {
        target->label = tn_percent_decode(route->label, arena);
        if (target->label.ptr == NULL)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Bad Request: broken percent-encoding in the label");
    }
    if (route->has_version && !tn_str_i64(route->version, &target->version))
        /*
         * No text: that is how the original answers (golden corpus: status_targets-021, predict_targets-064).
         */
        return tern_fail_bytes(st, TERN_INVALID_ARGUMENT, "", 0);
    return TERN_OK;
}

static void refuse(tn_server *server, tn_exchange *ex, const tern_status *st)
{
    if (st->length == 0)
        tn_http_text(server, ex, tn_code_http(st->code), TN_STR("application/json"), TN_STR(""), st->code);
    else
        tn_http_error(server, ex, st);
}

/* ---- status and metadata ---- */

static tern_code get_text(tn_server *server, const rest_route *route, tn_arena *arena, tn_target *target,
                          tn_buf *out, tern_status *st)
{
    tern_code code;
    if (route->name.len == 0)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "Missing model name in request.");
    else
        code = target_of(route, arena, target, st);
    if (code == TERN_OK)
        code = route->verb == VERB_METADATA ? tn_metadata_json(server->models, target, arena, out, st)
                                            : tn_status_json(server->models, target, arena, out, st);
    if (code == TERN_OK && out->failed)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than --max_response_bytes");
    return code;
}

tern_code tn_rest_get(tn_server *server, tn_str text, tn_arena *arena, tn_buf *out, tern_status *st)
{
    rest_route route;
    tn_target target = {0};
    if (!match_get(text, &route))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Malformed request: GET %.*s",
                         TN_FMT(tn_str_sub(text, 0, 512)));
    return get_text(server, &route, arena, &target, out, st);
}

static void answer_get(tn_server *server, tn_exchange *ex, const rest_route *route)
{
    tn_arena arena;
    tn_buf out;
    tn_target target = {0};
    tern_status st;
    tn_arena_init(&arena, (size_t)server->limits.max_call_arena_bytes);
    tn_buf_init(&out, (size_t)server->limits.max_response_bytes);
    tern_code code = get_text(server, route, &arena, &target, &out, &st);
    count(server, ex, route->verb == VERB_METADATA ? TN_METHOD_REST_METADATA : TN_METHOD_REST_STATUS,
          target.name, code);
    if (code == TERN_OK)
        tn_http_text(server, ex, 200, TN_STR("application/json"), tn_buf_view(&out), TERN_OK);
    else
        refuse(server, ex, &st);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

/* ---- predict ---- */

/*
 * The body's bytes, converted, or inflated when they are in a coding. What cannot be inflated counts as
 * empty, as in the original; where extensions are on, an error says so.
 */
tern_code tn_rest_body(tn_request *r, int64_t max, tn_str *body, tern_status *st)
{
    tn_rest_state *state = r->surface_state;
    const tn_content_coding coding = r->coding;
    if (state->prepare != NULL) {
        tern_code (*prepare)(tn_request *, tern_status *) = state->prepare;
        state->prepare = NULL;
        tern_code code = prepare(r, st);
        if (code != TERN_OK)
            return code;
    }
    *body = tn_region_view(&r->body);
    if (coding == TN_CONTENT_IDENTITY)
        return TERN_OK;
    if (coding == TN_CONTENT_UNKNOWN)
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "Content-Encoding names a coding that is not known here, or several; send one of gzip, zstd, "
            "deflate and identity");
    tn_region plain;
    tern_code code = tn_inflate(coding, *body, &r->server->budget, (size_t)max, &plain, st);
    if (code != TERN_OK)
        return code;
    if (plain.ptr == NULL && r->server->rest_extensions)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "The body is not one whole %.*s stream, as its Content-Encoding says it is",
                         TN_FMT(tn_content_coding_name(coding)));
    tn_region_free(&r->body);
    r->body = plain;
    *body = tn_region_view(&r->body);
    return TERN_OK;
}

static size_t tensor_bytes(const tn_predict *p)
{
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_inputs; i++)
        n += p->inputs[i].size;
    return n;
}

tn_json_limits tn_rest_json_limits(const tn_server *server)
{
    size_t used = atomic_load_explicit(&server->budget.used, memory_order_relaxed);
    const int64_t left = used < server->budget.limit ? (int64_t)(server->budget.limit - used) : 0;
    return (tn_json_limits){.max_depth = server->limits.max_json_depth,
                            .max_tensor_bytes = left,
                            .max_tape_bytes = left,
                            .max_error_bytes = server->limits.max_error_bytes,
                            .extended = server->rest_extensions};
}

static tern_code read_predict(tn_request *r, tn_str body, tn_predict *p, tern_status *st)
{
    const tn_rest_state *state = r->surface_state;
    const tn_json_limits json = tn_rest_json_limits(r->server);
    if (state->wants.body != TN_MEDIA_JSON) {
        const int64_t most = r->server->limits.max_body_bytes;
        const tn_pb_predict_limits limits = {.max_tensor_bytes =
                                                 json.max_tensor_bytes < most ? json.max_tensor_bytes : most,
                                             .max_inputs = r->server->limits.max_inputs,
                                             .budget = &r->server->budget};
        return tn_rest_read_binary(&r->call, &state->wants, state->target.name, body, &limits, p, st);
    }
    tern_code code = tn_json_decode_predict(body, r->call.version->signatures, &json, &r->call.arena, p, st);
    if (code != TERN_OK)
        r->error_text = p->error;
    return code;
}

static size_t arrived(void *context, size_t n)
{
    return tn_arrival_wait(context, n);
}

/* The body while it arrives. */
static tern_code read_early(tn_request *r, tn_arrival *arrival, tn_predict *p, tern_status *st)
{
    const tn_json_limits json = tn_rest_json_limits(r->server);
    if (!tn_json_decode_arriving(arrival->bytes, arrived, arrival, r->call.version->signatures, &json,
                                 &r->call.arena, p))
        return tn_early_failed(st);
    if (tn_early_complete(r))
        return TERN_OK;
    tn_predict_release(p);
    return tn_early_failed(st);
}

static tern_code rest_decode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    const tn_rest_state *state = r->surface_state;
    tn_arrival *arrival = tn_early_of(r);
    tn_predict p = {0};
    tn_str body = TN_STR_NONE;
    tern_code code;
    if (arrival != NULL) {
        code = read_early(r, arrival, &p, st);
    } else {
        code = tn_rest_body(r, r->server->limits.max_body_bytes, &body, st);
        if (code == TERN_OK)
            code = read_predict(r, body, &p, st);
    }
    if (code == TERN_OK) {
        call->signature = p.signature;
        call->inputs = p.inputs;
        call->input_ids = p.input_ids;
        call->n_inputs = p.n_inputs;
        r->row = p.row;
        /* What tensors of a message take beyond its bytes its reader has paid for. */
        const size_t bytes = state->wants.body == TN_MEDIA_PROTOBUF ? body.len : tensor_bytes(&p);
        tn_region_free(&r->body);
        code = tn_request_charge(r, bytes, st);
    }
    if (code == TERN_OK)
        code = tn_predict_check_method(r->server, call->signature, st);
    if (code == TERN_OK)
        code = tn_rest_choose_outputs(call, &state->wants, st);
    call->stage_ns[TN_STAGE_DECODE] = tn_call_lap(call);
    return code;
}

static tern_code rest_encode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    tn_rest_state *state = r->surface_state;
    tern_code code = tn_rest_write(r, &state->wants, r->row, &state->answer, st);
    if (code == TERN_OK && state->finish != NULL && state->answer.chunks == &r->chunk)
        code = state->finish(r, st);
    call->stage_ns[TN_STAGE_ENCODE] = tn_call_lap(call);
    return code;
}

static const tn_call_steps predict_steps = {.name = "predict",
                                            .kind = TN_COST_REST,
                                            .method = TN_METHOD_REST_PREDICT,
                                            .decode = rest_decode,
                                            .encode = rest_encode,
                                            .done = tn_request_done};

const tn_call_steps *tn_rest_predict_steps(void)
{
    return &predict_steps;
}

/* Calls whose answers are compressed cost more: measured apart, so that what is slow stays off the loop. */
static const tn_call_steps coded_steps = {.name = "predict",
                                          .kind = TN_COST_REST_CODED,
                                          .method = TN_METHOD_REST_PREDICT,
                                          .decode = rest_decode,
                                          .encode = rest_encode,
                                          .done = tn_request_done};

static void rest_answer(tn_request *r)
{
    const tn_rest_state *state = r->surface_state;
    tn_http_request_send(r, &state->answer);
}

static const tn_surface rest_surface = {.answer = rest_answer, .error = tn_http_request_error};

/*
 * The signature is the first thing that the original asks the model for: with no signatures at all, that is
 * where the decoder stops when the body is well-formed so far.
 */
static tern_code predict_body_error(tn_request *r, tn_str body, tern_status *st)
{
    static const tern_signature_set none = {0};
    const tn_json_limits json = tn_rest_json_limits(r->server);
    tn_predict p = {0};
    tern_code code = tn_json_decode_predict(body, &none, &json, &r->call.arena, &p, st);
    tn_predict_release(&p);
    r->error_text = p.error;
    return tn_str_starts((tn_str){st->message, st->length}, TN_STR("Serving signature name:")) ? TERN_OK
                                                                                               : code;
}

/* The original reads the JSON before it looks for the model, so an error of the body comes first. */
static void fail_without_model(tn_request *r, const tern_status *missing)
{
    tern_status st;
    tn_str body;
    const int64_t small = r->server->limits.inline_body_bytes;
    const tn_rest_state *state = r->surface_state;
    const bool predict = r->call.steps->method == TN_METHOD_REST_PREDICT, prepared = state->prepare != NULL;
    tern_code code = TERN_OK;
    tern_status_init(&st);
    if (state->wants.body == TN_MEDIA_JSON && (int64_t)r->body.len <= small) {
        code = tn_rest_body(r, small, &body, &st);
        if (code == TERN_OK)
            code = predict ? predict_body_error(r, body, &st) : tn_rest_examples_error(r, body, &st);
        else if (!prepared)
            code = TERN_OK; /* what cannot be inflated is no error of the body */
    }
    tn_request_fail(r, code != TERN_OK ? &st : missing);
}

void tn_rest_go(tn_request *r)
{
    tn_rest_state *state = r->surface_state;
    tern_status st;
    if (tn_request_acquire(r, &state->target, &st) != TERN_OK) {
        fail_without_model(r, &st);
        return;
    }
    if (r->server->rest_timeout_ms > 0)
        r->call.deadline_ns = tn_now_ns() + r->server->rest_timeout_ms * TN_NS_PER_MS;
    /* What it inflates to is not known yet: never on the loop. */
    if (r->coding != TN_CONTENT_IDENTITY &&
        (int64_t)r->call.body_bytes <= r->server->limits.inline_body_bytes)
        r->call.body_bytes = (size_t)r->server->limits.inline_body_bytes + 1;
    tn_request_submit(r);
}

/* After an attempt: the version is the one that is there now. */
static void go_after_early(tn_request *r)
{
    tn_version_release(r->call.version);
    r->call.version = NULL;
    tn_rest_go(r);
}

/* A predict call whose body is JSON as it comes. Where there is no such model, that is told later. */
static bool begin_early(tn_request *r)
{
    const tn_rest_state *state = r->surface_state;
    tern_status st;
    if (r->coding != TN_CONTENT_IDENTITY || state->prepare != NULL || state->wants.body != TN_MEDIA_JSON ||
        tn_request_acquire(r, &state->target, &st) != TERN_OK)
        return false;
    if (r->call.version->batching != NULL) {
        tn_version_release(r->call.version);
        r->call.version = NULL;
        return false;
    }
    r->on_body = go_after_early;
    return true;
}

static const tn_call_steps *steps_of(rest_verb verb, bool coded)
{
    if (verb == VERB_PREDICT)
        return coded ? &coded_steps : &predict_steps;
    return tn_rest_examples_steps(verb == VERB_REGRESS, coded);
}

/* A request whose wants are known, ready for its body. NULL: was answered. */
static tn_request *rest_request(tn_server *server, tn_exchange *ex, rest_verb verb, bool plain)
{
    tern_status st;
    tn_request *r = tn_request_new(server, ex, &rest_surface, steps_of(verb, false));
    if (r == NULL)
        return NULL;
    tn_rest_state *state = tn_arena_zalloc(&r->call.arena, sizeof *state);
    tern_code code = state != NULL ? tn_rest_wants_read(server, ex, &r->call.arena, &state->wants, &st)
                                   : tern_fail(&st, TERN_RESOURCE_EXHAUSTED,
                                               "No memory for this request; try again later");
    if (code != TERN_OK) {
        tn_request_fail(r, &st);
        return NULL;
    }
    if (plain)
        state->wants = (tn_rest_wants){.body = TN_MEDIA_JSON, .answer = TN_MEDIA_JSON};
    r->surface_state = state;
    r->coding = state->wants.body_coding;
    r->call.steps = steps_of(verb, state->wants.coding != TN_CONTENT_IDENTITY);
    return r;
}

void tn_rest_predict(tn_server *server, tn_exchange *ex, const tn_target *target)
{
    tn_request *r = rest_request(server, ex, VERB_PREDICT, false);
    if (r == NULL)
        return;
    tn_rest_state *state = r->surface_state;
    state->target = *target;
    state->target.name = tn_arena_dup(&r->call.arena, target->name);
    state->target.label = tn_arena_dup(&r->call.arena, target->label);
    tn_request_for(r, target->name);
    tn_early_read_body(r, tn_rest_go, begin_early);
}

static void answer_post(tn_server *server, tn_exchange *ex, const rest_route *route, bool plain)
{
    tern_status st;
    tn_request *r = rest_request(server, ex, route->verb, plain);
    if (r == NULL)
        return;
    tn_rest_state *state = r->surface_state;
    tern_code code = target_of(route, &r->call.arena, &state->target, &st);
    tn_request_for(r, state->target.name);
    if (code != TERN_OK) {
        count(server, ex, r->method, state->target.name, code);
        refuse(server, ex, &st);
        r->ex = NULL;
        tn_request_drop(r);
        return;
    }
    if (route->verb == VERB_PREDICT)
        tn_early_read_body(r, tn_rest_go, begin_early);
    else
        tn_request_read_body(r, tn_rest_go);
}

/* All that can be wrong before the body is looked at, in the order of tn_rest_on_request(). */
static tern_code run_route(tn_request *r, tn_str target, rest_route *route, tern_status *st)
{
    tn_rest_state *state = r->surface_state;
    if (!tn_target_is_uri(target))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s", TN_NO_URI);
    if (!tn_str_istarts(target, TN_STR("/v1/")))
        return tern_fail(st, TERN_NOT_FOUND, "Not Found");
    const bool matched = match_post(target, route);
    if (matched && route->verb != VERB_NONE)
        return target_of(route, &r->call.arena, &state->target, st);
    int64_t version;
    route->verb = VERB_NONE;
    if (matched && route->has_version && !tn_str_i64(route->version, &version))
        return tern_fail_bytes(st, TERN_INVALID_ARGUMENT, "", 0);
    tn_buf text;
    tn_buf_init(&text, target.len + 512);
    malformed_text(r->server, TN_STR("POST"), target, &text);
    r->error_text = tn_arena_dup(&r->call.arena, tn_buf_view(&text));
    tern_code code = tern_fail_bytes(st, TERN_INVALID_ARGUMENT, text.ptr, text.ptr != NULL ? text.len : 0);
    tn_buf_free(&text);
    return code;
}

/* Finds out what is called. */
static tern_code route_of(tn_request *r, tn_str target, tern_status *st)
{
    tn_rest_state *state = r->surface_state;
    rest_route route = {.verb = VERB_NONE};
    tern_code code = run_route(r, target, &route, st);
    if (route.verb == VERB_NONE) {
        r->method = TN_METHOD_REST_OTHER;
        return code;
    }
    r->call.steps = steps_of(route.verb, false);
    r->method = r->call.steps->method;
    tn_request_for(r, state->target.name);
    return code;
}

tern_code tn_rest_aim(tn_request *r, tn_str target, tern_status *st)
{
    return route_of(r, target, st);
}

void tn_rest_run(tn_request *r, tn_str target)
{
    tern_status st;
    if (route_of(r, target, &st) == TERN_OK)
        tn_rest_go(r);
    else
        tn_request_fail(r, &st);
}

/* A method in other letters, which nothing answers. As in the original, the version is read before that. */
static void answer_other_letters(tn_server *server, tn_exchange *ex, const rest_route *route, tn_str full)
{
    int64_t version;
    if (route->has_version && !tn_str_i64(route->version, &version)) {
        count(server, ex, TN_METHOD_REST_OTHER, TN_STR(""), TERN_INVALID_ARGUMENT);
        tn_http_text(server, ex, 400, TN_STR("application/json"), TN_STR(""), TERN_INVALID_ARGUMENT);
    } else {
        malformed(server, ex, full);
    }
}

/* ---- entry ---- */

/*
 * Cross-origin preflight: 200 when an Origin with http or https is there, else 400; no body (http_server.cc).
 * Where extensions are on, any OPTIONS is answered.
 */
static void answer_options(tn_server *server, tn_exchange *ex, bool plain)
{
    tn_str origin = plain ? TN_STR_NONE : tn_exchange_header(ex, "origin");
    bool good = server->rest_extensions || tn_str_find(origin, TN_STR("http://")) >= 0 ||
                tn_str_find(origin, TN_STR("https://")) >= 0;
    tn_http_text(server, ex, good ? 200 : 400, TN_STR("text/html; charset=ISO-8859-1"), TN_STR(""),
                 good ? TERN_OK : TERN_INVALID_ARGUMENT);
}

static void on_target(tn_server *server, tn_exchange *ex, tn_str target, bool plain)
{
    tn_str method = tn_exchange_method(ex);
    tn_target_parts parts = tn_target_split(target);
    /* The pattern runs over all of it: the path is where the target begins, to the target's end. */
    tn_str full = parts.path;
    if (!server->rest_extensions && parts.has_query)
        full.len += 1 + parts.query.len;
    rest_route route;
    const bool get = tn_str_eq(method, TN_STR("GET")) ||
                     /* net sends no body then */
                     (server->rest_extensions && tn_str_eq(method, TN_STR("HEAD")));
    if (tn_str_eq(method, TN_STR("OPTIONS")))
        answer_options(server, ex, plain);
    else if (get && match_get(full, &route))
        answer_get(server, ex, &route);
    else if (!tn_str_eq(method, TN_STR("POST")) || !match_post(full, &route))
        malformed(server, ex, full);
    else if (route.verb == VERB_NONE)
        answer_other_letters(server, ex, &route, full);
    else
        answer_post(server, ex, &route, plain);
}

void tn_rest_on_request(tn_server *server, tn_exchange *ex)
{
    on_target(server, ex, tn_exchange_target(ex), false);
}

void tn_rest_pass(tn_server *server, tn_exchange *ex, tn_str target)
{
    on_target(server, ex, target, true);
}
