/*
 * api/script_run.c - runs of a model on arrays that a script gave, without JSON. See api/script_inside.h.
 *
 * Numbers are used where the script has put them: the tensors hold the shared memory, however long the engine
 * keeps its inputs. Strings, and what is not aligned or of another dtype, are copied. Outputs go into one
 * piece of shared memory, or into the frame where they are small.
 */
#include <stdlib.h>

#include "api/script_inside.h"

static size_t aligned(size_t n)
{
    return (n + TERN_ALIGNMENT - 1) & ~(size_t)(TERN_ALIGNMENT - 1);
}

/* ---- inputs ---- */

static tern_code check_shape(const tern_io *io, const tn_frame_tensor *t, tern_status *st)
{
    if (io->rank < 0)
        return TERN_OK;
    if (t->rank != io->rank)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Input %.*s has rank %d, the signature has rank %d",
                         TN_FMT(io->name), t->rank, io->rank);
    for (int32_t i = 0; i < t->rank; i++)
        if (io->dims[i] >= 0 && t->dims[i] != io->dims[i])
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Input %.*s has %lld in dimension %d, the signature has %lld", TN_FMT(io->name),
                             (long long)t->dims[i], i, (long long)io->dims[i]);
    return TERN_OK;
}

/* A copy is checked, not what a worker may still write. */
static tern_code copy_strings(const tn_frame_tensor *t, tn_str bytes, tn_arena *arena, tern_tensor *out,
                              tern_status *st)
{
    int64_t count;
    if (!tn_shape_count(t->rank, t->dims, &count))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Input %.*s has a shape that cannot be", TN_FMT(t->name));
    const size_t offsets = ((size_t)count + 1) * sizeof(uint64_t);
    if (bytes.len < offsets)
        return tern_fail(st, TERN_INTERNAL, "Input %.*s has no room for its strings", TN_FMT(t->name));
    const size_t content = bytes.len - offsets;
    tern_code code = tn_tensor_new_string(out, t->rank, t->dims, content, arena, st);
    if (code != TERN_OK)
        return code;
    memcpy(out->data, bytes.ptr, bytes.len);
    const uint64_t *at = tn_string_offsets(out);
    bool good = at[0] == 0 && at[count] == content;
    for (int64_t i = 0; i < count && good; i++)
        good = at[i] <= at[i + 1];
    return good ? TERN_OK
                : tern_fail(st, TERN_INTERNAL, "Input %.*s has strings that overlap", TN_FMT(t->name));
}

/* Plain Python numbers come as double or int64; the signature's dtype is meant. false: not from this one. */
static bool convert(const void *from, tern_dtype have, tern_dtype want, size_t n, void *to)
{
    const double *d = from;
    const int64_t *l = from;
#define EACH(type, source, check)                                                                            \
    for (size_t i = 0; i < n; i++) {                                                                         \
        if (!(check))                                                                                        \
            return false;                                                                                    \
        ((type *)to)[i] = (type)(source)[i];                                                                 \
    }                                                                                                        \
    return true
    if (have == TERN_DOUBLE && want == TERN_FLOAT) {
        EACH(float, d, true);
    }
    if (have != TERN_INT64)
        return false;
    switch (want) {
    case TERN_FLOAT:
        EACH(float, l, true);
    case TERN_DOUBLE:
        EACH(double, l, true);
    case TERN_INT32:
        EACH(int32_t, l, l[i] >= INT32_MIN && l[i] <= INT32_MAX);
    case TERN_UINT32:
        EACH(uint32_t, l, l[i] >= 0 && l[i] <= UINT32_MAX);
    case TERN_UINT64:
        EACH(uint64_t, l, l[i] >= 0);
    case TERN_INT16:
        EACH(int16_t, l, l[i] >= INT16_MIN && l[i] <= INT16_MAX);
    case TERN_UINT16:
        EACH(uint16_t, l, l[i] >= 0 && l[i] <= UINT16_MAX);
    case TERN_INT8:
        EACH(int8_t, l, l[i] >= INT8_MIN && l[i] <= INT8_MAX);
    case TERN_UINT8:
        EACH(uint8_t, l, l[i] >= 0 && l[i] <= UINT8_MAX);
    default:
        return false;
    }
#undef EACH
}

static tern_code wrong_dtype(const tern_io *io, const tn_frame_tensor *t, tern_status *st)
{
    return tern_fail(st, TERN_INVALID_ARGUMENT, "Input %.*s is %s, the signature has %s", TN_FMT(io->name),
                     tn_dtype_name(t->dtype), tn_dtype_name(io->dtype));
}

static tern_code numbers(tn_script_request *s, const tern_io *io, const tn_frame_tensor *t, tn_str bytes,
                         tern_tensor *out, tern_status *st)
{
    tn_segment *segment = t->at.segment != 0 ? tn_script_job_segment(&s->job, &t->at) : NULL;
    tn_arena *arena = &s->run.call.arena;
    if (t->dtype == io->dtype && segment != NULL && t->at.offset % TERN_ALIGNMENT == 0 && bytes.len > 0) {
        int64_t *dims = tn_arena_array(arena, t->rank > 0 ? (size_t)t->rank : 1, sizeof *dims);
        tern_buffer *buffer = dims != NULL ? tn_segment_buffer(segment, t->at.offset, bytes.len) : NULL;
        if (buffer == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for input %.*s", TN_FMT(io->name));
        memcpy(dims, t->dims, (size_t)t->rank * sizeof *dims);
        *out = (tern_tensor){.dtype = t->dtype,
                             .rank = t->rank,
                             .dims = dims,
                             .buffer = buffer,
                             .data = buffer->data,
                             .size = bytes.len};
        return TERN_OK;
    }
    if (t->dtype != io->dtype && !t->weak)
        return wrong_dtype(io, t, st);
    tern_code code = tn_tensor_new(out, io->dtype, t->rank, t->dims, arena, st);
    if (code != TERN_OK)
        return code;
    if (t->dtype == io->dtype) {
        if (bytes.len > 0)
            memcpy(out->data, bytes.ptr, bytes.len);
        return TERN_OK;
    }
    const size_t n = bytes.len / tn_dtype_size(t->dtype);
    if (convert(bytes.ptr, t->dtype, io->dtype, n, out->data))
        return TERN_OK;
    tn_tensor_release(out);
    return wrong_dtype(io, t, st);
}

static tern_code add_input(tn_script_request *s, const tn_frame_tensor *t, tern_status *st)
{
    tn_call *call = &s->run.call;
    const int id = tn_signature_input(call->signature, t->name);
    if (id < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "There is no input %.*s in signature %.*s",
                         TN_FMT(tn_str_sub(t->name, 0, 256)), TN_FMT(call->signature->name));
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (call->input_ids[i] == (uint32_t)id)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Input %.*s is there twice", TN_FMT(t->name));
    const tern_io *io = &call->signature->inputs[id];
    const tn_str bytes = tn_script_job_bytes(&s->job, &t->at);
    if (bytes.ptr == NULL && t->at.size > 0)
        return tern_fail(st, TERN_INTERNAL, "Input %.*s is not where the worker says", TN_FMT(io->name));
    tern_code code = check_shape(io, t, st);
    if (code == TERN_OK && (t->dtype == TERN_STRING) != (io->dtype == TERN_STRING))
        code = wrong_dtype(io, t, st);
    tern_tensor *out = &call->inputs[call->n_inputs];
    if (code == TERN_OK)
        code = t->dtype == TERN_STRING ? copy_strings(t, bytes, &call->arena, out, st)
                                       : numbers(s, io, t, bytes, out, st);
    if (code != TERN_OK) {
        tn_tensor_release(out);
        return code;
    }
    call->input_ids[call->n_inputs++] = (uint32_t)id;
    return TERN_OK;
}

static tern_code all_given(const tn_call *call, tern_status *st)
{
    for (uint32_t id = 0; id < call->signature->n_inputs; id++) {
        uint32_t i = 0;
        while (i < call->n_inputs && call->input_ids[i] != id)
            i++;
        if (i == call->n_inputs && call->signature->inputs[id].default_tensor.ptr == NULL)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Input %.*s of signature %.*s is missing",
                             TN_FMT(call->signature->inputs[id].name), TN_FMT(call->signature->name));
    }
    return TERN_OK;
}

static tern_code choose_outputs(tn_script_request *s, tern_status *st)
{
    tn_call *call = &s->run.call;
    size_t at = 0;
    tn_frame_field field;
    tern_code code = tn_call_all_outputs(call, st);
    uint32_t n = 0;
    while (code == TERN_OK && tn_frame_next(&s->job.reply, &at, &field)) {
        if (field.tag != TN_SCRIPT_OUTPUT)
            continue;
        const int id = tn_signature_output(call->signature, field.bytes);
        bool again = false;
        for (uint32_t i = 0; i < n; i++)
            again = again || call->output_ids[i] == (uint32_t)id;
        if (id < 0 || again)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "%s output %.*s in signature %.*s",
                             again ? "Twice asked for" : "There is no",
                             TN_FMT(tn_str_sub(field.bytes, 0, 256)), TN_FMT(call->signature->name));
        call->output_ids[n++] = (uint32_t)id;
    }
    if (code == TERN_OK && n > 0)
        call->n_outputs = n;
    return code;
}

static tern_code decode(tn_call *call, tern_status *st)
{
    tn_script_request *s = TN_CONTAINER(call, tn_script_request, run.call);
    const int64_t start = tn_now_ns();
    tn_str name = tn_frame_get(&s->job.reply, TN_SCRIPT_SIGNATURE);
    if (name.ptr == NULL)
        name = TN_STR("serving_default");
    call->signature = tn_signatures_find(call->version->signatures, name);
    if (call->signature == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Serving signature name: \"%.*s\" not found in signature def",
                         TN_FMT(tn_str_sub(name, 0, 256)));
    const size_t n = call->signature->n_inputs > 0 ? call->signature->n_inputs : 1;
    call->inputs = tn_arena_zalloc(&call->arena, n * sizeof *call->inputs);
    call->input_ids = tn_arena_array(&call->arena, n, sizeof *call->input_ids);
    if (call->inputs == NULL || call->input_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu inputs", n);
    size_t at = 0;
    tn_frame_field field;
    tn_frame_tensor tensor;
    tern_code code = TERN_OK;
    while (code == TERN_OK && tn_frame_next(&s->job.reply, &at, &field)) {
        if (field.tag != TN_TAG_TENSOR)
            continue;
        code = tn_frame_as_tensor(&field, &tensor)
                   ? add_input(s, &tensor, st)
                   : tern_fail(st, TERN_INVALID_ARGUMENT,
                               "An input has a shape, a dtype and a size that do not belong together");
    }
    if (code == TERN_OK)
        code = all_given(call, st);
    if (code == TERN_OK)
        code = choose_outputs(s, st);
    call->stage_ns[TN_STAGE_DECODE] = tn_now_ns() - start;
    return code;
}

/* ---- outputs ---- */

/* Memory of the job for n bytes: s->text gets the place. */
static tern_code take_room(tn_script_request *s, size_t n, tn_segment **segment, tern_status *st)
{
    tern_code code = tn_segment_take(tn_script_pool_segments(s->pool), n, segment, st);
    if (code == TERN_OK && (code = tn_segment_use(*segment, n, st)) != TERN_OK)
        tn_segment_release(*segment);
    if (code == TERN_OK && !tn_script_job_add(&s->job, *segment)) {
        tn_segment_release(*segment);
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "A call of a script may have %d pieces of shared memory", TN_SCRIPT_SEGMENTS);
    }
    return code;
}

tern_code tn_script_pack(tn_script_request *s, const tn_chunk *chunks, size_t n, tern_status *st)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += chunks[i].len;
    char *to;
    if (total <= TN_FRAME_INLINE_MAX) {
        to = tn_arena_alloc(&s->r->call.arena, total > 0 ? total : 1);
        if (to == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the model's answer");
        s->text = (tn_frame_ref){0, 0, total};
        s->text_inline = (tn_str){to, total};
    } else {
        tn_segment *segment;
        tern_code code = take_room(s, total, &segment, st);
        if (code != TERN_OK)
            return code;
        to = segment->ptr;
        s->text = (tn_frame_ref){segment->id, 0, total};
        s->text_inline = TN_STR_NONE;
    }
    for (size_t i = 0; i < n; i++) {
        if (chunks[i].len > 0)
            memcpy(to, chunks[i].ptr, chunks[i].len);
        to += chunks[i].len;
    }
    return TERN_OK;
}

static tern_code encode(tn_call *call, tern_status *st)
{
    tn_script_request *s = TN_CONTAINER(call, tn_script_request, run.call);
    tn_script_run *run = &s->run;
    const int64_t start = tn_now_ns();
    size_t total = 0;
    for (uint32_t i = 0; i < call->n_outputs; i++)
        total += aligned(call->outputs[i].size);
    run->outputs =
        tn_arena_zalloc(&call->arena, (call->n_outputs > 0 ? call->n_outputs : 1) * sizeof *run->outputs);
    tn_segment *segment = NULL;
    char *to = NULL;
    if (run->outputs != NULL && total <= TN_FRAME_INLINE_MAX)
        to = run->packed = tn_arena_zalloc(&call->arena, total > 0 ? total : 1);
    else if (run->outputs != NULL) {
        tern_code code = take_room(s, total, &segment, st);
        if (code != TERN_OK)
            return code;
        to = segment->ptr;
    }
    if (to == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u outputs", call->n_outputs);
    run->packed_len = segment == NULL ? total : 0;
    size_t at = 0;
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        const tern_tensor *out = &call->outputs[i];
        tn_frame_tensor *t = &run->outputs[i];
        *t = (tn_frame_tensor){.name = call->signature->outputs[call->output_ids[i]].name,
                               .dtype = out->dtype,
                               .rank = out->rank,
                               .at = {segment != NULL ? segment->id : 0, at, out->size}};
        memcpy(t->dims, out->dims, (size_t)out->rank * sizeof *out->dims);
        if (out->size > 0)
            memcpy(to + at, out->data, out->size);
        at += aligned(out->size);
    }
    call->stage_ns[TN_STAGE_ENCODE] = tn_now_ns() - start;
    return TERN_OK;
}

static void run_done(tn_call *call)
{
    tn_script_request *s = TN_CONTAINER(call, tn_script_request, run.call);
    tn_loop_post(s->r->loop, &s->run.task);
}

static const tn_call_steps run_steps = {.name = "script",
                                        .kind = TN_COST_GRPC,
                                        .method = TN_METHOD_DOCUMENT,
                                        .decode = decode,
                                        .encode = encode,
                                        .done = run_done};

/* ---- the run ---- */

/* The request's own model and version, unless the frame says something else. */
static tern_code target_of(const tn_script_request *s, tn_target *target, tern_status *st)
{
    const tn_str model = tn_frame_get(&s->job.reply, TN_SCRIPT_MODEL);
    const tn_str asked = tn_frame_get(&s->job.reply, TN_SCRIPT_VERSION);
    const tn_str version = asked.ptr != NULL || model.ptr != NULL ? asked : s->version;
    *target = (tn_target){.name = model.ptr != NULL ? model : s->model};
    if (version.ptr == NULL)
        return TERN_OK;
    target->has_version = true;
    if (!tn_str_i64(version, &target->version) || target->version < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Version %.*s is not a whole number",
                         TN_FMT(tn_str_sub(version, 0, 64)));
    return TERN_OK;
}

void tn_script_run_start(tn_script_request *s, void (*end)(tn_task *task))
{
    tn_script_run *run = &s->run;
    tn_target target;
    tern_status st;
    size_t bytes = 0, at = 0;
    tn_frame_field field;
    tn_frame_tensor tensor;
    run->task.run = end;
    run->used = true;
    run->outputs = NULL;
    run->packed = NULL;
    run->packed_len = 0;
    tn_call_init(&run->call, &run_steps, (size_t)s->r->server->limits.max_call_arena_bytes);
    tern_code code = target_of(s, &target, &st);
    if (code == TERN_OK)
        code = tn_models_acquire(s->r->server->models, &target, &run->call.version, &st);
    if (code != TERN_OK) {
        run->call.status = st;
        tn_loop_post(s->r->loop, &run->task);
        return;
    }
    while (tn_frame_next(&s->job.reply, &at, &field))
        if (tn_frame_as_tensor(&field, &tensor))
            bytes += tensor.at.size;
    run->call.body_bytes = bytes;
    run->call.deadline_ns = s->deadline_ns;
    tn_schedule_submit(s->r->server->schedule, &run->call);
}

void tn_script_run_finish(tn_script_run *run)
{
    if (!run->used)
        return;
    tn_call_finish(&run->call);
    tn_arena_free(&run->call.arena);
    run->used = false;
}
