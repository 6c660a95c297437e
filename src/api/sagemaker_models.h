/*
 * api/sagemaker_models.h - several models on SageMaker's port: load, list, describe, unload
 * (SAGEMAKER_MULTI_MODEL).
 *
 * The original starts a model server for each model, with a REST and a gRPC port out of
 * SAGEMAKER_SAFE_PORT_RANGE: of its lower nine tenths the first half are REST ports, the others gRPC ports.
 * Here all models are served by this process; they get their ports all the same, and the process listens
 * there (on loopback), so that what an answer or a script's context names is true. How many models fit is
 * told by the range.
 *
 * A load holds up nobody: folders are looked at by a thread of its own, the model is loaded by the loaders,
 * and the request waits detached. A second request for the same name waits until the first has ended. A load
 * that fails leaves nothing behind, in both generations.
 */
#ifndef TN_API_SAGEMAKER_MODELS_H
#define TN_API_SAGEMAKER_MODELS_H

#include "api/sagemaker.h"

typedef struct tn_sagemaker_models tn_sagemaker_models;

/* Before the loops start; server and server->sagemaker are borrowed until free. */
TERN_MUST_USE tern_code tn_sagemaker_models_new(tn_server *server, tn_sagemaker_models **out,
                                                tern_status *st);
/*
 * When nothing comes any more, but while the loops run: ends the thread, after what it has still to look at.
 * Accepts NULL.
 */
void tn_sagemaker_models_end(tn_sagemaker_models *s);
/* When the loops have ended. Accepts NULL. */
void tn_sagemaker_models_free(tn_sagemaker_models *s);

/* These take the exchange, on its loop. */
/* POST /models {"model_name": ..., "url": ...} */
void tn_sagemaker_load(tn_server *server, tn_exchange *ex);
/* GET /models */
void tn_sagemaker_list(tn_server *server, tn_exchange *ex);
/* GET /models/NAME */
void tn_sagemaker_describe(tn_server *server, tn_exchange *ex, tn_str name);
/* DELETE /models/NAME. Calls under way end on the model that they have. */
void tn_sagemaker_unload(tn_server *server, tn_exchange *ex, tn_str name);
/* Ports where this process listens for a loaded model; false: there is no such model. */
bool tn_sagemaker_ports_of(tn_server *server, tn_str name, int *rest, int *grpc);
/* Whether a model of that name is loaded; if not the exchange was answered with 404. */
bool tn_sagemaker_may_invoke(tn_server *server, tn_exchange *ex, tn_str name);

#endif
