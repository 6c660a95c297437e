/*
 * codec/json_tape.h - a JSON text as a flat list of nodes, with the errors that TensorFlow Serving's parser
 * gives.
 *
 * For everything but the good and large bodies, which json_decode.c reads straight into tensors. Iterative,
 * bounded in depth and memory, linear. Follows rapidjson's iterative parser (kParseNanAndInfFlag,
 * kParseStopWhenDone): NaN, Inf, Infinity are numbers, what follows the value is not looked at. Pure, any
 * thread.
 */
#ifndef TN_CODEC_JSON_TAPE_H
#define TN_CODEC_JSON_TAPE_H

#include "base/arena.h"
#include "base/buf.h"

typedef enum tn_node_type {
    TN_NODE_NULL,
    TN_NODE_FALSE,
    TN_NODE_TRUE,
    TN_NODE_OBJECT,
    TN_NODE_ARRAY,
    TN_NODE_STRING,
    TN_NODE_NUMBER
} tn_node_type;

enum {
    TN_NODE_ESCAPED = 1, /* string: has escapes */
    TN_NODE_REAL = 2,    /* number: has a fraction, an exponent, or is NaN or infinite */
    TN_NODE_LETTERS = 4  /* number: NaN, Inf or Infinity, perhaps with a minus */
};

/*
 * Children follow their parent; of an object key and value alternate. `next` is the index behind the whole
 * node.
 */
typedef struct tn_node {
    size_t start; /* text of the node: [start, end); of a string without its quotes */
    size_t end;
    uint32_t next;
    uint32_t count; /* elements, or members */
    uint8_t type;
    uint8_t flags;
} tn_node;

typedef struct tn_tape {
    tn_str text;
    tn_buf nodes; /* tn_node[] */
    tn_buf stack; /* open containers while parsing */
    size_t end;   /* where parsing stopped */
} tn_tape;

void tn_tape_init(tn_tape *t, tn_str text, size_t max_bytes);
void tn_tape_free(tn_tape *t);
/*
 * Parses one value at offset `from` (blanks before it are skipped) to nodes 0...; INVALID_ARGUMENT with "JSON
 * Parse error: ... at offset: N". A depth over max_depth is INVALID_ARGUMENT too. May be called again for
 * another place.
 */
TERN_MUST_USE tern_code tn_tape_parse(tn_tape *t, size_t from, int64_t max_depth, tern_status *st);

static inline const tn_node *tn_tape_at(const tn_tape *t, uint32_t i)
{
    return (const tn_node *)(const void *)t->nodes.ptr + i;
}
/* Bytes of a string without escapes, or of a number, as they stand. */
static inline tn_str tn_tape_text(const tn_tape *t, const tn_node *n)
{
    return tn_str_sub(t->text, n->start, n->end);
}
/*
 * Appends the string's value, escapes resolved. A lone low surrogate becomes three bytes, as in the original.
 */
void tn_tape_string(const tn_tape *t, const tn_node *n, tn_buf *out);
/* True when the string's value is `want`. */
bool tn_tape_is(const tn_tape *t, const tn_node *n, tn_str want);
/*
 * Value of the first member with that key in the object at i; 0 when there is none (0 is never a value of a
 * member).
 */
uint32_t tn_tape_member(const tn_tape *t, uint32_t i, tn_str key);
/*
 * Appends the value in rapidjson's pretty form: 4 spaces, arrays in one line. For error texts, which are cut:
 * it breaks off where out has `enough` bytes.
 */
void tn_tape_pretty(const tn_tape *t, uint32_t i, size_t enough, tn_buf *out);

/*
 * Unescapes one escape sequence at p (behind the backslash); returns the bytes taken, 0 when it is broken.
 * For json_decode.c.
 */
size_t tn_json_unescape(const char *p, const char *end, char utf8[4], size_t *length);

#endif
