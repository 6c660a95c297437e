/*
 * net/client_conn.h - inside of net/client: one connection, and what its two protocols do. client.c has the
 * sockets, client_http1.c and client_http2.c bytes <-> answers; those never touch a socket.
 */
#ifndef TN_NET_CLIENT_CONN_H
#define TN_NET_CLIENT_CONN_H

#include <llhttp.h>
#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "net/client.h"

#define TN_CLIENT_TIMING_MAX 512

typedef struct tn_client_conn {
    tn_client *client;
    unsigned index;
    int fd; /* -1: closed */
    bool connecting, busy, wants_write, registered;
    const tn_client_request *request; /* while busy */
    tn_client_answer answer;
    char timing[TN_CLIENT_TIMING_MAX];
    size_t timing_len;
    tn_buf body; /* what is kept of it */
    /* To be written: head, so much of the request's body (from body_at on), tail. */
    tn_buf head, tail;
    size_t head_at, body_at, tail_at, body_left;
    bool ended; /* the answer is complete */
    bool close; /* and the connection is to be closed after it */
    /* HTTP/1.1 */
    llhttp_t parser;
    bool in_timing;
    /* HTTP/2 */
    nghttp2_session *session;
    int32_t stream;
} tn_client_conn;

const tn_client_options *tn_client_of(const tn_client_conn *conn);

/*
 * Both protocols: open a fresh connection, begin a request, take what was read (false: broken, answer.error
 * says how), free.
 */
bool tn_client_http1_open(tn_client_conn *conn);
bool tn_client_http1_begin(tn_client_conn *conn);
bool tn_client_http1_feed(tn_client_conn *conn, const char *bytes, size_t n);
/* The server closed: true when that ends an answer well. */
bool tn_client_http1_eof(tn_client_conn *conn);

bool tn_client_http2_open(tn_client_conn *conn);
bool tn_client_http2_begin(tn_client_conn *conn);
bool tn_client_http2_feed(tn_client_conn *conn, const char *bytes, size_t n);
/* Sets what the session wants to be written; true: there is something. All before has been written. */
bool tn_client_http2_pull(tn_client_conn *conn);
void tn_client_http2_close(tn_client_conn *conn);

/* A piece of the answer's body. */
void tn_client_body(tn_client_conn *conn, const char *bytes, size_t n);

#endif
