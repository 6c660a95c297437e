/*
 * handler/handler.h - handlers of models: C plugins found by name, attached to versions, called around the
 * run.
 *
 * A version asks for its handler in assets.extra/tern.json: {"handler": "NAME", ...} is NAME.so in the
 * server's own folders; {"handler": "code/handler.so"} is a file inside the version folder, opened only when
 * the operator allowed it. In SageMaker's layout that file needs no tern.json. A plugin is opened once, when
 * the first version asks for it, and stays open until the process ends.
 *
 * Threads: attach and detach on loader threads, several at once; the functions for jobs on the thread that
 * has the call. A version's handler lives exactly as long as the version is loaded, so a call's reference to
 * the version keeps it.
 */
#ifndef TN_HANDLER_HANDLER_H
#define TN_HANDLER_HANDLER_H

#include "base/arrival.h"
#include "base/budget.h"
#include "base/buf.h"
#include "base/limits.h"
#include "schedule/call.h"
#include "tern/handler.h"

typedef struct tn_handlers tn_handlers;

typedef struct tn_handlers_config {
    const char *path; /* folders of plugins NAME.so separated by ':'; NULL: handlers/ beside the program */
    bool allow_model_code; /* open code/handler.so inside a model folder: only when the operator says so */
    /*
     * SageMaker's base folder, "/opt/ml", whose code is the operator's own: a version that asks for no
     * handler has the nearest code/handler.so, in its own folder or one above it up to here. NULL: not so.
     */
    const char *code_root;
    tn_limits limits;    /* what handlers are told of, and held to */
    bool isolate;        /* in processes of their own, unless a model's "handler_isolation" says otherwise */
    int32_t workers;     /* such processes for each version; 0: one a core, at least 2 */
    tn_budget *budget;   /* borrowed, may be NULL: pays for shared memory */
    const char *program; /* what is started as `PROGRAM handler-worker FILE.so`; NULL: this one */
} tn_handlers_config;

/* Returns owned; NULL when memory is short. Opens nothing; copies config. */
tn_handlers *tn_handlers_new(const tn_handlers_config *config);
/*
 * Waits until no call is under way in processes; false: that did not come to be. When no more calls come,
 * before the loops end. Accepts NULL.
 */
bool tn_handlers_stop(tn_handlers *h, int64_t until_ns);
/* A call that went to a process is over, and all that its owner does with loops has been done. */
void tn_handlers_over(tn_handlers *h);
/* Every version must be detached. Accepts NULL. */
void tn_handlers_free(tn_handlers *h);

/*
 * tn_model_hooks.attach/detach with context = tn_handlers: reads assets.extra/tern.json of the version;
 * without one, or without "handler" in it, and without a code/handler.so that counts (code_root), the version
 * has no handler and version->attached stays NULL.
 * Errors fail the load with a sentence: INVALID_ARGUMENT (tern.json), NOT_FOUND (names the folders looked
 * in), PERMISSION_DENIED (code in a model folder), FAILED_PRECONDITION (not a handler, other ABI), or what
 * the handler's own attach() says.
 */
tern_code tn_handlers_attach(void *handlers, tn_version *v, tern_status *st);
void tn_handlers_detach(void *handlers, tn_version *v);

/* Most signatures that one request may run. */
#define TN_HANDLER_SIGNATURES 8
/* Most header fields of an answer, and most bytes of each. */
#define TN_HANDLER_HEADERS      16
#define TN_HANDLER_HEADER_BYTES 8192

typedef struct tn_handler_job tn_handler_job;

typedef enum tn_handler_phase { TN_HANDLER_NEITHER, TN_HANDLER_PRE, TN_HANDLER_POST } tn_handler_phase;

/* The host's side of a call, as handlers get it: host.c. */
struct tern_handler_call {
    tn_handler_job *job;
    tn_handler_phase phase;
    size_t room;         /* left of what the last reserve() gave */
    const char *misuse;  /* the first, by a function that has no status to tell it; static */
    tn_call_part *parts; /* pre: signatures with inputs and wanted outputs, the last one is current */
    uint32_t n_parts;
};

/*
 * A request for a handler, beside its call. Zero it, set call, request, max_response and budget, keep it as
 * long as the call.
 */
struct tn_handler_job {
    tn_call *call;
    tern_handler_request request; /* struct_size is set by tn_handler_pre() */
    size_t max_response;          /* most bytes of body */
    tn_budget *budget;            /* pays for inputs; NULL: no limit */
    size_t charged;               /* what was taken from it */
    const atomic_uint *gone;      /* not 0: nobody waits any more; NULL: only the call tells */
    tn_arrival *arrival;          /* of a body that is still arriving, else NULL */
    void *state;                  /* the handler's */
    tn_buf body;                  /* the answer */
    tn_str content_type; /* in the call's arena; "application/json" unless the handler says otherwise */
    int status;          /* HTTP, or 0: 200, or what belongs to the error */
    tern_handler_header *headers; /* in the call's arena */
    uint32_t n_headers;
    bool answered; /* by pre(): no run, no post() */
    tern_handler_call host;
};

/*
 * True when this version has a handler that takes documents of that content type (parameters and case
 * ignored). Any thread that holds the version.
 */
bool tn_handler_takes(const tn_version *v, tn_str content_type);
/*
 * Decode step of a call: asks the handler for inputs; sets the call's signature, inputs and outputs, and
 * `more`; or skip_run, when the handler answered at once. Stamps PREPROCESS. Errors are the handler's own;
 * INTERNAL when it left out an input of a signature, or broke the contract where a function could not say so.
 */
TERN_MUST_USE tern_code tn_handler_pre(tn_handler_job *job, tern_status *st);
/* Whether pre() of this version may be called while the body arrives (job->arrival). */
bool tn_handler_reads_arriving(const tn_version *v);
/* Forgets what pre() has done, whatever it returned: it may be called again. */
void tn_handler_forget(tn_handler_job *job);
/*
 * Encode step: fills body, content_type, status and headers; after an answer of pre() it does nothing. Stamps
 * POSTPROCESS. RESOURCE_EXHAUSTED when the answer passes max_response.
 */
TERN_MUST_USE tern_code tn_handler_post(tn_handler_job *job, tern_status *st);
/*
 * Gives back the handler's state and the body. Once, after the answer was sent and before tn_call_finish():
 * the state is the version's. Accepts a zeroed job.
 */
void tn_handler_job_finish(tn_handler_job *job);

#endif
