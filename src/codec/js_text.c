/*
 * codec/js_text.c - see codec/js_text.h.
 */
#include "codec/js_text.h"

#include <string.h>

#include "codec/text_out.h"

/* The part at s[at..): its length, and whether it is one whole code point. WHATWG Encoding, 8.1.1. */
static bool part_at(tn_str s, size_t at, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s.ptr + at;
    const size_t left = s.len - at;
    unsigned char low = 0x80, high = 0xBF;
    size_t need;
    *n = 1;
    if (p[0] < 0x80)
        return true;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return false;
    need = p[0] < 0xE0 ? 1 : p[0] < 0xF0 ? 2 : 3;
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    while (*n <= need && *n < left && p[*n] >= low && p[*n] <= high) {
        (*n)++;
        low = 0x80;
        high = 0xBF;
    }
    return *n == need + 1;
}

size_t tn_js_valid(tn_str s)
{
    const uint64_t tops = UINT64_C(0x8080808080808080);
    size_t i = 0, n;
    while (i < s.len) {
        while (s.len - i >= 32) {
            uint64_t w[4];
            memcpy(w, s.ptr + i, sizeof w);
            if (((w[0] | w[1] | w[2] | w[3]) & tops) != 0)
                break;
            i += sizeof w;
        }
        for (size_t stop = i + 32; i < s.len && i < stop; i += n)
            if (!part_at(s, i, &n))
                return i;
    }
    return i;
}

tn_str tn_js_part(tn_str *rest)
{
    size_t good = tn_js_valid(*rest), bad;
    tn_str part = tn_str_sub(*rest, 0, good);
    if (good == 0) {
        (void)part_at(*rest, 0, &bad);
        good = bad;
        part = TN_STR("\xEF\xBF\xBD");
    }
    *rest = tn_str_sub(*rest, good, rest->len);
    return part;
}

tern_code tn_js_repair(tn_str s, tn_region *region, tern_status *st)
{
    tn_text_out out;
    tn_text_start(&out, region);
    while (s.len > 0 && out.code == TERN_OK)
        tn_text_str(&out, tn_js_part(&s));
    return tn_text_finish(&out, st);
}

bool tn_js_is_space(uint32_t c)
{
    switch (c) {
    case ' ':
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000:
    case 0xFEFF:
        return true;
    default:
        return (c >= '\t' && c <= '\r') || (c >= 0x2000 && c <= 0x200A);
    }
}

uint32_t tn_js_code_point(tn_str s, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    *n = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (*n == 1 || *n > s.len)
        return p[0];
    uint32_t c = p[0] & (0x7Fu >> *n);
    for (size_t i = 1; i < *n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    return c;
}

tn_str tn_js_trim(tn_str s)
{
    size_t n;
    while (s.len > 0 && tn_js_is_space(tn_js_code_point(s, &n)))
        s = tn_str_sub(s, n, s.len);
    while (s.len > 0) {
        size_t at = s.len - 1;
        while (at > 0 && (s.ptr[at] & 0xC0) == 0x80)
            at--;
        if (!tn_js_is_space(tn_js_code_point(tn_str_sub(s, at, s.len), &n)))
            break;
        s.len = at;
    }
    return s;
}

bool tn_js_line(tn_str *rest, tn_str *line)
{
    if (rest->ptr == NULL)
        return false;
    const char *end = rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
    if (end == NULL) {
        *line = *rest;
        *rest = TN_STR_NONE;
        return true;
    }
    size_t n = (size_t)(end - rest->ptr);
    *line = tn_str_sub(*rest, 0, n > 0 && rest->ptr[n - 1] == '\r' ? n - 1 : n);
    *rest = (tn_str){end + 1, rest->len - n - 1};
    return true;
}
