/* observe/worker.c - see observe/worker.h. */
#include "observe/worker.h"

#include <stdlib.h>

#include "base/thread.h"

struct tn_worker {
    tn_taskq queue;
    pthread_t thread;
};

static void *work(void *arg)
{
    tn_worker *w = arg;
    tn_task *task;
    while ((task = tn_taskq_pop(&w->queue)) != NULL)
        task->run(task);
    return NULL;
}

tn_worker *tn_worker_new(const char *name, size_t max)
{
    tn_worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    tn_taskq_init(&w->queue, max);
    if (tn_thread_start(&w->thread, name, work, w) != 0) {
        tn_taskq_destroy(&w->queue);
        free(w);
        return NULL;
    }
    return w;
}

bool tn_worker_do(tn_worker *w, tn_task *task)
{
    return tn_taskq_push(&w->queue, task, NULL);
}

void tn_worker_free(tn_worker *w)
{
    if (w == NULL)
        return;
    tn_taskq_close(&w->queue);
    pthread_join(w->thread, NULL);
    tn_taskq_destroy(&w->queue);
    free(w);
}
