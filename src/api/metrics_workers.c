/*
 * api/metrics_workers.c - series of worker processes (tern_worker_*), in Prometheus' text form: those of
 * handler scripts, and of C handlers that have processes of their own.
 *
 * A pool's series begin with it and go with it: with the model that has the script, or with the version that
 * has the handler. Labels: kind="script" with the model, which is empty for the script of all models;
 * kind="handler" with model and version.
 */
#include "api/metrics.h"
#include "api/script.h"
#include "handler/isolated.h"

#define LABELS_MAX (64u << 10)

typedef struct row {
    struct row *next;
    tn_script_pool *pool; /* a reference */
    tn_str labels;
    tn_script_counts counts;
} row;

typedef struct rows {
    tn_arena *arena;
    row *first, **end;
} rows;

static void add(rows *list, tn_script_pool *pool, tn_str labels)
{
    row *r = tn_arena_zalloc(list->arena, sizeof *r);
    if (r == NULL || labels.ptr == NULL) /* the page says less then */
        return;
    *r = (row){.pool = tn_script_pool_retain(pool), .labels = labels};
    *list->end = r;
    list->end = &r->next;
}

static tn_str label(rows *list, const char *kind, tn_str model, const tn_version *v)
{
    tn_buf text;
    tn_buf_init(&text, LABELS_MAX);
    tn_buf_printf(&text, "kind=\"%s\",model=\"", kind);
    tn_expo_escape(&text, model);
    tn_buf_char(&text, '"');
    if (v != NULL)
        tn_buf_printf(&text, ",version=\"%lld\"", (long long)v->number);
    const tn_str labels = text.failed ? TN_STR_NONE : tn_arena_dup(list->arena, tn_buf_view(&text));
    tn_buf_free(&text);
    return labels;
}

static void add_script(void *context, tn_str name, tn_script_pool *pool)
{
    rows *list = context;
    add(list, pool, label(list, "script", name, NULL));
}

typedef struct series {
    const char *name, *type, *help;
    uint64_t (*value)(const tn_script_counts *n);
} series;

static uint64_t ready(const tn_script_counts *n)
{
    return n->ready;
}

static uint64_t running(const tn_script_counts *n)
{
    return n->busy;
}

static uint64_t queued(const tn_script_counts *n)
{
    return n->queued;
}

static uint64_t idle(const tn_script_counts *n)
{
    return n->shared_idle_bytes;
}

static uint64_t calls(const tn_script_counts *n)
{
    return n->calls;
}

static uint64_t lost(const tn_script_counts *n)
{
    return n->failures;
}

static uint64_t starts(const tn_script_counts *n)
{
    return n->starts;
}

static uint64_t deaths(const tn_script_counts *n)
{
    return n->deaths;
}

static const series all[] = {
    {"tern_workers_ready", "gauge", "Worker processes that take calls.", ready},
    {"tern_worker_calls_running", "gauge", "Calls that worker processes have now.", running},
    {"tern_worker_queue_length", "gauge", "Calls that wait for a worker process.", queued},
    {"tern_worker_idle_bytes", "gauge", "Shared memory that is kept for later calls.", idle},
    {"tern_worker_calls_total", "counter",
     "Calls given to worker processes; one with a model's run in between may count twice.", calls},
    {"tern_worker_calls_lost_total", "counter", "Calls that the end of their worker process took along.",
     lost},
    {"tern_worker_starts_total", "counter", "Worker processes that were started.", starts},
    {"tern_worker_deaths_total", "counter",
     "Worker processes that ended unasked, could not start, or were killed.", deaths},
};

void tn_metrics_workers(tn_server *server, tn_version *const *versions, size_t n, tn_arena *arena,
                        tn_buf *out)
{
    rows list = {.arena = arena};
    list.end = &list.first;
    if (server->scripts != NULL)
        tn_scripts_each(server->scripts, add_script, &list);
    for (size_t i = 0; i < n; i++)
        if (tn_handler_is_isolated(versions[i]))
            add(&list, tn_isolated_pool(versions[i]),
                label(&list, "handler", versions[i]->model, versions[i]));
    for (row *r = list.first; r != NULL; r = r->next)
        r->counts = tn_script_pool_count(r->pool);
    for (size_t i = 0; list.first != NULL && i < sizeof all / sizeof all[0]; i++) {
        tn_expo_head(out, all[i].name, all[i].type, all[i].help);
        for (const row *r = list.first; r != NULL; r = r->next)
            tn_expo_value(out, all[i].name, r->labels, all[i].value(&r->counts));
    }
    for (row *r = list.first; r != NULL; r = r->next)
        tn_script_pool_release(r->pool);
}
