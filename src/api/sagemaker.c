/*
 * api/sagemaker.c - the SageMaker container's endpoint, first form: /ping, /invocations, /models/NAME/invoke.
 *
 * JSON goes the way of REST predict unless the model's handler takes it; any other content type is a document
 * for the handler.
 */
#include "api/sagemaker.h"
#include "api/endpoints.h"
#include "api/http.h"
#include "api/surfaces.h"

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
    pthread_mutex_unlock(&sm->lock);
}

size_t tn_sagemaker_trouble_get(tn_sagemaker *sm, char *text, size_t size)
{
    pthread_mutex_lock(&sm->lock);
    size_t n = sm->trouble_len < size ? sm->trouble_len : size;
    memcpy(text, sm->trouble, n);
    pthread_mutex_unlock(&sm->lock);
    return n;
}

void tn_sagemaker_route(tn_server *server, tn_exchange *ex)
{
    tn_target_parts parts = tn_target_split(tn_exchange_target(ex));
    if (tn_endpoints_on_request(server, ex, &parts) || tn_health_on_request(server, ex, &parts) ||
        tn_metrics_on_request(server, ex, &parts))
        return;
    if (server->sagemaker->service ? tn_sagemaker_service(server, ex, &parts)
                                   : tn_sagemaker_proxy(server, ex, &parts))
        return;
    tn_http_text(server, ex, 404, TN_STR("application/json"), TN_STR("{\"error\": \"Not Found\"}"),
                 TERN_NOT_FOUND);
}
