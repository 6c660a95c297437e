/*
 * codec/pb_json.c - the JSON writer over protobuf-c's descriptors; see codec/pb_text.h.
 */
#include "codec/base64.h"
#include "codec/number.h"
#include "codec/pb_text.h"

#define MAX_NESTING 64

static void write_message(const ProtobufCMessage *m, int depth, tn_buf *out);

static void line(tn_buf *out, int depth)
{
    tn_buf_char(out, '\n');
    tn_buf_fill(out, ' ', (size_t)depth);
}

static tn_str enum_name(const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(type, value);
    return v != NULL ? tn_str_from(v->name) : TN_STR_NONE;
}

static void write_enum(const ProtobufCFieldDescriptor *f, int value, tn_buf *out)
{
    tn_str name = enum_name(f->descriptor, value);
    if (name.ptr != NULL)
        tn_pb_json_quote(name, out);
    else
        tn_buf_i64(out, value);
}

/* ---- strings ---- */

/* google/protobuf/json/internal/writer.cc: MustEscape, but for those with a letter of their own. */
static bool must_escape(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0, 0x1F},          {'<', '<'},         {'>', '>'},         {0x7F, 0x9F},     {0xAD, 0xAD},
        {0x600, 0x603},     {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x17B4, 0x17B5}, {0x200B, 0x200F},
        {0x2028, 0x202E},   {0x2060, 0x2064},   {0x206A, 0x206F},   {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB},
        {0x1D173, 0x1D17A}, {0xE0001, 0xE0001}, {0xE0020, 0xE007F},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

/* The scalar value at s[i], and its bytes; 0 bytes when there is none. */
static uint32_t scalar_at(tn_str s, size_t i, size_t *n)
{
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    for (*n = 1; *n <= 4 && i + *n <= s.len; ++*n) {
        if (!tn_str_is_utf8(tn_str_sub(s, i, i + *n)))
            continue;
        uint32_t c = (unsigned char)s.ptr[i] & masks[*n];
        for (size_t k = 1; k < *n; k++)
            c = c << 6 | ((unsigned char)s.ptr[i + k] & 0x3F);
        return c;
    }
    *n = 0;
    return 0;
}

static void put_escaped(uint32_t c, tn_buf *out)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *letter = c > 0 && c < 0x80 ? strchr(from, (int)c) : NULL;
    if (letter != NULL)
        tn_buf_printf(out, "\\%c", to[letter - from]);
    else if (c < 0x10000)
        tn_buf_printf(out, "\\u%04x", c);
    else
        tn_buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3FF));
}

void tn_pb_json_quote(tn_str s, tn_buf *out)
{
    tn_buf_char(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t n;
        uint32_t c = scalar_at(s, i, &n);
        if (n == 0)
            tn_buf_z(out, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\' || must_escape(c))
            put_escaped(c, out);
        else
            tn_buf_append(out, s.ptr + i, n);
        i += n > 0 ? n : 1;
    }
    tn_buf_char(out, '"');
}

/* ---- values ---- */

/*
 * google/protobuf/io/strtod.cc: 6 (15) digits when they read back, else 9 (17); whole numbers without a
 * point; "NaN" as a string.
 */
static void write_number(double value, bool narrow, tn_buf *out)
{
    char text[64];
    if (value != value || value - value != 0) {
        tn_buf_z(out, value != value ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    double back = 0;
    float back_narrow = 0;
    int n = snprintf(text, sizeof text, "%.*g", narrow ? 6 : 15, value);
    tn_number_read_double(text, text + n, &back);
    tn_number_read_float(text, text + n, &back_narrow);
    if (narrow ? back_narrow != (float)value : back != value)
        snprintf(text, sizeof text, "%.*g", narrow ? 9 : 17, value);
    tn_buf_z(out, text);
}

static void write_bytes(const ProtobufCBinaryData *data, tn_buf *out)
{
    tn_buf_char(out, '"');
    tn_base64_encode((tn_str){(const char *)data->data, data->len}, out);
    tn_buf_char(out, '"');
}

/* One value; `at` points at it in the struct or the array. */
static void write_value(const ProtobufCFieldDescriptor *f, const void *at, int depth, tn_buf *out)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        tn_buf_i64(out, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        tn_buf_u64(out, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        tn_buf_printf(out, "\"%lld\"", (long long)*(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        tn_buf_printf(out, "\"%llu\"", (unsigned long long)*(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        write_number((double)*(const float *)at, true, out);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        write_number(*(const double *)at, false, out);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        tn_buf_z(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(f, *(const int *)at, out);
        break;
    case PROTOBUF_C_TYPE_STRING:
        tn_pb_json_quote(tn_str_from(*(char *const *)at), out);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        write_bytes(at, out);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        write_message(*(ProtobufCMessage *const *)at, depth, out);
        break;
    }
}

static size_t width_of(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

static bool is_map(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *type = f->descriptor;
    return f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE &&
           type->n_fields == 2 && tn_str_ends(tn_str_from(type->short_name), TN_STR("Entry"));
}

/* {"key": value, ...}: the entries' own two fields. */
static void write_map(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, int depth, tn_buf *out)
{
    size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
    ProtobufCMessage *const *entries = *(ProtobufCMessage *const *const *)((const char *)m + f->offset);
    tn_buf_char(out, '{');
    for (size_t i = 0; i < n; i++) {
        const ProtobufCFieldDescriptor *key = &entries[i]->descriptor->fields[0],
                                       *value = &entries[i]->descriptor->fields[1];
        const char *at = (const char *)entries[i] + value->offset;
        if (i > 0)
            tn_buf_char(out, ',');
        line(out, depth + 1);
        tn_pb_json_quote(tn_str_from(*(char *const *)((const char *)entries[i] + key->offset)), out);
        tn_buf_z(out, ": ");
        if (value->type == PROTOBUF_C_TYPE_MESSAGE && *(ProtobufCMessage *const *)(const void *)at == NULL)
            tn_buf_z(out, "{}");
        else
            write_value(value, at, depth + 1, out);
    }
    if (n > 0)
        line(out, depth);
    tn_buf_char(out, '}');
}

static void write_list(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, int depth, tn_buf *out)
{
    size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
    const char *items = *(const char *const *)((const char *)m + f->offset);
    tn_buf_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            tn_buf_char(out, ',');
        line(out, depth + 1);
        write_value(f, items + i * width_of(f), depth + 1, out);
    }
    if (n > 0)
        line(out, depth);
    tn_buf_char(out, ']');
}

/* Messages that are not set are left out, and of a oneof all but the one that is; all else is printed. */
static bool is_printed(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id;
    return f->label == PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE ||
           *(ProtobufCMessage *const *)((const char *)m + f->offset) != NULL;
}

static void write_message(const ProtobufCMessage *m, int depth, tn_buf *out)
{
    bool any = false;
    tn_buf_char(out, '{');
    for (unsigned i = 0; depth < MAX_NESTING && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (!is_printed(m, f))
            continue;
        if (any)
            tn_buf_char(out, ',');
        any = true;
        line(out, depth + 1);
        tn_pb_json_quote(tn_str_from(f->name), out);
        tn_buf_z(out, ": ");
        if (is_map(f))
            write_map(m, f, depth + 1, out);
        else if (f->label == PROTOBUF_C_LABEL_REPEATED)
            write_list(m, f, depth + 1, out);
        else
            write_value(f, (const char *)m + f->offset, depth + 1, out);
    }
    if (any)
        line(out, depth);
    tn_buf_char(out, '}');
}

void tn_pb_json_write(const ProtobufCMessage *message, tn_buf *out)
{
    write_message(message, 0, out);
}
