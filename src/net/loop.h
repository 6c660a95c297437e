/*
 * net/loop.h - inside of net: one event loop with its thread, timers, memory and connections.
 *
 * All fields but `inbox` and `counts` belong to the loop's thread. The loop has few entries (a woken inbox, a
 * socket, a timer, the idle handler); each of them ends with tn_loop_settle(), which writes what was answered
 * meanwhile. So answers of one wake-up leave in one write for each connection, and no connection is torn down
 * while its own code is on the stack.
 */
#ifndef TN_NET_LOOP_H
#define TN_NET_LOOP_H

#include <stdatomic.h>
#include <uv.h>

#include "net/net.h"
#include "net/out.h"
#include "net/pool.h"

typedef struct tn_conn tn_conn;
typedef struct tn_listener tn_listener;

/* One read of this size at most; it stays in the second level cache. */
#define TN_SCRATCH_BYTES ((size_t)256 * 1024)

/* Written by the loop only, read by any thread. */
typedef struct tn_loop_counts {
    atomic_uint_least64_t connections_total, connections_open, exchanges_open, requests_total, bytes_read,
        bytes_written, protocol_errors;
    atomic_uint_least64_t inner_open; /* of exchanges_open, the application's own */
} tn_loop_counts;

typedef enum tn_loop_phase {
    TN_LOOP_OPEN,
    TN_LOOP_DRAINING, /* no new requests */
    TN_LOOP_CLOSED    /* connections are closed at once */
} tn_loop_phase;

struct tn_loop {
    tn_net *net;
    int32_t index;
    bool threaded; /* pthread is valid */
    pthread_t thread;
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t clock;
    uv_idle_t busy;   /* runs while `again` is not empty */
    uv_check_t check; /* after each look at the sockets, for app.on_turn */
    _Atomic(tn_task *) inbox;
    tn_timer **heap;
    size_t n_heap, cap_heap;
    int64_t clock_at; /* when `clock` fires, or INT64_MAX */
    tn_timer sweep;
    int64_t sweep_ns;
    tn_pool pool;
    char *scratch;
    tn_conn *conns; /* all of this loop */
    tn_conn *dirty; /* to be settled before the loop waits */
    tn_conn *again; /* have read bytes that are not yet parsed, for the sake of fairness */
    tn_conn *turn;  /* those of `again` whose turn it is now */
    tn_out strays;  /* marks of answers whose connection is gone */
    tn_loop_phase phase;
    bool settling;
    bool stopping;
    void *user;
    char date[32]; /* IMF-fixdate, RFC 9110 5.6.7 */
    int64_t date_s;
    void *h2_callbacks; /* http2.c's, made once */
    void *h2_options;
    tn_loop_counts counts;
    atomic_uint_least64_t handed; /* connections given to it so far; written by loop 0 */
};

/* Adds to a counter of the loop's own: no other thread writes it, so no locked instruction is needed. */
static inline void tn_count(atomic_uint_least64_t *counter, int64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + (uint64_t)n, memory_order_relaxed);
}

/* Makes the loop, not yet its thread. On failure nothing is left. */
TERN_MUST_USE tern_code tn_loop_open(tn_loop *loop, tn_net *net, int32_t index, tern_status *st);
TERN_MUST_USE tern_code tn_loop_start(tn_loop *loop, tern_status *st);
/* Stops and joins the thread, if there is one: from then on the caller's thread is the loop's. */
void tn_loop_stop(tn_loop *loop);
/* After tn_loop_stop(): closes all connections, runs the tasks that are left, frees. */
void tn_loop_close(tn_loop *loop);
/* On the loop: writes and finishes all dirty connections, runs stray marks. */
void tn_loop_settle(tn_loop *loop);
/*
 * On the loop: runs what tn_loop_post() brought, then settles. The wake-up does it; a test without threads
 * may.
 */
void tn_loop_run_inbox(tn_loop *loop);
/* On the loop: has connections looked at regularly (timeouts) while there are any. */
void tn_loop_sweep_on(tn_loop *loop);
/* On the loop: the connection has more to parse; it gets its turn after others had theirs. */
void tn_loop_again(tn_loop *loop, tn_conn *conn);
/* On the loop: the value of a Date field, now. */
tn_str tn_loop_date(tn_loop *loop);
/* The whole that the loop is a part of; defined in net.c. */
const tn_limits *tn_net_limits(const tn_net *net);
bool tn_net_takes_any_method(const tn_net *net, int tag);
const tn_net_app *tn_net_app_of(const tn_net *net);
/* Loop i of the net, or NULL behind the last. */
tn_loop *tn_net_loop(tn_net *net, int32_t i);
/* Takes a place among max_connections, or false. Any thread. */
bool tn_net_take_place(tn_net *net);
void tn_net_give_place(tn_net *net);
void tn_net_count_refused(tn_net *net);

#endif
