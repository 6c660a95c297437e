/*
 * codec/sagemaker_attributes.c - see codec/sagemaker_attributes.h.
 */
#include "codec/sagemaker_attributes.h"

#define NAME_MAX_LENGTH 255

static bool key_char(char c)
{
    return (c >= 'a' && c <= 'z') || c == '-';
}

/* The next "tfs-key=value" of *rest, apart. */
static bool next(tn_str *rest, tn_str *key, tn_str *value)
{
    static const tn_str start = TN_STR_INIT("tfs-");
    for (ptrdiff_t at; (at = tn_str_find(*rest, start)) >= 0;) {
        tn_str from = tn_str_sub(*rest, (size_t)at, rest->len);
        size_t n = start.len;
        while (n < from.len && key_char(from.ptr[n]))
            n++;
        tn_str tail = tn_str_sub(from, n, from.len);
        *rest = tail; /* where these letters lead to no '=', none of them does */
        if (n == start.len || tail.len < 2 || tail.ptr[0] != '=' || tail.ptr[1] == ',')
            continue;
        tail = tn_str_sub(tail, 1, tail.len);
        ptrdiff_t comma = tn_str_chr(tail, ',');
        *key = tn_str_sub(from, 0, n);
        *value = tn_str_sub(tail, 0, comma >= 0 ? (size_t)comma : tail.len);
        *rest = tn_str_sub(tail, value->len, tail.len);
        return true;
    }
    return false;
}

tn_sagemaker_attributes tn_sagemaker_attributes_read(tn_str header)
{
    tn_sagemaker_attributes a = {0};
    tn_str key, value;
    while (next(&header, &key, &value)) {
        if (tn_str_chr(value, '=') >= 0)
            continue;
        if (tn_str_eq(key, TN_STR("tfs-model-name")))
            a.model_name = value;
        else if (tn_str_eq(key, TN_STR("tfs-model-version")))
            a.model_version = value;
        else if (tn_str_eq(key, TN_STR("tfs-method")))
            a.method = value;
    }
    return a;
}

static bool letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool tn_sagemaker_is_name(tn_str name)
{
    if (name.len == 0 || name.len > NAME_MAX_LENGTH || !letter_or_digit(name.ptr[0]))
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (!letter_or_digit(name.ptr[i]) && name.ptr[i] != '.' && name.ptr[i] != '_' && name.ptr[i] != '-')
            return false;
    return true;
}

bool tn_sagemaker_is_version(tn_str version)
{
    for (size_t i = 0; i < version.len; i++)
        if (version.ptr[i] < '0' || version.ptr[i] > '9')
            return false;
    return version.len > 0;
}

bool tn_sagemaker_is_method(tn_str method)
{
    return tn_str_eq(method, TN_STR("predict")) || tn_str_eq(method, TN_STR("classify")) ||
           tn_str_eq(method, TN_STR("regress"));
}
