/*
 * engines/example/example.c - the smallest engine: shows the contract of tern/engine.h, and serves in tests.
 *
 * It has no runtime underneath. A model is a folder with a text file, example.txt (language: head of
 * description.c); a run computes a * x + b, or hands the input on. Besides, a model may sleep, fail, or keep
 * its inputs after the run, as real runtimes do, so that deadlines, cancellation, drain and buffer ownership
 * can be tested without one, also under the sanitizers. It uses nothing but include/tern and libc.
 *
 * Threads: as the contract asks. `lock` guards the list of runs that can be cancelled and the list of kept
 * buffers; one keeper thread releases the latter. A model is read-only after load().
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "example.h"

/* An input that is kept after its run. */
typedef struct kept kept;
struct kept {
    kept *next;
    tern_buffer *buffer;
    struct timespec until;
};

/* A run under way; on the stack of run(). */
typedef struct active active;
struct active {
    active *next;
    const tern_run *run;
    bool cancelled;
};

struct tern_engine {
    const tern_host *host;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC; any of what follows */
    active *runs;
    kept *kept;
    bool closing;
    pthread_t keeper;
};

struct tern_engine_model {
    tern_engine *engine;
    tern_signature_set set;
    tn_example_description description;
};

static struct timespec later(int64_t us)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += us / 1000000;
    t.tv_nsec += us % 1000000 * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static bool passed(const struct timespec *t)
{
    struct timespec now = later(0);
    return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

/* ---- Open and close ---- */

/*
 * Releases what was kept long enough, looking every millisecond while there is something; at closing, all of
 * it.
 */
static void *keeper_main(void *arg)
{
    tern_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->closing || e->kept != NULL) {
        kept **link = &e->kept;
        kept *due = NULL;
        while (*link != NULL) {
            kept *k = *link;
            if (e->closing || passed(&k->until)) {
                *link = k->next;
                k->next = due;
                due = k;
            } else {
                link = &k->next;
            }
        }
        if (due != NULL) {
            /* Without the lock: the last release runs code of whoever made the buffer. */
            pthread_mutex_unlock(&e->lock);
            while (due != NULL) {
                kept *k = due;
                due = k->next;
                tern_buffer_release(k->buffer);
                free(k);
            }
            pthread_mutex_lock(&e->lock);
        } else if (e->kept != NULL) {
            struct timespec soon = later(1000);
            pthread_cond_timedwait(&e->changed, &e->lock, &soon);
        } else if (!e->closing) {
            pthread_cond_wait(&e->changed, &e->lock);
        }
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void engine_free(tern_engine *e)
{
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static tern_code example_open(const tern_host *host, const tern_engine_options *options, tern_engine **engine,
                              tern_status *st)
{
    (void)options; /* this engine has no settings */
    tern_engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
    e->host = host;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&e->lock, NULL);
    if (pthread_create(&e->keeper, NULL, keeper_main, e) != 0) {
        engine_free(e);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "cannot start a thread");
    }
    *engine = e;
    return TERN_OK;
}

static void example_close(tern_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->keeper, NULL);
    engine_free(e);
}

/* ---- Steps ---- */

static void nap(int64_t ms)
{
    struct timespec until = later(ms * 1000);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* Sleeps until the time is over, cancel() was called, or the timeout passed. */
static tern_code sleep_step(tern_engine *e, active *me, int64_t ms, tern_status *st)
{
    int64_t timeout_us = me->run->timeout_us;
    bool cut = timeout_us > 0 && timeout_us < ms * 1000;
    struct timespec until = later(cut ? timeout_us : ms * 1000);
    pthread_mutex_lock(&e->lock);
    while (!me->cancelled && !passed(&until))
        pthread_cond_timedwait(&e->changed, &e->lock, &until);
    bool cancelled = me->cancelled;
    pthread_mutex_unlock(&e->lock);
    if (cancelled)
        return tern_fail(st, TERN_CANCELLED, "the run was cancelled");
    return cut ? tern_fail(st, TERN_DEADLINE_EXCEEDED, "the run took longer than its timeout") : TERN_OK;
}

static tern_code take_steps(tern_engine *e, const tn_example_steps *steps, const tern_run *run,
                            tern_status *st)
{
    if (steps->busy_ms > 0)
        nap(steps->busy_ms);
    if (steps->sleep_ms > 0) {
        active me = {.run = run};
        pthread_mutex_lock(&e->lock);
        me.next = e->runs;
        e->runs = &me;
        pthread_mutex_unlock(&e->lock);
        tern_code code = sleep_step(e, &me, steps->sleep_ms, st);
        pthread_mutex_lock(&e->lock);
        active **link = &e->runs;
        while (*link != &me)
            link = &(*link)->next;
        *link = me.next;
        pthread_mutex_unlock(&e->lock);
        if (code != TERN_OK)
            return code;
    }
    if (steps->fail != TERN_OK)
        return tern_fail_bytes(st, steps->fail, steps->fail_text.ptr, steps->fail_text.len);
    return TERN_OK;
}

static void example_cancel(tern_engine_model *model, const tern_run *run)
{
    tern_engine *e = model->engine;
    pthread_mutex_lock(&e->lock);
    for (active *a = e->runs; a != NULL; a = a->next)
        a->cancelled |= a->run == run;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

/* Takes a reference to each input and lets the keeper thread give it back. */
static tern_code hold_inputs(tern_engine *e, const tern_run *run, int64_t ms, tern_status *st)
{
    for (uint32_t i = 0; i < run->n_inputs; i++) {
        if (run->inputs[i].buffer == NULL)
            continue;
        kept *k = malloc(sizeof *k);
        if (k == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
        k->buffer = tern_buffer_retain(run->inputs[i].buffer);
        k->until = later(ms * 1000);
        pthread_mutex_lock(&e->lock);
        k->next = e->kept;
        e->kept = k;
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->lock);
    }
    return TERN_OK;
}

/* ---- Load and unload ---- */

static int path_of(char *path, size_t size, const char *directory)
{
    int n = snprintf(path, size, "%s/example.txt", directory);
    return n > 0 && (size_t)n < size;
}

/* Not of a pipe, which would wait for somebody who writes. */
static FILE *open_text(const char *directory)
{
    char path[4096];
    struct stat info;
    int fd = path_of(path, sizeof path, directory) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return NULL;
    FILE *file = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? fdopen(fd, "r") : NULL;
    if (file == NULL)
        close(fd);
    return file;
}

static int example_probe(tern_engine *engine, const char *directory)
{
    (void)engine;
    FILE *file = open_text(directory);
    if (file != NULL)
        fclose(file);
    return file != NULL;
}

static tern_code read_text(const char *directory, char *text, tern_status *st)
{
    errno = EINVAL;
    FILE *file = open_text(directory);
    if (file == NULL)
        return tern_fail(st, TERN_NOT_FOUND, "cannot read %s/example.txt: %s", directory, strerror(errno));
    size_t length = fread(text, 1, EXAMPLE_TEXT_MAX, file);
    bool whole = !ferror(file) && fgetc(file) == EOF;
    fclose(file);
    text[length] = '\0';
    if (!whole)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/example.txt is longer than %d bytes", directory,
                         (int)EXAMPLE_TEXT_MAX);
    return TERN_OK;
}

static tern_code example_load(tern_engine *engine, const tern_load_options *options,
                              tern_engine_model **model, tern_status *st)
{
    tern_engine_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
    const tern_run no_run = {.struct_size = sizeof no_run};
    tn_example_description *d = &m->description;
    m->engine = engine;
    tern_code code = read_text(options->directory, d->text, st);
    if (code == TERN_OK)
        code = tn_example_read(d, st);
    if (code == TERN_OK)
        code = take_steps(engine, &d->load, &no_run, st);
    if (code != TERN_OK) {
        free(m);
        return code;
    }
    m->set = (tern_signature_set){.signatures = d->public_signatures, .n_signatures = d->n_signatures};
    *model = m;
    return TERN_OK;
}

static void example_unload(tern_engine_model *model)
{
    free(model);
}

static const tern_signature_set *example_signatures(tern_engine_model *model)
{
    return &model->set;
}

static uint64_t example_memory_use(tern_engine_model *model)
{
    return model->description.memory;
}

/* ---- Run ---- */

/* The tensor that feeds the alias, or NULL. */
static const tern_tensor *fed(const tn_example_signature *s, const tern_run *run, tern_str alias)
{
    for (uint32_t i = 0; i < run->n_inputs; i++) {
        tern_str name = s->public_inputs[run->input_ids[i]].name;
        if (name.len == alias.len && memcmp(name.ptr, alias.ptr, name.len) == 0)
            return &run->inputs[i];
    }
    return NULL;
}

/* The dtypes that this output takes and gives. */
static bool fits(const tern_tensor *in, const tn_example_io *what)
{
    if (what->length)
        return in->dtype == TERN_STRING && what->io.dtype == TERN_FLOAT;
    return in->dtype == what->io.dtype && (!what->affine || in->dtype == TERN_FLOAT);
}

static void fill(const tern_tensor *in, const tn_example_io *what, tern_tensor *out)
{
    const float *x = in->data;
    const uint64_t *offsets = in->data;
    float *y = out->data;
    for (size_t i = 0; i < out->size / sizeof *y; i++)
        y[i] = what->length ? (float)(offsets[i + 1] - offsets[i]) : what->a * x[i] + what->b;
}

static tern_code compute(tern_engine_model *model, const tern_run *run, const tn_example_signature *s,
                         const tn_example_io *what, tern_tensor *out, tern_status *st)
{
    const tern_tensor *in = fed(s, run, what->source);
    if (in == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "output \"%.*s\" needs input \"%.*s\", which is not fed",
                         (int)what->io.name.len, what->io.name.ptr, (int)what->source.len, what->source.ptr);
    if (!fits(in, what))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "input \"%.*s\" has the wrong dtype (%d)",
                         (int)what->source.len, what->source.ptr, (int)in->dtype);
    int64_t *dims = run->alloc(run->alloc_context, sizeof *dims * (size_t)(in->rank + 1));
    size_t count = 1;
    if (dims == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
    for (int32_t d = 0; d < in->rank; d++)
        count *= (size_t)(dims[d] = in->dims[d]);
    *out = *in;
    out->dims = dims;
    if (what->column)
        dims[out->rank++] = 1;
    if (!what->affine && !what->length) {
        if (in->buffer != NULL)
            tern_buffer_retain(in->buffer);
        return TERN_OK;
    }
    out->dtype = TERN_FLOAT;
    out->size = count * sizeof(float);
    out->buffer = model->engine->host->buffer_new(out->size);
    if (out->buffer == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory");
    out->data = out->buffer->data;
    fill(in, what, out);
    return TERN_OK;
}

static tern_code example_run(tern_engine_model *model, const tern_run *run, tern_status *st)
{
    const tn_example_description *d = &model->description;
    const tn_example_signature *s = &d->signatures[run->signature - d->public_signatures];
    tern_tensor outputs[EXAMPLE_IOS_MAX];
    uint32_t made = 0;
    if (run->n_outputs > EXAMPLE_IOS_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "more outputs are asked for than a signature can have");
    tern_code code = take_steps(model->engine, &s->steps, run, st);
    for (; code == TERN_OK && made < run->n_outputs; made += code == TERN_OK)
        code = compute(model, run, s, &s->outputs[run->output_ids[made]], &outputs[made], st);
    if (code == TERN_OK && s->steps.hold_ms > 0)
        code = hold_inputs(model->engine, run, s->steps.hold_ms, st);
    if (code != TERN_OK) {
        /* The outputs of the run stay untouched when it fails. */
        while (made > 0)
            tern_buffer_release(outputs[--made].buffer);
        return code;
    }
    if (made > 0)
        memcpy(run->outputs, outputs, made * sizeof outputs[0]);
    return TERN_OK;
}

/* There is no graph to pass over at once: one after the other. */
static tern_code example_run_many(tern_engine_model *model, const tern_run *runs, uint32_t n, tern_status *st)
{
    for (uint32_t k = 0; k < n; k++) {
        tern_code code = example_run(model, &runs[k], st);
        if (code == TERN_OK)
            continue;
        while (k-- > 0)
            for (uint32_t i = 0; i < runs[k].n_outputs; i++) {
                tern_buffer_release(runs[k].outputs[i].buffer);
                runs[k].outputs[i] = (tern_tensor){0};
            }
        return code;
    }
    return TERN_OK;
}

static const char *example_runtime_version(void)
{
    return "1";
}

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version);

const tern_engine_api *tern_engine_entry(uint32_t host_abi_version)
{
    static const tern_engine_api api = {
        .struct_size = sizeof(tern_engine_api),
        .abi_version = TERN_ENGINE_ABI,
        .name = "example",
        .runtime_version = example_runtime_version,
        .open = example_open,
        .close = example_close,
        .probe = example_probe,
        .load = example_load,
        .signatures = example_signatures,
        .run = example_run,
        .unload = example_unload,
        .memory_use = example_memory_use,
        .cancel = example_cancel,
        .run_many = example_run_many,
    };
    return host_abi_version == TERN_ENGINE_ABI ? &api : NULL;
}
