"""Large bodies that are decoded while they arrive: the answers of whole ones, whatever becomes of the attempt.

A chunked body, whose length nobody knows, is never tried early: its answer is what the same bytes must get.
"""
import http.client
import json
import socket
import struct

import pytest

from tern_server import ROOT, Answer, run_together
from test_handlers import ACT, PLUGINS, write_model

PREDICT = "/v1/models/m:predict"
EARLY = ["--early_body_bytes=200000", "--num_executors=3"]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "m")


def serve(start, folder, wait_ms):
    return start("--model_name=m", f"--model_base_path={folder}", "--engine=example", f"--handler_path={PLUGINS}", *EARLY,
                 f"--early_wait_ms={wait_ms}")


@pytest.fixture(scope="module")
def patient(start_shared, folder):
    """An attempt that has begun waits as long as a test may take."""
    return serve(start_shared, folder, 600000)


@pytest.fixture(scope="module")
def hasty(start_shared, folder):
    """An attempt that has to wait is given up."""
    return serve(start_shared, folder, 1)


def chunked(server, body, path=PREDICT, headers=JSON):
    """The reference."""
    return server.request("POST", path, body=(body[i:i + 50000] for i in range(0, len(body), 50000)), headers=headers)


def numbers(n, signature="serving_default"):
    return json.dumps({"signature_name": signature, "inputs": [i % 1000 / 8 for i in range(n)]}).encode()


def begin(server, body, part, path=PREDICT, headers=JSON):
    """Sends the head and the first bytes of a body. -> the socket"""
    s = server.connect()
    fields = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body[:part])
    return s


def read_http(s):
    r = http.client.HTTPResponse(s)
    r.begin()
    return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())


def running(server, n):
    server.until(lambda: server.metric("tern_running") == n, f"{n} calls ran")


BODIES = {
    "good": numbers(100000),
    "compact": numbers(100000).replace(b" ", b""),
    "rows": json.dumps({"signature_name": "matrix", "instances": [[i, i / 2] for i in range(60000)]}).encode(),
    "objects": json.dumps({"signature_name": "pair",
                           "instances": [{"a": i / 4, "b": i} for i in range(30000)]}).encode(),
    "behind it": numbers(100000) + b" " * 70000 + b"x" * 70000,
    "name last": b'{"inputs": ' + json.dumps(list(range(90000))).encode() + b', "signature_name": "int32"}',
    "broken at the end": numbers(100000)[:-1] + b"!",
    "broken": numbers(100000).replace(b"99.5", b"99.x", 1),
    "cut": numbers(100000)[:-1],
    "of another kind": numbers(100000, "int32"),
    "no signature": numbers(100000, "nobody"),
    "fails": numbers(100000, "fails"),
    "no JSON": b"<p>" * 150000,
}


@pytest.mark.example
@pytest.mark.parametrize("name", BODIES)
def test_an_attempt_is_not_seen(patient, hasty, name):
    """In two parts: the attempt waits for the second one, or has given up before it comes. And at once."""
    body = BODIES[name]
    want = chunked(patient, body)
    assert (want.status == 200) == (name in ("good", "compact", "rows", "objects", "behind it", "name last")), want
    for server in (patient, hasty):
        part = 3 * len(body) // 4
        with begin(server, body, part) as s:
            if server is hasty:
                running(server, 0)
            s.sendall(body[part:])
            got = read_http(s)
        assert (got.status, got.body) == (want.status, want.body)
        got = server.post(PREDICT, body)
        assert (got.status, got.body) == (want.status, want.body)


@pytest.mark.example
def test_an_attempt_waits_on_an_executor(patient):
    body = numbers(100000)
    want = chunked(patient, body)
    with begin(patient, body, 300000) as s:
        running(patient, 1)
        s.sendall(body[300000:-1])
        running(patient, 1)
        s.sendall(body[-1:])
        got = read_http(s)
        assert (got.status, got.body) == (200, want.body) and "decode" in got.headers["server-timing"]
        # The connection goes on.
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_http(s).status == 200
    running(patient, 0)


@pytest.mark.example
@pytest.mark.parametrize("way", ["close", "reset", "half"])
def test_a_client_that_leaves_frees_the_executor(patient, way):
    sockets = [begin(patient, numbers(100000), 300000) for _ in range(2)]
    running(patient, 2)
    for s in sockets:
        if way == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if way == "half":
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1000) == b""
        s.close()
    running(patient, 0)
    assert patient.post(PREDICT, numbers(100000)).status == 200


@pytest.mark.example
def test_slow_clients_do_not_hold_executors(hasty):
    """More of them than executors, each in the middle of its body; others are answered, and so are they, at last."""
    body = numbers(100000)
    want = chunked(hasty, body)
    sockets = [begin(hasty, body, 250000) for _ in range(6)]
    running(hasty, 0)
    assert hasty.post(PREDICT, body).body == want.body
    for s in sockets:
        s.sendall(body[250000:])
    for s in sockets:
        with s:
            got = read_http(s)
            assert (got.status, got.body) == (200, want.body)


@pytest.mark.example
def test_many_at_once(patient):
    """More uploads than executors: some are tried early, some are not."""
    bodies = [numbers(60000 + 7000 * i) for i in range(8)]
    want = [chunked(patient, body).body for body in bodies]
    got = run_together([lambda body=body: [patient.post(PREDICT, body).body for _ in range(3)] for body in bodies])
    assert got == [[w] * 3 for w in want]


@pytest.mark.example
def test_a_missing_model(patient):
    body = numbers(100000)
    path = "/v1/models/nobody:predict"
    want = chunked(patient, body, path)
    got = patient.post(path, body)
    assert want.status == 404 and (got.status, got.body) == (want.status, want.body)


@pytest.mark.example
@pytest.mark.parametrize("word", ["", "now", "fail 418", "words", "wrong"])
def test_documents(patient, hasty, word):
    """A handler that takes a document while it arrives."""
    body = word.encode() + b"\n" + b"all work and no play " * 20000
    want = chunked(patient, body, "/invocations", ACT)
    for server in (patient, hasty):
        with begin(server, body, 250000, "/invocations", ACT) as s:
            running(server, 1 if server is patient else 0)
            s.sendall(body[250000:])
            got = read_http(s)
        assert (got.status, got.body) == (want.status, want.body)
    with begin(patient, body, 250000, "/invocations", ACT):
        running(patient, 1)
    running(patient, 0)


@pytest.mark.tensorflow
def test_pages(start):
    """The page model's handler parses while the page comes."""
    model, page = ROOT / "models" / "html" / "saved_model", (ROOT / "models" / "html" / "pages" / "artikel.html").read_bytes()
    server = start("--model_name=html", f"--model_base_path={model}", *EARLY, "--early_wait_ms=600000")
    html = {"Content-Type": "text/html; charset=utf-8"}
    pages = [page + b"<p>" + "Straße, 日本語 ".encode() * 30000, page * 200, page + b"<p>caf\xe9 " * 60000]
    for body in pages:
        want = chunked(server, body, "/invocations", html)
        with begin(server, body, 2 * len(body) // 3, "/invocations", html) as s:
            running(server, body is not pages[2])  # which is no UTF-8, as is seen soon
            s.sendall(body[2 * len(body) // 3:])
            got = read_http(s)
        assert want.status == 200 and (got.status, got.body) == (200, want.body)
