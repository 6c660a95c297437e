/*
 * codec/number.h - decimal text to binary and back, exact, without a locale and without malloc.
 *
 * Reading is correctly rounded (Eisel-Lemire, "Number Parsing at a Gigabyte per Second", 2021, with an exact
 * fallback). Writing is TensorFlow Serving's form (util/json_tensor.cc: WriteDecimal): %.6g if that reads
 * back the same, else %.9g for float and %.17g for double; ".0" when neither '.' nor 'e' is in it; NaN,
 * Infinity, -Infinity. Byte for byte glibc's printf. Pure, any thread.
 */
#ifndef TN_CODEC_NUMBER_H
#define TN_CODEC_NUMBER_H

#include "base/str.h"

#define TN_NUMBER_MAX 40 /* longest text that the writers make */

/*
 * Reads the longest JSON number at p (end excluded). Returns the bytes consumed, 0 when none. Over the range:
 * +-infinity.
 */
size_t tn_number_read_double(const char *p, const char *end, double *value);
size_t tn_number_read_float(const char *p, const char *end, float *value);
/* The same as the bits of an IEEE 754 binary16 (half) or a bfloat16, rounded once. */
size_t tn_number_read_half(const char *p, const char *end, uint16_t *bits);
size_t tn_number_read_bfloat16(const char *p, const char *end, uint16_t *bits);

/*
 * Write a text of at most TN_NUMBER_MAX bytes, no NUL; return its length. Bytes behind it, up to
 * TN_NUMBER_MAX, may be
 * overwritten: out has room for that many, always.
 */
size_t tn_number_write_float(char *out, float value);
size_t tn_number_write_double(char *out, double value);
/* %.6g always, which tells every half and every bfloat16 from its neighbours; else as the two above. */
size_t tn_number_write_six(char *out, float value);
size_t tn_number_write_i64(char *out, int64_t value);
size_t tn_number_write_u64(char *out, uint64_t value);

/* Exact. */
float tn_number_of_half(uint16_t bits);
float tn_number_of_bfloat16(uint16_t bits);

#endif
