/*
 * codec/python_text.c - see codec/python_text.h. Follows CPython 3.11: Lib/json/encoder.py,
 * Objects/unicodeobject.c (unicode_repr, unicode_decode_utf8, unicode_decode_call_errorhandler),
 * Objects/stringlib/codecs.h (utf8_decode).
 */
#include "codec/python_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number.h"

#define MAX_NESTED 64 /* of a value that is written; deeper ones were refused by the reader */

/*
 * Takes the character at s[*at]; *at moves on. Surrogates pass, three bytes as any other; what is no
 * character at all is -1, one byte.
 */
static int32_t next_char(tn_str s, size_t *at)
{
    const unsigned char *p = (const unsigned char *)s.ptr + *at;
    const size_t left = s.len - *at;
    const size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int32_t c = n == 1 ? p[0] : p[0] & (0x7F >> n);
    *at += 1;
    if (p[0] < 0x80)
        return c;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n > left)
        return -1;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return -1;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c < least[n] || c > 0x10FFFF)
        return -1;
    *at += n - 1;
    return c;
}

/* ---- json.dumps() ---- */

static void put_json_char(tn_buf *out, int32_t c, bool ascii)
{
    static const char names[] = "btn\0fr"; /* 8..13 without 11 */
    const uint32_t u = c < 0 ? 0xFFFD : (uint32_t)c;
    if (u == '"' || u == '\\')
        tn_buf_printf(out, "\\%c", (char)u);
    else if (u >= 8 && u <= 13 && u != 11)
        tn_buf_printf(out, "\\%c", names[u - 8]);
    else if (u < 0x20)
        tn_buf_printf(out, "\\u%04x", (unsigned)u);
    else if (u < 0x7F || (!ascii && (u < 0xD800 || u >= 0xE000)))
        tn_buf_utf8(out, u);
    else if (u < 0x10000)
        tn_buf_printf(out, "\\u%04x", (unsigned)u);
    else
        tn_buf_printf(out, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((u - 0x10000) >> 10)),
                      (unsigned)(0xDC00 + ((u - 0x10000) & 0x3FF)));
}

static void put_json(tn_buf *out, tn_str s, bool ascii)
{
    tn_buf_char(out, '"');
    for (size_t i = 0; i < s.len;)
        put_json_char(out, next_char(s, &i), ascii);
    tn_buf_char(out, '"');
}

void tn_python_json(tn_buf *out, tn_str s)
{
    put_json(out, s, true);
}

void tn_python_json_utf8(tn_buf *out, tn_str s)
{
    put_json(out, s, false);
}

/* ---- repr() and str() ---- */

/* str.isprintable() of one character: the categories Cc, Cf, Cs, Co, Zl, Zp and Zs, but for the space. */
static bool is_printable(uint32_t c)
{
    static const uint32_t hidden[][2] = {
        {0x0, 0x1F},        {0x7F, 0xA0},       {0xAD, 0xAD},        {0x600, 0x605},     {0x61C, 0x61C},
        {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},      {0x8E2, 0x8E2},     {0x1680, 0x1680},
        {0x180E, 0x180E},   {0x2000, 0x200F},   {0x2028, 0x202F},    {0x205F, 0x2064},   {0x2066, 0x206F},
        {0x3000, 0x3000},   {0xD800, 0xF8FF},   {0xFEFF, 0xFEFF},    {0xFFF9, 0xFFFB},   {0x110BD, 0x110BD},
        {0x110CD, 0x110CD}, {0x13430, 0x13438}, {0x1BCA0, 0x1BCA3},  {0x1D173, 0x1D17A}, {0xE0001, 0xE0001},
        {0xE0020, 0xE007F}, {0xF0000, 0xFFFFD}, {0x100000, 0x10FFFD}};
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0] && c >= hidden[i][0]; i++)
        if (c <= hidden[i][1])
            return false;
    return true;
}

static void put_repr_char(tn_buf *out, int32_t c, char quote)
{
    const uint32_t u = c < 0 ? 0xFFFD : (uint32_t)c;
    if (u == (unsigned char)quote || u == '\\')
        tn_buf_printf(out, "\\%c", (char)u);
    else if (u == '\t' || u == '\n' || u == '\r')
        tn_buf_printf(out, "\\%c", u == '\t' ? 't' : u == '\n' ? 'n' : 'r');
    else if (is_printable(u))
        tn_buf_utf8(out, u);
    else if (u < 0x100)
        tn_buf_printf(out, "\\x%02x", (unsigned)u);
    else if (u < 0x10000)
        tn_buf_printf(out, "\\u%04x", (unsigned)u);
    else
        tn_buf_printf(out, "\\U%08x", (unsigned)u);
}

void tn_python_repr(tn_buf *out, tn_str s)
{
    const char quote = tn_str_chr(s, '\'') >= 0 && tn_str_chr(s, '"') < 0 ? '"' : '\'';
    tn_buf_char(out, quote);
    for (size_t i = 0; i < s.len;)
        put_repr_char(out, next_char(s, &i), quote);
    tn_buf_char(out, quote);
}

/* float.__repr__(): the shortest digits that read back the same; an exponent below 1e-4 and from 1e16 on. */
static void put_float(tn_buf *out, double d)
{
    char digits[32], plain[48];
    int precision = 1;
    double back;
    if (isnan(d) || isinf(d)) {
        tn_buf_z(out, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    do {
        const int n = snprintf(digits, sizeof digits, "%.*e", precision - 1, d);
        tn_number_read_double(digits, digits + n, &back);
    } while (back != d && ++precision <= 17);
    const int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        tn_buf_z(out, digits);
        return;
    }
    snprintf(plain, sizeof plain, "%.*f", precision - 1 - exponent > 0 ? precision - 1 - exponent : 0, d);
    tn_buf_z(out, plain);
    if (strchr(plain, '.') == NULL)
        tn_buf_z(out, ".0");
}

static bool is_whole(tn_str number)
{
    for (size_t i = 0; i < number.len; i++)
        if (number.ptr[i] != '-' && (number.ptr[i] < '0' || number.ptr[i] > '9'))
            return false;
    return true;
}

/* NaN, Infinity and -Infinity, which JSON has not and json.loads() takes. */
static bool is_letters(tn_str number)
{
    const char last = number.len > 0 ? number.ptr[number.len - 1] : '0';
    return last < '0' || last > '9';
}

static void put_number(tn_buf *out, const tn_json *v)
{
    if (is_letters(v->string))
        tn_buf_z(out, tn_str_chr(v->string, 'N') >= 0 ? "nan" : v->string.ptr[0] == '-' ? "-inf" : "inf");
    else if (!is_whole(v->string))
        put_float(out, v->number);
    else
        tn_buf_str(out, tn_str_eq(v->string, TN_STR("-0")) ? TN_STR("0") : v->string);
}

static void put_value(tn_buf *out, const tn_json *v, int depth)
{
    const bool object = v->type == TN_JSON_OBJECT;
    switch (v->type) {
    case TN_JSON_NULL:
        tn_buf_z(out, "None");
        return;
    case TN_JSON_BOOL:
        tn_buf_z(out, v->boolean ? "True" : "False");
        return;
    case TN_JSON_NUMBER:
        put_number(out, v);
        return;
    case TN_JSON_STRING:
        tn_python_repr(out, v->string);
        return;
    default:
        break;
    }
    tn_buf_char(out, object ? '{' : '[');
    for (const tn_json *child = v->first; child != NULL && depth < MAX_NESTED; child = child->next) {
        if (child != v->first)
            tn_buf_z(out, ", ");
        if (object) {
            tn_python_repr(out, child->key);
            tn_buf_z(out, ": ");
        }
        put_value(out, child, depth + 1);
    }
    tn_buf_char(out, object ? '}' : ']');
}

void tn_python_str(tn_buf *out, const tn_json *value)
{
    if (value->type == TN_JSON_STRING)
        tn_buf_str(out, value->string);
    else
        put_value(out, value, 0);
}

bool tn_python_truth(const tn_json *value)
{
    switch (value->type) {
    case TN_JSON_NULL:
        return false;
    case TN_JSON_BOOL:
        return value->boolean;
    case TN_JSON_NUMBER:
        return value->number != 0 || is_letters(value->string);
    case TN_JSON_STRING:
        return value->string.len > 0;
    default:
        return value->first != NULL;
    }
}

/* ---- bytes.decode("utf-8") ---- */

/*
 * What stands at p, of `left` bytes: 0 and the length of a good sequence in *n; else why it is none, with the
 * number of bytes that the error spans in *n (utf8_decode: those that could have begun a character).
 */
static const char *fault(const unsigned char *p, size_t left, size_t *n)
{
    *n = 1;
    if (p[0] < 0x80)
        return NULL;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return "invalid start byte";
    const size_t whole = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    const unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    for (; *n < whole; ++*n) {
        if (*n == left)
            return "unexpected end of data";
        if (p[*n] < (*n == 1 ? low : 0x80) || p[*n] > (*n == 1 ? high : 0xBF))
            return "invalid continuation byte";
    }
    return NULL;
}

bool tn_python_decodes(tn_str s, tn_buf *error)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (tn_str_is_utf8(s))
        return true;
    for (size_t i = 0, n; i < s.len; i += n) {
        const char *why = fault(p + i, s.len - i, &n);
        if (why == NULL)
            continue;
        if (n == 1)
            tn_buf_printf(error, "'utf-8' codec can't decode byte 0x%02x in position %zu: %s", p[i], i, why);
        else
            tn_buf_printf(error, "'utf-8' codec can't decode bytes in position %zu-%zu: %s", i, i + n - 1,
                          why);
        return false;
    }
    return true;
}
