/*
 * schedule/batch.c - what batching hangs on a version, and which calls belong together. See batch.h.
 *
 * A signature's queues are a list that only grows: calls look through it without a lock, and a new choice of
 * outputs is added under one. The list is bounded; further choices run alone.
 */
#include <stdlib.h>

#include "base/log.h"
#include "schedule/inside.h"

#define QUEUES_MAX  64 /* choices of outputs of one signature that are batched */
#define ARENA_MAX   (16u << 20)

#define PARAMS_FILE "batching_params.pbtxt"

/* ---- Versions ---- */

/* SERVING: the parameters that hold for this version; *found is false when it is not batched. */
static tern_code params_of(const tn_batch_options *options, const tn_version *v, tn_arena *arena,
                           tn_batch_params *out, bool *found, tern_status *st)
{
    *found = true;
    *out = options->params;
    if (!options->per_model)
        return TERN_OK;
    tn_str path = tn_arena_printf(arena, "%s/" PARAMS_FILE, v->directory);
    if (path.ptr == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for batching parameters");
    tern_status why;
    tern_code code = tn_batch_params_read(path.ptr, arena, out, &why);
    if (code == TERN_NOT_FOUND) {
        *found = false;
        return TERN_OK;
    }
    return code == TERN_OK ? TERN_OK : tern_fail(st, code, "%s", why.message);
}

static void free_version(tn_batch_version *b)
{
    pthread_mutex_destroy(&b->lock);
    tn_arena_free(&b->arena);
    free(b);
}

tern_code tn_schedule_attach(void *schedule, tn_version *v, tern_status *st)
{
    const tn_schedule *s = schedule;
    const uint32_t n = v->signatures->n_signatures;
    bool found = true;
    v->batching = NULL;
    if (s->batching.manner == TN_BATCHING_OFF)
        return TERN_OK;
    tn_batch_version *b = calloc(1, sizeof *b + n * sizeof b->signatures[0]);
    if (b == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the queues of %u signatures", n);
    tn_arena_init(&b->arena, ARENA_MAX);
    pthread_mutex_init(&b->lock, NULL);
    b->manner = s->batching.manner;
    b->n_signatures = n;
    b->max_bytes = (size_t)s->limits.max_batch_bytes;
    b->max_rows = s->limits.max_batch_rows;
    for (uint32_t i = 0; i < n; i++) {
        b->signatures[i].signature = &v->signatures->signatures[i];
        b->signatures[i].of = b;
    }
    tern_code code = TERN_OK;
    if (b->manner == TN_BATCHING_SERVING) {
        code = params_of(&s->batching, v, &b->arena, &b->params, &found, st);
        if (code == TERN_OK && found)
            code = tn_batch_params_check(&b->params, st);
        b->max_rows = tn_batch_params_rows(&b->params);
    }
    if (code != TERN_OK || !found) {
        free_version(b);
        return code;
    }
    v->batching = b;
    return TERN_OK;
}

void tn_schedule_detach(void *schedule, tn_version *v)
{
    (void)schedule;
    if (v->batching != NULL)
        free_version(v->batching);
    v->batching = NULL;
}

void tn_batch_each(const tn_version *v,
                   void (*fn)(void *context, const tern_signature *signature,
                              const tn_batch_signature_stats *stats),
                   void *context)
{
    const tn_batch_version *b = v->batching;
    for (uint32_t i = 0; b != NULL && i < b->n_signatures; i++)
        if (atomic_load_explicit(&b->signatures[i].queues, memory_order_relaxed) != NULL)
            fn(context, b->signatures[i].signature, &b->signatures[i].stats);
}

/* ---- Queues ---- */

static bool wants(const tn_batch_queue *q, const tn_call *call)
{
    return q->n_outputs == call->n_outputs &&
           (q->n_outputs == 0 ||
            memcmp(q->output_ids, call->output_ids, q->n_outputs * sizeof *q->output_ids) == 0);
}

static tn_batch_queue *look(const tn_batch_signature *of, const tn_call *call)
{
    tn_batch_queue *q = atomic_load_explicit(&of->queues, memory_order_acquire);
    while (q != NULL && !wants(q, call))
        q = q->next;
    return q;
}

static bool open_first(const tern_io *io)
{
    return io->rank > 0 && io->dims[0] < 0;
}

static bool by_row(const tern_signature *signature, const uint32_t *output_ids, uint32_t n_outputs)
{
    bool yes = signature->n_inputs > 0 && n_outputs > 0;
    for (uint32_t i = 0; yes && i < signature->n_inputs; i++)
        yes = open_first(&signature->inputs[i]);
    for (uint32_t i = 0; yes && i < n_outputs; i++)
        yes = open_first(&signature->outputs[output_ids[i]]);
    return yes;
}

/* NULL when there are too many already, or memory is short. */
static tn_batch_queue *add(tn_batch_signature *of, const tn_call *call)
{
    tn_batch_version *b = of->of;
    pthread_mutex_lock(&b->lock);
    tn_batch_queue *q = look(of, call);
    if (q != NULL || of->n_queues == QUEUES_MAX)
        goto out;
    q = tn_arena_zalloc(&b->arena, sizeof *q);
    uint32_t *ids = q != NULL ? tn_arena_array(&b->arena, call->n_outputs, sizeof *ids) : NULL;
    if (ids == NULL) {
        q = NULL;
        goto out;
    }
    if (call->n_outputs > 0)
        memcpy(ids, call->output_ids, call->n_outputs * sizeof *ids);
    q->of = of;
    q->n_outputs = call->n_outputs;
    q->output_ids = ids;
    q->by_row = by_row(of->signature, ids, call->n_outputs);
    q->next = atomic_load_explicit(&of->queues, memory_order_relaxed);
    atomic_store_explicit(&of->queues, q, memory_order_release);
    of->n_queues++;
out:
    pthread_mutex_unlock(&b->lock);
    return q;
}

/* ---- Calls ---- */

/* By id, so that calls can be compared input by input; clients send them in any order. */
static void sort_inputs(tn_call *call)
{
    for (uint32_t i = 1; i < call->n_inputs; i++)
        for (uint32_t k = i; k > 0 && call->input_ids[k - 1] > call->input_ids[k]; k--) {
            uint32_t id = call->input_ids[k];
            tern_tensor tensor = call->inputs[k];
            call->input_ids[k] = call->input_ids[k - 1];
            call->inputs[k] = call->inputs[k - 1];
            call->input_ids[k - 1] = id;
            call->inputs[k - 1] = tensor;
        }
}

/* Rows of a call, or the original's words (batching/batching_util.h, ComputeTensorBatchSize). */
static tern_code count_rows(const tn_call *call, int64_t *rows, tern_status *st)
{
    if (call->n_inputs == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Batching Run() must have at least one input tensor");
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        if (call->inputs[i].rank == 0)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Batching Run() input tensors must have at least one dimension");
        if (i > 0 && call->inputs[i].dims[0] != *rows)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Batching Run() input tensors must have equal 0th-dimension size");
        *rows = call->inputs[i].dims[0];
    }
    return TERN_OK;
}

static tern_code check_pad(const tn_call *call, tern_status *st)
{
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (call->inputs[i].rank > TN_BATCH_PAD_RANK)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Only tensors with rank from 1 to 6 can be padded.");
    return TERN_OK;
}

static tern_code check_size(const tn_call *call, const tn_batch_params *p, tern_status *st)
{
    if (p->max_batch_size < 0 || call->rows <= p->max_batch_size)
        return TERN_OK;
    return tern_fail(st, TERN_INVALID_ARGUMENT, "Task size %lld is larger than maximum input batch size %lld",
                     (long long)call->rows, (long long)p->max_batch_size);
}

tern_code tn_batch_find(tn_call *call, tern_status *st)
{
    tn_batch_version *b = call->version->batching;
    tern_status why;
    call->batch = NULL;
    if (b == NULL || call->steps->one_thread)
        return TERN_OK;
    const bool serving = b->manner == TN_BATCHING_SERVING;
    sort_inputs(call);
    tern_code code = count_rows(call, &call->rows, serving ? st : &why);
    if (code == TERN_OK && b->params.pad_variable_length_inputs)
        code = check_pad(call, st);
    if (code == TERN_OK && serving)
        code = check_size(call, &b->params, st);
    if (code != TERN_OK)
        return serving ? code : TERN_OK;
    if (call->n_more > 0)
        return TERN_OK;
    ptrdiff_t index = call->signature - b->signatures[0].signature;
    if (b->n_signatures == 0 || index < 0 || index >= (ptrdiff_t)b->n_signatures)
        return TERN_OK;
    tn_batch_signature *of = &b->signatures[index];
    tn_batch_queue *q = look(of, call);
    if (q == NULL)
        q = add(of, call);
    if (q == NULL)
        return TERN_OK;
    if (serving || (q->by_row && call->rows > 0 && call->rows < b->max_rows &&
                    !atomic_load_explicit(&of->stats.alone, memory_order_relaxed)))
        call->batch = q;
    return TERN_OK;
}

bool tn_batch_fits(const tn_call *call, const tn_call *other)
{
    const tn_batch_version *b = call->batch->of->of;
    bool fits = call->n_inputs == other->n_inputs;
    for (uint32_t i = 0; fits && i < call->n_inputs; i++)
        fits = call->input_ids[i] == other->input_ids[i] &&
               tn_rows_fit(&call->inputs[i], &other->inputs[i], b->params.pad_variable_length_inputs);
    return fits;
}

size_t tn_batch_bytes(const tn_call *call)
{
    size_t n = 0;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        n += call->inputs[i].size;
    return n;
}
