/*
 * api/warmup.h - the recorded requests that a model brings along, run before it becomes AVAILABLE.
 *
 * assets.extra/tf_serving_warmup_requests is a TFRecord file of tensorflow.serving.PredictionLog, as in
 * TensorFlow Serving (servables/tensorflow/saved_model_warmup{,_util}.cc), with its rules and texts: records
 * of Predict, Classify, Regress and MultiInference; other kinds are UNIMPLEMENTED; at most 1000 records; what
 * fails, fails the load.
 */
#ifndef TN_API_WARMUP_H
#define TN_API_WARMUP_H

#include "api/server.h"

#define TN_WARMUP_FILE    "assets.extra/tf_serving_warmup_requests"
#define TN_WARMUP_RECORDS 1000

typedef struct tn_warmup_options {
    tn_server *server;  /* limits, checks, draining; borrowed */
    int64_t iterations; /* of each record; <= 0: 1 */
} tn_warmup_options;

/*
 * Runs the records of a loaded version that nobody else knows of yet; OK when it has none. Blocks; on a
 * loader thread. Its runs stay in this thread as far as the engine can, so that they have the loader's
 * priority. UNAVAILABLE when the server is drained meanwhile.
 */
TERN_MUST_USE tern_code tn_warmup(const tn_warmup_options *options, tn_version *v, tern_status *st);

/* What is done with a recorded request, decoded for v. An error ends the reading. */
typedef tern_code tn_warmup_use(void *context, tn_call *call, tern_status *st);
/* The predict requests among the records, in their order; nothing is run. Likewise otherwise. */
TERN_MUST_USE tern_code tn_warmup_each(const tn_warmup_options *options, tn_version *v, tn_warmup_use *use,
                                       void *context, tern_status *st);

#endif
