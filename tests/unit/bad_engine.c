/*
 * bad_engine.c - an engine plugin that is wrong in the way that BAD_ENGINE names. For test_engine.c.
 *
 *   refuse    the entry serves no such ABI          abi      the table has another ABI
 *   small     the table ends before cancel()        name     the engine calls itself otherwise
 *   nameless  or nothing at all                     missing  a function is not there
 *   open      open() fails and tells what it was given
 *   otherwise it can be opened, and larger is the table of a later version, which must be accepted
 */
#include <stdlib.h>

#include "tern/engine.h"

struct tern_engine {
    int unused;
};

static tern_engine the_engine;

static const char *mode(void)
{
    const char *value = getenv("BAD_ENGINE");
    return value != NULL ? value : "";
}

static const char *runtime_version(void)
{
    return "0";
}

static tern_code bad_open(const tern_host *host, const tern_engine_options *o, tern_engine **engine,
                          tern_status *st)
{
    if (strcmp(mode(), "open") == 0)
        return tern_fail(
            st, TERN_UNAVAILABLE, "options %u of %zu, host %u of %zu, threads %d %d, config %.*s",
            (unsigned)o->struct_size, sizeof *o, (unsigned)host->struct_size, sizeof *host,
            (int)o->intra_op_threads, (int)o->inter_op_threads, (int)o->config.len, o->config.ptr);
    *engine = &the_engine;
    return TERN_OK;
}

static void bad_close(tern_engine *engine)
{
    if (engine != &the_engine)
        abort();
}

static int probe(tern_engine *engine, const char *directory)
{
    return 0;
}

static tern_code load(tern_engine *engine, const tern_load_options *options, tern_engine_model **model,
                      tern_status *st)
{
    return tern_fail(st, TERN_UNIMPLEMENTED, "this engine loads nothing");
}

static const tern_signature_set *signatures(tern_engine_model *model)
{
    return NULL;
}

static tern_code run(tern_engine_model *model, const tern_run *what, tern_status *st)
{
    return tern_fail(st, TERN_UNIMPLEMENTED, "this engine runs nothing");
}

static void unload(tern_engine_model *model)
{
}

static uint64_t memory_use(tern_engine_model *model)
{
    return 0;
}

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version);

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version)
{
    static tern_engine_api api;
    api = (tern_engine_api){
        .struct_size = sizeof api,
        .abi_version = host_abi_version,
        .name = "bad_engine",
        .runtime_version = runtime_version,
        .open = bad_open,
        .close = bad_close,
        .probe = probe,
        .load = load,
        .signatures = signatures,
        .run = run,
        .unload = unload,
        .memory_use = memory_use,
    };
    const char *how = mode();
    if (strcmp(how, "refuse") == 0)
        return NULL;
    if (strcmp(how, "abi") == 0)
        api.abi_version = host_abi_version + 1;
    else if (strcmp(how, "small") == 0)
        api.struct_size = offsetof(tern_engine_api, cancel);
    else if (strcmp(how, "larger") == 0)
        api.struct_size += 64;
    else if (strcmp(how, "name") == 0)
        api.name = "good_engine";
    else if (strcmp(how, "nameless") == 0)
        api.name = NULL;
    else if (strcmp(how, "missing") == 0)
        api.signatures = NULL;
    return &api;
}
