/*
 * api/script_inside.h - inside of script calls: script.c (their way), script_frames.c (what goes over the
 * wire), script_run.c (runs of a model on the script's arrays).
 *
 * Of one request at a time either the loop, a worker or the scheduler has its state; the job's events come
 * back to the loop as tasks.
 */
#ifndef TN_API_SCRIPT_INSIDE_H
#define TN_API_SCRIPT_INSIDE_H

#include "api/request.h"
#include "api/script.h"
#include "api/script_fields.h"
#include "api/tfserving_rest.h"

typedef enum tn_script_stage {
    TN_SCRIPT_READS,  /* the body comes */
    TN_SCRIPT_STARTS, /* handler or input_handler, in a worker */
    TN_SCRIPT_RUNS,   /* the model runs on what input_handler gave, as text */
    TN_SCRIPT_FEEDS,  /* the same on arrays: script_run.c */
    TN_SCRIPT_ENDS    /* output_handler, in a worker */
} tn_script_stage;

/* A run on arrays: its own call, so that a script may have several. */
typedef struct tn_script_run {
    tn_call call;
    tn_task task;             /* back to the loop */
    tn_frame_tensor *outputs; /* where they lie, in the call's arena; n_outputs of the call */
    char *packed;             /* outputs that go into a frame, or NULL */
    size_t packed_len;
    bool used;
} tn_script_run;

typedef struct tn_script_request {
    tn_rest_state rest; /* first: tfserving_rest.h */
    tn_request *r;
    tn_script_pool *pool;
    tn_script_job job;
    tn_task task; /* the job's event, on its way to the loop */
    tn_script_stage stage;
    tn_sink sink;
    tn_segment *body; /* in which the body lies, or NULL: r->body */
    size_t body_len;
    int64_t deadline_ns, time_ns;
    tn_str model, context_model, version, method, rest_uri, target, grpc_port;
    tn_str content_type, accept, attributes; /* as the script sees them */
    tn_str context;                          /* CONTEXT, in the arena, once it was wanted */
    char *frame;
    size_t frame_cap;
    const tn_call_steps *inner; /* the REST call's, inside of those with packing */
    tn_frame_ref text;          /* of input_handler, or of the model's answer */
    tn_str text_inline;
    tn_script_run run;
    tn_chunk chunk; /* the answer */
    bool streaming, waits_for_room;
    bool never_began; /* its time was over while it waited for a worker */
} tn_script_request;

/* ---- script_frames.c ---- */

/* What the request says, into the state; all is copied into the arena. false: memory is short. */
bool tn_script_read_head(tn_script_request *s, const tn_exchange *ex, const tn_script_target *target);
/* The CALL frame of this stage, into s->frame: status and body of the model's answer for the output stage. */
TERN_MUST_USE tern_code tn_script_write_start(tn_script_request *s, tern_status *st);
TERN_MUST_USE tern_code tn_script_write_output(tn_script_request *s, int status, tern_status *st);
/* The tensors of s->run into a frame that was begun. */
void tn_script_put_outputs(const tn_script_request *s, tn_frame_writer *w);
/* Room for a frame with so many bytes beside what the context takes. */
TERN_MUST_USE tern_code tn_script_frame_room(tn_script_request *s, size_t more, tern_status *st);
/* A body of the reply: in shared memory or in the frame. */
TERN_MUST_USE tern_code tn_script_reply_body(const tn_script_request *s, tn_str *body, tern_status *st);
#define TN_SCRIPT_HEADERS_MAX 32
/*
 * Header fields of the reply with its content type, at most TN_SCRIPT_HEADERS_MAX; slices of the frame, names
 * in lower case. INVALID_ARGUMENT when one cannot be sent.
 */
TERN_MUST_USE tern_code tn_script_reply_headers(const tn_script_request *s, tn_header *headers, size_t *n,
                                                tern_status *st);

/* ---- script_run.c ---- */

/*
 * Runs a model on the tensors of s->job.reply; s->run.task comes to the loop when it is over (also when it
 * could not begin), and then s->run.call.status says how. `end`: the task's function. On the loop.
 */
void tn_script_run_start(tn_script_request *s, void (*end)(tn_task *task));
/* On the loop, when its outputs are not needed any more. */
void tn_script_run_finish(tn_script_run *run);
/* Bytes for the worker: into the job's memory, or inline (*inside). Any thread that owns the call. */
TERN_MUST_USE tern_code tn_script_pack(tn_script_request *s, const tn_chunk *chunks, size_t n,
                                       tern_status *st);

#endif
