/*
 * handler/script_worker.c - the life of one worker process: start, frames to and from it, retirement, end.
 *
 * A worker is never trusted: a frame that is broken, or about a job that it does not have, or that comes
 * while the owner still has the last one in hand, ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "handler/script_inside.h"

#define PAGE_BYTES    4096
#define LEAVE_NS      (5 * TN_NS_PER_S) /* for a worker that was told to go */
#define BACKLOG_MAX   4096
#define FRAMES_A_LOOK 64
#define SOCKET_BYTES  (1 << 20)
#define CAPACITY_MAX  10000
#define TRIES_MAX     3
#define FAILED_STARTS 3 /* in a row, after which a pool that was ready counts as broken */
#define LATER_MAX_S   300

/* ---- start ---- */

static bool watch_process(tn_script_worker *w)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = (void *)((uintptr_t)w | MARK_PROCESS)};
    return epoll_ctl(w->pool->owner->epoll, EPOLL_CTL_ADD, w->process.pidfd, &e) == 0;
}

static void forget_process(tn_script_worker *w)
{
    if (w->socket >= 0) {
        tn_worker_unwatch(w);
        close(w->socket);
    }
    if (w->page != NULL)
        munmap((void *)(uintptr_t)w->page, PAGE_BYTES);
    if (w->page_fd >= 0)
        close(w->page_fd);
    w->socket = w->page_fd = -1;
    w->page = NULL;
    for (tn_backlog *b = w->backlog, *next; b != NULL; b = next) {
        next = b->next;
        for (uint32_t i = 0; i < b->n_fds; i++)
            close(b->fds[i]);
        free(b);
    }
    w->backlog = NULL;
    w->backlog_frames = 0;
    w->state = TN_WORKER_NONE;
}

static bool make_page(tn_script_worker *w)
{
    w->page_fd = memfd_create("tern-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (w->page_fd < 0 || ftruncate(w->page_fd, PAGE_BYTES) != 0 ||
        fcntl(w->page_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return false;
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, w->page_fd, 0);
    w->page = page != MAP_FAILED ? page : NULL;
    return w->page != NULL;
}

bool tn_worker_start(tn_script_worker *w, tern_status *st)
{
    tn_script_pool *pool = w->pool;
    int pair[2] = {-1, -1};
    const int bytes = SOCKET_BYTES;
    bool started = false;
    w->socket = w->page_fd = -1;
    w->port = NULL;
    w->page = NULL;
    w->backlog_end = &w->backlog;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || !make_page(w)) {
        tern_fail(st, TERN_UNAVAILABLE, "Cannot start a worker of %s: %s", pool->name, strerror(errno));
        goto out;
    }
    w->socket = pair[0];
    fcntl(w->socket, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    const tn_script_command command = {(const char *const *)pool->argv, (const char *const *)pool->env};
    if (tn_process_start(&command, pair[1], w->page_fd, &w->process, st) != TERN_OK)
        goto out;
    w->number = ++pool->last_number != 0 ? pool->last_number : ++pool->last_number;
    w->state = TN_WORKER_STARTING;
    w->started_ns = tn_now_ns();
    w->end_ns = pool->o.start_ns > 0 ? w->started_ns + pool->o.start_ns : INT64_MAX;
    w->capacity = 0;
    w->calls = 0;
    w->worn = false;
    w->why = NULL;
    pool->counts.starts++;
    if (!tn_worker_watch(w, false) || !watch_process(w)) {
        tern_fail(st, TERN_UNAVAILABLE, "Cannot watch a worker of %s: %s", pool->name, strerror(errno));
        tn_process_end(&w->process);
        goto out;
    }
    started = true;
out:
    if (pair[1] >= 0)
        close(pair[1]);
    if (!started) {
        if (w->socket < 0 && pair[0] >= 0)
            close(pair[0]);
        forget_process(w);
    }
    return started;
}

/* ---- sending ---- */

/* 1: sent, 0: would have to wait, -1: the socket is broken. */
static int send_now(int socket, const char *bytes, size_t len, const int *fds, uint32_t n_fds)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(TN_SCRIPT_SEGMENTS * sizeof(int))];
    } control = {0};
    struct iovec one = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    if (n_fds > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(head), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 1;
    return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS ? 0 : -1;
}

static bool keep_for_later(tn_script_worker *w, const char *bytes, size_t len, const int *fds, uint32_t n_fds)
{
    tn_backlog *b = w->backlog_frames < BACKLOG_MAX ? malloc(sizeof *b + len) : NULL;
    if (b == NULL)
        return false;
    *b = (tn_backlog){.len = len};
    for (; b->n_fds < n_fds; b->n_fds++) {
        b->fds[b->n_fds] = fcntl(fds[b->n_fds], F_DUPFD_CLOEXEC, 0);
        if (b->fds[b->n_fds] < 0)
            break;
    }
    if (b->n_fds < n_fds) {
        while (b->n_fds > 0)
            close(b->fds[--b->n_fds]);
        free(b);
        return false;
    }
    memcpy(b->bytes, bytes, len);
    if (w->backlog == NULL)
        (void)tn_worker_watch(w, true);
    *w->backlog_end = b;
    w->backlog_end = &b->next;
    w->backlog_frames++;
    return true;
}

static bool send_frame(tn_script_worker *w, const char *bytes, size_t len, const int *fds, uint32_t n_fds)
{
    if (w->socket < 0)
        return false;
    int sent = w->backlog == NULL ? send_now(w->socket, bytes, len, fds, n_fds) : 0;
    if (sent == 0)
        return keep_for_later(w, bytes, len, fds, n_fds);
    return sent > 0;
}

void tn_worker_writable(tn_script_worker *w)
{
    while (w->backlog != NULL) {
        tn_backlog *b = w->backlog;
        if (send_now(w->socket, b->bytes, b->len, b->fds, b->n_fds) == 0)
            return; /* a broken socket is seen when it is read */
        for (uint32_t i = 0; i < b->n_fds; i++)
            close(b->fds[i]);
        w->backlog = b->next;
        w->backlog_frames--;
        free(b);
    }
    w->backlog_end = &w->backlog;
    (void)tn_worker_watch(w, false);
    tn_script_dispatch(w->pool);
}

/* Segments of the job that this worker has not seen yet. */
static bool send_maps(tn_script_worker *w, tn_script_job *job)
{
    char buf[TN_FRAME_HEAD + TN_SCRIPT_SEGMENTS * (TN_FRAME_FIELD_HEAD + sizeof(tn_frame_ref))];
    int fds[TN_SCRIPT_SEGMENTS];
    uint32_t n = 0;
    tn_frame_writer out;
    tn_frame_begin(&out, buf, sizeof buf, TN_FRAME_MAP, 0);
    for (uint32_t i = 0; i < job->n_segments; i++) {
        tn_segment *segment = job->segments[i];
        if (segment->known[w->place] == w->number)
            continue;
        tn_frame_put_ref(&out, TN_TAG_MAP, &(tn_frame_ref){segment->id, 0, segment->size});
        fds[n++] = segment->fd;
        segment->known[w->place] = w->number;
    }
    return n == 0 || send_frame(w, buf, tn_frame_end(&out), fds, n);
}

bool tn_worker_send(tn_script_worker *w, tn_script_job *job, const char *frame, size_t len)
{
    return send_maps(w, job) && send_frame(w, frame, len, NULL, 0);
}

void tn_worker_tell(tn_script_worker *w, const char *frame, size_t len)
{
    (void)send_frame(w, frame, len, NULL, 0);
}

/* ---- its jobs ---- */

void tn_worker_take(tn_script_worker *w, tn_script_job *job)
{
    job->worker = w;
    job->next = NULL;
    job->prev = w->last_job;
    if (w->last_job != NULL)
        w->last_job->next = job;
    else
        w->jobs = job;
    w->last_job = job;
    w->n_jobs++;
    w->calls++;
}

void tn_worker_drop(tn_script_worker *w, tn_script_job *job)
{
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        w->jobs = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        w->last_job = job->prev;
    job->next = job->prev = NULL;
    job->worker = NULL;
    w->n_jobs--;
}

/* ---- leaving ---- */

static void leave(tn_script_worker *w)
{
    w->state = TN_WORKER_LEAVING;
    w->end_ns = tn_now_ns() + LEAVE_NS;
    shutdown(w->socket, SHUT_WR); /* end of file for it */
}

/* A worker that gets no new jobs goes when it has none, and is killed when those it has are all too late. */
static void leave_if_done(tn_script_worker *w)
{
    if (w->state != TN_WORKER_RETIRING)
        return;
    if (w->n_jobs == 0) {
        leave(w);
        return;
    }
    for (const tn_script_job *job = w->jobs; job != NULL; job = job->next)
        if (!job->late)
            return;
    tn_worker_kill(w, "its call had passed its deadline");
}

void tn_worker_retire(tn_script_worker *w, const char *why)
{
    if (w->state == TN_WORKER_STARTING) {
        tn_worker_kill(w, "it is not needed any more");
    } else if (w->state == TN_WORKER_READY) {
        w->state = TN_WORKER_RETIRING;
        w->why = why;
        tn_script_wake(w->pool->owner); /* for its successor */
    }
    leave_if_done(w);
}

void tn_worker_kill(tn_script_worker *w, const char *why)
{
    if (w->state == TN_WORKER_NONE || w->state == TN_WORKER_KILLED)
        return;
    if (!w->pool->closed || w->state != TN_WORKER_STARTING)
        tn_warn("script", "%s: worker %d is killed: %s", w->pool->name, (int)w->process.pid, why);
    w->why = why;
    w->state = TN_WORKER_KILLED;
    tn_process_kill(&w->process);
}

void tn_worker_wear(tn_script_worker *w, const char *why)
{
    if (w->state != TN_WORKER_READY || w->worn)
        return;
    tn_info("script", "%s: worker %d is replaced: %s", w->pool->name, (int)w->process.pid, why);
    w->worn = true;
    tn_script_wake(w->pool->owner);
}

/* A new worker is ready: it takes the place of one that is worn. */
static void relieve_one(tn_script_pool *pool)
{
    for (uint32_t i = 0; i < TN_SCRIPT_WORKERS_MAX; i++)
        if (pool->workers[i].state == TN_WORKER_READY && pool->workers[i].worn) {
            tn_worker_retire(&pool->workers[i], NULL);
            return;
        }
}

/* ---- frames from it ---- */

static void on_ready(tn_script_worker *w, const tn_frame *frame)
{
    tn_script_pool *pool = w->pool;
    uint64_t capacity = 1;
    tn_str note = tn_frame_get(frame, TN_TAG_NOTE);
    if (w->state != TN_WORKER_STARTING)
        return;
    (void)tn_frame_get_u64(frame, TN_TAG_CAPACITY, &capacity);
    w->capacity = capacity < 1 ? 1 : capacity > CAPACITY_MAX ? CAPACITY_MAX : (uint32_t)capacity;
    w->state = TN_WORKER_READY;
    w->end_ns = INT64_MAX;
    pool->note_len = note.len < sizeof pool->note ? note.len : sizeof pool->note;
    if (pool->note_len > 0)
        memcpy(pool->note, note.ptr, pool->note_len);
    if (!pool->was_ready || pool->trouble.code != TERN_OK)
        tn_info("script", "%s: ready, %u calls at a time in each of %d workers", pool->name, w->capacity,
                pool->o.workers);
    pool->was_ready = true;
    pool->failed_starts = 0;
    pool->trouble.code = TERN_OK;
    tn_script_trouble(pool);
    relieve_one(pool);
    tn_script_dispatch(pool);
}

static void on_failed(tn_script_worker *w, const tn_frame *frame)
{
    tn_script_pool *pool = w->pool;
    uint64_t pause_s;
    tn_str why = tn_frame_get(frame, TN_TAG_ERROR);
    if (w->state != TN_WORKER_STARTING)
        return;
    const bool later = tn_frame_get_u64(frame, TN_TAG_SIZE, &pause_s);
    tern_fail(&pool->trouble, later ? TERN_UNAVAILABLE : TERN_FAILED_PRECONDITION, "%.*s",
              TN_FMT(why.len > 0 ? why : TN_STR("no reason given")));
    /* Such a start costs more than a process: it is not tried again and again. */
    if (later && pause_s <= LATER_MAX_S && pool->pause_ns < (int64_t)pause_s * TN_NS_PER_S)
        pool->pause_ns = (int64_t)pause_s * TN_NS_PER_S;
    pool->longest_pause_ns = later ? LATER_MAX_S * TN_NS_PER_S : 0;
    tn_script_trouble(pool); /* now, not when the process has ended: who waits for the pool goes on at once */
}

static bool on_need(tn_script_worker *w, tn_script_job *job, const tn_frame *frame)
{
    char buf[TN_FRAME_HEAD + 8 + sizeof(tern_status)];
    tn_frame_writer out;
    tern_status st;
    tn_segment *segment = NULL;
    uint64_t size = 0;
    tern_code code = TERN_OK;
    if (!tn_frame_get_u64(frame, TN_TAG_SIZE, &size) || job->n_segments == TN_SCRIPT_SEGMENTS)
        code = tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "A call may have %d pieces of shared memory",
                         TN_SCRIPT_SEGMENTS);
    if (code == TERN_OK)
        code = tn_segment_take(w->pool->segments, (size_t)size, &segment, &st);
    if (code == TERN_OK && (code = tn_segment_use(segment, (size_t)size, &st)) != TERN_OK)
        tn_segment_release(segment);
    tn_frame_begin(&out, buf, sizeof buf, TN_FRAME_ROOM, job->call);
    if (code == TERN_OK) {
        (void)tn_script_job_add(job, segment);
        tn_frame_put_ref(&out, TN_TAG_SEGMENT, &(tn_frame_ref){segment->id, 0, segment->size});
    } else {
        tn_frame_put(&out, TN_TAG_ERROR, (tn_str){st.message, st.length});
    }
    return tn_worker_send(w, job, buf, tn_frame_end(&out));
}

/* Segments that the worker holds on to are not used again. */
static void note_kept(const tn_script_job *job, const tn_frame *frame)
{
    size_t at = 0;
    tn_frame_field field;
    tn_frame_ref ref;
    while (tn_frame_next(frame, &at, &field))
        if (field.tag == TN_TAG_KEPT && tn_frame_as_ref(field.bytes, &ref))
            for (uint32_t i = 0; i < job->n_segments; i++)
                if (job->segments[i]->id == ref.segment)
                    atomic_store(&job->segments[i]->spoilt, true);
}

static tn_script_job *job_of(const tn_script_worker *w, uint64_t call)
{
    tn_script_job *job = w->jobs;
    while (job != NULL && job->call != call)
        job = job->next;
    return job;
}

/* false: the worker broke the protocol. */
static bool on_job_frame(tn_script_worker *w, const tn_frame *frame)
{
    tn_scripts *s = w->pool->owner;
    tn_script_job *job = job_of(w, frame->call);
    tern_status st;
    if (job == NULL || job->in_hand)
        return false;
    if (frame->type == TN_FRAME_NEED)
        return on_need(w, job, frame);
    note_kept(job, frame);
    tn_buf_clear(&job->in);
    tn_buf_str(&job->in, frame->bytes);
    job->reply = *frame;
    job->reply.bytes = tn_buf_view(&job->in);
    if (job->in.failed)
        tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory for what a worker answered; try again later");
    if (frame->type == TN_FRAME_ANSWER || job->in.failed) {
        if (frame->type == TN_FRAME_ANSWER) {
            tn_worker_drop(w, job);
            tn_script_over(s, job, job->in.failed ? &st : NULL);
            if (w->pool->o.max_calls > 0 && w->calls >= w->pool->o.max_calls)
                tn_worker_wear(w, "it had its share of calls (--max_script_calls)");
            leave_if_done(w);
            return true;
        }
        return false;
    }
    job->in_hand = true;
    tn_script_tell(s, job);
    return true;
}

static bool on_frame(tn_script_worker *w, tn_str bytes)
{
    tn_frame frame;
    tern_status st;
    if (tn_frame_read(bytes, &frame, &st) != TERN_OK)
        return false;
    switch (frame.type) {
    case TN_FRAME_READY:
        on_ready(w, &frame);
        return true;
    case TN_FRAME_FAILED:
        on_failed(w, &frame);
        return true;
    case TN_FRAME_NEED:
    case TN_FRAME_ANSWER:
    case TN_FRAME_ASK:
    case TN_FRAME_PART:
        return on_job_frame(w, &frame);
    default:
        return false;
    }
}

void tn_worker_readable(tn_script_worker *w)
{
    char *buffer = w->pool->owner->buffer;
    for (int i = 0; i < FRAMES_A_LOOK && w->socket >= 0; i++) {
        ssize_t n = recv(w->socket, buffer, TN_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        /* it closed its side: what happens to its process is seen by itself, and not waited for */
        if (n <= 0) {
            tn_worker_unwatch(w);
            if (w->state == TN_WORKER_READY || w->state == TN_WORKER_RETIRING) {
                w->state = TN_WORKER_RETIRING;
                w->end_ns = tn_now_ns() + TN_NS_PER_S / 4;
            }
            return;
        }
        if (w->state == TN_WORKER_KILLED)
            continue;
        if ((size_t)n > TN_FRAME_MAX || !on_frame(w, (tn_str){buffer, (size_t)n})) {
            tn_worker_kill(w, "what it sent breaks the protocol between worker and server");
            return;
        }
        if (w->n_jobs == 0) /* then it has hardly more to say */
            break;
    }
    tn_script_dispatch(w->pool);
}

/* ---- end ---- */

static void lose_job(tn_script_worker *w, tn_script_job *job, bool begun, const tern_status *why)
{
    tn_script_pool *pool = w->pool;
    tn_worker_drop(w, job);
    if (job->in_hand) { /* its owner learns it when it replies */
        job->lost = true;
        job->status = *why;
    } else if (!begun && !job->late && !job->cancelled && !pool->closed && ++job->tries < TRIES_MAX) {
        tn_script_requeue(pool, job);
    } else {
        tern_status late;
        if (job->late)
            tern_fail(&late, TERN_DEADLINE_EXCEEDED, "The handler of %s took too long", pool->name);
        pool->counts.failures++;
        tn_script_over(pool->owner, job, job->late ? &late : why);
    }
}

/* A start that failed, or one that came to nothing at once, is tried again after a pause that grows. */
static void note_pause(tn_script_worker *w, tn_worker_state was, const char *how)
{
    tn_script_pool *pool = w->pool;
    if (pool->closed)
        return;
    if (was == TN_WORKER_STARTING || (was == TN_WORKER_KILLED && w->capacity == 0)) {
        pool->failed_starts++;
        /* One that was killed on its way says nothing against those that come. */
        if (pool->trouble.code == TERN_OK && pool->was_ready && pool->failed_starts < FAILED_STARTS) {
            tn_script_pause(pool);
            return;
        }
        if (pool->trouble.code == TERN_OK)
            tern_fail(&pool->trouble, TERN_FAILED_PRECONDITION,
                      "A worker of %s ended before it was ready: %s", pool->name, how);
        tn_warn("script", "%s cannot start: %s", pool->name, pool->trouble.message);
        tn_script_trouble(pool);
    } else if (tn_now_ns() - w->started_ns > TN_NS_PER_S || w->calls > 0) {
        pool->pause_ns = 0;
        return;
    }
    tn_script_pause(pool);
}

void tn_worker_ended(tn_script_worker *w)
{
    tn_script_pool *pool = w->pool;
    const pid_t pid = w->process.pid;
    const tn_worker_state was = w->state;
    char how[128], text[256];
    tern_status st;
    int status;
    if (!tn_process_ended(&w->process, &status))
        return;
    /* What it said before it died counts. */
    w->state = TN_WORKER_RETIRING;
    if (was != TN_WORKER_KILLED)
        tn_worker_readable(w);
    const uint64_t begun = w->page != NULL ? atomic_load_explicit(w->page, memory_order_relaxed) : UINT64_MAX;
    tn_process_how(status, how, sizeof how);
    snprintf(text, sizeof text, "%s%s%s", how, w->why != NULL ? ": " : "", w->why != NULL ? w->why : "");
    if (was != TN_WORKER_LEAVING)
        pool->counts.deaths++;
    if (w->n_jobs > 0 || (was != TN_WORKER_LEAVING && was != TN_WORKER_KILLED && was != TN_WORKER_STARTING))
        tn_warn("script", "%s: worker %d ended with %s; %u calls were in it", pool->name, (int)pid, text,
                w->n_jobs);
    tern_fail(&st, TERN_INTERNAL, "The worker process of %s ended during this request (%s)", pool->name,
              text);
    /* The newest first, so that those to be done again keep their order at the queue's front. */
    while (w->last_job != NULL)
        lose_job(w, w->last_job, w->last_job->call <= begun, &st);
    note_pause(w, was, text);
    forget_process(w);
    tn_script_dispatch(pool);
}

void tn_worker_bury(tn_script_worker *w)
{
    tern_status st;
    if (w->state == TN_WORKER_NONE)
        return;
    tn_process_end(&w->process);
    tern_fail(&st, TERN_UNAVAILABLE, "The server is shutting down");
    while (w->last_job != NULL)
        lose_job(w, w->last_job, true, &st);
    forget_process(w);
}

/* ---- time ---- */

static void look_for_late_jobs(tn_script_worker *w, int64_t now_ns)
{
    bool any = false;
    for (tn_script_job *job = w->jobs; job != NULL; job = job->next)
        if (!job->late && !job->in_hand && job->deadline_ns != 0 && now_ns >= job->deadline_ns)
            any = job->late = true;
    if (any)
        tn_worker_retire(w, "its call had passed its deadline");
    else
        leave_if_done(w);
}

void tn_worker_tick(tn_script_worker *w, int64_t now_ns, bool look_at_memory)
{
    const size_t max = w->pool->o.max_memory;
    if (w->state == TN_WORKER_READY || w->state == TN_WORKER_RETIRING)
        look_for_late_jobs(w, now_ns);
    if (look_at_memory && max > 0 && (w->state == TN_WORKER_READY || w->state == TN_WORKER_RETIRING)) {
        const size_t used = tn_process_memory(&w->process);
        if (used / 3 > max / 2)
            tn_worker_kill(w, "it uses half as much again as its limit of memory (--max_script_memory)");
        else if (used > max)
            tn_worker_wear(w, "it uses more than its limit of memory (--max_script_memory)");
    }
    if (w->state != TN_WORKER_NONE && w->state != TN_WORKER_KILLED && now_ns >= w->end_ns)
        tn_worker_kill(w, w->state == TN_WORKER_STARTING  ? "it was not ready in time (--script_start_ms)"
                          : w->state == TN_WORKER_LEAVING ? "it did not end when it was told to"
                                                          : "it had closed its socket");
}
