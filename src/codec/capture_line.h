/*
 * codec/capture_line.h - one line of captured data as SageMaker's Model Monitor reads it: JSON with input,
 * output and event metadata (developer guide, "Interpret data capture files").
 *
 * Pure, any thread.
 */
#ifndef TN_CODEC_CAPTURE_LINE_H
#define TN_CODEC_CAPTURE_LINE_H

#include "base/buf.h"

typedef enum tn_capture_encoding { TN_CAPTURE_CSV, TN_CAPTURE_JSON, TN_CAPTURE_BASE64 } tn_capture_encoding;

/*
 * How data of a content type is written: as text, when the type without its parameters is one of a list
 * ("text/csv,text/x-csv") and the data is UTF-8; else in base64.
 */
tn_capture_encoding tn_capture_encoding_of(tn_str content_type, tn_str csv_types, tn_str json_types,
                                           tn_str data);

typedef struct tn_capture_data {
    tn_str content_type; /* as it was sent; may be absent */
    tn_str data;
    tn_capture_encoding encoding;
} tn_capture_data;

typedef struct tn_capture_line {
    tn_capture_data input, output;
    tn_str event_id;
    tn_str inference_id, custom_attributes; /* of the request, or absent */
    int64_t wall_ns;                        /* when it came */
} tn_capture_line;

/* Appends the line with its newline. */
void tn_capture_line_write(const tn_capture_line *line, tn_buf *out);

#endif
