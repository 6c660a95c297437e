#!/usr/bin/env python3
"""Writes src/codec/number_pow10.c: the powers of ten that codec/number_fast.h describes.

  tools/gen_pow10.py           prints the file
  tools/gen_pow10.py --check   exit 1 when the committed file differs

Big integers only, no floating point. The integer formulas for logarithms that the C code uses are proven here as well, by
trying every exponent that can occur; so is that only exact entries end in 64 zero bits.
"""

import pathlib
import sys

FIRST, LAST = -344, 341
TARGET = pathlib.Path(__file__).resolve().parent.parent / "src/codec/number_pow10.c"

HEAD = """/*
 * codec/number_pow10.c - 10^k for k = %d .. %d as 128-bit significands, cut (never rounded up).
 *
 * Entry k is floor(10^k * 2^(127 - e)), e = floor(log2(10^k)), as {upper 64 bits, lower 64 bits}; it is exact for
 * 0 <= k <= 55. Made by tools/gen_pow10.py; tests/unit/test_number.c holds every entry against the one before it.
 * Read-only, any thread.
 */
#include "codec/number_fast.h"

/* clang-format off */
const uint64_t tn_number_pow10[TN_POW10_MAX - TN_POW10_MIN + 1][2] = {
"""


def floor_log2(k):
    """floor(log2(10^k))"""
    return (10**k).bit_length() - 1 if k >= 0 else -((10**-k - 1).bit_length())


def entry(k):
    e = floor_log2(k)
    if k >= 0:
        p = 10**k
        return p << (127 - e) if e <= 127 else p >> (e - 127)
    return (1 << (127 - e)) // 10**-k


def prove():
    for k in range(FIRST, LAST + 1):
        v = entry(k)
        assert 1 << 127 <= v < 1 << 128
        assert floor_log2(k) == (k * 217706) >> 16, k
        exact = 0 <= k and 5**k < 1 << 128
        assert exact == (0 <= k <= 55), k
        assert exact or v % 2**64 != 0, k
        assert not 0 <= k <= 27 or v % 2**64 == 0, k
    for e in range(-1074, 1024):  # floor(log10(2^e))
        x = (e * 315653) >> 20
        assert (10**x <= 2**e < 10 ** (x + 1)) if e >= 0 else (2**-e <= 10**-x and 10 ** (-x - 1) < 2**-e), e


def text():
    cells = ["{0x%016x, 0x%016x}" % divmod(entry(k), 1 << 64) for k in range(FIRST, LAST + 1)]
    lines = ["    " + ", ".join(cells[i : i + 2]) + "," for i in range(0, len(cells), 2)]
    return HEAD % (FIRST, LAST) + "\n".join(lines) + "\n};\n/* clang-format on */\n"


def main():
    prove()
    if sys.argv[1:] == ["--check"]:
        return 0 if TARGET.read_text() == text() else 1
    sys.stdout.write(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
