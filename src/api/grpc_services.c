/*
 * api/grpc_services.c - the gRPC services that are no model's: grpc.health.v1.Health, server reflection (both
 * versions), tensorflow.ProfilerService.
 *
 * Health is true to what /readyz says: SERVING once some model can answer, and not while draining. It is
 * looked at by each watching stream in turn, since nothing here knows when a model changes.
 */
#include "api/grpc.h"
#include "api/reflection.h"
#include "health.pb-c.h"

#define SERVING         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

#define HEALTH_HOLDS_NS (100 * TN_NS_PER_MS)
#define MAX_ANSWER      (1u << 19) /* of reflection: all files together are a tenth of that */

/* ---- health ---- */

/* TensorFlow Serving's names are without their package. */
static bool is_known_service(const tn_server *server, const char *service)
{
    static const char *const names[] = {"", "PredictionService", "ModelService",
                                        "tensorflow.serving.PredictionService",
                                        "tensorflow.serving.ModelService"};
    const size_t n_names = server->strict ? 3 : sizeof names / sizeof names[0];
    for (size_t i = 0; i < n_names; i++)
        if (strcmp(service, names[i]) == 0)
            return true;
    return false;
}

static int serving_status(tn_server *server)
{
    bool serving = !atomic_load_explicit(&server->draining, memory_order_relaxed) &&
                   tn_models_some_ready(server->models);
    return serving ? SERVING : NOT_SERVING;
}

/*
 * The same for thousands of streams that ask again and again: one of them looks, and what it saw holds for
 * HEALTH_HOLDS_NS. Kept in one word: the time, its last bit what was seen.
 */
static int recent_status(tn_server *server)
{
    const int64_t now = tn_now_ns() & ~INT64_C(1);
    int64_t seen = atomic_load_explicit(&server->health_seen, memory_order_relaxed);
    if (atomic_load_explicit(&server->draining, memory_order_relaxed))
        return NOT_SERVING;
    if (seen == 0 || now - seen > HEALTH_HOLDS_NS) {
        seen = now | (serving_status(server) == SERVING);
        atomic_store_explicit(&server->health_seen, seen, memory_order_relaxed);
    }
    return (seen & 1) != 0 ? SERVING : NOT_SERVING;
}

/*
 * The request's service: whether it is known. INTERNAL without words for a broken message, as grpc++ has it.
 */
static tern_code read_service(const tn_server *server, tn_str message, bool *known, tern_status *st)
{
    Grpc__Health__V1__HealthCheckRequest *request =
        grpc__health__v1__health_check_request__unpack(NULL, message.len, (const uint8_t *)message.ptr);
    if (request == NULL)
        return tern_fail_bytes(st, TERN_INTERNAL, "", 0);
    *known = is_known_service(server, request->service);
    grpc__health__v1__health_check_request__free_unpacked(request, NULL);
    return TERN_OK;
}

/* Message of one field, serialized; room for 4 bytes. */
static tn_str pack_status(int status, uint8_t *room)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return (tn_str){(const char *)room, grpc__health__v1__health_check_response__pack(&response, room)};
}

static tern_code health_check(tn_server *server, tn_str message, tn_arena *arena, tn_buf *out,
                              tern_status *st)
{
    bool known;
    uint8_t room[8];
    (void)arena;
    tern_code code = read_service(server, message, &known, st);
    if (code != TERN_OK)
        return code;
    if (!known)
        return tern_fail(st, TERN_NOT_FOUND, "service name unknown");
    tn_buf_str(out, pack_status(serving_status(server), room));
    return TERN_OK;
}

static tern_code tell_health(tn_grpc_stream *s, int status, tern_status *st)
{
    uint8_t room[8];
    tn_grpc_stream_notes_of(s)->number = status;
    return tn_grpc_stream_send(s, pack_status(status, room), st);
}

/* Sends the status when it is another than the last one. */
static tern_code watch_tick(tn_grpc_stream *s, tern_status *st)
{
    const tn_grpc_stream_notes *notes = tn_grpc_stream_notes_of(s);
    if (!notes->asked || !notes->known)
        return TERN_OK;
    int now = recent_status(tn_grpc_stream_server(s));
    return now == notes->number ? TERN_OK : tell_health(s, now, st);
}

static tern_code watch_asked(tn_grpc_stream *s, tn_str message, tern_status *st)
{
    tn_grpc_stream_notes *notes = tn_grpc_stream_notes_of(s);
    if (notes->asked)
        return tern_fail(st, TERN_INTERNAL, "Watch has one request; a second one came");
    tern_code code = read_service(tn_grpc_stream_server(s), message, &notes->known, st);
    if (code != TERN_OK)
        return code;
    notes->asked = true;
    return tell_health(s, notes->known ? serving_status(tn_grpc_stream_server(s)) : SERVICE_UNKNOWN, st);
}

static tern_code watch_half_closed(tn_grpc_stream *s, tern_status *st)
{
    if (tn_grpc_stream_notes_of(s)->asked)
        return TERN_OK; /* the client listens on */
    return tern_fail(st, TERN_INTERNAL, "Watch has one request; none came");
}

static const tn_grpc_stream_kind health_watch = {
    .message = watch_asked, .half_closed = watch_half_closed, .tick = watch_tick};

/* ---- reflection ---- */

static tern_code reflect(tn_grpc_stream *s, tn_str message, tern_status *st)
{
    static const tn_str all[] = {
        TN_STR_INIT("grpc.reflection.v1.ServerReflection"),
        TN_STR_INIT("grpc.reflection.v1alpha.ServerReflection"),
        TN_STR_INIT("tensorflow.serving.ModelService"),
        TN_STR_INIT("tensorflow.serving.PredictionService"),
    };
    const tn_server *server = tn_grpc_stream_server(s);
    tn_str services[8];
    size_t n = 0;
    if (server->health_service)
        services[n++] = TN_STR("grpc.health.v1.Health");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        services[n++] = all[i];
    if (server->profiler)
        services[n++] = TN_STR("tensorflow.ProfilerService");
    tn_buf out;
    tn_buf_init(&out, MAX_ANSWER);
    tern_code code = tn_reflection_answer(message, services, n, &out, st);
    if (code == TERN_OK)
        code = tn_grpc_stream_send(s, tn_buf_view(&out), st);
    tn_buf_free(&out);
    return code;
}

static const tn_grpc_stream_kind reflection = {.message = reflect};

/* ---- the profiler ---- */

static tern_code profiler_refused(tn_server *server, tn_str message, tn_arena *arena, tn_buf *out,
                                  tern_status *st)
{
    (void)server;
    (void)message;
    (void)arena;
    (void)out;
    return tern_fail(st, TERN_UNIMPLEMENTED,
                     "This server has no TensorFlow profiler; times of all stages are at /metrics");
}

/* ---- table ---- */

static const struct {
    tn_grpc_method method;
    size_t flag; /* place of the bool of tn_server that turns it on, or 0 */
} methods[] = {
    {{.path = "/grpc.health.v1.Health/Check", .unary = health_check, .method = TN_METHOD_GRPC_OTHER},
     offsetof(tn_server, health_service)},
    {{.path = "/grpc.health.v1.Health/Watch", .stream = &health_watch, .method = TN_METHOD_GRPC_OTHER},
     offsetof(tn_server, health_service)},
    {{.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      .stream = &reflection,
      .method = TN_METHOD_GRPC_OTHER},
     0},
    {{.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      .stream = &reflection,
      .method = TN_METHOD_GRPC_OTHER},
     0},
    {{.path = "/tensorflow.ProfilerService/Profile",
      .unary = profiler_refused,
      .method = TN_METHOD_GRPC_OTHER},
     offsetof(tn_server, profiler)},
    {{.path = "/tensorflow.ProfilerService/Terminate",
      .unary = profiler_refused,
      .method = TN_METHOD_GRPC_OTHER},
     offsetof(tn_server, profiler)},
    {{.path = "/tensorflow.ProfilerService/Monitor",
      .unary = profiler_refused,
      .method = TN_METHOD_GRPC_OTHER},
     offsetof(tn_server, profiler)},
};

const tn_grpc_method *tn_grpc_find_other(const tn_server *server, tn_str path)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (tn_str_eq(path, tn_str_from(methods[i].method.path)))
            return methods[i].flag == 0 || *(const bool *)((const char *)server + methods[i].flag)
                       ? &methods[i].method
                       : NULL;
    return NULL;
}
