/*
 * handler/job.c - one request through a handler: what it may ask of the host, and what the host holds it to.
 *
 * Tensors are made here, against the signature, so that a handler that errs gets a sentence instead of a
 * crash in the engine. Each host function checks that it is called in its own phase: a handler that keeps the
 * call's pointer too long is told so.
 */
#include "base/clock.h"
#include "engine/engine.h"
#include "handler/attached.h"

typedef enum phase { IN_PRE, IN_POST, OVER } phase;

struct tern_handler_call {
    tn_handler_job *job;
    phase phase;
    size_t room;  /* what the last reserve() gave */
    bool overrun; /* commit() of more than that */
};

static tern_code wrong_phase(const char *function, const char *where, tern_status *st)
{
    return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler called %s() outside of %s()", function, where);
}

/* ---- pre ---- */

static tern_code choose_signature(tn_call *call, tn_str name, tern_status *st)
{
    const tern_signature *signature = tn_signatures_find(call->version->signatures, name);
    if (signature == NULL)
        return tern_fail(st, TERN_NOT_FOUND, "Serving signature key \"%.*s\" not found.", TN_FMT(name));
    call->inputs = tn_arena_zalloc(&call->arena, signature->n_inputs * sizeof *call->inputs);
    call->input_ids = tn_arena_array(&call->arena, signature->n_inputs, sizeof *call->input_ids);
    if (call->inputs == NULL || call->input_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u inputs", signature->n_inputs);
    call->signature = signature;
    return TERN_OK;
}

static tern_code set_signature(tern_handler_call *hc, tern_str name, tern_status *st)
{
    if (hc->phase != IN_PRE)
        return wrong_phase("set_signature", "pre", st);
    if (hc->job->call->n_inputs > 0)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler chose a signature after it made inputs");
    return choose_signature(hc->job->call, name, st);
}

static tern_code check_input(const tern_io *io, tern_dtype dtype, int32_t rank, const int64_t *dims,
                             tern_status *st)
{
    if (dtype != io->dtype || dtype == TERN_STRING)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s as %s, the signature has %s",
                         TN_FMT(io->name), tn_dtype_name(dtype) != NULL ? tn_dtype_name(dtype) : "no dtype",
                         tn_dtype_name(io->dtype));
    if (io->rank < 0)
        return TERN_OK;
    if (rank != io->rank)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Handler made input %.*s of rank %d, the signature has rank %d", TN_FMT(io->name),
                         rank, io->rank);
    for (int32_t i = 0; i < rank; i++)
        if (io->dims[i] >= 0 && dims[i] != io->dims[i])
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Handler made input %.*s with %lld in dimension %d, the signature has %lld",
                             TN_FMT(io->name), (long long)dims[i], i, (long long)io->dims[i]);
    return TERN_OK;
}

static tern_code new_input(tern_handler_call *hc, tern_str alias, tern_dtype dtype, int32_t rank,
                           const int64_t *dims, void **data, tern_status *st)
{
    tn_call *call = hc->job->call;
    tern_code code = TERN_OK;
    if (hc->phase != IN_PRE)
        return wrong_phase("new_input", "pre", st);
    if (call->signature == NULL)
        code = choose_signature(call, TN_STR("serving_default"), st);
    if (code != TERN_OK)
        return code;
    int id = tn_signature_input(call->signature, alias);
    if (id < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s, which signature %.*s has not",
                         TN_FMT(alias), TN_FMT(call->signature->name));
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (call->input_ids[i] == (uint32_t)id)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s twice", TN_FMT(alias));
    code = check_input(&call->signature->inputs[id], dtype, rank, dims, st);
    if (code != TERN_OK)
        return code;
    tern_tensor *t = &call->inputs[call->n_inputs];
    code = tn_tensor_new(t, dtype, rank, dims, &call->arena, st);
    if (code != TERN_OK)
        return code;
    call->input_ids[call->n_inputs++] = (uint32_t)id;
    *data = t->data;
    return TERN_OK;
}

/* ---- post ---- */

static const tern_tensor *output(tern_handler_call *hc, tern_str alias)
{
    tn_call *call = hc->job->call;
    if (hc->phase != IN_POST)
        return NULL;
    int id = tn_signature_output(call->signature, alias);
    for (uint32_t i = 0; id >= 0 && i < call->n_outputs; i++)
        if (call->output_ids[i] == (uint32_t)id)
            return &call->outputs[i];
    return NULL;
}

static tern_code reserve(tern_handler_call *hc, size_t want, void **room, tern_status *st)
{
    if (hc->phase != IN_POST)
        return wrong_phase("reserve", "post", st);
    tn_buf *body = &hc->job->body;
    *room = tn_buf_reserve(body, want);
    if (*room == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Answer of %zu bytes and %zu more: the limit is %zu",
                         body->len, want, body->max);
    hc->room = want;
    return TERN_OK;
}

static void commit(tern_handler_call *hc, size_t written)
{
    if (hc->phase != IN_POST || written > hc->room) {
        hc->overrun = true;
        return;
    }
    hc->room -= written;
    tn_buf_commit(&hc->job->body, written);
}

static tern_code write_bytes(tern_handler_call *hc, const void *bytes, size_t length, tern_status *st)
{
    if (hc->phase != IN_POST)
        return wrong_phase("write", "post", st);
    void *room;
    tern_code code = reserve(hc, length, &room, st);
    if (code == TERN_OK && length > 0) {
        memcpy(room, bytes, length);
        commit(hc, length);
    }
    return code;
}

static void set_content_type(tern_handler_call *hc, tern_str type)
{
    if (hc->phase != IN_POST)
        return;
    tn_str copy = tn_arena_dup(&hc->job->call->arena, type);
    if (copy.ptr != NULL)
        hc->job->content_type = copy;
}

static tern_handler_host host_table = {
    .struct_size = sizeof(tern_handler_host),
    .abi_version = TERN_HANDLER_ABI,
    .set_signature = set_signature,
    .new_input = new_input,
    .output = output,
    .write = write_bytes,
    .set_content_type = set_content_type,
    .reserve = reserve,
    .commit = commit,
};

static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void complete_host(void)
{
    host_table.host = tn_host();
}

const tern_handler_host *tn_handler_host(void)
{
    pthread_once(&host_once, complete_host);
    return &host_table;
}

/* ---- Jobs ---- */

bool tn_handler_takes(const tn_version *v, tn_str content_type)
{
    const tn_handler_attached *attached = v->attached;
    if (attached == NULL)
        return false;
    ptrdiff_t semicolon = tn_str_chr(content_type, ';');
    tn_str type = tn_str_trim(semicolon < 0 ? content_type : tn_str_sub(content_type, 0, (size_t)semicolon));
    for (tn_str left = tn_str_from(attached->api->content_types); left.len > 0;) {
        ptrdiff_t comma = tn_str_chr(left, ',');
        size_t end = comma < 0 ? left.len : (size_t)comma;
        if (tn_str_ieq(tn_str_sub(left, 0, end), type))
            return true;
        left = tn_str_sub(left, end + (comma >= 0), left.len);
    }
    return false;
}

static tern_code all_inputs_given(const tn_call *call, const char *handler, tern_status *st)
{
    if (call->n_inputs == call->signature->n_inputs)
        return TERN_OK;
    for (uint32_t id = 0; id < call->signature->n_inputs; id++) {
        uint32_t i = 0;
        while (i < call->n_inputs && call->input_ids[i] != id)
            i++;
        if (i == call->n_inputs)
            return tern_fail(st, TERN_INTERNAL, "Handler %s made no input %.*s", handler,
                             TN_FMT(call->signature->inputs[id].name));
    }
    return TERN_OK;
}

tern_code tn_handler_pre(tn_handler_job *job, tern_status *st)
{
    tn_call *call = job->call;
    const tn_handler_attached *attached = call->version->attached;
    int64_t start = tn_now_ns();
    job->request.struct_size = sizeof job->request;
    job->content_type = TN_STR("application/json");
    tn_buf_init(&job->body, job->max_response);
    tern_handler_call hc = {.job = job, .phase = IN_PRE};
    tern_code code = attached->api->pre(attached->handler, &job->request, &hc, &job->state, st);
    hc.phase = OVER;
    if (code == TERN_OK && call->signature == NULL)
        code = choose_signature(call, TN_STR("serving_default"), st);
    if (code == TERN_OK)
        code = all_inputs_given(call, attached->api->name, st);
    if (code == TERN_OK)
        code = tn_call_all_outputs(call, st);
    call->stage_ns[TN_STAGE_PREPROCESS] = tn_now_ns() - start;
    return code;
}

tern_code tn_handler_post(tn_handler_job *job, tern_status *st)
{
    tn_call *call = job->call;
    const tn_handler_attached *attached = call->version->attached;
    int64_t start = tn_now_ns();
    tern_handler_call hc = {.job = job, .phase = IN_POST};
    tern_code code = attached->api->post(attached->handler, &job->request, &hc, job->state, st);
    hc.phase = OVER;
    if (code == TERN_OK && hc.overrun)
        code = tern_fail(st, TERN_INTERNAL, "Handler %s committed more bytes than it had reserved",
                         attached->api->name);
    if (code == TERN_OK && job->body.failed)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than %zu bytes", job->body.max);
    call->stage_ns[TN_STAGE_POSTPROCESS] = tn_now_ns() - start;
    return code;
}

void tn_handler_job_finish(tn_handler_job *job)
{
    if (job->call != NULL && job->call->version != NULL && job->state != NULL) {
        const tn_handler_attached *attached = job->call->version->attached;
        attached->api->release(attached->handler, job->state);
    }
    job->state = NULL;
    tn_buf_free(&job->body);
}
