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

typedef enum sort { DIGIT_0, DIGIT, DASH, PLUS, DOT, LETTER_E, BLANK, OTHER, SORTS } sort;

static sort sort_of(uint32_t c)
{
    switch (c) {
    case '0':
        return DIGIT_0;
    case '-':
        return DASH;
    case '+':
        return PLUS;
    case '.':
        return DOT;
    case 'e':
    case 'E':
        return LETTER_E;
    default:
        return c >= '1' && c <= '9' ? DIGIT : tn_js_is_space(c) ? BLANK : OTHER;
    }
}

static number_state step(number_state s, sort c)
{
    static const unsigned char then[STATES][SORTS] = {
        [AT_START] = {ZERO, WHOLE, MINUS, NONE, NONE, NONE, AT_START, NONE},
        [MINUS] = {ZERO, WHOLE, NONE, NONE, NONE, NONE, NONE, NONE},
        [ZERO] = {NONE, NONE, NONE, NONE, POINT, EXPONENT, AFTER, NONE},
        [WHOLE] = {WHOLE, WHOLE, NONE, NONE, POINT, EXPONENT, AFTER, NONE},
        [POINT] = {FRACTION, FRACTION, NONE, NONE, NONE, NONE, NONE, NONE},
        [FRACTION] = {FRACTION, FRACTION, NONE, NONE, NONE, EXPONENT, AFTER, NONE},
        [EXPONENT] = {EXPONENT_DIGITS, EXPONENT_DIGITS, EXPONENT_SIGN, EXPONENT_SIGN, NONE, NONE, NONE, NONE},
        [EXPONENT_SIGN] = {EXPONENT_DIGITS, EXPONENT_DIGITS, NONE, NONE, NONE, NONE, NONE, NONE},
        [EXPONENT_DIGITS] = {EXPONENT_DIGITS, EXPONENT_DIGITS, NONE, NONE, NONE, NONE, AFTER, NONE},
        [AFTER] = {NONE, NONE, NONE, NONE, NONE, NONE, AFTER, NONE},
        [NONE] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
    };
    return (number_state)then[s][c];
}

static bool is_number(tn_str field)
{
    reader r = {.left = field};
    number_state s = AT_START;
    tn_str part;
    uint32_t c;
    while (s != NONE && next(&r, &part, &c))
        s = step(s, sort_of(c));
    return s == ZERO || s == WHOLE || s == FRACTION || s == EXPONENT_DIGITS || s == AFTER;
}

/* Most fields: no quotes, nothing to escape. */
static bool is_plain(tn_str field)
{
    return field.len == 0 ||
           (memchr(field.ptr, '"', field.len) == NULL && memchr(field.ptr, '\\', field.len) == NULL);
}

static void put_string(tn_text_out *out, tn_str field)
{
    reader r = {.left = field};
    tn_str part;
    uint32_t c;
    tn_text_char(out, '"');
    if (is_plain(field))
        tn_text_str(out, field);
    else
        while (next(&r, &part, &c)) {
            if (c == '"' || c == '\\')
                tn_text_char(out, '\\');
            tn_text_str(out, part);
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

static void put_line_by_field(tn_text_out *out, tn_str line)
{
    tn_str rest = line;
    tn_str field = cut_field(&rest);
    const bool columns = rest.ptr != NULL;
    if (columns)
        tn_text_char(out, '[');
    for (;;) {
        if (is_number(field))
            put_number(out, field);
        else
            put_string(out, field);
        if (rest.ptr == NULL)
            break;
        tn_text_char(out, ',');
        field = cut_field(&rest);
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
