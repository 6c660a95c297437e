#!/usr/bin/python3
"""`make check`: every rule that needs no build. One line a finding, one line a check, exit 1 when anything was found.

    tools/check.py [--json FILE]     FILE gets {check: number of findings}, for tools/tally.py
"""
import json
import sys
import time

import check_layers
import check_names
import check_style

CHECKS = {"layers": check_layers.check, "names": check_names.check, **check_style.CHECKS}


def main():
    results = {}
    for name, check in CHECKS.items():
        start = time.monotonic()
        found = list(check())
        results[name] = len(found)
        for line in found:
            print(line)
        print(f"check: {name}: {len(found) or 'no'} findings ({time.monotonic() - start:.1f} s)")
    if len(sys.argv) == 3 and sys.argv[1] == "--json":
        with open(sys.argv[2], "w", encoding="utf-8") as out:
            json.dump(results, out)
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
