/*
 * observe/worker.h - one thread for work that must not keep an event loop: pages of metrics.
 */
#ifndef TN_OBSERVE_WORKER_H
#define TN_OBSERVE_WORKER_H

#include "base/task.h"
#include "tern/status.h"

typedef struct tn_worker tn_worker;

/* name: of the thread, up to 15 bytes. max: tasks that wait. NULL when there is no thread to be had. */
tn_worker *tn_worker_new(const char *name, size_t max);
/* Any thread. false: too many wait already, or it is ending; the task stays the caller's. */
TERN_MUST_USE bool tn_worker_do(tn_worker *w, tn_task *task);
/* Runs what waits, and ends. Accepts NULL. */
void tn_worker_free(tn_worker *w);

#endif
