"""Raw HTML in, answers out: the same, byte for byte, as features by Python (ctypes), Predict over gRPC, and the C answer.

Pages: those written for the project, and a sample of the real ones where TERN_SHARED has them (TERN_ALL_PAGES=1: all).
"""
import json
import os
import subprocess
import sys
import tarfile

import pytest

from tern_server import BUILD, ROOT, run_together

pytestmark = pytest.mark.tensorflow
tern_grpc = pytest.importorskip("tern_grpc")
MODEL = ROOT / "models" / "html" / "saved_model"
PAGES = sorted((ROOT / "models" / "html" / "pages").glob("*.html"))
LIBRARY = BUILD / "handlers" / "html.so"
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><title>A day</title><h1>A day</h1><p>It rained in the morning, and the sun came out later."


@pytest.fixture(scope="module")
def features():
    if not LIBRARY.exists() or not (MODEL / "1" / "saved_model.pb").exists():
        pytest.skip("the HTML model or its handler is not built")
    os.environ.setdefault("TERN_HTML_LIB", str(LIBRARY))
    sys.path.insert(0, str(ROOT / "models" / "html" / "train"))
    try:
        import features as module
    finally:
        sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def server(features, start_shared):
    return start_shared("--model_name=html", f"--model_base_path={MODEL}")


class ClientSide:
    """What a client does without the server's handler: features, Predict, answer."""

    def __init__(self, features, server):
        self.features, self.client = features, tern_grpc.Client(server.grpc)
        self.extractor = features.Extractor(LIBRARY)
        config = json.loads((MODEL / "1" / "assets.extra" / "tern.json").read_text(encoding="utf-8"))
        self.thresholds = config.get("thresholds", config)

    def __call__(self, page, content_type="text/html; charset=utf-8", url=None):
        """-> the expected answer's bytes, or None when the page is refused."""
        try:
            tensors = self.extractor.extract(page, content_type, url)
        except self.features.FeatureError:
            return None
        request = tern_grpc.predict_request("html", self.features.batch_of_one(tensors))
        outputs = tern_grpc.outputs_of(self.client.predict(request))
        return self.extractor.answer({k: v[0] for k, v in outputs.items()}, self.thresholds)


@pytest.fixture(scope="module")
def client_side(features, server):
    return ClientSide(features, server)


def check(server, client_side, page, headers=None, url=None):
    headers = dict(headers or HTML)
    if url:
        headers["X-Tern-Document-Url"] = url
    want = client_side(page, headers["Content-Type"], url)
    answer = server.post("/invocations", page, headers=headers)
    if want is None:
        assert answer.status == 400 and answer.json()["error"], answer
    else:
        assert answer.status == 200, answer
        assert answer.body == want
    return answer


@pytest.mark.parametrize("page", PAGES, ids=[p.stem for p in PAGES])
def test_own_pages(server, client_side, page):
    answer = check(server, client_side, page.read_bytes())
    found = answer.json()
    assert found["page_type"]["label"] in found["page_type"]["probabilities"]
    assert found["language"]["label"] in found["language"]["probabilities"]
    assert found["blocks"] and found["main_content"] is not None


def test_paths(server):
    """/invocations and /models/NAME/invoke, over HTTP/1.1 and HTTP/2, on either port, answer the same."""
    want = server.post("/invocations", PAGE, headers=HTML)
    assert want.status == 200 and want.headers["content-type"].startswith("application/json")
    for port in (server.rest, server.grpc):
        for path in ("/invocations", "/models/html/invoke"):
            assert server.post(path, PAGE, headers=HTML, port=port).body == want.body
            done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-H", "Content-Type: text/html; charset=utf-8",
                                   "--data-binary", "@-", f"http://127.0.0.1:{port}{path}"], input=PAGE,
                                  stdout=subprocess.PIPE, check=True, timeout=60)
            assert done.stdout == want.body
    stages = want.headers["server-timing"]
    assert "preprocess;dur=" in stages and "postprocess;dur=" in stages


def test_isolated(server, start_shared, features):
    """In processes of its own, the handler's answers are the same bytes; and so are its errors."""
    other = start_shared("--model_name=html", f"--model_base_path={MODEL}", "--handler_isolation=process")
    for page in [p.read_bytes() for p in PAGES] + [PAGE, PAGE * 3000] + [HOSTILE[name] for name in sorted(HOSTILE)]:
        want, got = (s.post("/invocations", page, headers=HTML) for s in (server, other))
        assert (got.status, got.body) == (want.status, want.body)


def test_document_url(server, client_side):
    check(server, client_side, PAGE, url="https://example.org/2024/05/a-day.html")


@pytest.mark.parametrize("content_type,page", [
    ("text/html", PAGE), ("text/html; charset=iso-8859-1", "<p>größe über alles".encode("latin-1")),
    ("text/html; charset=utf-16le", PAGE.decode().encode("utf-16-le")), ("text/html", b"\xef\xbb\xbf" + PAGE),
    ("text/html; charset=shift_jis", PAGE), ("text/html; charset=nope", PAGE), ('text/html; charset="utf-8"', PAGE),
    ("text/html; charset=utf-8", b"<p>wrong \xff\xfe\x80 bytes"), ("text/html; charset=" + "x" * 5000, PAGE),
    ("application/xhtml+xml", b'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>x</p></body></html>'),
])
def test_charsets(server, client_side, content_type, page):
    check(server, client_side, page, {"Content-Type": content_type})


HOSTILE = {
    "empty": b"",
    "blank": b" \n\t\r\n ",
    "no_tag": b"just a text " * 10000,
    "json": b'{"instances": [1.0]}',
    "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(range(256)) * 100,
    "pdf": b"%PDF-1.7\n" + bytes(range(256)) * 100,
    "noise": bytes((i * 7919 + i // 251) & 255 for i in range(300000)),
    "nul": b"<p>a\x00b</p>\x00" * 1000,
    "only_nul": b"\x00" * 100000,
    "deep": b"<div>" * 200000 + b"x",
    "misnested": b"<b><i>" * 20000 + b"x" + b"</b></i>" * 20000,
    "attributes": b"<p " + b"".join(b"a%d=1 " % i for i in range(100000)) + b">x",
    "long_attribute": b'<p class="' + b"a " * 2000000 + b'">x',
    "options": b"<select>" + b"<option>x" * 100000,
    "tables": b"<table><tr><td>" * 20000 + b"x",
    "unclosed": b"<p>text <a href='",
    "comment": b"<p>x<!-- " + b"-" * 1000000,
    "script": b"<p>x<script>" + b"<" * 1000000,
    "names": b"".join(b"<x%d>y" % i for i in range(50000)),
    "entities": b"<p>" + b"&amp;&#x41;&#99999999999;&nosuch;" * 50000,
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile(server, client_side, name):
    """Bounded work and a clear answer; the next page is answered."""
    check(server, client_side, HOSTILE[name])
    assert server.post("/invocations", PAGE, headers=HTML).status == 200


def test_200_mb(server):
    piece = b"<p>a paragraph of a page that never ends</p>\n" * 20000
    count = 200_000_000 // len(piece)
    answer = server.request("POST", "/invocations", body=(piece for _ in range(count)),
                            headers={**HTML, "Content-Length": str(len(piece) * count)})
    assert answer.status in (200, 413), answer
    if answer.status == 200:
        assert answer.json()["truncated"] is True
    assert server.post("/invocations", PAGE, headers=HTML).status == 200


def test_other_content_types(server):
    for kind in ("application/pdf", "text/plain", "image/png", ""):
        answer = server.post("/invocations", PAGE, headers={"Content-Type": kind})
        assert 400 <= answer.status < 500 and answer.json()["error"], (kind, answer)


def test_tensors_as_json(server, features):
    """The same model by the tensors themselves, over /invocations and REST."""
    tensors = features.batch_of_one(features.Extractor(LIBRARY).extract(PAGE, "text/html; charset=utf-8"))
    body = json.dumps({"inputs": {k: v.tolist() for k, v in tensors.items()}})
    one = server.post("/invocations", body, headers={"Content-Type": "application/json"})
    two = server.predict("html", body)
    assert one.status == 200 and one.body == two.body and set(one.json()["outputs"]) == {"main", "role", "page_type", "language"}


def real_pages(shared):
    """(name, bytes) of the data's pages, every 40th (or all)."""
    step = 1 if os.environ.get("TERN_ALL_PAGES") else 40
    seen = 0
    for archive in sorted((shared / "data").glob("*.tar.zst")):
        with subprocess.Popen(["zstd", "-dcq", "--long=27", str(archive)], stdout=subprocess.PIPE) as unpack:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
                for member in tar:
                    if member.isfile() and member.name.endswith((".html", ".htm")):
                        seen += 1
                        if seen % step == 0:
                            yield member.name, tar.extractfile(member).read()
            unpack.stdout.read()


@pytest.mark.timeout(1800)
def test_real_pages(server, client_side, shared):
    pages = list(real_pages(shared))
    assert len(pages) > 20
    wrong = []
    for name, page in pages:
        try:
            check(server, client_side, page)
        except AssertionError as error:
            wrong.append(f"{name}: {str(error)[:300]}")
    assert not wrong, f"{len(wrong)} of {len(pages)}: " + "\n".join(wrong[:5])


def test_many_at_once(server, features):
    """Pages of different sizes at the same time; each gets its own answer."""
    pages = [PAGE + b"<p>one more paragraph of page %d" % i * (3 + 40 * i) for i in range(8)]
    want = [server.post("/invocations", p, headers=HTML).body for p in pages]
    assert len(set(want)) == len(pages)

    def client(i):
        for k in range(15):
            at = (i + k) % len(pages)
            assert server.post("/invocations", pages[at], headers=HTML).body == want[at]

    run_together([lambda i=i: client(i) for i in range(8)])
