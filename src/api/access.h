/*
 * api/access.h - what is known of one request from its head to its last byte: for the access log, and the
 * trace that it belongs to (W3C Trace Context).
 *
 * An entry hangs on its exchange (tn_exchange_user) when there is an access log, or when the client sent a
 * traceparent and is to see one. Others cost a look for that header. On the exchange's loop; entries are
 * pooled there.
 */
#ifndef TN_API_ACCESS_H
#define TN_API_ACCESS_H

#include "api/request.h"
#include "observe/log_writer.h"
#include "observe/trace.h"

typedef struct tn_access {
    struct tn_access *next_free;
    tn_trace trace;
    bool has_parent; /* the client sent a good traceparent */
    bool has_code, has_version, has_method;
    tern_code code;
    tn_method method;
    int64_t version;
    int64_t answered_ns; /* when the answer was given to net, or 0 */
    int64_t stage_ns[TN_STAGES];
    uint32_t peer_len, model_len, signature_len, request_id_len, state_len;
    char traceparent[TN_TRACEPARENT]; /* of this request: what the answer and the handler get */
    char peer[72];
    char model[128]; /* longer names are cut */
    char signature[64];
    char request_id[128];          /* X-Request-Id, or empty */
    char state[TN_TRACESTATE_MAX]; /* tracestate, or empty */
} tn_access;

/* A request's head is there: gives it an entry when one is wanted. */
void tn_access_begin(tn_server *server, tn_exchange *ex);
/* The entry, or NULL. */
tn_access *tn_access_of(tn_exchange *ex);
/* How it is answered, for answers without a tn_request: notes the code, and counts it (server->answers). */
void tn_access_answered(tn_server *server, tn_exchange *ex, tern_code code);
void tn_access_about(tn_exchange *ex, tn_method method, tn_str model);
/* Whose call it is, out of a request: for one whose client is gone. */
void tn_access_about_request(tn_request *r);
/* The same, and stages and code, for a request that is about to be answered. */
void tn_access_note(tn_request *r, tern_code code);
/* tn_exchange_send(), with traceparent and tracestate in tern's manner when the request has a trace. */
void tn_access_send(tn_server *server, tn_exchange *ex, const tn_response *response);
/* tn_net_app.on_end: writes the line. context: tn_server. */
void tn_access_end(void *server, tn_exchange *ex, bool sent);
/* Frees the entries of a loop that ended. */
void tn_access_pool_free(tn_loop *loop);

/* One line with its newline, appended: text or JSON (access_line.c). Pure. */
typedef struct tn_access_line {
    const tn_access *entry; /* NULL: net answered by itself */
    int64_t wall_ns;        /* when the head's first byte came */
    int64_t total_ns;
    tn_str method, target;
    bool http2;
    bool sent; /* the client got it all */
    int status;
    uint64_t bytes_in, bytes_out;
} tn_access_line;
void tn_access_write(const tn_access_line *line, bool json, tn_buf *out);

#endif
