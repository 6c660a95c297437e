/* codec/json_value.c - see codec/json_value.h. */
#include "codec/json_value.h"

#include "codec/base64.h"
#include "codec/number.h"

#define STATUS_ROOM (TERN_STATUS_MESSAGE_MAX - 1)
#define WORDS_ROOM  1024 /* of an error's text: for what is not repeated from the body */

/* ---- values ---- */

const char *tn_tape_type_name(const tn_node *n)
{
    static const char *const names[] = {"Null", "False", "True", "Object", "Array", "String", "Number"};
    return names[n->type];
}

bool tn_tape_whole(const tn_tape *t, const tn_node *n, int64_t *i, uint64_t *u, bool *negative)
{
    tn_str token = tn_tape_text(t, n);
    if (n->type != TN_NODE_NUMBER || (n->flags & TN_NODE_REAL))
        return false;
    *negative = token.ptr[0] == '-' && !tn_str_eq(token, TN_STR("-0"));
    if (*negative)
        return tn_str_i64(token, i);
    if (!tn_str_u64(tn_str_sub(token, token.ptr[0] == '-', token.len), u))
        return false;
    *i = (int64_t)*u;
    return true;
}

double tn_tape_letters(tn_str token)
{
    if (tn_str_ends(token, TN_STR("NaN")))
        return __builtin_nan("");
    return token.ptr[0] == '-' ? -__builtin_inf() : __builtin_inf();
}

uint64_t tn_tape_real(const tn_tape *t, const tn_node *n, bool narrow)
{
    tn_str token = tn_tape_text(t, n);
    const char *p = token.ptr, *end = token.ptr + token.len;
    bool letters = n->flags & TN_NODE_LETTERS;
    double wide = 0;
    float f = 0;
    uint64_t bits = 0;
    if (letters)
        wide = tn_tape_letters(token);
    else if (!tn_str_eq(token, TN_STR("-0"))) /* a whole number: no sign */
        tn_number_read_double(p, end, &wide);
    f = (float)wide;
    if (narrow && !letters && wide != 0)
        tn_number_read_float(p, end, &f); /* rounded once */
    if (narrow)
        memcpy(&bits, &f, sizeof f);
    else
        memcpy(&bits, &wide, sizeof wide);
    return bits;
}

bool tn_tape_is_b64(const tn_tape *t, uint32_t i)
{
    const tn_node *n = tn_tape_at(t, i);
    return n->type == TN_NODE_OBJECT && n->count == 1 && tn_tape_is(t, tn_tape_at(t, i + 1), TN_STR("b64")) &&
           tn_tape_at(t, i + 2)->type == TN_NODE_STRING;
}

bool tn_tape_b64(const tn_tape *t, uint32_t i, tn_buf *out)
{
    const tn_node *value = tn_tape_at(t, i + 2);
    size_t length;
    tn_buf text;
    tn_buf_init(&text, value->end - value->start + 1);
    tn_tape_string(t, value, &text);
    char *room = tn_buf_reserve(out, tn_base64_room(text.len));
    bool good = room == NULL || tn_base64_decode(tn_buf_view(&text), room, &length);
    if (room != NULL && good)
        tn_buf_commit(out, length);
    tn_buf_free(&text);
    return good;
}

/* ---- errors ---- */

size_t tn_json_error_room(const tn_json_limits *limits)
{
    size_t max = limits->max_error_bytes > 0 ? (size_t)limits->max_error_bytes : STATUS_ROOM;
    return max > 2 * WORDS_ROOM ? max - WORDS_ROOM : WORDS_ROOM;
}

void tn_json_error_init(tn_json_error *e, const tn_json_limits *limits, tern_status *st)
{
    e->limits = limits;
    e->st = st;
    tn_buf_init(&e->text, 2 * tn_json_error_room(limits) + 2 * WORDS_ROOM);
}

void tn_json_put_cut(tn_buf *out, tn_str s, size_t max)
{
    tn_buf_str(out, tn_str_sub(s, 0, max));
    if (s.len > max)
        tn_buf_z(out, "...");
}

tern_code tn_json_error_made(tn_json_error *e, tern_code code)
{
    if (e->text.failed)
        return tern_fail(e->st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    return tern_fail_bytes(e->st, code, e->text.ptr, e->text.len);
}

tern_code tn_json_error_value(tn_json_error *e, const tn_tape *t, tern_code code, const char *head,
                              uint32_t i, const char *format, ...)
{
    char rest[512];
    va_list args;
    tn_buf value;
    const size_t room = tn_json_error_room(e->limits);
    tn_buf_init(&value, t->text.len * 6 + room + 64); /* one string, escaped, may pass what is enough */
    tn_tape_pretty(t, i, room + 1, &value);
    va_start(args, format);
    int n = vsnprintf(rest, sizeof rest, format, args);
    va_end(args);
    tn_buf_z(&e->text, head);
    tn_json_put_cut(&e->text, tn_buf_view(&value), room);
    tn_buf_append(&e->text, rest, n < 0 ? 0 : (size_t)n < sizeof rest ? (size_t)n : sizeof rest - 1);
    e->text.failed |= value.failed;
    tn_buf_free(&value);
    return tn_json_error_made(e, code);
}

tern_code tn_json_error_name(tn_json_error *e, const char *head, tn_str name, const char *rest)
{
    tn_buf_z(&e->text, head);
    tn_json_put_cut(&e->text, name, tn_json_error_room(e->limits));
    tn_buf_z(&e->text, rest);
    return tn_json_error_made(e, TERN_INVALID_ARGUMENT);
}
