/*
 * model/snapshot.c - what requests see, and how they take a version without a lock.
 *
 * The table of available versions is immutable; a change makes a new one and exchanges a pointer. A reader
 * counts itself in a slot (one cache line, shared by few threads) before it loads the pointer, and out after
 * it has taken its reference. Whoever replaced a table waits until every slot was seen at zero before the
 * table is freed and its references are given back.
 *
 * Why that is enough: the count, the load of the pointer, the exchange and the look at the counts are all
 * sequentially consistent, so they have one order. A reader that got the old pointer loaded it before the
 * exchange, so it had counted itself before the look, and the look waits for it. A reader that counts itself
 * after the look loads the pointer after the exchange and gets the new one. Two counts take turns (phase), so
 * that a steady stream of readers cannot keep the one that is waited for above zero: as in sleepable RCU
 * (McKenney, "Sleepable Read-Copy Update", 2006). The section is a few dozen instructions and never blocks.
 */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "model/life.h"

typedef struct row {
    uint64_t hash;
    tn_held *held;  /* one reference */
    uint32_t first; /* in boxes, highest version first */
    uint32_t n;
} row;

struct tn_snapshot {
    tn_snapshot *next; /* list of replaced ones */
    uint32_t mask;     /* size of index - 1, a power of two */
    uint32_t *index;   /* row + 1, by hash with linear probing; 0: empty */
    row *rows;
    uint32_t n_rows;
    tn_box **boxes;
};

/* ---- Readers ---- */

static unsigned my_slot(void)
{
    static atomic_uint next_slot;
    static _Thread_local unsigned slot;
    if (slot == 0)
        slot = atomic_fetch_add_explicit(&next_slot, 1, memory_order_relaxed) % TN_READER_SLOTS + 1;
    return slot - 1;
}

static atomic_uint_fast32_t *enter(tn_models *m)
{
    unsigned phase = atomic_load_explicit(&m->phase, memory_order_relaxed) & 1;
    atomic_uint_fast32_t *count = &m->readers[my_slot()].count[phase];
    atomic_fetch_add_explicit(count, 1, memory_order_seq_cst);
    return count;
}

static void leave(atomic_uint_fast32_t *count)
{
    atomic_fetch_sub_explicit(count, 1, memory_order_release);
}

static const row *find(const tn_snapshot *s, tn_str name)
{
    uint64_t hash = tn_str_hash(name);
    for (uint32_t at = (uint32_t)hash & s->mask;; at = (at + 1) & s->mask) {
        uint32_t found = s->index[at];
        if (found == 0)
            return NULL;
        const row *r = &s->rows[found - 1];
        if (r->hash == hash && tn_str_eq(r->held->config.name, name))
            return r;
    }
}

static bool find_label(const tn_model_config *config, tn_str label, int64_t *version)
{
    for (uint32_t i = 0; i < config->n_labels; i++)
        if (tn_str_eq(config->label_names[i], label)) {
            *version = config->label_versions[i];
            return true;
        }
    return false;
}

/* Halves the descending row. */
static tn_box *find_version(const tn_snapshot *s, const row *r, int64_t number)
{
    uint32_t from = 0;
    uint32_t to = r->n;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        tn_box *box = s->boxes[r->first + middle];
        if (box->version.number == number)
            return box;
        if (box->version.number > number)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

bool tn_snapshot_serves(tn_models *m)
{
    atomic_uint_fast32_t *count = enter(m);
    const tn_snapshot *s = atomic_load_explicit(&m->snapshot, memory_order_seq_cst);
    bool any = false;
    for (uint32_t i = 0; i < s->n_rows && !any; i++)
        any = s->rows[i].n > 0;
    leave(count);
    return any;
}

tern_code tn_models_acquire(tn_models *m, const tn_target *target, tn_version **out, tern_status *st)
{
    *out = NULL;
    bool has_version = target->has_version;
    int64_t number = target->version;
    bool unknown_label = false;
    tn_box *box = NULL;

    atomic_uint_fast32_t *count = enter(m);
    const tn_snapshot *s = atomic_load_explicit(&m->snapshot, memory_order_seq_cst);
    const row *r = find(s, target->name);
    if (target->has_label) {
        has_version = true;
        unknown_label = r == NULL || !find_label(&r->held->config, target->label, &number);
    }
    if (r != NULL && !unknown_label)
        box = has_version ? find_version(s, r, number) : r->n > 0 ? s->boxes[r->first] : NULL;
    if (box != NULL)
        atomic_fetch_add_explicit(&box->refs, 1, memory_order_relaxed);
    leave(count);

    if (box != NULL) {
        *out = &box->version;
        return TERN_OK;
    }
    if (unknown_label)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Unrecognized servable version label: %.*s",
                         TN_FMT(target->label));
    /* Not by printf: the name may hold a NUL, which belongs into the message. */
    char text[TERN_STATUS_MESSAGE_MAX];
    size_t room = sizeof text - 64;
    size_t length = target->name.len < room ? target->name.len : room;
    int n = snprintf(text, sizeof text, "Servable not found for request: %s(",
                     has_version ? "Specific" : "Latest");
    if (length > 0)
        memcpy(text + n, target->name.ptr, length);
    length += (size_t)n;
    length +=
        (size_t)(has_version ? snprintf(text + length, sizeof text - length, ", %lld)", (long long)number)
                             : snprintf(text + length, sizeof text - length, ")"));
    return tern_fail_bytes(st, TERN_NOT_FOUND, text, length);
}

void tn_version_retain(tn_version *v)
{
    atomic_fetch_add_explicit(&TN_CONTAINER(v, tn_box, version)->refs, 1, memory_order_relaxed);
}

void tn_version_release(tn_version *v)
{
    if (v == NULL)
        return;
    tn_box *box = TN_CONTAINER(v, tn_box, version);
    if (atomic_fetch_sub_explicit(&box->refs, 1, memory_order_acq_rel) == 1)
        (void)tn_taskq_push(&box->owner->unloads, &box->task, NULL);
}

/* ---- Whoever changes the table ---- */

static tn_snapshot *new_snapshot(uint32_t n_models, uint32_t n_boxes)
{
    uint32_t size = 4;
    while (size < n_models * 2)
        size *= 2;
    tn_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->mask = size - 1;
    s->index = calloc(size, sizeof *s->index);
    s->rows = calloc(n_models + 1, sizeof *s->rows);
    s->boxes = calloc(n_boxes + 1, sizeof(tn_box *));
    if (s->index == NULL || s->rows == NULL || s->boxes == NULL) {
        tn_snapshot_free(s);
        return NULL;
    }
    return s;
}

bool tn_snapshot_publish(tn_models *m)
{
    uint32_t n_boxes = 0;
    for (uint32_t i = 0; i < m->n_configured; i++)
        for (const tn_entry *e = m->models[i]->entries; e != NULL; e = e->next)
            n_boxes += e->live != NULL;
    tn_snapshot *s = new_snapshot(m->n_configured, n_boxes);
    if (s == NULL)
        return false;
    uint32_t at_box = 0;
    for (uint32_t i = 0; i < m->n_configured; i++) {
        const tn_model *model = m->models[i];
        row *r = &s->rows[s->n_rows++];
        *r = (row){.hash = model->held->hash, .held = tn_held_retain(model->held), .first = at_box};
        for (const tn_entry *e = model->entries; e != NULL; e = e->next)
            if (e->live != NULL)
                s->boxes[at_box++] = e->live;
        r->n = at_box - r->first;
        uint32_t at = (uint32_t)r->hash & s->mask;
        while (s->index[at] != 0)
            at = (at + 1) & s->mask;
        s->index[at] = i + 1;
    }
    tn_snapshot *old = atomic_exchange_explicit(&m->snapshot, s, memory_order_seq_cst);
    if (old != NULL) {
        old->next = m->old_snapshots;
        m->old_snapshots = old;
    }
    return true;
}

static void wait_for_zero(atomic_uint_fast32_t *count)
{
    for (unsigned tries = 0; atomic_load_explicit(count, memory_order_seq_cst) != 0; tries++) {
        if (tries < 64)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

void tn_snapshot_wait(tn_models *m)
{
    pthread_mutex_lock(&m->sync_lock);
    for (int turn = 0; turn < 2; turn++) {
        unsigned phase = atomic_load_explicit(&m->phase, memory_order_relaxed) & 1;
        for (unsigned i = 0; i < TN_READER_SLOTS; i++)
            wait_for_zero(&m->readers[i].count[phase ^ 1]);
        atomic_store_explicit(&m->phase, phase ^ 1, memory_order_seq_cst);
    }
    pthread_mutex_unlock(&m->sync_lock);
}

void tn_snapshot_free(tn_snapshot *s)
{
    while (s != NULL) {
        tn_snapshot *next = s->next;
        for (uint32_t i = 0; i < s->n_rows; i++)
            tn_held_release(s->rows[i].held);
        free(s->index);
        free(s->rows);
        free(s->boxes);
        free(s);
        s = next;
    }
}
