/*
 * codec/json_explain.c - see codec/json_explain.h.
 *
 * Follows util/json_tensor.cc of TensorFlow Serving step by step (FillPredictRequestFromJson and below), so
 * that the first fault in its order is the one that is told, in its words.
 */
#include "codec/json_explain.h"

#include "base/status.h"
#include "codec/json_value.h"
#include "codec/number.h"

#define TAPE_MAX     (UINT64_C(2) << 30)
#define KEY_ROOM     256 /* of a key in an error that repeats a value, too */
#define ALIASES_ROOM 1024

typedef struct explain {
    tn_tape tape;
    const tern_signature *signature;
    tn_tensor_build *builds; /* one for each input */
    tn_tensor_room room;
    tn_arena *arena;
    tern_status *st;
    const tn_json_limits *limits;
    tn_json_error error; /* text of the error when it repeats a part of the body; else it is in st alone */
    int64_t *dims;       /* sizes of the lists around the value at hand */
    uint32_t *ends;      /* and where those that are open end */
    int32_t cap_levels;
} explain;

/* What is known of one input while row elements are added. */
typedef struct row_input {
    bool seen; /* in any element */
    bool here; /* in this element */
    int64_t size;
    int32_t rank;
    const int64_t *dims;
} row_input;

static tern_code no_memory(const explain *x)
{
    return tern_fail(x->st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
}

static const tn_node *node(const explain *x, uint32_t i)
{
    return tn_tape_at(&x->tape, i);
}

/* "JSON Value: <value><rest>" */
#define value_error(x, code, head, i, ...)                                                                   \
    tn_json_error_value(&(x)->error, &(x)->tape, code, head, i, __VA_ARGS__)

static tern_code type_error(explain *x, uint32_t i, tern_dtype dtype)
{
    return value_error(x, TERN_INVALID_ARGUMENT, "JSON Value: ", i, " Type: %s is not of expected type: %s",
                       tn_tape_type_name(node(x, i)), tn_dtype_name(dtype));
}

/* ---- values ---- */

/* Bits of the number in this dtype; false when the dtype does not take it. */
static bool whole_of(const explain *x, const tn_node *n, tern_dtype dtype, uint64_t *bits)
{
    int64_t i = 0;
    uint64_t u = 0;
    bool negative;
    if (!tn_tape_whole(&x->tape, n, &i, &u, &negative))
        return false;
    *bits = negative ? (uint64_t)i : u;
    switch (dtype) {
    case TERN_INT32:
    case TERN_INT16:
    case TERN_INT8:
    case TERN_UINT8:
        return negative ? i >= INT32_MIN : u <= INT32_MAX;
    case TERN_INT64:
        return negative || u <= INT64_MAX;
    case TERN_UINT32:
        return !negative && u <= UINT32_MAX;
    case TERN_UINT16:
        return !negative && u <= UINT16_MAX;
    default:
        return !negative;
    }
}

/* The nearest half or bfloat16. */
static uint64_t short_of(const explain *x, const tn_node *n, tern_dtype dtype)
{
    tn_str token = tn_tape_text(&x->tape, n);
    uint16_t bits = 0;
    if (n->flags & TN_NODE_LETTERS) {
        double value = tn_tape_letters(token);
        bits = dtype == TERN_HALF ? 0x7C00 : 0x7F80;
        bits |= value != value ? 0x40 << (dtype == TERN_HALF ? 3 : 0) : value < 0 ? 0x8000 : 0;
    } else if (tn_str_eq(token, TN_STR("-0"))) {
        bits = 0; /* a whole number: no sign */
    } else if (dtype == TERN_HALF) {
        tn_number_read_half(token.ptr, token.ptr + token.len, &bits);
    } else {
        tn_number_read_bfloat16(token.ptr, token.ptr + token.len, &bits);
    }
    return bits;
}

static tern_code add_bits(explain *x, tn_tensor_build *b, uint64_t bits)
{
    char *at;
    tern_code code = tn_build_values(b, tn_typed_of(b->dtype), 1, &at, x->st);
    if (code != TERN_OK)
        return code;
    tn_build_put(b->dtype, at, bits);
    b->n_values++;
    return TERN_OK;
}

static tern_code add_whole(explain *x, uint32_t i, tn_tensor_build *b)
{
    uint64_t bits = 0;
    return whole_of(x, node(x, i), b->dtype, &bits) ? add_bits(x, b, bits) : type_error(x, i, b->dtype);
}

static tern_code no_conversion(explain *x, uint32_t i, tern_dtype dtype)
{
    return value_error(x, TERN_UNIMPLEMENTED, "Conversion of JSON Value: ", i, " to type: %s",
                       tn_dtype_name(dtype) != NULL ? tn_dtype_name(dtype) : "unknown");
}

static tern_code add_scalar(explain *x, uint32_t i, tn_tensor_build *b)
{
    const tn_node *n = node(x, i);
    switch (b->dtype) {
    case TERN_FLOAT:
    case TERN_DOUBLE:
        if (n->type != TN_NODE_NUMBER)
            return type_error(x, i, b->dtype);
        return add_bits(x, b, tn_tape_real(&x->tape, n, b->dtype == TERN_FLOAT));
    case TERN_INT32:
    case TERN_INT16:
    case TERN_INT8:
    case TERN_UINT8:
    case TERN_INT64:
    case TERN_UINT32:
    case TERN_UINT64:
        return add_whole(x, i, b);
    case TERN_BOOL:
        if (n->type != TN_NODE_TRUE && n->type != TN_NODE_FALSE)
            return type_error(x, i, b->dtype);
        return add_bits(x, b, n->type == TN_NODE_TRUE);
    case TERN_HALF:
    case TERN_BFLOAT16:
        if (!x->limits->extended)
            break;
        if (n->type != TN_NODE_NUMBER)
            return type_error(x, i, b->dtype);
        return add_bits(x, b, short_of(x, n, b->dtype));
    case TERN_UINT16:
        return x->limits->extended ? add_whole(x, i, b) : no_conversion(x, i, b->dtype);
    case TERN_STRING:
        if (n->type != TN_NODE_STRING)
            return type_error(x, i, b->dtype);
        tn_tape_string(&x->tape, n, &b->string_bytes);
        return tn_build_string(b, x->st);
    default:
        break;
    }
    return no_conversion(x, i, b->dtype);
}

static tern_code add_b64(explain *x, uint32_t i, tn_tensor_build *b)
{
    if (!tn_tape_is_b64(&x->tape, i))
        return value_error(x, TERN_INVALID_ARGUMENT, "JSON Value: ", i,
                           " not formatted correctly for base64 data");
    if (!tn_tape_b64(&x->tape, i, &b->string_bytes))
        return tern_fail(x->st, TERN_INVALID_ARGUMENT, "Unable to base64 decode");
    return tn_build_string(b, x->st);
}

/* ---- one value with its shape ---- */

/* Room in x->dims and x->ends for so many levels. */
static bool level_room(explain *x, int32_t rank)
{
    if (rank <= x->cap_levels)
        return true;
    int32_t cap = rank < 8 ? 8 : rank < INT32_MAX / 2 ? rank * 2 : rank;
    x->dims = tn_arena_array(x->arena, (size_t)cap, sizeof *x->dims);
    x->ends = tn_arena_array(x->arena, (size_t)cap, sizeof *x->ends);
    x->cap_levels = x->dims != NULL && x->ends != NULL ? cap : 0;
    return x->cap_levels > 0;
}

/* Sizes down the first elements (GetDenseTensorShape). *dims is x->dims, until the next value's. */
static tern_code dense_shape(explain *x, uint32_t i, int32_t *rank, const int64_t **dims)
{
    int32_t n = 0;
    for (uint32_t at = i; node(x, at)->type == TN_NODE_ARRAY; at++) {
        n++;
        if (node(x, at)->count == 0)
            break;
    }
    if (!level_room(x, n))
        return no_memory(x);
    for (int32_t k = 0; k < n; k++)
        x->dims[k] = node(x, i + (uint32_t)k)->count;
    *rank = n;
    *dims = x->dims;
    return TERN_OK;
}

/* A copy of dims that stays. */
static bool keep_dims(explain *x, int32_t rank, const int64_t *dims, const int64_t **kept)
{
    int64_t *copy = tn_arena_array(x->arena, (size_t)rank, sizeof *copy);
    if (copy != NULL && rank > 0)
        memcpy(copy, dims, (size_t)rank * sizeof *copy);
    *kept = copy;
    return copy != NULL;
}

static tern_code check_list(explain *x, uint32_t i, int32_t level, int32_t rank, const int64_t *dims)
{
    if (level >= rank)
        return tern_fail(x->st, TERN_INVALID_ARGUMENT,
                         "Encountered list at unexpected level: %d expected < %d", level, rank);
    if (node(x, i)->count != dims[level])
        return tern_fail(x->st, TERN_INVALID_ARGUMENT,
                         "Encountered list at unexpected size: %u at level: %d expected size: %lld",
                         node(x, i)->count, level, (long long)dims[level]);
    return TERN_OK;
}

static tern_code add_leaf(explain *x, uint32_t i, int32_t level, int32_t rank, tn_tensor_build *b)
{
    if (level != rank)
        return value_error(x, TERN_INVALID_ARGUMENT, "JSON Value: ", i,
                           " found at incorrect level: %d in the JSON DOM. Expected at level: %d", level + 1,
                           rank);
    if (node(x, i)->type != TN_NODE_OBJECT)
        return add_scalar(x, i, b);
    return b->dtype == TERN_STRING ? add_b64(x, i, b) : type_error(x, i, b->dtype);
}

/* FillTensorProto, without its recursion: the nodes in order, with the ends of the lists that are open. */
static tern_code fill_tensor(explain *x, uint32_t i, int32_t rank, const int64_t *dims, tn_tensor_build *b,
                             int64_t *size)
{
    uint32_t *ends = x->ends;
    const uint32_t end = node(x, i)->next;
    int32_t level = 0;
    tern_code code = TERN_OK;
    for (uint32_t at = i; code == TERN_OK && at < end;) {
        const tn_node *n = node(x, at);
        if (n->type == TN_NODE_ARRAY) {
            code = check_list(x, at, level, rank, dims);
            if (code == TERN_OK)
                ends[level++] = n->next;
            at++;
        } else {
            code = add_leaf(x, at, level, rank, b);
            ++*size;
            at = n->next;
        }
        while (level > 0 && ends[level - 1] == at)
            level--;
    }
    return code;
}

/* ---- row form ---- */

static void print_shape(tn_buf *out, int32_t rank, const int64_t *dims)
{
    tn_buf_char(out, '[');
    for (int32_t i = 0; i < rank; i++)
        tn_buf_printf(out, "%s%lld", i > 0 ? "," : "", (long long)dims[i]);
    tn_buf_char(out, ']');
}

static tern_code shape_error(explain *x, const row_input *in, int32_t rank, const int64_t *dims)
{
    tn_buf text;
    tn_buf_init(&text, TERN_STATUS_MESSAGE_MAX);
    tn_buf_z(&text, "Expecting shape ");
    print_shape(&text, in->rank, in->dims);
    tn_buf_z(&text, " but got: ");
    print_shape(&text, rank, dims);
    tern_code code = tern_fail_bytes(x->st, TERN_INVALID_ARGUMENT, text.ptr, text.len);
    tn_buf_free(&text);
    return code;
}

/* AddInstanceItem */
static tern_code add_item(explain *x, uint32_t i, int id, row_input *inputs)
{
    row_input *in = &inputs[id];
    int32_t rank;
    const int64_t *dims;
    int64_t size = 0;
    tern_code code = dense_shape(x, i, &rank, &dims);
    if (code == TERN_OK)
        code = fill_tensor(x, i, rank, dims, &x->builds[id], &size);
    if (code != TERN_OK)
        return code;
    if (!in->seen) {
        *in = (row_input){.seen = true, .here = true, .size = size, .rank = rank};
        return keep_dims(x, rank, dims, &in->dims) ? TERN_OK : no_memory(x);
    }
    in->here = true;
    if (in->size != size)
        return tern_fail(x->st, TERN_INVALID_ARGUMENT, "Expecting tensor size: %lld but got: %lld",
                         (long long)in->size, (long long)size);
    if (in->rank != rank || (rank > 0 && memcmp(in->dims, dims, (size_t)rank * sizeof *dims) != 0))
        return shape_error(x, in, rank, dims);
    return TERN_OK;
}

/*
 * Puts "Failed to process element: N [key: K ]of 'instances' list. Error: CODE: " before the error at hand.
 */
static tern_code element_error(explain *x, uint32_t element, const tn_str *key)
{
    tn_buf inner = x->error.text;
    /* The wrapper makes every cause an invalid argument, but for limits of ours. */
    tern_code code = x->st->code == TERN_RESOURCE_EXHAUSTED ? TERN_RESOURCE_EXHAUSTED : TERN_INVALID_ARGUMENT;
    tn_buf_init(&x->error.text, inner.max);
    tn_buf_printf(&x->error.text, "Failed to process element: %u ", element);
    if (key != NULL) {
        tn_buf_z(&x->error.text, "key: ");
        tn_json_put_cut(&x->error.text, *key, inner.len == 0 ? tn_json_error_room(x->limits) : KEY_ROOM);
        tn_buf_char(&x->error.text, ' ');
    }
    tn_buf_printf(&x->error.text, "of 'instances' list. Error: %s: ", tn_code_name(x->st->code));
    if (inner.len > 0)
        tn_buf_str(&x->error.text, tn_buf_view(&inner));
    else
        tn_buf_append(&x->error.text, x->st->message, x->st->length);
    tn_buf_free(&inner);
    return tn_json_error_made(&x->error, code);
}

static tern_code keys_error(explain *x, uint32_t element, uint32_t i)
{
    char head[96];
    snprintf(head, sizeof head, "Failed to process element: %u of 'instances' list. JSON object: ", element);
    tern_code code = value_error(x, TERN_INVALID_ARGUMENT, head, i, " keys must be equal to: ");
    for (uint32_t k = 0; k < x->signature->n_inputs; k++) {
        if (k > 0)
            tn_buf_char(&x->error.text, ',');
        tn_buf_str(&x->error.text, x->signature->inputs[k].name);
    }
    return code == TERN_INVALID_ARGUMENT ? tn_json_error_made(&x->error, code) : code;
}

/* A key of an object as the original takes it: up to its first NUL. */
static tn_str key_of(const explain *x, uint32_t i, tn_buf *text)
{
    tn_buf_init(text, node(x, i)->end - node(x, i)->start + 1);
    tn_tape_string(&x->tape, node(x, i), text);
    tn_str key = tn_buf_view(text);
    ptrdiff_t nul = tn_str_chr(key, '\0');
    return nul >= 0 ? tn_str_sub(key, 0, (size_t)nul) : key;
}

static tern_code add_object(explain *x, uint32_t element, uint32_t i, row_input *inputs)
{
    uint32_t at = i + 1, n = node(x, i)->count;
    for (uint32_t k = 0; k < x->signature->n_inputs; k++)
        inputs[k].here = false;
    for (uint32_t m = 0; m < n; m++, at = node(x, at + 1)->next) {
        tn_buf key;
        tn_str name = key_of(x, at, &key);
        int id = tn_signature_input(x->signature, name);
        tern_code code =
            id >= 0 ? add_item(x, at + 1, id, inputs)
                    : tn_json_error_name(&x->error, "JSON object: does not have named input: ", name, "");
        if (code != TERN_OK)
            code = element_error(x, element, &name);
        tn_buf_free(&key);
        if (code != TERN_OK)
            return code;
    }
    for (uint32_t k = 0; k < x->signature->n_inputs; k++)
        if (!inputs[k].here)
            return keys_error(x, element, i);
    return TERN_OK;
}

static tern_code add_elements(explain *x, uint32_t list, row_input *inputs)
{
    const uint32_t count = node(x, list)->count;
    uint32_t at = list + 1;
    const bool objects = node(x, at)->type == TN_NODE_OBJECT && !tn_tape_is_b64(&x->tape, at);
    tern_code code = TERN_OK;
    for (uint32_t e = 0; code == TERN_OK && e < count; e++, at = node(x, at)->next) {
        bool object = node(x, at)->type == TN_NODE_OBJECT && !tn_tape_is_b64(&x->tape, at);
        if (objects && !object)
            return tern_fail(x->st, TERN_INVALID_ARGUMENT,
                             "Expecting object but got list at item %u of input list", e);
        if (!objects && object)
            return tern_fail(x->st, TERN_INVALID_ARGUMENT,
                             "Expecting value/list but got object at item %u of input list", e);
        if (objects) {
            code = add_object(x, e, at, inputs);
        } else {
            code = add_item(x, at, 0, inputs);
            if (code != TERN_OK)
                code = element_error(x, e, NULL);
        }
    }
    return code;
}

/* The batch dimension before the element's shape. */
static tern_code set_row_shape(explain *x, tn_tensor_build *b, const row_input *in, uint32_t count)
{
    int32_t rank = in->rank + 1;
    int64_t *dims = tn_arena_array(x->arena, (size_t)rank, sizeof *dims);
    if (dims == NULL)
        return no_memory(x);
    dims[0] = count;
    if (in->rank > 0)
        memcpy(dims + 1, in->dims, (size_t)in->rank * sizeof *dims);
    b->rank = rank;
    b->dims = dims;
    b->shape_bad = rank > TERN_MAX_RANK || !tn_shape_count(rank, dims, &b->count);
    return TERN_OK;
}

/*
 * {"b64": ...} elements all went to one input of several: the original finds the others missing when it is to
 * run.
 */
static tern_code one_of_several(explain *x)
{
    const tern_signature *s = x->signature;
    tn_buf all, missing;
    tn_buf_init(&all, ALIASES_ROOM);
    tn_buf_init(&missing, ALIASES_ROOM);
    for (uint32_t k = 0; k < s->n_inputs; k++) {
        tn_buf_printf(&all, "%s%.*s", k > 0 ? "," : "", TN_FMT(s->inputs[k].name));
        if (k > 0)
            tn_buf_printf(&missing, "%s%.*s", k > 1 ? "," : "", TN_FMT(s->inputs[k].name));
    }
    tern_code code = tern_fail(x->st, TERN_INVALID_ARGUMENT,
                               "input size does not match signature: 1!=%u len({%.*s}) != len({%.*s}). Sent "
                               "extra: {}. Missing but required: {%.*s}.",
                               s->n_inputs, TN_FMT(s->inputs[0].name), TN_FMT(tn_buf_view(&all)),
                               TN_FMT(tn_buf_view(&missing)));
    tn_buf_free(&missing);
    tn_buf_free(&all);
    return code;
}

static tern_code read_row(explain *x, uint32_t list)
{
    const tern_signature *s = x->signature;
    row_input *inputs = tn_arena_zalloc(x->arena, s->n_inputs * sizeof *inputs);
    if (inputs == NULL)
        return no_memory(x);
    if (node(x, list + 1)->type != TN_NODE_OBJECT && s->n_inputs > 1)
        return tern_fail(x->st, TERN_INVALID_ARGUMENT,
                         "instances is a plain list, but expecting list of objects as multiple input "
                         "tensors required as per tensorinfo_map");
    tern_code code = add_elements(x, list, inputs);
    if (code == TERN_OK && s->n_inputs > 1 && !inputs[1].seen)
        code = one_of_several(x);
    for (uint32_t k = 0; code == TERN_OK && k < s->n_inputs; k++)
        code = set_row_shape(x, &x->builds[k], &inputs[k], node(x, list)->count);
    return code;
}

/* ---- column form ---- */

static tern_code read_column_value(explain *x, uint32_t i, tn_tensor_build *b)
{
    int64_t size = 0;
    const int64_t *dims;
    tern_code code = dense_shape(x, i, &b->rank, &dims);
    if (code == TERN_OK && !keep_dims(x, b->rank, dims, &b->dims))
        code = no_memory(x);
    if (code != TERN_OK)
        return code;
    code = fill_tensor(x, i, b->rank, b->dims, b, &size);
    b->shape_bad = b->rank > TERN_MAX_RANK || !tn_shape_count(b->rank, b->dims, &b->count);
    return code;
}

/* Index of the first value of each input's name in the object at i; 0 where there is none. */
static void find_columns(const explain *x, uint32_t i, uint32_t *values)
{
    uint32_t at = i + 1;
    for (uint32_t m = 0; m < node(x, i)->count; m++, at = node(x, at + 1)->next) {
        tn_buf key;
        tn_buf_init(&key, node(x, at)->end - node(x, at)->start + 1);
        tn_tape_string(&x->tape, node(x, at), &key);
        int id = tn_signature_input(x->signature, tn_buf_view(&key));
        if (id >= 0 && values[id] == 0)
            values[id] = at + 1;
        tn_buf_free(&key);
    }
}

static tern_code read_columns(explain *x, uint32_t i)
{
    const tern_signature *s = x->signature;
    tern_code code = TERN_OK;
    if (node(x, i)->type != TN_NODE_OBJECT || tn_tape_is_b64(&x->tape, i)) {
        if (s->n_inputs > 1)
            return tern_fail(x->st, TERN_INVALID_ARGUMENT,
                             "inputs is a plain value/list, but expecting an object as multiple input "
                             "tensors required as per tensorinfo_map");
        return read_column_value(x, i, &x->builds[0]);
    }
    uint32_t *values = tn_arena_zalloc(x->arena, s->n_inputs * sizeof *values);
    if (values == NULL)
        return no_memory(x);
    find_columns(x, i, values);
    for (uint32_t k = 0; code == TERN_OK && k < s->n_inputs; k++) {
        if (values[k] == 0)
            return tern_fail(x->st, TERN_INVALID_ARGUMENT, "Missing named input: %.*s in 'inputs' object.",
                             TN_FMT(s->inputs[k].name));
        code = read_column_value(x, values[k], &x->builds[k]);
    }
    return code;
}

/* ---- the document ---- */

static tern_code find_signature(explain *x, const tern_signature_set *signatures)
{
    uint32_t value = tn_tape_member(&x->tape, 0, TN_STR("signature_name"));
    tn_buf name;
    tern_code code = TERN_OK;
    if (value != 0 && node(x, value)->type != TN_NODE_STRING)
        return value_error(x, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                           " not formatted correctly. 'signature_name' key must be a string value.");
    tn_buf_init(&name, x->tape.text.len + 1);
    if (value != 0)
        tn_tape_string(&x->tape, node(x, value), &name);
    tn_str asked = tn_buf_view(&name);
    tn_str wanted = asked.len > 0 ? asked : TN_STR("serving_default");
    x->signature = tn_signatures_find(signatures, wanted);
    if (x->signature == NULL)
        code = tn_json_error_name(&x->error, "Serving signature name: \"", wanted,
                                  "\" not found in signature def");
    else if (x->signature->n_inputs == 0)
        code = tern_fail(x->st, TERN_INVALID_ARGUMENT, "Failed to get input map for signature: %.*s",
                         TN_FMT(asked.len > 0 ? asked : TN_STR("DEFAULT")));
    tn_buf_free(&name);
    return code;
}

static tern_code make_builds(explain *x)
{
    x->builds = tn_arena_array(x->arena, x->signature->n_inputs, sizeof *x->builds);
    if (x->builds == NULL)
        return no_memory(x);
    for (uint32_t k = 0; k < x->signature->n_inputs; k++) {
        tn_build_init(&x->builds[k], &x->room);
        x->builds[k].dtype = x->signature->inputs[k].dtype;
    }
    return TERN_OK;
}

static tern_code read_document(explain *x, bool *row)
{
    uint32_t instances = tn_tape_member(&x->tape, 0, TN_STR("instances"));
    uint32_t inputs = tn_tape_member(&x->tape, 0, TN_STR("inputs"));
    *row = instances != 0;
    if (instances != 0 && inputs != 0)
        return value_error(
            x, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
            " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ");
    if (inputs != 0)
        return read_columns(x, inputs);
    if (instances == 0)
        return tern_fail(x->st, TERN_INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key");
    if (node(x, instances)->type != TN_NODE_ARRAY)
        return value_error(x, TERN_INVALID_ARGUMENT, "JSON Value: ", 0,
                           " Expecting 'instances' to be an list/array");
    if (node(x, instances)->count == 0)
        return value_error(x, TERN_INVALID_ARGUMENT, "JSON Value: ", 0, " No values in 'instances' array");
    return read_row(x, instances);
}

tern_code tn_json_finish(tn_tensor_build *builds, const tern_signature *s, bool row, tn_arena *arena,
                         tn_predict *out, tern_status *st)
{
    tern_code code = TERN_OK;
    *out = (tn_predict){.signature = s, .row = row};
    out->inputs = tn_arena_zalloc(arena, s->n_inputs * sizeof *out->inputs);
    out->input_ids = tn_arena_array(arena, s->n_inputs, sizeof *out->input_ids);
    if (out->inputs == NULL || out->input_ids == NULL)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    for (uint32_t k = 0; k < s->n_inputs; k++) {
        bool valid = false;
        if (code == TERN_OK)
            code = tn_build_finish(&builds[k], arena, &out->inputs[k], &valid, st);
        if (code == TERN_OK && !valid)
            code =
                tern_fail(st, TERN_INVALID_ARGUMENT, "tensor parsing error: %.*s", TN_FMT(s->inputs[k].name));
        if (code == TERN_OK) {
            out->input_ids[k] = k;
            out->n_inputs = k + 1;
        }
        tn_build_free(&builds[k]);
    }
    if (code != TERN_OK)
        tn_predict_release(out);
    return code;
}

tern_code tn_json_explain(tn_str body, const tern_signature_set *signatures, const tn_json_limits *limits,
                          tn_arena *arena, tn_predict *out, tern_status *st)
{
    explain x = {
        .arena = arena, .st = st, .limits = limits, .room = {.max = (size_t)limits->max_tensor_bytes}};
    bool row = false;
    *out = (tn_predict){0};
    if (body.len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "JSON Parse error: The document is empty");
    tn_tape_init(&x.tape, body,
                 (uint64_t)limits->max_tape_bytes < TAPE_MAX ? (size_t)limits->max_tape_bytes : TAPE_MAX);
    tn_json_error_init(&x.error, limits, st);
    tern_code code = tn_tape_parse(&x.tape, 0, limits->max_depth, st);
    if (code == TERN_OK && node(&x, 0)->type != TN_NODE_OBJECT)
        code = value_error(&x, TERN_INVALID_ARGUMENT, "JSON Value: ", 0, " Is not object");
    if (code == TERN_OK)
        code = find_signature(&x, signatures);
    if (code == TERN_OK)
        code = make_builds(&x);
    if (code == TERN_OK) {
        code = read_document(&x, &row);
        if (code == TERN_OK)
            code = tn_json_finish(x.builds, x.signature, row, arena, out, st);
        else
            for (uint32_t k = 0; k < x.signature->n_inputs; k++)
                tn_build_free(&x.builds[k]);
    }
    if (code != TERN_OK && x.error.text.len >= TERN_STATUS_MESSAGE_MAX)
        out->error = tn_arena_dup(arena, tn_buf_view(&x.error.text));
    tn_buf_free(&x.error.text);
    tn_tape_free(&x.tape);
    return code;
}
