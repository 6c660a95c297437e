/*
 * api/async_job.c - calls of InvokeEndpointAsync at work: queue, threads, files. See api/async_job.h.
 *
 * A thread runs one call at a time from its first byte to its last and blocks as it likes; the loop is asked
 * for short steps only. The body is handed on in pieces, an answer is written from the memory that it lies
 * in, and of a streamed one no more than TN_STREAM_MAX bytes wait for the file.
 */
#include "api/async_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/sagemaker.h"
#include "api/surfaces.h"
#include "base/beneath.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#define PIECE    ((size_t)256 * 1024)
#define TEXT_MAX (16u << 10)

typedef struct async_worker {
    tn_async *async;
    pthread_t thread;
    tn_async_job *job; /* under way; with the async's lock */
} async_worker;

struct tn_async {
    tn_server *server;
    tn_async_options options;
    int root;
    tn_taskq queue;
    pthread_mutex_t lock; /* of the workers' `job`; may be held when a job's is taken */
    atomic_bool stopping;
    int32_t n_workers;
    async_worker *workers;
    atomic_uint_least64_t running, completed, failed;
};

tn_server *tn_async_server(const tn_async *async)
{
    return async->server;
}

const tn_async_options *tn_async_options_of(const tn_async *async)
{
    return &async->options;
}

bool tn_async_push(tn_async *async, tn_async_job *job)
{
    return tn_taskq_push(&async->queue, &job->task, NULL);
}

void tn_async_job_free(tn_async_job *job)
{
    tn_server *server = job->async->server;
    tn_budget_give(&server->budget, job->charged);
    tn_buf_free(&job->body);
    tn_buf_free(&job->waiting);
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    tn_arena_free(&job->arena);
    free(job);
}

/* ---- The loop's side: the answer ---- */

static tn_async_job *job_of(const tn_taker *taker)
{
    return (tn_async_job *)((uintptr_t)taker - offsetof(tn_async_job, taker));
}

static bool on_send(tn_taker *taker, const tn_response *response)
{
    tn_async_job *job = job_of(taker);
    job->inner = NULL;
    tn_tap_answer(job->tap, response);
    job->tap = NULL;
    pthread_mutex_lock(&job->lock);
    job->status = response->status;
    job->held = *response;
    job->whole = true;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
    return true;
}

static void on_stream(tn_taker *taker, const tn_response *head)
{
    tn_async_job *job = job_of(taker);
    tn_tap_head(job->tap, head);
    pthread_mutex_lock(&job->lock);
    job->status = head->status;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

static bool on_write(tn_taker *taker, const void *bytes, size_t n)
{
    tn_async_job *job = job_of(taker);
    tn_tap_output(job->tap, bytes, n);
    pthread_mutex_lock(&job->lock);
    tn_buf_append(&job->waiting, bytes, n);
    bool good = !job->waiting.failed;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
    return good;
}

static size_t on_room(const tn_taker *taker)
{
    tn_async_job *job = job_of(taker);
    pthread_mutex_lock(&job->lock);
    size_t room = TN_STREAM_MAX - job->waiting.len;
    pthread_mutex_unlock(&job->lock);
    return room;
}

static void on_want_room(tn_taker *taker)
{
    tn_async_job *job = job_of(taker);
    pthread_mutex_lock(&job->lock);
    job->wants_room = true;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

static void on_finish(tn_taker *taker, bool broken)
{
    tn_async_job *job = job_of(taker);
    job->inner = NULL;
    tn_tap_close(job->tap, !broken);
    job->tap = NULL;
    pthread_mutex_lock(&job->lock);
    job->finished = true;
    job->broken = broken;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

tn_taker tn_async_taker(void)
{
    return (tn_taker){.send = on_send,
                      .stream = on_stream,
                      .write = on_write,
                      .room = on_room,
                      .want_room = on_want_room,
                      .finish = on_finish};
}

/* ---- Steps that the thread asks the loop for ---- */

static void step_done(tn_async_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->done = true;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

static tn_async_job *job_of_task(tn_task *task)
{
    return TN_CONTAINER(task, tn_async_job, task);
}

static void begin_step(tn_task *task)
{
    tn_async_job *job = job_of_task(task);
    tn_endpoints_hand_over(job->async->server, job->inner);
    step_done(job);
}

static void body_step(tn_task *task)
{
    tn_async_job *job = job_of_task(task);
    tn_tap_input(job->tap, job->piece, job->n_piece);
    if (job->inner != NULL)
        tn_exchange_inner_body(job->inner, job->piece, job->n_piece);
    step_done(job);
}

static void end_step(tn_task *task)
{
    tn_async_job *job = job_of_task(task);
    if (job->inner != NULL)
        tn_exchange_inner_end(job->inner);
    step_done(job);
}

static void room_step(tn_task *task)
{
    tn_async_job *job = job_of_task(task);
    if (job->inner != NULL)
        tn_exchange_inner_room(job->inner);
    step_done(job);
}

/* The thread has what it wants, or wants no more. */
static void leave_step(tn_task *task)
{
    tn_async_job *job = job_of_task(task);
    tn_exchange *inner = job->inner;
    job->inner = NULL;
    if (inner != NULL)
        tn_exchange_abandon(inner);
    tn_tap_close(job->tap, false);
    job->tap = NULL;
    if (job->whole && job->held.release != NULL)
        job->held.release(job->held.release_arg, true);
    step_done(job);
}

static void ask(tn_async_job *job, void (*step)(tn_task *))
{
    job->done = false;
    job->task.run = step;
    tn_loop_post(job->loop, &job->task);
    pthread_mutex_lock(&job->lock);
    while (!job->done)
        pthread_cond_wait(&job->changed, &job->lock);
    pthread_mutex_unlock(&job->lock);
}

/* ---- The thread's side ---- */

static bool is_stopping(tn_async *async)
{
    return atomic_load_explicit(&async->stopping, memory_order_acquire);
}

static bool answered(tn_async_job *job)
{
    pthread_mutex_lock(&job->lock);
    bool yes = job->whole || job->finished;
    pthread_mutex_unlock(&job->lock);
    return yes;
}

/* Hands the input on. false: `why` says what is wrong with it. */
static bool hand_file(tn_async_job *job, tn_buf *why)
{
    int64_t length = 0;
    int fd = tn_beneath_open(job->async->root, job->input, &length);
    char *piece = fd >= 0 ? malloc(PIECE) : NULL;
    ssize_t n = piece != NULL ? 1 : -1;
    if (fd >= 0 && piece == NULL)
        errno = ENOMEM;
    while (n > 0 && !answered(job)) {
        n = read(fd, piece, PIECE);
        if (n > 0) {
            job->piece = piece;
            job->n_piece = (size_t)n;
            ask(job, body_step);
        }
    }
    if (n < 0)
        tn_buf_printf(why, "The input s3://%.*s cannot be read: %s", TN_FMT(job->input), strerror(errno));
    free(piece);
    if (fd >= 0)
        close(fd);
    return n >= 0;
}

static bool hand_input(tn_async_job *job, tn_buf *why)
{
    bool good = true;
    if (job->input.len > 0) {
        good = hand_file(job, why);
    } else if (job->body.len > 0) {
        job->piece = job->body.ptr;
        job->n_piece = job->body.len;
        ask(job, body_step);
    }
    if (good)
        ask(job, end_step);
    return good;
}

/* Waits until something is to be done. false: too long, or the server goes down. */
static bool wait_for_answer(tn_async_job *job, int64_t until_ns)
{
    int late = 0;
    pthread_mutex_lock(&job->lock);
    while (!job->whole && !job->finished && job->waiting.len == 0 && !job->wants_room && late == 0 &&
           !is_stopping(job->async))
        late = tn_cond_until(&job->changed, &job->lock, until_ns);
    bool some = job->whole || job->finished || job->waiting.len > 0 || job->wants_room;
    pthread_mutex_unlock(&job->lock);
    return some;
}

static bool is_good(const tn_async_job *job)
{
    return job->status >= 200 && job->status < 300;
}

/* One look at what came. */
typedef struct news {
    tn_buf piece; /* was streamed since the last look */
    bool room;    /* somebody wants to know that it is gone */
    bool whole, finished;
} news;

static void look(tn_async_job *job, news *n)
{
    tn_buf_clear(&n->piece);
    pthread_mutex_lock(&job->lock);
    tn_buf taken = job->waiting;
    job->waiting = n->piece;
    n->piece = taken;
    n->room = job->wants_room;
    job->wants_room = false;
    n->whole = job->whole;
    n->finished = job->finished;
    pthread_mutex_unlock(&job->lock);
}

/* Files of what the model answered, or the begin of it in `text` where that is not good. */
typedef struct answer_file {
    tn_async_job *job;
    tn_whole_file file;
    bool open;
    int error;
    tn_buf text;
} answer_file;

static void put(answer_file *a, const void *bytes, size_t n)
{
    if (n == 0 && a->open)
        return;
    if (!is_good(a->job)) {
        size_t left = TN_ENVELOPE_MESSAGE + 1 - a->text.len;
        tn_buf_append(&a->text, bytes, n < left ? n : left);
        return;
    }
    if (a->error == 0 && !a->open) {
        if (tn_whole_file_begin(a->job->async->root, a->job->output, &a->file) == 0)
            a->open = true;
        else
            a->error = errno;
    }
    if (a->error == 0 && tn_whole_file_write(&a->file, bytes, n) != 0)
        a->error = errno;
}

/* Receives the answer. false: `why` says what became of it. */
static bool receive(answer_file *a, int64_t until_ns, tn_buf *why)
{
    tn_async_job *job = a->job;
    news n = {.room = false};
    tn_buf_init(&n.piece, TN_STREAM_MAX);
    while (!n.whole && !n.finished) {
        if (!wait_for_answer(job, until_ns)) {
            if (is_stopping(job->async))
                tn_buf_z(why, "The server went down before the model had answered");
            else
                tn_buf_printf(why, "The model did not answer within InvocationTimeoutSeconds=%lld",
                              (long long)job->timeout_s);
            break;
        }
        look(job, &n);
        put(a, n.piece.ptr, n.piece.len);
        if (n.room)
            ask(job, room_step);
    }
    tn_buf_free(&n.piece);
    for (size_t i = 0; n.whole && i < job->held.n_body; i++)
        put(a, job->held.body[i].ptr, job->held.body[i].len);
    if (why->len == 0)
        put(a, "", 0); /* an empty answer is a file, too */
    if (why->len == 0 && !is_good(job))
        tn_envelope_model_text(why, &job->envelope, job->status, tn_buf_view(&a->text));
    else if (why->len == 0 && job->broken)
        tn_buf_z(why, "The model broke its answer off; the log of the server says why");
    return why->len == 0;
}

/* Runs one call. false: `why` says what is to be in the failure file. */
static bool invoke(tn_async_job *job, tn_buf *why)
{
    answer_file a = {.job = job};
    const int64_t now = tn_now_ns(), until_ns = now + job->timeout_s * TN_NS_PER_S;
    if (is_stopping(job->async)) {
        tn_buf_z(why, "The server went down before the request was begun");
        return false;
    }
    if (now > job->expires_ns) {
        tn_buf_printf(why, "The request expired: it waited longer than RequestTTLSeconds=%lld",
                      (long long)job->ttl_s);
        return false;
    }
    tn_buf_init(&a.text, TEXT_MAX);
    ask(job, begin_step);
    bool good = hand_input(job, why) && receive(&a, until_ns, why);
    if (a.open && tn_whole_file_end(&a.file, good && a.error == 0) != 0 && a.error == 0)
        a.error = errno;
    if (good && a.error != 0)
        tn_buf_printf(why, "The output s3://%.*s cannot be written: %s", TN_FMT(job->output),
                      strerror(a.error));
    tn_buf_free(&a.text);
    return good && a.error == 0;
}

static void write_failure(tn_async_job *job, tn_str why)
{
    tn_whole_file f;
    tn_warn("async", "%.*s: %.*s", TN_FMT(job->id), TN_FMT(tn_str_sub(why, 0, 512)));
    if (tn_whole_file_begin(job->async->root, job->failure, &f) != 0 ||
        tn_whole_file_end(&f, tn_whole_file_write(&f, why.ptr, why.len) == 0) != 0)
        tn_error("async", "s3://%.*s cannot be written: %s", TN_FMT(job->failure), strerror(errno));
}

static void run(tn_async_job *job)
{
    tn_async *async = job->async;
    tn_buf why;
    tn_buf_init(&why, TEXT_MAX);
    bool good = invoke(job, &why);
    if (!good)
        write_failure(job, tn_buf_view(&why));
    atomic_fetch_add(good ? &async->completed : &async->failed, 1);
    tn_buf_free(&why);
    ask(job, leave_step);
}

/* While it runs, tn_async_end() may wake it. */
static void set_running(async_worker *w, tn_async_job *job)
{
    pthread_mutex_lock(&w->async->lock);
    w->job = job;
    pthread_mutex_unlock(&w->async->lock);
    atomic_fetch_add(&w->async->running, job != NULL ? 1 : (uint64_t)-1);
}

static void *work(void *arg)
{
    async_worker *w = arg;
    tn_task *task;
    while ((task = tn_taskq_pop(&w->async->queue)) != NULL) {
        tn_async_job *job = job_of_task(task);
        set_running(w, job);
        run(job);
        set_running(w, NULL);
        tn_async_job_free(job);
    }
    return NULL;
}

/* ---- The whole ---- */

tern_code tn_async_new(tn_server *server, const tn_async_options *options, tn_async **out, tern_status *st)
{
    *out = NULL;
    int root = open(options->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--async_dir=%s: %s", options->folder, strerror(errno));
    tn_async *async = calloc(1, sizeof *async);
    async_worker *workers = calloc((size_t)options->workers, sizeof *workers);
    if (async == NULL || workers == NULL) {
        free(async);
        free(workers);
        close(root);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    }
    async->server = server;
    async->options = *options;
    async->root = root;
    async->workers = workers;
    tn_taskq_init(&async->queue, (size_t)options->max_queue);
    pthread_mutex_init(&async->lock, NULL);
    for (int32_t i = 0; i < options->workers; i++) {
        workers[i].async = async;
        int failed = tn_thread_start(&workers[i].thread, "tern-async", work, &workers[i]);
        if (failed != 0) {
            tn_async_end(async);
            tn_async_free(async);
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start a thread: %s", strerror(failed));
        }
        async->n_workers++;
    }
    *out = async;
    return TERN_OK;
}

void tn_async_end(tn_async *async)
{
    if (async == NULL)
        return;
    atomic_store_explicit(&async->stopping, true, memory_order_release);
    pthread_mutex_lock(&async->lock);
    for (int32_t i = 0; i < async->n_workers; i++) {
        tn_async_job *job = async->workers[i].job;
        if (job == NULL)
            continue;
        pthread_mutex_lock(&job->lock);
        pthread_cond_signal(&job->changed);
        pthread_mutex_unlock(&job->lock);
    }
    pthread_mutex_unlock(&async->lock);
    tn_taskq_close(&async->queue);
    for (int32_t i = 0; i < async->n_workers; i++)
        pthread_join(async->workers[i].thread, NULL);
}

void tn_async_free(tn_async *async)
{
    if (async == NULL)
        return;
    tn_taskq_destroy(&async->queue);
    pthread_mutex_destroy(&async->lock);
    close(async->root);
    free(async->workers);
    free(async);
}

tn_async_counts tn_async_count(tn_async *async)
{
    return (tn_async_counts){.waiting = tn_taskq_length(&async->queue),
                             .running = atomic_load(&async->running),
                             .completed = atomic_load(&async->completed),
                             .failed = atomic_load(&async->failed)};
}
