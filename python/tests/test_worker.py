"""The worker's parts by themselves: frames, arrays, what a handler is given, what it may return."""
import contextlib
import io
import itertools
import json
import mmap
import os
import random
import socket
import struct
import subprocess
import sys
import textwrap

import numpy
import pytest

from tern.worker import arrays, call, wire
from tern.worker.context import CONTEXTS, Body, Headers, Response
from tern.worker.memory import Room, Segments

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# ---- frames


def test_a_frame_reads_as_it_was_written():
    draw = random.Random(1)
    for count in range(40):
        fields = [(draw.randrange(1, 90), 0, draw.randbytes(draw.randrange(0, 40))) for _ in range(count)]
        made = wire.frame(wire.ANSWER, 1 << 40, fields)
        assert len(made) == wire.size_of(fields) and len(made) % 8 == 0
        frame = wire.Frame(made)
        assert (frame.type, frame.call, frame.fields) == (wire.ANSWER, 1 << 40, fields)


def test_values_in_frames():
    given = wire.Tensor("größe", 1, (2, 0, 3), wire.Ref(7, 64, 0), True)
    frame = wire.Frame(wire.frame(wire.ASK, 1, [wire.u64(3, 5), wire.ref(2, wire.Ref(1, 2, 3)), wire.tensor(given),
                                                (70, 0, "é".encode("latin-1"))]))
    assert frame.number(3) == 5 and frame.ref(2) == (1, 2, 3) and frame.tensors() == [given] and frame.text(70) == "é"
    assert frame.get(99) is None and frame.number(99) is None and frame.text(99) is None and frame.utf8(99) is None


# ---- arrays


DTYPES = ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16"]


def through(value, name="x"):
    made = arrays.prepare(name, value)
    memory = bytearray(made.size)
    made.write(memoryview(memory))
    return made, arrays.array_of(made.dtype, made.dims, memoryview(bytes(memory)))


@pytest.mark.parametrize("dtype", DTYPES + [">f4", ">i8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 2), (2, 3)])
def test_numbers_keep_their_values(dtype, shape):
    value = numpy.arange(int(numpy.prod(shape, dtype=int)), dtype=numpy.int64).reshape(shape).astype(dtype)
    made, back = through(value)
    assert not made.weak and back.shape == shape and back.dtype == numpy.dtype(dtype).newbyteorder("<")
    assert (back == value).all()


def test_numbers_need_not_lie_in_one_piece():
    value = numpy.arange(24, dtype="f4").reshape(4, 6)[::2, ::3].T
    assert (through(value)[1] == value).all()


@pytest.mark.parametrize("value, dims, strings", [
    (b"a\0", (), [b"a\0"]), ("é", (), ["é".encode()]), (bytearray(b"x"), (), [b"x"]), ([b"a\0", b""], (2,), [b"a\0", b""]),
    ([["a", "b"], ["c", "d"]], (2, 2), [b"a", b"b", b"c", b"d"]), (numpy.array([b"ab", b"c"]), (2,), [b"ab", b"c"]),
    (numpy.array(["é", "z"]), (2,), ["é".encode(), b"z"]), (numpy.empty((0, 2), object), (0, 2), [])])
def test_strings_keep_their_bytes(value, dims, strings):
    made, back = through(value)
    assert made.dtype == arrays.STRING and back.shape == dims and back.reshape(-1).tolist() == strings


def test_plain_numbers_are_weak():
    for value, dtype in ((1, 9), (1.5, 2), ([1, 2], 9), (True, 10)):
        made, back = through(value)
        assert made.weak and made.dtype == dtype and back.tolist() == value


@pytest.mark.parametrize("value", [numpy.array([object()]), numpy.array(["2020-01-01"], "M8[D]"), [b"a", 5], {"a": 1}])
def test_what_is_no_tensor_says_so(value):
    with pytest.raises(TypeError, match="'x'"):
        through(value)


@pytest.mark.parametrize("value, answer", [
    ({}, False), ({"a": "b"}, False), ({"a": "b", "c": "d"}, False), ("a", False), (None, False), ([1], False),
    ({"a": numpy.zeros(1)}, True), ({"a": 1}, True), ({"a": b"b"}, True), ({"a": [1]}, True), ({"a": "b", "c": 1}, True),
    ({1: numpy.zeros(1)}, False)])
def test_which_dicts_are_arrays(value, answer):
    assert arrays.is_arrays(value) is answer


def test_arrays_as_json():
    assert json.loads(arrays.to_json({"y": numpy.ones(2)}, False)) == {"outputs": [1, 1]}
    assert json.loads(arrays.to_json({"y": numpy.ones(2), "z": numpy.zeros(2)}, True)) == {
        "predictions": [{"y": 1, "z": 0}, {"y": 1, "z": 0}]}
    strings = numpy.array([b"a", b"\xff"], object)
    assert json.loads(arrays.to_json({"y": strings}, True)) == {"predictions": ["a", {"b64": "/w=="}]}


# ---- the body


TEXT = b"first\nsecond line\n\nlast, without an end" + b"x" * 9000 + b"\n" + b"tail"


def test_a_body_reads_like_a_file():
    body, same = Body(memoryview(TEXT)), io.BytesIO(TEXT)
    draw = random.Random(2)
    for _ in range(300):
        what, size = draw.choice(["read", "readline", "seek", "readinto"]), draw.choice([-1, 0, 1, 7, 5000, None])
        if what == "seek":
            at = draw.randrange(0, len(TEXT))
            assert body.seek(at) == same.seek(at)
        elif what == "readinto":
            one, two = bytearray(11), bytearray(11)
            assert body.readinto(one) == same.readinto(two) and one == two
        else:
            assert getattr(body, what)(size) == getattr(same, what)(size)
        assert body.tell() == same.tell()
    body.seek(0)
    assert list(body) == io.BytesIO(TEXT).readlines() and body.read() == b"" and body.eof
    assert len(body) == len(TEXT) and body.view() == TEXT and body.view().readonly and body.seek(-4, 2) == len(TEXT) - 4


# ---- the response


def response(content=b'{"predictions": [1]}', **more):
    return Response(200, "http://localhost:1/x", [("Content-Type", "application/json")], memoryview(content), **more)


def test_a_response_is_like_the_one_of_requests():
    import requests
    theirs = requests.Response()
    theirs.status_code, theirs._content, theirs.url = 200, b'{"predictions": [1]}\nx', "http://localhost:1/x"
    theirs.encoding = "utf-8"
    theirs.headers["Content-Type"] = "application/json"
    ours = response(theirs.content)
    for name in ("status_code", "content", "text", "ok", "url", "encoding", "is_redirect"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert list(ours.iter_content(7)) == list(theirs.iter_content(7)) and list(ours.iter_lines()) == list(theirs.iter_lines())
    assert list(ours) == list(theirs) and bool(ours) == bool(theirs) and repr(ours) == repr(theirs)
    assert ours.headers.get("content-type") == theirs.headers.get("content-type") and "CONTENT-type" in ours.headers
    bad = Response(404, "http://localhost:1/x", [], memoryview(b""))
    with pytest.raises(requests.HTTPError, match="404 Client Error: Not Found for url"):
        bad.raise_for_status()
    assert not bad and not bad.ok


def test_a_response_of_arrays_is_a_mapping():
    ours = response(b"", arrays={"y": numpy.ones(2), "z": numpy.zeros(1)})
    assert list(ours) == ["y", "z"] and ours["z"].tolist() == [0] and dict(ours.items())["y"].tolist() == [1, 1]
    assert ours.json() == {"outputs": {"y": [1, 1], "z": [0]}}
    with pytest.raises(TypeError, match="no arrays"):
        response()["y"]


def test_headers_are_found_in_any_case():
    headers = Headers([("Content-Type", "a")])
    assert headers["content-type"] == "a" and headers.get("CONTENT-TYPE") == "a" and headers.get("x", "y") == "y"
    assert dict(headers) == {"Content-Type": "a"}


# ---- the context


def test_a_context_is_the_containers_tuple():
    for generation, count in (("2.19", 10), ("2.20", 11)):
        context = CONTEXTS[generation](*range(count))
        assert len(context._fields) == count == len(context) and ("timeout" in context._fields) == (count == 11)
        assert context == tuple(range(count)) and context[0] == 0 and context._replace(method="m").method == "m"
        assert type(context).__name__ == "Context" and context.channel == 5 and context[3:6] == (3, 4, 5)
        with pytest.raises(RuntimeError, match="while its request is handled"):
            context.predict({})


# ---- results


class Runtime:
    """As much of tern.worker.runtime.Runtime as a call without questions needs."""

    def __init__(self, script, generation="2.20"):
        self.script, self.generation, self.several, self.timeout = script, generation, False, 60
        self.segments = Segments()

    def ask(self, _call, frame):
        raise AssertionError(f"asked for {wire.Frame(frame).type}")


class Script:
    def __init__(self, **functions):
        self.handler = self.input_handler = self.output_handler = None
        vars(self).update(functions)


def run(fields=(), generation="2.20", **functions):
    made = call.Call(Runtime(Script(**functions), generation), wire.Frame(wire.frame(wire.CALL, 1, list(fields))))
    return wire.Frame(made.run())


def result(value, generation="2.20"):
    frame = run(handler=lambda data, context: value, generation=generation)
    headers = [field[2].split(b"\0") for field in frame.fields if field[0] == wire.TAG_HEADER]
    return frame.number(wire.TAG_STATUS) or 200, frame.text(wire.TAG_CONTENT_TYPE), frame.get(wire.TAG_BODY) or b"", headers


@pytest.mark.parametrize("value, expected", [
    (("a", "text/plain"), (200, "text/plain", b"a", [])), (["a", "text/plain"], (200, "text/plain", b"a", [])),
    ("ab", (200, "b", b"a", [])), (("é", None), (200, "application/json", "é".encode(), [])), ((b"a", 5), (200, "5", b"a", [])),
    ((None, "t"), (200, "t", b"", [])), (("", ""), (200, "", b"", [])), ((bytearray(b"a"), "t"), (200, "t", b"a", [])),
    ((memoryview(b"a"), "t"), (200, "t", b"a", [])), ((5, "t"), (500, "application/json", b"", [])),
    ((1.5, "t"), (500, "application/json", b"", [])), (("a", "t", {"X": 1}), (200, "t", b"a", [[b"X", b"1"]])),
    (("a", "t", {"X": [1, "2"]}), (200, "t", b"a", [[b"X", b"1"], [b"X", b"2"]]))])
def test_results(value, expected):
    assert result(value) == expected


@pytest.mark.parametrize("value, words", [
    (("a", "b", "c"), "too many values to unpack"), (("a",), "not enough values to unpack (expected 2, got 1)"),
    (5, "cannot unpack non-iterable int object"), (None, "cannot unpack non-iterable NoneType object"),
    (([1], "t"), "returned list as body"), (({}, "t"), "returned dict as body"), (((x for x in "ab"), "t"), "to stream it")])
def test_results_that_are_none(value, words, capsys):
    status, kind, body, _ = result(value)
    assert (status, kind) == (500, "application/json") and words in json.loads(body)["error"]


def test_errors(capsys):
    def raises(error):
        def handler(data, context):
            raise error
        return handler

    for generation in ("2.19", "2.20"):
        frame = run(handler=raises(KeyError("x")), generation=generation)
        assert json.loads(frame.get(wire.TAG_BODY)) == {"error": "'x'"} and frame.number(wire.TAG_STATUS) == 500
    assert "KeyError: 'x'" in capsys.readouterr().err
    frame = run(handler=raises(SystemExit(3)))
    assert json.loads(frame.get(wire.TAG_BODY)) == {"error": "SystemExit: 3"}
    frame = run(handler=raises(ValueError("x" * 100000)))
    assert len(frame.get(wire.TAG_BODY)) < 9000


def test_errors_of_falcon(capsys):
    falcon = pytest.importorskip("falcon")

    def handler(data, context):
        raise falcon.HTTPPayloadTooLarge(description="too much", headers={"X": "y"})

    new = run(handler=handler)
    assert new.number(wire.TAG_STATUS) == 413 and new.utf8(wire.TAG_TITLE) == "413 Payload Too Large"
    assert new.utf8(wire.TAG_DESCRIPTION) == "too much" and new.get(wire.TAG_HEADER) == b"X\0y"
    old = run(handler=handler, generation="2.19")
    assert json.loads(old.get(wire.TAG_BODY)) == {"error": "<HTTPPayloadTooLarge: 413 Payload Too Large>"}


def posted(value):
    """What requests.post(data=value) sends, or its error."""
    import requests
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    port = listener.getsockname()[1]
    code = ("import sys, requests\nvalue = eval(sys.argv[1])\n"
            f"requests.post('http://127.0.0.1:{port}/', data=value)")
    del requests
    with subprocess.Popen([sys.executable, "-c", code, value], stderr=subprocess.DEVNULL) as client:
        connection, _ = listener.accept()
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while len(body) < length[0]:
            body += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()
        client.wait(60)
    listener.close()
    return body


@pytest.mark.parametrize("value", ["'text é'", "b'bytes'", "bytearray(b'x')", "{'a': 'b c', 'd': 'é'}", "[('a', '1'), ('a', '2')]",
                                   "None", "''", "{}", "{'a': None, 'b': 'c'}", "()"])
def test_what_input_handler_returns_is_sent_as_requests_would(value):
    frame = run(input_handler=lambda data, context: eval(value), output_handler=print)
    assert (frame.get(wire.TAG_BODY) or b"") == posted(value)


def test_what_requests_cannot_send(capsys):
    for value in (5, 1.5, True, object()):
        frame = run(input_handler=lambda data, context, value=value: value, output_handler=print)
        assert json.loads(frame.get(wire.TAG_BODY))["error"] == (
            f"'body' must be a bytes-like object, file-like object, or iterable. Instead was {value!r}")


# ---- shared memory


def test_a_room_knows_who_still_looks():
    segments = Segments()
    descriptor = os.memfd_create("test")
    os.truncate(descriptor, 1 << 16)
    segments.add(1, 1 << 16, descriptor)
    room = Room(segments, 1)
    assert room.is_free()
    view = room.view(64, 100)
    array = numpy.frombuffer(view[8:16], dtype="f4")
    assert not room.is_free() and room.find(array.__array_interface__["data"][0], 8) == 72
    del view
    assert not room.is_free()
    del array
    assert room.is_free() and room.take(100) == 0 and room.take(100) == 128 and room.take(1 << 16) is None
    kept = room.view(0, 10)
    segments.forget(1)
    kept[0] = 7
    assert kept[0] == 7 and not room.is_free()


@contextlib.contextmanager
def worker(folder, script, kind):
    """A worker process with this test as its server. -> the server's end of its socket, the page; it has ended well behind."""
    (folder / "inference.py").write_text(textwrap.dedent(script))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    page = os.memfd_create("page")
    os.truncate(page, mmap.PAGESIZE)

    def place():
        os.dup2(theirs.fileno(), 3)
        os.dup2(page, 4)

    with subprocess.Popen([sys.executable, "-m", "tern.worker", "--code", str(folder), "--worker-class", kind, "--calls", "8"],
                          env={**os.environ, "PYTHONPATH": FOLDER}, preexec_fn=place, pass_fds=(3, 4)) as process:
        theirs.close()
        ours.settimeout(60)
        ready = wire.Frame(ours.recv(65536))
        assert ready.type == wire.READY and ready.number(wire.TAG_CAPACITY) == (1 if kind == "sync" else 8)
        yield ours, page
        ours.close()
        assert process.wait(60) == 0


def body_of(sock, kind=wire.ANSWER):
    frame = wire.Frame(sock.recv(65536))
    assert frame.type == kind, frame.fields
    return frame.call, frame.get(wire.TAG_BODY)


@pytest.mark.parametrize("kind", ["sync", "gevent"])
def test_the_runtime_speaks_over_its_socket(tmp_path, kind):
    if kind == "gevent":
        pytest.importorskip("gevent")
    with worker(tmp_path, """
            def handler(data, context):
                return data.read()[::-1], context.accept_header or "text/plain"
            """, kind) as (sock, page):
        for number in range(1, 200):  # more than a reader takes without gevent's hub
            sock.send(wire.frame(wire.CALL, number, [(wire.TAG_BODY, 0, b"abc")]))
            assert body_of(sock) == (number, b"cba")
            assert struct.unpack("<Q", os.pread(page, 8, 0))[0] == number
        for number in range(200, 230):
            sock.send(wire.frame(wire.CALL, number, [(wire.TAG_BODY, 0, b"x")]))
        assert [body_of(sock) for _ in range(30)] == [(number, b"x") for number in range(200, 230)]


def test_greenlets_let_others_in(tmp_path):
    """A call that sleeps, and one that asks the server, keep nobody from being answered."""
    pytest.importorskip("gevent")
    with worker(tmp_path, """
            import time

            beats, woken = [], []

            def handler(data, context):
                what = data.read()
                while what == b"sleep" and not woken:
                    time.sleep(0.001)
                if what == b"wake":
                    woken.append(1)
                if what == b"x":
                    woken.clear()
                if what == b"beat":
                    import gevent
                    gevent.spawn(lambda: beats.append(1))
                while what == b"wait" and not beats:
                    time.sleep(0.001)
                if what.startswith(b"ask"):
                    for _ in range(2):
                        context.predict({"x": [1.0]})
                return what, "text/plain"
            """, "gevent") as (sock, _):
        numbers = itertools.count(1)

        def send(what):
            number = next(numbers)
            sock.send(wire.frame(wire.CALL, number, [(wire.TAG_BODY, 0, what)]))
            return number, what

        for _ in range(3):
            sent = send(b"x")
            assert body_of(sock) == sent
            sleeper = send(b"sleep")
            for _ in range(20):
                sent = send(b"x")
                assert body_of(sock) == sent, "the sleeper kept others from being answered"
            asks = [send(b"ask 1"), send(b"ask 2")]
            assert {body_of(sock, wire.ASK)[0] for _ in asks} == {number for number, _ in asks}
            sent = send(b"between")
            assert body_of(sock) == sent
            for turn in range(2):
                for number, _ in asks:
                    sock.send(wire.frame(wire.RESULT, number, []))
                if turn == 0:
                    assert {body_of(sock, wire.ASK)[0] for _ in asks} == {number for number, _ in asks}
            assert {body_of(sock) for _ in asks} == set(asks)
            wake = send(b"wake")
            assert {body_of(sock) for _ in range(2)} == {sleeper, wake}
        # What a script leaves behind goes on, while calls come without a pause and without any.
        beat = send(b"beat")
        assert body_of(sock) == beat
        wait = send(b"wait")
        assert body_of(sock) == wait
