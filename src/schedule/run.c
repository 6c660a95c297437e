/*
 * schedule/run.c - one call's run in the engine: see tn_call_run_now() in schedule/call.h.
 *
 * While the run is under way tn_call_cancel() can find it, where the engine can stop one. A call on several
 * signatures is one run for engines that have run_many, else one after the other: the same answer, unless the
 * model has state.
 */
#include "base/clock.h"
#include "schedule/call.h"

static bool has_cancel(const tern_engine_api *api)
{
    return api->struct_size >= offsetof(tern_engine_api, cancel) + sizeof api->cancel && api->cancel != NULL;
}

static bool has_run_many(const tern_engine_api *api)
{
    return api->struct_size >= offsetof(tern_engine_api, run_many) + sizeof api->run_many &&
           api->run_many != NULL;
}

static void set_running(tn_call *call, const tern_run *run)
{
    pthread_mutex_lock(&call->run_lock);
    call->running = run;
    pthread_mutex_unlock(&call->run_lock);
}

/* runs[0] is the one that can be cancelled. */
static tern_code run_engine(tn_call *call, const tern_run *runs, uint32_t n, tern_status *st)
{
    const tern_engine_api *api = call->version->engine->api;
    bool can_cancel = has_cancel(api);
    int64_t start = tn_now_ns();
    tern_code code;
    if (can_cancel)
        set_running(call, &runs[0]);
    if (can_cancel && atomic_load_explicit(&call->cancelled, memory_order_acquire))
        code = tern_fail(st, TERN_CANCELLED, "Call was cancelled before its run");
    else if (n == 1)
        code = api->run(call->version->loaded, &runs[0], st);
    else
        code = api->run_many(call->version->loaded, runs, n, st);
    if (can_cancel)
        set_running(call, NULL);
    call->at_ns = tn_now_ns();
    tn_stats_run(&call->version->stats, call->at_ns - start);
    return code;
}

static tern_code run_parts(tn_call *call, tern_run *runs, tern_status *st)
{
    uint32_t n = 1 + call->n_more;
    for (uint32_t k = 0; k < call->n_more; k++) {
        tn_call_part *p = &call->more[k];
        p->outputs = tn_arena_zalloc(&call->arena, p->n_outputs * sizeof *p->outputs);
        if (p->outputs == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u outputs", p->n_outputs);
        runs[1 + k] = runs[0];
        runs[1 + k].signature = p->signature;
        runs[1 + k].inputs = p->inputs;
        runs[1 + k].input_ids = p->input_ids;
        runs[1 + k].n_inputs = p->n_inputs;
        runs[1 + k].outputs = p->outputs;
        runs[1 + k].output_ids = p->output_ids;
        runs[1 + k].n_outputs = p->n_outputs;
    }
    if (has_run_many(call->version->engine->api))
        return run_engine(call, runs, n, st);
    tern_code code = TERN_OK;
    for (uint32_t k = 0; k < n && code == TERN_OK; k++)
        code = run_engine(call, &runs[k], 1, st);
    return code;
}

tern_code tn_call_run_now(tn_call *call, uint32_t flags, int64_t timeout_us, tern_status *st)
{
    call->outputs = tn_arena_zalloc(&call->arena, call->n_outputs * sizeof *call->outputs);
    if (call->outputs == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u outputs", call->n_outputs);
    tern_run run = {
        .struct_size = sizeof run,
        .flags = flags,
        .signature = call->signature,
        .inputs = call->inputs,
        .input_ids = call->input_ids,
        .n_inputs = call->n_inputs,
        .n_outputs = call->n_outputs,
        .output_ids = call->output_ids,
        .outputs = call->outputs,
        .timeout_us = timeout_us,
        .alloc = tn_arena_alloc_fn,
        .alloc_context = &call->arena,
    };
    if (call->n_more == 0)
        return run_engine(call, &run, 1, st);
    tern_run *runs = tn_arena_array(&call->arena, (size_t)call->n_more + 1, sizeof *runs);
    if (runs == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u signatures", call->n_more + 1);
    runs[0] = run;
    return run_parts(call, runs, st);
}
