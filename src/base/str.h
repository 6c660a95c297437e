/*
 * base/str.h - slices. Pure, any thread. ASCII rules only: no locale.
 */
#ifndef TN_BASE_STR_H
#define TN_BASE_STR_H

#include <stdbool.h>
#include <string.h>

#include "tern/status.h"

typedef tern_str tn_str;

#define TN_STR(literal) ((tn_str){(literal), sizeof(literal) - 1})
#define TN_STR_INIT(literal)                                                                                 \
    {                                                                                                        \
        (literal), sizeof(literal) - 1                                                                       \
    }
#define TN_STR_NONE ((tn_str){NULL, 0})
/* For printf: "%.*s", TN_FMT(s) */
#define TN_FMT(s) (int)(s).len, (s).ptr != NULL ? (s).ptr : ""

/* Slice of a NUL-terminated string; NULL gives the absent slice. */
static inline tn_str tn_str_from(const char *z)
{
    return z != NULL ? (tn_str){z, strlen(z)} : TN_STR_NONE;
}

static inline bool tn_str_eq(tn_str a, tn_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Without regard to ASCII case. */
bool tn_str_ieq(tn_str a, tn_str b);
int tn_str_cmp(tn_str a, tn_str b); /* by bytes, shorter first */

static inline bool tn_str_starts(tn_str s, tn_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

bool tn_str_istarts(tn_str s, tn_str prefix);
bool tn_str_ends(tn_str s, tn_str suffix);
/* Position of needle in s, or -1. */
ptrdiff_t tn_str_find(tn_str s, tn_str needle);
ptrdiff_t tn_str_chr(tn_str s, char c);
/* s[from .. to), clamped to s. */
static inline tn_str tn_str_sub(tn_str s, size_t from, size_t to)
{
    if (to > s.len)
        to = s.len;
    if (from > to)
        from = to;
    return (tn_str){s.ptr != NULL ? s.ptr + from : NULL, to - from};
}

/* Without blanks and tabs at both ends. */
tn_str tn_str_trim(tn_str s);
/* Whole slice as a decimal number without sign; false when empty, not digits, or over the type. */
bool tn_str_u64(tn_str s, uint64_t *value);
bool tn_str_i64(tn_str s, int64_t *value); /* optional '-' */
/* Decimal digits, 20 at most; returns how many. */
size_t tn_put_u64(char *to, uint64_t v);
/* The same with a '-' where it is due. */
size_t tn_put_i64(char *to, int64_t v);
/* A code point of up to 21 bits as UTF-8 (RFC 3629, 3; surrogates too): 4 bytes at most; returns how many. */
size_t tn_put_utf8(char *to, uint32_t c);
/*
 * FNV-1a of 64 bits from a start that every process draws anew, so that no client can make keys that collide.
 */
uint64_t tn_str_hash(tn_str s);
/* True when every byte sequence of s is well-formed UTF-8 (RFC 3629). */
bool tn_str_is_utf8(tn_str s);

#endif
