/*
 * schedule/batch_run.c - one batch: its calls' rows are joined, run, and taken apart again.
 *
 * When a run fails, or its outputs are not by row, the batch is run again in halves: what fails alone is
 * answered with its own error, and its neighbours never hear of it. One bad call among n costs about
 * 2 * log2(n) runs more.
 */
#include <stdlib.h>

#include "schedule/inside.h"

#define RUNNER_ARENA_MAX (256u << 20)
#define STRIKES          3 /* batches that fail in a row, without a call that fails alone: no more batches */

/* Parts of one run. */
typedef struct group {
    tn_batch_runner *runner;
    tn_batch_queue *queue;
    tn_batch_part **parts;
    uint32_t n;
    bool small;
} group;

void tn_batch_runner_init(tn_batch_runner *runner, tn_schedule *s)
{
    runner->schedule = s;
    tn_arena_init(&runner->arena, RUNNER_ARENA_MAX);
}

void tn_batch_runner_free(tn_batch_runner *runner)
{
    tn_arena_free(&runner->arena);
}

/* ---- Ends of parts ---- */

/* All parts of a cut call are there: puts its outputs together, in the call's arena. */
static tern_code join_outputs(const tn_batch_split *split, tn_call *call)
{
    tn_rows *rows = tn_arena_array(&call->arena, split->n, sizeof *rows);
    call->outputs = tn_arena_zalloc(&call->arena, call->n_outputs * sizeof *call->outputs);
    if (rows == NULL || call->outputs == NULL)
        return tern_fail(&call->status, TERN_RESOURCE_EXHAUSTED, "No memory for %u outputs", call->n_outputs);
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        for (uint32_t p = 0; p < split->n; p++) {
            const tern_tensor *t = &split->parts[p].outputs[i];
            if (!tn_rows_fit(&split->parts[0].outputs[i], t, false))
                return tern_fail(&call->status, TERN_FAILED_PRECONDITION,
                                 "The parts of a call that was cut (enable_large_batch_splitting) have "
                                 "outputs of different shapes");
            rows[p] = (tn_rows){t, 0, t->dims[0]};
        }
        tern_code code =
            tn_rows_join(rows, split->n, 0, false, SIZE_MAX, &call->arena, &call->outputs[i], &call->status);
        if (code != TERN_OK)
            return code;
    }
    return TERN_OK;
}

/* The first of its parts to run stamps the call. */
static void begin_split(const tn_batch_part *part, int64_t now, int64_t waited_ns)
{
    tn_batch_split *split = part->split;
    pthread_mutex_lock(&split->lock);
    if (split->began_ns == 0) {
        split->began_ns = now;
        part->call->stage_ns[TN_STAGE_QUEUE] += waited_ns;
    }
    pthread_mutex_unlock(&split->lock);
}

static void end_split(tn_batch_split *split, tn_call *call)
{
    call->stage_ns[TN_STAGE_RUN] = tn_now_ns() - split->began_ns;
    tern_code code = split->code;
    if (code == TERN_OK)
        code = join_outputs(split, call);
    for (uint32_t p = 0; p < split->n; p++)
        for (uint32_t i = 0; split->parts[p].outputs != NULL && i < call->n_outputs; i++)
            tn_tensor_release(&split->parts[p].outputs[i]);
    pthread_mutex_destroy(&split->lock);
    tn_call_ran(call, code);
}

/* The part's outputs are where they belong, or st says why not (NULL: in the call already). */
static void end_part(tn_batch_part *part, tern_code code, const tern_status *st)
{
    tn_call *call = part->call;
    tn_batch_split *split = part->split;
    if (split == NULL) {
        if (code != TERN_OK && st != NULL)
            (void)tern_fail_bytes(&call->status, code, st->message, st->length);
        tn_call_ran(call, code);
        return;
    }
    pthread_mutex_lock(&split->lock);
    if (code != TERN_OK && split->code == TERN_OK) {
        split->code = code;
        if (st != NULL)
            (void)tern_fail_bytes(&call->status, code, st->message, st->length);
    }
    bool last = --split->left == 0;
    pthread_mutex_unlock(&split->lock);
    if (last)
        end_split(split, call);
}

/* Takes out the parts that nobody waits for. */
static void drop_unwanted(group *g, int64_t now)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        tn_batch_part *part = g->parts[i];
        tn_batch_split *split = part->split;
        if (split != NULL)
            pthread_mutex_lock(&split->lock);
        tern_code code = tn_call_wanted(part->call, now, "run");
        if (split != NULL)
            pthread_mutex_unlock(&split->lock);
        if (code == TERN_OK)
            g->parts[kept++] = part;
        else
            end_part(part, code, NULL);
    }
    g->n = kept;
}

/* ---- The run ---- */

static int64_t rows_of(const group *g)
{
    int64_t rows = 0;
    for (uint32_t i = 0; i < g->n; i++)
        rows += g->parts[i]->rows;
    return rows;
}

/* What the original says of outputs that are not by row (batching_session.cc, SplitOutputTensors). */
static tern_code check_outputs(const tern_signature *signature, const uint32_t *ids, uint32_t n,
                               const tern_tensor *outputs, int64_t rows, tern_status *st)
{
    const tern_tensor *bad = NULL;
    tn_str name = TN_STR_NONE;
    for (uint32_t i = 0; i < n; i++) {
        tn_str other = signature->outputs[ids[i]].tensor_name;
        if ((outputs[i].rank == 0 || outputs[i].dims[0] != rows) &&
            (bad == NULL || tn_str_cmp(other, name) < 0)) {
            bad = &outputs[i];
            name = other;
        }
    }
    if (bad == NULL)
        return TERN_OK;
    if (bad->rank == 0)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Batched output tensor has 0 dimensions");
    return tern_fail(
        st, TERN_FAILED_PRECONDITION,
        "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
        "of the input tensors");
}

/* One call whose inputs are used as they are. */
static tern_code run_one(group *g, int64_t now)
{
    tn_call *call = g->parts[0]->call;
    const tn_batch_version *b = g->queue->of->of;
    tern_code code = tn_call_run(call, g->small, &now);
    if (code == TERN_OK && b->manner == TN_BATCHING_SERVING)
        code = check_outputs(call->signature, call->output_ids, call->n_outputs, call->outputs, call->rows,
                             &call->status);
    return code;
}

static tern_code join_inputs(group *g, int64_t extra, tern_tensor *inputs, tern_status *st)
{
    const tn_batch_version *b = g->queue->of->of;
    const tn_call *first = g->parts[0]->call;
    tn_rows *rows = tn_arena_array(&g->runner->arena, g->n, sizeof *rows);
    /* A call that is large by itself is taken as it is. */
    const size_t own = g->n == 1 ? 2 * tn_batch_bytes(first) : 0;
    const size_t max_bytes = own > b->max_bytes ? own : b->max_bytes;
    if (rows == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a batch of %u calls", g->n);
    for (uint32_t i = 0; i < first->n_inputs; i++) {
        for (uint32_t p = 0; p < g->n; p++)
            rows[p] = (tn_rows){&g->parts[p]->call->inputs[i], g->parts[p]->from, g->parts[p]->rows};
        tern_code code = tn_rows_join(rows, g->n, extra, b->params.pad_variable_length_inputs, max_bytes,
                                      &g->runner->arena, &inputs[i], st);
        if (code != TERN_OK)
            return code;
    }
    return TERN_OK;
}

/* Microseconds that the one with the latest deadline has left; 0: one has none. */
static int64_t time_left(const group *g, int64_t now)
{
    int64_t latest = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        int64_t deadline = g->parts[i]->call->deadline_ns;
        if (deadline == 0)
            return 0;
        latest = deadline > latest ? deadline : latest;
    }
    int64_t left = (latest - now) / TN_NS_PER_US;
    return left > 0 ? left : 1;
}

static tern_code run_joined(group *g, const tern_tensor *inputs, tern_tensor *outputs, int64_t now,
                            tern_status *st)
{
    const tn_call *first = g->parts[0]->call;
    const tn_version *v = first->version;
    const tern_run run = {
        .struct_size = sizeof run,
        .flags = g->small ? TERN_RUN_CALLER_THREAD : 0,
        .signature = first->signature,
        .inputs = inputs,
        .input_ids = first->input_ids,
        .n_inputs = first->n_inputs,
        .n_outputs = first->n_outputs,
        .output_ids = first->output_ids,
        .outputs = outputs,
        .timeout_us = time_left(g, now),
        .alloc = tn_arena_alloc_fn,
        .alloc_context = &g->runner->arena,
    };
    tern_code code = v->engine->api->run(v->loaded, &run, st);
    int64_t took = tn_now_ns() - now;
    tn_stats_run(&v->stats, took);
    for (uint32_t i = 0; i < g->n; i++)
        if (g->parts[i]->split == NULL)
            g->parts[i]->call->stage_ns[TN_STAGE_RUN] = took;
    return code;
}

static tern_code slice_part(tn_batch_part *part, const tern_tensor *outputs, int64_t from, tern_status *st)
{
    tn_call *call = part->call;
    tern_code code = TERN_OK;
    if (part->split != NULL)
        pthread_mutex_lock(&part->split->lock);
    tern_tensor *own = tn_arena_zalloc(&call->arena, call->n_outputs * sizeof *own);
    if (own == NULL)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u outputs", call->n_outputs);
    for (uint32_t i = 0; code == TERN_OK && i < call->n_outputs; i++)
        code = tn_rows_slice(&outputs[i], from, part->rows, &call->arena, &own[i], st);
    /* Released with the call, also where not all of them could be made. */
    if (part->split != NULL) {
        part->outputs = own;
        pthread_mutex_unlock(&part->split->lock);
    } else {
        call->outputs = own;
    }
    return code;
}

/* What is left of the calls of a batch that was run well. Each one's answer leaves as soon as it is made. */
static void end_parts(group *g, const tern_tensor *outputs, tern_status *st)
{
    int64_t from = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        tn_batch_part *part = g->parts[i];
        const int64_t rows = part->rows;
        tern_code code = slice_part(part, outputs, from, st);
        end_part(part, code, st);
        from += rows;
    }
}

static void run_alone(tn_batch_queue *queue)
{
    atomic_store_explicit(&queue->of->stats.alone, true, memory_order_relaxed);
}

static void count_run(tn_batch_stats *all, tn_batch_signature_stats *own, uint32_t n, int64_t rows,
                      int64_t extra)
{
    atomic_fetch_add_explicit(&own->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&own->calls, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&own->rows, (uint64_t)rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&own->padding, (uint64_t)extra, memory_order_relaxed);
    tn_batch_sizes_record(&own->calls_per_batch, n);
    atomic_fetch_add_explicit(&all->wrapped_run_count, 1, memory_order_relaxed);
    tn_batch_sizes_record(&all->processed_batch_size, rows + extra);
    tn_batch_padding_record(all, rows + extra, extra);
}

void tn_batch_count_one(tn_schedule *s, const tn_call *call)
{
    count_run(&s->batch_stats, &call->batch->of->stats, 1, call->rows, 0);
}

/* Several calls, or one that is cut or filled up. TERN_OK: all of them are ended. */
static tern_code run_several(group *g, int64_t rows, int64_t extra, int64_t now, tern_status *st)
{
    const tn_call *first = g->parts[0]->call;
    const uint32_t n_inputs = first->n_inputs;
    const uint32_t n_outputs = first->n_outputs;
    tn_arena *arena = &g->runner->arena;
    tern_tensor *inputs = tn_arena_zalloc(arena, n_inputs * sizeof *inputs);
    tern_tensor *outputs = tn_arena_zalloc(arena, n_outputs * sizeof *outputs);
    tern_code code = TERN_OK;
    if (inputs == NULL || outputs == NULL)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a batch of %u calls", g->n);
    if (code == TERN_OK)
        code = join_inputs(g, extra, inputs, st);
    bool joined = code == TERN_OK;
    if (code == TERN_OK)
        code = run_joined(g, inputs, outputs, now, st);
    if (code == TERN_OK) {
        code = check_outputs(first->signature, g->queue->output_ids, n_outputs, outputs, rows + extra, st);
        if (code != TERN_OK && g->queue->of->of->manner == TN_BATCHING_AUTO)
            run_alone(g->queue);
    }
    g->runner->failed_run |= joined && code != TERN_OK && g->n > 1;
    for (uint32_t i = 0; inputs != NULL && i < n_inputs; i++)
        tn_tensor_release(&inputs[i]);
    if (code == TERN_OK)
        end_parts(g, outputs, st);
    for (uint32_t i = 0; outputs != NULL && i < n_outputs; i++)
        tn_tensor_release(&outputs[i]);
    return code;
}

/* A batch failed in the engine: was it for some of its calls, or for being a batch? */
static void judge(tn_batch_queue *queue, uint32_t failed)
{
    if (failed > 0)
        return;
    if (atomic_fetch_add_explicit(&queue->strikes, 1, memory_order_relaxed) + 1 >= STRIKES)
        run_alone(queue);
}

/* Returns how many calls failed. Recursion: log2 of the parts deep. */
static uint32_t run_group(group *g)
{
    tern_status *st = &g->runner->status;
    tn_batch_queue *queue = g->queue;
    int64_t now = tn_now_ns();
    drop_unwanted(g, now);
    if (g->n == 0)
        return 0;
    const int64_t rows = rows_of(g);
    const int64_t extra = rows > 0 ? tn_batch_params_round(&queue->of->of->params, rows) - rows : 0;
    count_run(&g->runner->schedule->batch_stats, &queue->of->stats, g->n, rows, extra);
    tn_batch_part *first = g->parts[0];
    if (g->n == 1 && extra == 0 && first->split == NULL) {
        tern_code code = run_one(g, now);
        end_part(first, code, NULL);
        return code != TERN_OK;
    }
    tern_code code = run_several(g, rows, extra, now, st);
    if (code == TERN_OK) {
        if (g->n > 1)
            atomic_store_explicit(&queue->strikes, 0, memory_order_relaxed);
        return 0;
    }
    if (g->n == 1) {
        end_part(first, code, st);
        return 1;
    }
    atomic_fetch_add_explicit(&queue->of->stats.retries, 2, memory_order_relaxed);
    const uint32_t half = g->n / 2;
    group halves[2] = {*g, *g};
    halves[0].n = half;
    halves[1].parts += half;
    halves[1].n -= half;
    uint32_t failed = run_group(&halves[0]);
    failed += run_group(&halves[1]);
    return failed;
}

void tn_batch_run(tn_batch_runner *runner, tn_batch_queue *queue, tn_batch_part **parts, uint32_t n,
                  bool small)
{
    tn_batch_stats *all = &runner->schedule->batch_stats;
    tn_batch_signature_stats *own = &queue->of->stats;
    group g = {.runner = runner, .queue = queue, .parts = parts, .n = n, .small = small};
    const int64_t now = tn_now_ns();
    /* The calls keep their version, and so the queue; but not beyond their ends. */
    tn_version *v = parts[0]->call->version;
    tn_version_retain(v);
    for (uint32_t i = 0; i < n; i++) {
        tn_call *call = parts[i]->call;
        const int64_t since = call->decoded_ns != 0 ? call->decoded_ns : call->queued_ns;
        if (parts[i]->split == NULL)
            call->stage_ns[TN_STAGE_QUEUE] += now - since;
        else
            begin_split(parts[i], now, now - since);
        tn_batch_latency_record(&all->queuing_latency, (now - since) / TN_NS_PER_US);
        atomic_fetch_add_explicit(&own->wait_ns, (uint64_t)(now - since), memory_order_relaxed);
    }
    runner->failed_run = false;
    uint32_t failed = run_group(&g);
    if (runner->failed_run)
        judge(queue, failed);
    tn_arena_reset(&runner->arena);
    tn_version_release(v);
}
