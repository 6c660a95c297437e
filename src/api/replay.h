/*
 * api/replay.h - recorded requests, run on one version without a client: for warm-up records
 * (tensorflow_serving.PredictionLog) and the like.
 *
 * `message` is the serialized PredictRequest, ClassificationRequest, RegressionRequest or
 * MultiInferenceRequest. Of its ModelSpec only the signature counts: the model is v, which the caller holds
 * and which need not be AVAILABLE. The request is decoded as its gRPC surface does it, run once in the
 * engine, on the calling thread (TERN_RUN_CALLER_THREAD), which blocks; the outputs are looked at as for an
 * answer, and dropped. It passes neither the scheduler nor statistics.
 *
 * arena: working memory, not in use; it comes back empty, its memory kept for the next. TERN_OK: the request
 * would have been answered; else the code and words that a client would have got. Any thread.
 */
#ifndef TN_API_REPLAY_H
#define TN_API_REPLAY_H

#include "api/server.h"

TERN_MUST_USE tern_code tn_api_run_predict(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                                           tern_status *st);
/*
 * As tn_api_run_predict(), but instead of the run use(context, call) is called, with its inputs and outputs
 * set.
 */
TERN_MUST_USE tern_code tn_api_use_predict(tn_server *server, tn_version *v, tn_str message,
                                           tern_code (*use)(void *context, tn_call *call, tern_status *st),
                                           void *context, tn_arena *arena, tern_status *st);
TERN_MUST_USE tern_code tn_api_run_classify(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                                            tern_status *st);
TERN_MUST_USE tern_code tn_api_run_regress(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                                           tern_status *st);
TERN_MUST_USE tern_code tn_api_run_multi(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                                         tern_status *st);

#endif
