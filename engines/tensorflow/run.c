/*
 * engines/tensorflow/run.c - one TF_SessionRun: inputs without a copy, outputs in TensorFlow's own memory.
 *
 * An input's TF_Tensor holds a reference to the tern_buffer and gives it back in its deallocator, whenever
 * TensorFlow lets go of it: an identity output or a variable may keep it longer than the run. Strings are
 * copied, since TF_TString is TensorFlow's own.
 */
#include <stdlib.h>

#include "tensorflow_engine.h"

#define MANY_TENSORS 32 /* on the stack up to here */

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

/* Takes the tensor when it succeeds. */
static tern_code take_output(const tern_engine_model *m, const tern_run *run, uint32_t i, TF_Tensor **tensor,
                             tern_tensor *out, tern_status *st)
{
    TF_DataType type = TF_TensorType(*tensor);
    int rank = TF_NumDims(*tensor);
    int64_t *dims = run->alloc(run->alloc_context, sizeof *dims * (size_t)(rank > 0 ? rank : 1));
    if (!carries_bytes(type)) {
        tern_str name = run->signature->outputs[run->output_ids[i]].name;
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

/* The tensors and ends of one run; arrays of n_inputs and n_outputs. */
typedef struct run_arrays {
    TF_Output *in_ends, *out_ends;
    TF_Tensor **in, **out;
} run_arrays;

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

static tern_code gather(const tern_engine_model *m, const tern_run *run, const run_arrays *a, tern_status *st)
{
    const tn_tf_ends *ends = &m->ends[run->signature - m->signatures.signatures];
    for (uint32_t i = 0; i < run->n_inputs; i++) {
        const tern_io *io = &run->signature->inputs[run->input_ids[i]];
        a->in_ends[i] = ends->inputs[run->input_ids[i]];
        if (a->in_ends[i].oper == NULL)
            return not_in_graph(io, st);
        a->in[i] = make_input(&run->inputs[i]);
        if (a->in[i] == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for input %.*s; try again later",
                             (int)io->name.len, io->name.ptr);
    }
    for (uint32_t i = 0; i < run->n_outputs; i++) {
        const tern_io *io = &run->signature->outputs[run->output_ids[i]];
        a->out_ends[i] = ends->outputs[run->output_ids[i]];
        if (a->out_ends[i].oper == NULL)
            return not_in_graph(io, st);
    }
    return TERN_OK;
}

static tern_code run_gathered(tern_engine_model *m, const tern_run *run, const run_arrays *a, tern_status *st)
{
    uint8_t bytes[24];
    TF_Buffer options = {.data = bytes, .length = run_options(run, bytes)};
    TF_Status *status = TF_NewStatus();
    tern_code code = TERN_OK;
    TF_SessionRun(m->session, options.length > 0 ? &options : NULL, a->in_ends, a->in, (int)run->n_inputs,
                  a->out_ends, a->out, (int)run->n_outputs, NULL, 0, NULL, status);
    if (TF_GetCode(status) != TF_OK)
        code = tn_tf_fail(status, st);
    TF_DeleteStatus(status);
    uint32_t done = 0;
    for (; code == TERN_OK && done < run->n_outputs; done++)
        code = take_output(m, run, done, &a->out[done], &run->outputs[done], st);
    if (code != TERN_OK)
        while (done-- > 0) {
            tern_buffer_release(run->outputs[done].buffer);
            run->outputs[done] = (tern_tensor){0};
        }
    return code;
}

tern_code tn_tf_run(tern_engine_model *m, const tern_run *run, tern_status *st)
{
    TF_Output ends[2 * MANY_TENSORS];
    TF_Tensor *tensors[2 * MANY_TENSORS] = {0};
    size_t n = (size_t)run->n_inputs + run->n_outputs;
    bool many = n > 2 * MANY_TENSORS;
    TF_Output *all_ends = many ? calloc(n, sizeof *all_ends) : ends;
    TF_Tensor **all = many ? calloc(n, sizeof(TF_Tensor *)) : tensors;
    tern_code code;
    if (all_ends == NULL || all == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu tensors; try again later", n);
        goto out;
    }
    const run_arrays a = {all_ends, all_ends + run->n_inputs, all, all + run->n_inputs};
    code = gather(m, run, &a, st);
    if (code == TERN_OK)
        code = run_gathered(m, run, &a, st);
out:
    for (size_t i = 0; all != NULL && i < n; i++)
        if (all[i] != NULL)
            TF_DeleteTensor(all[i]);
    if (many) {
        free(all_ends);
        free((void *)all);
    }
    return code;
}
