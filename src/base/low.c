/*
 * base/low.c - see base/low.h.
 *
 * The caller of tn_low_run() has nothing to do but wait, so it is the one that looks after the thread: every
 * PERIOD_NS it compares the processor time that the thread got with the time that passed. On Linux policy and
 * nice value belong to a thread, not to its process, and a thread id names it.
 */
#include "base/low.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

#define PERIOD_NS (100 * TN_NS_PER_MS)
#define ENOUGH    10 /* a thread that got less than 1/ENOUGH of the time is taken for starved */

typedef struct low_work {
    const char *name;
    void (*fn)(void *arg);
    void *arg;
    sem_t named; /* tid is known */
    sem_t ended; /* fn has returned */
    pid_t tid;
    bool idle; /* SCHED_IDLE to begin with */
} low_work;

static atomic_int running_idle; /* threads of ours that may have SCHED_IDLE */

static void set_policy(pid_t tid, int policy)
{
    const struct sched_param none = {0};
    (void)sched_setscheduler(tid, policy, &none);
}

/* ---- May a thread come back from SCHED_IDLE? Tried once, by one that ends with it. ---- */

static bool may_return;

static void *probe_main(void *arg)
{
    const struct sched_param none = {0};
    (void)arg;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), TN_LOW_NICE);
    may_return =
        sched_setscheduler(0, SCHED_IDLE, &none) == 0 && sched_setscheduler(0, SCHED_OTHER, &none) == 0;
    return NULL;
}

static void probe(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, probe_main, NULL) == 0)
        pthread_join(thread, NULL);
}

static bool can_be_idle(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, probe);
    return may_return;
}

/* ---- */

static void *low_main(void *arg)
{
    low_work *work = arg;
    work->tid = gettid();
    errno = 0;
    int nice_value = getpriority(PRIO_PROCESS, (id_t)work->tid);
    if (errno == 0)
        (void)setpriority(PRIO_PROCESS, (id_t)work->tid, nice_value + TN_LOW_NICE);
    if (work->idle)
        set_policy(work->tid, SCHED_IDLE);
    pthread_setname_np(pthread_self(), work->name);
    sem_post(&work->named);
    work->fn(work->arg);
    sem_post(&work->ended);
    return NULL;
}

/* The thread's processor time so far, or -1. */
static int64_t used_ns(clockid_t clock)
{
    struct timespec used;
    return clock_gettime(clock, &used) == 0 ? (int64_t)used.tv_sec * TN_NS_PER_S + used.tv_nsec : -1;
}

/* Returns when it has ended. Whenever it is starved it has SCHED_OTHER for one period. */
static void look_after(pthread_t thread, low_work *work)
{
    const pid_t tid = work->tid;
    clockid_t clock;
    bool idle = true;
    int64_t before_ns = 0, at_ns = tn_now_ns();
    if (pthread_getcpuclockid(thread, &clock) != 0) {
        pthread_join(thread, NULL);
        return;
    }
    for (;;) {
        const int64_t next_ns = at_ns + PERIOD_NS;
        const struct timespec until = {.tv_sec = (time_t)(next_ns / TN_NS_PER_S),
                                       .tv_nsec = next_ns % TN_NS_PER_S};
        int error;
        while ((error = sem_clockwait(&work->ended, CLOCK_MONOTONIC, &until)) != 0 && errno == EINTR)
            continue;
        if (error == 0) {
            pthread_join(thread, NULL); /* which TSan knows, unlike pthread_clockjoin_np() */
            return;
        }
        const int64_t now_ns = tn_now_ns(), has_ns = used_ns(clock);
        const bool starved = has_ns - before_ns < (now_ns - at_ns) / ENOUGH;
        idle = !(idle && starved);
        set_policy(tid, idle ? SCHED_IDLE : SCHED_OTHER);
        at_ns = now_ns;
        before_ns = has_ns;
    }
}

/* What the thread made and left, such as a pool of the engine, serves others from now on. */
static void free_children(void)
{
    /* TSan knows open() and closedir(), but not opendir(): it would take the descriptor for its last owner's. */
    const int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
    if (tasks == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (tid > 0 && sched_getscheduler(tid) == SCHED_IDLE)
            set_policy(tid, SCHED_OTHER);
    }
    closedir(tasks);
}

void tn_low_run(const char *name, void (*fn)(void *arg), void *arg)
{
    low_work work = {
        .name = name, .fn = fn, .arg = arg, .idle = sched_getscheduler(0) != SCHED_IDLE && can_be_idle()};
    pthread_t thread;
    sem_init(&work.named, 0, 0);
    sem_init(&work.ended, 0, 0);
    atomic_fetch_add(&running_idle, 1);
    if (pthread_create(&thread, NULL, low_main, &work) != 0) {
        fn(arg);
    } else if (!work.idle) {
        pthread_join(thread, NULL);
    } else {
        while (sem_wait(&work.named) != 0)
            ;
        look_after(thread, &work);
    }
    /* The last one looks: another's own thread is not to be touched. */
    if (atomic_fetch_sub(&running_idle, 1) == 1 && work.idle)
        free_children();
    sem_destroy(&work.named);
    sem_destroy(&work.ended);
}
