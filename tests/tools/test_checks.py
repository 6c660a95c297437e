"""The rules of `make check` find what they are for, and leave good code alone."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tools"))

import check_layers  # noqa: E402
import check_names  # noqa: E402
import check_style  # noqa: E402
import tally  # noqa: E402
import tree  # noqa: E402
import wrap  # noqa: E402


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A function that writes {path: text} as the tree and runs a check on it."""
    monkeypatch.setattr(tree, "ROOT", str(tmp_path))

    def run(check, files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        monkeypatch.setattr(tree, "files", lambda *ends, under="": [f for f in files if not ends or f.endswith(ends)])
        return list(check())
    return run


@pytest.mark.parametrize("path, include, ok", [
    ("src/codec/json.c", '"base/arena.h"', True),
    ("src/codec/json.c", '"tern/tensor.h"', True),
    ("src/codec/json.c", '"observe/metrics.h"', True),
    ("src/codec/json.c", '"model/model.h"', False),
    ("src/codec/json.c", '<sys/socket.h>', False),
    ("src/codec/json.c", '"json.h"', False),
    ("src/codec/json.c", '"../base/arena.h"', False),
    ("src/base/log.c", '"observe/metrics.h"', False),
    ("src/observe/metrics.c", '"tensor/tensor.h"', False),
    ("src/net/http1.c", '"model/model.h"', False),
    ("src/net/http1.c", '<llhttp.h>', True),
    ("src/api/rest.c", '"net/net.h"', True),
    ("src/api/rest.c", '<llhttp.h>', False),
    ("include/tern/engine.h", '"tern/tensor.h"', True),
    ("include/tern/engine.h", '"base/arena.h"', False),
    ("engines/example/example.c", '"codec/json.h"', True),
    ("engines/example/example.c", '"schedule/call.h"', False),
    ("src/engine/engine.c", '<tensorflow/c/c_api.h>', False),
    ("engines/tensorflow/run.c", '<tensorflow/c/c_api.h>', True),
])
def test_layers(house, path, include, ok):
    found = house(check_layers.check, {path: f"/* x */\n#include {include}\n"})
    assert (found == []) is ok, found
    assert ok or found[0].startswith(f"{path}:2: ")


@pytest.mark.parametrize("path, code, ok", [
    ("src/base/a.c", "int tn_a_get(int x)\n{\n    return x;\n}\n", True),
    ("src/base/a.c", "static int get(int x)\n{\n    return x;\n}\n", True),
    ("src/base/a.c", "int get(int x)\n{\n    return x;\n}\n", False),
    ("src/base/a.c", "static int tn_a_get(int x)\n{\n    return x;\n}\n", False),
    ("src/base/a.c", "int tern_a_get(int x)\n{\n    return x;\n}\n", False),
    ("src/base/a.c", "TERN_EXPORT int tern_a_get(int x)\n{\n    return x;\n}\n", True),
    ("src/base/a.c", "int\nget(int x,\n    int y)\n{\n    return x + y;\n}\n", False),
    ("src/base/a.c", "/* int get(int x)\n{ */\nstatic const int table[] =\n{\n    1,\n};\n", True),
    ("src/base/a.h", "static inline int tn_get(int x)\n{\n    return x;\n}\n", True),
    ("src/base/a.h", "typedef struct thing {\n    int x;\n} thing;\n", False),
    ("src/base/a.h", "typedef struct tn_thing {\n    int x;\n} tn_thing;\n", True),
    ("src/base/a.h", "typedef int (*callback)(int);\n", False),
    ("src/base/a.h", "typedef struct tn_a {\n    void (*answer)(int);\n} tn_a;\n", True),
    ("src/cli/main.c", "int main(void)\n{\n    return 0;\n}\n", True),
])
def test_names(house, path, code, ok):
    found = house(check_names.check, {path: code})
    assert (found == []) is ok, found


@pytest.mark.parametrize("check, path, text, ok", [
    (check_style.check_banned, "src/a.c", "    strcpy(a, b);\n", False),
    (check_style.check_banned, "src/a.c", "    my_strcpy(a, b); /* strcpy(a, b) */\n", True),
    (check_style.check_banned, "src/a.c", '    f("use strcpy(a)");\n', True),
    (check_style.check_length, "src/a.c", "\n" * 1201, False),
    (check_style.check_length, "src/a.c", "\n" * 900, True),
    (check_style.check_lines, "src/a.c", "x" * 121 + "\n", False),
    (check_style.check_lines, "src/a.c", "int a; \n", False),
    (check_style.check_lines, "src/a.c", "\tint a;\n", False),
    (check_style.check_leftovers, "src/a.c", "/* TO" + "DO: later */\n", False),
    (check_style.check_leftovers, "docs/a.md", "TODOS is another word\n", True),
    (check_style.check_machine, "docs/a.md", "see /ho" + "me/me/x\n", False),
    (check_style.check_machine, "docs/a.md", "get it from pypi." + "org\n", False),
    (check_style.check_machine, "docs/a.md", "tests/ho" + "me/x\n", True),
    (check_style.check_python, "tools/a.py", "def f(:\n", False),
    (check_style.check_python, "tools/a.py", "def f():\n    pass\n", True),
    (check_style.check_format, "a.c", "int   a;\n", False),
    (check_style.check_complexity, "a.c", "int f(int a)\n{\n" + "    if (a)\n        a++;\n" * 30 + "}\n", False),
    (check_style.check_complexity, "a.c", "int f(int a)\n{\n    return a;\n}\n", True),
])
def test_style(house, check, path, text, ok):
    found = house(check, {path: text})
    assert (found == []) is ok, found


WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "


def test_wrap_fills_wide_paragraphs_and_keeps_lists():
    source = f"/*\n * {WORDS}{WORDS.strip()}\n * end: of it\n * short\n * again\n */\nint a_name; /* {WORDS}*/\n"
    lines = wrap.wrap(source).split("\n")
    assert max(map(len, lines)) <= 110
    assert " ".join(line[3:] for line in lines[1:3]) == WORDS + WORDS.strip()
    assert lines[3:] == [" * end: of it", " * short", " * again", " */", f"/* {WORDS}*/", "int a_name;", ""]
    assert wrap.wrap("\n".join(lines)) == "\n".join(lines)


@pytest.mark.parametrize("source", [
    f"/* {WORDS}\n * {WORDS} */\nint a;\n", f"x = {{\n    {WORDS}{WORDS}; /* short */\n", f"#define A {WORDS} /* {WORDS} */\n",
    f"/* {WORDS} */ int a; /* {WORDS} */\n", "int a; /* b */\n", "/*\nodd form " + WORDS * 2 + "\n*/\n",
])
def test_wrap_keeps_words_and_what_it_does_not_know(source):
    assert wrap.wrap(source).replace("*", " ").split() == source.replace("*", " ").split() or "short" in source
    assert wrap.wrap(wrap.wrap(source)) == wrap.wrap(source)


def test_tally_counts_what_ran(tmp_path, capsys, monkeypatch):
    (tmp_path / "unit.exit").write_text("1\n")
    (tmp_path / "unit.testlog.json").write_text(
        '{"result": "OK", "stdout": "[  PASSED  ] 3 test(s).\\n", "stderr": ""}\n'
        '{"result": "FAIL", "stdout": "[  PASSED  ] 1 test(s).\\n[  FAILED  ] 2 test(s), listed below:\\n"}\n'
        '{"result": "TIMEOUT", "stdout": ""}\n{"result": "OK", "stdout": "7 inputs"}\n')
    (tmp_path / "server.exit").write_text("0\n")
    (tmp_path / "server.junit.xml").write_text(
        "<testsuites><testsuite><testcase/><testcase><skipped/></testcase></testsuite></testsuites>")
    (tmp_path / "build.exit").write_text("2\n")
    monkeypatch.setattr(sys, "argv", ["tally.py", str(tmp_path)])
    assert tally.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "6 passed, 4 failed, 1 skipped"


def test_tally_of_nothing_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tally.py", str(tmp_path)])
    assert tally.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 0 failed"
