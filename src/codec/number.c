/*
 * codec/number.c - reads JSON numbers (RFC 8259, section 6) as the nearest double or float.
 *
 * Digits are read eight at a time into a 64-bit integer w, so that the number is w * 10^q. Then, cheapest
 * first: double arithmetic, which is exact by Clinger's rule or near enough for a float, Eisel-Lemire
 * (Lemire, "Number Parsing at a Gigabyte per Second", 2021) with an interval instead of the paper's proof for
 * the last bit. More than 19 digits are decided by w and w + 1 when both round alike. What is left (in
 * practice exact halves) goes as at most 801 digits and an exponent, without a decimal point and thus free of
 * locale, to libc. float rounds once, never by way of double. Pure, any thread.
 */
#include "codec/number.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number_fast.h"

static_assert(FLT_EVAL_METHOD == 0, "Clinger's path needs arithmetic in double itself");

#define MAX_EXACT  19  /* digits that always fit into 64 bits */
#define MAX_DIGITS 800 /* halves between doubles have at most 767; then only "more" matters */
#define EXP_LIMIT  (INT64_C(1) << 60)

typedef struct decimal {
    const char *whole; /* digits before the point ... */
    size_t whole_len;
    const char *frac; /* ... and after it */
    size_t frac_len;
    uint64_t w; /* all digits as one integer, when there are at most MAX_EXACT */
    int64_t q;  /* the value is (all digits) * 10^q */
    int64_t exponent;
    bool negative;
} decimal;

/* ---- Eisel-Lemire ---- */

/*
 * A binary format: precision with the hidden bit, exponent of the smallest denormal, decimal exponents worth
 * a look.
 */
typedef struct format {
    int precision;
    int min_exp;
    int min_q;
    int max_q;
    uint64_t infinity;
} format;

/* 2^64 * 10^-343 is under half of the smallest denormal; 2^64 * 10^-65 likewise. */
static const format format64 = {53, -1074, -342, 308, UINT64_C(0x7ff) << 52};
static const format format32 = {24, -149, -64, 38, UINT64_C(0xff) << 23};
static const format format_half = {11, -24, -26, 4, UINT64_C(0x1f) << 10};
static const format format_bfloat16 = {8, -133, -59, 38, UINT64_C(0xff) << 7};

/*
 * Rounds p * 2^(exp2 - 127) (2^126 <= p). slack_hi: the truth is under p + 2 units of the upper half;
 * otherwise, when exact is not set, under p + 2 units of the lower half; when exact, it is p + low / 2^64.
 */
static inline __attribute__((always_inline)) bool
round_product(tn_u128 p, uint64_t low, int exp2, bool slack_hi, bool exact, const format *f, uint64_t *bits)
{
    int shift = !(p >> 127); /* as likely as not: without a branch */
    p += (p & -(tn_u128)shift) + (low >> 63 & (uint64_t)shift);
    low <<= shift;
    exp2 -= shift;
    uint64_t hi = (uint64_t)(p >> 64);
    int keep = exp2 - f->min_exp + 1;
    if (keep < 0) { /* under a quarter of the smallest denormal, or just under its half */
        *bits = 0;
        return keep < -1 || hi < UINT64_MAX - 8;
    }
    if (keep > f->precision)
        keep = f->precision;
    uint64_t half = UINT64_C(1) << (63 - keep);
    uint64_t mantissa = keep == 0 ? 0 : hi >> (64 - keep);
    uint64_t rest = hi & (2 * half - 1);
    bool up;
    if (slack_hi) {
        /* Shifted, the truth is under hi + 5: "half" itself needs the lower half of the product. */
        if (rest + 4 - half <= 4)
            return false;
        up = rest > half;
    } else {
        uint64_t rest_low = (uint64_t)p;
        tn_u128 r = (tn_u128)rest << 64 | rest_low;
        tn_u128 boundary = (tn_u128)half << 64;
        if (exact) {
            bool tie = r == boundary && low == 0;
            up = tie ? (mantissa & 1) != 0 : r >= boundary;
        } else {
            if (r + 4 - boundary <= 4)
                return false;
            up = r > boundary;
        }
    }
    int biased = exp2 - f->min_exp - (f->precision - 1);
    uint64_t result = mantissa + up + ((uint64_t)(biased > 0 ? biased : 0) << (f->precision - 1));
    *bits = result < f->infinity ? result : f->infinity;
    return true;
}

static inline __attribute__((always_inline)) bool nearest(uint64_t w, int64_t q, const format *f,
                                                          uint64_t *bits)
{
    if (w == 0 || q < f->min_q) {
        *bits = 0;
        return true;
    }
    if (q > f->max_q) {
        *bits = f->infinity;
        return true;
    }
    const uint64_t *t = tn_number_pow10[q - TN_POW10_MIN];
    int zeros = __builtin_clzll(w);
    w <<= zeros;
    int exp2 = log2_pow10((int)q) + 64 - zeros;
    tn_u128 p = (tn_u128)w * t[0];
    if (__builtin_expect(round_product(p, 0, exp2, true, false, f, bits), 1))
        return true;
    tn_u128 p_low = (tn_u128)w * t[1];
    return round_product(p + (p_low >> 64), (uint64_t)p_low, exp2, false, q >= 0 && q <= 55, f, bits);
}

bool tn_number_nearest64(uint64_t w, int64_t q, uint64_t *bits)
{
    return nearest(w, q, &format64, bits);
}

bool tn_number_nearest32(uint64_t w, int64_t q, uint64_t *bits)
{
    return nearest(w, q, &format32, bits);
}

/* ---- digits ---- */

static inline uint64_t load8(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/*
 * Bits set only in and above the first byte that is no digit. A carry of the sum starts in a non-digit and
 * runs upward.
 */
static inline uint64_t non_digits(uint64_t x)
{
    const uint64_t high = UINT64_C(0xf0f0f0f0f0f0f0f0), three = UINT64_C(0x3030303030303030);
    return ((x & high) ^ three) | (((x + UINT64_C(0x0606060606060606)) & high) ^ three);
}

/* The number of eight digit bytes (0 .. 9, the first in the lowest byte). */
static inline uint64_t value8(uint64_t x)
{
    const uint64_t mask = UINT64_C(0x000000ff000000ff);
    x = x * 10 + (x >> 8);
    return ((x & mask) * UINT64_C(0x000f424000000064) + ((x >> 16) & mask) * UINT64_C(0x0000271000000001)) >>
           32;
}

/* Reads all digits at p into *w (modulo 2^64); returns where they end. */
static inline const char *read_digits(const char *p, const char *end, uint64_t *w)
{
    static const uint32_t scale[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    while (end - p >= 8) {
        uint64_t x = load8(p);
        uint64_t stop = non_digits(x);
        int n = stop == 0 ? 8 : __builtin_ctzll(stop) >> 3;
        if (n == 0)
            return p;
        /* The first n bytes move to the top, zeros come below them, as leading digits. */
        x = (x ^ UINT64_C(0x3030303030303030)) << (64 - 8 * n);
        *w = *w * scale[n] + value8(x);
        p += n;
        if (n < 8)
            return p;
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        *w = *w * 10 + (uint64_t)(*p - '0');
    return p;
}

/* The exponent after a mantissa, when complete; returns where the number ends. */
static inline const char *read_exponent(const char *p, const char *end, int64_t *exponent)
{
    const char *s = p;
    if (s == end || (*s | 0x20) != 'e')
        return p;
    s++;
    bool negative = s < end && *s == '-';
    if (s < end && (*s == '-' || *s == '+'))
        s++;
    if (s == end || *s < '0' || *s > '9')
        return p;
    int64_t e = 0;
    for (; s < end && *s >= '0' && *s <= '9'; s++)
        e = e < EXP_LIMIT / 10 ? e * 10 + (*s - '0') : EXP_LIMIT;
    *exponent = negative ? -e : e;
    return s;
}

/* RFC 8259: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? The longest prefix; its length, or 0. */
static inline __attribute__((always_inline)) size_t read_decimal(const char *start, const char *end,
                                                                 decimal *d)
{
    const char *p = start;
    d->negative = p < end && *p == '-';
    p += d->negative;
    d->w = 0;
    d->whole = p;
    p = p < end && *p == '0' ? p + 1 : read_digits(p, end, &d->w);
    d->whole_len = (size_t)(p - d->whole);
    if (d->whole_len == 0)
        return 0;
    d->frac = p;
    d->frac_len = 0;
    if (p < end && *p == '.') {
        const char *after = read_digits(p + 1, end, &d->w);
        if (after > p + 1) {
            d->frac = p + 1;
            d->frac_len = (size_t)(after - d->frac);
            p = after;
        }
    }
    d->exponent = 0;
    p = read_exponent(p, end, &d->exponent);
    d->q = d->exponent - (int64_t)d->frac_len;
    return (size_t)(p - start);
}

/* ---- more than 19 digits, and what 128 bits cannot decide ---- */

static inline char digit_at(const decimal *d, size_t i)
{
    return i < d->whole_len ? d->whole[i] : d->frac[i - d->whole_len];
}

/* Writes "DDDe+-N" with the value of d, exact or, over MAX_DIGITS digits, with the same neighbours. */
static void exact_text(const decimal *d, char text[static MAX_DIGITS + 32])
{
    size_t total = d->whole_len + d->frac_len;
    size_t i = 0;
    while (i < total && digit_at(d, i) == '0')
        i++;
    size_t n = 0;
    for (; i < total && n < MAX_DIGITS; i++)
        text[n++] = digit_at(d, i);
    /* The rest, if any, counts as one digit 1 below. */
    int64_t dropped = (int64_t)(total - i);
    int sticky = 0;
    for (; i < total && !sticky; i++)
        sticky = digit_at(d, i) != '0';
    text[n++] = sticky ? '1' : '0';
    text[n++] = 'e';
    int64_t e = d->q + dropped - 1;
    e = e > 9999 ? 9999 : e < -9999 ? -9999 : e;
    n += tn_number_write_i64(text + n, e);
    text[n] = '\0';
}

/*
 * The first 19 significant digits as *w * 10^*q; returns whether more follow that are not zero, i.e. whether
 * the value lies between *w and *w + 1.
 */
static bool leading_digits(const decimal *d, uint64_t *w, int64_t *q)
{
    size_t total = d->whole_len + d->frac_len;
    size_t i = 0;
    while (i < total && digit_at(d, i) == '0')
        i++;
    *w = 0;
    for (int n = 0; i < total && n < MAX_EXACT; i++, n++)
        *w = *w * 10 + (uint64_t)(digit_at(d, i) - '0');
    *q = d->q + (int64_t)(total - i);
    while (i < total && digit_at(d, i) == '0')
        i++;
    return i < total;
}

/* The long way round; false: libc must decide. */
static __attribute__((noinline)) bool nearest_long(const decimal *d, const format *f, uint64_t *bits)
{
    uint64_t w, above;
    int64_t q;
    bool more = leading_digits(d, &w, &q);
    if (!nearest(w, q, f, bits))
        return false;
    return !more || (nearest(w + 1, q, f, &above) && above == *bits);
}

static __attribute__((noinline)) uint64_t exact64(const decimal *d)
{
    char text[MAX_DIGITS + 32];
    uint64_t bits;
    exact_text(d, text);
    double v = strtod(text, NULL);
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static __attribute__((noinline)) uint32_t exact32(const decimal *d)
{
    char text[MAX_DIGITS + 32];
    uint32_t bits;
    exact_text(d, text);
    float v = strtof(text, NULL);
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* ---- formats of 16 bits ---- */

/*
 * -1, 0, 1: the text "DDDe+-N" of exact_text() against a double, which is positive and has few bits, so that
 * its decimal digits end. Both as digits without zeros around them, and the place of the point.
 */
static int compare_exact(const decimal *d, double v)
{
    char text[MAX_DIGITS + 32], want[MAX_DIGITS + 32];
    exact_text(d, text);
    snprintf(want, sizeof want, "%.*e", 400, v);
    memmove(want + 1, want + 2, strlen(want + 2) + 1); /* without the point */
    size_t n = strcspn(text, "e"), m = strcspn(want, "e");
    long point = (long)n + strtol(text + n + 1, NULL, 10), at = 1 + strtol(want + m + 1, NULL, 10);
    while (n > 1 && text[n - 1] == '0')
        n--;
    while (m > 1 && want[m - 1] == '0')
        m--;
    if (point != at)
        return point < at ? -1 : 1;
    int order = memcmp(text, want, n < m ? n : m);
    return order != 0 ? (order > 0) - (order < 0) : (n > m) - (n < m);
}

/*
 * Where 128 bits could not decide: by way of a double, and of all digits when that is a half of the format.
 */
static __attribute__((noinline)) uint64_t exact_short(const decimal *d, const format *f)
{
    const uint64_t wide = exact64(d);
    const int biased = (int)(wide >> 52), exp2 = biased - 1023;
    int keep = exp2 - f->min_exp + 1;
    double v;
    memcpy(&v, &wide, sizeof v);
    if (keep < 0 || biased == 0)
        return 0;
    if (keep > f->precision)
        keep = f->precision;
    uint64_t significand = (wide & (UINT64_MAX >> 12)) | UINT64_C(1) << 52;
    uint64_t mantissa = significand >> (53 - keep), half = UINT64_C(1) << (52 - keep);
    uint64_t rest = significand & (2 * half - 1);
    int side = rest != half ? (rest > half) - (rest < half) : compare_exact(d, v);
    int above = exp2 - f->min_exp - (f->precision - 1);
    uint64_t result = mantissa + (side > 0 || (side == 0 && (mantissa & 1) != 0)) +
                      ((uint64_t)(above > 0 ? above : 0) << (f->precision - 1));
    return result < f->infinity ? result : f->infinity;
}

static size_t read_short(const char *p, const char *end, const format *f, uint16_t *value)
{
    decimal d;
    uint64_t bits;
    size_t used = read_decimal(p, end, &d);
    if (used == 0)
        return 0;
    bool decided =
        d.whole_len + d.frac_len <= MAX_EXACT ? nearest(d.w, d.q, f, &bits) : nearest_long(&d, f, &bits);
    if (!decided)
        bits = exact_short(&d, f);
    *value = (uint16_t)(bits | (uint64_t)d.negative << 15);
    return used;
}

/* ---- public ---- */

size_t tn_number_read_half(const char *p, const char *end, uint16_t *bits)
{
    return read_short(p, end, &format_half, bits);
}

size_t tn_number_read_bfloat16(const char *p, const char *end, uint16_t *bits)
{
    return read_short(p, end, &format_bfloat16, bits);
}

float tn_number_of_bfloat16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

float tn_number_of_half(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, magnitude = bits & 0x7FFF;
    uint32_t wide = magnitude << 13;
    float value;
    if (magnitude >= 0x7C00) {
        wide |= UINT32_C(0xFF) << 23; /* NaN and infinity */
    } else if (magnitude >= 0x0400) {
        wide += (127 - 15) << 23;
    } else {
        value = (float)magnitude * 0x1p-24f;
        memcpy(&wide, &value, sizeof wide);
    }
    wide |= sign;
    memcpy(&value, &wide, sizeof value);
    return value;
}

size_t tn_number_read_double(const char *p, const char *end, double *value)
{
    decimal d;
    uint64_t bits;
    size_t used = read_decimal(p, end, &d);
    if (used == 0)
        return 0;
    if (__builtin_expect(d.whole_len + d.frac_len <= MAX_EXACT, 1)) {
        if (d.w <= UINT64_C(1) << DBL_MANT_DIG && d.q >= -TN_MAX_TENS && d.q <= TN_MAX_TENS) {
            /* Both operands are exact, so the one operation rounds once (Clinger 1990). */
            double v = tn_scaled(d.w, d.q);
            memcpy(&bits, &v, sizeof bits);
            bits |= (uint64_t)d.negative << 63;
            memcpy(value, &bits, sizeof bits);
            return used;
        }
    }
    bool decided = d.whole_len + d.frac_len <= MAX_EXACT ? nearest(d.w, d.q, &format64, &bits)
                                                         : nearest_long(&d, &format64, &bits);
    if (!decided)
        bits = exact64(&d);
    bits |= (uint64_t)d.negative << 63;
    memcpy(value, &bits, sizeof bits);
    return used;
}

size_t tn_number_read_float(const char *p, const char *end, float *value)
{
    decimal d;
    size_t used = read_decimal(p, end, &d);
    if (used == 0)
        return 0;
    uint64_t wide = 0;
    uint32_t bits;
    bool decided;
    const bool clinger = d.w < UINT64_C(1) << 63 && d.q >= -TN_MAX_TENS && d.q <= TN_MAX_TENS;
    if (__builtin_expect(d.whole_len + d.frac_len > MAX_EXACT, 0)) {
        decided = nearest_long(&d, &format32, &wide);
    } else if (clinger && tn_float_near(tn_scaled(d.w, d.q), 2, value)) {
        memcpy(&bits, value, sizeof bits);
        wide = bits;
        decided = true;
    } else {
        decided = nearest(d.w, d.q, &format32, &wide);
    }
    bits = decided ? (uint32_t)wide : exact32(&d);
    bits |= (uint32_t)d.negative << 31;
    memcpy(value, &bits, sizeof bits);
    return used;
}
