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
    uint32_t first_output; /* of the outputs of all signatures */
    tn_tf_fetches fetches;
} tn_tf_ends;

struct tern_engine_model {
    tern_engine *engine;
    TF_Graph *graph;
    TF_Session *session;
    tn_arena arena; /* signatures and ends */
    tern_signature_set signatures;
    tn_tf_ends *ends;   /* one for each signature */
    tn_tf_fetches many; /* sets of outputs of several signatures, as one list */
    uint64_t bytes;     /* estimate: graph and variables as files */
};

/* Copies TensorFlow's code and words; returns the code. */
tern_code tn_tf_fail(const TF_Status *from, tern_status *st);
/* tern_engine_api.run and run_many */
tern_code tn_tf_run(tern_engine_model *model, const tern_run *run, tern_status *st);
tern_code tn_tf_run_many(tern_engine_model *model, const tern_run *runs, uint32_t n, tern_status *st);

#endif
