/*
 * codec/tfrecord.c - see codec/tfrecord.h.
 *
 * A record is read in steps of 1 MB, so that a length of many gigabytes in a short file costs nothing.
 */
#include "codec/tfrecord.h"

#define STEP       (1u << 20)
#define HEAD_BYTES 12
#define CRC_BYTES  4
#define MASK_DELTA 0xa282ead8u

/* Four bits at a time: the table stays in a cache line, and files of this kind are small. */
uint32_t tn_crc32c_masked(const void *bytes, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const uint8_t *p = bytes;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + MASK_DELTA;
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

void tn_tfrecord_init(tn_tfrecord *r, size_t (*read)(void *context, void *to, size_t n), void *context,
                      size_t max_record)
{
    *r = (tn_tfrecord){.read = read, .context = context};
    tn_buf_init(&r->record, max_record);
}

void tn_tfrecord_free(tn_tfrecord *r)
{
    tn_buf_free(&r->record);
}

/* The record's bytes into r->record. */
static tern_code read_bytes(tn_tfrecord *r, uint64_t length, tern_status *st)
{
    tn_buf_clear(&r->record);
    if (length > r->record.max)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "record at %llu is too large: %llu bytes, at most %zu are read",
                         (unsigned long long)r->offset, (unsigned long long)length, r->record.max);
    for (size_t left = (size_t)length; left > 0;) {
        size_t n = left < STEP ? left : STEP;
        char *room = tn_buf_reserve(&r->record, n);
        if (room == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the record at %llu of %llu bytes",
                             (unsigned long long)r->offset, (unsigned long long)length);
        size_t got = r->read(r->context, room, n);
        tn_buf_commit(&r->record, got);
        left -= got;
        if (got < n)
            break;
    }
    return TERN_OK;
}

static tern_code read_record(tn_tfrecord *r, uint64_t length, tern_status *st)
{
    uint8_t sum[CRC_BYTES];
    if (length >= UINT64_MAX - CRC_BYTES)
        return tern_fail(st, TERN_DATA_LOSS, "record size too large");
    if (length > (uint64_t)INT64_MAX - CRC_BYTES)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Cannot read negative number of bytes");
    tern_code code = read_bytes(r, length, st);
    if (code != TERN_OK)
        return code;
    if (r->record.len < length || r->read(r->context, sum, sizeof sum) < sizeof sum)
        return tern_fail(st, TERN_DATA_LOSS,
                         "truncated record at %llu' failed with Read less bytes than requested",
                         (unsigned long long)r->offset);
    if (tn_crc32c_masked(r->record.ptr, r->record.len) != little(sum, CRC_BYTES))
        return tern_fail(st, TERN_DATA_LOSS, "corrupted record at %llu",
                         (unsigned long long)(r->offset + HEAD_BYTES));
    return TERN_OK;
}

tern_code tn_tfrecord_next(tn_tfrecord *r, tn_str *record, tern_status *st)
{
    uint8_t head[HEAD_BYTES];
    *record = TN_STR_NONE;
    if (r->read(r->context, head, sizeof head) < sizeof head)
        return TERN_OK;
    if (tn_crc32c_masked(head, 8) != little(head + 8, CRC_BYTES))
        return tern_fail(st, TERN_DATA_LOSS, "corrupted record at %llu%s", (unsigned long long)r->offset,
                         r->offset == 0 ? " (Is this even a TFRecord file?)" : "");
    const uint64_t length = little(head, 8);
    tern_code code = read_record(r, length, st);
    if (code != TERN_OK)
        return code;
    r->offset += HEAD_BYTES + length + CRC_BYTES;
    *record = (tn_str){r->record.len > 0 ? r->record.ptr : "", r->record.len};
    return TERN_OK;
}
