/*
 * model/watch.c - the watcher: one thread that looks at the base paths and wakes for retries.
 *
 * A folder is believed complete ("settled") when the model's engine recognises its form and nothing in it was
 * written for 3 s, or two looks at least 0.4 s apart saw the same (the numbers are tn_models.pace). One that
 * the engine does not recognise (saved_model.pb not there yet) gets 10 s to change, then it is loaded all the
 * same, so that the engine's own words say what is wrong. Only folders that the policy could want are looked
 * at; while one is unsettled scans come every half second.
 * A base path that cannot be read changes nothing: what is loaded stays. One that is there and has no version
 * (any more) means that nothing is wanted, and everything is unloaded, as TensorFlow Serving does.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "model/extra.h"
#include "model/life.h"

/* ---- Which folders there are ---- */

static tn_entry *entry_of(tn_model *model, int64_t number)
{
    tn_entry **link = &model->entries;
    while (*link != NULL && (*link)->number > number)
        link = &(*link)->next;
    if (*link != NULL && (*link)->number == number)
        return *link;
    tn_entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->model = model;
    e->number = number;
    e->next = *link;
    *link = e;
    return e;
}

static void set_path(tn_entry *e, tn_source_folder *folder)
{
    if (e->path != NULL && strcmp(e->path, folder->path) == 0)
        return;
    free(e->path);
    e->path = folder->path; /* takes */
    folder->path = NULL;
    e->settled = e->marked = false;
}

/* With the lock: why there is no version, or NULL when there is one. Logged when it changes. */
static void set_fault(tn_model *model, const char *fault, const char *what)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s", fault != NULL ? fault : "", what);
    bool same = fault != NULL && model->fault != NULL && strcmp(model->fault, text) == 0;
    if (same || (fault == NULL && model->fault == NULL))
        return;
    free(model->fault);
    model->fault = fault != NULL ? strdup(text) : NULL;
    if (fault != NULL)
        tn_warn("model", "%.*s: %s; still watching", TN_FMT(model->held->config.name), text);
}

/* A loaded version whose base path was changed, and which has a folder of its number there too. */
static void found_elsewhere(tn_models *m, tn_entry *e, tn_source_folder *folder)
{
    if (m->options.replace_moved) {
        e->moved = true;
        if (!e->busy)
            set_path(e, folder);
        return;
    }
    if (!e->announced)
        tn_warn("model",
                "%.*s version %lld stays as it was loaded from %s: its number is the same under the new base "
                "path; give it a new number, or remove the model first",
                TN_FMT(e->model->held->config.name), (long long)e->number, e->live->directory);
    e->announced = e->settled = true;
}

/* With the lock. Takes the paths it needs out of the list. */
static void apply_scan(tn_models *m, tn_model *model, tn_source_list *list)
{
    for (tn_entry *e = model->entries; e != NULL; e = e->next)
        e->present = false;
    for (size_t i = 0; i < list->n; i++) {
        tn_entry *e = entry_of(model, list->folders[i].number);
        if (e == NULL)
            continue; /* memory is short: the next scan tries again */
        e->present = true;
        if (e->live != NULL && !tn_str_eq(e->live->held->config.base_path, model->held->config.base_path))
            found_elsewhere(m, e, &list->folders[i]);
        else if (e->live != NULL)
            e->settled = true; /* back before it was replaced: no reason to load it again */
        else if (!e->busy)
            set_path(e, &list->folders[i]);
    }
    for (tn_entry *e = model->entries; e != NULL; e = e->next)
        if (!e->present)
            tn_life_set_gone(e);
    if (list->n > 0)
        set_fault(model, NULL, "");
    else
        set_fault(model, "no folder named by a number, such as 1, under ", model->held->config.base_path.ptr);
}

/* ---- Whether they are complete ---- */

/*
 * The next entry whose files must be looked at: not settled, or in trouble and perhaps mended; each once in a
 * pass.
 */
static tn_entry *next_to_look_at(tn_model *model, uint32_t pass)
{
    tn_life_mark_wanted(model);
    for (tn_entry *e = model->entries; e != NULL; e = e->next) {
        bool troubled = e->failed || e->attempts > 0;
        if (e->candidate && !e->busy && (e->live == NULL || e->moved) && e->looked != pass &&
            (!e->settled || troubled))
            return e;
    }
    return NULL;
}

/*
 * By the engine that would load it (life.c), so that none is opened for the look alone. Without the lock. An
 * engine that cannot be opened recognises everything: its error belongs into the load.
 */
static bool recognised(tn_models *m, const tn_model_config *config, const char *path)
{
    const tn_engine *engine;
    tern_status st;
    tn_extra own;
    tn_arena arena;
    tn_str name = config->engine;
    bool known = true;
    tn_arena_init(&arena, 16 * TN_EXTRA_MAX);
    if (name.len == 0 && tn_extra_settings(path, &arena, &own, &st) == TERN_OK)
        name = own.engine;
    if (name.len == 0)
        name = m->options.default_engine;
    if (tn_str_eq(name, TN_STR(TN_ENGINE_AUTO)))
        name = TN_STR(TN_ENGINE_REFERENCE);
    if (tn_engines_get(m->options.engines, name, &engine, &st) == TERN_OK && engine->api->probe != NULL)
        known = engine->api->probe(engine->self, path) != 0;
    tn_arena_free(&arena);
    return known;
}

/* With the lock. */
static void judge(const struct tn_pace *pace, tn_entry *e, const tn_source_mark *mark, bool known)
{
    int64_t now = tn_now_ns();
    if (!e->marked || e->mark.hash != mark->hash) {
        if (e->settled) {
            /* Changed after a failure: what was tried is not what is there now. */
            tn_info("model", "%.*s version %lld: its files changed", TN_FMT(e->model->held->config.name),
                    (long long)e->number);
            e->settled = e->failed = false;
            e->attempts = 0;
        }
        e->marked = true;
        e->mark = *mark;
        e->mark_since_ns = now;
    }
    int64_t age = tn_wall_ns() - mark->newest_ns;
    int64_t same = now - e->mark_since_ns;
    if (known)
        e->settled |= age >= pace->quiet_ns || same >= pace->looks_ns;
    else
        e->settled |= age >= pace->unknown_form_ns || same >= pace->unknown_form_ns;
    if (!e->settled && !e->announced) {
        e->announced = true;
        tn_info("model", "%.*s version %lld: %s, waiting", TN_FMT(e->model->held->config.name),
                (long long)e->number, known ? "written just now" : "not complete");
    }
}

static void look_at_folders(tn_models *m, tn_model *model, const tn_held *held, uint32_t pass)
{
    for (;;) {
        pthread_mutex_lock(&m->lock);
        tn_entry *e = m->stopping || model->held != held ? NULL : next_to_look_at(model, pass);
        char *path = e != NULL ? strdup(e->path) : NULL;
        if (e != NULL)
            e->looked = pass;
        if (path != NULL)
            e->looked_at = true;
        tn_models_unlock(m);
        if (path == NULL)
            return;
        tern_status st;
        tn_source_mark mark;
        bool there = tn_source_look(path, &mark, &st) == TERN_OK;
        bool known = there && recognised(m, &held->config, path);
        pthread_mutex_lock(&m->lock);
        e->looked_at = false;
        bool same = strcmp(e->path, path) == 0 && e->present;
        if (there && same && !e->busy && (e->live == NULL || e->moved))
            judge(&m->pace, e, &mark, known);
        tn_models_unlock(m);
        free(path);
    }
}

/* ---- The thread ---- */

static void scan(tn_models *m, tn_model *model, tn_held *held, uint32_t pass)
{
    tern_status st;
    tn_source_list list;
    tern_code code = tn_source_scan(held->config.base_path.ptr, &list, &st);
    pthread_mutex_lock(&m->lock);
    bool current = model->held == held; /* else what was seen may be another base path's */
    if (current && code == TERN_OK)
        apply_scan(m, model, &list);
    else if (current)
        set_fault(model, "base path cannot be read: ", st.message);
    tn_models_unlock(m);
    tn_source_list_free(&list);
    if (current && code == TERN_OK)
        look_at_folders(m, model, held, pass);
    pthread_mutex_lock(&m->lock);
    if (model->held == held) {
        model->scanned = true;
        model->unseen &= code != TERN_OK;
    }
    (void)tn_life_advance(m, model);
    pthread_cond_broadcast(&m->changed);
    model->looked_at = false;
    tn_models_unlock(m);
    tn_held_release(held);
}

/* With the lock: a model that was not seen in this pass, now held against being freed, or NULL. */
static tn_model *next_model(tn_models *m, uint32_t pass)
{
    for (uint32_t k = 0; k < m->n_configured && !m->stopping; k++) {
        tn_model *model = m->models[m->look_next++ % m->n_configured];
        if (model->pass != pass) {
            model->pass = pass;
            model->looked_at = true;
            return model;
        }
    }
    return NULL;
}

/* In the order of the configuration: so are their loads. */
static void scan_all(tn_models *m, uint32_t pass)
{
    for (;;) {
        pthread_mutex_lock(&m->lock);
        tn_model *model = next_model(m, pass);
        tn_held *held = model != NULL ? tn_held_retain(model->held) : NULL;
        tn_models_unlock(m);
        if (model == NULL)
            return;
        scan(m, model, held, pass);
    }
}

static bool unsettled(const tn_model *model)
{
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->candidate && !e->settled)
            return true;
    return false;
}

/* With the lock: waits for the next scan and lets retries start meanwhile. Returns with the lock. */
static void wait_for_next_scan(tn_models *m, int64_t last_scan)
{
    for (;;) {
        bool again = m->pace.poll_ns != INT64_MAX;
        int64_t next_scan = again ? last_scan + m->pace.poll_ns : INT64_MAX;
        int64_t retry = INT64_MAX;
        for (uint32_t i = 0; i < m->n_models && !m->stopping; i++) {
            int64_t t = tn_life_advance(m, m->models[i]);
            retry = t < retry ? t : retry;
            if (unsettled(m->models[i]) && last_scan + m->pace.eager_ns < next_scan)
                next_scan = last_scan + m->pace.eager_ns;
        }
        if (m->retired != NULL || m->old_snapshots != NULL) {
            tn_models_unlock(m);
            pthread_mutex_lock(&m->lock);
        }
        if (m->stopping || m->rescan || tn_now_ns() >= next_scan)
            return;
        if (!m->woken)
            (void)tn_cond_until(&m->wake, &m->lock, next_scan < retry ? next_scan : retry);
        m->woken = false;
    }
}

void *tn_watch_main(void *arg)
{
    tn_models *m = arg;
    uint32_t pass = 0;
    pthread_mutex_lock(&m->lock);
    while (!m->stopping) {
        m->rescan = false;
        m->look_next = 0;
        tn_models_unlock(m);
        int64_t start = tn_now_ns();
        scan_all(m, ++pass);
        pthread_mutex_lock(&m->lock);
        wait_for_next_scan(m, start);
    }
    tn_models_unlock(m);
    return NULL;
}
