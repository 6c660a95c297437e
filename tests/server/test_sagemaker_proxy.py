"""SageMaker's port without a script: what nginx and its JavaScript answer in the container, in both generations."""
import io
import json
import re
import shutil
import socket
import subprocess

import numpy
import pytest

from sagemaker_server import SageMaker, write_model
from tern_server import PATIENCE, ROOT

pytestmark = pytest.mark.example

GENERATIONS = ("2.19", "2.20")
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'
GOOD = '{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}'
OLDER = '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'
JSON = {"Content-Type": "application/json"}
NOT_FOUND = '{"error": "Not Found"}'
TEXTS = "signature serving_default\ninput x string ?\noutput y string ? identity x\n"
TWO = "signature serving_default\ninput a float [-1]\ninput b float [-1]\noutput y float [-1] affine 1 0 a\n"
VECTORS = ROOT / "tests" / "vectors" / "sagemaker_text.txt"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Models half (versions 123 and 124: adds 2, 3), texts (strings) and two (two inputs)."""
    folder = tmp_path_factory.mktemp("base")
    for version, addend in ((123, 2), (124, 3)):
        write_model(folder / "model" / "half", version, addend=addend)
    write_model(folder / "model" / "texts", body=TEXTS)
    write_model(folder / "model" / "two", body=TWO)
    return folder


@pytest.fixture(scope="module")
def servers(tmp_path_factory, base):
    made = {}
    try:
        for generation in GENERATIONS:
            made[generation] = SageMaker(tmp_path_factory.mktemp("server"), base, generation,
                                         env={"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "half"})
        yield made
    finally:
        for server in made.values():
            server.stop()


@pytest.fixture(params=GENERATIONS)
def server(request, servers):
    server = servers[request.param]
    server.later = request.param == "2.20"
    return server


@pytest.fixture(scope="module")
def extra(tmp_path_factory, base):
    """One with --sagemaker_extras."""
    server = SageMaker(tmp_path_factory.mktemp("server"), base, args=["--sagemaker_extras"],
                       env={"SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "half"})
    yield server
    server.stop()


def kept(answer):
    return answer.status_code, answer.headers.get("Content-Type"), answer.text


def invoke(server, body=BODY, headers=(), path="/invocations"):
    """-> status, Content-Type, text"""
    return kept(server.ask("POST", path, data=body, headers=dict(headers) or JSON))


def raw(server, head, body=b""):
    """Sends bytes as they are. -> status, header fields, body"""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as s:
        s.sendall(head.replace(b"\n", b"\r\n") + b"\r\n" + body)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while part := s.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.decode("latin-1").lower(), body


# ---- paths


@pytest.mark.parametrize("path", ["/ping", "/ping/", "/pingpong", "/ping/more", "//ping", "/./ping", "/x/../ping", "/%70ing",
                                  "/ping?x=1", "/ping#x", "/%2Fping", "/a/%2e%2e/ping"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_ping_is_a_prefix_and_takes_any_method(server, method, path):
    assert raw(server, f"{method} {path} HTTP/1.1\nHost: x\nConnection: close\n".encode())[0] == 200


@pytest.mark.parametrize("path", ["/invocations", "/invocations/", "/invocationsx", "/invocations/x", "/invocations?x=1",
                                  "/x/../invocations", "//invocations"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_invocations_is_a_prefix_and_takes_any_method(server, method, path):
    head = f"{method} {path} HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nContent-Length: {len(BODY)}\n"
    status, _, body = raw(server, head.encode(), BODY)
    assert (status, body.decode()) == (200, GOOD)


@pytest.mark.parametrize("path, kind", [
    ("/", "application/json"), ("/foo", "application/json"), ("/PING", "application/json"), ("/v1/models/half", "application/json"),
    ("/tf", "application/json"), ("/invocation", "application/json"), ("/endpoints/x/invocations", "application/json"),
    ("/execution-parameters", "application/json"), ("/metrics", "application/json"), ("/favicon.ico", "image/x-icon"),
    ("/a/index.HTML", "text/html"), ("/a.tar.gz", "application/json"), ("/.html", "application/json"), ("/x.pdf?y.html", "application/pdf"),
])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_not_found_and_typed_by_their_extension(server, method, path, kind):
    assert kept(server.ask(method, path, data=BODY if method == "POST" else None)) == (404, kind, NOT_FOUND)


@pytest.mark.parametrize("path", ["/..", "/%2e%2e/x", "/a/../../ping", "/%zz", "/%00", "/%"])
def test_broken_paths_are_400(server, path):
    status, head, body = raw(server, f"GET {path} HTTP/1.1\nHost: x\nConnection: close\n".encode())
    assert status == 400 and "application/json" in head and "error" in json.loads(body)


@pytest.mark.parametrize("path", ["/models", "/modelsx", "/models/half", "/models/half/invoke"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_several_models_are_a_bad_gateway(server, method, path):
    answer = server.ask(method, path, data=BODY)
    assert answer.status_code == 502 and "SAGEMAKER_MULTI_MODEL" in answer.json()["error"]


def test_healthz_and_readyz_are_there(server):
    assert server.ask("GET", "/healthz").text == "ok\n"
    assert server.ask("GET", "/readyz").status_code == 200


# ---- /tfs


@pytest.mark.parametrize("path", ["/v1/models/half", "/v1/models/half/versions/123", "/v1/models/half/metadata", "/v1/models/none",
                                  "/v1/models", "/v1/models/", "/v1/models/half?x=1", "/v1/models/half:predict", "/v1/models/a%20b"])
def test_tfs_is_the_rest_port(server, path):
    ours, there = server.ask("GET", "/tfs" + path), server.get(path)
    assert (ours.status_code, ours.content) == (there.status, there.body)


@pytest.mark.parametrize("sent, passed", [
    ("/tfs/v1/models/%68alf", "/v1/models/half"), ("/tfs//v1/x/../models/half", "/v1/models/half"), ("/tfs/v1/models/half#x?y", "/v1/models/half"),
    ("/tfs/v1/models/half?", "/v1/models/half"), ("/tfs/v1/models/{x}", "/v1/models/%7Bx%7D"), ("/tfs/v1/models/a%3Fb", "/v1/models/a%3Fb"),
])
def test_tfs_paths_are_passed_on_as_nginx_does(server, sent, passed):
    status, _, body = raw(server, f"GET {sent} HTTP/1.1\nHost: x\nConnection: close\n".encode())
    there = server.get(passed)
    assert (status, body) == (there.status, there.body)


def test_tfs_drops_header_fields(server):
    headers = {"Content-Type": "text/csv", "Accept": "text/csv", "Content-Encoding": "gzip", "Origin": "http://x"}
    assert invoke(server, headers=headers, path="/tfs/v1/models/half:predict") == (200, "application/json", GOOD)
    assert server.ask("OPTIONS", "/tfs/v1/models/half", headers=headers).status_code == 400


@pytest.mark.parametrize("path", ["/tfs", "/tfs/", "/tfsx/v1/models/half", "/tfs/ping", "/tfs/metrics", "/tfs/healthz"])
def test_tfs_has_nothing_else(server, path):
    assert server.ask("GET", path).status_code == 404


# ---- bodies


def unescape(text):
    return re.sub(rb"\\(x..|.)", lambda m: bytes.fromhex(m[1][1:].decode()) if m[1][:1] == b"x" and len(m[1]) == 3
                  else {b"n": b"\n", b"r": b"\r", b"t": b"\t"}.get(m[1], m[1]), text)


def vectors():
    """(kind, body, request of 2.19, request of 2.20)"""
    for line in VECTORS.read_bytes().split(b"\n"):
        if line and not line.startswith(b"# "):
            kind, body, *requests = map(unescape, line.split(b"\t"))
            yield kind.decode(), body, requests[0], requests[-1]


@pytest.mark.parametrize("model", ["half", "texts"])
def test_each_conversion_rule(server, model):
    """Converted bodies are answered as the REST port answers the request that the original makes of them."""
    kinds = {"json": ["application/json", "application/jsonlines", "application/jsons"], "csv": ["text/csv"]}
    seen = 0
    for kind, body, old, new in vectors():
        request = new if server.later else old
        there = server.post(f"/v1/models/{model}:predict", request)
        for content_type in kinds[kind]:
            headers = {"Content-Type": content_type, ATTRIBUTES: f"tfs-model-name={model}"}
            answer = server.ask("POST", "/invocations", data=body, headers=headers)
            assert (answer.status_code, answer.content) == (there.status, there.body), (content_type, body)
        seen += 1
    assert seen > 140


@pytest.mark.parametrize("model, body", [("half", b'["\xff"]'), ("texts", b'"\xe2\x98"'), ("texts", b'[1,"\xc3\x28"]')])
def test_bodies_that_are_no_utf8_are_repaired(server, model, body):
    fixed = body.decode("utf-8", "replace").encode()
    assert fixed != body
    headers = {**JSON, ATTRIBUTES: f"tfs-model-name={model}"}
    assert invoke(server, body, headers) == invoke(server, fixed, headers)


def test_chunked_and_empty_bodies(server):
    assert kept(server.ask("POST", "/invocations", data=iter([b'{"x"', b":1}\n", b'{"x":2}']), headers=JSON)) == (
        200, "application/json", '{\n    "predictions": [3.5, 4.0\n    ]\n}')
    empty = (400, "application/json", server.post("/v1/models/half:predict", '{"instances":[]}').text)
    head = "POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: {}\n"
    for kind in ("application/json", "text/csv"):
        for framing, body in (("Content-Length: 0\n", b""), ("Transfer-Encoding: chunked\n", b"0\r\n\r\n")):
            status, _, text = raw(server, (head.format(kind) + framing).encode(), body)
            assert (status, text.decode()) == (empty[0], empty[2])


def test_no_body_at_all(server):
    head = "GET /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: {}\n"
    status, _, text = raw(server, head.format("application/json").encode())
    assert (status, text.decode()) == (400, server.post("/v1/models/half:predict", '{"instances":[undefined]}').text)
    status, _, text = raw(server, head.format("text/csv").encode())
    assert status == 500 and "without a body" in json.loads(text)["error"]


def test_content_encoding_is_not_looked_at(server):
    assert invoke(server, headers={**JSON, "Content-Encoding": "gzip"}) == (200, "application/json", GOOD)


# ---- Content-Type

TYPES = [
    # sent, the type that counts in 2.19 and in 2.20 (None: as sent)
    ("application/json", 200, 200), ("application/jsonlines", 200, 200), ("application/jsons", 200, 200), (" application/json", 200, 200),
    ("application/JSON", "application/JSON", 200), ("application/json; charset=utf-8", "application/json; charset=utf-8", 200),
    ("application/json ;x=1", "application/json ;x=1", 200), ("APPLICATION/JSONS;", "APPLICATION/JSONS;", 200),
    ("application/json,text/csv", "application/json,text/csv", "application/json,text/csv"),
    ("application/x-npy", "application/x-npy", "application/x-npy"), ("application/X-Npy; a=b", "application/X-Npy; a=b", "application/x-npy"),
    ("application/octet-stream", "application/octet-stream", "application/octet-stream"),
    ("Text/HTML; level=1", "Text/HTML; level=1", "text/html"), ("*/*", "*/*", "*/*"), ('a"b\\c', 'a"b\\c', 'a"b\\c'),
    ("application/grpc", "application/grpc", "application/grpc"), (";application/json", ";application/json", "Unknown"),
    ("", "Unknown", "Unknown"), (None, "Unknown", "Unknown"),
]


@pytest.mark.parametrize("sent, old, new", TYPES)
def test_content_types(server, sent, old, new):
    line = "" if sent is None else f"Content-Type: {sent}\n"
    head = f"POST /invocations HTTP/1.1\nHost: x\nConnection: close\n{line}Content-Length: {len(BODY)}\n"
    status, head, text = raw(server, head.encode(), BODY)
    want = new if server.later else old
    assert "\r\ncontent-type: application/json\r\n" in head + "\r\n"
    if want == 200:
        assert (status, text.decode()) == (200, GOOD)
    elif server.later:
        assert (status, text.decode()) == (415, json.dumps({"error": f"Unsupported Media Type: {want}"}, separators=(",", ":")))
    else:
        assert (status, text.decode()) == (415, '{"error": "Unsupported Media Type: %s"}' % want)


@pytest.mark.parametrize("sent", ["text/csv; charset=utf-8", "Text/CSV"])
def test_csv_with_parameters_or_capitals(server, sent):
    assert invoke(server, b"1,2", {"Content-Type": sent})[0] == (200 if server.later else 415)


def test_the_first_of_two_content_types_counts(server):
    head = f"POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nContent-Type: text/csv\nContent-Length: {len(BODY)}\n"
    assert raw(server, head.encode(), BODY)[0] == 200


def test_answers_are_typed_by_the_paths_extension(server):
    assert invoke(server, path="/invocations.html")[1] == "text/html"
    assert invoke(server, path="/invocations/x.ico", headers={"Content-Type": "a/b"})[1] == (
        "application/json" if server.later else "image/x-icon")
    assert server.ask("GET", "/ping.txt").headers["Content-Type"] == "text/plain"


# ---- Accept

ONE_LINE = GOOD.replace("\n", "")
ACCEPTS = [
    # sent, the type of the one-line answer in 2.19 and in 2.20; None: left as it is
    ("application/json", "application/json", "application/json"), ("application/jsonlines", "application/jsonlines", "application/json"),
    ("application/jsons", None, None), ("*/*", None, None), ("application/*", None, None), ("", None, None), ("application/JSON", None, None),
    ("application/json;q=1", None, None), ("text/csv, application/x-npy", None, None), ("application/json, text/plain", "application/json", "application/json"),
    ("text/plain,application/jsonlines", "text/plain", "application/json"), ("text/csv;q=0.5, application/json", "text/csv;q=0.5", "application/json"),
    ("a b c, application/json", None, "application/json"), ("text/html, text/plain, application/json", None, "application/json"),
    (",application/json", "application/json", "application/json"), ("application/json,", "application/json", "application/json"),
    ("application/json ,x", "application/json", "application/json"), ("x, y, application/json", None, "application/json"),
    ("application/x-npy", None, None),
]


@pytest.mark.parametrize("sent, old, new", ACCEPTS)
def test_accept(server, sent, old, new):
    kind = new if server.later else old
    head = f"POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nAccept: {sent}\nContent-Length: {len(BODY)}\n"
    status, head, text = raw(server, head.encode(), BODY)
    assert status == 200 and text.decode() == (GOOD if kind is None else ONE_LINE)
    assert f"\r\ncontent-type: {kind or 'application/json'}\r\n" in head + "\r\n"


def test_accept_goes_for_errors_too(server):
    headers = {**JSON, "Accept": "application/json"}
    status, _, text = invoke(server, b'{"instances":["a"]}', headers)
    assert status == 400 and "\n" not in text and text.startswith('{    "error": "Failed to process element: 0 of \'instances\' list.')


def test_without_accept_there_is_no_change(server):
    head = f"POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nContent-Length: {len(BODY)}\n"
    assert raw(server, head.encode(), BODY)[2].decode() == GOOD


def test_several_accept_fields_are_one(server):
    head = ("POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nAccept: application/json\n"
            f"Accept: text/plain\nContent-Length: {len(BODY)}\n")
    assert raw(server, head.encode(), BODY)[2].decode() == ONE_LINE


# ---- attributes

NO_MODEL = '{{\n    "error": "Servable not found for request: {}"\n}}'
MALFORMED = '{{\n    "error": "Malformed request: POST /v1/models/{}"\n}}'


def bad(what):
    return 400, '{"error":"invalid tfs-%s"}' % what


@pytest.mark.parametrize("sent, old, new", [
    ("", (200, GOOD), (200, GOOD)),
    ("tfs-model-version=123", (200, OLDER), (200, OLDER)),
    ("tfs-model-name=half, tfs-model-version=0123", (200, OLDER), (200, OLDER)),
    ("tfs-model-name=texts,tfs-model-name=half", (200, GOOD), (200, GOOD)),
    ("tfs-model-name = half", (200, GOOD), (200, GOOD)),
    ("tfs-model-name=a=b", (200, GOOD), (200, GOOD)),
    ("tfs-unknown=1,,custom", (200, GOOD), (200, GOOD)),
    ("xtfs-model-version=123", (200, OLDER), (200, OLDER)),
    ("trace=tfs-model-version=123", (200, OLDER), (200, OLDER)),
    ("tfs-model-name=none", (404, NO_MODEL.format("Latest(none)")), (404, NO_MODEL.format("Latest(none)"))),
    ("tfs-model-version=9", (404, NO_MODEL.format("Specific(half, 9)")), (404, NO_MODEL.format("Specific(half, 9)"))),
    ("tfs-model-version=-1", (400, MALFORMED.format("half/versions/-1:predict")), bad("model-version")),
    ("tfs-model-version=18446744073709551616", (400, ""), (400, "")),
    ("tfs-method=Predict", (400, MALFORMED.format("half:Predict")), bad("method")),
    ("tfs-method=nonsense", (400, MALFORMED.format("half:nonsense")), bad("method")),
    ("tfs-model-name=.hidden", (404, NO_MODEL.format("Latest(.hidden)")), bad("model-name")),
    ("tfs-model-name=half:predict#", (400, MALFORMED.format("half:predict%23:predict")), bad("model-name")),
    ("tfs-model-name=half:classify?", (400, MALFORMED.format("half:classify?:predict")), bad("model-name")),
    ("tfs-model-name=half/versions/123", (200, OLDER), bad("model-name")),
    ("tfs-model-name=%68alf", (200, GOOD), bad("model-name")),
    ("tfs-model-name=" + "a" * 256, (404, NO_MODEL.format(f"Latest({'a' * 256})")), bad("model-name")),
    ("tfs-model-name=h\u00e9", (404, NO_MODEL.format("Latest(h\u00e9)")), bad("model-name")),
])
def test_attributes(server, sent, old, new):
    head = f"POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\n{ATTRIBUTES}: {sent}\nContent-Length: {len(BODY)}\n"
    status, _, text = raw(server, head.encode(), BODY)
    assert (status, text.decode()) == (new if server.later else old)


@pytest.mark.parametrize("sent", ["tfs-model-name=../half", "tfs-method=predict/../x", "tfs-model-name=%2e%2e/x"])
def test_attributes_that_lead_out(server, sent):
    status, _, text = invoke(server, headers={**JSON, ATTRIBUTES: sent})
    assert status == (400 if server.later else 500) and "error" in json.loads(text)


def test_several_attribute_fields_are_one(server):
    head = (f"POST /invocations HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\n{ATTRIBUTES}: tfs-model-version=124\n"
            f"{ATTRIBUTES}: tfs-model-version=123\nContent-Length: {len(BODY)}\n")
    assert raw(server, head.encode(), BODY)[2].decode() == OLDER


@pytest.mark.parametrize("sent, old, new", [("tfs-model-name=texts", 200, 200), ("tfs-model-version=123", 200, 200), ("tfs-model-version=9", 502, 502),
                                            ("tfs-model-name=none", 502, 502), ("tfs-method=nonsense", 200, 200),
                                            ("tfs-model-version=x", 502, 400), ("tfs-model-name=../x", 500, 400)])
def test_ping_asks_for_the_model_of_the_attributes(server, sent, old, new):
    assert server.ask("GET", "/ping", headers={ATTRIBUTES: sent}).status_code == (new if server.later else old)


@pytest.mark.parametrize("path, name", [("/invocations/models/x/invoke", "/invocationsx"), ("/invocations/models/a/b/invoke", "/invocationsa/b")])
def test_a_path_that_names_a_model_names_this(server, path, name):
    assert invoke(server, path=path) == (400, "application/json", MALFORMED.format(name + ":predict"))


@pytest.mark.parametrize("path", ["/invocations/models/invoke", "/invocations/models/a,b/invoke", "/invocations/models/a"])
def test_a_path_that_names_none_asks_the_default_model(server, path):
    assert invoke(server, path=path) == (200, "application/json", GOOD)


# ---- methods and heads


def test_methods_that_nobody_knows(server):
    head = "BREW {} HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nContent-Length: {}\n"
    assert raw(server, head.format("/invocations", len(BODY)).encode(), BODY)[2].decode() == GOOD
    assert raw(server, b"PROPFIND /ping HTTP/1.1\nHost: x\nConnection: close\n")[0] == 200
    assert raw(server, b"TRACE /ping HTTP/1.1\nHost: x\nConnection: close\n")[0] == 405
    assert raw(server, b"brew /ping HTTP/1.1\nHost: x\nConnection: close\n")[0] in (400, 501)
    assert server.request("PROPFIND", "/healthz").status == 501  # on other ports as ever


def test_heads_have_nginx_limits(server):
    head = b"POST /invocations%s HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/json\nContent-Length: %d\n%s"
    assert raw(server, head % (b"?" + b"q" * 8000, len(BODY), b""), BODY)[0] == 200
    assert raw(server, head % (b"?" + b"q" * 8300, len(BODY), b""), BODY)[0] == 414
    assert raw(server, head % (b"", len(BODY), b"X-Long: " + b"v" * 8000 + b"\n"), BODY)[0] == 200
    assert raw(server, head % (b"", len(BODY), b"X-Long: " + b"v" * 8300 + b"\n"), BODY)[0] == 400


def test_curl(server):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    for http in ("--http1.0", "--http1.1", "--http2-prior-knowledge"):
        for more in ([], ["-H", "Expect: 100-continue"]):
            run = subprocess.run(["curl", "-sS", http, *more, "-H", "Content-Type: text/csv", "--data-binary", "@-",
                                  f"http://127.0.0.1:{server.port}/invocations"], input=b"1\n2\n5\n", stdout=subprocess.PIPE,
                                 timeout=PATIENCE, check=True)
            assert run.stdout.decode() == GOOD


# ---- beyond the container


def npy(array):
    out = io.BytesIO()
    numpy.save(out, array)
    return out.getvalue()


NPY = {"Content-Type": "application/x-npy"}


def test_npy_in_and_out(server):
    array = numpy.array([1, 2, 5], numpy.float32)
    status, kind, text = invoke(server, npy(array), NPY)
    assert (status, kind, json.loads(text)) == (200, "application/json", {"outputs": [3.5, 4.0, 5.5]})
    answer = server.ask("POST", "/invocations", data=npy(array), headers={**NPY, "Accept": "application/x-npy", ATTRIBUTES: "tfs-model-version=123"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-npy")
    numpy.testing.assert_array_equal(numpy.load(io.BytesIO(answer.content)), array / 2 + 2)


def test_npy_that_does_not_fit_is_a_400(server):
    answer = server.ask("POST", "/invocations", data=npy(numpy.zeros(2, numpy.int8)), headers=NPY)
    assert answer.status_code == 400 and "error" in answer.json()
    answer = server.ask("POST", "/invocations", data=npy(numpy.zeros(2, numpy.float32)), headers={**NPY, ATTRIBUTES: "tfs-model-name=two"})
    assert answer.status_code == 400 and "error" in answer.json()
    assert invoke(server, npy(numpy.zeros(2, numpy.float32))[:40], NPY)[0] == 400


def test_npy_that_is_none_is_refused_as_ever(server):
    for body in (BODY, b"", b"\x93NUMP"):
        assert invoke(server, body, NPY)[0] == 415


def test_extras_are_off_unless_asked_for(server, extra):
    for path in ("/metrics", "/execution-parameters"):
        assert server.ask("GET", path).status_code == 404
        assert extra.ask("GET", path).status_code == 200
        assert extra.ask("POST", path).status_code == 404
    assert "tern_requests_total" in extra.ask("GET", "/metrics").text
    assert set(extra.ask("GET", "/execution-parameters").json()) == {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}


@pytest.mark.parametrize("command, flags, variables, on", [
    ("serve", [], {}, False), ("tern serve --sagemaker", [], {}, True),
    ("tern serve --sagemaker", ["--sagemaker_extras=false"], {}, False),
    ("tern serve --sagemaker", [], {"TERN_SAGEMAKER_EXTRAS": "false"}, False), ("serve", [], {"TERN_SAGEMAKER_EXTRAS": "true"}, True),
    ("serve", ["--sagemaker_extras=false"], {"TERN_SAGEMAKER_EXTRAS": "true"}, False)])
def test_who_has_extras(tmp_path, base, command, flags, variables, on):
    server = SageMaker(tmp_path, base, args=flags, env=variables, command=command)
    assert server.ask("GET", "/metrics").status_code == (200 if on else 404)
    server.stop()


def test_extras_give_npy_for_json_and_csv(extra):
    for body, kind in ((BODY, "application/json"), (b"1\n2\n5", "text/csv")):
        answer = extra.ask("POST", "/invocations", data=body, headers={"Content-Type": kind, "Accept": "application/x-npy"})
        assert answer.headers["Content-Type"] == "application/x-npy"
        numpy.testing.assert_array_equal(numpy.load(io.BytesIO(answer.content)), numpy.array([3.5, 4, 5.5], numpy.float32))
    answer = extra.ask("POST", "/invocations", data=b'["a"]', headers={**JSON, "Accept": "application/x-npy", ATTRIBUTES: "tfs-model-name=texts"})
    assert answer.headers["Content-Type"] == "application/json"  # an npy holds no strings


def test_metrics_count_invocations(extra):
    before = extra.metric("tern_model_requests_total", model="texts")
    for _ in range(3):
        assert invoke(extra, b"a,b", {"Content-Type": "text/csv", ATTRIBUTES: "tfs-model-name=texts"})[0] == 200
    assert extra.metric("tern_model_requests_total", model="texts") == before + 3
