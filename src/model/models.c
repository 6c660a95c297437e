/*
 * model/models.c - a set of models: made, started, ended. See model.h and life.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "model/life.h"

static void init_locks(tn_models *m)
{
    tn_cond_init(&m->changed);
    tn_cond_init(&m->wake);
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->sync_lock, NULL);
    tn_taskq_init(&m->loads, 0);
    tn_taskq_init(&m->unloads, 0);
}

/* What does not fit turns *ok false. */
static tn_str copy(tn_arena *a, tn_str s, bool *ok)
{
    tn_str c = tn_arena_dup(a, s);
    *ok = *ok && c.ptr != NULL;
    return c;
}

static bool copy_options(tn_models *m, const tn_models_options *from)
{
    bool ok = true;
    m->options = *from;
    m->options.default_engine =
        copy(&m->arena, from->default_engine.len > 0 ? from->default_engine : TN_STR("tensorflow"), &ok);
    tn_str *tags = tn_arena_array(&m->arena, from->n_tags, sizeof *tags);
    for (uint32_t i = 0; i < from->n_tags && tags != NULL; i++)
        tags[i] = copy(&m->arena, from->tags[i], &ok);
    m->options.tags = tags;
    return ok && tags != NULL;
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
    for (uint32_t i = 0; i < n; i++)
        if (configs[i].logging)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "No request-logger-creator provided.");
    tn_models *m = aligned_alloc(64, sizeof *m);
    if (m == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u models", n);
    memset(m, 0, sizeof *m);
    init_locks(m);
    tn_arena_init(&m->arena, SIZE_MAX);
    m->pace = pace_of(options->poll_seconds);
    tern_code code = copy_options(m, options) && tn_snapshot_publish(m)
                         ? tn_models_change(m, configs, n, NULL, st)
                         : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u models", n);
    if (code != TERN_OK) {
        tn_models_free(m);
        return code;
    }
    *out = m;
    return TERN_OK;
}

/* ---- Threads ---- */

/* n threads of one name. */
static int start_threads(tn_models *m, pthread_t **threads, uint32_t *started, uint32_t n,
                         void *(*run)(void *), const char *name)
{
    *threads = tn_arena_array(&m->arena, n, sizeof **threads);
    if (*threads == NULL)
        return ENOMEM;
    int error = 0;
    while (*started < n && error == 0) {
        error = tn_thread_start(&(*threads)[*started], name, run, m);
        *started += error == 0;
    }
    return error;
}

static uint32_t at_least_one(int32_t n)
{
    return n > 0 ? (uint32_t)n : 1;
}

tern_code tn_models_start(tn_models *m, tern_status *st)
{
    int error = start_threads(m, &m->loaders, &m->n_loaders, at_least_one(m->options.load_threads),
                              tn_life_loader, "tern-load");
    if (error == 0)
        error = start_threads(m, &m->unloaders, &m->n_unloaders, at_least_one(m->options.unload_threads),
                              tn_life_unloader, "tern-unload");
    if (error == 0 && m->pace.poll_ns >= 0) {
        error = tn_thread_start(&m->watcher, "tern-watch", tn_watch_main, m);
        m->watching = error == 0;
    }
    if (error != 0)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "A thread for models cannot be started: %s",
                         strerror(error));
    return TERN_OK;
}

void tn_models_unlock(tn_models *m)
{
    tn_snapshot *snapshots = m->old_snapshots;
    tn_box *retired = m->retired;
    tn_change *ended = m->waiting != NULL ? tn_changes_ended(m) : NULL;
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
    for (tn_change *next; ended != NULL; ended = next) {
        next = ended->next;
        ended->done(ended);
    }
}

/* With the lock. */
static bool loads_under_way(const tn_models *m)
{
    for (uint32_t i = 0; i < m->n_models; i++)
        for (const tn_entry *e = m->models[i]->entries; e != NULL; e = e->next)
            if (e->busy)
                return true;
    return false;
}

/* The watcher may be stuck in a file system that does not answer, a loader in a load. */
static bool join_watcher(tn_models *m, int64_t until_ns)
{
    if (!m->watching)
        return true;
    int64_t left = until_ns - tn_now_ns();
    int64_t when = tn_wall_ns() + (left > 0 ? left : 0);
    const struct timespec wall = {.tv_sec = when / TN_NS_PER_S, .tv_nsec = when % TN_NS_PER_S};
    if (pthread_timedjoin_np(m->watcher, NULL, &wall) != 0)
        return false;
    m->watching = false;
    return true;
}

/* Ends threads and unloads. false when that takes too long, or somebody kept a reference. */
static bool stop(tn_models *m, int64_t until_ns)
{
    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_cond_broadcast(&m->wake);
    pthread_cond_broadcast(&m->changed);
    tn_models_unlock(m);
    if (!join_watcher(m, until_ns)) {
        tn_error("model", "the watcher still waits for a file system at the end");
        return false;
    }
    pthread_mutex_lock(&m->lock);
    int error = 0;
    while (loads_under_way(m) && error == 0)
        error = tn_cond_until(&m->changed, &m->lock, until_ns);
    if (loads_under_way(m)) {
        pthread_mutex_unlock(&m->lock);
        tn_error("model", "a version is still being loaded at the end");
        return false;
    }
    tn_life_retire_all(m);
    tn_models_unlock(m);
    pthread_mutex_lock(&m->lock);
    for (error = 0; m->boxes > 0 && error == 0;)
        error = tn_cond_until(&m->changed, &m->lock, until_ns);
    uint32_t kept = m->boxes;
    tn_models_unlock(m);
    if (kept > 0) {
        tn_error("model", "%u versions are still in use at the end and are left loaded", kept);
        return false;
    }
    tn_taskq_close(&m->loads);
    tn_taskq_close(&m->unloads);
    for (uint32_t i = 0; i < m->n_loaders; i++)
        pthread_join(m->loaders[i], NULL);
    for (uint32_t i = 0; i < m->n_unloaders; i++)
        pthread_join(m->unloaders[i], NULL);
    return true;
}

bool tn_models_free_until(tn_models *m, int64_t until_ns)
{
    if (m == NULL)
        return true;
    if (!stop(m, until_ns))
        return false;
    tn_snapshot_free(atomic_load(&m->snapshot));
    for (uint32_t i = 0; i < m->n_models; i++)
        tn_life_free_model(m->models[i]);
    free(m->models);
    free(m->by_name);
    tn_taskq_destroy(&m->loads);
    tn_taskq_destroy(&m->unloads);
    pthread_cond_destroy(&m->changed);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->sync_lock);
    tn_arena_free(&m->arena);
    free(m);
    return true;
}

void tn_models_leave(tn_models *m)
{
    if (m != NULL && m->watching)
        pthread_detach(m->watcher);
}

void tn_models_free(tn_models *m)
{
    (void)tn_models_free_until(m, tn_now_ns() + 10 * TN_NS_PER_S);
}
