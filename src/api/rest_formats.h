/*
 * api/rest_formats.h - the forms of a predict call over REST beyond TensorFlow Serving's JSON: what the
 * client wants, bodies as PredictRequest or npy, answers as compact JSON, PredictResponse or npy, compressed.
 *
 * Called tensorflow_model_server all of it is off (--rest_extensions): then the wants are JSON in, JSON out,
 * and gzip bodies.
 */
#ifndef TN_API_REST_FORMATS_H
#define TN_API_REST_FORMATS_H

#include "api/accept.h"
#include "api/http.h"
#include "codec/json_predict.h"

#define TN_REST_OUTPUTS_MAX 64

typedef struct tn_rest_wants {
    tn_media body; /* JSON, PROTOBUF or NPY */
    tn_content_coding body_coding;
    tn_media answer;          /* as the client likes it best; JSON where that cannot be */
    bool compact;             /* JSON without blanks */
    tn_content_coding coding; /* of the answer, where it is worth it */
    bool must_code;           /* or even where it is not */
    tn_str signature_name;    /* ?signature_name=, for bodies that have no place for it */
    tn_str *outputs;          /* ?output=, may be repeated; in the arena */
    uint32_t n_outputs;
} tn_rest_wants;

/*
 * From the request's head. On its loop. INVALID_ARGUMENT for a broken query, RESOURCE_EXHAUSTED without
 * memory.
 */
TERN_MUST_USE tern_code tn_rest_wants_read(const tn_server *server, const tn_exchange *ex, tn_arena *arena,
                                           tn_rest_wants *wants, tern_status *st);

/*
 * A PredictRequest or an npy array to inputs, within limits. name: the model that the path
 * names, which the message may repeat and not contradict. Sets call.output_ids when the message has an
 * output_filter.
 */
TERN_MUST_USE tern_code tn_rest_read_binary(tn_call *call, const tn_rest_wants *wants, tn_str name,
                                            tn_str body, const tn_pb_predict_limits *limits, tn_predict *out,
                                            tern_status *st);
/* Sets call.output_ids and n_outputs to those of ?output=, or to all unless they are set. */
TERN_MUST_USE tern_code tn_rest_choose_outputs(tn_call *call, const tn_rest_wants *wants, tern_status *st);
/*
 * The outputs of a call as an answer: into r->out, the arena, and slices of tensor memory. row: JSON by rows.
 */
TERN_MUST_USE tern_code tn_rest_write(tn_request *r, const tn_rest_wants *wants, bool row,
                                      tn_http_answer *answer, tern_status *st);
/* r->out, which is JSON, as an answer. */
void tn_rest_write_text(tn_request *r, const tn_rest_wants *wants, tn_http_answer *answer);

#endif
