/*
 * codec/json_wholes.h - whole numbers of a JSON list, all those of 64 characters at once (AVX-512 VBMI2).
 * Private to json_numbers.c, where it is compiled for machines that have it.
 *
 * Where numbers begin and end is a mask of 64 bits each; the masks are compressed to lists of places, which
 * say for each byte of the result which character it is: the digits of 16 numbers are gathered by one
 * permutation, right-aligned in four bytes each (eight numbers of up to eight digits likewise), and
 * multiplied up. No branch depends on a number. As in json_numbers.h it judges nothing: it stops before
 * whatever is not one of its numbers, a comma, and one blank at most.
 */
#ifndef TN_CODEC_JSON_WHOLES_H
#define TN_CODEC_JSON_WHOLES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define TN_WHOLES_MOST 32 /* numbers of one block, and of one round of stores */

typedef struct tn_wholes {
    uint64_t ends, starts;  /* of numbers, as many of each, or more starts */
    uint64_t longer;        /* first digits of five that follow each other */
    uint64_t negative;      /* bit i: the i-th number has a sign */
    uint64_t wrong;         /* what stops */
    __m512i digits, at, to; /* values of characters; places of starts; places behind last digits */
} tn_wholes;

static inline void tn_wholes_find(const char *p, tn_wholes *w)
{
    const __m512i x = _mm512_loadu_si512(p), d = _mm512_xor_si512(x, _mm512_set1_epi8('0'));
    const uint64_t digits = _mm512_cmple_epu8_mask(d, _mm512_set1_epi8(9));
    const uint64_t zeros = _mm512_testn_epi8_mask(d, d);
    const uint64_t commas = _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(','));
    const uint64_t blanks = _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(' '));
    const uint64_t minuses = _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8('-'));
    const uint64_t behind = digits << 1, before = digits >> 1;
    const uint64_t two = digits & before, four = two & two >> 2;
    /* What is unknown, misplaced, has a zero in front, or nine digits and more. */
    w->wrong = ~(digits | commas | blanks | minuses) | (commas & ~behind) | (blanks & ~(commas << 1)) |
               (minuses & (behind | ~before)) | (zeros & ~behind & before) | (four & four >> 4 & digits >> 8);
    w->ends = commas & ((w->wrong & -w->wrong) - 1);
    w->starts = digits & ~behind;
    w->longer = four & digits >> 4;
    w->negative = _pext_u64(minuses << 1, w->starts);
    w->digits = d;
}

/* Each byte of the result: its number's place in `places`, of `width` bytes a number, from the i-th on. */
static inline __m512i tn_wholes_spread(__m512i numbers, unsigned i, __m512i places)
{
    return _mm512_permutexvar_epi8(_mm512_add_epi8(numbers, _mm512_set1_epi8((char)i)), places);
}

/* Sixteen numbers from the i-th on, of up to four digits. */
static inline __m512i tn_wholes_short(const tn_wholes *w, unsigned i)
{
    const __m512i fours = _mm512_set_epi32(0x0F0F0F0F, 0x0E0E0E0E, 0x0D0D0D0D, 0x0C0C0C0C, 0x0B0B0B0B,
                                           0x0A0A0A0A, 0x09090909, 0x08080808, 0x07070707, 0x06060606,
                                           0x05050505, 0x04040404, 0x03030303, 0x02020202, 0x01010101, 0);
    /* -4, -3, -2, -1: from the end */
    const __m512i from =
        _mm512_add_epi8(tn_wholes_spread(fours, i, w->to), _mm512_set1_epi32((int)0xFFFEFDFCU));
    const __mmask64 own = _mm512_cmpge_epi8_mask(from, tn_wholes_spread(fours, i, w->at));
    __m512i v = _mm512_maskz_permutexvar_epi8(own, from, w->digits);
    v = _mm512_maddubs_epi16(v, _mm512_set1_epi16(1 << 8 | 10));
    return _mm512_madd_epi16(v, _mm512_set1_epi32(1 << 16 | 100));
}

/* Eight numbers from the i-th on, of up to eight digits. */
static inline __m256i tn_wholes_long(const tn_wholes *w, unsigned i)
{
    const __m512i eights =
        _mm512_set_epi64(0x0707070707070707, 0x0606060606060606, 0x0505050505050505, 0x0404040404040404,
                         0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m512i from = _mm512_add_epi8(tn_wholes_spread(eights, i, w->to),
                                         _mm512_set1_epi64((long long)0xFFFEFDFCFBFAF9F8U));
    const __mmask64 own = _mm512_cmpge_epi8_mask(from, tn_wholes_spread(eights, i, w->at));
    __m512i v = _mm512_maskz_permutexvar_epi8(own, from, w->digits);
    v = _mm512_maddubs_epi16(v, _mm512_set1_epi16(1 << 8 | 10));
    v = _mm512_madd_epi16(v, _mm512_set1_epi32(1 << 16 | 100));
    v = _mm512_add_epi64(_mm512_mul_epu32(v, _mm512_set1_epi64(10000)), _mm512_srli_epi64(v, 32));
    return _mm512_cvtepi64_epi32(v);
}

static inline void tn_wholes_store(char *to, size_t unit, __m256i v, uint64_t negative)
{
    v = _mm256_mask_sub_epi32(v, (__mmask8)negative, _mm256_setzero_si256(), v);
    if (unit == sizeof(int32_t))
        _mm256_storeu_si256((__m256i *)(void *)to, v);
    else
        _mm512_storeu_si512(to, _mm512_cvtepi32_epi64(v));
}

/*
 * Numbers of `unit` bytes (4 or 8) into `to`, which has room for `room`, from *start, where the first one
 * begins. Reads 64 characters and one more at a time, as long as they lie before `last`. Returns how many.
 */
static inline size_t tn_wholes_take(const char **start, const char *last, char *to, size_t unit, size_t room)
{
    const __m512i places =
        _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43,
                        42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22,
                        21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const char *p = *start;
    size_t got = 0;
    while (room - got >= TN_WHOLES_MOST && last - p > 64) {
        tn_wholes w;
        tn_wholes_find(p, &w);
        if (w.ends == 0)
            break;
        const unsigned n = (unsigned)__builtin_popcountll(w.ends);
        const unsigned used = 64 - (unsigned)__builtin_clzll(w.ends);
        w.to = _mm512_maskz_compress_epi8(w.ends, places);
        w.at = _mm512_maskz_compress_epi8(w.starts, places);
        if ((w.longer & (UINT64_MAX >> (64 - used))) == 0) {
            for (unsigned i = 0; i < n; i += 16) {
                const __m512i v = tn_wholes_short(&w, i);
                char *here = to + (got + i) * unit;
                tn_wholes_store(here, unit, _mm512_castsi512_si256(v), w.negative >> i);
                tn_wholes_store(here + 8 * unit, unit, _mm512_extracti64x4_epi64(v, 1),
                                w.negative >> (i + 8));
            }
        } else {
            for (unsigned i = 0; i < n; i += 8)
                tn_wholes_store(to + (got + i) * unit, unit, tn_wholes_long(&w, i), w.negative >> i);
        }
        got += n;
        p += used;
        p += *p == ' ';
        if (w.wrong != 0)
            break;
    }
    *start = p;
    return got;
}

#endif
