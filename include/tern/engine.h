/*
 * tern/engine.h - the contract between Tern and an engine: what loads a model folder and runs its graph.
 *
 * An engine is a shared object that exports one function, tern_engine_entry(). Tern opens it (RTLD_LOCAL)
 * when the first model needs it, checks abi_version and struct_size, and calls open() once in the process.
 * The table is append-only: a field is never moved or removed; a host tests struct_size before it uses a
 * later field.
 *
 * Threads: open/close on one thread. load and unload may run on several loader threads at once, for different
 * models. signatures, run and memory_use may be called by any number of threads at once for one model; unload
 * only after the last run of that model returned. Memory: whatever a function takes is borrowed for the call
 * unless it says "takes" or retains a buffer. Errors: the engine's own words, with its code, unchanged.
 */
#ifndef TERN_ENGINE_H
#define TERN_ENGINE_H

#include "tern/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_ENGINE_ABI   1
#define TERN_ENGINE_ENTRY "tern_engine_entry"

typedef struct tern_engine tern_engine;             /* the engine's own state, one a process */
typedef struct tern_engine_model tern_engine_model; /* one loaded version of a model */

typedef enum tern_log_level {
    TERN_LOG_DEBUG,
    TERN_LOG_INFO,
    TERN_LOG_WARNING,
    TERN_LOG_ERROR
} tern_log_level;

/* What the host gives to plugins. Borrowed; valid until close(). All functions: any thread. */
typedef struct tern_host {
    uint32_t struct_size;
    uint32_t abi_version;
    void (*log)(tern_log_level level, const char *component, const char *message);
    /* Returns owned: a buffer of size bytes, 64-byte aligned, not cleared, one reference; NULL when memory is
     * short. */
    tern_buffer *(*buffer_new)(size_t size);
} tern_host;

/* Settings of the process. Zero means the engine's default. */
typedef struct tern_engine_options {
    uint32_t struct_size;
    int32_t intra_op_threads; /* threads inside one operation, shared by all models */
    int32_t inter_op_threads; /* threads between operations */
    tern_str config; /* engine-specific; TensorFlow: serialized ConfigProto merged over the fields above */
} tern_engine_options;

typedef struct tern_load_options {
    uint32_t struct_size;
    const char *directory; /* version folder, e.g. ".../model/1"; NUL-terminated */
    const tern_str *tags;  /* MetaGraph tags; {"serve"} usually */
    uint32_t n_tags;
    int32_t threads; /* of one run of this model, for engines that can; 0: as the process has it */
} tern_load_options;

enum {
    /* Run the graph in the thread that calls run(); no hop to a pool. For graphs that were measured to be
       small. */
    TERN_RUN_CALLER_THREAD = 1u << 0
};

/*
 * One run. inputs[i] feeds signature->inputs[input_ids[i]]; outputs[i] receives
 * signature->outputs[output_ids[i]]. The engine does not check dtypes or shapes against the signature: the
 * runtime does, and its words come back.
 */
typedef struct tern_run {
    uint32_t struct_size;
    uint32_t flags;                  /* TERN_RUN_* */
    const tern_signature *signature; /* of this model's own set */
    const tern_tensor
        *inputs; /* borrowed; an engine that keeps an input longer retains its buffer and releases it later */
    const uint32_t *input_ids;
    uint32_t n_inputs;
    uint32_t n_outputs;
    const uint32_t *output_ids;
    tern_tensor *outputs; /* filled on success: each owns one reference to its buffer. On failure untouched */
    int64_t timeout_us;   /* 0: none. A hint: an engine that cannot stop a run lets it end */
    /* Memory that lives as long as the outputs; for their dims, and for lists of the run. Never NULL unless
     * memory is short. Not thread-safe: call it only from the thread of run(). */
    void *(*alloc)(void *alloc_context, size_t size);
    void *alloc_context;
} tern_run;

typedef struct tern_engine_api {
    uint32_t struct_size; /* sizeof(tern_engine_api) of the engine's build */
    uint32_t abi_version; /* TERN_ENGINE_ABI */
    const char *name;     /* "tensorflow" */

    /* Version of the runtime underneath, e.g. "2.21.0". Static. */
    const char *(*runtime_version)(void);

    /* Once a process. On success *engine is owned by the host until close(). */
    tern_code (*open)(const tern_host *host, const tern_engine_options *options, tern_engine **engine,
                      tern_status *st);
    void (*close)(tern_engine *engine);

    /*
     * 1 when the folder has the form this engine loads, as far as a cheap look can tell, and is not half
     * copied; else 0. A folder that stays 0 is loaded after a while all the same, for the error of load().
     */
    int (*probe)(tern_engine *engine, const char *directory);

    /* Loads one version. Blocks; seconds are normal. On success *model is owned by the host until unload().
     */
    tern_code (*load)(tern_engine *engine, const tern_load_options *options, tern_engine_model **model,
                      tern_status *st);

    /* Borrowed; lives as long as the model. */
    const tern_signature_set *(*signatures)(tern_engine_model *model);

    /* Blocks until the run ended. */
    tern_code (*run)(tern_engine_model *model, const tern_run *run, tern_status *st);

    /* Takes the model. Accepts NULL. */
    void (*unload)(tern_engine_model *model);

    /* Bytes that the model holds as far as the engine knows, else 0. */
    uint64_t (*memory_use)(tern_engine_model *model);

    /* May be NULL. Asks a run of this model, under way in another thread, to end early with TERN_CANCELLED.
     */
    void (*cancel)(tern_engine_model *model, const tern_run *run);

    /*
     * May be NULL, or beyond struct_size: then the host runs one after the other. Several signatures in one
     * pass over the graph (MultiInference): n >= 1 runs, each as for run(). flags and timeout_us of the first
     * count; cancel() is given the first. Where signatures share an input tensor, the runs feed it the same
     * value. On failure the outputs of all stay untouched.
     */
    tern_code (*run_many)(tern_engine_model *model, const tern_run *runs, uint32_t n, tern_status *st);
} tern_engine_api;

/* Exported by the shared object. Returns the table (static), or NULL when it cannot serve host_abi_version.
 */
typedef const tern_engine_api *(*tern_engine_entry_fn)(uint32_t host_abi_version);

#ifdef __cplusplus
}
#endif
#endif
