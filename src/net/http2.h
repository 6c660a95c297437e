/*
 * net/http2.h - inside of net: HTTP/2 (RFC 9113) with prior knowledge on a connection, by nghttp2.
 */
#ifndef TN_NET_HTTP2_H
#define TN_NET_HTTP2_H

#include "net/loop.h"

typedef struct tn_http2 {
    void *session;  /* nghttp2_session */
    int64_t credit; /* against floods, see http2.c */
    int64_t credit_ns;
    int64_t head_ns; /* since when a header block is under way, or 0 */
    int64_t opened_ns;
    int64_t read_ns;  /* when the client was last heard */
    int64_t ping_ns;  /* when it was asked whether it lives, or 0: it has been heard since */
    int64_t quiet_ns; /* when its last request began or ended */
    uint32_t continuations;
    size_t slice;
    int64_t drain_ns;     /* when GOAWAY with the real last stream is due, or 0 */
    size_t data_left;     /* payload of the DATA frame that is under way; what comes next */
    int32_t data_stream;  /* whose it is */
    bool in_bulk;         /* large frames are read to where their sink wants them */
    bool in_small_pieces; /* see tn_exchange_in_small_pieces() */
    bool notified;        /* shutdown notice was sent */
    bool ended;           /* the session is over: flush and close */
} tn_http2;

/* Per-loop objects. */
bool tn_http2_prepare(tn_loop *loop);
void tn_http2_unprepare(tn_loop *loop);
/* False when memory is short. */
bool tn_http2_open(tn_conn *conn);
size_t tn_http2_feed(tn_conn *conn, const char *bytes, size_t n);
/*
 * How many bytes to read next, at most `space`, into *room; which is moved where a sink has a place for the
 * large DATA frame that is under way, and then no byte behind it is read along.
 */
size_t tn_http2_room(tn_conn *conn, char **room, size_t space);
/* Moves frames from the session to conn->out, as many as are good now. */
void tn_http2_pull(tn_conn *conn);
void tn_http2_send(tn_exchange *ex, const tn_response *response);
/* Streamed answers, see tn_exchange_stream(): the head; more waits to be sent; the end. */
void tn_http2_stream(tn_exchange *ex, const tn_response *head);
void tn_http2_resume(tn_exchange *ex);
void tn_http2_finish(tn_exchange *ex, const tn_header *trailers, size_t n_trailers);
/* Looks at timeouts of streams. */
void tn_http2_check(tn_conn *conn, int64_t now);
void tn_http2_drain(tn_conn *conn);
/* Nobody will read what streams are still to be answered: they are told. */
void tn_http2_forget(tn_conn *conn);
/* The connection is torn down. */
void tn_http2_close(tn_conn *conn);

#endif
