"""The service form of SageMaker's port without a script: routes, errors, attributes, the default handler."""
import json
import re
import socket

import pytest

from sagemaker_server import SageMaker, write_model
from tern_server import PATIENCE, run_together

pytestmark = pytest.mark.example

GENERATIONS = ("2.19", "2.20")
INPUT = {"instances": [1.0, 2.0, 5.0]}
PREDICTIONS = '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """One of each generation: model `half` with versions 123 (adds 2) and 124 (adds 3), and `other`, with a lib folder."""
    made = {}
    try:
        for generation in GENERATIONS:
            base = tmp_path_factory.mktemp("base")
            for version, addend in ((123, 2), (124, 3)):
                write_model(base / "model" / "half", version, addend=addend)
            write_model(base / "model" / "other", 1, addend=5)
            (base / "model" / "code" / "lib").mkdir(parents=True)
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


def kept(answer):
    return answer.status_code, answer.headers.get("Content-Type"), answer.text


# ---- routes


@pytest.mark.parametrize("path", ["/ping", "/ping?x=1"])
def test_ping_is_an_empty_200(server, path):
    assert kept(server.ask("GET", path)) == (200, "application/json", "")


@pytest.mark.parametrize("path", ["/ping/", "/pingpong", "/ping/more", "/invocations/", "/invocations/more",
                                  "/invocationsx", "/models", "/models/half", "/models/half/invoke"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_routes_are_exact(server, method, path):
    assert kept(server.ask(method, path, data="x")) == (404, "application/json", '{"title": "404 Not Found"}')


@pytest.mark.parametrize("method, path, allow", [
    ("POST", "/ping", "GET, OPTIONS"), ("PUT", "/ping", "GET, OPTIONS"), ("DELETE", "/ping", "GET, OPTIONS"),
    ("PATCH", "/ping", "GET, OPTIONS"), ("PUT", "/invocations", "DELETE, GET, POST, OPTIONS"),
    ("PATCH", "/invocations", "DELETE, GET, POST, OPTIONS")])
def test_other_methods_are_405_with_those_that_are(server, method, path, allow):
    answer = server.ask(method, path, data="x")
    assert kept(answer) == (405, "application/json", '{"title": "405 Method Not Allowed"}')
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize("method, path, status", [
    ("PROPFIND", "/ping", 405), ("MKCOL", "/invocations", 405), ("BREW", "/ping", 400), ("BREW", "/invocations", 400),
    ("SEARCH", "/invocations", 400), ("BREW", "/models", 404)])
def test_methods_that_are_none_are_400(server, method, path, status):
    titles = {400: "400 Bad Request", 404: "404 Not Found", 405: "405 Method Not Allowed"}
    answer = server.ask(method, path, data="x")
    assert kept(answer) == (status, "application/json", json.dumps({"title": titles[status]}))


def test_a_method_that_is_none_behind_a_body(server):
    """The rest of one request and the whole of the next came in one piece."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        sock.sendall(b"MKCOL /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
                     b"BREW /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"405", b"400"]


@pytest.mark.parametrize("path, allow", [("/ping", "GET, OPTIONS"), ("/invocations", "DELETE, GET, POST, OPTIONS")])
def test_head_is_405_without_a_body(server, path, allow):
    answer = server.ask("HEAD", path)
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, allow, b"")


@pytest.mark.parametrize("path, allow", [("/ping", "GET"), ("/invocations", "DELETE, GET, POST")])
def test_options_tells_the_methods(server, path, allow):
    answer = server.ask("OPTIONS", path)
    assert (kept(answer), answer.headers["Allow"]) == ((200, "application/json", ""), allow)


def test_get_and_delete_of_invocations(server):
    failed = (500, "application/json", '{"title": "500 Internal Server Error"}')
    assert kept(server.ask("GET", "/invocations")) == ((200, "application/json", "{}") if server.later else failed)
    assert kept(server.ask("DELETE", "/invocations")) == failed


@pytest.mark.parametrize("accept, kind, body", [
    (None, "application/json", '{"title": "404 Not Found"}'),
    ("*/*", "application/json", '{"title": "404 Not Found"}'),
    ("application/problem+json", "application/json", '{"title": "404 Not Found"}'),
    ("text/csv", "application/json", ""),
    ("application/json;q=0", "application/json", ""),
    ("application/xml", "application/xml",
     '<?xml version="1.0" encoding="UTF-8"?><error><title>404 Not Found</title></error>'),
    ("application/json;q=0.2, text/*", "text/xml",
     '<?xml version="1.0" encoding="UTF-8"?><error><title>404 Not Found</title></error>')])
def test_errors_have_the_form_that_is_accepted(server, accept, kind, body):
    answer = server.ask("GET", "/models", headers={"Accept": accept})
    assert kept(answer) == (404, kind, body)
    assert answer.headers["Vary"] == "Accept"


# ---- the default handler


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/csv",
                                  "application/jsonlines", "application/jsons", None, ""])
def test_the_body_is_asked_for_as_it_is(server, kind):
    answer = server.ask("POST", "/invocations", data=json.dumps(INPUT), headers={"Content-Type": kind,
                        ATTRIBUTES: "tfs-model-version=123"})
    assert kept(answer) == (200, "*/*", PREDICTIONS)  # requests' own Accept comes back


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/json, text/plain", "nonsense"])
def test_accept_is_the_content_type_of_the_answer(server, accept):
    answer = server.ask("POST", "/invocations", json=INPUT, headers={"Accept": accept})
    assert kept(answer)[:2] == (200, accept)


def test_an_empty_accept_counts_as_json(server):
    assert kept(server.ask("POST", "/invocations", json=INPUT, headers={"Accept": ""}))[:2] == (200, "application/json")


@pytest.mark.parametrize("body", ["1.0\n2.0", "", "[1.0]", '{"x": 1}', '{"instances": ["x"]}', '{"instances": '])
def test_errors_of_the_model_server(server, body):
    want = server.post("/v1/models/half:predict", body)
    answer = server.ask("POST", "/invocations", data=body, headers={"Accept": "application/json"})
    assert want.status == 400
    if server.later:
        assert answer.status_code == 400
        assert answer.json() == {"title": "400 Bad Request", "description": want.text}
    else:
        assert kept(answer) == (200, "application/json", want.text)


@pytest.mark.parametrize("kind", ["application/x-npy", "Application/Octet-Stream; x=1", "text/plain"])
def test_only_2_20_looks_at_the_content_type(server, kind):
    answer = server.ask("POST", "/invocations", json=INPUT, headers={"Content-Type": kind})
    bare = kind.split(";")[0].lower()
    assert answer.status_code == (415 if server.later else 200)
    if server.later:
        assert answer.text == '{"error": "Unsupported Media Type: %s"}' % bare


def test_a_body_that_is_no_utf8_is_500(server):
    for body, why in ((b"\xff", "byte 0xff in position 0: invalid start byte"),
                      (b'{"instances": [1.0, "' + b"a" * 200000 + b"\xe2\x82", "bytes in position 200021-200022: unexpected end of data")):
        answer = server.ask("POST", "/invocations", data=body)
        assert kept(answer) == (500, "application/json", json.dumps({"error": "'utf-8' codec can't decode " + why}))


def test_a_large_body_and_a_chunked_one(server):
    large = {"instances": [1.0] * 100000}
    assert server.ask("POST", "/invocations", json=large).json() == {"predictions": [3.5] * 100000}
    parts = (part for part in (b'{"instances"', b":[1.0]}"))
    assert server.ask("POST", "/invocations", data=parts).json() == {"predictions": [3.5]}


def test_what_the_client_encodes_is_not_decoded(server):
    answer = server.ask("POST", "/invocations", data=b"\x1f\x8b\x08\x00", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 500 and "0x8b" in answer.json()["error"]


# ---- attributes


@pytest.mark.parametrize("attributes, first", [
    ("tfs-model-version=123", 2.5), ("tfs-model-version=124", 3.5), ("xtfs-model-version=123", 2.5),
    ("a=b, tfs-model-name=other", 5.5), ("tfs-model-name=half,tfs-model-name=other", 5.5), ("free text", 3.5),
    ("tfs-method=predict", 3.5), ("tfs-other=1", 3.5)])
def test_attributes_choose(server, attributes, first):
    answer = server.ask("POST", "/invocations", json=INPUT, headers={ATTRIBUTES: attributes})
    assert answer.json()["predictions"][0] == first


@pytest.mark.parametrize("attributes, path, text", [
    ("tfs-model-name=a/b", "a/b:predict", "invalid tfs-model-name"),
    ("tfs-model-version=x", "half/versions/x:predict", "invalid tfs-model-version: must be a positive integer"),
    ("tfs-method=nonsense", "half:nonsense", "invalid tfs-method: must be one of predict|classify|regress")])
def test_only_2_20_checks_attributes(server, attributes, path, text):
    answer = server.ask("POST", "/invocations", json=INPUT, headers={ATTRIBUTES: attributes, "Accept": "text/csv"})
    if server.later:
        assert kept(answer) == (400, "application/json", json.dumps({"error": text}))
    else:
        assert kept(answer) == (200, "text/csv", '{\n    "error": "Malformed request: POST /v1/models/%s"\n}' % path)


def test_names_of_2_19_are_urls_in_disguise(server):
    if server.later:
        return
    for name in ("half/versions/123", "%68alf/versions/123", "other/../half/versions/123"):
        answer = server.ask("POST", "/invocations", json=INPUT, headers={ATTRIBUTES: f"tfs-model-name={name}"})
        assert answer.json() == {"predictions": [2.5, 3.0, 4.5]}, name
    answer = server.ask("POST", "/invocations", json=INPUT, headers={ATTRIBUTES: "tfs-model-version=99999999999999999999"})
    assert kept(answer)[::2] == (200, "")


def test_an_attribute_with_two_equal_signs(server):
    answer = server.ask("POST", "/invocations", json=INPUT, headers={ATTRIBUTES: "tfs-model-name=a=b"})
    assert kept(answer) == ((400, "application/json", '{"error": "invalid tfs-model-name"}') if server.later else
                            (500, "application/json", '{"title": "500 Internal Server Error"}'))


@pytest.mark.parametrize("attributes, text", [
    ("tfs-model-name=nothing", "Servable not found for request: Latest(nothing)"),
    ("tfs-model-version=9", "Servable not found for request: Specific(half, 9)")])
def test_a_model_that_is_not_there(server, attributes, text):
    answer = server.ask("POST", "/invocations", json=INPUT, headers={ATTRIBUTES: attributes, "Accept": "application/json"})
    inner = '{\n    "error": "%s"\n}' % text
    if server.later:
        assert (answer.status_code, answer.json()) == (404, {"title": "404 Not Found", "description": inner})
    else:
        assert kept(answer) == (200, "application/json", inner)


# ---- the rest


def test_no_python_is_started(server):
    with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children", encoding="ascii") as children:
        assert children.read().split() == []


def test_many_at_once(server):
    def ask(i):
        answer = server.request("POST", "/invocations", body=json.dumps({"instances": [float(i)]}), port=server.port)
        return answer.status, answer.json()
    assert run_together([lambda i=i: ask(i) for i in range(32)]) == \
        [(200, {"predictions": [i * 0.5 + 3]}) for i in range(32)]


def test_ping_is_true_to_the_model(tmp_path):
    tern_grpc = pytest.importorskip("tern_grpc")
    from tensorflow_serving.apis import model_management_pb2
    base = tmp_path / "base"
    write_model(base / "model" / "half", 1)
    (base / "model" / "code" / "lib").mkdir(parents=True)
    server = SageMaker(tmp_path / "server", base)
    try:
        assert server.ask("GET", "/ping").status_code == 200
        nothing = model_management_pb2.ReloadConfigRequest()
        nothing.config.model_config_list.SetInParent()
        client = tern_grpc.Client(server.grpc)
        client.model.HandleReloadConfigRequest(nothing, timeout=PATIENCE)
        client.channel.close()
        answer = server.ask("GET", "/ping")
        assert (answer.status_code, answer.json()) == (503, {"error": "Servable not found for request: Latest(half)"})
    finally:
        server.stop()
