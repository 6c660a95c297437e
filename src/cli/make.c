/* cli/make.c - engines, models and the server out of flags. See cli/parts.h. */
#include <stdlib.h>

#include "api/access.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/parts.h"

/* Pages of metrics that may wait to be written. */
#define MAX_PAGES 16
enum { MAX_TAGS = 64, MAX_THREADS = 256 };

/* Split at commas. No tags at all mean "serve", as in the original's loader. */
static tern_code split_tags(tn_str flag, tn_str *tags, uint32_t *n, tern_status *st)
{
    *n = 0;
    for (bool more = flag.len > 0; more;) {
        ptrdiff_t comma = tn_str_chr(flag, ',');
        if (*n == MAX_TAGS)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "--saved_model_tags: use at most %d tags", MAX_TAGS);
        tags[(*n)++] = tn_str_sub(flag, 0, comma >= 0 ? (size_t)comma : flag.len);
        more = comma >= 0;
        flag = tn_str_sub(flag, more ? (size_t)comma + 1 : flag.len, flag.len);
    }
    if (*n == 0)
        tags[(*n)++] = TN_STR("serve");
    return TERN_OK;
}

/*
 * A count of the command line in the range of its setting. The serving manner takes what does not make sense.
 */
static int32_t bounded(const char *flag, int64_t value, int32_t min, int32_t max)
{
    int64_t used = value < min ? min : value > max ? max : value;
    if (used != value)
        tn_warn("flags", "--%s=%lld: %lld is used", flag, (long long)value, (long long)used);
    return (int32_t)used;
}

/* There, the number of tries is unsigned. */
static int32_t retries(int64_t value)
{
    return value < 0 || value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

tern_code tn_parts_models(tn_parts *p, tern_status *st)
{
    tn_options *o = &p->o;
    tn_str tags[MAX_TAGS];
    uint32_t n_tags = 0;
    tern_code code = split_tags(tn_str_from(o->saved_model_tags), tags, &n_tags, st);
    if (code != TERN_OK)
        return code;
    p->server.stats = tn_stats_new();
    if (p->server.stats == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    const tn_models_options options = {
        .engines = p->engines,
        .default_engine = tn_str_from(o->engine),
        .tags = tags,
        .n_tags = n_tags,
        .poll_seconds =
            bounded("file_system_poll_wait_seconds", o->file_system_poll_wait_seconds, 0, INT32_MAX),
        .load_threads = bounded("num_load_threads", o->num_load_threads, 0, MAX_THREADS),
        .unload_threads = bounded("num_unload_threads", o->num_unload_threads, 0, MAX_THREADS),
        .max_load_retries = retries(o->max_num_load_retries),
        .load_retry_interval_us = o->load_retry_interval_micros,
        .labels_for_unavailable = o->allow_version_labels_for_unavailable_models,
        .replace_moved = p->manner == TN_MANNER_TERN,
        .hooks = {.context = p, .load = tn_parts_load, .attach = tn_parts_attach, .detach = tn_parts_detach},
        .stats = p->server.stats,
    };
    p->warmup = (tn_warmup_options){.server = &p->server, .iterations = o->num_request_iterations_for_warmup};
    return tn_models_new(&options, p->configs, p->n_configs, &p->server.models, st);
}

/* With what is left to the machine filled in. */
static tn_limits used_limits(const tn_options *o)
{
    tn_limits limits = o->limits;
    if (limits.max_bytes_in_flight == 0)
        limits.max_bytes_in_flight = tn_memory_limit() / 2;
    return limits;
}

tern_code tn_parts_engines(tn_parts *p, tern_status *st)
{
    /*
     * TensorFlow Serving is built without oneDNN's kernels, whose error texts and last bits differ. bfloat16
     * needs them.
     */
    if ((p->manner == TN_MANNER_SERVING || p->o.sagemaker) && p->o.mixed_precision[0] == '\0')
        setenv("TF_ENABLE_ONEDNN_OPTS", "0", 0);
    const tn_options *o = &p->o;
    const tn_engines_config config = {.path = tn_text_or_null(o->engine_path),
                                      .options = {.struct_size = sizeof(tern_engine_options),
                                                  .intra_op_threads = p->intra_op_threads,
                                                  .inter_op_threads = p->inter_op_threads,
                                                  .config = p->session_config}};
    const tn_handlers_config handlers = {.path = tn_text_or_null(o->handler_path),
                                         .allow_model_code = o->allow_model_code,
                                         .code_root = p->server.sagemaker != NULL ? p->sagemaker.base : NULL,
                                         .limits = used_limits(o),
                                         .isolate = strcmp(o->handler_isolation, "process") == 0,
                                         .workers = bounded("handler_workers", o->handler_workers, 0, 32),
                                         .budget = &p->server.budget};
    p->engines = tn_engines_new(&config);
    p->handlers = tn_handlers_new(&handlers);
    if (p->engines == NULL || p->handlers == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    return TERN_OK;
}

static bool on_turn(void *context, tn_loop *loop)
{
    (void)context;
    return tn_request_turn(loop);
}

static void on_loop_end(void *context, tn_loop *loop)
{
    (void)context;
    tn_request_pool_free(loop);
}

tern_code tn_parts_server(tn_parts *p, tern_status *st)
{
    tn_options *o = &p->o;
    tn_server *s = &p->server;
    s->limits = used_limits(o);
    tn_budget_init(&s->budget, (size_t)s->limits.max_bytes_in_flight);
    tn_region_keep((size_t)s->limits.max_body_idle_bytes);
    s->strict = p->manner == TN_MANNER_SERVING || o->sagemaker;
    s->cors = o->rest_api_enable_cors_support;
    s->rest_extensions = o->rest_extensions;
    s->rest_compact = o->rest_compact;
    s->as_tensor_content = o->enable_serialization_as_tensor_content;
    s->health_service = o->enable_grpc_healthcheck_service;
    s->profiler = o->enable_profiler;
    s->grpc_max_receive = p->grpc_max_receive;
    s->grpc_max_send = p->grpc_max_send;
    s->grpc_coding = p->grpc_coding;
    s->method_name_check = o->enable_signature_method_name_check;
    s->by_turns = p->batching.manner == TN_BATCHING_AUTO;
    s->rest_timeout_ms = o->rest_api_timeout_in_ms;
    s->default_model = o->sagemaker                  ? p->sagemaker.default_model
                       : o->default_model[0] != '\0' ? tn_str_from(o->default_model)
                       : p->n_configs > 0            ? p->configs[0].name
                                                     : TN_STR_NONE;
    s->handlers = p->handlers;
    s->started_ns = tn_wall_ns();
    const tn_schedule_options schedule = {
        .executors = (int32_t)o->num_executors, .limits = s->limits, .batching = p->batching};
    const tn_net_options net = {.loops = (int32_t)o->num_loops,
                                .limits = s->limits,
                                .app = {.context = s,
                                        .on_request = tn_server_on_request,
                                        .on_end = tn_access_end,
                                        .on_loop_end = on_loop_end,
                                        .on_turn = s->by_turns ? on_turn : NULL}};
    s->worker = tn_worker_new("tern-pages", MAX_PAGES);
    tern_code code =
        s->worker != NULL ? TERN_OK : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start a thread");
    if (code == TERN_OK)
        code = tn_schedule_new(&schedule, &s->schedule, st);
    if (code == TERN_OK)
        code = tn_parts_access_log(p, st);
    if (code == TERN_OK)
        code = tn_parts_runtime(p, st);
    if (code == TERN_OK)
        code = tn_net_new(&net, &s->net, st);
    return code;
}
