/*
 * net/conn.h - inside of net: one client connection: its socket, what is read and not yet parsed, what is to
 * be sent.
 *
 * The protocols (http1.c, http2.c) are pure of I/O: they take bytes by feed() and put bytes into conn->out.
 * Reading and writing go through the two functions of conn->io, which is where TLS goes (tls.c), and what a
 * fuzzer replaces. Nothing here is torn down while code of the connection is on the stack: tn_conn_kill()
 * only notes it, tn_conn_settle() does it. One thread: the loop's.
 */
#ifndef TN_NET_CONN_H
#define TN_NET_CONN_H

#include "net/exchange.h"
#include "net/http1.h"
#include "net/http2.h"

/* Requests that one connection may begin before others get their turn. */
#define TN_CONN_TURN 128
/* Bytes that one connection may read before others get their turn. */
#define TN_CONN_TURN_BYTES ((size_t)4 << 20)

typedef struct tn_conn_io {
    /* Bytes read, 0 at the end, or -errno (-EAGAIN: nothing now). */
    ssize_t (*recv)(tn_conn *conn, char *room, size_t n);
    /* Bytes written, or -errno. */
    ssize_t (*send)(tn_conn *conn, const struct iovec *iov, size_t n);
    /* Tells the peer that no more bytes follow. */
    void (*shut)(tn_conn *conn);
    /* The connection is over; called once, the last of all. */
    void (*close)(tn_conn *conn);
    /* recv() would give more even if the socket never turns readable. NULL: never. */
    bool (*pending)(const tn_conn *conn);
} tn_conn_io;

typedef enum tn_protocol { TN_PROTOCOL_UNKNOWN, TN_PROTOCOL_HTTP1, TN_PROTOCOL_HTTP2 } tn_protocol;

struct tn_conn {
    uv_poll_t poll;
    int fd; /* -1: no socket, the test's own io */
    int events;
    const tn_conn_io *io;
    void *io_user;
    tn_loop *loop;
    tn_conn *next, *prev;
    tn_conn *next_dirty, *next_again;
    int32_t tag;
    tn_protocol protocol;
    tn_out out;
    uint64_t stored; /* bytes of answers that are not yet in out */
    char *stash;     /* bytes read that wait to be parsed: stash[stash_at .. stash_len) */
    size_t stash_at, stash_len;
    tn_exchange *first, *last; /* see tn_exchange.next */
    size_t n_exchanges;
    size_t n_want_room; /* streamed answers that asked for room */
    uint32_t turn;      /* requests begun in this turn */
    bool dirty, again;
    bool eof;     /* the client will send no more */
    bool dead;    /* tear down at the next settling */
    bool gone;    /* torn down; only libuv still knows it */
    bool closing; /* close when all is sent */
    bool linger;  /* all is sent; wait for the client to close, dropping what comes */
    bool lingers; /* closing goes through linger: the client may still be sending */
    bool blocked; /* the socket takes no more now */
    bool waiting; /* the last write left something over */
    bool draining;
    bool had_request;
    int64_t now_ns;      /* of the last read */
    int64_t idle_ns;     /* when it last had something to do */
    int64_t progress_ns; /* when bytes last went out */
    int kernel_queue;    /* bytes that the kernel held when last looked at */
    int64_t eof_ns, linger_ns;
    uint64_t lingered; /* bytes dropped */
    union {
        tn_http1 h1;
        tn_http2 h2;
    };
};

/*
 * Takes the descriptor (closed on failure), and the place among max_connections. io NULL: the socket's own
 * functions; fd -1 with an io: no socket, the caller calls tn_conn_readable() itself. NULL when memory is
 * short.
 */
tn_conn *tn_conn_open(tn_loop *loop, int fd, int32_t tag, const tn_conn_io *io, void *io_user);
/* Bytes may be waiting: reads, parses, answers. The caller settles the loop afterwards. */
void tn_conn_readable(tn_conn *conn);
/* Goes on parsing what was read before. The caller settles the loop afterwards. */
void tn_conn_continue(tn_conn *conn);
/* To be settled before the loop waits. */
void tn_conn_dirty(tn_conn *conn);
/* Writes, resumes parsing, closes: whatever is due. For tn_loop_settle(). */
void tn_conn_settle(tn_conn *conn);
/* No more of it: closed at once at the next settling, what waits to be sent is dropped. */
void tn_conn_kill(tn_conn *conn);
/*
 * Closes when all that is queued went out. linger: the client may still be sending, and must get to read the
 * answer.
 */
void tn_conn_close_after(tn_conn *conn, bool linger);
/* Looks at the timeouts. */
void tn_conn_check(tn_conn *conn, int64_t now);
/* The server is going down. */
void tn_conn_drain(tn_conn *conn);
/* True while no more requests should be begun: too much waits to be sent. */
bool tn_conn_is_full(const tn_conn *conn);
void tn_conn_count_error(tn_conn *conn);
/* Adds to and removes from the connection's list, at its end. */
void tn_conn_link(tn_conn *conn, tn_exchange *ex);
void tn_conn_unlink(tn_conn *conn, tn_exchange *ex);
/*
 * Since when the body of ex is too slow: the time at which it is overdue (see min_body_rate), or INT64_MAX.
 */
int64_t tn_conn_body_due(const tn_conn *conn, const tn_exchange *ex);

#endif
