/*
 * net/loop.c - the event loop: its thread, the inbox that other threads post to, timers, regular sweeps,
 * settling.
 *
 * The inbox is a stack that producers push on with one compare-and-swap and the loop takes whole and turns
 * round, so tasks of one producer keep their order, and the loop is woken (uv_async_send) only by the first
 * one. The loop's own tasks posted to itself while it runs others wake nobody: it looks again before it
 * waits. Timers are a binary heap of pointers over one uv_timer. Connections have no timers: one sweep looks
 * at all of them, so requests never touch the heap.
 */
#include "net/loop.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "net/conn.h"
#include "net/http2.h"

#define NEVER        INT64_MAX
#define INBOX_ROUNDS 8 /* before sockets get their turn again */

/* The loop that this thread is running tasks for: it takes its inbox again before it waits. */
static _Thread_local tn_loop *at_work;

struct tn_watch {
    uv_poll_t poll;
    tn_loop *loop;
    void (*ready)(void *user);
    void *user;
};

/* The loop's own code is not on the stack. */
static void end_turn(tn_loop *loop)
{
    const tn_net_app *app = tn_net_app_of(loop->net);
    while (app->on_turn != NULL && app->on_turn(app->context, loop))
        tn_loop_settle(loop);
}

/* Timers. */

static void heap_put(tn_loop *loop, size_t at, tn_timer *timer)
{
    loop->heap[at] = timer;
    timer->slot = at + 1;
}

static void heap_up(tn_loop *loop, size_t at)
{
    tn_timer *timer = loop->heap[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (loop->heap[parent]->at_ns <= timer->at_ns)
            break;
        heap_put(loop, at, loop->heap[parent]);
        at = parent;
    }
    heap_put(loop, at, timer);
}

static void heap_down(tn_loop *loop, size_t at)
{
    tn_timer *timer = loop->heap[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= loop->n_heap)
            break;
        if (child + 1 < loop->n_heap && loop->heap[child + 1]->at_ns < loop->heap[child]->at_ns)
            child++;
        if (timer->at_ns <= loop->heap[child]->at_ns)
            break;
        heap_put(loop, at, loop->heap[child]);
        at = child;
    }
    heap_put(loop, at, timer);
}

static void heap_remove(tn_loop *loop, tn_timer *timer)
{
    size_t at = timer->slot - 1;
    timer->slot = 0;
    tn_timer *last = loop->heap[--loop->n_heap];
    if (last == timer)
        return;
    heap_put(loop, at, last);
    heap_up(loop, at);
    heap_down(loop, last->slot - 1);
}

static void on_clock(uv_timer_t *handle);

/*
 * Sets the one uv_timer to the earliest timer. Waking too early is harmless, so a later time is left alone.
 */
static void set_clock(tn_loop *loop)
{
    int64_t at = loop->n_heap > 0 ? loop->heap[0]->at_ns : NEVER;
    if (at >= loop->clock_at)
        return;
    loop->clock_at = at;
    uv_update_time(&loop->uv);
    int64_t wait = at - tn_now_ns();
    uint64_t ms = wait > 0 ? (uint64_t)((wait + TN_NS_PER_MS - 1) / TN_NS_PER_MS) : 0;
    uv_timer_start(&loop->clock, on_clock, ms, 0);
}

static void on_clock(uv_timer_t *handle)
{
    tn_loop *loop = handle->data;
    int64_t now = tn_now_ns();
    loop->clock_at = NEVER;
    while (loop->n_heap > 0 && loop->heap[0]->at_ns <= now) {
        tn_timer *timer = loop->heap[0];
        heap_remove(loop, timer);
        timer->fire(timer);
    }
    set_clock(loop);
    tn_loop_settle(loop);
    end_turn(loop);
}

void tn_timer_start(tn_loop *loop, tn_timer *timer, int64_t at_ns, void (*fire)(tn_timer *))
{
    tn_timer_stop(loop, timer);
    if (loop->n_heap == loop->cap_heap) {
        size_t cap = loop->cap_heap == 0 ? 64 : loop->cap_heap * 2;
        tn_timer **heap = realloc(loop->heap, cap * sizeof(tn_timer *));
        if (heap == NULL) {
            tn_error("net", "no memory for a timer, it will not fire");
            return;
        }
        loop->heap = heap;
        loop->cap_heap = cap;
    }
    timer->at_ns = at_ns;
    timer->fire = fire;
    heap_put(loop, loop->n_heap, timer);
    heap_up(loop, loop->n_heap++);
    set_clock(loop);
}

void tn_timer_stop(tn_loop *loop, tn_timer *timer)
{
    if (timer->slot != 0)
        heap_remove(loop, timer);
}

/* Tasks. */

void tn_loop_post(tn_loop *loop, tn_task *task)
{
    tn_task *top = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        task->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &top, task, memory_order_release,
                                                    memory_order_relaxed));
    if (top == NULL && loop != at_work)
        uv_async_send(&loop->wake);
}

/* All posted tasks in the order of posting. */
static tn_task *take_inbox(tn_loop *loop)
{
    tn_task *task = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    tn_task *in_order = NULL;
    while (task != NULL) {
        tn_task *next = task->next;
        task->next = in_order;
        in_order = task;
        task = next;
    }
    return in_order;
}

void tn_loop_run_inbox(tn_loop *loop)
{
    at_work = loop;
    for (int round = 0; round < INBOX_ROUNDS; round++) {
        tn_task *task = take_inbox(loop);
        if (task == NULL && round > 0)
            break;
        while (task != NULL) {
            tn_task *next = task->next;
            task->run(task);
            task = next;
        }
        tn_loop_settle(loop);
    }
    at_work = NULL;
    if (atomic_load_explicit(&loop->inbox, memory_order_relaxed) != NULL)
        uv_async_send(&loop->wake);
}

/* What others bring: descriptors. */

static void on_ready(uv_poll_t *handle, int status, int events)
{
    tn_watch *watch = handle->data;
    tn_loop *loop = watch->loop;
    (void)status; /* whoever reads sees it */
    (void)events;
    at_work = loop;
    watch->ready(watch->user);
    tn_loop_run_inbox(loop);
}

tn_watch *tn_loop_watch(tn_loop *loop, int fd, void (*ready)(void *user), void *user)
{
    tn_watch *watch = malloc(sizeof *watch);
    if (watch == NULL)
        return NULL;
    *watch = (tn_watch){.loop = loop, .ready = ready, .user = user};
    if (uv_poll_init(&loop->uv, &watch->poll, fd) != 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    uv_poll_start(&watch->poll, UV_READABLE, on_ready);
    return watch;
}

static void watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void tn_loop_unwatch(tn_watch *watch)
{
    if (watch != NULL)
        uv_close((uv_handle_t *)&watch->poll, watch_closed);
}

static void on_wake(uv_async_t *handle)
{
    tn_loop *loop = handle->data;
    tn_loop_run_inbox(loop);
    if (loop->stopping)
        uv_stop(&loop->uv);
}

/* Settling and taking turns. */

void tn_loop_settle(tn_loop *loop)
{
    if (loop->settling)
        return;
    loop->settling = true;
    while (loop->dirty != NULL || loop->strays.marks != NULL) {
        tn_conn *conn = loop->dirty;
        if (conn != NULL) {
            loop->dirty = conn->next_dirty;
            conn->dirty = false;
            tn_conn_settle(conn);
        }
        tn_out_run(&loop->strays);
    }
    loop->settling = false;
}

static void on_turn(uv_check_t *handle)
{
    end_turn(handle->data);
}

static void on_busy(uv_idle_t *handle)
{
    tn_loop *loop = handle->data;
    loop->turn = loop->again;
    loop->again = NULL;
    while (loop->turn != NULL) {
        tn_conn *conn = loop->turn;
        loop->turn = conn->next_again;
        conn->again = false;
        tn_conn_continue(conn);
        tn_loop_settle(loop);
    }
    end_turn(loop);
    if (loop->again == NULL)
        uv_idle_stop(&loop->busy);
}

void tn_loop_again(tn_loop *loop, tn_conn *conn)
{
    if (conn->again)
        return;
    if (loop->again == NULL)
        uv_idle_start(&loop->busy, on_busy);
    conn->again = true;
    conn->next_again = loop->again;
    loop->again = conn;
}

static void on_sweep(tn_timer *timer)
{
    tn_loop *loop = TN_CONTAINER(timer, tn_loop, sweep);
    int64_t now = tn_now_ns();
    for (tn_conn *conn = loop->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        tn_conn_check(conn, now);
    }
    if (loop->conns != NULL)
        tn_timer_start(loop, &loop->sweep, now + loop->sweep_ns, on_sweep);
}

void tn_loop_sweep_on(tn_loop *loop)
{
    if (loop->sweep.slot == 0)
        tn_timer_start(loop, &loop->sweep, tn_now_ns() + loop->sweep_ns, on_sweep);
}

/* An eighth of the shortest timeout, so that none is overrun by more; never more often than each 10 ms. */
static int64_t sweep_period(const tn_limits *limits)
{
    const int64_t times[] = {limits->header_timeout_ms, limits->idle_timeout_ms,
                             limits->write_timeout_ms,  limits->linger_ms,
                             limits->half_close_ms,     limits->keepalive_timeout_ms};
    int64_t shortest = 8000;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i] < shortest)
            shortest = times[i];
    const int64_t choices[] = {limits->keepalive_ms, limits->max_connection_age_ms,
                               limits->max_connection_age_grace_ms};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (choices[i] > 0 && choices[i] < shortest)
            shortest = choices[i];
    int64_t period = shortest / 8;
    return (period < 10 ? 10 : period) * TN_NS_PER_MS;
}

/* Small things. */

tn_str tn_loop_date(tn_loop *loop)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != loop->date_s) {
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm tm;
        time_t seconds = now.tv_sec;
        gmtime_r(&seconds, &tm);
        loop->date_s = now.tv_sec;
        snprintf(loop->date, sizeof loop->date, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                 days + tm.tm_wday * 3, (unsigned)tm.tm_mday % 100, months + tm.tm_mon * 3,
                 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
                 (unsigned)tm.tm_sec % 100);
    }
    return (tn_str){loop->date, 29};
}

void **tn_loop_user(tn_loop *loop)
{
    return &loop->user;
}

tn_net *tn_loop_net(tn_loop *loop)
{
    return loop->net;
}

/* Life. */

tern_code tn_loop_open(tn_loop *loop, tn_net *net, int32_t index, tern_status *st)
{
    memset(loop, 0, sizeof *loop);
    loop->net = net;
    loop->index = index;
    loop->clock_at = NEVER;
    loop->sweep_ns = sweep_period(tn_net_limits(net));
    tn_pool_init(&loop->pool);
    tn_out_init(&loop->strays, &loop->pool);
    loop->scratch = malloc(TN_SCRATCH_BYTES);
    if (loop->scratch == NULL || !tn_http2_prepare(loop)) {
        free(loop->scratch);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for an event loop");
    }
    int failed = uv_loop_init(&loop->uv);
    if (failed == 0) {
        failed = uv_async_init(&loop->uv, &loop->wake, on_wake);
        if (failed != 0)
            uv_loop_close(&loop->uv);
    }
    if (failed != 0) {
        tn_http2_unprepare(loop);
        free(loop->scratch);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "cannot make an event loop: %s", uv_strerror(failed));
    }
    uv_timer_init(&loop->uv, &loop->clock);
    uv_idle_init(&loop->uv, &loop->busy);
    uv_check_init(&loop->uv, &loop->check);
    loop->wake.data = loop->clock.data = loop->busy.data = loop->check.data = loop;
    if (tn_net_app_of(net)->on_turn != NULL)
        uv_check_start(&loop->check, on_turn);
    return TERN_OK;
}

static void *run_loop(void *arg)
{
    tn_loop *loop = arg;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

tern_code tn_loop_start(tn_loop *loop, tern_status *st)
{
    char name[16];
    snprintf(name, sizeof name, "tern-net-%d", (int)loop->index);
    int failed = tn_thread_start(&loop->thread, name, run_loop, loop);
    if (failed != 0)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "cannot start a thread: %s", strerror(failed));
    loop->threaded = true;
    return TERN_OK;
}

typedef struct stop_task {
    tn_task task;
    tn_loop *loop;
} stop_task;

static void stop_now(tn_task *task)
{
    TN_CONTAINER(task, stop_task, task)->loop->stopping = true;
}

void tn_loop_stop(tn_loop *loop)
{
    if (!loop->threaded)
        return;
    stop_task stop = {.task.run = stop_now, .loop = loop};
    tn_loop_post(loop, &stop.task);
    pthread_join(loop->thread, NULL);
    loop->threaded = false;
}

void tn_loop_close(tn_loop *loop)
{
    loop->phase = TN_LOOP_CLOSED;
    for (tn_conn *conn = loop->conns; conn != NULL; conn = conn->next)
        tn_conn_kill(conn);
    tn_loop_settle(loop);
    while (atomic_load_explicit(&loop->inbox, memory_order_relaxed) != NULL)
        tn_loop_run_inbox(loop);
    const tn_net_app *app = tn_net_app_of(loop->net);
    if (app->on_loop_end != NULL)
        app->on_loop_end(app->context, loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
    uv_close((uv_handle_t *)&loop->busy, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    tn_http2_unprepare(loop);
    free(loop->heap);
    free(loop->scratch);
    tn_pool_clear(&loop->pool);
}
