/*
 * model/models.c - a set of models: made, started, asked, ended. See model.h and life.h.
 */
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "model/life.h"

const char *tn_state_name(tn_state s)
{
    switch (s) {
    case TN_STATE_START:
        return "START";
    case TN_STATE_LOADING:
        return "LOADING";
    case TN_STATE_AVAILABLE:
        return "AVAILABLE";
    case TN_STATE_UNLOADING:
        return "UNLOADING";
    case TN_STATE_END:
        return "END";
    default:
        return "UNKNOWN";
    }
}

/* ---- Copies of options and configs ---- */

/* What does not fit turns *ok false; checked once at the end. */
static tn_str copy(tn_arena *a, tn_str s, bool *ok)
{
    tn_str c = tn_arena_dup(a, s.ptr != NULL ? s : TN_STR(""));
    *ok = *ok && c.ptr != NULL;
    return c;
}

static const tn_str *copy_strings(tn_arena *a, const tn_str *from, uint32_t n, bool *ok)
{
    tn_str *to = tn_arena_array(a, n, sizeof *to);
    *ok = *ok && to != NULL;
    for (uint32_t i = 0; i < n && to != NULL; i++)
        to[i] = copy(a, from[i], ok);
    return to;
}

static const int64_t *copy_numbers(tn_arena *a, const int64_t *from, uint32_t n, bool *ok)
{
    int64_t *to = tn_arena_array(a, n, sizeof *to);
    *ok = *ok && to != NULL;
    if (to != NULL && n > 0)
        memcpy(to, from, n * sizeof *to);
    return to;
}

static const tn_model_config *copy_config(tn_arena *a, const tn_model_config *from, bool *ok)
{
    tn_model_config *to = tn_arena_zalloc(a, sizeof *to);
    *ok = *ok && to != NULL;
    if (to == NULL)
        return NULL;
    *to = *from;
    to->name = copy(a, from->name, ok);
    to->base_path = copy(a, from->base_path, ok);
    to->platform = copy(a, from->platform, ok);
    to->engine = copy(a, from->engine, ok);
    to->specific = copy_numbers(a, from->specific, from->n_specific, ok);
    to->label_names = copy_strings(a, from->label_names, from->n_labels, ok);
    to->label_versions = copy_numbers(a, from->label_versions, from->n_labels, ok);
    return to;
}

static tern_code check_configs(const tn_models_options *o, const tn_model_config *configs, uint32_t n,
                               tern_status *st)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            if (tn_str_eq(configs[i].name, configs[j].name))
                return tern_fail(st, TERN_INVALID_ARGUMENT,
                                 "Illegal to list model %.*s multiple times in config list",
                                 TN_FMT(configs[i].name));
    for (uint32_t i = 0; i < n; i++) {
        const tn_model_config *c = &configs[i];
        if (c->base_path.len == 0 || c->base_path.ptr[0] != '/' ||
            memchr(c->base_path.ptr, 0, c->base_path.len) != NULL)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Expected model %.*s to have an absolute path or URI; got base_path()=%.*s",
                             TN_FMT(c->name), TN_FMT(c->base_path));
    }
    /* Labels are checked before anything is loaded, so without the option none can be given at the start. */
    for (uint32_t i = 0; i < n && !o->labels_for_unavailable; i++)
        if (configs[i].n_labels > 0)
            return tern_fail(
                st, TERN_FAILED_PRECONDITION,
                "Request to assign label to version %lld of model %.*s, which is not currently available "
                "for inference",
                (long long)configs[i].label_versions[0], TN_FMT(configs[i].name));
    return TERN_OK;
}

static void init_locks(tn_models *m)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->changed, &monotonic);
    pthread_cond_init(&m->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->sync_lock, NULL);
    tn_taskq_init(&m->work, 0);
}

static struct tn_pace pace_of(int64_t poll_seconds)
{
    return (struct tn_pace){
        .poll_ns = poll_seconds > 0    ? poll_seconds * TN_NS_PER_S
                   : poll_seconds == 0 ? INT64_MAX
                                       : -1,
        .eager_ns = 500 * TN_NS_PER_MS,
        .looks_ns = 400 * TN_NS_PER_MS,
        .quiet_ns = 3 * TN_NS_PER_S,
        .unknown_form_ns = 10 * TN_NS_PER_S,
    };
}

tern_code tn_models_new(const tn_models_options *options, const tn_model_config *configs, uint32_t n,
                        tn_models **out, tern_status *st)
{
    *out = NULL;
    tern_code code = check_configs(options, configs, n, st);
    if (code != TERN_OK)
        return code;
    tn_models *m = aligned_alloc(64, sizeof *m);
    if (m == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u models", n);
    memset(m, 0, sizeof *m);
    init_locks(m);
    tn_arena_init(&m->arena, SIZE_MAX);
    bool ok = true;
    m->options = *options;
    m->pace = pace_of(options->poll_seconds);
    m->options.default_engine = copy(
        &m->arena, options->default_engine.len > 0 ? options->default_engine : TN_STR("tensorflow"), &ok);
    m->options.tags = copy_strings(&m->arena, options->tags, options->n_tags, &ok);
    m->models = tn_arena_zalloc(&m->arena, n * sizeof *m->models);
    ok = ok && m->models != NULL;
    for (uint32_t i = 0; i < n && ok; i++) {
        m->models[i].config = copy_config(&m->arena, &configs[i], &ok);
        m->models[i].base_path = ok ? (char *)m->models[i].config->base_path.ptr : NULL; /* dup ends in NUL */
        m->n_models = ok ? i + 1 : i;
    }
    if (!ok || !tn_snapshot_publish(m)) {
        tn_models_free(m);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u models", n);
    }
    for (uint32_t i = 0; i < n; i++)
        if (configs[i].policy == TN_POLICY_SPECIFIC && configs[i].n_specific == 0)
            tn_warn("model", "%.*s: no specific versions requested", TN_FMT(configs[i].name));
    *out = m;
    return TERN_OK;
}

/* ---- Threads ---- */

tern_code tn_models_start(tn_models *m, tern_status *st)
{
    uint32_t n = m->options.load_threads > 0 ? (uint32_t)m->options.load_threads : 1;
    m->loaders = tn_arena_array(&m->arena, n, sizeof *m->loaders);
    if (m->loaders == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u loader threads", n);
    /* Signals belong to the main loop. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (m->n_loaders < n && error == 0) {
        error = pthread_create(&m->loaders[m->n_loaders], NULL, tn_life_loader, m);
        if (error == 0)
            pthread_setname_np(m->loaders[m->n_loaders++], "tern-load");
    }
    if (error == 0 && m->pace.poll_ns >= 0) {
        error = pthread_create(&m->watcher, NULL, tn_watch_main, m);
        m->watching = error == 0;
        if (m->watching)
            pthread_setname_np(m->watcher, "tern-watch");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start a thread for models: %s",
                         strerror(error));
    return TERN_OK;
}

void tn_models_unlock(tn_models *m)
{
    tn_snapshot *snapshots = m->old_snapshots;
    tn_box *retired = m->retired;
    m->old_snapshots = NULL;
    m->retired = NULL;
    pthread_mutex_unlock(&m->lock);
    if (snapshots != NULL || retired != NULL)
        tn_snapshot_wait(m);
    tn_snapshot_free(snapshots);
    while (retired != NULL) {
        tn_box *next = retired->next;
        tn_version_release(&retired->version);
        retired = next;
    }
}

static struct timespec deadline(int64_t timeout_ns)
{
    int64_t when = tn_now_ns() + timeout_ns;
    return (struct timespec){.tv_sec = when / TN_NS_PER_S, .tv_nsec = when % TN_NS_PER_S};
}

/* With the lock. */
static bool loads_under_way(const tn_models *m)
{
    for (uint32_t i = 0; i < m->n_models; i++)
        for (const tn_entry *e = m->models[i].entries; e != NULL; e = e->next)
            if (e->busy)
                return true;
    return false;
}

#define LAST_REFERENCES_NS (10 * TN_NS_PER_S)

/* Ends threads and unloads. false when somebody kept a reference. */
static bool stop(tn_models *m)
{
    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_cond_broadcast(&m->wake);
    pthread_cond_broadcast(&m->changed);
    tn_models_unlock(m);
    if (m->watching)
        pthread_join(m->watcher, NULL);
    pthread_mutex_lock(&m->lock);
    while (loads_under_way(m))
        pthread_cond_wait(&m->changed, &m->lock);
    tn_life_retire_all(m);
    tn_models_unlock(m);
    struct timespec until = deadline(LAST_REFERENCES_NS);
    pthread_mutex_lock(&m->lock);
    int error = 0;
    while (m->boxes > 0 && error == 0)
        error = pthread_cond_timedwait(&m->changed, &m->lock, &until);
    uint32_t kept = m->boxes;
    tn_models_unlock(m);
    if (kept > 0) {
        tn_error("model", "%u versions are still in use at the end and are left loaded", kept);
        return false;
    }
    tn_taskq_close(&m->work);
    for (uint32_t i = 0; i < m->n_loaders; i++)
        pthread_join(m->loaders[i], NULL);
    return true;
}

void tn_models_free(tn_models *m)
{
    if (m == NULL || !stop(m))
        return;
    for (uint32_t i = 0; i < m->n_models; i++)
        for (tn_entry *e = m->models[i].entries; e != NULL;) {
            tn_entry *next = e->next;
            tn_life_free_entry(e);
            e = next;
        }
    tn_snapshot_free(atomic_load(&m->snapshot));
    tn_taskq_destroy(&m->work);
    pthread_cond_destroy(&m->changed);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->sync_lock);
    tn_arena_free(&m->arena);
    free(m);
}

/* ---- Questions ---- */

tn_models_counts tn_models_count(tn_models *m)
{
    tn_models_counts c = {.models = m->n_models};
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < m->n_models; i++) {
        const tn_model *model = &m->models[i];
        bool pending = tn_life_pending(model);
        c.under_way += pending;
        if (tn_life_available(model))
            c.ready++;
        else if (pending)
            c.loading++;
        else if (tn_life_failed(model))
            c.failed++;
        else
            c.absent++;
    }
    tn_models_unlock(m);
    return c;
}

tn_str tn_models_failures(tn_models *m, tn_arena *arena, uint32_t *n)
{
    tn_buf text;
    tn_buf_init(&text, SIZE_MAX / 2);
    tn_buf_char(&text, '{');
    *n = 0;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < m->n_models; i++)
        for (const tn_entry *e = m->models[i].entries; e != NULL; e = e->next) {
            if (!e->failed)
                continue;
            ++*n;
            tn_buf_printf(&text, "{{name: %.*s version: %lld} due to error: %s: %s}, ",
                          TN_FMT(m->models[i].config->name), (long long)e->number,
                          tn_code_name(e->error_code), e->error != NULL ? e->error : "");
        }
    tn_models_unlock(m);
    tn_buf_char(&text, '}');
    tn_str copied = text.failed ? TN_STR_NONE : tn_arena_dup(arena, tn_buf_view(&text));
    tn_buf_free(&text);
    return copied;
}

uint32_t tn_models_wait(tn_models *m, int64_t timeout_ns)
{
    struct timespec until = deadline(timeout_ns > 0 ? timeout_ns : 0);
    pthread_mutex_lock(&m->lock);
    uint32_t ready;
    for (int error = 0;;) {
        uint32_t pending = 0;
        ready = 0;
        for (uint32_t i = 0; i < m->n_models; i++) {
            ready += tn_life_available(&m->models[i]);
            pending += tn_life_pending(&m->models[i]);
        }
        if (pending == 0 || timeout_ns <= 0 || error != 0 || m->stopping)
            break;
        error = pthread_cond_timedwait(&m->changed, &m->lock, &until);
    }
    tn_models_unlock(m);
    return ready;
}

static tn_model *find_model(tn_models *m, tn_str name)
{
    for (uint32_t i = 0; i < m->n_models; i++)
        if (tn_str_eq(m->models[i].config->name, name))
            return &m->models[i];
    return NULL;
}

static bool asked(const tn_entry *e, bool has_version, int64_t version)
{
    return e->state != TN_STATE_UNKNOWN && (!has_version || e->number == version);
}

/* With the lock. NULL when memory is short. */
static const tn_version_status *statuses(const tn_model *model, bool has_version, int64_t version,
                                         tn_arena *arena, uint32_t *n)
{
    uint32_t most = 0;
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        most += asked(e, has_version, version);
    tn_version_status *list = tn_arena_array(arena, most, sizeof *list);
    if (list == NULL)
        return NULL;
    for (const tn_entry *e = model->entries; e != NULL; e = e->next) {
        if (!asked(e, has_version, version))
            continue;
        /* A failed try is an error of the version only when it was the last one. */
        bool ended_badly = e->state == TN_STATE_END && e->error_code != TERN_OK;
        tn_str message = tn_arena_dup(arena, tn_str_from(ended_badly && e->error != NULL ? e->error : ""));
        if (message.ptr == NULL)
            return NULL;
        list[(*n)++] =
            (tn_version_status){e->number, e->state, ended_badly ? e->error_code : TERN_OK, message};
    }
    return list;
}

/* A name may hold a NUL, which belongs into the message: not by printf alone. */
static tern_code name_fail(tern_status *st, const char *before, tn_str name)
{
    char text[TERN_STATUS_MESSAGE_MAX];
    size_t length = (size_t)snprintf(text, sizeof text, "%s", before);
    size_t room = sizeof text - 1 - length;
    size_t n = name.len < room ? name.len : room;
    if (n > 0)
        memcpy(text + length, name.ptr, n);
    return tern_fail_bytes(st, TERN_NOT_FOUND, text, length + n);
}

tern_code tn_models_status(tn_models *m, tn_str name, bool has_version, int64_t version, tn_arena *arena,
                           const tn_version_status **out, uint32_t *n, tern_status *st)
{
    *out = NULL;
    *n = 0;
    tern_code code = TERN_OK;
    pthread_mutex_lock(&m->lock);
    const tn_model *model = find_model(m, name);
    if (model != NULL) {
        *out = statuses(model, has_version, version, arena, n);
        if (*out == NULL)
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the status of a model");
    }
    tn_models_unlock(m);
    if (code != TERN_OK || *n > 0)
        return code;
    if (!has_version)
        return name_fail(st, "Could not find any versions of model ", name);
    char before[96];
    snprintf(before, sizeof before, "Could not find version %lld of model ", (long long)version);
    return name_fail(st, before, name);
}

const tn_str *tn_models_names(tn_models *m, tn_arena *arena, uint32_t *n)
{
    *n = 0;
    tn_str *names = tn_arena_array(arena, m->n_models, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < m->n_models; i++) {
        names[i] = tn_arena_dup(arena, m->models[i].config->name);
        if (names[i].ptr == NULL)
            return NULL;
        *n = i + 1;
    }
    return names;
}

void tn_models_each(tn_models *m, void (*fn)(void *context, tn_version *v), void *context)
{
    /* References first, then fn without the lock: it may be slow. */
    pthread_mutex_lock(&m->lock);
    tn_version **held = m->boxes > 0 ? malloc(m->boxes * sizeof(tn_version *)) : NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; held != NULL && i < m->n_models; i++)
        for (tn_entry *e = m->models[i].entries; e != NULL; e = e->next)
            if (e->live != NULL) {
                held[n] = &e->live->version;
                tn_version_retain(held[n++]);
            }
    tn_models_unlock(m);
    for (uint32_t i = 0; i < n; i++) {
        fn(context, held[i]);
        tn_version_release(held[i]);
    }
    free(held);
}
