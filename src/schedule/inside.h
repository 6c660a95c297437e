/*
 * schedule/inside.h - inside of schedule/: the structures that its files share.
 *
 *   schedule.c     executors, the queue before them, one call from start to end
 *   batch.c        what hangs on a version: its signatures, their queues; what makes a call fit
 *   batch_queue.c  SERVING: batches that wait, and the threads that run them
 *   batch_gather.c AUTO: what is run together; turns of event loops
 *   batch_run.c    one batch: join, run, take apart, again in halves
 */
#ifndef TN_SCHEDULE_INSIDE_H
#define TN_SCHEDULE_INSIDE_H

#include "schedule/batch_rows.h"
#include "schedule/call.h"

typedef struct tn_batch tn_batch;
typedef struct tn_batch_signature tn_batch_signature;
typedef struct tn_batch_split tn_batch_split;
typedef struct tn_batch_version tn_batch_version;

/* Calls of one signature and one choice of outputs. Lives with the version. */
struct tn_batch_queue {
    tn_batch_queue *next; /* of the same signature */
    tn_batch_signature *of;
    uint32_t n_outputs;
    const uint32_t *output_ids;
    bool by_row;         /* AUTO: the shapes of inputs and outputs allow for batches */
    atomic_uint strikes; /* batches that failed in a row while their calls alone did not */
    /* The rest: SERVING, guarded by the batcher's lock. */
    tn_batch *first, *last;
    int64_t n_batches;
    bool active;
    tn_batch_queue *next_active;
};

struct tn_batch_signature {
    const tern_signature *signature;
    tn_batch_version *of;
    _Atomic(tn_batch_queue *) queues; /* grows at its head; read without a lock */
    uint32_t n_queues;                /* guarded by tn_batch_version.lock */
    tn_batch_signature_stats stats;
};

/* version->batching */
struct tn_batch_version {
    tn_batching manner;
    tn_batch_params params;
    int64_t max_rows; /* of one batch */
    size_t max_bytes; /* of one merged input */
    tn_arena arena;   /* queues; guarded by lock */
    pthread_mutex_t lock;
    uint32_t n_signatures;
    tn_batch_signature signatures[];
};

/* Some rows of a call on their way through a batch: all of them, but for a call that was cut. */
struct tn_batch_part {
    tn_batch_part *next; /* of the same batch */
    tn_call *call;
    int64_t from;
    int64_t rows;
    tn_batch_split *split; /* NULL: the whole call */
    tern_tensor *outputs;  /* split: this part's */
};

/* A batch that waits. In the arena of the call that opened it. */
struct tn_batch {
    tn_batch *next;
    tn_batch_part *first, *last;
    uint32_t n_parts;
    int64_t rows;
    size_t bytes;
    int64_t due_ns; /* runs then, full or not */
    bool closed;    /* takes no more, and is due */
};

/* A call that was cut into n parts; in its arena. */
struct tn_batch_split {
    pthread_mutex_t lock; /* the call's arena, status, and what follows */
    uint32_t left;        /* parts that have not ended */
    uint32_t n;
    tn_batch_part *parts;
    tern_code code;
    int64_t began_ns; /* the first part's run */
};

/* What a thread needs to run batches. */
typedef struct tn_batch_runner {
    tn_schedule *schedule;
    tn_arena arena; /* of one batch */
    tern_status status;
    bool failed_run; /* this batch failed as a whole, or a half of it did */
} tn_batch_runner;

/* SERVING: queues that have batches, and the threads that run them. */
typedef struct tn_batcher {
    pthread_mutex_t lock;
    pthread_cond_t work; /* CLOCK_MONOTONIC */
    tn_batch_queue *active, *active_last;
    bool closed; /* nothing waits any longer for more */
    bool ending;
    uint32_t n_threads;
    pthread_t *threads;
} tn_batcher;

struct tn_schedule {
    tn_taskq queue;
    tn_limits limits;
    tn_batch_options batching;
    tn_arena arena; /* copies of options */
    tn_batch_stats batch_stats;
    tn_batcher batcher;
    atomic_size_t running;
    atomic_bool closed;
    uint32_t n_threads;
    pthread_t threads[];
};

/* schedule.c */
/* Whether there is still someone to work for; else fills the call's status. */
TERN_MUST_USE tern_code tn_call_wanted(tn_call *call, int64_t now, const char *before);
/* Encodes after a good run, and hands the call back. The call is not the caller's any more. */
void tn_call_ran(tn_call *call, tern_code code);
/* The run of one call, with its own arena; small: in this thread. *now moves on. */
TERN_MUST_USE tern_code tn_call_run(tn_call *call, bool small, int64_t *now);
/* Whether calls of the size of this decoded one are measured to run within limit_us. */
bool tn_call_is_small(const tn_call *call, int64_t limit_us);
/* Runs a decoded call in this thread, and ends it. */
void tn_call_run_here(tn_schedule *s, tn_call *call);
/* Leaves a decoded call to the executors; ends it when they cannot have it. */
void tn_call_queue(tn_schedule *s, tn_call *call);
/* Ends a call with an error that is in its status already. */
static inline void tn_call_failed(tn_call *call, tern_code code)
{
    call->status.code = code;
    call->steps->done(call);
}

/* batch.c */
/*
 * The queue that a decoded call belongs to, or NULL: it is run alone. Brings its inputs in order, sets
 * call->batch and call->rows. An error (SERVING) is the call's end.
 */
TERN_MUST_USE tern_code tn_batch_find(tn_call *call, tern_status *st);
/* Whether the call's rows may stand in one batch with those of `other`, of the same queue. */
bool tn_batch_fits(const tn_call *call, const tn_call *other);
/* Bytes of all inputs. */
size_t tn_batch_bytes(const tn_call *call);

/* batch_gather.c */
/*
 * A decoded call on an executor: runs it with what waits and fits. false: there is nothing, the call is still
 * the caller's.
 */
bool tn_batch_gather(tn_batch_runner *runner, tn_call *first, bool small);
tn_schedule *tn_turn_schedule(const tn_turn *turn);
/* On the loop: a small decoded call that belongs to a queue. */
void tn_turn_add(tn_turn *turn, tn_call *call);

/* batch_queue.c */
TERN_MUST_USE tern_code tn_batcher_start(tn_schedule *s, tern_status *st);
/* Takes the call (call->batch is set); on an error it is still the caller's. Any thread. */
TERN_MUST_USE tern_code tn_batcher_put(tn_schedule *s, tn_call *call, tern_status *st);
void tn_batcher_close(tn_schedule *s);
/* After close: ends the threads when nothing waits. May be repeated. */
void tn_batcher_end(tn_schedule *s);
/* After end. */
void tn_batcher_free(tn_schedule *s);
void tn_batcher_leave(tn_schedule *s);

/* batch_run.c */
void tn_batch_runner_init(tn_batch_runner *runner, tn_schedule *s);
void tn_batch_runner_free(tn_batch_runner *runner);
/* A call was run by itself though its signature is batched: it counts as a batch of one. */
void tn_batch_count_one(tn_schedule *s, const tn_call *call);
/* Runs n parts of one queue that fit, and ends them. parts: reordered. small: in this thread. */
void tn_batch_run(tn_batch_runner *runner, tn_batch_queue *queue, tn_batch_part **parts, uint32_t n,
                  bool small);

#endif
