/* base/low.c: threads that give way, and what becomes of them where they get no processor. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/low.h"

typedef struct seen {
    int nice_value;
    bool has_child, idle, other_again, idle_again;
    pthread_t child;
    pid_t child_tid;
    sem_t child_ready, child_end;
} seen;

static bool wait_for_policy(int policy)
{
    const struct timespec pause = {.tv_nsec = 5 * TN_NS_PER_MS};
    const int64_t end_ns = tn_now_ns() + 20 * TN_NS_PER_S;
    while (sched_getscheduler(0) != policy && tn_now_ns() < end_ns)
        nanosleep(&pause, NULL);
    return sched_getscheduler(0) == policy;
}

static void *child_main(void *arg)
{
    seen *s = arg;
    s->child_tid = gettid();
    sem_post(&s->child_ready);
    sem_wait(&s->child_end);
    return NULL;
}

static void look(void *arg)
{
    seen *s = arg;
    s->nice_value = getpriority(PRIO_PROCESS, (id_t)gettid());
    s->idle = sched_getscheduler(0) == SCHED_IDLE;
    s->has_child = pthread_create(&s->child, NULL, child_main, s) == 0;
    if (s->has_child)
        sem_wait(&s->child_ready);
    if (s->idle) {
        /* It sleeps, so it gets next to nothing of a processor, as it would where others keep it off. */
        s->other_again = wait_for_policy(SCHED_OTHER);
        s->idle_again = wait_for_policy(SCHED_IDLE);
    }
}

/* A lock in the hand of a thread that never runs would stop all others. */
static void test_starved_thread_is_idle_no_more(void **state)
{
    seen s = {0};
    (void)state;
    const int own = getpriority(PRIO_PROCESS, (id_t)gettid());
    sem_init(&s.child_ready, 0, 0);
    sem_init(&s.child_end, 0, 0);
    tn_low_run("tern-low", look, &s);
    assert_true(s.has_child);
    assert_int_equal(own + TN_LOW_NICE > 19 ? 19 : own + TN_LOW_NICE, s.nice_value);
    assert_true(s.other_again == s.idle && s.idle_again == s.idle);
    assert_int_equal(SCHED_OTHER, sched_getscheduler(s.child_tid));
    sem_post(&s.child_end);
    pthread_join(s.child, NULL);
    sem_destroy(&s.child_ready);
    sem_destroy(&s.child_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_starved_thread_is_idle_no_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
