/*
 * api/grpc.h - gRPC over HTTP/2, server side, unary calls: framing, deadlines, status. Streams are in
 * grpc_stream.h, the services in tfserving_grpc.c. Implements grpc/doc/PROTOCOL-HTTP2.md.
 */
#ifndef TN_API_GRPC_H
#define TN_API_GRPC_H

#include "api/grpc_stream.h"
#include "api/request.h"

/* TensorFlow Serving cuts error texts here (prediction_service_impl.cc). */
#define TN_GRPC_MESSAGE_TEXT 1024

typedef struct tn_grpc_method {
    const char *path; /* "/package.Service/Method" */
    /*
     * A small call, answered on the loop: message in, message out. NULL for the others: Predict, which is
     * decoded as it arrives, and calls with steps.
     */
    tern_code (*unary)(tn_server *server, tn_str message, tn_arena *arena, tn_buf *out, tern_status *st);
    bool predict;
    const tn_grpc_stream_kind *stream; /* instead: a call with many messages */
    tn_method method;                  /* under which its calls are counted */
    bool names_model;                  /* unary: field 1 of its message is a ModelSpec */
    /*
     * A call that ends later: takes the request with its whole message (borrowed for this call), which it
     * detaches, submits, finishes or fails.
     */
    void (*start)(tn_request *r, tn_str message);
    const tn_call_steps *steps; /* of those that are submitted: their messages may be large */
} tn_grpc_method;

/* The method of that path, or NULL. Static. */
const tn_grpc_method *tn_grpc_find(const tn_server *server, tn_str path);

/* The same for the services that are no model's: health, reflection, the profiler (grpc_services.c). */
const tn_grpc_method *tn_grpc_find_other(const tn_server *server, tn_str path);

/* Predict: the message is complete in r's reader; binds it to its model and submits the call, or fails it. */
void tn_grpc_predict(tn_request *r, tn_pb_predict_reader *reader);
/*
 * Compresses the answer in r->out or r->pieces when the client and this server agreed on it. For encode
 * steps: where it is not called, small answers are compressed on the loop and large ones not at all.
 */
void tn_grpc_pack_answer(tn_request *r);
/* ModelService/HandleReloadConfigRequest (reload.c): start of tn_grpc_method. */
void tn_grpc_reload(tn_request *r, tn_str message);
/* Steps of Predict. */
extern const tn_call_steps tn_grpc_predict_steps;

/* Classify, Regress, MultiInference (tfserving_examples.c): the message is r's body. */
void tn_grpc_classify(tn_request *r, tn_str message);
void tn_grpc_regress(tn_request *r, tn_str message);
void tn_grpc_multi(tn_request *r, tn_str message);
extern const tn_call_steps tn_grpc_classify_steps, tn_grpc_regress_steps, tn_grpc_multi_steps;

/* A ModelSpec to what tn_models_acquire() wants; INVALID_ARGUMENT when it names no model. */
TERN_MUST_USE tern_code tn_grpc_target(const tn_model_spec *spec, tn_target *target, tern_status *st);
/* grpc-status and grpc-message of st (NULL: OK), in t; returns how many they are. */
typedef struct tn_grpc_trailers {
    char message[TN_GRPC_MESSAGE_TEXT * 3 + 64];
    char code[4];
    tn_header headers[2];
} tn_grpc_trailers;
size_t tn_grpc_make_trailers(tn_grpc_trailers *t, const tern_status *st);
/* Answers an exchange that became no call. */
void tn_grpc_refuse(tn_server *server, tn_exchange *ex, tern_code code, const char *message);

/* Parses grpc-timeout ("100m") to nanoseconds; 0 when absent or broken. */
int64_t tn_grpc_timeout(tn_str value);

#endif
