/*
 * api/script_ports.h - the ports by which event loops read what worker processes say (handler/script_pool.h).
 *
 * One for each loop and set of pools, made when the loop first asks one of them. All on the loop.
 */
#ifndef TN_API_SCRIPT_PORTS_H
#define TN_API_SCRIPT_PORTS_H

#include "handler/script_pool.h"
#include "net/net.h"

/* For tn_script_job.port. NULL when there is none to be had: then the pools' thread reads. */
tn_script_port *tn_script_port_of(tn_loop *loop, const tn_script_pool *pool);
/* For the loop's end. */
void tn_script_ports_free(tn_loop *loop);

#endif
