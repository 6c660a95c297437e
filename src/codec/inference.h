/*
 * codec/inference.h - Classify and Regress on a signature: which of its ends they use, whether what came out
 * is an answer, and the answer as JSON or protobuf.
 *
 * Rules and texts of TensorFlow Serving (servables/tensorflow/classifier.cc, regressor.cc;
 * util/json_tensor.cc: MakeJsonFromClassificationResult). Wire contract:
 * tensorflow_serving/apis/{classification,regression, inference}.proto. Pure, any thread.
 */
#ifndef TN_CODEC_INFERENCE_H
#define TN_CODEC_INFERENCE_H

#include "base/buf.h"
#include "tensor/tensor.h"

typedef enum tn_infer_kind { TN_INFER_CLASSIFY, TN_INFER_REGRESS } tn_infer_kind;

/* One signature, asked in one way. Slices and pointers are the signature's. */
typedef struct tn_infer_task {
    tn_infer_kind kind;
    const tern_signature *signature;
    uint32_t input_id;
    uint32_t output_ids[2]; /* what to run: classes before scores, where both are there; or "outputs" */
    uint32_t n_outputs;
    bool has_classes, has_scores;
} tn_infer_task;

/*
 * Fills *out from a signature. check_method: --enable_signature_method_name_check. INVALID_ARGUMENT when the
 * signature cannot be asked this way; the text shows it.
 */
TERN_MUST_USE tern_code tn_infer_plan(tn_infer_kind kind, const tern_signature *signature, bool check_method,
                                      tn_infer_task *out, tern_status *st);
/*
 * Whether outputs (task->n_outputs of them, as planned) answer n_examples. Before any of what follows.
 * INVALID_ARGUMENT.
 */
TERN_MUST_USE tern_code tn_infer_check(const tn_infer_task *task, const tern_tensor *outputs,
                                       int64_t n_examples, tern_status *st);

/*
 * Appends the whole answer of REST, {"results": ...}; compact: without blanks and new lines. out->failed when
 * it is over its maximum.
 */
void tn_infer_json(const tn_infer_task *task, const tern_tensor *outputs, bool compact, tn_buf *out);

/* Appends ClassificationResponse or RegressionResponse. out->failed when it is over its maximum. */
void tn_infer_response(const tn_infer_task *task, const tern_tensor *outputs, tn_str model, int64_t version,
                       tn_buf *out);
/* Appends MultiInferenceResponse.results, one element. */
void tn_infer_result(const tn_infer_task *task, const tern_tensor *outputs, tn_str model, int64_t version,
                     tn_buf *out);

#endif
