/*
 * api/surfaces.h - the entry of every surface. All on the exchange's loop; none blocks.
 */
#ifndef TN_API_SURFACES_H
#define TN_API_SURFACES_H

#include "api/server.h"

/* TensorFlow Serving's REST API, /v1/... (tfserving_rest.c). Takes the exchange. */
void tn_rest_on_request(tn_server *server, tn_exchange *ex);
/*
 * A predict call for the default model whose body is JSON: /invocations (tfserving_rest.c). Takes the
 * exchange.
 */
void tn_rest_predict(tn_server *server, tn_exchange *ex, const tn_target *target);

/* gRPC services (grpc.c, tfserving_grpc.c). Takes the exchange. */
void tn_grpc_on_request(tn_server *server, tn_exchange *ex);

/* These take the exchange and return true when the path is theirs. */
/* /healthz, /readyz, lists of models and whether one is ready (health.c). Before tn_rest_on_request(). */
bool tn_health_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts);
/* /metrics (metrics.c) */
bool tn_metrics_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts);
/* /ping, /invocations, /models/NAME/invoke (sagemaker.c) */
bool tn_sagemaker_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts);

/*
 * A document for a model's handler (document.c). Takes the exchange. The target's slices may belong to the
 * exchange.
 */
void tn_document_call(tn_server *server, tn_exchange *ex, const tn_target *target);
/*
 * Whether the model that is asked is there and has a handler that takes this content type (a whole header
 * value): such a request is for tn_document_call(), whatever becomes of others.
 */
bool tn_document_takes(tn_server *server, const tn_target *target, tn_str content_type);
/*
 * Both: true when the exchange was taken. version: digits, or absent; what is no number is not taken.
 */
bool tn_document_take(tn_server *server, tn_exchange *ex, tn_str model, tn_str version);

#endif
