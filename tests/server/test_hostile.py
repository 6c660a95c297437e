"""Small messages that ask for much: memory, time of an event loop, time of the end. On the example engine."""
import gzip
import os
import struct
import subprocess
import time

import pytest

import example_models
from h2_client import GRPC_PREDICT, H2
from tern_server import BUILD, PATIENCE

pytestmark = pytest.mark.example
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
BUDGET = 8 << 20
BUSY = "\nsignature busy\ninput x float [-1]\noutput y float [-1] affine 1 0 x\nbusy 20000\n"


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def shape(n):
    return field(2, field(2, b"\x08" + varint(n)))


def message(*inputs):
    return field(1, field(1, b"m")) + b"".join(field(2, field(1, b"x") + field(2, tensor)) for tensor in inputs)


def framed(body):
    return b"\0" + struct.pack(">I", len(body)) + body


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m", body=example_models.text() + BUSY)
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--num_loops=1",
                        f"--max_bytes_in_flight={BUDGET}", "--max_body_bytes=4000000")


def grpc_status(server, path, body):
    with H2(server, server.grpc) as c:
        headers, _, trailers = c.answer(c.send(path, framed(body), GRPC))
        return int({**headers, **trailers}["grpc-status"])


@pytest.mark.parametrize("tensor", [
    b"\x08\x01" + shape(1 << 24) + field(5, b"\0\0\0\x40"),  # one float, 2^24 times
    b"\x08\x09" + shape(1 << 24),  # zeros
    b"\x08\x07" + shape(1 << 20) + field(8, b"12345678"),  # strings
    b"\x08\x09" + shape(3000000) + field(10, bytes(3000000)),  # eight bytes for one
], ids=["repeated", "zeros", "strings", "varints"])
def test_tensors_are_paid_for_before_they_are_made(server, tensor):
    assert grpc_status(server, GRPC_PREDICT, message(tensor)) == 8
    assert server.metric("tern_bytes_in_flight") == 0
    assert grpc_status(server, GRPC_PREDICT, message(b"\x08\x01" + shape(1000))) == 0


def test_tensors_of_a_rest_message_are_paid_for(server):
    """Of a body of few bytes: no more than a gRPC message may take, and counted while they are there."""
    def status(n):
        tensor = b"\x08\x01" + shape(n) + field(5, b"\0\0\0\x40")
        body = field(2, field(1, b"x") + field(2, tensor))
        return server.post("/v1/models/m:predict", body, headers={"Content-Type": "application/x-protobuf"}).status

    assert status(1500000) == 429
    assert status(1000) == 200
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all was given back")


def test_lists_of_nothing_are_bounded(server):
    """No elements, no bytes, and as many empty lists in JSON as somebody likes."""
    def ask(*dims):
        tensor = b"\x08\x06" + field(2, b"".join(field(2, b"\x08" + varint(n)) for n in dims))
        body = field(1, field(3, b"int8")) + field(2, field(1, b"x") + field(2, tensor))
        return server.post("/v1/models/m:predict", body,
                           headers={"Content-Type": "application/x-protobuf", "Accept": "application/json"})

    for dims in [(900000, 0, 2), (900, 1000, 0)]:
        assert ask(*dims).status == 200
    for dims in [(1 << 20, 2, 0), (3, 1 << 19, 0)]:
        answer = ask(*dims)
        assert answer.status == 429 and "Output y has no elements" in answer.text
    # What sums up over the dimension of 0 would have the others: too much.
    for dims in [((1 << 63) - 1, 0), (0, 1 << 62, 1 << 62), (0, 1 << 40)]:
        answer = ask(*dims)
        assert answer.status == 400 and "tensor parsing error: x" in answer.text
    assert ask(2, 0).json() == {"outputs": [[], []]}
    assert ask(0, 1000).json() == {"outputs": []}


def test_repeated_keys_are_counted(server):
    assert grpc_status(server, GRPC_PREDICT, message(*[b""] * 2000)) == 8
    assert grpc_status(server, GRPC_PREDICT, message(b"", b"\x08\x01" + shape(2))) == 0


def test_small_calls_have_small_messages(server):
    path = "/tensorflow.serving.PredictionService/GetModelMetadata"
    assert grpc_status(server, path, b"\x12\0" * 1000000) == 8
    assert grpc_status(server, path, b"\x12\0" * 100000) == 3


def test_bombs_go_off_outside_of_the_loop(server):
    """A body that is small as it comes may be large inflated: the one loop answers others meanwhile."""
    gzipped = {"headers": {"content-encoding": "gzip"}}
    for _ in range(40):  # calls as these are measured to be small
        assert server.predict("m", gzip.compress(b'{"instances": [1.0]}'), **gzipped).status == 200
    bomb = gzip.compress(b'{"instances": [' + b"1," * 1400000 + b"1]}")
    assert len(bomb) < 65536
    before = server.metric("tern_stage_seconds_count", stage="queue")
    assert server.predict("m", bomb, **gzipped).status in (200, 429)
    assert server.metric("tern_stage_seconds_count", stage="queue") == before + 1
    for name in ("m", "nobody"):
        answer = server.predict(name, gzip.compress(bytes(5000000)), **gzipped)
        assert answer.status == (400 if name == "m" else 404), answer
    assert server.metric("tern_bytes_in_flight") == 0


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_a_dear_signature_does_not_stop_the_loop(server, way):
    """Calls of a cheap signature were measured; then one of another signature of the same version takes 1.5 s."""
    spec = field(1, b"m")
    cheap = framed(field(1, spec) + field(2, field(1, b"x") + field(2, b"\x08\x01" + shape(1))))
    dear = framed(field(1, spec + field(3, b"slow")) + field(2, field(1, b"x") + field(2, b"\x08\x01" + shape(1))))
    with H2(server, server.grpc) as c, server.connect() as s:
        for _ in range(100):
            if way == "rest":
                assert server.predict("m", {"instances": [1.0]}).status == 200
            else:
                c.answer(c.send(GRPC_PREDICT, cheap, GRPC))
        if way == "rest":
            body = b'{"signature_name": "slow", "instances": [1.0]}'
            s.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        else:
            stream = c.send(GRPC_PREDICT, dear, GRPC)
        start = time.monotonic()
        server.until(lambda: server.metric("tern_running") == 1, "an executor ran it")
        assert time.monotonic() - start < 1
        answer = s.recv(100) if way == "rest" else c.answer(stream)[0]
        assert answer.startswith(b"HTTP/1.1 200 ") if way == "rest" else answer[":status"] == "200"


def test_a_long_error_costs_little(server):
    """What an error quotes is cut at 4 kB: the rest is not printed first."""
    body = b'{"instances": [], "x": [' + b"0.1234567890123," * 100000 + b"1]}"
    start = time.monotonic()
    answer = server.predict("m", body)
    assert answer.status == 400 and len(answer.body) < 5000
    assert time.monotonic() - start < PATIENCE / 10


def test_the_end_does_not_wait_for_the_unwanted(start, tmp_path):
    """A run that nothing can stop, whose client is gone: --drain_timeout_ms ends the wait for it, too."""
    folder = example_models.write(tmp_path / "m", body=example_models.text() + BUSY)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--drain_timeout_ms=500")
    body = b'{"signature_name": "busy", "instances": [1.0]}'
    with server.connect() as s:
        s.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        server.until(lambda: server.metric("tern_running") >= 1, "the call ran")
    server.until(lambda: server.metric("tern_exchanges") <= 1, "the client was gone")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("flag", ["--max_queue=-1", "--num_loops=100000", "--idle_timeout_ms=9000000000000000"])
def test_impossible_numbers_are_refused(flag, tmp_path):
    done = subprocess.run([str(BUILD / "tern"), "serve", f"--model_base_path={tmp_path}", "--engine=example", flag],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and flag.split("=")[0] in done.stdout + done.stderr, done


@pytest.mark.parametrize("name, flags", [
    ("assets.extra/tf_serving_warmup_requests", []),
    ("assets.extra/tern.json", []),
    ("batching_params.pbtxt", ["--enable_batching", "--enable_per_model_batching_parameters"]),
])
def test_pipe_in_a_version_holds_no_load(start, tmp_path, name, flags):
    """Nobody ever writes into it: to open it as a file would take for ever."""
    base = example_models.write(tmp_path / "m")
    pipe = base / "1" / name
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    server = start("--model_name=m", f"--model_base_path={base}", "--engine=example", "--max_num_load_retries=0", *flags,
                   wait="listen")
    server.until(lambda: b'"END"' in server.get("/v1/models/m").body, "the load failed")
    assert name in server.get("/v1/models/m").text.replace("\\/", "/")
    server.stop()
