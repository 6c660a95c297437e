#!/usr/bin/python3
"""Visibility can be read from a name: tern_ is the public contract, tn_ crosses files, all else is static.

Held for function definitions and for type names of headers, in src, include, engines, handlers and models. A tern_
function is one that include/tern declares, or one marked TERN_EXPORT or TERN_..._API (what a plugin or a shared library
hands out).
"""
import re
import sys

import tree

# A definition starts at column 0, has a parameter list, and its brace stands alone at column 0 (K&R, by clang-format).
DEFINITION = re.compile(
    r"^(?!#|typedef\b|struct \w+ \{|enum\b)([A-Za-z_][^;{}=\n]*(?:\n[^;{}=\n#]+)*?)\n\{", re.M)
EXPORT = re.compile(r"\bTERN_(?:\w+_)?(?:EXPORT|API)\b")
NAME = re.compile(r"(\w+)\s*\((?!\()")
TYPE = re.compile(r"^\}\s*(\w+)\s*;|^typedef\s[^({;]*?\b(\w+)\s*;|^typedef\s[^;{]*?\(\*(\w+)\)\s*\(", re.M)
KEYWORDS = {"__attribute__", "format", "sizeof", "nonnull", "aligned", "alloc_size", "malloc", "section", "visibility",
            "constructor", "destructor", "target", "optimize"}
FREE = {"main", "LLVMFuzzerTestOneInput", "LLVMFuzzerInitialize"}
PLACES = ("src/", "include/", "engines/", "handlers/", "models/")


def function_name(head):
    for name in NAME.findall(re.sub(r"__attribute__\s*\(\(.*?\)\)\)?", " ", head, flags=re.S)):
        if name not in KEYWORDS and not name.isupper():
            return name
    return None


def judge_function(path, head, public):
    name = function_name(head)
    is_static = re.search(r"\bstatic\b", head)
    if name is None or name in FREE:
        return None
    if is_static:
        if path.endswith(".c") and name.startswith(("tern_", "tn_")):
            return f"{name}: static, so name it plainly, without a prefix"
    elif name.startswith("tern_"):
        if name not in public and not EXPORT.search(head):
            return f"{name}: tern_ is for what include/tern declares, name it tn_ or mark it TERN_EXPORT"
    elif not name.startswith("tn_"):
        return f"{name}: make it static, or name it tn_<module>_... and declare it in a header"
    return None


def check():
    public = set()
    for path in tree.files(".c", ".h"):
        code = tree.code_of(tree.read(path))
        if path.startswith("include/tern/"):
            public |= set(re.findall(r"\b(tern_\w+)\s*\(", code))
        public |= set(re.findall(EXPORT.pattern + r"[^;{]*?\b(tern_\w+)\s*\(", code))
    for path in tree.files(".c", ".h"):
        if not path.startswith(PLACES):
            continue
        code = tree.code_of(tree.read(path))
        for match in DEFINITION.finditer(code):
            wrong = judge_function(path, match.group(1), public)
            if wrong:
                yield tree.finding(path, code.count("\n", 0, match.start()) + 1, wrong)
        if path.endswith(".h"):
            for match in TYPE.finditer(code):
                name = next(filter(None, match.groups()), None)
                if name and not name.startswith(("tn_", "tern_")):
                    line = code.count("\n", 0, match.start()) + 1
                    yield tree.finding(path, line, f"type {name}: name it tn_{name} (tern_ in include/tern)")


if __name__ == "__main__":
    found = list(check())
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
