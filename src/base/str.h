/*
 * base/str.h - slices. Pure, any thread. ASCII rules only: no locale.
 */
#ifndef TN_BASE_STR_H
#define TN_BASE_STR_H

#include <stdbool.h>

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
tn_str tn_str_from(const char *z);
bool tn_str_eq(tn_str a, tn_str b);
/* Without regard to ASCII case. */
bool tn_str_ieq(tn_str a, tn_str b);
int tn_str_cmp(tn_str a, tn_str b); /* by bytes, shorter first */
bool tn_str_starts(tn_str s, tn_str prefix);
bool tn_str_istarts(tn_str s, tn_str prefix);
bool tn_str_ends(tn_str s, tn_str suffix);
/* Position of needle in s, or -1. */
ptrdiff_t tn_str_find(tn_str s, tn_str needle);
ptrdiff_t tn_str_chr(tn_str s, char c);
/* s[from .. to), clamped to s. */
tn_str tn_str_sub(tn_str s, size_t from, size_t to);
/* Without blanks and tabs at both ends. */
tn_str tn_str_trim(tn_str s);
/* Whole slice as a decimal number without sign; false when empty, not digits, or over the type. */
bool tn_str_u64(tn_str s, uint64_t *value);
bool tn_str_i64(tn_str s, int64_t *value); /* optional '-' */
/*
 * FNV-1a of 64 bits from a start that every process draws anew, so that no client can make keys that collide.
 */
uint64_t tn_str_hash(tn_str s);
/* True when every byte sequence of s is well-formed UTF-8 (RFC 3629). */
bool tn_str_is_utf8(tn_str s);

#endif
