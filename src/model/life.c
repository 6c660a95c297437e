/*
 * model/life.c - the states of a version: wanted, loading, available, unloading, ended.
 *
 * One function, tn_life_advance(), compares what the policy wants with what is there and does the next step;
 * it is called after each scan, load and unload, and when a retry is due. So every path (start, swap, roll
 * back, failure) is the same rule:
 *   - what is wanted and not there is loaded; a failed load is tried again after the interval, at most
 *     max_load_retries times;
 *   - what is not wanted any more goes when a wanted version is available, or when the policy finds none;
 *   - a version that failed is not counted by LATEST: the next lower one is loaded in its place, so that a
 *     restart beside a broken
 *     newest version serves what ran before it.
 * Loads and unloads run on the loaders, without the lock. An engine is opened with the normal priority, since
 * the threads that it makes then run models later; what follows, up to the end of the warm-up, gives way to
 * the calls of other models where any is available, and so does an unload (base/low.h).
 */
#include "model/life.h"
#include "model/extra.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/low.h"
#include "base/status.h"

/* Ended versions kept in the history of a model, and so in its status. */
#define HISTORY_MAX 64

static void set_state(tn_models *m, tn_entry *e, tn_state state)
{
    e->state = state;
    pthread_cond_broadcast(&m->changed);
}

static void set_error(tn_entry *e, const tern_status *st)
{
    free(e->error);
    e->error = NULL;
    e->error_code = TERN_OK;
    if (st == NULL)
        return;
    e->error_code = st->code;
    e->error = strndup(st->message, st->length);
}

/* ---- What is wanted ---- */

static bool in_specific(const tn_model_config *config, int64_t number)
{
    for (uint32_t i = 0; i < config->n_specific; i++)
        if (config->specific[i] == number)
            return true;
    return false;
}

void tn_life_mark_wanted(tn_model *model)
{
    const tn_model_config *config = &model->held->config;
    bool latest = config->policy == TN_POLICY_LATEST;
    uint32_t left = config->latest > 0 ? config->latest : 1;
    for (tn_entry *e = model->entries; e != NULL; e = e->next) {
        e->candidate = model->configured && e->present && (!latest || left > 0) &&
                       (config->policy != TN_POLICY_SPECIFIC || in_specific(config, e->number));
        /* One that moved is wanted from its old place until it is there from the new one. */
        e->wanted = e->candidate && ((e->settled && !e->failed) || e->moved);
        if (latest && e->wanted && e->attempts == 0)
            left--;
    }
}

bool tn_life_available(const tn_model *model)
{
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->live != NULL)
            return true;
    return false;
}

bool tn_life_failed(const tn_model *model)
{
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->failed)
            return true;
    return false;
}

const tn_entry *tn_life_deciding(const tn_model *model)
{
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->live != NULL || e->failed)
            return e;
    return NULL;
}

/* There is a folder to load it from, and it has not been. */
static bool to_be_loaded(const tn_entry *e)
{
    return e->wanted && e->settled && !e->failed && (e->live == NULL || e->moved);
}

bool tn_life_pending(const tn_model *model)
{
    if (!model->scanned)
        return model->configured;
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->busy || to_be_loaded(e) || (e->candidate && !e->settled))
            return true;
    return false;
}

bool tn_life_untried(const tn_model *model)
{
    if (!model->scanned)
        return model->configured;
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->attempts == 0 && (e->busy || to_be_loaded(e) || (e->candidate && !e->settled)))
            return true;
    return false;
}

/* ---- Steps ---- */

static void queue_load(tn_models *m, tn_entry *e)
{
    e->busy = true;
    if (e->attempts == 0)
        set_error(e, NULL);
    if (e->live == NULL)
        set_state(m, e, TN_STATE_START);
    (void)tn_taskq_push(&m->loads, &e->task, NULL);
}

static void retire(tn_models *m, tn_entry *e)
{
    tn_info("model", "%.*s version %lld: out of service", TN_FMT(e->model->held->config.name),
            (long long)e->number);
    e->live->next = m->retired;
    m->retired = e->live;
    e->live = NULL;
    e->moved = false;
    set_state(m, e, TN_STATE_UNLOADING);
}

void tn_life_set_gone(tn_entry *e)
{
    e->settled = e->marked = e->failed = e->announced = e->moved = false;
}

/* Versions whose time is over: true when the table must be made anew. */
static bool retire_replaced(tn_models *m, tn_model *model)
{
    /* One that is not complete yet, or cannot be loaded, replaces nothing. */
    bool any_candidate = false;
    bool any_ready = false;
    for (const tn_entry *e = model->entries; e != NULL; e = e->next) {
        any_candidate |= e->candidate;
        any_ready |= e->wanted && e->live != NULL;
    }
    if ((any_candidate && !any_ready) || (model->unseen && model->configured))
        return false;
    bool changed = false;
    for (tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->live != NULL && !e->wanted) {
            retire(m, e);
            changed = true;
        }
    return changed;
}

static void free_entry(tn_entry *e)
{
    free(e->path);
    free(e->error);
    free(e);
}

void tn_life_free_model(tn_model *model)
{
    for (tn_entry *e = model->entries, *next; e != NULL; e = next) {
        next = e->next;
        free_entry(e);
    }
    tn_held_release(model->held);
    free(model->fault);
    free(model);
}

/* Forgets what was never wanted and is gone, and the oldest history. */
static void forget(tn_model *model)
{
    int ended = 0;
    for (tn_entry **link = &model->entries; *link != NULL;) {
        tn_entry *e = *link;
        bool idle = !e->present && !e->busy && e->boxes == 0 && !e->looked_at;
        bool drop =
            idle && (e->state == TN_STATE_UNKNOWN || (e->state == TN_STATE_END && ++ended > HISTORY_MAX));
        if (drop) {
            *link = e->next;
            free_entry(e);
        } else {
            link = &e->next;
        }
    }
}

/*
 * Like tn_life_advance(); *replaced becomes true when versions were retired and the table must be made anew.
 */
static int64_t advance(tn_models *m, tn_model *model, bool *replaced)
{
    int64_t next = INT64_MAX;
    /* Before its base path was read once, nobody knows what is there. */
    if (m->stopping || (model->configured && !model->scanned))
        return next;
    tn_life_mark_wanted(model);
    int64_t now = tn_now_ns();
    for (tn_entry *e = model->entries; e != NULL; e = e->next) {
        if (e->state == TN_STATE_START && !e->busy && !e->wanted) {
            /* Nobody waits for its next try. */
            e->attempts = 0;
            set_state(m, e, TN_STATE_END);
        }
        if (!to_be_loaded(e) || e->busy || e->state == TN_STATE_UNLOADING)
            continue;
        if (e->attempts > 0 && e->next_try_ns > now)
            next = e->next_try_ns < next ? e->next_try_ns : next;
        else
            queue_load(m, e);
    }
    *replaced |= retire_replaced(m, model);
    forget(model);
    return next;
}

/*
 * A table without those that were retired since `before`. False: requests still see the old one, which keeps
 * its references until there is memory for a new one.
 */
static bool publish(tn_models *m, const tn_box *before)
{
    if (tn_snapshot_publish(m))
        return true;
    tn_error("model", "no memory for a new table of versions");
    for (tn_box *box; (box = m->retired) != before;) {
        m->retired = box->next;
        box->entry->live = box;
        set_state(m, box->entry, TN_STATE_AVAILABLE);
    }
    return false;
}

int64_t tn_life_advance(tn_models *m, tn_model *model)
{
    const tn_box *before = m->retired; /* not in the table any more */
    bool replaced = false;
    int64_t next = advance(m, model, &replaced);
    return replaced && !publish(m, before) ? tn_now_ns() + TN_NS_PER_S : next;
}

void tn_life_advance_all(tn_models *m)
{
    const tn_box *before = m->retired;
    bool replaced = false;
    for (uint32_t i = 0; i < m->n_models; i++)
        (void)advance(m, m->models[i], &replaced);
    if (replaced)
        (void)publish(m, before);
}

void tn_life_retire_all(tn_models *m)
{
    bool changed = false;
    for (uint32_t i = 0; i < m->n_models; i++)
        for (tn_entry *e = m->models[i]->entries; e != NULL; e = e->next)
            if (e->live != NULL) {
                retire(m, e);
                changed = true;
            }
    if (changed && !tn_snapshot_publish(m)) {
        /* Nobody acquires any more at the end: an absent table will do. */
        tn_snapshot *old = atomic_exchange_explicit(&m->snapshot, NULL, memory_order_seq_cst);
        tn_snapshot_wait(m);
        tn_snapshot_free(old);
    }
}

/* ---- Loaders ---- */

static void free_box(tn_box *box)
{
    tn_version_stats_free(&box->version.stats);
    tn_held_release(box->held);
    free(box->directory);
    free(box);
}

static void unload_low(void *arg)
{
    tn_box *box = arg;
    tn_models *m = box->owner;
    tn_version *v = &box->version;
    if (m->options.hooks.detach != NULL)
        m->options.hooks.detach(m->options.hooks.context, v);
    v->engine->api->unload(v->loaded);
}

/*
 * With the lock, which it leaves: a load or an unload is over, also where no state tells so. e may be gone
 * then.
 */
static void step_ended(tn_models *m, tn_entry *e)
{
    (void)tn_life_advance(m, e->model);
    pthread_cond_broadcast(&m->changed);
    m->woken = true;
    pthread_cond_signal(&m->wake);
    tn_models_unlock(m);
}

void tn_life_unload_task(tn_task *task)
{
    tn_box *box = TN_CONTAINER(task, tn_box, task);
    tn_models *m = box->owner;
    tn_entry *e = box->entry;
    tn_low_run("tern-unloading", unload_low, box);
    tn_info("model", "%.*s version %lld: unloaded", TN_FMT(box->version.model),
            (long long)box->version.number);
    pthread_mutex_lock(&m->lock);
    m->boxes--;
    e->boxes--;
    if (e->state == TN_STATE_UNLOADING && e->boxes == 0)
        set_state(m, e, TN_STATE_END);
    step_ended(m, e);
    free_box(box);
}

static tn_box *new_box(tn_entry *e, tn_models *m, const char *directory)
{
    tn_box *box = aligned_alloc(64, sizeof *box);
    if (box == NULL)
        return NULL;
    memset(box, 0, sizeof *box);
    box->owner = m;
    box->entry = e;
    box->task.run = tn_life_unload_task;
    box->directory = strdup(directory);
    if (box->directory == NULL) {
        free(box);
        return NULL;
    }
    atomic_init(&box->refs, 1);
    box->held = tn_held_retain(e->model->held);
    box->version.model = box->held->config.name;
    box->version.number = e->number;
    box->version.directory = box->directory;
    if (m->options.stats != NULL)
        box->version.stats.model = tn_stats_model(m->options.stats, box->version.model);
    return box;
}

typedef struct load_work {
    tn_models *m;
    bool choose;     /* the engine: TN_ENGINE_AUTO */
    int32_t threads; /* tern_load_options */
    tn_box *box;
    tern_status *st;
    tern_code code;
} load_work;

/* Load, signatures, attach. */
static void load_low(void *arg)
{
    load_work *w = arg;
    tn_models *m = w->m;
    tn_version *v = &w->box->version;
    const tn_model_hooks *hooks = &m->options.hooks;
    tern_load_options options = {
        .struct_size = sizeof options,
        .directory = w->box->directory,
        .tags = m->options.tags,
        .n_tags = m->options.n_tags,
        .threads = w->threads,
    };
    int64_t start = tn_now_ns();
    w->code = w->choose ? hooks->load(hooks->context, v, &options, w->st)
                        : v->engine->api->load(v->engine->self, &options, &v->loaded, w->st);
    if (m->options.stats != NULL)
        tn_stats_engine_load(m->options.stats, v->stats.model, w->box->directory, w->code == TERN_OK,
                             tn_now_ns() - start);
    if (w->code != TERN_OK)
        return;
    v->signatures = v->engine->api->signatures(v->loaded);
    if (hooks->attach != NULL) {
        w->code = hooks->attach(hooks->context, v, w->st);
        if (w->code != TERN_OK)
            v->engine->api->unload(v->loaded);
    }
}

/* With the priority that their threads are to have. What cannot be opened is told when it is tried. */
static void open_tried(tn_models *m)
{
    static const char *const names[] = TN_ENGINES_TRIED;
    const tn_engine *engine;
    tern_status st;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)!tn_engines_get(m->options.engines, tn_str_from(names[i]), &engine, &st);
}

/* Whose engine counts: the configuration's, the version's own (model/extra.h), the server's. */
static tern_code open_engine(tn_models *m, tn_box *box, load_work *work, tern_status *st)
{
    tn_arena arena;
    tn_extra own = {.engine = TN_STR_NONE};
    tn_str name = box->held->config.engine;
    tern_code code = TERN_OK;
    tn_arena_init(&arena, 16 * TN_EXTRA_MAX);
    if (name.len == 0)
        code = tn_extra_settings(box->directory, &arena, &own, st);
    if (own.engine.len > 0)
        name = own.engine;
    else if (name.len == 0)
        name = m->options.default_engine;
    work->threads = own.threads;
    work->choose = m->options.hooks.load != NULL && tn_str_eq(name, TN_STR(TN_ENGINE_AUTO));
    if (work->choose)
        open_tried(m);
    if (code == TERN_OK)
        code = tn_engines_get(m->options.engines, work->choose ? TN_STR(TN_ENGINE_REFERENCE) : name,
                              &box->version.engine, st);
    tn_arena_free(&arena);
    return code;
}

/*
 * Engine, and the rest in a thread that gives way where there is something to give way to. Without the lock.
 */
static tern_code load(tn_models *m, tn_box *box, tern_status *st)
{
    load_work work = {.m = m, .box = box, .st = st};
    tern_code code = open_engine(m, box, &work, st);
    if (code != TERN_OK)
        return code;
    if (tn_snapshot_serves(m))
        tn_low_run("tern-loading", load_low, &work);
    else
        load_low(&work);
    return work.code;
}

/* With the lock. The version it replaces (the same number from another base path), or NULL, goes. */
static void load_succeeded(tn_models *m, tn_entry *e, tn_box *box, int64_t took_ns)
{
    tn_box *before = e->live;
    e->live = box;
    e->attempts = 0;
    set_error(e, NULL);
    if (!tn_snapshot_publish(m)) {
        /* Without a table nobody can use it. */
        tern_status st;
        (void)tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory for a new table of versions");
        set_error(e, &st);
        e->failed = true;
        retire(m, e);
        if (before != NULL) {
            e->live = before;
            set_state(m, e, TN_STATE_AVAILABLE);
        }
        return;
    }
    if (before != NULL) {
        before->next = m->retired;
        m->retired = before;
        e->moved = false;
    }
    set_state(m, e, TN_STATE_AVAILABLE);
    const tern_engine_api *api = box->version.engine->api;
    tn_info("model", "%.*s version %lld: available, loaded in %.2f s by %s %s", TN_FMT(box->version.model),
            (long long)e->number, (double)took_ns / 1e9, api->name,
            api->runtime_version != NULL ? api->runtime_version() : "");
}

/* With the lock. Its model has another base path now, or is gone: nobody may see it. */
static void load_abandoned(tn_models *m, tn_entry *e, tn_box *box)
{
    e->attempts = 0;
    set_error(e, NULL);
    if (box != NULL) {
        box->next = m->retired;
        m->retired = box;
    }
    if (e->live == NULL)
        set_state(m, e, box != NULL ? TN_STATE_UNLOADING : TN_STATE_END);
    m->rescan = true;
}

static void load_failed(tn_models *m, tn_entry *e, const tern_status *st)
{
    set_error(e, st);
    e->attempts++;
    int32_t most = m->options.max_load_retries > 0 ? m->options.max_load_retries : 0;
    int64_t wait_us = m->options.load_retry_interval_us > 0 ? m->options.load_retry_interval_us : 0;
    tn_str name = e->model->held->config.name;
    if (e->attempts > most) {
        e->failed = true;
        e->attempts = 0;
        tn_error("model", "%.*s version %lld: cannot be loaded: %s: %s", TN_FMT(name), (long long)e->number,
                 tn_code_name(st->code), st->message);
        if (e->live == NULL)
            set_state(m, e, TN_STATE_END);
    } else {
        e->next_try_ns = tn_now_ns() + wait_us * TN_NS_PER_US;
        tn_warn("model", "%.*s version %lld: try %d of %d to load failed, next in %.1f s: %s: %s",
                TN_FMT(name), (long long)e->number, e->attempts, most + 1, (double)wait_us / 1e6,
                tn_code_name(st->code), st->message);
        if (e->live == NULL)
            set_state(m, e, TN_STATE_START);
    }
}

/* With the lock: the load may begin. Else the entry is put back. */
static bool load_begins(tn_models *m, tn_entry *e)
{
    if (!m->stopping && !e->abandoned && to_be_loaded(e)) {
        if (e->live == NULL)
            set_state(m, e, TN_STATE_LOADING);
        return true;
    }
    e->busy = e->abandoned = false;
    if (e->live == NULL)
        set_state(m, e, e->attempts > 0 ? TN_STATE_START : TN_STATE_END);
    return false;
}

static void load_task(tn_entry *e, tn_models *m)
{
    tern_status st;
    tern_status_init(&st);
    pthread_mutex_lock(&m->lock);
    if (!load_begins(m, e))
        goto out;
    tn_box *box = new_box(e, m, e->path);
    pthread_mutex_unlock(&m->lock);

    int64_t start = tn_now_ns();
    tern_code code =
        box != NULL ? load(m, box, &st) : tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory for a version");
    int64_t took_ns = tn_now_ns() - start;
    if (box != NULL && m->options.stats != NULL)
        tn_stats_load(box->version.stats.model, code == TERN_OK, took_ns);
    pthread_mutex_lock(&m->lock);
    bool abandoned = e->abandoned;
    e->busy = e->abandoned = false;
    if (code == TERN_OK) {
        m->boxes++;
        e->boxes++;
    } else if (box != NULL) {
        free_box(box);
        box = NULL;
    }
    if (abandoned)
        load_abandoned(m, e, box);
    else if (box != NULL)
        load_succeeded(m, e, box, took_ns);
    else
        load_failed(m, e, &st);
out:
    step_ended(m, e);
}

void *tn_life_loader(void *arg)
{
    tn_models *m = arg;
    tn_task *task;
    while ((task = tn_taskq_pop(&m->loads)) != NULL)
        load_task(TN_CONTAINER(task, tn_entry, task), m);
    return NULL;
}

void *tn_life_unloader(void *arg)
{
    tn_models *m = arg;
    tn_task *task;
    while ((task = tn_taskq_pop(&m->unloads)) != NULL)
        task->run(task);
    return NULL;
}
