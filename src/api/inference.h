/*
 * api/inference.h - Classify, Regress and MultiInference as calls: which signatures they run, their one
 * string tensor of examples, and their answers; and what Predict has in common with them. For REST, gRPC and
 * recorded requests alike; knows no exchange.
 *
 * Order of checks as in TensorFlow Serving (servables/tensorflow/{classifier,regressor,multi_inference}.cc):
 * the signatures before the input.
 */
#ifndef TN_API_INFERENCE_H
#define TN_API_INFERENCE_H

#include "api/server.h"
#include "codec/inference.h"
#include "codec/pb_examples.h"
#include "codec/pb_predict.h"

typedef enum tn_infer_what { TN_WHAT_CLASSIFY, TN_WHAT_REGRESS, TN_WHAT_MULTI } tn_infer_what;

/* What such a call keeps until it is answered; in its arena. */
typedef struct tn_infer {
    tn_infer_what what;
    tn_infer_task *tasks;
    uint32_t n_tasks;
    int64_t n_examples;
} tn_infer;

/*
 * Looks up the signatures that the request's tasks ask for, in call->version. INVALID_ARGUMENT,
 * UNIMPLEMENTED.
 */
TERN_MUST_USE tern_code tn_infer_tasks(tn_call *call, tn_infer_what what, const tn_pb_task *tasks,
                                       uint32_t n_tasks, bool check_method, tn_infer *out, tern_status *st);
/* Sets the call's signatures, inputs and outputs. Takes the tensor, also when it fails. */
TERN_MUST_USE tern_code tn_infer_feed(tn_call *call, tn_infer *infer, tern_tensor *examples, tern_status *st);
/* After the run: whether the outputs are an answer. */
TERN_MUST_USE tern_code tn_infer_outputs(const tn_call *call, const tn_infer *infer, tern_status *st);
/* Appends the answer's message, or its JSON (Classify and Regress). out->failed when it is too large. */
void tn_infer_put(const tn_call *call, const tn_infer *infer, tn_buf *out);
void tn_infer_put_json(const tn_call *call, const tn_infer *infer, bool compact, tn_buf *out);

/* ---- predict ---- */

/* --enable_signature_method_name_check: INTERNAL when the signature has the name of no known method. */
TERN_MUST_USE tern_code tn_predict_check_method(const tn_server *server, const tern_signature *signature,
                                                tern_status *st);
/*
 * A PredictRequest that is complete in its reader: sets the call's signature, inputs and outputs from
 * call->version.
 */
TERN_MUST_USE tern_code tn_predict_bind(const tn_server *server, tn_call *call, tn_pb_predict_reader *reader,
                                        tern_status *st);

#endif
