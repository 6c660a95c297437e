/* base/str.c - see base/str.h. */
#include "base/str.h"

#include <sys/random.h>

static inline unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool tn_str_ieq(tn_str a, tn_str b)
{
    return a.len == b.len && tn_str_istarts(a, b);
}

int tn_str_cmp(tn_str a, tn_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int d = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    if (d != 0)
        return d;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool tn_str_istarts(tn_str s, tn_str prefix)
{
    if (s.len < prefix.len)
        return false;
    for (size_t i = 0; i < prefix.len; i++)
        if (s.ptr[i] != prefix.ptr[i] && lower(s.ptr[i]) != lower(prefix.ptr[i]))
            return false;
    return true;
}

bool tn_str_ends(tn_str s, tn_str suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

ptrdiff_t tn_str_find(tn_str s, tn_str needle)
{
    if (needle.len == 0)
        return 0;
    if (s.len < needle.len)
        return -1;
    const char *p = memmem(s.ptr, s.len, needle.ptr, needle.len);
    return p != NULL ? p - s.ptr : -1;
}

ptrdiff_t tn_str_chr(tn_str s, char c)
{
    const char *p = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;
    return p != NULL ? p - s.ptr : -1;
}

tn_str tn_str_trim(tn_str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

bool tn_str_u64(tn_str s, uint64_t *value)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned d = (unsigned)(unsigned char)s.ptr[i] - '0';
        if (d > 9 || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)d, &v))
            return false;
    }
    *value = v;
    return true;
}

bool tn_str_i64(tn_str s, int64_t *value)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t v;
    if (!tn_str_u64(tn_str_sub(s, negative, s.len), &v) || v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *value = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

size_t tn_put_u64(char *to, uint64_t v)
{
    size_t n = 1, at;
    for (uint64_t rest = v; rest >= 10; rest /= 10)
        n++;
    for (at = n; at > 0; v /= 10)
        to[--at] = (char)('0' + v % 10);
    return n;
}

size_t tn_put_i64(char *to, int64_t v)
{
    if (v >= 0)
        return tn_put_u64(to, (uint64_t)v);
    *to = '-';
    return 1 + tn_put_u64(to + 1, 0 - (uint64_t)v);
}

size_t tn_put_utf8(char *to, uint32_t c)
{
    static const uint8_t heads[] = {0, 0xC0, 0xE0, 0xF0};
    const unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    to[0] = (char)(heads[more] | c >> (6 * more));
    for (unsigned i = 1; i <= more; i++)
        to[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3F));
    return more + 1;
}

/* Of this process; set before main(), or when the object is opened. */
static uint64_t hash_seed = UINT64_C(14695981039346656037);

static __attribute__((constructor)) void choose_hash_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        hash_seed ^= seed;
}

uint64_t tn_str_hash(tn_str s)
{
    uint64_t h = hash_seed;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * UINT64_C(1099511628211);
    /* Tables look at the low bits alone: let the high ones have a say in them. */
    h = (h ^ h >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

/* Bytes of the well-formed sequence at p (RFC 3629, section 4), 0 when there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    size_t n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, and beyond U+10FFFF. */
    if ((c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F) || (c == 0xF0 && p[1] < 0x90) ||
        (c == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

bool tn_str_is_utf8(tn_str s)
{
    for (size_t i = 0; i < s.len;) {
        uint64_t eight;
        if (s.len - i >= sizeof eight) {
            memcpy(&eight, s.ptr + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) { /* ASCII, as most of it is */
                i += sizeof eight;
                continue;
            }
        }
        size_t n = utf8_length((const unsigned char *)s.ptr + i, s.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
