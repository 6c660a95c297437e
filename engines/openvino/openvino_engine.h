/*
 * engines/openvino/openvino_engine.h - what the files of the OpenVINO engine share.
 */
#ifndef TN_OPENVINO_ENGINE_H
#define TN_OPENVINO_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "openvino/c/openvino.h"
#include "pool.h"
#include "tern/engine.h"

struct tern_engine {
    const tern_host *host;
    ov_core_t *core;
    char threads[16]; /* of one run, unless its model says else */
};

/* A tensor of a signature as OpenVINO has it. */
typedef struct tn_ov_port {
    ov_output_const_port_t *port; /* NULL: the graph does not use this input */
    ov_partial_shape_t shape;     /* of a port that is there */
} tn_ov_port;

/*
 * A signature. Its graph is read when the model is loaded, which tells whether OpenVINO can run it; compiled
 * then or at its first run, since each holds the weights for itself.
 */
typedef struct tn_ov_signature {
    tern_engine_model *model;
    const tern_signature *what;
    bool runnable;        /* has tensors at all */
    bool sums;            /* takes small int64 only: graph.h */
    pthread_mutex_t lock; /* of compiling */
    ov_model_t *read;     /* until it is compiled */
    ov_compiled_model_t *compiled;
    tn_ov_port *inputs; /* by id */
    tn_ov_port *outputs;
    atomic_bool ready; /* compiled, ports and pool are there, and stay as they are */
    tn_ov_pool pool;
} tn_ov_signature;

struct tern_engine_model {
    tern_engine *engine;
    atomic_uint users; /* the host, and outputs that lie in OpenVINO's memory: the last one frees it */
    tn_arena arena;    /* signatures */
    tern_signature_set signatures;
    tn_ov_signature *each; /* one for each signature */
    char threads[16];      /* of one run */
    uint64_t bytes;        /* estimate: graph and variables as files */
};

/* OpenVINO's words of its last failure, without the places in its source; returns code. */
tern_code tn_ov_fail(tern_code code, const char *what, tern_status *st);
/* OpenVINO's name of a dtype; DYNAMIC: it has none. */
ov_element_type_e tn_ov_type(tern_dtype dtype);

/* tern_engine_api.load and unload: load.c */
tern_code tn_ov_load(tern_engine *e, const tern_load_options *options, tern_engine_model **model,
                     tern_status *st);
void tn_ov_unload(tern_engine_model *m);
/* Makes the signature ready to run. Any thread; blocks while it is compiled. */
tern_code tn_ov_compile(tn_ov_signature *s, tern_status *st);

/*
 * Reads a serialized SavedModel whose variables are those of `directory`, if it has any. *out is owned. Any
 * thread.
 */
tern_code tn_ov_read(const tern_engine *e, tn_str saved_model, const char *directory, ov_model_t **out,
                     tern_status *st);
/* Removes folders for the moment (load.c) that processes left which were killed while they loaded. */
void tn_ov_remove_left(void);
/* threads: of one run. *out is owned. */
tern_code tn_ov_compile_graph(const tern_engine *e, const ov_model_t *graph, const char *threads,
                              ov_compiled_model_t **out, tern_status *st);
/* Makes OpenVINO's threads with the priority of the caller: threads.c. What fails is logged. */
void tn_ov_make_threads(const tern_engine *e);

/* tern_engine_api.run and cancel: run.c */
tern_code tn_ov_run(tern_engine_model *m, const tern_run *run, tern_status *st);
void tn_ov_cancel(tern_engine_model *m, const tern_run *run);

#endif
