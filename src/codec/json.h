/*
 * codec/json.h - JSON for everything that is not a tensor: a small reader that gives a tree in an arena, and
 * string escaping. RFC 8259. Depth and size are bounded. Pure, any thread.
 */
#ifndef TN_CODEC_JSON_H
#define TN_CODEC_JSON_H

#include "base/arena.h"
#include "base/buf.h"

typedef enum tn_json_type {
    TN_JSON_NULL,
    TN_JSON_BOOL,
    TN_JSON_NUMBER,
    TN_JSON_STRING,
    TN_JSON_ARRAY,
    TN_JSON_OBJECT
} tn_json_type;

typedef struct tn_json tn_json;
struct tn_json {
    tn_json_type type;
    bool boolean;
    double number;
    tn_str string;        /* decoded; or the number's own text */
    tn_str key;           /* when a member of an object */
    const tn_json *first; /* children of arrays and objects, in order */
    const tn_json *next;
};

/*
 * Reads one value that must fill the text. *out lives in the arena. INVALID_ARGUMENT names the offset and the
 * fault.
 */
TERN_MUST_USE tern_code tn_json_parse(tn_str text, int max_depth, tn_arena *arena, const tn_json **out,
                                      tern_status *st);
/* Member of an object (first with that key), or NULL. */
const tn_json *tn_json_get(const tn_json *object, const char *key);
/* Appends s as a JSON string with quotes. What is not UTF-8 becomes U+FFFD. */
void tn_json_quote(tn_buf *out, tn_str s);
/* The same with bytes above 0x7F as they are: what tensors hold, as the original prints it. */
void tn_json_quote_raw(tn_buf *out, tn_str s);

#endif
