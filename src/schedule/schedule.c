/*
 * schedule/schedule.c - executors: the threads that run models, and the queue before them.
 *
 * One bounded queue, first in first out, any number of executors. Calls that were measured to be small run
 * where they are submitted; those that turn out to be for a dear signature are queued when they are decoded.
 * A call is run by one function, perform(), wherever it runs: start checks, decode, run, encode, done, one
 * thread at a time, so that nothing of a call needs a lock but the pointer that tn_call_cancel() looks at.
 * Warm path: no heap; the queue links calls through their own task, and tensors' arrays come from the call's
 * arena.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cores.h"
#include "base/thread.h"
#include "schedule/cost.h"
#include "schedule/inside.h"

#define BATCHING_ARENA_MAX (1u << 20)

static bool was_cancelled(tn_call *call)
{
    return atomic_load_explicit(&call->cancelled, memory_order_acquire);
}

tern_code tn_call_wanted(tn_call *call, int64_t now, const char *before)
{
    if (was_cancelled(call))
        return tern_fail(&call->status, TERN_CANCELLED, "Call was cancelled before its %s", before);
    if (call->deadline_ns != 0 && now >= call->deadline_ns)
        return tern_fail(&call->status, TERN_DEADLINE_EXCEEDED, "Deadline exceeded before the call's %s",
                         before);
    return TERN_OK;
}

tern_code tn_call_run(tn_call *call, bool small, int64_t *now)
{
    int64_t timeout_us = 0;
    if (call->deadline_ns != 0) {
        int64_t left = (call->deadline_ns - *now) / TN_NS_PER_US;
        timeout_us = left > 0 ? left : 1;
    }
    call->at_ns = *now;
    tern_code code = tn_call_run_now(call, small ? TERN_RUN_CALLER_THREAD : 0, timeout_us, &call->status);
    const int64_t end = tn_call_step_end(call, *now);
    call->stage_ns[TN_STAGE_RUN] = end - *now;
    *now = end;
    return code;
}

/* The cost of running calls as this one, whose signature is known; NULL: it is not measured. */
static tn_cost *run_cost(const tn_call *call)
{
    size_t i = (size_t)(call->signature - call->version->signatures->signatures);
    return call->n_more == 0 && i < TN_COST_SIGNATURES ? &call->version->run_cost[i] : NULL;
}

/* Whether the rest of a call that took so long already is measured to stay below the limit. */
static bool run_is_small(const tn_schedule *s, const tn_call *call, int64_t taken_ns)
{
    const tn_cost *cost = run_cost(call);
    return cost != NULL && tn_cost_is_small(cost, call->steps->kind, tn_cost_class(call->body_bytes),
                                            s->limits.inline_run_us - taken_ns / TN_NS_PER_US);
}

/*
 * cost: NULL, or what ns are noted in. Those of a failure only where it was dear: it did not do all the work.
 */
static void record_cost(const tn_schedule *s, const tn_call *call, tern_code code, tn_cost *cost, int64_t ns,
                        bool interrupted)
{
    if (cost != NULL && (code == TERN_OK || ns >= s->limits.inline_run_us * TN_NS_PER_US))
        tn_cost_record(cost, call->steps->kind, tn_cost_class(call->body_bytes), ns, s->limits.inline_run_us,
                       interrupted);
}

/* Queues the call; false: it could not be, and the status says why. */
static bool enqueue(tn_schedule *s, tn_call *call)
{
    if (tn_taskq_push(&s->queue, &call->task, NULL))
        return true;
    if (!atomic_load_explicit(&s->closed, memory_order_acquire))
        (void)tern_fail(&call->status, TERN_RESOURCE_EXHAUSTED,
                        "Too many requests: %zu calls wait for an executor already (--max_queue)",
                        s->queue.max);
    else
        (void)tern_fail(&call->status, TERN_UNAVAILABLE, "The server is shutting down");
    return false;
}

static tern_code decode(tn_call *call, int64_t *now)
{
    tern_code code = call->steps->decode(call, &call->status);
    *now = tn_call_step_end(call, *now);
    if (code == TERN_OK && !call->skip_run)
        code = tn_call_wanted(call, *now, "run");
    return code;
}

void tn_call_ran(tn_call *call, tern_code code)
{
    if (code == TERN_OK && call->steps->encode != NULL) {
        call->at_ns = tn_now_ns();
        code = call->steps->encode(call, &call->status);
    }
    /* A step that returned a code is believed, whatever it left in the status. */
    call->status.code = code;
    call->steps->done(call);
}

/* What is left of a decoded call; taken_ns: what it took already. */
static void run_and_end(tn_schedule *s, tn_call *call, bool small, int64_t taken_ns, int64_t now)
{
    const int64_t run_start = now;
    tern_code code = tn_call_run(call, small, &now);
    if (code == TERN_OK && call->steps->encode != NULL) {
        code = call->steps->encode(call, &call->status);
        now = tn_call_step_end(call, now);
    }
    const int64_t ns = taken_ns + now - run_start;
    const bool interrupted = ns >= s->limits.inline_run_us * TN_NS_PER_US && tn_cost_interrupted(ns);
    record_cost(s, call, code, run_cost(call), now - run_start, interrupted);
    record_cost(s, call, code, &call->version->cost, ns, interrupted);
    if (call->batch != NULL)
        tn_batch_count_one(s, call);
    call->status.code = code;
    call->steps->done(call);
}

void tn_call_run_here(tn_schedule *s, tn_call *call)
{
    run_and_end(s, call, true, call->stage_ns[TN_STAGE_DECODE], tn_now_ns());
}

void tn_call_queue(tn_schedule *s, tn_call *call)
{
    if (!enqueue(s, call))
        call->steps->done(call);
}

bool tn_call_is_small(const tn_call *call, int64_t limit_us)
{
    const tn_cost *cost = run_cost(call);
    return cost != NULL &&
           tn_cost_is_small(cost, call->steps->kind, tn_cost_class(call->body_bytes), limit_us);
}

/*
 * Where a call is performed: on an executor, which has a runner, or on an event loop, which may have a turn.
 */
typedef struct place {
    tn_batch_runner *runner;
    tn_turn *turn;
} place;

/* A decoded call of a version that is batched. false: it is to be run by itself. */
static bool to_batch(tn_schedule *s, tn_call *call, place at, int64_t start, int64_t now)
{
    const bool serving = s->batching.manner == TN_BATCHING_SERVING;
    tern_code code = tn_batch_find(call, &call->status);
    if (code == TERN_OK && call->batch == NULL)
        return false;
    call->decoded_ns = now;
    if (code == TERN_OK && serving) {
        /* What it may cost an event loop is its decoding. */
        record_cost(s, call, TERN_OK, &call->version->cost, now - start, false);
        code = tn_batcher_put(s, call, &call->status);
        if (code == TERN_OK)
            return true;
    }
    if (code != TERN_OK) {
        tn_call_failed(call, code);
        return true;
    }
    if (at.turn != NULL) {
        tn_turn_add(at.turn, call);
        return true;
    }
    return at.runner != NULL &&
           tn_batch_gather(at.runner, call, tn_call_is_small(call, s->limits.inline_run_us));
}

/*
 * Runs the call to its end and gives it back; or leaves it to a batch; or, on an event loop, to the executors
 * when it is decoded and turns out to be dear.
 */
static void perform(tn_schedule *s, tn_call *call, place at, const int64_t start)
{
    const tn_call_steps *steps = call->steps;
    const int64_t waited = start - (call->decoded_ns != 0 ? call->decoded_ns : call->queued_ns);
    int64_t now = start;
    call->stage_ns[TN_STAGE_QUEUE] += waited > 0 ? waited : 1; /* who did not wait is counted, too */
    call->at_ns = start;
    tern_code code = tn_call_wanted(call, now, "start");
    if (code == TERN_OK && steps->decode != NULL && call->decoded_ns == 0)
        code = decode(call, &now);
    if (code != TERN_OK && !call->skip_run)
        record_cost(s, call, code, &call->version->cost, now - start, false);
    if (code != TERN_OK || call->skip_run) {
        tn_call_ran(call, code);
        return;
    }
    if (call->version->batching != NULL && to_batch(s, call, at, start, now))
        return;
    bool small = run_is_small(s, call, now - start);
    if (at.runner == NULL && !small) {
        call->decoded_ns = now;
        tn_call_queue(s, call);
        return;
    }
    run_and_end(s, call, small, now - start, now);
}

static void *executor(void *arg)
{
    tn_schedule *s = arg;
    tn_task *task;
    tn_batch_runner runner;
    tn_batch_runner_init(&runner, s);
    while ((task = tn_taskq_pop(&s->queue)) != NULL) {
        atomic_fetch_add_explicit(&s->running, 1, memory_order_relaxed);
        perform(s, TN_CONTAINER(task, tn_call, task), (place){.runner = &runner}, tn_now_ns());
        atomic_fetch_sub_explicit(&s->running, 1, memory_order_relaxed);
    }
    tn_batch_runner_free(&runner);
    return NULL;
}

/* Whether the call, as far as it is known before it is decoded, is measured to be small. */
static bool begins_small(const tn_schedule *s, const tn_call *call)
{
    if (call->steps->decode == NULL) {
        /* There it goes into its queue, and that is all. */
        if (call->version->batching != NULL && s->batching.manner == TN_BATCHING_SERVING)
            return true;
        return (int64_t)call->body_bytes <= s->limits.inline_body_bytes && run_is_small(s, call, 0);
    }
    return (int64_t)call->body_bytes <= s->limits.inline_body_bytes &&
           tn_cost_is_small(&call->version->cost, call->steps->kind, tn_cost_class(call->body_bytes),
                            s->limits.inline_run_us);
}

static void submit(tn_schedule *s, tn_turn *turn, tn_call *call)
{
    call->queued_ns = tn_now_ns();
    if (begins_small(s, call)) {
        perform(s, call, (place){.turn = turn}, call->queued_ns);
        return;
    }
    /* So that an executor sees in the queue what it may take along. No error: that is for SERVING. */
    if (call->version->batching != NULL && call->steps->decode == NULL)
        (void)!tn_batch_find(call, &call->status);
    tn_call_queue(s, call);
}

void tn_schedule_submit(tn_schedule *s, tn_call *call)
{
    submit(s, NULL, call);
}

void tn_turn_submit(tn_turn *turn, tn_call *call)
{
    submit(tn_turn_schedule(turn), turn, call);
}

bool tn_schedule_is_idle(tn_schedule *s)
{
    return tn_taskq_length(&s->queue) == 0 &&
           atomic_load_explicit(&s->running, memory_order_relaxed) < s->n_threads;
}

void tn_schedule_queue(tn_schedule *s, tn_call *call)
{
    call->queued_ns = tn_now_ns();
    tn_call_queue(s, call);
}

static tern_code start_threads(tn_schedule *s, uint32_t n, tern_status *st)
{
    int error = 0;
    while (s->n_threads < n && error == 0) {
        char name[16];
        snprintf(name, sizeof name, "tern-run-%u", s->n_threads % 1000);
        error = tn_thread_start(&s->threads[s->n_threads], name, executor, s);
        s->n_threads += error == 0;
    }
    if (error != 0)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start executor thread %u of %u: %s",
                         s->n_threads + 1, n, strerror(error));
    return TERN_OK;
}

static tern_code copy_batching(tn_schedule *s, const tn_batch_options *options, tern_status *st)
{
    tn_batch_params *p = &s->batching.params;
    s->batching = *options;
    int64_t *allowed = tn_arena_array(&s->arena, p->n_allowed, sizeof *allowed);
    p->thread_pool_name = tn_arena_dup(&s->arena, options->params.thread_pool_name);
    if (allowed == NULL || p->thread_pool_name.ptr == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for batching parameters");
    if (p->n_allowed > 0)
        memcpy(allowed, options->params.allowed, p->n_allowed * sizeof *allowed);
    p->allowed = allowed;
    s->batch_stats.thread_pool_name = p->thread_pool_name;
    return TERN_OK;
}

tern_code tn_schedule_new(const tn_schedule_options *options, tn_schedule **out, tern_status *st)
{
    *out = NULL;
    uint32_t n = options->executors > 0 ? (uint32_t)options->executors : tn_cores();
    if (n < 2 && options->executors <= 0)
        n = 2;
    tn_schedule *s = calloc(1, sizeof *s + n * sizeof s->threads[0]);
    if (s == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a scheduler of %u executors", n);
    s->limits = options->limits;
    tn_taskq_init(&s->queue, s->limits.max_queue > 0 ? (size_t)s->limits.max_queue : 1);
    tn_arena_init(&s->arena, BATCHING_ARENA_MAX);
    tern_code code = copy_batching(s, &options->batching, st);
    if (code == TERN_OK)
        code = tn_batcher_start(s, st);
    if (code == TERN_OK)
        code = start_threads(s, n, st);
    if (code != TERN_OK) {
        tn_schedule_free(s);
        return code;
    }
    *out = s;
    return TERN_OK;
}

size_t tn_schedule_queued(tn_schedule *s)
{
    return tn_taskq_length(&s->queue) + atomic_load_explicit(&s->batch_stats.waiting, memory_order_acquire);
}

size_t tn_schedule_running(tn_schedule *s)
{
    return atomic_load_explicit(&s->running, memory_order_relaxed) +
           atomic_load_explicit(&s->batch_stats.running, memory_order_relaxed);
}

const tn_batch_stats *tn_schedule_batch_stats(const tn_schedule *s)
{
    return &s->batch_stats;
}

void tn_schedule_hurry(tn_schedule *s)
{
    tn_batcher_close(s);
}

void tn_schedule_close(tn_schedule *s)
{
    atomic_store_explicit(&s->closed, true, memory_order_release);
    tn_taskq_close(&s->queue);
    tn_batcher_close(s);
}

void tn_schedule_leave(tn_schedule *s)
{
    for (uint32_t i = 0; s != NULL && i < s->n_threads; i++)
        pthread_detach(s->threads[i]);
    if (s != NULL)
        tn_batcher_leave(s);
}

void tn_schedule_end(tn_schedule *s)
{
    if (s == NULL)
        return;
    tn_schedule_close(s);
    while (s->n_threads > 0)
        pthread_join(s->threads[--s->n_threads], NULL);
    /* After them: they still bring calls. */
    tn_batcher_end(s);
}

void tn_schedule_free(tn_schedule *s)
{
    if (s == NULL)
        return;
    tn_schedule_end(s);
    tn_batcher_free(s);
    tn_taskq_destroy(&s->queue);
    tn_arena_free(&s->arena);
    free(s);
}
