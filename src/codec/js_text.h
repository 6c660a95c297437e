/*
 * codec/js_text.h - text as JavaScript sees it: what is no UTF-8 is replaced, and blanks are more than
 * ASCII's. Pure.
 */
#ifndef TN_CODEC_JS_TEXT_H
#define TN_CODEC_JS_TEXT_H

#include "base/region.h"

/*
 * Bytes of s before the first one that is no UTF-8; s.len when all of it is. Fast over ASCII.
 */
size_t tn_js_valid(tn_str s);
/*
 * Cuts the next part off *rest (not empty): a valid one, or what is no UTF-8, which comes back as U+FFFD.
 */
tn_str tn_js_part(tn_str *rest);
/*
 * Appends s with U+FFFD for each maximal part of it that is no UTF-8 (WHATWG Encoding, UTF-8 decoder). Errors
 * are those of the region.
 */
TERN_MUST_USE tern_code tn_js_repair(tn_str s, tn_region *out, tern_status *st);

/* White space and line ends of ECMAScript (12.2, 12.3): what trim() takes away. */
bool tn_js_is_space(uint32_t code_point);
/* trim() of valid UTF-8. */
tn_str tn_js_trim(tn_str s);
/* The code point that begins at s.ptr[0] (valid UTF-8, s.len > 0), and how many bytes it takes. */
uint32_t tn_js_code_point(tn_str s, size_t *n);
/*
 * Cuts the next line off valid UTF-8, as split(/\r?\n/) does; false when there is none left. *rest begins as
 * the whole text, and its ptr is NULL after the last line.
 */
bool tn_js_line(tn_str *rest, tn_str *line);

/* \s of the regular expressions in question, which know ASCII only. */
static inline bool tn_ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

#endif
