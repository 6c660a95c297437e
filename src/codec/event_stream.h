/*
 * codec/event_stream.h - application/vnd.amazon.eventstream, the writing half: the messages in which
 * SageMaker's runtime API streams an answer.
 *
 * A message (smithy.io, "Amazon Event Stream Specification"): lengths of the whole and of the headers as
 * 32 bits each, big-endian, the CRC-32 of these 8 bytes, headers, payload, the CRC-32 of everything before.
 * A header: length of its name (8 bits), name, type 7 (string), length of its value (16 bits), value.
 * Pure, any thread.
 */
#ifndef TN_CODEC_EVENT_STREAM_H
#define TN_CODEC_EVENT_STREAM_H

#include "base/buf.h"

/* Most bytes of one part: readers wait for a whole message, and some bound it. */
#define TN_EVENT_PART_MAX ((size_t)64 * 1024)
/* What the message of a part takes beside its bytes. */
#define TN_EVENT_PART_EXTRA ((size_t)105)

/* Appends one PayloadPart event with these bytes, at most TN_EVENT_PART_MAX. */
void tn_event_part(tn_buf *out, tn_str bytes);
/* Appends an exception of that type ("ModelStreamError"), its members as JSON. */
void tn_event_exception(tn_buf *out, tn_str type, tn_str json);

#endif
