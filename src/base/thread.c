/* base/thread.c - see base/thread.h. */
#include "base/thread.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

int tn_thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg)
{
    char short_name[16];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return error;
    snprintf(short_name, sizeof short_name, "%s", name);
    pthread_setname_np(*thread, short_name);
    return 0;
}

void tn_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

int tn_cond_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t at_ns)
{
    if (at_ns == INT64_MAX)
        return pthread_cond_wait(cond, lock);
    const struct timespec at = {.tv_sec = at_ns / TN_NS_PER_S, .tv_nsec = at_ns % TN_NS_PER_S};
    return pthread_cond_timedwait(cond, lock, &at);
}
