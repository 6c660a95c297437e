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

static tern_code check_flags(const tn_options *o, tern_status *st)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    if (o->tensorflow_session_parallelism > 0 &&
        (o->tensorflow_intra_op_parallelism > 0 || o->tensorflow_inter_op_parallelism > 0))
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "tensorflow_session_parallelism cannot be set together with tensorflow_intra_op_parallelism or "
            "tensorflow_inter_op_parallelism; give one or the others");
    /* To serve in the clear where credentials were asked for would be worse than not to serve. */
    if (o->use_alts_credentials)
        return tern_fail(st, TERN_UNIMPLEMENTED,
                         "--use_alts_credentials: ALTS works only inside Google's own network and is not "
                         "supported; use --ssl_config_file for TLS");
    for (int i = 0; i < 4; i++)
        if (strcmp(o->log_level, levels[i]) == 0) {
            tn_log_level((tern_log_level)i);
            return TERN_OK;
        }
    return tern_fail(st, TERN_INVALID_ARGUMENT, "--log_level=%s: use debug, info, warning or error",
                     o->log_level);
}

tern_code tn_parts_check(const tn_options *o, tern_status *st)
{
    tern_code code = check_flags(o, st);
    return code == TERN_OK ? check_numbers(o, st) : code;
}
