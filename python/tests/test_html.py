"""tern.html: the page model's C code in this process, with a network that is a callable; and by a server."""
import http.server
import json
import os
import pathlib
import threading

import pytest

from tern import html

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = pathlib.Path(os.environ.get("TERN_BUILD", ROOT / "build")) / "handlers" / "html.so"
MODEL = ROOT / "models" / "html" / "saved_model" / "1"
PAGE = ("<title>A night train - The Site</title><meta property=og:title content='A night train'><meta name=author content='Jane Doe'>"
        "<h1>A night train</h1><p class=byline>By Jane Doe<p><time datetime=2024-05-03>May 3, 2024</time>"
        "<p>It left <a href=/late>late</a> &amp; slow.<footer>Imprint</footer>")


def network(inputs):
    """Every block but the last is main content; the first is the title, the third the date."""
    import numpy
    n = inputs["tag_path"].shape[1]
    assert inputs["node_mask"].shape == (1, n) and inputs["numeric"].dtype == numpy.int32
    out = {"main": numpy.ones((1, n, 1)), "role": numpy.full((1, n, 10), 0.01), "page_type": numpy.eye(7)[None, 0],
           "language": numpy.eye(5)[None, 0]}
    out["main"][0, -1], out["role"][0, 0, 1] = 0, 0.9
    if n > 2:
        out["role"][0, 2, 3] = 0.9
    return out


@pytest.fixture(scope="module")
def reader():
    pytest.importorskip("numpy")
    if not LIBRARY.exists():
        pytest.skip(f"{LIBRARY} is not built")
    return html.Reader(model=MODEL, library=LIBRARY, run=network)


def test_answers_of_the_c_code(reader):
    page = reader.read(PAGE, evidence=True)
    assert (page.page_type, page.language, page.title, page.author, page.date) == ("article", "en", "A night train", "Jane Doe", "2024-05-03")
    assert "It left late & slow." in page.main_content and "Imprint" not in page.main_content
    assert 0.5 < page.confidence["title"] <= 1 and page.confidence["page_type"] == 1 and not page.truncated
    first = page.evidence["title"][0]
    assert first.source == "block" and first.path == page.blocks[first.block].path and first.path.endswith("h1")
    assert "og:title" in [s.name for s in page.evidence["title"]]
    assert reader.read(PAGE).blocks[0].path is None


def test_forms(reader):
    assert reader.markdown(PAGE).startswith("# A night train\n") and "[late](/late)" in reader.markdown(PAGE)
    assert reader.text(PAGE).splitlines()[0] == "A night train"
    assert reader.view(PAGE).startswith("<!doctype html>")


def test_charsets_and_refusals(reader):
    assert reader.read("<p>gr\u00f6\u00dfe".encode("latin-1"), content_type="text/html; charset=iso-8859-1").blocks[0].text == "gr\u00f6\u00dfe"
    for page in (b"", b"%PDF-1.7", b"no tags"):
        with pytest.raises(html.ReadError):
            reader.read(page)


def test_threads(reader):
    got = {}

    def one(i):
        got[i] = [reader.read(f"<h1>Title number {i}</h1><p>x<p>y").title for _ in range(20)]
    threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == {i: [f"Title number {i}"] * 20 for i in range(4)}


def test_wrong_outputs(reader):
    import numpy
    bad = html.Reader(model=MODEL, library=LIBRARY, run=lambda inputs: {k: numpy.ones(3) for k in ("main", "role", "page_type", "language")})
    with pytest.raises(ValueError, match="not the page model's"):
        bad.read(PAGE)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(LookupError, match="nothing.so"):
        html.Reader(library=tmp_path / "nothing.so")


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"bad":
            status, answer = 400, b'{"error": "not HTML"}'
        elif self.headers["Accept"] == "text/markdown":
            status, answer = 200, b"# T\n"
        else:
            answer = json.dumps({"page_type": {"label": "forum", "probability": 0.5}, "language": {"label": "de", "probability": 1},
                                 "title": self.headers["X-Tern-Document-Url"], "author": None, "date": None, "main_content": body.decode(),
                                 "truncated": False, "confidence": {"title": 0.25}, "evidence": {"title": [{"source": "title"}]},
                                 "blocks": []}).encode()
            status = 200 if self.path == "/invocations?evidence=1" else 404
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_by_a_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reader = html.Reader(f"http://127.0.0.1:{server.server_address[1]}/")
        page = reader.read("<p>\u20ac", url="https://example.org/a", evidence=True)
        assert page.main_content == "<p>\u20ac" and page.title == "https://example.org/a"
        assert page.confidence == {"title": 0.25, "page_type": 0.5, "language": 1.0} and page.evidence["title"] == [html.Source("title")]
        assert reader.markdown(b"x") == "# T\n"
        with pytest.raises(html.ReadError, match="400: not HTML"):
            reader.read(b"bad")
        server.shutdown()
