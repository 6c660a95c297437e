/*
 * codec/pb_text.c - the text format reader; see codec/pb_text.h.
 *
 * The text is turned into the wire form, message by message, and protobuf-c unpacks that: oneofs, repetition
 * and merging are then as everywhere else. Nesting is bounded; messages of configuration files do not nest
 * deeply.
 */
#include "codec/pb_text.h"

#include <errno.h>
#include <stdlib.h>

#include "codec/pb_wire.h"
#include "google/protobuf/any.pb-c.h"
#include "server_config.pb-c.h"

#define MAX_NESTING 64
#define OUT_MAX     (64u << 20)

typedef struct reader {
    tn_str text;
    size_t at;
    tern_status *st;
} reader;

static tern_code message_body(reader *r, const ProtobufCMessageDescriptor *type, char close, int depth,
                              tn_buf *out);

/* ---- characters ---- */

static tern_code fail(const reader *r, const char *what)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < r->at && i < r->text.len; i++) {
        column = r->text.ptr[i] == '\n' ? 1 : column + 1;
        line += r->text.ptr[i] == '\n';
    }
    return tern_fail(r->st, TERN_INVALID_ARGUMENT, "line %zu, column %zu: %s", line, column, what);
}

static int peek(const reader *r)
{
    return r->at < r->text.len ? (unsigned char)r->text.ptr[r->at] : -1;
}

static void skip_blanks(reader *r)
{
    for (int c; (c = peek(r)) >= 0; r->at++) {
        if (c == '#')
            while (peek(r) >= 0 && peek(r) != '\n')
                r->at++;
        else if (c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\v')
            return;
    }
}

static bool accept(reader *r, char c)
{
    skip_blanks(r);
    if (peek(r) != (unsigned char)c)
        return false;
    r->at++;
    return true;
}

static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Letters, digits, '_', and what numbers have: '.', '+', '-'. */
static tn_str token(reader *r)
{
    skip_blanks(r);
    size_t from = r->at;
    while (is_word(peek(r)) || peek(r) == '.' || peek(r) == '-' || peek(r) == '+')
        r->at++;
    return tn_str_sub(r->text, from, r->at);
}

/* The same, but blanks may stand behind a minus; `joined` has room for the two pieces then. */
static tn_str number_token(reader *r, char joined[64])
{
    tn_str t = token(r);
    if (t.len != 1 || t.ptr[0] != '-')
        return t;
    t = token(r);
    size_t n = t.len > 0 && t.len < 63 && t.ptr[0] != '-' ? t.len : 0;
    joined[0] = '-';
    memcpy(joined + 1, t.ptr, n);
    return (tn_str){joined, n + 1};
}

/* ---- strings ---- */

static int digit_of(int c, int base)
{
    int d = c >= '0' && c <= '9'                     ? c - '0'
            : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                     : 99;
    return d < base ? d : -1;
}

static void number_escape(reader *r, int base, int most, tn_buf *out)
{
    int value = 0;
    for (int i = 0; i < most && digit_of(peek(r), base) >= 0; i++, r->at++)
        value = value * base + digit_of(peek(r), base);
    tn_buf_char(out, (char)value);
}

/* \u with 4 digits, \U with 8: a code point, or the first half of one and \u with the second. */
static bool unicode_escape(reader *r, int digits, tn_buf *out)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, r->at++) {
        if (digit_of(peek(r), 16) < 0)
            return false;
        c = c << 4 | (uint32_t)digit_of(peek(r), 16);
    }
    if (c >= 0xD800 && c < 0xDC00 && tn_str_starts(tn_str_sub(r->text, r->at, r->text.len), TN_STR("\\u"))) {
        uint32_t low = 0;
        for (size_t i = 0; i < 4; i++) {
            int d =
                r->at + 2 + i < r->text.len ? digit_of((unsigned char)r->text.ptr[r->at + 2 + i], 16) : -1;
            low = d < 0 ? 0 : low << 4 | (uint32_t)d;
        }
        if (low >= 0xDC00 && low < 0xE000) {
            c = 0x10000 + ((c - 0xD800) << 10 | (low - 0xDC00));
            r->at += 6;
        }
    }
    if (c > 0x10FFFF)
        return false;
    tn_buf_utf8(out, c);
    return true;
}

static bool escape(reader *r, tn_buf *out)
{
    static const char from[] = "abfnrtv\\'\"?", to[] = "\a\b\f\n\r\t\v\\'\"?";
    int c = peek(r);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    if (digit_of(c, 8) >= 0) {
        number_escape(r, 8, 3, out);
        return true;
    }
    r->at++;
    if ((c == 'x' || c == 'X') && digit_of(peek(r), 16) >= 0)
        number_escape(r, 16, 2, out);
    else if (c == 'u' || c == 'U')
        return unicode_escape(r, c == 'u' ? 4 : 8, out);
    else if (known != NULL)
        tn_buf_char(out, to[known - from]);
    else
        return false;
    return true;
}

/* One or more quoted pieces, which are one string. */
static tern_code string_value(reader *r, tn_buf *out)
{
    skip_blanks(r);
    if (peek(r) != '"' && peek(r) != '\'')
        return fail(r, "a quoted string is wanted here");
    while (peek(r) == '"' || peek(r) == '\'') {
        int quote = peek(r);
        for (r->at++; peek(r) != quote;) {
            int c = peek(r);
            if (c < 0 || c == '\n')
                return fail(r, "the string has no end");
            r->at++;
            if (c != '\\')
                tn_buf_char(out, (char)c);
            else if (!escape(r, out))
                return fail(r, "unknown escape in a string");
        }
        r->at++;
        skip_blanks(r);
    }
    return TERN_OK;
}

/* ---- numbers ---- */

/* A token as NUL-terminated text for the C library; false when it is too long or empty. */
static bool token_text(tn_str t, char *text)
{
    if (t.len == 0 || t.len >= 64)
        return false;
    memcpy(text, t.ptr, t.len);
    text[t.len] = '\0';
    return true;
}

static bool integer(tn_str t, bool is_signed, int bits, uint64_t *value)
{
    char text[64], *end;
    bool negative = t.len > 0 && t.ptr[0] == '-';
    tn_str digits = tn_str_sub(t, negative, t.len);
    if (!token_text(digits, text) || text[0] < '0' || text[0] > '9' || (negative && !is_signed))
        return false;
    errno = 0;
    uint64_t v = strtoull(text, &end, 0);
    uint64_t most = is_signed    ? (UINT64_C(1) << (bits - 1)) - !negative
                    : bits == 64 ? UINT64_MAX
                                 : UINT32_MAX;
    if (errno != 0 || *end != '\0' || v > most)
        return false;
    *value = negative ? 0 - v : v;
    return true;
}

static bool real(tn_str t, double *value)
{
    char text[64], *end;
    /* 1.5f, but not inf */
    if (t.len > 1 && (t.ptr[t.len - 1] == 'f' || t.ptr[t.len - 1] == 'F') &&
        ((t.ptr[t.len - 2] >= '0' && t.ptr[t.len - 2] <= '9') || t.ptr[t.len - 2] == '.'))
        t.len--;
    if (!token_text(t, text) || strpbrk(text, "xXpP(") != NULL) /* what only C calls a number */
        return false;
    const char *digits = text + (text[0] == '-');
    if (digits[0] == '+' || (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9')) /* octal */
        return false;
    *value = strtod(text, &end);
    return *end == '\0';
}

static bool boolean(tn_str t, uint64_t *value)
{
    if (integer(t, false, 64, value))
        return *value <= 1;
    *value = tn_str_eq(t, TN_STR("true")) || tn_str_eq(t, TN_STR("True")) || tn_str_eq(t, TN_STR("t"));
    return *value || tn_str_eq(t, TN_STR("false")) || tn_str_eq(t, TN_STR("False")) ||
           tn_str_eq(t, TN_STR("f"));
}

static bool enumerator(const ProtobufCEnumDescriptor *type, tn_str t, uint64_t *value)
{
    for (unsigned i = 0; i < type->n_value_names; i++)
        if (tn_str_eq(t, tn_str_from(type->values_by_name[i].name))) {
            *value = (uint64_t)(int64_t)type->values[type->values_by_name[i].index].value;
            return true;
        }
    return integer(t, true, 32, value);
}

/* ---- fields ---- */

static void put_tag(tn_buf *out, uint32_t field, uint32_t wire)
{
    uint8_t bytes[10];
    tn_buf_append(out, bytes, tn_pb_put_varint(bytes, (uint64_t)field << 3 | wire));
}

static void put_value(tn_buf *out, uint32_t field, uint64_t value)
{
    uint8_t bytes[10];
    put_tag(out, field, TN_PB_VARINT);
    tn_buf_append(out, bytes, tn_pb_put_varint(bytes, value));
}

static void put_bytes(tn_buf *out, uint32_t field, const tn_buf *bytes)
{
    uint8_t head[20];
    tn_buf_append(out, head, tn_pb_put_head(head, field, bytes->len));
    tn_buf_append(out, bytes->ptr, bytes->len);
}

static tern_code scalar(reader *r, const ProtobufCFieldDescriptor *f, tn_buf *out)
{
    char joined[64];
    size_t from = r->at;
    tn_str t = number_token(r, joined);
    uint64_t value = 0;
    double number = 0;
    float narrow;
    bool good;
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        good = boolean(t, &value);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        good = enumerator(f->descriptor, t, &value);
        break;
    case PROTOBUF_C_TYPE_INT32:
        good = integer(t, true, 32, &value);
        break;
    case PROTOBUF_C_TYPE_INT64:
        good = integer(t, true, 64, &value);
        break;
    case PROTOBUF_C_TYPE_UINT32:
        good = integer(t, false, 32, &value);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        good = integer(t, false, 64, &value);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        good = real(t, &number);
        put_tag(out, f->id, TN_PB_FIXED64);
        tn_buf_append(out, &number, sizeof number);
        return good ? TERN_OK : fail(r, "a number is wanted here");
    case PROTOBUF_C_TYPE_FLOAT:
        good = real(t, &number);
        narrow = (float)number;
        put_tag(out, f->id, TN_PB_FIXED32);
        tn_buf_append(out, &narrow, sizeof narrow);
        return good ? TERN_OK : fail(r, "a number is wanted here");
    default:
        good = false;
    }
    if (!good) {
        r->at = from;
        skip_blanks(r);
        return fail(r, f->type == PROTOBUF_C_TYPE_BOOL ? "true or false is wanted here"
                       : f->type == PROTOBUF_C_TYPE_ENUM
                           ? "this is no value of the enum"
                           : "a whole number in the field's range is wanted here");
    }
    put_value(out, f->id, value);
    return TERN_OK;
}

static tern_code one_value(reader *r, const ProtobufCFieldDescriptor *f, int depth, tn_buf *out)
{
    tn_buf inner;
    tern_code code;
    if (f->type != PROTOBUF_C_TYPE_MESSAGE && f->type != PROTOBUF_C_TYPE_STRING &&
        f->type != PROTOBUF_C_TYPE_BYTES)
        return scalar(r, f, out);
    tn_buf_init(&inner, OUT_MAX);
    if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
        code = string_value(r, &inner);
        if (code == TERN_OK && f->type == PROTOBUF_C_TYPE_STRING && !tn_str_is_utf8(tn_buf_view(&inner)))
            code = fail(r, "the string is not UTF-8");
        else if (code == TERN_OK && f->type == PROTOBUF_C_TYPE_STRING &&
                 tn_str_chr(tn_buf_view(&inner), '\0') >= 0)
            code = fail(r, "the string has a NUL in it"); /* protobuf-c's strings end there */
    } else if (accept(r, '{')) {
        code = message_body(r, f->descriptor, '}', depth + 1, &inner);
    } else if (accept(r, '<')) {
        code = message_body(r, f->descriptor, '>', depth + 1, &inner);
    } else {
        code = fail(r, "a message in { } is wanted here");
    }
    if (code == TERN_OK)
        put_bytes(out, f->id, &inner);
    tn_buf_free(&inner);
    return code;
}

/* [a, b, c], also empty. */
static tern_code list_value(reader *r, const ProtobufCFieldDescriptor *f, int depth, tn_buf *out)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return fail(r, "this field takes one value, not a list");
    if (accept(r, ']'))
        return TERN_OK;
    for (;;) {
        tern_code code = one_value(r, f, depth, out);
        if (code != TERN_OK)
            return code;
        if (accept(r, ']'))
            return TERN_OK;
        if (!accept(r, ','))
            return fail(r, "',' or ']' is wanted here");
    }
}

/* A name may stand once unless it is repeated, and of a oneof one member may. `seen`: fields by index. */
static tern_code check_once(const reader *r, const ProtobufCMessageDescriptor *type,
                            const ProtobufCFieldDescriptor *f, uint64_t *seen)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return TERN_OK;
    for (unsigned i = 0; i < type->n_fields && i < 64; i++) {
        const ProtobufCFieldDescriptor *other = &type->fields[i];
        if ((*seen >> i & 1) == 0)
            continue;
        if (other == f)
            return fail(r, "this field is not repeated, but stands here twice");
        if ((f->flags & other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
            other->quantifier_offset == f->quantifier_offset)
            return fail(r, "only one field of this group may be given, and another one was");
    }
    size_t index = (size_t)(f - type->fields);
    if (index < 64)
        *seen |= UINT64_C(1) << index;
    return TERN_OK;
}

/* ---- [type.googleapis.com/NAME] { ... } in an Any ---- */

static const ProtobufCMessageDescriptor *known_type(tn_str url)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &tensorflow__serving__saved_model_bundle_source_adapter_config__descriptor};
    const tn_str host = TN_STR("type.googleapis.com/");
    if (!tn_str_starts(url, host))
        return NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (tn_str_eq(tn_str_sub(url, host.len, url.len), tn_str_from(types[i]->name)))
            return types[i];
    return NULL;
}

/* Words with '.' and '/' between them, blanks anywhere, to `url` without blanks. */
static tn_str type_url(reader *r, char url[256])
{
    size_t n = 0;
    for (skip_blanks(r); is_word(peek(r)) || peek(r) == '.' || peek(r) == '/' || peek(r) == '-';
         skip_blanks(r)) {
        if (n < 256)
            url[n++] = (char)peek(r);
        r->at++;
    }
    return (tn_str){url, n};
}

/* Behind the '['. */
static tern_code expanded_any(reader *r, int depth, tn_buf *out)
{
    tn_buf text;
    char room[256];
    size_t from = r->at;
    tn_str url = type_url(r, room);
    const ProtobufCMessageDescriptor *type = known_type(url);
    if (type == NULL) {
        r->at = from;
        return fail(r, "this type of message is not known here");
    }
    if (!accept(r, ']'))
        return fail(r, "']' is wanted here");
    accept(r, ':');
    char close = accept(r, '{') ? '}' : accept(r, '<') ? '>' : 0;
    if (close == 0)
        return fail(r, "a message in { } is wanted here");
    tn_buf_init(&text, OUT_MAX);
    tn_buf_append(&text, url.ptr, url.len);
    put_bytes(out, 1, &text);
    tn_buf_clear(&text);
    tern_code code = message_body(r, type, close, depth + 1, &text);
    if (code == TERN_OK)
        put_bytes(out, 2, &text);
    tn_buf_free(&text);
    return code;
}

/*
 * A field without presence whose value is its default counts as not given yet, as for TensorFlow Serving's
 * reader. `written`: what the field became.
 */
static bool left_default(const ProtobufCFieldDescriptor *f, tn_str written)
{
    uint8_t tag[10];
    if (f->label != PROTOBUF_C_LABEL_NONE || f->type == PROTOBUF_C_TYPE_MESSAGE ||
        (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return false;
    for (size_t i = tn_pb_put_varint(tag, (uint64_t)f->id << 3); i < written.len; i++)
        if (written.ptr[i] != 0)
            return false;
    return true;
}

static tern_code field(reader *r, const ProtobufCMessageDescriptor *type, uint64_t *seen, int depth,
                       tn_buf *out)
{
    char name[128];
    tn_str t;
    skip_blanks(r);
    size_t from = r->at;
    while (is_word(peek(r)))
        r->at++;
    t = tn_str_sub(r->text, from, r->at);
    if (t.len == 0 || t.len >= sizeof name) {
        r->at = from;
        return fail(r, "a field's name is wanted here");
    }
    memcpy(name, t.ptr, t.len);
    name[t.len] = '\0';
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (f == NULL) {
        char text[256];
        r->at = from;
        snprintf(text, sizeof text, "message %s has no field named \"%.100s\"", type->name, name);
        return fail(r, text);
    }
    size_t after = r->at;
    r->at = from;
    tern_code code = check_once(r, type, f, seen);
    if (code != TERN_OK)
        return code;
    r->at = after;
    /* The colon may be left out before a message. */
    if (!accept(r, ':') && f->type != PROTOBUF_C_TYPE_MESSAGE)
        return fail(r, "':' is wanted here");
    size_t before = out->len, index = (size_t)(f - type->fields);
    code = accept(r, '[') ? list_value(r, f, depth, out) : one_value(r, f, depth, out);
    if (code == TERN_OK && !out->failed && index < 64 &&
        left_default(f, tn_str_sub(tn_buf_view(out), before, out->len)))
        *seen &= ~(UINT64_C(1) << index);
    return code;
}

/* Fields up to `close`, or to the end of the text when close is 0. */
static tern_code message_body(reader *r, const ProtobufCMessageDescriptor *type, char close, int depth,
                              tn_buf *out)
{
    uint64_t seen = 0;
    if (depth > MAX_NESTING)
        return fail(r, "messages are nested too deeply");
    for (;;) {
        skip_blanks(r);
        if (close != 0 && accept(r, close))
            return TERN_OK;
        if (peek(r) < 0)
            return close == 0 ? TERN_OK : fail(r, "the text ends inside a message");
        bool any = type == &google__protobuf__any__descriptor && accept(r, '[');
        if (any && seen != 0)
            return fail(r, "an Any has one content, and another one was given");
        tern_code code = any ? expanded_any(r, depth, out) : field(r, type, &seen, depth, out);
        if (code != TERN_OK)
            return code;
        seen |= any ? UINT64_MAX : 0;
        if (!accept(r, ','))
            accept(r, ';');
    }
}

tern_code tn_pb_text_parse(tn_str text, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
                           tern_status *st)
{
    reader r = {.text = text, .st = st};
    tn_buf wire;
    tn_buf_init(&wire, OUT_MAX);
    *out = NULL;
    tern_code code = message_body(&r, type, 0, 0, &wire);
    if (code == TERN_OK) {
        *out =
            wire.failed ? NULL : protobuf_c_message_unpack(type, NULL, wire.len, (const uint8_t *)wire.ptr);
        if (*out == NULL)
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a configuration of this size");
    }
    tn_buf_free(&wire);
    return code;
}
