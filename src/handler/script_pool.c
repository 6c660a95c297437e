/*
 * handler/script_pool.c - pools of workers: their jobs, and the thread that looks after them. See
 * handler/script_pool.h.
 */
#include "handler/script_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "handler/script_inside.h"

#define EVENTS           64
#define TICK_NS          (200 * TN_NS_PER_MS)
#define MEMORY_LOOK_NS   TN_NS_PER_S
#define FIRST_PAUSE_NS   (250 * TN_NS_PER_MS)
#define LONGEST_PAUSE_NS (30 * TN_NS_PER_S)

/* ---- the lock, and events behind it ---- */

void tn_scripts_lock(tn_scripts *s)
{
    pthread_mutex_lock(&s->lock);
}

/* Events are the owners' code: without the lock. */
void tn_scripts_unlock(tn_scripts *s)
{
    tn_script_job *first = s->events;
    s->events = NULL;
    s->events_end = &s->events;
    pthread_mutex_unlock(&s->lock);
    while (first != NULL) {
        tn_script_job *job = first;
        first = job->next_event;
        job->event(job); /* it may be gone now */
    }
}

void tn_script_tell(tn_scripts *s, tn_script_job *job)
{
    job->next_event = NULL;
    *s->events_end = job;
    s->events_end = &job->next_event;
}

void tn_script_over(tn_scripts *s, tn_script_job *job, const tern_status *st)
{
    job->over = true;
    job->worker = NULL;
    if (st != NULL) {
        job->status = *st;
        job->reply.type = 0;
    } else {
        tern_status_init(&job->status);
    }
    tn_script_tell(s, job);
}

void tn_script_wake(tn_scripts *s)
{
    const uint64_t one = 1;
    ssize_t n = write(s->wake, &one, sizeof one);
    (void)n; /* when it is full, the thread is about to wake */
}

/* ---- jobs ---- */

void tn_script_job_init(tn_script_job *job, void (*event)(tn_script_job *job))
{
    *job = (tn_script_job){.event = event};
    tn_buf_init(&job->in, TN_FRAME_MAX);
}

bool tn_script_job_add(tn_script_job *job, tn_segment *segment)
{
    if (job->n_segments == TN_SCRIPT_SEGMENTS)
        return false;
    job->segments[job->n_segments++] = segment;
    return true;
}

tn_segment *tn_script_job_segment(const tn_script_job *job, const tn_frame_ref *ref)
{
    for (uint32_t i = 0; i < job->n_segments; i++) {
        tn_segment *segment = job->segments[i];
        if (segment->id == ref->segment && ref->offset <= segment->size &&
            ref->size <= segment->size - ref->offset)
            return segment;
    }
    return NULL;
}

tn_str tn_script_job_bytes(const tn_script_job *job, const tn_frame_ref *ref)
{
    if (ref->segment == 0) {
        tn_str in = tn_frame_get(&job->reply, TN_TAG_INLINE);
        if (in.ptr == NULL || ref->offset > in.len || ref->size > in.len - ref->offset)
            return TN_STR_NONE;
        return (tn_str){in.ptr + ref->offset, (size_t)ref->size};
    }
    tn_segment *segment = tn_script_job_segment(job, ref);
    return segment != NULL ? (tn_str){segment->ptr + ref->offset, (size_t)ref->size} : TN_STR_NONE;
}

void tn_script_job_keep(tn_script_job *job, uint64_t id)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < job->n_segments; i++)
        if (job->segments[i]->id == id)
            job->segments[kept++] = job->segments[i];
        else
            tn_segment_release(job->segments[i]);
    job->n_segments = kept;
}

void tn_script_job_finish(tn_script_job *job)
{
    for (uint32_t i = 0; i < job->n_segments; i++)
        tn_segment_release(job->segments[i]);
    tn_script_pool_release(job->pool);
    tn_buf_free(&job->in);
    tn_script_job_init(job, job->event);
}

static void unqueue(tn_script_pool *pool, tn_script_job *job)
{
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        pool->queue = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        pool->last = job->prev;
    job->next = job->prev = NULL;
    job->queued = false;
    pool->n_queued--;
}

static void enqueue(tn_script_pool *pool, tn_script_job *job)
{
    job->next = NULL;
    job->prev = pool->last;
    if (pool->last != NULL)
        pool->last->next = job;
    else
        pool->queue = job;
    pool->last = job;
    job->queued = true;
    pool->n_queued++;
}

void tn_script_requeue(tn_script_pool *pool, tn_script_job *job)
{
    job->prev = NULL;
    job->next = pool->queue;
    if (pool->queue != NULL)
        pool->queue->prev = job;
    else
        pool->last = job;
    pool->queue = job;
    job->queued = true;
    pool->n_queued++;
}

/* The worker with the fewest calls that has room; one that is worn only when there is no other. */
static tn_script_worker *pick(tn_script_pool *pool)
{
    tn_script_worker *best = NULL;
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++) {
        tn_script_worker *w = &pool->workers[i];
        if (w->state != TN_WORKER_READY || w->n_jobs >= w->capacity || w->backlog != NULL)
            continue;
        if (best == NULL || (best->worn && !w->worn) || (best->worn == w->worn && w->n_jobs < best->n_jobs))
            best = w;
    }
    return best;
}

/* false: the worker's socket is broken, and the job was not taken. */
static bool give(tn_script_worker *w, tn_script_job *job)
{
    job->call = ++w->pool->last_call;
    if (w->n_jobs == 0)
        tn_worker_move(w, job->port);
    tn_frame_set_call(job->frame, job->call);
    if (!tn_worker_send(w, job, job->frame, job->frame_len)) {
        tn_worker_kill(w, "its socket is broken");
        return false;
    }
    tn_worker_take(w, job);
    w->pool->counts.calls++;
    return true;
}

void tn_script_dispatch(tn_script_pool *pool)
{
    tn_script_worker *w;
    while (pool->queue != NULL && (w = pick(pool)) != NULL) {
        tn_script_job *job = pool->queue;
        unqueue(pool, job);
        if (!give(w, job))
            tn_script_requeue(pool, job);
    }
}

static bool any_ready(const tn_script_pool *pool)
{
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
        if (pool->workers[i].state == TN_WORKER_READY)
            return true;
    return false;
}

static bool is_broken(const tn_script_pool *pool)
{
    return pool->trouble.code != TERN_OK && !any_ready(pool);
}

tern_code tn_script_submit(tn_script_pool *pool, tn_script_job *job, tern_status *st)
{
    tn_scripts *s = pool->owner;
    tern_code code = TERN_OK;
    if (job->pool == NULL)
        job->pool = tn_script_pool_retain(pool);
    job->over = job->lost = job->in_hand = job->late = job->cancelled = false;
    job->tries = 0;
    job->reply.type = 0;
    tn_scripts_lock(s);
    if (pool->closed) {
        code = tern_fail(st, TERN_UNAVAILABLE, "The workers of %s are ending", pool->name);
    } else if (is_broken(pool)) {
        *st = pool->trouble;
        code = st->code;
    } else {
        tn_script_worker *w = pool->queue == NULL ? pick(pool) : NULL;
        if (w != NULL && give(w, job))
            ;
        else if (pool->n_queued >= pool->o.max_queue)
            code =
                tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                          "%zu calls wait for a worker of %s already (--max_script_queue); try again later",
                          pool->n_queued, pool->name);
        else
            enqueue(pool, job);
    }
    tn_scripts_unlock(s);
    return code;
}

bool tn_script_reply(tn_script_job *job, char *frame, size_t frame_len)
{
    tn_scripts *s = job->pool->owner;
    tn_scripts_lock(s);
    const bool lost = job->lost;
    job->in_hand = false;
    job->reply.type = 0;
    if (lost) {
        job->over = true;
    } else {
        tn_frame_set_call(frame, job->call);
        if (!tn_worker_send(job->worker, job, frame, frame_len))
            tn_worker_kill(job->worker, "its socket is broken"); /* over comes with its end */
    }
    tn_scripts_unlock(s);
    return !lost;
}

bool tn_script_cancel(tn_script_job *job, bool late)
{
    char buf[TN_FRAME_HEAD];
    tn_frame_writer out;
    tn_scripts *s = job->pool->owner;
    bool done = false;
    tn_scripts_lock(s);
    if (job->queued) {
        unqueue(job->pool, job);
        done = job->over = true;
    } else if (job->worker != NULL && !job->over && !job->in_hand) {
        tn_script_worker *w = job->worker;
        job->cancelled = true;
        tn_frame_begin(&out, buf, sizeof buf, TN_FRAME_CANCEL, job->call);
        (void)tn_worker_send(w, job, buf, tn_frame_end(&out));
        if (late) {
            job->late = true;
            tn_worker_retire(w, "its call had passed its deadline");
        }
    }
    tn_scripts_unlock(s);
    return done;
}

/* ---- pools ---- */

static char **copy_list(const char *const *list)
{
    size_t n = 0;
    while (list[n] != NULL)
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < n; i++)
        if ((copy[i] = strdup(list[i])) == NULL) {
            while (i > 0)
                free(copy[--i]);
            free(copy);
            copy = NULL;
        }
    return copy;
}

static void free_list(char **list)
{
    for (char **at = list; at != NULL && *at != NULL; at++)
        free(*at);
    free(list);
}

static void free_pool(tn_script_pool *pool)
{
    tn_segments_free(pool->segments);
    free_list(pool->argv);
    free_list(pool->env);
    free(pool->name);
    free(pool);
}

tern_code tn_script_pool_new(tn_scripts *s, const tn_script_pool_options *o, tn_script_pool **out,
                             tern_status *st)
{
    tn_script_pool *pool = calloc(1, sizeof *pool);
    *out = NULL;
    if (pool == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a pool of workers");
    atomic_init(&pool->refs, 2); /* the caller's and the supervisor's */
    pool->told = true;           /* so that the first worker that is ready is told */
    pool->owner = s;
    pool->o = *o;
    pool->name = strndup(o->name.ptr, o->name.len);
    pool->argv = copy_list(o->command.argv);
    pool->env = copy_list(o->command.env);
    pool->segments = tn_segments_new(o->budget, o->max_bytes, o->max_idle);
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
        pool->workers[i] =
            (tn_script_worker){.pool = pool, .place = i, .socket = -1, .page_fd = -1, .process.pidfd = -1};
    if (pool->name == NULL || pool->argv == NULL || pool->env == NULL || pool->segments == NULL) {
        free_pool(pool);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a pool of workers");
    }
    if (pool->o.workers > TN_SCRIPT_WORKERS_MAX / 2)
        pool->o.workers = TN_SCRIPT_WORKERS_MAX / 2;
    tn_scripts_lock(s);
    pool->next = s->pools;
    s->pools = pool;
    tn_script_wake(s);
    tn_scripts_unlock(s);
    *out = pool;
    return TERN_OK;
}

tn_script_pool *tn_script_pool_retain(tn_script_pool *pool)
{
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return pool;
}

static void close_pool(tn_script_pool *pool)
{
    tn_scripts *s = pool->owner;
    tern_status st;
    if (pool->closed)
        return;
    pool->closed = true;
    tern_fail(&st, TERN_UNAVAILABLE, "The workers of %s are ending", pool->name);
    while (pool->queue != NULL) {
        tn_script_job *job = pool->queue;
        unqueue(pool, job);
        tn_script_over(s, job, &st);
    }
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
        tn_worker_retire(&pool->workers[i], NULL);
    pthread_cond_broadcast(&s->changed);
    tn_script_wake(s);
}

/* With the lock, so that sweep() does not free what is still looked at. */
void tn_script_pool_release(tn_script_pool *pool)
{
    if (pool == NULL)
        return;
    tn_scripts *s = pool->owner;
    tn_scripts_lock(s);
    if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) == 2) {
        close_pool(pool);
        tn_script_wake(s);
    }
    tn_scripts_unlock(s);
}

void tn_script_pool_close(tn_script_pool *pool)
{
    tn_scripts *s = pool->owner;
    tn_scripts_lock(s);
    close_pool(pool);
    tn_scripts_unlock(s);
}

tn_script_state tn_script_pool_state(tn_script_pool *pool, tern_status *trouble)
{
    tn_scripts *s = pool->owner;
    tn_scripts_lock(s);
    const bool broken = is_broken(pool);
    const tn_script_state state = broken            ? TN_SCRIPT_BROKEN
                                  : pool->was_ready ? TN_SCRIPT_READY
                                                    : TN_SCRIPT_STARTING;
    if (trouble != NULL && broken)
        *trouble = pool->trouble;
    else if (trouble != NULL)
        tern_status_init(trouble);
    tn_scripts_unlock(s);
    return state;
}

size_t tn_script_pool_note(tn_script_pool *pool, char *text, size_t size)
{
    tn_scripts *s = pool->owner;
    tn_scripts_lock(s);
    size_t n = pool->note_len < size - 1 ? pool->note_len : size - 1;
    memcpy(text, pool->note, n);
    tn_scripts_unlock(s);
    text[n] = '\0';
    return n;
}

tern_code tn_script_pool_wait(tn_script_pool *pool, int64_t at_ns, tern_status *st)
{
    tn_scripts *s = pool->owner;
    tern_code code = TERN_OK;
    tn_scripts_lock(s);
    while (!any_ready(pool) && code == TERN_OK) {
        if (pool->closed)
            code = tern_fail(st, TERN_UNAVAILABLE, "The workers of %s are ending", pool->name);
        else if (pool->trouble.code != TERN_OK) {
            *st = pool->trouble;
            code = st->code;
        } else if (tn_cond_until(&s->changed, &s->lock, at_ns) == ETIMEDOUT && !any_ready(pool) &&
                   pool->trouble.code == TERN_OK) {
            code = tern_fail(st, TERN_DEADLINE_EXCEEDED, "No worker of %s got ready in time", pool->name);
        }
    }
    tn_scripts_unlock(s);
    return code;
}

tn_segments *tn_script_pool_segments(tn_script_pool *pool)
{
    return pool->segments;
}

tn_scripts *tn_script_pool_owner(const tn_script_pool *pool)
{
    return pool->owner;
}

tn_script_counts tn_script_pool_count(tn_script_pool *pool)
{
    tn_scripts *s = pool->owner;
    tn_scripts_lock(s);
    tn_script_counts n = pool->counts;
    n.queued = pool->n_queued;
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++) {
        n.ready += pool->workers[i].state == TN_WORKER_READY;
        n.busy += pool->workers[i].n_jobs;
    }
    tn_scripts_unlock(s);
    n.shared_idle_bytes = tn_segments_idle(pool->segments);
    return n;
}

/* ---- what the thread does with a pool ---- */

void tn_script_trouble(tn_script_pool *pool)
{
    const bool broken = is_broken(pool);
    pthread_cond_broadcast(&pool->owner->changed);
    if (pool->o.on_trouble != NULL && (broken || pool->told) && !pool->closed)
        pool->o.on_trouble(pool->o.context, broken ? &pool->trouble : NULL);
    pool->told = broken;
}

void tn_script_pause(tn_script_pool *pool)
{
    const int64_t now = tn_now_ns();
    const int64_t most = pool->longest_pause_ns > 0 ? pool->longest_pause_ns : LONGEST_PAUSE_NS;
    if (now < pool->start_at_ns)
        return;
    pool->pause_ns = pool->pause_ns == 0 ? FIRST_PAUSE_NS : pool->pause_ns * 2;
    if (pool->pause_ns > most)
        pool->pause_ns = most;
    pool->start_at_ns = now + pool->pause_ns;
}

static void start_worker(tn_script_pool *pool, int64_t now)
{
    tern_status st;
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++) {
        tn_script_worker *w = &pool->workers[i];
        if (w->state != TN_WORKER_NONE)
            continue;
        if (!tn_worker_start(w, &st)) {
            pool->trouble = st;
            pool->trouble.code = TERN_FAILED_PRECONDITION;
            pool->failed_starts++;
            tn_warn("script", "%s: %s", pool->name, st.message);
            tn_script_pause(pool);
            tn_script_trouble(pool);
        }
        return;
    }
    pool->start_at_ns = now + TN_NS_PER_S; /* all places are taken by those that still end */
}

/* Workers that take calls, or will. */
static int32_t serving(const tn_script_pool *pool)
{
    int32_t n = 0;
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++) {
        const tn_script_worker *w = &pool->workers[i];
        n += w->state == TN_WORKER_STARTING || (w->state == TN_WORKER_READY && !w->worn);
    }
    return n;
}

void tn_script_tell_gone(tn_script_pool *pool)
{
    char buf[64];
    uint64_t ids[32];
    tn_frame_writer out;
    for (size_t n; (n = tn_segments_gone(pool->segments, ids, 32)) > 0;)
        for (size_t k = 0; k < n; k++) {
            tn_frame_begin(&out, buf, sizeof buf, TN_FRAME_FORGET, 0);
            tn_frame_put_ref(&out, TN_TAG_SEGMENT, &(tn_frame_ref){.segment = ids[k]});
            const size_t len = tn_frame_end(&out);
            for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
                if (pool->workers[i].state == TN_WORKER_READY || pool->workers[i].state == TN_WORKER_RETIRING)
                    tn_worker_tell(&pool->workers[i], buf, len);
        }
}

/* Starts what is missing, looks at the time. Returns when to look again. */
static int64_t look_after(tn_script_pool *pool, int64_t now, bool look_at_memory)
{
    int64_t next = INT64_MAX;
    while (!pool->closed && now >= pool->start_at_ns && serving(pool) < pool->o.workers)
        start_worker(pool, now);
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++) {
        tn_script_worker *w = &pool->workers[i];
        if (w->state == TN_WORKER_NONE)
            continue;
        tn_worker_tick(w, now, look_at_memory);
        if (w->n_jobs > 0 || w->end_ns != INT64_MAX)
            next = now + TICK_NS;
    }
    tn_script_tell_gone(pool);
    if (!pool->closed && pool->start_at_ns > now && pool->start_at_ns < next)
        next = pool->start_at_ns;
    return next;
}

static bool has_processes(const tn_script_pool *pool)
{
    bool any = false;
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
        any = any || pool->workers[i].state != TN_WORKER_NONE;
    return any;
}

/* Frees pools that nobody knows any more and whose processes have ended. */
static void sweep(tn_scripts *s)
{
    if (s->ending)
        return;
    for (tn_script_pool **at = &s->pools; *at != NULL;) {
        tn_script_pool *pool = *at;
        if (pool->closed && !has_processes(pool) && atomic_load(&pool->refs) == 1) {
            *at = pool->next;
            free_pool(pool);
        } else {
            at = &pool->next;
        }
    }
}

void tn_script_handle(tn_scripts *s, const struct epoll_event *e)
{
    const uintptr_t value = (uintptr_t)e->data.ptr;
    uint64_t count;
    if (e->data.ptr == NULL) {
        ssize_t n = read(s->wake, &count, sizeof count);
        (void)n;
    } else {
        tn_script_worker *w = (tn_script_worker *)(value & ~(uintptr_t)MARKS);
        if ((value & MARKS) == MARK_PROCESS)
            tn_worker_ended(w);
        else if (w->state != TN_WORKER_NONE && (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
            tn_worker_readable(w);
        if ((value & MARKS) == MARK_SOCKET && (e->events & EPOLLOUT) != 0 && w->socket >= 0)
            tn_worker_writable(w);
    }
}

static void *run(void *arg)
{
    tn_scripts *s = arg;
    struct epoll_event events[EVENTS];
    int64_t memory_ns = 0;
    for (int64_t next = 0;;) {
        int64_t now = tn_now_ns();
        int64_t wait = next == INT64_MAX ? TN_NS_PER_S : next > now ? next - now : 0;
        if (wait > TN_NS_PER_S)
            wait = TN_NS_PER_S;
        int n = epoll_wait(s->epoll, events, EVENTS, (int)((wait + TN_NS_PER_MS - 1) / TN_NS_PER_MS));
        tn_scripts_lock(s);
        if (s->stop) {
            tn_scripts_unlock(s);
            return NULL;
        }
        for (int i = 0; i < n; i++)
            tn_script_handle(s, &events[i]);
        now = tn_now_ns();
        const bool look = now >= memory_ns;
        if (look)
            memory_ns = now + MEMORY_LOOK_NS;
        next = INT64_MAX;
        for (tn_script_pool *pool = s->pools; pool != NULL; pool = pool->next) {
            int64_t at = look_after(pool, now, look);
            next = at < next ? at : next;
        }
        sweep(s);
        tn_scripts_unlock(s);
    }
}

/* ---- all ---- */

tern_code tn_scripts_new(tn_scripts **out, tern_status *st)
{
    *out = NULL;
    tn_scripts *s = calloc(1, sizeof *s);
    if (s == NULL || (s->buffer = malloc(TN_FRAME_MAX)) == NULL) {
        free(s);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for workers");
    }
    pthread_mutex_init(&s->lock, NULL);
    tn_cond_init(&s->changed);
    s->events_end = &s->events;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    int error =
        s->epoll < 0 || s->wake < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->wake, &e) != 0 ? errno : 0;
    if (error == 0)
        error = tn_thread_start(&s->thread, "tern-scripts", run, s);
    if (error == 0) {
        *out = s;
        return TERN_OK;
    }
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->wake >= 0)
        close(s->wake);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->buffer);
    free(s);
    return tern_fail(st, TERN_UNAVAILABLE, "Cannot look after workers: %s", strerror(error));
}

static void end_thread(tn_scripts *s)
{
    tn_scripts_lock(s);
    s->stop = true;
    tn_script_wake(s);
    tn_scripts_unlock(s);
    pthread_join(s->thread, NULL);
}

/* Waits until all processes have ended by themselves, for a while. */
static void wait_for_processes(tn_scripts *s)
{
    const int64_t until_ns = tn_now_ns() + 5 * TN_NS_PER_S;
    const struct timespec pause = {.tv_nsec = 2 * TN_NS_PER_MS};
    for (bool any = true; any && tn_now_ns() < until_ns;) {
        any = false;
        tn_scripts_lock(s);
        for (tn_script_pool *pool = s->pools; pool != NULL; pool = pool->next)
            any = any || has_processes(pool);
        tn_scripts_unlock(s);
        if (any)
            nanosleep(&pause, NULL);
    }
}

/* The thread has ended. */
static void end_processes(tn_scripts *s)
{
    for (tn_script_pool *pool = s->pools; pool != NULL; pool = pool->next) {
        for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++) {
            tn_process_kill(&pool->workers[i].process);
            tn_worker_bury(&pool->workers[i]);
        }
    }
}

void tn_scripts_end(tn_scripts *s)
{
    if (s == NULL || s->stop)
        return;
    tn_scripts_lock(s);
    s->ending = true;
    for (tn_script_pool *pool = s->pools; pool != NULL; pool = pool->next)
        close_pool(pool);
    tn_scripts_unlock(s);
    wait_for_processes(s);
    end_thread(s);
    tn_scripts_lock(s);
    end_processes(s);
    tn_scripts_unlock(s);
}

void tn_scripts_free(tn_scripts *s)
{
    if (s == NULL)
        return;
    tn_scripts_end(s);
    while (s->pools != NULL) {
        tn_script_pool *pool = s->pools;
        s->pools = pool->next;
        free_pool(pool);
    }
    close(s->epoll);
    close(s->wake);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->buffer);
    free(s);
}

void tn_scripts_leave(tn_scripts *s)
{
    if (s == NULL || s->stop)
        return;
    end_thread(s);
    tn_scripts_lock(s);
    end_processes(s);
    pthread_mutex_unlock(&s->lock); /* nobody wants to hear of it any more */
}
