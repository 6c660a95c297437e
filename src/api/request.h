/*
 * api/request.h - one request of any surface: the call, the exchange it came from, its body and its answer.
 *
 * A request is made on an event loop and all its functions are called there, but for the call's own steps
 * (decode, encode), which the scheduler may run on an executor. Between tn_request_submit() and the surface's
 * `answer`, the scheduler owns the call and the loop touches only the exchange, the deadline and
 * call.cancelled. So a client that vanishes, or a deadline that passes, is dealt with at once, and the memory
 * is freed when the call comes back. Requests are pooled for each loop.
 */
#ifndef TN_API_REQUEST_H
#define TN_API_REQUEST_H

#include "api/accept.h"
#include "api/inference.h"
#include "api/server.h"
#include "base/region.h"
#include "codec/pb_predict.h"

typedef struct tn_request tn_request;
typedef struct tn_early tn_early; /* api/early.h */

/* What differs between surfaces. Static tables. */
typedef struct tn_surface {
    /* The call ended well: send the answer from r->out and r->pieces. On the loop. */
    void (*answer)(tn_request *r);
    /* It did not: send the error in the surface's form. On the loop. */
    void (*error)(tn_request *r, const tern_status *st);
} tn_surface;

struct tn_request {
    tn_call call;
    const tn_surface *surface;
    tn_server *server;
    tn_loop *loop;
    tn_exchange *ex; /* NULL once answered or gone. Only on the loop */
    tn_sink sink;
    tn_region body;                 /* the body as it arrived */
    void (*on_body)(tn_request *r); /* body complete. On the loop */
    tn_timer deadline;              /* fires 504 / DEADLINE_EXCEEDED */
    tn_task finished;               /* carries the call back to the loop */
    tn_request *next_free;
    tn_model_stats *stats; /* of the model that is asked, or NULL: none that is configured */
    tn_method method;      /* under which it is counted; at first steps->method */
    int64_t started_ns;    /* head's first byte */
    int64_t sent_ns;       /* when the answer was given to net */
    size_t charged;        /* budget taken beside the body's */
    bool submitted;        /* the scheduler has the call, or it is detached */
    /* Of a detached one: */
    void (*cancel)(tn_request *r);
    void *detached;           /* what belongs to it, in the arena */
    bool row;                 /* REST: answer in row form */
    tn_content_coding coding; /* REST: of the body */
    tn_buf out;               /* answer bytes */
    tn_str error_text;        /* REST: of the call's status, where that is too short for it; in the arena */
    tn_piece *pieces;         /* answer by pieces (gRPC), in the arena */
    uint32_t n_pieces;
    size_t pieces_bytes;
    tn_chunk chunk;      /* answer in one piece */
    tn_handler_job job;  /* document calls */
    tn_infer *infer;     /* calls on examples */
    void *surface_state; /* in the arena */
    tn_early *early;     /* of a body that may be decoded while it arrives, in the arena; else NULL */
};

/* Takes the exchange under control. NULL when memory is short (then answered 503). */
tn_request *tn_request_new(tn_server *server, tn_exchange *ex, const tn_surface *surface,
                           const tn_call_steps *steps);
/* Reads the whole body into r->body, then calls on_body. An error on the way goes to surface->error. */
void tn_request_read_body(tn_request *r, void (*on_body)(tn_request *r));
/*
 * For a sink of somebody else's (api/early.h): room in r->body (an error has been answered then), what
 * arrived put there, and what follows the last of it.
 */
TERN_MUST_USE tern_code tn_request_body_room(tn_request *r, size_t want, char **room, size_t *space);
TERN_MUST_USE tern_code tn_request_take_body(tn_request *r, const char *ptr, size_t n, tern_status *st);
void tn_request_body_complete(tn_request *r);
/* Likewise: the timer, of a call that is away. */
void tn_request_start_deadline(tn_request *r, int64_t at_ns);
/* Takes memory from the budget for tensors; given back with the request. Any thread that owns the call. */
TERN_MUST_USE tern_code tn_request_charge(tn_request *r, size_t bytes, tern_status *st);
/* Gives the call to the scheduler. Sets the timer when the call has a deadline. */
void tn_request_submit(tn_request *r);
/*
 * For what ends later without the scheduler: sets the timer of the call's deadline. Later, on the loop,
 * tn_request_finish() follows in every case. cancel is called on the loop when nobody waits for the answer
 * any more, at most once, and not from inside finish.
 */
void tn_request_detach(tn_request *r, void (*cancel)(tn_request *r), void *detached);
/* Answers with what call.status says, or lets go of the request when its client is gone or was answered. */
void tn_request_finish(tn_request *r);
/* Answers at once with an error, through the surface. Ends the request for the caller. */
void tn_request_fail(tn_request *r, const tern_status *st);
/*
 * Sends; body memory must belong to r. Counts code. Ends the request for the caller (memory is freed when the
 * bytes have gone).
 */
void tn_request_send(tn_request *r, tn_response *response, tern_code code);
/*
 * The same with a body that is copied: for errors, which may be sent while the call is still away. Sets
 * response->body.
 */
void tn_request_send_text(tn_request *r, tn_response *response, tn_str text, tern_code code);
/* steps.done of every surface: brings the call back to its loop. Any thread. */
void tn_request_done(tn_call *call);
/*
 * For tn_net_app.on_turn: ends the turn of this loop's calls (tn_turn_end); what ended with it is answered.
 * false: there was nothing.
 */
bool tn_request_turn(tn_loop *loop);
/* A place of the loop for spare entries of access.c. NULL when memory is short. */
void **tn_request_access_slot(tn_loop *loop);
/* A place of the loop for api/script_ports.c. NULL when memory is short. */
void **tn_request_ports_slot(tn_loop *loop);
/* Frees the pool of a loop that ended. */
void tn_request_pool_free(tn_loop *loop);
/* Frees a request without an answer: only when the exchange is gone. */
void tn_request_drop(tn_request *r);
/* The request is for a model of this name: what becomes of it is counted there. */
void tn_request_for(tn_request *r, tn_str model);
/* Looks up the version for a target; sets call.version, and stats as tn_request_for() does. */
TERN_MUST_USE tern_code tn_request_acquire(tn_request *r, const tn_target *target, tern_status *st);
/*
 * `server-timing` of this request's stages so far, written to text; returns the length. RFC-less: W3C Server
 * Timing.
 */
size_t tn_request_timing(const tn_request *r, char *text, size_t size);

#endif
