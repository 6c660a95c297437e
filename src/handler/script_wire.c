/*
 * handler/script_wire.c - see handler/script_wire.h. Numbers are moved by memcpy: the machines that Tern runs
 * on are little-endian, as tern/tensor.h asks for.
 */
#include "handler/script_wire.h"

#include <string.h>

#include "tensor/tensor.h"

#define TENSOR_HEAD ((size_t)32)

static size_t padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

static uint16_t u16_at(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t u32_at(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t u64_at(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- reading ---- */

bool tn_frame_next(const tn_frame *frame, size_t *at, tn_frame_field *field)
{
    size_t from = *at > 0 ? *at : TN_FRAME_HEAD;
    if (frame->bytes.len - from < TN_FRAME_FIELD_HEAD)
        return false;
    const char *p = frame->bytes.ptr + from;
    field->tag = u16_at(p);
    field->flags = u16_at(p + 2);
    size_t n = u32_at(p + 4);
    if (padded(n) > frame->bytes.len - from - TN_FRAME_FIELD_HEAD)
        return false;
    field->bytes = (tn_str){p + TN_FRAME_FIELD_HEAD, n};
    *at = from + TN_FRAME_FIELD_HEAD + padded(n);
    return true;
}

tern_code tn_frame_read(tn_str bytes, tn_frame *out, tern_status *st)
{
    *out = (tn_frame){.bytes = bytes};
    if (bytes.len < TN_FRAME_HEAD || bytes.len > TN_FRAME_MAX || u32_at(bytes.ptr + 4) != bytes.len)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "A message of %zu bytes is no frame", bytes.len);
    out->type = u16_at(bytes.ptr);
    out->n_fields = u16_at(bytes.ptr + 2);
    out->call = u64_at(bytes.ptr + 8);
    size_t at = 0;
    uint32_t n = 0;
    tn_frame_field field;
    while (tn_frame_next(out, &at, &field))
        n++;
    if (n != out->n_fields || (at > 0 ? at : TN_FRAME_HEAD) != bytes.len)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "A frame of type %u says it has %u fields, and has not",
                         out->type, out->n_fields);
    return TERN_OK;
}

tn_str tn_frame_get(const tn_frame *frame, uint16_t tag)
{
    size_t at = 0;
    tn_frame_field field;
    while (tn_frame_next(frame, &at, &field))
        if (field.tag == tag)
            return field.bytes;
    return TN_STR_NONE;
}

bool tn_frame_as_u64(tn_str bytes, uint64_t *value)
{
    if (bytes.ptr == NULL || bytes.len != sizeof *value)
        return false;
    *value = u64_at(bytes.ptr);
    return true;
}

bool tn_frame_as_ref(tn_str bytes, tn_frame_ref *ref)
{
    if (bytes.ptr == NULL || bytes.len != sizeof *ref)
        return false;
    memcpy(ref, bytes.ptr, sizeof *ref);
    return true;
}

bool tn_frame_get_u64(const tn_frame *frame, uint16_t tag, uint64_t *value)
{
    return tn_frame_as_u64(tn_frame_get(frame, tag), value);
}

bool tn_frame_get_ref(const tn_frame *frame, uint16_t tag, tn_frame_ref *ref)
{
    return tn_frame_as_ref(tn_frame_get(frame, tag), ref);
}

/* Whether a tensor of that shape can have so many bytes. */
static bool size_fits(const tn_frame_tensor *t)
{
    int64_t count;
    uint64_t bytes;
    if (!tn_shape_count(t->rank, t->dims, &count))
        return false;
    if (t->dtype == TERN_STRING)
        return !__builtin_mul_overflow((uint64_t)count + 1, sizeof(uint64_t), &bytes) && bytes <= t->at.size;
    size_t one = tn_dtype_size(t->dtype);
    return one > 0 && !__builtin_mul_overflow((uint64_t)count, one, &bytes) && bytes == t->at.size;
}

bool tn_frame_as_tensor(const tn_frame_field *field, tn_frame_tensor *out)
{
    const tn_str b = field->bytes;
    if (field->tag != TN_TAG_TENSOR || b.len < TENSOR_HEAD)
        return false;
    const uint16_t dtype = u16_at(b.ptr), rank = u16_at(b.ptr + 2);
    const size_t name = u32_at(b.ptr + 4);
    if (dtype > TERN_UINT64 || rank > TERN_MAX_RANK || b.len - TENSOR_HEAD < rank * sizeof(int64_t) ||
        b.len - TENSOR_HEAD - rank * sizeof(int64_t) != name)
        return false;
    out->dtype = (tern_dtype)dtype;
    out->rank = rank;
    out->weak = (field->flags & TN_TENSOR_WEAK) != 0;
    memcpy(&out->at, b.ptr + 8, sizeof out->at);
    if (rank > 0)
        memcpy(out->dims, b.ptr + TENSOR_HEAD, rank * sizeof(int64_t));
    out->name = tn_str_sub(b, b.len - name, b.len);
    return size_fits(out);
}

/* ---- writing ---- */

void tn_frame_begin(tn_frame_writer *w, char *buf, size_t cap, tn_frame_type type, uint64_t call)
{
    const uint16_t what = (uint16_t)type;
    *w = (tn_frame_writer){.buf = buf, .cap = cap, .len = TN_FRAME_HEAD, .failed = cap < TN_FRAME_HEAD};
    if (w->failed)
        return;
    memset(buf, 0, TN_FRAME_HEAD);
    memcpy(buf, &what, sizeof what);
    tn_frame_set_call(buf, call);
}

void tn_frame_set_call(char *frame, uint64_t call)
{
    memcpy(frame + 8, &call, sizeof call);
}

static char *room(tn_frame_writer *w, uint16_t tag, uint16_t flags, size_t n)
{
    if (w->failed || n > TN_FRAME_MAX || w->cap - w->len < TN_FRAME_FIELD_HEAD + padded(n) ||
        w->n_fields == UINT16_MAX) {
        w->failed = true;
        return NULL;
    }
    char *p = w->buf + w->len;
    const uint32_t length = (uint32_t)n;
    memcpy(p, &tag, sizeof tag);
    memcpy(p + 2, &flags, sizeof flags);
    memcpy(p + 4, &length, sizeof length);
    memset(p + TN_FRAME_FIELD_HEAD + n, 0, padded(n) - n);
    w->len += TN_FRAME_FIELD_HEAD + padded(n);
    w->n_fields++;
    return p + TN_FRAME_FIELD_HEAD;
}

char *tn_frame_room(tn_frame_writer *w, uint16_t tag, size_t n)
{
    return room(w, tag, 0, n);
}

void tn_frame_put(tn_frame_writer *w, uint16_t tag, tn_str bytes)
{
    char *p = room(w, tag, 0, bytes.len);
    if (p != NULL && bytes.len > 0)
        memcpy(p, bytes.ptr, bytes.len);
}

void tn_frame_put_u64(tn_frame_writer *w, uint16_t tag, uint64_t value)
{
    tn_frame_put(w, tag, (tn_str){(const char *)&value, sizeof value});
}

void tn_frame_put_ref(tn_frame_writer *w, uint16_t tag, const tn_frame_ref *ref)
{
    tn_frame_put(w, tag, (tn_str){(const char *)ref, sizeof *ref});
}

size_t tn_frame_tensor_bytes(const tn_frame_tensor *t)
{
    return TN_FRAME_FIELD_HEAD + padded(TENSOR_HEAD + (size_t)t->rank * sizeof(int64_t) + t->name.len);
}

void tn_frame_put_tensor(tn_frame_writer *w, const tn_frame_tensor *t)
{
    const uint16_t dtype = (uint16_t)t->dtype, rank = (uint16_t)t->rank;
    const uint32_t name = (uint32_t)t->name.len;
    const size_t dims = (size_t)t->rank * sizeof(int64_t);
    if (t->name.len > TN_FRAME_MAX) {
        w->failed = true;
        return;
    }
    char *p = room(w, TN_TAG_TENSOR, t->weak ? TN_TENSOR_WEAK : 0, TENSOR_HEAD + dims + t->name.len);
    if (p == NULL)
        return;
    memcpy(p, &dtype, sizeof dtype);
    memcpy(p + 2, &rank, sizeof rank);
    memcpy(p + 4, &name, sizeof name);
    memcpy(p + 8, &t->at, sizeof t->at);
    if (dims > 0)
        memcpy(p + TENSOR_HEAD, t->dims, dims);
    if (name > 0)
        memcpy(p + TENSOR_HEAD + dims, t->name.ptr, name);
}

size_t tn_frame_end(tn_frame_writer *w)
{
    if (w->failed)
        return 0;
    const uint32_t length = (uint32_t)w->len;
    memcpy(w->buf + 2, &w->n_fields, sizeof w->n_fields);
    memcpy(w->buf + 4, &length, sizeof length);
    return w->len;
}
