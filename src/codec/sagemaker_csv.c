/*
 * codec/sagemaker_csv.c - see codec/sagemaker_csv.h.
 */
#include "codec/sagemaker_csv.h"

#include <string.h>

#include "codec/js_text.h"
#include "codec/text_out.h"

/* ---- up to 2.19 ---- */

static bool are_strings(tn_str text)
{
    size_t i = 0;
    while (i < text.len && tn_ascii_space(text.ptr[i]))
        i++;
    return i == text.len || text.ptr[i] == '\0' || strchr("\"0123456789.Ee+-", text.ptr[i]) == NULL;
}

/* Puts instead in place of the first c. What stands before it and it are cut off. */
static void put_to(tn_text_out *out, tn_str *line, size_t at, tn_str instead)
{
    tn_text_add(out, line->ptr, at);
    tn_text_str(out, instead);
    *line = tn_str_sub(*line, at + 1, line->len);
}

static void put_line_whole(tn_text_out *out, tn_str line, bool strings)
{
    ptrdiff_t quote = tn_str_chr(line, '"'), comma = tn_str_chr(line, ',');
    const bool columns = comma >= 0;
    if (columns)
        tn_text_char(out, '[');
    if (strings) {
        size_t gone = 0;
        tn_text_char(out, '"');
        for (int i = 0; i < 2; i++) { /* whichever comes first */
            if (quote >= 0 && (comma < 0 || quote < comma)) {
                put_to(out, &line, (size_t)quote - gone, TN_STR("\\\""));
                gone = (size_t)quote + 1;
                quote = -1;
            } else if (comma >= 0) {
                put_to(out, &line, (size_t)comma - gone, TN_STR("\",\""));
                gone = (size_t)comma + 1;
                comma = -1;
            }
        }
        tn_text_str(out, line);
        tn_text_char(out, '"');
    } else {
        tn_text_str(out, line);
    }
    if (columns)
        tn_text_char(out, ']');
}

/* ---- from 2.20 on ---- */

/* The field at the front of a line, with its quotes; *rest begins behind its comma, or has no ptr. */
static tn_str cut_field(tn_str *rest)
{
    const tn_str line = *rest;
    bool inside = false;
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '"') {
            if (inside && i + 1 < line.len && line.ptr[i + 1] == '"')
                i++;
            else
                inside = !inside;
        } else if (line.ptr[i] == ',' && !inside) {
            *rest = tn_str_sub(line, i + 1, line.len);
            return tn_str_sub(line, 0, i);
        }
    }
    *rest = TN_STR_NONE;
    return line;
}

/* Reads a field without its quotes, code point by code point. */
typedef struct reader {
    tn_str left;
    bool inside;
} reader;

static bool next(reader *r, tn_str *part, uint32_t *code_point)
{
    while (r->left.len > 0) {
        size_t n;
        *code_point = tn_js_code_point(r->left, &n);
        *part = tn_str_sub(r->left, 0, n);
        r->left = tn_str_sub(r->left, n, r->left.len);
        if (*code_point != '"')
            return true;
        if (r->inside && r->left.len > 0 && r->left.ptr[0] == '"') {
            r->left = tn_str_sub(r->left, 1, r->left.len);
            return true;
        }
        r->inside = !r->inside;
    }
    return false;
}

/* RFC 8259, 6: a number with blanks around it, as states of what has been read and sorts of what comes. */
typedef enum number_state {
    AT_START,
    MINUS,
    ZERO,
    WHOLE,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
    AFTER, /* blanks */
    NONE,
    STATES
} number_state;

typedef enum sort { OTHER, DIGIT_0, DIGIT, DASH, PLUS, DOT, LETTER_E, BLANK, SORTS } sort;

static sort sort_of(uint32_t c)
{
    static const unsigned char sorts[128] = {
        ['0'] = DIGIT_0,  ['1' ... '9'] = DIGIT, ['-'] = DASH,
        ['+'] = PLUS,     ['.'] = DOT,           ['e'] = LETTER_E,
        ['E'] = LETTER_E, [' '] = BLANK,         ['\t' ... '\r'] = BLANK,
    };
    return c < 128 ? (sort)sorts[c] : tn_js_is_space(c) ? BLANK : OTHER;
}

static number_state step(number_state s, sort c)
{
    static const unsigned char then[STATES][SORTS] = {
        [AT_START] = {NONE, ZERO, WHOLE, MINUS, NONE, NONE, NONE, AT_START},
        [MINUS] = {NONE, ZERO, WHOLE, NONE, NONE, NONE, NONE, NONE},
        [ZERO] = {NONE, NONE, NONE, NONE, NONE, POINT, EXPONENT, AFTER},
        [WHOLE] = {NONE, WHOLE, WHOLE, NONE, NONE, POINT, EXPONENT, AFTER},
        [POINT] = {NONE, FRACTION, FRACTION, NONE, NONE, NONE, NONE, NONE},
        [FRACTION] = {NONE, FRACTION, FRACTION, NONE, NONE, NONE, EXPONENT, AFTER},
        [EXPONENT] = {NONE, EXPONENT_DIGITS, EXPONENT_DIGITS, EXPONENT_SIGN, EXPONENT_SIGN, NONE, NONE, NONE},
        [EXPONENT_SIGN] = {NONE, EXPONENT_DIGITS, EXPONENT_DIGITS, NONE, NONE, NONE, NONE, NONE},
        [EXPONENT_DIGITS] = {NONE, EXPONENT_DIGITS, EXPONENT_DIGITS, NONE, NONE, NONE, NONE, AFTER},
        [AFTER] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, AFTER},
        [NONE] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
    };
    return (number_state)then[s][c];
}

static bool is_end(number_state s)
{
    return s == ZERO || s == WHOLE || s == FRACTION || s == EXPONENT_DIGITS || s == AFTER;
}

static bool is_number(tn_str field)
{
    reader r = {.left = field};
    number_state s = AT_START;
    tn_str part;
    uint32_t c;
    while (s != NONE && next(&r, &part, &c))
        s = step(s, sort_of(c));
    return is_end(s);
}

static void put_string(tn_text_out *out, tn_str field)
{
    bool inside = false;
    tn_text_char(out, '"');
    for (size_t from = 0, i = 0; from < field.len; from = ++i) {
        while (i < field.len && field.ptr[i] != '"' && field.ptr[i] != '\\')
            i++;
        tn_text_add(out, field.ptr + from, i - from);
        if (i == field.len)
            break;
        const bool doubled = inside && field.ptr[i] == '"' && i + 1 < field.len && field.ptr[i + 1] == '"';
        if (field.ptr[i] == '"' && !doubled) {
            inside = !inside;
            continue;
        }
        tn_text_char(out, '\\');
        tn_text_char(out, field.ptr[i]);
        i += doubled;
    }
    tn_text_char(out, '"');
}

static void put_number(tn_text_out *out, tn_str field)
{
    reader r = {.left = field};
    tn_str part;
    uint32_t c;
    while (next(&r, &part, &c))
        if (!tn_js_is_space(c))
            tn_text_str(out, part);
}

/* A field of a line without quotes, most of which are plain numbers; the slow ways say the same of all. */
static void put_plain(tn_text_out *out, tn_str field)
{
    tn_str inner = field;
    number_state s = AT_START;
    bool ascii = true;
    while (inner.len > 0 && tn_ascii_space(inner.ptr[0]))
        inner = tn_str_sub(inner, 1, inner.len);
    while (inner.len > 0 && tn_ascii_space(inner.ptr[inner.len - 1]))
        inner.len--;
    for (size_t i = 0; i < inner.len && s != NONE; i++) {
        ascii = (unsigned char)inner.ptr[i] < 0x80;
        s = ascii ? step(s, sort_of((unsigned char)inner.ptr[i])) : NONE;
    }
    if (is_end(s))
        tn_text_str(out, inner);
    else if (!ascii && is_number(field))
        put_number(out, field); /* blanks beyond ASCII */
    else if (memchr(field.ptr, '\\', field.len) != NULL)
        put_string(out, field);
    else {
        tn_text_char(out, '"');
        tn_text_str(out, field);
        tn_text_char(out, '"');
    }
}

static void put_field(tn_text_out *out, tn_str field, bool quotes)
{
    if (!quotes)
        put_plain(out, field);
    else if (is_number(field))
        put_number(out, field);
    else
        put_string(out, field);
}

static tn_str cut_plain(tn_str *rest)
{
    const tn_str line = *rest;
    const char *comma = memchr(line.ptr, ',', line.len);
    const size_t n = comma != NULL ? (size_t)(comma - line.ptr) : line.len;
    *rest = comma != NULL ? tn_str_sub(line, n + 1, line.len) : TN_STR_NONE;
    return tn_str_sub(line, 0, n);
}

/* line: not empty. */
static void put_line_by_field(tn_text_out *out, tn_str line)
{
    const bool quotes = memchr(line.ptr, '"', line.len) != NULL;
    tn_str rest = line;
    tn_str field = quotes ? cut_field(&rest) : cut_plain(&rest);
    const bool columns = rest.ptr != NULL;
    if (columns)
        tn_text_char(out, '[');
    for (;;) {
        put_field(out, field, quotes);
        if (rest.ptr == NULL)
            break;
        tn_text_char(out, ',');
        field = quotes ? cut_field(&rest) : cut_plain(&rest);
    }
    if (columns)
        tn_text_char(out, ']');
}

/* ---- both ---- */

tern_code tn_sagemaker_csv_convert(tn_str text, bool by_field, tn_region *region, tern_status *st)
{
    const bool strings = !by_field && are_strings(text);
    tn_str rest = tn_js_trim(text), line;
    tn_text_out out;
    tn_text_start(&out, region);
    tn_text_str(&out, TN_STR("{\"instances\":["));
    while (out.code == TERN_OK && tn_js_line(&rest, &line)) {
        line = tn_js_trim(line);
        if (line.len == 0)
            continue;
        if (by_field)
            put_line_by_field(&out, line);
        else
            put_line_whole(&out, line, strings);
        if (rest.ptr != NULL)
            tn_text_char(&out, ',');
    }
    tn_text_str(&out, TN_STR("]}"));
    return tn_text_finish(&out, st);
}
