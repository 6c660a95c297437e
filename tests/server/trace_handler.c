/* trace_handler.c - a handler that answers with the trace it was given; see test_access_log.py. */
#include "tern/handler.h"

struct tern_handler {
    const tern_handler_host *host;
};

static tern_code attach(const tern_handler_host *host, const tern_handler_options *options,
                        tern_handler **handler, tern_status *st)
{
    static struct tern_handler only;
    only.host = host;
    *handler = &only;
    return TERN_OK;
}

static void detach(tern_handler *h)
{
}

static tern_code pre(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                     void **state, tern_status *st)
{
    const int64_t dims[1] = {1};
    void *data;
    tern_code code = h->host->new_input(call, (tern_str){"x", 1}, TERN_FLOAT, 1, dims, &data, st);
    if (code == TERN_OK)
        *(float *)data = 1;
    return code;
}

static tern_code post(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                      void *state, tern_status *st)
{
    if (request->struct_size < offsetof(tern_handler_request, tracestate) + sizeof request->tracestate)
        return tern_fail(st, TERN_INTERNAL, "The host is too old");
    tern_code code = h->host->write(call, request->traceparent.ptr, request->traceparent.len, st);
    if (code == TERN_OK)
        code = h->host->write(call, "|", 1, st);
    return code == TERN_OK ? h->host->write(call, request->tracestate.ptr, request->tracestate.len, st)
                           : code;
}

static void release(tern_handler *h, void *state)
{
}

static const tern_handler_api api = {
    .struct_size = sizeof(tern_handler_api),
    .abi_version = TERN_HANDLER_ABI,
    .name = "trace_handler",
    .content_types = "text/plain",
    .attach = attach,
    .detach = detach,
    .pre = pre,
    .post = post,
    .release = release,
};

TERN_EXPORT const tern_handler_api *tern_handler_entry(uint32_t host_abi_version);

const tern_handler_api *tern_handler_entry(uint32_t host_abi_version)
{
    return host_abi_version == TERN_HANDLER_ABI ? &api : NULL;
}
