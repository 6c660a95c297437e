/*
 * base/low.h - work that may wait: in a thread of its own that gives way to all others of the process.
 *
 * A thread's priority can be lowered, but without privileges never raised again, and threads inherit it from
 * the one that makes them. So such work gets a thread for itself, which ends with it.
 */
#ifndef TN_BASE_LOW_H
#define TN_BASE_LOW_H

/* The thread's nice value above the caller's. */
#define TN_LOW_NICE 10

/*
 * Runs fn(arg) and returns when it has ended. name: of the thread, at most 15 bytes. Runs it in the calling
 * thread, with its priority, when there are no more threads to be had. Any thread.
 */
void tn_low_run(const char *name, void (*fn)(void *arg), void *arg);

#endif
