/*
 * schedule/call.c - a call's beginning and end.
 *
 * The struct is reused from request to request: everything is reset by name, because clearing it whole would
 * touch the 4 kB of its status message for nothing.
 */
#include "schedule/call.h"

void tn_call_init(tn_call *call, const tn_call_steps *steps, size_t arena_max)
{
    if (call->arena.blocks == NULL)
        tn_arena_init(&call->arena, arena_max);
    else
        call->arena.max = arena_max;
    call->task.next = NULL;
    call->steps = steps;
    call->version = NULL;
    call->signature = NULL;
    call->inputs = NULL;
    call->input_ids = NULL;
    call->n_inputs = 0;
    call->outputs = NULL;
    call->output_ids = NULL;
    call->n_outputs = 0;
    call->more = NULL;
    call->n_more = 0;
    call->body_bytes = 0;
    call->deadline_ns = 0;
    call->queued_ns = 0;
    call->decoded_ns = 0;
    call->at_ns = 0;
    atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
    call->skip_run = false;
    call->batch = NULL;
    call->rows = 0;
    memset(call->stage_ns, 0, sizeof call->stage_ns);
    tern_status_init(&call->status);
    call->run_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    call->running = NULL;
}

/* Only calls that were submitted: before that no model was asked. */
static void record(tn_call *call, int64_t now_ns)
{
    const tn_version *v = call->version;
    int64_t signature = call->signature != NULL ? call->signature - v->signatures->signatures : -1;
    tn_stats_call(&call->version->stats, tn_stats_cell(signature), call->steps->method, call->status.code,
                  call->stage_ns, now_ns - call->queued_ns + call->stage_ns[TN_STAGE_READ]);
}

static void release_tensors(tern_tensor *tensors, uint32_t n)
{
    for (uint32_t i = 0; tensors != NULL && i < n; i++)
        tn_tensor_release(&tensors[i]);
}

void tn_call_forget_tensors(tn_call *call)
{
    release_tensors(call->inputs, call->n_inputs);
    release_tensors(call->outputs, call->n_outputs);
    for (uint32_t k = 0; k < call->n_more; k++) {
        release_tensors(call->more[k].inputs, call->more[k].n_inputs);
        release_tensors(call->more[k].outputs, call->more[k].n_outputs);
    }
    call->more = NULL;
    call->n_more = 0;
    call->inputs = NULL;
    call->outputs = NULL;
    call->n_inputs = call->n_outputs = 0;
    call->signature = NULL;
}

void tn_call_finish(tn_call *call)
{
    tn_call_finish_at(call, call->version != NULL && call->queued_ns != 0 ? tn_now_ns() : 0);
}

void tn_call_finish_at(tn_call *call, int64_t now_ns)
{
    if (call->version != NULL && call->queued_ns != 0)
        record(call, now_ns);
    tn_call_forget_tensors(call);
    call->queued_ns = 0;
    /* Cleanups of the arena may still look at the version. */
    tn_arena_reset(&call->arena);
    tn_version_release(call->version);
    call->version = NULL;
}

tern_code tn_call_all_outputs(tn_call *call, tern_status *st)
{
    uint32_t n = call->signature->n_outputs;
    call->output_ids = tn_arena_array(&call->arena, n, sizeof *call->output_ids);
    if (call->output_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the list of %u outputs", n);
    for (uint32_t i = 0; i < n; i++)
        call->output_ids[i] = i;
    call->n_outputs = n;
    return TERN_OK;
}

void tn_call_cancel(tn_call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_release);
    pthread_mutex_lock(&call->run_lock);
    if (call->running != NULL)
        call->version->engine->api->cancel(call->version->loaded, call->running);
    pthread_mutex_unlock(&call->run_lock);
}
