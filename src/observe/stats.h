/*
 * observe/stats.h - what is counted of models: calls by surface and method, stages by version and signature,
 * loads.
 *
 * A model's figures belong to its name, live as long as the registry and only grow, so they survive versions
 * and reloads. A version's figures go with it. Names get a place here by configuration alone
 * (tn_stats_model); what clients make up is counted under the empty name. So the number of series is bounded.
 * Recording is a few relaxed atomic adds; a block of figures is allocated when the first call of its kind is
 * counted. Any thread.
 */
#ifndef TN_OBSERVE_STATS_H
#define TN_OBSERVE_STATS_H

#include <pthread.h>

#include "observe/metrics.h"

/* Surface and method of a call. X(name, api, method, TensorFlow Serving's entrypoint and API, or NULL) */
#define TN_METHOD_TABLE(X)                                                                                   \
    X(REST_OTHER, "rest", "other", "REST", "")                                                               \
    X(REST_PREDICT, "rest", "predict", "REST", "predict")                                                    \
    X(REST_CLASSIFY, "rest", "classify", "REST", "classify")                                                 \
    X(REST_REGRESS, "rest", "regress", "REST", "regress")                                                    \
    X(REST_STATUS, "rest", "status", "REST", "")                                                             \
    X(REST_METADATA, "rest", "metadata", "REST", "")                                                         \
    X(GRPC_OTHER, "grpc", "other", NULL, NULL)                                                               \
    X(GRPC_PREDICT, "grpc", "predict", "GRPC", "Predict")                                                    \
    X(GRPC_CLASSIFY, "grpc", "classify", "GRPC", "Classify")                                                 \
    X(GRPC_REGRESS, "grpc", "regress", "GRPC", "Regress")                                                    \
    X(GRPC_MULTI_INFERENCE, "grpc", "multi_inference", NULL, NULL)                                           \
    X(GRPC_STATUS, "grpc", "status", NULL, NULL)                                                             \
    X(GRPC_METADATA, "grpc", "metadata", NULL, NULL)                                                         \
    X(DOCUMENT, "document", "invoke", NULL, NULL)

typedef enum tn_method {
#define X(name, api, method, entrypoint, serving_api) TN_METHOD_##name,
    TN_METHOD_TABLE(X)
#undef X
        TN_METHODS
} tn_method;

typedef struct tn_method_names {
    const char *api, *method;
    const char *entrypoint, *serving_api; /* NULL: TensorFlow Serving does not count it */
} tn_method_names;
const tn_method_names *tn_method_name(tn_method method); /* Static. */

/* Answers of one method of one model. */
typedef struct tn_method_stats {
    tn_histogram ok;     /* from the head's first byte until the answer was ready */
    tn_histogram failed; /* likewise, of those that ended badly */
    tn_histogram run;    /* inside the engine */
    atomic_uint_fast64_t codes[TN_CODES];
} tn_method_stats;

/* tf.Examples in a request: at most 1, 2, 4, ... 16384, more. */
#define TN_EXAMPLE_BUCKETS 16
/* Times of loads: TensorFlow's 37 bounds (10 us * 1.8^k) and infinity. */
#define TN_LOAD_BUCKETS 38

/* The engine's loads from one folder. Under the registry's lock. */
typedef struct tn_load_stats tn_load_stats;
struct tn_load_stats {
    tn_load_stats *next; /* older */
    char *path;
    uint64_t good, bad;
    int64_t good_ns;
    uint64_t bucket[TN_LOAD_BUCKETS];
    tn_histogram_sum warm_good, warm_bad; /* running the warm-up records, all of a load together */
    tern_code warm_error;                 /* of the last bad one */
};

/* Folders whose loads are remembered, for each model; the oldest are forgotten. */
#define TN_LOADS_KEPT 32

typedef struct tn_model_stats tn_model_stats;
struct tn_model_stats {
    tn_model_stats *next; /* in its slot of the registry; does not change */
    tn_str name;
    _Atomic(void *) method[TN_METHODS]; /* tn_method_stats */
    atomic_uint_fast64_t examples;      /* in all, and by requests */
    atomic_uint_fast64_t example_bucket[TN_EXAMPLE_BUCKETS];
    atomic_uint_fast64_t loads_good, loads_bad;
    tn_histogram load; /* good ones */
    tn_load_stats *loads;
    atomic_uint_fast64_t runs, run_ns; /* of the engine: a batch is one */
};

/* Names that get figures of their own; those of later ones go to the empty name's. */
#define TN_STATS_MODELS 16384

typedef struct tn_stats tn_stats;

/* NULL when memory is short. */
tn_stats *tn_stats_new(void);
/* Nobody may record any more. Accepts NULL. */
void tn_stats_free(tn_stats *s);
/* The figures of a configured model, made when they are not there yet. Never NULL. */
tn_model_stats *tn_stats_model(tn_stats *s, tn_str name);
/* Those of that name, or the empty name's. No lock. Never NULL. */
tn_model_stats *tn_stats_find(const tn_stats *s, tn_str name);
/* Calls fn for every model, the empty name first. */
void tn_stats_each(tn_stats *s, void (*fn)(void *context, tn_model_stats *m), void *context);

/* One answer: took_ns until it was ready; run_ns: inside the engine, 0: it did not run. */
void tn_stats_answer(tn_model_stats *m, tn_method method, tern_code code, int64_t took_ns, int64_t run_ns);
/* One request with n tf.Examples. */
void tn_stats_examples(tn_model_stats *m, uint64_t n);
/* One try to load a version: engine, handler, warm-up; without waiting time. */
void tn_stats_load(tn_model_stats *m, bool good, int64_t ns);
/* The engine's part of it, for its folder. */
void tn_stats_engine_load(tn_stats *s, tn_model_stats *m, const char *path, bool good, int64_t ns);
/* The warm-up of a folder that has records for it. */
void tn_stats_warmup(tn_stats *s, tn_model_stats *m, const char *path, tern_code code, int64_t ns);
/* Calls fn for each folder of m, newest first, with the lock held: it must not call back. */
void tn_stats_each_load(tn_stats *s, tn_model_stats *m,
                        void (*fn)(void *context, const tn_model_stats *m, const tn_load_stats *load),
                        void *context);

/* Signatures of a version that get figures of their own; what follows goes to "other". */
#define TN_STATS_SIGNATURES 16
/* Further cells: other signatures; calls that ended before their signature was known. */
#define TN_STATS_CELLS (TN_STATS_SIGNATURES + 2)

/* Calls of one method with one signature of one version. */
typedef struct tn_call_stats {
    tn_histogram stage[TN_STAGES];
    tn_histogram total; /* from submission, and the body's reading, to the end */
    atomic_uint_fast64_t codes[TN_CODES];
} tn_call_stats;

/* Lies in a version; zeroed is empty. */
typedef struct tn_version_stats {
    tn_model_stats *model;                            /* NULL: nobody asks */
    _Atomic(void *) cell[TN_STATS_CELLS][TN_METHODS]; /* tn_call_stats */
} tn_version_stats;

/* What was counted, or NULL while nothing was. */
const tn_method_stats *tn_stats_method(const tn_model_stats *m, int method);
const tn_call_stats *tn_stats_call_of(const tn_version_stats *v, size_t cell, int method);

/* Index of a signature's cell: that of signature i, or with i < 0 of calls without. */
static inline size_t tn_stats_cell(int64_t i)
{
    return i < 0 ? TN_STATS_SIGNATURES + 1 : i < TN_STATS_SIGNATURES ? (size_t)i : TN_STATS_SIGNATURES;
}

/* One call that was submitted. stage_ns[TN_STAGES]; what took no time is not counted. */
void tn_stats_call(tn_version_stats *v, size_t cell, tn_method method, tern_code code,
                   const int64_t *stage_ns, int64_t total_ns);
/* One run of the engine. */
void tn_stats_run(const tn_version_stats *v, int64_t ns);
/* Sums over all cells, for tests and overviews: calls that ended with code. */
uint64_t tn_stats_count(const tn_version_stats *v, tern_code code);
/* Likewise: of the times of one stage (TN_STAGES: of the whole). */
uint64_t tn_stats_stage_count(const tn_version_stats *v, int stage);
/* Frees what the version's figures hold. Nobody may record any more. */
void tn_version_stats_free(tn_version_stats *v);

#endif
