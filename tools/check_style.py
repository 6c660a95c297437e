#!/usr/bin/python3
"""Smaller house rules: banned functions, lengths, complexity, format, leftovers, machine paths, Python syntax."""
import os
import re
import subprocess
import sys

import tree

BANNED = {
    "strcpy": "memcpy with a length", "strncpy": "memcpy with a length", "strcat": "tn_buf", "strncat": "tn_buf",
    "sprintf": "snprintf or tn_buf", "vsprintf": "vsnprintf", "gets": "fgets", "strtok": "tn_str", "strtok_r": "tn_str",
    "atoi": "a bounded parser", "atol": "a bounded parser", "atof": "a bounded parser", "alloca": "the arena",
    "setlocale": "no locale at all", "rand": "getrandom, or a seeded generator", "tmpnam": "mkstemp",
    "system": "uv_spawn", "popen": "uv_spawn",
}
FILE_WARN, FILE_MAX, FUNCTION_MAX, COMPLEXITY_MAX = 800, 1200, 100, 25
LINE_MAX, LINE_MAX_PYTHON = 120, 132
FUNCTION_WISH, COMPLEXITY_WISH = 60, 15
TEXT = (".c", ".h", ".py", ".sh", ".md", ".build", ".txt", ".proto", ".toml", ".ini", ".js", ".css", "Makefile")
# Written in pieces, so that this file does not find itself.
HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "crates" + ".io", "registry.npm" + "js",
         "proxy.golang" + ".org", "maven" + ".org"]
MACHINE = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/"]


def check_banned():
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for path in tree.files(".c", ".h"):
        for number, line in enumerate(tree.code_of(tree.read(path)).split("\n"), 1):
            for match in call.finditer(line):
                yield tree.finding(path, number, f"{match[1]} is banned, use {BANNED[match[1]]}")


def check_length():
    for path in tree.files(".c", ".h", ".py", ".sh"):
        lines = tree.read(path).count("\n")
        if lines > FILE_MAX:
            yield tree.finding(path, FILE_MAX, f"{lines} lines, split it ({FILE_WARN} are enough, {FILE_MAX} the end)")
        elif lines > FILE_WARN:
            print(f"warning: {path}: {lines} lines, more than {FILE_WARN}")


def check_lines():
    for path in tree.files(".c", ".h", ".py", ".sh"):
        widest = LINE_MAX_PYTHON if path.endswith(".py") else LINE_MAX
        for number, line in enumerate(tree.read(path).split("\n"), 1):
            if len(line) > widest and "tests/" not in path:
                yield tree.finding(path, number, f"{len(line)} columns, break it ({widest} at most)")
            if line != line.rstrip() and not line.endswith("\f"):
                yield tree.finding(path, number, "space at the end of the line, remove it")
            if "\t" in line:
                yield tree.finding(path, number, "tab, write spaces")


def check_complexity():
    sources = [path for path in tree.files(".c") if not path.startswith("tests/")]
    if not sources:
        return
    listed = subprocess.run(["pmccabe", *sources], cwd=tree.ROOT, check=False, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL).stdout.decode()
    over = 0
    for line in listed.splitlines():
        fields = line.split("\t")
        if len(fields) < 6:
            continue
        complexity, length, name = int(fields[1]), int(fields[4]), fields[5].split(": ", 1)[-1]
        path, first = fields[5].split("(")[0], int(fields[3])
        over += complexity > COMPLEXITY_WISH or length > FUNCTION_WISH
        if complexity > COMPLEXITY_MAX:
            yield tree.finding(path, first, f"{name}: complexity {complexity}, split it ({COMPLEXITY_MAX} at most)")
        if length > FUNCTION_MAX:
            yield tree.finding(path, first, f"{name}: {length} lines, split it ({FUNCTION_MAX} at most)")
    if over:
        print(f"warning: {over} functions over {FUNCTION_WISH} lines or complexity {COMPLEXITY_WISH}")


def check_format():
    sources = list(tree.files(".c", ".h"))
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=tree.ROOT, check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT) if sources else None
    seen = set()
    for line in run.stdout.decode(errors="replace").splitlines() if run else ():
        match = re.match(r"(\S+?):(\d+):\d+: error: code should be clang-formatted", line)
        if match and match[1] not in seen:
            seen.add(match[1])
            yield tree.finding(match[1], match[2], "not as clang-format has it, run: make format")


def check_leftovers():
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
    for path in tree.files(*TEXT):
        if path.startswith(("models/html/pages/", "tests/fuzz/corpus/", "LICENSE")):
            continue
        for number, line in enumerate(tree.read(path).split("\n"), 1):
            if word.search(line):
                yield tree.finding(path, number, f"{word.search(line)[0]}, do it or open an issue")


def check_machine():
    for path in tree.files():
        if path.startswith(("models/html/pages/", "tests/fuzz/corpus/", "tests/vectors/")) or os.path.islink(path):
            continue
        text = tree.read(path)
        for word in HOSTS + MACHINE:
            at = text.find(word)
            inside_a_path = at > 0 and (text[at - 1].isalnum() or text[at - 1] in "./_-)}")
            if at >= 0 and not (word in MACHINE and inside_a_path):
                what = "a registry's host" if word in HOSTS else "a path of one machine"
                yield tree.finding(path, text.count("\n", 0, at) + 1, f"{word} is {what}, take it out")


def check_python():
    for path in tree.files(".py"):
        try:
            compile(tree.read(path), path, "exec")
        except SyntaxError as error:
            yield tree.finding(path, error.lineno or 1, f"does not compile: {error.msg}")


CHECKS = {
    "banned functions": check_banned, "file length": check_length, "line form": check_lines,
    "complexity": check_complexity, "format": check_format, "leftovers": check_leftovers, "machine": check_machine,
    "python": check_python,
}

if __name__ == "__main__":
    found = [line for check in CHECKS.values() for line in check()]
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
