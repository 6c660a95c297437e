/*
 * api/metrics.c - /metrics: what was counted, in Prometheus' text form. Labels come from loaded models only,
 * never from what a client sent, so their number is bounded.
 */
#include "api/http.h"
#include "api/surfaces.h"

typedef struct version_list {
    tn_arena *arena;
    tn_version **items;
    size_t n, cap;
} version_list;

static void collect(void *context, tn_version *v)
{
    version_list *list = context;
    if (list->n < list->cap) {
        tn_version_retain(v);
        list->items[list->n++] = v;
    }
}

static void count_one(void *context, tn_version *v)
{
    (void)v;
    ++*(size_t *)context;
}

/* `model="m",version="1"` and room for more. */
static void version_labels(tn_buf *labels, const tn_version *v)
{
    tn_buf_clear(labels);
    tn_buf_z(labels, "model=\"");
    tn_expo_escape(labels, v->model);
    tn_buf_printf(labels, "\",version=\"%lld\"", (long long)v->number);
}

static void write_stages(tn_buf *out, tn_buf *labels, const version_list *list)
{
    tn_expo_head(out, "tern_stage_seconds", "histogram", "Time of one stage of a request.");
    for (size_t i = 0; i < list->n; i++)
        for (int stage = 0; stage < TN_STAGES; stage++) {
            version_labels(labels, list->items[i]);
            tn_buf_printf(labels, ",stage=\"%s\"", tn_stage_name((tn_stage)stage));
            tn_expo_histogram(out, "tern_stage_seconds", tn_buf_view(labels),
                              &list->items[i]->stats.stage[stage]);
        }
    tn_expo_head(out, "tern_request_seconds", "histogram", "Time from a request's first byte to its answer.");
    for (size_t i = 0; i < list->n; i++) {
        version_labels(labels, list->items[i]);
        tn_expo_histogram(out, "tern_request_seconds", tn_buf_view(labels), &list->items[i]->stats.total);
    }
    tn_expo_head(out, "tern_calls_total", "counter", "Calls that reached a model, by canonical code.");
    for (size_t i = 0; i < list->n; i++)
        for (int code = 0; code < TN_CODES; code++) {
            uint64_t n = atomic_load_explicit(&list->items[i]->stats.requests[code], memory_order_relaxed);
            if (n == 0 && code != TERN_OK)
                continue;
            version_labels(labels, list->items[i]);
            tn_buf_printf(labels, ",code=\"%s\"", tn_code_name((tern_code)code));
            tn_expo_value(out, "tern_calls_total", tn_buf_view(labels), n);
        }
}

static void one(tn_buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    tn_expo_head(out, name, type, help);
    tn_expo_value(out, name, TN_STR_NONE, value);
}

static void write_server(tn_buf *out, tn_buf *labels, tn_server *server)
{
    tn_net_counts net = tn_net_count(server->net);
    tn_models_counts models = tn_models_count(server->models);
    tn_expo_head(out, "tern_build_info", "gauge", "Version of this program.");
    tn_expo_value(out, "tern_build_info", TN_STR("version=\"" TERN_VERSION "\""), 1);
    tn_expo_head(out, "tern_answers_total", "counter", "Answers sent on all surfaces, by canonical code.");
    for (int code = 0; code < TN_CODES; code++) {
        tn_buf_clear(labels);
        tn_buf_printf(labels, "code=\"%s\"", tn_code_name((tern_code)code));
        tn_expo_value(out, "tern_answers_total", tn_buf_view(labels),
                      atomic_load_explicit(&server->answers[code], memory_order_relaxed));
    }
    one(out, "tern_start_time_seconds", "gauge", "Unix time of the start.",
        (uint64_t)(server->started_ns / TN_NS_PER_S));
    one(out, "tern_models", "gauge", "Configured models.", models.models);
    one(out, "tern_models_ready", "gauge", "Models that can answer.", models.ready);
    one(out, "tern_queue_length", "gauge", "Calls that wait for an executor.",
        tn_schedule_queued(server->schedule));
    one(out, "tern_running", "gauge", "Calls on executors now.", tn_schedule_running(server->schedule));
    one(out, "tern_bytes_in_flight", "gauge", "Bytes of bodies and tensors of all requests.",
        atomic_load_explicit(&server->budget.used, memory_order_relaxed));
    one(out, "tern_bytes_in_flight_limit", "gauge", "Limit of tern_bytes_in_flight.", server->budget.limit);
    one(out, "tern_connections", "gauge", "Open connections.", net.connections_open);
    one(out, "tern_connections_total", "counter", "Connections accepted.", net.connections_total);
    one(out, "tern_connections_refused_total", "counter", "Connections over the limit.",
        net.refused_connections);
    one(out, "tern_requests_total", "counter", "Requests whose head arrived.", net.requests_total);
    one(out, "tern_exchanges", "gauge", "Requests not yet answered.", net.exchanges_open);
    one(out, "tern_read_bytes_total", "counter", "Bytes read from clients.", net.bytes_read);
    one(out, "tern_written_bytes_total", "counter", "Bytes written to clients.", net.bytes_written);
    one(out, "tern_protocol_errors_total", "counter", "Connections closed for broken HTTP.",
        net.protocol_errors);
}

static void write_all(tn_server *server, tn_buf *out)
{
    tn_arena arena;
    tn_buf labels;
    version_list list = {.arena = &arena};
    tn_arena_init(&arena, 16u << 20);
    tn_buf_init(&labels, 16u << 10);
    tn_models_each(server->models, count_one, &list.cap);
    list.items = tn_arena_array(&arena, list.cap, sizeof *list.items);
    if (list.items == NULL)
        list.cap = 0;
    tn_models_each(server->models, collect, &list);
    write_server(out, &labels, server);
    write_stages(out, &labels, &list);
    for (size_t i = 0; i < list.n; i++)
        tn_version_release(list.items[i]);
    tn_buf_free(&labels);
    tn_arena_free(&arena);
}

bool tn_metrics_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    bool own = tn_str_eq(parts->path, TN_STR("/metrics"));
    bool configured = server->metrics_path.len > 0 && tn_str_eq(parts->path, server->metrics_path);
    if (!own && !configured)
        return false;
    tn_buf out;
    tn_buf_init(&out, 64u << 20);
    write_all(server, &out);
    if (out.failed)
        tn_http_text(server, ex, 500, TN_STR("text/plain"), TN_STR("The metrics are larger than 64 MB\n"),
                     TERN_INTERNAL);
    else
        tn_http_text(server, ex, 200, TN_STR("text/plain; version=0.0.4; charset=utf-8"), tn_buf_view(&out),
                     TERN_OK);
    tn_buf_free(&out);
    return true;
}
