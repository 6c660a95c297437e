/*
 * base/buf.h - a growable run of bytes with a maximum.
 *
 * Appending never returns an error at once: over `max`, or when memory is short, the buffer turns `failed`,
 * drops further bytes, and the caller looks once at the end. One thread at a time.
 */
#ifndef TN_BASE_BUF_H
#define TN_BASE_BUF_H

#include "base/str.h"

typedef struct tn_buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;
    bool failed;
} tn_buf;

void tn_buf_init(tn_buf *b, size_t max);
void tn_buf_free(tn_buf *b);
/* len = 0, not failed; keeps the memory. */
void tn_buf_clear(tn_buf *b);
/* For tn_buf_reserve(): where there is not the room. */
char *tn_buf_grow(tn_buf *b, size_t n);

/* Room for n more bytes at the end, or NULL (then failed). Follow with tn_buf_commit(). */
static inline char *tn_buf_reserve(tn_buf *b, size_t n)
{
    return b->cap - b->len >= n && b->ptr != NULL && !b->failed ? b->ptr + b->len : tn_buf_grow(b, n);
}

static inline void tn_buf_commit(tn_buf *b, size_t n)
{
    b->len += n;
}

static inline void tn_buf_append(tn_buf *b, const void *bytes, size_t n)
{
    char *p = tn_buf_reserve(b, n);
    if (p != NULL && n > 0) {
        memcpy(p, bytes, n);
        b->len += n;
    }
}

static inline void tn_buf_str(tn_buf *b, tn_str s)
{
    tn_buf_append(b, s.ptr, s.len);
}

static inline void tn_buf_z(tn_buf *b, const char *z)
{
    tn_buf_append(b, z, strlen(z));
}

/* A code point as UTF-8: tn_put_utf8(). */
static inline void tn_buf_utf8(tn_buf *b, uint32_t c)
{
    char utf8[4];
    tn_buf_append(b, utf8, tn_put_utf8(utf8, c));
}

static inline void tn_buf_char(tn_buf *b, char c)
{
    char *p = tn_buf_reserve(b, 1);
    if (p != NULL) {
        *p = c;
        b->len++;
    }
}

void tn_buf_fill(tn_buf *b, char c, size_t n);
void tn_buf_printf(tn_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tn_buf_u64(tn_buf *b, uint64_t v);
void tn_buf_i64(tn_buf *b, int64_t v);
static inline tn_str tn_buf_view(const tn_buf *b)
{
    return (tn_str){b->ptr, b->len};
}

#endif
