/*
 * api/metrics_tern.c - Tern's own series, in Prometheus' text form 0.0.4. Labels come from configured models
 * and loaded signatures only, never from what a client sent, so their number is bounded.
 *
 * A model's series (tern_model_*) live as long as its name is known and only grow; a version's (tern_call*,
 * tern_stage_seconds, tern_version_*) go with it. What has not happened yet has no series.
 */
#include "api/async.h"
#include "api/capture.h"
#include "api/metrics.h"
#include "base/status.h"
#include "observe/process.h"
#include "schedule/batch.h"

typedef struct page {
    tn_server *server;
    tn_buf *out;
    tn_buf labels;
    tn_arena arena;
    tn_version **versions; /* each with a reference */
    size_t n, cap;
} page;

static uint64_t load(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void count_one(void *context, tn_version *v)
{
    (void)v;
    ++((page *)context)->cap;
}

static void collect(void *context, tn_version *v)
{
    page *p = context;
    if (p->n < p->cap) {
        tn_version_retain(v);
        p->versions[p->n++] = v;
    }
}

/* ---- the server ---- */

static void one(page *p, const char *name, const char *type, const char *help, uint64_t value)
{
    tn_expo_head(p->out, name, type, help);
    tn_expo_value(p->out, name, TN_STR_NONE, value);
}

static void real(page *p, const char *name, const char *type, const char *help, double value)
{
    tn_expo_head(p->out, name, type, help);
    tn_expo_real(p->out, name, TN_STR_NONE, value);
}

static void write_process(page *p)
{
    tn_process process = tn_process_read();
    tn_expo_head(p->out, "tern_build_info", "gauge",
                 "Version of this program, and the compiler that made it.");
    tn_expo_value(p->out, "tern_build_info",
                  TN_STR("version=\"" TERN_VERSION "\",compiler=\"" __VERSION__ "\""), 1);
    real(p, "process_cpu_seconds_total", "counter", "Processor time, user and system.", process.cpu_seconds);
    real(p, "process_start_time_seconds", "gauge", "Unix time of the start.", process.start_seconds);
    one(p, "process_virtual_memory_bytes", "gauge", "Address space.", process.virtual_bytes);
    one(p, "process_resident_memory_bytes", "gauge", "Memory in use.", process.resident_bytes);
    one(p, "process_open_fds", "gauge", "Open descriptors.", process.open_fds);
    one(p, "process_max_fds", "gauge", "Limit of open descriptors.", process.max_fds);
    one(p, "process_threads", "gauge", "Threads.", process.threads);
}

static void write_access_log(page *p)
{
    if (p->server->access_log == NULL)
        return;
    tn_log_counts counts = tn_log_writer_counts(p->server->access_log);
    one(p, "tern_access_log_lines_total", "counter", "Lines of the access log that were written.",
        counts.written);
    one(p, "tern_access_log_dropped_total", "counter",
        "Lines of the access log that were dropped, for its file was too slow or cannot be written.",
        counts.dropped);
}

static void write_capture(page *p)
{
    if (p->server->capture == NULL)
        return;
    tn_capture_counts counts = tn_capture_count(p->server->capture->writer);
    one(p, "tern_data_capture_records_total", "counter", "Requests whose data were captured.",
        counts.written);
    one(p, "tern_data_capture_dropped_total", "counter",
        "Requests whose data were drawn and lost: too long, or no room to wait, or not to be written.",
        counts.dropped);
}

static void write_async(page *p)
{
    if (p->server->async == NULL)
        return;
    tn_async_counts counts = tn_async_count(p->server->async);
    one(p, "tern_async_waiting", "gauge", "Asynchronous invocations in the queue.", counts.waiting);
    one(p, "tern_async_running", "gauge", "Asynchronous invocations under way.", counts.running);
    tn_expo_head(p->out, "tern_async_invocations_total", "counter",
                 "Asynchronous invocations that have ended, by what they left: an output or a failure.");
    tn_expo_value(p->out, "tern_async_invocations_total", TN_STR("result=\"completed\""), counts.completed);
    tn_expo_value(p->out, "tern_async_invocations_total", TN_STR("result=\"failed\""), counts.failed);
}

static void write_server(page *p)
{
    tn_server *server = p->server;
    tn_net_counts net = tn_net_count(server->net);
    tn_expo_head(p->out, "tern_answers_total", "counter", "Answers sent on all surfaces, by canonical code.");
    for (int code = 0; code < TN_CODES; code++) {
        tn_buf_clear(&p->labels);
        tn_buf_printf(&p->labels, "code=\"%s\"", tn_code_name((tern_code)code));
        tn_expo_value(p->out, "tern_answers_total", tn_buf_view(&p->labels), load(&server->answers[code]));
    }
    one(p, "tern_queue_length", "gauge", "Calls that wait for an executor.",
        tn_schedule_queued(server->schedule));
    one(p, "tern_queue_limit", "gauge", "Calls that may wait; more are refused.",
        (uint64_t)server->limits.max_queue);
    one(p, "tern_running", "gauge", "Calls on executors now.", tn_schedule_running(server->schedule));
    one(p, "tern_bytes_in_flight", "gauge", "Bytes of bodies and tensors of all requests.",
        atomic_load_explicit(&server->budget.used, memory_order_relaxed));
    one(p, "tern_bytes_in_flight_limit", "gauge", "Limit of tern_bytes_in_flight.", server->budget.limit);
    one(p, "tern_connections", "gauge", "Open connections.", net.connections_open);
    one(p, "tern_connections_total", "counter", "Connections accepted.", net.connections_total);
    one(p, "tern_connections_refused_total", "counter", "Connections over the limit.",
        net.refused_connections);
    one(p, "tern_requests_total", "counter", "Requests whose head arrived.", net.requests_total);
    one(p, "tern_exchanges", "gauge", "Requests not yet answered.", net.exchanges_open);
    one(p, "tern_read_bytes_total", "counter", "Bytes read from clients.", net.bytes_read);
    one(p, "tern_written_bytes_total", "counter", "Bytes written to clients.", net.bytes_written);
    one(p, "tern_protocol_errors_total", "counter", "Connections closed for broken HTTP.",
        net.protocol_errors);
}

/* ---- models ---- */

static void label_model(page *p, tn_str model)
{
    tn_buf_clear(&p->labels);
    tn_buf_z(&p->labels, "model=\"");
    tn_expo_escape(&p->labels, model);
    tn_buf_char(&p->labels, '"');
}

static void label_method(page *p, int method)
{
    const tn_method_names *names = tn_method_name((tn_method)method);
    tn_buf_printf(&p->labels, ",api=\"%s\",method=\"%s\"", names->api, names->method);
}

static void model_requests(void *context, tn_model_stats *m)
{
    page *p = context;
    for (int i = 0; i < TN_METHODS; i++) {
        const tn_method_stats *stats = tn_stats_method(m, i);
        for (int code = 0; code < TN_CODES && stats != NULL; code++) {
            if (load(&stats->codes[code]) == 0)
                continue;
            label_model(p, m->name);
            label_method(p, i);
            tn_buf_printf(&p->labels, ",code=\"%s\"", tn_code_name((tern_code)code));
            tn_expo_value(p->out, "tern_model_requests_total", tn_buf_view(&p->labels),
                          load(&stats->codes[code]));
        }
    }
}

static void model_seconds(void *context, tn_model_stats *m)
{
    page *p = context;
    for (int i = 0; i < TN_METHODS; i++) {
        const tn_method_stats *stats = tn_stats_method(m, i);
        for (int failed = 0; failed < 2 && stats != NULL; failed++) {
            const tn_histogram *h = failed ? &stats->failed : &stats->ok;
            if (tn_histogram_count(h) == 0)
                continue;
            label_model(p, m->name);
            label_method(p, i);
            tn_buf_printf(&p->labels, ",outcome=\"%s\"", failed ? "error" : "ok");
            tn_expo_histogram(p->out, "tern_model_request_seconds", tn_buf_view(&p->labels), h);
        }
    }
}

static void model_loads(void *context, tn_model_stats *m)
{
    page *p = context;
    for (int failed = 0; failed < 2 && m->name.len > 0; failed++) {
        label_model(p, m->name);
        tn_buf_printf(&p->labels, ",result=\"%s\"", failed ? "error" : "ok");
        tn_expo_value(p->out, "tern_model_loads_total", tn_buf_view(&p->labels),
                      load(failed ? &m->loads_bad : &m->loads_good));
    }
}

static void model_load_seconds(void *context, tn_model_stats *m)
{
    page *p = context;
    if (tn_histogram_count(&m->load) == 0)
        return;
    label_model(p, m->name);
    tn_expo_histogram(p->out, "tern_model_load_seconds", tn_buf_view(&p->labels), &m->load);
}

static void write_model_totals(page *p)
{
    tn_stats *stats = p->server->stats;
    tn_expo_head(p->out, "tern_model_requests_total", "counter",
                 "Answers for a model, by surface, method and canonical code; model empty: none that is "
                 "configured.");
    tn_stats_each(stats, model_requests, p);
    tn_expo_head(p->out, "tern_model_request_seconds", "histogram",
                 "Time from a request's first byte until its answer was ready.");
    tn_stats_each(stats, model_seconds, p);
    tn_expo_head(p->out, "tern_model_loads_total", "counter", "Tries to load a version of a model.");
    tn_stats_each(stats, model_loads, p);
    tn_expo_head(p->out, "tern_model_load_seconds", "histogram", "Time that good loads took.");
    tn_stats_each(stats, model_load_seconds, p);
}

static void version_states(page *p, tn_str name)
{
    const tn_version_status *list;
    uint32_t n;
    tern_status st;
    if (tn_models_status(p->server->models, name, false, 0, &p->arena, &list, &n, &st) != TERN_OK)
        return;
    for (uint32_t i = 0; i < n; i++) {
        bool failed = list[i].state == TN_STATE_END && list[i].error_code != TERN_OK;
        if (list[i].state == TN_STATE_END && !failed)
            continue;
        label_model(p, name);
        tn_buf_printf(&p->labels, ",version=\"%lld\",state=\"%s\"", (long long)list[i].version,
                      failed ? "FAILED" : tn_state_name(list[i].state));
        tn_expo_value(p->out, "tern_version_state", tn_buf_view(&p->labels), 1);
    }
}

static void write_models(page *p)
{
    tn_models_counts counts = tn_models_count(p->server->models);
    uint32_t n = 0;
    const tn_str *names = tn_models_names(p->server->models, &p->arena, &n);
    one(p, "tern_models", "gauge", "Configured models.", counts.models);
    one(p, "tern_models_ready", "gauge", "Models that can answer.", counts.ready);
    one(p, "tern_models_loading", "gauge", "Models that cannot answer yet.", counts.loading);
    one(p, "tern_models_failed", "gauge", "Models that cannot answer, for no version could be loaded.",
        counts.failed);
    one(p, "tern_models_absent", "gauge", "Models without any version to be found.", counts.absent);
    tn_expo_head(p->out, "tern_version_state", "gauge",
                 "1 for the state that a version is in; versions that ended well are left out.");
    for (uint32_t i = 0; names != NULL && i < n; i++)
        version_states(p, names[i]);
}

/* ---- versions ---- */

static void label_version(page *p, const tn_version *v)
{
    label_model(p, v->model);
    tn_buf_printf(&p->labels, ",version=\"%lld\"", (long long)v->number);
}

static void label_call(page *p, const tn_version *v, size_t cell, int method)
{
    label_version(p, v);
    tn_buf_z(&p->labels, ",signature=\"");
    if (cell < TN_STATS_SIGNATURES)
        tn_expo_escape(&p->labels, v->signatures->signatures[cell].name);
    else if (cell == TN_STATS_SIGNATURES)
        tn_buf_z(&p->labels, "other");
    tn_buf_char(&p->labels, '"');
    label_method(p, method);
}

typedef void call_fn(page *p, const tn_version *v, size_t cell, int method, const tn_call_stats *stats);

static void each_call(page *p, call_fn *fn)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t cell = 0; cell < TN_STATS_CELLS; cell++)
            for (int method = 0; method < TN_METHODS; method++) {
                const tn_call_stats *stats = tn_stats_call_of(&p->versions[i]->stats, cell, method);
                if (stats != NULL)
                    fn(p, p->versions[i], cell, method, stats);
            }
}

static void calls(page *p, const tn_version *v, size_t cell, int method, const tn_call_stats *stats)
{
    for (int code = 0; code < TN_CODES; code++) {
        if (load(&stats->codes[code]) == 0)
            continue;
        label_call(p, v, cell, method);
        tn_buf_printf(&p->labels, ",code=\"%s\"", tn_code_name((tern_code)code));
        tn_expo_value(p->out, "tern_calls_total", tn_buf_view(&p->labels), load(&stats->codes[code]));
    }
}

static void call_seconds(page *p, const tn_version *v, size_t cell, int method, const tn_call_stats *stats)
{
    label_call(p, v, cell, method);
    tn_expo_histogram(p->out, "tern_call_seconds", tn_buf_view(&p->labels), &stats->total);
}

static void stage_seconds(page *p, const tn_version *v, size_t cell, int method, const tn_call_stats *stats)
{
    for (int stage = 0; stage < TN_STAGES; stage++) {
        if (tn_histogram_count(&stats->stage[stage]) == 0)
            continue;
        label_call(p, v, cell, method);
        tn_buf_printf(&p->labels, ",stage=\"%s\"", tn_stage_name((tn_stage)stage));
        tn_expo_histogram(p->out, "tern_stage_seconds", tn_buf_view(&p->labels), &stats->stage[stage]);
    }
}

static const char *runtime_of(const tn_version *v)
{
    const tern_engine_api *api = v->engine->api;
    return api->runtime_version != NULL ? api->runtime_version() : "";
}

static void write_versions(page *p)
{
    tn_expo_head(
        p->out, "tern_version_info", "gauge",
        "1 for each version that can answer, with its engine and the version of the engine's runtime.");
    for (size_t i = 0; i < p->n; i++) {
        label_version(p, p->versions[i]);
        tn_buf_printf(&p->labels, ",engine=\"%s\",runtime_version=\"", p->versions[i]->engine->api->name);
        tn_expo_escape(&p->labels, tn_str_from(runtime_of(p->versions[i])));
        tn_buf_char(&p->labels, '"');
        tn_expo_value(p->out, "tern_version_info", tn_buf_view(&p->labels), 1);
    }
    tn_expo_head(p->out, "tern_version_memory_bytes", "gauge",
                 "Memory of a version as far as its engine knows; 0: it does not.");
    for (size_t i = 0; i < p->n; i++) {
        const tn_version *v = p->versions[i];
        label_version(p, v);
        tn_expo_value(p->out, "tern_version_memory_bytes", tn_buf_view(&p->labels),
                      v->engine->api->memory_use(v->loaded));
    }
    tn_expo_head(p->out, "tern_calls_total", "counter", "Calls that reached a version, by canonical code.");
    each_call(p, calls);
    tn_expo_head(p->out, "tern_call_seconds", "histogram",
                 "Time of a call: its body's reading, and from there to the answer's last byte.");
    each_call(p, call_seconds);
    tn_expo_head(p->out, "tern_stage_seconds", "histogram", "Time of one stage of a call.");
    each_call(p, stage_seconds);
}

/* ---- batching ---- */

typedef enum batch_series {
    BATCHES,
    BATCH_CALLS,
    BATCH_ROWS,
    BATCH_PADDING,
    BATCH_RETRIES,
    BATCH_WAIT,
    BATCH_WAITING,
    BATCH_ALONE,
    BATCH_FILL,
    BATCH_SERIES
} batch_series;

typedef struct batch_walk {
    page *p;
    const tn_version *v;
    batch_series series;
} batch_walk;

static const struct {
    const char *name, *type, *help;
} batch_heads[BATCH_SERIES] = {
    {"tern_batches_total", "counter", "Batches that were run."},
    {"tern_batch_calls_total", "counter", "Calls in batches; one that was cut counts for each part."},
    {"tern_batch_rows_total", "counter", "Rows in batches, without padding."},
    {"tern_batch_padding_rows_total", "counter", "Rows that were added to fill batches up."},
    {"tern_batch_retries_total", "counter", "Runs of parts of a batch after it failed."},
    {"tern_batch_wait_seconds_total", "counter", "Time that calls waited for their batch, all together."},
    {"tern_batch_queue_length", "gauge", "Calls that wait for a batch."},
    {"tern_batch_unfit", "gauge", "1: this signature proved to be unfit for batches and runs call by call."},
    {"tern_batch_size_calls", "histogram", "Calls in a batch."},
};

static void batch_fill(page *p, const char *name, const tn_batch_sizes *h)
{
    uint64_t n = 0;
    tn_str labels = tn_buf_view(&p->labels);
    for (unsigned i = 0; i < TN_BATCH_SIZE_BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i < TN_BATCH_SIZE_BUCKETS - 1)
            snprintf(bound, sizeof bound, "%.0f", tn_batch_sizes_bound(i));
        n += load(&h->bucket[i]);
        tn_buf_printf(p->out, "%s_bucket{%.*s,le=\"%s\"} %llu\n", name, TN_FMT(labels), bound,
                      (unsigned long long)n);
    }
    tn_buf_printf(p->out, "%s_sum{%.*s} %llu\n%s_count{%.*s} %llu\n", name, TN_FMT(labels),
                  (unsigned long long)load(&h->sum), name, TN_FMT(labels), (unsigned long long)n);
}

static void batch_one(void *context, const tern_signature *signature, const tn_batch_signature_stats *stats)
{
    const batch_walk *w = context;
    page *p = w->p;
    const char *name = batch_heads[w->series].name;
    const atomic_uint_fast64_t *const counters[] = {&stats->batches, &stats->calls,   &stats->rows,
                                                    &stats->padding, &stats->retries, &stats->wait_ns,
                                                    &stats->waiting};
    label_version(p, w->v);
    tn_buf_z(&p->labels, ",signature=\"");
    tn_expo_escape(&p->labels, signature->name);
    tn_buf_char(&p->labels, '"');
    if (w->series == BATCH_FILL)
        batch_fill(p, name, &stats->calls_per_batch);
    else if (w->series == BATCH_ALONE)
        tn_expo_value(p->out, name, tn_buf_view(&p->labels),
                      atomic_load_explicit(&stats->alone, memory_order_relaxed));
    else if (w->series == BATCH_WAIT)
        tn_expo_real(p->out, name, tn_buf_view(&p->labels), (double)load(&stats->wait_ns) / 1e9);
    else
        tn_expo_value(p->out, name, tn_buf_view(&p->labels), load(counters[w->series]));
}

static void write_batches(page *p)
{
    const tn_batch_stats *stats = tn_schedule_batch_stats(p->server->schedule);
    one(p, "tern_batches_waiting_calls", "gauge", "Calls in all queues of batches.",
        atomic_load_explicit(&stats->waiting, memory_order_relaxed));
    one(p, "tern_batches_running", "gauge", "Batches under way.",
        atomic_load_explicit(&stats->running, memory_order_relaxed));
    for (batch_series series = 0; series < BATCH_SERIES; series++) {
        tn_expo_head(p->out, batch_heads[series].name, batch_heads[series].type, batch_heads[series].help);
        for (size_t i = 0; i < p->n; i++) {
            batch_walk w = {p, p->versions[i], series};
            tn_batch_each(p->versions[i], batch_one, &w);
        }
    }
}

void tn_metrics_tern(tn_server *server, tn_buf *out)
{
    page p = {.server = server, .out = out};
    tn_arena_init(&p.arena, 64u << 20);
    tn_buf_init(&p.labels, 64u << 10);
    tn_models_each(server->models, count_one, &p);
    p.versions = tn_arena_array(&p.arena, p.cap, sizeof(tn_version *));
    if (p.versions == NULL)
        p.cap = 0;
    tn_models_each(server->models, collect, &p);
    write_process(&p);
    write_server(&p);
    write_access_log(&p);
    write_async(&p);
    write_capture(&p);
    write_models(&p);
    if (server->stats != NULL)
        write_model_totals(&p);
    write_versions(&p);
    write_batches(&p);
    tn_metrics_workers(server, p.versions, p.n, &p.arena, out);
    for (size_t i = 0; i < p.n; i++)
        tn_version_release(p.versions[i]);
    tn_buf_free(&p.labels);
    tn_arena_free(&p.arena);
}
