/*
 * base/low.h - work that may wait: in a thread of its own that gives way to all others of the process.
 *
 * A thread's priority can be lowered, but without privileges never raised again, and threads inherit it from
 * the one that makes them. So such work gets a thread for itself, which ends with it.
 *
 * A nice value alone is not enough for what wakes up to serve: on Linux it waits for the next tick (1 to 10
 * ms) behind a thread that runs, however nice. Behind one of SCHED_IDLE (sched(7)) it does not. But on a
 * machine that is busy without a pause such a thread may not run for minutes, perhaps with a lock in its
 * hand. So it has that policy only where it can be taken back (CAP_SYS_NICE, or RLIMIT_NICE), and loses it
 * for a while whenever it gets too little of a processor.
 */
#ifndef TN_BASE_LOW_H
#define TN_BASE_LOW_H

/* The thread's nice value above the caller's. */
#define TN_LOW_NICE 10

/*
 * Runs fn(arg) and returns when it has ended. name: of the thread, at most 15 bytes. Runs it in the calling
 * thread, with its priority, when there are no more threads to be had. Threads that fn makes and leaves have
 * SCHED_OTHER afterwards, and the nice value. Any thread.
 */
void tn_low_run(const char *name, void (*fn)(void *arg), void *arg);

#endif
