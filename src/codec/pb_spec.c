/* codec/pb_spec.c - see codec/pb_spec.h. */
#include "codec/pb_spec.h"

#include "codec/pb_wire.h"

enum { SPEC_NAME = 1, SPEC_VERSION = 2, SPEC_SIGNATURE = 3, SPEC_LABEL = 4 };

static bool read_version(tn_str message, int64_t *version)
{
    tn_pb m = tn_pb_from(message);
    tn_pb_field f = {0};
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.number == 1 && f.type == TN_PB_VARINT)
            *version = (int64_t)f.value;
    }
    return true;
}

bool tn_pb_read_spec(tn_str message, tn_model_spec *s)
{
    tn_str *const texts[] = {NULL, &s->name, NULL, &s->signature_name, &s->label};
    tn_pb m = tn_pb_from(message);
    tn_pb_field f = {0};
    s->present = true;
    while (tn_pb_more(&m)) {
        if (!tn_pb_next(&m, &f))
            return false;
        if (f.type != TN_PB_BYTES || f.number > SPEC_LABEL)
            continue;
        if (f.number == SPEC_VERSION) {
            if (!s->has_version)
                s->version = 0;
            if (!read_version(f.bytes, &s->version))
                return false;
        } else {
            if (!tn_str_is_utf8(f.bytes))
                return false; /* proto3 strings are UTF-8 */
            *texts[f.number] = f.bytes;
        }
        if (f.number == SPEC_VERSION || f.number == SPEC_LABEL) {
            s->has_version = f.number == SPEC_VERSION;
            s->has_label = f.number == SPEC_LABEL;
        }
    }
    return true;
}

static uint8_t *put_string(uint8_t *out, uint32_t field, tn_str s)
{
    if (s.len == 0)
        return out;
    out += tn_pb_put_head(out, field, s.len);
    memcpy(out, s.ptr, s.len);
    return out + s.len;
}

static size_t string_size(uint32_t field, tn_str s)
{
    return s.len > 0 ? tn_pb_head_size(field, s.len) + s.len : 0;
}

static size_t version_size(int64_t version)
{
    return version != 0 ? 1 + tn_pb_varint_size((uint64_t)version) : 0;
}

static size_t content_size(tn_str model, int64_t version, tn_str signature)
{
    size_t value = version_size(version);
    return string_size(SPEC_NAME, model) + tn_pb_head_size(SPEC_VERSION, value) + value +
           string_size(SPEC_SIGNATURE, signature);
}

size_t tn_pb_spec_size(uint32_t field, tn_str model, int64_t version, tn_str signature)
{
    size_t content = content_size(model, version, signature);
    return tn_pb_head_size(field, content) + content;
}

uint8_t *tn_pb_put_spec(uint8_t *out, uint32_t field, tn_str model, int64_t version, tn_str signature)
{
    out += tn_pb_put_head(out, field, content_size(model, version, signature));
    out = put_string(out, SPEC_NAME, model);
    out += tn_pb_put_head(out, SPEC_VERSION, version_size(version));
    if (version != 0) {
        *out++ = 1 << 3;
        out += tn_pb_put_varint(out, (uint64_t)version);
    }
    return put_string(out, SPEC_SIGNATURE, signature);
}
