/*
 * future.c - the example as a handler that was built with a header of later days: its table is larger, and it
 * looks for functions of the host that this server does not have.
 */
#define tern_handler_entry example_entry
#include "example.c"
#undef tern_handler_entry

typedef struct future_api {
    tern_handler_api now;
    const char *notes;
    void (*later)(tern_handler *handler, int64_t when);
    uint64_t reserved[32];
} future_api;

typedef struct future_host {
    tern_handler_host now;
    void (*later)(tern_handler_call *call);
} future_host;

static void later(tern_handler *handler, int64_t when)
{
    abort();
}

static tern_code future_attach(const tern_handler_host *host, const tern_handler_options *options,
                               tern_handler **handler, tern_status *st)
{
    const future_host *more = (const future_host *)host;
    if (TERN_HAS(&more->now, cancelled) && more->now.struct_size >= sizeof *more)
        return tern_fail(st, TERN_INTERNAL, "The host is not as old as it should be");
    return attach(host, options, handler, st);
}

TERN_EXPORT const tern_handler_api *tern_handler_entry(uint32_t host_abi_version);

const tern_handler_api *tern_handler_entry(uint32_t host_abi_version)
{
    static future_api table;
    table = (future_api){.now = *example_entry(host_abi_version), .later = later, .notes = "none"};
    table.now.struct_size = sizeof table;
    table.now.attach = future_attach;
    return &table.now;
}
