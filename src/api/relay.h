/*
 * api/relay.h - a client's exchange whose request is answered by way of an exchange of our own (net.h,
 * tn_exchange_make), so that whatever is between them sees the body and the answer and may change them.
 *
 * The body goes through without a copy: room and bytes of the outer sink are the inner one's. The answer's
 * memory is lent on as it is. When the client goes, so does the inner exchange. Everything on the loop.
 */
#ifndef TN_API_RELAY_H
#define TN_API_RELAY_H

#include "api/server.h"

typedef struct tn_relay tn_relay;

/* What is done with the answer; as the functions of tn_taker. Static tables; the tn_relay_pass_ ones do. */
typedef struct tn_relay_kind {
    bool (*send)(tn_relay *relay, const tn_response *response);
    void (*stream)(tn_relay *relay, const tn_response *head);
    bool (*write)(tn_relay *relay, const void *bytes, size_t n);
    size_t (*room)(const tn_relay *relay);
    void (*finish)(tn_relay *relay, bool broken);
    /* Frees the relay and what it is a part of: it has ended. */
    void (*free)(tn_relay *relay);
    /* Bytes of the body pass. May be NULL. */
    void (*body)(tn_relay *relay, const char *bytes, size_t n);
} tn_relay_kind;

struct tn_relay {
    tn_server *server;
    const tn_relay_kind *kind;
    tn_exchange *outer; /* NULL: was answered, or its client is gone */
    tn_exchange *inner; /* NULL: has answered, or was abandoned */
    tn_sink sink;
    tn_taker taker;
    uint32_t busy; /* its code is on the stack */
    bool ended;
};

/*
 * Makes the inner exchange, like the outer one but for what `inner` says (method, target, headers), and takes
 * charge of the outer one. The caller hands relay->inner to whoever answers, between tn_relay_enter() and
 * tn_relay_leave(). false: memory is short, and nothing has been done.
 */
bool tn_relay_begin(tn_relay *relay, tn_server *server, const tn_relay_kind *kind, tn_exchange *outer,
                    tn_inner *inner);
void tn_relay_enter(tn_relay *relay);
void tn_relay_leave(tn_relay *relay);
/* The outer exchange was answered by the caller: the relay is freed as soon as nobody uses it. */
void tn_relay_end(tn_relay *relay);

bool tn_relay_pass_send(tn_relay *relay, const tn_response *response);
void tn_relay_pass_stream(tn_relay *relay, const tn_response *head);
bool tn_relay_pass_write(tn_relay *relay, const void *bytes, size_t n);
size_t tn_relay_pass_room(const tn_relay *relay);
void tn_relay_pass_finish(tn_relay *relay, bool broken);

#endif
