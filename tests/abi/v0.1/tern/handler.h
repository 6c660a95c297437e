/*
 * tern/handler.h - the contract of a C handler: raw document in, tensors to the model, its outputs to an
 * answer.
 *
 * A handler is a shared object that exports tern_handler_entry(). A model version asks for it by name in
 * assets.extra/tern.json ({"handler": "html", ...}); Tern finds NAME.so in the folders of --handler_path (by
 * default handlers/ beside the program) and calls attach() once for each version that is loaded, detach()
 * when it is unloaded. For each request: pre() on an executor thread, the run, then post() on the same
 * thread. Requests of one version run on many threads at once: what attach() returned is shared and must not
 * change without a lock of the handler's own.
 *
 * Memory: slices and tensors given in are borrowed for that one function; what must survive from pre() to
 * post() goes into *state and is freed by release(), which is called exactly once for every pre() that set a
 * state. The table is append-only, as in tern/engine.h.
 */
#ifndef TERN_HANDLER_H
#define TERN_HANDLER_H

#include "tern/engine.h"
#include "tern/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_HANDLER_ABI   1
#define TERN_HANDLER_ENTRY "tern_handler_entry"

typedef struct tern_handler tern_handler;           /* the handler's state for one model version */
typedef struct tern_handler_call tern_handler_call; /* the host's: one request */

typedef struct tern_handler_options {
    uint32_t struct_size;
    const char *directory;                /* version folder; NUL-terminated */
    tern_str config;                      /* assets.extra/tern.json, whole text */
    const tern_signature_set *signatures; /* of the loaded version; outlives the handler */
} tern_handler_options;

typedef struct tern_handler_request {
    uint32_t struct_size;
    tern_str body;
    tern_str content_type;      /* whole header value, or absent */
    tern_str accept;            /* likewise */
    tern_str custom_attributes; /* X-Amzn-SageMaker-Custom-Attributes, or absent */
    tern_str url; /* address of the document when the client names it (X-Tern-Document-Url), or absent */
    int64_t deadline_ns; /* CLOCK_MONOTONIC time by which the client wants the answer, 0: none */
    /* The trace that this request belongs to, with its own span as parent, for what the handler calls itself
     * (W3C Trace Context); absent when nobody traces. Test struct_size before use. */
    tern_str traceparent;
    tern_str tracestate; /* as the client sent it, or absent */
} tern_handler_request;

/* What a handler may ask of the host about its request. Only from inside pre() or post() of that call. */
typedef struct tern_handler_host {
    uint32_t struct_size;
    uint32_t abi_version;
    const tern_host *host;

    /* pre: chooses the signature by name; without it "serving_default". TERN_NOT_FOUND when there is none. */
    tern_code (*set_signature)(tern_handler_call *call, tern_str name, tern_status *st);

    /* pre: makes the tensor of the input with this alias, of this shape (dims copied), and gives its memory
     * in *data: 64-byte aligned, product(dims) * sizeof(dtype) bytes, not cleared. The dtype must be the
     * signature's, not string. */
    tern_code (*new_input)(tern_handler_call *call, tern_str alias, tern_dtype dtype, int32_t rank,
                           const int64_t *dims, void **data, tern_status *st);

    /* post: the output with this alias, borrowed until post() returns; NULL when there is none. */
    const tern_tensor *(*output)(tern_handler_call *call, tern_str alias);

    /* post: appends to the answer's body (copied). Fails over the host's limit of answer size. */
    tern_code (*write)(tern_handler_call *call, const void *bytes, size_t length, tern_status *st);

    /* post: the answer's Content-Type (copied); default application/json. */
    void (*set_content_type)(tern_handler_call *call, tern_str type);

    /* post, instead of write: room for at least `want` bytes of body at the answer's end; commit() says how
     * many were written. The pointer is valid until the next call of these functions. */
    tern_code (*reserve)(tern_handler_call *call, size_t want, void **room, tern_status *st);
    void (*commit)(tern_handler_call *call, size_t written);
} tern_handler_host;

typedef struct tern_handler_api {
    uint32_t struct_size;
    uint32_t abi_version; /* TERN_HANDLER_ABI */
    const char *name;     /* "html" */

    /* Content types that this handler takes, separated by commas without blanks:
     * "text/html,application/xhtml+xml". */
    const char *content_types;

    tern_code (*attach)(const tern_handler_host *host, const tern_handler_options *options,
                        tern_handler **handler, tern_status *st);
    void (*detach)(tern_handler *handler); /* accepts NULL */

    /* Request to inputs. *state is NULL on entry. TERN_INVALID_ARGUMENT for a document that cannot be used.
     */
    tern_code (*pre)(tern_handler *handler, const tern_handler_request *request, tern_handler_call *call,
                     void **state, tern_status *st);
    /* Outputs to the answer. */
    tern_code (*post)(tern_handler *handler, const tern_handler_request *request, tern_handler_call *call,
                      void *state, tern_status *st);
    void (*release)(tern_handler *handler, void *state);
} tern_handler_api;

/* Exported by the shared object. Returns the table (static), or NULL when it cannot serve host_abi_version.
 */
typedef const tern_handler_api *(*tern_handler_entry_fn)(uint32_t host_abi_version);

#ifdef __cplusplus
}
#endif
#endif
