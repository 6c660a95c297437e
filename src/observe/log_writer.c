/* observe/log_writer.c - see observe/log_writer.h. */
#include "observe/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

#define END_SECONDS   2
#define FLUSH_LOOK_NS 2000000

typedef struct line_buffer {
    char *text;
    size_t len;
    uint64_t lines;
} line_buffer;

struct tn_log_writer {
    pthread_mutex_t lock; /* all but fd, back and path */
    pthread_cond_t ready;
    line_buffer front;
    tn_log_counts counts;
    bool waiting; /* the thread waits for lines */
    bool reopen;
    bool ending;
    size_t max;
    pthread_t thread;
    char *path; /* NULL: standard error */
    /* The thread's own. */
    line_buffer back;
    int fd;
    bool broken; /* told that it cannot write */
    bool torn;   /* the file ends in a part of a line */
};

static int open_log(const char *path)
{
    /* Nobody may read from a pipe: without waiting for that. */
    const int how = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK;
    return path == NULL ? STDERR_FILENO : open(path, how, 0644);
}

static void open_again(tn_log_writer *w)
{
    if (w->path == NULL)
        return;
    int fd = open_log(w->path);
    if (fd < 0) {
        tn_error("log", "%s cannot be opened again: %s; the old file is used on", w->path, strerror(errno));
        return;
    }
    close(w->fd);
    w->fd = fd;
    w->broken = w->torn = false;
}

/* false: the rest cannot be written. */
static bool write_bytes(tn_log_writer *w, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = write(w->fd, bytes + done, length - done);
        if (n > 0) {
            done += (size_t)n;
            w->torn = bytes[done - 1] != '\n';
        } else if (n < 0 && errno == EAGAIN) { /* a pipe that somebody set so */
            (void)poll(&(struct pollfd){.fd = w->fd, .events = POLLOUT}, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            if (!w->broken)
                tn_error("log", "%s cannot be written: %s; lines are lost",
                         w->path != NULL ? w->path : "standard error", strerror(errno));
            w->broken = true;
            return false;
        }
    }
    return true;
}

static bool write_all(tn_log_writer *w)
{
    if ((w->torn && !write_bytes(w, "\n", 1)) || !write_bytes(w, w->back.text, w->back.len))
        return false;
    w->broken = false;
    return true;
}

/* With the lock; leaves it meanwhile. */
static void write_front(tn_log_writer *w)
{
    line_buffer full = w->front;
    w->front = w->back;
    w->back = full;
    pthread_mutex_unlock(&w->lock);
    bool good = write_all(w);
    pthread_mutex_lock(&w->lock);
    *(good ? &w->counts.written : &w->counts.dropped) += w->back.lines;
    w->back.len = 0;
    w->back.lines = 0;
}

static void *write_lines(void *arg)
{
    tn_log_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        if (w->reopen) {
            w->reopen = false;
            pthread_mutex_unlock(&w->lock);
            open_again(w);
            pthread_mutex_lock(&w->lock);
        } else if (w->front.len > 0) {
            write_front(w);
        } else if (w->ending) {
            break;
        } else {
            w->waiting = true;
            pthread_cond_wait(&w->ready, &w->lock);
            w->waiting = false;
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void release(tn_log_writer *w)
{
    if (w->path != NULL && w->fd >= 0)
        close(w->fd);
    pthread_cond_destroy(&w->ready);
    pthread_mutex_destroy(&w->lock);
    free(w->front.text);
    free(w->back.text);
    free(w->path);
    free(w);
}

static tern_code start(tn_log_writer *w, const char *path, tern_status *st)
{
    w->path = path != NULL ? strdup(path) : NULL;
    w->front.text = malloc(w->max);
    w->back.text = malloc(w->max);
    if ((path != NULL && w->path == NULL) || w->front.text == NULL || w->back.text == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a log");
    w->fd = open_log(w->path);
    if (w->fd < 0)
        return tern_fail(st, TERN_UNAVAILABLE, "%s cannot be opened for writing: %s", path, strerror(errno));
    int error = tn_thread_start(&w->thread, "tern-log", write_lines, w);
    if (error != 0)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start the thread of a log: %s",
                         strerror(error));
    return TERN_OK;
}

tern_code tn_log_writer_new(const char *path, size_t max_bytes, tn_log_writer **out, tern_status *st)
{
    *out = NULL;
    tn_log_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a log");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->ready, NULL);
    w->fd = -1;
    w->max = max_bytes > 0 ? max_bytes : 1;
    tern_code code = start(w, path, st);
    if (code != TERN_OK)
        release(w);
    else
        *out = w;
    return code;
}

void tn_log_writer_line(tn_log_writer *w, tn_str line)
{
    pthread_mutex_lock(&w->lock);
    bool room = line.len <= w->max - w->front.len;
    if (room) {
        memcpy(w->front.text + w->front.len, line.ptr, line.len);
        w->front.len += line.len;
        w->front.lines++;
    } else {
        w->counts.dropped++;
    }
    bool wake = room && w->waiting;
    pthread_mutex_unlock(&w->lock);
    if (wake)
        pthread_cond_signal(&w->ready);
}

void tn_log_writer_reopen(tn_log_writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->reopen = true;
    pthread_cond_signal(&w->ready);
    pthread_mutex_unlock(&w->lock);
}

tn_log_counts tn_log_writer_counts(tn_log_writer *w)
{
    pthread_mutex_lock(&w->lock);
    tn_log_counts counts = w->counts;
    pthread_mutex_unlock(&w->lock);
    return counts;
}

void tn_log_writer_flush(tn_log_writer *w)
{
    const struct timespec pause = {.tv_nsec = FLUSH_LOOK_NS};
    for (int i = 0; w != NULL && i < END_SECONDS * (1000000000 / FLUSH_LOOK_NS); i++) {
        pthread_mutex_lock(&w->lock);
        bool empty = w->front.len == 0 && w->waiting;
        pthread_mutex_unlock(&w->lock);
        if (empty)
            return;
        nanosleep(&pause, NULL);
    }
}

void tn_log_writer_free(tn_log_writer *w)
{
    struct timespec until;
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_signal(&w->ready);
    pthread_mutex_unlock(&w->lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_SECONDS;
    if (pthread_timedjoin_np(w->thread, NULL, &until) == 0)
        release(w);
    else
        pthread_detach(w->thread);
}
