#!/usr/bin/python3
"""Wraps block comments of C sources that are wider than the code may be. `make format` runs it before clang-format.

    tools/wrap.py FILE...

clang-format can reflow comments too, but joins lines that were meant apart: a list of "field: meaning" becomes prose.
Here only a paragraph with a line that is too wide is filled anew, and a paragraph ends at a short line, at a change of
indentation, at a bullet, and before a line that starts with a label. A comment that follows code and makes its line too
wide is put above it.
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


def block_lines(lines, indent):
    """lines: the source lines of one block comment at `indent`. Returns them wrapped, or as they are if there is no need."""
    if all(len(line) <= WIDTH for line in lines):
        return lines
    inner = [lines[0][len(indent) + 2:], *lines[1:]]
    inner[-1] = inner[-1][:inner[-1].rindex("*/")]
    texts = [inner[0].strip()]
    for line in inner[1:]:
        if not re.match(re.escape(indent) + r" \*( |$)", line) and line.strip():
            return lines  # not in the usual form
        texts.append(line[len(indent) + 3:].rstrip())
    while texts and not texts[0]:
        del texts[0]
    while texts and not texts[-1]:
        del texts[-1]
    body = [f"{indent} * {text}".rstrip() for text in fill(texts, indent + " * ")]
    return [indent + "/*", *body, indent + " */"]


def wrap(text):
    """Returns a C source with its block comments wrapped, and comments that make a line too wide put above it."""
    out, lines, i = [], text.split("\n"), 0
    while i < len(lines):
        line = lines[i]
        after = re.match(r"( *)([^ #/].*[;,{]) +(/\* [^*]* \*/)$", line)
        start = re.match(r"( *)/\*", line)
        if start:
            j = i
            while j < len(lines) - 1 and "*/" not in lines[j]:
                j += 1
            ends_there = lines[j].rstrip().endswith("*/") and lines[j].count("*/") == 1
            out += block_lines(lines[i:j + 1], start[1]) if ends_there else lines[i:j + 1]
            i = j
        elif after and len(line) > WIDTH and not (i > 0 and lines[i - 1].endswith("\\")):
            indent, code = after[1], after[2]
            if out and re.match(r" *[A-Za-z_][\w ]*[ *]*$", out[-1]):  # a type that was broken off its name
                indent, code = re.match(" *", out[-1]).group(), f"{out.pop().strip()} {code}"
            out += block_lines([indent + after[3]], indent) + [indent + code]
        else:
            out.append(line)
        i += 1
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
