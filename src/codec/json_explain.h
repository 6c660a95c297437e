/*
 * codec/json_explain.h - the thorough reader of predict bodies: TensorFlow Serving's outcome, value or error,
 * for any body. Shared by json_explain.c and json_decode.c only.
 */
#ifndef TN_CODEC_JSON_EXPLAIN_H
#define TN_CODEC_JSON_EXPLAIN_H

#include "codec/json_predict.h"
#include "codec/pb_tensor.h"

/* As tn_json_decode_predict(), by way of a tape: slower, exact in every corner. */
TERN_MUST_USE tern_code tn_json_explain(tn_str body, const tern_signature_set *signatures,
                                        const tn_json_limits *limits, tn_arena *arena, tn_predict *out,
                                        tern_status *st);

/*
 * Hands the builds out as the inputs of a request: one for each input of the signature, in its order. "tensor
 * parsing error: x" for what makes no tensor. Releases what is not handed out.
 */
TERN_MUST_USE tern_code tn_json_finish(tn_tensor_build *builds, const tern_signature *s, bool row,
                                       tn_arena *arena, tn_predict *out, tern_status *st);

#endif
