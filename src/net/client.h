/*
 * net/client.h - connections of a client that asks one thing again and again: for load generators, not for
 * services.
 *
 * HTTP/1.1 with kept connections, or HTTP/2 with prior knowledge (gRPC), one request at a time on each
 * connection. Sockets do not block; the caller's thread drives all of them by tn_client_poll(). Several
 * clients may run in as many threads; one is one thread's.
 */
#ifndef TN_NET_CLIENT_H
#define TN_NET_CLIENT_H

#include "base/str.h"

typedef struct tn_client tn_client;

/* What is asked. The slices are borrowed until tn_client_free(). */
typedef struct tn_client_request {
    tn_str method;       /* "POST" */
    tn_str path;         /* target, with query */
    tn_str content_type; /* or absent */
    tn_str body;
    const tn_str *fields; /* further fields: name, value, name, value...; names in lower case */
    size_t n_fields;      /* slices in it */
} tn_client_request;

typedef struct tn_client_answer {
    int status;           /* HTTP's; 0: no answer, see error */
    int grpc_status;      /* of HTTP/2 answers that have one, else -1 */
    tn_str server_timing; /* the field's value, or absent; valid inside the callback */
    tn_str body;          /* first bytes, as many as options.keep_body */
    uint64_t body_bytes;  /* all of them */
    int64_t started_ns;   /* CLOCK_MONOTONIC: tn_client_start() was called */
    int64_t ended_ns;     /* the last byte was read */
    const char *error;    /* static, or NULL */
} tn_client_answer;

typedef struct tn_client_options {
    const char *host; /* name or address */
    const char *port;
    bool http2;
    unsigned connections; /* 1 to 65535 */
    int64_t timeout_ms;   /* for a connect, and for a request */
    size_t keep_body;     /* how much of a body is kept for answer.body */
    /*
     * A request has ended, well or not. Inside tn_client_poll(); may call tn_client_start() for that
     * connection.
     */
    void (*done)(void *context, unsigned connection, const tn_client_answer *answer);
    void *context;
} tn_client_options;

/*
 * Resolves the host and connects once, to tell early what cannot be reached. UNAVAILABLE names host, port and
 * cause. Returns owned in *out.
 */
TERN_MUST_USE tern_code tn_client_new(const tn_client_options *options, tn_client **out, tern_status *st);
/* Closes all; nothing is called any more. Accepts NULL. */
void tn_client_free(tn_client *c);
/*
 * Begins the request on a connection (0 to connections - 1) that has none under way; connects it again where
 * it was closed. What fails is told by done(), from inside of tn_client_poll().
 */
void tn_client_start(tn_client *c, unsigned connection, const tn_client_request *request);
/* Works until until_ns (CLOCK_MONOTONIC), or until something ended. */
void tn_client_poll(tn_client *c, int64_t until_ns);

#endif
