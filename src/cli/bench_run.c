/*
 * cli/bench_run.c - one step of a sweep: threads that drive connections, and what they measure.
 *
 * Closed loop: every connection asks again as soon as it was answered. Open loop: requests fall due at fixed
 * distances (or at those of a Poisson process), each taken by a free connection; while none is free they wait
 * in line, and their latency runs. Requests that end after the measured time, or began before it, do not
 * count.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/bench.h"

#define NONE        (-1)
#define PROGRESS_NS (100 * TN_NS_PER_MS)
#define LINE_MAX    1000000 /* due requests that wait for a connection; more end the step */

typedef struct worker {
    const tn_client_request *request;
    bool grpc;
    unsigned connections;
    double rate; /* of this thread; 0: closed */
    bool poisson;
    uint64_t random;
    int64_t begin_ns, measure_ns, end_ns;
    tn_client *client;
    int64_t *due_ns; /* by connection: when its request was due */
    unsigned *idle;  /* stack of free connections */
    unsigned n_idle;
    int64_t next_ns; /* when the next one falls due */
    int64_t *line;   /* ring of due times that wait */
    size_t line_at, line_n;
    bool overrun;
    tn_bench_result *result;
    pthread_t thread;
} worker;

/* ---- Answers ---- */

static void add_stage(tn_bench_result *r, tn_str name, double ms)
{
    for (unsigned i = 0; i < r->n_stages; i++) {
        if (tn_str_eq(tn_str_from(r->stages[i].name), name)) {
            r->stages[i].sum_ms += ms;
            return;
        }
    }
    if (r->n_stages == TN_BENCH_STAGES || name.len >= sizeof r->stages[0].name)
        return;
    memcpy(r->stages[r->n_stages].name, name.ptr, name.len);
    r->stages[r->n_stages++].sum_ms = ms;
}

/* "read;dur=0.010, run;dur=1.200" (W3C Server Timing), in milliseconds. */
static void add_timing(tn_bench_result *r, tn_str timing)
{
    while (timing.len > 0) {
        ptrdiff_t comma = tn_str_chr(timing, ',');
        tn_str one = tn_str_trim(comma < 0 ? timing : tn_str_sub(timing, 0, (size_t)comma));
        ptrdiff_t at = tn_str_find(one, TN_STR(";dur="));
        char number[32];
        tn_str value = at < 0 ? TN_STR_NONE : tn_str_sub(one, (size_t)at + 5, one.len);
        if (at > 0 && value.len < sizeof number) {
            memcpy(number, value.ptr, value.len);
            number[value.len] = '\0';
            add_stage(r, tn_str_sub(one, 0, (size_t)at), strtod(number, NULL));
        }
        timing = comma < 0 ? TN_STR_NONE : tn_str_sub(timing, (size_t)comma + 1, timing.len);
    }
}

static void note_error(tn_bench_result *r, const tn_client_answer *a)
{
    r->errors++;
    if (r->error[0] != '\0')
        return;
    if (a->error != NULL)
        snprintf(r->error, sizeof r->error, "%s", a->error);
    else if (a->grpc_status > 0)
        snprintf(r->error, sizeof r->error, "gRPC status %d", a->grpc_status);
    else
        snprintf(r->error, sizeof r->error, "HTTP status %d: %.*s", a->status,
                 (int)(a->body.len < 160 ? a->body.len : 160), a->body.ptr != NULL ? a->body.ptr : "");
    for (char *p = r->error; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
}

/*
 * What was due within the measured time and has no answer at its end is a lower bound that must not be left
 * out: it counts with the time that it has waited.
 */
static void count_unanswered(worker *w, int64_t due_ns)
{
    if (w->rate == 0 || due_ns < w->measure_ns)
        return;
    w->result->unanswered++;
    tn_hdr_record(&w->result->latency, w->end_ns - due_ns);
}

static void count(worker *w, int64_t due_ns, const tn_client_answer *a)
{
    tn_bench_result *r = w->result;
    if ((w->rate > 0 ? due_ns : a->ended_ns) < w->measure_ns)
        return;
    if (a->ended_ns > w->end_ns) {
        count_unanswered(w, due_ns);
        return;
    }
    if (a->error != NULL || a->status < 200 || a->status > 299 || (w->grpc && a->grpc_status != 0)) {
        note_error(r, a);
        return;
    }
    r->good++;
    r->bytes += a->body_bytes;
    tn_hdr_record(&r->latency, a->ended_ns - due_ns);
    add_timing(r, a->server_timing);
}

static void ask(worker *w, unsigned connection, int64_t due_ns)
{
    w->due_ns[connection] = due_ns;
    tn_client_start(w->client, connection, w->request);
}

static void on_done(void *context, unsigned connection, const tn_client_answer *a)
{
    worker *w = context;
    count(w, w->due_ns[connection], a);
    w->due_ns[connection] = NONE;
    if (w->rate == 0) {
        if (a->ended_ns < w->end_ns)
            ask(w, connection, tn_now_ns());
    } else if (w->line_n > 0) {
        int64_t due_ns = w->line[w->line_at];
        w->line_at = (w->line_at + 1) % LINE_MAX;
        w->line_n--;
        ask(w, connection, due_ns);
    } else {
        w->idle[w->n_idle++] = connection;
    }
}

/* ---- Due times ---- */

/* xorshift64*: (0, 1]. */
static double random_share(worker *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return (double)((w->random * UINT64_C(0x2545F4914F6CDD1D)) >> 11 | 1) / 9007199254740992.0;
}

static int64_t distance_ns(worker *w)
{
    const double mean = (double)TN_NS_PER_S / w->rate;
    return (int64_t)(w->poisson ? -log(random_share(w)) * mean : mean);
}

static void begin_due(worker *w, int64_t now_ns)
{
    for (; w->next_ns <= now_ns && w->next_ns < w->end_ns; w->next_ns += distance_ns(w)) {
        if (w->n_idle > 0) {
            ask(w, w->idle[--w->n_idle], w->next_ns);
        } else if (w->line_n < LINE_MAX) {
            w->line[(w->line_at + w->line_n++) % LINE_MAX] = w->next_ns;
        } else {
            w->overrun = true;
            return;
        }
    }
}

/* All that wait for a connection, or for their answer. */
static void count_rest(worker *w)
{
    for (size_t i = 0; i < w->line_n; i++)
        count_unanswered(w, w->line[(w->line_at + i) % LINE_MAX]);
    for (unsigned i = 0; i < w->connections; i++)
        count_unanswered(w, w->due_ns[i]);
}

static void *work(void *arg)
{
    worker *w = arg;
    w->next_ns = w->begin_ns;
    for (unsigned i = 0; i < w->connections; i++) {
        w->due_ns[i] = NONE;
        if (w->rate == 0)
            ask(w, i, tn_now_ns());
        else
            w->idle[w->n_idle++] = w->connections - 1 - i;
    }
    for (int64_t now_ns = tn_now_ns(); now_ns < w->end_ns && !w->overrun; now_ns = tn_now_ns()) {
        if (w->rate > 0)
            begin_due(w, now_ns);
        int64_t until_ns = w->rate > 0 && w->next_ns < w->end_ns ? w->next_ns : w->end_ns;
        tn_client_poll(w->client, until_ns);
    }
    count_rest(w);
    return NULL;
}

/* ---- A step ---- */

static void free_worker(worker *w)
{
    tn_client_free(w->client);
    free(w->due_ns);
    free(w->idle);
    free(w->line);
    free(w->result);
}

static tern_code make_worker(worker *w, const tn_bench_options *o, const tn_bench_target *target,
                             tern_status *st)
{
    const tn_client_options options = {.host = target->host,
                                       .port = target->port,
                                       .http2 = target->api == TN_BENCH_GRPC,
                                       .connections = w->connections,
                                       .timeout_ms = o->timeout_ms,
                                       .keep_body = 160,
                                       .done = on_done,
                                       .context = w};
    w->request = &target->request;
    w->grpc = target->api == TN_BENCH_GRPC;
    w->poisson = o->poisson;
    w->due_ns = calloc(w->connections, sizeof *w->due_ns);
    w->idle = calloc(w->connections, sizeof *w->idle);
    w->line = w->rate > 0 ? malloc(LINE_MAX * sizeof *w->line) : NULL;
    w->result = calloc(1, sizeof *w->result);
    if (w->due_ns == NULL || w->idle == NULL || w->result == NULL || (w->rate > 0 && w->line == NULL))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u connections", w->connections);
    return tn_client_new(&options, &w->client, st);
}

static void add_result(tn_bench_result *to, const tn_bench_result *from)
{
    to->good += from->good;
    to->errors += from->errors;
    to->unanswered += from->unanswered;
    to->bytes += from->bytes;
    tn_hdr_add(&to->latency, &from->latency);
    if (to->error[0] == '\0')
        memcpy(to->error, from->error, sizeof to->error);
    for (unsigned i = 0; i < from->n_stages; i++)
        add_stage(to, tn_str_from(from->stages[i].name), from->stages[i].sum_ms);
}

static void wait_for_end(int64_t begin_ns, int64_t end_ns, void (*progress)(void *, double), void *context)
{
    const struct timespec pause = {.tv_nsec = PROGRESS_NS};
    for (int64_t now_ns; (now_ns = tn_now_ns()) < end_ns;) {
        progress(context, (double)(now_ns - begin_ns) / (double)(end_ns - begin_ns));
        if (end_ns - now_ns > PROGRESS_NS)
            nanosleep(&pause, NULL);
        else
            break;
    }
}

tern_code tn_bench_run(const tn_bench_options *o, const tn_bench_target *target, tn_bench_step step,
                       void (*progress)(void *, double), void *context, tn_bench_result **out,
                       tern_status *st)
{
    unsigned n = (unsigned)o->threads < step.connections ? (unsigned)o->threads : step.connections,
             started = 0;
    worker *workers = calloc(n, sizeof *workers);
    tn_bench_result *sum = calloc(1, sizeof *sum);
    tern_code code = TERN_OK;
    if (workers == NULL || sum == NULL)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u threads", n);
    for (unsigned i = 0; i < n && code == TERN_OK; i++) {
        workers[i].connections = step.connections / n + (i < step.connections % n);
        workers[i].rate = step.rate * workers[i].connections / step.connections;
        workers[i].random = UINT64_C(0x9E3779B97F4A7C15) * (i + 1);
        code = make_worker(&workers[i], o, target, st);
    }
    const int64_t begin_ns = tn_now_ns(), measure_ns = begin_ns + (int64_t)(o->warmup * TN_NS_PER_S),
                  end_ns = measure_ns + (int64_t)(o->seconds * TN_NS_PER_S);
    for (; started < n && code == TERN_OK; started++) {
        worker *w = &workers[started];
        w->begin_ns = begin_ns;
        w->measure_ns = measure_ns;
        w->end_ns = end_ns;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No more threads: --threads=%lld",
                             (long long)o->threads);
            break;
        }
    }
    if (code == TERN_OK)
        wait_for_end(begin_ns, end_ns, progress, context);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        add_result(sum, workers[i].result);
        if (workers[i].overrun && code == TERN_OK)
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                             "More than %d requests wait: the server is far from --rate=%g", LINE_MAX,
                             step.rate);
    }
    if (code == TERN_OK) {
        sum->step = step;
        sum->seconds = o->seconds;
        *out = sum;
        sum = NULL;
    }
    for (unsigned i = 0; workers != NULL && i < n; i++)
        free_worker(&workers[i]);
    free(workers);
    free(sum);
    return code;
}
