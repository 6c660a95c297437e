/*
 * api/sagemaker_models.c - several models: the whole, lists, descriptions, unloading. See
 * api/sagemaker_models.h.
 */
#include "api/sagemaker_models.h"

#include <stdlib.h>

#include "api/sagemaker_load.h"
#include "api/sagemaker_service.h"
#include "api/script.h"
#include "base/status.h"
#include "codec/python_text.h"
#include "codec/service_request.h"

#define MAX_LOOKS 1024 /* folders that wait to be looked at */

static bool from_2_20(const tn_server *server)
{
    return server->sagemaker->generation >= TN_SAGEMAKER_2_20;
}

/* ---- the whole ---- */

tern_code tn_sagemaker_models_new(tn_server *server, tn_sagemaker_models **out, tern_status *st)
{
    tn_sagemaker_models *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    s->server = server;
    tern_code code = tn_table_init(s, st);
    if (code == TERN_OK) {
        s->worker = tn_worker_new("tern-models", MAX_LOOKS);
        if (s->worker == NULL)
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No thread to be had for the models' folders");
    }
    if (code == TERN_OK)
        return code;
    tn_sagemaker_models_free(s);
    *out = NULL;
    return code;
}

void tn_sagemaker_models_end(tn_sagemaker_models *s)
{
    if (s == NULL)
        return;
    tn_worker_free(s->worker);
    s->worker = NULL;
}

void tn_sagemaker_models_free(tn_sagemaker_models *s)
{
    if (s == NULL)
        return;
    tn_sagemaker_models_end(s);
    tn_table_free(s);
    free(s);
}

/* ---- requests that wait ---- */

static void op_answer(tn_request *r)
{
    const tn_model_op *op = r->detached;
    tn_buf text;
    switch (op->form) {
    case TN_OP_SUCCESS:
        tn_buf_init(&text, op->text.len * 6 + 64);
        tn_buf_z(&text, "{\"success\": ");
        tn_python_json(&text, op->text);
        tn_buf_char(&text, '}');
        tn_service_request_text(r, op->status, tn_buf_view(&text));
        tn_buf_free(&text);
        return;
    case TN_OP_ERROR:
        tn_service_request_own_error(r, op->status, op->text);
        return;
    case TN_OP_TEXT:
        tn_service_request_text(r, op->status, op->text);
        return;
    default:
        tn_service_request_error(r, op->status, TN_STR_NONE, TN_STR_NONE);
    }
}

static void op_error(tn_request *r, const tern_status *st)
{
    tn_service_request_error(r, tn_code_http(st->code), TN_STR_NONE, (tn_str){st->message, st->length});
}

static const tn_surface op_surface = {.answer = op_answer, .error = op_error};
static const tn_call_steps op_steps = {
    .name = "models", .kind = TN_COST_REST, .done = tn_request_done, .method = TN_METHOD_REST_OTHER};

tn_request *tn_model_op_request(tn_server *server, tn_exchange *ex)
{
    return tn_request_new(server, ex, &op_surface, &op_steps);
}

/* What was begun goes on, as in the original. */
static void nobody_waits(tn_request *r)
{
    (void)r;
}

void tn_model_op_start(tn_model_op *op, tn_request *r, void (*again)(tn_task *waiter))
{
    op->request = r;
    op->waiter = (tn_waiter){.task = {.run = again}, .loop = r->loop};
    tn_request_detach(r, nobody_waits, op);
}

void tn_model_op_end(tn_model_op *op, tn_op_form form, int status, tn_str text)
{
    op->form = form;
    op->status = status;
    op->text = text;
    tern_status_init(&op->request->call.status);
    tn_request_finish(op->request);
}

tn_str tn_model_op_text(tn_request *r, const tn_str *texts, size_t n)
{
    size_t len = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        len += texts[i].len;
    char *all = tn_arena_alloc(&r->call.arena, len + 1);
    for (size_t i = 0; i < n && all != NULL; i++) {
        if (texts[i].len > 0)
            memcpy(all + at, texts[i].ptr, texts[i].len);
        at += texts[i].len;
    }
    return all != NULL ? (tn_str){all, len} : TN_STR("");
}

/* {"error": "invalid model_name: 'x y'"} */
static void put_bad_name(tn_buf *out, tn_str name)
{
    tn_buf_z(out, "invalid model_name: ");
    tn_python_repr(out, name);
}

tn_str tn_model_bad_name(tn_request *r, tn_str name)
{
    tn_buf text;
    tn_buf_init(&text, name.len * 10 + 64);
    put_bad_name(&text, name);
    const tn_str copy = tn_arena_dup(&r->call.arena, tn_buf_view(&text));
    tn_buf_free(&text);
    return copy;
}

/* ---- list and describe ---- */

/* A version's status as json.dumps() writes it. */
static void put_version(tn_buf *out, const tn_version_status *v)
{
    tn_buf_printf(out, "{\"version\": \"%lld\", \"state\": \"%s\", \"status\": {\"error_code\": \"%s\", ",
                  (long long)v->version, tn_state_name(v->state), tn_code_name(v->error_code));
    tn_buf_z(out, "\"error_message\": ");
    tn_python_json(out, v->error_message);
    tn_buf_z(out, "}}");
}

static tern_code put_status(tn_server *server, tn_str name, tn_arena *arena, tn_buf *out, tern_status *st)
{
    const tn_version_status *versions;
    uint32_t n;
    tern_code code = tn_models_status(server->models, name, false, 0, arena, &versions, &n, st);
    if (code != TERN_OK)
        return code;
    tn_buf_z(out, "{\"model_version_status\": [");
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            tn_buf_z(out, ", ");
        put_version(out, &versions[i]);
    }
    tn_buf_z(out, "]}");
    return TERN_OK;
}

/* A model that went meanwhile is left out. */
static void put_all(tn_server *server, const tn_str *names, uint32_t n, tn_arena *arena, tn_buf *out)
{
    tern_status st;
    tn_buf one;
    bool first = true;
    tn_buf_init(&one, out->max);
    tn_buf_char(out, '{');
    for (uint32_t i = 0; i < n; i++) {
        tn_buf_clear(&one);
        if (put_status(server, names[i], arena, &one, &st) != TERN_OK)
            continue;
        if (!first)
            tn_buf_z(out, ", ");
        first = false;
        tn_python_json(out, names[i]);
        tn_buf_z(out, ": ");
        tn_buf_str(out, tn_buf_view(&one));
        out->failed |= one.failed;
    }
    tn_buf_char(out, '}');
    tn_buf_free(&one);
}

void tn_sagemaker_list(tn_server *server, tn_exchange *ex)
{
    tn_arena arena;
    tn_buf out;
    uint32_t n;
    tn_arena_init(&arena, (size_t)server->limits.max_call_arena_bytes);
    tn_buf_init(&out, (size_t)server->limits.max_response_bytes);
    const tn_str *names = tn_table_names(server->sagemaker->loaded, &arena, &n);
    if (names != NULL)
        put_all(server, names, n, &arena, &out);
    if (names == NULL || out.failed)
        tn_service_own_error(server, ex, 503, TN_STR("No memory for this request; try again later"));
    else
        tn_service_text(server, ex, 200, tn_buf_view(&out));
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

static void answer_named(tn_server *server, tn_exchange *ex, int status, const char *before, tn_str name,
                         const char *behind)
{
    tn_buf text;
    tn_buf_init(&text, name.len + 256);
    tn_buf_z(&text, before);
    tn_buf_str(&text, name);
    tn_buf_z(&text, behind);
    tn_service_own_error(server, ex, status, tn_buf_view(&text));
    tn_buf_free(&text);
}

/* 2.20 looks at names in paths, too. */
static bool is_refused(tn_server *server, tn_exchange *ex, tn_str name)
{
    if (!from_2_20(server) || tn_service_is_model_name(name))
        return false;
    tn_buf text;
    tn_buf_init(&text, name.len * 10 + 64);
    put_bad_name(&text, name);
    tn_service_own_error(server, ex, 400, tn_buf_view(&text));
    tn_buf_free(&text);
    return true;
}

static void answer_status(tn_server *server, tn_exchange *ex, tn_str name)
{
    tn_arena arena;
    tn_buf out;
    tern_status st;
    tn_arena_init(&arena, (size_t)server->limits.max_call_arena_bytes);
    tn_buf_init(&out, (size_t)server->limits.max_response_bytes);
    tn_buf_z(&out, "{\"model\": ");
    tern_code code = put_status(server, name, &arena, &out, &st);
    tn_buf_char(&out, '}');
    if (code != TERN_OK)
        tn_service_own_error(server, ex, tn_code_http(code), (tn_str){st.message, st.length});
    else if (out.failed)
        tn_service_own_error(server, ex, 503, TN_STR("No memory for this request; try again later"));
    else
        tn_service_text(server, ex, 200, tn_buf_view(&out));
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

/* Up to 2.19 a model that is there cannot be described: an exception that nobody catches. */
void tn_sagemaker_describe(tn_server *server, tn_exchange *ex, tn_str name)
{
    const bool later = from_2_20(server);
    if (is_refused(server, ex, name))
        return;
    if (!tn_table_find(server->sagemaker->loaded, name, NULL, NULL))
        answer_named(server, ex, 404, "Model ", name, later ? " is not loaded yet." : " is loaded yet.");
    else if (later)
        answer_status(server, ex, name);
    else
        tn_service_error(server, ex, 500, TN_STR_NONE, TN_STR_NONE);
}

bool tn_sagemaker_ports_of(tn_server *server, tn_str name, int *rest, int *grpc)
{
    return tn_table_find(server->sagemaker->loaded, name, rest, grpc);
}

/* While nothing is being loaded or unloaded, what can be asked is loaded: then nobody takes the lock. */
bool tn_sagemaker_may_invoke(tn_server *server, tn_exchange *ex, tn_str name)
{
    tn_sagemaker_models *s = server->sagemaker->loaded;
    const tn_target target = {.name = name};
    tn_version *v = NULL;
    tern_status st;
    if (atomic_load(&s->under_way) == 0 && tn_models_acquire(server->models, &target, &v, &st) == TERN_OK) {
        tn_version_release(v);
        return true;
    }
    if (tn_table_find(s, name, NULL, NULL))
        return true;
    answer_named(server, ex, 404, "Model ", name, " is not loaded yet.");
    return false;
}

/* ---- unload ---- */

static void begin_unload(tn_model_op *op)
{
    tn_request *r = op->request;
    tn_sagemaker_models *s = r->server->sagemaker->loaded;
    bool waits;
    tn_loaded *entry = tn_table_leave(s, op->name, &op->waiter, &waits);
    if (entry != NULL) {
        tn_models_remove(r->server->models, op->name); /* it may be gone already: by gRPC */
        if (r->server->scripts != NULL)
            tn_scripts_remove(r->server->scripts, op->name);
        tn_table_gone(s, entry);
        tn_model_op_end(op, TN_OP_SUCCESS, 200,
                        TN_OP_TEXT_OF(r, TN_STR("Successfully unloaded model "), op->name, TN_STR(".")));
    } else if (!waits) {
        tn_model_op_end(op, TN_OP_ERROR, 404,
                        TN_OP_TEXT_OF(r, TN_STR("Model "), op->name, TN_STR(" is not loaded yet")));
    }
}

static void unload_again(tn_task *task)
{
    begin_unload(TN_CONTAINER(TN_CONTAINER(task, tn_waiter, task), tn_model_op, waiter));
}

void tn_sagemaker_unload(tn_server *server, tn_exchange *ex, tn_str name)
{
    tern_status st;
    if (is_refused(server, ex, name))
        return;
    tn_request *r = tn_model_op_request(server, ex);
    if (r == NULL)
        return;
    tn_model_op *op = tn_arena_zalloc(&r->call.arena, sizeof *op);
    if (op != NULL)
        op->name = tn_arena_dup(&r->call.arena, name);
    if (op == NULL || op->name.ptr == NULL) {
        (void)tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
        tn_request_fail(r, &st);
        return;
    }
    tn_model_op_start(op, r, unload_again);
    begin_unload(op);
}
