/* base/buf.c - see base/buf.h. */
#include "base/buf.h"

#include <stdlib.h>

void tn_buf_init(tn_buf *b, size_t max)
{
    *b = (tn_buf){.max = max};
}

void tn_buf_free(tn_buf *b)
{
    free(b->ptr);
    *b = (tn_buf){.max = b->max};
}

void tn_buf_clear(tn_buf *b)
{
    b->len = 0;
    b->failed = false;
}

char *tn_buf_grow(tn_buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return NULL;
    }
    size_t cap = b->cap < 256 ? 256 : b->cap;
    while (cap - b->len < n)
        cap += cap / 2;
    if (cap > b->max)
        cap = b->max;
    char *p = realloc(b->ptr, cap > 0 ? cap : 1);
    if (p == NULL) {
        b->failed = true;
        return NULL;
    }
    b->ptr = p;
    b->cap = cap;
    return p + b->len;
}

void tn_buf_fill(tn_buf *b, char c, size_t n)
{
    char *p = tn_buf_reserve(b, n);
    if (p != NULL && n > 0) {
        memset(p, c, n);
        b->len += n;
    }
}

void tn_buf_printf(tn_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *p = n >= 0 ? tn_buf_reserve(b, (size_t)n + 1) : NULL;
    if (p != NULL) {
        vsnprintf(p, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
    va_end(args);
}

void tn_buf_u64(tn_buf *b, uint64_t v)
{
    char text[20];
    tn_buf_append(b, text, tn_put_u64(text, v));
}

void tn_buf_i64(tn_buf *b, int64_t v)
{
    if (v < 0)
        tn_buf_char(b, '-');
    tn_buf_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}
