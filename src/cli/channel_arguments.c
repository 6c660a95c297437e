/*
 * cli/channel_arguments.c - --grpc_channel_arguments: options of grpc++ by their names, "KEY=VALUE,...", as
 * far as they mean something here. See cli/parts.h.
 *
 * The original hands them to its gRPC library (parseGrpcChannelArgs of model_servers/server.cc; the names are
 * those of grpc/impl/channel_arg_names.h). Those that bound what a client may do become limits of Tern; the
 * others are named in the log once. A part that is no KEY=VALUE is an error; called tensorflow_model_server
 * it is passed over, which is what was recorded of the original.
 */
#include "base/log.h"
#include "cli/parts.h"

typedef enum use { USE_LIMIT, USE_RECEIVE, USE_SEND, USE_ALGORITHM, USE_LEVEL, USE_QUIETLY } use;

typedef struct argument {
    const char *name;
    use use;
    size_t limit; /* place in tn_limits */
    bool endless; /* INT_MAX means none, which is 0 here */
    int64_t min;
} argument;

#define LIMIT(field) USE_LIMIT, offsetof(tn_limits, field)

static const argument known[] = {
    {"grpc.max_concurrent_streams", LIMIT(max_streams), false, 1},
    {"grpc.max_receive_message_length", USE_RECEIVE, 0, false, -1},
    {"grpc.max_message_length", USE_RECEIVE, 0, false, -1},
    {"grpc.max_send_message_length", USE_SEND, 0, false, -1},
    {"grpc.max_metadata_size", LIMIT(max_header_bytes), false, 0},
    {"grpc.absolute_max_metadata_size", LIMIT(max_header_bytes), false, 0},
    {"grpc.keepalive_time_ms", LIMIT(keepalive_ms), true, 1},
    {"grpc.keepalive_timeout_ms", LIMIT(keepalive_timeout_ms), false, 1},
    {"grpc.keepalive_permit_without_calls", USE_QUIETLY, 0, false, 0}, /* always permitted */
    {"grpc.max_connection_idle_ms", LIMIT(idle_timeout_ms), false, 1},
    {"grpc.max_connection_age_ms", LIMIT(max_connection_age_ms), true, 1},
    {"grpc.max_connection_age_grace_ms", LIMIT(max_connection_age_grace_ms), true, 0},
    {"grpc.default_compression_algorithm", USE_ALGORITHM, 0, false, 0},
    {"grpc.default_compression_level", USE_LEVEL, 0, false, 0},
};

static const argument *find(tn_str name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (tn_str_eq(name, tn_str_from(known[i].name)))
            return &known[i];
    return NULL;
}

static tern_code wrong(tn_str part, const char *why, tern_status *st)
{
    return tern_fail(st, TERN_INVALID_ARGUMENT, "--grpc_channel_arguments: %.*s: %s", TN_FMT(part), why);
}

static tern_code use_value(tn_parts *p, const argument *a, int64_t value, tn_str part, tern_status *st)
{
    switch (a->use) {
    case USE_LIMIT: {
        int64_t *limit = (int64_t *)((char *)&p->o.limits + a->limit);
        *limit = a->endless && value == INT32_MAX ? 0 : value;
        return TERN_OK;
    }
    case USE_RECEIVE:
        p->grpc_max_receive = value < 0 ? INT32_MAX : value;
        return TERN_OK;
    case USE_SEND:
        p->grpc_max_send = value < 0 ? INT32_MAX : value;
        return TERN_OK;
    case USE_ALGORITHM:
        if (value > 2)
            return wrong(part, "use 0 (none), 1 (deflate) or 2 (gzip)", st);
        p->grpc_coding = value == 2 ? TN_CODING_GZIP : value == 1 ? TN_CODING_DEFLATE : TN_CODING_IDENTITY;
        return TERN_OK;
    case USE_LEVEL:
        if (value > 3)
            return wrong(part, "use 0 (none) to 3 (high)", st);
        p->grpc_coding = value > 0 ? TN_CODING_GZIP : TN_CODING_IDENTITY;
        return TERN_OK;
    case USE_QUIETLY:
        break;
    }
    return TERN_OK;
}

static tern_code use_part(tn_parts *p, tn_str part, tern_status *st)
{
    ptrdiff_t equals = tn_str_chr(part, '=');
    int64_t value;
    if (equals <= 0)
        return wrong(part, "write KEY=VALUE, separated by commas", st);
    const argument *a = find(tn_str_sub(part, 0, (size_t)equals));
    if (a == NULL) {
        tn_warn("flags", "--grpc_channel_arguments: %.*s has no effect here", TN_FMT(part));
        return TERN_OK;
    }
    if (!tn_str_i64(tn_str_sub(part, (size_t)equals + 1, part.len), &value) || value < a->min ||
        value > INT32_MAX)
        return wrong(part, "the value is not a number that this argument takes", st);
    return use_value(p, a, value, part, st);
}

tern_code tn_parts_channel_arguments(tn_parts *p, tern_status *st)
{
    tn_str rest = tn_str_from(p->o.grpc_channel_arguments);
    p->grpc_max_receive = p->grpc_max_send = INT32_MAX;
    p->grpc_coding = TN_CODING_IDENTITY;
    while (rest.len > 0) {
        ptrdiff_t comma = tn_str_chr(rest, ',');
        tn_str part = comma >= 0 ? tn_str_sub(rest, 0, (size_t)comma) : rest;
        tern_code code = part.len > 0 ? use_part(p, part, st) : TERN_OK;
        if (code != TERN_OK && p->manner != TN_MANNER_SERVING)
            return code;
        if (code != TERN_OK) /* grpc++ passes over what it does not understand (cli_flags-005) */
            tn_warn("flags", "%s; it is passed over", st->message);
        rest = comma >= 0 ? tn_str_sub(rest, (size_t)comma + 1, rest.len) : TN_STR_NONE;
    }
    return TERN_OK;
}
