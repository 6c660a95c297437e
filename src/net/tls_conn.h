/*
 * net/tls_conn.h - inside of net: puts TLS between a connection and its socket.
 */
#ifndef TN_NET_TLS_CONN_H
#define TN_NET_TLS_CONN_H

#include "net/loop.h"

/* On the loop, before anything was read. False when memory is short: the connection stays without TLS. */
bool tn_tls_attach(tn_tls *tls, tn_conn *conn);

#endif
