/*
 * handler/script_port.c - who reads the workers' sockets: the pools' thread, or an event loop by its port.
 *
 * A port is an epoll set of its own, whose descriptor an event loop looks at beside its connections. A
 * worker's socket is in one set at a time. It moves with a job, while the worker has no other: so with a loop
 * that asks and reads there is no third thread between a request and its worker. While a worker has jobs of
 * several loops, the one that reads posts to the others. Everything else about a worker (its process,
 * deadlines, memory, segments that went away) stays with the pools' thread.
 *
 * The set is asked with the lock held, and never waits: so no worker goes away between the question and what
 * is done about the answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "handler/script_inside.h"

#define EVENTS 16

static int epoll_of(const tn_script_worker *w)
{
    return w->port != NULL ? w->port->epoll : w->pool->owner->epoll;
}

bool tn_worker_watch(tn_script_worker *w, bool writable)
{
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.ptr = w};
    return epoll_ctl(epoll_of(w), EPOLL_CTL_ADD, w->socket, &e) == 0 ||
           (errno == EEXIST && epoll_ctl(epoll_of(w), EPOLL_CTL_MOD, w->socket, &e) == 0);
}

void tn_worker_unwatch(tn_script_worker *w)
{
    epoll_ctl(epoll_of(w), EPOLL_CTL_DEL, w->socket, NULL);
}

void tn_worker_move(tn_script_worker *w, tn_script_port *port)
{
    if (w->port == port || w->socket < 0)
        return;
    tn_worker_unwatch(w);
    w->port = port;
    if (tn_worker_watch(w, w->backlog != NULL))
        return;
    w->port = NULL;
    if (!tn_worker_watch(w, w->backlog != NULL))
        tn_worker_kill(w, "its socket cannot be watched");
}

tn_script_port *tn_script_port_new(tn_scripts *s)
{
    tn_script_port *port = malloc(sizeof *port);
    if (port == NULL)
        return NULL;
    *port = (tn_script_port){.owner = s, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    if (port->epoll < 0) {
        free(port);
        return NULL;
    }
    return port;
}

int tn_script_port_fd(const tn_script_port *port)
{
    return port->epoll;
}

void tn_script_port_read(tn_script_port *port)
{
    tn_scripts *s = port->owner;
    struct epoll_event events[EVENTS];
    tn_scripts_lock(s);
    const int n = epoll_wait(port->epoll, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        tn_script_worker *w = events[i].data.ptr;
        tn_script_handle(s, &events[i]);
        tn_script_tell_gone(w->pool);
    }
    tn_scripts_unlock(s);
}

void tn_script_port_free(tn_script_port *port)
{
    if (port == NULL)
        return;
    tn_scripts *s = port->owner;
    tn_scripts_lock(s);
    for (tn_script_pool *pool = s->pools; pool != NULL; pool = pool->next)
        for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
            if (pool->workers[i].port == port)
                tn_worker_move(&pool->workers[i], NULL);
    tn_scripts_unlock(s);
    close(port->epoll);
    free(port);
}
