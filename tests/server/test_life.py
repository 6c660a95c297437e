"""Deadlines, cancellation, overload, drain and version changes, on the example engine.

No test measures time: what must not be waited for takes longer (example_models.STUCK_MS) than a test may last.
"""
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
import requests

import example_models
from h2_client import FLOATS, GRPC_PREDICT, H2, entry, field, frame, shape, varint
from tern_server import BUILD, PATIENCE, run_together

pytestmark = pytest.mark.example
GOOD = {"instances": [1.0, 2.0, 5.0]}
ANSWER = {"predictions": [2.5, 3.0, 4.5]}
PREDICT = "/v1/models/m:predict"
DEADLINE, EXHAUSTED = 4, 8


@pytest.fixture
def model(tmp_path):
    return example_models.write(tmp_path / "m")


@pytest.fixture
def flags(model):
    return ["--model_name=m", f"--model_base_path={model}", "--engine=example"]


def message(signature):
    return frame(field(1, field(1, b"m") + field(3, signature.encode())) + entry("x", FLOATS))


def raw_request(signature, values=(1.0,)):
    body = json.dumps({"signature_name": signature, "instances": list(values)}).encode()
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (PREDICT.encode(), len(body), body)


def close_all(sockets):
    for s in sockets:
        s.close()


# ---- Deadlines ----

def test_grpc_deadline(start, flags):
    """The server answers DEADLINE_EXCEEDED itself (a client library would make it up), and other calls go on."""
    server = start(*flags, "--drain_timeout_ms=1000")
    with H2(server, server.grpc) as c:
        found = c.grpc(GRPC_PREDICT, message("stuck"), [("grpc-timeout", "300m")])
        assert found[0] == DEADLINE and found[1]
        assert c.grpc(GRPC_PREDICT, message("serving_default"), [("grpc-timeout", "50S")])[0] == 0


def test_grpcio_deadline(start, flags):
    tern_grpc = pytest.importorskip("tern_grpc")
    server = start(*flags, "--drain_timeout_ms=1000")
    request = tern_grpc.predict_request("m", {"x": np.ones(1, "f4")}, signature="stuck")
    with tern_grpc.Client(server.grpc) as c:
        with pytest.raises(tern_grpc.grpc.RpcError) as error:
            c.predict(request, timeout=0.3)
        assert error.value.code() is tern_grpc.grpc.StatusCode.DEADLINE_EXCEEDED
        request.model_spec.signature_name = "serving_default"
        assert tern_grpc.outputs_of(c.predict(request))["y"].tolist() == [2.5]


def test_rest_timeout(start, flags):
    server = start(*flags, "--rest_api_timeout_in_ms=300", "--drain_timeout_ms=1000")
    answer = server.predict("m", {**GOOD, "signature_name": "stuck"})
    assert answer.status == 504 and answer.json()["error"]
    assert server.predict("m", GOOD).json() == ANSWER


def test_deadline_in_the_queue(start, flags):
    """A call whose time ends while it waits is answered then, not when its turn comes."""
    server = start(*flags, "--num_executors=1", "--drain_timeout_ms=1000")
    with server.connect() as first:
        first.sendall(raw_request("stuck"))
        with H2(server, server.grpc) as c:
            found = c.grpc(GRPC_PREDICT, message("slow"), [("grpc-timeout", "200m")])
            assert found[0] == DEADLINE


# ---- Cancellation ----

def test_cancelled_calls_do_not_run(start, flags):
    """One call runs; behind it wait calls that would take for ever, whose clients leave; the one behind them is answered."""
    server = start(*flags, "--num_executors=1", "--drain_timeout_ms=1000")
    with server.connect() as running, H2(server, server.grpc) as c:
        running.sendall(raw_request("slow"))
        gone = [server.connect() for _ in range(5)]
        for s in gone:
            s.sendall(raw_request("stuck"))
        headers = [("content-type", "application/grpc"), ("te", "trailers")]
        streams = [c.send(GRPC_PREDICT, message("stuck"), headers) for _ in range(5)]
        # What waits before them is known to have arrived: a later answer of the same connections' loops says so.
        assert server.get("/healthz").status == 200
        close_all(gone)
        for stream in streams:
            c.conn.reset_stream(stream, 8)
        c.flush()
        assert server.predict("m", {**GOOD, "signature_name": "slow"}).json() == ANSWER


def test_grpcio_cancel(start, flags):
    tern_grpc = pytest.importorskip("tern_grpc")
    server = start(*flags, "--num_executors=1", "--drain_timeout_ms=1000")
    stuck = tern_grpc.predict_request("m", {"x": np.ones(1, "f4")}, signature="stuck")
    slow = tern_grpc.predict_request("m", {"x": np.ones(1, "f4")}, signature="slow")
    with tern_grpc.Client(server.grpc) as c:
        first = c.prediction.Predict.future(slow, timeout=PATIENCE)
        later = [c.prediction.Predict.future(stuck, timeout=PATIENCE) for _ in range(4)]
        for call in later:
            call.cancel()
        assert tern_grpc.outputs_of(first.result())["y"].tolist() == [2.5]
        assert tern_grpc.outputs_of(c.predict(slow))["y"].tolist() == [2.5]


# ---- Too much ----

def read_answer(s):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(65536)
        assert piece, "closed without an answer"
        data += piece
    return data


def test_queue_full(start, flags):
    """Over --max_queue: refused at once with 429 and Retry-After, RESOURCE_EXHAUSTED over gRPC."""
    server = start(*flags, "--num_executors=1", "--max_queue=2", "--drain_timeout_ms=1000")
    sockets = [server.connect() for _ in range(8)]
    sockets[0].sendall(raw_request("stuck"))
    # Until the executor has taken the first one, it fills a place of the queue.
    end = time.monotonic() + PATIENCE
    while b"\ntern_running 1\n" not in server.get("/metrics").body:
        assert time.monotonic() < end, "the first call never ran"
        time.sleep(0.01)
    for s in sockets[1:]:
        s.sendall(raw_request("stuck"))
    refused = []
    while len(refused) < 5:  # one runs, two wait
        ready, _, _ = select.select([s for s in sockets if s not in refused], [], [], PATIENCE)
        assert ready, "nobody was refused"
        for s in ready:
            data = read_answer(s)
            assert data.startswith(b"HTTP/1.1 429 ") and b"\r\nretry-after: " in data.lower(), data
            refused.append(s)
    with H2(server, server.grpc) as c:
        found = c.grpc(GRPC_PREDICT, message("stuck"))
        assert found[0] == EXHAUSTED and found[1]
    assert server.get("/healthz").status == 200
    close_all(sockets)


def test_byte_budget(start, flags):
    """Over --max_bytes_in_flight: 429 with Retry-After; as soon as there is room again, served."""
    server = start(*flags, "--max_bytes_in_flight=4000000", "--drain_timeout_ms=1000")

    def given_back():
        """A client may have its answer before the server has let go of what belonged to it."""
        server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all memory was given back")

    large = {"signature_name": "slow", "instances": [1.5] * 200000}  # 1 MB of JSON, 0.8 MB of input, as much of output
    answers = run_together([lambda: server.predict("m", large) for _ in range(10)])
    assert {a.status for a in answers} == {200, 429}, answers
    for answer in answers:
        if answer.status == 429:
            assert "retry-after" in answer.headers and answer.json()["error"]
    given_back()
    assert server.predict("m", large).status == 200
    too_large = json.dumps({"instances": [1.5] * 2000000}).encode()
    answer = server.predict("m", too_large)
    assert answer.status in (413, 429) and answer.json()["error"]
    with H2(server, server.grpc) as c:
        big = field(1, field(1, b"m")) + entry("x", b"\x08\x01" + shape(2500000) + field(4, b"\0" * 10000000))
        found = c.grpc(GRPC_PREDICT, frame(big))
        assert found[0] == EXHAUSTED and found[1], found
    given_back()
    assert server.predict("m", GOOD).json() == ANSWER
    given_back()


def test_too_many_connections(start, flags):
    """Over --max_connections: closed at once; a place that becomes free is given again."""
    server = start(*flags, "--max_connections=20")
    sockets = [server.connect() for _ in range(40)]

    def closed():
        ready, _, _ = select.select(sockets, [], [], 0.1)
        return len(ready) >= 20

    server.until(closed, "the connections over the limit were closed")
    close_all(sockets)
    server.until(lambda: answered(server), "there was room again")


def answered(server):
    try:
        return server.predict("m", GOOD).json() == ANSWER
    except OSError:
        return False


# ---- The end ----

def test_drain(start, flags):
    """SIGTERM with calls under way: each is answered, nobody new is let in, and the program exits with 0."""
    tern_grpc = pytest.importorskip("tern_grpc")
    server = start(*flags)
    request = tern_grpc.predict_request("m", {"x": np.ones(1, "f4")}, signature="slow")
    with server.connect() as s, tern_grpc.Client(server.grpc) as c, server.connect() as idle:
        s.sendall(raw_request("slow"))
        call = c.prediction.Predict.future(request, timeout=PATIENCE)
        server.until(lambda: server.metric("tern_running") >= 2, "both calls ran")
        server.terminate()
        assert read_answer(s).startswith(b"HTTP/1.1 200 ")
        assert tern_grpc.outputs_of(call.result())["y"].tolist() == [2.5]
        assert idle.recv(1) == b""
    server.stop()
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", server.rest)) != 0


def test_drain_answers_what_the_kernel_has(start, flags):
    """Requests on connections that were not accepted yet, and on idle ones, when the signal comes."""
    server = start(*flags, "--drain_timeout_ms=20000")
    idle = [server.connect() for _ in range(8)]
    server.until(lambda: server.metric("tern_connections") >= 8, "they were accepted")
    server.process.send_signal(signal.SIGSTOP)
    sockets = idle + [server.connect() for _ in range(400)]  # more than are accepted in one turn
    for s in sockets:
        s.sendall(raw_request("serving_default"))
    server.terminate()
    server.process.send_signal(signal.SIGCONT)
    for s in sockets:
        with s, s.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(PATIENCE) == 0


def test_drain_ends_in_time(start, flags):
    """--drain_timeout_ms: a call that does not end is not waited for for ever."""
    server = start(*flags, "--drain_timeout_ms=500")
    with server.connect() as s:
        s.sendall(raw_request("stuck"))
        server.until(lambda: server.metric("tern_running") >= 1, "the call ran")
        server.stop()


def test_sigint(start, flags):
    server = start(*flags)
    server.process.send_signal(2)
    server.stop()


# ---- Versions ----

def test_version_swap(start, model, flags):
    """New versions appear while clients ask: every answer is one version's, none fails, and the newest wins."""
    server = start(*flags)
    stop = threading.Event()
    seen = set()

    def ask():
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(server.url + PREDICT, json={"instances": [2.0] * 10}, timeout=PATIENCE)
                assert answer.status_code == 200, answer.text
                values = set(answer.json()["predictions"])
                assert len(values) == 1
                seen.update(values)

    def change():
        try:
            for version in (2, 3):
                example_models.write(model, version, addend=version + 1)
                server.until(lambda v=version: served(server) == 2.0 + v, f"version {version} was served")
        finally:
            stop.set()

    run_together([ask, ask, ask, change])
    assert seen == {3.0, 4.0, 5.0}
    server.until(lambda: states(server) == {"3": "AVAILABLE", "2": "END", "1": "END"}, "the old ones were unloaded")


def served(server):
    return server.predict("m", {"instances": [2.0]}).json()["predictions"][0]


def states(server):
    return {s["version"]: s["state"] for s in server.get("/v1/models/m").json()["model_version_status"]}


def test_broken_version(start, model, flags):
    """A version that does not load leaves the old one in its place, and says why."""
    server = start(*flags, "--max_num_load_retries=0")
    example_models.write(model, 2, body="this is no statement\n")

    def told():
        found = server.get("/v1/models/m/versions/2")
        status = found.json()["model_version_status"][0]["status"] if found.status == 200 else {}
        return "example.txt:1" in status.get("error_message", "")

    server.until(told, "the error was told")
    assert server.predict("m", GOOD).json() == ANSWER
    example_models.write(model, 3, addend=4)
    server.until(lambda: served(server) == 5.0, "the next version was served")


def test_swap_waits_for_its_own_calls_only(start, model, flags):
    """A call on the old version ends on it, while the new one already answers."""
    server = start(*flags)
    with server.connect() as s:
        s.sendall(raw_request("slow", [2.0]))
        server.until(lambda: server.metric("tern_running") >= 1, "the call ran")
        example_models.write(model, 2, addend=3)
        server.until(lambda: served(server) == 4.0, "version 2 was served")
        assert b"200 OK" in read_answer(s)


def test_two_models(start, tmp_path):
    """A configuration file with a good and a broken model: the good one is served."""
    good, bad = example_models.write(tmp_path / "good"), tmp_path / "bad"
    example_models.write(bad, body="nonsense\n")
    config = tmp_path / "models.config"
    config.write_text("model_config_list {\n" + "".join(
        f'config {{ name: "{p.name}" base_path: "{p}" model_platform: "tensorflow" }}\n' for p in (good, bad)) + "}\n", encoding="ascii")
    server = start(f"--model_config_file={config}", "--engine=example", "--max_num_load_retries=0", wait="listen")
    server.until(lambda: server.predict("good", GOOD).status == 200, "the good model was served")
    assert server.predict("bad", GOOD).status == 404


# ---- All at once ----

SOAK_SECONDS = float(os.environ.get("TERN_SOAK_SECONDS", "6"))


def test_soak(start, model, flags):
    """Mixed clients for some seconds: REST small and large, HTTP/2, gRPC, wrong ones, vanishing ones, and new versions."""
    server = start(*flags, "--max_num_load_retries=0")
    end = time.monotonic() + SOAK_SECONDS
    rounds = []

    def loop(work):
        def run():
            count = 0
            while time.monotonic() < end or count == 0:
                work(count)
                count += 1
            rounds.append(count)
        return run

    def rest(size):
        session = requests.Session()
        x = (np.arange(size) / 4).tolist()

        def work(count):
            answer = session.post(server.url + PREDICT, json={"signature_name": "float", "inputs": x}, timeout=PATIENCE)
            assert answer.json() == {"outputs": x}
        return work

    def h2(count):
        with H2(server) as c:
            streams = [c.send(PREDICT, json.dumps({"signature_name": "int32", "inputs": [i]}).encode()) for i in range(20)]
            for i, stream in enumerate(streams):
                assert json.loads(c.answer(stream)[1]) == {"outputs": [i]}

    def grpc(count):
        with H2(server, server.grpc) as c:
            for size in (1, 1000, 200000):
                data = bytes([count & 255]) * size
                request = field(1, field(1, b"m") + field(3, b"uint8")) + entry(
                    "x", b"\x08\x04" + field(2, field(2, b"\x08" + varint(size))) + field(4, data))
                status, _, body = c.grpc(GRPC_PREDICT, frame(request))
                assert status == 0 and len(body) > size

    def wrong(count):
        assert server.predict("m", b'{"instances": [[1.0], 2]}').status == 400
        assert server.predict("nobody", GOOD).status == 404

    def vanish(count):
        with server.connect() as s:
            s.sendall(raw_request("slow" if count % 8 == 0 else "float", [1.0] * 1000)[: 1 + count * 97 % 4000])

    def swap(count):
        example_models.write(model, count + 2)
        server.until(lambda: server.get(f"/v1/models/m/versions/{count + 2}").status == 200, "the version was seen")

    run_together([loop(w) for w in (rest(1), rest(1), rest(50000), h2, grpc, wrong, vanish, swap)])
    assert len(rounds) == 8
    assert server.predict("m", GOOD).json() == ANSWER


# ---- Start ----

def test_start_errors(tmp_path):
    """A start that cannot succeed says why and exits with a failure."""
    for argv in (["serve", "--no_such_flag=1"], ["serve", "--port=notanumber"], ["nonsense"]):
        done = subprocess.run([str(BUILD / "tern"), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PATIENCE, check=False)
        assert done.returncode != 0 and done.stdout.strip(), (argv, done)
    done = subprocess.run([str(BUILD / "tern"), "--version"], stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and b"tern" in done.stdout.lower()
