"""Batching with real clients over REST and gRPC, on the example engine: who waits for whom, and that nobody pays for others.

Where a test needs calls to be put together, batch_timeout_micros is so long that nothing else would end them in time.
"""
import concurrent.futures
import json
import random
import subprocess
import threading

import numpy as np
import pytest

import example_models
from tern_server import BUILD, run_together

pytestmark = pytest.mark.example
FOREVER = "batch_timeout_micros { value: 10000000000 }\n"
BODY = """
signature serving_default
input x float [-1]
output y float [-1] affine 2 1 x

signature rows
input x float [-1,-1]
output y float [-1,-1] affine 1 1 x

signature any
input x float ?
output y float ? identity x

signature text
input x string [-1]
output y string [-1] identity x

signature pair
input a float [-1]
input b int32 [-1]
output a float [-1] affine 2 0 a
output b int32 [-1] identity b

signature busy
input x float [-1]
output y float [-1] affine 2 1 x
busy 20

signature fails
input x float [-1]
output y float [-1] identity x
fail 9 on purpose
"""


@pytest.fixture
def grpc_of():
    """Client of a server; closed after the test."""
    tern_grpc = pytest.importorskip("tern_grpc")
    clients = []

    def make(server):
        clients.append(tern_grpc.Client(server.grpc))
        return clients[-1]

    yield make
    for client in clients:
        client.channel.close()


def launch(start, tmp_path, parameters=None, *flags):
    """A server of BODY; with parameters it batches as TensorFlow Serving, else by the flags."""
    folder = example_models.write(tmp_path / "m", body=BODY)
    args = ["--model_name=m", f"--model_base_path={folder}", "--engine=example", "--rest_api_timeout_in_ms=0"]
    if parameters is not None:
        (tmp_path / "batching.txt").write_text(parameters, encoding="ascii")
        args += ["--enable_batching", f"--batching_parameters_file={tmp_path / 'batching.txt'}"]
    return start(*args, *flags)


def rest(server, inputs, signature="serving_default"):
    """One call in column form. -> its outputs."""
    answer = server.predict("m", {"signature_name": signature, "inputs": inputs})
    assert answer.status == 200, answer
    return answer.json()["outputs"]


def rpc(client, signature="serving_default", timeout=60, **inputs):
    import tern_grpc
    request = tern_grpc.predict_request("m", {k: np.asarray(v) for k, v in inputs.items()}, signature=signature)
    return tern_grpc.outputs_of(client.predict(request, timeout=timeout))


def floats(*values):
    return np.asarray(values, dtype=np.float32)


def test_full_batch_over_both_protocols(start, tmp_path, grpc_of):
    """Nothing but a full batch ends these calls: eight of them, of two protocols, make two."""
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 4 }")
    client = grpc_of(server)
    calls = [lambda i=i: rest(server, [i]) if i % 2 else rpc(client, x=floats(i))["y"].tolist() for i in range(8)]
    assert run_together(calls) == [[2 * i + 1] for i in range(8)]


def test_several_inputs_in_any_order(start, tmp_path, grpc_of):
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 3 }")
    client = grpc_of(server)

    def one(i):
        b = np.asarray([i], dtype=np.int32)
        out = rpc(client, "pair", a=floats(i), b=b) if i % 2 else rpc(client, "pair", b=b, a=floats(i))
        return out["a"].tolist(), out["b"].tolist()

    assert run_together([lambda i=i: one(i) for i in range(6)]) == [([2.0 * i], [i]) for i in range(6)]


def test_strings(start, tmp_path):
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 6 } allowed_batch_sizes: 6")
    words = [["a"], ["", "long " * 1000], ["ü", "b", "c"]]
    assert run_together([lambda w=w: rest(server, w, "text") for w in words]) == words


def test_other_shapes_and_failures_stay_apart(start, tmp_path):
    """Four of one shape, four of another, four of a signature that always fails, all at once."""
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 4 }")

    def one(i):
        if i % 3 == 0:
            answer = server.predict("m", {"signature_name": "fails", "inputs": [i]})
            return answer.status, answer.json()["error"]
        width = 2 if i % 3 == 1 else 5
        return rest(server, [[float(i)] * width], "rows")

    want = [(400, "on purpose") if i % 3 == 0 else [[i + 1.0] * (2 if i % 3 == 1 else 5)] for i in range(12)]
    assert run_together([lambda i=i: one(i) for i in range(12)]) == want


def test_deadline_is_not_held(start, tmp_path, grpc_of):
    """Alone in a batch that would wait for ever: the call runs while its client still waits."""
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 4 }")
    client = grpc_of(server)
    assert rpc(client, timeout=4, x=floats(1))["y"].tolist() == [3]
    server = launch(start, tmp_path / "rest", FOREVER + "max_batch_size { value: 4 }", "--rest_api_timeout_in_ms=2000")
    assert rest(server, [1]) == [3]


def test_vanished_client_harms_nobody(start, tmp_path):
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 3 }")
    body = json.dumps({"inputs": [7]}).encode()
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    s = server.connect()
    s.sendall(head + body)
    server.until(lambda: server.metric("tern_queue_length") == 1, "the call waited")
    s.close()
    # Reset or half-closed, it is dropped from the batch or runs in it; two more fill it, or three do.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(rest, server, [i]) for i in range(3)]
        ended = lambda: sum(f.done() for f in futures)  # noqa: E731
        server.until(lambda: ended() == 3 or (ended() == 2 and server.metric("tern_queue_length") == 1), "one waited or none")
        server.terminate()
        assert sorted(f.result()[0] for f in futures) == [1, 3, 5]


def test_allowed_sizes(start, tmp_path, grpc_of):
    server = launch(start, tmp_path, "max_batch_size { value: 8 } allowed_batch_sizes: 3 allowed_batch_sizes: 8")
    client = grpc_of(server)
    for n in (1, 2, 3, 4, 8):
        assert rest(server, list(range(n))) == [2 * i + 1 for i in range(n)]
        assert rpc(client, x=floats(*range(n)))["y"].tolist() == [2 * i + 1 for i in range(n)]
    answer = server.predict("m", {"inputs": list(range(9))})
    assert (answer.status, answer.json()["error"]) == (400, "Task size 9 is larger than maximum input batch size 8")


def test_large_calls_are_cut(start, tmp_path, grpc_of):
    server = launch(start, tmp_path, "max_batch_size { value: 1000 } enable_large_batch_splitting { value: true }\n"
                    "max_execution_batch_size { value: 7 } max_enqueued_batches { value: -1 }")
    client = grpc_of(server)

    def one(n):
        if n % 2:
            return rpc(client, x=floats(*range(n)))["y"].tolist() == [2 * i + 1 for i in range(n)]
        return rest(server, [str(i) * 3 for i in range(n)], "text") == [str(i) * 3 for i in range(n)]

    assert all(run_together([lambda n=n: one(n) for n in (1, 6, 7, 8, 50, 101, 500, 1000)]))


def test_variable_length(start, tmp_path):
    """The shorter one is filled up with its first element, and that is what its client gets back."""
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 2 } pad_variable_length_inputs: true")
    got = run_together([lambda: rest(server, [[5, 6]], "rows"), lambda: rest(server, [[1, 2, 3, 4]], "rows")])
    assert got == [[[6, 7, 6, 6]], [[2, 3, 4, 5]]]
    deep = server.predict("m", {"signature_name": "any", "inputs": [[[[[[[1]]]]]]]})
    assert (deep.status, deep.json()["error"]) == (400, "Only tensors with rank from 1 to 6 can be padded.")


def test_empty_batch_is_answered(start, tmp_path):
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 4 } allowed_batch_sizes: 4")
    assert rest(server, []) == []


def test_parameters_of_each_version(start, tmp_path):
    """With the flag only a version that has the file is batched, by what stands there."""
    one = example_models.write(tmp_path / "one", body=BODY)
    two = tmp_path / "two"
    part = two / "part"
    part.mkdir(parents=True)
    (part / "example.txt").write_text(BODY, encoding="ascii")
    (part / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }", encoding="ascii")
    part.rename(two / "1")
    bad = tmp_path / "bad"
    part = bad / "part"
    part.mkdir(parents=True)
    (part / "example.txt").write_text(BODY, encoding="ascii")
    (part / "batching_params.pbtxt").write_text("max_batch_size { value: 2 } allowed_batch_sizes: 1", encoding="ascii")
    part.rename(bad / "1")
    config = tmp_path / "models.config"
    config.write_text("model_config_list {" + "".join(
        f'config {{ name: "{p.name}" base_path: "{p}" model_platform: "tensorflow" }}\n' for p in (one, two, bad)) + "}",
        encoding="ascii")
    server = start(f"--model_config_file={config}", "--engine=example", "--enable_batching", "--max_num_load_retries=0",
                   "--enable_per_model_batching_parameters")
    assert server.predict("one", {"inputs": [1, 2, 3]}).json() == {"outputs": [3, 5, 7]}
    assert server.predict("two", {"inputs": [1, 2]}).json() == {"outputs": [3, 5]}
    assert "Task size 3 is larger" in server.predict("two", {"inputs": [1, 2, 3]}).json()["error"]
    status = server.get("/v1/models/bad").json()["model_version_status"][0]["status"]
    assert status["error_code"] == "INVALID_ARGUMENT" and "last entry was 1; expected 2" in status["error_message"]


@pytest.mark.parametrize("flags,words", [
    (["--batching=sometimes"], "--batching=sometimes: use off, auto or serving"),
    (["--batching=auto", "--enable_batching"], "--batching=auto and --enable_batching"),
    (["--batching_parameters_file=/none"], "batching_parameters_file is set without setting"),
    (["--enable_batching", "--batching_parameters_file=/none/x"], "/none/x"),
    (["--batching=auto", "--max_batch_rows=0"], "max_batch_rows"),
])
def test_flags_that_cannot_be(tmp_path, flags, words):
    folder = example_models.write(tmp_path / "m", body=BODY)
    argv = [str(BUILD / "tern"), "serve", "--port=0", "--rest_api_port=0", f"--model_base_path={folder}", "--engine=example"]
    done = subprocess.run(argv + flags, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and words in done.stderr, done


def test_drain_lets_nothing_wait(start, tmp_path):
    server = launch(start, tmp_path, FOREVER + "max_batch_size { value: 100 }")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(rest, server, [i]) for i in range(4)]
        server.until(lambda: server.metric("tern_queue_length") == 4, "all calls waited")
        server.terminate()
        assert [f.result() for f in futures] == [[2 * i + 1] for i in range(4)]
    server.stop()


# ---- --batching=auto ----

def test_auto_puts_together_what_waits(start, tmp_path, grpc_of):
    """One executor that is busy for 20 ms with each run: what comes meanwhile runs at once, and right."""
    server = launch(start, tmp_path, None, "--batching=auto", "--num_executors=1")
    client = grpc_of(server)

    def one(i):
        return rest(server, [i], "busy") if i % 2 else rpc(client, "busy", x=floats(i))["y"].tolist()

    for _ in range(3):
        assert run_together([lambda i=i: one(i) for i in range(24)]) == [[2 * i + 1] for i in range(24)]
    runs, calls = server.metric("tern_batches_total"), server.metric("tern_batch_calls_total")
    assert calls == 72 and runs < 72


@pytest.mark.parametrize("flags", [["--batching=auto"], ["--batching=auto", "--num_executors=1", "--max_batch_rows=5"],
                                   ["--batching=auto", "--inline_run_us=0"], ["--batching=serving"]])
def test_storm(start, tmp_path, grpc_of, flags):
    """Many clients with calls of all sorts, some of which cannot work: everybody gets the answer of a call alone."""
    server = launch(start, tmp_path, None, *flags)
    client = grpc_of(server)
    stop = threading.Event()

    def one(seed):
        dice = random.Random(seed)
        for _ in range(60):
            sort, n = dice.randrange(6), dice.randint(1, 9)
            x = [dice.randint(-1000, 1000) for _ in range(n)]
            if sort == 0:
                assert rest(server, x) == [2 * v + 1 for v in x]
            elif sort == 1:
                assert rpc(client, x=floats(*x))["y"].tolist() == [2 * v + 1 for v in x]
            elif sort == 2:
                width = dice.randint(1, 3)
                assert rest(server, [[v] * width for v in x], "rows") == [[v + 1] * width for v in x]
            elif sort == 3:
                assert rest(server, [str(v) for v in x], "text") == [str(v) for v in x]
            elif sort == 4:
                assert server.predict("m", {"signature_name": "fails", "inputs": x}).status == 400
            else:
                assert server.predict("m", {"inputs": "no number"}).status == 400
            if stop.is_set():
                return

    try:
        run_together([lambda s=s: one(s) for s in range(12)])
    finally:
        stop.set()


def test_auto_pipelined(start, tmp_path):
    """Requests that one read brings, and more of them than a turn holds: all answered, in order."""
    server = launch(start, tmp_path, None, "--batching=auto")
    for _ in range(60):
        rest(server, [1])  # measured to be small
    with server.connect() as s:
        sent = b""
        for i in range(200):
            body = json.dumps({"inputs": [i]}).encode()
            sent += f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        s.sendall(sent)
        got = b""
        while got.count(b"HTTP/1.1 200") < 200 or not got.endswith(b"]\n}"):
            more = s.recv(1 << 16)
            assert more, got[-500:]
            got += more
    bodies = [json.loads(part.split(b"\r\n\r\n", 1)[1]) for part in got.split(b"HTTP/1.1 200")[1:]]
    assert bodies == [{"outputs": [2 * i + 1]} for i in range(200)]


def test_end_while_a_version_is_loaded(start, tmp_path):
    """A load that is under way at the end gives its version queues although the scheduler's threads have ended."""
    folder = example_models.write(tmp_path / "m", body="sleep 700\n" + BODY)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--enable_batching",
                   wait="listen")
    server.until(lambda: "LOADING" in server.get("/v1/models/m").text, "the load began")
    server.stop()
