/*
 * codec/json_numbers.c - see codec/json_numbers.h: a number is taken at once, without a branch on its digits.
 *
 * Masks of 64 characters tell which are digits, points, and ends of numbers (a comma or the list's bracket).
 * What can be wrong with numbers is looked for in all of them together; then each is cut out by its end. The
 * digits among its first 16 characters are moved to the right end of a vector, the point left out, and
 * multiplied up to one integer w. A float is w * 10^-k in double arithmetic, with an error of a few units in
 * the last place, and right unless it lies that close to a half between two floats: then it is left to the
 * caller. Digits beyond the first 16 characters only add to that error. A double is exact by Clinger's rule
 * (w and 10^k are doubles, the division rounds once) or Eisel-Lemire.
 *
 * Whole numbers are taken a block at a time where the machine can (codec/json_wholes.h).
 *
 * This file is compiled once for each set of instructions (TN_NUMBERS_LEVEL, meson.build), and once more for
 * the choice between them. On other machines json_decode.c does without. Pure, any thread.
 */
#include "codec/json_numbers.h"

#ifdef __aarch64__
#define TN_NUMBERS_LEVEL neon
#endif

#define PASTE(a, b)  a##b
#define NAMED(level) PASTE(tn_json_numbers_, level)

typedef size_t numbers_fn(tern_dtype dtype, const char **p, const char *end, void *to, size_t room,
                          bool *closed);

#ifdef __x86_64__
numbers_fn tn_json_numbers_sse42, tn_json_numbers_avx2, tn_json_numbers_avx512;
#else
static numbers_fn tn_json_numbers_neon;
#endif

#ifdef TN_NUMBERS_LEVEL

#include <string.h>

#include "codec/number_fast.h"

#define BLOCK    64                  /* characters whose masks are made */
#define CHUNK    16                  /* characters of a number whose digits are taken at once */
#define MAX_LONG 19                  /* digits that always fit into 64 bits */
#define NEED     (BLOCK + CHUNK + 8) /* a number may begin with the block's last character */

typedef struct masks {
    uint64_t digits, zeros, minuses, points, ends;
} masks;

/* ---- what differs between the sets of instructions ---- */

#ifdef __x86_64__
#include <immintrin.h>

#ifdef __AVX512VBMI2__
#include "codec/json_wholes.h"
#endif

typedef __m128i chunk;

#ifdef __AVX2__
static inline void masks_of(const char *p, masks *m)
{
    *m = (masks){0};
    for (int i = 0; i < BLOCK; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        const __m256i d = _mm256_xor_si256(x, _mm256_set1_epi8('0'));
        const __m256i is_digit = _mm256_cmpeq_epi8(_mm256_min_epu8(d, _mm256_set1_epi8(9)), d);
        const __m256i is_zero = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('0'));
        const __m256i is_minus = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('-'));
        const __m256i is_point = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('.'));
        const __m256i is_end = _mm256_or_si256(_mm256_cmpeq_epi8(x, _mm256_set1_epi8(',')),
                                               _mm256_cmpeq_epi8(x, _mm256_set1_epi8(']')));
        m->digits |= (uint64_t)(uint32_t)_mm256_movemask_epi8(is_digit) << i;
        m->zeros |= (uint64_t)(uint32_t)_mm256_movemask_epi8(is_zero) << i;
        m->minuses |= (uint64_t)(uint32_t)_mm256_movemask_epi8(is_minus) << i;
        m->points |= (uint64_t)(uint32_t)_mm256_movemask_epi8(is_point) << i;
        m->ends |= (uint64_t)(uint32_t)_mm256_movemask_epi8(is_end) << i;
    }
}
#else
static inline void masks_of(const char *p, masks *m)
{
    *m = (masks){0};
    for (int i = 0; i < BLOCK; i += 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        const __m128i d = _mm_xor_si128(x, _mm_set1_epi8('0'));
        const __m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(d, _mm_set1_epi8(9)), d);
        const __m128i is_zero = _mm_cmpeq_epi8(x, _mm_set1_epi8('0'));
        const __m128i is_minus = _mm_cmpeq_epi8(x, _mm_set1_epi8('-'));
        const __m128i is_point = _mm_cmpeq_epi8(x, _mm_set1_epi8('.'));
        const __m128i is_end =
            _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(',')), _mm_cmpeq_epi8(x, _mm_set1_epi8(']')));
        m->digits |= (uint64_t)(uint32_t)_mm_movemask_epi8(is_digit) << i;
        m->zeros |= (uint64_t)(uint32_t)_mm_movemask_epi8(is_zero) << i;
        m->minuses |= (uint64_t)(uint32_t)_mm_movemask_epi8(is_minus) << i;
        m->points |= (uint64_t)(uint32_t)_mm_movemask_epi8(is_point) << i;
        m->ends |= (uint64_t)(uint32_t)_mm_movemask_epi8(is_end) << i;
    }
}
#endif

static inline chunk load(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* The integer of the first n digits; the character at `point` is left out, when that is under CHUNK. */
static inline uint64_t value_of(chunk x, unsigned n, unsigned point)
{
    static const int8_t places[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                      0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15};
    __m128i at = load(places + n);
    if (point < CHUNK)
        at = _mm_sub_epi8(at, _mm_cmpgt_epi8(at, _mm_set1_epi8(places[point + CHUNK - 1])));
    x = _mm_shuffle_epi8(_mm_xor_si128(x, _mm_set1_epi8('0')), at);
    x = _mm_maddubs_epi16(x, _mm_set1_epi16(1 << 8 | 10));
    x = _mm_madd_epi16(x, _mm_set1_epi32(1 << 16 | 100));
    x = _mm_packus_epi32(x, x);
    x = _mm_madd_epi16(x, _mm_set1_epi32(1 << 16 | 10000));
    const uint64_t halves = (uint64_t)_mm_cvtsi128_si64(x);
    return (halves & UINT32_MAX) * 100000000 + (halves >> 32);
}

#else
#include <arm_neon.h>

typedef uint8x16_t chunk;

static inline chunk load(const void *p)
{
    return vld1q_u8(p);
}

/* One bit of each byte, which are 0 or 0xFF. */
static inline uint64_t bits_of(const uint8x16_t v[4])
{
    const uint8x16_t bits = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t low = vpaddq_u8(vandq_u8(v[0], bits), vandq_u8(v[1], bits));
    uint8x16_t high = vpaddq_u8(vandq_u8(v[2], bits), vandq_u8(v[3], bits));
    low = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(low, low)), 0);
}

static inline void masks_of(const char *p, masks *m)
{
    uint8x16_t digit[4], zero[4], minus[4], point[4], end[4];
    for (int i = 0; i < 4; i++) {
        const uint8x16_t x = load(p + i * 16), d = veorq_u8(x, vdupq_n_u8('0'));
        digit[i] = vcleq_u8(d, vdupq_n_u8(9));
        zero[i] = vceqzq_u8(d);
        minus[i] = vceqq_u8(x, vdupq_n_u8('-'));
        point[i] = vceqq_u8(x, vdupq_n_u8('.'));
        end[i] = vorrq_u8(vceqq_u8(x, vdupq_n_u8(',')), vceqq_u8(x, vdupq_n_u8(']')));
    }
    *m = (masks){bits_of(digit), bits_of(zero), bits_of(minus), bits_of(point), bits_of(end)};
}

static inline uint64_t value_of(chunk x, unsigned n, unsigned point)
{
    const uint8x16_t count = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint8x16_t tens = {10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1, 10, 1};
    const uint16x8_t hundreds = {100, 1, 100, 1, 100, 1, 100, 1};
    const uint32x4_t myriads = {10000, 1, 10000, 1};
    const uint8x16_t before = vcltq_u8(count, vdupq_n_u8((uint8_t)(CHUNK - n)));
    uint8x16_t at = vaddq_u8(count, vdupq_n_u8((uint8_t)(n - CHUNK)));
    at = vsubq_u8(at, vcgeq_u8(at, vdupq_n_u8((uint8_t)point)));
    /* What is looked up beyond the 16 is 0. */
    x = vqtbl1q_u8(veorq_u8(x, vdupq_n_u8('0')), vorrq_u8(at, before));
    const uint16x8_t pairs = vpaddq_u16(vmull_u8(vget_low_u8(x), vget_low_u8(tens)), vmull_high_u8(x, tens));
    const uint32x4_t fours =
        vpaddq_u32(vmull_u16(vget_low_u16(pairs), vget_low_u16(hundreds)), vmull_high_u16(pairs, hundreds));
    const uint64x2_t eights =
        vpaddq_u64(vmull_u32(vget_low_u32(fours), vget_low_u32(myriads)), vmull_high_u32(fours, myriads));
    return vgetq_lane_u64(eights, 0) * 100000000 + vgetq_lane_u64(eights, 1);
}
#endif

/* ---- one number ---- */

typedef struct plain {
    const char *p;     /* behind the sign */
    unsigned length;   /* from there */
    unsigned point;    /* where it is, counted from there; length: nowhere */
    uint64_t w;        /* the digits among the first 16 characters, as an integer */
    unsigned fraction; /* those of them behind the point */
    uint64_t negative; /* 1, or 0 */
} plain;

/*
 * Takes the digits behind the first 16 characters too. False: there are more than 64 bits hold for certain.
 */
static inline bool take_rest(plain *n)
{
    static const uint32_t scale[] = {1, 10, 100, 1000, 10000, 100000};
    if (n->length <= CHUNK)
        return true;
    const unsigned rest = n->length - CHUNK, has_point = n->point < n->length;
    if (n->length - has_point > MAX_LONG)
        return false;
    uint64_t x;
    memcpy(&x, n->p + CHUNK, sizeof x);
    /* `rest` digits at the top, zeros below as leading ones; the digits of a word as codec/number.c does. */
    x = (x ^ UINT64_C(0x3030303030303030)) << (64 - 8 * rest);
    x = (x * (10 << 8 | 1)) >> 8 & UINT64_C(0x00FF00FF00FF00FF);
    x = (x * (100 << 16 | 1)) >> 16 & UINT64_C(0x0000FFFF0000FFFF);
    x = (x * (UINT64_C(10000) << 32 | 1)) >> 32;
    n->w = n->w * scale[rest] + x;
    n->fraction += has_point ? rest : 0;
    return true;
}

static inline bool put_float(const plain *n, float *to)
{
    static const double scale[] = {1e0,  1e-1, 1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,
                                   1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15};
    /*
     * w, the factor and the product are each right to 2^-53; digits left out add 2^-40 when w has so many
     * bits. In units of the product's last bit that is under 2^14.
     */
    float value;
    uint32_t bits;
    if (!tn_float_near((double)(int64_t)n->w * scale[n->fraction], 1u << 14, &value) ||
        (int64_t)(n->w - n->negative) < 0 || (n->length > CHUNK && n->w < UINT64_C(1) << 40))
        return false;
    memcpy(&bits, &value, sizeof bits);
    bits |= (uint32_t)n->negative << 31;
    memcpy(to, &bits, sizeof bits);
    return true;
}

static inline bool put_double(plain *n, double *to)
{
    static const double scale[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                   1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};
    uint64_t bits;
    if (!take_rest(n) || n->w < n->negative)
        return false;
    if (n->w <= UINT64_C(1) << 53) {
        const double d = (double)(int64_t)n->w / scale[n->fraction];
        memcpy(&bits, &d, sizeof bits);
    } else if (!tn_number_nearest64(n->w, -(int64_t)n->fraction, &bits)) {
        return false;
    }
    bits |= n->negative << 63;
    memcpy(to, &bits, sizeof bits);
    return true;
}

static inline bool put_whole(plain *n, tern_dtype dtype, char *to)
{
    const uint64_t most = dtype == TERN_INT64   ? INT64_MAX
                          : dtype == TERN_INT32 ? INT32_MAX
                          : dtype == TERN_UINT8 ? UINT8_MAX
                                                : 0;
    if (n->point != n->length || (dtype == TERN_INT64 && !take_rest(n)) ||
        (dtype == TERN_UINT8 && n->negative) || n->w - n->negative > most)
        return false;
    const uint64_t v = (n->w ^ -n->negative) + n->negative;
    memcpy(to, &v, dtype == TERN_INT64 ? 8 : dtype == TERN_INT32 ? 4 : 1); /* little-endian */
    return true;
}

/* False: not plain, as is -0, which is another number than -0.0. */
static inline __attribute__((always_inline)) bool put(plain *n, tern_dtype dtype, char *to)
{
    if (dtype == TERN_FLOAT)
        return put_float(n, (float *)(void *)to);
    if (dtype == TERN_DOUBLE)
        return put_double(n, (double *)(void *)to);
    return put_whole(n, dtype, to);
}

/* ---- a block ---- */

/* What is left of a block. */
typedef struct block {
    const char *p;   /* its first character */
    unsigned at;     /* the next number's place */
    uint64_t ends;   /* of numbers not taken yet, as long as nothing is wrong */
    uint64_t others; /* what is neither digit nor end, from `at` on */
    uint64_t points, minuses;
} block;

static inline void begin(block *b)
{
    masks m;
    masks_of(b->p, &m);
    /* An end or a point that follows no digit, a point that none follows, a zero that one follows. */
    const uint64_t behind_digit = m.digits << 1, before_digit = m.digits >> 1;
    const uint64_t wrong = ((m.ends | m.points) & ~behind_digit) | (m.points & ~before_digit) |
                           (m.zeros & before_digit & ~(behind_digit | m.points << 1));
    b->at = 0;
    b->ends = m.ends & ((wrong & -wrong) - 1);
    b->others = ~(m.digits | m.ends);
    b->points = m.points;
    b->minuses = m.minuses;
}

/* Cuts out the next number, one without a point when `whole`. False: it is no plain one. */
static inline __attribute__((always_inline)) bool cut(block *b, bool whole, plain *n)
{
    const uint64_t mask = b->ends ^ (b->ends - 1); /* up to the number's end */
    const unsigned end = (unsigned)__builtin_ctzll(b->ends);
    n->negative = b->minuses >> b->at & 1;
    const unsigned first = b->at + (unsigned)n->negative;
    uint64_t inside = b->others & mask;
    inside &= inside - n->negative;
    n->p = b->p + first;
    n->length = end - first;
    n->point = whole ? n->length : (unsigned)__builtin_ctzll(inside | b->ends) - first;
    b->others &= ~mask;
    b->ends &= b->ends - 1;
    b->at = end + 1;
    if (whole ? inside != 0 || n->length > MAX_LONG
              : ((inside & (inside - 1)) | (inside & ~b->points)) != 0 || n->point >= CHUNK)
        return false;
    const unsigned chars = n->length < CHUNK ? n->length : CHUNK, digits = chars - (n->point < chars);
    n->fraction = digits - n->point;
    n->w = value_of(load(n->p), whole ? chars : digits, whole ? CHUNK : n->point);
    return true;
}

/* Leaves out so many characters (at least two), of which the last may lie behind the block. */
static inline void leave(block *b, unsigned chars)
{
    const uint64_t rest = ~UINT64_C(0) << (b->at + chars - 2) << 2;
    b->at += chars;
    b->ends &= rest;
    b->others &= rest;
}

/* Padding, mostly: eight numbers of one digit, or five with a blank behind each comma. Returns how many. */
static inline __attribute__((always_inline)) unsigned take_short(block *b, char *to, size_t unit)
{
    const uint64_t ends = b->ends >> b->at;
    const char *p = b->p + b->at;
    unsigned n, step;
    uint64_t low, high;
    memcpy(&low, p, sizeof low);
    memcpy(&high, p + 8, sizeof high);
    if ((ends & 0xFFFF) == 0xAAAA) {
        const uint64_t mask = UINT64_C(0xFF00FF00FF00FF00), commas = UINT64_C(0x2C002C002C002C00);
        if ((low & mask) != commas || (high & mask) != commas)
            return 0;
        n = 8;
        step = 2;
    } else if ((ends & 0x7FFF) == 0x2492) {
        if ((low & UINT64_C(0xFF00FFFF00FFFF00)) != UINT64_C(0x2C00202C00202C00) ||
            (high & UINT64_C(0x00FFFF00FFFF00FF)) != UINT64_C(0x00202C00202C0020))
            return 0;
        n = 5;
        step = 3;
    } else {
        return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        const uint64_t v = (uint64_t)(p[i * step] - '0');
        memcpy(to + i * unit, &v, unit);
    }
    leave(b, n * step);
    return n;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Takes what can be taken by whole blocks; returns how many numbers. */
static inline __attribute__((always_inline)) size_t
take_blocks(tern_dtype dtype, size_t unit, const char **start, const char *end, char *to, size_t room)
{
    size_t n = 0;
#ifdef __AVX512VBMI2__
    if (dtype == TERN_INT32 || dtype == TERN_INT64)
        n = tn_wholes_take(start, end, to, unit, room);
    while (n > 0 && *start < end && is_blank(**start))
        ++*start;
#endif
    return n;
}

static inline __attribute__((always_inline)) size_t list_of(tern_dtype dtype, size_t unit, const char **start,
                                                            const char *end, char *first, size_t room,
                                                            bool *closed)
{
    const bool whole = dtype != TERN_FLOAT && dtype != TERN_DOUBLE;
    const char *p = *start;
    char *to = first, *const limit = first + room * unit;
    *closed = false;
    while (to < limit && end - p >= NEED) {
        to += take_blocks(dtype, unit, &p, end, to, (size_t)(limit - to) / unit) * unit;
        if (to == limit || end - p < NEED)
            break;
        block b = {.p = p};
        begin(&b);
        if (b.ends == 0)
            break;
        do {
            plain n;
            unsigned taken = 1;
            if (!whole || limit - to < 8 * (ptrdiff_t)unit || (taken = take_short(&b, to, unit)) == 0) {
                if (!cut(&b, whole, &n) || !put(&n, dtype, to))
                    goto out;
                taken = 1;
            }
            to += taken * unit;
            p = b.p + b.at;
            if (p[-1] == ']') {
                *closed = true;
                goto out;
            }
            if (__builtin_expect(*p <= ' ', 0))
                for (; p < end && is_blank(*p); p++, b.at++)
                    b.others &= b.others - 1;
        } while (b.ends != 0 && to < limit);
    }
out:
    *start = p;
    return (size_t)(to - first) / unit;
}

size_t NAMED(TN_NUMBERS_LEVEL)(tern_dtype dtype, const char **p, const char *end, void *to, size_t room,
                               bool *closed)
{
    switch (dtype) {
    case TERN_FLOAT:
        return list_of(TERN_FLOAT, sizeof(float), p, end, to, room, closed);
    case TERN_DOUBLE:
        return list_of(TERN_DOUBLE, sizeof(double), p, end, to, room, closed);
    case TERN_INT32:
        return list_of(TERN_INT32, sizeof(int32_t), p, end, to, room, closed);
    case TERN_INT64:
        return list_of(TERN_INT64, sizeof(int64_t), p, end, to, room, closed);
    case TERN_UINT8:
        return list_of(TERN_UINT8, sizeof(uint8_t), p, end, to, room, closed);
    default:
        *closed = false;
        return 0;
    }
}

#endif

#if !defined TN_NUMBERS_LEVEL || defined __aarch64__

size_t tn_json_numbers(tern_dtype dtype, const char **p, const char *end, void *to, size_t room, bool *closed)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi"))
        return tn_json_numbers_avx512(dtype, p, end, to, room, closed);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return tn_json_numbers_avx2(dtype, p, end, to, room, closed);
    if (__builtin_cpu_supports("sse4.2"))
        return tn_json_numbers_sse42(dtype, p, end, to, room, closed);
#elif defined __aarch64__
    return tn_json_numbers_neon(dtype, p, end, to, room, closed);
#endif
    *closed = false;
    return 0;
}

#endif
