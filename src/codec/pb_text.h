/*
 * codec/pb_text.h - protobuf text format, read and written by protobuf-c descriptors; and protobuf's JSON form, written.
 *
 * Text format: protobuf.dev/reference/protobuf/textformat-spec (scalars, enums, strings with escapes and concatenation, nested
 * messages with {} and <>, lists, maps as entries, comments; wrappers as messages). Errors name line and column.
 * JSON: as TensorFlow Serving prints status and metadata (google/protobuf/json: 1-space indent, proto field names, int64 as
 * string, defaults printed). Pure.
 */
#ifndef TN_CODEC_PB_TEXT_H
#define TN_CODEC_PB_TEXT_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

/* Returns owned in *out (protobuf_c_message_free_unpacked). INVALID_ARGUMENT with "line L, column C: ...". */
TERN_MUST_USE tern_code tn_pb_text_parse(tn_str text, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
                                         tern_status *st);
/* DebugString()'s form, two-space indent. */
void tn_pb_text_write(const ProtobufCMessage *message, tn_buf *out);
/* JSON with TensorFlow Serving's options (add_whitespace, always print, preserve names). No newline at the end. */
void tn_pb_json_write(const ProtobufCMessage *message, tn_buf *out);

#endif
