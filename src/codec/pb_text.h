/*
 * codec/pb_text.h - protobuf's text format, read by protobuf-c descriptors; and protobuf's JSON form,
 * written.
 *
 * Text format: protobuf.dev/reference/protobuf/textformat-spec (scalars, enums, strings with escapes and
 * concatenation, nested messages with {} and <>, lists, maps as entries, comments; in an Any
 * "[type.googleapis.com/NAME] { ... }" for types that configuration files hold). Errors name line and column.
 * JSON: as TensorFlow Serving prints metadata (google/protobuf/json with add_whitespace,
 * always_print_primitive_fields and
 * preserve_proto_field_names: 1-space indent, int64 as string). A repeated message whose name ends in Entry
 * is a map. Pure. Any thread.
 */
#ifndef TN_CODEC_PB_TEXT_H
#define TN_CODEC_PB_TEXT_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

/* Returns owned in *out (protobuf_c_message_free_unpacked). INVALID_ARGUMENT with "line L, column C: ...". */
TERN_MUST_USE tern_code tn_pb_text_parse(tn_str text, const ProtobufCMessageDescriptor *type,
                                         ProtobufCMessage **out, tern_status *st);
/* Appends the message. No newline at the end. */
void tn_pb_json_write(const ProtobufCMessage *message, tn_buf *out);
/*
 * Appends s as protobuf's JSON writer quotes it: besides what JSON asks for, '<', '>' and characters that do
 * not show are escaped. What is not UTF-8 becomes U+FFFD.
 */
void tn_pb_json_quote(tn_str s, tn_buf *out);

#endif
