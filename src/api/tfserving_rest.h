/*
 * api/tfserving_rest.h - what the REST calls have in common: tfserving_rest.c (routes, predict),
 * tfserving_examples.c (classify, regress).
 */
#ifndef TN_API_TFSERVING_REST_H
#define TN_API_TFSERVING_REST_H

#include "api/request.h"
#include "api/rest_formats.h"

/* tn_request.surface_state of these calls, or what it begins with. */
typedef struct tn_rest_state {
    tn_target target;
    tn_rest_wants wants;
    tn_http_answer answer;
    /*
     * Of another surface, or NULL, called by whoever runs the call. prepare: once, before the body is looked
     * at; may put another one into r->body. Where there is no such model it is called for small bodies only.
     * finish: once the JSON of a good answer is in r->out and r->chunk; may change it there. An error is the
     * call's.
     */
    tern_code (*prepare)(tn_request *r, tern_status *st);
    tern_code (*finish)(tn_request *r, tern_status *st);
} tn_rest_state;

/*
 * For a request of another surface, which begins with tn_rest_predict_steps() and whose state begins with a
 * tn_rest_state, zeroed but for its functions: sets the call's steps and the target (path and query, as on
 * the wire). INVALID_ARGUMENT where the target is none ("Malformed request: POST /x").
 */
TERN_MUST_USE tern_code tn_rest_aim(tn_request *r, tn_str target, tern_status *st);
/*
 * The call, as a POST of r->body to that target of a REST port would be: with a zeroed state body and answer
 * are JSON, whatever the head says. The answer, as the REST port would send it, is in
 * tn_rest_state.answer.chunks when surface->answer is called; errors have the REST port's code and text
 * (tn_http_request_error_body()). On the loop.
 */
void tn_rest_go(tn_request *r);
/*
 * tn_rest_aim() and tn_rest_go(): errors of the target come after the body. target: alive until the answer.
 */
void tn_rest_run(tn_request *r, tn_str target);
/*
 * What a GET of this target (path and query) answers, into out: status of a model, or its metadata. Never
 * blocks.
 */
TERN_MUST_USE tern_code tn_rest_get(tn_server *server, tn_str target, tn_arena *arena, tn_buf *out,
                                    tern_status *st);
/*
 * As tn_rest_on_request() for another target than the exchange's, whose header fields do not count: what the
 * container's proxy passes on. Takes the exchange; the target may go when it returns.
 */
void tn_rest_pass(tn_server *server, tn_exchange *ex, tn_str target);

/*
 * The body's bytes, inflated to at most max when they are in a coding. What cannot be inflated counts as
 * empty, as in the original; where extensions are on, an error says so.
 */
TERN_MUST_USE tern_code tn_rest_body(tn_request *r, int64_t max, tn_str *body, tern_status *st);
/* What one more body may take of the memory for all. */
tn_json_limits tn_rest_json_limits(const tn_server *server);

/* What a request begins with whose method is not known yet. */
const tn_call_steps *tn_rest_predict_steps(void);
/* Classify and regress (tfserving_examples.c). */
const tn_call_steps *tn_rest_examples_steps(bool regress, bool coded); /* coded: the answer is compressed */
/* What is wrong with a body of theirs, whatever the model. */
TERN_MUST_USE tern_code tn_rest_examples_error(tn_request *r, tn_str body, tern_status *st);

#endif
