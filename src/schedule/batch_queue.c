/*
 * schedule/batch_queue.c - SERVING: batches that wait, and the threads that run them. See batch.h.
 *
 * One lock for all queues: what is done under it is a few comparisons of shapes. A queue with batches stands
 * in the list of active ones, and a thread takes the first batch that is due and puts its queue at the list's
 * end, so that queues have their turns. Threads wait until the earliest batch is due; the one that takes a
 * batch wakes another, which waits for the next.
 *
 * The original has one open batch for each queue, and shapes that differ spoil it; here there is one for each
 * shape. Its limit counts all of them. A batch lives in the arena of the call that opened it: that call
 * cannot end before the batch was taken.
 */
#include <stdlib.h>

#include "base/cores.h"
#include "base/thread.h"
#include "schedule/inside.h"

#define LOOKS_MAX 64 /* batches of one queue that a call is compared with, besides the last one */

/* ---- Into a queue ---- */

static int64_t limit_of(int64_t value)
{
    return value < 0 ? INT64_MAX : value;
}

/*
 * Whether the call's rows, or with splitting some of them, may join this batch; *full: they fit, but for
 * room.
 */
static bool can_join(const tn_batch_version *b, tn_batch *batch, const tn_call *call, tn_batch **full)
{
    if (batch->closed || !tn_batch_fits(call, batch->first->call))
        return false;
    *full = batch;
    const int64_t room = b->max_rows - batch->rows;
    const size_t bytes = batch->bytes < b->max_bytes ? b->max_bytes - batch->bytes : 0;
    return (b->params.split ? room > 0 : call->rows <= room) && tn_batch_bytes(call) <= bytes;
}

/* The open batch for this call, or NULL; *full is the last one of its shape that has no room. */
static tn_batch *find_open(const tn_batch_queue *q, const tn_call *call, tn_batch **full)
{
    const tn_batch_version *b = q->of->of;
    *full = NULL;
    if (q->last == NULL || atomic_load_explicit(&q->of->stats.alone, memory_order_relaxed))
        return NULL;
    if (can_join(b, q->last, call, full))
        return q->last;
    int looks = 0;
    for (tn_batch *batch = q->first; batch != NULL && looks < LOOKS_MAX; batch = batch->next, looks++)
        if (can_join(b, batch, call, full))
            return batch;
    return NULL;
}

/* In the original's words (shared_batch_scheduler.h, ValidateBatchTaskQueueCapacity). */
static tern_code check_room(const tn_batch_queue *q, const tn_call *call, const tn_batch *open,
                            tern_status *st)
{
    const tn_batch_params *p = &q->of->of->params;
    const int64_t most = limit_of(p->max_enqueued_batches);
    const int64_t execution = q->of->of->max_rows;
    if (!p->split) {
        if (open == NULL && q->n_batches > 0 && q->n_batches >= most)
            return tern_fail(st, TERN_UNAVAILABLE,
                             "The batch scheduling queue to which this task was submitted is full; currently "
                             "%lld batches enqueued and max_enqueued_batches is %lld",
                             (long long)q->n_batches, (long long)(most > 0 ? most : 1));
        return TERN_OK;
    }
    int64_t capacity;
    const int64_t in_open = open != NULL ? open->rows : 0;
    if (__builtin_mul_overflow(most > q->n_batches ? most - q->n_batches : 0, execution, &capacity) ||
        __builtin_add_overflow(capacity, open != NULL ? execution - in_open : 0, &capacity))
        return TERN_OK;
    if (call->rows <= capacity)
        return TERN_OK;
    return tern_fail(st, TERN_UNAVAILABLE,
                     "The batch scheduling queue to which this task was submitted is full; task size is %lld "
                     "but scheduling capacity is only %lld (num_enqueued_batches=%lld, "
                     "max_enqueued_batches=%lld, open_batch_size=%lld, max_execution_batch_size=%lld)",
                     (long long)call->rows, (long long)capacity,
                     (long long)(open != NULL ? q->n_batches : q->n_batches + 1),
                     (long long)p->max_enqueued_batches, (long long)in_open, (long long)execution);
}

static void activate(tn_batcher *k, tn_batch_queue *q)
{
    if (q->active)
        return;
    q->active = true;
    q->next_active = NULL;
    if (k->active_last != NULL)
        k->active_last->next_active = q;
    else
        k->active = q;
    k->active_last = q;
}

/* Half of the time that the call has left, and no longer than others are to be waited for. */
static int64_t due_of(const tn_batch_queue *q, const tn_call *call, int64_t now)
{
    int64_t wait = q->of->of->params.batch_timeout_us;
    wait = wait < INT64_MAX / 4 / TN_NS_PER_US ? wait * TN_NS_PER_US : INT64_MAX / 4;
    if (call->deadline_ns != 0) {
        int64_t half = (call->deadline_ns - now) / 2;
        wait = half < wait ? half : wait;
    }
    return now + (wait > 0 ? wait : 0);
}

/* A batch that holds part; in the arena of its call. */
static void open_batch(tn_batcher *k, tn_batch_queue *q, tn_batch *batch, tn_batch_part *part, int64_t due_ns)
{
    part->next = NULL;
    *batch = (tn_batch){.first = part,
                        .last = part,
                        .n_parts = 1,
                        .rows = part->rows,
                        .bytes = tn_batch_bytes(part->call),
                        .due_ns = due_ns};
    batch->closed = part->rows == 0 || atomic_load_explicit(&q->of->stats.alone, memory_order_relaxed);
    if (q->last != NULL)
        q->last->next = batch;
    else
        q->first = batch;
    q->last = batch;
    q->n_batches++;
    activate(k, q);
}

static void join_batch(tn_batch *batch, tn_batch_part *part, int64_t due_ns)
{
    part->next = NULL;
    batch->last->next = part;
    batch->last = part;
    batch->n_parts++;
    batch->rows += part->rows;
    batch->bytes += tn_batch_bytes(part->call);
    if (due_ns < batch->due_ns)
        batch->due_ns = due_ns;
}

/* Parts and batches for a call, in its arena: the first part fills the open batch, the others one each. */
static tern_code make_parts(tn_call *call, int64_t room, int64_t execution, tn_batch_part **parts,
                            tn_batch **batches, uint32_t *n, tern_status *st)
{
    int64_t head = room > 0 && room < call->rows ? room : call->rows < execution ? call->rows : execution;
    int64_t rest = call->rows - head;
    int64_t count = 1 + rest / execution + (rest % execution != 0);
    tn_batch_split *split = NULL;
    if (count > UINT32_MAX)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "A call of %lld rows has too many parts",
                         (long long)call->rows);
    *n = (uint32_t)count;
    *parts = tn_arena_zalloc(&call->arena, *n * sizeof **parts);
    *batches = tn_arena_zalloc(&call->arena, *n * sizeof **batches);
    if (*n > 1)
        split = tn_arena_zalloc(&call->arena, sizeof *split);
    if (*parts == NULL || *batches == NULL || (*n > 1 && split == NULL))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u parts of a call", *n);
    if (split != NULL) {
        pthread_mutex_init(&split->lock, NULL);
        split->n = split->left = *n;
        split->parts = *parts;
    }
    int64_t from = 0;
    for (uint32_t i = 0; i < *n; i++) {
        int64_t left = call->rows - from;
        int64_t rows = i == 0 ? head : left < execution ? left : execution;
        (*parts)[i] = (tn_batch_part){.call = call, .from = from, .rows = rows, .split = split};
        from += rows;
    }
    return TERN_OK;
}

/* With the lock held. */
static tern_code put(tn_schedule *s, tn_batch_queue *q, tn_call *call, tern_status *st)
{
    tn_batcher *k = &s->batcher;
    const tn_batch_version *b = q->of->of;
    const int64_t now = tn_now_ns();
    tn_batch *full;
    tn_batch *open = find_open(q, call, &full);
    tern_code code = check_room(q, call, open != NULL || !b->params.split ? open : full, st);
    if (code != TERN_OK)
        return code;
    tn_batch_part *parts = NULL;
    tn_batch *batches = NULL;
    uint32_t n = 0;
    code =
        make_parts(call, open != NULL ? b->max_rows - open->rows : 0, b->max_rows, &parts, &batches, &n, st);
    if (code != TERN_OK)
        return code;
    if (open == NULL && full != NULL)
        full->closed = true;
    const int64_t due = due_of(q, call, now);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 && open != NULL)
            join_batch(open, &parts[i], due);
        else
            open_batch(k, q, &batches[i], &parts[i], due);
    }
    atomic_fetch_add_explicit(&s->batch_stats.waiting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&q->of->stats.waiting, n, memory_order_relaxed);
    return TERN_OK;
}

tern_code tn_batcher_put(tn_schedule *s, tn_call *call, tern_status *st)
{
    tn_batch_queue *q = call->batch;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        tn_batch_sizes_record(&s->batch_stats.input_batch_size, call->rows);
    if (atomic_load_explicit(&s->batch_stats.waiting, memory_order_relaxed) >= (size_t)s->queue.max)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Too many requests: %zu calls wait for a batch already (--max_queue)", s->queue.max);
    pthread_mutex_lock(&s->batcher.lock);
    tern_code code = put(s, q, call, st);
    if (code == TERN_OK)
        pthread_cond_signal(&s->batcher.work);
    pthread_mutex_unlock(&s->batcher.lock);
    return code;
}

/* ---- Out of a queue ---- */

static bool is_due(const tn_batcher *k, const tn_batch_queue *q, const tn_batch *batch, int64_t now)
{
    return batch->closed || k->closed || batch->rows >= q->of->of->max_rows || now >= batch->due_ns;
}

static void unlink_batch(tn_batch_queue *q, tn_batch *before, tn_batch *batch)
{
    if (before != NULL)
        before->next = batch->next;
    else
        q->first = batch->next;
    if (q->last == batch)
        q->last = before;
    q->n_batches--;
}

/* Takes the queue, which stands behind `before`, out of the list, and puts it at the end if it has more. */
static void next_turn(tn_batcher *k, tn_batch_queue *before, tn_batch_queue *q)
{
    if (before != NULL)
        before->next_active = q->next_active;
    else
        k->active = q->next_active;
    if (k->active_last == q)
        k->active_last = before;
    q->active = false;
    if (q->first != NULL)
        activate(k, q);
}

/* The first batch that is due, or NULL, and when the next one is. With the lock held. */
static tn_batch *take_due(tn_batcher *k, int64_t now, tn_batch_queue **queue, int64_t *next_ns)
{
    *next_ns = INT64_MAX;
    tn_batch_queue *q_before = NULL;
    for (tn_batch_queue *q = k->active; q != NULL; q_before = q, q = q->next_active) {
        tn_batch *before = NULL;
        for (tn_batch *batch = q->first; batch != NULL; before = batch, batch = batch->next) {
            if (is_due(k, q, batch, now)) {
                unlink_batch(q, before, batch);
                next_turn(k, q_before, q);
                *queue = q;
                return batch;
            }
            if (batch->due_ns < *next_ns)
                *next_ns = batch->due_ns;
        }
    }
    return NULL;
}

/* Waits for a batch; its parts, linked. NULL: the end. */
static tn_batch_part *next_batch(tn_schedule *s, tn_batch_queue **queue, uint32_t *n)
{
    tn_batcher *k = &s->batcher;
    tn_batch_part *parts = NULL;
    int64_t next_ns;
    pthread_mutex_lock(&k->lock);
    tn_batch *batch;
    while ((batch = take_due(k, tn_now_ns(), queue, &next_ns)) == NULL && !k->ending)
        (void)tn_cond_until(&k->work, &k->lock, next_ns);
    if (batch != NULL) {
        *n = batch->n_parts;
        parts = batch->first;
        /* Before it is taken off there: who looks at both sees it in one. */
        atomic_fetch_add_explicit(&s->batch_stats.running, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&(*queue)->of->stats.waiting, *n, memory_order_relaxed);
        for (tn_batch_part *p = parts; p != NULL; p = p->next)
            if (p->split == NULL || p == p->split->parts)
                atomic_fetch_sub_explicit(&s->batch_stats.waiting, 1, memory_order_release);
        if (k->active != NULL)
            pthread_cond_signal(&k->work);
    }
    pthread_mutex_unlock(&k->lock);
    return parts;
}

/* Without memory for the list of parts, each is a batch of its own. */
static void run_parts(tn_batch_runner *runner, tn_batch_queue *queue, tn_batch_part *parts, uint32_t n)
{
    tn_batch_part **list = tn_arena_array(&runner->arena, n, sizeof(tn_batch_part *));
    tn_batch_part *next;
    uint32_t i = 0;
    for (tn_batch_part *part = parts; part != NULL; part = next) {
        next = part->next;
        if (list != NULL)
            list[i++] = part;
        else
            tn_batch_run(runner, queue, &part, 1, false);
    }
    if (list != NULL)
        tn_batch_run(runner, queue, list, n, false);
}

static void *batch_thread(void *arg)
{
    tn_schedule *s = arg;
    tn_batch_runner runner;
    tn_batch_queue *queue;
    tn_batch_part *parts;
    uint32_t n;
    tn_batch_runner_init(&runner, s);
    while ((parts = next_batch(s, &queue, &n)) != NULL) {
        run_parts(&runner, queue, parts, n);
        atomic_fetch_sub_explicit(&s->batch_stats.running, 1, memory_order_relaxed);
    }
    tn_batch_runner_free(&runner);
    return NULL;
}

/* ---- Life ---- */

static tern_code start_thread(tn_schedule *s, tern_status *st)
{
    tn_batcher *k = &s->batcher;
    char name[16];
    snprintf(name, sizeof name, "tern-batch-%u", k->n_threads % 1000);
    int error = tn_thread_start(&k->threads[k->n_threads], name, batch_thread, s);
    if (error != 0)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start batch thread %u: %s", k->n_threads + 1,
                         strerror(error));
    k->n_threads++;
    return TERN_OK;
}

tern_code tn_batcher_start(tn_schedule *s, tern_status *st)
{
    tn_batcher *k = &s->batcher;
    const tn_batch_params *p = &s->batching.params;
    pthread_mutex_init(&k->lock, NULL);
    tn_cond_init(&k->work);
    if (s->batching.manner != TN_BATCHING_SERVING)
        return TERN_OK;
    tern_code code = tn_batch_params_check_threads(p, st);
    if (code != TERN_OK)
        return code;
    const size_t n = p->has_threads ? (size_t)p->num_batch_threads : tn_cores();
    k->threads = calloc(n, sizeof *k->threads);
    if (k->threads == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu batch threads", n);
    while (code == TERN_OK && k->n_threads < n)
        code = start_thread(s, st);
    return code;
}

void tn_batcher_close(tn_schedule *s)
{
    pthread_mutex_lock(&s->batcher.lock);
    s->batcher.closed = true;
    pthread_cond_broadcast(&s->batcher.work);
    pthread_mutex_unlock(&s->batcher.lock);
}

void tn_batcher_end(tn_schedule *s)
{
    tn_batcher *k = &s->batcher;
    pthread_mutex_lock(&k->lock);
    k->closed = k->ending = true;
    pthread_cond_broadcast(&k->work);
    pthread_mutex_unlock(&k->lock);
    while (k->n_threads > 0)
        pthread_join(k->threads[--k->n_threads], NULL);
}

void tn_batcher_free(tn_schedule *s)
{
    tn_batcher *k = &s->batcher;
    free(k->threads);
    pthread_cond_destroy(&k->work);
    pthread_mutex_destroy(&k->lock);
}

void tn_batcher_leave(tn_schedule *s)
{
    for (uint32_t i = 0; i < s->batcher.n_threads; i++)
        pthread_detach(s->batcher.threads[i]);
}
