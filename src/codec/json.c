/*
 * codec/json.c - see codec/json.h. The tree is made from a tape, so there is one JSON parser for small
 * things.
 */
#include "codec/json.h"

#include "codec/json_tape.h"
#include "codec/number.h"

#define TAPE_MAX (64u << 20)

/* ---- strings ---- */

/* What rapidjson's Writer escapes, and how: two characters, or \u00XX in capitals. */
static void put_escaped(tn_buf *out, unsigned char c)
{
    static const char names[] = "btn\0fr"; /* 8..13 without 11 */
    static const char hex[] = "0123456789ABCDEF";
    char text[6] = {'\\', 'u', '0', '0', 0, 0};
    if (c == '"' || c == '\\')
        text[1] = (char)c;
    else if (c >= 8 && c <= 13 && c != 11)
        text[1] = names[c - 8];
    else {
        text[4] = hex[c >> 4];
        text[5] = hex[c & 15];
        tn_buf_append(out, text, 6);
        return;
    }
    tn_buf_append(out, text, 2);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

void tn_json_quote_raw(tn_buf *out, tn_str s)
{
    tn_buf_char(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t from = i;
        while (i < s.len && is_plain((unsigned char)s.ptr[i]))
            i++;
        tn_buf_append(out, s.ptr + from, i - from);
        if (i < s.len)
            put_escaped(out, (unsigned char)s.ptr[i++]);
    }
    tn_buf_char(out, '"');
}

/* Bytes of the well-formed UTF-8 sequence at s[i], 0 when there is none. */
static size_t sequence(tn_str s, size_t i)
{
    for (size_t n = 1; n <= 4 && i + n <= s.len; n++)
        if (tn_str_is_utf8(tn_str_sub(s, i, i + n)))
            return n;
    return 0;
}

void tn_json_quote(tn_buf *out, tn_str s)
{
    if (tn_str_is_utf8(s)) {
        tn_json_quote_raw(out, s);
        return;
    }
    tn_buf_char(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t n = sequence(s, i);
        if (n == 0)
            tn_buf_z(out, "\xEF\xBF\xBD");
        else if (n == 1 && !is_plain((unsigned char)s.ptr[i]))
            put_escaped(out, (unsigned char)s.ptr[i]);
        else
            tn_buf_append(out, s.ptr + i, n);
        i += n > 0 ? n : 1;
    }
    tn_buf_char(out, '"');
}

/* ---- the tree ---- */

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The JSON is too large to be read here");
}

static tn_str decoded(const tn_tape *t, const tn_node *n, tn_arena *arena)
{
    tn_buf text;
    tn_buf_init(&text, n->end - n->start + 1);
    tn_tape_string(t, n, &text);
    tn_str s = tn_arena_dup(arena, tn_buf_view(&text));
    tn_buf_free(&text);
    return s;
}

static tern_code fill(const tn_tape *t, const tn_node *n, tn_arena *arena, tn_json *out, tern_status *st)
{
    static const tn_json_type types[] = {TN_JSON_NULL,  TN_JSON_BOOL,   TN_JSON_BOOL,  TN_JSON_OBJECT,
                                         TN_JSON_ARRAY, TN_JSON_STRING, TN_JSON_NUMBER};
    out->type = types[n->type];
    out->boolean = n->type == TN_NODE_TRUE;
    if (n->type == TN_NODE_STRING)
        out->string = decoded(t, n, arena);
    if (n->type == TN_NODE_NUMBER) {
        out->string = tn_arena_dup(arena, tn_tape_text(t, n));
        tn_number_read_double(out->string.ptr, out->string.ptr + out->string.len, &out->number);
    }
    bool text = n->type == TN_NODE_STRING || n->type == TN_NODE_NUMBER;
    return text && out->string.ptr == NULL ? no_memory(st) : TERN_OK;
}

/* The node at *at and all below it; recursion is bounded by the depth that the tape was parsed with. */
static tern_code build(const tn_tape *t, uint32_t *at, tn_arena *arena, tn_json *out, tern_status *st)
{
    const tn_node *n = tn_tape_at(t, (*at)++);
    const tn_json **link = &out->first;
    tern_code code = fill(t, n, arena, out, st);
    for (uint32_t i = 0; code == TERN_OK && i < n->count; i++) {
        tn_json *child = tn_arena_zalloc(arena, sizeof *child);
        if (child == NULL)
            return no_memory(st);
        if (n->type == TN_NODE_OBJECT) {
            child->key = decoded(t, tn_tape_at(t, (*at)++), arena);
            if (child->key.ptr == NULL)
                return no_memory(st);
        }
        code = build(t, at, arena, child, st);
        *link = child;
        link = &child->next;
    }
    return code;
}

tern_code tn_json_parse(tn_str text, int max_depth, tn_arena *arena, const tn_json **out, tern_status *st)
{
    tn_tape t;
    uint32_t at = 0;
    tn_json *root = tn_arena_zalloc(arena, sizeof *root);
    if (root == NULL)
        return no_memory(st);
    tn_tape_init(&t, text, TAPE_MAX);
    tern_code code = tn_tape_parse(&t, 0, max_depth, st);
    for (size_t i = t.end; code == TERN_OK && i < text.len; i++)
        if (text.ptr[i] != ' ' && text.ptr[i] != '\n' && text.ptr[i] != '\r' && text.ptr[i] != '\t')
            code = tern_fail(st, TERN_INVALID_ARGUMENT,
                             "JSON Parse error: text after the value at offset: %zu", i);
    if (code == TERN_OK)
        code = build(&t, &at, arena, root, st);
    tn_tape_free(&t);
    *out = root;
    return code;
}

const tn_json *tn_json_get(const tn_json *object, const char *key)
{
    if (object == NULL || object->type != TN_JSON_OBJECT)
        return NULL;
    for (const tn_json *child = object->first; child != NULL; child = child->next)
        if (tn_str_eq(child->key, tn_str_from(key)))
            return child;
    return NULL;
}
