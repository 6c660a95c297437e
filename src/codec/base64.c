/* codec/base64.c - see codec/base64.h. */
#include "codec/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0..63, or -1 (no base64), -2 (white space), -3 (padding: '=', or '.', which the original takes as well). */
static int value_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    if (c == '/')
        return 63;
    if (c == ' ' || (c >= '\t' && c <= '\r'))
        return -2;
    return c == '=' || c == '.' ? -3 : -1;
}

bool tn_base64_decode(tn_str text, char *out, size_t *length)
{
    uint32_t bits = 0;
    size_t n = 0, digits = 0, padding = 0;
    for (size_t i = 0; i < text.len; i++) {
        int v = value_of((unsigned char)text.ptr[i]);
        if (v == -2)
            continue;
        if (v == -1 || (v >= 0 && padding > 0))
            return false;
        if (v == -3) {
            padding++;
            continue;
        }
        bits = bits << 6 | (uint32_t)v;
        if (++digits % 4 == 0) {
            out[n++] = (char)(bits >> 16);
            out[n++] = (char)(bits >> 8);
            out[n++] = (char)bits;
        }
    }
    size_t rest = digits % 4;
    if (rest == 1 || (padding > 0 && (rest == 0 || rest + padding != 4)))
        return false;
    if (rest == 2)
        out[n++] = (char)(bits >> 4);
    if (rest == 3) {
        out[n++] = (char)(bits >> 10);
        out[n++] = (char)(bits >> 2);
    }
    *length = n;
    return true;
}

void tn_base64_encode(tn_str bytes, tn_buf *out)
{
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    char *to = tn_buf_reserve(out, (bytes.len + 2) / 3 * 4);
    if (to == NULL)
        return;
    char *start = to;
    size_t i = 0;
    for (; i + 3 <= bytes.len; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        *to++ = alphabet[v >> 6 & 63];
        *to++ = alphabet[v & 63];
    }
    if (i < bytes.len) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < bytes.len ? (uint32_t)p[i + 1] << 8 : 0);
        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        *to++ = i + 1 < bytes.len ? alphabet[v >> 6 & 63] : '=';
        *to++ = '=';
    }
    tn_buf_commit(out, (size_t)(to - start));
}
