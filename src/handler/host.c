/*
 * handler/host.c - what a handler may ask of the host about its request: the functions of tern_handler_host.
 *
 * Tensors are made here, against the signature, so that a handler that errs gets a sentence instead of a
 * crash in the engine. Each function checks that it is called in its own phase; those that cannot return an
 * error leave a sentence in call->misuse, which ends the call (job.c). Whatever goes into the answer's head
 * is checked, for a handler may put there what a client sent.
 */
#include "base/clock.h"
#include "engine/engine.h"
#include "handler/attached.h"

#define STATUS_MIN 200
#define STATUS_MAX 599

static tern_code wrong_phase(const char *function, const char *where, tern_status *st)
{
    return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler called %s() outside of %s()", function, where);
}

/* ---- pre: signatures ---- */

static const tern_signature *find_signature(tern_handler_call *hc, tn_str name, tern_status *st)
{
    const tern_signature *signature = tn_signatures_find(hc->job->call->version->signatures, name);
    if (signature == NULL)
        tern_fail(st, TERN_NOT_FOUND, "Serving signature key \"%.*s\" not found.", TN_FMT(name));
    return signature;
}

static tern_code begin_part(tern_handler_call *hc, tn_str name, tern_status *st)
{
    tn_call *call = hc->job->call;
    const tern_signature *signature = find_signature(hc, name, st);
    if (signature == NULL)
        return TERN_NOT_FOUND;
    if (hc->parts == NULL)
        hc->parts = tn_arena_array(&call->arena, TN_HANDLER_SIGNATURES, sizeof *hc->parts);
    tern_tensor *inputs = tn_arena_zalloc(&call->arena, signature->n_inputs * sizeof *inputs);
    uint32_t *input_ids = tn_arena_array(&call->arena, signature->n_inputs, sizeof *input_ids);
    uint32_t *output_ids = tn_arena_array(&call->arena, signature->n_outputs, sizeof *output_ids);
    if (hc->parts == NULL || inputs == NULL || input_ids == NULL || output_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u inputs", signature->n_inputs);
    hc->parts[hc->n_parts++] = (tn_call_part){
        .signature = signature, .inputs = inputs, .input_ids = input_ids, .output_ids = output_ids};
    return TERN_OK;
}

tern_code tn_handler_default_signature(tern_handler_call *hc, tern_status *st)
{
    return begin_part(hc, TN_STR("serving_default"), st);
}

/* The signature that inputs go to; "serving_default" when the handler has chosen none. NULL: st says why. */
static tn_call_part *current_part(tern_handler_call *hc, tern_status *st)
{
    if (hc->n_parts == 0 && tn_handler_default_signature(hc, st) != TERN_OK)
        return NULL;
    return &hc->parts[hc->n_parts - 1];
}

/* Whether the call is in pre() and has no answer yet. */
static tern_code in_pre(const tern_handler_call *hc, const char *function, tern_status *st)
{
    if (hc->phase != TN_HANDLER_PRE)
        return wrong_phase(function, "pre", st);
    if (hc->job->answered)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler called %s() after answer_now()", function);
    return TERN_OK;
}

static tern_code set_signature(tern_handler_call *hc, tern_str name, tern_status *st)
{
    tern_code code = in_pre(hc, "set_signature", st);
    if (code != TERN_OK)
        return code;
    if (hc->n_parts > 1 || (hc->n_parts == 1 && (hc->parts[0].n_inputs > 0 || hc->parts[0].n_outputs > 0)))
        return tern_fail(
            st, TERN_FAILED_PRECONDITION,
            "Handler chose a signature after it made inputs; add_signature() begins another one");
    hc->n_parts = 0;
    return begin_part(hc, name, st);
}

static tern_code add_signature(tern_handler_call *hc, tern_str name, tern_status *st)
{
    tern_code code = in_pre(hc, "add_signature", st);
    if (code == TERN_OK && current_part(hc, st) == NULL)
        code = st->code;
    if (code != TERN_OK)
        return code;
    for (uint32_t i = 0; i < hc->n_parts; i++)
        if (tn_str_eq(hc->parts[i].signature->name, name))
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler chose signature %.*s twice", TN_FMT(name));
    if (hc->n_parts == TN_HANDLER_SIGNATURES)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler chose more than %d signatures",
                         TN_HANDLER_SIGNATURES);
    return begin_part(hc, name, st);
}

static tern_code want_output(tern_handler_call *hc, tern_str alias, tern_status *st)
{
    tern_code code = in_pre(hc, "want_output", st);
    if (code != TERN_OK)
        return code;
    tn_call_part *part = current_part(hc, st);
    if (part == NULL)
        return st->code;
    int id = tn_signature_output(part->signature, alias);
    if (id < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Handler wants output %.*s, which signature %.*s does not have", TN_FMT(alias),
                         TN_FMT(part->signature->name));
    for (uint32_t i = 0; i < part->n_outputs; i++)
        if (part->output_ids[i] == (uint32_t)id)
            return TERN_OK;
    part->output_ids[part->n_outputs++] = (uint32_t)id;
    return TERN_OK;
}

/* ---- pre: inputs ---- */

static const char *dtype_text(tern_dtype dtype)
{
    const char *name = tn_dtype_name(dtype);
    return name != NULL ? name : "no dtype";
}

static tern_code check_shape(const tern_io *io, int32_t rank, const int64_t *dims, tern_status *st)
{
    if (rank < 0 || rank > TERN_MAX_RANK || (rank > 0 && dims == NULL))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s of rank %d%s", TN_FMT(io->name),
                         rank, rank > 0 && rank <= TERN_MAX_RANK ? " without dimensions" : "");
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

static tern_code check_dtype(const tern_io *io, tern_dtype dtype, bool strings, tern_status *st)
{
    if (dtype != io->dtype)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s as %s, the signature has %s",
                         TN_FMT(io->name), dtype_text(dtype), dtype_text(io->dtype));
    if (dtype == TERN_STRING && !strings)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Handler made input %.*s by new_input(); strings are made by new_string_input()",
                         TN_FMT(io->name));
    return TERN_OK;
}

/* The place of a new input, checked. NULL: st says why. */
static tern_tensor *place(tern_handler_call *hc, bool strings, tern_str alias, tern_dtype dtype, int32_t rank,
                          const int64_t *dims, tern_status *st)
{
    if (in_pre(hc, strings ? "new_string_input" : "new_input", st) != TERN_OK)
        return NULL;
    tn_call_part *part = current_part(hc, st);
    if (part == NULL)
        return NULL;
    const tern_signature *signature = part->signature;
    int id = tn_signature_input(signature, alias);
    if (id < 0) {
        tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s, which signature %.*s does not have",
                  TN_FMT(alias), TN_FMT(signature->name));
        return NULL;
    }
    for (uint32_t i = 0; i < part->n_inputs; i++)
        if (part->input_ids[i] == (uint32_t)id) {
            tern_fail(st, TERN_INVALID_ARGUMENT, "Handler made input %.*s twice", TN_FMT(alias));
            return NULL;
        }
    if (check_dtype(&signature->inputs[id], dtype, strings, st) != TERN_OK ||
        check_shape(&signature->inputs[id], rank, dims, st) != TERN_OK)
        return NULL;
    part->input_ids[part->n_inputs] = (uint32_t)id;
    return &part->inputs[part->n_inputs];
}

/* A tensor that was made: pays for it, and counts it. */
static tern_code settle_input(tern_handler_call *hc, tern_tensor *t, tern_status *st)
{
    tn_handler_job *job = hc->job;
    if (!tn_budget_take(job->budget, t->size)) {
        tn_tensor_release(t);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
    }
    job->charged += t->size;
    hc->parts[hc->n_parts - 1].n_inputs++;
    return TERN_OK;
}

static tern_code new_input(tern_handler_call *hc, tern_str alias, tern_dtype dtype, int32_t rank,
                           const int64_t *dims, void **data, tern_status *st)
{
    tern_tensor *t = place(hc, false, alias, dtype, rank, dims, st);
    if (t == NULL)
        return st->code;
    tern_code code = tn_tensor_new(t, dtype, rank, dims, &hc->job->call->arena, st);
    if (code == TERN_OK)
        code = settle_input(hc, t, st);
    if (code == TERN_OK)
        *data = t->data;
    return code;
}

static tern_code new_string_input(tern_handler_call *hc, tern_str alias, int32_t rank, const int64_t *dims,
                                  size_t bytes, uint64_t **ends, char **text, tern_status *st)
{
    tern_tensor *t = place(hc, true, alias, TERN_STRING, rank, dims, st);
    if (t == NULL)
        return st->code;
    tern_code code = tn_tensor_new_string(t, rank, dims, bytes, &hc->job->call->arena, st);
    if (code == TERN_OK)
        code = settle_input(hc, t, st);
    if (code != TERN_OK)
        return code;
    const int64_t n = tn_tensor_count(t);
    memset(t->data, 0, ((size_t)n + 1) * sizeof(uint64_t));
    *ends = tn_string_offsets(t) + 1;
    *text = tn_string_bytes(t, n);
    return TERN_OK;
}

/* ---- the answer ---- */

/* NULL when the answer may be made now, else the misuse. */
static const char *not_answering(const tern_handler_call *hc)
{
    if (hc->phase == TN_HANDLER_POST || (hc->phase == TN_HANDLER_PRE && hc->job->answered))
        return NULL;
    return hc->phase == TN_HANDLER_PRE ? "in pre() before answer_now()" : "outside of pre() and post()";
}

static tern_code answering(const tern_handler_call *hc, const char *function, tern_status *st)
{
    const char *wrong = not_answering(hc);
    return wrong == NULL ? TERN_OK
                         : tern_fail(st, TERN_FAILED_PRECONDITION, "Handler called %s() %s", function, wrong);
}

static void misused(tern_handler_call *hc, const char *what)
{
    if (hc->misuse == NULL)
        hc->misuse = what;
}

static tern_code answer_now(tern_handler_call *hc, tern_status *st)
{
    tern_code code = in_pre(hc, "answer_now", st);
    if (code != TERN_OK)
        return code;
    for (uint32_t k = 0; k < hc->n_parts; k++)
        for (uint32_t i = 0; i < hc->parts[k].n_inputs; i++)
            tn_tensor_release(&hc->parts[k].inputs[i]);
    hc->n_parts = 0;
    hc->job->answered = true;
    return TERN_OK;
}

static const tern_tensor *output_of_part(const tn_call_part *part, tn_str alias)
{
    int id = tn_signature_output(part->signature, alias);
    for (uint32_t i = 0; id >= 0 && i < part->n_outputs; i++)
        if (part->output_ids[i] == (uint32_t)id)
            return &part->outputs[i];
    return NULL;
}

static tn_call_part first_part(const tn_call *call)
{
    return (tn_call_part){.signature = call->signature,
                          .outputs = call->outputs,
                          .output_ids = call->output_ids,
                          .n_outputs = call->n_outputs};
}

static const tern_tensor *output(tern_handler_call *hc, tern_str alias)
{
    if (hc->phase != TN_HANDLER_POST) {
        misused(hc, "called output() outside of post()");
        return NULL;
    }
    const tn_call_part part = first_part(hc->job->call);
    return output_of_part(&part, alias);
}

static const tern_tensor *output_of(tern_handler_call *hc, tern_str signature, tern_str alias)
{
    const tn_call *call = hc->job->call;
    if (hc->phase != TN_HANDLER_POST) {
        misused(hc, "called output_of() outside of post()");
        return NULL;
    }
    if (tn_str_eq(call->signature->name, signature))
        return output(hc, alias);
    for (uint32_t k = 0; k < call->n_more; k++)
        if (tn_str_eq(call->more[k].signature->name, signature))
            return output_of_part(&call->more[k], alias);
    return NULL;
}

static tern_code reserve(tern_handler_call *hc, size_t want, void **room, tern_status *st)
{
    tern_code code = answering(hc, "reserve", st);
    if (code != TERN_OK)
        return code;
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
    if (not_answering(hc) != NULL) {
        misused(hc, "called commit() where there is no answer to make");
    } else if (written > hc->room) {
        misused(hc, "committed more bytes than it had reserved");
    } else {
        hc->room -= written;
        tn_buf_commit(&hc->job->body, written);
    }
}

static tern_code write_bytes(tern_handler_call *hc, const void *bytes, size_t length, tern_status *st)
{
    tern_code code = answering(hc, "write", st);
    void *room;
    if (code == TERN_OK && length > 0 && bytes == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler called write() with %zu bytes at NULL", length);
    if (code == TERN_OK)
        code = reserve(hc, length, &room, st);
    if (code == TERN_OK && length > 0) {
        memcpy(room, bytes, length);
        commit(hc, length);
    }
    return code;
}

/* ---- the answer's head ---- */

/* RFC 9110, 5.6.2 */
static bool is_token(tn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i], low = (char)(c | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') &&
            (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return s.len > 0;
}

/* RFC 9110, 5.5: no control characters but the tab. */
static bool is_value(tn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_the_servers(tn_str name)
{
    static const char *const own[] = {"connection", "content-length", "content-type",      "date",
                                      "keep-alive", "trailer",        "transfer-encoding", "upgrade",
                                      "te",         "server-timing",  "proxy-connection"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (tn_str_ieq(name, tn_str_from(own[i])))
            return true;
    return false;
}

static void set_content_type(tern_handler_call *hc, tern_str type)
{
    if (not_answering(hc) != NULL) {
        misused(hc, "called set_content_type() where there is no answer to make");
        return;
    }
    if (type.len == 0 || type.len > TN_HANDLER_HEADER_BYTES || !is_value(type)) {
        misused(hc, "set a Content-Type that no header field can hold");
        return;
    }
    tn_str copy = tn_arena_dup(&hc->job->call->arena, type);
    if (copy.ptr != NULL)
        hc->job->content_type = copy;
}

static tern_code set_status(tern_handler_call *hc, int status, tern_status *st)
{
    if (hc->phase == TN_HANDLER_NEITHER)
        return wrong_phase("set_status", "pre() and post", st);
    if (status < STATUS_MIN || status > STATUS_MAX || status == 204 || status == 205 || status == 304)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Handler set status %d; it can be 200 to 599, but not 204, 205 and 304", status);
    hc->job->status = status;
    return TERN_OK;
}

static tern_code add_header(tern_handler_call *hc, tern_str name, tern_str value, tern_status *st)
{
    tn_handler_job *job = hc->job;
    tn_arena *arena = &job->call->arena;
    tern_code code = answering(hc, "add_header", st);
    if (code != TERN_OK)
        return code;
    const tn_str shown = tn_str_sub(name, 0, 64);
    value = tn_str_trim(value);
    if (!is_token(name) || !is_value(value) || name.len + value.len > TN_HANDLER_HEADER_BYTES)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Handler set header %.*s: name or value cannot stand in a header field of %d bytes",
                         is_token(shown) ? (int)shown.len : 0, shown.ptr, TN_HANDLER_HEADER_BYTES);
    if (is_the_servers(name))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler set header %.*s, which the server sets itself",
                         TN_FMT(shown));
    if (job->n_headers == TN_HANDLER_HEADERS)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Handler set more than %d headers", TN_HANDLER_HEADERS);
    if (job->headers == NULL)
        job->headers = tn_arena_array(arena, TN_HANDLER_HEADERS, sizeof *job->headers);
    const tern_handler_header copy = {tn_arena_dup(arena, name), tn_arena_dup(arena, value)};
    if (job->headers == NULL || copy.name.ptr == NULL || copy.value.ptr == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a header");
    for (char *c = (char *)copy.name.ptr; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c |= 0x20;
    job->headers[job->n_headers++] = copy;
    return TERN_OK;
}

static int cancelled(tern_handler_call *hc)
{
    const tn_call *call = hc->job->call;
    const atomic_uint *gone = hc->job->gone;
    return atomic_load_explicit(&call->cancelled, memory_order_acquire) ||
           (gone != NULL && atomic_load_explicit(gone, memory_order_acquire) != 0) ||
           (call->deadline_ns != 0 && tn_now_ns() >= call->deadline_ns);
}

static size_t arrived(tern_handler_call *hc, size_t want)
{
    const tn_handler_job *job = hc->job;
    return job->arrival != NULL ? tn_arrival_wait(job->arrival, want) : job->request.body.len;
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
    .new_string_input = new_string_input,
    .add_signature = add_signature,
    .want_output = want_output,
    .output_of = output_of,
    .answer_now = answer_now,
    .set_status = set_status,
    .add_header = add_header,
    .cancelled = cancelled,
    .arrived = arrived,
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
