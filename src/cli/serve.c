/*
 * cli/serve.c - `tern serve`: makes the parts, opens the ports, waits for a signal, drains, ends.
 *
 * Called tern, the ports open at once and /readyz tells when a model can answer. Called
 * tensorflow_model_server, they open when a model is ready, as clients of the original expect, and the start
 * fails only where no configured model loads.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/request.h"
#include "api/surfaces.h"
#include "base/log.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/memory.h"
#include "model/config.h"

#define CONFIG_FILE_MAX (16u << 20)
#define START_POLL_NS   (20 * TN_NS_PER_MS)
#define STOP_POLL_NS    (2 * TN_NS_PER_MS)
#define MAX_LIMIT       (INT64_C(1) << 42) /* of bytes and of milliseconds, which are counted in nanoseconds */
#define MAX_THREADS     4096

/* All that a server is made of; made in this order, freed in the other. */
typedef struct parts {
    tn_options o;
    tn_manner manner;
    tn_arena arena;
    const tn_model_config *configs;
    uint32_t n_configs;
    tn_engines *engines;
    tn_handlers *handlers;
    tn_server server;
    int rest_port, grpc_port;
} parts;

static const char *text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static tern_code read_file(const char *path, tn_arena *arena, tn_str *text, tern_status *st)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size > CONFIG_FILE_MAX) {
        tern_code code = tern_fail(st, TERN_NOT_FOUND, "%s: %s", path,
                                   fd < 0 ? strerror(errno) : "too large for a config file");
        if (fd >= 0)
            close(fd);
        return code;
    }
    char *bytes = tn_arena_alloc(arena, (size_t)info.st_size + 1);
    ssize_t n = bytes != NULL ? read(fd, bytes, (size_t)info.st_size) : -1;
    close(fd);
    if (n < 0)
        return tern_fail(st, TERN_INTERNAL, "%s: cannot be read", path);
    *text = (tn_str){bytes, (size_t)n};
    return TERN_OK;
}

static tern_code make_configs(parts *p, tern_status *st)
{
    if (p->o.model_config_file[0] != '\0') {
        tn_str text;
        tern_code code = read_file(p->o.model_config_file, &p->arena, &text, st);
        return code == TERN_OK ? tn_model_config_parse(text, &p->arena, &p->configs, &p->n_configs, st)
                               : code;
    }
    if (p->o.model_base_path[0] == '\0')
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Both server_options.model_base_path and server_options.model_config_file "
                         "are empty! Give --model_base_path=DIR or --model_config_file=FILE");
    tn_model_config *one = tn_arena_zalloc(&p->arena, sizeof *one);
    if (one == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the configuration");
    one->name = tn_str_from(p->o.model_name);
    one->base_path = tn_str_from(p->o.model_base_path);
    p->configs = one;
    p->n_configs = 1;
    return TERN_OK;
}

static tern_code check_range(const char *flag, int64_t value, int64_t min, int64_t max, tern_status *st)
{
    if (value >= min && value <= max)
        return TERN_OK;
    return tern_fail(st, TERN_INVALID_ARGUMENT, "--%s=%lld: use %lld to %lld", flag, (long long)value,
                     (long long)min, (long long)max);
}

static tern_code check_numbers(const tn_options *o, tern_status *st)
{
    tern_code code = check_range("num_loops", o->num_loops, 0, MAX_THREADS, st);
    if (code == TERN_OK)
        code = check_range("num_executors", o->num_executors, 0, MAX_THREADS, st);
    if (code == TERN_OK)
        code = check_range("rest_api_timeout_in_ms", o->rest_api_timeout_in_ms, INT64_MIN, MAX_LIMIT, st);
#define X(field, value, help)                                                                                \
    if (code == TERN_OK)                                                                                     \
        code = check_range(#field, o->limits.field, 0, MAX_LIMIT, st);
    TN_LIMITS(X)
#undef X
    return code;
}

static tern_code check_options(const tn_options *o, tern_status *st)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    if (o->tensorflow_session_parallelism > 0 &&
        (o->tensorflow_intra_op_parallelism > 0 || o->tensorflow_inter_op_parallelism > 0))
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "tensorflow_session_parallelism cannot be set together with tensorflow_intra_op_parallelism or "
            "tensorflow_inter_op_parallelism; give one or the others");
    /* To serve in the clear where keys were given would be worse than not to serve. */
    if (o->ssl_config_file[0] != '\0' || o->use_alts_credentials)
        return tern_fail(
            st, TERN_UNIMPLEMENTED,
            "--%s: TLS is not in this version; leave the flag out to serve without it, behind a proxy that "
            "has the keys",
            o->use_alts_credentials ? "use_alts_credentials" : "ssl_config_file");
    for (int i = 0; i < 4; i++)
        if (strcmp(o->log_level, levels[i]) == 0) {
            tn_log_level((tern_log_level)i);
            return TERN_OK;
        }
    return tern_fail(st, TERN_INVALID_ARGUMENT, "--log_level=%s: use debug, info, warning or error",
                     o->log_level);
}

static tern_code make_models(parts *p, tern_status *st)
{
    tn_options *o = &p->o;
    tn_str tags[16];
    uint32_t n_tags = 0;
    for (tn_str rest = tn_str_from(o->saved_model_tags); rest.len > 0 && n_tags < 16;) {
        ptrdiff_t comma = tn_str_chr(rest, ',');
        tags[n_tags++] = tn_str_sub(rest, 0, comma >= 0 ? (size_t)comma : rest.len);
        rest = tn_str_sub(rest, comma >= 0 ? (size_t)comma + 1 : rest.len, rest.len);
    }
    const tn_models_options options = {
        .engines = p->engines,
        .default_engine = tn_str_from(o->engine),
        .tags = tags,
        .n_tags = n_tags,
        .poll_seconds = o->file_system_poll_wait_seconds,
        .load_threads = (int32_t)o->num_load_threads,
        .max_load_retries = (int32_t)o->max_num_load_retries,
        .load_retry_interval_us = o->load_retry_interval_micros,
        .labels_for_unavailable = o->allow_version_labels_for_unavailable_models,
        .hooks = {.context = p->handlers, .attach = tn_handlers_attach, .detach = tn_handlers_detach},
    };
    return tn_models_new(&options, p->configs, p->n_configs, &p->server.models, st);
}

static void make_engines(parts *p)
{
    /* TensorFlow Serving is built without oneDNN's kernels, whose error texts and last bits differ. */
    if (p->manner == TN_MANNER_SERVING)
        setenv("TF_ENABLE_ONEDNN_OPTS", "0", 0);
    const tn_options *o = &p->o;
    int64_t both = o->tensorflow_session_parallelism;
    const tn_engines_config config = {
        .path = text_or_null(o->engine_path),
        .options = {.struct_size = sizeof(tern_engine_options),
                    .intra_op_threads = (int32_t)(both > 0 ? both : o->tensorflow_intra_op_parallelism),
                    .inter_op_threads = (int32_t)(both > 0 ? both : o->tensorflow_inter_op_parallelism)}};
    const tn_handlers_config handlers = {.path = text_or_null(o->handler_path),
                                         .allow_model_code = o->allow_model_code};
    p->engines = tn_engines_new(&config);
    p->handlers = tn_handlers_new(&handlers);
}

static void on_loop_end(void *context, tn_loop *loop)
{
    (void)context;
    tn_request_pool_free(loop);
}

static tern_code make_server(parts *p, tern_status *st)
{
    tn_options *o = &p->o;
    tn_server *s = &p->server;
    s->limits = o->limits;
    if (s->limits.max_bytes_in_flight == 0)
        s->limits.max_bytes_in_flight = tn_memory_limit() / 2;
    tn_budget_init(&s->budget, (size_t)s->limits.max_bytes_in_flight);
    s->strict = p->manner == TN_MANNER_SERVING;
    s->cors = o->rest_api_enable_cors_support;
    s->as_tensor_content = o->enable_serialization_as_tensor_content;
    s->health_service = o->enable_grpc_healthcheck_service;
    s->method_name_check = o->enable_signature_method_name_check;
    s->rest_timeout_ms = o->rest_api_timeout_in_ms;
    s->default_model = o->default_model[0] != '\0' ? tn_str_from(o->default_model)
                       : p->n_configs > 0          ? p->configs[0].name
                                                   : TN_STR_NONE;
    s->handlers = p->handlers;
    s->started_ns = tn_wall_ns();
    const tn_schedule_options schedule = {.executors = (int32_t)o->num_executors, .limits = s->limits};
    const tn_net_options net = {
        .loops = (int32_t)o->num_loops,
        .limits = s->limits,
        .app = {.context = s, .on_request = tn_server_on_request, .on_loop_end = on_loop_end}};
    tern_code code = tn_schedule_new(&schedule, &s->schedule, st);
    if (code == TERN_OK)
        code = tn_net_new(&net, &s->net, st);
    return code;
}

static tern_code write_port_file(const parts *p, tern_status *st)
{
    char part[4096];
    if (p->o.port_file[0] == '\0')
        return TERN_OK;
    /* Whole or not at all: a reader never sees half of it. */
    int n = snprintf(part, sizeof part, "%s.part", p->o.port_file);
    FILE *f = n > 0 && (size_t)n < sizeof part ? fopen(part, "w") : NULL;
    bool good = f != NULL && fprintf(f, "{\"grpc\": %d, \"rest\": %d}\n", p->grpc_port, p->rest_port) > 0;
    if (f != NULL && fclose(f) != 0)
        good = false;
    if (!good || rename(part, p->o.port_file) != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "--port_file=%s: %s", p->o.port_file, strerror(errno));
    return TERN_OK;
}

static tern_code open_ports(parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    const char *address = text_or_null(o->address);
    bool strict = p->server.strict;
    bool grpc = strict ? o->port > 0 : o->port >= 0;
    bool rest = strict ? o->rest_api_port > 0 : o->rest_api_port >= 0;
    tern_code code = TERN_OK;
    if (rest && grpc && o->port == o->rest_api_port && o->port != 0) {
        rest = false; /* one port speaks all */
        p->rest_port = (int)o->port;
    }
    if (grpc)
        code = tn_net_listen(p->server.net, address, (int)o->port, TN_LISTENER_GRPC, &p->grpc_port, st);
    if (code == TERN_OK && rest)
        code =
            tn_net_listen(p->server.net, address, (int)o->rest_api_port, TN_LISTENER_REST, &p->rest_port, st);
    if (code == TERN_OK && o->grpc_socket_path[0] != '\0')
        code = tn_net_listen_unix(p->server.net, o->grpc_socket_path, TN_LISTENER_GRPC, st);
    if (code == TERN_OK)
        code = write_port_file(p, st);
    if (code != TERN_OK)
        return code;
    if (p->grpc_port > 0)
        tn_info("serve", "gRPC and HTTP on port %d", p->grpc_port);
    if (p->rest_port > 0)
        tn_info("serve", "REST on port %d: try http://localhost:%d/v1/models/%.*s", p->rest_port,
                p->rest_port, TN_FMT(p->server.default_model));
    return TERN_OK;
}

/* The original opens its ports when its models are there. Here one is enough; a stop signal ends the wait. */
static tern_code wait_for_a_model(parts *p, const sigset_t *stop, tern_status *st)
{
    for (;;) {
        tn_models_counts n = tn_models_count(p->server.models);
        sigset_t pending;
        if (n.models == 0 || (n.ready > 0 && n.under_way == 0))
            return TERN_OK;
        if (n.ready > 0)
            tn_models_wait(p->server.models, 30 * TN_NS_PER_S);
        if (n.ready > 0)
            return TERN_OK;
        if (n.failed == n.models) {
            uint32_t failures;
            tn_str words = tn_models_failures(p->server.models, &p->arena, &failures);
            return tern_fail(st, TERN_UNKNOWN, "%u servable(s) did not become available: %.*s", failures,
                             TN_FMT(words));
        }
        if (sigpending(&pending) == 0 &&
            (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1))
            return TERN_OK;
        struct timespec pause = {.tv_nsec = START_POLL_NS};
        (void)stop;
        nanosleep(&pause, NULL);
    }
}

static tern_code start(parts *p, const sigset_t *stop, tern_status *st)
{
    tern_code code = check_options(&p->o, st);
    if (code == TERN_OK)
        code = check_numbers(&p->o, st);
    if (code == TERN_OK)
        code = make_configs(p, st);
    if (code != TERN_OK)
        return code;
    make_engines(p);
    if (p->engines == NULL || p->handlers == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    code = make_models(p, st);
    if (code == TERN_OK)
        code = make_server(p, st);
    if (code == TERN_OK)
        code = tn_models_start(p->server.models, st);
    if (code == TERN_OK && p->server.strict)
        code = wait_for_a_model(p, stop, st);
    if (code == TERN_OK)
        code = open_ports(p, st);
    if (code == TERN_OK)
        code = tn_net_start(p->server.net, st);
    return code;
}

/* Runs whose clients are gone or were answered 504 may go on. True when all have ended. */
static bool wait_for_runs(tn_schedule *schedule, int64_t until_ns)
{
    const struct timespec pause = {.tv_nsec = STOP_POLL_NS};
    tn_schedule_close(schedule);
    while (tn_schedule_queued(schedule) > 0 || tn_schedule_running(schedule) > 0) {
        if (tn_now_ns() >= until_ns)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Stop accepting, finish what is under way, free. */
static void stop_serving(parts *p)
{
    tn_server *s = &p->server;
    bool drained = true;
    const int64_t until_ns = tn_now_ns() + s->limits.drain_timeout_ms * TN_NS_PER_MS;
    atomic_store(&s->draining, true);
    if (s->net != NULL)
        drained = tn_net_drain(s->net) && wait_for_runs(s->schedule, until_ns);
    if (!drained) {
        /* A run that cannot be stopped holds its buffers: leave them to the system. */
        tn_warn("serve", "calls were still under way after --drain_timeout_ms=%lld; they were cut off",
                (long long)s->limits.drain_timeout_ms);
        tn_schedule_leave(s->schedule);
        fflush(NULL);
        _exit(0);
    }
    tn_schedule_free(s->schedule);
    tn_net_free(s->net);
    tn_models_free(s->models);
    tn_handlers_free(p->handlers);
    tn_engines_free(p->engines);
    tn_arena_free(&p->arena);
}

int tn_cli_serve(tn_manner manner, int argc, char **argv)
{
    parts *p = calloc(1, sizeof *p);
    sigset_t stop;
    tern_status st;
    int signal_number = 0, result = 0;
    if (p == NULL)
        return 1;
    p->manner = manner;
    p->o = tn_options_default(manner);
    tn_arena_init(&p->arena, 256u << 20);
    tn_parse_result parsed = tn_options_parse(&p->o, manner, argc, argv);
    if (parsed == TN_PARSE_HELP)
        tn_options_help(manner);
    if (parsed != TN_PARSE_OK) {
        result = manner == TN_MANNER_SERVING ? 255 : parsed == TN_PARSE_HELP ? 0 : 2;
        goto out;
    }
    if (p->o.version) {
        puts("TensorFlow ModelServer: " TERN_VERSION "-tern\nTensorFlow Library: 2.21.0");
        goto out;
    }
    /* Blocked in all threads; this one waits for them. */
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    tn_options_log_unused(&p->o);
    if (start(p, &stop, &st) != TERN_OK) {
        if (manner == TN_MANNER_SERVING)
            printf("Failed to start server. Error: %s: %s\n", tn_code_name(st.code), st.message);
        else
            fprintf(stderr, "tern serve: %s\n", st.message);
        fflush(stdout);
        result = manner == TN_MANNER_SERVING ? 255 : 1;
        stop_serving(p);
        goto out;
    }
    sigwait(&stop, &signal_number);
    tn_info("serve", "%s: draining", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
    stop_serving(p);
    tn_info("serve", "ended");
out:
    free(p);
    return result;
}
