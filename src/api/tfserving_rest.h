/*
 * api/tfserving_rest.h - what the REST calls have in common: tfserving_rest.c (routes, predict),
 * tfserving_examples.c (classify, regress).
 */
#ifndef TN_API_TFSERVING_REST_H
#define TN_API_TFSERVING_REST_H

#include "api/request.h"
#include "codec/json_predict.h"

/*
 * The body's bytes, inflated to at most max when they are in a coding. What cannot be inflated counts as
 * empty, as in the original; where extensions are on, an error says so.
 */
TERN_MUST_USE tern_code tn_rest_body(tn_request *r, int64_t max, tn_str *body, tern_status *st);
/* What one more body may take of the memory for all. */
tn_json_limits tn_rest_json_limits(const tn_server *server);

/* r->out holds a whole JSON answer: makes it the one that is sent, compressed where the client likes that. */
void tn_rest_take_json(tn_request *r);

/* Classify and regress (tfserving_examples.c). */
extern const tn_call_steps tn_rest_classify_steps, tn_rest_regress_steps;
/* What is wrong with a body of theirs, whatever the model. */
TERN_MUST_USE tern_code tn_rest_examples_error(tn_request *r, tn_str body, tern_status *st);

#endif
