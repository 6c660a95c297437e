/*
 * api/async.h - SageMaker's InvokeEndpointAsync against a local folder: s3://BUCKET/KEY is FOLDER/BUCKET/KEY.
 *
 * A call is accepted with 202 and waits in a queue of bounded length. A thread takes it, reads its input and
 * gives it to the same surfaces as any other request, by an exchange of our own (net.h); what they answer
 * becomes the output file, or the failure file. A file appears whole or not at all. The exchange is made when
 * the call is accepted, so the server's drain waits for the queue, too.
 */
#ifndef TN_API_ASYNC_H
#define TN_API_ASYNC_H

#include "api/endpoints.h"

typedef struct tn_async tn_async;

typedef struct tn_async_options {
    const char *folder;
    /* "s3://bucket/prefix", or absent: the input's bucket, with the SDK's prefixes. */
    tn_str output, failure;
    int32_t workers;   /* calls under way at a time */
    int64_t max_queue; /* calls that wait */
} tn_async_options;

/* Opens the folder and starts the threads. INVALID_ARGUMENT names the flag. */
TERN_MUST_USE tern_code tn_async_new(tn_server *server, const tn_async_options *options, tn_async **out,
                                     tern_status *st);
/*
 * What waits or is under way ends with a failure file that says so; joins the threads. The loops must still
 * run; nothing is taken any more. Accepts NULL.
 */
void tn_async_end(tn_async *async);
/* After tn_async_end(). Accepts NULL. */
void tn_async_free(tn_async *async);

typedef struct tn_async_counts {
    uint64_t waiting, running, completed, failed;
} tn_async_counts;
tn_async_counts tn_async_count(tn_async *async);

/*
 * Takes the exchange of a call. target: the path that is asked; fields: those of the inner request.
 */
void tn_async_call(tn_server *server, tn_exchange *ex, const tn_envelope *envelope, tn_str target,
                   const tn_header *fields, size_t n_fields);

#endif
