/*
 * engines/tensorflow/run.c - one TF_SessionRun: inputs without a copy, outputs in TensorFlow's own memory.
 *
 * An input's TF_Tensor holds a reference to the tern_buffer and gives it back in its deallocator, whenever
 * TensorFlow lets go of it: an identity output or a variable may keep it longer than the run. Strings are
 * copied, since TF_TString is TensorFlow's own. What is fed and fetched stands in the signature's order,
 * whatever the order of the run: see fetches.h. A run's own lists are in the memory that the host gives for
 * it.
 */
#include <stdlib.h>

#include "tensorflow_engine.h"

/* ---- inputs ---- */

static void release_buffer(void *data, size_t length, void *arg)
{
    (void)data;
    (void)length;
    tern_buffer_release(arg);
}

static void release_strings(void *data, size_t length, void *arg)
{
    TF_TString *strings = data;
    (void)arg;
    for (size_t i = 0; i < length / sizeof *strings; i++)
        TF_StringDealloc(&strings[i]);
    free(data);
}

static TF_Tensor *string_input(const tern_tensor *t)
{
    const uint64_t *offsets = t->data;
    int64_t count = 1;
    for (int32_t i = 0; i < t->rank; i++)
        count *= t->dims[i];
    const char *bytes = (const char *)t->data + sizeof(uint64_t) * ((size_t)count + 1);
    size_t size = (size_t)count * sizeof(TF_TString);
    TF_TString *strings =
        aligned_alloc(TERN_ALIGNMENT, (size + TERN_ALIGNMENT) & ~(size_t)(TERN_ALIGNMENT - 1));
    if (strings == NULL)
        return NULL;
    for (int64_t i = 0; i < count; i++) {
        TF_StringInit(&strings[i]);
        TF_StringCopy(&strings[i], bytes + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
    }
    return TF_NewTensor(TF_STRING, t->dims, t->rank, strings, size, release_strings, NULL);
}

static TF_Tensor *make_input(const tern_tensor *t)
{
    static char nothing[TERN_ALIGNMENT] __attribute__((aligned(TERN_ALIGNMENT)));
    if (t->dtype == TERN_STRING)
        return string_input(t);
    tern_buffer *held = t->buffer != NULL ? tern_buffer_retain(t->buffer) : NULL;
    return TF_NewTensor((TF_DataType)t->dtype, t->dims, t->rank, t->size > 0 ? t->data : nothing, t->size,
                        release_buffer, held);
}

/* ---- outputs ---- */

typedef struct output_buffer {
    tern_buffer base;
    TF_Tensor *tensor;
} output_buffer;

static void destroy_output(tern_buffer *b)
{
    TF_DeleteTensor(((output_buffer *)b)->tensor);
    free(b);
}

/* Takes the tensor: its memory becomes the buffer. */
static tern_buffer *wrap_output(TF_Tensor *tensor)
{
    output_buffer *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->base = (tern_buffer){.data = TF_TensorData(tensor),
                            .size = TF_TensorByteSize(tensor),
                            .refs = 1,
                            .destroy = destroy_output};
    b->tensor = tensor;
    return &b->base;
}

/* Strings to offsets and bytes; the tensor stays the caller's. */
static tern_buffer *string_output(const tern_host *host, const TF_Tensor *tensor, int64_t count)
{
    const TF_TString *strings = TF_TensorData(tensor);
    size_t bytes = 0, head = sizeof(uint64_t) * ((size_t)count + 1);
    for (int64_t i = 0; i < count; i++)
        bytes += TF_StringGetSize(&strings[i]);
    tern_buffer *b = host->buffer_new(head + bytes);
    if (b == NULL)
        return NULL;
    uint64_t *offsets = b->data;
    char *to = (char *)b->data + head;
    offsets[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t n = TF_StringGetSize(&strings[i]);
        if (n > 0)
            memcpy(to + offsets[i], TF_StringGetDataPointer(&strings[i]), n);
        offsets[i + 1] = offsets[i] + n;
    }
    return b;
}

static bool carries_bytes(TF_DataType type)
{
    return type != TF_RESOURCE && type != TF_VARIANT;
}

/* Takes the tensor of that output when it succeeds. */
static tern_code take_output(const tern_engine_model *m, const tern_run *run, uint32_t id, TF_Tensor **tensor,
                             tern_tensor *out, tern_status *st)
{
    TF_DataType type = TF_TensorType(*tensor);
    int rank = TF_NumDims(*tensor);
    int64_t *dims = run->alloc(run->alloc_context, sizeof *dims * (size_t)(rank > 0 ? rank : 1));
    if (!carries_bytes(type)) {
        tern_str name = run->signature->outputs[id].name;
        return tern_fail(st, TERN_UNIMPLEMENTED, "Output %.*s is a %s, which cannot leave the process",
                         (int)name.len, name.ptr, type == TF_RESOURCE ? "resource" : "variant");
    }
    if (dims == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the outputs; try again later");
    for (int d = 0; d < rank; d++)
        dims[d] = TF_Dim(*tensor, d);
    *out = (tern_tensor){.dtype = (tern_dtype)type, .rank = rank, .dims = dims};
    out->buffer = type == TF_STRING ? string_output(m->engine->host, *tensor, TF_TensorElementCount(*tensor))
                                    : wrap_output(*tensor);
    if (out->buffer == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the outputs; try again later");
    out->data = out->buffer->data;
    out->size = out->buffer->size;
    if (type == TF_STRING)
        TF_DeleteTensor(*tensor);
    *tensor = NULL;
    return TERN_OK;
}

/* ---- the run ---- */

/*
 * RunOptions{timeout_in_ms = 2, inter_op_thread_pool = 3} on the wire
 * (tensorflow/core/protobuf/config.proto).
 */
static size_t run_options(const tern_run *run, uint8_t *bytes)
{
    size_t n = 0;
    if (run->timeout_us > 0) {
        uint64_t ms = ((uint64_t)run->timeout_us + 999) / 1000;
        bytes[n++] = 2 << 3;
        for (; ms >= 0x80; ms >>= 7)
            bytes[n++] = (uint8_t)(ms | 0x80);
        bytes[n++] = (uint8_t)ms;
    }
    if (run->flags & TERN_RUN_CALLER_THREAD) {
        bytes[n++] = 3 << 3;
        memset(bytes + n, 0xFF, 9); /* -1 */
        bytes[n + 9] = 0x01;
        n += 10;
    }
    return n;
}

/* What one run feeds and fetches, both in the signature's order and each once. */
typedef struct run_lists {
    TF_Output *in_ends, *out_ends;
    TF_Tensor **in, **out; /* n_in, n_out of them, or NULL */
    uint32_t n_in, n_out;
    uint32_t *at;       /* by input's or output's id: its place in the run or in `out`, plus 1; 0: none */
    tern_tensor *taken; /* as run->outputs */
    uint64_t *set;      /* the outputs that are asked for */
} run_lists;

static void *zeroed(const tern_run *run, size_t n, size_t size)
{
    void *p = run->alloc(run->alloc_context, (n > 0 ? n : 1) * size);
    return p != NULL ? memset(p, 0, n * size) : NULL;
}

static tern_code make_lists(const tern_run *run, run_lists *l, tern_status *st)
{
    const tern_signature *s = run->signature;
    size_t n = (size_t)s->n_inputs + s->n_outputs;
    TF_Tensor **tensors = zeroed(run, n, sizeof *tensors);
    TF_Output *ends = zeroed(run, n, sizeof *ends);
    l->at = zeroed(run, s->n_inputs > s->n_outputs ? s->n_inputs : s->n_outputs, sizeof *l->at);
    l->taken = zeroed(run, run->n_outputs, sizeof *l->taken);
    l->set = zeroed(run, TN_TF_SET_WORDS(s->n_outputs), sizeof *l->set);
    if (tensors == NULL || ends == NULL || l->at == NULL || l->taken == NULL || l->set == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu tensors; try again later", n);
    l->in = tensors;
    l->out = tensors + s->n_inputs;
    l->in_ends = ends;
    l->out_ends = ends + s->n_inputs;
    return TERN_OK;
}

/*
 * A tensor that the signature names and the graph lacks. TensorFlow's words for it (CallableOptions), since a
 * session that is run by name says so.
 */
static tern_code not_in_graph(const tern_io *io, tern_status *st)
{
    return tern_fail(
        st, TERN_INVALID_ARGUMENT,
        "Tensor %.*s, specified in either feed_devices or fetch_devices was not found in the Graph",
        (int)io->tensor_name.len, io->tensor_name.ptr);
}

static tern_code feed(const tn_tf_ends *ends, const tern_run *run, run_lists *l, tern_status *st)
{
    const tern_signature *s = run->signature;
    for (uint32_t i = 0; i < run->n_inputs; i++)
        l->at[run->input_ids[i]] = i + 1;
    for (uint32_t id = 0; id < s->n_inputs; id++) {
        if (l->at[id] == 0)
            continue;
        if (ends->inputs[id].oper == NULL)
            return not_in_graph(&s->inputs[id], st);
        l->in_ends[l->n_in] = ends->inputs[id];
        l->in[l->n_in] = make_input(&run->inputs[l->at[id] - 1]);
        if (l->in[l->n_in++] == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for input %.*s; try again later",
                             (int)s->inputs[id].name.len, s->inputs[id].name.ptr);
    }
    return TERN_OK;
}

static bool asked_for(const run_lists *l, uint32_t id)
{
    return (l->set[id / 64] >> (id % 64)) & 1;
}

static tern_code fetch(tn_tf_ends *ends, const tern_run *run, run_lists *l, tern_status *st)
{
    const tern_signature *s = run->signature;
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < run->n_outputs; i++) {
        uint32_t id = run->output_ids[i];
        if (ends->outputs[id].oper == NULL)
            return not_in_graph(&s->outputs[id], st);
        distinct += !asked_for(l, id);
        l->set[id / 64] |= UINT64_C(1) << (id % 64);
    }
    bool all = distinct == s->n_outputs || !tn_tf_fetches_admit(&ends->fetches, l->set);
    for (uint32_t id = 0; id < s->n_outputs; id++) {
        l->at[id] = 0;
        if (ends->outputs[id].oper == NULL || (!all && !asked_for(l, id)))
            continue;
        l->out_ends[l->n_out] = ends->outputs[id];
        l->at[id] = ++l->n_out;
    }
    return TERN_OK;
}

/* Hands out what was asked for, all or nothing. */
static tern_code take_outputs(const tern_engine_model *m, const tern_run *run, run_lists *l, tern_status *st)
{
    tern_code code = TERN_OK;
    uint32_t done = 0;
    for (; code == TERN_OK && done < run->n_outputs; done++) {
        uint32_t id = run->output_ids[done], first = 0;
        TF_Tensor **tensor = &l->out[l->at[id] - 1];
        if (*tensor != NULL) {
            code = take_output(m, run, id, tensor, &l->taken[done], st);
            continue;
        }
        while (run->output_ids[first] != id)
            first++;
        l->taken[done] = l->taken[first];
        if (l->taken[done].buffer != NULL)
            tern_buffer_retain(l->taken[done].buffer);
    }
    if (code == TERN_OK && done > 0)
        memcpy(run->outputs, l->taken, done * sizeof *l->taken);
    while (code != TERN_OK && done-- > 0)
        tern_buffer_release(l->taken[done].buffer);
    return code;
}

static tern_code run_session(tern_engine_model *m, const tern_run *run, const run_lists *l, tern_status *st)
{
    uint8_t bytes[24];
    TF_Buffer options = {.data = bytes, .length = run_options(run, bytes)};
    TF_Status *status = TF_NewStatus();
    TF_SessionRun(m->session, options.length > 0 ? &options : NULL, l->in_ends, l->in, (int)l->n_in,
                  l->out_ends, l->out, (int)l->n_out, NULL, 0, NULL, status);
    tern_code code = TF_GetCode(status) == TF_OK ? TERN_OK : tn_tf_fail(status, st);
    TF_DeleteStatus(status);
    return code;
}

static void drop_lists(const run_lists *l)
{
    for (uint32_t i = 0; i < l->n_in; i++)
        if (l->in[i] != NULL)
            TF_DeleteTensor(l->in[i]);
    for (uint32_t i = 0; i < l->n_out; i++)
        if (l->out[i] != NULL)
            TF_DeleteTensor(l->out[i]);
}

/* Lists, with inputs made and nothing fetched yet. drop_lists() in any case. */
static tern_code prepare(tern_engine_model *m, const tern_run *run, run_lists *l, tern_status *st)
{
    tn_tf_ends *ends = &m->ends[run->signature - m->signatures.signatures];
    *l = (run_lists){0};
    tern_code code = make_lists(run, l, st);
    if (code == TERN_OK)
        code = feed(ends, run, l, st);
    return code == TERN_OK ? fetch(ends, run, l, st) : code;
}

tern_code tn_tf_run(tern_engine_model *m, const tern_run *run, tern_status *st)
{
    run_lists l;
    tern_code code = prepare(m, run, &l, st);
    if (code == TERN_OK)
        code = run_session(m, run, &l, st);
    if (code == TERN_OK)
        code = take_outputs(m, run, &l, st);
    drop_lists(&l);
    return code;
}

/* ---- several signatures in one run ---- */

/*
 * Whether these lists may be fetched together: the first sets of outputs of the whole model are (fetches.h).
 */
static bool may_merge(tern_engine_model *m, const tern_run *const *runs, const run_lists *lists, uint32_t n)
{
    uint64_t *set = zeroed(runs[0], m->many.words, sizeof *set);
    for (uint32_t k = 0; set != NULL && k < n; k++) {
        const tern_signature *s = runs[k]->signature;
        uint32_t first = m->ends[s - m->signatures.signatures].first_output;
        for (uint32_t id = 0; id < s->n_outputs; id++)
            if (lists[k].at[id] > 0)
                set[(first + id) / 64] |= UINT64_C(1) << ((first + id) % 64);
    }
    return set != NULL && tn_tf_fetches_admit(&m->many, set);
}

static bool is_fed(const run_lists *l, TF_Output end)
{
    for (uint32_t i = 0; i < l->n_in; i++)
        if (l->in_ends[i].oper == end.oper && l->in_ends[i].index == end.index)
            return true;
    return false;
}

/* One session run for all of them. What signatures share is fed once. */
static tern_code run_merged(tern_engine_model *m, const tern_run *const *runs, run_lists *lists, uint32_t n,
                            tern_status *st)
{
    run_lists all = {0};
    size_t tensors = 0;
    for (uint32_t k = 0; k < n; k++)
        tensors += (size_t)lists[k].n_in + lists[k].n_out;
    TF_Output *ends = zeroed(runs[0], tensors, sizeof *ends);
    TF_Tensor **list = zeroed(runs[0], tensors, sizeof *list);
    if (ends == NULL || list == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu tensors; try again later", tensors);
    all.in_ends = ends;
    all.in = list;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < lists[k].n_in; i++)
            if (!is_fed(&all, lists[k].in_ends[i])) {
                all.in_ends[all.n_in] = lists[k].in_ends[i];
                all.in[all.n_in++] = lists[k].in[i];
            }
    all.out_ends = ends + all.n_in;
    all.out = list + all.n_in;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < lists[k].n_out; i++)
            all.out_ends[all.n_out++] = lists[k].out_ends[i];
    tern_code code = run_session(m, runs[0], &all, st);
    TF_Tensor **next = all.out;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < lists[k].n_out; i++)
            lists[k].out[i] = *next++;
    return code;
}

static tern_code run_each(tern_engine_model *m, const tern_run *const *runs, run_lists *lists, uint32_t n,
                          tern_status *st)
{
    tern_code code = TERN_OK;
    for (uint32_t k = 0; code == TERN_OK && k < n; k++)
        code = run_session(m, runs[k], &lists[k], st);
    return code;
}

static void drop_outputs(const tern_run *run)
{
    for (uint32_t i = 0; i < run->n_outputs; i++) {
        tern_buffer_release(run->outputs[i].buffer);
        run->outputs[i] = (tern_tensor){0};
    }
}

static tern_code run_prepared(tern_engine_model *m, const tern_run *const *runs, run_lists *lists, uint32_t n,
                              tern_status *st)
{
    tern_code code =
        may_merge(m, runs, lists, n) ? run_merged(m, runs, lists, n, st) : run_each(m, runs, lists, n, st);
    uint32_t taken = 0;
    for (; code == TERN_OK && taken < n; taken += code == TERN_OK)
        code = take_outputs(m, runs[taken], &lists[taken], st);
    while (code != TERN_OK && taken-- > 0)
        drop_outputs(runs[taken]);
    return code;
}

static int by_signature(const void *a, const void *b)
{
    const tern_signature *x = (*(const tern_run *const *)a)->signature;
    const tern_signature *y = (*(const tern_run *const *)b)->signature;
    return (x > y) - (x < y);
}

tern_code tn_tf_run_many(tern_engine_model *m, const tern_run *runs, uint32_t n, tern_status *st)
{
    const tern_run **order = zeroed(&runs[0], n, sizeof *order);
    run_lists *lists = zeroed(&runs[0], n, sizeof *lists);
    uint32_t prepared = 0;
    tern_code code = TERN_OK;
    if (order == NULL || lists == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u signatures; try again later", n);
    for (uint32_t k = 0; k < n; k++)
        order[k] = &runs[k];
    qsort(order, n, sizeof *order, by_signature);
    while (code == TERN_OK && prepared < n) {
        code = prepare(m, order[prepared], &lists[prepared], st);
        prepared++;
    }
    if (code == TERN_OK)
        code = run_prepared(m, order, lists, n, st);
    while (prepared-- > 0)
        drop_lists(&lists[prepared]);
    return code;
}
