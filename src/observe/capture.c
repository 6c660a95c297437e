/* observe/capture.c - see observe/capture.h. */
#include "observe/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/log.h"
#include "base/thread.h"
#include "observe/trace.h"

#define OPEN_FILES    16
#define PATH_BYTES    640
#define NS            INT64_C(1000000000)
#define HOUR_NS       (3600 * NS)
#define FLUSH_LOOK_NS 2000000

typedef struct capture_file {
    char folder[PATH_BYTES];
    int64_t hour;
    int fd; /* -1: none */
    size_t bytes;
    uint64_t used; /* when last, for the choice of the one that gives way */
} capture_file;

struct tn_capture {
    int root;
    size_t max_queue_bytes, max_file_bytes;
    tn_taskq queue;
    atomic_size_t waiting; /* bytes */
    atomic_uint_least64_t written, dropped;
    pthread_t thread;
    /* The thread's own. */
    capture_file files[OPEN_FILES];
    uint64_t uses;
    tn_buf line;
    bool broken; /* told that it cannot write */
};

static void close_file(capture_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* Opens a new file for the record's folder and hour. */
static void open_file(tn_capture *c, capture_file *f, const tn_capture_record *record)
{
    char path[PATH_BYTES + 96], id[TN_UUID];
    struct tm tm;
    time_t seconds = (time_t)(record->wall_ns / NS);
    tn_str name;
    gmtime_r(&seconds, &tm);
    tn_uuid(id);
    int n = snprintf(path, sizeof path, "%.*s/%04d/%02d/%02d/%02d/%02d-%02d-%03d-%.36s.jsonl",
                     TN_FMT(record->folder), tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec, (int)(record->wall_ns % NS / 1000000), id);
    tn_str text = {path, n > 0 && (size_t)n < sizeof path ? (size_t)n : 0};
    int folder = tn_beneath_folder(c->root, text, true, &name);
    if (folder >= 0) {
        /* name ends where path does. */
        f->fd =
            openat(folder, name.ptr, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        int why = errno;
        close(folder);
        errno = why;
    }
    snprintf(f->folder, sizeof f->folder, "%.*s", TN_FMT(record->folder));
    f->hour = record->wall_ns / HOUR_NS;
    f->bytes = 0;
}

static capture_file *file_for(tn_capture *c, const tn_capture_record *record)
{
    capture_file *oldest = &c->files[0];
    for (int i = 0; i < OPEN_FILES; i++) {
        capture_file *f = &c->files[i];
        if (f->fd >= 0 && tn_str_eq(tn_str_from(f->folder), record->folder) &&
            f->hour == record->wall_ns / HOUR_NS) {
            if (f->bytes < c->max_file_bytes)
                return f;
            oldest = f;
            break;
        }
        if (f->used < oldest->used)
            oldest = f;
    }
    close_file(oldest);
    open_file(c, oldest, record);
    return oldest;
}

/* 0, or an errno: then nothing of it is in the file. */
static int append(capture_file *f, tn_str line)
{
    size_t done = 0;
    int why = f->fd < 0 ? errno : 0;
    while (f->fd >= 0 && done < line.len && why == 0) {
        ssize_t n = write(f->fd, line.ptr + done, line.len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            why = n == 0 ? EIO : errno;
    }
    if (why == 0) {
        f->bytes += line.len;
    } else if (f->fd >= 0) {
        if (done > 0 && ftruncate(f->fd, (off_t)f->bytes) != 0)
            tn_error("capture", "half a line stays in a file: %s", strerror(errno));
        close_file(f);
    }
    return why;
}

static void write_record(tn_capture *c, tn_capture_record *record)
{
    tn_buf_clear(&c->line);
    record->write(record, &c->line);
    int why = ENOMEM;
    if (!c->line.failed) {
        capture_file *f = file_for(c, record);
        f->used = ++c->uses;
        why = append(f, tn_buf_view(&c->line));
    }
    if (why != 0 && !c->broken)
        tn_error("capture", "%.*s cannot be written: %s; captured data is lost", TN_FMT(record->folder),
                 strerror(why));
    c->broken = why != 0;
    atomic_fetch_add(why == 0 ? &c->written : &c->dropped, 1);
}

static void *work(void *arg)
{
    tn_capture *c = arg;
    tn_task *task;
    while ((task = tn_taskq_pop(&c->queue)) != NULL) {
        tn_capture_record *record = TN_CONTAINER(task, tn_capture_record, task);
        write_record(c, record);
        atomic_fetch_sub(&c->waiting, record->bytes);
        record->free(record);
    }
    return NULL;
}

tern_code tn_capture_new(const char *dir, size_t max_queue_bytes, size_t max_file_bytes, tn_capture **out,
                         tern_status *st)
{
    *out = NULL;
    int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--data_capture_dir=%s: %s", dir, strerror(errno));
    tn_capture *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(root);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    }
    c->root = root;
    c->max_queue_bytes = max_queue_bytes;
    c->max_file_bytes = max_file_bytes;
    for (int i = 0; i < OPEN_FILES; i++)
        c->files[i].fd = -1;
    tn_buf_init(&c->line, SIZE_MAX / 2);
    tn_taskq_init(&c->queue, 0);
    int failed = tn_thread_start(&c->thread, "tern-capture", work, c);
    if (failed != 0) {
        tn_taskq_destroy(&c->queue);
        close(root);
        free(c);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Cannot start a thread: %s", strerror(failed));
    }
    *out = c;
    return TERN_OK;
}

void tn_capture_put(tn_capture *c, tn_capture_record *record)
{
    size_t before = atomic_fetch_add(&c->waiting, record->bytes);
    if (before + record->bytes <= c->max_queue_bytes && tn_taskq_push(&c->queue, &record->task, NULL))
        return;
    atomic_fetch_sub(&c->waiting, record->bytes);
    atomic_fetch_add(&c->dropped, 1);
    record->free(record);
}

void tn_capture_dropped(tn_capture *c)
{
    atomic_fetch_add(&c->dropped, 1);
}

tn_capture_counts tn_capture_count(tn_capture *c)
{
    return (tn_capture_counts){.written = atomic_load(&c->written), .dropped = atomic_load(&c->dropped)};
}

void tn_capture_flush(tn_capture *c)
{
    const struct timespec pause = {.tv_nsec = FLUSH_LOOK_NS};
    for (int i = 0; c != NULL && i < 2 * NS / FLUSH_LOOK_NS && atomic_load(&c->waiting) > 0; i++)
        nanosleep(&pause, NULL);
}

void tn_capture_free(tn_capture *c)
{
    if (c == NULL)
        return;
    tn_taskq_close(&c->queue);
    pthread_join(c->thread, NULL);
    for (int i = 0; i < OPEN_FILES; i++)
        close_file(&c->files[i]);
    tn_taskq_destroy(&c->queue);
    tn_buf_free(&c->line);
    close(c->root);
    free(c);
}
