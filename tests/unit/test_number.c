/*
 * Unit tests of codec/number.h: fixed hard cases, and random bit patterns against strtod, strtof and
 * snprintf.
 *
 * A million patterns of each format run always; TERN_LONG=1 runs a hundred million, TERN_SEED=N other ones.
 * Every text lies at the very end of its memory, so that AddressSanitizer sees a read past it.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/number.h"
#include "codec/number_fast.h"

static uint64_t bits64(double v)
{
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static uint32_t bits32(float v)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static double from64(uint64_t b)
{
    double v;
    memcpy(&v, &b, sizeof v);
    return v;
}

static float from32(uint32_t b)
{
    float v;
    memcpy(&v, &b, sizeof v);
    return v;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t seed(void)
{
    const char *text = getenv("TERN_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static size_t rounds(void)
{
    const char *text = getenv("TERN_LONG");
    return text != NULL && text[0] == '1' ? 100000000 : 1000000;
}

/*
 * Reads text of exactly `used` bytes as both formats and compares with libc; once alone, once with more text
 * behind.
 */
static void check_read(const char *text, size_t used)
{
    size_t len = strlen(text);
    char *exact = malloc(len + 1); /* +1 in front, so that an empty text has memory too */
    assert_non_null(exact);
    memcpy(exact + 1, text, len);
    char *longer = malloc(len + 17);
    assert_non_null(longer);
    memcpy(longer, text, len);
    memcpy(longer + len, ",  ,,,,,,,,,,,,,", 17);
    char *cut = strndup(text, used);
    assert_non_null(cut);
    for (int i = 0; i < 2; i++) {
        const char *p = i == 0 ? exact + 1 : longer;
        const char *end = p + len + (i == 0 ? 0 : 16);
        double d = 42;
        float f = 42;
        size_t nd = tn_number_read_double(p, end, &d);
        size_t nf = tn_number_read_float(p, end, &f);
        double want_d = used != 0 ? strtod(cut, NULL) : 42;
        float want_f = used != 0 ? strtof(cut, NULL) : 42;
        if (nd != used || nf != used || bits64(d) != bits64(want_d) || bits32(f) != bits32(want_f))
            fail_msg("\"%.90s\": %zu, %zu bytes for %zu; %a for %a, %a for %a", text, nd, nf, used, d, want_d,
                     (double)f, (double)want_f);
    }
    free(cut);
    free(longer);
    free(exact);
}

/* The definition, by libc. */
static size_t want_text(char *out, double value, int digits)
{
    if (isnan(value))
        return (size_t)snprintf(out, 64, "NaN");
    if (isinf(value))
        return (size_t)snprintf(out, 64, value < 0 ? "-Infinity" : "Infinity");
    int n = snprintf(out, 64, "%.6g", value);
    if (digits == 9 ? strtof(out, NULL) != (float)value : strtod(out, NULL) != value)
        n = snprintf(out, 64, "%.*g", digits, value);
    if (strpbrk(out, ".e") == NULL)
        n += snprintf(out + n, 64 - (size_t)n, ".0");
    return (size_t)n;
}

static void check_float(float v)
{
    char want[64], got[TN_NUMBER_MAX];
    size_t n = want_text(want, (double)v, 9);
    size_t m = tn_number_write_float(got, v);
    if (n != m || memcmp(want, got, n) != 0)
        fail_msg("float %08x: \"%.*s\" for \"%s\"", bits32(v), (int)m, got, want);
    if (!isfinite(v))
        return;
    float back = 42;
    if (tn_number_read_float(got, got + m, &back) != m || bits32(back) != bits32(v))
        fail_msg("float %08x: \"%s\" reads as %08x", bits32(v), want, bits32(back));
}

static void check_double(double v)
{
    char want[64], got[TN_NUMBER_MAX];
    size_t n = want_text(want, v, 17);
    size_t m = tn_number_write_double(got, v);
    if (n != m || memcmp(want, got, n) != 0)
        fail_msg("double %016" PRIx64 ": \"%.*s\" for \"%s\"", bits64(v), (int)m, got, want);
    if (!isfinite(v))
        return;
    double back = 42;
    if (tn_number_read_double(got, got + m, &back) != m || bits64(back) != bits64(v))
        fail_msg("double %016" PRIx64 ": \"%s\" reads as %016" PRIx64, bits64(v), want, bits64(back));
}

/* ---- the table ---- */

static void each_power_is_ten_times_the_one_before(void **state)
{
    assert_true(tn_number_pow10[-TN_POW10_MIN][0] == UINT64_C(1) << 63 &&
                tn_number_pow10[-TN_POW10_MIN][1] == 0);
    for (int k = TN_POW10_MIN; k < TN_POW10_MAX; k++) {
        const uint64_t *a = tn_number_pow10[k - TN_POW10_MIN], *b = a + 2;
        tn_u128 now = (tn_u128)a[0] << 64 | a[1], next = (tn_u128)b[0] << 64 | b[1];
        int shift = log2_pow10(k + 1) - log2_pow10(k);
        assert_true(shift == 3 || shift == 4);
        /* 10 * [now, now + 1) / 2^shift, from the upper and the lower half, is where the next must start. */
        tn_u128 low = (tn_u128)(uint64_t)now * 10;
        tn_u128 high = (now >> 64) * 10 + (low >> 64);
        tn_u128 floor = high << (64 - shift) | (uint64_t)low >> shift;
        assert_true(next - floor <= 2 && b[0] >> 63 == 1);
        if (k >= 0 && k < 55)
            assert_true(next == floor && ((uint64_t)low & ((1u << shift) - 1)) == 0);
    }
}

/* ---- reading ---- */

static void grammar_is_json_and_takes_the_longest_number(void **state)
{
    static const struct {
        const char *text;
        size_t used;
    } cases[] = {
        {"", 0},
        {"-", 0},
        {"+1", 0},
        {".5", 0},
        {"-.5", 0},
        {"e5", 0},
        {"NaN", 0},
        {"Infinity", 0},
        {"-Infinity", 0},
        {"--1", 0},
        {" 1", 0},
        {"0", 1},
        {"-0", 2},
        {"01", 1},
        {"-01", 2},
        {"00.5", 1},
        {"0x10", 1},
        {"1.", 1},
        {"1.e5", 1},
        {"1..5", 1},
        {"1e", 1},
        {"1e+", 1},
        {"1e-", 1},
        {"1E", 1},
        {"1e+-5", 1},
        {"1.5e", 3},
        {"1.5e+", 3},
        {"1.5.5", 3},
        {"0.0", 3},
        {"-0.0", 4},
        {"-0e5", 4},
        {"1e5", 3},
        {"1E5", 3},
        {"1e+5", 4},
        {"1e-5", 4},
        {"1e05", 4},
        {"1.25e-3x", 7},
        {"12345678", 8},
        {"123456789", 9},
        {"1234567,", 7},
        {"12345678,", 8},
        {"0.12345678", 10},
        {"1/2", 1},
        {"1:", 1},
        {"12\xb1\xb2", 2},
        {"12\xff\xff", 2},
        {"0.5\xfa"
         "1",
         3},
        {"1234567:", 7},
        {"1.5]", 3},
        {"1.5e3e4", 5},
        {"12345678.", 8},
        {"-12345678e1", 11},
        {"1e5.5", 3},
        {"0e0", 3},
        {"0.0e-0", 6},
        {"1 2", 1},
        {"9999999999,", 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_read(cases[i].text, cases[i].used);
    double d = 7;
    assert_int_equal(tn_number_read_double(NULL, NULL, &d), 0);
    assert_true(d == 7);
    static const char nul[] = {'1', '\0', '2'};
    assert_int_equal(tn_number_read_double(nul, nul + 3, &d), 1);
}

static void hard_values_round_right(void **state)
{
    static const char *const cases[] = {
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740994",
        "9007199254740995",
        "9007199254740993.0",
        "9007199254740993e0",
        "90071992547409930e-1",
        "900719925474099300000e-5",
        "9007199254740992.99999999999999999999",
        "9007199254740993.00000000000000000001",
        "16777215",
        "16777216",
        "16777217",
        "16777217.0",
        "16777216.999999999999999999999",
        "16777217.000000000000000000001",
        "16777219",
        "1e400",
        "1e-400",
        "-1e400",
        "-1e-400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0e99999999999999999999",
        "-0e-99999999999999999999",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "179769313486231580793e289",
        "3.4028234663852886e38",
        "3.4028235677973366e38",
        "3.4028235677973362e38",
        "3.40282357e38",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "2.2250738585072014e-308",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.47e-324",
        "1.2e-324",
        "7.4109846876186982e-324",
        "1.1754943508222875e-38",
        "1.1754942807573643e-38",
        "1.4e-45",
        "7.0064923216240853e-46",
        "7.0064923216240854e-46",
        "7.1e-46",
        "3.5e-46",
        "2.1019476964872256e-45",
        "1.00000005960464477539062",
        "1.00000005960464477539062500",
        "1.00000005960464477539063",
        "1.00000017881393432617187500",
        "0.500000029802322387695312500",
        "8.5070591730234615865843651857942e37",
        "1e22",
        "1e23",
        "8.5e22",
        "123456789012345678e22",
        "1e-22",
        "1e-23",
        "0.1",
        "0.2",
        "0.3",
        "1e37",
        "1e38",
        "1e39",
        "9999999999999999999",
        "99999999999999999999",
        "18446744073709551615",
        "18446744073709551616",
        "0.0000000000000000000000000000001",
        "0.000000000000000000000",
        "123456789012345678901234567890",
        "10000000000000000000000000000000000000000",
        "6250000000000000000000000000000000000e-35",
        "5e-1",
        "1e1",
        "1e308",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_read(cases[i], strlen(cases[i]));
    double d;
    float f;
    const char *over = "-1e400";
    assert_true(tn_number_read_double(over, over + 6, &d) == 6 && d == -(double)INFINITY);
    const char *half = "16777217.0";
    assert_true(tn_number_read_float(half, half + 10, &f) == 10 && f == 16777216.0f);
    const char *odd = "9007199254740993";
    assert_true(tn_number_read_double(odd, odd + 16, &d) == 16 && d == 9007199254740992.0);
}

/*
 * Exact halves between neighbours, the same just under and just over, and with far more digits than any half
 * has.
 */
static void halves_of_any_length_round_right(void **state)
{
    uint64_t s = seed();
    char text[2600];
    for (int i = 0; i < 3000; i++) {
        uint64_t r = next_random(&s);
        double a = from64(r % (UINT64_C(0x7fe) << 52));
        int exp;
        double m = frexp(a, &exp);
        if (i % 3 == 0)
            a = m * (1 + (double)(r % 1000));
        if (i % 3 == 1)
            a = from64(r % (UINT64_C(1) << 53)); /* denormal and just above */
        long double middle = (long double)a + ((long double)from64(bits64(a) + 1) - (long double)a) / 2;
        int n = snprintf(text, sizeof text, "%.1100Lf", middle);
        assert_true(n > 0 && (size_t)n < sizeof text - 40);
        check_read(text, (size_t)n);
        memcpy(text + n, "00000000000000000001", 21);
        check_read(text, (size_t)n + 20);
        float g = from32((uint32_t)r % UINT32_C(0x7f7fffff));
        double between = ((double)g + (double)from32(bits32(g) + 1)) / 2;
        n = snprintf(text, sizeof text, "%.200f", between);
        check_read(text, (size_t)n);
        n = snprintf(text, sizeof text, "%.60e", between);
        check_read(text, (size_t)n);
        n = snprintf(text, sizeof text, "%.17e", between);
        check_read(text, (size_t)n);
    }
    memset(text, '0', sizeof text);
    memcpy(text, "0.", 2);
    memcpy(text + 2500, "1e2500", 7);
    check_read(text, 2506);
    memset(text, '9', sizeof text);
    memcpy(text + 2500, "e-2500", 7);
    check_read(text, 2506);
    memset(text + 1, '0', 2499);
    memcpy(text + 2500, "e-2490", 7);
    check_read(text, 2506);
}

static void random_decimals_read_as_by_libc(void **state)
{
    uint64_t s = seed();
    char text[80];
    for (size_t i = 0; i < rounds() / 4; i++) {
        uint64_t r = next_random(&s), digits = next_random(&s) >> (r % 64);
        int n = snprintf(text, sizeof text, "%s%" PRIu64, r >> 63 ? "-" : "", digits);
        if (r >> 8 & 1)
            n += snprintf(text + n, sizeof text - (size_t)n, ".%0*" PRIu64, (int)(r >> 9 & 15),
                          next_random(&s) >> (r >> 16 & 63));
        if (r >> 32 & 1)
            n += snprintf(text + n, sizeof text - (size_t)n, "e%d",
                          (int)(r >> 33 & 1023) % (r >> 62 & 1 ? 700 : 60) - 350 * (int)(r >> 62 & 1));
        double d = 0, want_d = strtod(text, NULL);
        float f = 0, want_f = strtof(text, NULL);
        if (tn_number_read_double(text, text + n, &d) != (size_t)n || bits64(d) != bits64(want_d) ||
            tn_number_read_float(text, text + n, &f) != (size_t)n || bits32(f) != bits32(want_f))
            fail_msg("\"%s\": %a for %a, %a for %a", text, d, want_d, (double)f, (double)want_f);
    }
}

/* ---- writing ---- */

static void special_values_are_words(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {NAN, "NaN"},
        {-NAN, "NaN"},
        {INFINITY, "Infinity"},
        {-INFINITY, "-Infinity"},
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-1, "-1.0"},
        {0.5, "0.5"},
        {999999, "999999.0"},
        {1e6, "1e+06"},
        {1234567, "1234567.0"},
        {1e-4, "0.0001"},
        {1e-5, "1e-05"},
        {1.5e-5, "1.5e-05"},
        {100000, "100000.0"},
        {123456.5, "123456.5"},
        {1048576, "1048576.0"},
        {16777216, "16777216.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char got[TN_NUMBER_MAX];
        size_t n = tn_number_write_double(got, cases[i].value);
        assert_true(n == strlen(cases[i].text) && memcmp(got, cases[i].text, n) == 0);
        if (i != 17)
            assert_true(n == tn_number_write_float(got, (float)cases[i].value) &&
                        memcmp(got, cases[i].text, n) == 0);
    }
    char got[TN_NUMBER_MAX];
    assert_true(tn_number_write_float(got, 0.1f) == 3 && memcmp(got, "0.1", 3) == 0);
    assert_true(tn_number_write_float(got, 16777216.0f) == 10 && memcmp(got, "16777216.0", 10) == 0);
    assert_true(tn_number_write_double(got, 1.0 / 3) == 19 && memcmp(got, "0.33333333333333331", 19) == 0);
    assert_true(tn_number_write_float(got, 1.0f / 3) == 11 && memcmp(got, "0.333333343", 11) == 0);
}

/*
 * Powers of ten and of two with their neighbours, and integers whose sixth digit is followed by an exact
 * half.
 */
static void boundaries_are_written_as_by_libc(void **state)
{
    for (int k = -345; k <= 309; k++) {
        char text[16];
        snprintf(text, sizeof text, "1e%d", k);
        double d = strtod(text, NULL);
        float f = strtof(text, NULL);
        for (int step = -3; step <= 3; step++) {
            check_double(from64(bits64(d) + (uint64_t)(int64_t)step));
            check_float(from32(bits32(f) + (uint32_t)step));
        }
        for (int nines = 1; nines <= 18; nines++) {
            snprintf(text, sizeof text, "%.*se%d", nines > 9 ? 9 : nines, "9999999999", k);
            check_double(strtod(text, NULL));
            check_float(strtof(text, NULL));
        }
    }
    for (int e = -1075; e <= 1024; e++) {
        double d = ldexp(1, e);
        float f = ldexpf(1, e);
        for (int step = -2; step <= 2; step++) {
            check_double(from64(bits64(d) + (uint64_t)(int64_t)step));
            check_float(from32(bits32(f) + (uint32_t)step));
        }
    }
    uint64_t s = seed();
    for (int i = 0; i < 200000; i++) {
        uint64_t r = next_random(&s), scale = 1;
        for (uint64_t j = r >> 60; j > 0; j--)
            scale *= 10;
        double half = ((double)(100000 + r % 900000) * 2 + 1) * (double)(scale * 5);
        check_double(half);
        check_float((float)half);
        check_double(-half / 1048576);
        check_float((float)(half / 65536 / 1024));
        check_float((float)(int32_t)r);
        check_double((double)(int64_t)r);
    }
}

static void random_floats_are_written_as_by_libc(void **state)
{
    uint64_t s = seed();
    for (size_t i = 0; i < rounds(); i++) {
        uint64_t r = next_random(&s);
        check_float(from32((uint32_t)r));
        if (i % 4 == 0) /* what models answer: between -1 and 1 */
            check_float((float)((double)(r >> 11) / 4503599627370496.0 - 1));
        if (i % 16 == 1) /* denormals */
            check_float(from32((uint32_t)r & UINT32_C(0x807fffff)));
    }
}

static void random_doubles_are_written_as_by_libc(void **state)
{
    uint64_t s = seed() + 1;
    for (size_t i = 0; i < rounds(); i++) {
        uint64_t r = next_random(&s);
        check_double(from64(r));
        if (i % 4 == 0)
            check_double((double)(r >> 11) / 4503599627370496.0 - 1);
        if (i % 4 == 1)
            check_double((double)(float)(int32_t)r / 1000);
        if (i % 16 == 2)
            check_double(from64(r & UINT64_C(0x800fffffffffffff)));
        if (i % 4 == 3) /* few digits */
            check_double((double)(r % 1000000) / 1000);
    }
}

static void check_integer(uint64_t u)
{
    char want[32], got[TN_NUMBER_MAX];
    int n = snprintf(want, sizeof want, "%" PRIu64, u);
    assert_int_equal(tn_number_write_u64(got, u), n);
    assert_memory_equal(want, got, (size_t)n);
    n = snprintf(want, sizeof want, "%" PRId64, (int64_t)u);
    assert_int_equal(tn_number_write_i64(got, (int64_t)u), n);
    assert_memory_equal(want, got, (size_t)n);
}

static void integers_are_written_as_by_libc(void **state)
{
    for (uint64_t u = 0; u < 100000; u++)
        check_integer(u);
    for (uint64_t p = 1; p <= UINT64_C(1000000000000000000); p *= 10)
        for (uint64_t d = 0; d < 4; d++) {
            check_integer(p + d - 2);
            check_integer(0 - (p + d - 2));
        }
    check_integer(UINT64_MAX);
    check_integer((uint64_t)INT64_MAX);
    check_integer((uint64_t)INT64_MIN);
    uint64_t s = seed();
    for (int i = 0; i < 300000; i++) {
        uint64_t r = next_random(&s);
        check_integer(r >> (r % 64));
    }
}

/* A text against the two neighbours that it lies between: below, above, and whether the half goes up. */
static void check_short(bool half, const char *text, uint16_t want)
{
    uint16_t got = 42;
    size_t n = strlen(text);
    size_t used =
        half ? tn_number_read_half(text, text + n, &got) : tn_number_read_bfloat16(text, text + n, &got);
    if (used != n || got != want)
        fail_msg("%s %.60s... reads as %04x, not %04x", half ? "half" : "bfloat16", text, got, want);
}

static float short_value(bool half, uint16_t bits)
{
    return half ? tn_number_of_half(bits) : tn_number_of_bfloat16(bits);
}

/*
 * Every value reads back from its text; every half between two goes to the even one, a hair off it does not.
 */
static void short_formats_round_once(void **state)
{
    char text[400];
    for (int i = 0; i < 2; i++) {
        const bool half = i == 0;
        const uint16_t infinity = half ? 0x7C00 : 0x7F80;
        for (uint16_t bits = 0; bits < infinity; bits++) {
            size_t n = tn_number_write_six(text, short_value(half, bits));
            text[n] = '\0';
            check_short(half, text, bits);
            double low = (double)short_value(half, bits);
            double high = bits + 1 < infinity ? (double)short_value(half, (uint16_t)(bits + 1))
                          : half              ? 65536
                                              : 0x1p128;
            double middle = low + (high - low) / 2; /* exact */
            uint16_t even = (uint16_t)(bits + (bits & 1));
            n = (size_t)snprintf(text, sizeof text, "%.200f", middle);
            check_short(half, text, even);
            memcpy(text + n, "1", 2);
            check_short(half, text, (uint16_t)(bits + 1));
            snprintf(text, sizeof text, "%.140e", middle);
            check_short(half, text, even);
            snprintf(text, sizeof text, "%.80e", nextafter(middle, 0));
            check_short(half, text, bits);
            snprintf(text, sizeof text, "%.80e", nextafter(middle, INFINITY));
            check_short(half, text, (uint16_t)(bits + 1));
        }
    }
    check_short(true, "1e5", 0x7C00);
    check_short(true, "-65520", 0xFC00);
    check_short(true, "65519.99999999999999999999999999999", 0x7BFF);
    check_short(true, "1e-400", 0);
    check_short(true, "-0", 0x8000);
    check_short(false, "1e400", 0x7F80);
    check_short(false, "3.3961775292304957e38", 0x7F80);
    check_short(false, "3.39e38", 0x7F7F);
}

static void short_formats_are_exact_floats(void **state)
{
    assert_true(tn_number_of_half(0x3C00) == 1 && tn_number_of_half(0xC000) == -2);
    assert_true(tn_number_of_half(1) == 0x1p-24f && tn_number_of_half(0x3FF) == 1023 * 0x1p-24f);
    assert_true(tn_number_of_half(0x7BFF) == 65504 && isinf(tn_number_of_half(0xFC00)));
    assert_true(isnan(tn_number_of_half(0x7E00)) && isnan(tn_number_of_bfloat16(0x7FC0)));
    assert_true(tn_number_of_bfloat16(0x3F80) == 1 && isinf(tn_number_of_bfloat16(0x7F80)));
    char text[TN_NUMBER_MAX];
    assert_int_equal(tn_number_write_six(text, tn_number_of_half(0x2E66)), 9);
    assert_memory_equal(text, "0.0999756", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_power_is_ten_times_the_one_before),
        cmocka_unit_test(grammar_is_json_and_takes_the_longest_number),
        cmocka_unit_test(hard_values_round_right),
        cmocka_unit_test(halves_of_any_length_round_right),
        cmocka_unit_test(random_decimals_read_as_by_libc),
        cmocka_unit_test(special_values_are_words),
        cmocka_unit_test(boundaries_are_written_as_by_libc),
        cmocka_unit_test(random_floats_are_written_as_by_libc),
        cmocka_unit_test(random_doubles_are_written_as_by_libc),
        cmocka_unit_test(integers_are_written_as_by_libc),
        cmocka_unit_test(short_formats_round_once),
        cmocka_unit_test(short_formats_are_exact_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
