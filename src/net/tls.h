/*
 * net/tls.h - TLS on the connections of a listener, by OpenSSL: 1.2 and 1.3, ALPN "h2" and "http/1.1"
 * (RFC 7301), client certificates when asked for.
 *
 * A tn_tls is a set of keys. It may be given new ones while connections are open: these keep what they began
 * with. The handshake runs on the connection's loop and has limits.header_timeout_ms like a request's head.
 * Without TLS nothing here is touched: a connection's reading and writing go straight to its socket.
 */
#ifndef TN_NET_TLS_H
#define TN_NET_TLS_H

#include "net/net.h"

typedef struct tn_tls_keys {
    tn_str key;         /* PEM, without a passphrase */
    tn_str cert;        /* PEM: the server's certificate, then those between it and the root */
    tn_str ca;          /* PEM: who signs clients' certificates; empty: the system's */
    bool client_verify; /* a client must show a certificate that `ca` has signed */
} tn_tls_keys;

/* Borrows keys for the call. INVALID_ARGUMENT names the key, cert or ca that is wrong, and why. */
TERN_MUST_USE tern_code tn_tls_new(const tn_tls_keys *keys, tn_tls **out, tern_status *st);
/* New keys for connections from now on; on an error the old ones stay. Any thread. */
TERN_MUST_USE tern_code tn_tls_change(tn_tls *tls, const tn_tls_keys *keys, tern_status *st);
/* After tn_net_free(). Accepts NULL. */
void tn_tls_free(tn_tls *tls);

#endif
