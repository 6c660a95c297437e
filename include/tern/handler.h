/*
 * tern/handler.h - the contract of a C handler: raw document in, tensors to the model, its outputs to an
 * answer.
 *
 * A handler is a shared object that exports tern_handler_entry(). A model version asks for it by name in
 * assets.extra/tern.json ({"handler": "html", ...}), or has it as code/handler.so. Tern calls attach() once
 * for each version that is loaded, detach() when it is unloaded. For each request: pre(), the run, then
 * post() on the same thread. Requests of one version run on many threads at once: what attach() returned is
 * shared and must not change without a lock of the handler's own. A process of its own for the handler
 * (--handler_isolation=process) changes nothing in this contract.
 *
 * Memory: slices and tensors given in are borrowed for that one function; what must survive from pre() to
 * post() goes into *state and is freed by release(), which is called exactly once for every pre() that set a
 * state. Functions that take the call may be called only from inside pre() or post(), in that thread.
 *
 * Stability: ABI 1 is append-only. Nothing is moved or removed; what is added goes to the end of a struct
 * that begins with struct_size, and whoever reads such a field tests TERN_HAS() first, where the other side
 * may be older. So a handler built against an older header runs on a newer server, and the other way round.
 * tern_str, tern_status, tern_buffer, tern_tensor, tern_io, tern_signature, tern_signature_set and
 * tern_handler_header stay exactly as they are.
 *
 * Since Tern 0.2: the fields and functions that are marked so.
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

/* Whether the struct that p points to has the field: whoever made it was built with a header that knows it.
 */
#define TERN_HAS(p, field) ((p)->struct_size >= (size_t)((const char *)(&(p)->field + 1) - (const char *)(p)))

typedef struct tern_handler tern_handler;           /* the handler's state for one model version */
typedef struct tern_handler_call tern_handler_call; /* the host's: one request */

typedef struct tern_handler_options {
    uint32_t struct_size;
    const char *directory;                /* version folder; NUL-terminated */
    tern_str config;                      /* assets.extra/tern.json, whole text */
    const tern_signature_set *signatures; /* of the loaded version; outlives the handler */
    /* Since 0.2. Most bytes of a request's body, of an answer, and of all tensors of all requests together.
     */
    int64_t max_body_bytes, max_answer_bytes, max_tensor_bytes;
    tern_str model;  /* name under which the version is served */
    int64_t version; /* its number */
} tern_handler_options;

/* A header field. */
typedef struct tern_handler_header {
    tern_str name; /* lower case */
    tern_str value;
} tern_handler_header;

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
    /* Since 0.2. */
    const tern_handler_header *headers; /* all of the request, in the order sent */
    uint32_t n_headers;
    tern_str target; /* path and query as sent: "/invocations?lang=en" */
} tern_handler_request;

/* Value of the first header of that name (given in lower case), or absent: "x-amzn-sagemaker-session-id". */
static inline tern_str tern_handler_request_header(const tern_handler_request *r, const char *name)
{
    tern_str none = {NULL, 0};
    size_t n = strlen(name);
    if (!TERN_HAS(r, n_headers))
        return none;
    for (uint32_t i = 0; i < r->n_headers; i++)
        if (r->headers[i].name.len == n && memcmp(r->headers[i].name.ptr, name, n) == 0)
            return r->headers[i].value;
    return none;
}

/* What a handler may ask of the host about its request. Only from inside pre() or post() of that call. */
typedef struct tern_handler_host {
    uint32_t struct_size;
    uint32_t abi_version;
    const tern_host *host;

    /* pre: chooses the signature by name; without it "serving_default". TERN_NOT_FOUND when there is none. */
    tern_code (*set_signature)(tern_handler_call *call, tern_str name, tern_status *st);

    /* pre: makes the tensor of the input with this alias, of this shape (dims copied), and gives its memory
     * in *data: 64-byte aligned, product(dims) * sizeof(dtype) bytes, not cleared. The dtype must be the
     * signature's, not string: see new_string_input(). RESOURCE_EXHAUSTED over the server's limits. */
    tern_code (*new_input)(tern_handler_call *call, tern_str alias, tern_dtype dtype, int32_t rank,
                           const int64_t *dims, void **data, tern_status *st);

    /* post: the output with this alias, borrowed until post() returns; NULL when there is none. */
    const tern_tensor *(*output)(tern_handler_call *call, tern_str alias);

    /* post, or pre after answer_now(), as all functions that make the answer: appends to its body (copied).
     * Fails over the host's limit of answer size. */
    tern_code (*write)(tern_handler_call *call, const void *bytes, size_t length, tern_status *st);

    /* post: the answer's Content-Type (copied); default application/json. */
    void (*set_content_type)(tern_handler_call *call, tern_str type);

    /* post, instead of write: room for at least `want` bytes of body at the answer's end; commit() says how
     * many were written. The pointer is valid until the next call of these functions. */
    tern_code (*reserve)(tern_handler_call *call, size_t want, void **room, tern_status *st);
    void (*commit)(tern_handler_call *call, size_t written);

    /* ---- Since 0.2 ---- */

    /* pre: the same as new_input() for an input of dtype string: n = product(dims) elements of `bytes` bytes
     * together. The handler writes the elements one behind the other to *text, and where each one ends to
     * (*ends)[0..n): ascending, the last no more than `bytes`. tern_handler_add_strings() does it for slices.
     */
    tern_code (*new_string_input)(tern_handler_call *call, tern_str alias, int32_t rank, const int64_t *dims,
                                  size_t bytes, uint64_t **ends, char **text, tern_status *st);

    /* pre: one more signature that is run in the same pass; inputs made and outputs wanted from here on are
     * its own. At most 8, none twice. Where two feed the same tensor of the graph, both must give the same
     * value. */
    tern_code (*add_signature)(tern_handler_call *call, tern_str name, tern_status *st);

    /* pre: this output of the current signature is wanted; what is not needed for the wanted ones is not
     * computed. Without it, all outputs of the signature. */
    tern_code (*want_output)(tern_handler_call *call, tern_str alias, tern_status *st);

    /* post: as output(), which is that of the first signature, for one of several. */
    const tern_tensor *(*output_of)(tern_handler_call *call, tern_str signature, tern_str alias);

    /* pre: the answer is made here, without a run: write() and the others may be used from now on, inputs
     * that were made are forgotten, and post() is not called. */
    tern_code (*answer_now)(tern_handler_call *call, tern_status *st);

    /*
     * pre or post: the answer's HTTP status, 200 to 599 but those that have no body (204, 205, 304). When the
     * function then fails, it is the status of the error if it is one (400 and more), in place of the one
     * that belongs to the code.
     */
    tern_code (*set_status)(tern_handler_call *call, int status, tern_status *st);

    /* The answer's header fields (copied; sent in lower case). At most 16, of 8192 bytes each. Not for those
     * that the server sets itself: content-type, content-length, date, and the ones of the connection. */
    tern_code (*add_header)(tern_handler_call *call, tern_str name, tern_str value, tern_status *st);

    /* Whether nobody waits for the answer any more: the client is gone, or its time is over. For loops that
     * may take long; then return TERN_CANCELLED. */
    int (*cancelled)(tern_handler_call *call);

    /*
     * pre of a handler that has TERN_HANDLER_ARRIVING: waits until the first `want` bytes of the request's
     * body are there (or all of it, when it is shorter), and says how many are. Fewer than that: they do not
     * come now. pre() then ends with any error, and is called again with the whole body.
     */
    size_t (*arrived)(tern_handler_call *call, size_t want);
} tern_handler_host;

/* new_string_input() of elements that lie elsewhere; n is product(dims). */
static inline tern_code tern_handler_add_strings(const tern_handler_host *host, tern_handler_call *call,
                                                 tern_str alias, int32_t rank, const int64_t *dims,
                                                 const tern_str *elements, size_t n, tern_status *st)
{
    uint64_t *ends;
    char *text;
    size_t bytes = 0;
    if (!TERN_HAS(host, new_string_input))
        return tern_fail(st, TERN_UNIMPLEMENTED, "This server is too old for inputs of strings");
    for (size_t i = 0; i < n; i++)
        bytes += elements[i].len;
    tern_code code = host->new_string_input(call, alias, rank, dims, bytes, &ends, &text, st);
    bytes = 0;
    for (size_t i = 0; code == TERN_OK && i < n; i++) {
        if (elements[i].len > 0)
            memcpy(text + bytes, elements[i].ptr, elements[i].len);
        bytes += elements[i].len;
        ends[i] = bytes;
    }
    return code;
}

/*
 * pre() may be called while the body arrives: it reads no byte of it before arrived() says that it is there.
 * Such a call may be repeated, whatever it returned, once the body is complete; *state is released in
 * between.
 */
#define TERN_HANDLER_ARRIVING 1u

typedef struct tern_handler_api {
    uint32_t struct_size;
    uint32_t abi_version; /* TERN_HANDLER_ABI */
    const char *name;     /* "html" */

    /*
     * Content types that this handler takes, separated by commas without blanks:
     * "text/html,application/xhtml+xml". Since 0.2 one may end in "*", which stands for any rest:
     * "image/x-*", or "*" for every type. application/json is taken only when it is named in full.
     */
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

    /* Since 0.2. */
    const char *version; /* the handler's own, "1.4.2", for logs; or NULL */
    uint32_t flags;      /* TERN_HANDLER_ARRIVING, or 0 */
} tern_handler_api;

/* Exported by the shared object. Returns the table (static), or NULL when it cannot serve host_abi_version.
 */
typedef const tern_handler_api *(*tern_handler_entry_fn)(uint32_t host_abi_version);

#ifdef __cplusplus
}
#endif
#endif
