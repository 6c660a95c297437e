/*
 * net/http2_write.h - inside of net: the sending half of http2.c.
 */
#ifndef TN_NET_HTTP2_WRITE_H
#define TN_NET_HTTP2_WRITE_H

#include <nghttp2/nghttp2.h>

#include "net/loop.h"

/* Sets the callbacks that move frames into the connection's output. */
void tn_http2_write_callbacks(nghttp2_session_callbacks *callbacks);
/* Queues the interim answer that lets the client send its body. */
void tn_http2_continue_100(tn_conn *conn, tn_exchange *ex);

#endif
