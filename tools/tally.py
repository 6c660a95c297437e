#!/usr/bin/python3
"""Sums the results that tools/test.sh left in a folder and prints the closing line "N passed, N failed[, N skipped]".

    tools/tally.py report

Counted: each cmocka test inside a unit test program (meson's testlog.json has the program's output), each corpus
replay, each pytest case (JUnit XML), each check of tools/check.py. A step that exited non-zero without any counted
failure, a build for example, is one failure. Exit 1 when anything failed or nothing passed.
"""
import glob
import json
import os
import re
import sys
import xml.etree.ElementTree

SKIPPED, FINE = ("SKIP",), ("OK", "EXPECTEDFAIL")


def count_meson(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as text:
        for result in map(json.loads, filter(str.strip, text)):
            output = result.get("stdout", "") + result.get("stderr", "")
            inner = sum(map(int, re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M)))
            inner_failed = sum(map(int, re.findall(r"^\[  FAILED  \] (\d+) test", output, re.M)))
            inner_skipped = sum(map(int, re.findall(r"^\[  SKIPPED \] (\d+) test", output, re.M)))
            if result["result"] in SKIPPED:
                skipped += 1
            elif result["result"] in FINE:
                passed += inner or (0 if inner_skipped else 1)
                skipped += inner_skipped
            else:
                passed, failed, skipped = passed + inner, failed + max(inner_failed, 1), skipped + inner_skipped
    return passed, failed, skipped


def count_junit(path):
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def count_checks(path):
    with open(path, encoding="utf-8") as text:
        results = json.load(text)
    failed = sum(findings > 0 for findings in results.values())
    return len(results) - failed, failed, 0


def count_step(folder, step):
    """Counts whatever result file a step left. Returns None when it left none."""
    for ending, count in ((".testlog.json", count_meson), (".junit.xml", count_junit), (".json", count_checks)):
        path = os.path.join(folder, step + ending)
        if os.path.exists(path):
            return count(path)
    return None


def main():
    folder = sys.argv[1]
    total = [0, 0, 0]
    for path in sorted(glob.glob(os.path.join(folder, "*.exit"))):
        step = os.path.basename(path)[: -len(".exit")]
        with open(path, encoding="ascii") as text:
            ok = text.read().strip() == "0"
        counts = count_step(folder, step)
        if not ok and (counts is None or counts[1] == 0):
            counts = (counts[0] if counts else 0, 1, counts[2] if counts else 0)
        if counts is not None:
            print(f"  {step:16} {counts[0]:5} passed {counts[1]:5} failed {counts[2]:5} skipped")
            total = [a + b for a, b in zip(total, counts)]
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
