#!/usr/bin/python3
"""Wraps block comments of C sources that are wider than the code may be. `make format` runs it before clang-format.

    tools/wrap.py FILE...

clang-format can reflow comments too, but joins lines that were meant apart: a list of "field: meaning" becomes prose.
Here only a paragraph with a line that is too wide is filled anew, and a paragraph ends at a short line, at a change of
indentation, at a bullet, and before a line that starts with a label. Comments after code on a line are left alone.
"""
import re
import sys
import textwrap

WIDTH = 110
FULL = 88  # a line at least this wide was wrapped by its author: its sentence goes on in the next one
BULLET = re.compile(r"[-*+] |\d+[.)] ")
LABEL = re.compile(BULLET.pattern + r"|[\w./*<>\[\]|-]+(?: [\w./*<>\[\]|-]+){0,2}: |\S+  +\S|\|")


def fill(lines, prefix):
    """lines: texts of a comment's lines without prefix. Returns them with wide paragraphs filled anew."""
    out, i = [], 0
    while i < len(lines):
        indent = re.match(r" *", lines[i]).group()
        j = i + 1
        while (j < len(lines) and len(prefix + lines[j - 1]) >= FULL and lines[j].startswith(indent)
               and lines[j][len(indent):len(indent) + 1].strip() and not LABEL.match(lines[j].strip())):
            j += 1
        if any(len(prefix + line) > WIDTH for line in lines[i:j]):
            bullet = BULLET.match(lines[i].strip())
            hang = indent + " " * (bullet.end() if bullet else 0)
            out += textwrap.wrap(" ".join(line.strip() for line in lines[i:j]), WIDTH - len(prefix),
                                 initial_indent=indent, subsequent_indent=hang, break_long_words=False,
                                 break_on_hyphens=False)
        else:
            out += lines[i:j]
        i = j
    return out


def wrap(text):
    """Returns a C source with its block comments wrapped."""
    out, block, indent = [], None, ""
    for line in text.split("\n"):
        if block is None:
            one = re.match(r"( *)/\* (.*) \*/$", line)
            if one and len(line) > WIDTH and "*/" not in one[2]:
                parts = fill([one[2]], one[1] + " * ")
                out += [one[1] + "/*", *(f"{one[1]} * {part}" for part in parts), one[1] + " */"]
                continue
            start = re.match(r"( *)/\*(?!.*\*/)", line)
            if start:
                block, indent = [], start[1]
            out.append(line)
        elif "*/" in line or not (line.startswith(indent + " * ") or line == indent + " *"):
            out += [f"{indent} * {part}".rstrip() for part in fill(block, indent + " * ")]
            out.append(line)
            # Lines that are not in the usual form are passed on as they are.
            block = None if "*/" in line else []
        else:
            block.append(line[len(indent) + 3:])
    return "\n".join(out)


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        wrapped = wrap(text)
        if wrapped != text:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wrapped)


if __name__ == "__main__":
    main()
