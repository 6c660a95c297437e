/*
 * api/async_job.h - inside of async: one call from its acceptance to its file. See api/async.h.
 *
 * Made on a loop (async.c), queued, then run by a thread (async_job.c) that asks the loop for each step and
 * waits for it. Fields below the lock are shared with the loop, the exchange and what belongs to it is the
 * loop's, all else the thread's.
 */
#ifndef TN_API_ASYNC_JOB_H
#define TN_API_ASYNC_JOB_H

#include <pthread.h>

#include "api/async.h"
#include "api/capture.h"

/* Longest inline body (service model: AsyncBodyBlob). */
#define TN_ASYNC_BODY 128000

typedef struct tn_async_job {
    tn_task task; /* in the queue, then on its way to the loop */
    tn_async *async;
    tn_loop *loop;
    tn_arena arena; /* of all texts */
    tn_envelope envelope;
    tn_str id;              /* InferenceId */
    tn_str input;           /* "bucket/key", or absent: the body */
    tn_str output, failure; /* "bucket/key" */
    int64_t expires_ns;     /* not begun after that */
    int64_t ttl_s, timeout_s;
    size_t charged; /* of the server's budget */
    /* The loop's. */
    tn_exchange *outer; /* the client, until it is answered */
    tn_sink sink;
    tn_buf body; /* inline */
    tn_exchange *inner;
    tn_tap *tap; /* of the data capture, or NULL */
    tn_taker taker;
    tn_str target;
    const tn_header *fields;
    size_t n_fields;
    const char *piece; /* of the body, to be handed on */
    size_t n_piece;
    /* Shared. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;  /* the loop has done what it was asked for */
    int status; /* of the answer; 0: there is none yet */
    bool whole; /* it is in `held` */
    tn_response held;
    tn_buf waiting; /* pieces of a streamed one */
    bool wants_room, finished, broken;
} tn_async_job;

/* Queues it. false: the queue is full, or the server goes down; the job stays the caller's. */
bool tn_async_push(tn_async *async, tn_async_job *job);
/* Nobody waits for it any more. On its loop, or when its loop will not touch it again. */
void tn_async_job_free(tn_async_job *job);
tn_server *tn_async_server(const tn_async *async);
const tn_async_options *tn_async_options_of(const tn_async *async);
/* What the loop does with the answer. */
tn_taker tn_async_taker(void);

#endif
