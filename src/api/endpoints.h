/*
 * api/endpoints.h - SageMaker's runtime API as boto3 calls it (service model sagemaker-runtime 2017-05-13):
 *
 *   POST /endpoints/NAME/invocations                   endpoints.c
 *   POST /endpoints/NAME/invocations-response-stream   endpoints_stream.c
 *   POST /endpoints/NAME/async-invocations             async.c
 *
 * Each is answered by way of an inner exchange (relay.h) for the container's own path, /invocations or
 * /models/NAME/invoke, whose answer is put into SageMaker's envelope. docs/runtime.md says which model NAME
 * means. On the exchange's loop.
 */
#ifndef TN_API_ENDPOINTS_H
#define TN_API_ENDPOINTS_H

#include "api/capture.h"
#include "api/envelope.h"
#include "api/relay.h"
#include "codec/event_stream.h"

#define TN_ENDPOINT_NAME    256
#define TN_ENDPOINT_VARIANT 64
#define TN_ENDPOINT_REGION  33

/* One call of the runtime API; lives until its answer was given. */
typedef struct tn_invocation {
    tn_relay relay;
    tn_envelope envelope; /* its slices are the texts below */
    char name[TN_ENDPOINT_NAME], variant[TN_ENDPOINT_VARIANT], region[TN_ENDPOINT_REGION], request_id[36];
    tn_tap *tap; /* of the data capture, or NULL */
    int status;  /* of a streamed answer that is not good: its begin is kept in `frame` */
    /* Of a response stream: the answer that is cut into parts. */
    tn_buf frame;
    tn_response held; /* body and release of a whole answer, until it was written */
    size_t chunk, chunk_at;
    bool holds;
} tn_invocation;

/* Takes the exchange and returns true when the path is one of these. parts->path is as sent. */
bool tn_endpoints_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts);

/* Gives an inner exchange to the surface of its path. */
void tn_endpoints_hand_over(tn_server *server, tn_exchange *ex);
/* Fields of an answer in its envelope: the model's, and SageMaker's. Returns how many; at most max. */
size_t tn_invocation_fields(const tn_invocation *i, const tn_response *response, bool stream,
                            tn_header *fields, size_t max);
/* Most fields of an answer. */
#define TN_INVOCATION_FIELDS 64
/*
 * Answers the outer exchange with what belongs to an answer of the model that is not good, and ends the
 * relay. false: it is good, and nothing was done.
 */
bool tn_invocation_refused(tn_invocation *i, const tn_response *response);
/*
 * The same for one that is streamed: true when its head is not good; then what is written goes to _collect(),
 * and the end of it to _collected().
 */
bool tn_invocation_collects(tn_invocation *i, const tn_response *head);
bool tn_invocation_collect(tn_invocation *i, const void *bytes, size_t n);
void tn_invocation_collected(tn_invocation *i);
/* For both kinds of relay. */
void tn_invocation_free(tn_relay *relay);
void tn_invocation_body(tn_relay *relay, const char *bytes, size_t n);
static inline tn_invocation *tn_invocation_of(const tn_relay *relay)
{
    return (tn_invocation *)((uintptr_t)relay - offsetof(tn_invocation, relay));
}
extern const tn_relay_kind tn_invocation_kind, tn_invocation_stream_kind;

#endif
