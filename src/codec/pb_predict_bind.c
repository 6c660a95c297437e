/*
 * codec/pb_predict_bind.c - what was sent against what the signature wants; see codec/pb_predict.h.
 *
 * Order of the checks and texts: servables/tensorflow/predict_util.cc (PreProcessPrediction) and TensorFlow's
 * cc/saved_model/util.cc (GetInputValues).
 */
#include <stdlib.h>

#include "codec/pb_predict_read.h"

/* A text is cut where a status is. */
#define TEXT_MAX TERN_STATUS_MESSAGE_MAX

static int by_bytes(const void *a, const void *b)
{
    return tn_str_cmp(*(const tn_str *)a, *(const tn_str *)b);
}

/* The request's aliases, sorted. NULL when memory is short. */
static tn_str *sorted_aliases(const tn_pb_predict_reader *r, tn_arena *arena)
{
    tn_str *names = tn_arena_array(arena, r->n_inputs, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < r->n_inputs; i++)
        names[i] = r->inputs[i].alias;
    if (names != NULL)
        qsort(names, r->n_inputs, sizeof *names, by_bytes);
    return names;
}

static void join(tn_buf *text, bool *first, tn_str name)
{
    if (!*first)
        tn_buf_char(text, ',');
    *first = false;
    tn_buf_str(text, name);
}

static bool was_sent(const tn_pb_predict_reader *r, tn_str alias)
{
    for (uint32_t i = 0; i < r->n_inputs; i++)
        if (tn_str_eq(r->inputs[i].alias, alias))
            return true;
    return false;
}

static tern_code fail_with(tn_buf *text, tern_status *st)
{
    tern_code code = tern_fail_bytes(st, TERN_INVALID_ARGUMENT, text->ptr, text->len);
    tn_buf_free(text);
    return code;
}

static tern_code wrong_count(const tn_pb_predict_reader *r, const tern_signature *s, const tn_str *sent,
                             tern_status *st)
{
    tn_buf text;
    bool first = true;
    tn_buf_init(&text, TEXT_MAX);
    tn_buf_printf(&text, "input size does not match signature: %u!=%u len({", r->n_inputs, s->n_inputs);
    for (uint32_t i = 0; i < r->n_inputs; i++)
        join(&text, &first, sent[i]);
    tn_buf_z(&text, "}) != len({");
    first = true;
    for (uint32_t i = 0; i < s->n_inputs; i++)
        join(&text, &first, s->inputs[i].name);
    tn_buf_z(&text, "}). Sent extra: {");
    first = true;
    for (uint32_t i = 0; i < r->n_inputs; i++)
        if (tn_signature_input(s, sent[i]) < 0)
            join(&text, &first, sent[i]);
    tn_buf_z(&text, "}. Missing but required: {");
    first = true;
    for (uint32_t i = 0; i < s->n_inputs; i++)
        if (!was_sent(r, s->inputs[i].name))
            join(&text, &first, s->inputs[i].name);
    tn_buf_z(&text, "}.");
    return fail_with(&text, st);
}

static tern_code missing(const tn_pb_predict_reader *r, const tern_signature *s, const tn_str *sent,
                         const tern_io *io, tern_status *st)
{
    tn_buf text;
    bool first = true;
    tn_buf_init(&text, TEXT_MAX);
    tn_buf_printf(&text,
                  "Signature input alias: %.*s(feed name: %.*s) not found in request and no default value "
                  "provided. Inputs "
                  "expected to be in the request {",
                  TN_FMT(io->name), TN_FMT(io->tensor_name));
    for (uint32_t i = 0; i < r->n_inputs; i++)
        join(&text, &first, sent[i]);
    tn_buf_z(&text, "}, or default input alias set: ");
    first = true;
    for (uint32_t i = 0; i < s->n_inputs; i++)
        if (s->inputs[i].default_tensor.ptr != NULL)
            join(&text, &first, s->inputs[i].name);
    return fail_with(&text, st);
}

static tern_code unused(const tn_pb_predict_reader *r, const tern_signature *s, const tn_str *sent,
                        tern_status *st)
{
    tn_buf text;
    bool first = true;
    tn_buf_init(&text, TEXT_MAX);
    tn_buf_z(&text, "Inputs contains invalid name. Used request inputs: ");
    for (uint32_t i = 0; i < r->n_inputs; i++)
        if (tn_signature_input(s, sent[i]) >= 0)
            join(&text, &first, sent[i]);
    tn_buf_z(&text, ", request input: ");
    first = true;
    for (uint32_t i = 0; i < r->n_inputs; i++)
        join(&text, &first, sent[i]);
    return fail_with(&text, st);
}

static tn_named_tensor *find_sent(tn_pb_predict_reader *r, tn_str alias)
{
    for (uint32_t i = 0; i < r->n_inputs; i++)
        if (tn_str_eq(r->inputs[i].alias, alias))
            return &r->inputs[i];
    return NULL;
}

static tern_code no_tensor(const tern_io *io, tern_status *st)
{
    return tern_fail(st, TERN_INVALID_ARGUMENT, "tensor parsing error: %.*s", TN_FMT(io->name));
}

/* One signature input into *t: what was sent, moved, or the default. */
static tern_code bind_one(tn_pb_predict_reader *r, const tern_signature *s, const tn_str *sent,
                          const tern_io *io, tn_arena *arena, tern_tensor *t, uint32_t *used, tern_status *st)
{
    tn_named_tensor *found = find_sent(r, io->name);
    if (found == NULL && io->default_tensor.ptr == NULL)
        return missing(r, s, sent, io, st);
    if (found == NULL) {
        tern_code code = tn_pb_read_tensor(io->default_tensor, arena, t, st);
        return code == TERN_INVALID_ARGUMENT ? no_tensor(io, st) : code;
    }
    ++*used;
    if (!found->valid && tn_left_out_name(found->tensor.dtype) == NULL)
        return no_tensor(io, st);
    *t = found->tensor;
    found->tensor = (tern_tensor){0};
    return TERN_OK;
}

static tern_code bind_inputs(tn_pb_predict_reader *r, const tern_signature *s, tn_arena *arena,
                             tn_predict *out, tern_status *st)
{
    const tn_str *sent = sorted_aliases(r, arena);
    bool defaults = false;
    uint32_t used = 0;
    out->signature = s;
    out->inputs = tn_arena_zalloc(arena, (size_t)s->n_inputs * sizeof *out->inputs);
    out->input_ids = tn_arena_array(arena, s->n_inputs, sizeof *out->input_ids);
    if (sent == NULL || out->inputs == NULL || out->input_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    for (uint32_t i = 0; i < s->n_inputs; i++)
        defaults |= s->inputs[i].default_tensor.ptr != NULL;
    if (r->n_inputs > s->n_inputs || (r->n_inputs < s->n_inputs && !defaults))
        return wrong_count(r, s, sent, st);
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        tern_code code = bind_one(r, s, sent, &s->inputs[i], arena, &out->inputs[i], &used, st);
        if (code != TERN_OK)
            return code;
        out->input_ids[i] = i;
        out->n_inputs = i + 1;
    }
    return used == r->n_inputs ? TERN_OK : unused(r, s, sent, st);
}

static tern_code no_such_output(const tern_signature *s, tn_str alias, tern_status *st)
{
    tn_buf text;
    bool first = true;
    tn_buf_init(&text, TEXT_MAX);
    tn_buf_printf(&text,
                  "output tensor alias not found in signature: %.*s Outputs expected to be in the set {",
                  TN_FMT(alias));
    for (uint32_t i = 0; i < s->n_outputs; i++)
        join(&text, &first, s->outputs[i].name);
    tn_buf_z(&text, "}.");
    return fail_with(&text, st);
}

static tern_code bind_outputs(const tn_pb_predict_reader *r, const tern_signature *s, tn_arena *arena,
                              uint32_t **ids, uint32_t *n, tern_status *st)
{
    uint32_t wanted = r->n_filter > 0 ? r->n_filter : s->n_outputs;
    *n = 0;
    bool *seen = tn_arena_zalloc(arena, s->n_outputs);
    *ids = tn_arena_array(arena, wanted, sizeof **ids);
    if (seen == NULL || *ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    for (uint32_t i = 0; i < wanted; i++) {
        int id = r->n_filter > 0 ? tn_signature_output(s, r->filter[i]) : (int)i;
        if (id < 0)
            return no_such_output(s, r->filter[i], st);
        if (seen[id])
            return tern_fail(st, TERN_INVALID_ARGUMENT, "duplicate output tensor alias: %.*s",
                             TN_FMT(r->filter[i]));
        seen[id] = true;
        (*ids)[(*n)++] = (uint32_t)id;
    }
    return TERN_OK;
}

static const char *type_name(tern_dtype dtype)
{
    const char *name = tn_left_out_name(dtype);
    if (name == NULL)
        name = tn_dtype_name(dtype);
    return name != NULL ? name : "of another type";
}

/*
 * A tensor whose dtype is left out can be no input's. The session says so, after all the checks here: for a
 * resource before it looks at the others (DirectSession::ResourceHandleToInputTensor), else for the first
 * input in order of the tensors' names that is of another type (FunctionCallFrame::SetArgs).
 */
static tern_code refuse_left_out(const tern_signature *s, const tn_predict *p, tern_status *st)
{
    const tern_io *first = NULL;
    tern_dtype got = TERN_INVALID;
    unsigned before = 0;
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        const tern_io *io = &s->inputs[i];
        if (p->inputs[i].dtype == TERN_RESOURCE)
            return tern_fail(
                st, TERN_INVALID_ARGUMENT,
                "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was "
                "being provided as a feed? That is not currently allowed. Please file an issue at "
                "https://github.com/tensorflow/tensorflow/issues/new, ideally with a short code "
                "snippet that leads to this error message.");
        if (p->inputs[i].dtype == io->dtype ||
            (first != NULL && tn_str_cmp(first->tensor_name, io->tensor_name) <= 0))
            continue;
        first = io;
        got = p->inputs[i].dtype;
    }
    if (first == NULL)
        return tern_fail(st, TERN_UNIMPLEMENTED, "An input of this type cannot come in a request");
    for (uint32_t i = 0; i < p->n_inputs; i++)
        before += tn_str_cmp(s->inputs[i].tensor_name, first->tensor_name) < 0;
    return tern_fail(st, TERN_INVALID_ARGUMENT, "Expects arg[%u] to be %s but %s is provided", before,
                     type_name(first->dtype), type_name(got));
}

static bool any_left_out(const tn_predict *p)
{
    for (uint32_t i = 0; i < p->n_inputs; i++)
        if (p->inputs[i].buffer == NULL && tn_left_out_name(p->inputs[i].dtype) != NULL)
            return true;
    return false;
}

tern_code tn_pb_predict_bind(tn_pb_predict_reader *r, const tern_signature *signature, tn_arena *arena,
                             tn_predict *out, uint32_t **output_ids, uint32_t *n_outputs, tern_status *st)
{
    *out = (tn_predict){0};
    tern_code code = bind_inputs(r, signature, arena, out, st);
    if (code == TERN_OK)
        code = bind_outputs(r, signature, arena, output_ids, n_outputs, st);
    if (code == TERN_OK && any_left_out(out))
        code = refuse_left_out(signature, out, st);
    if (code != TERN_OK) {
        tn_predict_release(out);
        *n_outputs = 0;
    }
    return code;
}
