/*
 * codec/number_write.c - writes numbers as TensorFlow Serving's JSON does, byte for byte like glibc's printf.
 *
 * A value is m * 2^(e - 63), m with its top bit set. Its first P significant digits are the integer D nearest
 * to v * 10^k; the product of m with the 128-bit power has an error under two units of its upper 128 bits, so
 * that D is certain unless a half lies that close. Exact halves are exact products (0 <= k <= 55) or integer
 * divisions; what is left goes to snprintf. Whether the short form reads back is asked of the reader's own
 * core. Pure, any thread.
 */
#include "codec/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number_fast.h"

#define SHORT_DIGITS  6
#define FLOAT_DIGITS  9
#define DOUBLE_DIGITS 17

typedef bool (*nearest_fn)(uint64_t w, int64_t q, uint64_t *bits);

/* v = significand * 2^(exp2 - 63), the top bit of significand set. */
typedef struct binary {
    uint64_t significand;
    int exp2;
} binary;

/* v rounded to P digits: digits * 10^(exp10 - P + 1), 10^(P-1) <= digits < 10^P. */
typedef struct rounded {
    uint64_t digits;
    int exp10;
} rounded;

/* clang-format off */
static const uint64_t pow10_u64[20] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000,
    1000000000000, 10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000,
    1000000000000000000, UINT64_C(10000000000000000000)};
/* clang-format on */

/* ---- digits to text ---- */

/* x < 10^8 as eight digit values, the first in the lowest byte. */
static inline uint64_t split8(uint32_t x)
{
    uint64_t v = (uint64_t)(x / 10000) | (uint64_t)(x % 10000) << 32;
    uint64_t t = ((v * 10486) >> 20) & UINT64_C(0x0000007f0000007f);
    v = t | (v - t * 100) << 16;
    t = ((v * 103) >> 10) & UINT64_C(0x000f000f000f000f);
    return t | (v - t * 10) << 8;
}

static inline void store8(char *out, uint64_t digits)
{
    digits |= UINT64_C(0x3030303030303030);
    memcpy(out, &digits, sizeof digits);
}

size_t tn_number_write_u64(char *out, uint64_t value)
{
    if (value >= 100000000) {
        size_t n = tn_number_write_u64(out, value / 100000000);
        store8(out + n, split8((uint32_t)(value % 100000000)));
        return n + 8;
    }
    uint64_t v = split8((uint32_t)value);
    int zeros = v == 0 ? 7 : __builtin_ctzll(v) >> 3;
    store8(out, v >> (8 * zeros));
    return 8 - (size_t)zeros;
}

size_t tn_number_write_i64(char *out, int64_t value)
{
    *out = '-';
    size_t sign = value < 0;
    return sign + tn_number_write_u64(out + sign, sign ? 0 - (uint64_t)value : (uint64_t)value);
}

/* P digits as characters, those behind the first as one integer, so that they move about in registers. */
typedef struct spread {
    char first;
    size_t n;     /* without zeros at the end, at least 1 */
    tn_u128 rest; /* the second digit in the lowest byte; their values, without '0' */
} spread;

static inline size_t used_bytes(uint64_t v)
{
    return v == 0 ? 0 : 8 - (size_t)(__builtin_clzll(v) >> 3);
}

static inline __attribute__((always_inline)) spread spread_digits(uint64_t digits, int precision)
{
    if (precision == SHORT_DIGITS) {
        const uint64_t v = split8((uint32_t)digits * 100);
        return (spread){(char)('0' + (v & 0xFF)), used_bytes(v), v >> 8};
    }
    const uint64_t low = split8((uint32_t)(digits % 100000000)), upper = digits / 100000000;
    if (precision == FLOAT_DIGITS)
        return (spread){(char)('0' + upper), 1 + used_bytes(low), low};
    const uint64_t high = split8((uint32_t)(upper % 100000000));
    return (spread){(char)('0' + upper / 100000000), low != 0 ? 9 + used_bytes(low) : 1 + used_bytes(high),
                    (tn_u128)low << 64 | high};
}

/* Digits of which no more than `precision` - 1 count; may write up to 16. */
static inline __attribute__((always_inline)) void store_digits(char *out, tn_u128 digits, int precision)
{
    store8(out, (uint64_t)digits);
    if (precision == DOUBLE_DIGITS)
        store8(out + 8, (uint64_t)(digits >> 64));
}

static __attribute__((noinline)) size_t layout_exponent(char *out, const spread *s, int x, int precision)
{
    out[0] = s->first;
    out[1] = '.';
    store_digits(out + 2, s->rest, precision);
    size_t at = s->n > 1 ? s->n + 1 : 1;
    unsigned e = (unsigned)(x < 0 ? -x : x);
    out[at++] = 'e';
    out[at++] = x < 0 ? '-' : '+';
    if (e >= 100)
        out[at++] = (char)('0' + e / 100);
    out[at++] = (char)('0' + e / 10 % 10);
    out[at++] = (char)('0' + e % 10);
    return at;
}

/*
 * C17 7.21.6.1, %g: fixed for -4 <= exp10 < P, else with an exponent; then ".0" when it would look like an
 * integer. Whether a number is under 1 is as good as random, so fixed has no branch: zeros, then all digits,
 * then the point and once more those behind it.
 */
static inline __attribute__((always_inline)) size_t layout(char *out, rounded r, int precision)
{
    const spread s = spread_digits(r.digits, precision);
    const int x = r.exp10;
    if (__builtin_expect(x >= precision || x < -4, 0))
        return layout_exponent(out, &s, x, precision);
    const unsigned whole = x < 0 ? 0 : (unsigned)x, zeros = x < 0 ? (unsigned)-x : 0; /* beside the first */
    const size_t at = zeros > 0 ? zeros + 1 : 0;
    const tn_u128 fraction = precision == DOUBLE_DIGITS ? s.rest >> (4 * whole) >> (4 * whole)
                                                        : (uint64_t)s.rest >> (4 * whole) >> (4 * whole);
    memcpy(out, "0.000000", 8);
    out[at] = s.first;
    store_digits(out + at + 1, s.rest, precision);
    out[whole + 1] = '.';
    store_digits(out + whole + zeros + 2, fraction, precision);
    const size_t n = s.n + zeros, least = whole + 2;
    return (n > least ? n : least) + 1;
}

/* ---- binary to digits ---- */

/* floor(log10(v)): the estimate from the exponent is at most one too low. */
static inline int floor_log10(binary b)
{
    int x = (b.exp2 * 315653) >> 20;
    const uint64_t *next = tn_number_pow10[x + 1 - TN_POW10_MIN];
    /* Equal upper halves with an empty lower one are an exact power: no cut entry ends in 64 zero bits. */
    bool reached = b.exp2 == log2_pow10(x + 1) &&
                   (b.significand > next[0] || (b.significand == next[0] && next[1] == 0));
    return x + reached;
}

/* v * 10^k for k < 0 and integers under 2^64: exact, ties to even. False when v is not such a one. */
static bool divide(binary b, int k, uint64_t *digits)
{
    if (k >= 0 || k < -19 || b.exp2 < 0 || b.exp2 > 63 ||
        (b.significand & ((UINT64_C(1) << (63 - b.exp2)) - 1)) != 0)
        return false;
    uint64_t v = b.significand >> (63 - b.exp2);
    uint64_t by = pow10_u64[-k];
    uint64_t d = v / by, rest = v % by;
    *digits = d + (rest > by / 2 || (rest == by / 2 && (d & 1) != 0));
    return true;
}

/* The second step of scale: all 192 bits of the product. */
static __attribute__((noinline)) bool scale_exact(binary b, int k, int cut, uint64_t *digits)
{
    const uint64_t *t = tn_number_pow10[k - TN_POW10_MIN];
    tn_u128 p_low = (tn_u128)b.significand * t[1];
    tn_u128 p = (tn_u128)b.significand * t[0] + (p_low >> 64);
    uint64_t d = (uint64_t)(p >> cut);
    tn_u128 half = (tn_u128)1 << (cut - 1);
    tn_u128 rest = p & (2 * half - 1);
    if (k >= 0 && k <= 55) {
        bool tie = rest == half && (uint64_t)p_low == 0;
        *digits = d + (tie ? (d & 1) : rest >= half);
        return true;
    }
    if (rest + 2 - half <= 2) /* the truth is in [p, p + 2) */
        return divide(b, k, digits);
    *digits = d + (rest > half);
    return true;
}

/* round(v * 10^k), where that has 6 to 17 digits. False when undecided. */
static inline __attribute__((always_inline)) bool scale(binary b, int k, uint64_t *digits)
{
    const uint64_t *t = tn_number_pow10[k - TN_POW10_MIN];
    /* The product's upper 128 bits times 2^-cut; 10^5 <= v * 10^k < 10^17 keeps 70 <= cut <= 110. */
    int cut = 126 - b.exp2 - log2_pow10(k);
    uint64_t hi = (uint64_t)(((tn_u128)b.significand * t[0]) >> 64);
    uint64_t half = UINT64_C(1) << (cut - 65);
    uint64_t rest = hi & (2 * half - 1);
    if (__builtin_expect(rest + 2 - half <= 2, 0)) /* the truth is in [hi, hi + 2) */
        return scale_exact(b, k, cut, digits);
    *digits = (hi >> (cut - 64)) + (rest > half);
    return true;
}

static inline __attribute__((always_inline)) bool round_to(binary b, int exp10, int precision, rounded *r)
{
    if (!scale(b, precision - 1 - exp10, &r->digits))
        return false;
    bool carry = r->digits == pow10_u64[precision];
    r->exp10 = exp10 + carry;
    r->digits = carry ? pow10_u64[precision - 1] : r->digits;
    return true;
}

/* ---- public ---- */

/* What the fast way could not decide. value > 0 and finite; a float when precision says so. */
static __attribute__((noinline)) size_t write_slow(char *out, double value, int precision)
{
    char text[TN_NUMBER_MAX];
    int n = snprintf(text, sizeof text, "%.*g", SHORT_DIGITS, value);
    bool same = precision == SHORT_DIGITS   ? true
                : precision == FLOAT_DIGITS ? strtof(text, NULL) == (float)value
                                            : strtod(text, NULL) == value;
    if (!same)
        n = snprintf(text, sizeof text, "%.*g", precision, value);
    if (strpbrk(text, ".e") == NULL) {
        text[n++] = '.';
        text[n++] = '0';
    }
    memcpy(out, text, (size_t)n);
    return (size_t)n;
}

/*
 * Whether six digits may read back, told from the P digits in r: only when the two lie as close as the
 * format's values do. A double that is no denormal is within 2^-53 of a text that reads as it, a float within
 * 2^-24: that is 12 units of the last of 17 digits, and 60 of the last of nine. Then r is these six digits.
 */
static inline __attribute__((always_inline)) bool may_be_short(rounded *r, int precision)
{
    const uint64_t unit = precision == FLOAT_DIGITS ? 1000 : UINT64_C(100000000000);
    const uint64_t slack = precision == FLOAT_DIGITS ? 62 : 14;
    const uint64_t digits = (r->digits + slack) / unit;
    if (r->digits + slack - digits * unit > 2 * slack)
        return false;
    const bool carry = digits == pow10_u64[SHORT_DIGITS];
    r->digits = carry ? pow10_u64[SHORT_DIGITS - 1] : digits;
    r->exp10 += carry;
    return true;
}

/* bits: of the format without sign, as `back` gives them; neither zero nor infinite. */
static inline __attribute__((always_inline)) size_t
write_binary(char *out, binary b, uint64_t bits, bool normal, nearest_fn back, double value, int precision)
{
    int exp10 = floor_log10(b);
    rounded r, few;
    uint64_t again;
    if (!round_to(b, exp10, precision, &r))
        return write_slow(out, value, precision);
    few = r;
    if (normal && !may_be_short(&few, precision))
        return layout(out, r, precision);
    if (!normal && !round_to(b, exp10, SHORT_DIGITS, &few))
        return write_slow(out, value, precision);
    const int q = few.exp10 - SHORT_DIGITS + 1;
    float near;
    if (precision == FLOAT_DIGITS && q >= -TN_MAX_TENS && q <= TN_MAX_TENS &&
        tn_float_near(tn_scaled(few.digits, q), 1, &near))
        return (double)near == value ? layout(out, few, SHORT_DIGITS) : layout(out, r, precision);
    if (!back(few.digits, q, &again))
        return write_slow(out, value, precision);
    if (again == bits)
        return layout(out, few, SHORT_DIGITS);
    return layout(out, r, precision);
}

/* NaN, the infinities, and integers of at most six digits; 0: none of these. */
static inline size_t write_simple(char *out, double value)
{
    if (value < 1e6) {
        uint32_t v = (uint32_t)value;
        if (v != value)
            return 0;
        size_t n = tn_number_write_u64(out, v);
        memcpy(out + n, ".0", 2);
        return n + 2;
    }
    if (value <= (double)INFINITY && value != (double)INFINITY)
        return 0;
    size_t n = value == (double)INFINITY ? 8 : 3;
    memcpy(out, n == 8 ? "Infinity" : "NaN", n);
    return n;
}

/* SHORT_DIGITS and no more; or FLOAT_DIGITS when those do not read back. */
static inline __attribute__((always_inline)) size_t write_narrow(char *out, float value, int precision)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    *out = '-';
    size_t sign = bits >> 31 && value == value; /* no "-NaN" */
    bits &= UINT32_C(0x7fffffff);
    out += sign;
    float magnitude;
    memcpy(&magnitude, &bits, sizeof magnitude);
    size_t n = write_simple(out, (double)magnitude);
    if (n != 0)
        return sign + n;
    int biased = (int)(bits >> 23);
    binary b = {((uint64_t)bits << 40) | UINT64_C(1) << 63, biased - 127};
    if (__builtin_expect(biased == 0, 0)) {
        int zeros = __builtin_clzll(bits);
        b = (binary){(uint64_t)bits << zeros, 63 - 149 - zeros};
    }
    rounded r;
    if (precision == SHORT_DIGITS)
        return sign + (round_to(b, floor_log10(b), SHORT_DIGITS, &r)
                           ? layout(out, r, SHORT_DIGITS)
                           : write_slow(out, (double)magnitude, SHORT_DIGITS));
    return sign +
           write_binary(out, b, bits, biased != 0, tn_number_nearest32, (double)magnitude, FLOAT_DIGITS);
}

size_t tn_number_write_float(char *out, float value)
{
    return write_narrow(out, value, FLOAT_DIGITS);
}

size_t tn_number_write_six(char *out, float value)
{
    return write_narrow(out, value, SHORT_DIGITS);
}

size_t tn_number_write_double(char *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    *out = '-';
    size_t sign = bits >> 63 && value == value;
    bits &= UINT64_MAX >> 1;
    out += sign;
    double magnitude;
    memcpy(&magnitude, &bits, sizeof magnitude);
    size_t n = write_simple(out, magnitude);
    if (n != 0)
        return sign + n;
    int biased = (int)(bits >> 52);
    binary b = {bits << 11 | UINT64_C(1) << 63, biased - 1023};
    if (__builtin_expect(biased == 0, 0)) {
        int zeros = __builtin_clzll(bits);
        b = (binary){bits << zeros, 63 - 1074 - zeros};
    }
    return sign + write_binary(out, b, bits, biased != 0, tn_number_nearest64, magnitude, DOUBLE_DIGITS);
}
