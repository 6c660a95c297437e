"""Bad input: each gets the protocol's own clear error, and the next request is served. On the example engine."""
import json
import socket
import struct

import pytest

import example_models
from h2_client import FLOATS, GRPC_PREDICT, H2, entry, field, frame, shape

pytestmark = pytest.mark.example
PREDICT = "/v1/models/m:predict"
GOOD = b'{"instances": [1.0, 2.0, 5.0]}'
ANSWER = {"predictions": [2.5, 3.0, 4.5]}
INVALID, NOT_FOUND, EXHAUSTED, PRECONDITION, UNIMPLEMENTED, INTERNAL = 3, 5, 8, 9, 12, 13


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m")
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example",
                        "--max_body_bytes=50000000", "--header_timeout_ms=2000")


@pytest.fixture(autouse=True)
def next_request_is_served(server):
    yield
    assert server.post(PREDICT, GOOD).json() == ANSWER


BAD_JSON = {
    "empty": b"",
    "blank": b"  \n\t ",
    "not_json": b"<!doctype html><p>hello",
    "open": b'{"instances": [1.0, 2.0',
    "open_string": b'{"instances": "abc',
    "no_object": b"[1.0, 2.0]",
    "no_key": b"{}",
    "both_keys": b'{"instances": [1.0], "inputs": [1.0]}',
    "no_instances": b'{"instances": []}',
    "instances_is_no_list": b'{"instances": 3}',
    "nul_bytes": b'{"instances": [1.0,\x00 2.0]}',
    "nul_body": b"\x00" * 1000,
    "bad_utf8_key": b'{"\xff\xfe": [1.0]}',
    "utf16": '{"instances": [1.0]}'.encode("utf-16"),
    "wrong_dtype": b'{"instances": ["a"]}',
    "wrong_dtype_int": b'{"signature_name": "int32", "inputs": [1.5]}',
    "wrong_dtype_bool": b'{"signature_name": "bool", "inputs": [1]}',
    "wrong_dtype_string": b'{"signature_name": "string", "inputs": [1]}',
    "null": b'{"instances": [null]}',
    "ragged": b'{"signature_name": "matrix", "instances": [[1.0, 2.0], [3.0]]}',
    "ragged_deeper": b'{"signature_name": "float", "instances": [[[1.0], [2.0]], [[3.0], 4.0]]}',
    "list_and_value": b'{"signature_name": "float", "inputs": [[1.0], 2.0]}',
    "huge_exponent": b'{"instances": [1e400]}',
    "huger_exponent": b'{"instances": [1e' + b"9" * 5000 + b"]}",
    "signature_is_no_string": b'{"signature_name": 3, "instances": [1.0]}',
    "unknown_signature": b'{"signature_name": "nope", "instances": [1.0]}',
    "unknown_input": b'{"inputs": {"nope": [1.0]}}',
    "missing_input": b'{"signature_name": "pair", "inputs": {"a": [1.0]}}',
    "extra_input": b'{"signature_name": "pair", "instances": [{"a": 1.0, "b": 1, "c": 2}]}',
    "uneven_rows": b'{"signature_name": "pair", "instances": [{"a": 1.0, "b": 1}, {"a": 2.0}]}',
    "bad_base64": b'{"signature_name": "string", "inputs": {"b64": "!!!"}}',
    "leading_zero": b'{"instances": [01]}',
    "bare_minus": b'{"instances": [-]}',
    "bad_escape": b'{"signature_name": "string", "inputs": ["\\x41"]}',
    "half_surrogate": b'{"signature_name": "string", "inputs": ["\\ud800"]}',
    "control_in_string": b'{"signature_name": "string", "inputs": ["a\nb\x01"],}',
    "deep": b'{"instances": ' + b"[" * 200000,
    "deep_closed": b'{"signature_name": "float", "inputs": ' + b"[" * 300 + b"1.0" + b"]" * 300 + b"}",
    "deep_objects": b'{"a":' * 100000 + b"1" + b"}" * 100000,
    "many_commas": b'{"instances": [' + b"," * 100000 + b"]}",
}


@pytest.mark.parametrize("name", sorted(BAD_JSON))
@pytest.mark.parametrize("path", [PREDICT, "/invocations"])
def test_json(server, name, path):
    answer = server.post(path, BAD_JSON[name], headers={"Content-Type": "application/json"})
    assert 400 <= answer.status < 500, answer
    assert answer.json()["error"] and answer.headers["content-type"].startswith("application/json")


def test_trailing_bytes_are_let_through(server):
    """As TensorFlow Serving does: the reader stops where the value ends."""
    answer = server.post(PREDICT, GOOD + b" trailing")
    assert answer.status == 200 and answer.json() == ANSWER


def test_unused_keys_are_skipped(server):
    """However deep they go."""
    answer = server.post(PREDICT, b'{"x": ' + b"[" * 100000 + b"]" * 100000 + b', "instances": [1.0]}')
    assert answer.status == 200 and answer.json() == {"predictions": [2.5]}


def test_error_of_the_run(server):
    answer = server.post(PREDICT, b'{"signature_name": "fails", "instances": [1.0]}')
    assert answer.status == 400 and answer.json()["error"] == '"broken" on purpose: {x} größer'


@pytest.mark.parametrize("method,path,statuses", [
    ("GET", PREDICT, {400}), ("PUT", PREDICT, {400}), ("DELETE", "/v1/models/m", {400}), ("PATCH", "/", {404, 405}),
    ("GET", "/v1/models/%zz", {400, 404}), ("GET", "/v1/models/m/versions/99999999999999999999", {400}),
    ("GET", "/" + "a" * 60000, {400, 404, 414, 431}), ("GET", "/v1/models/" + "m" * 5000, {404, 414, 431}),
    ("GET", "/invocations", {400, 404, 405}), ("POST", "/metrics", {200, 404, 405}), ("GET", "/../../etc/passwd", {400, 404}),
])
def test_routes(server, method, path, statuses):
    answer = server.request(method, path, body=GOOD if method in ("POST", "PUT") else None)
    assert answer.status in statuses, answer


def test_many_headers(server):
    with server.connect() as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % i for i in range(5000)) + b"\r\n")
        assert read_status(s) in (400, 431)


def test_long_header(server):
    with server.connect() as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 1000000 + b"\r\n\r\n")
        assert read_status(s) in (400, 431)


def read_status(s):
    """Status of the next answer; None when the connection was closed instead."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
    except ConnectionResetError:
        pass
    return int(data.split()[1]) if data.startswith(b"HTTP/1.") else None


@pytest.mark.parametrize("raw", [
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 600,
    b"POST / HTTP/1.1\r\nContent-Length: nan\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n" % PREDICT.encode(),
    b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n" % PREDICT.encode(),
    b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" % PREDICT.encode(),
    b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n", b"GET /health\x00z HTTP/1.1\r\n\r\n", bytes(range(256)) * 20,
], ids=range(13))
def test_broken_http(server, raw):
    """A 4xx or a closed connection, never an answer as if it were right."""
    with server.connect() as s:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
        status = read_status(s)
    assert status is None or 400 <= status <= 505, status


def test_too_large(server):
    """Over --max_body_bytes: refused from the length alone, and while it comes in pieces."""
    with server.connect() as s:
        s.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\n\r\n" % PREDICT.encode())
        assert read_status(s) == 413
    with server.connect() as s:
        s.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % PREDICT.encode())
        piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        status = None
        try:
            for _ in range(60):
                s.sendall(piece)
            s.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # closed while we still sent
        try:
            status = read_status(s)
        except OSError:
            pass
        assert status in (413, None)


def test_200_mb(start, tmp_path):
    """Within the limits but no JSON: read, refused, forgotten."""
    folder = example_models.write(tmp_path / "m")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example")
    piece = b"<p>not json" * 100000
    count = 200_000_000 // len(piece)
    headers = {"Content-Length": str(count * len(piece)), "Content-Type": "application/json"}
    for path in (PREDICT, "/invocations"):
        answer = server.request("POST", path, body=(piece for _ in range(count)), headers=headers)
        assert answer.status == 400 and answer.json()["error"], answer
    assert server.post(PREDICT, GOOD).json() == ANSWER


# ---- Clients that stop half-way ----

HEAD = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" % PREDICT.encode()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"P", b"POST /v1", HEAD[:-2], HEAD, HEAD + GOOD, b"PRI * HTTP/2.0\r\n"], ids=range(7))
def test_half_request(server, sent, reset):
    for _ in range(5):
        s = server.connect()
        if sent:
            s.sendall(sent)
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def test_slow_head_is_closed(server):
    """--header_timeout_ms ends a connection whose request does not arrive."""
    with server.connect() as s:
        s.sendall(b"GET /healthz HT")
        assert read_status(s) in (None, 408)


def test_client_gone_while_running(server):
    body = b'{"signature_name": "slow", "instances": [1.0]}'
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(body))
    for _ in range(4):
        with server.connect() as s:
            s.sendall(head + body)


def test_client_that_does_not_read(server):
    """Answers of megabytes are asked for and not read; others are served meanwhile."""
    body = json.dumps({"signature_name": "float", "inputs": [0.1] * 100000}).encode()
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(body))
    with server.connect() as s:
        for _ in range(4):
            s.sendall(head + body)
        assert server.post(PREDICT, GOOD).json() == ANSWER


# ---- gRPC ----

SPEC = field(1, field(1, b"m"))
GOOD_GRPC = SPEC + entry("x", FLOATS)


@pytest.fixture
def h2(server):
    with H2(server, server.grpc) as c:
        yield c
        # The same connection still answers, when it lives.
        if c.grpc(GRPC_PREDICT, frame(GOOD_GRPC))[0] != 0:
            raise AssertionError("the connection is no longer good")


def test_grpc_good(h2):
    status, _, body = h2.grpc(GRPC_PREDICT, frame(GOOD_GRPC))
    assert status == 0 and struct.pack("<3f", 2.5, 3.0, 4.5) in body


@pytest.mark.parametrize("name,message,code", [
    ("empty", b"", {INVALID}),
    ("no_spec", entry("x", FLOATS), {INVALID}),
    ("junk", b"\xff" * 50, {INVALID, INTERNAL}),
    ("cut", GOOD_GRPC[:-3], {INVALID, INTERNAL}),
    ("trailing", GOOD_GRPC + b"\x07", {INVALID, INTERNAL}),
    ("unknown_model", field(1, field(1, b"nope")) + entry("x", FLOATS), {NOT_FOUND}),
    ("unknown_version", field(1, field(1, b"m") + field(2, b"\x08\x63")) + entry("x", FLOATS), {NOT_FOUND}),
    ("unknown_signature", field(1, field(1, b"m") + field(3, b"nope")) + entry("x", FLOATS), {PRECONDITION}),
    ("wrong_name", SPEC + entry("z", FLOATS), {INVALID}),
    ("no_input", SPEC, {INVALID}),
    ("content_too_short", SPEC + entry("x", b"\x08\x01" + shape(4) + field(4, b"\0" * 12)), {INVALID}),
    ("content_too_long", SPEC + entry("x", b"\x08\x01" + shape(2) + field(4, b"\0" * 12)), {INVALID}),
    ("negative_dim", SPEC + entry("x", b"\x08\x01" + shape(2**64 - 2) + field(4, b"\0" * 12)), {INVALID}),
    ("huge_shape", SPEC + entry("x", b"\x08\x01" + shape(2**40, 2**40)), {INVALID, EXHAUSTED}),
    ("huge_splat", SPEC + entry("x", b"\x08\x01" + shape(2**36) + field(5, b"\0\0\0\0")), {INVALID, EXHAUSTED}),
    ("rank_300", SPEC + entry("x", b"\x08\x01" + shape(*[1] * 300) + field(4, b"\0" * 4)), {INVALID}),
    ("bad_dtype", SPEC + entry("x", b"\x08\x63" + shape(1) + field(4, b"\0" * 4)), {INVALID}),
    ("other_dtype", SPEC + entry("x", b"\x08\x03" + shape(1) + field(4, b"\0" * 4)), {INVALID}),
    ("deep_groups", SPEC + b"\x9b\x06" * 50000, {INVALID, INTERNAL}),
    ("run_fails", field(1, field(1, b"m") + field(3, b"fails")) + entry("x", FLOATS), {PRECONDITION}),
])
def test_grpc_message(h2, name, message, code):
    status, text, _ = h2.grpc(GRPC_PREDICT, frame(message))
    assert status in code and text


@pytest.mark.parametrize("name,body", [
    ("nothing", b""), ("half_prefix", b"\0\0\0"), ("cut_message", frame(GOOD_GRPC)[:-5]),
    ("too_long_prefix", frame(GOOD_GRPC, length=2**31)), ("two_messages", frame(GOOD_GRPC) * 2),
    ("compressed_without_encoding", frame(GOOD_GRPC, compressed=1)), ("bad_flag", frame(GOOD_GRPC, compressed=7)),
    ("longest_prefix", frame(GOOD_GRPC, length=2**32 - 1)), ("no_prefix", GOOD_GRPC),
])
def test_grpc_frame(h2, name, body):
    found = h2.grpc(GRPC_PREDICT, body)
    if not isinstance(found, int):  # else: the stream was reset
        assert found[0] in (INVALID, EXHAUSTED, UNIMPLEMENTED, INTERNAL), found
        assert found[1]


@pytest.mark.parametrize("path", ["/tensorflow.serving.PredictionService/Nope", "/no.such.Service/Predict", "/", "/x/y/z"])
def test_grpc_unknown_method(h2, path):
    assert h2.grpc(path, frame(GOOD_GRPC))[0] == UNIMPLEMENTED


def test_grpc_bad_timeout(h2):
    for timeout in ("", "S", "5", "-1S", "999999999S", "1x", "1.5S"):
        found = h2.grpc(GRPC_PREDICT, frame(GOOD_GRPC), [("grpc-timeout", timeout)])
        assert isinstance(found, int) or found[0] in (0, INVALID, INTERNAL), (timeout, found)


def test_grpc_unknown_encoding(h2):
    found = h2.grpc(GRPC_PREDICT, frame(b"abc", compressed=1), [("grpc-encoding", "nope")])
    assert found[0] == UNIMPLEMENTED


def test_grpc_get(h2):
    found = h2.answer(h2.send(GRPC_PREDICT, b"", [("content-type", "application/grpc"), ("te", "trailers")], method="GET"))
    assert isinstance(found, int) or found[0][":status"] != "200" or (found[2] or found[0]).get("grpc-status") != "0"


def test_h2_reset_and_stop(server):
    """Streams that are reset or left open, and the connection closed with them."""
    for reset in (True, False):
        with H2(server) as c:
            for i in range(20):
                stream = c.send(PREDICT, b'{"inst', end=False)
                if reset:
                    c.conn.reset_stream(stream)
            c.flush()
            found = c.answer(c.send(PREDICT, GOOD))
            assert found[0][":status"] == "200" and json.loads(found[1]) == ANSWER


@pytest.mark.parametrize("junk", [
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x01", b"\xff\xff\xff\x01\x04\x00\x00\x00\x01" + b"\xff" * 100,
    b"\x00\x00\x05\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff", b"\x00\x00\x08\x06\x00\x00\x00\x00\x05" + b"a" * 8,
    bytes(range(256)) * 40, b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    (b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08") * 500,
], ids=["data_frame_on_0", "oversized", "bad_hpack", "ping_on_stream", "noise", "zero_window", "resets"])
def test_h2_junk_frames(server, junk):
    """A protocol error ends the connection with GOAWAY or a close; others do not notice."""
    with server.connect(server.grpc) as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + junk)
        s.shutdown(socket.SHUT_WR)
        try:
            while s.recv(65536):
                pass
        except ConnectionResetError:
            pass


def test_h2_flood_of_resets_is_bounded(server):
    """Open and reset streams as fast as they go (CVE-2023-44487): the connection may be ended, the server serves on."""
    head = "/v1/models/m:predict"
    with H2(server) as c:
        try:
            for _ in range(2000):
                stream = c.send(head, GOOD, end=False)
                c.conn.reset_stream(stream)
            c.flush()
        except OSError:
            pass
