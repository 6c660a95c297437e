/*
 * api/sagemaker_service.c - the service form of SageMaker's port: what the container's Python service (falcon
 * behind nginx) answers where there is Python code, a requirements.txt, a lib folder, or where there are
 * several models.
 *
 * Routes are exact, methods those that the service has. A request without a script goes the way of its
 * default
 * handler: the body is UTF-8 text that TensorFlow Serving's REST API gets as it is; here the call runs in
 * this process, and no Python is needed. Up to 2.19 its answer comes with status 200 whatever it was; 2.20
 * passes errors on in falcon's form, and takes four content types only.
 */
#include "api/sagemaker_service.h"
#include "api/http.h"
#include "api/sagemaker_models.h"
#include "api/script.h"
#include "api/surfaces.h"
#include "api/tfserving_rest.h"
#include "codec/python_text.h"
#include "codec/service_request.h"

#define HEADER_MAX (64u << 10)
#define ATTRIBUTES "x-amzn-sagemaker-custom-attributes"

/* ---- the default handler ---- */

typedef struct service_state {
    tn_rest_state rest;
    tn_str target;
    bool asked;       /* the body is there */
    bool undecodable; /* and is no UTF-8 */
} service_state;

static bool from_2_20(const tn_server *server)
{
    return server->sagemaker->generation >= TN_SAGEMAKER_2_20;
}

/* Answers with status 200 and the Content-Type that the client wants, or says it wants. */
static void answer_as_wanted(tn_request *r, const tn_chunk *chunks, size_t n, tn_str text)
{
    tn_buf room;
    tn_buf_init(&room, HEADER_MAX);
    tn_str accept = tn_service_header(r->ex, "accept", &room);
    const tn_header type = {TN_STR("content-type"), accept.len > 0 ? accept : TN_STR("application/json")};
    tn_response response = {.status = 200, .headers = &type, .n_headers = 1, .body = chunks, .n_body = n};
    if (chunks != NULL)
        tn_request_send(r, &response, TERN_OK);
    else
        tn_request_send_text(r, &response, text, TERN_INVALID_ARGUMENT);
    tn_buf_free(&room);
}

static void service_answer(tn_request *r)
{
    const service_state *state = r->surface_state;
    answer_as_wanted(r, state->rest.answer.chunks, state->rest.answer.n_chunks, TN_STR_NONE);
}

/* An error of TensorFlow Serving. */
static void answer_error(tn_request *r, const tern_status *st)
{
    tn_buf body;
    tn_buf_init(&body, (size_t)r->server->limits.max_response_bytes);
    if (st->length > 0) /* else it has none, as in the original */
        tn_http_request_error_body(r, st, &body);
    const tn_str text = body.len > 0 ? tn_buf_view(&body) : TN_STR("");
    if (from_2_20(r->server))
        tn_service_request_error(r, tn_code_http(st->code), TN_STR_NONE, text);
    else
        answer_as_wanted(r, NULL, 0, text);
    tn_buf_free(&body);
}

/* bytes.decode("utf-8") */
static tern_code decode_text(tn_request *r, tern_status *st)
{
    service_state *state = r->surface_state;
    tn_buf why;
    tern_code code = TERN_OK;
    tn_buf_init(&why, 256);
    if (!tn_python_decodes(tn_region_view(&r->body), &why)) {
        state->undecodable = true;
        code = tern_fail(st, TERN_INTERNAL, "%.*s", TN_FMT(tn_buf_view(&why)));
    }
    tn_buf_free(&why);
    return code;
}

static void service_error(tn_request *r, const tern_status *st)
{
    service_state *state = r->surface_state;
    tern_status why = *st;
    if (state != NULL && state->asked && state->rest.prepare != NULL && !r->submitted) {
        state->rest.prepare = NULL; /* nobody has looked at the body: its fault comes first */
        if (decode_text(r, &why) == TERN_OK)
            why = *st;
    }
    const tn_str text = {why.message, why.length};
    if (state != NULL && state->undecodable && !r->submitted)
        tn_service_request_own_error(r, 500, text);
    else if (state == NULL || !state->asked)
        tn_service_request_error(r, tn_code_http(st->code), TN_STR_NONE, text);
    else
        answer_error(r, st);
}

static const tn_surface service_surface = {.answer = service_answer, .error = service_error};

static void on_body(tn_request *r)
{
    service_state *state = r->surface_state;
    state->asked = true;
    tn_rest_run(r, state->target);
}

/* What requests.post() asks the model server for, in the arena. {NULL, 0} when memory is short. */
static tn_str target_of(tn_arena *arena, tn_str name, bool from_header, const tn_service_attributes *a)
{
    tn_buf path, target;
    if (tn_service_is_plain(name, a))
        return tn_arena_printf(arena, "/v1/models/%.*s%s%.*s:%.*s", TN_FMT(name),
                               a->model_version.len > 0 ? "/versions/" : "", TN_FMT(a->model_version),
                               TN_FMT(a->method.ptr != NULL ? a->method : TN_STR("predict")));
    tn_buf_init(&path, 2 * HEADER_MAX);
    tn_buf_init(&target, 16 * HEADER_MAX);
    tn_service_rest_path(&path, name, a);
    tn_service_target(&target, tn_buf_view(&path), from_header);
    const tn_str copy =
        path.failed || target.failed ? TN_STR_NONE : tn_arena_dup(arena, tn_buf_view(&target));
    tn_buf_free(&path);
    tn_buf_free(&target);
    return copy;
}

static void default_handler(tn_server *server, tn_exchange *ex, tn_str name, bool from_header,
                            const tn_service_attributes *attributes)
{
    tern_status st;
    tn_request *r = tn_request_new(server, ex, &service_surface, tn_rest_predict_steps());
    if (r == NULL)
        return;
    service_state *state = tn_arena_zalloc(&r->call.arena, sizeof *state);
    r->surface_state = state;
    if (state != NULL) {
        state->rest.prepare = decode_text;
        state->target = target_of(&r->call.arena, name, from_header, attributes);
    }
    if (state != NULL && state->target.ptr != NULL) {
        tn_request_read_body(r, on_body);
    } else {
        (void)tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
        tn_request_fail(r, &st);
    }
}

/* The types that 2.20 takes without a script. */
static bool is_taken(tn_str type)
{
    return type.len == 0 || tn_str_ieq(type, TN_STR("application/json")) ||
           tn_str_ieq(type, TN_STR("application/jsonlines")) ||
           tn_str_ieq(type, TN_STR("application/jsons")) || tn_str_ieq(type, TN_STR("text/csv"));
}

static void refuse_type(tn_server *server, tn_exchange *ex, tn_str type)
{
    tn_buf text;
    tn_buf_init(&text, HEADER_MAX);
    tn_buf_z(&text, "Unsupported Media Type: ");
    for (size_t i = 0; i < type.len; i++)
        tn_buf_char(&text,
                    type.ptr[i] >= 'A' && type.ptr[i] <= 'Z' ? (char)(type.ptr[i] | 0x20) : type.ptr[i]);
    tn_service_own_error(server, ex, 415, tn_buf_view(&text));
    tn_buf_free(&text);
}

/*
 * The script of that model's own, or the one for all. false: there is none. With several servers one is drawn
 * for each request, as there.
 */
static bool call_script(tn_server *server, tn_exchange *ex, tn_str name, bool from_header,
                        const tn_service_attributes *attributes)
{
    const tn_sagemaker *sm = server->sagemaker;
    static _Thread_local uint32_t turn;
    tn_script_target target = {.model = name,
                               .context_model = sm->several || from_header ? name : TN_STR_NONE,
                               .attributes = *attributes};
    if (server->scripts == NULL)
        return false;
    if (sm->several)
        target.pool = tn_scripts_find(server->scripts, name);
    if (target.pool == NULL)
        target.pool = tn_scripts_find(server->scripts, TN_STR(""));
    if (target.pool == NULL)
        return false;
    const int32_t i = (int32_t)(turn++ % (uint32_t)sm->instances);
    target.rest_port = sm->several ? 0 : sm->rest_ports[i];
    target.grpc_port = sm->several ? 0 : sm->grpc_ports[i];
    if (!sm->several || tn_sagemaker_ports_of(server, name, &target.rest_port, &target.grpc_port))
        tn_script_call(server, ex, &target);
    else
        tn_service_own_error(server, ex, 404, TN_STR("The model is not loaded any more."));
    tn_script_pool_release(target.pool);
    return true;
}

/* A call whose attributes are good. name: of the model; from_header: as the client wrote it. */
static void call_model(tn_server *server, tn_exchange *ex, tn_str name, bool from_header,
                       const tn_service_attributes *attributes)
{
    /* A type that the model's C handler takes goes there, whatever its script would do. */
    if (tn_document_take(server, ex, name, attributes->model_version) ||
        call_script(server, ex, name, from_header, attributes))
        return;
    tn_str type = tn_exchange_header(ex, "content-type");
    const ptrdiff_t parameters = tn_str_chr(type, ';');
    type = tn_str_trim(parameters >= 0 ? tn_str_sub(type, 0, (size_t)parameters) : type);
    if (from_2_20(server) && !is_taken(type))
        refuse_type(server, ex, type);
    else
        default_handler(server, ex, name, from_header, attributes);
}

/* model: of the path, or absent where the attributes or the default say it. */
static void invoke(tn_server *server, tn_exchange *ex, tn_str model)
{
    tn_service_attributes a;
    tn_buf room;
    tn_buf_init(&room, HEADER_MAX);
    const tn_str field = tn_service_header(ex, ATTRIBUTES, &room);
    const bool good = tn_service_attributes_read(field, !from_2_20(server), &a);
    const bool from_header = model.ptr == NULL && a.model_name.ptr != NULL;
    const tn_str name = model.ptr != NULL ? model : from_header ? a.model_name : server->default_model;
    const tn_str fault = good && from_2_20(server) ? tn_service_attributes_fault(&a, name) : TN_STR_NONE;
    if (!good)
        tn_service_error(server, ex, 500, TN_STR_NONE, TN_STR_NONE);
    else if (fault.ptr != NULL)
        tn_service_own_error(server, ex, 400, fault);
    else
        call_model(server, ex, name, from_header, &a);
    tn_buf_free(&room);
}

/* ---- routes ---- */

typedef enum route { ROUTE_NONE, ROUTE_PING, ROUTE_INVOCATIONS, ROUTE_MODELS, ROUTE_MODEL } route;

/* *model: of ROUTE_MODEL, maybe empty; else absent. */
static route route_of(const tn_sagemaker *sm, tn_str path, tn_str *model)
{
    static const tn_str models = TN_STR_INIT("/models/"), suffix = TN_STR_INIT("/invoke");
    *model = TN_STR_NONE;
    if (tn_str_eq(path, TN_STR("/ping")))
        return ROUTE_PING;
    if (tn_str_eq(path, TN_STR("/invocations")))
        return ROUTE_INVOCATIONS;
    if (!sm->several)
        return ROUTE_NONE;
    if (tn_str_eq(path, TN_STR("/models")))
        return ROUTE_MODELS;
    if (!tn_str_starts(path, models))
        return ROUTE_NONE;
    tn_str name = tn_str_sub(path, models.len, path.len);
    if (tn_str_ends(name, suffix))
        name.len -= suffix.len;
    if (tn_str_chr(name, '/') >= 0)
        return ROUTE_NONE;
    *model = name;
    return ROUTE_MODEL;
}

/*
 * The original's answer is 200 whatever becomes of the model. Here it tells whether the model that is asked
 * by default can answer; with several models it may be that none is loaded yet.
 */
static void answer_ping(tn_server *server, tn_exchange *ex)
{
    const tn_target target = {.name = server->default_model};
    tn_version *v = NULL;
    tern_status st;
    tern_status_init(&st);
    const bool up =
        server->sagemaker->several || tn_models_acquire(server->models, &target, &v, &st) == TERN_OK;
    tn_version_release(v);
    char trouble[TN_SAGEMAKER_TROUBLE_MAX];
    const size_t n = tn_sagemaker_trouble_get(server->sagemaker, trouble, sizeof trouble);
    if (n > 0) /* the workers of the script cannot start */
        tn_service_own_error(server, ex, 503, (tn_str){trouble, n});
    else if (up)
        tn_service_text(server, ex, 200, TN_STR(""));
    else
        tn_service_own_error(server, ex, 503, (tn_str){st.message, st.length});
}

/* Methods that falcon knows, besides those that routes have (falcon/constants.py). */
static bool is_known(tn_str method)
{
    static const tn_str known[] = {
        TN_STR_INIT("HEAD"),           TN_STR_INIT("OPTIONS"),   TN_STR_INIT("PATCH"),
        TN_STR_INIT("POST"),           TN_STR_INIT("PUT"),       TN_STR_INIT("DELETE"),
        TN_STR_INIT("CHECKIN"),        TN_STR_INIT("CHECKOUT"),  TN_STR_INIT("COPY"),
        TN_STR_INIT("LOCK"),           TN_STR_INIT("MKCOL"),     TN_STR_INIT("MOVE"),
        TN_STR_INIT("PROPFIND"),       TN_STR_INIT("PROPPATCH"), TN_STR_INIT("REPORT"),
        TN_STR_INIT("UNCHECKIN"),      TN_STR_INIT("UNLOCK"),    TN_STR_INIT("UPDATE"),
        TN_STR_INIT("VERSION-CONTROL")};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (tn_str_eq(method, known[i]))
            return true;
    return false;
}

/* 200 for OPTIONS, 405 for methods that the route has not, 400 for those that are none. */
static void other_method(tn_server *server, tn_exchange *ex, route to)
{
    if (!is_known(tn_exchange_method(ex))) {
        tn_service_error(server, ex, 400, TN_STR_NONE, TN_STR_NONE);
        return;
    }
    const bool options = tn_str_eq(tn_exchange_method(ex), TN_STR("OPTIONS"));
    const tn_header headers[] = {{TN_STR("content-type"), TN_STR("application/json")},
                                 {TN_STR("allow"), to == ROUTE_PING
                                                       ? (options ? TN_STR("GET") : TN_STR("GET, OPTIONS"))
                                                   : options ? TN_STR("DELETE, GET, POST")
                                                             : TN_STR("DELETE, GET, POST, OPTIONS")}};
    if (options)
        tn_http_send(server, ex, 200, headers, 2, TN_STR(""), TERN_OK);
    else
        tn_service_not_allowed(server, ex, headers[1].value);
}

/* query: where the service looks for the word, too. */
static void answer_post(tn_server *server, tn_exchange *ex, route to, tn_str model, tn_str query)
{
    const tn_sagemaker *sm = server->sagemaker;
    const bool invocations = to == ROUTE_INVOCATIONS || tn_str_find(query, TN_STR("invocations")) >= 0;
    if (model.len == 0 && !invocations)
        tn_sagemaker_load(server, ex);
    else if (!sm->several)
        invoke(server, ex, TN_STR_NONE);
    else if (model.len == 0)
        tn_service_own_error(server, ex, 400, TN_STR("Invocation request does not contain model name."));
    else if (tn_sagemaker_may_invoke(server, ex, model))
        invoke(server, ex, model);
}

static void answer_get(tn_server *server, tn_exchange *ex, tn_str model)
{
    const tn_sagemaker *sm = server->sagemaker;
    if (model.ptr != NULL)
        tn_sagemaker_describe(server, ex, model);
    else if (sm->several)
        tn_sagemaker_list(server, ex);
    else if (from_2_20(server))
        tn_service_text(server, ex, 200, TN_STR("{}"));
    else
        tn_service_error(server, ex, 500, TN_STR_NONE, TN_STR_NONE);
}

bool tn_sagemaker_service(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    const tn_str method = tn_exchange_method(ex);
    tn_str model;
    const route to = route_of(server->sagemaker, parts->path, &model);
    const bool get = tn_str_eq(method, TN_STR("GET"));
    if (to == ROUTE_NONE)
        tn_service_error(server, ex, 404, TN_STR_NONE, TN_STR_NONE);
    else if (to == ROUTE_PING && get)
        answer_ping(server, ex);
    else if (to == ROUTE_PING)
        other_method(server, ex, to);
    else if (get)
        answer_get(server, ex, model);
    else if (tn_str_eq(method, TN_STR("POST")))
        answer_post(server, ex, to, model, parts->query);
    else if (!tn_str_eq(method, TN_STR("DELETE")))
        other_method(server, ex, to);
    else if (model.ptr != NULL)
        tn_sagemaker_unload(server, ex, model);
    else
        tn_service_error(server, ex, 500, TN_STR_NONE, TN_STR_NONE); /* its on_delete() wants a name */
    return true;
}
