/*
 * model/life.h - inside of model/: the structures that its files share.
 *
 * tn_models holds models, a model holds an entry for every version number that was seen, an entry that is
 * loaded holds a box.
 *   watch.c     the watcher thread: looks at the disk, says which folders are there and complete
 *   life.c      which versions are wanted, loads, retries, unloads: the states of an entry
 *   snapshot.c  what requests see: an immutable table of available boxes behind an atomic pointer
 *   change.c    other models, paths, policies, labels while serving; who waits for them
 *   held.c      configurations, shared by counting references, and what is wrong with a list of them
 *   models.c    making, threads, ending
 *   questions.c states, counts, names
 *
 * Everything in models and entries is guarded by tn_models.lock unless its comment says otherwise. The lock
 * is never held during I/O, loads, unloads or hooks, and requests never take it. Leave it with
 * tn_models_unlock(), which clears away what was replaced.
 */
#ifndef TN_MODEL_LIFE_H
#define TN_MODEL_LIFE_H

#include <pthread.h>
#include <stdalign.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/task.h"
#include "model/model.h"
#include "model/source.h"

typedef struct tn_box tn_box;
typedef struct tn_entry tn_entry;
typedef struct tn_model tn_model;
typedef struct tn_snapshot tn_snapshot;

/*
 * A copy of a model's configuration. It never changes: another one takes its place. Whoever uses it without
 * the lock (snapshots, loaded versions, the watcher, a load) holds a reference. Strings end in NUL.
 */
typedef struct tn_held {
    tn_model_config config;
    uint64_t hash; /* of its name */
    atomic_uint_fast32_t refs;
    tn_arena arena;
} tn_held;

/* A loaded version with what belongs to its life. */
struct tn_box {
    tn_version version; /* what the world sees */
    tn_models *owner;
    tn_entry *entry;
    tn_held *held; /* one reference: the version's name lies in it */
    char *directory;
    tn_task task;                          /* unload */
    tn_box *next;                          /* list of retired ones */
    alignas(64) atomic_uint_fast32_t refs; /* apart from what every request reads; one is the snapshot's */
};

struct tn_entry {
    tn_entry *next; /* lower number */
    tn_model *model;
    int64_t number;
    tn_state state; /* TN_STATE_UNKNOWN: seen, never wanted */
    char *path;
    bool present;          /* seen in the last good scan */
    bool settled;          /* complete, as far as can be seen */
    bool candidate;        /* the policy wants it if it is complete and can be loaded */
    bool wanted;           /* candidate, complete, not failed for good */
    bool busy;             /* its load is queued or under way */
    bool failed;           /* for good: not tried again before its files change */
    bool moved;            /* live, but the base path has another folder of its number now */
    bool abandoned;        /* busy, but its model has another base path now, or is gone */
    uint32_t looked;       /* watcher only: the pass in which it was looked at */
    bool looked_at;        /* by the watcher, without the lock: not to be freed */
    bool announced;        /* that it is waited for */
    bool marked;           /* watcher only: mark holds something */
    tn_source_mark mark;   /* watcher only */
    int64_t mark_since_ns; /* watcher only: since when it looks like this */
    int32_t attempts;      /* failed tries */
    int64_t next_try_ns;
    tern_code error_code;
    char *error;    /* owned, or NULL */
    tn_box *live;   /* available: holds the snapshot's reference */
    uint32_t boxes; /* live or not yet unloaded */
    tn_task task;   /* load */
};

struct tn_model {
    tn_held *held;     /* one reference; of a removed model its last one */
    tn_entry *entries; /* highest first */
    bool configured;   /* else it was removed, and is here for the history of its versions */
    bool scanned;      /* a scan of this base path is over */
    bool unseen;       /* its configuration is newer than its last good scan: nothing is replaced yet */
    bool warned;       /* about a missing or empty base path */
    bool looked_at;    /* by the watcher, without the lock: not to be freed */
    bool kept;         /* change.c: in the list that takes effect now */
    uint32_t pass;     /* of the watcher, the last that saw it */
    uint64_t since;    /* number of the change that configured it, or removed it */
    char *fault;       /* why there is no version, or NULL. Owned */
};

/* Readers of snapshots count themselves here; see snapshot.c. */
#define TN_READER_SLOTS 64
typedef struct tn_reader_slot {
    alignas(64) atomic_uint_fast32_t count[2];
} tn_reader_slot;

struct tn_models {
    tn_reader_slot readers[TN_READER_SLOTS];
    _Atomic(tn_snapshot *) snapshot;
    atomic_uint phase;
    pthread_mutex_t sync_lock; /* one tn_snapshot_wait() at a time */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC: a state changed, or stopping */
    pthread_cond_t wake;    /* CLOCK_MONOTONIC: the watcher should look again */
    bool stopping;
    bool woken;
    bool rescan;      /* now, not when the next poll is due */
    bool closed;      /* no more changes */
    uint64_t changes; /* so far */
    tn_change *waiting;
    tn_snapshot *old_snapshots; /* replaced, not yet freed */
    tn_box *retired;            /* out of the snapshot, reference not yet given back */
    uint32_t boxes;             /* not yet unloaded */

    struct tn_pace {
        int64_t poll_ns;         /* between scans; INT64_MAX: one scan, < 0: none */
        int64_t eager_ns;        /* between scans while a folder is unsettled */
        int64_t looks_ns;        /* least time between two looks that count as two */
        int64_t quiet_ns;        /* a folder is settled when it was left alone for so long */
        int64_t unknown_form_ns; /* likewise, when the engine does not recognise it */
    } pace;                      /* set by tn_models_new(); tests make it faster */
    tn_arena arena;              /* copies of options and configs; read-only after tn_models_new() */
    tn_models_options options;
    tn_model **models; /* as configured, in order; then the removed ones, the last removed first */
    uint32_t n_models;
    uint32_t n_configured;
    uint32_t *by_name;     /* place in models + 1, by hash with linear probing; 0: empty */
    uint32_t by_name_mask; /* size - 1, a power of two */
    uint32_t look_next;    /* watcher: where it looks for the next model first */
    tn_taskq loads;
    tn_taskq unloads;
    pthread_t watcher;
    pthread_t *loaders;
    pthread_t *unloaders;
    uint32_t n_loaders;
    uint32_t n_unloaders;
    bool watching;
};

/* watch.c: arg is the tn_models. */
void *tn_watch_main(void *arg);

/* life.c; all but tn_life_loader() with the lock held. */
/*
 * Brings a model nearer to what is wanted now: starts loads that are due, retires what is replaced,
 * publishes. Returns the time (CLOCK_MONOTONIC) when a load is to be tried again, or INT64_MAX.
 */
int64_t tn_life_advance(tn_models *m, tn_model *model);
/* The same of all models, with one new table at the most. The watcher is to be woken. */
void tn_life_advance_all(tn_models *m);
/* Sets candidate and wanted by policy. */
void tn_life_mark_wanted(tn_model *model);
/* Something is still on its way: to be looked at, loaded, or tried again. */
bool tn_life_pending(const tn_model *model);
/* Something whose first load has not ended, or not begun. */
bool tn_life_untried(const tn_model *model);
bool tn_life_available(const tn_model *model);
/* A version that is there cannot be loaded. */
bool tn_life_failed(const tn_model *model);
/* What is no longer on the disk, or under another path, starts anew when it comes back. */
void tn_life_set_gone(tn_entry *e);
/* The version that decides whether a model became available: the highest that is, or failed; or NULL. */
const tn_entry *tn_life_deciding(const tn_model *model);
/* Takes all available versions of all models out of service. */
void tn_life_retire_all(tn_models *m);
/* Main of a loader thread and of an unloader thread; arg is the tn_models. */
void *tn_life_loader(void *arg);
void *tn_life_unloader(void *arg);
/* Task of a box without references: unloads and frees it. Without the lock. */
void tn_life_unload_task(tn_task *task);
void tn_life_free_model(tn_model *model);

/* snapshot.c */
/*
 * With the lock held: makes the table anew from the entries and puts it in place. false when memory is short:
 * then the old one stays.
 */
TERN_MUST_USE bool tn_snapshot_publish(tn_models *m);
/* Whether any version is available now. Without the lock. */
bool tn_snapshot_serves(tn_models *m);
/* Returns when nobody reads a snapshot that was replaced before. Without the lock. */
void tn_snapshot_wait(tn_models *m);
/* With all that are linked behind it. Accepts NULL. */
void tn_snapshot_free(tn_snapshot *s);

/* held.c. Any thread. */
/* NULL when memory is short. */
tn_held *tn_held_new(const tn_model_config *config);
tn_held *tn_held_retain(tn_held *held);
void tn_held_release(tn_held *held); /* accepts NULL */
bool tn_held_equal(const tn_model_config *a, const tn_model_config *b);
/* Names that are there twice, paths that are not absolute: in TensorFlow Serving's words. */
TERN_MUST_USE tern_code tn_held_check_list(const tn_model_config *configs, uint32_t n, tern_status *st);
/*
 * The platform of a model, static or from the config. INVALID_ARGUMENT when it is given twice or not at all.
 */
TERN_MUST_USE tern_code tn_held_platform(const tn_model_config *config, tn_str *platform, tern_status *st);
/* INVALID_ARGUMENT when it is none that is served. */
TERN_MUST_USE tern_code tn_held_check_platform(const tn_model_config *config, tern_status *st);

/* change.c, with the lock held. */
/* Those of the waiting changes that have come to their end, taken out, linked by next. */
tn_change *tn_changes_ended(tn_models *m);
/*
 * "{{name: m version: 1} due to error: DATA_LOSS: broken}, ", one of a list of what did not become available.
 */
void tn_life_write_failure(tn_buf *text, const tn_model *model, const tn_entry *e);

/* questions.c, with the lock held. NULL when there is none; removed ones count. */
tn_model *tn_models_find(const tn_models *m, tn_str name);

/*
 * models.c: leaves the lock, then frees replaced snapshots, gives back the references of retired boxes and
 * tells who waited for a change.
 */
void tn_models_unlock(tn_models *m);

#endif
