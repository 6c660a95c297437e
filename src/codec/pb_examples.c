/*
 * codec/pb_examples.c - see codec/pb_examples.h.
 *
 * Two passes: the first looks through everything and counts, so that the tensor is made in its final size;
 * the second copies. oneof and repetition as protobuf has them: lists of one kind are joined, a list of the
 * other kind forgets those before it.
 */
#include "codec/pb_examples.h"

#include "codec/pb_wire.h"

enum { REQUEST_SPEC = 1, REQUEST_INPUT = 2 };         /* tasks = 1 in MultiInferenceRequest */
enum { INPUT_LIST = 1, INPUT_LIST_WITH_CONTEXT = 2 }; /* oneof kind */
enum { LIST_EXAMPLES = 1, LIST_CONTEXT = 2 };         /* context: of the second only */
enum { FEATURE_BYTES = 1, FEATURE_FLOAT = 2, FEATURE_INT64 = 3 };

/* So many fields and bytes of specs are looked at to find the model, which happens on an event loop. */
#define LOOK_MAX (256u << 10)

/* ---- is it an Example? ---- */

static bool valid_varints(tn_str packed)
{
    const uint8_t *p = (const uint8_t *)packed.ptr, *end = p + packed.len;
    uint64_t value;
    while (p < end) {
        size_t n = tn_pb_varint(p, end, &value);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

/* BytesList, FloatList or Int64List: value = 1. */
static bool valid_list(tn_str bytes, uint32_t kind)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.number != 1 || f.type != TN_PB_BYTES)
            continue;
        if (kind == FEATURE_FLOAT && f.bytes.len % 4 != 0)
            return false;
        if (kind == FEATURE_INT64 && !valid_varints(f.bytes))
            return false;
    }
    return true;
}

static bool valid_feature(tn_str bytes)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.type == TN_PB_BYTES && f.number <= FEATURE_INT64 && !valid_list(f.bytes, f.number))
            return false;
    }
    return true;
}

/* An entry of the map: key = 1, value = 2. */
static bool valid_entry(tn_str bytes)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == 1 && !tn_str_is_utf8(f.bytes))
            return false;
        if (f.number == 2 && !valid_feature(f.bytes))
            return false;
    }
    return true;
}

static bool valid_features(tn_str bytes)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.number == 1 && f.type == TN_PB_BYTES && !valid_entry(f.bytes))
            return false;
    }
    return true;
}

static bool valid_example(tn_str bytes)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.number == 1 && f.type == TN_PB_BYTES && !valid_features(f.bytes))
            return false;
    }
    return true;
}

/* ---- first pass ---- */

static tern_code broken(tern_status *st)
{
    return tern_fail_bytes(st, TERN_INTERNAL, "", 0);
}

/* Room for one more element at the end of an array in the arena. */
static bool grow(tn_arena *arena, void **array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t more = *cap > 0 ? *cap * 2 : 1;
    void *bigger = more > *cap ? tn_arena_array(arena, more, size) : NULL;
    if (bigger == NULL)
        return false;
    if (n > 0)
        memcpy(bigger, *array, n * size);
    *array = bigger;
    *cap = more;
    return true;
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "The request has too many parts (--max_call_arena_bytes); send fewer");
}

static bool count_list(tn_pb_list *list, uint32_t kind)
{
    tn_pb m = tn_pb_from(list->bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.type != TN_PB_BYTES)
            continue;
        bool context = kind == INPUT_LIST_WITH_CONTEXT && f.number == LIST_CONTEXT;
        if (f.number != LIST_EXAMPLES && !context)
            continue;
        if (!valid_example(f.bytes))
            return false;
        list->n_examples += !context;
        *(context ? &list->context_bytes : &list->example_bytes) += f.bytes.len;
    }
    return true;
}

static tern_code read_input(tn_str bytes, tn_arena *arena, tn_pb_examples *e, tern_status *st)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return broken(st);
        if (f.type != TN_PB_BYTES || f.number > INPUT_LIST_WITH_CONTEXT)
            continue;
        if (e->kind != f.number)
            e->n_lists = 0;
        e->kind = f.number;
        if (!grow(arena, (void **)&e->lists, e->n_lists, &e->cap_lists, sizeof *e->lists))
            return no_memory(st);
        e->lists[e->n_lists] = (tn_pb_list){.bytes = f.bytes};
        if (!count_list(&e->lists[e->n_lists++], f.number))
            return broken(st);
    }
    return TERN_OK;
}

static bool read_task(tn_str bytes, tn_pb_task *task)
{
    tn_pb m = tn_pb_from(bytes);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == 1 && !tn_pb_read_spec(f.bytes, &task->spec))
            return false;
        if (f.number == 2) {
            if (!tn_str_is_utf8(f.bytes))
                return false;
            task->method_name = f.bytes;
        }
    }
    return true;
}

/* Field 1: the ModelSpec, of which there is one, or one more task. */
static tern_code read_first(tn_str bytes, bool multi, tn_arena *arena, tn_pb_examples *e, tern_status *st)
{
    if (!multi)
        return tn_pb_read_spec(bytes, &e->tasks[0].spec) ? TERN_OK : broken(st);
    if (!grow(arena, (void **)&e->tasks, e->n_tasks, &e->cap_tasks, sizeof *e->tasks))
        return no_memory(st);
    e->tasks[e->n_tasks] = (tn_pb_task){0};
    return read_task(bytes, &e->tasks[e->n_tasks++]) ? TERN_OK : broken(st);
}

tern_code tn_pb_examples_read(tn_str message, bool multi, tn_arena *arena, tn_pb_examples *e, tern_status *st)
{
    tn_pb m = tn_pb_from(message);
    tn_pb_field f = {0};
    tern_code code = TERN_OK;
    *e = (tn_pb_examples){0};
    if (!multi) {
        e->tasks = tn_arena_zalloc(arena, sizeof *e->tasks);
        if (e->tasks == NULL)
            return no_memory(st);
        e->n_tasks = 1;
    }
    while (code == TERN_OK && tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return broken(st);
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == REQUEST_SPEC)
            code = read_first(f.bytes, multi, arena, e, st);
        else if (f.number == REQUEST_INPUT)
            code = read_input(f.bytes, arena, e, st);
    }
    return code;
}

tern_code tn_pb_examples_spec(tn_str message, bool multi, tn_model_spec *spec, tern_status *st)
{
    tn_pb m = tn_pb_from(message);
    tn_pb_field f = {0};
    size_t looked_at = 0;
    *spec = (tn_model_spec){0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return broken(st);
        const bool first = f.number == REQUEST_SPEC && f.type == TN_PB_BYTES;
        looked_at += 1 + (first ? f.bytes.len : 0);
        if (looked_at > LOOK_MAX)
            return tern_fail(
                st, TERN_INVALID_ARGUMENT,
                "The message has too many fields beside its input, or a model_spec that is too long");
        if (!first)
            continue;
        if (multi) {
            tn_pb_task task = {0};
            bool good = read_task(f.bytes, &task);
            *spec = task.spec;
            return good ? TERN_OK : broken(st);
        }
        if (!tn_pb_read_spec(f.bytes, spec))
            return broken(st);
    }
    return TERN_OK;
}

/* ---- the tensor ---- */

bool tn_pb_examples_size(const tn_pb_examples *e, int64_t *n, size_t *bytes)
{
    size_t context = 0, each;
    *n = 0;
    *bytes = sizeof(uint64_t);
    for (uint32_t i = 0; i < e->n_lists; i++) {
        *n += e->lists[i].n_examples;
        *bytes += e->lists[i].example_bytes;
        context += e->lists[i].context_bytes;
    }
    return !__builtin_mul_overflow((size_t)*n, context + sizeof(uint64_t), &each) &&
           !__builtin_add_overflow(*bytes, each, bytes) && *bytes <= SIZE_MAX / 2;
}

/* Copies every context of the request, in order, to `to`. */
static char *put_context(const tn_pb_examples *e, char *to)
{
    for (uint32_t i = 0; i < e->n_lists; i++) {
        tn_pb m = tn_pb_from(e->lists[i].bytes);
        tn_pb_field f = {0};
        while (tn_pb_more(&m) && tn_pb_next(&m, &f))
            if (f.number == LIST_CONTEXT && f.type == TN_PB_BYTES && f.bytes.len > 0) {
                memcpy(to, f.bytes.ptr, f.bytes.len);
                to += f.bytes.len;
            }
    }
    return to;
}

static void fill(const tn_pb_examples *e, size_t context, int64_t n, tern_tensor *t)
{
    uint64_t *offsets = tn_string_offsets(t);
    char *start = tn_string_bytes(t, n), *to = start, *first = NULL;
    *offsets = 0;
    for (uint32_t i = 0; i < e->n_lists; i++) {
        tn_pb m = tn_pb_from(e->lists[i].bytes);
        tn_pb_field f = {0};
        while (tn_pb_more(&m) && tn_pb_next(&m, &f)) {
            if (f.number != LIST_EXAMPLES || f.type != TN_PB_BYTES)
                continue;
            if (context > 0 && first == NULL)
                to = put_context(e, first = to);
            else if (context > 0)
                to = (char *)memcpy(to, first, context) + context;
            if (f.bytes.len > 0)
                memcpy(to, f.bytes.ptr, f.bytes.len);
            to += f.bytes.len;
            *++offsets = (uint64_t)(to - start);
        }
    }
}

tern_code tn_pb_examples_tensor(const tn_pb_examples *e, size_t max_bytes, tn_arena *arena, tern_tensor *out,
                                tern_status *st)
{
    int64_t n;
    size_t bytes, context = 0;
    bool fits = tn_pb_examples_size(e, &n, &bytes) && bytes <= max_bytes;
    if (n == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Input is empty.");
    if (!fits)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "The examples of this request, each with its context, are larger than "
                         "--max_body_bytes; send fewer");
    for (uint32_t i = 0; i < e->n_lists; i++)
        context += e->lists[i].context_bytes;
    tern_code code = tn_tensor_new_string(out, 1, &n, bytes - sizeof(uint64_t) * ((size_t)n + 1), arena, st);
    if (code == TERN_OK)
        fill(e, context, n, out);
    return code;
}
