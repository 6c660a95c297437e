/*
 * test_batch.c - calls through batches, in both manners. The engine is a table of functions in this file: it
 * adds one to each element, writes down how many rows each run had, and fails where a test wants it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "model/life.h"
#include "schedule/call.h"

#define MAX_RUNS 4096

struct tern_engine_model {
    atomic_int runs;
    atomic_long rows[MAX_RUNS];
    atomic_bool blocked; /* runs wait until it is false */
    atomic_int entered;
    atomic_long max_rows; /* more rows in a run fail; 0: none do */
    atomic_bool sums;     /* the output is one number, not by row */
};

static void pause_us(long us)
{
    nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

static tern_code fake_run(tern_engine_model *model, const tern_run *run, tern_status *st)
{
    const tern_tensor *x = &run->inputs[0];
    const int64_t count = tn_tensor_count(x);
    atomic_fetch_add(&model->entered, 1);
    while (atomic_load(&model->blocked))
        pause_us(200);
    int i = atomic_fetch_add(&model->runs, 1);
    atomic_store(&model->rows[i % MAX_RUNS], (long)x->dims[0]);
    long most = atomic_load(&model->max_rows);
    if (most > 0 && x->dims[0] > most)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "too many rows");
    for (int64_t k = 0; k < count; k++)
        if (((const float *)x->data)[k] < 0)
            return tern_fail(st, TERN_OUT_OF_RANGE, "negative");
    bool sums = atomic_load(&model->sums);
    int64_t *dims = run->alloc(run->alloc_context, sizeof *dims * (size_t)x->rank);
    tern_buffer *buffer = tn_buffer_new(x->size > 0 ? x->size : 1);
    if (dims == NULL || buffer == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
    memcpy(dims, x->dims, sizeof *dims * (size_t)x->rank);
    if (sums)
        dims[0] = 1;
    float *to = buffer->data;
    for (int64_t k = 0; k < count; k++)
        to[k] = ((const float *)x->data)[k] + 1;
    run->outputs[0] = (tern_tensor){.dtype = TERN_FLOAT,
                                    .rank = x->rank,
                                    .dims = dims,
                                    .buffer = buffer,
                                    .data = to,
                                    .size = sums ? sizeof(float) : x->size};
    return TERN_OK;
}

static const tern_engine_api api = {
    .struct_size = sizeof api, .abi_version = TERN_ENGINE_ABI, .run = fake_run};
static const tn_engine engine = {&api, NULL};
static const int64_t any_rows[] = {-1, -1};
static const tern_io io_x = {.name = TN_STR_INIT("x"), .dtype = TERN_FLOAT, .rank = 2, .dims = any_rows};
static const tern_signature signatures[] = {
    {.name = TN_STR_INIT("a"), .inputs = &io_x, .n_inputs = 1, .outputs = &io_x, .n_outputs = 1},
    {.name = TN_STR_INIT("b"), .inputs = &io_x, .n_inputs = 1, .outputs = &io_x, .n_outputs = 1}};
static const tern_signature_set set = {.signatures = signatures, .n_signatures = 2};

typedef struct world {
    tern_engine_model model;
    tn_box *box;
    tn_version *version;
    tn_schedule *schedule;
    tn_arena arena;
} world;

static int64_t inline_run_us; /* the limit, where a test sets it */

/* params: text of BatchingParameters for SERVING, NULL for AUTO. */
static world *make(const char *params, int32_t executors)
{
    world *w = calloc(1, sizeof *w);
    w->box = aligned_alloc(64, sizeof *w->box);
    memset(w->box, 0, sizeof *w->box);
    atomic_init(&w->box->refs, 1);
    w->version = &w->box->version;
    w->version->engine = &engine;
    w->version->loaded = &w->model;
    w->version->signatures = &set;
    tn_arena_init(&w->arena, 1 << 20);
    tn_schedule_options options = {.executors = executors, .limits = tn_limits_default()};
    if (inline_run_us > 0)
        options.limits.inline_run_us = inline_run_us;
    options.batching.manner = params != NULL ? TN_BATCHING_SERVING : TN_BATCHING_AUTO;
    options.batching.params = tn_batch_params_default();
    tern_status st = {.message = ""};
    if (params != NULL)
        assert_int_equal(tn_batch_params_parse(tn_str_from(params), &w->arena, &options.batching.params, &st),
                         TERN_OK);
    if (tn_schedule_new(&options, &w->schedule, &st) != TERN_OK ||
        tn_schedule_attach(w->schedule, w->version, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return w;
}

static void unmake(world *w)
{
    tn_schedule_free(w->schedule);
    assert_int_equal(atomic_load(&w->box->refs), 1);
    tn_schedule_detach(NULL, w->version);
    tn_version_stats_free(&w->version->stats);
    tn_arena_free(&w->arena);
    free(w->box);
    free(w);
}

/* ---- Calls ---- */

typedef struct probe {
    tn_call call;
    atomic_int done;
    pthread_t thread; /* of done */
    int64_t rows, width;
    float value;
    int signature;
} probe;

static void fill(tn_call *call, const probe *p)
{
    const int64_t dims[] = {p->rows, p->width};
    tern_status st;
    call->inputs = tn_arena_zalloc(&call->arena, sizeof *call->inputs);
    call->input_ids = tn_arena_zalloc(&call->arena, sizeof *call->input_ids);
    call->n_inputs = 1;
    call->signature = &signatures[p->signature];
    if (tn_tensor_new(&call->inputs[0], TERN_FLOAT, 2, dims, &call->arena, &st) != TERN_OK ||
        tn_call_all_outputs(call, &st) != TERN_OK)
        abort();
    for (int64_t i = 0; i < p->rows * p->width; i++)
        ((float *)call->inputs[0].data)[i] = p->value < 0 ? p->value : p->value + (float)i;
}

static tern_code decode(tn_call *call, tern_status *st)
{
    fill(call, TN_CONTAINER(call, probe, call));
    return TERN_OK;
}

static void done(tn_call *call)
{
    probe *p = TN_CONTAINER(call, probe, call);
    p->thread = pthread_self();
    atomic_fetch_add(&p->done, 1);
}

/* As REST, decoded by the scheduler; and as gRPC, decoded before. */
static const tn_call_steps late = {.name = "late", .kind = 0, .decode = decode, .done = done};
static const tn_call_steps early = {.name = "early", .kind = 1, .done = done};

static void begin(probe *p, world *w, const tn_call_steps *steps, int64_t rows, int64_t width, float value)
{
    tn_call_init(&p->call, steps, 1 << 20);
    atomic_store(&p->done, 0);
    p->rows = rows;
    p->width = width;
    p->value = value;
    p->call.body_bytes = 64;
    tn_version_retain(w->version);
    p->call.version = w->version;
    if (steps == &early)
        fill(&p->call, p);
}

static void submit(probe *p, world *w, const tn_call_steps *steps, int64_t rows, int64_t width, float value)
{
    begin(p, w, steps, rows, width, value);
    tn_schedule_submit(w->schedule, &p->call);
}

static void await(probe *p)
{
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    while (atomic_load(&p->done) == 0) {
        if (tn_now_ns() > end)
            fail_msg("a call does not come back");
        pause_us(100);
    }
}

static void finish(probe *p)
{
    await(p);
    assert_int_equal(atomic_load(&p->done), 1);
    tn_call_finish(&p->call);
    tn_arena_free(&p->call.arena);
}

/* The answer that the call would get alone. */
static void expect_good(probe *p)
{
    await(p);
    if (p->call.status.code != TERN_OK)
        fail_msg("%s", p->call.status.message);
    const tern_tensor *y = &p->call.outputs[0];
    assert_int_equal(y->rank, 2);
    assert_int_equal(y->dims[0], p->rows);
    assert_int_equal(y->dims[1], p->width);
    for (int64_t i = 0; i < p->rows * p->width; i++)
        if (((const float *)y->data)[i] != p->value + (float)i + 1)
            fail_msg("element %lld of %lld x %lld from %g is %g", (long long)i, (long long)p->rows,
                     (long long)p->width, (double)p->value, (double)((const float *)y->data)[i]);
    finish(p);
}

static void expect_error(probe *p, tern_code code, const char *words)
{
    await(p);
    assert_int_equal(p->call.status.code, code);
    if (strstr(p->call.status.message, words) == NULL)
        fail_msg("%s", p->call.status.message);
    finish(p);
}

static const tn_batch_signature_stats *stats_of(world *w, int signature);

typedef struct finding {
    const tern_signature *wanted;
    const tn_batch_signature_stats *stats;
} finding;

static void find_stats(void *context, const tern_signature *signature, const tn_batch_signature_stats *stats)
{
    finding *f = context;
    if (signature == f->wanted)
        f->stats = stats;
}

static const tn_batch_signature_stats *stats_of(world *w, int signature)
{
    finding f = {.wanted = &signatures[signature]};
    tn_batch_each(w->version, find_stats, &f);
    assert_non_null(f.stats);
    return f.stats;
}

static void until_entered(world *w, int n)
{
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    while (atomic_load(&w->model.entered) < n) {
        assert_true(tn_now_ns() < end);
        pause_us(100);
    }
}

static void until_queued(world *w, size_t n)
{
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    while (tn_schedule_queued(w->schedule) != n) {
        assert_true(tn_now_ns() < end);
        pause_us(100);
    }
}

#define WAITS "batch_timeout_micros { value: 100000000 } "

/* ---- SERVING ---- */

/* A full batch runs at once, however long it may wait. */
static void test_full_batch(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 4 }", 2);
    probe p[8] = {0};
    for (int i = 0; i < 8; i++)
        submit(&p[i], w, i % 2 != 0 ? &late : &early, 1, 3, (float)(100 * i));
    for (int i = 0; i < 8; i++)
        expect_good(&p[i]);
    assert_int_equal(atomic_load(&w->model.runs), 2);
    assert_int_equal(stats_of(w, 0)->batches, 2);
    assert_int_equal(stats_of(w, 0)->calls, 8);
    assert_int_equal(stats_of(w, 0)->rows, 8);
    assert_int_equal(stats_of(w, 0)->waiting, 0);
    assert_int_equal(tn_schedule_batch_stats(w->schedule)->wrapped_run_count, 2);
    unmake(w);
}

/* The engine ran once, whatever the number of calls: both counts of runs (the model's) say so. */
static void test_a_run_is_counted_once(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 4 }", 2);
    tn_stats *stats = tn_stats_new();
    probe p[5] = {0};
    w->version->stats.model = tn_stats_model(stats, TN_STR("m"));
    for (int i = 0; i < 4; i++)
        submit(&p[i], w, &early, 1, 3, (float)i);
    submit(&p[4], w, &early, 4, 3, 4);
    for (int i = 0; i < 5; i++)
        expect_good(&p[i]);
    assert_int_equal(atomic_load(&w->model.runs), 2);
    assert_int_equal(w->version->stats.model->runs, 2);
    unmake(w);
    tn_stats_free(stats);
}

static void test_timeout(void **state)
{
    world *w = make("batch_timeout_micros { value: 300000 } max_batch_size { value: 100 }", 2);
    probe p[3] = {0};
    for (int i = 0; i < 3; i++)
        submit(&p[i], w, &early, 2, 2, (float)i);
    for (int i = 0; i < 3; i++) {
        await(&p[i]);
        assert_true(p[i].call.stage_ns[TN_STAGE_QUEUE] > 0);
        expect_good(&p[i]);
    }
    assert_int_equal(atomic_load(&w->model.runs), 1);
    assert_int_equal(atomic_load(&w->model.rows[0]), 6);
    unmake(w);
}

/* Another shape, another signature, another batch; nobody's error. */
static void test_other_shapes_apart(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 4 }", 2);
    probe p[12] = {0};
    for (int i = 0; i < 12; i++) {
        p[i].signature = i % 3 == 2;
        submit(&p[i], w, &early, 1, i % 3 == 1 ? 5 : 3, (float)(10 * i));
    }
    for (int i = 0; i < 12; i++)
        expect_good(&p[i]);
    assert_int_equal(atomic_load(&w->model.runs), 3);
    unmake(w);
}

static void test_one_bad_call_fails_alone(void **state)
{
    enum { N = 16, BAD = 11 };
    world *w = make(WAITS "max_batch_size { value: 16 }", 2);
    probe p[N] = {0};
    for (int i = 0; i < N; i++)
        submit(&p[i], w, &early, 1, 2, i == BAD ? -1.0f : (float)i);
    for (int i = 0; i < N; i++) {
        if (i == BAD)
            expect_error(&p[i], TERN_OUT_OF_RANGE, "negative");
        else
            expect_good(&p[i]);
    }
    assert_int_equal(atomic_load(&w->model.runs), 1 + 2 * 4);
    assert_false(stats_of(w, 0)->alone);
    assert_true(stats_of(w, 0)->retries > 0);
    unmake(w);
}

/*
 * A graph that takes no more than one row: its calls end well, and no more batches are tried after a while.
 */
static void test_unfit_runs_alone(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 2 }", 2);
    atomic_store(&w->model.max_rows, 1);
    for (int round = 0; round < 3; round++) {
        probe p[2] = {0};
        for (int i = 0; i < 2; i++)
            submit(&p[i], w, &early, 1, 1, (float)i);
        for (int i = 0; i < 2; i++)
            expect_good(&p[i]);
    }
    assert_int_equal(atomic_load(&w->model.runs), 9);
    assert_true(stats_of(w, 0)->alone);
    probe p = {0};
    submit(&p, w, &early, 1, 1, 1); /* waits for nobody now */
    expect_good(&p);
    assert_int_equal(atomic_load(&w->model.runs), 10);
    unmake(w);
}

static void test_refused(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 4 } max_enqueued_batches { value: 2 }", 2);
    probe p[8] = {0};
    submit(&p[0], w, &early, 5, 1, 0);
    expect_error(&p[0], TERN_INVALID_ARGUMENT, "Task size 5 is larger than maximum input batch size 4");
    begin(&p[0], w, &early, 1, 1, 0);
    tn_tensor_release(&p[0].call.inputs[0]);
    p[0].call.n_inputs = 0;
    tn_schedule_submit(w->schedule, &p[0].call);
    expect_error(&p[0], TERN_INVALID_ARGUMENT, "Batching Run() must have at least one input tensor");
    begin(&p[0], w, &late, 1, 1, 0);
    tn_schedule_submit(w->schedule, &p[0].call);
    submit(&p[1], w, &early, 3, 1, 0);
    expect_good(&p[0]);
    expect_good(&p[1]);
    unmake(w);
}

static void test_full_queue(void **state)
{
    world *w = make(
        WAITS "max_batch_size { value: 4 } max_enqueued_batches { value: 2 } num_batch_threads { value: 1 }",
        2);
    probe p[5] = {0};
    atomic_store(&w->model.blocked, true);
    submit(&p[0], w, &early, 4, 1, 0);
    until_entered(w, 1);
    for (int i = 1; i < 4; i++)
        submit(&p[i], w, &early, 3, 1, (float)i);
    expect_error(&p[3], TERN_UNAVAILABLE,
                 "The batch scheduling queue to which this task was submitted is full; currently 2 batches "
                 "enqueued and max_enqueued_batches is 2");
    submit(&p[4], w, &early, 1, 1, 4); /* there is room for one row */
    atomic_store(&w->model.blocked, false);
    tn_schedule_close(w->schedule);
    expect_good(&p[0]);
    expect_good(&p[1]);
    expect_good(&p[2]);
    expect_good(&p[4]);
    unmake(w);
}

/* What must stay on its thread is no part of it all. */
static void test_one_thread(void **state)
{
    static const tn_call_steps steps = {
        .name = "own", .kind = 2, .decode = decode, .done = done, .one_thread = true};
    world *w = make(WAITS "max_batch_size { value: 4 }", 2);
    probe p = {0};
    submit(&p, w, &steps, 9, 1, 4);
    expect_good(&p);
    assert_int_equal(tn_schedule_batch_stats(w->schedule)->wrapped_run_count, 0);
    unmake(w);
}

static void test_allowed_sizes(void **state)
{
    world *w = make("max_batch_size { value: 8 } allowed_batch_sizes: [3, 8]", 2);
    probe p = {0};
    submit(&p, w, &early, 1, 2, 5);
    expect_good(&p);
    submit(&p, w, &early, 3, 2, 5);
    expect_good(&p);
    submit(&p, w, &early, 4, 2, 5);
    expect_good(&p);
    assert_int_equal(atomic_load(&w->model.rows[0]), 3);
    assert_int_equal(atomic_load(&w->model.rows[1]), 3);
    assert_int_equal(atomic_load(&w->model.rows[2]), 8);
    assert_int_equal(stats_of(w, 0)->padding, 2 + 4);
    assert_int_equal(tn_schedule_batch_stats(w->schedule)->padding[0].execution_batch_size, 3);
    unmake(w);
}

static void test_variable_length(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 2 } pad_variable_length_inputs: true", 2);
    probe p[2] = {0};
    submit(&p[0], w, &early, 1, 2, 10);
    submit(&p[1], w, &early, 1, 4, 20);
    await(&p[0]);
    await(&p[1]);
    assert_int_equal(atomic_load(&w->model.runs), 1);
    const tern_tensor *y = &p[0].call.outputs[0];
    assert_int_equal(y->dims[1], 4);
    const float *v = y->data;
    assert_true(v[0] == 11 && v[1] == 12 && v[2] == 11 && v[3] == 11);
    finish(&p[0]);
    p[1].width = 4;
    expect_good(&p[1]);
    unmake(w);
}

static void test_large_calls_are_cut(void **state)
{
    world *w = make("max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
                    "max_execution_batch_size { value: 4 } num_batch_threads { value: 3 } "
                    "max_enqueued_batches { value: -1 }",
                    2);
    probe p[20] = {0};
    for (int i = 0; i < 20; i++)
        submit(&p[i], w, i % 2 != 0 ? &late : &early, 1 + i * 3, 2, (float)(1000 * i));
    for (int i = 0; i < 20; i++)
        expect_good(&p[i]);
    for (int i = 0; i < atomic_load(&w->model.runs); i++)
        assert_in_range(atomic_load(&w->model.rows[i]), 1, 4);
    submit(&p[0], w, &early, 101, 2, 0);
    expect_error(&p[0], TERN_INVALID_ARGUMENT, "Task size 101 is larger than maximum input batch size 100");
    /* One bad row fails its whole call, and no other. */
    submit(&p[0], w, &early, 10, 2, -3);
    submit(&p[1], w, &early, 3, 2, 7);
    expect_error(&p[0], TERN_OUT_OF_RANGE, "negative");
    expect_good(&p[1]);
    unmake(w);
}

static void test_cut_queue_full(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
                          "max_execution_batch_size { value: 4 } num_batch_threads { value: 1 } "
                          "max_enqueued_batches { value: 2 }",
                    2);
    probe p[3] = {0};
    atomic_store(&w->model.blocked, true);
    submit(&p[0], w, &early, 4, 1, 0);
    until_entered(w, 1);
    submit(&p[1], w, &early, 3, 1, 0);
    submit(&p[2], w, &early, 6, 1, 0);
    expect_error(&p[2], TERN_UNAVAILABLE,
                 "full; task size is 6 but scheduling capacity is only 5 (num_enqueued_batches=1, "
                 "max_enqueued_batches=2, open_batch_size=3, max_execution_batch_size=4)");
    submit(&p[2], w, &early, 5, 1, 0);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 3; i++)
        expect_good(&p[i]);
    unmake(w);
}

static void test_no_rows(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 4 } allowed_batch_sizes: 4", 2);
    probe p = {0};
    submit(&p, w, &early, 0, 3, 0);
    expect_good(&p);
    unmake(w);
}

/* Held for at most half of what is left, though the batch may wait longer. */
static void test_deadline(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 4 }", 2);
    probe p = {0};
    begin(&p, w, &early, 1, 1, 1);
    p.call.deadline_ns = tn_now_ns() + 2 * TN_NS_PER_S;
    tn_schedule_submit(w->schedule, &p.call);
    await(&p);
    assert_int_equal(p.call.status.code, TERN_OK);
    assert_true(tn_now_ns() < p.call.deadline_ns);
    expect_good(&p);
    unmake(w);
}

static void test_gone_before_the_run(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 2 } num_batch_threads { value: 1 }", 2);
    probe p[4] = {0};
    atomic_store(&w->model.blocked, true);
    for (int i = 0; i < 2; i++)
        submit(&p[i], w, &early, 1, 1, (float)i);
    until_entered(w, 1);
    for (int i = 2; i < 4; i++)
        submit(&p[i], w, &early, 1, 1, (float)i);
    tn_call_cancel(&p[2].call);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 4; i++) {
        if (i == 2)
            expect_error(&p[i], TERN_CANCELLED, "cancelled");
        else
            expect_good(&p[i]);
    }
    assert_int_equal(atomic_load(&w->model.rows[1]), 1);
    unmake(w);
}

static void test_close_lets_nothing_wait(void **state)
{
    world *w = make(WAITS "max_batch_size { value: 100 }", 2);
    probe p[3] = {0};
    for (int i = 0; i < 3; i++)
        submit(&p[i], w, &early, 1, 1, (float)i);
    assert_int_equal(tn_schedule_queued(w->schedule), 3);
    tn_schedule_close(w->schedule);
    for (int i = 0; i < 3; i++)
        expect_good(&p[i]);
    until_queued(w, 0);
    unmake(w);
}

/* ---- AUTO ---- */

/* One executor is busy; what comes meanwhile runs together, decoded before or not. */
static void test_auto_takes_along(void **state)
{
    world *w = make(NULL, 1);
    probe p[9] = {0};
    atomic_store(&w->model.blocked, true);
    submit(&p[0], w, &late, 1, 2, 0);
    until_entered(w, 1);
    for (int i = 1; i < 7; i++)
        submit(&p[i], w, i < 4 ? &late : &early, i, 2, (float)(100 * i));
    submit(&p[7], w, &late, 1, 3, 7); /* another shape */
    p[8].signature = 1;
    submit(&p[8], w, &early, 1, 2, 8); /* another signature */
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 9; i++)
        expect_good(&p[i]);
    /* The first; late ones look along for late ones, early for early, or for both: never one by one. */
    assert_in_range(atomic_load(&w->model.runs), 4, 5);
    unmake(w);
}

static void test_auto_bounds(void **state)
{
    world *w = make(NULL, 1);
    probe p[200] = {0};
    atomic_store(&w->model.blocked, true);
    submit(&p[0], w, &early, 1, 1, 0);
    until_entered(w, 1);
    for (int i = 1; i < 200; i++)
        submit(&p[i], w, &early, 1, 1, (float)i);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 200; i++)
        expect_good(&p[i]);
    assert_int_equal(atomic_load(&w->model.runs), 1 + 4);
    for (int i = 1; i < 5; i++)
        assert_in_range(atomic_load(&w->model.rows[i]), 1, 64);
    /* One that is larger than a batch runs alone. */
    submit(&p[0], w, &early, 65, 1, 0);
    expect_good(&p[0]);
    unmake(w);
}

static void test_auto_isolates(void **state)
{
    world *w = make(NULL, 1);
    probe p[10] = {0};
    atomic_store(&w->model.blocked, true);
    submit(&p[0], w, &early, 1, 1, 0);
    until_entered(w, 1);
    for (int i = 1; i < 10; i++)
        submit(&p[i], w, &early, 1, 1, i == 5 ? -1.0f : (float)i);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 10; i++) {
        if (i == 5)
            expect_error(&p[i], TERN_OUT_OF_RANGE, "negative");
        else
            expect_good(&p[i]);
    }
    unmake(w);
}

/* Outputs that are not by row: everybody gets what it would get alone, and batches are over. */
static void test_auto_not_by_row(void **state)
{
    world *w = make(NULL, 1);
    probe p[6] = {0};
    atomic_store(&w->model.sums, true);
    atomic_store(&w->model.blocked, true);
    submit(&p[0], w, &early, 1, 1, 0);
    until_entered(w, 1);
    for (int i = 1; i < 6; i++)
        submit(&p[i], w, &early, 1, 1, (float)i);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 6; i++)
        expect_good(&p[i]);
    assert_true(stats_of(w, 0)->alone);
    int runs = atomic_load(&w->model.runs);
    atomic_store(&w->model.blocked, true);
    for (int i = 0; i < 6; i++)
        submit(&p[i], w, &early, 1, 1, (float)i);
    atomic_store(&w->model.blocked, false);
    for (int i = 0; i < 6; i++)
        expect_good(&p[i]);
    assert_int_equal(atomic_load(&w->model.runs), runs + 6);
    unmake(w);
}

/* Small calls of one turn: one batch, on the loop's own thread; one call: at once, and as before. */
static void test_turn(void **state)
{
    inline_run_us = 10000000; /* whatever else the machine does, a call that was measured is a small one */
    world *w = make(NULL, 1);
    inline_run_us = 0;
    tn_turn *turn = tn_turn_new(w->schedule);
    assert_non_null(turn);
    assert_false(tn_turn_end(turn));
    probe p[80] = {0};
    for (int i = 0; i < 50; i++) { /* measured to be small */
        submit(&p[0], w, &late, 1, 1, 0);
        expect_good(&p[0]);
    }
    begin(&p[0], w, &late, 1, 1, 3);
    tn_turn_submit(turn, &p[0].call);
    assert_int_equal(atomic_load(&p[0].done), 0);
    assert_true(tn_turn_end(turn));
    assert_int_equal(atomic_load(&p[0].done), 1);
    assert_true(pthread_equal(p[0].thread, pthread_self()));
    expect_good(&p[0]);
    int runs = atomic_load(&w->model.runs);
    for (int i = 0; i < 4; i++) {
        begin(&p[i], w, &late, 1 + i, 1, (float)i);
        tn_turn_submit(turn, &p[i].call);
    }
    assert_int_equal(atomic_load(&w->model.runs), runs);
    assert_true(tn_turn_end(turn));
    for (int i = 0; i < 4; i++)
        expect_good(&p[i]);
    assert_int_equal(atomic_load(&w->model.runs), runs + 1);
    /* More than a turn holds. */
    for (int i = 0; i < 80; i++) {
        begin(&p[i], w, &late, 1, 1, (float)i);
        tn_turn_submit(turn, &p[i].call);
    }
    assert_true(tn_turn_end(turn));
    for (int i = 0; i < 80; i++)
        expect_good(&p[i]);
    tn_turn_free(turn);
    unmake(w);
}

/* ---- Many threads ---- */

typedef struct client {
    pthread_t thread;
    world *world;
    unsigned seed;
} client;

static void *client_main(void *arg)
{
    client *c = arg;
    for (int i = 0; i < 150; i++) {
        probe p = {0};
        int kind = rand_r(&c->seed) % 10;
        submit(&p, c->world, kind < 5 ? &late : &early, 1 + rand_r(&c->seed) % 6, 1 + rand_r(&c->seed) % 2,
               kind == 0 ? -1.0f : (float)(rand_r(&c->seed) % 1000));
        if (kind == 9)
            tn_call_cancel(&p.call);
        while (atomic_load(&p.done) == 0)
            pause_us(50);
        tern_code code = p.call.status.code;
        bool good =
            kind == 0 ? code == TERN_OUT_OF_RANGE : code == TERN_OK || (kind == 9 && code == TERN_CANCELLED);
        for (int64_t k = 0; code == TERN_OK && k < p.rows * p.width; k++)
            good &= ((const float *)p.call.outputs[0].data)[k] == p.value + (float)k + 1;
        tn_call_finish(&p.call);
        tn_arena_free(&p.call.arena);
        if (!good)
            return arg;
    }
    return NULL;
}

static void storm(const char *params)
{
    enum { N = 8 };
    world *w = make(params, 2);
    client clients[N];
    for (unsigned i = 0; i < N; i++) {
        clients[i] = (client){.world = w, .seed = i + 1};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        void *bad;
        pthread_join(clients[i].thread, &bad);
        assert_null(bad);
    }
    assert_int_equal(tn_schedule_queued(w->schedule), 0);
    assert_int_equal(stats_of(w, 0)->waiting, 0);
    unmake(w);
}

static void test_storm(void **state)
{
    storm("max_batch_size { value: 16 } batch_timeout_micros { value: 300 } num_batch_threads { value: 3 } "
          "allowed_batch_sizes: [4, 8, 16] max_enqueued_batches { value: -1 }");
    storm("max_batch_size { value: 16 } batch_timeout_micros { value: 300 } num_batch_threads { value: 3 } "
          "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 2 } "
          "max_enqueued_batches { value: -1 }");
    storm(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_batch),
        cmocka_unit_test(test_a_run_is_counted_once),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_other_shapes_apart),
        cmocka_unit_test(test_one_bad_call_fails_alone),
        cmocka_unit_test(test_unfit_runs_alone),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_allowed_sizes),
        cmocka_unit_test(test_variable_length),
        cmocka_unit_test(test_large_calls_are_cut),
        cmocka_unit_test(test_cut_queue_full),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_gone_before_the_run),
        cmocka_unit_test(test_close_lets_nothing_wait),
        cmocka_unit_test(test_auto_takes_along),
        cmocka_unit_test(test_auto_bounds),
        cmocka_unit_test(test_auto_isolates),
        cmocka_unit_test(test_auto_not_by_row),
        cmocka_unit_test(test_turn),
        cmocka_unit_test(test_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
