/*
 * base/thread.h - threads and timed waits, as all of Tern makes them.
 *
 * Signals belong to the main thread: every other one starts with all of them blocked. Waits go by the clock
 * of tn_now_ns(), so that nobody's setting of the time of day makes them longer or shorter.
 */
#ifndef TN_BASE_THREAD_H
#define TN_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Returns 0 or an errno. name is what ps shows, 15 bytes of it. */
int tn_thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg);

/* A condition for tn_cond_until(); pthread_cond_destroy() ends it. */
void tn_cond_init(pthread_cond_t *cond);
/* Waits until then at most; INT64_MAX: for ever. Returns 0 or ETIMEDOUT. */
int tn_cond_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t at_ns);

#endif
