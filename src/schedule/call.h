/*
 * schedule/call.h - the call: one request on its way from bytes to bytes; and the scheduler that carries it.
 *
 * A call has exactly one owner at any time. The surface (api/) makes it on an event loop, fills in what it
 * knows, and gives it away with tn_schedule_submit(). From then on the scheduler owns it until
 * steps->done(call) hands it back, on whatever thread it ran. Every step stamps its time into stage_ns: the
 * scheduler QUEUE and RUN, the surface READ and WRITE, decode and encode their own.
 *
 * Statistics: tn_call_finish() adds the stamps, the time since the request began, and the status code to
 * version->stats. So a surface finishes the call after it stamped WRITE, and only calls that were submitted
 * are counted.
 */
#ifndef TN_SCHEDULE_CALL_H
#define TN_SCHEDULE_CALL_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/task.h"
#include "model/model.h"
#include "schedule/batch.h"

typedef struct tn_call tn_call;
typedef struct tn_batch_part tn_batch_part;
typedef struct tn_batch_queue tn_batch_queue;

/*
 * What a surface does with its calls. Static tables. Order: decode, run, encode, done, one thread at a time.
 * A call that is cancelled or late before it starts, or refused, goes straight to done.
 */
typedef struct tn_call_steps {
    const char *name;  /* "predict" */
    tn_cost_kind kind; /* which costs compare */
    /*
     * Sets signature, inputs, output_ids; may be NULL when that was done before submit. Stamps DECODE or
     * PREPROCESS.
     */
    tern_code (*decode)(tn_call *call, tern_status *st);
    /* Outputs to answer bytes; stamps ENCODE or POSTPROCESS. Called only after a good run. */
    tern_code (*encode)(tn_call *call, tern_status *st);
    /* The call goes back to the surface; status says how it ended. Always called exactly once. Any thread. */
    void (*done)(tn_call *call);
    tn_method method; /* under which it is counted */
    bool one_thread;  /* decode and encode want to run on the same thread: such calls are not batched */
} tn_call_steps;

/* One signature of a call: what feeds it, and what is asked of it. As the fields of tn_call. */
typedef struct tn_call_part {
    const tern_signature *signature;
    tern_tensor *inputs;
    uint32_t *input_ids;
    uint32_t n_inputs;
    tern_tensor *outputs;
    uint32_t *output_ids;
    uint32_t n_outputs;
} tn_call_part;

struct tn_call {
    tn_task task; /* link while queued */
    const tn_call_steps *steps;
    tn_arena arena;
    tn_version *version; /* one reference, held by the call */
    const tern_signature *signature;
    tern_tensor *inputs; /* arrays in the arena; each tensor owns its buffer */
    uint32_t *input_ids;
    uint32_t n_inputs;
    tern_tensor *outputs; /* made by the scheduler, n_outputs long */
    uint32_t *output_ids;
    uint32_t n_outputs;
    /* Further signatures of the same run (MultiInference), in the arena. Such a call runs by itself. */
    tn_call_part *more;
    uint32_t n_more;
    size_t body_bytes;     /* size class of the request */
    int64_t deadline_ns;   /* CLOCK_MONOTONIC; 0: none */
    int64_t queued_ns;     /* when it was submitted */
    int64_t decoded_ns;    /* when it was queued after it was decoded on the event loop, or 0 */
    int64_t at_ns;         /* the clock as it was last read for this call; now, when a step begins */
    atomic_bool cancelled; /* set by any thread: the client is gone, or was answered 504 */
    bool skip_run;         /* set by decode: the answer needs no run */
    tn_batch_queue *batch; /* the queue it belongs to, once it is decoded; NULL: runs alone */
    int64_t rows;          /* in its inputs, when it belongs to a queue */
    int64_t stage_ns[TN_STAGES];
    tern_status status;       /* valid when done() is called */
    pthread_mutex_t run_lock; /* guards running, for tn_call_cancel() */
    const tern_run *running;  /* the run under way, when its engine can cancel */
};

/*
 * Makes a zeroed call ready for use, or a finished one ready for the next request (its arena's memory is
 * kept); arena_max bounds its working memory.
 */
void tn_call_init(tn_call *call, const tn_call_steps *steps, size_t arena_max);
/*
 * Records statistics, releases tensors and version, resets the arena (its memory is kept: tn_call_init() may
 * follow). tn_arena_free() at the very end. A call that was finished already is left alone.
 */
void tn_call_finish(tn_call *call);
/* The same where the clock was just read: now_ns. */
void tn_call_finish_at(tn_call *call, int64_t now_ns);
/* Releases its tensors: it may be decoded again. For decode steps. */
void tn_call_forget_tensors(tn_call *call);

/*
 * For steps: the time since call->at_ns, which is now from here on. One reading of the clock for each step.
 */
static inline int64_t tn_call_lap(tn_call *call)
{
    const int64_t before = call->at_ns;
    call->at_ns = tn_now_ns();
    return call->at_ns - before;
}

/* For callers of a step that began at before_ns: when it ended, whether or not it took a lap. */
static inline int64_t tn_call_step_end(tn_call *call, int64_t before_ns)
{
    if (call->at_ns == before_ns)
        call->at_ns = tn_now_ns();
    return call->at_ns;
}

/* Fills output_ids with all outputs of the signature. RESOURCE_EXHAUSTED when memory is short. */
TERN_MUST_USE tern_code tn_call_all_outputs(tn_call *call, tern_status *st);

/*
 * The client is gone, or was answered without this call: sets cancelled and, when the run is under way in an
 * engine that can stop, stops it. done() is still called. Any thread, as long as the call is not handed back:
 * the surface sees to that (it asks on the loop that takes the call back).
 */
void tn_call_cancel(tn_call *call);

/*
 * Runs the model on the call's inputs, here and now, and fills outputs; also those of `more`, in one run
 * where the engine can. flags: TERN_RUN_*; timeout_us: 0 none. For the scheduler, and for whoever has a call
 * that never meets it (warm-up). The engine's own codes and words; outputs are NULL or released on failure.
 */
TERN_MUST_USE tern_code tn_call_run_now(tn_call *call, uint32_t flags, int64_t timeout_us, tern_status *st);

typedef struct tn_schedule_options {
    /* threads that run models; 0: one a core (of the CPU set and the cgroup's quota), at least 2 */
    int32_t executors;
    tn_limits limits;
    tn_batch_options batching;
} tn_schedule_options;

TERN_MUST_USE tern_code tn_schedule_new(const tn_schedule_options *options, tn_schedule **out,
                                        tern_status *st);
/*
 * Takes the call, which has a version. May run it at once in this thread, done() included, when calls of this
 * kind, version, signature and size were measured to take less than limits.inline_run_us and the body is no
 * larger than limits.inline_body_bytes; else queues it, undecoded, or decoded when only decoding was small. A
 * full queue ends it with RESOURCE_EXHAUSTED, a closed scheduler with UNAVAILABLE; done() then comes from
 * inside this call too. Any thread. Takes no memory from the heap.
 */
void tn_schedule_submit(tn_schedule *s, tn_call *call);

/* Whether an executor has nothing to do, and nothing waits for one; at this moment. Any thread. */
bool tn_schedule_is_idle(tn_schedule *s);
/*
 * Gives the call to an executor, which has its version, as tn_schedule_submit() does, but never runs anything
 * of it here; done() is called here only when it is refused.
 */
void tn_schedule_queue(tn_schedule *s, tn_call *call);

/*
 * A turn of an event loop, for TN_BATCHING_AUTO: small calls that one look at the sockets brought are run at
 * its end, those that belong together as one batch. One for each loop; its functions on the loop's thread.
 */
typedef struct tn_turn tn_turn;
/* NULL when calls are not batched so, or memory is short; then tn_schedule_submit() does. */
tn_turn *tn_turn_new(tn_schedule *s);
/* The turn is empty. The schedule may be gone. Accepts NULL. */
void tn_turn_free(tn_turn *turn);
/* As tn_schedule_submit(), but a small call may wait for tn_turn_end(), which must come in this same turn. */
void tn_turn_submit(tn_turn *turn, tn_call *call);
/* Runs what was collected, done() included, or hands it over. false: there was nothing. */
bool tn_turn_end(tn_turn *turn);

/* Calls that wait for an executor, or in a batch for a thread. */
size_t tn_schedule_queued(tn_schedule *s);
/* Calls that run on executors now, and batches on their threads. */
size_t tn_schedule_running(tn_schedule *s);
/* From now on no call is held until a batch is full: the server drains. Any thread; may be repeated. */
void tn_schedule_hurry(tn_schedule *s);
/* From now on calls are refused with UNAVAILABLE; what is queued still runs. Any thread; may be repeated. */
void tn_schedule_close(tn_schedule *s);
/*
 * Closes, and ends the threads after what is queued. Nobody may submit any more; versions may still be
 * attached and detached, and its counts read. May be repeated. Accepts NULL.
 */
void tn_schedule_end(tn_schedule *s);
/* The same, and nobody may use it in any way any more. Accepts NULL. */
void tn_schedule_free(tn_schedule *s);
/* Instead of free, right before the process ends: nobody waits for the executors any more. Accepts NULL. */
void tn_schedule_leave(tn_schedule *s);

#endif
