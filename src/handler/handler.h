/*
 * handler/handler.h - handlers of models: C plugins found by name, attached to versions, called around the run.
 */
#ifndef TN_HANDLER_HANDLER_H
#define TN_HANDLER_HANDLER_H

#include "base/buf.h"
#include "schedule/call.h"
#include "tern/handler.h"

typedef struct tn_handlers tn_handlers;

typedef struct tn_handlers_config {
    const char *path;      /* folders of plugins NAME.so separated by ':'; NULL: handlers/ beside the program */
    bool allow_model_code; /* open code/handler.so inside a model folder: only when the operator says so */
} tn_handlers_config;

tn_handlers *tn_handlers_new(const tn_handlers_config *config);
void tn_handlers_free(tn_handlers *h);

/*
 * tn_model_hooks.attach/detach with context = tn_handlers: reads assets.extra/tern.json of the version; without one, or without
 * "handler" in it, the version has no handler and version->attached stays NULL. Errors fail the load with a sentence.
 */
tern_code tn_handlers_attach(void *handlers, tn_version *v, tern_status *st);
void tn_handlers_detach(void *handlers, tn_version *v);

/* A request for a handler, beside its call. Zero it, set request and max_response, keep it as long as the call. */
typedef struct tn_handler_job {
    tn_call *call;
    tern_handler_request request;
    void *state; /* the handler's */
    tn_buf body; /* the answer */
    tn_str content_type; /* in the call's arena */
} tn_handler_job;

/* True when this version has a handler that takes documents of that content type (parameters ignored). */
bool tn_handler_takes(const tn_version *v, tn_str content_type);
/* Steps of a call: pre sets the call's signature, inputs, outputs (all); post fills body and content_type. */
TERN_MUST_USE tern_code tn_handler_pre(tn_handler_job *job, tern_status *st);
TERN_MUST_USE tern_code tn_handler_post(tn_handler_job *job, tern_status *st);
/* Gives back the handler's state and the body. Once, after the answer was sent. Accepts a zeroed job. */
void tn_handler_job_finish(tn_handler_job *job);

#endif
