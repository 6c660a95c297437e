/*
 * codec/json_examples.h - the body of a REST classify or regress call: JSON examples to serialized
 * tensorflow.Example strings, in one string tensor.
 *
 * Implements TensorFlow Serving's REST v1 (util/json_tensor.cc: FillClassificationRequestFromJson,
 * MakeExampleFromJsonObject) with its error texts: a boolean or whole number makes an int64_list, a number
 * with fraction or exponent a float_list, a string or {"b64": ...} a bytes_list; of equal keys the last one
 * counts. A context's features stand before those of each example. Nothing of this depends on the model. Pure
 * but for tensor memory. One thread at a time per arena.
 */
#ifndef TN_CODEC_JSON_EXAMPLES_H
#define TN_CODEC_JSON_EXAMPLES_H

#include "codec/json_predict.h"

typedef struct tn_json_examples {
    tn_str signature_name; /* as it was sent, in the arena; empty: the default */
    tern_tensor examples;  /* shape [n], n > 0; owned by the caller */
    tn_str error;          /* of a failure, in the arena, when it is longer than a status holds */
} tn_json_examples;

/*
 * body: borrowed. budget: the tensor's bytes are taken from it before its memory is, since a long context
 * makes much of a small body; on success the caller gives examples.size back. NULL: none. INVALID_ARGUMENT in
 * TensorFlow Serving's words; RESOURCE_EXHAUSTED over max_tensor_bytes, over the budget, or without memory.
 * On failure *out has no tensor.
 */
TERN_MUST_USE tern_code tn_json_decode_examples(tn_str body, const tn_json_limits *limits, tn_budget *budget,
                                                tn_arena *arena, tn_json_examples *out, tern_status *st);
/* The same without a tensor: only whether there is an error in the body. */
TERN_MUST_USE tern_code tn_json_check_examples(tn_str body, const tn_json_limits *limits, tn_arena *arena,
                                               tn_json_examples *out, tern_status *st);

#endif
