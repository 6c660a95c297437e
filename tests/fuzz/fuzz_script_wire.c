/*
 * Frames as a worker may send them: what is read stays inside its bytes, walks the same way twice, and
 * tensors that are taken have a size that belongs to their shape. What was read and is written again reads
 * the same.
 */
#include <stdint.h>
#include <stdlib.h>

#include "handler/script_wire.h"
#include "tensor/tensor.h"

static void check(bool good)
{
    if (!good)
        abort();
}

static void look_at(const tn_frame_field *field)
{
    uint64_t n;
    tn_frame_ref ref;
    tn_frame_tensor t;
    check(tn_frame_as_u64(field->bytes, &n) == (field->bytes.len == 8));
    check(tn_frame_as_ref(field->bytes, &ref) == (field->bytes.len == 24));
    if (!tn_frame_as_tensor(field, &t))
        return;
    int64_t count;
    check(tn_shape_count(t.rank, t.dims, &count));
    if (t.dtype == TERN_STRING)
        check(t.at.size >= ((uint64_t)count + 1) * 8);
    else
        check(t.at.size == (uint64_t)count * tn_dtype_size(t.dtype));
    check(t.name.ptr >= field->bytes.ptr && t.name.ptr + t.name.len == field->bytes.ptr + field->bytes.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_frame frame, again;
    tn_frame_writer w;
    tern_status st;
    tn_frame_field field;
    tn_frame_tensor t;
    size_t at = 0;
    char *copy = malloc(size > 0 ? size : 1); /* so that a read beyond its end is seen */
    char *out = malloc(TN_FRAME_MAX);
    check(copy != NULL && out != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    if (tn_frame_read((tn_str){copy, size}, &frame, &st) != TERN_OK)
        goto done;
    tn_frame_begin(&w, out, TN_FRAME_MAX, (tn_frame_type)frame.type, frame.call);
    uint32_t n = 0;
    while (tn_frame_next(&frame, &at, &field)) {
        n++;
        look_at(&field);
        if (tn_frame_as_tensor(&field, &t))
            tn_frame_put_tensor(&w, &t);
        else
            tn_frame_put(&w, field.tag, field.bytes);
        check(tn_frame_get(&frame, field.tag).ptr != NULL);
    }
    check(n == frame.n_fields && at == (n > 0 ? size : 0));
    size_t len = tn_frame_end(&w);
    check(len == size && tn_frame_read((tn_str){out, len}, &again, &st) == TERN_OK);
    check(again.type == frame.type && again.call == frame.call && again.n_fields == frame.n_fields);
done:
    free(copy);
    free(out);
    return 0;
}
