/* Frames, shared memory and pools of worker processes (handler/script_*.h), with script_child.c as worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "handler/script_pool.h"

#define BODY (TN_TAG_KIND + 1)

/* ---- frames ---- */

static void what_is_written_is_read(void **state)
{
    (void)state;
    char buf[1024];
    tn_frame_writer w;
    tn_frame frame;
    tern_status st;
    uint64_t n;
    tn_frame_ref ref;
    tn_frame_begin(&w, buf, sizeof buf, TN_FRAME_CALL, 77);
    tn_frame_put(&w, BODY, TN_STR("hello"));
    tn_frame_put_u64(&w, TN_TAG_SIZE, 1234567890123);
    tn_frame_put_ref(&w, TN_TAG_SEGMENT, &(tn_frame_ref){1, 2, 3});
    tn_frame_put(&w, 9999, TN_STR(""));
    tn_frame_tensor t = {
        .name = TN_STR("x"), .dtype = TERN_FLOAT, .rank = 2, .dims = {2, 3}, .at = {7, 64, 24}};
    assert_int_equal(tn_frame_tensor_bytes(&t), 8 + 32 + 16 + 8);
    tn_frame_put_tensor(&w, &t);
    size_t len = tn_frame_end(&w);
    assert_true(len > 0 && len % 8 == 0);
    assert_int_equal(tn_frame_read((tn_str){buf, len}, &frame, &st), TERN_OK);
    assert_int_equal(frame.type, TN_FRAME_CALL);
    assert_int_equal(frame.call, 77);
    assert_true(tn_str_eq(tn_frame_get(&frame, BODY), TN_STR("hello")));
    assert_true(tn_frame_get_u64(&frame, TN_TAG_SIZE, &n) && n == 1234567890123);
    assert_true(tn_frame_get_ref(&frame, TN_TAG_SEGMENT, &ref) && ref.segment == 1 && ref.offset == 2 &&
                ref.size == 3);
    assert_false(tn_frame_get_ref(&frame, TN_TAG_SIZE, &ref));
    assert_null(tn_frame_get(&frame, 4711).ptr);
    size_t at = 0;
    tn_frame_field field;
    tn_frame_tensor got;
    int tensors = 0;
    while (tn_frame_next(&frame, &at, &field))
        if (tn_frame_as_tensor(&field, &got)) {
            tensors++;
            assert_true(tn_str_eq(got.name, TN_STR("x")));
            assert_int_equal(got.dims[1], 3);
            assert_int_equal(got.at.offset, 64);
        }
    assert_int_equal(tensors, 1);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(tn_frame_read((tn_str){buf, cut}, &frame, &st), TERN_INVALID_ARGUMENT);
}

static void tensors_must_fit_their_size(void **state)
{
    (void)state;
    struct {
        tn_frame_tensor t;
        bool good;
    } cases[] = {
        {{.dtype = TERN_FLOAT, .rank = 1, .dims = {4}, .at = {1, 0, 16}}, true},
        {{.dtype = TERN_FLOAT, .rank = 1, .dims = {4}, .at = {1, 0, 15}}, false},
        {{.dtype = TERN_FLOAT, .rank = 1, .dims = {-1}, .at = {1, 0, 0}}, false},
        {{.dtype = TERN_FLOAT, .rank = 2, .dims = {INT64_MAX, 4}, .at = {1, 0, 16}}, false},
        {{.dtype = TERN_FLOAT, .rank = 0, .at = {1, 0, 4}}, true},
        {{.dtype = TERN_STRING, .rank = 1, .dims = {2}, .at = {1, 0, 24}}, true},
        {{.dtype = TERN_STRING, .rank = 1, .dims = {2}, .at = {1, 0, 23}}, false},
        {{.dtype = TERN_STRING, .rank = 1, .dims = {INT64_MAX}, .at = {1, 0, 8}}, false},
        {{.dtype = TERN_RESOURCE, .rank = 1, .dims = {0}, .at = {1, 0, 0}}, false},
        {{.dtype = TERN_INVALID, .rank = 0, .at = {1, 0, 0}}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char buf[256];
        tn_frame_writer w;
        tn_frame frame;
        tn_frame_field field;
        tn_frame_tensor got;
        tern_status st;
        size_t at = 0;
        tn_frame_begin(&w, buf, sizeof buf, TN_FRAME_ASK, 1);
        tn_frame_put_tensor(&w, &cases[i].t);
        assert_int_equal(tn_frame_read((tn_str){buf, tn_frame_end(&w)}, &frame, &st), TERN_OK);
        assert_true(tn_frame_next(&frame, &at, &field));
        assert_int_equal(tn_frame_as_tensor(&field, &got), cases[i].good);
    }
}

static void a_frame_that_is_too_long_is_not_written(void **state)
{
    (void)state;
    char *buf = malloc(TN_FRAME_MAX), *big = calloc(1, TN_FRAME_MAX);
    tn_frame_writer w;
    tn_frame_begin(&w, buf, TN_FRAME_MAX, TN_FRAME_CALL, 1);
    tn_frame_put(&w, BODY, (tn_str){big, TN_FRAME_MAX - TN_FRAME_HEAD - TN_FRAME_FIELD_HEAD});
    assert_int_equal(tn_frame_end(&w), TN_FRAME_MAX);
    tn_frame_begin(&w, buf, TN_FRAME_MAX, TN_FRAME_CALL, 1);
    tn_frame_put(&w, BODY, (tn_str){big, TN_FRAME_MAX - TN_FRAME_HEAD});
    assert_int_equal(tn_frame_end(&w), 0);
    free(buf);
    free(big);
}

/* ---- segments ---- */

static void segments_are_used_again_and_bounded(void **state)
{
    (void)state;
    tn_budget budget;
    tn_segment *a, *b;
    tern_status st;
    tn_budget_init(&budget, 1 << 20);
    tn_segments *s = tn_segments_new(&budget, 64 << 20, 1 << 20);
    assert_int_equal(tn_segment_take(s, 100000, &a, &st), TERN_OK);
    assert_int_equal(a->size, 131072);
    const uint64_t id = a->id;
    a->ptr[99999] = 'z';
    assert_int_equal(tn_segment_use(a, 100000, &st), TERN_OK);
    assert_int_equal(atomic_load(&budget.used), 131072);
    assert_int_equal(tn_segment_use(a, 100001, &st), TERN_OK);
    assert_int_equal(ftruncate(a->fd, 10), -1); /* sealed */
    tern_buffer *hold = tn_segment_buffer(a, 64, 1000);
    tn_segment_release(a);
    assert_int_equal(atomic_load(&budget.used), 131072); /* the buffer holds it */
    tern_buffer_release(hold);
    assert_int_equal(atomic_load(&budget.used), 0);
    assert_int_equal(tn_segments_idle(s), 100001);
    assert_int_equal(tn_segment_take(s, 70000, &b, &st), TERN_OK);
    assert_int_equal(b->id, id);
    atomic_store(&b->spoilt, true);
    tn_segment_release(b);
    uint64_t gone[4];
    assert_int_equal(tn_segments_gone(s, gone, 4), 1);
    assert_int_equal(gone[0], id);
    assert_int_equal(tn_segments_idle(s), 0);
    /* More than may lie idle is given back. */
    tn_segment *big;
    assert_int_equal(tn_segment_take(s, 32 << 20, &big, &st), TERN_OK);
    assert_int_equal(tn_segment_use(big, 2 << 20, &st), TERN_RESOURCE_EXHAUSTED); /* over the budget */
    big->used = 2 << 20;
    tn_segment_release(big);
    assert_int_equal(tn_segments_gone(s, gone, 4), 1);
    assert_int_equal(tn_segment_take(s, (64 << 20) + 1, &big, &st), TERN_INVALID_ARGUMENT);
    assert_int_equal(atomic_load(&budget.used), 0);
    tn_segments_free(s);
}

/* ---- pools ---- */

typedef struct test_job {
    tn_script_job job;
    char frame[512];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int events;
    bool over;
    uint16_t type;
    tern_status status;
    char body[1024];
} test_job;

static void on_event(tn_script_job *job)
{
    test_job *t = (test_job *)job;
    pthread_mutex_lock(&t->lock);
    t->events++;
    t->over = job->over;
    t->type = job->reply.type;
    t->status = job->status;
    if (job->reply.type != 0)
        snprintf(t->body, sizeof t->body, "%.*s", TN_FMT(tn_frame_get(&job->reply, BODY)));
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static test_job *job_of(const char *body, tn_segment *segment, size_t size)
{
    test_job *t = calloc(1, sizeof *t);
    tn_frame_writer w;
    tn_script_job_init(&t->job, on_event);
    pthread_mutex_init(&t->lock, NULL);
    tn_cond_init(&t->changed);
    tn_frame_begin(&w, t->frame, sizeof t->frame, TN_FRAME_CALL, 0);
    tn_frame_put(&w, BODY, tn_str_from(body));
    if (segment != NULL) {
        assert_true(tn_script_job_add(&t->job, segment));
        tn_frame_put_ref(&w, TN_TAG_SEGMENT, &(tn_frame_ref){segment->id, 0, size});
    }
    t->job.frame = t->frame;
    t->job.frame_len = tn_frame_end(&w);
    return t;
}

static void wait_events(test_job *t, int n)
{
    const int64_t until = tn_now_ns() + 20 * TN_NS_PER_S;
    pthread_mutex_lock(&t->lock);
    while (t->events < n)
        assert_int_equal(tn_cond_until(&t->changed, &t->lock, until), 0);
    pthread_mutex_unlock(&t->lock);
}

static void done(test_job *t)
{
    tn_script_job_finish(&t->job);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Does one call to its end. */
static void call(tn_script_pool *pool, const char *body, tern_code code, const char *answer)
{
    tern_status st;
    test_job *t = job_of(body, NULL, 0);
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_OK);
    wait_events(t, 1);
    assert_true(t->over);
    assert_int_equal(t->status.code, code);
    if (code == TERN_OK)
        assert_string_equal(t->body, answer);
    else
        assert_non_null(strstr(t->status.message, answer));
    done(t);
}

static tn_scripts *scripts;
static tn_budget all_bytes;
static _Atomic int troubles;

static void on_trouble(void *context, const tern_status *trouble)
{
    (void)context;
    if (trouble != NULL)
        atomic_fetch_add(&troubles, 1);
}

static tn_script_pool *pool_with(const char *manner, const char *capacity, int workers, size_t queue)
{
    static char child[4096];
    const char *argv[] = {child, manner, capacity, NULL};
    const char *env[] = {"ASAN_OPTIONS=handle_abort=0", "TSAN_OPTIONS=handle_abort=0", NULL};
    tn_script_pool *pool;
    tern_status st;
    snprintf(child, sizeof child, "%s/tests/unit/script_child", getenv("TERN_BUILD"));
    const tn_script_pool_options o = {.name = TN_STR("a script"),
                                      .command = {argv, env},
                                      .workers = workers,
                                      .max_queue = queue,
                                      .start_ns = 20 * TN_NS_PER_S,
                                      .budget = &all_bytes,
                                      .max_bytes = 64 << 20,
                                      .max_idle = 16 << 20,
                                      .on_trouble = on_trouble};
    atomic_store(&troubles, 0);
    assert_int_equal(tn_script_pool_new(scripts, &o, &pool, &st), TERN_OK);
    return pool;
}

static void ready(tn_script_pool *pool)
{
    tern_status st;
    if (tn_script_pool_wait(pool, tn_now_ns() + 20 * TN_NS_PER_S, &st) != TERN_OK)
        fail_msg("%s", st.message);
}

static int set_up(void **state)
{
    (void)state;
    tern_status st;
    tn_budget_init(&all_bytes, 1 << 30);
    return tn_scripts_new(&scripts, &st) != TERN_OK;
}

static int tear_down(void **state)
{
    (void)state;
    int how;
    tn_scripts_free(scripts);
    scripts = NULL;
    /* Nothing is left: no process, no byte. */
    return waitpid(-1, &how, WNOHANG) != -1 || atomic_load(&all_bytes.used) != 0;
}

static void calls_are_answered(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "1", 2, 10);
    char note[64];
    ready(pool);
    assert_int_equal(tn_script_pool_note(pool, note, sizeof note), 7);
    assert_string_equal(note, "a child");
    for (int i = 0; i < 200; i++)
        call(pool, "hello", TERN_OK, "hello");
    call(pool, "need 100000", TERN_OK, "");
    call(pool, "need 1000000000000", TERN_OK,
         "refused: 1000000000000 bytes of shared memory are wanted for one request; the limit is 67108864");
    tn_script_pool_release(pool);
}

static pthread_t told_on; /* written under the job's lock, read behind it */

static void on_event_here(tn_script_job *job)
{
    test_job *t = (test_job *)job;
    pthread_mutex_lock(&t->lock);
    told_on = pthread_self();
    pthread_mutex_unlock(&t->lock);
    on_event(job);
}

static bool has_event(test_job *t)
{
    pthread_mutex_lock(&t->lock);
    const bool yes = t->events > 0;
    pthread_mutex_unlock(&t->lock);
    return yes;
}

/*
 * A call whose answer is read by the port, if there is one. true: so it was. Not where the pools' thread had
 * begun to read the worker's socket, as right after its start: it takes along what is there by then.
 */
static bool call_by(tn_script_pool *pool, tn_script_port *port, const char *body)
{
    tern_status st;
    test_job *t = job_of(body, NULL, 0);
    t->job.event = on_event_here;
    t->job.port = port;
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_OK);
    const int64_t until = tn_now_ns() + 20 * TN_NS_PER_S;
    while (port != NULL && !has_event(t) && tn_now_ns() < until) {
        struct pollfd fd = {.fd = tn_script_port_fd(port), .events = POLLIN};
        assert_true(poll(&fd, 1, 20) >= 0);
        tn_script_port_read(port);
    }
    wait_events(t, 1);
    assert_true(t->over && t->status.code == TERN_OK);
    assert_string_equal(t->body, body);
    const bool here = pthread_equal(told_on, pthread_self()) != 0;
    assert_true(port != NULL || !here);
    done(t);
    return here;
}

static void a_port_reads_what_workers_say(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "1", 1, 10);
    tn_script_port *ports[2] = {tn_script_port_new(scripts), tn_script_port_new(scripts)};
    assert_ptr_equal(tn_script_pool_owner(pool), scripts);
    ready(pool);
    int here = 0;
    for (int i = 0; i < 20; i++)
        here += call_by(pool, i % 3 < 2 ? ports[i % 3] : NULL, "hello");
    assert_true(here > 0);
    tn_script_port_read(ports[0]); /* nothing is there */
    /* Its worker goes back to the pools' thread, which sees that it dies. */
    (void)call_by(pool, ports[1], "hello");
    tn_script_port_free(ports[1]);
    call(pool, "die", TERN_INTERNAL, "ended during this request");
    (void)call_by(pool, ports[0], "hello");
    tn_script_pool_release(pool);
    tn_script_port_free(ports[0]);
    tn_script_port_free(NULL);
}

static void bodies_lie_in_shared_memory(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "1", 1, 10);
    tern_status st;
    uint64_t first = 0;
    for (int i = 0; i < 4; i++) {
        tn_segment *segment;
        assert_int_equal(tn_segment_take(tn_script_pool_segments(pool), 5000000, &segment, &st), TERN_OK);
        if (i == 0)
            first = segment->id;
        /* The third call's worker keeps it: the fourth gets another one. */
        assert_int_equal(segment->id == first, i < 3);
        segment->ptr[0] = (char)('a' + i);
        segment->ptr[4999999] = 'q';
        test_job *t = job_of(i == 2 ? "keep" : "look", segment, 5000000);
        assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_OK);
        wait_events(t, 1);
        char expected[] = "first ? last q";
        expected[6] = (char)('a' + i);
        assert_string_equal(t->body, expected);
        done(t);
    }
    tn_script_pool_release(pool);
}

static void only_the_dead_ones_call_is_lost(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "4", 1, 10);
    tern_status st;
    ready(pool);
    /* All go to the one worker; what it had not begun when it died is done by its successor. */
    test_job *bad = job_of("die", NULL, 0), *good[3];
    test_job *slow = job_of("slow", NULL, 0);
    assert_int_equal(tn_script_submit(pool, &slow->job, &st), TERN_OK);
    assert_int_equal(tn_script_submit(pool, &bad->job, &st), TERN_OK);
    for (int i = 0; i < 3; i++) {
        good[i] = job_of("fine", NULL, 0);
        assert_int_equal(tn_script_submit(pool, &good[i]->job, &st), TERN_OK);
    }
    wait_events(slow, 1);
    assert_string_equal(slow->body, "slow");
    wait_events(bad, 1);
    assert_int_equal(bad->status.code, TERN_INTERNAL);
    assert_non_null(strstr(bad->status.message, "signal 6"));
    for (int i = 0; i < 3; i++) {
        wait_events(good[i], 1);
        assert_string_equal(good[i]->body, "fine");
        done(good[i]);
    }
    done(bad);
    done(slow);
    const tn_script_counts n = tn_script_pool_count(pool);
    assert_int_equal(n.failures, 1);
    assert_int_equal(n.deaths, 1);
    tn_script_pool_release(pool);
}

static void who_breaks_the_protocol_is_replaced(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "1", 1, 10);
    call(pool, "garbage", TERN_INTERNAL, "breaks the protocol");
    call(pool, "after", TERN_OK, "after");
    call(pool, "close", TERN_INTERNAL, "closed its socket");
    call(pool, "after", TERN_OK, "after");
    tn_script_pool_release(pool);
}

static void a_late_call_costs_its_worker(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "1", 1, 10);
    tern_status st;
    ready(pool);
    test_job *t = job_of("hang", NULL, 0);
    t->job.deadline_ns = tn_now_ns() + 50 * TN_NS_PER_MS;
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_OK);
    wait_events(t, 1);
    assert_int_equal(t->status.code, TERN_DEADLINE_EXCEEDED);
    done(t);
    call(pool, "after", TERN_OK, "after");
    /* The owner may say so itself. */
    t = job_of("hang", NULL, 0);
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_OK);
    assert_false(tn_script_cancel(&t->job, true));
    wait_events(t, 1);
    assert_int_equal(t->status.code, TERN_DEADLINE_EXCEEDED);
    done(t);
    call(pool, "after", TERN_OK, "after");
    tn_script_pool_release(pool);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    tn_script_pool *pool = pool_with("echo", "1", 1, 2);
    tern_status st;
    ready(pool);
    test_job *hang = job_of("hang", NULL, 0), *a = job_of("a", NULL, 0), *b = job_of("b", NULL, 0),
             *c = job_of("c", NULL, 0);
    assert_int_equal(tn_script_submit(pool, &hang->job, &st), TERN_OK);
    assert_int_equal(tn_script_submit(pool, &a->job, &st), TERN_OK);
    assert_int_equal(tn_script_submit(pool, &b->job, &st), TERN_OK);
    assert_int_equal(tn_script_submit(pool, &c->job, &st), TERN_RESOURCE_EXHAUSTED);
    assert_true(tn_script_cancel(&a->job, false)); /* it leaves the queue: no event */
    assert_int_equal(tn_script_submit(pool, &c->job, &st), TERN_OK);
    assert_false(tn_script_cancel(&hang->job, true));
    wait_events(hang, 1);
    wait_events(b, 1);
    wait_events(c, 1);
    assert_string_equal(b->body, "b");
    assert_string_equal(c->body, "c");
    assert_int_equal(a->events, 0);
    done(hang);
    done(a);
    done(b);
    done(c);
    tn_script_pool_release(pool);
}

static void a_call_may_ask(void **state)
{
    (void)state;
    char buf[128];
    tn_frame_writer w;
    tern_status st;
    tn_script_pool *pool = pool_with("echo", "1", 1, 10);
    test_job *t = job_of("ask", NULL, 0);
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_OK);
    wait_events(t, 1);
    assert_false(t->over);
    assert_int_equal(t->type, TN_FRAME_ASK);
    tn_frame_begin(&w, buf, sizeof buf, TN_FRAME_RESULT, 0);
    tn_frame_put(&w, BODY, TN_STR("forty-two"));
    assert_true(tn_script_reply(&t->job, buf, tn_frame_end(&w)));
    wait_events(t, 2);
    assert_true(t->over);
    assert_string_equal(t->body, "forty-two");
    done(t);
    tn_script_pool_release(pool);
}

static void what_cannot_start_says_why(void **state)
{
    (void)state;
    tern_status st;
    test_job *t = job_of("x", NULL, 0);
    tn_script_pool *pool = pool_with("refuse", "1", 2, 10);
    assert_int_equal(tn_script_pool_wait(pool, tn_now_ns() + 20 * TN_NS_PER_S, &st),
                     TERN_FAILED_PRECONDITION);
    assert_string_equal(st.message, "there is no such thing");
    assert_int_equal(tn_script_pool_state(pool, &st), TN_SCRIPT_BROKEN);
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_FAILED_PRECONDITION);
    assert_string_equal(st.message, "there is no such thing");
    tn_script_job_finish(&t->job);
    tn_script_pool_release(pool);
    pool = pool_with("exit", "1", 1, 10);
    assert_int_equal(tn_script_pool_wait(pool, tn_now_ns() + 20 * TN_NS_PER_S, &st),
                     TERN_FAILED_PRECONDITION);
    assert_non_null(strstr(st.message, "exit status 3"));
    tn_script_pool_release(pool);
    pool = pool_with("mute", "1", 1, 10);
    assert_int_equal(tn_script_pool_wait(pool, tn_now_ns() + 50 * TN_NS_PER_MS, &st), TERN_DEADLINE_EXCEEDED);
    tn_script_pool_close(pool);
    assert_int_equal(tn_script_submit(pool, &t->job, &st), TERN_UNAVAILABLE);
    done(t);
    tn_script_pool_release(pool);
}

/* The server's port opened while nobody had been told yet that the workers cannot start. */
static void trouble_is_told_before_waiting_ends(void **state)
{
    (void)state;
    tern_status st;
    tn_script_pool *pool = pool_with("linger", "1", 1, 10);
    assert_int_equal(tn_script_pool_wait(pool, tn_now_ns() + 20 * TN_NS_PER_S, &st),
                     TERN_FAILED_PRECONDITION);
    assert_int_equal(atomic_load(&troubles), 1);
    tn_script_pool_release(pool);
}

static void closing_ends_what_waits(void **state)
{
    (void)state;
    tern_status st;
    tn_script_pool *pool = pool_with("echo", "1", 1, 10);
    ready(pool);
    test_job *slow = job_of("slow", NULL, 0), *waits = job_of("waits", NULL, 0);
    assert_int_equal(tn_script_submit(pool, &slow->job, &st), TERN_OK);
    assert_int_equal(tn_script_submit(pool, &waits->job, &st), TERN_OK);
    tn_script_pool_close(pool);
    wait_events(slow, 1);
    assert_string_equal(slow->body, "slow");
    wait_events(waits, 1);
    assert_int_equal(waits->status.code, TERN_UNAVAILABLE);
    done(slow);
    done(waits);
    tn_script_pool_release(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(tensors_must_fit_their_size),
        cmocka_unit_test(a_frame_that_is_too_long_is_not_written),
        cmocka_unit_test(segments_are_used_again_and_bounded),
        cmocka_unit_test_setup_teardown(calls_are_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_port_reads_what_workers_say, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_lie_in_shared_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_dead_ones_call_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_breaks_the_protocol_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_late_call_costs_its_worker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_queue_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_may_ask, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_start_says_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trouble_is_told_before_waiting_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_ends_what_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
