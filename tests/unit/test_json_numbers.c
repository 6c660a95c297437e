/*
 * Unit tests of codec/json_numbers.h: random lists of plain and odd numbers, by every set of instructions
 * that this machine has, against libc.
 *
 * A million numbers of each dtype run always; TERN_LONG=1 runs a hundred million, TERN_SEED=N other ones.
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

#include "codec/json_numbers.h"
#include "tensor/tensor.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LIST     400 /* numbers of one text */

typedef size_t numbers_fn(tern_dtype dtype, const char **p, const char *end, void *to, size_t room,
                          bool *closed);

#ifdef __x86_64__
numbers_fn tn_json_numbers_sse42, tn_json_numbers_avx2, tn_json_numbers_avx512;
#endif

/* What this machine can run; returns how many. */
static size_t readers(numbers_fn *list[4])
{
    size_t n = 0;
    list[n++] = tn_json_numbers;
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        list[n++] = tn_json_numbers_sse42;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        list[n++] = tn_json_numbers_avx2;
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi"))
        list[n++] = tn_json_numbers_avx512;
#endif
    return n;
}

static bool is_fast(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("sse4.2") != 0;
#elif defined __aarch64__
    return true;
#else
    return false;
#endif
}

/* splitmix64 */
static uint64_t dice(void)
{
    static uint64_t state;
    if (state == 0)
        state = getenv("TERN_SEED") != NULL ? strtoull(getenv("TERN_SEED"), NULL, 10) : 1;
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double even(void)
{
    return (double)(dice() >> 11) * 0x1p-53;
}

static size_t lists(void)
{
    const char *text = getenv("TERN_LONG");
    return (text != NULL && text[0] == '1' ? 100000000 : 1000000) / LIST;
}

/* Room for the longest of texts. */
#define TEXT         400
#define put(to, ...) snprintf(to, TEXT, __VA_ARGS__)

/* A float, or the middle between two floats, or close to it: exactly, with up to 25 digits. */
static int near_half(char *to)
{
    const float x = (float)((even() - 0.5) * pow(2, (double)(dice() % 40) - 12));
    const double half = ((double)x + (double)nextafterf(x, 10)) / 2;
    return put(to, "%.*f", 8 + (int)(dice() % 18), half);
}

/* One number as clients write them, mostly of the dtype. */
static int number_text(char *to, tern_dtype dtype)
{
    const uint64_t r = dice();
    if (dtype == TERN_UINT8 && r % 16 != 0)
        return put(to, "%d", (int)(dice() % 256));
    switch (r % (dtype == TERN_FLOAT || dtype == TERN_DOUBLE ? 12 : 6)) {
    case 0:
        return put(to, "%" PRId64, (int64_t)dice() >> (dice() % 64));
    case 1:
        return put(to, "%d", (int)(dice() % 100000));
    case 2:
        return put(to, "%d", (int)dice());
    case 3:
    case 4:
        return put(to, "%d", (int)(dice() % 10));
    case 5:
        return put(to, "%d", (int)(dice() % 512) - 128);
    case 6:
        return put(to, "%.*f", 1 + (int)(dice() % 20), even() * pow(10, (double)(dice() % 12)));
    case 7:
        return put(to, "%.17g", (double)(float)((even() - 0.5) * pow(10, (double)(dice() % 24) - 12)));
    case 8:
        return put(to, "%.*g", 1 + (int)(dice() % 18), (even() - 0.5) * 20);
    case 9:
        return put(to, "%d.0", (int)(dice() % 10));
    case 10:
        return near_half(to);
    default:
        return put(to, "0.%06d", (int)(dice() % 1000000));
    }
}

static const char *const odd[] = {
    "",
    "-",
    "01",
    "-01",
    "1.",
    ".5",
    "-.5",
    "1e5",
    "1E+2",
    "--1",
    "+1",
    "1-2",
    "1.2.3",
    "1..2",
    "1 2",
    "- 1",
    "0x10",
    "NaN",
    "-0",
    "-0.0",
    "00.5",
    "\"1\"",
    "true",
    "[1]",
    "{",
    "1.5x",
    "x",
    "1\t2",
    "\v1",
    "0e309",
    "123456789012345678901234567890",
    "0.00000000000000000000000000000000012345678901234567890",
    "1.00000000000000000000000000000000000000000000000000000000000000000000000000000000001",
    "99999999999999999999",
    "9223372036854775808",
    "-9223372036854775808",
    "-0.00"};

/* The grammar of RFC 8259 without exponents: where the number at p ends; p when there is none. */
static const char *plain_end(const char *p, const char *end)
{
    const char *at = p + (p < end && *p == '-'), *first = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    if (at == first || (*first == '0' && at > first + 1))
        return p;
    if (at < end && *at == '.') {
        first = ++at;
        while (at < end && *at >= '0' && *at <= '9')
            at++;
        if (at == first)
            return p;
    }
    return at;
}

static bool same(tern_dtype dtype, const char *number, const void *got)
{
    const bool whole = strcspn(number, ".,]") == strcspn(number, ",]");
    const double d = strtod(number, NULL);
    const float f = strtof(number, NULL);
    if (dtype == TERN_FLOAT)
        return memcmp(&f, got, sizeof f) == 0;
    if (dtype == TERN_DOUBLE)
        return memcmp(&d, got, sizeof d) == 0;
    const long long v = strtoll(number, NULL, 10);
    int64_t is = 0;
    if (dtype == TERN_INT64)
        memcpy(&is, got, sizeof is);
    else
        is = dtype == TERN_INT32 ? *(const int32_t *)got : *(const uint8_t *)got;
    return whole && v == is;
}

/* Whatever was taken is what a plain reader takes, and the end is where it would be. Returns how many. */
static size_t check(numbers_fn *read, tern_dtype dtype, const char *text, const char *end, size_t room)
{
    const size_t unit = tn_dtype_size(dtype);
    const char *p = text, *want = text;
    bool closed = false;
    char *to = malloc(room * unit + 1); /* no byte more: a write beyond it is seen */
    assert_non_null(to);
    size_t n = read(dtype, &p, end, to, room, &closed);
    assert_true(n <= room);
    for (size_t i = 0; i < n; i++) {
        const char *behind = plain_end(want, end);
        if (behind == want || (*behind != ',' && *behind != ']') || (*behind == ']' && i + 1 < n) ||
            !same(dtype, want, to + i * unit))
            fail_msg("dtype %d: number %zu of \"%.60s\" is not that", (int)dtype, i, want);
        if (*behind == ']')
            assert_true(closed);
        want = behind + 1;
        while (*behind == ',' && want < end && strchr(" \t\r\n", *want) != NULL)
            want++;
    }
    assert_ptr_equal(p, n > 0 ? want : text);
    assert_true(!closed || p[-1] == ']');
    free(to);
    return n;
}

/* A list with odd ones among it, `padding` blanks behind it. */
static char *make_text(tern_dtype dtype, bool oddities, size_t padding, size_t *size)
{
    static char text[LIST * 110 + 2 * TEXT];
    static const char *const between[] = {",", ",", ", ", ",", ",\n  ", " ,", ",,", ",\t"};
    const unsigned style = (unsigned)(dice() % 3), kind = (unsigned)(dice() % 8);
    char *at = text;
    for (int i = 0; i < LIST; i++) {
        const bool strange = oddities && dice() % 64 == 0;
        if (i > 0)
            at += put(at, "%s", between[strange ? dice() % COUNT(between) : style]);
        if (strange)
            at += put(at, "%s", odd[dice() % COUNT(odd)]);
        else if (kind == 0 && dice() % 16 != 0)
            *at++ = '0';
        else
            at += number_text(at, dtype);
    }
    at += put(at, "]");
    memset(at, ' ', padding);
    *size = (size_t)(at - text) + padding;
    char *exact = malloc(*size + 1);
    assert_non_null(exact);
    memcpy(exact, text, *size);
    exact[*size] = '\0'; /* for strtod() */
    return exact;
}

static const tern_dtype dtypes[] = {TERN_FLOAT, TERN_DOUBLE, TERN_INT32, TERN_INT64, TERN_UINT8};

static void numbers_are_those_of_libc(void **state)
{
    numbers_fn *list[4];
    const size_t n = readers(list);
    size_t taken[COUNT(dtypes)] = {0};
    for (size_t i = 0; i < lists(); i++) {
        for (size_t k = 0; k < COUNT(dtypes); k++) {
            size_t size;
            char *text = make_text(dtypes[k], i % 2 == 0, dice() % 120, &size);
            numbers_fn *read = list[(i / 2) % n];
            /* As its caller does: one is skipped where it stops. */
            for (const char *p = text; p < text + size;) {
                size_t room = dice() % 4 == 0 ? dice() % 20 : LIST;
                size_t got = check(read, dtypes[k], p, text + size, room);
                taken[k] += got;
                for (size_t skip = 0; skip <= got && p < text + size; skip++) {
                    while (p < text + size && *p != ',' && *p != ']')
                        p++;
                    p++;
                }
                while (p < text + size && strchr(" \t\r\n", *p) != NULL)
                    p++;
            }
            free(text);
        }
    }
    /* Most of them: else there is nothing fast about it. */
    for (size_t k = 0; k < COUNT(dtypes); k++)
        if (is_fast() && taken[k] < lists() * LIST / 2)
            fail_msg("dtype %d: %zu of %zu", (int)dtypes[k], taken[k], lists() * LIST);
}

/* Each odd one after each place of a block. */
static void odd_numbers_are_left_where_they_stand(void **state)
{
    numbers_fn *list[4];
    const size_t n = readers(list);
    for (size_t r = 0; r < n; r++)
        for (size_t o = 0; o < COUNT(odd); o++)
            for (size_t before = 0; before < 40; before++)
                for (size_t k = 0; k < COUNT(dtypes); k++) {
                    char text[TEXT + 300];
                    int at = 0;
                    for (size_t i = 0; i < before; i++)
                        at += put(text + at, "%s", i % 3 == 0 ? "7," : i % 3 == 1 ? "10," : "3,");
                    put(text + at, "%s,1,2,3]%150s", odd[o], "");
                    const size_t got = check(list[r], dtypes[k], text, text + strlen(text), 100);
                    if (is_fast() && got < before)
                        fail_msg("%zu of %zu before \"%s\"", got, before, odd[o]);
                }
}

static void values_have_their_range(void **state)
{
    numbers_fn *list[4];
    const size_t n = readers(list);
    static const struct {
        tern_dtype dtype;
        const char *most, *over;
    } ranges[] = {{TERN_UINT8, "255", "256"},
                  {TERN_UINT8, "0", "-1"},
                  {TERN_INT32, "2147483647", "2147483648"},
                  {TERN_INT32, "-2147483648", "-2147483649"},
                  {TERN_INT64, "9223372036854775807", "9223372036854775808"},
                  {TERN_INT64, "-9223372036854775807", "-9223372036854775809"},
                  {TERN_INT64, "0000", "1.5"}};
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < COUNT(ranges); i++) {
            char text[TEXT];
            put(text, "%s]%150s", ranges[i].most, "");
            size_t got = check(list[r], ranges[i].dtype, text, text + strlen(text), 10);
            assert_int_equal(got, is_fast() && strcmp(ranges[i].most, "0000") != 0);
            put(text, "%s]%150s", ranges[i].over, "");
            assert_int_equal(check(list[r], ranges[i].dtype, text, text + strlen(text), 10), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_are_those_of_libc),
                                       cmocka_unit_test(odd_numbers_are_left_where_they_stand),
                                       cmocka_unit_test(values_have_their_range)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
