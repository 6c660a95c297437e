/*
 * codec/json_numbers.h - the plain numbers of a JSON list, many of them, into an array. Private to
 * json_decode.c.
 *
 * An accelerator, not a judge: it takes a number only when it is plainly one and its value certain, and
 * leaves all else (exponents, very long numbers, halves between two floats, errors, the last bytes of the
 * text) where it stands, for the caller to read one value and come again. Pure, any thread.
 */
#ifndef TN_CODEC_JSON_NUMBERS_H
#define TN_CODEC_JSON_NUMBERS_H

#include "tensor/tensor.h"

/*
 * *p: where a number is to begin. Reads up to `room` numbers of the dtype into `to`, with the commas between
 * them; returns how many. Then *p is behind the list's ']' when *closed is set, else where the next number is
 * to begin. 0 for dtypes that it does not know. Values are the nearest ones, whole numbers in the dtype's
 * range.
 */
size_t tn_json_numbers(tern_dtype dtype, const char **p, const char *end, void *to, size_t room,
                       bool *closed);

#endif
