/*
 * api/grpc_stream.h - gRPC calls with many messages: server reflection, the watching of health. The transport
 * only; what is said stands in reflection.c and grpc_health.c.
 *
 * A stream lives on its loop from the request's head until it is ended by either side. Messages of the client
 * are small (TN_GRPC_STREAM_MESSAGE) and handled as they come; what is sent waits in a bounded queue, and a
 * client that does not read loses its stream (RESOURCE_EXHAUSTED). Each stream is paid for from the budget of
 * bytes in flight.
 */
#ifndef TN_API_GRPC_STREAM_H
#define TN_API_GRPC_STREAM_H

#include "api/server.h"

#define TN_GRPC_STREAM_MESSAGE (64u << 10)

typedef struct tn_grpc_stream tn_grpc_stream;

typedef struct tn_grpc_stream_kind {
    /* A message came. An error ends the stream with it. */
    tern_code (*message)(tn_grpc_stream *s, tn_str message, tern_status *st);
    /* The client has sent its last message. NULL: the stream ends well. */
    tern_code (*half_closed)(tn_grpc_stream *s, tern_status *st);
    /* Every now and then (a fraction of a second). An error ends the stream. May be NULL. */
    tern_code (*tick)(tn_grpc_stream *s, tern_status *st);
} tn_grpc_stream_kind;

/* Takes the exchange, which is HTTP/2. */
void tn_grpc_stream_begin(tn_server *server, tn_exchange *ex, const tn_grpc_stream_kind *kind);
/* Sends a message, copied. An error (the client does not read) is to be handed on. */
TERN_MUST_USE tern_code tn_grpc_stream_send(tn_grpc_stream *s, tn_str message, tern_status *st);
tn_server *tn_grpc_stream_server(const tn_grpc_stream *s);
/* What the kind keeps between two calls; at first all zero. */
typedef struct tn_grpc_stream_notes {
    int64_t number;
    bool asked;
    bool known;
} tn_grpc_stream_notes;
tn_grpc_stream_notes *tn_grpc_stream_notes_of(tn_grpc_stream *s);

#endif
