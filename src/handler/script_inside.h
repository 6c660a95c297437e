/*
 * handler/script_inside.h - inside of the pools: the supervisor, its pools, their workers.
 *
 * One lock guards all of it; it is held for bookkeeping and for sendmsg() that never waits, not while an
 * owner's code runs. Events are collected under the lock and delivered after it.
 */
#ifndef TN_HANDLER_SCRIPT_INSIDE_H
#define TN_HANDLER_SCRIPT_INSIDE_H

#include <pthread.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "handler/script_pool.h"

/* What epoll's pointers carry in their lowest bits. */
enum { MARK_SOCKET = 0, MARK_PROCESS = 1, MARKS = 1 };

typedef enum tn_worker_state {
    TN_WORKER_NONE,     /* no process */
    TN_WORKER_STARTING, /* not ready yet */
    TN_WORKER_READY,
    TN_WORKER_RETIRING, /* no new jobs; killed when its last one is over */
    TN_WORKER_LEAVING,  /* its socket is closed; it has until end_ns to go by itself */
    TN_WORKER_KILLED    /* to be reaped */
} tn_worker_state;

/* A frame that the socket did not take yet. */
typedef struct tn_backlog {
    struct tn_backlog *next;
    size_t len;
    int fds[TN_SCRIPT_SEGMENTS]; /* copies */
    uint32_t n_fds;
    char bytes[];
} tn_backlog;

typedef struct tn_script_worker {
    tn_script_pool *pool;
    uint32_t place;  /* in the pool, and in tn_segment.known */
    uint32_t number; /* of the process, never 0 */
    tn_worker_state state;
    tn_process process;
    int socket;
    tn_script_port *port; /* who reads it; NULL: the pools' thread */
    int page_fd;
    const atomic_uint_least64_t *page; /* [0]: the last call that it has begun */
    uint32_t capacity, n_jobs;
    tn_script_job *jobs; /* oldest first */
    tn_script_job *last_job;
    uint64_t calls; /* that it was given */
    int64_t started_ns, end_ns;
    tn_backlog *backlog, **backlog_end;
    size_t backlog_frames;
    bool worn;       /* still takes jobs, until its successor is ready */
    const char *why; /* static: why it was killed */
} tn_script_worker;

struct tn_script_pool {
    tn_scripts *owner;
    tn_script_pool *next;
    atomic_uint refs; /* taken by anybody, given back with the lock; the supervisor's own goes last */
    char *name;
    char **argv, **env; /* copies */
    tn_script_pool_options o;
    tn_segments *segments;
    tn_script_worker workers[TN_SCRIPT_WORKERS_MAX];
    tn_script_job *queue, *last;
    size_t n_queued;
    uint64_t last_call;
    uint32_t last_number;
    int64_t start_at_ns; /* earliest next start */
    int64_t pause_ns;    /* back-off */
    int64_t longest_pause_ns;
    bool closed, was_ready;
    bool told;              /* that there is trouble */
    uint32_t failed_starts; /* in a row */
    tern_status trouble;    /* code OK: none */
    char note[1024];
    size_t note_len;
    tn_script_counts counts;
};

struct tn_script_port {
    tn_scripts *owner;
    int epoll; /* sockets of its workers */
};

struct tn_scripts {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    int epoll, wake;
    bool ending; /* pools stay in the list */
    bool stop;
    tn_script_pool *pools;
    tn_script_job *events; /* to be delivered after the lock: linked by next */
    tn_script_job **events_end;
    char *buffer; /* one frame */
};

/* ---- script_pool.c ---- */

void tn_scripts_lock(tn_scripts *s);
/* Events are delivered from inside of it. */
void tn_scripts_unlock(tn_scripts *s);

/* All with the lock held: */

/* One of epoll's: a worker's socket or process, or the thread's wake-up. */
void tn_script_handle(tn_scripts *s, const struct epoll_event *e);
/* Tells the workers which segments will not come again. */
void tn_script_tell_gone(tn_script_pool *pool);
/* The job is over for the pool; event() will be called with that status (NULL: with job->reply). */
void tn_script_over(tn_scripts *s, tn_script_job *job, const tern_status *st);
void tn_script_tell(tn_scripts *s, tn_script_job *job);
/* Gives waiting jobs to workers that have room. */
void tn_script_dispatch(tn_script_pool *pool);
void tn_script_requeue(tn_script_pool *pool, tn_script_job *job);
/* Wakes the thread. */
void tn_script_wake(tn_scripts *s);
/* A start failed: the next one comes after a pause, which grows. */
void tn_script_pause(tn_script_pool *pool);
/* pool->trouble has changed: tells whoever waits, and on_trouble(). */
void tn_script_trouble(tn_script_pool *pool);

/* ---- script_port.c ---- all with the lock held */

/* Which of its socket's events are wanted; false: it cannot be watched. */
bool tn_worker_watch(tn_script_worker *w, bool writable);
/* Nobody looks at the socket any more. */
void tn_worker_unwatch(tn_script_worker *w);
/* From now on its socket is that port's (NULL: the pools' thread's) to read. */
void tn_worker_move(tn_script_worker *w, tn_script_port *port);

/* ---- script_worker.c ---- all with the lock held */

bool tn_worker_start(tn_script_worker *w, tern_status *st);
/* Makes the job's segments known, and sends. false: the worker is as good as dead. */
bool tn_worker_send(tn_script_worker *w, tn_script_job *job, const char *frame, size_t len);
/* A frame about no job. */
void tn_worker_tell(tn_script_worker *w, const char *frame, size_t len);
/* Waits for its end, reaps it, and loses its jobs. For the end of all. */
void tn_worker_bury(tn_script_worker *w);
void tn_worker_take(tn_script_worker *w, tn_script_job *job);
void tn_worker_drop(tn_script_worker *w, tn_script_job *job);
/* The socket can be read or written; the process has ended. */
void tn_worker_readable(tn_script_worker *w);
void tn_worker_writable(tn_script_worker *w);
void tn_worker_ended(tn_script_worker *w);
/* No new jobs; goes when it has none. */
void tn_worker_retire(tn_script_worker *w, const char *why);
void tn_worker_kill(tn_script_worker *w, const char *why);
/* It is to be replaced when its successor is ready. */
void tn_worker_wear(tn_script_worker *w, const char *why);
/* What time brings. */
void tn_worker_tick(tn_script_worker *w, int64_t now_ns, bool look_at_memory);

#endif
