/*
 * net/listener.h - inside of net: bound sockets, and the accepting of connections on loop 0.
 */
#ifndef TN_NET_LISTENER_H
#define TN_NET_LISTENER_H

#include "net/loop.h"

struct tn_listener {
    tn_listener *next;
    tn_net *net;
    tn_loop *loop; /* that accepts */
    int fd;
    int32_t tag;
    tn_tls *tls; /* of its connections, or NULL */
    char *path;  /* of a Unix socket, unlinked at the end; or NULL */
    tn_task open_task, close_task;
    uv_poll_t poll;
    tn_timer pause;
    bool open; /* poll is initialised */
};

/* Bind and listen; any thread. On success *out is new; tn_listener_watch() sets it to work. */
TERN_MUST_USE tern_code tn_listener_bind(tn_net *net, const char *address, int port, int32_t tag,
                                         tn_listener **out, int *bound_port, tern_status *st);
TERN_MUST_USE tern_code tn_listener_bind_unix(tn_net *net, const char *path, int32_t tag, tn_listener **out,
                                              tern_status *st);
/* Has the loop accept from it. Any thread; works as soon as the loop runs. */
void tn_listener_watch(tn_listener *listener, tn_loop *loop);
/* On its loop: accepts those that the kernel has connected already. */
void tn_listener_last_call(tn_listener *listener);
/* On its loop: closes the socket, nothing is accepted any more. The object stays. */
void tn_listener_shut(tn_listener *listener);
/* After its loop has ended. */
void tn_listener_free(tn_listener *listener);

#endif
