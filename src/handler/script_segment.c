/*
 * handler/script_segment.c - see handler/script_segment.h.
 */
#include "handler/script_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIN_BITS    16 /* 64 kB */
#define CLASSES     32
#define CHARGE_STEP ((size_t)64 << 10)
#define GONE_MAX    1024 /* told to the workers; of more than that they unmap when they end */

struct tn_segments {
    pthread_mutex_t lock;
    tn_budget *budget;
    size_t max_bytes, max_idle, idle;
    tn_segment *free[CLASSES];
    uint64_t last_id;
    size_t out;  /* in use */
    bool closed; /* nobody takes any more: the last one that comes back ends all */
    uint64_t gone[GONE_MAX];
    size_t n_gone;
};

tn_segments *tn_segments_new(tn_budget *budget, size_t max_bytes, size_t max_idle)
{
    tn_segments *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->budget = budget;
    s->max_bytes = max_bytes;
    s->max_idle = max_idle;
    return s;
}

static void destroy(tn_segment *segment)
{
    munmap(segment->ptr, segment->size);
    close(segment->fd);
    free(segment);
}

static void free_all(tn_segments *s)
{
    for (int i = 0; i < CLASSES; i++)
        for (tn_segment *at = s->free[i], *next; at != NULL; at = next) {
            next = at->next;
            destroy(at);
        }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void tn_segments_free(tn_segments *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    const bool all_back = s->out == 0;
    pthread_mutex_unlock(&s->lock);
    if (all_back)
        free_all(s);
}

static int class_of(size_t size)
{
    int bits = MIN_BITS;
    while (bits < MIN_BITS + CLASSES - 1 && ((size_t)1 << bits) < size)
        bits++;
    return bits - MIN_BITS;
}

/* Makes one. NULL with errno. */
static tn_segment *make(size_t size)
{
    tn_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        return NULL;
    segment->fd = memfd_create("tern-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (segment->fd < 0)
        goto failed;
    if (ftruncate(segment->fd, (off_t)size) != 0 ||
        fcntl(segment->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        goto opened;
    segment->ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
    if (segment->ptr == MAP_FAILED)
        goto opened;
    segment->size = size;
    return segment;
opened:
    close(segment->fd);
failed:
    free(segment);
    return NULL;
}

tern_code tn_segment_take(tn_segments *s, size_t size, tn_segment **out, tern_status *st)
{
    *out = NULL;
    if (size > s->max_bytes)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "%zu bytes of shared memory are wanted for one request; the limit is %zu", size,
                         s->max_bytes);
    const int class = class_of(size);
    pthread_mutex_lock(&s->lock);
    tn_segment *segment = s->free[class];
    if (segment != NULL) {
        s->free[class] = segment->next;
        s->idle -= segment->touched;
    }
    const uint64_t id = segment != NULL ? segment->id : ++s->last_id;
    s->out++;
    pthread_mutex_unlock(&s->lock);
    if (segment == NULL && (segment = make((size_t)1 << (class + MIN_BITS))) == NULL) {
        const int error = errno;
        pthread_mutex_lock(&s->lock);
        s->out--;
        pthread_mutex_unlock(&s->lock);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "No shared memory of %zu bytes to be had (%s); try again later", size,
                         strerror(error));
    }
    segment->id = id;
    segment->owner = s;
    segment->next = NULL;
    segment->used = segment->charged = 0;
    atomic_init(&segment->refs, 1);
    *out = segment;
    return TERN_OK;
}

tern_code tn_segment_use(tn_segment *segment, size_t n, tern_status *st)
{
    if (n > segment->size)
        n = segment->size;
    if (n > segment->charged) {
        const size_t more = (n - segment->charged + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
        if (!tn_budget_take(segment->owner->budget, more))
            return tern_fail(
                st, TERN_RESOURCE_EXHAUSTED,
                "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
        segment->charged += more;
    }
    if (n > segment->used)
        segment->used = n;
    return TERN_OK;
}

tn_segment *tn_segment_retain(tn_segment *segment)
{
    atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
    return segment;
}

/* The last reference is gone: kept for the next call, or destroyed. */
static void put_back(tn_segment *segment)
{
    tn_segments *s = segment->owner;
    const int class = class_of(segment->size);
    if (segment->used > segment->touched)
        segment->touched = segment->used;
    tn_budget_give(s->budget, segment->charged);
    pthread_mutex_lock(&s->lock);
    bool keep = !s->closed && !atomic_load(&segment->spoilt) && s->idle + segment->touched <= s->max_idle;
    if (keep) {
        segment->next = s->free[class];
        s->free[class] = segment;
        s->idle += segment->touched;
    } else if (s->n_gone < GONE_MAX) {
        s->gone[s->n_gone++] = segment->id;
    }
    const bool last = --s->out == 0 && s->closed;
    pthread_mutex_unlock(&s->lock);
    if (!keep)
        destroy(segment);
    if (last)
        free_all(s);
}

void tn_segment_release(tn_segment *segment)
{
    if (segment != NULL && atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel) == 1)
        put_back(segment);
}

static void release_buffer(tern_buffer *b)
{
    tn_segment_release(b->owner);
    free(b);
}

tern_buffer *tn_segment_buffer(tn_segment *segment, size_t offset, size_t size)
{
    tern_buffer *b = malloc(sizeof *b);
    if (b == NULL)
        return NULL;
    *b = (tern_buffer){.data = segment->ptr + offset,
                       .size = size,
                       .refs = 1,
                       .destroy = release_buffer,
                       .owner = tn_segment_retain(segment)};
    return b;
}

size_t tn_segments_gone(tn_segments *s, uint64_t *ids, size_t max)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_gone < max ? s->n_gone : max;
    s->n_gone -= n;
    memcpy(ids, s->gone + s->n_gone, n * sizeof *ids);
    pthread_mutex_unlock(&s->lock);
    return n;
}

size_t tn_segments_idle(tn_segments *s)
{
    pthread_mutex_lock(&s->lock);
    size_t idle = s->idle;
    pthread_mutex_unlock(&s->lock);
    return idle;
}
