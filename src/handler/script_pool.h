/*
 * handler/script_pool.h - supervised pools of worker processes, and jobs that they do.
 *
 * One thread looks after the processes of all pools. A job is one call of a script: the owner (api/)
 * writes its CALL frame and submits it from an event loop; it goes straight to a worker that has room, or
 * waits in the pool's queue. What the worker says comes to job->event(), one frame at a
 * time: the worker may say no more about this job until the owner has replied. NEED (shared memory) is
 * answered here.
 *
 * A worker's socket is read by the pools' thread, or, so that an answer crosses no thread, by an event loop
 * that has a port: the socket goes along with the first job of a worker that has no other.
 *
 * A worker that dies, breaks the protocol or lets a job pass its deadline is replaced. Only jobs that it had
 * begun end with an error; those it had not yet begun go to another one. A worker whose job is too late gets
 * no new ones, and is killed as soon as its other jobs are over. One that cannot start is tried again with
 * growing pauses; meanwhile jobs are refused with the reason.
 *
 * Nothing here knows Python: a pool runs the command that it is given (handler/script_process.h) and speaks
 * handler/script_wire.h with it.
 */
#ifndef TN_HANDLER_SCRIPT_POOL_H
#define TN_HANDLER_SCRIPT_POOL_H

#include "base/buf.h"
#include "handler/script_process.h"
#include "handler/script_segment.h"

typedef struct tn_scripts tn_scripts;         /* all pools, and their thread */
typedef struct tn_script_pool tn_script_pool; /* workers that are alike */
typedef struct tn_script_job tn_script_job;
typedef struct tn_script_port tn_script_port; /* an event loop that reads what workers say */

/* Starts the thread. */
TERN_MUST_USE tern_code tn_scripts_new(tn_scripts **out, tern_status *st);
/*
 * Ends all pools: what waits is refused, what is under way has a few seconds, then the processes are killed
 * and reaped, and the thread ends. Events still come from inside; afterwards none does. Pools may still be
 * released. Accepts NULL.
 */
void tn_scripts_end(tn_scripts *s);
/* The same, and nobody may use it any more. Accepts NULL. */
void tn_scripts_free(tn_scripts *s);
/* Before a process ends that cannot wait: kills and reaps the workers. Accepts NULL. */
void tn_scripts_leave(tn_scripts *s);

/*
 * A port. Its owner waits until the descriptor can be read, and then calls tn_script_port_read(), as often as
 * it likes: events come from inside it. NULL when memory or descriptors are short. Freed, its workers go back
 * to the pools' thread; no job may name it any more. Accepts NULL. Not after tn_scripts_free().
 */
tn_script_port *tn_script_port_new(tn_scripts *s);
int tn_script_port_fd(const tn_script_port *port);
void tn_script_port_read(tn_script_port *port);
void tn_script_port_free(tn_script_port *port);

typedef struct tn_script_pool_options {
    tn_str name;               /* in log lines and errors: "code/inference.py" */
    tn_script_command command; /* of a worker; copied */
    /*
     * Run to its end before the first worker starts (argv NULL: nothing); its failure is the pool's trouble.
     */
    tn_script_command prepare;
    const char *prepare_failed; /* the sentence for that: static */
    int32_t workers;            /* 1 to TN_SCRIPT_WORKERS_MAX / 2 */
    size_t max_queue;           /* jobs that wait; more are refused */
    size_t max_memory;          /* of one worker, its own; 0: no limit. At half as much again it is killed */
    uint64_t max_calls;         /* after which a worker is replaced; 0: never */
    int64_t start_ns;           /* time for a worker to get ready */
    tn_budget *budget;          /* borrowed: bytes in flight */
    size_t max_bytes;           /* of one segment */
    size_t max_idle;            /* bytes of shared memory that are kept for later calls */
    /*
     * The pool became broken (its trouble), or is well: its first worker is ready, or one again (NULL). On
     * the pools' thread, which it must not keep, and with its lock: no function of this header may be called.
     * May be NULL.
     */
    void (*on_trouble)(void *context, const tern_status *trouble);
    void *context;
} tn_script_pool_options;

/* Workers start at once, on the pools' thread. Returns a reference. */
TERN_MUST_USE tern_code tn_script_pool_new(tn_scripts *s, const tn_script_pool_options *options,
                                           tn_script_pool **out, tern_status *st);
tn_script_pool *tn_script_pool_retain(tn_script_pool *pool);
/* The last one closes it. Accepts NULL. */
void tn_script_pool_release(tn_script_pool *pool);
/*
 * No new jobs; those that wait are refused, those under way end, then the workers do. Does not wait. May be
 * repeated.
 */
void tn_script_pool_close(tn_script_pool *pool);

typedef enum tn_script_state {
    TN_SCRIPT_STARTING, /* no worker yet, and nothing against it */
    TN_SCRIPT_READY,    /* some worker takes calls, or is being replaced */
    TN_SCRIPT_BROKEN    /* none can start: the trouble says why; it is tried again */
} tn_script_state;

/* Any thread. trouble: gets the reason of TN_SCRIPT_BROKEN, else is emptied. May be NULL. */
tn_script_state tn_script_pool_state(tn_script_pool *pool, tern_status *trouble);
/* What the workers said of themselves when they got ready (NOTE); copied, NUL-terminated. */
size_t tn_script_pool_note(tn_script_pool *pool, char *text, size_t size);
/*
 * Waits until one worker is ready, or the pool has trouble: FAILED_PRECONDITION where what is run cannot
 * start, UNAVAILABLE where it may be different later. DEADLINE_EXCEEDED at at_ns. Not on a loop.
 */
TERN_MUST_USE tern_code tn_script_pool_wait(tn_script_pool *pool, int64_t at_ns, tern_status *st);
tn_segments *tn_script_pool_segments(tn_script_pool *pool);
tn_scripts *tn_script_pool_owner(const tn_script_pool *pool);
typedef struct tn_script_counts {
    uint64_t calls, failures, starts, deaths; /* failures: calls that a worker's end took along */
    uint32_t ready, busy;                     /* workers; calls under way */
    size_t queued, shared_idle_bytes;
} tn_script_counts;
tn_script_counts tn_script_pool_count(tn_script_pool *pool);

/* Segments that one job may have. */
#define TN_SCRIPT_SEGMENTS 8

struct tn_script_job {
    /* The owner's, set before submit. */
    char *frame; /* the CALL frame; its call number is filled in. Stays until the job is over */
    size_t frame_len;
    int64_t deadline_ns;  /* CLOCK_MONOTONIC; 0: none */
    tn_script_port *port; /* of the owner's loop, or NULL: where the answer is best read */
    /*
     * A frame has come (reply), or the job is over (over), or both. On whatever thread reads or closes: its
     * own port's, another one's, the pools'. Not called again before tn_script_reply(), and never after
     * `over`.
     */
    void (*event)(tn_script_job *job);
    /* Segments of this job: one reference each. The owner's and, for NEED, the pool's to add. */
    tn_segment *segments[TN_SCRIPT_SEGMENTS];
    uint32_t n_segments;
    /* What there is to see in event(). */
    tn_frame reply;     /* type 0: none */
    bool over;          /* the pool has let go of it */
    tern_status status; /* of one that is over without an answer: why */
    /* The pool's. */
    tn_buf in; /* bytes of reply */
    tn_script_pool *pool;
    struct tn_script_worker *worker; /* NULL: it waits, or is over */
    tn_script_job *next, *prev;      /* in the queue, or among its worker's */
    tn_script_job *next_event;
    uint64_t call;
    bool queued, in_hand, late, cancelled, lost;
    uint8_t tries;
};

/* A zeroed job gets ready. */
void tn_script_job_init(tn_script_job *job, void (*event)(tn_script_job *job));
/* Adds a segment (takes the reference); false: it has TN_SCRIPT_SEGMENTS already. */
bool tn_script_job_add(tn_script_job *job, tn_segment *segment);
/* The segment with that id which belongs to the job and holds [offset, offset + size); NULL: none. */
tn_segment *tn_script_job_segment(const tn_script_job *job, const tn_frame_ref *ref);
/* Bytes that a reference of job->reply points to: in a segment or in the frame. {NULL,0} when it is none. */
tn_str tn_script_job_bytes(const tn_script_job *job, const tn_frame_ref *ref);
/* Gives back all its segments but the one with that id. Only while it is over. */
void tn_script_job_keep(tn_script_job *job, uint64_t id);
/* Gives back what it holds. Only when it is over, or was never submitted; then it may be used again. */
void tn_script_job_finish(tn_script_job *job);

/*
 * Takes the job. RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: the pool is closed, or broken (with its
 * trouble). Any thread; event() may come before it returns.
 */
TERN_MUST_USE tern_code tn_script_submit(tn_script_pool *pool, tn_script_job *job, tern_status *st);
/*
 * After event() with a reply that was not the last: sends a frame about the job (RESULT, MORE) and lets the
 * worker go on with it. The job's segments are made known to the worker. false: the worker is gone meanwhile;
 * the job is over, and its status says why.
 */
TERN_MUST_USE bool tn_script_reply(tn_script_job *job, char *frame, size_t frame_len);
/*
 * Nobody waits for this job any more. true: it had not begun and is over, no event follows. false: event()
 * with `over` will come (the worker is told; when `late`, it gets no new jobs and is replaced). Not for a job
 * whose frame is in the owner's hands: that one is replied to. Any thread.
 */
bool tn_script_cancel(tn_script_job *job, bool late);

#endif
