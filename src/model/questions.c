/*
 * model/questions.c - what one may ask a set of models: states, counts, names. See model.h.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
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

static tn_readiness readiness(const tn_model *model)
{
    if (!model->configured)
        return TN_MODEL_UNKNOWN;
    return tn_life_available(model) ? TN_MODEL_READY
           : tn_life_pending(model) ? TN_MODEL_LOADING
           : tn_life_failed(model)  ? TN_MODEL_FAILED
                                    : TN_MODEL_ABSENT;
}

tn_models_counts tn_models_count(tn_models *m)
{
    tn_models_counts c = {0};
    pthread_mutex_lock(&m->lock);
    c.models = m->n_configured;
    for (uint32_t i = 0; i < m->n_configured; i++) {
        tn_readiness r = readiness(m->models[i]);
        c.under_way += tn_life_pending(m->models[i]);
        c.untried += tn_life_untried(m->models[i]);
        c.ready += r == TN_MODEL_READY;
        c.loading += r == TN_MODEL_LOADING;
        c.failed += r == TN_MODEL_FAILED;
        c.absent += r == TN_MODEL_ABSENT;
    }
    tn_models_unlock(m);
    return c;
}

bool tn_models_some_ready(tn_models *m)
{
    bool ready = false;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < m->n_configured && !ready; i++)
        ready = tn_life_available(m->models[i]);
    tn_models_unlock(m);
    return ready;
}

/* With the lock. */
static tn_str explain(const tn_model *model, tn_readiness r, tn_arena *arena)
{
    const tn_entry *e = model != NULL ? tn_life_deciding(model) : NULL;
    switch (r) {
    case TN_MODEL_UNKNOWN:
        return TN_STR("there is no model of that name");
    case TN_MODEL_LOADING:
        return TN_STR("it is being loaded");
    case TN_MODEL_FAILED:
        return e != NULL
                   ? tn_arena_printf(arena, "version %lld cannot be loaded: %s: %s", (long long)e->number,
                                     tn_code_name(e->error_code), e->error != NULL ? e->error : "")
                   : TN_STR("it cannot be loaded");
    case TN_MODEL_ABSENT:
        return model->fault != NULL ? tn_arena_printf(arena, "%s", model->fault)
                                    : TN_STR("none of the versions that it is to serve is there");
    default:
        return TN_STR("");
    }
}

tn_readiness tn_models_readiness(tn_models *m, tn_str name, tn_arena *arena, tn_str *why)
{
    pthread_mutex_lock(&m->lock);
    const tn_model *model = tn_models_find(m, name);
    tn_readiness r = model != NULL ? readiness(model) : TN_MODEL_UNKNOWN;
    if (arena != NULL)
        *why = explain(model, r, arena);
    tn_models_unlock(m);
    return r;
}

bool tn_models_is_loading(tn_models *m, tn_str name)
{
    bool busy = false;
    pthread_mutex_lock(&m->lock);
    const tn_model *model = tn_models_find(m, name);
    for (const tn_entry *e = model != NULL ? model->entries : NULL; e != NULL; e = e->next)
        busy |= e->busy;
    tn_models_unlock(m);
    return busy;
}

static int by_name(const void *a, const void *b)
{
    const tn_model *x = *(tn_model *const *)a;
    const tn_model *y = *(tn_model *const *)b;
    return tn_str_cmp(x->held->config.name, y->held->config.name);
}

tn_str tn_models_failures(tn_models *m, tn_arena *arena, uint32_t *n)
{
    tn_buf text;
    tn_buf_init(&text, SIZE_MAX / 2);
    tn_buf_char(&text, '{');
    *n = 0;
    pthread_mutex_lock(&m->lock);
    const tn_model **sorted = tn_arena_array(arena, m->n_configured, sizeof *sorted);
    text.failed |= sorted == NULL;
    for (uint32_t i = 0; i < m->n_configured && sorted != NULL; i++)
        sorted[i] = m->models[i];
    if (sorted != NULL && m->n_configured > 1)
        qsort(sorted, m->n_configured, sizeof *sorted, by_name);
    for (uint32_t i = 0; i < m->n_configured && sorted != NULL; i++) {
        const tn_entry *e = tn_life_deciding(sorted[i]);
        if (e == NULL || e->live != NULL)
            continue;
        ++*n;
        tn_life_write_failure(&text, sorted[i], e);
    }
    tn_models_unlock(m);
    tn_buf_char(&text, '}');
    tn_str copied = text.failed ? TN_STR_NONE : tn_arena_dup(arena, tn_buf_view(&text));
    tn_buf_free(&text);
    return copied;
}

uint32_t tn_models_wait(tn_models *m, int64_t timeout_ns)
{
    int64_t when = tn_now_ns() + (timeout_ns > 0 ? timeout_ns : 0);
    pthread_mutex_lock(&m->lock);
    uint32_t ready;
    for (int error = 0;;) {
        uint32_t pending = 0;
        ready = 0;
        for (uint32_t i = 0; i < m->n_configured; i++) {
            ready += tn_life_available(m->models[i]);
            pending += tn_life_pending(m->models[i]);
        }
        if (pending == 0 || timeout_ns <= 0 || error != 0 || m->stopping)
            break;
        error = tn_cond_until(&m->changed, &m->lock, when);
    }
    tn_models_unlock(m);
    return ready;
}

tn_model *tn_models_find(const tn_models *m, tn_str name)
{
    const uint64_t hash = tn_str_hash(name);
    for (uint32_t at = (uint32_t)hash; m->by_name != NULL; at++) {
        const uint32_t found = m->by_name[at & m->by_name_mask];
        if (found == 0)
            break;
        tn_model *model = m->models[found - 1];
        if (model->held->hash == hash && tn_str_eq(model->held->config.name, name))
            return model;
    }
    return NULL;
}

/*
 * What others see. A version that waits for its files to rest, or for its next try, is being loaded: so the
 * original says, which begins at once and tries within one load (core/loader_harness.cc).
 */
static tn_state shown_state(const tn_entry *e)
{
    bool waits = e->state == TN_STATE_UNKNOWN && e->candidate && !e->settled && e->announced;
    bool again = e->state == TN_STATE_START && e->attempts > 0;
    return waits || again ? TN_STATE_LOADING : e->state;
}

static bool asked(const tn_entry *e, bool has_version, int64_t version)
{
    return shown_state(e) != TN_STATE_UNKNOWN && (!has_version || e->number == version);
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
            (tn_version_status){e->number, shown_state(e), ended_badly ? e->error_code : TERN_OK, message};
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
    const tn_model *model = tn_models_find(m, name);
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
    pthread_mutex_lock(&m->lock);
    tn_str *names = tn_arena_array(arena, m->n_configured, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < m->n_configured; i++) {
        names[i] = tn_arena_dup(arena, m->models[i]->held->config.name);
        if (names[i].ptr == NULL)
            break;
        *n = i + 1;
    }
    bool whole = names != NULL && *n == m->n_configured;
    tn_models_unlock(m);
    return whole ? names : NULL;
}

void tn_models_each(tn_models *m, void (*fn)(void *context, tn_version *v), void *context)
{
    /* References first, then fn without the lock: it may be slow. */
    pthread_mutex_lock(&m->lock);
    tn_version **held = m->boxes > 0 ? malloc(m->boxes * sizeof(tn_version *)) : NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; held != NULL && i < m->n_models; i++)
        for (tn_entry *e = m->models[i]->entries; e != NULL; e = e->next)
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
