/*
 * codec/sagemaker_json.c - see codec/sagemaker_json.h.
 */
#include "codec/sagemaker_json.h"

#include <string.h>

#include "codec/js_text.h"
#include "codec/text_out.h"

/* "instances", "inputs" or "examples" in quotes, blanks, a colon: anywhere. */
static bool has_key(tn_str text)
{
    static const tn_str keys[] = {TN_STR_INIT("instances\""), TN_STR_INIT("inputs\""),
                                  TN_STR_INIT("examples\"")};
    if (text.len == 0)
        return false;
    const char *end = text.ptr + text.len, *quote = text.ptr;
    while (quote != NULL && quote < end && (quote = memchr(quote, '"', (size_t)(end - quote))) != NULL) {
        const tn_str rest = {quote + 1, (size_t)(end - quote) - 1};
        quote++;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            if (!tn_str_starts(rest, keys[i]))
                continue;
            const char *c = rest.ptr + keys[i].len;
            while (c < end && tn_ascii_space(*c))
                c++;
            if (c < end && *c == ':')
                return true;
            quote = rest.ptr + keys[i].len - 1; /* its closing quote may open the next one */
        }
    }
    return false;
}

/* A closing bracket, blanks, an opening one. */
static bool has_lines(tn_str text)
{
    bool closed = false;
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (c == '}' || c == ']')
            closed = true;
        else if (closed && (c == '{' || c == '['))
            return true;
        else if (!tn_ascii_space(c))
            closed = false;
    }
    return false;
}

static bool begins_with_two(tn_str text)
{
    size_t i = 0, brackets = 0;
    for (; i < text.len && brackets < 2; i++) {
        if (text.ptr[i] == '[')
            brackets++;
        else if (!tn_ascii_space(text.ptr[i]))
            return false;
    }
    return brackets == 2;
}

tn_sagemaker_json tn_sagemaker_json_look(tn_str text)
{
    if (has_key(text))
        return TN_SAGEMAKER_JSON_AS_IS;
    if (has_lines(text))
        return TN_SAGEMAKER_JSON_LINES;
    return begins_with_two(text) ? TN_SAGEMAKER_JSON_LIST : TN_SAGEMAKER_JSON_ONE;
}

static void put_lines(tn_text_out *out, tn_str text)
{
    tn_str rest = tn_js_trim(text), line;
    const bool several = rest.len > 0 && memchr(rest.ptr, '\n', rest.len) != NULL;
    if (several)
        tn_text_char(out, '[');
    for (bool first = true; tn_js_line(&rest, &line); first = false) {
        line = tn_js_trim(line);
        if (line.len > 0 && !first)
            tn_text_char(out, ',');
        tn_text_str(out, line);
    }
    if (several)
        tn_text_char(out, ']');
}

tern_code tn_sagemaker_json_convert(tn_str text, tn_sagemaker_json form, tn_region *region, tern_status *st)
{
    tn_text_out out;
    tn_text_start(&out, region);
    if (form == TN_SAGEMAKER_JSON_AS_IS) {
        tn_text_str(&out, text);
        return tn_text_finish(&out, st);
    }
    tn_text_str(&out, TN_STR("{\"instances\":"));
    if (form == TN_SAGEMAKER_JSON_LINES) {
        put_lines(&out, text);
    } else {
        if (form == TN_SAGEMAKER_JSON_ONE)
            tn_text_char(&out, '[');
        tn_text_str(&out, text);
        if (form == TN_SAGEMAKER_JSON_ONE)
            tn_text_char(&out, ']');
    }
    tn_text_char(&out, '}');
    return tn_text_finish(&out, st);
}
