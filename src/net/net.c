/*
 * net/net.c - the whole: loops and listeners together; start, drain, end, counts.
 *
 * Any thread may listen and count; new, start, drain and free are the owner's, one at a time. Draining is
 * asked of every loop by a task; the owner then looks at the counters until nothing is left or its time is
 * up.
 */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/listener.h"

#define DRAIN_SWEEP_NS (10 * TN_NS_PER_MS)
#define DRAIN_LOOK_US  2000

struct tn_net {
    tn_limits limits;
    tn_net_app app;
    int32_t n_loops;
    bool started;
    tn_loop *loops;
    struct {
        int tag;
        tn_tls *tls;
    } secured[TN_TLS_TAGS];
    size_t n_secured;
    uint32_t any_method;  /* bits of tags */
    pthread_mutex_t lock; /* listeners */
    tn_listener *listeners;
    bool closed;                 /* no more listeners */
    atomic_int_least64_t places; /* connections, those on their way to a loop included */
    atomic_uint_least64_t refused;
    atomic_int asked, entered; /* loops that were asked to enter a phase, and that did */
};

typedef struct phase_task {
    tn_task task;
    tn_loop *loop;
    tn_loop_phase phase;
} phase_task;

const tn_limits *tn_net_limits(const tn_net *net)
{
    return &net->limits;
}

const tn_net_app *tn_net_app_of(const tn_net *net)
{
    return &net->app;
}

tn_loop *tn_net_loop(tn_net *net, int32_t i)
{
    return i < net->n_loops ? &net->loops[i] : NULL;
}

bool tn_net_take_place(tn_net *net)
{
    if (atomic_fetch_add(&net->places, 1) < net->limits.max_connections)
        return true;
    atomic_fetch_sub(&net->places, 1);
    return false;
}

void tn_net_give_place(tn_net *net)
{
    atomic_fetch_sub(&net->places, 1);
}

void tn_net_count_refused(tn_net *net)
{
    atomic_fetch_add_explicit(&net->refused, 1, memory_order_relaxed);
}

tern_code tn_net_new(const tn_net_options *options, tn_net **out, tern_status *st)
{
    tern_code code = TERN_OK;
    *out = NULL;
    int32_t n = options->loops > 0 ? options->loops : (int32_t)tn_cores();
    tn_net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for the network");
    net->limits = options->limits;
    net->app = options->app;
    pthread_mutex_init(&net->lock, NULL);
    net->loops = calloc((size_t)n, sizeof *net->loops);
    if (net->loops == NULL)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for %d event loops", (int)n);
    while (code == TERN_OK && net->n_loops < n) {
        code = tn_loop_open(&net->loops[net->n_loops], net, net->n_loops, st);
        if (code == TERN_OK)
            net->n_loops++;
    }
    if (code != TERN_OK) {
        tn_net_free(net);
        return code;
    }
    /* Writing to a client that is gone must be an error, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    *out = net;
    return TERN_OK;
}

void tn_net_secure(tn_net *net, int tag, tn_tls *tls)
{
    assert(net->n_secured < TN_TLS_TAGS);
    net->secured[net->n_secured].tag = tag;
    net->secured[net->n_secured++].tls = tls;
}

void tn_net_any_method(tn_net *net, int tag)
{
    assert(tag >= 0 && tag < 32);
    net->any_method |= UINT32_C(1) << tag;
}

bool tn_net_takes_any_method(const tn_net *net, int tag)
{
    return tag >= 0 && tag < 32 && (net->any_method >> tag & 1) != 0;
}

static tern_code add_listener(tn_net *net, tn_listener *listener, tern_status *st)
{
    for (size_t i = 0; i < net->n_secured; i++)
        if (net->secured[i].tag == listener->tag)
            listener->tls = net->secured[i].tls;
    pthread_mutex_lock(&net->lock);
    bool closed = net->closed;
    if (!closed) {
        listener->next = net->listeners;
        net->listeners = listener;
    }
    pthread_mutex_unlock(&net->lock);
    if (closed) {
        tn_listener_free(listener);
        return tern_fail(st, TERN_UNAVAILABLE, "the server is going down");
    }
    tn_listener_watch(listener, &net->loops[0]);
    return TERN_OK;
}

tern_code tn_net_listen(tn_net *net, const char *address, int port, int tag, int *bound_port, tern_status *st)
{
    tn_listener *listener;
    tern_code code = tn_listener_bind(net, address, port, tag, &listener, bound_port, st);
    return code == TERN_OK ? add_listener(net, listener, st) : code;
}

tern_code tn_net_listen_unix(tn_net *net, const char *path, int tag, tern_status *st)
{
    tn_listener *listener;
    tern_code code = tn_listener_bind_unix(net, path, tag, &listener, st);
    return code == TERN_OK ? add_listener(net, listener, st) : code;
}

tern_code tn_net_start(tn_net *net, tern_status *st)
{
    tern_code code = TERN_OK;
    net->started = true;
    for (int32_t i = 0; i < net->n_loops && code == TERN_OK; i++)
        code = tn_loop_start(&net->loops[i], st);
    return code;
}

/* Going down. */

static void shut_listeners(tn_net *net)
{
    pthread_mutex_lock(&net->lock);
    net->closed = true;
    tn_listener *listener = net->listeners;
    pthread_mutex_unlock(&net->lock);
    for (; listener != NULL; listener = listener->next)
        tn_listener_shut(listener);
}

/* Clients that are connected as far as they know are served, before the door is shut. */
static void take_last(tn_net *net)
{
    pthread_mutex_lock(&net->lock);
    tn_listener *listener = net->listeners;
    pthread_mutex_unlock(&net->lock);
    for (; listener != NULL; listener = listener->next)
        tn_listener_last_call(listener);
}

static void enter_phase(tn_task *task)
{
    phase_task *asked = TN_CONTAINER(task, phase_task, task);
    tn_loop *loop = asked->loop;
    loop->phase = asked->phase;
    if (loop->index == 0) {
        take_last(loop->net);
        shut_listeners(loop->net);
    }
    loop->sweep_ns = DRAIN_SWEEP_NS;
    tn_timer_stop(loop, &loop->sweep);
    for (tn_conn *conn = loop->conns; conn != NULL; conn = conn->next) {
        if (loop->phase == TN_LOOP_CLOSED)
            tn_conn_kill(conn);
        else
            tn_conn_drain(conn);
    }
    if (loop->conns != NULL)
        tn_loop_sweep_on(loop);
    atomic_fetch_add(&loop->net->entered, 1);
    free(asked);
}

static void ask(tn_net *net, tn_loop_phase phase)
{
    for (int32_t i = 0; i < net->n_loops; i++) {
        phase_task *asked = malloc(sizeof *asked);
        if (asked == NULL)
            continue; /* tn_net_free() ends it all the same */
        atomic_fetch_add(&net->asked, 1);
        *asked = (phase_task){.task.run = enter_phase, .loop = &net->loops[i], .phase = phase};
        tn_loop_post(&net->loops[i], &asked->task);
    }
}

/* Exchanges of the application's own have no connection that would be waited for. */
static bool has_inner(tn_net *net)
{
    for (int32_t i = 0; i < net->n_loops; i++)
        if (atomic_load(&net->loops[i].counts.inner_open) > 0)
            return true;
    return false;
}

static bool wait_until_empty(tn_net *net, int64_t until_ns)
{
    while (atomic_load(&net->entered) < atomic_load(&net->asked) || atomic_load(&net->places) > 0 ||
           has_inner(net)) {
        if (tn_now_ns() >= until_ns)
            return false;
        usleep(DRAIN_LOOK_US);
    }
    return true;
}

bool tn_net_drain(tn_net *net)
{
    if (!net->started)
        return true;
    int64_t end = tn_now_ns() + net->limits.drain_timeout_ms * TN_NS_PER_MS;
    ask(net, TN_LOOP_DRAINING);
    if (wait_until_empty(net, end))
        return tn_net_count(net).exchanges_open == 0;
    bool all_ended = tn_net_count(net).exchanges_open == 0;
    ask(net, TN_LOOP_CLOSED);
    wait_until_empty(net, tn_now_ns() + TN_NS_PER_S);
    return all_ended;
}

void tn_net_free(tn_net *net)
{
    if (net == NULL)
        return;
    /* Loop 0 last: the others get their connections from it. */
    for (int32_t i = 0; i < net->n_loops; i++)
        tn_loop_stop(&net->loops[i]);
    shut_listeners(net);
    for (int32_t i = net->n_loops - 1; i >= 0; i--)
        tn_loop_close(&net->loops[i]);
    while (net->listeners != NULL) {
        tn_listener *listener = net->listeners;
        net->listeners = listener->next;
        tn_listener_free(listener);
    }
    free(net->loops);
    pthread_mutex_destroy(&net->lock);
    free(net);
}

tn_net_counts tn_net_count(tn_net *net)
{
    tn_net_counts sum = {.refused_connections = atomic_load_explicit(&net->refused, memory_order_relaxed)};
    for (int32_t i = 0; i < net->n_loops; i++) {
        tn_loop_counts *counts = &net->loops[i].counts;
#define ADD(name) sum.name += atomic_load_explicit(&counts->name, memory_order_relaxed)
        ADD(connections_total);
        ADD(connections_open);
        ADD(exchanges_open);
        ADD(requests_total);
        ADD(bytes_read);
        ADD(bytes_written);
        ADD(protocol_errors);
#undef ADD
    }
    return sum;
}
