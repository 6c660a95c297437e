/*
 * engines/tensorflow/tensorflow_engine.h - what the files of the TensorFlow engine share.
 */
#ifndef TN_TENSORFLOW_ENGINE_H
#define TN_TENSORFLOW_ENGINE_H

#include "base/arena.h"
#include "fetches.h"
#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"
#include "tern/engine.h"

struct tern_engine {
    const tern_host *host;
    TF_SessionOptions *options;
};

/* One signature, resolved: graph ends of its inputs and outputs, by id. An absent operation has oper NULL. */
typedef struct tn_tf_ends {
    TF_Output *inputs;
    TF_Output *outputs;
    tn_tf_fetches fetches;
} tn_tf_ends;

struct tern_engine_model {
    tern_engine *engine;
    TF_Graph *graph;
    TF_Session *session;
    tn_arena arena; /* signatures and ends */
    tern_signature_set signatures;
    tn_tf_ends *ends; /* one for each signature */
    uint64_t bytes;   /* estimate: graph and variables as files */
};

/* Copies TensorFlow's code and words; returns the code. */
tern_code tn_tf_fail(const TF_Status *from, tern_status *st);
/* tern_engine_api.run */
tern_code tn_tf_run(tern_engine_model *model, const tern_run *run, tern_status *st);

#endif
