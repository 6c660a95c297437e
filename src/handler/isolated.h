/*
 * handler/isolated.h - handlers in processes of their own: the server's side of one call.
 *
 * A version whose handler is isolated has a pool of worker processes (handler/script_pool.h), each of which
 * runs `tern handler-worker FILE.so` (handler/worker.c) and has one call at a time, from pre() to release():
 * so a handler that crashes, hangs or ends its process takes nobody else's call along. What goes where:
 *
 *   server                                                  worker
 *   CALL    HEAD, BODY, ROOM, DEADLINE                -->   pre()
 *           one SIGNATURE for each, its WANTED outputs
 *           and TENSORs                               <--   ASK    or ANSWER, when it failed or answered
 *   RESULT  SIGNATUREs and TENSORs, ROOM; or CODE     -->   post()
 *           CODE, ERROR, STATUS, TYPE, HEADERs, BODY  <--   ANSWER
 *
 * HEAD is what tn_setup_write_head() wrote. ROOM is where the worker may write; when that is too small, it
 * asks for more (NEED). All that a worker says is checked as if it came from the network: names against the
 * signatures, places against the segments of the call, offsets of strings after they were copied. Numbers of
 * tensors are used where they lie.
 *
 * Threads: one at a time, the one that has the call; tn_isolated_cancel() on the loop.
 */
#ifndef TN_HANDLER_ISOLATED_H
#define TN_HANDLER_ISOLATED_H

#include <pthread.h>

#include "handler/handler.h"
#include "handler/script_pool.h"

/* Fields of frames, beside those of handler/script_wire.h. */
typedef enum tn_isolated_tag {
    TN_ISOLATED_HEAD = TN_TAG_KIND, /* tn_frame_ref */
    TN_ISOLATED_BODY,               /* tn_frame_ref */
    TN_ISOLATED_ROOM,               /* tn_frame_ref */
    TN_ISOLATED_DEADLINE,           /* u64, CLOCK_MONOTONIC ns; 0: none */
    TN_ISOLATED_SIGNATURE,          /* its name; the WANTED and TENSOR fields behind it are its own */
    TN_ISOLATED_WANTED,             /* name of an output */
    TN_ISOLATED_CODE,               /* u64: tern_code; ERROR is the message */
    TN_ISOLATED_STATUS,             /* u64: HTTP; 0: none */
    TN_ISOLATED_TYPE,               /* Content-Type */
    TN_ISOLATED_HEADER              /* u32 length of the name, name, value */
} tn_isolated_tag;

/* The first bytes of the call's first segment: set by the server when nobody waits any more. */
typedef struct tn_isolated_mark {
    atomic_uint gone;
} tn_isolated_mark;

/* One call. It must not move. */
typedef struct tn_isolated {
    tn_script_job job; /* job.event is the owner's; TN_CONTAINER() leads back */
    const tn_version *version;
    tn_segment *first; /* mark, head, body, room; the job holds the reference once it is sent */
    size_t head, body_at, body_room, body_len;
    size_t room;   /* bytes behind the body that the worker may use */
    tn_str answer; /* in a segment of the job */
    char *result;  /* the frame that follows on ASK */
    size_t result_len;
    pthread_mutex_t lock; /* first, sent, cancelled */
    bool sent, cancelled;
    char call_frame[256], failure_frame[128 + TERN_STATUS_MESSAGE_MAX];
} tn_isolated;

/* Whether calls of this version go this way. */
bool tn_handler_is_isolated(const tn_version *v);
/* Of a version whose calls do: where its processes are. */
tn_script_pool *tn_isolated_pool(const tn_version *v);

/* event: as of tn_script_job, with TN_CONTAINER() from there. false: no memory. Whoever inits also ends. */
bool tn_isolated_init(tn_isolated *c, void (*event)(tn_script_job *job));
/*
 * Shared memory for a request's head and a body of at most body_room bytes, which the caller then writes to
 * *body. request: its slices are copied.
 */
TERN_MUST_USE tern_code tn_isolated_begin(tn_isolated *c, const tn_version *v,
                                          const tern_handler_request *request, size_t body_room, char **body,
                                          tern_status *st);
/*
 * The body is there. event() follows in every case but that of an error. deadline_ns: 0 none. CANCELLED after
 * tn_isolated_cancel(). Any thread.
 */
TERN_MUST_USE tern_code tn_isolated_send(tn_isolated *c, size_t body_len, int64_t deadline_ns,
                                         tern_status *st);
/*
 * Nobody waits any more: the client is gone, or was answered 504. true: the call is over, and no event comes.
 * A handler that does not see it is stopped with its process a moment after the deadline, no earlier. Only on
 * the loop, and only until the owner ends it.
 */
bool tn_isolated_cancel(tn_isolated *c);

/* After an event: whether the worker wants the model to be run. Else the call is over, or the worker broke
 * the protocol and wants something that there is not. */
static inline bool tn_isolated_wants_run(const tn_isolated *c)
{
    return c->job.reply.type == TN_FRAME_ASK;
}
/* What pre() left: sets the call's signature, inputs, wanted outputs and `more`. INTERNAL for what cannot be.
 */
TERN_MUST_USE tern_code tn_isolated_take_inputs(tn_isolated *c, tn_call *call, tern_status *st);
/* The frame that leads to post(): outputs are copied. */
TERN_MUST_USE tern_code tn_isolated_make_result(tn_isolated *c, tn_call *call, tern_status *st);
/* The same for a call that has failed meanwhile: the worker is to forget it. */
void tn_isolated_make_failure(tn_isolated *c, const tern_status *why);
/* Sends it. false: the worker is gone, and the call over. */
TERN_MUST_USE bool tn_isolated_reply(tn_isolated *c);
/*
 * The call is over: what came of it. job: gets content_type, status and headers, copied to the call's arena;
 * c->answer is the body. The handler's error, or that of its process.
 */
TERN_MUST_USE tern_code tn_isolated_take_answer(tn_isolated *c, tn_call *call, tn_handler_job *job,
                                                tern_status *st);
/* Waits until nobody else looks at the call: after an event with `over`, before it is handed on. */
void tn_isolated_settle(tn_isolated *c);
/* Gives back what it holds, when the call is over or was never sent. */
void tn_isolated_end(tn_isolated *c);

/* ---- worker.c ---- */

/* `tern handler-worker FILE.so`: serves calls on descriptor 3 until its end of file. Returns the exit status.
 */
int tn_handler_worker(const char *path);

#endif
