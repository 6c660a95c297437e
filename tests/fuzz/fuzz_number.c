/*
 * fuzz_number.c - any bytes read as a number, and as the bits of numbers to write.
 *
 * Reading: a plain scanner of the grammar says how long the number is, libc (which may see 4000 bytes of it)
 * what it is.
 * Writing: the text must be the one that printf gives by the rule, end within TN_NUMBER_MAX and read back as
 * the same bits.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/number.h"

#define LIBC_MAX 4000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static size_t run_of_digits(const char *p, const char *end)
{
    const char *s = p;
    while (s < end && *s >= '0' && *s <= '9')
        s++;
    return (size_t)(s - p);
}

/* RFC 8259, section 6, rule by rule. */
static size_t number_length(const char *start, const char *end)
{
    const char *p = start;
    if (p < end && *p == '-')
        p++;
    size_t n = run_of_digits(p, end);
    if (n == 0)
        return 0;
    p += *p == '0' ? 1 : n;
    if (p < end && *p == '.' && (n = run_of_digits(p + 1, end)) > 0)
        p += 1 + n;
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *s = p + 1;
        if (s < end && (*s == '+' || *s == '-'))
            s++;
        n = run_of_digits(s, end);
        p = n > 0 ? s + n : p;
    }
    return (size_t)(p - start);
}

static void check_read(const char *p, const char *end)
{
    double d = 42;
    float f = 42;
    size_t want = number_length(p, end);
    require(tn_number_read_double(p, end, &d) == want);
    require(tn_number_read_float(p, end, &f) == want);
    if (want == 0) {
        require(d == 42 && f == 42);
        return;
    }
    if (want > LIBC_MAX)
        return;
    char text[LIBC_MAX + 1];
    memcpy(text, p, want);
    text[want] = '\0';
    double want_d = strtod(text, NULL);
    float want_f = strtof(text, NULL);
    require(memcmp(&d, &want_d, sizeof d) == 0);
    require(memcmp(&f, &want_f, sizeof f) == 0);
}

static void check_text(const char *got, size_t n, double v, int digits)
{
    char want[64];
    if (isfinite(v)) {
        snprintf(want, sizeof want - 2, "%.6g", v);
        if (digits == 9 ? strtof(want, NULL) != (float)v : strtod(want, NULL) != v)
            snprintf(want, sizeof want - 2, "%.*g", digits, v);
        if (strpbrk(want, ".e") == NULL)
            memcpy(want + strlen(want), ".0", 3);
    } else {
        snprintf(want, sizeof want, "%s", isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity");
    }
    require(n == strlen(want) && n <= TN_NUMBER_MAX && memcmp(got, want, n) == 0);
}

static void check_write(uint64_t bits)
{
    char *out = malloc(TN_NUMBER_MAX);
    require(out != NULL);
    double d, d2;
    memcpy(&d, &bits, sizeof d);
    size_t n = tn_number_write_double(out, d);
    check_text(out, n, d, 17);
    require(!isfinite(d) ||
            (tn_number_read_double(out, out + n, &d2) == n && memcmp(&d, &d2, sizeof d) == 0));
    uint32_t low = (uint32_t)bits;
    float f, f2;
    memcpy(&f, &low, sizeof f);
    n = tn_number_write_float(out, f);
    check_text(out, n, (double)f, 9);
    require(!isfinite(f) || (tn_number_read_float(out, out + n, &f2) == n && memcmp(&f, &f2, sizeof f) == 0));
    char want[32];
    snprintf(want, sizeof want, "%lld", (long long)bits);
    n = tn_number_write_i64(out, (int64_t)bits);
    require(n == strlen(want) && memcmp(out, want, n) == 0);
    snprintf(want, sizeof want, "%llu", (unsigned long long)bits);
    n = tn_number_write_u64(out, bits);
    require(n == strlen(want) && memcmp(out, want, n) == 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own size: the sanitizer sees one byte past it. */
    char *copy = calloc(size != 0 ? size : 1, 1);
    require(copy != NULL);
    if (size != 0)
        memcpy(copy, data, size);
    check_read(copy, copy + size);
    for (size_t i = 0; i + 8 <= size && i < 64; i += 8) {
        uint64_t bits;
        memcpy(&bits, data + i, sizeof bits);
        check_write(bits);
    }
    free(copy);
    return 0;
}
