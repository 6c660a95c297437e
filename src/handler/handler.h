/*
 * handler/handler.h - handlers of models: C plugins found by name, attached to versions, called around the
 * run.
 *
 * A version asks for its handler in assets.extra/tern.json: {"handler": "NAME", ...} is NAME.so in the
 * server's own folders; {"handler": "code/handler.so"} is a file inside the version folder, opened only when
 * the operator allowed it. A plugin is opened once, when the first version asks for it, and stays open until
 * the process ends.
 *
 * Threads: attach and detach on loader threads, several at once; the functions for jobs on the thread that
 * has the call. A version's handler lives exactly as long as the version is loaded, so a call's reference to
 * the version keeps it.
 */
#ifndef TN_HANDLER_HANDLER_H
#define TN_HANDLER_HANDLER_H

#include "base/buf.h"
#include "schedule/call.h"
#include "tern/handler.h"

typedef struct tn_handlers tn_handlers;

typedef struct tn_handlers_config {
    const char *path; /* folders of plugins NAME.so separated by ':'; NULL: handlers/ beside the program */
    bool allow_model_code; /* open code/handler.so inside a model folder: only when the operator says so */
} tn_handlers_config;

/* Returns owned; NULL when memory is short. Opens nothing; copies config. */
tn_handlers *tn_handlers_new(const tn_handlers_config *config);
/* Every version must be detached. Accepts NULL. */
void tn_handlers_free(tn_handlers *h);

/*
 * tn_model_hooks.attach/detach with context = tn_handlers: reads assets.extra/tern.json of the version;
 * without one, or without "handler" in it, the version has no handler and version->attached stays NULL.
 * Errors fail the load with a sentence: INVALID_ARGUMENT (tern.json), NOT_FOUND (names the folders looked
 * in), PERMISSION_DENIED (code in a model folder), FAILED_PRECONDITION (not a handler, other ABI), or what
 * the handler's own attach() says.
 */
tern_code tn_handlers_attach(void *handlers, tn_version *v, tern_status *st);
void tn_handlers_detach(void *handlers, tn_version *v);

/*
 * A request for a handler, beside its call. Zero it, set call, request and max_response, keep it as long as
 * the call.
 */
typedef struct tn_handler_job {
    tn_call *call;
    tern_handler_request request; /* struct_size is set by tn_handler_pre() */
    size_t max_response;          /* most bytes of body */
    void *state;                  /* the handler's */
    tn_buf body;                  /* the answer */
    tn_str content_type; /* in the call's arena; "application/json" unless the handler says otherwise */
} tn_handler_job;

/*
 * True when this version has a handler that takes documents of that content type (parameters and case
 * ignored).
 */
bool tn_handler_takes(const tn_version *v, tn_str content_type);
/*
 * Decode step of a call: asks the handler for inputs; sets the call's signature, inputs and outputs (all).
 * Stamps PREPROCESS. Errors are the handler's own; INTERNAL when it left out an input of the signature.
 */
TERN_MUST_USE tern_code tn_handler_pre(tn_handler_job *job, tern_status *st);
/*
 * Encode step: fills body and content_type. Stamps POSTPROCESS. RESOURCE_EXHAUSTED when the answer passes
 * max_response.
 */
TERN_MUST_USE tern_code tn_handler_post(tn_handler_job *job, tern_status *st);
/*
 * Gives back the handler's state and the body. Once, after the answer was sent and before tn_call_finish():
 * the state is the version's. Accepts a zeroed job.
 */
void tn_handler_job_finish(tn_handler_job *job);

#endif
