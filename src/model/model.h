/*
 * model/model.h - models, their versions and labels: where they come from, how they live, who may use them.
 *
 * One watcher thread scans the folders (file_system_poll_wait_seconds); a loader pool loads, warms up and
 * unloads. A version is shared by counting references: tn_models_acquire() takes one without a lock and
 * without waiting for loads, the last tn_version_release() hands the version to the loader pool to be
 * unloaded, and waits for nobody else's calls. A broken or missing model never stops another.
 *
 * What decides about versions:
 *  - A folder counts when it is complete: the engine recognises it and it has not been written to for 3 s (or
 *    two looks saw the
 *    same), so that a half-copied version is not loaded.
 *  - A new version becomes AVAILABLE before the one it replaces goes. One that cannot be loaded replaces
 *    nothing.
 *  - A load that fails is tried again (max_load_retries, load_retry_interval_us), at once when its files
 *    change. LATEST does not
 *    count a version in trouble and takes the next lower one as well, so that after a restart the same
 *    version serves as before.
 *  - A version whose folder is gone is unloaded once another one that is wanted is AVAILABLE, or when none is
 *    wanted: a base path
 *    that is there and has no version means "serve nothing", as in TensorFlow Serving. A base path that is
 *    missing or cannot be read (a mount that is away) changes nothing: what is loaded stays.
 */
#ifndef TN_MODEL_MODEL_H
#define TN_MODEL_MODEL_H

#include "base/arena.h"
#include "engine/engine.h"
#include "observe/stats.h"
#include "tensor/tensor.h"

/* tensorflow.serving.ModelVersionStatus.State */
typedef enum tn_state {
    TN_STATE_UNKNOWN = 0,
    TN_STATE_START = 10,
    TN_STATE_LOADING = 20,
    TN_STATE_AVAILABLE = 30,
    TN_STATE_UNLOADING = 40,
    TN_STATE_END = 50
} tn_state;

const char *tn_state_name(tn_state s); /* "AVAILABLE". Static. */

/* Measured cost of calls of one sort, by size of their body: what decides about inline runs (schedule/). */
#define TN_COST_CLASSES 32
typedef enum tn_cost_kind {
    TN_COST_REST,
    TN_COST_GRPC,
    TN_COST_DOCUMENT,
    TN_COST_REST_CODED, /* with a compressed body */
    TN_COST_KINDS
} tn_cost_kind;
typedef struct tn_cost {
    atomic_uint_least64_t us_x16[TN_COST_KINDS][TN_COST_CLASSES]; /* schedule/cost.c; 0: not measured */
} tn_cost;
#define TN_COST_SIGNATURES                                                                                   \
    16 /* signatures of a version that are measured; calls of others are never inline */

/*
 * A loaded version. Fields are set before it becomes AVAILABLE and then never change, but for stats and cost.
 */
typedef struct tn_version {
    tn_str model;
    int64_t number;
    const char *directory;
    const tn_engine *engine;
    tern_engine_model *loaded;
    const tern_signature_set *signatures;
    void *attached; /* what hooks.attach put here (handler/) */
    void *batching; /* likewise (schedule/batch.c); NULL: calls are not batched */
    tn_version_stats stats;
    tn_cost cost;                         /* of whole calls, for those whose signature is not known yet */
    tn_cost run_cost[TN_COST_SIGNATURES]; /* run and encode, by the signature's index */
} tn_version;

typedef enum tn_policy_kind { TN_POLICY_LATEST, TN_POLICY_ALL, TN_POLICY_SPECIFIC } tn_policy_kind;

/* ModelConfig.model_type, which nobody should use any more. */
typedef enum tn_model_type {
    TN_MODEL_TYPE_NONE,
    TN_MODEL_TYPE_TENSORFLOW,
    TN_MODEL_TYPE_OTHER
} tn_model_type;

typedef struct tn_model_config {
    tn_str name;
    tn_str base_path; /* absolute, or file:///PATH; other schemes are accepted and never have a version */
    tn_str platform;  /* "tensorflow"; absent (ptr NULL): the same; empty: not given where it must be */
    tn_model_type type;
    bool logging;  /* logging_config is there: an error of TensorFlow Serving's, in the end */
    tn_str engine; /* empty: the server's default */
    tn_policy_kind policy;
    uint32_t latest; /* TN_POLICY_LATEST: how many, 0 = 1 */
    const int64_t *specific;
    uint32_t n_specific;
    const tn_str *label_names;
    const int64_t *label_versions;
    uint32_t n_labels;
} tn_model_config;

/*
 * Called on a loader thread: after load, before AVAILABLE; and before unload. An error of attach fails the
 * load.
 */
typedef struct tn_model_hooks {
    void *context;
    tern_code (*attach)(void *context, tn_version *v, tern_status *st);
    void (*detach)(void *context, tn_version *v);
    /*
     * For the engine TN_ENGINE_AUTO: loads the version with the engine that suits it, and sets v->engine,
     * which is TN_ENGINE_REFERENCE at first, and v->loaded. NULL: there is no such engine.
     */
    tern_code (*load)(void *context, tn_version *v, const tern_load_options *options, tern_status *st);
} tn_model_hooks;

/* The name that lets hooks.load choose, and the engine whose answers are right. */
#define TN_ENGINE_AUTO      "auto"
#define TN_ENGINE_REFERENCE "tensorflow"
/* An initializer: what is tried, the reference first. They are opened before hooks.load is called. */
#define TN_ENGINES_TRIED                                                                                     \
    {                                                                                                        \
        TN_ENGINE_REFERENCE, "openvino"                                                                      \
    }

typedef struct tn_models_options {
    tn_engines *engines;
    tn_str default_engine; /* "tensorflow" */
    const tn_str *tags;
    uint32_t n_tags;
    int64_t poll_seconds;   /* 0: once; < 0: never */
    int32_t load_threads;   /* 0: 1 */
    int32_t unload_threads; /* 0: 1 */
    int32_t max_load_retries;
    int64_t load_retry_interval_us;
    bool labels_for_unavailable;
    /*
     * A version whose number is loaded already is loaded anew when its model gets another base path. Else it
     * stays as it was loaded, as in TensorFlow Serving.
     */
    bool replace_moved;
    tn_model_hooks hooks;
    tn_stats *stats; /* where calls and loads are counted; NULL: nowhere. Outlives the models */
} tn_models_options;

typedef struct tn_models tn_models;

/*
 * Returns owned; copies options and configs; options.engines and hooks.context are borrowed until
 * tn_models_free(). Starts nothing. Errors of the configs are those of tn_models_change(); labels without
 * labels_for_unavailable are one, since nothing is available yet, and so is a logging_config.
 */
TERN_MUST_USE tern_code tn_models_new(const tn_models_options *options, const tn_model_config *configs,
                                      uint32_t n, tn_models **out, tern_status *st);
/* Starts the watcher and the loaders; returns at once. */
TERN_MUST_USE tern_code tn_models_start(tn_models *m, tern_status *st);
/*
 * Somebody who changed the models and waits for the new ones. Zeroed by the caller but for done; the memory
 * is the caller's until done() was called or tn_models_forget() returned true.
 */
typedef struct tn_change tn_change;
struct tn_change {
    /* Once, by any thread, without a lock: status says how it ended. Must not call tn_models_free(). */
    void (*done)(tn_change *change);
    tern_status status;
    /* Set by the caller: of models with specific versions all of these are waited for, not only one. */
    bool every;
    /* Inside. */
    tn_change *next;
    struct tn_change_item *items;
    uint32_t n;
    bool logging;
};

/*
 * Makes the models those of the list: new ones are added, missing ones removed, others get their new base
 * path, policy and labels. All or nothing: an error leaves everything as it is. Applied when it returns;
 * loads and unloads follow by themselves. A removed model is out of service at once, and is unloaded when its
 * own last call ends; its versions stay in tn_models_status() (64 a model, 1,000 removed models).
 *
 * change (may be NULL, and is untouched on error): done() is called when every model that is new has a
 * version that is AVAILABLE or failed for good, maybe before this returns. UNKNOWN "1 model(s) did not become
 * available: {{{name: m version: 1} due to error: DATA_LOSS: Can't parse it}, }"; INVALID_ARGUMENT "No
 * request-logger-creator provided." where a config has logging.
 *
 * Any thread; never waits for loads or disks. Errors in TensorFlow Serving's words and order
 * (model_servers/server_core.cc): INVALID_ARGUMENT for a name twice, a relative base path, another platform
 * than before, none, or one that is not served; FAILED_PRECONDITION for a label of a version that is not
 * AVAILABLE. With labels_for_unavailable only moving a label that is there to such a version is an error.
 */
TERN_MUST_USE tern_code tn_models_change(tn_models *m, const tn_model_config *configs, uint32_t n,
                                         tn_change *change, tern_status *st);
/*
 * One more model, the others stay. ALREADY_EXISTS when there is one of that name; else as above.
 */
TERN_MUST_USE tern_code tn_models_add(tn_models *m, const tn_model_config *config, tn_change *change,
                                      tern_status *st);
/* One less. false: there is none of that name, or (logged) no memory. */
bool tn_models_remove(tn_models *m, tn_str name);
/* Nobody waits any more. true: done() will not be called; false: it was, or is just about to be. */
bool tn_models_forget(tn_models *m, tn_change *change);
/*
 * For who has waited long: DEADLINE_EXCEEDED with what each missing model waits for. true when nothing is
 * under way for any of them, so that waiting on may be in vain.
 */
bool tn_models_overdue(tn_models *m, const tn_change *change, tern_status *st);
/*
 * The server ends: ends all waiting with this status, refuses further changes with UNAVAILABLE, and looks for
 * no more versions. What is loaded serves on.
 */
void tn_models_end_changes(tn_models *m, const tern_status *st);

/*
 * Waits until no model has anything under way (every version that is wanted is AVAILABLE or failed for good,
 * or none is to be found: a missing or empty base path is watched on), or timeout_ns passed (<= 0: no wait).
 * Returns the number of models with an AVAILABLE version.
 */
uint32_t tn_models_wait(tn_models *m, int64_t timeout_ns);
/*
 * Stops the threads and unloads. Waits for a load that is under way, and for the last references, until
 * until_ns (CLOCK_MONOTONIC); then leaves what is loaded or loading as it is and its own memory allocated:
 * false, and the process should end without more ado. Accepts NULL.
 */
bool tn_models_free_until(tn_models *m, int64_t until_ns);
/* The same with 10 s. */
void tn_models_free(tn_models *m);
/* Instead of free, right before the process ends: nobody waits for the watcher any more. Accepts NULL. */
void tn_models_leave(tn_models *m);

/* Which version a request wants. */
typedef struct tn_target {
    tn_str name;
    bool has_version;
    int64_t version;
    bool has_label;
    tn_str label;
} tn_target;

/*
 * Takes one reference to the version that answers. Any thread, never blocks on loads.
 * NOT_FOUND "Servable not found for request: Latest(m)" / "Specific(m, 5)";
 * INVALID_ARGUMENT "Unrecognized servable version label: l".
 */
TERN_MUST_USE tern_code tn_models_acquire(tn_models *m, const tn_target *target, tn_version **out,
                                          tern_status *st);
void tn_version_retain(tn_version *v);
/* Any thread; accepts NULL. */
void tn_version_release(tn_version *v);

typedef struct tn_version_status {
    int64_t version;
    tn_state state;
    tern_code error_code;
    tn_str error_message;
} tn_version_status;

/*
 * Every version of a model that was ever wanted, highest first, copied into the arena (has_version: that one
 * only). NOT_FOUND "Could not find any versions of model m" / "Could not find version 5 of model m".
 */
TERN_MUST_USE tern_code tn_models_status(tn_models *m, tn_str name, bool has_version, int64_t version,
                                         tn_arena *arena, const tn_version_status **out, uint32_t *n,
                                         tern_status *st);

/* Configured names in order, copied into the arena. */
const tn_str *tn_models_names(tn_models *m, tn_arena *arena, uint32_t *n);

/* Calls fn for every AVAILABLE version, holding a reference meanwhile. */
void tn_models_each(tn_models *m, void (*fn)(void *context, tn_version *v), void *context);

typedef struct tn_models_counts {
    uint32_t models;    /* configured */
    uint32_t ready;     /* with an AVAILABLE version */
    uint32_t loading;   /* no AVAILABLE version, but one under way or to be retried */
    uint32_t failed;    /* no AVAILABLE version and nothing under way, since all there is failed for good */
    uint32_t absent;    /* no version to be found: a missing or empty base path, still watched */
    uint32_t under_way; /* AVAILABLE or not: with a version to be looked at, loaded, or tried again */
    uint32_t untried;   /* of those: with a version whose first load has not ended */
} tn_models_counts;
tn_models_counts tn_models_count(tn_models *m);
/* Whether some model can answer: as tn_models_count().ready > 0, without looking at all of them. */
bool tn_models_some_ready(tn_models *m);

/* Where one model stands. */
typedef enum tn_readiness {
    TN_MODEL_UNKNOWN, /* not configured */
    TN_MODEL_READY,
    TN_MODEL_LOADING,
    TN_MODEL_FAILED,
    TN_MODEL_ABSENT
} tn_readiness;
/*
 * *why (unless arena is NULL): one sentence about a model that is not ready, in the arena; empty when ready.
 */
tn_readiness tn_models_readiness(tn_models *m, tn_str name, tn_arena *arena, tn_str *why);

/* Whether a version of it is being loaded, or only waits for a loader. */
bool tn_models_is_loading(tn_models *m, tn_str name);

/*
 * The models that failed, as TensorFlow Serving lists them when its start fails
 * (core/load_servables_fast.cc): "{{{name: m version: 1} due to error: DATA_LOSS: Can't parse it}, }", by
 * name. In the arena; {NULL, 0} when memory is short. *n: how many.
 */
tn_str tn_models_failures(tn_models *m, tn_arena *arena, uint32_t *n);

#endif
