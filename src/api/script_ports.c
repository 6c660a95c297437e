/* api/script_ports.c - see api/script_ports.h. */
#include "api/script_ports.h"

#include <stdlib.h>

#include "api/request.h"

typedef struct loop_port {
    struct loop_port *next;
    const tn_scripts *scripts;
    tn_script_port *port;
    tn_watch *watch;
} loop_port;

static void ready(void *user)
{
    tn_script_port_read(user);
}

static loop_port *make(tn_loop *loop, tn_scripts *scripts)
{
    loop_port *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->scripts = scripts;
    p->port = tn_script_port_new(scripts);
    if (p->port != NULL)
        p->watch = tn_loop_watch(loop, tn_script_port_fd(p->port), ready, p->port);
    if (p->watch == NULL) {
        tn_script_port_free(p->port);
        free(p);
        return NULL;
    }
    return p;
}

tn_script_port *tn_script_port_of(tn_loop *loop, const tn_script_pool *pool)
{
    tn_scripts *scripts = tn_script_pool_owner(pool);
    void **slot = tn_request_ports_slot(loop);
    if (slot == NULL)
        return NULL;
    for (loop_port *p = *slot; p != NULL; p = p->next)
        if (p->scripts == scripts)
            return p->port;
    loop_port *made = make(loop, scripts);
    if (made == NULL)
        return NULL;
    made->next = *slot;
    *slot = made;
    return made->port;
}

void tn_script_ports_free(tn_loop *loop)
{
    void **slot = tn_request_ports_slot(loop);
    for (loop_port *p = slot != NULL ? *slot : NULL, *next; p != NULL; p = next) {
        next = p->next;
        tn_loop_unwatch(p->watch);
        tn_script_port_free(p->port);
        free(p);
    }
    if (slot != NULL)
        *slot = NULL;
}
