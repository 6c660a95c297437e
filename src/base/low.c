/* base/low.c - see base/low.h. On Linux a nice value belongs to a thread, not to its process. */
#include "base/low.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct low_work {
    const char *name;
    void (*fn)(void *arg);
    void *arg;
} low_work;

static void *low_main(void *arg)
{
    const low_work *work = arg;
    const id_t self = (id_t)gettid();
    errno = 0;
    int nice_value = getpriority(PRIO_PROCESS, self);
    if (errno == 0)
        (void)setpriority(PRIO_PROCESS, self, nice_value + TN_LOW_NICE);
    pthread_setname_np(pthread_self(), work->name);
    work->fn(work->arg);
    return NULL;
}

void tn_low_run(const char *name, void (*fn)(void *arg), void *arg)
{
    low_work work = {name, fn, arg};
    pthread_t thread;
    if (pthread_create(&thread, NULL, low_main, &work) != 0) {
        fn(arg);
        return;
    }
    pthread_join(thread, NULL);
}
