"""`tern read` says what the server says, in text, Markdown or JSON, of one page or many."""
import json
import pathlib
import subprocess

import pytest

from tern_server import BUILD

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = sorted((ROOT / "models/html/pages").glob("*.html"))
MODEL = ROOT / "models/html/saved_model"

pytestmark = pytest.mark.tensorflow


def read(*arguments, data=b"", expect=0):
    run = subprocess.run([str(BUILD / "tern"), "read", f"--model={MODEL}", *map(str, arguments)], input=data, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=120, check=False)
    assert run.returncode == expect, (run.stdout, run.stderr)
    return run


@pytest.fixture(scope="module")
def server(start_shared):
    return start_shared("--model_name=html", f"--model_base_path={MODEL}")


@pytest.mark.parametrize("form, accept", [("json", "application/json"), ("text", "text/plain"),
                                          ("markdown", "text/markdown;q=1, */*"), ("view", "text/html;q=1, */*")])
def test_same_as_the_server(server, form, accept):
    for page in PAGES[:2]:
        answer = server.request("POST", "/invocations", page.read_bytes(), {"content-type": "text/html", "accept": accept})
        assert answer.status == 200 and answer.headers["content-type"].startswith(accept.split(";")[0])
        assert read(f"--format={form}", page).stdout == answer.body


def test_evidence(server):
    page = PAGES[0].read_bytes()
    answer = server.request("POST", "/invocations?evidence=1", page, {"content-type": "text/html"})
    assert read("--json", "--evidence", PAGES[0]).stdout == answer.body
    found = answer.json()
    assert all(b["path"] for b in found["blocks"] if b["text"])
    plain = server.request("POST", "/invocations", page, {"content-type": "text/html"}).json()
    assert all("path" not in b for b in plain["blocks"]) and plain["evidence"] == found["evidence"]
    for field in ("title", "author", "date"):
        assert 0 < plain["confidence"][field] <= 1
        for source in plain["evidence"][field]:
            if "block" in source:
                assert source["path"] == found["blocks"][source["block"]]["path"]
                assert source["offset"] == found["blocks"][source["block"]]["offset"]


def test_view_is_safe(server):
    page = b"<title>t</title><h1>A title</h1><script>alert(1)</script><p onclick=alert(2)>Words &lt;b&gt; of a paragraph"
    answer = server.request("POST", "/invocations", page, {"content-type": "text/html", "accept": "text/html"})
    assert answer.headers["content-security-policy"].startswith("default-src 'none'") and b"<script" not in answer.body
    assert b"Words &lt;b&gt; of a paragraph" in answer.body and b"onclick" not in answer.body


def test_standard_input():
    assert b"paragraph of words" in read(data=b"<h1>Title</h1><p>A paragraph of words that says something about nothing at all.").stdout
    assert json.loads(read("--format", "json", "-", data=b"<p>x").stdout)["blocks"][0]["text"] == "x"


def test_many_pages_as_json_lines():
    lines = read("--format=json", *PAGES).stdout.decode().splitlines()
    assert [json.loads(line)["file"] for line in lines] == list(map(str, PAGES))
    alone = json.loads(read("--format=json", PAGES[1]).stdout)
    assert json.loads(lines[1])["answer"] == alone


def test_many_pages_as_text():
    text = read(*PAGES).stdout.decode()
    assert text.count("==> ") == len(PAGES) and f"==> {PAGES[0]} <==\n" in text


def test_folder_of_answers(tmp_path):
    run = read("--format=markdown", "-o", tmp_path / "out", *PAGES)
    assert run.stdout == b"" and f"{len(PAGES)} of {len(PAGES)} pages written".encode() in run.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [p.stem + ".md" for p in PAGES]
    assert "# " in (tmp_path / "out" / "article.md").read_text(encoding="utf-8")


def test_one_bad_page_does_not_stop_the_others(tmp_path):
    empty = tmp_path / "empty.html"
    empty.write_bytes(b"")
    run = read(tmp_path / "none.html", PAGES[0], expect=1)
    assert b"none.html: No such file" in run.stderr and b"==> " in run.stdout
    run = subprocess.run([str(BUILD / "tern"), "read", f"--model={MODEL}", str(empty)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=120, check=False)
    assert run.returncode in (0, 1) and (run.returncode == 0 or b"empty.html" in run.stderr)


@pytest.mark.parametrize("arguments, words", [
    (["--format=pdf"], "text, markdown, json or view"),
    (["--nothing"], "no flag --nothing"),
    (["--model=/does/not/exist"], "/does/not/exist"),
])
def test_wrong_flags(arguments, words):
    assert words in read(*arguments, expect=2).stderr.decode()


def test_folder_without_versions(tmp_path):
    assert "no numbered version" in read(f"--model={tmp_path}", expect=2).stderr.decode()


def test_help():
    run = subprocess.run([str(BUILD / "tern"), "read", "--help"], stdout=subprocess.PIPE, timeout=60, check=False)
    assert run.returncode == 0 and b"--format" in run.stdout
