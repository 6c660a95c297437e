/* cli/batching.c - the flags of batching, and what a version gets when it is loaded. See cli/parts.h. */
#include "api/auto.h"
#include "cli/parts.h"
#include "server_config.pb-c.h"

#define MAX_ROWS 65536

/* --batching, or what --enable_batching says. */
static tern_code manner_of(const tn_options *o, tn_batching *manner, tern_status *st)
{
    tn_str word = tn_str_from(o->batching);
    *manner = o->enable_batching ? TN_BATCHING_SERVING : TN_BATCHING_OFF;
    if (word.len == 0)
        return TERN_OK;
    if (tn_str_eq(word, TN_STR("off")))
        *manner = TN_BATCHING_OFF;
    else if (tn_str_eq(word, TN_STR("serving")))
        *manner = TN_BATCHING_SERVING;
    else if (tn_str_eq(word, TN_STR("auto")))
        *manner = TN_BATCHING_AUTO;
    else
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--batching=%s: use off, auto or serving", o->batching);
    if (o->enable_batching && *manner != TN_BATCHING_SERVING)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "--batching=%s and --enable_batching are not together: the latter means "
                         "--batching=serving",
                         o->batching);
    return TERN_OK;
}

tern_code tn_parts_batching(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    tn_batch_options *b = &p->batching;
    tern_code code = manner_of(o, &b->manner, st);
    if (code != TERN_OK)
        return code;
    const bool serving = b->manner == TN_BATCHING_SERVING;
    if (o->limits.max_batch_rows < 1 || o->limits.max_batch_rows > MAX_ROWS)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--max_batch_rows=%lld: use 1 to %d",
                         (long long)o->limits.max_batch_rows, MAX_ROWS);
    b->params = tn_batch_params_default();
    b->per_model = serving && o->enable_per_model_batching_parameters;
    if (!serving)
        b->params.thread_pool_name = TN_STR("");
    if (serving && p->platform != NULL) {
        const Tensorflow__Serving__SessionBundleConfig *bundle = (const void *)p->platform;
        if (bundle->batching_parameters != NULL)
            return tn_batch_params_take(&bundle->batching_parameters->base, &p->arena, &b->params, st);
    }
    if (o->batching_parameters_file[0] == '\0')
        return TERN_OK;
    if (!serving)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "server_options.batching_parameters_file is set without setting "
                         "server_options.enable_batching to true.");
    return tn_batch_params_read(o->batching_parameters_file, &p->arena, &b->params, st);
}

tern_code tn_parts_load(void *parts, tn_version *v, const tern_load_options *load, tern_status *st)
{
    tn_parts *p = parts;
    const tn_auto_options options = {
        .engines = p->engines, .warmup = p->warmup, .records = p->o.enable_model_warmup};
    return tn_auto_load(&options, v, load, st);
}

tern_code tn_parts_attach(void *parts, tn_version *v, tern_status *st)
{
    tn_parts *p = parts;
    tern_code code = tn_schedule_attach(p->server.schedule, v, st);
    if (code != TERN_OK)
        return code;
    code = tn_handlers_attach(p->handlers, v, st);
    if (code != TERN_OK) {
        tn_schedule_detach(p->server.schedule, v);
        return code;
    }
    code = p->o.enable_model_warmup ? tn_warmup(&p->warmup, v, st) : TERN_OK;
    if (code != TERN_OK)
        tn_parts_detach(parts, v);
    return code;
}

void tn_parts_detach(void *parts, tn_version *v)
{
    tn_parts *p = parts;
    tn_handlers_detach(p->handlers, v);
    tn_schedule_detach(p->server.schedule, v);
}
