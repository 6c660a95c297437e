/*
 * fuzz_tfrecord.c - TFRecord files out of any bytes. The first byte says how: bit 0 makes the checksums right
 * where they would stand, so that what lies behind them is reached; bit 1 allows only short records.
 */
#include <stdlib.h>

#include "codec/tfrecord.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    uint8_t *bytes;
    size_t size, at;
} input;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static size_t read_some(void *context, void *to, size_t n)
{
    input *in = context;
    size_t left = in->size - in->at;
    if (n > left)
        n = left;
    if (n > 0)
        memcpy(to, in->bytes + in->at, n);
    in->at += n;
    return n;
}

static void put_crc(input *in, size_t from, size_t n)
{
    const uint32_t crc = tn_crc32c_masked(in->bytes + from, n);
    for (int i = 0; i < 4; i++)
        in->bytes[from + n + (size_t)i] = (uint8_t)(crc >> (8 * i));
}

static void make_right(input *in)
{
    for (size_t at = 0; in->size - at >= 12;) {
        uint64_t length = 0;
        put_crc(in, at, 8);
        memcpy(&length, in->bytes + at, 8);
        if (length > in->size || in->size - at - 12 < length + 4)
            return;
        put_crc(in, at + 12, (size_t)length);
        at += 16 + (size_t)length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    input in = {.bytes = malloc(size), .size = size - 1};
    require(in.bytes != NULL);
    memcpy(in.bytes, data + 1, size - 1);
    if (data[0] & 1)
        make_right(&in);
    tn_tfrecord r;
    tern_status st;
    tn_str record;
    uint64_t sum = 0;
    tern_code code;
    tn_tfrecord_init(&r, read_some, &in, data[0] & 2 ? 64 : 1u << 30);
    tern_status_init(&st);
    while ((code = tn_tfrecord_next(&r, &record, &st)) == TERN_OK && record.ptr != NULL) {
        for (size_t i = 0; i < record.len; i++)
            sum += (uint8_t)record.ptr[i];
        require(r.offset == in.at);
    }
    require(code == st.code && (code == TERN_OK || st.length > 0));
    require(sum <= 255 * (uint64_t)size && r.record.cap <= 2 * size + (2u << 20));
    tn_tfrecord_free(&r);
    free(in.bytes);
    return 0;
}
