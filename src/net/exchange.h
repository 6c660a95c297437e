/*
 * net/exchange.h - inside of net: one request and its answer, whatever the protocol.
 *
 * Life: made at the head's first byte; the application has it from on_request() until tn_exchange_send() or
 * on_gone(); it is freed when the answer's bytes went out (the mark), when the client is gone, and the
 * protocol has let go of it. An application that has set no on_gone keeps its pointer when the client
 * vanishes: the exchange then lives on without connection until it is answered. One thread: the loop's.
 */
#ifndef TN_NET_EXCHANGE_H
#define TN_NET_EXCHANGE_H

#include "net/loop.h"

/* Chunks of an answer that are stored without memory of their own. */
#define TN_EXCHANGE_CHUNKS 4

struct tn_exchange {
    tn_conn *conn; /* NULL: the client is gone */
    tn_loop *loop;
    tn_exchange *next,
        *prev; /* of the connection: those not yet answered, in order (HTTP/1.1), or all streams (HTTP/2) */
    /* Head. All slices point into buf, or to static text. */
    char *buf;
    size_t buf_len;
    tn_header *headers;
    size_t n_headers, cap_headers;
    size_t head_bytes; /* of names and values */
    tn_str method, target;
    int64_t content_length;
    int64_t started_ns;
    int32_t tag;
    int32_t stream_id;
    /* Body. */
    tn_sink *sink; /* NULL: dropped */
    int64_t body_bytes, dropped;
    int64_t body_from_ns, body_last_ns;
    bool head_done; /* was given to the application, or refused */
    bool body_done;
    bool taken; /* the application holds the pointer */
    bool answered;
    bool http2;
    bool is_head;
    bool http10; /* HTTP/1.0 or before */
    int refusal; /* HTTP/2: status to refuse it with when its head is complete */
    const char *refusal_why;
    bool refused; /* answered by net: more of a broken request may come */
    bool keep_alive;
    bool expects_100; /* the client waits for "100 Continue" */
    bool owes_100;    /* and is to get it when its turn comes */
    bool linked;      /* in the list of the connection */
    bool held;        /* the protocol's own code is still in it: the mark does not free it */
    bool marked;      /* the mark is in a queue */
    bool spent;       /* the mark ran */
    bool told;        /* on_end() was called */
    int status;       /* of the answer */
    uint64_t answer_bytes;
    void *user; /* the application's */
    void (*gone)(void *user, tn_exchange *ex);
    void *gone_user;
    /* Answer. */
    char *own;  /* body of an answer of net's own */
    char *text; /* HTTP/1.1: the head that waits for its turn; HTTP/2: trailers */
    size_t text_len;
    void *trailers;
    size_t n_trailers;
    tn_chunk few[TN_EXCHANGE_CHUNKS];
    tn_chunk *own_chunks;   /* of the pool, or NULL */
    const tn_chunk *chunks; /* few, own_chunks, or the application's array */
    size_t n_chunks, chunk, chunk_at;
    uint64_t left; /* bytes of chunks not yet queued */
    char *queue;   /* of a streamed answer: bytes [queue_at, queue_len) wait to be sent */
    size_t queue_at, queue_len;
    void (*room)(void *user, tn_exchange *ex); /* see tn_exchange_want_room(); NULL: not asked */
    void *room_user;
    bool room_due;       /* room() is to be called in this turn */
    tn_taker *taker;     /* of one of the application's own; NULL: a client's, or abandoned */
    bool inner;          /* one of the application's own */
    bool streaming;      /* the answer comes piece by piece */
    bool direct;         /* HTTP/1.1: its head is in the output, and what is written goes there at once */
    bool bodiless;       /* what is written is dropped */
    bool broken;         /* ends without being complete */
    bool last;           /* HTTP/1.1: the connection closes after it */
    int64_t progress_ns; /* when the last of it was queued */
    int64_t linger_ns;   /* HTTP/2: since when it is answered while its body still comes, or 0 */
    void (*release)(void *arg, bool sent);
    void *release_arg;
    tn_out_mark mark;
};

/* NULL when memory is short. The exchange is in no list yet. */
tn_exchange *tn_exchange_new(tn_conn *conn);
/* One of the application's own, without a head so far. */
tn_exchange *tn_exchange_new_inner(tn_loop *loop, tn_taker *taker);
/* The protocol lets go of it (held = false): freed at once, or when the mark ran. */
void tn_exchange_let_go(tn_exchange *ex);
/* Appends to the head's text; false when memory is short. Earlier slices move along. */
bool tn_exchange_append(tn_exchange *ex, const char *bytes, size_t n);
/* Adds the field made of buf[name, name + name_len) and buf[value, value + value_len). */
bool tn_exchange_add_header(tn_exchange *ex, size_t name, size_t name_len, size_t value, size_t value_len);
/* Stores the answer's chunks to be sent later; false when memory is short. Release is noted in any case. */
bool tn_exchange_store(tn_exchange *ex, const tn_response *response);
/* n bytes of what was stored are in the output now, or will never be. */
void tn_exchange_unstore(tn_exchange *ex, uint64_t n);
/*
 * Gives the head's sink its next bytes. After an error of the sink, or without one, they are dropped and
 * counted.
 */
void tn_exchange_body(tn_exchange *ex, const char *bytes, size_t n);
/* The body is complete. */
void tn_exchange_body_end(tn_exchange *ex);
/*
 * The client is gone or broke the protocol: the sink is aborted, the application told. Afterwards the
 * exchange is net's own again (it may be answered by net), unless it went away with an application that wants
 * no telling: then false is returned, and the caller must not touch it any more. Takes it out of no list.
 */
bool tn_exchange_reclaim(tn_exchange *ex);
/*
 * Puts the mark behind the answer's bytes (or, without connection, among the strays), with the release that
 * it runs.
 */
void tn_exchange_mark(tn_exchange *ex, bool sent);
/*
 * Streams of this connection that want room and have it (stream.c): whether there are any; their room() is
 * called.
 */
bool tn_stream_has_room(const tn_conn *conn);
void tn_stream_give_room(tn_conn *conn);
/* Answers one of the application's own (inner.c). */
void tn_inner_send(tn_exchange *ex, const tn_response *response);
void tn_inner_finish(tn_exchange *ex);
/* Calls the application's on_request(). */
void tn_exchange_begin(tn_exchange *ex);
/*
 * HTTP status with which net itself refuses this head, or 0; *why gets a sentence. For what both protocols
 * have in common: the method, the length, and Expect (then expects_100 is set, too).
 */
int tn_exchange_refusal(tn_exchange *ex, const char **why);
/* A response of net's own: JSON body {"error": why}. The memory is static or the exchange's own. */
void tn_exchange_refuse(tn_exchange *ex, int status, const char *why);

/* Writes v in decimal (at most 20 bytes) and returns how many bytes. Pure. */

#endif
