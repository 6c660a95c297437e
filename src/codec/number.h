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

/*
 * Write a text of at most TN_NUMBER_MAX bytes, no NUL; return its length. Bytes behind it, up to
 * TN_NUMBER_MAX, may be
 * overwritten: out has room for that many, always.
 */
size_t tn_number_write_float(char *out, float value);
size_t tn_number_write_double(char *out, double value);
size_t tn_number_write_i64(char *out, int64_t value);
size_t tn_number_write_u64(char *out, uint64_t value);

#endif
