/*
 * test_schedule.c - calls through the scheduler: order, deadlines, cancellation, a full queue, inline runs,
 * drain, statistics, and no heap on the warm path. The engine is a table of functions in this file, so that a
 * run does exactly what a test wants.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/cores.h"
#include "model/life.h"
#include "schedule/call.h"
#include "schedule/cost.h"

/* ---- Allocations, counted ---- */

static atomic_long allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(p, size);
}
#else
#define COUNTS_ALLOCATIONS 0
#endif

/* ---- An engine and a version of the test's own ---- */

struct tern_engine_model {
    atomic_int runs;
    atomic_long sleep_us;
    atomic_bool blocked; /* runs wait until it is false */
    atomic_bool cancel;
    atomic_int entered;
    atomic_uint flags;
    atomic_long timeout_us;
    tern_code fail;
};

static void pause_us(long us)
{
    nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

static tern_code fake_run(tern_engine_model *model, const tern_run *run, tern_status *st)
{
    atomic_fetch_add(&model->entered, 1);
    atomic_store(&model->flags, run->flags);
    atomic_store(&model->timeout_us, run->timeout_us);
    while (atomic_load(&model->blocked)) {
        if (atomic_load(&model->cancel))
            return tern_fail(st, TERN_CANCELLED, "stopped by cancel");
        pause_us(200);
    }
    long sleep_us = atomic_load(&model->sleep_us);
    if (sleep_us > 0)
        pause_us(sleep_us);
    atomic_fetch_add(&model->runs, 1);
    if (model->fail != TERN_OK)
        return tern_fail(st, model->fail, "run failed");
    int64_t *dims = run->alloc(run->alloc_context, sizeof *dims);
    if (dims == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
    dims[0] = 0;
    for (uint32_t i = 0; i < run->n_outputs; i++)
        run->outputs[i] = (tern_tensor){.dtype = TERN_FLOAT, .rank = 1, .dims = dims};
    return TERN_OK;
}

static void fake_cancel(tern_engine_model *model, const tern_run *run)
{
    assert_non_null(run);
    atomic_store(&model->cancel, true);
}

static const tern_engine_api with_cancel = {.struct_size = sizeof with_cancel,
                                            .abi_version = TERN_ENGINE_ABI,
                                            .run = fake_run,
                                            .cancel = fake_cancel};
static const tern_engine_api without_cancel = {
    .struct_size = sizeof without_cancel, .abi_version = TERN_ENGINE_ABI, .run = fake_run};
static const tn_engine engines[] = {{&without_cancel, NULL}, {&with_cancel, NULL}};

static const tern_io io = {.name = TN_STR_INIT("x"), .dtype = TERN_FLOAT, .rank = -1};
/* One more than is measured. */
static const tern_signature signatures[TN_COST_SIGNATURES + 1] = {
    [0 ... TN_COST_SIGNATURES] = {.inputs = &io, .n_inputs = 1, .outputs = &io, .n_outputs = 1}};
static const tern_signature_set set = {.signatures = signatures, .n_signatures = TN_COST_SIGNATURES + 1};

typedef struct world {
    tern_engine_model model;
    tn_box *box;
    tn_version *version;
    tn_schedule *schedule;
} world;

static world *make(int32_t executors, bool can_cancel, int64_t max_queue)
{
    world *w = calloc(1, sizeof *w);
    w->box = aligned_alloc(64, sizeof *w->box);
    memset(w->box, 0, sizeof *w->box);
    atomic_init(&w->box->refs, 1);
    w->version = &w->box->version;
    w->version->engine = &engines[can_cancel];
    w->version->loaded = &w->model;
    w->version->signatures = &set;
    tn_schedule_options options = {.executors = executors, .limits = tn_limits_default()};
    if (max_queue > 0)
        options.limits.max_queue = max_queue;
    tern_status st;
    assert_int_equal(tn_schedule_new(&options, &w->schedule, &st), TERN_OK);
    return w;
}

static void unmake(world *w)
{
    tn_schedule_free(w->schedule);
    assert_int_equal(atomic_load(&w->box->refs), 1);
    tn_version_stats_free(&w->version->stats);
    free(w->box);
    free(w);
}

/* ---- Calls ---- */

typedef struct probe {
    tn_call call;
    world *world;
    atomic_int done; /* how often */
    int decoded, encoded;
    pthread_t threads[3]; /* of decode, encode, done */
    tern_code decode_code, encode_code;
    bool late; /* its deadline passes while it is decoded */
    bool skip;
    int order;
    int signature;
} probe;

static atomic_int next_order;

static tern_code decode(tn_call *call, tern_status *st)
{
    probe *p = TN_CONTAINER(call, probe, call);
    p->decoded++;
    p->threads[0] = pthread_self();
    if (p->late)
        call->deadline_ns = tn_now_ns();
    if (p->decode_code != TERN_OK)
        return tern_fail(st, p->decode_code, "decode failed");
    call->signature = &signatures[p->signature];
    call->skip_run = p->skip;
    call->stage_ns[TN_STAGE_DECODE] = 1;
    return p->skip ? TERN_OK : tn_call_all_outputs(call, st);
}

static tern_code encode(tn_call *call, tern_status *st)
{
    probe *p = TN_CONTAINER(call, probe, call);
    p->encoded++;
    p->threads[1] = pthread_self();
    call->stage_ns[TN_STAGE_ENCODE] = 1;
    return p->encode_code != TERN_OK ? tern_fail(st, p->encode_code, "encode failed") : TERN_OK;
}

static void done(tn_call *call)
{
    probe *p = TN_CONTAINER(call, probe, call);
    p->threads[2] = pthread_self();
    p->order = atomic_fetch_add(&next_order, 1);
    atomic_fetch_add(&p->done, 1);
}

static const tn_call_steps steps = {"test", 0, decode, encode, done};

static void begin(probe *p, world *w, size_t body)
{
    p->world = w;
    tn_call_init(&p->call, &steps, 1 << 20);
    atomic_store(&p->done, 0);
    p->decoded = p->encoded = 0;
    p->call.body_bytes = body;
    tn_version_retain(w->version);
    p->call.version = w->version;
}

static void await(probe *p)
{
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    while (atomic_load(&p->done) == 0) {
        assert_true(tn_now_ns() < end);
        pause_us(100);
    }
}

static void end(probe *p)
{
    await(p);
    assert_int_equal(atomic_load(&p->done), 1);
    tn_call_finish(&p->call);
}

static void discard(probe *p)
{
    tn_arena_free(&p->call.arena);
}

/* One call from beginning to end; returns its code. */
static tern_code once(probe *p, world *w, size_t body)
{
    begin(p, w, body);
    tn_schedule_submit(w->schedule, &p->call);
    await(p);
    tern_code code = p->call.status.code;
    end(p);
    return code;
}

static uint64_t requests(const world *w, tern_code code)
{
    return tn_stats_count(&w->version->stats, code);
}

/* ---- Tests ---- */

static void test_order(void **state)
{
    enum { N = 200 };
    world *w = make(1, false, 0);
    atomic_store(&w->model.sleep_us, 300);
    atomic_store(&w->model.blocked, true);
    probe *p = calloc(N, sizeof *p);
    atomic_store(&next_order, 0);
    for (int i = 0; i < N; i++) {
        begin(&p[i], w, 100);
        tn_schedule_submit(w->schedule, &p[i].call);
    }
    while (atomic_load(&w->model.entered) == 0)
        pause_us(100);
    assert_int_equal(tn_schedule_queued(w->schedule), N - 1);
    assert_int_equal(tn_schedule_running(w->schedule), 1);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < N; i++) {
        await(&p[i]);
        assert_int_equal(p[i].order, i);
        assert_int_equal(p[i].call.status.code, TERN_OK);
        assert_int_equal(p[i].decoded, 1);
        assert_int_equal(p[i].encoded, 1);
        assert_true(pthread_equal(p[i].threads[0], p[i].threads[1]));
        assert_true(pthread_equal(p[i].threads[0], p[i].threads[2]));
        assert_false(pthread_equal(p[i].threads[0], pthread_self()));
        assert_true(p[i].call.stage_ns[TN_STAGE_RUN] >= 300 * TN_NS_PER_US);
        assert_true(i == 0 || p[i].call.stage_ns[TN_STAGE_QUEUE] > 0);
        end(&p[i]);
        discard(&p[i]);
    }
    assert_int_equal(requests(w, TERN_OK), N);
    assert_int_equal(tn_stats_stage_count(&w->version->stats, TN_STAGE_RUN), N);
    assert_int_equal(tn_stats_stage_count(&w->version->stats, TN_STAGE_DECODE), N);
    assert_int_equal(tn_stats_stage_count(&w->version->stats, TN_STAGE_WRITE), 0);
    assert_int_equal(tn_stats_stage_count(&w->version->stats, TN_STAGES), N);
    free(p);
    unmake(w);
}

static void test_full_queue(void **state)
{
    world *w = make(1, false, 3);
    atomic_store(&w->model.blocked, true);
    probe p[6] = {0};
    begin(&p[0], w, 1);
    tn_schedule_submit(w->schedule, &p[0].call);
    while (atomic_load(&w->model.entered) == 0)
        pause_us(100);
    for (int i = 1; i < 6; i++) {
        begin(&p[i], w, 1);
        tn_schedule_submit(w->schedule, &p[i].call);
    }
    for (int i = 4; i < 6; i++) {
        assert_int_equal(atomic_load(&p[i].done), 1);
        assert_true(pthread_equal(p[i].threads[2], pthread_self()));
        assert_int_equal(p[i].call.status.code, TERN_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(p[i].call.status.message, "3 calls wait for an executor"));
        assert_int_equal(p[i].decoded, 0);
    }
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 6; i++) {
        end(&p[i]);
        discard(&p[i]);
    }
    assert_int_equal(atomic_load(&w->model.runs), 4);
    assert_int_equal(requests(w, TERN_RESOURCE_EXHAUSTED), 2);
    unmake(w);
}

static void test_deadlines(void **state)
{
    world *w = make(1, false, 0);
    probe p = {0};
    begin(&p, w, 1);
    p.call.deadline_ns = tn_now_ns() - 1;
    tn_schedule_submit(w->schedule, &p.call);
    await(&p);
    assert_int_equal(p.call.status.code, TERN_DEADLINE_EXCEEDED);
    assert_int_equal(p.decoded, 0);
    end(&p);
    /* Passes while the document is decoded. */
    p.late = true;
    begin(&p, w, 1);
    tn_schedule_submit(w->schedule, &p.call);
    await(&p);
    assert_int_equal(p.call.status.code, TERN_DEADLINE_EXCEEDED);
    assert_string_equal(p.call.status.message, "Deadline exceeded before the call's run");
    assert_int_equal(p.encoded, 0);
    end(&p);
    assert_int_equal(atomic_load(&w->model.runs), 0);
    /* In time: the engine hears how much is left. */
    p.late = false;
    begin(&p, w, 1);
    p.call.deadline_ns = tn_now_ns() + 10 * TN_NS_PER_S;
    tn_schedule_submit(w->schedule, &p.call);
    await(&p);
    assert_int_equal(p.call.status.code, TERN_OK);
    assert_in_range(atomic_load(&w->model.timeout_us), 5000000, 10000000);
    end(&p);
    assert_int_equal(once(&p, w, 1), TERN_OK);
    assert_int_equal(atomic_load(&w->model.timeout_us), 0);
    discard(&p);
    unmake(w);
}

static void test_cancelled_before_start(void **state)
{
    world *w = make(1, false, 0);
    atomic_store(&w->model.blocked, true);
    probe p[2] = {0};
    for (int i = 0; i < 2; i++) {
        begin(&p[i], w, 1);
        tn_schedule_submit(w->schedule, &p[i].call);
    }
    while (atomic_load(&w->model.entered) == 0)
        pause_us(100);
    tn_call_cancel(&p[0].call); /* runs: this engine cannot stop it */
    tn_call_cancel(&p[1].call);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 2; i++)
        await(&p[i]);
    assert_int_equal(p[0].call.status.code, TERN_OK);
    assert_int_equal(p[1].call.status.code, TERN_CANCELLED);
    assert_int_equal(p[1].decoded, 0);
    for (int i = 0; i < 2; i++) {
        end(&p[i]);
        discard(&p[i]);
    }
    assert_int_equal(atomic_load(&w->model.runs), 1);
    unmake(w);
}

static void test_cancelled_while_running(void **state)
{
    world *w = make(1, true, 0);
    atomic_store(&w->model.blocked, true);
    probe p = {0};
    begin(&p, w, 1);
    tn_schedule_submit(w->schedule, &p.call);
    while (atomic_load(&w->model.entered) == 0)
        pause_us(100);
    tn_call_cancel(&p.call);
    await(&p);
    assert_int_equal(p.call.status.code, TERN_CANCELLED);
    assert_string_equal(p.call.status.message, "stopped by cancel");
    assert_int_equal(p.encoded, 0);
    tn_call_cancel(&p.call); /* too late: nothing */
    end(&p);
    discard(&p);
    unmake(w);
}

static void test_errors_end_a_call(void **state)
{
    world *w = make(1, false, 0);
    probe p = {.decode_code = TERN_INVALID_ARGUMENT};
    begin(&p, w, 1);
    tn_schedule_submit(w->schedule, &p.call);
    await(&p);
    assert_int_equal(p.call.status.code, TERN_INVALID_ARGUMENT);
    assert_string_equal(p.call.status.message, "decode failed");
    end(&p);
    assert_int_equal(atomic_load(&w->model.runs), 0);
    p.decode_code = TERN_OK;
    w->model.fail = TERN_ABORTED;
    assert_int_equal(once(&p, w, 1), TERN_ABORTED);
    assert_int_equal(p.encoded, 0);
    w->model.fail = TERN_OK;
    p.encode_code = TERN_INTERNAL;
    assert_int_equal(once(&p, w, 1), TERN_INTERNAL);
    p.encode_code = TERN_OK;
    p.skip = true;
    int before = atomic_load(&w->model.runs);
    assert_int_equal(once(&p, w, 1), TERN_OK);
    assert_int_equal(p.encoded, 1);
    assert_int_equal(atomic_load(&w->model.runs), before);
    discard(&p);
    unmake(w);
}

static void test_inline(void **state)
{
    world *w = make(2, false, 0);
    probe p = {0};
    /* Not measured yet: an executor, in the engine's own way. */
    assert_int_equal(once(&p, w, 1000), TERN_OK);
    assert_false(pthread_equal(p.threads[2], pthread_self()));
    assert_int_equal(atomic_load(&w->model.flags), 0);
    /*
     * Small by now (a run of this engine does nothing), though a busy machine may need a few tries to see it.
     */
    int tries = 0;
    do
        assert_int_equal(once(&p, w, 1000), TERN_OK);
    while (!pthread_equal(p.threads[2], pthread_self()) && ++tries < 2000);
    assert_true(pthread_equal(p.threads[2], pthread_self()));
    assert_true(pthread_equal(p.threads[0], pthread_self()));
    assert_int_equal(atomic_load(&w->model.flags), TERN_RUN_CALLER_THREAD);
    /* Another size, another class. */
    assert_int_equal(once(&p, w, 5000), TERN_OK);
    assert_false(pthread_equal(p.threads[2], pthread_self()));
    /* A large body never, however cheap. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(once(&p, w, 70000), TERN_OK);
        assert_false(pthread_equal(p.threads[2], pthread_self()));
    }
    /* A second slow run at the latest sends the class back to the executors. It is forgiven in the end. */
    atomic_store(&w->model.sleep_us, 5000);
    for (int i = 0; i < 2; i++)
        assert_int_equal(once(&p, w, 1000), TERN_OK);
    atomic_store(&w->model.sleep_us, 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(once(&p, w, 1000), TERN_OK);
        assert_false(pthread_equal(p.threads[2], pthread_self()));
    }
    tries = 0;
    do
        assert_int_equal(once(&p, w, 1000), TERN_OK);
    while (!pthread_equal(p.threads[2], pthread_self()) && ++tries < 2000);
    assert_true(pthread_equal(p.threads[2], pthread_self()));
    discard(&p);
    unmake(w);
}

/* Calls of signature 0 until one of them runs here. */
static void warm_up(probe *p, world *w)
{
    int tries = 0;
    p->signature = 0;
    atomic_store(&w->model.sleep_us, 0);
    w->model.fail = TERN_OK;
    do
        assert_int_equal(once(p, w, 1000), TERN_OK);
    while (!pthread_equal(p->threads[2], pthread_self()) && ++tries < 2000);
    assert_true(pthread_equal(p->threads[2], pthread_self()));
}

/* What a cheap signature taught does not count for another one of the same version. */
static void test_inline_by_signature(void **state)
{
    world *w = make(2, false, 0);
    probe p = {0};
    for (int i = 0; i < 5; i++) {
        warm_up(&p, w);
        p.signature = i < 4 ? 1 : TN_COST_SIGNATURES;
        atomic_store(&w->model.sleep_us, 5000);
        /* A dear run that fails teaches, too. */
        w->model.fail = i % 2 == 1 ? TERN_ABORTED : TERN_OK;
        assert_int_equal(once(&p, w, 1000), w->model.fail);
        assert_true(pthread_equal(p.threads[0], pthread_self()));
        assert_int_equal(p.decoded, 1);
        assert_false(pthread_equal(p.threads[2], pthread_self()));
    }
    discard(&p);
    unmake(w);
}

static void test_no_heap_when_warm(void **state)
{
    world *w = make(1, false, 0);
    probe p = {0};
    for (int i = 0; i < 20; i++)
        assert_int_equal(once(&p, w, 1000), TERN_OK);
    long before = atomic_load(&allocations);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(once(&p, w, 1000), TERN_OK); /* inline by now */
        (void)once(&p, w, 100000);                    /* never inline */
    }
    if (COUNTS_ALLOCATIONS)
        assert_int_equal(atomic_load(&allocations) - before, 0);
    discard(&p);
    unmake(w);
}

static void test_drain(void **state)
{
    enum { N = 50 };
    world *w = make(2, false, 0);
    atomic_store(&w->model.sleep_us, 500);
    probe *p = calloc(N + 1, sizeof *p);
    for (int i = 0; i < N; i++) {
        begin(&p[i], w, 1);
        tn_schedule_submit(w->schedule, &p[i].call);
    }
    tn_schedule_close(w->schedule);
    begin(&p[N], w, 1);
    tn_schedule_submit(w->schedule, &p[N].call);
    assert_int_equal(atomic_load(&p[N].done), 1);
    assert_int_equal(p[N].call.status.code, TERN_UNAVAILABLE);
    assert_string_equal(p[N].call.status.message, "The server is shutting down");
    tn_schedule_free(w->schedule);
    w->schedule = NULL;
    assert_int_equal(atomic_load(&w->model.runs), N);
    for (int i = 0; i <= N; i++) {
        assert_int_equal(atomic_load(&p[i].done), 1);
        end(&p[i]);
        discard(&p[i]);
    }
    free(p);
    unmake(w);
}

/* ---- Many at once ---- */

enum { SUBMITTERS = 3, CALLS = 400 };

typedef struct submitter {
    world *world;
    probe *probes;
    unsigned seed;
} submitter;

static void *submit_many(void *arg)
{
    submitter *s = arg;
    for (int i = 0; i < CALLS; i++) {
        probe *p = &s->probes[i];
        s->seed = s->seed * 1103515245u + 12345u;
        unsigned dice = s->seed >> 16;
        begin(p, s->world, dice % 3 * 40000);
        if (dice % 7 == 0)
            p->call.deadline_ns = tn_now_ns() + 200 * TN_NS_PER_US;
        tn_schedule_submit(s->world->schedule, &p->call);
        if (dice % 5 == 0)
            tn_call_cancel(&p->call);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    world *w = make(3, true, 64);
    atomic_store(&w->model.sleep_us, 20);
    submitter s[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    for (int i = 0; i < SUBMITTERS; i++) {
        s[i] = (submitter){w, calloc(CALLS, sizeof *s[i].probes), (unsigned)i};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &s[i]), 0);
    }
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(threads[i], NULL);
    tn_schedule_free(w->schedule);
    w->schedule = NULL;
    int counts[TN_CODES] = {0};
    for (int i = 0; i < SUBMITTERS; i++) {
        for (int j = 0; j < CALLS; j++) {
            probe *p = &s[i].probes[j];
            assert_int_equal(atomic_load(&p->done), 1);
            counts[p->call.status.code]++;
            end(p);
            discard(p);
        }
        free(s[i].probes);
    }
    assert_int_equal(counts[TERN_OK] + counts[TERN_CANCELLED] + counts[TERN_DEADLINE_EXCEEDED] +
                         counts[TERN_RESOURCE_EXHAUSTED],
                     SUBMITTERS * CALLS);
    for (int code = 0; code < TN_CODES; code++)
        assert_int_equal(requests(w, (tern_code)code), counts[code]);
    unmake(w);
}

/* ---- Costs and cores ---- */

static void test_costs(void **state)
{
    assert_int_equal(tn_cost_class(0), 0);
    assert_int_equal(tn_cost_class(1), 1);
    assert_int_equal(tn_cost_class(1023), 10);
    assert_int_equal(tn_cost_class(1024), 11);
    assert_int_equal(tn_cost_class(SIZE_MAX), TN_COST_CLASSES - 1);
    tn_cost *c = calloc(1, sizeof *c);
    assert_false(tn_cost_is_small(c, 1, 5, 200));
    tn_cost_record(c, 1, 5, 0, 200, false);
    assert_true(tn_cost_is_small(c, 1, 5, 200));
    assert_false(tn_cost_is_small(c, 1, 6, 200));
    assert_false(tn_cost_is_small(c, 0, 5, 200));
    assert_false(tn_cost_is_small(c, 1, 5, 0)); /* 0: never */
    tn_cost_record(c, 1, 5, 199 * TN_NS_PER_US, 200, false);
    assert_true(tn_cost_is_small(c, 1, 5, 200));
    tn_cost_record(c, 1, 5, 3600 * TN_NS_PER_S, 200, true);
    assert_true(tn_cost_is_small(c, 1, 5, 200)); /* one is forgiven */
    tn_cost_record(c, 1, 5, 3600 * TN_NS_PER_S, 200, true);
    assert_false(tn_cost_is_small(c, 1, 5, 200));
    int needed = 0;
    while (!tn_cost_is_small(c, 1, 5, 200)) {
        tn_cost_record(c, 1, 5, 50 * TN_NS_PER_US, 200, false);
        needed++;
    }
    assert_in_range(needed, 20, 30);
    for (int i = 0; i < 1000; i++)
        tn_cost_record(c, 1, 5, 100, 200, false);
    assert_int_equal(atomic_load(&c->us_x16[1][5]), 1);
    for (int i = 0; i < 100; i++) /* one of 20: each is forgiven; one of 8 is not */
        tn_cost_record(c, 1, 5, i % 20 == 0 ? TN_NS_PER_S : TN_NS_PER_US, 200, true);
    assert_true(tn_cost_is_small(c, 1, 5, 200));
    for (int i = 0; i < 100; i++)
        tn_cost_record(c, 1, 5, i % 8 == 0 ? TN_NS_PER_S : TN_NS_PER_US, 200, true);
    assert_false(tn_cost_is_small(c, 1, 5, 200));
    for (int i = 0; i < 1000; i++)
        tn_cost_record(c, 1, 5, 100, 200, false);
    tn_cost_record(c, 1, 5, TN_NS_PER_S, 200, false); /* nobody took the processor away */
    assert_false(tn_cost_is_small(c, 1, 5, 200));
    free(c);
}

static void test_cores(void **state)
{
    assert_int_equal(tn_cores_of_quota(TN_STR("max 100000\n")), 0);
    assert_int_equal(tn_cores_of_quota(TN_STR("150000 100000\n")), 2);
    assert_int_equal(tn_cores_of_quota(TN_STR("200000 100000")), 2);
    assert_int_equal(tn_cores_of_quota(TN_STR("1000 100000\n")), 1);
    assert_int_equal(tn_cores_of_quota(TN_STR("18446744073709551615 1\n")), 4096);
    assert_int_equal(tn_cores_of_quota(TN_STR("100000 0\n")), 0);
    assert_int_equal(tn_cores_of_quota(TN_STR("")), 0);
    assert_int_equal(tn_cores_of_quota(TN_STR_NONE), 0);
    assert_int_equal(tn_cores_of_quota(TN_STR("100000")), 0);
    assert_int_equal(tn_cores_of_quota_v1(TN_STR("-1\n"), TN_STR("100000\n")), 0);
    assert_int_equal(tn_cores_of_quota_v1(TN_STR("100000\n"), TN_STR("100000\n")), 1);
    assert_int_equal(tn_cores_of_quota_v1(TN_STR("250000"), TN_STR("100000")), 3);
    assert_int_equal(tn_cores_of_quota_v1(TN_STR("5000\n"), TN_STR("0\n")), 0);
    assert_int_equal(tn_cores_of_quota_v1(TN_STR_NONE, TN_STR("100000\n")), 0);
    assert_int_equal(tn_cores_of_quota_v1(TN_STR("100000\n"), TN_STR("")), 0);
    const tn_str groups = TN_STR("5:cpuset:/b\n4:cpu,cpuacct:/a/b:c\nodd\n0::/u/v\n");
    assert_true(tn_str_eq(tn_cores_group(groups, TN_STR("cpu")), TN_STR("/a/b:c")));
    assert_true(tn_str_eq(tn_cores_group(groups, TN_STR("cpuacct")), TN_STR("/a/b:c")));
    assert_true(tn_str_eq(tn_cores_group(groups, TN_STR("")), TN_STR("/u/v")));
    assert_null(tn_cores_group(groups, TN_STR("memory")).ptr);
    assert_null(tn_cores_group(TN_STR_NONE, TN_STR("")).ptr);
    assert_in_range(tn_cores(), 1, tn_cores_of_set());
    assert_in_range(tn_cores_of_set(), 1, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_cancelled_before_start),
        cmocka_unit_test(test_cancelled_while_running),
        cmocka_unit_test(test_errors_end_a_call),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_inline_by_signature),
        cmocka_unit_test(test_no_heap_when_warm),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
