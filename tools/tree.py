"""What the checks of tools/check.py share: the tracked files, and a finding's one form.

A check is a function that takes nothing and yields findings; a finding is `path:line: what, fix`.
"""
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def files(*endings, under=""):
    """Yields paths, relative to the root, of tracked and of new files (not ignored ones) with one of the endings."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z", "--", under or "."], cwd=ROOT,
                            check=True, stdout=subprocess.PIPE).stdout.decode()
    for path in sorted(set(filter(None, listed.split("\0")))):
        if (not endings or path.endswith(endings)) and os.path.isfile(os.path.join(ROOT, path)):
            yield path


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as text:
        return text.read()


def finding(path, line, text):
    return f"{path}:{line}: {text}"


_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_of(text):
    """C source with comments and string contents blanked out, each line where it was."""
    def blank(match):
        kept = re.sub(r"[^\n]", " ", match.group())
        return '"' + kept[1:-1] + '"' if match.group()[0] == '"' else kept
    return _NOISE.sub(blank, text)
