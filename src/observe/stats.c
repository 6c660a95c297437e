/*
 * observe/stats.c - see observe/stats.h.
 *
 * The registry is a fixed table of chains: entries are added at a chain's head and never removed, so that
 * readers need no lock.
 */
#include "observe/stats.h"

#include <stdlib.h>

#define SLOTS 4096

struct tn_stats {
    pthread_mutex_t lock; /* writers, and all lists of loads */
    size_t n;
    tn_model_stats unknown;
    _Atomic(tn_model_stats *) slot[SLOTS];
};

const tn_method_names *tn_method_name(tn_method method)
{
    static const tn_method_names names[TN_METHODS] = {
#define X(name, api, method, entrypoint, serving_api) {api, method, entrypoint, serving_api},
        TN_METHOD_TABLE(X)
#undef X
    };
    return &names[(unsigned)method < TN_METHODS ? method : TN_METHOD_REST_OTHER];
}

/* ---- the registry ---- */

tn_stats *tn_stats_new(void)
{
    tn_stats *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->unknown.name = TN_STR("");
    return s;
}

static void drop_loads(tn_load_stats *load)
{
    while (load != NULL) {
        tn_load_stats *next = load->next;
        free(load->path);
        free(load);
        load = next;
    }
}

static void empty_model(tn_model_stats *m)
{
    for (int i = 0; i < TN_METHODS; i++)
        free(atomic_load_explicit(&m->method[i], memory_order_relaxed));
    drop_loads(m->loads);
}

void tn_stats_free(tn_stats *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        for (tn_model_stats *m = atomic_load_explicit(&s->slot[i], memory_order_relaxed); m != NULL;) {
            tn_model_stats *next = m->next;
            empty_model(m);
            free(m);
            m = next;
        }
    empty_model(&s->unknown);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

tn_model_stats *tn_stats_find(const tn_stats *s, tn_str name)
{
    tn_model_stats *m = atomic_load_explicit(&s->slot[tn_str_hash(name) % SLOTS], memory_order_acquire);
    while (m != NULL && !tn_str_eq(m->name, name))
        m = m->next;
    return m != NULL ? m : (tn_model_stats *)(uintptr_t)&s->unknown;
}

/* The name lies behind the struct. */
static tn_model_stats *new_model(tn_str name)
{
    tn_model_stats *m = calloc(1, sizeof *m + name.len);
    if (m == NULL)
        return NULL;
    char *text = (char *)(m + 1);
    memcpy(text, name.ptr, name.len);
    m->name = (tn_str){text, name.len};
    return m;
}

tn_model_stats *tn_stats_model(tn_stats *s, tn_str name)
{
    _Atomic(tn_model_stats *) *slot = &s->slot[tn_str_hash(name) % SLOTS];
    pthread_mutex_lock(&s->lock);
    tn_model_stats *m = tn_stats_find(s, name);
    if (m == &s->unknown && name.len > 0 && s->n < TN_STATS_MODELS) {
        tn_model_stats *made = new_model(name);
        if (made != NULL) {
            made->next = atomic_load_explicit(slot, memory_order_relaxed);
            atomic_store_explicit(slot, made, memory_order_release);
            s->n++;
            m = made;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return m;
}

void tn_stats_each(tn_stats *s, void (*fn)(void *context, tn_model_stats *m), void *context)
{
    fn(context, &s->unknown);
    for (size_t i = 0; i < SLOTS; i++)
        for (tn_model_stats *m = atomic_load_explicit(&s->slot[i], memory_order_acquire); m != NULL;
             m = m->next)
            fn(context, m);
}

/* ---- figures of a model ---- */

static void count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static unsigned code_of(tern_code code)
{
    return (unsigned)code < TN_CODES ? (unsigned)code : TERN_UNKNOWN;
}

/* The block at a place; made by whoever needs it first. NULL when memory is short. */
static void *block_of(_Atomic(void *) *place, size_t size)
{
    void *block = atomic_load_explicit(place, memory_order_acquire);
    if (block != NULL)
        return block;
    void *made = calloc(1, size);
    if (made == NULL)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(place, &block, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    free(made);
    return block;
}

const tn_method_stats *tn_stats_method(const tn_model_stats *m, int method)
{
    return atomic_load_explicit(&m->method[method], memory_order_acquire);
}

const tn_call_stats *tn_stats_call_of(const tn_version_stats *v, size_t cell, int method)
{
    return atomic_load_explicit(&v->cell[cell][method], memory_order_acquire);
}

/* ---- answers ---- */

void tn_stats_answer(tn_model_stats *m, tn_method method, tern_code code, int64_t took_ns, int64_t run_ns)
{
    tn_method_stats *stats = block_of(&m->method[method], sizeof *stats);
    if (stats == NULL)
        return;
    tn_histogram_record(code == TERN_OK ? &stats->ok : &stats->failed, took_ns);
    if (run_ns > 0)
        tn_histogram_record(&stats->run, run_ns);
    count(&stats->codes[code_of(code)], 1);
}

void tn_stats_examples(tn_model_stats *m, uint64_t n)
{
    size_t i = 0;
    while (i < TN_EXAMPLE_BUCKETS - 1 && n > UINT64_C(1) << i)
        i++;
    count(&m->examples, n);
    count(&m->example_bucket[i], 1);
}

/* ---- loads ---- */

/* Takes the entry of a folder out of the list, or makes it. NULL when memory is short. */
static tn_load_stats *take_load(tn_model_stats *m, const char *path)
{
    for (tn_load_stats **link = &m->loads; *link != NULL; link = &(*link)->next)
        if (strcmp((*link)->path, path) == 0) {
            tn_load_stats *load = *link;
            *link = load->next;
            return load;
        }
    tn_load_stats *load = calloc(1, sizeof *load);
    if (load == NULL || (load->path = strdup(path)) == NULL) {
        free(load);
        return NULL;
    }
    return load;
}

/* Under the lock: the entry of a folder, now the newest; NULL when memory is short. */
static tn_load_stats *load_of(tn_model_stats *m, const char *path)
{
    tn_load_stats *load = take_load(m, path);
    if (load == NULL)
        return NULL;
    load->next = m->loads;
    m->loads = load;
    tn_load_stats *last = load;
    for (size_t n = 1; n < TN_LOADS_KEPT && last != NULL; n++)
        last = last->next;
    if (last != NULL) {
        drop_loads(last->next);
        last->next = NULL;
    }
    return load;
}

static size_t load_bucket(int64_t ns)
{
    size_t i = 0;
    for (double bound = 10e3; i < TN_LOAD_BUCKETS - 1 && (double)ns > bound; i++)
        bound *= 1.8;
    return i;
}

void tn_stats_load(tn_model_stats *m, bool good, int64_t ns)
{
    count(good ? &m->loads_good : &m->loads_bad, 1);
    if (good)
        tn_histogram_record(&m->load, ns);
}

void tn_stats_engine_load(tn_stats *s, tn_model_stats *m, const char *path, bool good, int64_t ns)
{
    pthread_mutex_lock(&s->lock);
    tn_load_stats *load = load_of(m, path);
    if (load != NULL && good) {
        load->good++;
        load->good_ns += ns;
        load->bucket[load_bucket(ns)]++;
    } else if (load != NULL) {
        load->bad++;
    }
    pthread_mutex_unlock(&s->lock);
}

void tn_stats_warmup(tn_stats *s, tn_model_stats *m, const char *path, tern_code code, int64_t ns)
{
    tn_histogram one = {0};
    tn_histogram_record(&one, ns);
    pthread_mutex_lock(&s->lock);
    tn_load_stats *load = load_of(m, path);
    if (load != NULL)
        tn_histogram_add(code == TERN_OK ? &load->warm_good : &load->warm_bad, &one);
    if (load != NULL && code != TERN_OK)
        load->warm_error = code;
    pthread_mutex_unlock(&s->lock);
}

void tn_stats_each_load(tn_stats *s, tn_model_stats *m,
                        void (*fn)(void *context, const tn_model_stats *m, const tn_load_stats *load),
                        void *context)
{
    pthread_mutex_lock(&s->lock);
    for (const tn_load_stats *load = m->loads; load != NULL; load = load->next)
        fn(context, m, load);
    pthread_mutex_unlock(&s->lock);
}

/* ---- figures of a version ---- */

void tn_stats_call(tn_version_stats *v, size_t cell, tn_method method, tern_code code,
                   const int64_t *stage_ns, int64_t total_ns)
{
    tn_call_stats *stats = block_of(&v->cell[cell][method], sizeof *stats);
    if (stats == NULL)
        return;
    for (int i = 0; i < TN_STAGES; i++)
        if (stage_ns[i] > 0)
            tn_histogram_record(&stats->stage[i], stage_ns[i]);
    tn_histogram_record(&stats->total, total_ns);
    count(&stats->codes[code_of(code)], 1);
}

void tn_stats_run(const tn_version_stats *v, int64_t ns)
{
    if (v->model == NULL)
        return;
    count(&v->model->runs, 1);
    count(&v->model->run_ns, ns > 0 ? (uint64_t)ns : 0);
}

uint64_t tn_stats_count(const tn_version_stats *v, tern_code code)
{
    uint64_t n = 0;
    for (size_t i = 0; i < TN_STATS_CELLS * TN_METHODS; i++) {
        const tn_call_stats *stats = tn_stats_call_of(v, i / TN_METHODS, (int)(i % TN_METHODS));
        n += stats != NULL ? atomic_load_explicit(&stats->codes[code_of(code)], memory_order_relaxed) : 0;
    }
    return n;
}

uint64_t tn_stats_stage_count(const tn_version_stats *v, int stage)
{
    uint64_t n = 0;
    for (size_t i = 0; i < TN_STATS_CELLS * TN_METHODS; i++) {
        const tn_call_stats *stats = tn_stats_call_of(v, i / TN_METHODS, (int)(i % TN_METHODS));
        if (stats != NULL)
            n += tn_histogram_count(stage < TN_STAGES ? &stats->stage[stage] : &stats->total);
    }
    return n;
}

void tn_version_stats_free(tn_version_stats *v)
{
    for (size_t i = 0; i < TN_STATS_CELLS; i++)
        for (int j = 0; j < TN_METHODS; j++)
            free(atomic_exchange_explicit(&v->cell[i][j], NULL, memory_order_acq_rel));
}
