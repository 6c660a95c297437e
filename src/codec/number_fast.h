/*
 * codec/number_fast.h - what reading (number.c) and writing (number_write.c) of numbers share. Private to the
 * two.
 *
 * 10^k lies between T * 2^(e - 127) and (T + 1) * 2^(e - 127), T the 128-bit entry of tn_number_pow10, e =
 * log2_pow10(k); T is exact for 0 <= k <= 55. Every product with T is therefore an interval, and both sides
 * decide a rounding only when no boundary lies in it. Little-endian machines with 128-bit integers. Pure, any
 * thread.
 */
#ifndef TN_CODEC_NUMBER_FAST_H
#define TN_CODEC_NUMBER_FAST_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TN_POW10_MIN (-344)
#define TN_POW10_MAX 341

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "eight digits are read and written as one little-endian word");

__extension__ typedef unsigned __int128 tn_u128;

/* [k - TN_POW10_MIN] = {upper 64 bits, lower 64 bits}, the top bit set. */
extern const uint64_t tn_number_pow10[TN_POW10_MAX - TN_POW10_MIN + 1][2];

/* floor(log2(10^k)); tools/gen_pow10.py proves it for the table's range. */
static inline int log2_pow10(int k)
{
    return (k * 217706) >> 16;
}

/*
 * The bits (without sign) of the binary64 / binary32 nearest to w * 10^q, ties to even, denormals and
 * infinity included. False when 128 bits cannot decide: then *bits is not set.
 */
bool tn_number_nearest64(uint64_t w, int64_t q, uint64_t *bits);
bool tn_number_nearest32(uint64_t w, int64_t q, uint64_t *bits);

#define TN_MAX_TENS 22 /* 10^22 is the last power of ten that is a double */

/* w * 10^q, |q| <= TN_MAX_TENS, w < 2^63: rounded once for w <= 2^53 (Clinger 1990), else twice. */
static inline double tn_scaled(uint64_t w, int64_t q)
{
    static const double tens[TN_MAX_TENS + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    return q < 0 ? (double)(int64_t)w / tens[-q] : (double)(int64_t)w * tens[q];
}

/*
 * *value: the float nearest to a number that lies within `error` (under 2^28) units in d's last place of d. d
 * is 0, or in the range of floats that are no denormals, or beyond it. False: a half between two floats is
 * that near, so that d cannot tell.
 */
static inline bool tn_float_near(double d, uint32_t error, float *value)
{
    /* The 29 bits that a double has more, at the top of 32: at a half the first is set, and no other. */
    const uint32_t half = UINT32_C(1) << 31, off = error << 3;
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    *value = (float)d;
    return ((uint32_t)bits << 3) - half + off > 2 * off;
}

#endif
