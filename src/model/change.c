/*
 * model/change.c - other models, paths, policies and labels while serving, and who waits for the new ones.
 *
 * A change is checked and applied as a whole under the lock, without I/O: what it wants is then brought about
 * by the watcher and the loaders, as at the start. So changes never wait for each other: the next one counts,
 * whatever the last one still waits for. That is where TensorFlow Serving locks up: there a change waits for
 * its models with the lock held, and one missing folder stops all changes after it.
 *
 * A model that was removed keeps its place (not configured) for the history of its versions, and is made
 * anew when its name comes back. Who waits is looked at whenever the lock is left (tn_models_unlock()).
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "model/life.h"

/* Removed models whose history is kept. */
#define REMOVED_MAX 1000

/* A model that a change brought; its number tells it from a later one of the same name. */
struct tn_change_item {
    tn_held *held;
    uint64_t since;
};

/* ---- Checks against what is there ---- */

static const tn_model *configured(const tn_models *m, tn_str name)
{
    const tn_model *model = tn_models_find(m, name);
    return model != NULL && model->configured ? model : NULL;
}

static tern_code check_platforms_kept(const tn_models *m, const tn_model_config *configs, uint32_t n,
                                      tern_status *st)
{
    for (uint32_t i = 0; i < n; i++) {
        const tn_model *old = configured(m, configs[i].name);
        tn_str platform;
        if (old == NULL)
            continue;
        tern_code code = tn_held_platform(&configs[i], &platform, st);
        if (code == TERN_OK && !tn_str_eq(platform, old->held->config.platform))
            code = tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Illegal to change a model's platform. For model %.*s platform was %.*s and new "
                             "platform requested is %.*s",
                             TN_FMT(configs[i].name), TN_FMT(old->held->config.platform), TN_FMT(platform));
        if (code != TERN_OK)
            return code;
    }
    return TERN_OK;
}

static bool is_available(const tn_model *model, int64_t number)
{
    for (const tn_entry *e = model != NULL ? model->entries : NULL; e != NULL; e = e->next)
        if (e->number == number)
            return e->live != NULL;
    return false;
}

/* The label is there and says another version. */
static bool label_moves(const tn_model *model, tn_str label, int64_t number)
{
    const tn_model_config *c = model != NULL ? &model->held->config : NULL;
    for (uint32_t i = 0; c != NULL && i < c->n_labels; i++)
        if (tn_str_eq(c->label_names[i], label))
            return c->label_versions[i] != number;
    return false;
}

static tern_code check_labels(const tn_models *m, const tn_model_config *c, tern_status *st)
{
    const tn_model *old = c->n_labels > 0 ? configured(m, c->name) : NULL;
    for (uint32_t i = 0; i < c->n_labels; i++) {
        int64_t number = c->label_versions[i];
        bool allowed = m->options.labels_for_unavailable && !label_moves(old, c->label_names[i], number);
        if (!allowed && !is_available(old, number))
            return tern_fail(st, TERN_FAILED_PRECONDITION,
                             "Request to assign label to version %lld of model %.*s, which is not currently "
                             "available for inference",
                             (long long)number, TN_FMT(c->name));
    }
    return TERN_OK;
}

static tern_code check(const tn_models *m, const tn_model_config *configs, uint32_t n, tern_status *st)
{
    tern_code code = check_platforms_kept(m, configs, n, st);
    for (uint32_t i = 0; i < n && code == TERN_OK; i++)
        code = check_labels(m, &configs[i], st);
    for (uint32_t i = 0; i < n && code == TERN_OK; i++)
        code = tn_held_check_platform(&configs[i], st);
    return code;
}

/* ---- Applying ---- */

/* All that can fail for want of memory is made before anything is touched. */
typedef struct plan {
    tn_model **models; /* as they will be: the list's in order, then those removed */
    tn_held **held;    /* of the first n */
    bool *fresh;       /* made for this plan */
    uint32_t *by_name;
    uint32_t by_name_mask;
    uint32_t n;
} plan;

static void plan_free(plan *p, bool applied)
{
    for (uint32_t i = 0; i < p->n && !applied; i++) {
        if (p->held != NULL)
            tn_held_release(p->held[i]);
        if (p->fresh != NULL && p->fresh[i])
            free(p->models[i]);
    }
    if (!applied) {
        free(p->models);
        free(p->by_name);
    }
    free(p->held);
    free(p->fresh);
}

/* Removed models that have nothing loaded any more and that the watcher does not look at may go. */
static bool forgettable(const tn_model *model)
{
    if (model->configured || model->looked_at)
        return false;
    for (const tn_entry *e = model->entries; e != NULL; e = e->next)
        if (e->busy || e->boxes > 0 || e->looked_at)
            return false;
    return true;
}

static bool plan_make(tn_models *m, const tn_model_config *configs, uint32_t n, plan *p)
{
    *p = (plan){.n = n};
    size_t size = 4;
    while (size < 2 * ((size_t)n + m->n_models))
        size *= 2;
    p->by_name_mask = (uint32_t)(size - 1);
    p->by_name = calloc(size, sizeof *p->by_name);
    p->models = calloc((size_t)n + m->n_models + 1, sizeof(tn_model *));
    p->held = calloc((size_t)n + 1, sizeof(tn_held *));
    p->fresh = calloc((size_t)n + 1, sizeof *p->fresh);
    if (p->by_name == NULL || p->models == NULL || p->held == NULL || p->fresh == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        p->held[i] = tn_held_new(&configs[i]);
        p->models[i] = tn_models_find(m, configs[i].name);
        if (p->models[i] == NULL) {
            p->models[i] = calloc(1, sizeof(tn_model));
            p->fresh[i] = p->models[i] != NULL;
        }
        if (p->held[i] == NULL || p->models[i] == NULL)
            return false;
    }
    return true;
}

static void start_anew(tn_model *model)
{
    for (tn_entry *e = model->entries; e != NULL; e = e->next) {
        e->abandoned = e->busy;
        if (e->live == NULL || !model->configured) {
            e->present = false;
            e->attempts = 0;
            tn_life_set_gone(e);
        }
    }
    model->scanned = model->warned = false;
    free(model->fault);
    model->fault = NULL;
}

static void set_model(tn_models *m, tn_model *model, tn_held *held)
{
    bool path_differs =
        model->held != NULL && !tn_str_eq(model->held->config.base_path, held->config.base_path);
    bool differs = model->held == NULL || !tn_held_equal(&model->held->config, &held->config);
    if (!model->configured)
        tn_info("model", "%.*s: added, versions from %.*s", TN_FMT(held->config.name),
                TN_FMT(held->config.base_path));
    else if (differs)
        tn_info("model", "%.*s: another configuration, versions from %.*s", TN_FMT(held->config.name),
                TN_FMT(held->config.base_path));
    if (held->config.policy == TN_POLICY_SPECIFIC && held->config.n_specific == 0 &&
        (differs || !model->configured))
        tn_warn("model", "%.*s: no specific versions requested", TN_FMT(held->config.name));
    tn_held_release(model->held);
    model->held = held;
    model->unseen |= differs;
    if (!model->configured) {
        if (m->options.stats != NULL)
            (void)tn_stats_model(m->options.stats, held->config.name);
        model->configured = true;
        model->since = m->changes;
        start_anew(model);
    } else if (path_differs) {
        start_anew(model);
    }
}

static void remove_model(tn_models *m, tn_model *model)
{
    tn_info("model", "%.*s: removed", TN_FMT(model->held->config.name));
    model->configured = false;
    model->since = m->changes;
    start_anew(model);
}

static int last_removed_first(const void *a, const void *b)
{
    const tn_model *x = *(tn_model *const *)a;
    const tn_model *y = *(tn_model *const *)b;
    return x->since != y->since ? (x->since > y->since ? -1 : 1) : 0;
}

static void index_names(tn_models *m, const plan *p)
{
    free(m->by_name);
    m->by_name = p->by_name;
    m->by_name_mask = p->by_name_mask;
    for (uint32_t i = 0; i < m->n_models; i++) {
        uint32_t at = (uint32_t)m->models[i]->held->hash;
        while (m->by_name[at & m->by_name_mask] != 0)
            at++;
        m->by_name[at & m->by_name_mask] = i + 1;
    }
}

/* The list with what is left of the old one; those over the limit are freed. */
static void set_list(tn_models *m, plan *p)
{
    tn_model **all = p->models;
    uint32_t n = p->n;
    for (uint32_t i = 0; i < p->n; i++)
        all[i]->kept = true;
    for (uint32_t i = 0; i < m->n_models; i++)
        if (!m->models[i]->kept) {
            if (m->models[i]->configured)
                remove_model(m, m->models[i]);
            all[n++] = m->models[i];
        }
    for (uint32_t i = 0; i < p->n; i++)
        all[i]->kept = false;
    qsort(all + p->n, n - p->n, sizeof(tn_model *), last_removed_first);
    uint32_t kept = p->n;
    for (uint32_t i = p->n; i < n; i++) {
        if (i - p->n >= REMOVED_MAX && forgettable(all[i]))
            tn_life_free_model(all[i]);
        else
            all[kept++] = all[i];
    }
    free(m->models);
    m->models = all;
    m->n_models = kept;
    m->n_configured = p->n;
    index_names(m, p);
}

/* Of a list that is the same as before nothing is touched: a file that is polled is the same most times. */
static bool same_list(const tn_models *m, const tn_model_config *configs, uint32_t n)
{
    if (m->n_configured != n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const tn_model_config *old = &m->models[i]->held->config;
        if (!tn_str_eq(old->name, configs[i].name) || !tn_held_equal(old, &configs[i]))
            return false;
    }
    return true;
}

static void advance_all(tn_models *m)
{
    tn_life_advance_all(m);
    m->rescan = m->woken = true;
    pthread_cond_signal(&m->wake);
    pthread_cond_broadcast(&m->changed);
}

static tern_code no_memory(uint32_t n, tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u models", n);
}

/* The models that are new, to be waited for. */
static bool wait_for_new(const tn_models *m, const plan *p, tn_change *change)
{
    change->items = calloc((size_t)p->n + 1, sizeof *change->items);
    change->n = 0;
    for (uint32_t i = 0; i < p->n && change->items != NULL; i++)
        if (!p->models[i]->configured)
            change->items[change->n++] =
                (struct tn_change_item){.held = tn_held_retain(p->held[i]), .since = m->changes + 1};
    return change->items != NULL;
}

static void drop_items(tn_change *change)
{
    for (uint32_t i = 0; i < change->n; i++)
        tn_held_release(change->items[i].held);
    free(change->items);
    change->items = NULL;
    change->n = 0;
}

static void apply(tn_models *m, plan *p)
{
    m->changes++;
    for (uint32_t i = 0; i < p->n; i++)
        set_model(m, p->models[i], p->held[i]);
    set_list(m, p);
}

/* With the lock. */
static tern_code change_locked(tn_models *m, const tn_model_config *configs, uint32_t n, tn_change *change,
                               tern_status *st)
{
    plan p = {0};
    tern_code code = check(m, configs, n, st);
    if (code != TERN_OK)
        return code;
    if (!plan_make(m, configs, n, &p) || (change != NULL && !wait_for_new(m, &p, change))) {
        plan_free(&p, false);
        return no_memory(n, st);
    }
    if (same_list(m, configs, n)) {
        plan_free(&p, false);
    } else {
        apply(m, &p);
        plan_free(&p, true);
        if (!tn_snapshot_publish(m))
            tn_error("model", "no memory for a new table of versions");
        advance_all(m);
    }
    if (change != NULL) {
        change->logging = false;
        for (uint32_t i = 0; i < n; i++)
            change->logging |= configs[i].logging;
        change->next = m->waiting;
        m->waiting = change;
    }
    return TERN_OK;
}

tern_code tn_models_change(tn_models *m, const tn_model_config *configs, uint32_t n, tn_change *change,
                           tern_status *st)
{
    tern_code code = tn_held_check_list(configs, n, st);
    if (code != TERN_OK)
        return code;
    pthread_mutex_lock(&m->lock);
    code = m->closed ? tern_fail(st, TERN_UNAVAILABLE, "The server is shutting down")
                     : change_locked(m, configs, n, change, st);
    tn_models_unlock(m);
    return code;
}

/*
 * The configurations as they are, with room for one more. NULL when memory is short. The strings are the
 * models'.
 */
static tn_model_config *list_of(const tn_models *m, tn_str without, uint32_t *n)
{
    tn_model_config *list = calloc((size_t)m->n_configured + 1, sizeof *list);
    *n = 0;
    for (uint32_t i = 0; i < m->n_configured && list != NULL; i++)
        if (!tn_str_eq(m->models[i]->held->config.name, without))
            list[(*n)++] = m->models[i]->held->config;
    return list;
}

/* config NULL: the model of that name goes; else it comes. */
static tern_code change_one(tn_models *m, tn_str name, const tn_model_config *config, tn_change *change,
                            tern_status *st)
{
    uint32_t n = 0;
    if (m->closed)
        return tern_fail(st, TERN_UNAVAILABLE, "The server is shutting down");
    if (config != NULL && configured(m, name) != NULL)
        return tern_fail(st, TERN_ALREADY_EXISTS, "There is a model %.*s", TN_FMT(name));
    if (config == NULL && configured(m, name) == NULL)
        return tern_fail(st, TERN_NOT_FOUND, "There is no model %.*s", TN_FMT(name));
    tn_model_config *list = list_of(m, name, &n);
    if (list == NULL)
        return no_memory(m->n_configured, st);
    if (config != NULL)
        list[n++] = *config;
    tern_code code = change_locked(m, list, n, change, st);
    free(list);
    return code;
}

tern_code tn_models_add(tn_models *m, const tn_model_config *config, tn_change *change, tern_status *st)
{
    tern_code code = tn_held_check_list(config, 1, st);
    if (code != TERN_OK)
        return code;
    pthread_mutex_lock(&m->lock);
    code = change_one(m, config->name, config, change, st);
    tn_models_unlock(m);
    return code;
}

bool tn_models_remove(tn_models *m, tn_str name)
{
    tern_status st;
    pthread_mutex_lock(&m->lock);
    tern_code code = change_one(m, name, NULL, NULL, &st);
    tn_models_unlock(m);
    if (code == TERN_RESOURCE_EXHAUSTED)
        tn_error("model", "%.*s cannot be removed: %s", TN_FMT(name), st.message);
    return code == TERN_OK;
}

/* ---- Waiting ---- */

void tn_life_write_failure(tn_buf *text, const tn_model *model, const tn_entry *e)
{
    tn_buf_printf(text, "{{name: %.*s version: %lld} due to error: %s: %s}, ",
                  TN_FMT(model->held->config.name), (long long)e->number, tn_code_name(e->error_code),
                  e->error != NULL ? e->error : "");
}

static const tn_model *model_of(const tn_models *m, const struct tn_change_item *item)
{
    const tn_model *model = configured(m, item->held->config.name);
    return model != NULL && model->since == item->since ? model : NULL;
}

/* The first of its specific versions that failed; NULL with *missing: one is still to come. */
static const tn_entry *failed_one(const tn_model *model, bool *missing)
{
    const tn_model_config *c = &model->held->config;
    const tn_entry *failed = NULL;
    for (uint32_t i = 0; i < c->n_specific; i++) {
        const tn_entry *e = model->entries;
        while (e != NULL && e->number != c->specific[i])
            e = e->next;
        if (e == NULL || (e->live == NULL && !e->failed))
            *missing = true;
        else if (e->live == NULL && failed == NULL)
            failed = e;
    }
    return failed;
}

/* The entry that says how it ended, or NULL: not yet. */
static const tn_entry *outcome(const tn_change *change, const tn_model *model)
{
    bool missing = false;
    const tn_entry *failed = NULL;
    if (change->every && model->held->config.policy == TN_POLICY_SPECIFIC)
        failed = failed_one(model, &missing);
    return failed != NULL ? failed : missing ? NULL : tn_life_deciding(model);
}

static int by_name(const void *a, const void *b)
{
    const struct tn_change_item *x = a;
    const struct tn_change_item *y = b;
    return tn_str_cmp(x->held->config.name, y->held->config.name);
}

/* false: not yet. Else status is set. */
static bool has_ended(const tn_models *m, tn_change *change)
{
    uint32_t failed = 0;
    for (uint32_t i = 0; i < change->n; i++) {
        const tn_model *model = model_of(m, &change->items[i]);
        const tn_entry *e = model != NULL ? outcome(change, model) : NULL;
        if (model != NULL && e == NULL)
            return false;
        failed += e == NULL || e->live == NULL;
    }
    tern_status_init(&change->status);
    if (failed == 0) {
        if (change->logging)
            (void)tern_fail(&change->status, TERN_INVALID_ARGUMENT, "No request-logger-creator provided.");
        return true;
    }
    if (change->n > 1)
        qsort(change->items, change->n, sizeof *change->items, by_name);
    tn_buf text;
    tn_buf_init(&text, 1u << 20);
    for (uint32_t i = 0; i < change->n; i++) {
        const tn_model *model = model_of(m, &change->items[i]);
        const tn_entry *e = model != NULL ? outcome(change, model) : NULL;
        if (model == NULL)
            tn_buf_printf(&text, "{{name: %.*s} was removed by a later configuration}, ",
                          TN_FMT(change->items[i].held->config.name));
        else if (e->live == NULL)
            tn_life_write_failure(&text, model, e);
    }
    (void)tern_fail(&change->status, TERN_UNKNOWN, "%u model(s) did not become available: {%.*s}", failed,
                    (int)text.len, text.ptr != NULL ? text.ptr : "");
    tn_buf_free(&text);
    return true;
}

tn_change *tn_changes_ended(tn_models *m)
{
    tn_change *ended = NULL;
    for (tn_change **link = &m->waiting; *link != NULL;) {
        tn_change *change = *link;
        if (!has_ended(m, change)) {
            link = &change->next;
            continue;
        }
        *link = change->next;
        drop_items(change);
        change->next = ended;
        ended = change;
    }
    return ended;
}

bool tn_models_forget(tn_models *m, tn_change *change)
{
    pthread_mutex_lock(&m->lock);
    tn_change **link = &m->waiting;
    while (*link != NULL && *link != change)
        link = &(*link)->next;
    bool found = *link != NULL;
    if (found) {
        *link = change->next;
        drop_items(change);
    }
    tn_models_unlock(m);
    return found;
}

bool tn_models_overdue(tn_models *m, const tn_change *change, tern_status *st)
{
    bool under_way = false;
    uint32_t n = 0;
    tn_buf text;
    tn_buf_init(&text, 1u << 20);
    pthread_mutex_lock(&m->lock);
    bool waits = false;
    for (const tn_change *c = m->waiting; c != NULL; c = c->next)
        waits |= c == change;
    for (uint32_t i = 0; waits && i < change->n; i++) {
        const tn_model *model = model_of(m, &change->items[i]);
        if (model == NULL || outcome(change, model) != NULL)
            continue;
        bool pending = tn_life_pending(model);
        under_way |= pending;
        n++;
        tn_buf_printf(&text, "{{name: %.*s} %s}, ", TN_FMT(model->held->config.name),
                      pending                ? "is still being loaded"
                      : model->fault != NULL ? model->fault
                                             : "has none of the versions that its configuration asks for");
    }
    tn_models_unlock(m);
    (void)tern_fail(st, TERN_DEADLINE_EXCEEDED,
                    "%u model(s) did not become available in time, and are still tried: {%.*s}", n,
                    (int)text.len, text.ptr != NULL ? text.ptr : "");
    tn_buf_free(&text);
    return waits && !under_way;
}

void tn_models_end_changes(tn_models *m, const tern_status *st)
{
    pthread_mutex_lock(&m->lock);
    tn_change *ended = m->waiting;
    m->waiting = NULL;
    m->closed = m->stopping = true;
    pthread_cond_broadcast(&m->wake);
    tn_models_unlock(m);
    for (tn_change *next; ended != NULL; ended = next) {
        next = ended->next;
        drop_items(ended);
        ended->status = *st;
        ended->done(ended);
    }
}
