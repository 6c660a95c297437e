/*
 * api/metrics_serving.c - the page of metrics that TensorFlow Serving has, by its names, labels, buckets and
 * form (util/prometheus_exporter.cc, servables/tensorflow/util.cc, model_servers/http_server.cc).
 *
 * Series are in the order of their names, as there. All numbers are counted by Tern itself, for TensorFlow's
 * C API does not give those of the runtime out: loads and runs are timed around its calls. Series that
 * nothing in this program could move are declared and have no samples. Labels come from configured models
 * only.
 */
#include "api/metrics.h"
#include "base/status.h"
#include "schedule/batch.h"

#define LATENCY_FIRST  10.0
#define LATENCY_FACTOR 1.8

typedef struct page {
    tn_buf *out;
    tn_buf labels;
    tn_stats *stats;
    uint64_t runs, run_ns; /* of the engines, for all models */
} page;

static uint64_t load(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void label_model(page *p, const char *name, const tn_model_stats *m)
{
    tn_buf_clear(&p->labels);
    tn_buf_printf(&p->labels, "%s=\"", name);
    tn_expo_escape(&p->labels, m->name);
    tn_buf_char(&p->labels, '"');
}

static void latency(page *p, const char *name, const tn_histogram_sum *h)
{
    tn_serving_histogram(p->out, name, tn_buf_view(&p->labels), LATENCY_FIRST, LATENCY_FACTOR, h->bucket,
                         TN_HISTOGRAM_BUCKETS, (double)h->sum_ns / 1e3);
}

static uint64_t count_of(const tn_histogram_sum *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < TN_HISTOGRAM_BUCKETS; i++)
        n += h->bucket[i];
    return n;
}

/* ---- loads ---- */

static void label_path(page *p, const tn_load_stats *l)
{
    tn_buf_clear(&p->labels);
    tn_buf_z(&p->labels, "model_path=\"");
    tn_expo_escape(&p->labels, tn_str_from(l->path));
    tn_buf_char(&p->labels, '"');
}

static void load_attempts(void *context, const tn_model_stats *m, const tn_load_stats *l)
{
    page *p = context;
    (void)m;
    for (int good = 0; good < 2; good++) {
        uint64_t n = good ? l->good : l->bad;
        if (n == 0)
            continue;
        label_path(p, l);
        tn_buf_printf(&p->labels, ",status=\"%s\"", good ? "success" : "fail");
        tn_serving_value(p->out, ":tensorflow:cc:saved_model:load_attempt_count", tn_buf_view(&p->labels), n);
    }
}

static void load_latency(void *context, const tn_model_stats *m, const tn_load_stats *l)
{
    page *p = context;
    (void)m;
    if (l->good == 0)
        return;
    label_path(p, l);
    tn_serving_value(p->out, ":tensorflow:cc:saved_model:load_latency", tn_buf_view(&p->labels),
                     (uint64_t)(l->good_ns / TN_NS_PER_US));
}

/* The engine's load is one call: it is one stage. */
static void load_stages(void *context, const tn_model_stats *m, const tn_load_stats *l)
{
    page *p = context;
    (void)m;
    if (l->good == 0)
        return;
    label_path(p, l);
    tn_buf_z(&p->labels, ",stage=\"load\"");
    tn_serving_histogram(p->out, ":tensorflow:cc:saved_model:load_latency_by_stage", tn_buf_view(&p->labels),
                         LATENCY_FIRST, LATENCY_FACTOR, l->bucket, TN_LOAD_BUCKETS, (double)l->good_ns / 1e3);
}

static void load_warmups(void *context, const tn_model_stats *m, const tn_load_stats *l)
{
    page *p = context;
    (void)m;
    for (int bad = 0; bad < 2; bad++) {
        const tn_histogram_sum *sum = bad ? &l->warm_bad : &l->warm_good;
        if (count_of(sum) == 0)
            continue;
        label_path(p, l);
        tn_buf_printf(&p->labels, ",status=\"%s\"", bad ? tn_code_name(l->warm_error) : "OK");
        latency(p, ":tensorflow:serving:model_warmup_latency", sum);
    }
}

typedef void load_fn(void *context, const tn_model_stats *m, const tn_load_stats *l);
typedef struct load_walk {
    page *p;
    load_fn *fn;
} load_walk;

static void walk_loads(void *context, tn_model_stats *m)
{
    const load_walk *walk = context;
    tn_stats_each_load(walk->p->stats, m, walk->fn, walk->p);
}

static void loads(page *p, const char *name, const char *type, load_fn *fn)
{
    load_walk walk = {p, fn};
    tn_serving_head(p->out, name, type);
    tn_stats_each(p->stats, walk_loads, &walk);
}

/* ---- calls ---- */

static void request_count(void *context, tn_model_stats *m)
{
    page *p = context;
    uint64_t codes[TN_CODES] = {0};
    for (int i = 0; i < TN_METHODS; i++) {
        const tn_method_stats *stats = tn_stats_method(m, i);
        for (int code = 0; code < TN_CODES && stats != NULL && tn_method_name(i)->entrypoint != NULL; code++)
            codes[code] += load(&stats->codes[code]);
    }
    for (int code = 0; code < TN_CODES; code++) {
        if (codes[code] == 0)
            continue;
        label_model(p, "model_name", m);
        tn_buf_printf(&p->labels, ",status=\"%s\"", tn_code_name((tern_code)code));
        tn_serving_value(p->out, ":tensorflow:serving:request_count", tn_buf_view(&p->labels), codes[code]);
    }
}

static bool same_api(const tn_method_names *a, const tn_method_names *b)
{
    return b->entrypoint != NULL && strcmp(a->entrypoint, b->entrypoint) == 0 &&
           strcmp(a->serving_api, b->serving_api) == 0;
}

/* The first method of an API and entrypoint stands for all of them. */
static void request_latency(void *context, tn_model_stats *m)
{
    page *p = context;
    bool done[TN_METHODS] = {false};
    for (int i = 0; i < TN_METHODS; i++) {
        const tn_method_names *names = tn_method_name(i);
        tn_histogram_sum sum = {0};
        for (int j = i; j < TN_METHODS && names->entrypoint != NULL && !done[i]; j++) {
            const tn_method_stats *stats = tn_stats_method(m, j);
            if (!same_api(names, tn_method_name(j)))
                continue;
            done[j] = j > i;
            if (stats != NULL)
                tn_histogram_add(&sum, &stats->ok);
        }
        if (count_of(&sum) == 0)
            continue;
        label_model(p, "model_name", m);
        tn_buf_printf(&p->labels, ",API=\"%s\",entrypoint=\"%s\"", names->serving_api, names->entrypoint);
        latency(p, ":tensorflow:serving:request_latency", &sum);
    }
}

/* Runs of one kind over all surfaces. */
static const struct run_kind {
    const char *api;
    tn_method methods[2];
} run_kinds[] = {{"Classify", {TN_METHOD_GRPC_CLASSIFY, TN_METHOD_REST_CLASSIFY}},
                 {"MultiInference", {TN_METHOD_GRPC_MULTI_INFERENCE, TN_METHOD_GRPC_MULTI_INFERENCE}},
                 {"Predict", {TN_METHOD_GRPC_PREDICT, TN_METHOD_REST_PREDICT}},
                 {"Regress", {TN_METHOD_GRPC_REGRESS, TN_METHOD_REST_REGRESS}}};

static void runtime_latency(void *context, tn_model_stats *m)
{
    page *p = context;
    for (size_t k = 0; k < sizeof run_kinds / sizeof run_kinds[0]; k++) {
        const struct run_kind *kind = &run_kinds[k];
        tn_histogram_sum sum = {0};
        for (int i = 0; i < 2; i++) {
            const tn_method_stats *stats = tn_stats_method(m, (int)kind->methods[i]);
            if (stats != NULL && (i == 0 || kind->methods[1] != kind->methods[0]))
                tn_histogram_add(&sum, &stats->run);
        }
        if (count_of(&sum) == 0)
            continue;
        label_model(p, "model_name", m);
        tn_buf_printf(&p->labels, ",API=\"%s\",runtime=\"TF1\"", kind->api);
        latency(p, ":tensorflow:serving:runtime_latency", &sum);
    }
}

static void sum_runs(void *context, tn_model_stats *m)
{
    page *p = context;
    p->runs += load(&m->runs);
    p->run_ns += load(&m->run_ns);
}

static void example_total(void *context, tn_model_stats *m)
{
    page *p = context;
    if (load(&m->examples) == 0)
        return;
    label_model(p, "model", m);
    tn_serving_value(p->out, ":tensorflow:serving:request_example_count_total", tn_buf_view(&p->labels),
                     load(&m->examples));
}

static void example_counts(void *context, tn_model_stats *m)
{
    page *p = context;
    uint64_t bucket[TN_EXAMPLE_BUCKETS];
    if (load(&m->examples) == 0)
        return;
    for (size_t i = 0; i < TN_EXAMPLE_BUCKETS; i++)
        bucket[i] = load(&m->example_bucket[i]);
    label_model(p, "model", m);
    tn_serving_histogram(p->out, ":tensorflow:serving:request_example_counts", tn_buf_view(&p->labels), 1, 2,
                         bucket, TN_EXAMPLE_BUCKETS, (double)load(&m->examples));
}

/* ---- batching ---- */

/* Without a value there is no metric: the original makes these three at their first use. */
static void sizes(page *p, const char *name, const tn_batch_sizes *h, bool head)
{
    uint64_t bucket[TN_BATCH_SIZE_BUCKETS], n = 0;
    for (size_t i = 0; i < TN_BATCH_SIZE_BUCKETS; i++)
        n += bucket[i] = load(&h->bucket[i]);
    if (n == 0)
        return;
    if (head)
        tn_serving_head(p->out, name, "histogram");
    tn_serving_histogram(p->out, name, tn_buf_view(&p->labels), 1, 2, bucket, TN_BATCH_SIZE_BUCKETS,
                         (double)load(&h->sum));
}

static void padding(page *p, const tn_batch_stats *stats)
{
    for (size_t i = 0; i < TN_BATCH_PADDING_SIZES; i++) {
        int64_t size = atomic_load_explicit(&stats->padding[i].execution_batch_size, memory_order_relaxed);
        tn_buf_clear(&p->labels);
        if (size < 0)
            tn_buf_z(&p->labels, "execution_batch_size=\"other\"");
        else
            tn_buf_printf(&p->labels, "execution_batch_size=\"%lld\"", (long long)size);
        if (size != 0)
            sizes(p, ":tensorflow:serving:batching_session:padding_size", &stats->padding[i].rows, i == 0);
    }
}

static void batching(page *p, const tn_batch_stats *stats)
{
    uint64_t bucket[TN_BATCH_LATENCY_BUCKETS], n = 0;
    tn_buf_clear(&p->labels);
    sizes(p, ":tensorflow:serving:batching_session:input_batch_size", &stats->input_batch_size, true);
    padding(p, stats);
    tn_buf_clear(&p->labels);
    sizes(p, ":tensorflow:serving:batching_session:processed_batch_size", &stats->processed_batch_size, true);
    tn_serving_head(p->out, ":tensorflow:serving:batching_session:queuing_latency", "histogram");
    for (size_t i = 0; i < TN_BATCH_LATENCY_BUCKETS; i++)
        n += bucket[i] = load(&stats->queuing_latency.bucket[i]);
    tn_buf_z(&p->labels, "thread_pool_name=\"");
    tn_expo_escape(&p->labels, stats->thread_pool_name);
    tn_buf_char(&p->labels, '"');
    if (n > 0)
        tn_serving_histogram(p->out, ":tensorflow:serving:batching_session:queuing_latency",
                             tn_buf_view(&p->labels), 100, 1.2, bucket, TN_BATCH_LATENCY_BUCKETS,
                             (double)load(&stats->queuing_latency.sum_us));
    tn_serving_head(p->out, ":tensorflow:serving:batching_session:wrapped_run_count", "counter");
    if (load(&stats->wrapped_run_count) > 0)
        tn_serving_value(p->out, ":tensorflow:serving:batching_session:wrapped_run_count", TN_STR_NONE,
                         load(&stats->wrapped_run_count));
}

static void models(page *p, const char *name, const char *type, void (*fn)(void *, tn_model_stats *))
{
    tn_serving_head(p->out, name, type);
    if (fn != NULL)
        tn_stats_each(p->stats, fn, p);
}

static void total(page *p, const char *name, uint64_t value)
{
    tn_serving_head(p->out, name, "counter");
    tn_serving_value(p->out, name, TN_STR_NONE, value);
}

void tn_metrics_serving(tn_server *server, tn_buf *out)
{
    page p = {.out = out, .stats = server->stats};
    tn_buf_init(&p.labels, 64u << 10);
    loads(&p, ":tensorflow:cc:saved_model:load_attempt_count", "counter", load_attempts);
    loads(&p, ":tensorflow:cc:saved_model:load_latency", "counter", load_latency);
    loads(&p, ":tensorflow:cc:saved_model:load_latency_by_stage", "histogram", load_stages);
    tn_stats_each(p.stats, sum_runs, &p);
    total(&p, ":tensorflow:core:direct_session_runs", p.runs);
    total(&p, ":tensorflow:core:graph_run_time_usecs", p.run_ns / 1000);
    total(&p, ":tensorflow:core:graph_runs", p.runs);
    models(&p, ":tensorflow:serving:batching:mixed_priority_batching_policy", "gauge", NULL);
    models(&p, ":tensorflow:serving:batching:padding_size_v2", "histogram", NULL);
    models(&p, ":tensorflow:serving:batching:processed_batch_size_v2", "counter", NULL);
    batching(&p, tn_schedule_batch_stats(server->schedule));
    models(&p, ":tensorflow:serving:mlmd_map", "gauge", NULL);
    loads(&p, ":tensorflow:serving:model_warmup_latency", "histogram", load_warmups);
    models(&p, ":tensorflow:serving:request_count", "counter", request_count);
    models(&p, ":tensorflow:serving:request_example_count_total", "counter", example_total);
    models(&p, ":tensorflow:serving:request_example_counts", "histogram", example_counts);
    models(&p, ":tensorflow:serving:request_latency", "histogram", request_latency);
    models(&p, ":tensorflow:serving:request_log_count", "counter", NULL);
    models(&p, ":tensorflow:serving:runtime_latency", "histogram", runtime_latency);
    tn_buf_free(&p.labels);
}
