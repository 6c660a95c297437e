/*
 * codec/tfrecord.h - TFRecord files, record by record, with the checks and words of TensorFlow's reader.
 *
 * A record: its length (8 bytes, little-endian), a masked CRC-32C of these, the bytes, a masked CRC-32C of
 * them (tensorflow/core/lib/io/record_reader.cc). As in the original, a file that ends within the 12 bytes of
 * a head has ended there. No compression. Pure but for the reads that the caller does. One thread at a time.
 */
#ifndef TN_CODEC_TFRECORD_H
#define TN_CODEC_TFRECORD_H

#include "base/buf.h"

typedef struct tn_tfrecord {
    /* Puts the next bytes of the file at `to`, n of them, or fewer at its end; returns how many. */
    size_t (*read)(void *context, void *to, size_t n);
    void *context;
    uint64_t offset; /* of the next record */
    tn_buf record;
} tn_tfrecord;

/* max_record: bytes of the largest record that is taken. */
void tn_tfrecord_init(tn_tfrecord *r, size_t (*read)(void *context, void *to, size_t n), void *context,
                      size_t max_record);
void tn_tfrecord_free(tn_tfrecord *r);
/*
 * The next record, valid until the next call; absent ({NULL, 0}) at the end. DATA_LOSS "corrupted record at
 * N", "truncated record at N' failed with ..." and so on; INVALID_ARGUMENT for a length that is none;
 * RESOURCE_EXHAUSTED for one over the maximum. No memory is taken for what a length only announces.
 */
TERN_MUST_USE tern_code tn_tfrecord_next(tn_tfrecord *r, tn_str *record, tern_status *st);

/* CRC-32C (Castagnoli, RFC 3720 B.4) of the bytes, as TFRecord keeps it: rotated, and a constant added. */
uint32_t tn_crc32c_masked(const void *bytes, size_t n);

#endif
