/* cli/checks.c - flags that cannot be, or not together. See cli/parts.h. */
#include "base/log.h"
#include "cli/parts.h"

#define MAX_LIMIT   (INT64_C(1) << 42) /* of bytes and of milliseconds, which are counted in nanoseconds */
#define MAX_THREADS 4096

static tern_code check_range(const char *flag, int64_t value, int64_t min, int64_t max, tern_status *st)
{
    if (value >= min && value <= max)
        return TERN_OK;
    return tern_fail(st, TERN_INVALID_ARGUMENT, "--%s=%lld: use %lld to %lld", flag, (long long)value,
                     (long long)min, (long long)max);
}

static tern_code check_limits(const tn_options *o, tern_status *st)
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

/* What the original cannot start with either. Its order, its words. */
static tern_code check_serving(const tn_options *o, tern_status *st)
{
    if (o->port == 0 && o->grpc_socket_path[0] == '\0')
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "At least one of server_options.grpc_port or server_options.grpc_socket_path must "
                         "be set.");
    if (o->use_alts_credentials && o->ssl_config_file[0] != '\0')
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Either use_alts_credentials must be false or ssl_config_file must be empty.");
    tern_code code = check_range("num_load_threads", o->num_load_threads, 0, INT32_MAX, st);
    return code == TERN_OK ? check_range("num_unload_threads", o->num_unload_threads, 0, INT32_MAX, st)
                           : code;
}

static tern_code check_tern(const tn_options *o, tern_status *st)
{
    if (o->use_alts_credentials)
        tn_warn("flags", "--use_alts_credentials is accepted and has no effect, connections are not "
                         "encrypted: " TN_NO_ALTS);
    tern_code code = check_range("port", o->port, -1, UINT16_MAX, st);
    if (code == TERN_OK)
        code = check_range("rest_api_port", o->rest_api_port, -1, UINT16_MAX, st);
    if (code == TERN_OK && o->port < 0 && o->rest_api_port < 0 && o->grpc_socket_path[0] == '\0')
        code = tern_fail(st, TERN_INVALID_ARGUMENT,
                         "--port and --rest_api_port are both -1 (off): give a port or --grpc_socket_path");
    if (code == TERN_OK)
        code = check_range("num_load_threads", o->num_load_threads, 0, MAX_THREADS, st);
    if (code == TERN_OK)
        code = check_range("num_unload_threads", o->num_unload_threads, 0, MAX_THREADS, st);
    if (code == TERN_OK)
        code = check_range("max_num_load_retries", o->max_num_load_retries, 0, INT32_MAX, st);
    if (code == TERN_OK)
        code =
            check_range("file_system_poll_wait_seconds", o->file_system_poll_wait_seconds, 0, INT32_MAX, st);
    if (code == TERN_OK && o->mixed_precision[0] != '\0' && strcmp(o->mixed_precision, "bfloat16") != 0)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "--mixed_precision=%.100s: use bfloat16 or leave it out",
                         o->mixed_precision);
    return code;
}

static tern_code check_words(const tn_options *o, tern_status *st)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    if (strcmp(o->handler_isolation, "none") != 0 && strcmp(o->handler_isolation, "process") != 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--handler_isolation=%.100s: use none or process",
                         o->handler_isolation);
    for (int i = 0; i < 4; i++)
        if (strcmp(o->log_level, levels[i]) == 0) {
            tn_log_level((tern_log_level)i);
            return TERN_OK;
        }
    return tern_fail(st, TERN_INVALID_ARGUMENT, "--log_level=%.100s: use debug, info, warning or error",
                     o->log_level);
}

tern_code tn_parts_check(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    tern_code code = p->manner == TN_MANNER_SERVING ? check_serving(o, st) : check_tern(o, st);
    if (code == TERN_OK)
        code = check_words(o, st);
    if (code == TERN_OK)
        code = tn_parts_channel_arguments(p, st); /* sets limits */
    return code == TERN_OK ? check_limits(o, st) : code;
}
