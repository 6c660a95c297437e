/*
 * codec/json_value.h - what single values of a tape mean, and errors that repeat them: shared by the readers
 * of predict bodies and of examples. Follows util/json_tensor.cc of TensorFlow Serving. Pure, any thread.
 */
#ifndef TN_CODEC_JSON_VALUE_H
#define TN_CODEC_JSON_VALUE_H

#include "codec/json_predict.h"
#include "codec/json_tape.h"

/* ---- values ---- */

/* "Null", "False", "Object", ... Static. */
const char *tn_tape_type_name(const tn_node *n);
/*
 * True for a number without fraction and exponent that fits: *negative says whether it is *i (int64) or *u
 * (uint64, also in *i as far as it fits) that counts. Larger ones are real numbers.
 */
bool tn_tape_whole(const tn_tape *t, const tn_node *n, int64_t *i, uint64_t *u, bool *negative);
/* What a number that is written in letters is: NaN or an infinity. */
double tn_tape_letters(tn_str token);
/* Bits of a number as float (narrow, rounded once) or double. */
uint64_t tn_tape_real(const tn_tape *t, const tn_node *n, bool narrow);
/* {"b64": "..."}: an object with one member of that name, a string. */
bool tn_tape_is_b64(const tn_tape *t, uint32_t i);
/*
 * Appends the bytes of such a value; false when they are no base64. When memory is short out is failed, and
 * the result true.
 */
bool tn_tape_b64(const tn_tape *t, uint32_t i, tn_buf *out);

/* ---- errors ---- */

/* An error that repeats a part of the body: all of it is in text, and in st as much as fits. */
typedef struct tn_json_error {
    tn_buf text; /* free with tn_buf_free() */
    const tn_json_limits *limits;
    tern_status *st;
} tn_json_error;

void tn_json_error_init(tn_json_error *e, const tn_json_limits *limits, tern_status *st);
/* Bytes that may be repeated. */
size_t tn_json_error_room(const tn_json_limits *limits);
/* Appends at most max bytes of s, and dots for the rest. */
void tn_json_put_cut(tn_buf *out, tn_str s, size_t max);
/* The text is the error: copies it to st, or reports that memory was short. Returns the code. */
tern_code tn_json_error_made(tn_json_error *e, tern_code code);
/* "<head><value at i><rest>", the value pretty. */
tern_code tn_json_error_value(tn_json_error *e, const tn_tape *t, tern_code code, const char *head,
                              uint32_t i, const char *format, ...) __attribute__((format(printf, 6, 7)));
/* INVALID_ARGUMENT "<head><name><rest>": the name may hold any bytes and be of any length. */
tern_code tn_json_error_name(tn_json_error *e, const char *head, tn_str name, const char *rest);

#endif
