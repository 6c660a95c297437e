/*
 * api/sagemaker.c - SageMaker's endpoint: what nginx does in the container (api/sagemaker.h), and, without
 * that mode, a light form of /ping, /invocations, /models/NAME/invoke on every port.
 *
 * In the light form JSON goes the way of REST predict unless the model's handler takes it; any other content
 * type is a document for the handler.
 */
#include "api/sagemaker.h"
#include "api/capture.h"

#include <stdlib.h>

#include "api/endpoints.h"
#include "api/http.h"
#include "api/surfaces.h"
#include "api/tfserving_rest.h"
#include "codec/json.h"
#include "codec/proxy_uri.h"

/*
 * 200 while the default model (or, without one, any model) can answer, else 502, as the container's proxy has
 * it.
 */
static void answer_ping(tn_server *server, tn_exchange *ex)
{
    const tn_target target = {.name = server->default_model};
    tn_version *v = NULL;
    tern_status st;
    bool up = tn_models_acquire(server->models, &target, &v, &st) == TERN_OK;
    tn_version_release(v);
    tn_http_text(server, ex, up ? 200 : 502, TN_STR("application/json"), TN_STR(""),
                 up ? TERN_OK : TERN_UNAVAILABLE);
}

/* The media type without parameters. */
static tn_str media_type(tn_str value)
{
    ptrdiff_t end = tn_str_chr(value, ';');
    return tn_str_trim(end >= 0 ? tn_str_sub(value, 0, (size_t)end) : value);
}

/* What REST predict reads; any other type is a document. */
static bool is_predict(const tn_server *server, tn_str type)
{
    if (type.len == 0 || tn_str_ieq(type, TN_STR("application/json")))
        return true;
    return server->rest_extensions && (tn_str_ieq(type, TN_STR("application/x-npy")) ||
                                       tn_str_ieq(type, TN_STR("application/x-protobuf")));
}

static void invoke(tn_server *server, tn_exchange *ex, tn_str name)
{
    const tn_target target = {.name = name};
    tn_str type = media_type(tn_exchange_header(ex, "content-type"));
    if (!tn_str_eq(tn_exchange_method(ex), TN_STR("POST"))) {
        tn_http_text(server, ex, 405, TN_STR("application/json"),
                     TN_STR("{\"error\": \"Method Not Allowed: use POST\"}"), TERN_INVALID_ARGUMENT);
    } else if (tn_document_takes(server, &target, type)) {
        tn_document_call(server, ex, &target);
    } else if (is_predict(server, type)) {
        tn_rest_predict(server, ex, &target);
    } else {
        tn_document_call(server, ex, &target);
    }
}

bool tn_sagemaker_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    static const tn_str prefix = TN_STR_INIT("/models/"), suffix = TN_STR_INIT("/invoke");
    tn_str path = parts->path;
    if (tn_str_eq(path, TN_STR("/ping"))) {
        answer_ping(server, ex);
        return true;
    }
    if (tn_str_eq(path, TN_STR("/invocations"))) {
        invoke(server, ex, server->default_model);
        return true;
    }
    if (path.len <= prefix.len + suffix.len || !tn_str_starts(path, prefix) || !tn_str_ends(path, suffix))
        return false;
    tn_str name = tn_str_sub(path, prefix.len, path.len - suffix.len);
    if (tn_str_chr(name, '/') >= 0)
        return false;
    tn_arena arena;
    tn_arena_init(&arena, (size_t)server->limits.max_request_line_bytes * 2 + 4096);
    tn_str decoded = tn_percent_decode(name, &arena);
    if (decoded.ptr != NULL) {
        invoke(server, ex, decoded);
    } else {
        tern_status st;
        tern_fail(&st, TERN_INVALID_ARGUMENT, "Bad Request: broken percent-encoding in the model's name");
        tn_http_error(server, ex, &st);
    }
    tn_arena_free(&arena);
    return true;
}

/* ---- SageMaker's own port ---- */

void tn_sagemaker_trouble_set(tn_sagemaker *sm, tn_str why)
{
    why = tn_str_sub(why, 0, TN_SAGEMAKER_TROUBLE_MAX - 1);
    pthread_mutex_lock(&sm->lock);
    if (why.len > 0)
        memcpy(sm->trouble, why.ptr, why.len);
    sm->trouble_len = why.len;
    atomic_store(&sm->troubled, why.len > 0);
    pthread_mutex_unlock(&sm->lock);
}

size_t tn_sagemaker_trouble_get(tn_sagemaker *sm, char *text, size_t size)
{
    if (!atomic_load_explicit(&sm->troubled, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&sm->lock);
    size_t n = sm->trouble_len < size ? sm->trouble_len : size;
    memcpy(text, sm->trouble, n);
    pthread_mutex_unlock(&sm->lock);
    return n;
}

/* nginx's default limits of a request's head: lines of 8 kB, four of them for all fields. */
#define HEAD_LINE_MAX  8192
#define HEAD_LINES_MAX (4 * HEAD_LINE_MAX)
#define LINE_REST      12 /* of a request line: blanks, version, line end */

/* Errors that nginx would answer with a page. */
static void refuse(tn_server *server, tn_exchange *ex, int status, tn_str why, tern_code code)
{
    tn_buf body;
    tn_buf_init(&body, why.len * 6 + 64);
    tn_buf_z(&body, "{\"error\": ");
    tn_json_quote(&body, why);
    tn_buf_z(&body, "}");
    tn_http_text(server, ex, status, TN_STR("application/json"), tn_buf_view(&body), code);
    tn_buf_free(&body);
}

void tn_sagemaker_refuse(tn_server *server, tn_exchange *ex, int status, const char *why)
{
    const tern_code code = status == 503 || status == 502 ? TERN_UNAVAILABLE
                           : status >= 500                ? TERN_INTERNAL
                                                          : TERN_INVALID_ARGUMENT;
    refuse(server, ex, status, tn_str_from(why), code);
}

static bool refused_head(tn_server *server, tn_exchange *ex)
{
    size_t n, bytes = 0, longest = 0;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    if (tn_exchange_is_http2(ex))
        return false;
    for (size_t i = 0; i < n; i++) {
        const size_t line = headers[i].name.len + headers[i].value.len + 4;
        bytes += line;
        longest = line > longest ? line : longest;
    }
    if (tn_exchange_target(ex).len + tn_exchange_method(ex).len + LINE_REST > HEAD_LINE_MAX)
        tn_sagemaker_refuse(server, ex, 414, "Request-URI Too Large: more than 8 kB");
    else if (longest > HEAD_LINE_MAX || bytes > HEAD_LINES_MAX)
        tn_sagemaker_refuse(server, ex, 400,
                            "Request Header Too Large: use at most 8 kB for a field and 32 kB for all");
    else
        return false;
    return true;
}

/* What the container does not have. */
static bool answered_extra(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    const tn_sagemaker *sm = server->sagemaker;
    const bool get = tn_str_eq(tn_exchange_method(ex), TN_STR("GET"));
    if (tn_str_eq(parts->path, TN_STR("/healthz")) || tn_str_eq(parts->path, TN_STR("/readyz")))
        return tn_health_on_request(server, ex, parts);
    if (get && sm->extras && tn_str_eq(parts->path, TN_STR("/metrics")))
        return tn_metrics_on_request(server, ex, parts);
    if (!get || sm->execution_parameters == NULL || !tn_str_eq(parts->path, TN_STR("/execution-parameters")))
        return false;
    tn_http_text(server, ex, 200, TN_STR("application/json"), tn_str_from(sm->execution_parameters), TERN_OK);
    return true;
}

/* In the form of TensorFlow Serving's REST API. */
static void refused_inside(tn_server *server, tn_exchange *ex, tern_code code, const char *why)
{
    tern_status st;
    tern_fail(&st, code, "%s", why);
    tn_http_error(server, ex, &st);
}

/*
 * /tfs/X goes to TensorFlow Serving's REST API as /X, query and all; header fields do not go along. What else
 * begins with /tfs is nothing there.
 */
static void pass(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    static const tn_str prefix = TN_STR_INIT("/tfs");
    tn_arena arena;
    tn_arena_init(&arena, (size_t)server->limits.max_request_line_bytes * 8 + 4096);
    const tn_str target =
        tn_sagemaker_inner_target(&arena, tn_str_sub(parts->path, prefix.len, parts->path.len), parts->query);
    if (target.ptr == NULL)
        tn_sagemaker_refuse(server, ex, 500, "No memory for this request; try again later");
    else if (!tn_target_is_uri(target))
        refused_inside(server, ex, TERN_INVALID_ARGUMENT, TN_NO_URI);
    else if (!tn_str_istarts(target, TN_STR("/v1/")))
        refused_inside(server, ex, TERN_NOT_FOUND, "Not Found: models are under /tfs/v1/models/NAME");
    else
        tn_rest_pass(server, ex, target);
    tn_arena_free(&arena);
}

tn_str tn_sagemaker_inner_target(tn_arena *arena, tn_str path, tn_str query)
{
    const ptrdiff_t end = tn_str_chr(path, '\n'); /* nginx's pattern takes one line */
    path = end >= 0 ? tn_str_sub(path, 0, (size_t)end) : path;
    char *out = tn_arena_alloc(arena, 3 * path.len + query.len + 2);
    if (out == NULL)
        return TN_STR_NONE;
    size_t n = tn_proxy_uri_escape(path, out);
    if (query.len > 0) {
        out[n++] = '?';
        memcpy(out + n, query.ptr, query.len);
        n += query.len;
    }
    return (tn_str){out, n};
}

/* path: as nginx sees it. */
static void dispatch(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    const tn_str path = parts->path;
    if (answered_extra(server, ex, parts))
        return;
    if (tn_str_starts(path, TN_STR("/tfs"))) {
        if (server->sagemaker->several)
            tn_sagemaker_refuse(server, ex, 502, "Bad Gateway: with several models, ask /models/NAME");
        else
            pass(server, ex, parts);
        return;
    }
    if ((tn_str_starts(path, TN_STR("/ping")) || tn_str_starts(path, TN_STR("/invocations")) ||
         tn_str_starts(path, TN_STR("/models"))) &&
        (server->sagemaker->service ? tn_sagemaker_service(server, ex, parts)
                                    : tn_sagemaker_proxy(server, ex, parts)))
        return;
    tn_http_text(server, ex, 404, tn_sagemaker_type(path), TN_STR("{\"error\": \"Not Found\"}"),
                 TERN_NOT_FOUND);
}

tn_str tn_sagemaker_type(tn_str path)
{
    const tn_str type = tn_proxy_uri_type(path);
    return type.ptr != NULL ? type : TN_STR("application/json");
}

void tn_sagemaker_route(tn_server *server, tn_exchange *ex)
{
    const tn_str sent = tn_exchange_target(ex);
    const ptrdiff_t fragment = tn_str_chr(sent, '#');
    tn_target_parts parts = tn_target_split(fragment >= 0 ? tn_str_sub(sent, 0, (size_t)fragment) : sent);
    char few[1024], *path = few, trouble[TN_SAGEMAKER_TROUBLE_MAX];
    const size_t n = tn_sagemaker_trouble_get(server->sagemaker, trouble, sizeof trouble);
    size_t length;
    if (n > 0) {
        refuse(server, ex, 503, (tn_str){trouble, n}, TERN_UNAVAILABLE);
        return;
    }
    if (refused_head(server, ex) || tn_capture_route(server, ex, &parts, tn_sagemaker_route))
        return;
    if (server->sagemaker->extras && tn_endpoints_on_request(server, ex, &parts))
        return;
    if (parts.path.len > sizeof few && (path = malloc(parts.path.len)) == NULL) {
        tn_sagemaker_refuse(server, ex, 503, "No memory for this request; try again later");
        return;
    }
    if (parts.path.len > 0 && parts.path.ptr[0] == '/' && tn_proxy_uri_normal(parts.path, path, &length)) {
        parts.path = (tn_str){path, length};
        dispatch(server, ex, &parts);
    } else {
        tn_sagemaker_refuse(server, ex, 400, "Bad Request: the path is broken, or leads above the root");
    }
    if (path != few)
        free(path);
}

tn_str tn_sagemaker_header(const tn_exchange *ex, const char *name, tn_arena *arena)
{
    size_t n;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    const tn_str wanted = tn_str_from(name);
    tn_str all = TN_STR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (!tn_str_eq(headers[i].name, wanted))
            continue;
        all = all.ptr == NULL ? headers[i].value
                              : tn_arena_printf(arena, "%.*s, %.*s", TN_FMT(all), TN_FMT(headers[i].value));
    }
    return all;
}
