/*
 * run.c - one inference: inputs and large outputs without a copy.
 *
 * Inputs lie where the host put them and are only read. A small output is copied, so that its request is free
 * for the next call at once; a larger one is handed out where OpenVINO wrote it, and keeps its request.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "openvino_engine.h"
#include "refused.h"
#include "tensor/tensor.h"

/* Outputs of a run that together take so much are not copied. */
#define COPY_BYTES 32768

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
}

/* ---- inputs ---- */

static const char *dtype_name(tern_dtype dtype)
{
    static const char *const names[] = {
        [TERN_FLOAT] = "float",   [TERN_DOUBLE] = "double",     [TERN_INT32] = "int32",
        [TERN_UINT8] = "uint8",   [TERN_INT16] = "int16",       [TERN_INT8] = "int8",
        [TERN_STRING] = "string", [TERN_COMPLEX64] = "complex", [TERN_INT64] = "int64",
        [TERN_BOOL] = "bool",     [TERN_BFLOAT16] = "bfloat16", [TERN_UINT16] = "uint16",
        [TERN_HALF] = "half",     [TERN_UINT32] = "uint32",     [TERN_UINT64] = "uint64",
    };
    size_t i = (size_t)dtype;
    return i < sizeof names / sizeof names[0] && names[i] != NULL ? names[i] : "another dtype";
}

/* "[2,3]", "[-1,3]" */
static void put_shape(char *text, size_t size, int64_t rank, const int64_t *dims)
{
    size_t n = (size_t)snprintf(text, size, "[");
    for (int64_t i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, i == 0 ? "%lld" : ",%lld", (long long)dims[i]);
    if (n < size)
        snprintf(text + n, size - n, "]");
}

static bool shape_fits(const tern_tensor *t, const ov_partial_shape_t *shape)
{
    if (shape->rank.min != shape->rank.max)
        return true;
    if (t->rank != shape->rank.max)
        return false;
    for (int32_t i = 0; i < t->rank; i++)
        if (shape->dims[i].min == shape->dims[i].max && t->dims[i] != shape->dims[i].max)
            return false;
    return true;
}

static tern_code wrong_shape(const tern_io *io, const tern_tensor *t, const ov_partial_shape_t *shape,
                             tern_status *st)
{
    char given[256], taken[256];
    int64_t dims[TERN_MAX_RANK];
    int64_t rank = shape->rank.max < TERN_MAX_RANK ? shape->rank.max : TERN_MAX_RANK;
    for (int64_t i = 0; i < rank; i++)
        dims[i] = shape->dims[i].min == shape->dims[i].max ? shape->dims[i].max : -1;
    put_shape(given, sizeof given, t->rank, t->dims);
    put_shape(taken, sizeof taken, rank, dims);
    return tern_fail(st, TERN_INVALID_ARGUMENT, "input \"%.*s\" has shape %s, the model takes %s",
                     (int)io->name.len, io->name.ptr, given, taken);
}

/* OpenVINO's CPU plugin makes int64 int32: what does not fit is refused rather than cut. */
static tern_code check_int64(const tern_io *io, const tern_tensor *t, bool sums, tern_status *st)
{
    const int64_t *values = t->data;
    size_t n = t->size / sizeof *values;
    uint64_t most = sums ? TN_OV_SMALL : UINT64_C(1) << 31; /* -most <= value < most */
    uint64_t outside = 0;
    for (size_t i = 0; i < n; i++)
        outside |= ((uint64_t)values[i] + most) & ~(2 * most - 1);
    if (outside == 0)
        return TERN_OK;
    return tern_fail(
        st, TERN_INVALID_ARGUMENT,
        "input \"%.*s\" has a value of %llu or more, or below -%llu: OpenVINO computes this model in "
        "int32; serve it with the engine tensorflow",
        (int)io->name.len, io->name.ptr, (unsigned long long)most, (unsigned long long)most);
}

static tern_code check_input(const tn_ov_signature *s, uint32_t id, const tern_tensor *t, tern_status *st)
{
    const tern_io *io = &s->what->inputs[id];
    const tn_ov_port *p = &s->inputs[id];
    if (t->dtype != io->dtype)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "input \"%.*s\" is %s, the model takes %s",
                         (int)io->name.len, io->name.ptr, dtype_name(t->dtype), dtype_name(io->dtype));
    if (!shape_fits(t, &p->shape))
        return wrong_shape(io, t, &p->shape, st);
    return t->dtype == TERN_INT64 ? check_int64(io, t, s->sums, st) : TERN_OK;
}

static tern_code feed(tn_ov_request *r, const tn_ov_port *p, const tern_tensor *t, tern_status *st)
{
    static char nothing[TERN_ALIGNMENT] __attribute__((aligned(TERN_ALIGNMENT)));
    int64_t none[1] = {0};
    ov_tensor_t *tensor = NULL;
    /* The shape is copied. */
    ov_shape_t shape = {.rank = t->rank, .dims = t->rank > 0 ? (int64_t *)(uintptr_t)t->dims : none};
    if (ov_tensor_create_from_host_ptr(tn_ov_type(t->dtype), shape, t->size > 0 ? t->data : nothing,
                                       &tensor) != OK)
        return tn_ov_fail(TERN_INVALID_ARGUMENT, "OpenVINO does not take an input", st);
    tern_code code = TERN_OK;
    if (ov_infer_request_set_tensor_by_const_port(r->request, p->port, tensor) != OK)
        code = tn_ov_fail(TERN_INVALID_ARGUMENT, "OpenVINO does not take an input", st);
    ov_tensor_free(tensor);
    return code;
}

/* Every input of the graph, each tensor once. */
static tern_code feed_all(const tn_ov_signature *s, tn_ov_request *r, const tern_run *run, tern_status *st)
{
    const tern_signature *what = s->what;
    const tern_tensor **by_id = run->alloc(run->alloc_context, (what->n_inputs + 1) * sizeof *by_id);
    if (by_id == NULL)
        return no_memory(st);
    memset(by_id, 0, what->n_inputs * sizeof *by_id);
    for (uint32_t i = 0; i < run->n_inputs; i++)
        by_id[run->input_ids[i]] = &run->inputs[i];
    for (uint32_t id = 0; id < what->n_inputs; id++) {
        const tn_ov_port *p = &s->inputs[id];
        if (p->port == NULL)
            continue;
        if (by_id[id] == NULL)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "input \"%.*s\" is missing",
                             (int)what->inputs[id].name.len, what->inputs[id].name.ptr);
        tern_code code = check_input(s, id, by_id[id], st);
        if (code == TERN_OK)
            code = feed(r, p, by_id[id], st);
        if (code != TERN_OK)
            return code;
    }
    return TERN_OK;
}

/* ---- outputs ---- */

typedef struct output_buffer {
    tern_buffer base;
    ov_tensor_t *tensor;
    tn_ov_request *request;
    tern_engine_model *model;
} output_buffer;

static void destroy_output(tern_buffer *base)
{
    output_buffer *b = (output_buffer *)base;
    ov_tensor_free(b->tensor);
    tn_ov_request_release(b->request);
    tn_ov_unload(b->model);
    free(b);
}

/*
 * Takes the tensor when it succeeds: its memory becomes the buffer, which is one more user of the request,
 * and
 * of the model: it may live longer than that is loaded.
 */
static tern_buffer *wrap_output(const tn_ov_signature *s, tn_ov_request *r, ov_tensor_t *tensor, void *data,
                                size_t size)
{
    output_buffer *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->base = (tern_buffer){.data = data, .size = size, .refs = 1, .destroy = destroy_output};
    b->tensor = tensor;
    b->request = r;
    b->model = s->model;
    atomic_fetch_add(&r->users, 1);
    atomic_fetch_add(&s->model->users, 1);
    return &b->base;
}

static tern_buffer *copy_output(const tern_host *host, const void *data, size_t size)
{
    tern_buffer *b = host->buffer_new(size);
    if (b != NULL && size > 0)
        memcpy(b->data, data, size);
    return b;
}

static bool is_an_input(const tern_run *run, const void *data)
{
    for (uint32_t i = 0; i < run->n_inputs; i++) {
        uintptr_t begin = (uintptr_t)run->inputs[i].data;
        if ((uintptr_t)data >= begin && (uintptr_t)data < begin + run->inputs[i].size)
            return true;
    }
    return false;
}

static tern_code shape_of(const ov_tensor_t *tensor, const tern_run *run, tern_tensor *out, tern_status *st)
{
    ov_shape_t shape = {0};
    if (ov_tensor_get_shape(tensor, &shape) != OK)
        return tn_ov_fail(TERN_INTERNAL, "OpenVINO tells no shape of an output", st);
    int64_t *dims = run->alloc(run->alloc_context, (size_t)(shape.rank > 0 ? shape.rank : 1) * sizeof *dims);
    if (dims != NULL)
        memcpy(dims, shape.dims, (size_t)shape.rank * sizeof *dims);
    out->rank = (int32_t)shape.rank;
    out->dims = dims;
    ov_shape_free(&shape);
    return dims != NULL ? TERN_OK : no_memory(st);
}

static tern_code take_output(const tn_ov_signature *s, tn_ov_request *r, const tern_run *run, uint32_t id,
                             tern_tensor *out, tern_status *st)
{
    ov_tensor_t *tensor = NULL;
    void *data = NULL;
    size_t size = 0;
    if (ov_infer_request_get_tensor_by_const_port(r->request, s->outputs[id].port, &tensor) != OK ||
        ov_tensor_get_byte_size(tensor, &size) != OK || (size > 0 && ov_tensor_data(tensor, &data) != OK)) {
        if (tensor != NULL)
            ov_tensor_free(tensor);
        return tn_ov_fail(TERN_INTERNAL, "OpenVINO gives no output", st);
    }
    *out = (tern_tensor){.dtype = s->what->outputs[id].dtype, .size = size};
    tern_code code = shape_of(tensor, run, out, st);
    bool copy = size < COPY_BYTES || is_an_input(run, data);
    if (code == TERN_OK) {
        out->buffer =
            copy ? copy_output(s->model->engine->host, data, size) : wrap_output(s, r, tensor, data, size);
        code = out->buffer != NULL ? TERN_OK : no_memory(st);
    }
    if (code != TERN_OK || copy)
        ov_tensor_free(tensor);
    if (code == TERN_OK)
        out->data = out->buffer->data;
    return code;
}

/* All or nothing. */
static tern_code take_outputs(const tn_ov_signature *s, tn_ov_request *r, const tern_run *run,
                              tern_status *st)
{
    uint32_t done = 0;
    tern_code code = TERN_OK;
    tern_tensor *taken = run->alloc(run->alloc_context, (run->n_outputs + 1) * sizeof *taken);
    if (taken == NULL)
        return no_memory(st);
    r->output_bytes = 0;
    while (code == TERN_OK && done < run->n_outputs) {
        code = take_output(s, r, run, run->output_ids[done], &taken[done], st);
        if (code == TERN_OK)
            r->output_bytes += taken[done++].size;
    }
    if (code == TERN_OK && done > 0)
        memcpy(run->outputs, taken, done * sizeof *taken);
    while (code != TERN_OK && done-- > 0)
        tern_buffer_release(taken[done].buffer);
    return code;
}

/* ---- the run ---- */

static void set_run(tn_ov_request *r, const tern_run *run)
{
    pthread_mutex_lock(&r->lock);
    r->run = run;
    pthread_mutex_unlock(&r->lock);
}

static tern_code infer(tn_ov_request *r, const tern_run *run, tern_status *st)
{
    set_run(r, run);
    ov_status_e status = ov_infer_request_infer(r->request);
    set_run(r, NULL);
    if (status == OK)
        return TERN_OK;
    if (status == INFER_CANCELLED)
        return tern_fail(st, TERN_CANCELLED, "The run was cancelled");
    return tn_ov_fail(TERN_INVALID_ARGUMENT, "OpenVINO cannot run this", st);
}

/* TensorFlow's words (engines/tensorflow/run.c): the signature names no tensor of the graph. */
static tern_code not_in_graph(const tern_run *run, tern_status *st)
{
    tern_str name = run->signature->n_outputs > 0 ? run->signature->outputs[0].tensor_name : TN_STR("");
    return tern_fail(
        st, TERN_INVALID_ARGUMENT,
        "Tensor %.*s, specified in either feed_devices or fetch_devices was not found in the Graph",
        (int)name.len, name.ptr);
}

tern_code tn_ov_run(tern_engine_model *m, const tern_run *run, tern_status *st)
{
    tn_ov_signature *s = &m->each[run->signature - m->signatures.signatures];
    if (!s->runnable)
        return not_in_graph(run, st);
    if (!atomic_load_explicit(&s->ready, memory_order_acquire)) {
        tern_code compiled = tn_ov_compile(s, st);
        if (compiled != TERN_OK)
            return compiled;
    }
    tn_ov_request *r = tn_ov_pool_take(&s->pool);
    if (r == NULL)
        return tn_ov_fail(TERN_RESOURCE_EXHAUSTED, "OpenVINO has no memory for a request", st);
    tern_code code = feed_all(s, r, run, st);
    if (code == TERN_OK)
        code = infer(r, run, st);
    if (code == TERN_OK)
        code = take_outputs(s, r, run, st);
    tn_ov_request_release(r);
    return code;
}

void tn_ov_cancel(tern_engine_model *m, const tern_run *run)
{
    tn_ov_signature *s = &m->each[run->signature - m->signatures.signatures];
    if (s->runnable && atomic_load(&s->ready))
        tn_ov_pool_cancel(&s->pool, run);
}
