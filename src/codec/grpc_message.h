/*
 * codec/grpc_message.h - gRPC's length-prefixed messages (grpc/doc/PROTOCOL-HTTP2.md,
 * Length-Prefixed-Message), read as they arrive, inflated when they are compressed (grpc/doc/compression.md);
 * and answers compressed.
 *
 * Pure: bytes in, pieces out, bounded by `max` on the wire and inflated. One reader for each stream; its
 * memory is the arena's. Any thread, one at a time.
 */
#ifndef TN_CODEC_GRPC_MESSAGE_H
#define TN_CODEC_GRPC_MESSAGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/pb_predict.h"

typedef enum tn_coding { TN_CODING_IDENTITY, TN_CODING_GZIP, TN_CODING_DEFLATE, TN_CODING_UNKNOWN } tn_coding;

/* The value of grpc-accept-encoding: what this file knows. */
#define TN_CODINGS "identity, deflate, gzip"

/* Value of grpc-encoding; absent is identity. */
tn_coding tn_coding_of(tn_str name);
tn_str tn_coding_name(tn_coding coding);
/* True when a list (grpc-accept-encoding) has that coding. */
bool tn_coding_accepted(tn_str list, tn_coding coding);

typedef struct tn_grpc_reader tn_grpc_reader;

typedef enum tn_grpc_event {
    TN_GRPC_NEED,  /* all of the input is used up */
    TN_GRPC_BEGIN, /* the prefix of a message is complete */
    TN_GRPC_PIECE, /* bytes of the message, never none */
    TN_GRPC_END    /* the message is complete */
} tn_grpc_event;

/* max: of one message. coding: of messages that are marked as compressed. NULL when memory is short. */
tn_grpc_reader *tn_grpc_reader_new(tn_coding coding, uint64_t max, tn_arena *arena);
/*
 * Takes some of *n bytes at *p, moves both on, and tells one thing. A compressed message is inflated into
 * room[0 .. size), which is not touched otherwise; *piece then lies there, else in the input. Errors end the
 * stream: INTERNAL for a broken prefix or compressed stream, RESOURCE_EXHAUSTED for a message over max, in
 * the words of grpc++.
 */
TERN_MUST_USE tern_code tn_grpc_read(tn_grpc_reader *r, const char **p, size_t *n, char *room, size_t size,
                                     tn_grpc_event *event, tn_str *piece, tern_status *st);
/* Bytes of the message, as the prefix announced them; 0 before BEGIN. */
uint64_t tn_grpc_announced(const tn_grpc_reader *r);
/*
 * Bytes of the message under way that are still to come as they are; 0 between messages, and of a compressed
 * one.
 */
uint64_t tn_grpc_plain_left(const tn_grpc_reader *r);
/* The message under way (or the last one) is marked as compressed. */
bool tn_grpc_is_compressed(const tn_grpc_reader *r);
/* True between messages: where a stream may end. */
bool tn_grpc_at_end(const tn_grpc_reader *r);

/*
 * Appends the compressed form of the pieces, one after the other. False when memory is short, or when it is
 * not smaller than they are: out is then as before.
 */
bool tn_grpc_compress(tn_coding coding, const tn_piece *pieces, size_t n, tn_buf *out);

#endif
