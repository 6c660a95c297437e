/*
 * handler/attached.h - inside of handler/: what version->attached points to.
 */
#ifndef TN_HANDLER_ATTACHED_H
#define TN_HANDLER_ATTACHED_H

#include "handler/handler.h"
#include "handler/script_pool.h"

typedef struct tn_handler_attached {
    /* In the server: the plugin. NULL where it is isolated. */
    const tern_handler_api *api;
    tern_handler *handler;
    /* In processes of its own. NULL where it is not. */
    tn_script_pool *pool;
    tn_handlers *owner;
    char *name; /* what the plugin calls itself, and takes; as its process said */
    char *types;
    atomic_size_t input_bytes; /* most that pre() left and post() wrote lately: what room is made for */
    atomic_size_t answer_bytes;
} tn_handler_attached;

/* Content types that it takes. */
static inline const char *tn_handler_types(const tn_handler_attached *a)
{
    return a->pool != NULL ? a->types : a->api->content_types;
}

/* plugin.c: opens and checks a plugin. It stays open. */
TERN_MUST_USE tern_code tn_handler_open(const char *path, const tern_handler_api **api, tern_status *st);
/* host.c: the table that handlers get. Static. */
const tern_handler_host *tn_handler_host(void);
/* job.c: attach() of attached->api, held to the contract; sets attached->handler. */
TERN_MUST_USE tern_code tn_handler_attach(tn_handler_attached *attached, const tern_handler_options *options,
                                          tern_status *st);
/* host.c: begins "serving_default", for a handler that named no signature. */
TERN_MUST_USE tern_code tn_handler_default_signature(tern_handler_call *hc, tern_status *st);


/* job.c: makes these parts the call's own: the first its signature, the others `more`. */
void tn_handler_hand_over(tn_call *call, tn_call_part *parts, uint32_t n);

/* isolated.c: starts the processes, and waits for one; sets pool, name and types. */
TERN_MUST_USE tern_code tn_isolated_attach(tn_handlers *h, const char *path,
                                           const tern_handler_options *options, tn_handler_attached *a,
                                           tern_status *st);
/* Calls that are under way keep their own hold of the pool. */
void tn_isolated_detach(tn_handler_attached *a);

/* plugin.c: what isolated.c needs of the whole. */
const tn_handlers_config *tn_handlers_settings(const tn_handlers *h);
/* The supervisor of processes, made when the first is wanted. NULL: st says why. */
tn_scripts *tn_handlers_scripts(tn_handlers *h, tern_status *st);
/* One more call is under way in processes. */
void tn_handlers_begun(tn_handlers *h);

#endif
