/*
 * net/http1.h - inside of net: HTTP/1.1 (RFC 9112) on a connection, parsed by llhttp.
 */
#ifndef TN_NET_HTTP1_H
#define TN_NET_HTTP1_H

#include <llhttp.h>

#include "net/loop.h"

typedef struct tn_http1 {
    llhttp_t parser;
    tn_exchange *reading;         /* whose head or body is under way */
    size_t name, name_len, value; /* of the field under way, in reading->buf */
    int64_t span_left;  /* bytes of body that follow for sure: may be read straight into the sink's room */
    size_t extra_bytes; /* of chunk extensions and trailers */
    int fail_status;    /* set by a callback that makes llhttp stop */
    const char *fail_why;
    bool versioned; /* the request line has a version */
    bool in_trailers;
    bool stopped; /* no more requests are parsed */
    bool between; /* paused behind a request, to look at the method of the next */
} tn_http1;

void tn_http1_open(tn_conn *conn);
/* Parses; returns how many bytes it used. Less than n: it waits for answers, or its turn is over. */
size_t tn_http1_feed(tn_conn *conn, const char *bytes, size_t n);
/* False while no more input is wanted (pipelining limit, closing). */
bool tn_http1_wants(const tn_conn *conn);
/* Where the next bytes of a body are wanted; false: nowhere special. Calls the sink. */
bool tn_http1_room(tn_conn *conn, char **room, size_t *space);
/* The client will send no more. */
void tn_http1_eof(tn_conn *conn);
/* Answers an exchange; in order, or stored until its turn. */
void tn_http1_send(tn_exchange *ex, const tn_response *response);
/* Streamed answers, see tn_exchange_stream(): the head; more bytes, when it is ex->direct; the end. */
void tn_http1_stream(tn_exchange *ex, const tn_response *head);
void tn_http1_write(tn_exchange *ex, const void *bytes, size_t n);
void tn_http1_finish(tn_exchange *ex);
/* Forgets what is stored of a streamed answer that has not begun to be sent. */
void tn_http1_unstream(tn_exchange *ex);
/* Time at which the request being read is overdue (408), or INT64_MAX. */
int64_t tn_http1_due(const tn_conn *conn);
/* Refuses the request being read, or what came instead of one, and closes after the answer. */
void tn_http1_fail(tn_conn *conn, int status, const char *why);
/* Queues the interim answer that lets the client send its body. */
void tn_http1_continue_100(tn_conn *conn, tn_exchange *ex);
/* Nobody will read the answer of ex: it is taken out and the application told. */
void tn_http1_forget(tn_conn *conn, tn_exchange *ex);
/* False when the bytes of a field of an answer would break the message. Pure. */
bool tn_header_is_clean(const tn_header *header);
/* The connection is torn down: exchanges are told. */
void tn_http1_close(tn_conn *conn);

#endif
