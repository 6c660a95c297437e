/*
 * base/task.h - what is passed between threads: an intrusive task, and the queue that carries it.
 *
 * A task is embedded in its object; pushing it hands the object over. Owner: exactly one queue or one thread
 * at a time.
 */
#ifndef TN_BASE_TASK_H
#define TN_BASE_TASK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct tn_task tn_task;
struct tn_task {
    tn_task *next;
    void (*run)(tn_task *);
};

#define TN_CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* First in, first out; many producers, one or many consumers. */
typedef struct tn_taskq {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    tn_task *head;
    tn_task *tail;
    size_t length;
    size_t max; /* 0: no limit */
    bool closed;
} tn_taskq;

void tn_taskq_init(tn_taskq *q, size_t max);
void tn_taskq_destroy(tn_taskq *q);
/* false when full or closed; the task stays the caller's. *was_empty (may be NULL) tells a loop whether to
 * wake up. */
bool tn_taskq_push(tn_taskq *q, tn_task *t, bool *was_empty);
/* Blocks. NULL when closed and empty. */
tn_task *tn_taskq_pop(tn_taskq *q);
/* All of it, as a list in order, without blocking; NULL when empty. */
tn_task *tn_taskq_take_all(tn_taskq *q);
/*
 * Takes out those of the first `look` tasks that want() says yes to, as a list in order, without blocking;
 * NULL when there are none. want() is called with the queue locked.
 */
tn_task *tn_taskq_take_if(tn_taskq *q, bool (*want)(tn_task *, void *arg), void *arg, size_t look);
/* Gives back what was taken out: it is the next one, also where the queue is full or closed by now. */
void tn_taskq_push_front(tn_taskq *q, tn_task *t);
/* No more pushes; waiting consumers wake, drain what is left, then get NULL. */
void tn_taskq_close(tn_taskq *q);
size_t tn_taskq_length(tn_taskq *q);

#endif
