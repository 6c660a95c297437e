/*
 * schedule/batch_gather.c - AUTO: what an executor, or a turn of an event loop, runs together.
 *
 * An executor that has decoded a call looks into the queue for others of its kind: what was decoded on its
 * loop is compared as it lies there; small bodies of the same version are taken out and decoded, one after
 * the other, so that a second executor that gets free meanwhile has its share. Only what was in the queue
 * when the call's own decoding had ended is waited for, so a batch is not held open by what keeps arriving.
 *
 * A loop does not see a queue: small calls run on it at once. So it collects the calls that one look at its
 * sockets brought, and runs them at the end of this turn: alone where nothing belongs together, as one batch
 * here where that is still short, else by an executor. With one connection there is one call in a turn, and
 * nothing changes.
 */
#include <stdlib.h>

#include "schedule/inside.h"

#define LOOK_MAX    256 /* calls of the queue that are looked at */
#define MISFITS_MAX 8   /* calls that are decoded and do not fit: by then the first one has waited enough */
#define TURN_MAX    64  /* calls of one turn */

/* ---- Out of the executors' queue ---- */

typedef struct wish {
    const tn_call *first;
    int64_t opened_ns;
    int64_t max_body;
    int64_t rows;
    size_t bytes;
    bool undecoded; /* has taken one that is not decoded */
} wish;

static bool has_room(const wish *w, const tn_call *call)
{
    const tn_batch_version *b = call->batch->of->of;
    return call->batch == w->first->batch && w->rows + call->rows <= b->max_rows &&
           w->bytes + tn_batch_bytes(call) <= b->max_bytes && tn_batch_fits(w->first, call);
}

static void count_in(wish *w, const tn_call *call)
{
    w->rows += call->rows;
    w->bytes += tn_batch_bytes(call);
}

static bool want(tn_task *task, void *arg)
{
    wish *w = arg;
    const tn_call *call = TN_CONTAINER(task, tn_call, task);
    if (call->version != w->first->version)
        return false;
    if (call->batch != NULL) {
        if (!has_room(w, call))
            return false;
        count_in(w, call);
        return true;
    }
    if (w->undecoded || call->steps != w->first->steps || call->steps->decode == NULL ||
        call->decoded_ns != 0 || (int64_t)call->body_bytes > w->max_body || call->queued_ns > w->opened_ns)
        return false;
    w->undecoded = true;
    return true;
}

/* Decodes a call that was taken out of the queue. false: it ended. */
static bool bring(tn_call *call)
{
    int64_t now = tn_now_ns();
    call->stage_ns[TN_STAGE_QUEUE] += now - call->queued_ns;
    call->at_ns = now;
    tern_code code = tn_call_wanted(call, now, "start");
    if (code == TERN_OK)
        code = call->steps->decode(call, &call->status);
    if (code == TERN_OK && !call->skip_run)
        code = tn_batch_find(call, &call->status);
    if (code != TERN_OK || call->skip_run) {
        tn_call_ran(call, code);
        return false;
    }
    call->decoded_ns = tn_call_step_end(call, now);
    return true;
}

typedef struct gathering {
    tn_batch_part **parts;
    uint32_t n;
    uint32_t misfits;
    tn_schedule *schedule;
    wish wish;
} gathering;

/* false: no memory for the part. */
static bool add_part(gathering *g, tn_call *call)
{
    tn_batch_part *part = tn_arena_zalloc(&call->arena, sizeof *part);
    if (part == NULL)
        return false;
    *part = (tn_batch_part){.call = call, .rows = call->rows};
    g->parts[g->n++] = part;
    return true;
}

/* Calls that were taken out: into the batch, or back. */
static void sort_out(gathering *g, tn_task *task)
{
    for (tn_task *next; task != NULL; task = next) {
        tn_call *call = TN_CONTAINER(task, tn_call, task);
        next = task->next;
        if (call->batch == NULL) {
            if (!bring(call))
                continue;
            bool fits = call->batch != NULL && has_room(&g->wish, call);
            if (fits)
                count_in(&g->wish, call);
            if (fits && add_part(g, call))
                continue;
            g->misfits++;
            tn_taskq_push_front(&g->schedule->queue, task);
        } else if (!add_part(g, call)) {
            tn_taskq_push_front(&g->schedule->queue, task);
        }
    }
}

bool tn_batch_gather(tn_batch_runner *runner, tn_call *first, bool small)
{
    tn_schedule *s = runner->schedule;
    const int64_t max_rows = first->batch->of->of->max_rows;
    int64_t now = tn_now_ns();
    int64_t stop = first->deadline_ns != 0 ? now + (first->deadline_ns - now) / 2 : INT64_MAX;
    gathering g = {.schedule = s,
                   .wish = {.first = first, .opened_ns = now, .max_body = s->limits.inline_body_bytes}};
    g.parts = tn_arena_array(&runner->arena, (size_t)max_rows, sizeof(tn_batch_part *));
    count_in(&g.wish, first);
    if (g.parts == NULL || !add_part(&g, first))
        return false;
    while (g.wish.rows < max_rows && g.misfits < MISFITS_MAX && tn_now_ns() < stop) {
        g.wish.undecoded = false;
        tn_task *list = tn_taskq_take_if(&s->queue, want, &g.wish, LOOK_MAX);
        if (list == NULL)
            break;
        sort_out(&g, list);
    }
    if (g.n == 1) {
        tn_arena_reset(&runner->arena);
        return false;
    }
    tn_batch_run(runner, first->batch, g.parts, g.n, small);
    return true;
}

/* ---- Turns ---- */

struct tn_turn {
    tn_schedule *schedule;
    tn_batch_runner runner;
    uint32_t n;
    tn_call *calls[TURN_MAX];
};

tn_turn *tn_turn_new(tn_schedule *s)
{
    if (s->batching.manner != TN_BATCHING_AUTO)
        return NULL;
    tn_turn *turn = calloc(1, sizeof *turn);
    if (turn == NULL)
        return NULL;
    turn->schedule = s;
    tn_batch_runner_init(&turn->runner, s);
    return turn;
}

void tn_turn_free(tn_turn *turn)
{
    if (turn != NULL)
        tn_batch_runner_free(&turn->runner);
    free(turn);
}

tn_schedule *tn_turn_schedule(const tn_turn *turn)
{
    return turn->schedule;
}

void tn_turn_add(tn_turn *turn, tn_call *call)
{
    if (turn->n == TURN_MAX)
        (void)tn_turn_end(turn);
    turn->calls[turn->n++] = call;
}

/* Runs a few calls of one queue that fit: alone, together, or elsewhere. */
static void run_few(tn_turn *turn, tn_call **calls, uint32_t n)
{
    tn_schedule *s = turn->schedule;
    tn_batch_part *parts[TURN_MAX];
    gathering g = {.parts = parts};
    const bool here =
        tn_call_is_small(calls[0], s->limits.inline_run_us / n) && tn_taskq_length(&s->queue) == 0;
    if (here && n == 1) {
        tn_call_run_here(s, calls[0]);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!here || !add_part(&g, calls[i]))
            tn_call_queue(s, calls[i]);
    if (g.n > 0)
        tn_batch_run(&turn->runner, parts[0]->call->batch, parts, g.n, true);
}

bool tn_turn_end(tn_turn *turn)
{
    tn_call *calls[TURN_MAX];
    const uint32_t n = turn->n;
    memcpy(calls, turn->calls, n * sizeof *calls);
    turn->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (calls[i] == NULL)
            continue;
        tn_call *few[TURN_MAX] = {calls[i]};
        uint32_t m = 1;
        wish w = {.first = calls[i]};
        count_in(&w, calls[i]);
        for (uint32_t k = i + 1; k < n; k++)
            if (calls[k] != NULL && has_room(&w, calls[k])) {
                count_in(&w, calls[k]);
                few[m++] = calls[k];
                calls[k] = NULL;
            }
        run_few(turn, few, m);
    }
    return n > 0;
}
