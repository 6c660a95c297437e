/* handler/isolated.c - the server's side of handlers in processes of their own. See handler/isolated.h. */
#include "handler/isolated.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "handler/attached.h"
#include "handler/setup.h"

#define START_NS     (60 * TN_NS_PER_S)
#define ROOM_MIN     ((size_t)16 << 10)
#define ROOM_MAX     ((size_t)256 << 20)
#define FRAME_SLACK  4096 /* of a frame: what stands in it besides tensors */
#define SETUP_MAX    ((size_t)8 << 20)
#define GRACE_NS     (250 * TN_NS_PER_MS) /* beyond the deadline, before a process is killed for a call */
#define WORKERS_MAX  (TN_SCRIPT_WORKERS_MAX / 2)
#define SHARED_EXTRA ((size_t)1 << 30) /* of one segment: what may come beside the largest body */

static size_t aligned(size_t n)
{
    return (n + TERN_ALIGNMENT - 1) & ~(size_t)(TERN_ALIGNMENT - 1);
}

/* ---- processes ---- */

/* "name\ntypes\nversion", as the process said. */
static tern_code take_note(tn_handler_attached *a, const char *path, tern_status *st)
{
    char note[1024];
    const tn_str said = {note, tn_script_pool_note(a->pool, note, sizeof note)};
    const ptrdiff_t first = tn_str_chr(said, '\n');
    const tn_str rest = first >= 0 ? tn_str_sub(said, (size_t)first + 1, said.len) : TN_STR_NONE;
    const ptrdiff_t second = tn_str_chr(rest, '\n');
    if (first < 0 || second < 0)
        return tern_fail(st, TERN_FAILED_PRECONDITION,
                         "%s: name and content types are longer than the 1000 bytes that an isolated handler "
                         "has for them",
                         path);
    a->name = strndup(said.ptr, (size_t)first);
    a->types = strndup(rest.ptr, (size_t)second);
    return a->name != NULL && a->types != NULL
               ? TERN_OK
               : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a handler");
}

static int32_t workers_of(const tn_handlers_config *config)
{
    const int32_t cores = (int32_t)tn_cores();
    const int32_t n = config->workers > 0 ? config->workers : cores > 2 ? cores : 2;
    return n > WORKERS_MAX ? WORKERS_MAX : n;
}

static tern_code start_pool(tn_handlers *h, const char *path, const char *const *env, tn_script_pool **pool,
                            tern_status *st)
{
    const tn_handlers_config *config = tn_handlers_settings(h);
    const char *argv[] = {config->program, "handler-worker", path, NULL};
    const tn_script_pool_options options = {
        .name = tn_str_from(path),
        .command = {argv, env},
        .workers = workers_of(config),
        .max_queue = (size_t)config->limits.max_script_queue,
        .max_memory = (size_t)config->limits.max_handler_memory_bytes,
        .start_ns = START_NS,
        .budget = config->budget,
        .max_bytes = (size_t)config->limits.max_body_bytes + SHARED_EXTRA,
        .max_idle = (size_t)config->limits.max_handler_idle_bytes,
    };
    tn_scripts *scripts = tn_handlers_scripts(h, st);
    return scripts != NULL ? tn_script_pool_new(scripts, &options, pool, st) : st->code;
}

tern_code tn_isolated_attach(tn_handlers *h, const char *path, const tern_handler_options *options,
                             tn_handler_attached *a, tern_status *st)
{
    tn_buf setup;
    char *texts = NULL;
    tn_buf_init(&setup, SETUP_MAX);
    tn_setup_write(options, &setup);
    const char **env =
        setup.failed ? NULL : tn_setup_environment(tn_buf_view(&setup), (const char *const *)environ, &texts);
    tern_code code = env != NULL ? TERN_OK
                                 : tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                                             "The signatures of %s are too large for an isolated handler",
                                             options->directory);
    a->owner = h;
    if (code == TERN_OK)
        code = start_pool(h, path, env, &a->pool, st);
    if (code == TERN_OK)
        code = tn_script_pool_wait(a->pool, tn_now_ns() + START_NS, st);
    if (code == TERN_OK)
        code = take_note(a, path, st);
    if (code != TERN_OK)
        tn_isolated_detach(a);
    free(env);
    free(texts);
    tn_buf_free(&setup);
    return code;
}

void tn_isolated_detach(tn_handler_attached *a)
{
    tn_script_pool_release(a->pool);
    free(a->name);
    free(a->types);
    a->pool = NULL;
    a->name = a->types = NULL;
}

bool tn_handler_is_isolated(const tn_version *v)
{
    const tn_handler_attached *a = v->attached;
    return a != NULL && a->pool != NULL;
}

tn_script_pool *tn_isolated_pool(const tn_version *v)
{
    const tn_handler_attached *a = v->attached;
    return a->pool;
}

/* ---- a call: there ---- */

static size_t room_for(atomic_size_t *seen)
{
    size_t n = atomic_load_explicit(seen, memory_order_relaxed);
    n += n / 4;
    return n < ROOM_MIN ? ROOM_MIN : n > ROOM_MAX ? ROOM_MAX : aligned(n);
}

static void note_size(atomic_size_t *seen, size_t n)
{
    if (n > atomic_load_explicit(seen, memory_order_relaxed))
        atomic_store_explicit(seen, n, memory_order_relaxed);
}

static atomic_uint *mark_of(const tn_isolated *c)
{
    return &((tn_isolated_mark *)(void *)c->first->ptr)->gone;
}

bool tn_isolated_init(tn_isolated *c, void (*event)(tn_script_job *job))
{
    c->version = NULL;
    c->first = NULL;
    c->sent = c->cancelled = false;
    c->answer = TN_STR_NONE;
    tn_script_job_init(&c->job, event);
    return pthread_mutex_init(&c->lock, NULL) == 0;
}

tern_code tn_isolated_begin(tn_isolated *c, const tn_version *v, const tern_handler_request *request,
                            size_t body_room, char **body, tern_status *st)
{
    tn_handler_attached *a = v->attached;
    const size_t mark = aligned(sizeof(tn_isolated_mark));
    tn_segment *segment;
    tn_buf out;
    c->version = v;
    c->head = tn_setup_head_size(request);
    c->room = room_for(&a->input_bytes);
    c->body_at = aligned(mark + c->head);
    tern_code code = tn_segment_take(tn_script_pool_segments(a->pool),
                                     c->body_at + aligned(body_room) + c->room, &segment, st);
    if (code != TERN_OK)
        return code;
    /* Written in place: a buffer over the segment's memory, which has the room. */
    out = (tn_buf){.ptr = segment->ptr + mark, .cap = c->head, .max = c->head};
    tn_setup_write_head(request, &out);
    *body = segment->ptr + c->body_at;
    pthread_mutex_lock(&c->lock);
    c->first = segment;
    atomic_store_explicit(mark_of(c), c->cancelled, memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    return TERN_OK;
}

static size_t call_frame(tn_isolated *c, int64_t deadline_ns)
{
    const uint64_t id = c->first->id;
    const size_t room_at = aligned(c->body_at + c->body_len);
    tn_frame_writer w;
    tn_frame_begin(&w, c->call_frame, sizeof c->call_frame, TN_FRAME_CALL, 0);
    tn_frame_put_ref(&w, TN_ISOLATED_HEAD, &(tn_frame_ref){id, aligned(sizeof(tn_isolated_mark)), c->head});
    tn_frame_put_ref(&w, TN_ISOLATED_BODY, &(tn_frame_ref){id, c->body_at, c->body_len});
    tn_frame_put_ref(&w, TN_ISOLATED_ROOM, &(tn_frame_ref){id, room_at, c->room});
    tn_frame_put_u64(&w, TN_ISOLATED_DEADLINE, (uint64_t)deadline_ns);
    return tn_frame_end(&w);
}

tern_code tn_isolated_send(tn_isolated *c, size_t body_len, int64_t deadline_ns, tern_status *st)
{
    tn_handler_attached *a = c->version->attached;
    tn_handlers *owner = a->owner;
    tn_script_job *job = &c->job;
    c->body_len = body_len;
    tern_code code = tn_segment_use(c->first, c->body_at + aligned(body_len) + c->room, st);
    if (code != TERN_OK)
        return code;
    (void)tn_script_job_add(job, tn_segment_retain(c->first));
    job->frame = c->call_frame;
    job->frame_len = call_frame(c, deadline_ns);
    job->deadline_ns = deadline_ns != 0 ? deadline_ns + GRACE_NS : 0;
    tn_handlers_begun(owner);
    pthread_mutex_lock(&c->lock);
    if (c->cancelled)
        code = tern_fail(st, TERN_CANCELLED, "Call was cancelled before its handler");
    else
        code = tn_script_submit(a->pool, job, st);
    c->sent = code == TERN_OK;
    pthread_mutex_unlock(&c->lock);
    if (code != TERN_OK)
        tn_handlers_over(owner);
    return code;
}

bool tn_isolated_cancel(tn_isolated *c)
{
    pthread_mutex_lock(&c->lock);
    c->cancelled = true;
    if (c->first != NULL)
        atomic_store_explicit(mark_of(c), 1, memory_order_release);
    const bool over = c->sent && tn_script_cancel(&c->job, false);
    pthread_mutex_unlock(&c->lock);
    return over;
}

void tn_isolated_settle(tn_isolated *c)
{
    pthread_mutex_lock(&c->lock);
    pthread_mutex_unlock(&c->lock);
}

/* ---- inputs ---- */

static tern_code nonsense(const tn_isolated *c, const char *what, tern_status *st)
{
    const tn_handler_attached *a = c->version->attached;
    return tern_fail(st, TERN_INTERNAL, "The process of handler %s sent %s", a->name, what);
}

/* Offsets are the worker's to change until they are copied. */
static tern_code copy_strings(const tn_isolated *c, const tn_frame_tensor *said, tn_str bytes, tern_tensor *t,
                              tn_arena *arena, tern_status *st)
{
    int64_t n;
    if (!tn_shape_count(said->rank, said->dims, &n))
        return nonsense(c, "a shape that cannot be", st);
    const size_t head = ((size_t)n + 1) * sizeof(uint64_t);
    tern_code code = tn_tensor_new_string(t, said->rank, said->dims, bytes.len - head, arena, st);
    if (code != TERN_OK)
        return code;
    memcpy(t->data, bytes.ptr, bytes.len);
    const uint64_t *offsets = tn_string_offsets(t);
    bool good = offsets[0] == 0 && offsets[n] == bytes.len - head;
    for (int64_t i = 0; good && i < n; i++)
        good = offsets[i] <= offsets[i + 1];
    return good ? TERN_OK : nonsense(c, "strings whose offsets do not ascend", st);
}

static bool shape_fits(const tern_io *io, const tn_frame_tensor *said)
{
    bool fits = said->dtype == io->dtype && (io->rank < 0 || io->rank == said->rank);
    for (int32_t k = 0; fits && k < io->rank; k++)
        fits = io->dims[k] < 0 || io->dims[k] == said->dims[k];
    return fits;
}

static tern_code take_input(tn_isolated *c, tn_call_part *part, const tn_frame_field *field, tn_arena *arena,
                            tern_status *st)
{
    tn_frame_tensor said;
    if (!tn_frame_as_tensor(field, &said))
        return nonsense(c, "an input that is no tensor", st);
    const int id = tn_signature_input(part->signature, said.name);
    for (uint32_t i = 0; id >= 0 && i < part->n_inputs; i++)
        if (part->input_ids[i] == (uint32_t)id)
            return nonsense(c, "an input twice", st);
    if (id < 0 || !shape_fits(&part->signature->inputs[id], &said))
        return nonsense(c, "an input that the signature does not have", st);
    const tn_str bytes = said.at.size > 0 ? tn_script_job_bytes(&c->job, &said.at) : TN_STR("");
    tern_tensor *t = &part->inputs[part->n_inputs];
    if (bytes.ptr == NULL || said.at.offset % TERN_ALIGNMENT != 0)
        return nonsense(c, "a tensor that lies in no memory of its call", st);
    part->input_ids[part->n_inputs++] = (uint32_t)id;
    if (said.dtype == TERN_STRING)
        return copy_strings(c, &said, bytes, t, arena, st);
    int64_t *dims = tn_arena_array(arena, (size_t)said.rank, sizeof *dims);
    tn_segment *segment = said.at.size > 0 ? tn_script_job_segment(&c->job, &said.at) : NULL;
    if (dims != NULL && segment != NULL)
        t->buffer = tn_segment_buffer(segment, (size_t)said.at.offset, (size_t)said.at.size);
    if (dims == NULL || (said.at.size > 0 && t->buffer == NULL))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for an input");
    if (said.rank > 0)
        memcpy(dims, said.dims, (size_t)said.rank * sizeof *dims);
    *t = (tern_tensor){.dtype = said.dtype,
                       .rank = said.rank,
                       .dims = dims,
                       .buffer = t->buffer,
                       .data = t->buffer != NULL ? t->buffer->data : NULL,
                       .size = bytes.len};
    return TERN_OK;
}

static tern_code begin_part(tn_isolated *c, tn_str name, tn_call_part *parts, uint32_t *n, tn_arena *arena,
                            tern_status *st)
{
    const tern_signature *s = tn_signatures_find(c->version->signatures, name);
    if (s == NULL || *n == TN_HANDLER_SIGNATURES)
        return nonsense(c, "a signature that the model does not have, or too many", st);
    for (uint32_t k = 0; k < *n; k++)
        if (parts[k].signature == s)
            return nonsense(c, "a signature twice", st);
    parts[*n] = (tn_call_part){.signature = s,
                               .inputs = tn_arena_zalloc(arena, s->n_inputs * sizeof(tern_tensor)),
                               .input_ids = tn_arena_array(arena, s->n_inputs, sizeof(uint32_t)),
                               .output_ids = tn_arena_array(arena, s->n_outputs, sizeof(uint32_t))};
    if (parts[*n].inputs == NULL || parts[*n].input_ids == NULL || parts[*n].output_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u inputs", s->n_inputs);
    ++*n;
    return TERN_OK;
}

static tern_code want(const tn_isolated *c, tn_call_part *part, tn_str name, tern_status *st)
{
    const int id = tn_signature_output(part->signature, name);
    bool good = id >= 0;
    for (uint32_t i = 0; good && i < part->n_outputs; i++)
        good = part->output_ids[i] != (uint32_t)id;
    if (!good)
        return nonsense(c, "the name of an output that the signature does not have, or twice", st);
    part->output_ids[part->n_outputs++] = (uint32_t)id;
    return TERN_OK;
}

static tern_code take_field(tn_isolated *c, const tn_frame_field *field, tn_call_part *parts, uint32_t *n,
                            tn_arena *arena, tern_status *st)
{
    if (field->tag == TN_ISOLATED_SIGNATURE)
        return begin_part(c, field->bytes, parts, n, arena, st);
    if (field->tag != TN_ISOLATED_WANTED && field->tag != TN_TAG_TENSOR)
        return TERN_OK;
    if (*n == 0)
        return nonsense(c, "inputs before their signature", st);
    return field->tag == TN_TAG_TENSOR ? take_input(c, &parts[*n - 1], field, arena, st)
                                       : want(c, &parts[*n - 1], field->bytes, st);
}

tern_code tn_isolated_take_inputs(tn_isolated *c, tn_call *call, tern_status *st)
{
    tn_handler_attached *a = c->version->attached;
    tn_call_part *parts = tn_arena_array(&call->arena, TN_HANDLER_SIGNATURES, sizeof *parts);
    size_t at = 0, bytes = 0;
    uint32_t n = 0;
    tn_frame_field field;
    tern_code code = parts != NULL ? TERN_OK : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for inputs");
    while (code == TERN_OK && tn_frame_next(&c->job.reply, &at, &field))
        code = take_field(c, &field, parts, &n, &call->arena, st);
    /* Whatever came of it: the tensors are the call's, which releases them. */
    if (n > 0)
        tn_handler_hand_over(call, parts, n);
    if (code == TERN_OK && n == 0)
        code = nonsense(c, "no signature", st);
    for (uint32_t k = 0; code == TERN_OK && k < n; k++) {
        if (parts[k].n_inputs != parts[k].signature->n_inputs)
            code = nonsense(c, "not all inputs of a signature", st);
        for (uint32_t i = 0; i < parts[k].n_inputs; i++)
            bytes += aligned(parts[k].inputs[i].size);
    }
    note_size(&a->input_bytes, bytes);
    return code;
}

/* ---- outputs ---- */

static tn_call_part part_of(const tn_call *call, uint32_t k)
{
    if (k > 0)
        return call->more[k - 1];
    return (tn_call_part){.signature = call->signature,
                          .outputs = call->outputs,
                          .output_ids = call->output_ids,
                          .n_outputs = call->n_outputs};
}

/* Bytes of all outputs, each aligned; and of the frame that names them. */
static size_t measure(const tn_call *call, size_t *frame)
{
    size_t bytes = 0;
    *frame = FRAME_SLACK;
    for (uint32_t k = 0; k <= call->n_more; k++) {
        const tn_call_part part = part_of(call, k);
        *frame += TN_FRAME_FIELD_HEAD + 8 + part.signature->name.len;
        for (uint32_t i = 0; i < part.n_outputs; i++) {
            const tn_frame_tensor named = {.name = part.signature->outputs[part.output_ids[i]].name,
                                           .rank = part.outputs[i].rank};
            bytes += aligned(part.outputs[i].size);
            *frame += tn_frame_tensor_bytes(&named);
        }
    }
    return bytes;
}

static void put_outputs(tn_frame_writer *w, const tn_call_part *part, tn_segment *segment, size_t *at)
{
    tn_frame_put(w, TN_ISOLATED_SIGNATURE, part->signature->name);
    for (uint32_t i = 0; i < part->n_outputs; i++) {
        const tern_tensor *t = &part->outputs[i];
        tn_frame_tensor said = {.name = part->signature->outputs[part->output_ids[i]].name,
                                .dtype = t->dtype,
                                .rank = t->rank,
                                .at = {segment->id, *at, t->size}};
        if (t->rank > 0)
            memcpy(said.dims, t->dims, (size_t)t->rank * sizeof *t->dims);
        if (t->size > 0)
            memcpy(segment->ptr + *at, t->data, t->size);
        *at += aligned(t->size);
        tn_frame_put_tensor(w, &said);
    }
}

tern_code tn_isolated_make_result(tn_isolated *c, tn_call *call, tern_status *st)
{
    tn_handler_attached *a = c->version->attached;
    tn_frame_writer w;
    tn_segment *segment;
    size_t frame_bytes, at = 0;
    const size_t room = room_for(&a->answer_bytes), bytes = measure(call, &frame_bytes);
    tern_code code = tn_segment_take(tn_script_pool_segments(a->pool), bytes + room, &segment, st);
    if (code != TERN_OK)
        return code;
    code = tn_segment_use(segment, bytes + room, st);
    if (code == TERN_OK && !tn_script_job_add(&c->job, segment))
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "A call may have %d pieces of shared memory",
                         TN_SCRIPT_SEGMENTS);
    if (code != TERN_OK) {
        tn_segment_release(segment);
        return code;
    }
    char *buf = frame_bytes <= TN_FRAME_MAX ? tn_arena_alloc(&call->arena, frame_bytes) : NULL;
    if (buf == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "The names and shapes of so many outputs do not fit into the %zu bytes that an "
                         "isolated handler has for them",
                         TN_FRAME_MAX);
    tn_frame_begin(&w, buf, frame_bytes, TN_FRAME_RESULT, 0);
    for (uint32_t k = 0; k <= call->n_more; k++) {
        const tn_call_part part = part_of(call, k);
        put_outputs(&w, &part, segment, &at);
    }
    tn_frame_put_ref(&w, TN_ISOLATED_ROOM, &(tn_frame_ref){segment->id, bytes, room});
    c->result = buf;
    c->result_len = tn_frame_end(&w);
    return c->result_len > 0 ? TERN_OK
                             : tern_fail(st, TERN_INTERNAL, "A frame of outputs came out too large");
}

void tn_isolated_make_failure(tn_isolated *c, const tern_status *why)
{
    tn_frame_writer w;
    tn_frame_begin(&w, c->failure_frame, sizeof c->failure_frame, TN_FRAME_RESULT, 0);
    tn_frame_put_u64(&w, TN_ISOLATED_CODE, (uint64_t)why->code);
    tn_frame_put(&w, TN_TAG_ERROR, (tn_str){why->message, why->length});
    /* Whatever the run took: for release() there is a moment. */
    c->job.deadline_ns = tn_now_ns() + GRACE_NS;
    c->result = c->failure_frame;
    c->result_len = tn_frame_end(&w);
}

bool tn_isolated_reply(tn_isolated *c)
{
    return tn_script_reply(&c->job, c->result, c->result_len);
}

/* ---- the answer ---- */

/* The worker's word counts as a handler's: what it may not do in post() it may not do here. */
static tern_code take_header(const tn_isolated *c, tn_handler_job *job, tn_str bytes, tern_status *st)
{
    uint32_t n;
    if (bytes.len < sizeof n)
        return nonsense(c, "a header field that is none", st);
    memcpy(&n, bytes.ptr, sizeof n);
    bytes = tn_str_sub(bytes, sizeof n, bytes.len);
    if (n > bytes.len)
        return nonsense(c, "a header field that is none", st);
    return tn_handler_host()->add_header(&job->host, tn_str_sub(bytes, 0, n), tn_str_sub(bytes, n, bytes.len),
                                         st);
}

static tern_code take_status(tn_isolated *c, tn_handler_job *job, tern_status *st)
{
    uint64_t status = 0;
    if (!tn_frame_get_u64(&c->job.reply, TN_ISOLATED_STATUS, &status) || status == 0)
        return TERN_OK;
    return tn_handler_host()->set_status(&job->host, status <= INT_MAX ? (int)status : INT_MAX, st);
}

/* What the handler, or its process, says that it failed with. */
static tern_code take_failure(tn_isolated *c, tn_handler_job *job, uint64_t code, tern_status *st)
{
    const tn_str why = tn_frame_get(&c->job.reply, TN_TAG_ERROR);
    tern_status status;
    if (take_status(c, job, &status) != TERN_OK)
        return nonsense(c, "a status that cannot be", st);
    if (code > TERN_UNAUTHENTICATED || why.len == 0)
        return nonsense(c, "an error that is none", st);
    return tern_fail_bytes(st, (tern_code)code, why.ptr, why.len);
}

tern_code tn_isolated_take_answer(tn_isolated *c, tn_call *call, tn_handler_job *job, tern_status *st)
{
    tn_handler_attached *a = c->version->attached;
    tn_frame_ref body;
    tn_frame_field field;
    uint64_t said;
    size_t at = 0;
    job->call = call;
    job->host = (tern_handler_call){.job = job, .phase = TN_HANDLER_POST};
    if (c->job.status.code != TERN_OK)
        return tern_fail_bytes(st, c->job.status.code, c->job.status.message, c->job.status.length);
    if (c->job.reply.type != TN_FRAME_ANSWER || !tn_frame_get_u64(&c->job.reply, TN_ISOLATED_CODE, &said))
        return nonsense(c, "an answer without a code", st);
    if (said != TERN_OK)
        return take_failure(c, job, said, st);
    if (!tn_frame_get_ref(&c->job.reply, TN_ISOLATED_BODY, &body))
        return nonsense(c, "an answer without a body", st);
    c->answer = body.size > 0 ? tn_script_job_bytes(&c->job, &body) : TN_STR("");
    if (c->answer.ptr == NULL || (body.size > 0 && body.segment == 0) || body.size > job->max_response)
        return nonsense(c, "a body that lies in no memory of its call, or is larger than an answer may be",
                        st);
    tern_code code = take_status(c, job, st);
    tn_handler_host()->set_content_type(&job->host, tn_frame_get(&c->job.reply, TN_ISOLATED_TYPE));
    while (code == TERN_OK && tn_frame_next(&c->job.reply, &at, &field))
        if (field.tag == TN_ISOLATED_HEADER)
            code = take_header(c, job, field.bytes, st);
    if (code == TERN_OK && job->host.misuse != NULL)
        code = nonsense(c, "a Content-Type that is none", st);
    job->host.phase = TN_HANDLER_NEITHER;
    note_size(&a->answer_bytes, c->answer.len);
    return code;
}

void tn_isolated_end(tn_isolated *c)
{
    tn_script_job_finish(&c->job);
    tn_segment_release(c->first);
    c->first = NULL;
    pthread_mutex_destroy(&c->lock);
}
