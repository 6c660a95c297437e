"""Handler scripts of every form, on the real program: what they are given, what may come back, arrays, streams."""
import json

import numpy
import pytest
import requests

from script_server import Scripts, stop_all
from tern_server import PATIENCE, run_together

pytestmark = pytest.mark.example

GENERATIONS = ("2.19", "2.20")
INPUT = {"instances": [1.0, 2.0, 5.0]}
PREDICTIONS = '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'
BIG = 5_000_000


@pytest.fixture
def start(tmp_path):
    """start(script, ...) -> Scripts; all are ended, and what they leave is checked."""
    servers = []

    def starter(script, **more):
        servers.append(Scripts(tmp_path / str(len(servers)), script, **more))
        return servers[-1]

    yield starter
    stop_all(servers)


PAIR = """
    import json

    def input_handler(data, context):
        if context.request_content_type == "text/csv":
            rows = [float(line) for line in data.read().decode().split()]
            return json.dumps({"instances": rows})
        if context.request_content_type == "application/x-stream":
            return (piece for piece in (b'{"instances"', b": [1.0, 2.0, ", b"5.0]}"))
        return data.read().decode()

    def output_handler(response, context):
        if context.accept_header == "text/x-all":
            with response as same:
                assert same.ok and same.status_code == 200 and same.reason == "OK" and bool(same)
            same.raise_for_status()
            assert list(same.iter_lines())[0] == b"{" and same.headers["content-TYPE"] == "application/json"
            assert "Content-Length" in same.headers and same.text.encode() == same.content == same.raw.read()
            assert same.json()["predictions"] == [2.5, 3.0, 4.5] and same.url.endswith("/v1/models/half:predict")
            return "".join(same.iter_content(4, decode_unicode=True)), "text/x-all"
        return response.content, context.accept_header
"""


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_pair_around_the_model(start, generation):
    server = start(PAIR, generation=generation)
    answer = server.invoke("1.0\n2.0\n5.0", headers={"Content-Type": "text/csv", "Accept": "application/json"})
    assert (answer.status_code, answer.headers["Content-Type"], answer.text) == (200, "application/json", PREDICTIONS)
    assert server.invoke(headers={"Content-Type": "application/x-stream", "Accept": "text/x-all"}).text == PREDICTIONS
    bad = server.invoke("[", headers={"Accept": "application/json"})
    if generation == "2.19":
        assert bad.status_code == 200 and "JSON Parse error" in bad.json()["error"]
    else:
        assert bad.status_code == 400 and bad.json()["title"] == "400 Bad Request"


def test_a_large_pair(start):
    server = start(PAIR)
    values = [0.25] * 400_000
    answer = server.invoke(json.dumps({"instances": values}), headers={"Accept": "application/json"})
    assert answer.status_code == 200 and answer.json() == {"predictions": [2.125] * len(values)}


def test_the_worker_is_free_while_the_model_runs(start):
    """One worker, one call at a time: another call is done while the model is at work for the first."""
    server = start("""
        import sys

        def input_handler(data, context):
            name = data.read().decode()
            print("input of", name)
            return '{"signature_name": "%s", "instances": [1.0]}' % name

        def output_handler(response, context):
            return response.content, "application/json"
    """, env={"SAGEMAKER_GUNICORN_WORKER_CLASS": "sync"})
    with server.connect("stuck"):
        server.until(lambda: "input of stuck" in server.log, "the first call's input_handler had run")
        assert server.invoke("serving_default").json() == {"predictions": [2.5]}


ARRAYS = """
    import json
    import numpy

    def input_handler(data, context):
        kind = context.request_content_type
        if kind == "application/x-f4":
            return {"x": numpy.frombuffer(data.read(), dtype="<f4")}
        if kind == "application/x-view":  # in place: nothing is copied
            return {"x": numpy.frombuffer(data.view(), dtype="<f4")}
        if kind == "application/x-empty":
            x = context.empty(1_000_000)
            x[:] = 3
            return {"x": x}
        if kind == "application/x-list":
            return {"x": [1, 2, 5]}
        if kind == "application/x-stride":
            return {"x": numpy.arange(20000, dtype=">f4")[::2]}
        if kind == "application/x-wrong":
            return {"y": numpy.zeros(3, "f4")}
        if kind == "application/x-dtype":
            return {"x": numpy.zeros(3, "f8")}
        if kind == "application/x-rank":
            return {"x": numpy.zeros((3, 1), "f4")}
        if kind == "application/x-object":
            return {"x": numpy.array([object()])}
        raise ValueError("kind?")

    def output_handler(response, context):
        if response.arrays is None:
            return response.content, "application/json"
        y = response["y"]
        assert list(response) == ["y"] and len(response) == 1 and y is response.arrays["y"]
        if context.accept_header == "application/x-f4":
            return y.tobytes(), "application/x-f4"
        if context.accept_header == "application/json":
            return response.content, "application/json"
        return json.dumps([str(y.dtype), list(y.shape), float(y[0]), float(y[-1])]), "application/json"
"""


@pytest.mark.parametrize("generation", GENERATIONS)
def test_arrays_go_in_and_come_out(start, generation):
    server = start(ARRAYS, generation=generation)
    for size in (3, 5000, 1_250_000):
        x = numpy.arange(size, dtype="<f4")
        for kind in ("application/x-f4", "application/x-view"):
            answer = server.invoke(x.tobytes(), headers={"Content-Type": kind, "Accept": "application/x-f4"})
            assert answer.status_code == 200, answer.text
            assert numpy.array_equal(numpy.frombuffer(answer.content, "<f4"), x / 2 + 2)

    def ask(kind, accept="text/x"):
        return server.invoke(headers={"Content-Type": "application/x-" + kind, "Accept": accept})

    assert ask("empty").json() == ["float32", [1_000_000], 3.5, 3.5]
    assert ask("stride").json() == ["float32", [10000], 2.0, 2 + 19998 / 2]
    assert ask("list", "application/json").json() == {"outputs": [2.5, 3.0, 4.5]}
    # What is wrong with them is the model's answer, as with JSON.
    for kind, words in (("wrong", "There is no input y"), ("dtype", "Input x is double, the signature has float"),
                        ("rank", "Input x has rank 2")):
        bad = ask(kind, "application/json")
        text = bad.json()["error"] if generation == "2.19" else json.loads(bad.json()["description"])["error"]
        assert bad.status_code == (200 if generation == "2.19" else 400) and words in text
    assert ask("object").status_code == 500 and "input 'x'" in ask("object").json()["error"]


PREDICT = """
    import json
    import numpy

    def handler(data, context):
        what = json.loads(data.read())
        if what == "many":
            y = numpy.ones(3, "f4")
            for _ in range(20):
                y = context.predict({"x": y})["y"]
            return json.dumps(y.tolist()), "application/json"
        if what == "pair":
            out = context.predict({"a": numpy.full(2, 1.5, "f4"), "b": numpy.array([7, 8], "i4")}, signature="pair")
            one = context.predict({"a": [1.5], "b": [7]}, signature="pair", outputs=["b"])
            return json.dumps([sorted(out), out["a"].tolist(), out["b"].tolist(), str(out["b"].dtype), list(one)]), None
        if what == "string":
            given = numpy.array([[b"a\\x00", "\\u00e9"], [b"", b"x" * 40000]], dtype=object)
            out = context.predict({"x": given}, signature="string", model="half", version=1)["y"]
            assert out.shape == (2, 2) and out[0, 0] == b"a\\x00" and out[1, 1] == b"x" * 40000
            assert context.predict({"x": b"one"}, signature="string")["y"].item() == b"one"
            assert context.predict({"x": ["a", "b"]}, signature="string")["y"].tolist() == [b"a", b"b"]
            return out[0, 1], "text/plain"
        if what == "dtypes":
            for name, dtype in DTYPES.items():
                x = numpy.array([[0, 1]], dtype)
                y = context.predict({"x": x}, signature=name)["y"]
                assert y.dtype == x.dtype and y.shape == (1, 2) and (y == x).all(), name
            return "good", None
        if what == "large":
            x = numpy.arange(3_000_000, dtype="f4")
            y = context.predict({"x": x})["y"]
            return json.dumps(bool((y == x / 2 + 2).all())), None
        try:
            context.predict(**what)
        except Exception as error:
            return json.dumps([type(error).__name__, getattr(error, "code", None), str(error)]), None

    DTYPES = {"float": "f4", "double": "f8", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1",
              "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "?", "half": "f2", "complex64": "c8",
              "complex128": "c16"}
"""


@pytest.mark.parametrize("kind", ["gevent", "sync", "gthread"])
def test_context_predict(start, kind):
    server = start(PREDICT, env={"SAGEMAKER_GUNICORN_WORKER_CLASS": kind, "SAGEMAKER_GUNICORN_THREADS": "3"})

    def ask(what):
        answer = server.invoke(json.dumps(what))
        assert answer.status_code == 200, answer.text
        return answer

    y = numpy.ones(3, "f4")
    for _ in range(20):
        y = y / 2 + 2
    assert ask("many").json() == y.tolist()
    assert ask("pair").json() == [["a", "b"], [3.0, 3.0], [7, 8], "int32", ["b"]]
    assert ask("string").content.decode() == "é"
    assert ask("dtypes").text == "good"
    assert ask("large").json() is True
    for what, code, words in (
            ({"inputs": {"x": [1.0]}, "model": "none"}, 404, "Servable not found for request: Latest(none)"),
            ({"inputs": {"x": [1.0]}, "version": 9}, 404, "Servable not found for request: Specific(half, 9)"),
            ({"inputs": {"x": [1.0]}, "signature": "none"}, 400, 'Serving signature name: "none" not found'),
            ({"inputs": {"x": [1.0]}, "outputs": ["z"]}, 400, "There is no output z"),
            ({"inputs": {}}, 400, "Input x of signature serving_default is missing"),
            ({"inputs": {"x": [300]}, "signature": "uint8"}, 400, "Input x is int64, the signature has uint8"),
            ({"inputs": {"x": [1.0]}, "signature": "fails"}, 400, '"broken" on purpose')):
        kind, status, text = ask(what).json()
        assert (kind, status) == ("PredictError", code) and words in text
    answers = run_together([lambda: ask("large")] * 6)
    assert all(answer.json() is True for answer in answers)


def test_headers_of_the_script(start):
    server = start("""
        def handler(data, context):
            return "x", "text/plain", {"X-Amzn-SageMaker-Custom-Attributes": "a=1", "X-List": ["1", "2"],
                                       "Content-Length": "7", "Connection": "close", **eval(data.read() or "{}")}
    """)
    answer = server.invoke()
    assert answer.status_code == 200 and answer.text == "x" and answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "a=1" and answer.headers["X-List"] == "1, 2"
    assert answer.headers["Content-Length"] == "1" and "Connection" not in answer.headers
    for bad in ('{"a b": "1"}', '{"a": "1\\r\\nInjected: 1"}', '{"": "1"}'):
        answer = server.invoke(bad)
        assert answer.status_code == 400 and "Invalid HTTP header" in answer.json()["error"]
        assert "Injected" not in answer.headers


STREAM = """
    def handler(data, context):
        if data.read() == b"fails at once":
            return fails(), "text/plain", {}
        return pieces(), "text/plain", {"X-Is": "streamed"}

    def fails():
        raise ValueError("nothing at all")
        yield

    def pieces():
        for i in range(300):
            yield "%d " % i
        yield b"x" * 200000
        yield memoryview(b"end")
"""


@pytest.mark.parametrize("kind", ["gevent", "sync"])
def test_a_generator_is_streamed(start, kind):
    server = start(STREAM, env={"SAGEMAKER_GUNICORN_WORKER_CLASS": kind})
    expected = "".join("%d " % i for i in range(300)) + "x" * 200000 + "end"
    for _ in range(3):
        answer = server.invoke()
        assert answer.text == expected and answer.headers["X-Is"] == "streamed"
        assert answer.headers["Transfer-Encoding"] == "chunked"
    answer = server.invoke("fails at once")
    assert (answer.status_code, answer.json()) == (500, {"error": "nothing at all"})


def test_a_part_is_sent_before_the_next_is_made(start):
    server = start("""
        import os

        def handler(data, context):
            return pieces(data.read().decode()), "text/plain", {}

        def pieces(path):
            yield "first"
            with open(path) as pipe:
                pipe.read()
            yield "second"
    """)
    import os
    pipe = server.folder / "pipe"
    os.mkfifo(pipe)
    with requests.post(f"http://127.0.0.1:{server.port}/invocations", data=str(pipe), stream=True, timeout=PATIENCE) as answer:
        assert answer.raw.read1(100) == b"first"
        pipe.write_bytes(b"go on")
        assert answer.raw.read() == b"second"


def test_a_stream_that_fails_breaks_off(start):
    server = start("""
        def handler(data, context):
            return pieces(), "text/plain", {}

        def pieces():
            yield "first"
            raise ValueError("later")
    """)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        server.invoke()
    assert "ValueError: later" in server.log


def test_a_generator_without_headers_says_how_to_stream(start):
    server = start("""
        def handler(data, context):
            return (piece for piece in "ab"), "text/plain"
    """)
    answer = server.invoke()
    assert answer.status_code == 500 and "return (generator, content type, headers)" in answer.json()["error"]


BODY = """
    import hashlib
    import io
    import json

    def handler(data, context):
        how = context.request_content_type
        if how == "text/read":
            text = data.read()
        elif how == "text/pieces":
            text = b"".join(iter(lambda: data.read(100_000), b""))
        elif how == "text/lines":
            lines = list(data)
            assert all(line.endswith(b"\\n") for line in lines[:-1])
            text = b"".join(lines)
        elif how == "text/into":
            text = bytearray(len(data))
            assert data.readinto(text) == len(text) and data.read() == b"" and data.eof
        elif how == "text/wrapped":
            text = io.TextIOWrapper(data, "latin-1", newline="").read().encode("latin-1")
        else:
            text = data.view()
        return json.dumps([context.content_length, hashlib.sha256(text).hexdigest()]), "application/json"
"""


@pytest.mark.parametrize("kind", ["gevent", "sync"])
@pytest.mark.parametrize("size", [0, 1, 24 << 10, (24 << 10) + 1, 65536, BIG])
def test_bodies_of_every_size_arrive(start, kind, size):
    import hashlib
    server = start(BODY, env={"SAGEMAKER_GUNICORN_WORKER_CLASS": kind})
    body = (b"some line of text, not too long\n" * (size // 32 + 1))[:size]
    for how in ("read", "pieces", "lines", "into", "wrapped", "view"):
        expected = [size, hashlib.sha256(body).hexdigest()]
        assert server.invoke(body, headers={"Content-Type": "text/" + how}).json() == expected, how
        chunks = (body[at:at + 50_000] for at in range(0, size, 50_000))
        assert server.invoke(chunks, headers={"Content-Type": "text/" + how}).json() == expected, how


def test_what_a_script_keeps_does_not_change(start):
    """A view of a body that is kept after its call: the memory is not used for others."""
    server = start("""
        KEPT = []

        def handler(data, context):
            KEPT.append(data.view())
            return ",".join(str(bytes(view[:1]) + bytes(view[-1:])) for view in KEPT), "text/plain"
    """)
    for i in range(6):
        answer = server.invoke(bytes([65 + i]) * 1_000_000)
        assert answer.text == ",".join(str(bytes([65 + k]) * 2) for k in range(i + 1))


def test_scripts_find_real_ports(start):
    """REST by requests, gRPC by context.channel, by a channel of the script's own, and by the serving stubs."""
    server = start("""
        import grpc
        import requests

        def varint(n):
            return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

        def field(number, payload):
            return varint(number << 3 | 2) + varint(len(payload)) + payload

        MESSAGE = field(1, field(1, b"half")) + field(2, field(1, b"x") + field(2, (
            b"\\x08\\x01" + field(2, field(2, b"\\x08\\x01")) + field(5, b"\\x00\\x00\\x80\\x3f"))))

        def handler(data, context):
            if data.read() == b"rest":
                return requests.post(context.rest_uri, json={"instances": [1.0]}).text, "application/json"
            call = context.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            with grpc.insecure_channel("localhost:" + context.grpc_port) as own:
                same = own.unary_unary("/tensorflow.serving.PredictionService/Predict")(MESSAGE, timeout=20)
            assert context.channel is context[5] is tuple(context)[5]
            answer = call(MESSAGE, timeout=20)
            assert answer == same
            return answer, "application/octet-stream"
    """)
    assert json.loads(server.invoke("rest").text) == {"predictions": [2.5]}
    assert b"\x00\x00\x20\x40" in server.invoke("grpc").content  # 2.5


def test_calls_that_wait_overlap(start):
    """gevent: a script that blocks in time.sleep() or requests lets others in; gthread with threads, too."""
    script = """
        import threading
        BARRIER = threading.Barrier(4)

        def handler(data, context):
            BARRIER.wait(30)
            return "all here", "text/plain"
    """
    for kind in ("gevent", "gthread"):
        server = start(script, env={"SAGEMAKER_GUNICORN_WORKER_CLASS": kind, "SAGEMAKER_GUNICORN_THREADS": "4"})
        answers = run_together([lambda: requests.post(f"http://127.0.0.1:{server.port}/invocations", timeout=PATIENCE)] * 4)
        assert [answer.text for answer in answers] == ["all here"] * 4


def test_several_workers_share_the_calls(start):
    server = start("""
        import os
        import time

        def handler(data, context):
            time.sleep(0.05)
            return str(os.getpid()), "text/plain"
    """, env={"SAGEMAKER_GUNICORN_WORKERS": "3", "SAGEMAKER_GUNICORN_WORKER_CLASS": "sync"})
    server.until(lambda: len(server.workers()) == 3, "all workers had started")
    seen = set()
    server.until(lambda: len(seen.update(answer.text for answer in run_together(
        [lambda: requests.post(f"http://127.0.0.1:{server.port}/invocations", timeout=PATIENCE)] * 12)) or seen) == 3,
        "all workers had answered")
    assert seen == set(map(str, server.workers()))


def test_print_goes_to_the_log_and_stdin_is_empty(start):
    server = start("""
        import sys

        def handler(data, context):
            print("a line from the script")
            print("another one", file=sys.stderr)
            return sys.stdin.read(), "text/plain"
    """)
    assert server.invoke().text == ""
    assert "a line from the script\n" in server.log and "another one\n" in server.log


def test_a_worker_has_nothing_of_the_server_open(start):
    server = start("""
        import json
        import os

        def handler(data, context):
            return json.dumps({fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                               if os.path.exists("/proc/self/fd/" + fd)}), "application/json"
    """, env={"SAGEMAKER_GUNICORN_WORKER_CLASS": "sync"})
    files = server.invoke().json()
    assert files["0"] == "/dev/null"
    strange = {fd: what for fd, what in files.items() if int(fd) > 2 and not what.startswith(("/memfd:tern", "/dev/null"))}
    assert [what.split(":")[0] for what in strange.values()] == ["socket"], files


def test_modules_beside_the_script_and_in_lib(start):
    server = start("""
        import beside

        def handler(data, context):
            import in_lib
            return beside.NAME + in_lib.NAME, "text/plain"
    """, files={"beside.py": "NAME = 'beside '", "lib/in_lib.py": "NAME = 'in lib '"})
    assert server.invoke().text == "beside in lib "
