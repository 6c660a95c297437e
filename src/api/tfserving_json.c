/*
 * api/tfserving_json.c - see api/tfserving_json.h. Layouts are protobuf's JSON form as TensorFlow Serving
 * sets it up (model_servers/get_model_metadata_impl.cc, http_rest_api_util.cc).
 */
#include "api/tfserving_json.h"

#include <stdlib.h>

#include "base/status.h"
#include "codec/pb_text.h"
#include "model.pb-c.h"

static void write_version(tn_buf *out, const tn_version_status *v)
{
    tn_buf_printf(out,
                  "  {\n   \"version\": \"%lld\",\n   \"state\": \"%s\",\n   \"status\": {\n    "
                  "\"error_code\": \"%s\",\n"
                  "    \"error_message\": ",
                  (long long)v->version, tn_state_name(v->state), tn_code_name(v->error_code));
    tn_pb_json_quote(v->error_message, out);
    tn_buf_z(out, "\n   }\n  }");
}

tern_code tn_status_json(tn_models *models, const tn_target *target, tn_arena *arena, tn_buf *out,
                         tern_status *st)
{
    const tn_version_status *versions;
    uint32_t n;
    tern_code code = tn_models_status(models, target->name, target->has_version, target->version, arena,
                                      &versions, &n, st);
    if (code != TERN_OK)
        return code;
    tn_buf_z(out, "{\n \"model_version_status\": [");
    for (uint32_t i = 0; i < n; i++) {
        tn_buf_z(out, i > 0 ? ",\n" : "\n");
        write_version(out, &versions[i]);
    }
    tn_buf_z(out, n > 0 ? "\n ]\n}\n" : "]\n}\n");
    return TERN_OK;
}

/* ---- the signature map of an engine that has none on the wire ---- */

static void put_varint(tn_buf *out, uint64_t v)
{
    while (v >= 0x80) {
        tn_buf_char(out, (char)(v | 0x80));
        v >>= 7;
    }
    tn_buf_char(out, (char)v);
}

static void put_bytes(tn_buf *out, unsigned field, tn_str bytes)
{
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len);
    tn_buf_str(out, bytes);
}

static void put_int(tn_buf *out, unsigned field, uint64_t v)
{
    put_varint(out, field << 3);
    put_varint(out, v);
}

/* tensorflow.TensorInfo */
static void put_tensor_info(tn_buf *out, const tern_io *io)
{
    tn_buf shape, dim;
    tn_buf_init(&shape, 1u << 20);
    tn_buf_init(&dim, 64);
    for (int32_t i = 0; i < io->rank; i++) {
        tn_buf_clear(&dim);
        put_int(&dim, 1, (uint64_t)io->dims[i]);
        put_bytes(&shape, 2, tn_buf_view(&dim));
    }
    if (io->rank < 0)
        put_int(&shape, 3, 1);
    if (io->tensor_name.len > 0)
        put_bytes(out, 1, io->tensor_name);
    put_int(out, 2, (uint64_t)io->dtype);
    put_bytes(out, 3, tn_buf_view(&shape));
    tn_buf_free(&dim);
    tn_buf_free(&shape);
}

static void put_ios(tn_buf *out, unsigned field, const tern_io *ios, uint32_t n)
{
    tn_buf entry, info;
    tn_buf_init(&entry, 1u << 20);
    tn_buf_init(&info, 1u << 20);
    for (uint32_t i = 0; i < n; i++) {
        tn_buf_clear(&entry);
        tn_buf_clear(&info);
        put_tensor_info(&info, &ios[i]);
        put_bytes(&entry, 1, ios[i].name);
        put_bytes(&entry, 2, tn_buf_view(&info));
        put_bytes(out, field, tn_buf_view(&entry));
    }
    tn_buf_free(&info);
    tn_buf_free(&entry);
}

void tn_signature_map(const tn_version *v, tn_buf *out)
{
    const tern_signature_set *set = v->signatures;
    tn_buf entry, signature;
    if (set->signature_def_map.len > 0) {
        tn_buf_str(out, set->signature_def_map);
        return;
    }
    tn_buf_init(&entry, 16u << 20);
    tn_buf_init(&signature, 16u << 20);
    for (uint32_t i = 0; i < set->n_signatures; i++) {
        const tern_signature *s = &set->signatures[i];
        tn_buf_clear(&entry);
        tn_buf_clear(&signature);
        put_ios(&signature, 1, s->inputs, s->n_inputs);
        put_ios(&signature, 2, s->outputs, s->n_outputs);
        put_bytes(&signature, 3, s->method_name);
        put_bytes(&entry, 1, s->name);
        put_bytes(&entry, 2, tn_buf_view(&signature));
        put_bytes(out, 1, tn_buf_view(&entry));
    }
    tn_buf_free(&signature);
    tn_buf_free(&entry);
}

static void write_metadata(const tn_version *v, const Tensorflow__Serving__SignatureDefMap *map, tn_buf *out)
{
    tn_buf_z(out, "{\n\"model_spec\":{\n \"name\": ");
    tn_pb_json_quote(v->model, out);
    tn_buf_printf(
        out,
        ",\n \"version\": \"%lld\",\n \"signature_name\": \"\"\n}\n,\n\"metadata\": {\"signature_def\": ",
        (long long)v->number);
    tn_pb_json_write(&map->base, out);
    tn_buf_z(out, "\n}\n}\n");
}

tern_code tn_metadata_json(tn_models *models, const tn_target *target, tn_arena *arena, tn_buf *out,
                           tern_status *st)
{
    tn_version *v = NULL;
    Tensorflow__Serving__SignatureDefMap *map = NULL;
    tn_buf bytes;
    tn_buf_init(&bytes, 256u << 20);
    tern_code code = tn_models_acquire(models, target, &v, st);
    if (code != TERN_OK)
        goto out;
    tn_signature_map(v, &bytes);
    map = tensorflow__serving__signature_def_map__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
    if (map == NULL) {
        code =
            tern_fail(st, TERN_INTERNAL, "The signatures of model %.*s cannot be read", TN_FMT(target->name));
        goto out;
    }
    write_metadata(v, map, out);
out:
    if (map != NULL)
        tensorflow__serving__signature_def_map__free_unpacked(map, NULL);
    tn_buf_free(&bytes);
    tn_version_release(v);
    return code;
}
