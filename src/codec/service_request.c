/*
 * codec/service_request.c - see codec/service_request.h.
 */
#include "codec/service_request.h"

#include <string.h>

/* ---- attributes ---- */

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || c == '-';
}

/*
 * Length of what matches tfs-[a-z\-]+=[^,]+ at the beginning of s, 0: nothing. *is: where its first '=' is.
 */
static size_t match(tn_str s, size_t *is)
{
    size_t n = 4;
    if (!tn_str_starts(s, TN_STR("tfs-")))
        return 0;
    while (n < s.len && is_key_char(s.ptr[n]))
        n++;
    if (n == 4 || n >= s.len || s.ptr[n] != '=')
        return 0;
    *is = n++;
    while (n < s.len && s.ptr[n] != ',')
        n++;
    return n > *is + 1 ? n : 0;
}

bool tn_service_attributes_read(tn_str field, bool strict, tn_service_attributes *out)
{
    *out = (tn_service_attributes){.model_name = TN_STR_NONE};
    for (size_t i = 0, n, is = 0; i<field.len; i += n> 0 ? n : 1) {
        const tn_str rest = tn_str_sub(field, i, field.len);
        n = match(rest, &is);
        if (n == 0)
            continue;
        const tn_str key = tn_str_sub(rest, 0, is), value = tn_str_sub(rest, is + 1, n);
        if (strict && tn_str_chr(value, '=') >= 0)
            return false;
        if (tn_str_eq(key, TN_STR("tfs-model-name")))
            out->model_name = value;
        else if (tn_str_eq(key, TN_STR("tfs-model-version")))
            out->model_version = value;
        else if (tn_str_eq(key, TN_STR("tfs-method")))
            out->method = value;
    }
    return true;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool tn_service_is_model_name(tn_str name)
{
    if (name.len == 0 || name.len > 255 || !is_alnum(name.ptr[0]))
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (!is_alnum(name.ptr[i]) && name.ptr[i] != '.' && name.ptr[i] != '_' && name.ptr[i] != '-')
            return false;
    return true;
}

tn_str tn_service_attributes_fault(const tn_service_attributes *a, tn_str name)
{
    if (a->model_name.ptr != NULL && !tn_service_is_model_name(a->model_name))
        return TN_STR("invalid tfs-model-name");
    if (name.len == 0)
        return TN_STR("no model name available: set tfs-model-name or a default model");
    for (size_t i = 0; i < a->model_version.len; i++)
        if (a->model_version.ptr[i] < '0' || a->model_version.ptr[i] > '9')
            return TN_STR("invalid tfs-model-version: must be a positive integer");
    if (a->method.ptr != NULL && !tn_str_eq(a->method, TN_STR("predict")) &&
        !tn_str_eq(a->method, TN_STR("classify")) && !tn_str_eq(a->method, TN_STR("regress")))
        return TN_STR("invalid tfs-method: must be one of predict|classify|regress");
    return TN_STR_NONE;
}

/* ---- the path ---- */

void tn_service_rest_path(tn_buf *out, tn_str name, const tn_service_attributes *a)
{
    tn_buf_z(out, "/v1/models/");
    tn_buf_str(out, name);
    if (a->model_version.len > 0) {
        tn_buf_z(out, "/versions/");
        tn_buf_str(out, a->model_version);
    }
    tn_buf_char(out, ':');
    tn_buf_str(out, a->method.ptr != NULL ? a->method : TN_STR("predict"));
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of "%XX" at s[i], or -1. */
static int encoded_at(tn_str s, size_t i)
{
    if (s.ptr[i] != '%' || s.len - i < 3)
        return -1;
    const int high = hex_value(s.ptr[i + 1]), low = hex_value(s.ptr[i + 2]);
    return high >= 0 && low >= 0 ? high * 16 + low : -1;
}

static bool is_unreserved(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("-._~", c) != NULL);
}

static bool is_allowed(char c, bool query)
{
    return is_unreserved(c) || (c != '\0' && strchr("!$&'()*+,;=:@/", c) != NULL) || (query && c == '?');
}

static bool is_plain(tn_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_unreserved(s.ptr[i]))
            return false;
    return true;
}

bool tn_service_is_plain(tn_str name, const tn_service_attributes *a)
{
    return is_plain(name) && is_plain(a->model_version) && is_plain(a->method) &&
           !tn_str_eq(name, TN_STR(".")) && !tn_str_eq(name, TN_STR("..")) &&
           !tn_str_eq(a->model_version, TN_STR("..")) && !tn_str_eq(a->model_version, TN_STR("."));
}

static void put_encoded(tn_buf *out, unsigned char c)
{
    static const char hex[] = "0123456789ABCDEF";
    const char text[3] = {'%', hex[c >> 4], hex[c & 15]};
    tn_buf_append(out, text, sizeof text);
}

static void put_byte(tn_buf *out, unsigned char c, bool latin1)
{
    if (latin1 && c >= 0x80) {
        put_encoded(out, (unsigned char)(0xC0 | c >> 6));
        put_encoded(out, (unsigned char)(0x80 | (c & 0x3F)));
    } else {
        put_encoded(out, c);
    }
}

/* "%XX" as requests leaves it: what needs no encoding is decoded. */
static void put_again(tn_buf *out, unsigned char value)
{
    if (is_unreserved((char)value))
        tn_buf_char(out, (char)value);
    else
        put_encoded(out, value);
}

/*
 * urllib3 writes all "%XX" in capitals, and keeps them where every '%' of the part begins one; else each '%'
 * is encoded like any other character.
 */
static void put_part(tn_buf *out, tn_str part, bool query, bool latin1)
{
    bool keep = true;
    for (size_t i = 0; i < part.len; i++)
        keep &= part.ptr[i] != '%' || encoded_at(part, i) >= 0;
    for (size_t i = 0; i < part.len; i++) {
        const char c = part.ptr[i];
        const int value = encoded_at(part, i);
        if (value >= 0) {
            if (keep)
                put_again(out, (unsigned char)value);
            else
                tn_buf_printf(out, "%%25%02X", (unsigned)value);
            i += 2;
        } else if (is_allowed(c, query)) {
            tn_buf_char(out, c);
        } else {
            put_byte(out, (unsigned char)c, latin1);
        }
    }
}

/* RFC 3986, 5.2.4, in place: path begins with '/'. */
static void remove_dots(char *path, size_t *len)
{
    size_t to = 0, from = 0;
    while (from < *len) {
        size_t end = from + 1;
        while (end < *len && path[end] != '/')
            end++;
        const tn_str segment = {path + from + 1, end - from - 1};
        const bool up = tn_str_eq(segment, TN_STR(".."));
        while (up && to > 0 && path[--to] != '/')
            continue;
        if (!up && !tn_str_eq(segment, TN_STR("."))) {
            memmove(path + to, path + from, end - from);
            to += end - from;
        } else if (end == *len) {
            path[to++] = '/';
        }
        from = end;
    }
    *len = to;
}

void tn_service_target(tn_buf *out, tn_str path, bool latin1)
{
    const ptrdiff_t fragment = tn_str_chr(path, '#');
    if (fragment >= 0)
        path = tn_str_sub(path, 0, (size_t)fragment);
    const ptrdiff_t mark = tn_str_chr(path, '?');
    const tn_str query = mark >= 0 ? tn_str_sub(path, (size_t)mark + 1, path.len) : TN_STR_NONE;
    if (mark >= 0)
        path = tn_str_sub(path, 0, (size_t)mark);
    tn_buf plain;
    tn_buf_init(&plain, path.len + 1);
    tn_buf_str(&plain, path);
    if (plain.len > 0)
        remove_dots(plain.ptr, &plain.len);
    put_part(out, tn_buf_view(&plain), false, latin1);
    if (query.len > 0) {
        tn_buf_char(out, '?');
        put_part(out, query, true, latin1);
    }
    out->failed |= plain.failed;
    tn_buf_free(&plain);
}
