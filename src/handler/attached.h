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

/* host.c: the table that handlers get. Static. */
const tern_handler_host *tn_handler_host(void);
/* job.c: attach() of attached->api, held to the contract; sets attached->handler. */
TERN_MUST_USE tern_code tn_handler_attach(tn_handler_attached *attached, const tern_handler_options *options,
                                          tern_status *st);
/* host.c: begins "serving_default", for a handler that named no signature. */
TERN_MUST_USE tern_code tn_handler_default_signature(tern_handler_call *hc, tern_status *st);

#endif
