/*
 * codec/pb_wire.h - protobuf's wire form, read in place: protobuf.dev/programming-guides/encoding. Inline,
 * pure.
 */
#ifndef TN_CODEC_PB_WIRE_H
#define TN_CODEC_PB_WIRE_H

#include "base/buf.h"

enum {
    TN_PB_VARINT = 0,
    TN_PB_FIXED64 = 1,
    TN_PB_BYTES = 2,
    TN_PB_GROUP = 3,
    TN_PB_END_GROUP = 4,
    TN_PB_FIXED32 = 5
};

/* A place in a message. */
typedef struct tn_pb {
    const uint8_t *at;
    const uint8_t *end;
} tn_pb;

/* One field. value: the varint or fixed bits; bytes: of a length-delimited field. */
typedef struct tn_pb_field {
    uint32_t number;
    uint32_t type;
    uint64_t value;
    tn_str bytes;
} tn_pb_field;

static inline tn_pb tn_pb_from(tn_str s)
{
    const uint8_t *at = (const uint8_t *)(s.ptr != NULL ? s.ptr : "");
    return (tn_pb){at, at + s.len};
}

/* Bytes of a varint at p (1..10), 0 when there is none before end. */
static inline size_t tn_pb_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && p + i < end; i++) {
        v |= (uint64_t)(p[i] & 0x7F) << (7 * i);
        if (p[i] < 0x80) {
            *value = v;
            return i + 1;
        }
    }
    return 0;
}

static inline bool tn_pb_more(const tn_pb *r)
{
    return r->at < r->end;
}

static inline bool tn_pb_fixed(tn_pb *r, size_t n, uint64_t *value)
{
    if ((size_t)(r->end - r->at) < n)
        return false;
    *value = 0;
    memcpy(value, r->at, n);
    r->at += n;
    return true;
}

/* Reads one field and moves on. Groups are not read: no message of ours has them. false: broken. */
static inline bool tn_pb_next(tn_pb *r, tn_pb_field *f)
{
    uint64_t tag, length;
    size_t n = tn_pb_varint(r->at, r->end, &tag);
    if (n == 0 || tag >> 3 == 0 || tag >> 3 > 536870911)
        return false;
    r->at += n;
    f->number = (uint32_t)(tag >> 3);
    f->type = (uint32_t)(tag & 7);
    switch (f->type) {
    case TN_PB_VARINT:
        n = tn_pb_varint(r->at, r->end, &f->value);
        r->at += n;
        return n > 0;
    case TN_PB_FIXED64:
        return tn_pb_fixed(r, 8, &f->value);
    case TN_PB_FIXED32:
        return tn_pb_fixed(r, 4, &f->value);
    case TN_PB_BYTES:
        n = tn_pb_varint(r->at, r->end, &length);
        if (n == 0 || length > (size_t)(r->end - r->at) - n)
            return false;
        f->bytes = (tn_str){(const char *)r->at + n, (size_t)length};
        r->at += n + length;
        return true;
    default:
        return false;
    }
}

/* ---- writing ---- */

static inline size_t tn_pb_put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

static inline size_t tn_pb_varint_size(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

/* Tag and length of a length-delimited field; p has room for 20 bytes. */
static inline size_t tn_pb_put_head(uint8_t *p, uint32_t field, uint64_t length)
{
    size_t n = tn_pb_put_varint(p, (uint64_t)field << 3 | TN_PB_BYTES);
    return n + tn_pb_put_varint(p + n, length);
}

static inline size_t tn_pb_head_size(uint32_t field, uint64_t length)
{
    return tn_pb_varint_size((uint64_t)field << 3) + tn_pb_varint_size(length);
}

/* ---- writing to a buffer ---- */

/* Tag and length of a length-delimited field; its bytes follow. */
static inline void tn_pb_add_head(tn_buf *out, uint32_t field, uint64_t length)
{
    uint8_t head[20];
    tn_buf_append(out, head, tn_pb_put_head(head, field, length));
}

static inline void tn_pb_add_bytes(tn_buf *out, uint32_t field, tn_str bytes)
{
    tn_pb_add_head(out, field, bytes.len);
    tn_buf_str(out, bytes);
}

/* A varint field. */
static inline void tn_pb_add_number(tn_buf *out, uint32_t field, uint64_t value)
{
    uint8_t bytes[20];
    size_t n = tn_pb_put_varint(bytes, (uint64_t)field << 3 | TN_PB_VARINT);
    tn_buf_append(out, bytes, n + tn_pb_put_varint(bytes + n, value));
}

#endif
