/*
 * net/net.h - event loops, listeners and exchanges: bytes <-> requests. Knows no API.
 *
 * One libuv loop a thread. Listeners are bound once; accepted connections are handed to the loops evenly and
 * stay there. Every port speaks HTTP/1.1 (llhttp) and HTTP/2 with prior knowledge (nghttp2), told apart by
 * the client's first bytes (RFC 9113, 3.4). An exchange is one request and its answer. It lives on its loop:
 * all functions that take a tn_exchange must be called on that loop's thread; other threads get there by
 * tn_loop_post(). The application's callbacks are called on the loop and must not block.
 */
#ifndef TN_NET_NET_H
#define TN_NET_NET_H

#include "base/limits.h"
#include "base/str.h"
#include "base/task.h"

typedef struct tn_net tn_net;
typedef struct tn_loop tn_loop;
typedef struct tn_exchange tn_exchange;
typedef struct tn_sink tn_sink;
typedef struct tn_tls tn_tls; /* net/tls.h */

typedef struct tn_header {
    tn_str name; /* lower case */
    tn_str value;
} tn_header;

/*
 * Where a request's body goes. Given by the application after the head; all functions are called on the loop.
 * reserve: where the next body bytes are wanted (*room, *space); net reads from the socket straight into it.
 *   want: bytes that follow for sure (the rest of the body, of the chunk, or of the frame). *space may be 0:
 *   then net uses a buffer of its own and commit() gets a pointer into that. It is not called for bytes that
 *   came along with the head or other chunks, nor for small frames of HTTP/2: so commit() must be ready for
 *   any pointer. May be NULL.
 * commit: n > 0 bytes at ptr; when ptr is the room that was reserved, nothing needs to be copied. An error of
 * reserve or commit ends the body: net calls nothing more on the sink, and the application answers (it may do
 * so at once, from inside the function). end: the body is complete. abort: the client is gone, or broke the
 * protocol or a limit, before the end (on_gone follows, for net answers itself).
 * Exactly one of end, abort, an error of the sink itself, or tn_exchange_send() closes it. abort() comes
 * before on_gone(), which may free the sink.
 */
struct tn_sink {
    tern_code (*reserve)(tn_sink *sink, size_t want, char **room, size_t *space);
    tern_code (*commit)(tn_sink *sink, const char *ptr, size_t n);
    void (*end)(tn_sink *sink);
    void (*abort)(tn_sink *sink);
};

typedef struct tn_net_app {
    void *context;
    /*
     * The head of a request is complete. The application either answers (tn_exchange_send) or sets a sink
     * (tn_exchange_set_sink), now or never: without a sink the body is dropped, and it may answer later. It
     * may set on_gone. What net refuses by itself (broken or ambiguous framing, limits, unknown methods and
     * expectations) never gets here.
     */
    void (*on_request)(void *context, tn_exchange *ex);
    /*
     * An exchange whose head was complete is over: its answer's bytes went to the kernel (sent), or never
     * will. Called once, before the response's release(); the request's slices are still there. Also for what
     * net refused by itself, and for clients that vanished. May be NULL.
     */
    void (*on_end)(void *context, tn_exchange *ex, bool sent);
    /*
     * A loop ends (tn_net_free); the last thing that runs for it: frees what hangs on tn_loop_user(). May be
     * NULL.
     */
    void (*on_loop_end)(void *context, tn_loop *loop);
    /*
     * A turn of the loop is over: what one look at its sockets brought has been handed to the application.
     * Says whether it did something; then it is asked again, until there is nothing more. May be NULL.
     */
    bool (*on_turn)(void *context, tn_loop *loop);
} tn_net_app;

/*
 * Request side. Slices live until the exchange ends, that is until tn_exchange_send() returned or on_gone()
 * was called.
 */
tn_str tn_exchange_method(
    /* GET HEAD POST PUT DELETE OPTIONS PATCH; others get 501 from net, but: any_method */
    const tn_exchange *ex);
/* Path and query as sent, without scheme and host if they came along; :path in HTTP/2. */
tn_str tn_exchange_target(const tn_exchange *ex);
/* Value of the first header field of that name (given in lower case), or absent. */
tn_str tn_exchange_header(const tn_exchange *ex, const char *name);
/*
 * All of them, as sent, names in lower case; "host" is :authority in HTTP/2, whose other pseudo fields are
 * not here.
 */
const tn_header *tn_exchange_headers(const tn_exchange *ex, size_t *n);
bool tn_exchange_is_http2(const tn_exchange *ex);
/*
 * Announced length of the body, 0 when there is none, or -1 when it is not known (chunked, HTTP/2 without
 * content-length).
 */
int64_t tn_exchange_content_length(const tn_exchange *ex);
/* The tag of the listener that took the connection (tn_listen). */
int tn_exchange_listener(const tn_exchange *ex);
tn_loop *tn_exchange_loop(const tn_exchange *ex);
/* CLOCK_MONOTONIC time of the head's first byte, as read. */
int64_t tn_exchange_started_ns(const tn_exchange *ex);
/* A place for the application's own state; NULL at first, and for what net refused. */
void **tn_exchange_user(tn_exchange *ex);
/* "127.0.0.1:5000", "[::1]:5000", "unix", or "-" when the client is gone. Returns the length. */
size_t tn_exchange_peer(const tn_exchange *ex, char *text, size_t size);
/* HTTP status of its answer, 0 while there is none; bytes of bodies: what arrived, what was answered. */
int tn_exchange_status(const tn_exchange *ex);
uint64_t tn_exchange_bytes_in(const tn_exchange *ex);
uint64_t tn_exchange_bytes_out(const tn_exchange *ex);

/*
 * Inside on_request() only. Borrows the sink until it is closed. A waiting "Expect: 100-continue" gets its
 * interim answer.
 */
void tn_exchange_set_sink(tn_exchange *ex, tn_sink *sink);
/*
 * What the application did for the last bytes of the body took long: other connections get their turn before
 * more of this one is parsed.
 */
void tn_exchange_yield(tn_exchange *ex);
/*
 * What this body costs is not told by its length (it is compressed): from now on what comes on its HTTP/2
 * connection is parsed in small pieces, after each of which the turn may end.
 */
void tn_exchange_in_small_pieces(tn_exchange *ex);
/*
 * The client vanished or reset the stream before the answer was sent: called at most once, and then the
 * exchange is dead; the application drops its pointer. Not called after tn_exchange_send(), nor from inside
 * any call of the application's. An application that sets none keeps a valid exchange, and must still answer
 * it. A HTTP/1.1 client that closed only its own side counts as gone after limits.half_close_ms.
 */
void tn_exchange_on_gone(tn_exchange *ex, void (*gone)(void *user, tn_exchange *ex), void *user);

typedef struct tn_chunk {
    const void *ptr;
    size_t len;
} tn_chunk;

typedef struct tn_response {
    int status;
    const tn_header *headers; /* content-length, date, connection are net's own; names in lower case */
    size_t n_headers;
    const tn_chunk *body; /* sent by scatter-gather, not copied; the array too stays until release() */
    size_t n_body;
    const tn_header *trailers; /* HTTP/2 only (gRPC); n_trailers > 0 ends the stream with them */
    size_t n_trailers;
    bool trailers_only; /* gRPC: the headers carry grpc-status, END_STREAM at once */
    bool close;         /* HTTP/1.1: close the connection after this answer */
    /*
     * Called exactly once, on the loop and never from inside tn_exchange_send(), when the bytes went to the
     * kernel or will never go (sent tells): the body's memory may be freed. Also when the client vanished
     * meanwhile. headers and trailers are copied by tn_exchange_send() itself.
     */
    void (*release)(void *arg, bool sent);
    void *release_arg;
} tn_response;

/*
 * Answers and ends the exchange for the application (its pointer is dead afterwards, but for release()). May
 * be called before the request's body ended: the rest is read and dropped within limits, or the connection
 * closed.
 */
void tn_exchange_send(tn_exchange *ex, const tn_response *response);

/*
 * Answers that come piece by piece: in HTTP/1.1 chunked (RFC 9112, 7.1), to HTTP/1.0 ended by the
 * connection's end. tn_exchange_stream() sends status and headers (body and trailers of `head` are not looked
 * at); the exchange stays the application's and its sink open, and no body is too slow any more. An
 * application that streams must set on_gone.
 * tn_exchange_write() copies n bytes into what waits to be sent; false: more than TN_STREAM_MAX bytes would
 * wait for a client that does not read, or for the pipelined answers before it (or max_write_backlog_bytes on
 * its connection), and nothing was taken. Where an answer has no body (HEAD, 204, 304) it takes and drops
 * everything.
 * tn_exchange_room(): how many bytes tn_exchange_write() would take now.
 * tn_exchange_want_room(): room() will be called once, on the loop and from inside no other call, when at
 * least a quarter of TN_STREAM_MAX would be taken, which may be at once; not when the exchange ends before.
 * It may write, finish, and ask again. NULL: asks no longer. So whoever makes bytes faster than the client
 * reads holds none. tn_exchange_finish() sends the trailers behind it (HTTP/2 only; elsewhere there are none)
 * and ends the exchange for the application, as tn_exchange_send() does; nothing is released.
 * tn_exchange_break() does the same for an answer that cannot be completed: what was written is sent, then
 * the client sees that the rest is missing (the connection ends before the last chunk; RST_STREAM
 * INTERNAL_ERROR).
 */
#define TN_STREAM_MAX ((size_t)1 << 20)
void tn_exchange_stream(tn_exchange *ex, const tn_response *head);
bool tn_exchange_write(tn_exchange *ex, const void *bytes, size_t n);
size_t tn_exchange_room(const tn_exchange *ex);
void tn_exchange_want_room(tn_exchange *ex, void (*room)(void *user, tn_exchange *ex), void *user);
void tn_exchange_finish(tn_exchange *ex, const tn_header *trailers, size_t n_trailers);
void tn_exchange_break(tn_exchange *ex);

/*
 * Exchanges of the application's own: a request that no client sent, made and used on one loop. Whatever
 * answers requests answers it as any other; the answer goes to its taker. on_end() is not called for it.
 * tn_net_drain() waits for it, too.
 */
typedef struct tn_taker tn_taker;
struct tn_taker {
    /*
     * The answer, whole (tn_exchange_send). Memory as there. true: response->release is the taker's now, to
     * be called once, on the loop, and not from inside this; false: net calls it. The exchange is dead.
     */
    bool (*send)(tn_taker *taker, const tn_response *response);
    /* tn_exchange_stream(), _write() and _room(). */
    void (*stream)(tn_taker *taker, const tn_response *head);
    bool (*write)(tn_taker *taker, const void *bytes, size_t n);
    size_t (*room)(const tn_taker *taker);
    /* tn_exchange_inner_room() is to be called once when there is room; not from inside this. */
    void (*want_room)(tn_taker *taker);
    /* The end of what was streamed (broken: tn_exchange_break). The exchange is dead. */
    void (*finish)(tn_taker *taker, bool broken);
};

typedef struct tn_inner {
    tn_str method, target;
    const tn_header *headers; /* names in lower case; copied, as all slices */
    size_t n_headers;
    int64_t content_length; /* as tn_exchange_content_length() */
    int64_t started_ns;
    int32_t tag; /* of the listener that it is as if it had come by */
} tn_inner;

/* NULL when memory is short. Borrows the taker. */
tn_exchange *tn_exchange_make(tn_loop *loop, const tn_inner *inner, tn_taker *taker);
bool tn_exchange_is_inner(const tn_exchange *ex);
/* It is about to be given to whoever answers it. */
void tn_exchange_inner_begin(tn_exchange *ex);
/*
 * Its body, as net does it: room (as tn_sink.reserve, *space may be 0), n bytes, the end. Inside of these the
 * taker may be called, and the exchange be dead.
 */
void tn_exchange_inner_reserve(tn_exchange *ex, size_t want, char **room, size_t *space);
void tn_exchange_inner_body(tn_exchange *ex, const char *bytes, size_t n);
void tn_exchange_inner_end(tn_exchange *ex);
/* There is room again: whoever streams the answer is called. */
void tn_exchange_inner_room(tn_exchange *ex);
/* Nobody waits for its answer any more: the sink is aborted, on_gone() called. Dead for the owner. */
void tn_exchange_abandon(tn_exchange *ex);

/* Loops. */
/*
 * Any thread: task->run(task) will be called on the loop. Tasks posted by one thread keep their order.
 * Whoever posts must have stopped when tn_net_free() is called; what was posted before still runs.
 */
void tn_loop_post(tn_loop *loop, tn_task *task);

typedef struct tn_watch tn_watch;
/*
 * On the loop: a descriptor of somebody else's, looked at beside the loop's own. ready() is called whenever
 * it can be read, on the loop and from inside no other call; what it posts to its own loop runs right after
 * it, without a wake-up. NULL when memory is short, or for a descriptor that cannot be waited for.
 */
tn_watch *tn_loop_watch(tn_loop *loop, int fd, void (*ready)(void *user), void *user);
/* On the loop, before the descriptor is closed. Accepts NULL. */
void tn_loop_unwatch(tn_watch *watch);

typedef struct tn_timer tn_timer;
struct tn_timer {
    void (*fire)(tn_timer *);
    int64_t at_ns; /* CLOCK_MONOTONIC */
    size_t slot;   /* place in the loop's heap + 1; 0: not started */
};
/*
 * On the loop. The timer is the caller's memory and must be stopped before it goes away. Stop accepts one not
 * started.
 */
void tn_timer_start(tn_loop *loop, tn_timer *timer, int64_t at_ns, void (*fire)(tn_timer *));
void tn_timer_stop(tn_loop *loop, tn_timer *timer);
/* A place for the application's own per-loop state (pools). */
void **tn_loop_user(tn_loop *loop);
tn_net *tn_loop_net(tn_loop *loop);

/* The whole. */
typedef struct tn_net_options {
    int32_t loops; /* 0: one a core */
    tn_limits limits;
    tn_net_app app;
} tn_net_options;

TERN_MUST_USE tern_code tn_net_new(const tn_net_options *options, tn_net **out, tern_status *st);
/*
 * Connections of listeners with this tag speak TLS; for those that are made afterwards. Borrows tls until
 * tn_net_free(). At most TN_TLS_TAGS tags.
 */
#define TN_TLS_TAGS 4
void tn_net_secure(tn_net *net, int tag, tn_tls *tls);
/*
 * On connections of listeners with this tag every method goes to the application, as nginx has it: one that
 * HTTP/1.1's parser does not know as PURGE; TRACE and CONNECT are answered 405. Before the first such
 * listener.
 */
void tn_net_any_method(tn_net *net, int tag);
/*
 * Binds and listens: address "::" / "0.0.0.0" / "127.0.0.1" / NULL (dual-stack any, else IPv4 any), port 0 =
 * free one; *bound_port gets the real one. May be called before or after start. UNAVAILABLE names address and
 * cause.
 */
TERN_MUST_USE tern_code tn_net_listen(tn_net *net, const char *address, int port, int tag, int *bound_port,
                                      tern_status *st);
/* Unix socket at path (a stale one is replaced). */
TERN_MUST_USE tern_code tn_net_listen_unix(tn_net *net, const char *path, int tag, tern_status *st);
/* Starts the loop threads; returns. */
TERN_MUST_USE tern_code tn_net_start(tn_net *net, tern_status *st);
/*
 * Stops accepting; idle connections close, HTTP/2 ones get GOAWAY, HTTP/1.1 answers say "Connection: close";
 * returns when all exchanges ended or after limits.drain_timeout_ms (then what is left is closed). true: all
 * ended.
 */
bool tn_net_drain(tn_net *net);
/* Stops the threads, closes what is left (on_gone, release), runs posted tasks, frees all. Accepts NULL. */
void tn_net_free(tn_net *net);

typedef struct tn_net_counts {
    uint64_t connections_total, connections_open, exchanges_open, requests_total, bytes_read, bytes_written;
    uint64_t protocol_errors, refused_connections;
} tn_net_counts;
tn_net_counts tn_net_count(tn_net *net);

#endif
