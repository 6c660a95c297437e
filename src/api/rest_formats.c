/*
 * api/rest_formats.c - see api/rest_formats.h. A binary body is copied once, from the body into the tensor;
 * npy answers leave from tensor memory.
 */
#include "api/rest_formats.h"

#include "api/coding.h"
#include "codec/npy.h"
#include "codec/pb_predict.h"

/* ---- what the client wants ---- */

/* One "name=value" of a query. Unknown names are left alone. */
static tern_code query_part(tn_rest_wants *wants, tn_str part, tn_arena *arena, tern_status *st)
{
    ptrdiff_t equals = tn_str_chr(part, '=');
    tn_str name = equals >= 0 ? tn_str_sub(part, 0, (size_t)equals) : part;
    const bool output = tn_str_eq(name, TN_STR("output"));
    if (!output && !tn_str_eq(name, TN_STR("signature_name")))
        return TERN_OK;
    tn_str value =
        tn_percent_decode(equals >= 0 ? tn_str_sub(part, (size_t)equals + 1, part.len) : TN_STR(""), arena);
    if (value.ptr == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "The query's %.*s has a broken percent-encoding; a %% itself is written %%25",
                         TN_FMT(name));
    if (!output) {
        wants->signature_name = value;
        return TERN_OK;
    }
    if (wants->outputs == NULL)
        wants->outputs = tn_arena_array(arena, TN_REST_OUTPUTS_MAX, sizeof *wants->outputs);
    if (wants->outputs == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    if (wants->n_outputs == TN_REST_OUTPUTS_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "The query names more than %d outputs with output=", TN_REST_OUTPUTS_MAX);
    wants->outputs[wants->n_outputs++] = value;
    return TERN_OK;
}

static tern_code read_query(tn_rest_wants *wants, tn_str query, tn_arena *arena, tern_status *st)
{
    tern_code code = TERN_OK;
    while (code == TERN_OK && query.len > 0) {
        ptrdiff_t end = tn_str_chr(query, '&');
        size_t n = end >= 0 ? (size_t)end : query.len;
        code = query_part(wants, tn_str_sub(query, 0, n), arena, st);
        query = tn_str_sub(query, n < query.len ? n + 1 : n, query.len);
    }
    return code;
}

tern_code tn_rest_wants_read(const tn_server *server, const tn_exchange *ex, tn_arena *arena,
                             tn_rest_wants *wants, tern_status *st)
{
    tn_str coding = tn_exchange_header(ex, "content-encoding");
    *wants = (tn_rest_wants){.compact = server->rest_compact};
    if (!server->rest_extensions) {
        /* Whatever stands around the word: so is the original. */
        wants->body_coding = tn_str_find(coding, TN_STR("gzip")) >= 0 ? TN_CONTENT_GZIP : TN_CONTENT_IDENTITY;
        return TERN_OK;
    }
    tn_accept media;
    tn_accept_coding codings;
    size_t n;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    tn_accept_init(&media);
    tn_accept_coding_init(&codings);
    for (size_t i = 0; i < n; i++) {
        if (tn_str_eq(headers[i].name, TN_STR("accept")))
            tn_accept_add(&media, headers[i].value);
        else if (tn_str_eq(headers[i].name, TN_STR("accept-encoding")))
            tn_accept_coding_add(&codings, headers[i].value);
    }
    wants->body = tn_media_of(tn_exchange_header(ex, "content-type"));
    wants->body_coding = tn_content_coding_of(coding);
    /* A PredictRequest is answered in kind; an npy only when that is asked for, since it holds one output. */
    wants->answer =
        tn_accept_choose(&media, wants->body == TN_MEDIA_PROTOBUF ? TN_MEDIA_PROTOBUF : TN_MEDIA_JSON);
    wants->compact |= media.named[TN_MEDIA_COMPACT] > 0;
    if (wants->answer == TN_MEDIA_COMPACT)
        wants->answer = TN_MEDIA_JSON;
    else if (wants->answer == TN_MEDIA_JSON && !server->rest_compact)
        wants->compact = false;
    wants->coding = tn_accept_coding_choose(&codings, &wants->must_code);
    return read_query(wants, tn_target_split(tn_exchange_target(ex)).query, arena, st);
}

/* ---- bodies ---- */

static tern_code no_signature(tn_str name, tern_status *st)
{
    return tern_fail(st, TERN_INVALID_ARGUMENT, "Serving signature name: \"%.*s\" not found in signature def",
                     TN_FMT(name));
}

/* The model_spec of the message may say again what the path says. */
static tern_code check_spec(const tn_call *call, const tn_model_spec *spec, tn_str name, tern_status *st)
{
    if (spec->name.len > 0 && !tn_str_eq(spec->name, name))
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "model_spec.name is \"%.*s\" and the path says \"%.*s\"; leave it out, or make them alike",
            TN_FMT(tn_str_sub(spec->name, 0, 256)), TN_FMT(tn_str_sub(name, 0, 256)));
    if (spec->has_version && spec->version != call->version->number)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "model_spec.version is %lld and the path chose version %lld; put it into the path: "
                         "/v1/models/NAME/versions/%lld:predict",
                         (long long)spec->version, (long long)call->version->number,
                         (long long)spec->version);
    if (spec->has_label && spec->label.len > 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "model_spec.version_label is not looked at here; put it into the path: "
                         "/v1/models/NAME/labels/%.*s:predict",
                         TN_FMT(tn_str_sub(spec->label, 0, 256)));
    return TERN_OK;
}

static tern_code read_protobuf(tn_call *call, tn_str name, tn_str body, const tn_pb_predict_limits *limits,
                               tn_predict *out, tern_status *st)
{
    tn_pb_predict_reader *reader = tn_pb_predict_new(limits, &call->arena);
    if (reader == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    tern_code code = body.len > 0 ? tn_pb_predict_feed(reader, body.ptr, body.len, st) : TERN_OK;
    if (code == TERN_OK)
        code = tn_pb_predict_finish(reader, st);
    if (code == TERN_INTERNAL || (code == TERN_INVALID_ARGUMENT && st->length == 0))
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "The body is no serialized tensorflow.serving.PredictRequest, as its Content-Type says");
    if (code != TERN_OK)
        return code;
    const tn_model_spec *spec = tn_pb_predict_spec(reader);
    code = check_spec(call, spec, name, st);
    if (code != TERN_OK)
        return code;
    tn_str wanted = spec->signature_name.len > 0 ? spec->signature_name : TN_STR("serving_default");
    const tern_signature *signature = tn_signatures_find(call->version->signatures, wanted);
    if (signature == NULL)
        return no_signature(tn_str_sub(wanted, 0, 1024), st);
    return tn_pb_predict_bind(reader, signature, &call->arena, out, &call->output_ids, &call->n_outputs, st);
}

static bool bools_are_sound(tn_str bytes)
{
    unsigned char all = 0;
    for (size_t i = 0; i < bytes.len; i++)
        all |= (unsigned char)bytes.ptr[i];
    return all <= 1;
}

static tern_code check_npy(const tn_npy *npy, const tern_io *io, tern_status *st)
{
    if (npy->dtype != io->dtype) {
        const char *want = tn_npy_dtype_name(io->dtype);
        if (want == NULL)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Input %.*s takes %s, which has no npy form here; send application/json",
                             TN_FMT(io->name),
                             tn_dtype_name(io->dtype) != NULL ? tn_dtype_name(io->dtype) : "no numbers");
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Input %.*s takes %s and the npy array is %s; send x.astype('%s')", TN_FMT(io->name),
                         want, tn_npy_dtype_name(npy->dtype), want);
    }
    if (npy->dtype == TERN_BOOL && !bools_are_sound(npy->data))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Input %.*s: a bool of the npy array is neither 0 nor 1",
                         TN_FMT(io->name));
    return TERN_OK;
}

static tern_code read_npy(tn_call *call, const tn_rest_wants *wants, tn_str body, int64_t max_tensor_bytes,
                          tn_predict *out, tern_status *st)
{
    tn_str wanted = wants->signature_name.len > 0 ? wants->signature_name : TN_STR("serving_default");
    const tern_signature *signature = tn_signatures_find(call->version->signatures, wanted);
    tn_npy npy;
    if (signature == NULL)
        return no_signature(tn_str_sub(wanted, 0, 1024), st);
    if (signature->n_inputs != 1)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Signature %.*s has %u inputs, and an npy body holds one array; send "
                         "application/x-protobuf or application/json",
                         TN_FMT(signature->name), signature->n_inputs);
    tern_code code = tn_npy_read(body, &npy, st);
    if (code == TERN_OK)
        code = check_npy(&npy, &signature->inputs[0], st);
    if (code != TERN_OK)
        return code;
    if (tn_shape_span(npy.rank, npy.dims) > max_tensor_bytes / (int64_t)tn_dtype_size(npy.dtype))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
    *out = (tn_predict){.signature = signature};
    out->inputs = tn_arena_zalloc(&call->arena, sizeof *out->inputs);
    out->input_ids = tn_arena_zalloc(&call->arena, sizeof *out->input_ids);
    if (out->inputs == NULL || out->input_ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    code = tn_tensor_new(&out->inputs[0], npy.dtype, npy.rank, npy.dims, &call->arena, st);
    if (code != TERN_OK)
        return code;
    if (npy.data.len > 0)
        memcpy(out->inputs[0].data, npy.data.ptr, npy.data.len);
    out->n_inputs = 1;
    return TERN_OK;
}

tern_code tn_rest_read_binary(tn_call *call, const tn_rest_wants *wants, tn_str name, tn_str body,
                              const tn_pb_predict_limits *limits, tn_predict *out, tern_status *st)
{
    return wants->body == TN_MEDIA_NPY ? read_npy(call, wants, body, limits->max_tensor_bytes, out, st)
                                       : read_protobuf(call, name, body, limits, out, st);
}

/* ---- outputs ---- */

static tern_code no_output(const tern_signature *s, tn_str name, tern_status *st)
{
    tn_buf has;
    tn_buf_init(&has, 1024);
    for (uint32_t i = 0; i < s->n_outputs; i++)
        tn_buf_printf(&has, "%s%.*s", i > 0 ? ", " : "", TN_FMT(s->outputs[i].name));
    tern_code code = tern_fail(st, TERN_INVALID_ARGUMENT,
                               "The query's output: signature %.*s has no output \"%.*s\"; it has %.*s",
                               TN_FMT(s->name), TN_FMT(tn_str_sub(name, 0, 256)), TN_FMT(tn_buf_view(&has)));
    tn_buf_free(&has);
    return code;
}

tern_code tn_rest_choose_outputs(tn_call *call, const tn_rest_wants *wants, tern_status *st)
{
    if (wants->n_outputs == 0)
        return call->output_ids != NULL ? TERN_OK : tn_call_all_outputs(call, st);
    uint32_t *ids = tn_arena_array(&call->arena, wants->n_outputs, sizeof *ids), n = 0;
    if (ids == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    for (uint32_t i = 0; i < wants->n_outputs; i++) {
        int id = tn_signature_output(call->signature, wants->outputs[i]);
        bool again = false;
        if (id < 0)
            return no_output(call->signature, wants->outputs[i], st);
        for (uint32_t k = 0; k < n; k++)
            again |= ids[k] == (uint32_t)id;
        if (!again)
            ids[n++] = (uint32_t)id;
    }
    call->output_ids = ids;
    call->n_outputs = n;
    return TERN_OK;
}

/* ---- answers ---- */

static tern_code too_large(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "The answer is larger than --max_response_bytes; ask for fewer rows");
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to write the answer; try again later");
}

static tern_code write_protobuf(tn_request *r, const tn_str *names, tn_http_answer *answer, tern_status *st)
{
    tn_call *call = &r->call;
    tern_code code = tn_pb_encode_predict(call->version->model, call->version->number, call->signature->name,
                                          names, call->outputs, call->n_outputs, r->server->as_tensor_content,
                                          &call->arena, &r->pieces, &r->n_pieces, &r->pieces_bytes, st);
    if (code != TERN_OK)
        return code;
    if (r->pieces_bytes > (size_t)r->server->limits.max_response_bytes)
        return too_large(st);
    tn_chunk *chunks = tn_arena_array(&call->arena, r->n_pieces, sizeof *chunks);
    if (chunks == NULL)
        return no_memory(st);
    for (uint32_t i = 0; i < r->n_pieces; i++)
        chunks[i] = (tn_chunk){r->pieces[i].ptr, r->pieces[i].len};
    answer->chunks = chunks;
    answer->n_chunks = r->n_pieces;
    return TERN_OK;
}

/* The header in r->out, the elements from where the engine left them. */
static tern_code write_npy(tn_request *r, tn_http_answer *answer, tern_status *st)
{
    const tern_tensor *t = &r->call.outputs[0];
    const size_t bytes = (size_t)tn_tensor_count(t) * tn_dtype_size(t->dtype);
    tn_chunk *chunks = tn_arena_array(&r->call.arena, 2, sizeof *chunks);
    if (bytes > (size_t)r->server->limits.max_response_bytes)
        return too_large(st);
    if (chunks == NULL || !tn_npy_write_head(t, &r->out))
        return no_memory(st);
    chunks[0] = (tn_chunk){r->out.ptr, r->out.len};
    chunks[1] = (tn_chunk){t->data, bytes};
    answer->chunks = chunks;
    answer->n_chunks = bytes > 0 ? 2 : 1;
    return TERN_OK;
}

static tern_code write_json(tn_request *r, const tn_rest_wants *wants, bool row, const tn_str *names,
                            tn_http_answer *answer, tern_status *st)
{
    const tn_json_style style = {
        .row = row, .compact = wants->compact, .extended = r->server->rest_extensions};
    tern_code code = tn_json_encode_predict(&style, names, r->call.outputs, r->call.n_outputs, &r->out, st);
    r->chunk = (tn_chunk){r->out.ptr, r->out.len};
    answer->chunks = &r->chunk;
    answer->n_chunks = 1;
    return code;
}

/* Worth it: smaller by a tenth. */
static void pack(tn_request *r, const tn_rest_wants *wants, tn_http_answer *answer)
{
    size_t total = 0;
    tn_buf packed;
    for (size_t i = 0; i < answer->n_chunks; i++)
        total += answer->chunks[i].len;
    if (wants->coding == TN_CONTENT_IDENTITY ||
        (!wants->must_code && total < (size_t)r->server->limits.compress_min_bytes))
        return;
    tn_buf_init(&packed, total + total / 64 + (64u << 10));
    if (tn_compress(wants->coding, answer->chunks, answer->n_chunks, &packed) &&
        (wants->must_code || packed.len < total - total / 10)) {
        tn_buf_free(&r->out);
        packed.max = r->out.max;
        r->out = packed;
        r->chunk = (tn_chunk){packed.ptr, packed.len};
        answer->chunks = &r->chunk;
        answer->n_chunks = 1;
        answer->coding = tn_content_coding_name(wants->coding);
    } else {
        tn_buf_free(&packed);
    }
}

/* What is possible of what is wanted: an npy holds one output, and no strings. */
static tn_media possible(const tn_call *call, tn_media wanted)
{
    if (wanted == TN_MEDIA_NPY && (call->n_outputs != 1 || tn_npy_dtype_name(call->outputs[0].dtype) == NULL))
        return TN_MEDIA_JSON;
    return wanted;
}

tern_code tn_rest_write(tn_request *r, const tn_rest_wants *wants, bool row, tn_http_answer *answer,
                        tern_status *st)
{
    tn_call *call = &r->call;
    const tn_media media = possible(call, wants->answer);
    tn_str *names = tn_arena_array(&call->arena, call->n_outputs, sizeof *names);
    tern_code code;
    if (names == NULL)
        return no_memory(st);
    for (uint32_t i = 0; i < call->n_outputs; i++)
        names[i] = call->signature->outputs[call->output_ids[i]].name;
    answer->content_type = tn_media_type(media);
    answer->varies = r->server->rest_extensions;
    if (media == TN_MEDIA_PROTOBUF)
        code = write_protobuf(r, names, answer, st);
    else if (media == TN_MEDIA_NPY)
        code = write_npy(r, answer, st);
    else
        code = write_json(r, wants, row, names, answer, st);
    if (code == TERN_OK)
        pack(r, wants, answer);
    return code;
}

void tn_rest_write_text(tn_request *r, const tn_rest_wants *wants, tn_http_answer *answer)
{
    r->chunk = (tn_chunk){r->out.ptr, r->out.len};
    answer->content_type = tn_media_type(TN_MEDIA_JSON);
    answer->varies = r->server->rest_extensions;
    answer->chunks = &r->chunk;
    answer->n_chunks = 1;
    pack(r, wants, answer);
}
