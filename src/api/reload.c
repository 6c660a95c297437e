/*
 * api/reload.c - tensorflow.serving.ModelService/HandleReloadConfigRequest.
 *
 * The change itself takes effect at once (tn_models_change()); then the call waits, detached, until the
 * models that are new are AVAILABLE or failed, as model_servers/{model_service_impl,server_core}.cc do. It
 * holds up
 * nobody: neither its loop nor other changes. TensorFlow Serving waits for ever where no version is to be
 * found; here the wait ends with an error after --reload_absent_ms, and in any case after
 * --reload_timeout_ms, while the change stays. A client that leaves, or whose deadline passes, ends the wait,
 * not the change.
 */
#include <stdlib.h>

#include "api/grpc.h"
#include "base/clock.h"
#include "model/config.h"
#include "model_service.pb-c.h"

#define TICK_NS TN_NS_PER_S

/* What is waited for. In the call's arena. */
typedef struct reload {
    tn_request *request;
    tn_change change;
    tn_timer tick; /* looks whether waiting still makes sense */
    int64_t until_ns;
    const char **metrics; /* names asked for, sorted, each once */
    size_t n_metrics;
} reload;

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
}

static tern_code copy_metrics(const Tensorflow__Serving__ReloadConfigRequest *request, tn_arena *arena,
                              reload *w, tern_status *st)
{
    w->metrics = tn_arena_array(arena, request->n_metric_names, sizeof *w->metrics);
    if (w->metrics == NULL)
        return no_memory(st);
    for (size_t i = 0; i < request->n_metric_names; i++) {
        w->metrics[i] = tn_arena_dup(arena, tn_str_from(request->metric_names[i])).ptr;
        if (w->metrics[i] == NULL)
            return no_memory(st);
    }
    if (request->n_metric_names > 1)
        qsort(w->metrics, request->n_metric_names, sizeof *w->metrics, by_text);
    for (size_t i = 0; i < request->n_metric_names; i++)
        if (i == 0 || strcmp(w->metrics[i], w->metrics[w->n_metrics - 1]) != 0)
            w->metrics[w->n_metrics++] = w->metrics[i];
    return TERN_OK;
}

/*
 * By how much counters of the process rose: TensorFlow Serving answers with one cell of each, and 0 for names
 * it has not. Tern counts under other names, so 0 is the answer for all.
 */
static tern_code pack_answer(tn_request *r, const reload *w, tern_status *st)
{
    Tensorflow__Serving__ReloadConfigResponse response = TENSORFLOW__SERVING__RELOAD_CONFIG_RESPONSE__INIT;
    Tensorflow__Serving__StatusProto status = TENSORFLOW__SERVING__STATUS_PROTO__INIT;
    Tensorflow__Serving__Metric *metrics = tn_arena_array(&r->call.arena, w->n_metrics, sizeof *metrics);
    Tensorflow__Serving__Metric **list = tn_arena_array(&r->call.arena, w->n_metrics, sizeof *list);
    if (metrics == NULL || list == NULL)
        return no_memory(st);
    for (size_t i = 0; i < w->n_metrics; i++) {
        tensorflow__serving__metric__init(&metrics[i]);
        metrics[i].name = (char *)(uintptr_t)w->metrics[i];
        metrics[i].value_increase_case = TENSORFLOW__SERVING__METRIC__VALUE_INCREASE_INT64_VALUE_INCREASE;
        list[i] = &metrics[i];
    }
    response.status = &status;
    response.n_metric = w->n_metrics;
    response.metric = list;
    char *room = tn_buf_reserve(&r->out, protobuf_c_message_get_packed_size(&response.base));
    if (room == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than --max_response_bytes");
    tn_buf_commit(&r->out, protobuf_c_message_pack(&response.base, (uint8_t *)room));
    return TERN_OK;
}

static void on_loop(tn_task *task)
{
    tn_request *r = TN_CONTAINER(task, tn_request, finished);
    reload *w = r->detached;
    tn_timer_stop(r->loop, &w->tick);
    r->call.status = w->change.status;
    if (r->call.status.code == TERN_OK)
        (void)pack_answer(r, w, &r->call.status);
    tn_request_finish(r);
}

/* Any thread. */
static void on_done(tn_change *change)
{
    reload *w = TN_CONTAINER(change, reload, change);
    w->request->finished.run = on_loop;
    tn_loop_post(w->request->loop, &w->request->finished);
}

/* Where on_done() is on its way already, nothing is to be done. */
static void end(reload *w, const tern_status *st)
{
    tn_timer_stop(w->request->loop, &w->tick);
    if (!tn_models_forget(w->request->server->models, &w->change))
        return;
    w->change.status = *st;
    on_done(&w->change);
}

static void on_cancel(tn_request *r)
{
    tern_status st;
    (void)tern_fail(&st, TERN_CANCELLED, "Nobody waits for the answer");
    end(r->detached, &st);
}

static void on_tick(tn_timer *timer)
{
    reload *w = TN_CONTAINER(timer, reload, tick);
    tern_status st;
    int64_t now = tn_now_ns();
    if (tn_models_overdue(w->request->server->models, &w->change, &st) || now >= w->until_ns)
        end(w, &st);
    else
        tn_timer_start(w->request->loop, timer, now + TICK_NS, on_tick);
}

static tern_code read_request(const Tensorflow__Serving__ReloadConfigRequest *request, tn_arena *arena,
                              reload *w, const tn_model_config **configs, uint32_t *n, tern_status *st)
{
    const Tensorflow__Serving__ModelServerConfig *config = request->config;
    if (config == NULL ||
        config->config_case != TENSORFLOW__SERVING__MODEL_SERVER_CONFIG__CONFIG_MODEL_CONFIG_LIST)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                         "ModelConfigList is currently supported");
    tern_code code = copy_metrics(request, arena, w, st);
    return code == TERN_OK ? tn_model_config_read(config->model_config_list, arena, configs, n, st) : code;
}

static void change_models(tn_request *r, reload *w, const tn_model_config *configs, uint32_t n)
{
    const tn_limits *limits = &r->server->limits;
    const int64_t now = tn_now_ns();
    tern_status st;
    int64_t absent_ms = limits->reload_absent_ms;
    if (absent_ms > limits->reload_timeout_ms)
        absent_ms = limits->reload_timeout_ms;
    w->request = r;
    w->change.done = on_done;
    w->until_ns = now + limits->reload_timeout_ms * TN_NS_PER_MS;
    tn_request_detach(r, on_cancel, w);
    tn_timer_start(r->loop, &w->tick, now + absent_ms * TN_NS_PER_MS, on_tick);
    if (tn_models_change(r->server->models, configs, n, &w->change, &st) == TERN_OK)
        return;
    w->change.status = st;
    on_loop(&r->finished);
}

void tn_grpc_reload(tn_request *r, tn_str message)
{
    tern_status st;
    const tn_model_config *configs = NULL;
    uint32_t n = 0;
    tern_code code;
    reload *w = tn_arena_zalloc(&r->call.arena, sizeof *w);
    Tensorflow__Serving__ReloadConfigRequest *request =
        tensorflow__serving__reload_config_request__unpack(NULL, message.len, (const uint8_t *)message.ptr);
    if (request == NULL)
        code = tern_fail_bytes(&st, TERN_INTERNAL, "", 0);
    else if (w == NULL)
        code = no_memory(&st);
    else
        code = read_request(request, &r->call.arena, w, &configs, &n, &st);
    if (request != NULL)
        tensorflow__serving__reload_config_request__free_unpacked(request, NULL);
    if (code == TERN_OK)
        change_models(r, w, configs, n);
    else
        tn_request_fail(r, &st);
}
