/*
 * codec/pb_predict_read.c - the push parser of PredictRequest; see codec/pb_predict.h.
 *
 * A small machine over three nested messages (request, map entry, tensor), each with the position where it
 * ends. Small fields are collected whole; tensor bytes go to their place as they come. Lengths are checked
 * against the enclosing message before anything is done with them, and memory is taken for a field only once
 * its first byte is there.
 */
#include "codec/pb_predict_read.h"

#include "codec/pb_wire.h"

#define COLLECT_MAX (16u << 20) /* names, shapes, model_spec */
#define VARINTS     256         /* packed values that are read in one go */

/* Field numbers: predict.proto, model.proto; a map entry is {key = 1, value = 2}. */
enum {
    REQUEST_MODEL_SPEC = 1,
    REQUEST_INPUTS = 2,
    REQUEST_OUTPUT_FILTER = 3,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2
};

static tern_code broken(tn_pb_predict_reader *r, tern_status *st)
{
    r->failed = true;
    /* grpc++ answers a message that cannot be parsed with INTERNAL and no text of its own. */
    return tern_fail(st, TERN_INTERNAL,
                     "The message is no PredictRequest: it breaks off or is malformed at byte %llu",
                     (unsigned long long)r->position);
}

static tern_code no_memory(tn_pb_predict_reader *r, tern_status *st)
{
    r->failed = true;
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
}

static void cleanup(void *arg)
{
    tn_pb_predict_reader *r = arg;
    tn_build_free(&r->build);
    tn_buf_free(&r->collected);
    tn_buf_free(&r->deferred);
    for (uint32_t i = 0; i < r->n_inputs; i++)
        tn_tensor_release(&r->inputs[i].tensor);
    r->n_inputs = 0;
    tn_budget_give(r->limits.budget, r->room.taken);
    r->room.taken = r->room.left = 0;
}

tn_pb_predict_reader *tn_pb_predict_new(const tn_pb_predict_limits *limits, tn_arena *arena)
{
    tn_pb_predict_reader *r = tn_arena_zalloc(arena, sizeof *r);
    if (r == NULL || !tn_arena_defer(arena, cleanup, r))
        return NULL;
    r->arena = arena;
    r->limits = *limits;
    r->room.max = (size_t)limits->max_tensor_bytes;
    r->room.budget = limits->budget;
    r->end[LEVEL_REQUEST] = UINT64_MAX;
    tn_buf_init(&r->collected, COLLECT_MAX);
    tn_buf_init(&r->deferred, (size_t)limits->max_tensor_bytes);
    tn_build_init(&r->build, &r->room);
    return r;
}

/* ---- entries ---- */

static void entry_begin(tn_pb_predict_reader *r)
{
    r->alias = TN_STR("");
    r->passed_over = false;
    tn_build_free(&r->build);
    tn_build_init(&r->build, &r->room);
    tn_buf_clear(&r->deferred);
}

/* Typed values that came before their dtype, which is known now: their fields are read as they stood. */
static tern_code replay_deferred(tn_pb_predict_reader *r, tern_status *st)
{
    const tn_typed *t = tn_typed_of(r->build.dtype);
    tn_pb m = tn_pb_from(tn_buf_view(&r->deferred));
    tn_pb_field f = {0};
    tern_code code = TERN_OK;
    if (r->deferred.failed)
        return no_memory(r, st);
    while (code == TERN_OK && tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return broken(r, st);
        if (t != NULL && f.number == t->field)
            code = tn_predict_take_whole(r, t, &f, st);
        else
            r->passed_over = true;
    }
    tn_buf_clear(&r->deferred);
    return code;
}

static tern_code add_input(tn_pb_predict_reader *r, tn_named_tensor **slot, tern_status *st)
{
    /* All entries, since each is compared with the keys before it. */
    if (r->n_entries++ >= r->limits.max_inputs) {
        r->failed = true;
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The request has more than %lld inputs (--max_inputs)",
                         (long long)r->limits.max_inputs);
    }
    for (uint32_t i = 0; i < r->n_inputs; i++)
        if (tn_str_eq(r->inputs[i].alias, r->alias)) {
            tn_tensor_release(&r->inputs[i].tensor);
            *slot = &r->inputs[i];
            return TERN_OK;
        }
    if (r->n_inputs == r->cap_inputs) {
        uint32_t cap = r->cap_inputs > 0 ? r->cap_inputs * 2 : 8;
        tn_named_tensor *bigger = tn_arena_array(r->arena, cap, sizeof *bigger);
        if (bigger == NULL)
            return no_memory(r, st);
        if (r->n_inputs > 0)
            memcpy(bigger, r->inputs, r->n_inputs * sizeof *bigger);
        r->inputs = bigger;
        r->cap_inputs = cap;
    }
    *slot = &r->inputs[r->n_inputs++];
    **slot = (tn_named_tensor){0};
    return TERN_OK;
}

/*
 * Values are kept in the form of the dtype that was known when they came, and those of other fields are
 * passed over. So after values a second dtype that says something else, which merged messages can have, makes
 * no tensor.
 */
static tern_code set_dtype(tn_pb_predict_reader *r, tern_dtype dtype, tern_status *st)
{
    tern_dtype before = r->build.dtype;
    if (dtype == before)
        return TERN_OK;
    r->build.dtype = dtype;
    if (before != TERN_INVALID && (r->build.n_values > 0 || r->passed_over))
        tn_build_disown_values(&r->build);
    return before == TERN_INVALID ? replay_deferred(r, st) : TERN_OK;
}

static tern_code entry_end(tn_pb_predict_reader *r, tern_status *st)
{
    tn_named_tensor *slot = NULL;
    tern_code code = add_input(r, &slot, st);
    if (code != TERN_OK)
        return code;
    slot->alias = r->alias;
    code = tn_build_finish(&r->build, r->arena, &slot->tensor, &slot->valid, st);
    r->failed |= code != TERN_OK;
    tn_build_free(&r->build);
    return code;
}

/* ---- collected fields ---- */

/* A copy in the arena, paid for: a message can be made of nothing but names. */
static bool keep_text(tn_pb_predict_reader *r, tn_str text, tn_str *kept)
{
    if (!tn_room_take(&r->room, text.len + 4 * sizeof(tn_str)))
        return false;
    *kept = tn_arena_dup(r->arena, text);
    return kept->ptr != NULL;
}

static tern_code read_model_spec(tn_pb_predict_reader *r, tn_str message, tern_status *st)
{
    tn_model_spec merged = r->spec;
    tn_str *const texts[] = {&merged.name, &merged.signature_name, &merged.label};
    const tn_str *const kept[] = {&r->spec.name, &r->spec.signature_name, &r->spec.label};
    if (!tn_pb_read_spec(message, &merged))
        return broken(r, st);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i]->ptr != kept[i]->ptr && !keep_text(r, *texts[i], texts[i]))
            return no_memory(r, st);
    r->spec = merged;
    return TERN_OK;
}

static tern_code add_filter(tn_pb_predict_reader *r, tn_str name, tern_status *st)
{
    if (r->n_filter == r->cap_filter) {
        uint32_t cap = r->cap_filter > 0 ? r->cap_filter * 2 : 8;
        tn_str *bigger = tn_arena_array(r->arena, cap, sizeof *bigger);
        if (bigger == NULL)
            return no_memory(r, st);
        if (r->n_filter > 0)
            memcpy(bigger, r->filter, r->n_filter * sizeof *bigger);
        r->filter = bigger;
        r->cap_filter = cap;
    }
    if (!keep_text(r, name, &r->filter[r->n_filter]))
        return no_memory(r, st);
    r->n_filter++;
    return TERN_OK;
}

static tern_code collected_end(tn_pb_predict_reader *r, tern_status *st)
{
    tn_str bytes = tn_buf_view(&r->collected);
    if (r->collected.failed)
        return no_memory(r, st);
    if (bytes.ptr == NULL)
        bytes = TN_STR("");
    if (r->level == LEVEL_REQUEST && r->field == REQUEST_MODEL_SPEC)
        return read_model_spec(r, bytes, st);
    if (r->level == LEVEL_REQUEST && r->field == REQUEST_OUTPUT_FILTER)
        return tn_str_is_utf8(bytes) ? add_filter(r, bytes, st) : broken(r, st);
    if (r->level == LEVEL_ENTRY && r->field == ENTRY_KEY) {
        if (!tn_str_is_utf8(bytes))
            return broken(r, st);
        return keep_text(r, bytes, &r->alias) ? TERN_OK : no_memory(r, st);
    }
    if (r->level == LEVEL_TENSOR && r->field == TN_TENSOR_SHAPE &&
        !tn_build_shape(&r->build, bytes, r->arena))
        return broken(r, st);
    return TERN_OK;
}

/* ---- payloads ---- */

/* Values of some dtype. Resources and variants, which lie between them, are of none of ours. */
static bool is_typed_field(uint32_t field)
{
    return field >= TN_TENSOR_FLOAT_VAL && field <= TN_TENSOR_UINT64_VAL;
}

/* What is to be done with a length-delimited field of `length` bytes whose head was just read. */
static tern_code payload_begin(tn_pb_predict_reader *r, uint64_t length, tern_status *st)
{
    const tn_typed *t = tn_typed_of(r->build.dtype);
    r->payload_left = length;
    r->payload = PAYLOAD_SKIP;
    tn_buf_clear(&r->collected);
    if (r->level == LEVEL_REQUEST && r->field == REQUEST_INPUTS) {
        r->level = LEVEL_ENTRY;
        r->end[LEVEL_ENTRY] = r->position + length;
        r->payload = PAYLOAD_NONE;
        entry_begin(r);
    } else if (r->level == LEVEL_ENTRY && r->field == ENTRY_VALUE) {
        r->level = LEVEL_TENSOR;
        r->end[LEVEL_TENSOR] = r->position + length;
        r->payload = PAYLOAD_NONE;
    } else if (r->level == LEVEL_REQUEST) {
        if (r->field == REQUEST_MODEL_SPEC || r->field == REQUEST_OUTPUT_FILTER)
            r->payload = PAYLOAD_COLLECT;
    } else if (r->level == LEVEL_ENTRY) {
        if (r->field == ENTRY_KEY)
            r->payload = PAYLOAD_COLLECT;
    } else if (r->field == TN_TENSOR_SHAPE) {
        r->payload = PAYLOAD_COLLECT;
    } else if (r->field == TN_TENSOR_CONTENT) {
        r->payload = PAYLOAD_CONTENT;
        r->build.content_len = 0; /* a second one replaces the first */
    } else if (r->field == TN_TENSOR_STRING_VAL) {
        r->payload = PAYLOAD_STRING;
    } else if (r->build.dtype == TERN_INVALID && is_typed_field(r->field)) {
        uint8_t head[20];
        r->payload = PAYLOAD_DEFER;
        tn_buf_append(&r->deferred, head, tn_pb_put_head(head, r->field, length));
    } else if (t != NULL && r->field == t->field) {
        r->payload = t->wire == TN_PB_VARINT ? PAYLOAD_VARINTS : PAYLOAD_FIXED;
        if (t->wire != TN_PB_VARINT && length % t->unit != 0)
            return broken(r, st);
    } else if (is_typed_field(r->field)) {
        r->passed_over = true;
    }
    r->n_scratch = 0;
    return TERN_OK;
}

/* Memory for the whole field, the moment its first byte is here. */
static tern_code content_room(tn_pb_predict_reader *r, char **at, tern_status *st)
{
    const tn_typed *t = tn_typed_of(r->build.dtype);
    tern_code code;
    if (r->payload == PAYLOAD_CONTENT)
        code = tn_build_content(&r->build, r->payload_left, at, st);
    else
        code = tn_build_values(&r->build, t, r->payload_left / t->unit + (r->n_scratch > 0), at, st);
    if (code == TERN_OK && r->payload == PAYLOAD_FIXED)
        *at += r->n_scratch; /* a value is cut by the pieces: its first bytes lie there already */
    r->failed |= code != TERN_OK;
    return code;
}

static tern_code take_raw(tn_pb_predict_reader *r, const char *p, size_t n, tern_status *st)
{
    char *at;
    tern_code code = content_room(r, &at, st);
    if (code != TERN_OK)
        return code;
    if (p != at)
        memmove(at, p, n);
    if (r->payload == PAYLOAD_CONTENT) {
        r->build.content_len += n;
    } else {
        size_t unit = tn_typed_of(r->build.dtype)->unit, bytes = r->n_scratch + n;
        r->build.n_values += bytes / unit;
        r->n_scratch = (uint32_t)(bytes % unit);
    }
    return TERN_OK;
}

/*
 * Whole varints from *p, none of which may reach the last bytes before end. False: one is longer than ten
 * bytes.
 */
static bool whole_varints(const uint8_t **p, const uint8_t *end, uint64_t *values, size_t *n)
{
    const uint8_t *at = *p;
    size_t got = 0;
    while (got < VARINTS && end - at >= 10) {
        uint64_t v = *at++;
        if (v >= 0x80) {
            unsigned shift = 7;
            v &= 0x7F;
            while (*at >= 0x80 && shift < 63) {
                v |= (uint64_t)(*at++ & 0x7F) << shift;
                shift += 7;
            }
            if (*at >= 0x80)
                return false;
            v |= (uint64_t)*at++ << shift;
        }
        values[got++] = v;
    }
    *p = at;
    *n = got;
    return true;
}

/* The low bytes of each, as the dtype's unit is: narrow integers wrap. */
static void store_varints(char *at, tern_dtype dtype, size_t unit, const uint64_t *values, size_t n)
{
    switch (unit) {
    case 8:
        memcpy(at, values, n * sizeof *values);
        return;
    case 4:
        for (size_t i = 0; i < n; i++)
            ((uint32_t *)(void *)at)[i] = (uint32_t)values[i];
        return;
    case 2:
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)(void *)at)[i] = (uint16_t)values[i];
        return;
    default:
        for (size_t i = 0; i < n; i++)
            at[i] = dtype == TERN_BOOL ? values[i] != 0 : (char)values[i];
    }
}

/* The next byte of a varint that is cut by the pieces: it waits in scratch. *n is 1 when it is whole. */
static tern_code cut_varint(tn_pb_predict_reader *r, uint8_t byte, uint64_t *value, size_t *n,
                            tern_status *st)
{
    *n = 0;
    r->scratch[r->n_scratch++] = byte;
    if (byte >= 0x80)
        return r->n_scratch < 10 ? TERN_OK : broken(r, st);
    tn_pb_varint(r->scratch, r->scratch + r->n_scratch, value);
    r->n_scratch = 0;
    *n = 1;
    return TERN_OK;
}

/* Packed varints. */
static tern_code take_varints(tn_pb_predict_reader *r, const uint8_t *p, size_t n, tern_status *st)
{
    const tn_typed *t = tn_typed_of(r->build.dtype);
    const uint8_t *end = p + n;
    uint64_t values[VARINTS];
    char *at;
    while (p < end) {
        const uint8_t *from = p;
        size_t got = 0;
        if (r->n_scratch == 0 && end - p >= 10) {
            if (!whole_varints(&p, end, values, &got))
                return broken(r, st);
        } else {
            tern_code code = cut_varint(r, *p++, values, &got, st);
            if (code != TERN_OK)
                return code;
            if (got == 0)
                continue;
        }
        size_t used = (size_t)(p - from), bytes = got * t->unit;
        tern_code code = tn_build_values(&r->build, t, got, &at, st);
        if (code == TERN_OK && bytes > used && !tn_room_take(&r->room, bytes - used))
            code = no_memory(r, st);
        if (code != TERN_OK) {
            r->failed = true;
            return code;
        }
        store_varints(at, r->build.dtype, t->unit, values, got);
        r->build.n_values += got;
    }
    return TERN_OK;
}

static tern_code take_payload(tn_pb_predict_reader *r, const char *p, size_t n, tern_status *st)
{
    switch (r->payload) {
    case PAYLOAD_COLLECT:
        tn_buf_append(&r->collected, p, n);
        return TERN_OK;
    case PAYLOAD_DEFER:
        tn_buf_append(&r->deferred, p, n);
        return TERN_OK;
    case PAYLOAD_STRING:
        tn_buf_append(&r->build.string_bytes, p, n);
        return TERN_OK;
    case PAYLOAD_CONTENT:
    case PAYLOAD_FIXED:
        return take_raw(r, p, n, st);
    case PAYLOAD_VARINTS:
        return take_varints(r, (const uint8_t *)p, n, st);
    case PAYLOAD_SKIP:
    case PAYLOAD_NONE:
        return TERN_OK;
    }
    return TERN_OK;
}

static tern_code payload_end(tn_pb_predict_reader *r, tern_status *st)
{
    tern_code code = TERN_OK;
    if (r->payload == PAYLOAD_COLLECT)
        code = collected_end(r, st);
    else if (r->payload == PAYLOAD_STRING)
        code = tn_build_string(&r->build, st);
    else if (r->payload == PAYLOAD_VARINTS && r->n_scratch > 0)
        code = broken(r, st);
    r->failed |= code != TERN_OK;
    r->payload = PAYLOAD_NONE;
    r->n_scratch = 0;
    return code;
}

static tern_code add_value(tn_pb_predict_reader *r, const tn_typed *t, uint64_t value, tern_status *st)
{
    char *at;
    tern_code code = tn_build_values(&r->build, t, 1, &at, st);
    if (code != TERN_OK)
        return code;
    if (!tn_room_take(&r->room, t->unit))
        return no_memory(r, st);
    tn_build_put(r->build.dtype, at, value);
    r->build.n_values++;
    return TERN_OK;
}

/* A field that is no message: dtype, or one typed value outside of a packed field. */
tern_code tn_predict_take_whole(tn_pb_predict_reader *r, const tn_typed *t, const tn_pb_field *f,
                                tern_status *st)
{
    uint64_t value = 0;
    tern_code code = TERN_OK;
    if (f->type != TN_PB_BYTES) /* else an unknown field, as protobuf sees it */
        return f->type == t->wire ? add_value(r, t, f->value, st) : TERN_OK;
    tn_pb m = tn_pb_from(f->bytes);
    while (code == TERN_OK && tn_pb_more(&m)) {
        size_t n = t->wire == TN_PB_VARINT ? tn_pb_varint(m.at, m.end, &value) : t->unit;
        if (n == 0 || (size_t)(m.end - m.at) < n)
            return broken(r, st);
        if (t->wire != TN_PB_VARINT)
            memcpy(&value, m.at, n);
        m.at += n;
        code = add_value(r, t, value, st);
    }
    return code;
}

static tern_code take_scalar(tn_pb_predict_reader *r, const tn_pb_field *f, tern_status *st)
{
    const tn_typed *t = tn_typed_of(r->build.dtype);
    tern_code code = TERN_OK;
    if (r->level != LEVEL_TENSOR)
        return TERN_OK;
    if (f->number == TN_TENSOR_DTYPE && f->type == TN_PB_VARINT) {
        code = set_dtype(r, (tern_dtype)(uint32_t)f->value, st);
    } else if (t != NULL && f->number == t->field) {
        code = tn_predict_take_whole(r, t, f, st);
    } else if (r->build.dtype == TERN_INVALID && is_typed_field(f->number)) {
        uint8_t bytes[24];
        size_t n = tn_pb_put_varint(bytes, (uint64_t)f->number << 3 | f->type);
        if (f->type == TN_PB_VARINT) {
            n += tn_pb_put_varint(bytes + n, f->value);
        } else {
            size_t width = f->type == TN_PB_FIXED32 ? 4 : 8;
            memcpy(bytes + n, &f->value, width);
            n += width;
        }
        tn_buf_append(&r->deferred, bytes, n);
    } else {
        r->passed_over |= is_typed_field(f->number);
    }
    r->failed |= code != TERN_OK;
    return code;
}

/* ---- heads: tag, then value or length ---- */

static tern_code head_complete(tn_pb_predict_reader *r, uint64_t value, tern_status *st)
{
    if (r->head == HEAD_TAG) {
        r->field = (uint32_t)(value >> 3);
        r->wire = (uint32_t)(value & 7);
        if (value >> 3 == 0 || value >> 3 > 536870911 || r->wire > TN_PB_FIXED32 || r->wire == TN_PB_GROUP ||
            r->wire == TN_PB_END_GROUP)
            return broken(r, st);
        r->head = HEAD_VALUE;
        return TERN_OK;
    }
    r->head = HEAD_TAG;
    if (r->wire != TN_PB_BYTES) {
        const tn_pb_field f = {.number = r->field, .type = r->wire, .value = value};
        return take_scalar(r, &f, st);
    }
    if (value > r->end[r->level] - r->position)
        return broken(r, st);
    tern_code code = payload_begin(r, value, st);
    return code == TERN_OK && r->payload != PAYLOAD_NONE && value == 0 ? payload_end(r, st) : code;
}

static tern_code take_head_byte(tn_pb_predict_reader *r, uint8_t byte, tern_status *st)
{
    uint64_t value = 0;
    bool fixed = r->head == HEAD_VALUE && (r->wire == TN_PB_FIXED32 || r->wire == TN_PB_FIXED64);
    r->scratch[r->n_scratch++] = byte;
    r->position++;
    if (fixed) {
        uint32_t width = r->wire == TN_PB_FIXED32 ? 4 : 8;
        if (r->n_scratch < width)
            return TERN_OK;
        memcpy(&value, r->scratch, width);
    } else if (byte >= 0x80) {
        return r->n_scratch < 10 ? TERN_OK : broken(r, st);
    } else {
        tn_pb_varint(r->scratch, r->scratch + r->n_scratch, &value);
    }
    r->n_scratch = 0;
    return head_complete(r, value, st);
}

/* A head that lies whole in these bytes: both parts in one go. *used is 0 when it does not. */
static tern_code take_whole_head(tn_pb_predict_reader *r, const uint8_t *p, size_t n, size_t *used,
                                 tern_status *st)
{
    uint64_t tag, value = 0;
    const size_t first = tn_pb_varint(p, p + n, &tag);
    size_t second = 0;
    *used = 0;
    if (first == 0)
        return TERN_OK;
    if ((tag & 7) == TN_PB_VARINT || (tag & 7) == TN_PB_BYTES)
        second = tn_pb_varint(p + first, p + n, &value);
    else if ((tag & 7) == TN_PB_FIXED32 || (tag & 7) == TN_PB_FIXED64)
        second = (tag & 7) == TN_PB_FIXED32 ? 4 : 8;
    if (second == 0 || second > n - first)
        return TERN_OK;
    if (first + second > r->end[r->level] - r->position)
        return broken(r, st);
    if ((tag & 7) == TN_PB_FIXED32 || (tag & 7) == TN_PB_FIXED64)
        memcpy(&value, p + first, second);
    *used = first + second;
    r->position += *used;
    tern_code code = head_complete(r, tag, st);
    return code == TERN_OK ? head_complete(r, value, st) : code;
}

/* Messages that end here. */
static tern_code leave_levels(tn_pb_predict_reader *r, tern_status *st)
{
    while (r->level > LEVEL_REQUEST && r->payload == PAYLOAD_NONE && r->position == r->end[r->level]) {
        if (r->head != HEAD_TAG || r->n_scratch > 0)
            return broken(r, st);
        tern_code code = r->level == LEVEL_ENTRY ? entry_end(r, st) : TERN_OK;
        if (code != TERN_OK)
            return code;
        r->level--;
    }
    return TERN_OK;
}

tern_code tn_pb_predict_feed(tn_pb_predict_reader *r, const void *bytes, size_t n, tern_status *st)
{
    const char *p = bytes;
    tern_code code = r->failed ? broken(r, st) : TERN_OK;
    while (code == TERN_OK && n > 0) {
        if (r->payload == PAYLOAD_NONE) {
            size_t used = 0;
            if (r->head == HEAD_TAG && r->n_scratch == 0)
                code = take_whole_head(r, (const uint8_t *)p, n, &used, st);
            if (code == TERN_OK && used == 0) {
                code = take_head_byte(r, (uint8_t)*p, st);
                used = 1;
            }
            p += used;
            n -= used;
        } else {
            size_t part = n < r->payload_left ? n : (size_t)r->payload_left;
            code = take_payload(r, p, part, st);
            p += part;
            n -= part;
            r->position += part;
            r->payload_left -= part;
            if (code == TERN_OK && r->payload_left == 0)
                code = payload_end(r, st);
        }
        if (code == TERN_OK)
            code = leave_levels(r, st);
    }
    return code;
}

void tn_pb_predict_room(tn_pb_predict_reader *r, char **room, size_t *space)
{
    tern_status st;
    *room = NULL;
    *space = 0;
    if (r->failed || (r->payload != PAYLOAD_CONTENT && r->payload != PAYLOAD_FIXED) || r->payload_left == 0)
        return;
    if (content_room(r, room, &st) == TERN_OK)
        *space = (size_t)r->payload_left;
}

tern_code tn_pb_predict_finish(tn_pb_predict_reader *r, tern_status *st)
{
    if (r->failed || r->level != LEVEL_REQUEST || r->payload != PAYLOAD_NONE || r->head != HEAD_TAG ||
        r->n_scratch > 0)
        return broken(r, st);
    return TERN_OK;
}

const tn_model_spec *tn_pb_predict_spec(const tn_pb_predict_reader *r)
{
    return &r->spec;
}

const tn_named_tensor *tn_pb_predict_inputs(const tn_pb_predict_reader *r, uint32_t *n)
{
    *n = r->n_inputs;
    return r->inputs;
}

const tn_str *tn_pb_predict_output_filter(const tn_pb_predict_reader *r, uint32_t *n)
{
    *n = r->n_filter;
    return r->filter;
}

tern_code tn_pb_read_tensor(tn_str bytes, tn_arena *arena, tern_tensor *out, tern_status *st)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = INT64_C(1) << 32, .max_inputs = 1};
    uint8_t head[48], value[20];
    /* As the one entry of a request: the machine is the same. */
    size_t value_head = tn_pb_put_head(value, ENTRY_VALUE, bytes.len);
    size_t n = tn_pb_put_head(head, REQUEST_INPUTS, value_head + bytes.len);
    memcpy(head + n, value, value_head);
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, arena);
    if (r == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a tensor; try again later");
    tern_code code = tn_pb_predict_feed(r, head, n + value_head, st);
    if (code == TERN_OK)
        code = tn_pb_predict_feed(r, bytes.ptr, bytes.len, st);
    if (code == TERN_OK)
        code = tn_pb_predict_finish(r, st);
    if (code != TERN_OK)
        return code;
    if (r->n_inputs != 1 || !r->inputs[0].valid)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "These bytes are no tensor");
    *out = r->inputs[0].tensor;
    r->n_inputs = 0;
    return TERN_OK;
}
