/*
 * api/tfserving_rest.h - what the REST calls have in common: tfserving_rest.c (routes, predict),
 * tfserving_examples.c (classify, regress).
 */
#ifndef TN_API_TFSERVING_REST_H
#define TN_API_TFSERVING_REST_H

#include "api/request.h"
#include "api/rest_formats.h"

/* tn_request.surface_state of these calls. */
typedef struct tn_rest_state {
    tn_target target;
    tn_rest_wants wants;
    tn_http_answer answer;
} tn_rest_state;

/*
 * The body's bytes, inflated to at most max when they are in a coding. What cannot be inflated counts as
 * empty, as in the original; where extensions are on, an error says so.
 */
TERN_MUST_USE tern_code tn_rest_body(tn_request *r, int64_t max, tn_str *body, tern_status *st);
/* What one more body may take of the memory for all. */
tn_json_limits tn_rest_json_limits(const tn_server *server);

/* Classify and regress (tfserving_examples.c). */
const tn_call_steps *tn_rest_examples_steps(bool regress, bool coded); /* coded: the answer is compressed */
/* What is wrong with a body of theirs, whatever the model. */
TERN_MUST_USE tern_code tn_rest_examples_error(tn_request *r, tn_str body, tern_status *st);

#endif
