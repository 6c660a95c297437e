/*
 * codec/json_examples.c - see codec/json_examples.h.
 *
 * The tape is walked once; features are written behind each other into one buffer, from which the tensor is
 * made. A feature is written into a buffer of its own first, since its length stands before it and every
 * feature is looked at, also those that a later one of the same key replaces.
 */
#include "codec/json_examples.h"

#include "codec/json_value.h"
#include "codec/pb_wire.h"

#define TAPE_MAX (UINT64_C(2) << 30)

typedef enum feature_kind { KIND_NONE, KIND_BYTES, KIND_FLOAT, KIND_INT64 } feature_kind; /* of oneof kind */

/* One key of the object at hand; keys with the same text share a slot of the table. */
typedef struct key_slot {
    size_t start, length; /* in keys */
    uint32_t last;        /* the member that counts */
    bool used;
} key_slot;

typedef struct examples {
    tn_tape tape;
    tern_status *st;
    tn_json_error error;
    tn_buf features; /* entries of the Example at hand */
    tn_buf values;   /* of the feature at hand */
    tn_buf keys;     /* texts of the object's keys */
    tn_buf slots;    /* key_slot[] */
    tn_buf members;  /* uint32_t: slot of each member's key */
    tn_buf bytes;    /* Examples, one behind the other */
    tn_buf ends;     /* uint64_t: where each ends */
    size_t context;  /* bytes of the context, which stands first in `bytes` */
} examples;

static const tn_node *node(const examples *x, uint32_t i)
{
    return tn_tape_at(&x->tape, i);
}

static tern_code no_memory(const examples *x)
{
    return tern_fail(x->st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
}

/* ---- one feature ---- */

static tern_code unexpected_type(examples *x, tn_str name, const tn_node *n)
{
    char rest[64];
    snprintf(rest, sizeof rest, " has element with unexpected JSON type: %s", tn_tape_type_name(n));
    return tn_json_error_name(&x->error, "Feature: ", name, rest);
}

static tern_code become(examples *x, tn_str name, feature_kind kind, feature_kind *have)
{
    static const char *const names[] = {"UNKNOWN", "bytes", "float", "int64"};
    char rest[32];
    if (*have != KIND_NONE && *have != kind) {
        snprintf(rest, sizeof rest, " expecting type: %s", names[*have]);
        return tn_json_error_name(&x->error, "Unexpected element type in feature: ", name, rest);
    }
    *have = kind;
    return TERN_OK;
}

static void put_varint(tn_buf *out, uint64_t value)
{
    uint8_t bytes[10];
    tn_buf_append(out, bytes, tn_pb_put_varint(bytes, value));
}

static tern_code add_number(examples *x, const tn_node *n, tn_str name, feature_kind *kind)
{
    int64_t i = 0;
    uint64_t u = 0;
    bool negative = false;
    bool whole = tn_tape_whole(&x->tape, n, &i, &u, &negative);
    tern_code code = become(x, name, whole ? KIND_INT64 : KIND_FLOAT, kind);
    if (code != TERN_OK)
        return code;
    if (!whole) {
        uint32_t bits = (uint32_t)tn_tape_real(&x->tape, n, true);
        tn_buf_append(&x->values, &bits, sizeof bits);
    } else if (!negative && u > INT64_MAX) {
        return tn_json_error_name(&x->error, "Feature: ", name,
                                  " has uint64_t element. Only int64_t is supported.");
    } else {
        put_varint(&x->values, (uint64_t)i);
    }
    return TERN_OK;
}

/* A bytes_list keeps its values as fields; a string's length is known when it has been written. */
static tern_code add_bytes(examples *x, uint32_t i, tn_str name, feature_kind *kind)
{
    tern_code code = become(x, name, KIND_BYTES, kind);
    tn_buf text;
    if (code != TERN_OK)
        return code;
    tn_buf_init(&text, x->values.max);
    bool good = true;
    if (node(x, i)->type == TN_NODE_STRING)
        tn_tape_string(&x->tape, node(x, i), &text);
    else
        good = tn_tape_b64(&x->tape, i, &text);
    tn_pb_add_head(&x->values, 1, text.len);
    tn_buf_str(&x->values, tn_buf_view(&text));
    x->values.failed |= text.failed;
    tn_buf_free(&text);
    return good ? TERN_OK : tern_fail(x->st, TERN_INVALID_ARGUMENT, "Unable to base64 decode");
}

static tern_code add_value(examples *x, uint32_t i, tn_str name, feature_kind *kind)
{
    const tn_node *n = node(x, i);
    tern_code code;
    switch (n->type) {
    case TN_NODE_FALSE:
    case TN_NODE_TRUE:
        code = become(x, name, KIND_INT64, kind);
        put_varint(&x->values, n->type == TN_NODE_TRUE);
        return code;
    case TN_NODE_NUMBER:
        return add_number(x, n, name, kind);
    case TN_NODE_OBJECT:
        return tn_tape_is_b64(&x->tape, i) ? add_bytes(x, i, name, kind) : unexpected_type(x, name, n);
    case TN_NODE_STRING:
        return add_bytes(x, i, name, kind);
    default:
        return unexpected_type(x, name, n);
    }
}

/* Appends the entry {key = 1, value = 2} of the map: the Feature in x->values. */
static void put_entry(examples *x, tn_str name, feature_kind kind)
{
    /* float_list and int64_list are packed: their one field has its own head; bytes have theirs already. */
    size_t values = x->values.len;
    size_t list = kind == KIND_BYTES ? values : values > 0 ? tn_pb_head_size(1, values) + values : 0;
    size_t feature = kind == KIND_NONE ? 0 : tn_pb_head_size(kind, list) + list;
    tn_pb_add_head(&x->features, 1,
                   tn_pb_head_size(1, name.len) + name.len + tn_pb_head_size(2, feature) + feature);
    tn_pb_add_head(&x->features, 1, name.len);
    tn_buf_str(&x->features, name);
    tn_pb_add_head(&x->features, 2, feature);
    if (kind == KIND_NONE)
        return;
    tn_pb_add_head(&x->features, kind, list);
    if (kind != KIND_BYTES && values > 0)
        tn_pb_add_head(&x->features, 1, values);
    tn_buf_str(&x->features, tn_buf_view(&x->values));
}

/* The value of one member; counts: it is the last one of its key. */
static tern_code add_feature(examples *x, uint32_t i, tn_str name, bool counts)
{
    feature_kind kind = KIND_NONE;
    tern_code code = TERN_OK;
    tn_buf_clear(&x->values);
    if (node(x, i)->type == TN_NODE_ARRAY) {
        for (uint32_t at = i + 1; code == TERN_OK && at < node(x, i)->next; at = node(x, at)->next)
            code = add_value(x, at, name, &kind);
    } else {
        code = add_value(x, i, name, &kind);
    }
    if (code == TERN_OK && x->values.failed)
        return no_memory(x);
    if (code == TERN_OK && counts)
        put_entry(x, name, kind);
    return code;
}

/* ---- one Example ---- */

static key_slot *slot_of(const examples *x, size_t cap, size_t start, size_t length)
{
    key_slot *slots = (key_slot *)(void *)x->slots.ptr;
    tn_str key = {x->keys.ptr + start, length};
    size_t at = (size_t)tn_str_hash(key) & (cap - 1);
    while (slots[at].used && !tn_str_eq((tn_str){x->keys.ptr + slots[at].start, slots[at].length}, key))
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

/* Appends a key's text; returns its length. It ends at a NUL, as in the original. */
static size_t put_key(examples *x, const tn_node *n)
{
    size_t start = x->keys.len;
    tn_tape_string(&x->tape, n, &x->keys);
    if (x->keys.failed)
        return 0;
    tn_str whole = {x->keys.ptr + start, x->keys.len - start};
    ptrdiff_t end = whole.len > 0 ? tn_str_chr(whole, '\0') : -1;
    if (end >= 0)
        x->keys.len = start + (size_t)end;
    return x->keys.len - start;
}

/* Notes for every key of the object at i which member is its last one. */
static bool index_keys(examples *x, uint32_t i)
{
    uint32_t count = node(x, i)->count;
    size_t cap = 2;
    while (cap < (size_t)count * 2)
        cap *= 2;
    tn_buf_clear(&x->keys);
    tn_buf_clear(&x->slots);
    tn_buf_clear(&x->members);
    char *room = tn_buf_reserve(&x->slots, cap * sizeof(key_slot));
    if (room == NULL)
        return false;
    memset(room, 0, cap * sizeof(key_slot));
    uint32_t at = i + 1;
    for (uint32_t k = 0; k < count; k++, at = node(x, at + 1)->next) {
        size_t start = x->keys.len, length = put_key(x, node(x, at));
        if (x->keys.failed)
            return false;
        key_slot *slot = slot_of(x, cap, start, length);
        if (!slot->used)
            *slot = (key_slot){.start = start, .length = length, .used = true};
        slot->last = k;
        uint32_t index = (uint32_t)(slot - (key_slot *)(void *)x->slots.ptr);
        tn_buf_append(&x->members, &index, sizeof index);
    }
    return !x->members.failed;
}

/* Writes the Example at i behind x->bytes: Features = 1, when it has any. */
static tern_code put_example(examples *x, uint32_t i)
{
    tern_code code = TERN_OK;
    if (node(x, i)->type != TN_NODE_OBJECT)
        return tern_fail(x->st, TERN_INVALID_ARGUMENT, "Example must be JSON object but got JSON %s",
                         tn_tape_type_name(node(x, i)));
    if (!index_keys(x, i))
        return no_memory(x);
    tn_buf_clear(&x->features);
    const key_slot *slots = (const key_slot *)(void *)x->slots.ptr;
    const uint32_t *members = (const uint32_t *)(void *)x->members.ptr, count = node(x, i)->count;
    uint32_t at = i + 1;
    for (uint32_t k = 0; code == TERN_OK && k < count; k++, at = node(x, at + 1)->next) {
        const key_slot *slot = &slots[members[k]];
        code = add_feature(x, at + 1, (tn_str){x->keys.ptr + slot->start, slot->length}, slot->last == k);
    }
    if (code != TERN_OK || count == 0)
        return code;
    tn_pb_add_head(&x->bytes, 1, x->features.len);
    tn_buf_str(&x->bytes, tn_buf_view(&x->features));
    return x->features.failed || x->bytes.failed ? no_memory(x) : TERN_OK;
}

/* ---- the document ---- */

static tern_code read_signature(examples *x, tn_arena *arena, tn_str *name)
{
    uint32_t value = tn_tape_member(&x->tape, 0, TN_STR("signature_name"));
    if (value == 0)
        return TERN_OK;
    if (node(x, value)->type != TN_NODE_STRING)
        return tn_json_error_value(&x->error, &x->tape, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                                   " not formatted correctly. 'signature_name' key must be a string value.");
    tn_buf_clear(&x->keys);
    tn_tape_string(&x->tape, node(x, value), &x->keys);
    *name = tn_arena_dup(arena, tn_buf_view(&x->keys));
    return x->keys.failed || name->ptr == NULL ? no_memory(x) : TERN_OK;
}

static tern_code read_examples(examples *x)
{
    uint32_t context = tn_tape_member(&x->tape, 0, TN_STR("context"));
    uint32_t list = tn_tape_member(&x->tape, 0, TN_STR("examples"));
    tern_code code = context != 0 ? put_example(x, context) : TERN_OK;
    const size_t common = x->bytes.len;
    if (code != TERN_OK)
        return code;
    if (list == 0) /* "classify" is what it says for regress, too */
        return tn_json_error_value(&x->error, &x->tape, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                                   " When method is classify, key 'examples' is expected and was not found");
    if (node(x, list)->type != TN_NODE_ARRAY)
        return tn_json_error_value(&x->error, &x->tape, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                                   " Expecting 'examples' value to be an list/array");
    if (node(x, list)->count == 0)
        return tn_json_error_value(&x->error, &x->tape, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                                   " 'examples' value is an empty array");
    for (uint32_t at = list + 1; code == TERN_OK && at < node(x, list)->next; at = node(x, at)->next) {
        code = put_example(x, at);
        uint64_t end = x->bytes.len - common;
        tn_buf_append(&x->ends, &end, sizeof end);
    }
    x->context = common;
    return code == TERN_OK && (x->bytes.failed || x->ends.failed) ? no_memory(x) : code;
}

static void fill(const examples *x, int64_t n, tern_tensor *t)
{
    const uint64_t *ends = (const uint64_t *)(const void *)x->ends.ptr;
    uint64_t *offsets = tn_string_offsets(t);
    const char *from = x->bytes.len > 0 ? x->bytes.ptr + x->context : ""; /* examples may all be empty */
    char *start = tn_string_bytes(t, n), *to = start;
    for (int64_t i = 0; i < n; i++) {
        size_t length = (size_t)(ends[i] - (i > 0 ? ends[i - 1] : 0));
        offsets[i] = (uint64_t)(to - start);
        if (x->context > 0)
            memcpy(to, x->bytes.ptr, x->context);
        if (length > 0)
            memcpy(to + x->context, from, length);
        from += length;
        to += x->context + length;
    }
    offsets[n] = (uint64_t)(to - start);
}

/* Each element is the context and its own bytes. */
static tern_code make_tensor(const examples *x, size_t most, tn_budget *budget, tn_arena *arena,
                             tern_tensor *out)
{
    const int64_t n = (int64_t)(x->ends.len / sizeof(uint64_t));
    const size_t head = sizeof(uint64_t) * ((size_t)n + 1);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)n, x->context, &bytes) ||
        __builtin_add_overflow(bytes, x->bytes.len - x->context, &bytes) || bytes > most ||
        most - bytes < head || (budget != NULL && !tn_budget_take(budget, head + bytes)))
        return tern_fail(x->st, TERN_RESOURCE_EXHAUSTED,
                         "The examples of this request, each with its context, are more bytes than may be in "
                         "flight (--max_bytes_in_flight); send fewer");
    tern_code code = tn_tensor_new_string(out, 1, &n, bytes, arena, x->st);
    if (code == TERN_OK)
        fill(x, n, out);
    else if (budget != NULL)
        tn_budget_give(budget, head + bytes);
    return code;
}

static void init(examples *x, tn_str body, const tn_json_limits *limits, tern_status *st)
{
    const size_t tape =
        (uint64_t)limits->max_tape_bytes < TAPE_MAX ? (size_t)limits->max_tape_bytes : TAPE_MAX;
    const size_t most = limits->max_tensor_bytes > 0 ? (size_t)limits->max_tensor_bytes : 0;
    *x = (examples){.st = st};
    tn_json_error_init(&x->error, limits, st);
    tn_tape_init(&x->tape, body, tape);
    tn_buf_init(&x->features, most);
    tn_buf_init(&x->values, most);
    tn_buf_init(&x->keys, body.len + 1);
    tn_buf_init(&x->slots, tape);
    tn_buf_init(&x->members, tape);
    tn_buf_init(&x->bytes, most);
    tn_buf_init(&x->ends, most);
}

/* Reads the body into *x, which is to be freed in any case. */
static tern_code read_body(examples *x, tn_str body, const tn_json_limits *limits, tn_arena *arena,
                           tn_json_examples *out, tern_status *st)
{
    *out = (tn_json_examples){0};
    init(x, body, limits, st);
    if (body.len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "JSON Parse error: The document is empty");
    tern_code code = tn_tape_parse(&x->tape, 0, limits->max_depth, st);
    if (code == TERN_OK && node(x, 0)->type != TN_NODE_OBJECT)
        code = tn_json_error_value(&x->error, &x->tape, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                                   " Is not object");
    if (code == TERN_OK)
        code = read_signature(x, arena, &out->signature_name);
    if (code == TERN_OK)
        code = read_examples(x);
    if (code != TERN_OK && x->error.text.len >= TERN_STATUS_MESSAGE_MAX)
        out->error = tn_arena_dup(arena, tn_buf_view(&x->error.text));
    return code;
}

static void free_all(examples *x)
{
    tn_buf_free(&x->error.text);
    tn_tape_free(&x->tape);
    tn_buf_free(&x->features);
    tn_buf_free(&x->values);
    tn_buf_free(&x->keys);
    tn_buf_free(&x->slots);
    tn_buf_free(&x->members);
    tn_buf_free(&x->bytes);
    tn_buf_free(&x->ends);
}

tern_code tn_json_decode_examples(tn_str body, const tn_json_limits *limits, tn_budget *budget,
                                  tn_arena *arena, tn_json_examples *out, tern_status *st)
{
    examples x;
    tern_code code = read_body(&x, body, limits, arena, out, st);
    if (code == TERN_OK)
        code = make_tensor(&x, (size_t)limits->max_tensor_bytes, budget, arena, &out->examples);
    free_all(&x);
    return code;
}

tern_code tn_json_check_examples(tn_str body, const tn_json_limits *limits, tn_arena *arena,
                                 tn_json_examples *out, tern_status *st)
{
    examples x;
    tern_code code = read_body(&x, body, limits, arena, out, st);
    free_all(&x);
    return code;
}
