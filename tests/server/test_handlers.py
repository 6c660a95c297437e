"""Handlers in C, inside the server and in processes of their own: the same answers; and whose call a bad one costs.

actor_handler.c does what the first line of a document says.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

import example_models
from tern_server import BUILD, Server, run_together

pytestmark = pytest.mark.example
ACT = {"Content-Type": "text/x-act"}
PLUGINS = ":".join(str(BUILD / p) for p in ("tests/server", "tests/abi", "handlers"))


def write_model(folder, handler="actor_handler", body=None, **more):
    """A version with a tern.json. -> its model's folder."""
    folder = example_models.write(folder, body=body)
    (folder / "1" / "assets.extra").mkdir()
    (folder / "1" / "assets.extra" / "tern.json").write_text(json.dumps({"handler": handler, **more}), encoding="utf-8")
    return folder


def serve(start, folder, isolation, *flags, **more):
    return start("--model_name=m", f"--model_base_path={folder}", "--engine=example", f"--handler_path={PLUGINS}",
                 f"--handler_isolation={isolation}", *flags, **more)


@pytest.fixture(scope="module", params=["none", "process"])
def server(request, start_shared, tmp_path_factory):
    return serve(start_shared, write_model(tmp_path_factory.mktemp("models") / "m"), request.param)


@pytest.fixture
def isolated(start, tmp_path):
    """isolated(flags...) -> a server with one process for the handler's calls, unless flags say otherwise."""
    def make(*flags, **more):
        folder = write_model(tmp_path / "m")
        return serve(start, folder, "process", "--handler_workers=1", *flags, **more)
    return make


def act(server, text, headers=None, **more):
    body = text if isinstance(text, bytes) else text.encode()
    return server.post("/invocations", body, headers={**ACT, **(headers or {})}, **more)


def workers(server):
    """Process ids of its handlers' processes."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="utf-8")
        except OSError:
            continue
        if f"\nPPid:\t{server.process.pid}\n" in text and "\nState:\tZ" not in text:
            found.append(int(status.parent.name))
    return sorted(found)


# ---- the same in both ----

def test_outputs(server):
    assert act(server, "x\nab").text == "4"  # 0.5 * 4 bytes + 2
    answer = act(server, "x\nab")
    assert answer.headers["content-type"] == "text/plain" and answer.headers["x-tern-model-version"] == "1"
    assert {"preprocess", "run", "postprocess"} <= {p.split(";")[0].strip() for p in answer.headers["server-timing"].split(",")}


def test_strings(server):
    assert act(server, "words\nthe sea  größe").text == "the|sea||größe|"
    assert act(server, b"words\n\xff\x00 a").body == b"\xff\x00|a|"
    assert act(server, "words\n").text == ""


def test_several_signatures(server):
    """The second signature's output a was not wanted."""
    assert act(server, "both").text == "4 none 7,8"


def test_answer_without_a_run(server):
    answer = act(server, "now\nfrom the cache")
    assert (answer.status, answer.text) == (203, "from the cache")
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "kept=1"
    assert answer.headers["content-type"] == "text/x-now; charset=utf-8"
    assert "run;dur" not in answer.headers.get("server-timing", "")
    assert act(server, "now").body == b""


def test_head_of_the_request(server):
    answer = server.post("/invocations?lang=en", b"request", headers={
        **ACT, "X-Amzn-SageMaker-Inference-Id": "abc-7", "X-Amzn-SageMaker-Session-Id": "s", "X-Empty": ""})
    assert answer.status == 200, answer
    lines = answer.text.split("\n")
    assert lines[0] == "/invocations?lang=en"
    assert {"x-amzn-sagemaker-inference-id: abc-7", "x-amzn-sagemaker-session-id: s", "x-empty: ",
            "content-type: text/x-act"} <= set(lines)


def test_status_of_the_answer(server):
    answer = act(server, "status 422\n{\"why\": 1}")
    assert (answer.status, answer.text) == (422, '{"why": 1}') and answer.headers["content-type"] == "text/plain"


def test_errors(server):
    answer = act(server, "fail 418\nnow")
    assert answer.status == 418 and answer.json() == {"error": 'As you "wish": now'}
    answer = act(server, "wrong")
    assert answer.status == 400
    assert answer.json() == {"error": "Handler made input no, which signature serving_default does not have"}
    answer = act(server, "evil")
    assert answer.status == 400 and "x-c" not in answer.headers
    assert answer.json()["error"].startswith("Handler set header x-a: name or value cannot stand")
    answer = act(server, "status 204")
    assert answer.status == 400 and "but not 204" in answer.json()["error"]
    answer = act(server, "fails")
    assert answer.status == 400 and answer.json()["error"].startswith('"broken" on purpose')


def test_content_types(server):
    for kind in ("application/json", "Application/JSON; charset=utf-8", "image/png", "TEXT/X-ACT"):
        assert server.post("/invocations", b"now\nyes", headers={"Content-Type": kind}).text == "yes", kind
    for kind in ("text/plain", "text/x-act2", "image"):
        answer = server.post("/invocations", b"now\nyes", headers={"Content-Type": kind})
        assert answer.status == 400 and "no handler for Content-Type" in answer.json()["error"], kind
    # Tensors still have their own path.
    assert server.predict("m", {"instances": [1.0]}).json() == {"predictions": [2.5]}


@pytest.mark.parametrize("size", [0, 1, 23_000, 25_000, 66_000, 1_000_000, 20_000_000])
def test_sizes(server, size):
    """Documents and answers around the sizes at which they travel otherwise, also of unknown length."""
    for _ in range(3):
        answer = act(server, f"now\n{'d' * size}")
        assert answer.status == 203 and len(answer.body) == size and answer.body.strip(b"d") == b""
    body = (b"x\n" if i == 0 else b"e" * min(65536, size - at) for i, at in enumerate([0, *range(0, size, 65536)]))
    assert server.request("POST", "/invocations", body=body, headers=ACT, timeout=120).text == f"{(size + 2) * 0.5 + 2:.9g}"
    answer = act(server, f"big {size}")
    assert len(answer.body) == size and answer.body.strip(b"b") == b""


def test_empty_document(server):
    answer = server.post("/invocations", b"", headers=ACT)
    assert (answer.status, answer.text) == (200, "2")


def test_http2(server):
    done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-H", "Content-Type: text/x-act", "--data-binary", "@-",
                           f"http://127.0.0.1:{server.rest}/invocations"], input=b"now\n" + b"h" * 3_000_000,
                          stdout=subprocess.PIPE, check=True, timeout=60)
    assert done.stdout == b"h" * 3_000_000


def test_head_larger_than_a_frame(server):
    """60 kB of header fields."""
    many = {f"x-{i}": "v" * 1000 for i in range(55)}
    answer = act(server, "request", headers=many)
    assert answer.status == 200 and answer.text.count("v" * 900) == 55


def test_client_that_leaves(server):
    """A handler that looks sees it, and the next call is answered."""
    before, waiting = server.log.count("nobody waits any more"), server.log.count("waiting")
    with server.connect() as s:
        s.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/x-act\r\nContent-Length: 4\r\n\r\nwait")
        server.until(lambda: server.log.count("waiting") > waiting, "the handler has begun")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.until(lambda: server.log.count("nobody waits any more") == before + 1, "the handler saw it")
    assert act(server, "now\nyes").text == "yes"


def test_many_at_once(server):
    def client(i):
        for k in range(20):
            size = (i * 7919 + k * 104729) % 200_000
            assert act(server, f"x\n{'z' * size}").text == f"{(size + 2) * 0.5 + 2:.9g}"
            assert act(server, f"now\n{i}.{k}").text == f"{i}.{k}"
            assert len(act(server, f"big {size}").body) == size

    run_together([lambda i=i: client(i) for i in range(8)])


@pytest.mark.timeout(300)
def test_200_mb(server):
    piece = b"f" * 1_000_000
    body = (b"x\n" if i == 0 else piece for i in range(201))
    answer = server.request("POST", "/invocations", body=body, timeout=240,
                            headers={**ACT, "Content-Length": str(200_000_002)})
    assert answer.status in (200, 413, 429), answer
    if answer.status == 200:
        assert float(answer.text) == pytest.approx(100_000_003, rel=1e-6)
    assert act(server, "now\nyes").text == "yes"


# ---- life ----

@pytest.mark.parametrize("isolation", ["none", "process"])
def test_new_version_while_calls_are_under_way(start, tmp_path, isolation):
    """The old version's handler finishes its calls; none is lost."""
    folder = write_model(tmp_path / "m")
    server = serve(start, folder, isolation, "--file_system_poll_wait_seconds=1")
    texts = []

    def slow():
        texts.append(act(server, "slow 1500"))

    def change():
        part = tmp_path / "part"
        shutil.copytree(folder / "1", part)
        (part / "example.txt").write_text(example_models.text(addend=10), encoding="utf-8")
        part.rename(folder / "2")
        server.until(lambda: act(server, "x").text == "10.5", "version 2 answers")

    run_together([slow, slow, change])
    assert [t.status for t in texts] == [200, 200], texts
    server.until(lambda: server.get("/v1/models/m").json()["model_version_status"][-1]["state"] in ("END", "AVAILABLE"), "it is gone")
    if isolation == "process":
        server.until(lambda: len(workers(server)) == 2, "only the new version has processes")


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("handler", ["example", "handler_v0_1", "handler_future"])
def test_handlers_of_other_ages(start, tmp_path, handler, isolation):
    """Built with the header of Tern 0.1, and with a table larger than this server's."""
    server = serve(start, write_model(tmp_path / "m", handler=handler), isolation)
    answer = server.post("/invocations", b"one\nthree\n", headers={"Content-Type": "text/plain"})
    assert answer.json() == {"lines": [{"bytes": 3, "y": 3.5}, {"bytes": 5, "y": 4.5}]}
    answer = server.post("/invocations", b"", headers={"Content-Type": "text/plain"})
    assert answer.status == 400 and answer.json()["error"] == "The document has 0 lines; 1 to 100000 are taken"


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_attach_fails(start, tmp_path, isolation):
    """That version has the handler's sentence in its status; another model serves."""
    good, bad = write_model(tmp_path / "good"), write_model(tmp_path / "bad", attach="fail")
    config = tmp_path / "models.txt"
    config.write_text("model_config_list {" + "".join(f'config {{ name: "{n}" base_path: "{p}" model_platform: "tensorflow" }}\n'
                                                     for n, p in (("good", good), ("bad", bad))) + "}", encoding="utf-8")
    server = start(f"--model_config_file={config}", "--engine=example", f"--handler_path={PLUGINS}",
                   f"--handler_isolation={isolation}", "--max_num_load_retries=0")
    status = server.get("/v1/models/bad").json()["model_version_status"][0]["status"]
    assert "This model is not for actors" in status["error_message"], status
    assert server.post("/models/good/invoke", b"now\nyes", headers=ACT).text == "yes"


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_drain(start, tmp_path, isolation):
    """SIGTERM: a call that was accepted is answered."""
    server = serve(start, write_model(tmp_path / "m"), isolation)

    def call():
        return act(server, "slow 700")

    def end():
        server.until(lambda: "slowly" in server.log, "the handler has begun")
        server.terminate()

    answer, _ = run_together([call, end])
    assert answer.status == 200 and answer.text == "6"
    server.stop()


# ---- what a bad one costs ----

def test_model_decides(start, tmp_path):
    """tern.json goes before the flag, both ways."""
    for flag, word in (("none", "process"), ("process", "none")):
        server = serve(start, write_model(tmp_path / word, handler_isolation=word), flag)
        assert act(server, "x").text == "2.5"
        assert bool(workers(server)) == (word == "process")


def test_processes_are_counted(isolated):
    server = isolated()
    labels = {"kind": "handler", "model": "m", "version": "1"}
    assert act(server, "x").text == "2.5"
    assert server.metric("tern_worker_calls_total", **labels) == 1 == server.metric("tern_workers_ready", **labels)
    act(server, "crash-pre")
    server.until(lambda: server.metric("tern_workers_ready", **labels) == 1, "another one was ready")
    for name, value in (("starts_total", 2), ("deaths_total", 1), ("calls_lost_total", 1), ("calls_total", 2), ("queue_length", 0)):
        assert server.metric("tern_worker_" + name, **labels) == value, name


@pytest.mark.parametrize("when", ["pre", "post", "release"])
@pytest.mark.parametrize("how", ["crash", "exit"])
def test_end_of_a_process(isolated, how, when):
    server = isolated()
    old = workers(server)
    answer = act(server, f"{how}-{when}")
    assert answer.status == 500, answer
    assert "ended during this request" in answer.json()["error"]
    assert act(server, "now\nyes").text == "yes"
    assert len(workers(server)) == 1 and workers(server) != old


@pytest.mark.parametrize("when", ["pre", "post", "release"])
def test_hang(isolated, when):
    server = isolated("--rest_api_timeout_in_ms=700")
    old = workers(server)
    answer = act(server, f"hang-{when}")
    assert answer.status == 504 and answer.json()["error"], answer
    server.until(lambda: act(server, "now\nyes").text == "yes", "another process took over")
    server.until(lambda: len(workers(server)) == 1, "the one that hung is gone")
    assert workers(server) != old


def test_others_are_not_touched(isolated):
    """Of many calls at once exactly those that asked for it fail; the tensor path does not notice."""
    server = isolated("--handler_workers=3")

    def good(i):
        for k in range(15):
            assert act(server, f"now\n{i}-{k}").text == f"{i}-{k}"
            assert act(server, "x").text == "2.5"

    def bad():
        for _ in range(6):
            assert act(server, "crash-pre").status == 500

    def predict():
        for _ in range(50):
            assert server.predict("m", {"instances": [1.0]}).status == 200

    run_together([lambda i=i: good(i) for i in range(5)] + [bad, predict])


def test_hanging_calls_do_not_hold_executors(isolated):
    """All processes hang; predict goes on at once."""
    server = isolated("--handler_workers=2", "--num_executors=2", "--rest_api_timeout_in_ms=20000")
    hanging = [server.connect() for _ in range(2)]
    for s in hanging:
        s.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/x-act\r\nContent-Length: 8\r\n\r\nhang-pre")
    for _ in range(20):
        assert server.predict("m", {"instances": [1.0]}).json() == {"predictions": [2.5]}
    for s in hanging:
        s.close()


def test_leak(isolated):
    """A process over its limit is replaced when its call is over; the call is answered."""
    server = isolated("--max_handler_memory_bytes=300000000", env={"ASAN_OPTIONS": "detect_leaks=0"})
    old = workers(server)
    assert act(server, "leak 320").status == 200
    server.until(lambda: workers(server) != old and len(workers(server)) == 1, "it was replaced")
    assert act(server, "now\nyes").text == "yes"


def test_model_run_that_is_stuck(isolated):
    """The deadline passes in the engine: the handler's process is free again."""
    server = isolated("--rest_api_timeout_in_ms=500")
    old = workers(server)
    assert act(server, "stuck").status == 504
    server.until(lambda: act(server, "now\nyes").text == "yes", "the next call is answered")
    assert workers(server) == old


def test_engine_that_keeps_inputs(isolated):
    """It may hold them longer than there is a handler, and hand one out as an output."""
    server = isolated()
    for _ in range(3):
        assert act(server, "hold").text == "5"  # 4 bytes + 1
    server.stop()


def test_process_killed_from_outside(isolated):
    server = isolated()
    os.kill(workers(server)[0], signal.SIGKILL)
    server.until(lambda: act(server, "now\nyes").text == "yes", "another one took over")


def test_attach_crashes(start, tmp_path):
    folder = write_model(tmp_path / "m", attach="crash")
    server = serve(start, folder, "process", "--max_num_load_retries=0", wait="listen")

    def status():
        return server.get("/v1/models/m").json().get("model_version_status", [{}])[0]

    server.until(lambda: status().get("state") == "END", "the load failed")
    assert "ended before it was ready" in status()["status"]["error_message"]
    server.until(lambda: not workers(server), "no process is left")


def test_no_process_is_left(isolated):
    server = isolated("--handler_workers=4")
    server.until(lambda: len(workers(server)) == 4, "all have started")
    pids = workers(server)
    server.stop()
    assert not [p for p in pids if pathlib.Path(f"/proc/{p}").exists()]


def test_server_that_is_killed_takes_its_processes_along(tmp_path):
    server = serve(lambda *args: Server(tmp_path / "run", args), write_model(tmp_path / "m"), "process")
    pids = workers(server)
    assert pids
    server.kill()
    end = time.monotonic() + 30
    while any(pathlib.Path(f"/proc/{p}").exists() for p in pids):
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- check-handler ----

def check(*args, **more):
    return subprocess.run([BUILD / "tern", "check-handler", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False, **more)


def test_check_handler(tmp_path):
    plugin = BUILD / "tests" / "server" / "actor_handler.so"
    done = check(plugin)
    assert done.returncode == 0 and done.stdout == b""
    assert b"handler actor 1.2.3, ABI 1" in done.stderr and b"text/x-act,application/json,image/*" in done.stderr
    folder = write_model(tmp_path / "m")
    done = check(plugin, f"--model={folder / '1'}", "--engine=example", "--document=-", input=b"both")
    assert done.returncode == 0 and done.stdout == b"4 none 7,8", done
    assert b"200 text/plain, 10 bytes" in done.stderr
    done = check(plugin, f"--model={folder / '1'}", "--engine=example", "--document=-", "--repeat=50", input=b"now\nyes")
    assert done.stdout == b"yes" and b"203 text/x-now" in done.stderr and b"kept=1" in done.stderr
    done = check(plugin, f"--model={folder / '1'}", "--engine=example", "--document=-", input=b"wrong")
    assert done.returncode == 1 and b"INVALID_ARGUMENT: Handler made input no," in done.stderr


def test_check_handler_refuses(tmp_path):
    done = check(BUILD / "engines" / "example.so")
    assert done.returncode == 1 and b"is no handler: it has no tern_handler_entry()" in done.stderr
    for args in ([], ["a.so", "b.so"], ["a.so", "--document=x"], ["a.so", "--nonsense"]):
        assert check(*args).returncode == 2, args
    assert check("--help").returncode == 0
    assert check("nowhere.so", cwd=tmp_path).returncode == 1
