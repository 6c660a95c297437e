/*
 * api/health.c - /healthz: the process lives. /readyz: it can serve; 503 while no model can, and while it
 * drains. /readyz?model=NAME: the same of one model. And what tern serve adds: the list of models, and
 * whether one is ready, in the words of other servers (/v1/models, /v1/models/NAME/ready, KServe's
 * /v2/health/live, /v2/health/ready, /v2/models/NAME[/versions/V]/ready).
 */
#include "api/http.h"
#include "api/surfaces.h"
#include "codec/json.h"

#define ARENA_MAX (64u << 20)
#define LIST_MAX  (256u << 20)

static bool draining(tn_server *server)
{
    return atomic_load_explicit(&server->draining, memory_order_relaxed);
}

static void answer_text(tn_server *server, tn_exchange *ex, int status, tern_code code, tn_str text)
{
    tn_http_text(server, ex, status, TN_STR("text/plain; charset=utf-8"), text, code);
}

static void answer_ready(tn_server *server, tn_exchange *ex)
{
    char text[160];
    tn_models_counts n = tn_models_count(server->models);
    bool ready = n.ready > 0 && !draining(server);
    int length = snprintf(text, sizeof text, "%s: %u of %u models can answer, %u loading, %u failed\n",
                          draining(server) ? "draining"
                          : ready          ? "ready"
                                           : "not ready",
                          n.ready, n.models, n.loading, n.failed);
    answer_text(server, ex, ready ? 200 : 503, ready ? TERN_OK : TERN_UNAVAILABLE,
                (tn_str){text, (size_t)length});
}

/* ---- One model ---- */

typedef struct verdict {
    int status;
    tern_code code;
    tn_str why; /* in the arena, or static */
} verdict;

/* What is true of a model, or of the version or label that the target names. */
static verdict judge(tn_server *server, const tn_target *target, tn_arena *arena)
{
    verdict v = {200, TERN_OK, TN_STR("ready")};
    tn_readiness r = tn_models_readiness(server->models, target->name, arena, &v.why);
    tn_version *version = NULL;
    tern_status st;
    if (draining(server))
        return (verdict){503, TERN_UNAVAILABLE, TN_STR("the server is shutting down")};
    if (r == TN_MODEL_UNKNOWN)
        return (verdict){404, TERN_NOT_FOUND, v.why};
    if (tn_models_acquire(server->models, target, &version, &st) == TERN_OK) {
        tn_version_release(version);
        return (verdict){200, TERN_OK, TN_STR("ready")};
    }
    return (verdict){503, TERN_UNAVAILABLE,
                     v.why.len > 0 ? v.why : TN_STR("the version that is asked for is not loaded")};
}

static void answer_model_text(tn_server *server, tn_exchange *ex, tn_str name)
{
    tn_arena arena = {0};
    tn_arena_init(&arena, ARENA_MAX);
    tn_target target = {.name = tn_percent_decode(name, &arena)};
    verdict v = target.name.ptr != NULL
                    ? judge(server, &target, &arena)
                    : (verdict){400, TERN_INVALID_ARGUMENT, TN_STR("broken percent-encoding")};
    tn_str text = tn_arena_printf(&arena, "%.*s: %.*s\n", TN_FMT(name), TN_FMT(v.why));
    answer_text(server, ex, v.status, v.code, text);
    tn_arena_free(&arena);
}

/* KServe's form, which also says why. */
static void answer_model_json(tn_server *server, tn_exchange *ex, const tn_target *target, tn_arena *arena)
{
    tn_buf out;
    tn_buf_init(&out, ARENA_MAX);
    verdict v = judge(server, target, arena);
    tn_buf_z(&out, "{\"name\": ");
    tn_json_quote(&out, target->name);
    tn_buf_printf(&out, ", \"ready\": %s", v.code == TERN_OK ? "true" : "false");
    if (v.code != TERN_OK) {
        tn_buf_z(&out, ", \"error\": ");
        tn_json_quote(&out, v.why);
    }
    tn_buf_z(&out, "}\n");
    tn_http_text(server, ex, v.status, TN_STR("application/json"), tn_buf_view(&out), v.code);
    tn_buf_free(&out);
}

/* ---- All models ---- */

static void write_versions(tn_server *server, tn_str name, tn_arena *arena, tn_buf *out)
{
    const tn_version_status *versions;
    uint32_t n;
    tern_status st;
    if (tn_models_status(server->models, name, false, 0, arena, &versions, &n, &st) != TERN_OK)
        return;
    for (uint32_t i = 0; i < n; i++)
        tn_buf_printf(out, "%s{\"version\": \"%lld\", \"state\": \"%s\"}", i > 0 ? ", " : "",
                      (long long)versions[i].version, tn_state_name(versions[i].state));
}

static void write_model(tn_server *server, tn_str name, tn_arena *arena, tn_buf *out)
{
    tn_str why;
    tn_readiness r = tn_models_readiness(server->models, name, arena, &why);
    tn_buf_z(out, "{\"name\": ");
    tn_json_quote(out, name);
    tn_buf_printf(out, ", \"ready\": %s", r == TN_MODEL_READY ? "true" : "false");
    if (r != TN_MODEL_READY) {
        tn_buf_z(out, ", \"error\": ");
        tn_json_quote(out, why);
    }
    tn_buf_z(out, ", \"versions\": [");
    write_versions(server, name, arena, out);
    tn_buf_z(out, "]}");
}

static void answer_list(tn_server *server, tn_exchange *ex)
{
    tn_arena arena = {0};
    tn_buf out;
    uint32_t n = 0;
    tn_arena_init(&arena, ARENA_MAX);
    tn_buf_init(&out, LIST_MAX);
    const tn_str *names = tn_models_names(server->models, &arena, &n);
    tn_buf_z(&out, "{\"models\": [");
    for (uint32_t i = 0; names != NULL && i < n; i++) {
        tn_buf_z(&out, i > 0 ? ",\n " : "\n ");
        write_model(server, names[i], &arena, &out);
    }
    tn_buf_z(&out, n > 0 ? "\n]}\n" : "]}\n");
    if (names == NULL || out.failed) {
        tern_status st;
        tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory for the list of models; try again later");
        tn_http_error(server, ex, &st);
    } else {
        tn_http_text(server, ex, 200, TN_STR("application/json"), tn_buf_view(&out), TERN_OK);
    }
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

/* ---- Paths ---- */

static bool take(tn_str *path, tn_str word)
{
    if (!tn_str_starts(*path, word))
        return false;
    *path = tn_str_sub(*path, word.len, path->len);
    return true;
}

static tn_str take_segment(tn_str *path)
{
    ptrdiff_t slash = tn_str_chr(*path, '/');
    tn_str segment = tn_str_sub(*path, 0, slash >= 0 ? (size_t)slash : path->len);
    *path = tn_str_sub(*path, segment.len, path->len);
    return segment;
}

/* NAME[/versions/V|/labels/L]/ready. */
static bool parse_target(tn_str path, tn_arena *arena, tn_target *target)
{
    *target = (tn_target){.name = tn_percent_decode(take_segment(&path), arena)};
    if (take(&path, TN_STR("/versions/"))) {
        target->has_version = true;
        if (!tn_str_i64(take_segment(&path), &target->version))
            return false;
    } else if (take(&path, TN_STR("/labels/"))) {
        target->has_label = true;
        target->label = tn_percent_decode(take_segment(&path), arena);
        if (target->label.len == 0)
            return false;
    }
    return target->name.len > 0 && tn_str_eq(path, TN_STR("/ready"));
}

static bool model_ready(tn_server *server, tn_exchange *ex, tn_str path)
{
    tn_arena arena = {0};
    tn_target target;
    tn_arena_init(&arena, ARENA_MAX);
    bool mine = parse_target(path, &arena, &target);
    if (mine)
        answer_model_json(server, ex, &target, &arena);
    tn_arena_free(&arena);
    return mine;
}

static bool extension(tn_server *server, tn_exchange *ex, tn_str path)
{
    bool get =
        tn_str_eq(tn_exchange_method(ex), TN_STR("GET")) || tn_str_eq(tn_exchange_method(ex), TN_STR("HEAD"));
    if (server->strict || !get)
        return false;
    if (tn_str_eq(path, TN_STR("/v1/models"))) {
        answer_list(server, ex);
        return true;
    }
    if (tn_str_eq(path, TN_STR("/v2/health/live"))) {
        tn_http_text(server, ex, 200, TN_STR("application/json"), TN_STR("{\"live\": true}\n"), TERN_OK);
        return true;
    }
    if (tn_str_eq(path, TN_STR("/v2/health/ready"))) {
        bool ready = tn_models_count(server->models).ready > 0 && !draining(server);
        tn_http_text(server, ex, ready ? 200 : 503, TN_STR("application/json"),
                     ready ? TN_STR("{\"ready\": true}\n") : TN_STR("{\"ready\": false}\n"),
                     ready ? TERN_OK : TERN_UNAVAILABLE);
        return true;
    }
    return (take(&path, TN_STR("/v1/models/")) || take(&path, TN_STR("/v2/models/"))) &&
           model_ready(server, ex, path);
}

bool tn_health_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    if (tn_str_eq(parts->path, TN_STR("/healthz"))) {
        answer_text(server, ex, 200, TERN_OK, TN_STR("ok\n"));
        return true;
    }
    if (tn_str_eq(parts->path, TN_STR("/readyz"))) {
        tn_str query = parts->query;
        if (parts->has_query && take(&query, TN_STR("model=")))
            answer_model_text(server, ex, query);
        else
            answer_ready(server, ex);
        return true;
    }
    return extension(server, ex, parts->path);
}
