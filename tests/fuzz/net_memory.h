/*
 * tests/fuzz/net_memory.h - a connection without a socket: src/net fed from memory, for fuzzers and unit
 * tests.
 *
 * The loop never runs as a thread; every step is made by the caller, so runs are the same each time. The
 * application inside answers by the letter behind the path's slash (see net_memory.c) and counts what net.h
 * promises to happen exactly once.
 */
#ifndef NET_MEMORY_H
#define NET_MEMORY_H

#include "net/conn.h"

typedef struct net_memory {
    tn_net *net;
    tn_loop *loop;
    tn_conn *conn; /* NULL: closed */
    const char *in;
    size_t in_len, in_at;
    bool in_ends;  /* behind the last byte comes the end, not silence */
    uint32_t seed; /* 0: whole reads and writes; else how they are cut */
    bool stuck;    /* nothing can be written */
    char *out;     /* kept when keep_out */
    size_t out_len;
    bool keep_out;
    bool shut;
    long live, sinks, closed_sinks, gone, released, unsent;
    struct net_memory_call *calls; /* not yet answered, newest first */
} net_memory;

/* Makes loop and application; limits may be NULL. Aborts when memory is short. */
void net_memory_open(net_memory *m, const tn_limits *limits);
/* False when memory was made short (pool.fail_in). */
bool net_memory_connect(net_memory *m);
/*
 * Lets the connection read these bytes and then as much as it wants, write, and take its turns until nothing
 * moves.
 */
void net_memory_feed(net_memory *m, const char *bytes, size_t n);
/* Answers what waits, oldest last (newest_first) or first. */
void net_memory_answer(net_memory *m, bool newest_first);
/* Looks at the timeouts as if it were ms later. */
void net_memory_later(net_memory *m, int64_t ms);
/* The client goes away (if it is still there), everything is answered; aborts when a promise was not kept. */
void net_memory_disconnect(net_memory *m);
void net_memory_close(net_memory *m);

#endif
