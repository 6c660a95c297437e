/*
 * codec/json_predict.h - the body of a REST predict call, decoded straight into tensors; and the answer,
 * written from tensors.
 *
 * Implements TensorFlow Serving's REST v1 (util/json_tensor.cc: FillPredictRequestFromJson,
 * MakeJsonFromTensors), with its error texts; recorded answers are the test. Numbers are exact: decimal text
 * becomes the nearest float or double. Decoding is one pass over the body; only a body with an error is read
 * again, to say what is wrong as the original does.
 * Pure: no I/O, no globals. One thread at a time per arena.
 */
#ifndef TN_CODEC_JSON_PREDICT_H
#define TN_CODEC_JSON_PREDICT_H

#include "base/buf.h"
#include "codec/predict.h"

typedef struct tn_json_limits {
    int64_t max_depth;        /* nesting */
    int64_t max_tensor_bytes; /* all inputs together */
    int64_t max_tape_bytes;   /* working memory for bodies that are read thoroughly; at most 2 GB are used */
    /*
     * An error's text: what it repeats of the body is cut so that the words behind it stay. 0: what a status
     * holds.
     */
    int64_t max_error_bytes;
    bool extended; /* half, bfloat16 and uint16 are numbers too, which TensorFlow Serving refuses */
} tn_json_limits;

/*
 * body: borrowed, need not end in NUL. signatures: of the target version; the body's signature_name or
 * serving_default chooses (error: 400 `Serving signature name: "x" not found in signature def`). On success
 * *out holds the inputs (release with tn_predict_release). On failure *out has no inputs and st has the code
 * (INVALID_ARGUMENT mostly, UNIMPLEMENTED for dtypes that JSON cannot carry) and TensorFlow Serving's text;
 * when that is longer than a status holds, all of it is out->error.
 */
TERN_MUST_USE tern_code tn_json_decode_predict(tn_str body, const tern_signature_set *signatures,
                                               const tn_json_limits *limits, tn_arena *arena, tn_predict *out,
                                               tern_status *st);

/*
 * The same for a body that is still arriving, as far as the fast reader goes: arrived(context, n) waits until
 * the first n bytes are there, and says how many are; fewer than it said before, or as many, ends the
 * attempt. No other byte is read. true: *out holds what tn_json_decode_predict() gives for the whole body,
 * whatever follows the JSON. false: not decoded, for whatever reason, and nothing is left of it.
 */
TERN_MUST_USE bool tn_json_decode_arriving(tn_str body, size_t (*arrived)(void *context, size_t n),
                                           void *context, const tern_signature_set *signatures,
                                           const tn_json_limits *limits, tn_arena *arena, tn_predict *out);

/* How an answer is written. All false: as TensorFlow Serving does, in columns. */
typedef struct tn_json_style {
    bool row;      /* {"predictions": [...]}, else {"outputs": ...} */
    bool compact;  /* no blanks and new lines */
    bool extended; /* half, bfloat16 and uint16 as numbers, which the original cannot write */
} tn_json_style;

/*
 * Appends the whole answer in TensorFlow Serving's layout, or compact. names[i] is the alias of tensors[i] (n
 * of them, in the order they are to be written).
 * Errors: INVALID_ARGUMENT with its texts (inconsistent batch size, no shape information, dtype that has no
 * JSON form); RESOURCE_EXHAUSTED when out's max is passed. As the original does, what was written before an
 * error stays in out.
 */
TERN_MUST_USE tern_code tn_json_encode_predict(const tn_json_style *style, const tn_str *names,
                                               const tern_tensor *tensors, uint32_t n, tn_buf *out,
                                               tern_status *st);

#endif
