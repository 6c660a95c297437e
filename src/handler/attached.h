/*
 * handler/attached.h - inside of handler/: what version->attached points to.
 */
#ifndef TN_HANDLER_ATTACHED_H
#define TN_HANDLER_ATTACHED_H

#include "handler/handler.h"

typedef struct tn_handler_attached {
    const tern_handler_api *api;
    tern_handler *handler;
} tn_handler_attached;

/* job.c: the table that handlers get. Static. */
const tern_handler_host *tn_handler_host(void);

#endif
