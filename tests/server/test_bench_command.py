"""`tern bench` against a real server: it counts what was answered, hides no stall, and says what a script needs to know."""
import http.server
import json
import re
import subprocess
import threading
import time

import pytest

import example_models
from tern_server import BUILD, Server

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    example_models.write(folder / "m")
    server = Server(folder / "tern", ["--engine=example", "--model_name=m", f"--model_base_path={folder / 'm'}"])
    yield server
    server.stop()


def bench(server, *flags, model="m", expect=0, api="rest", data=None):
    port = server if isinstance(server, int) else server.grpc if api == "grpc" else server.rest
    argv = [str(BUILD / "tern"), "bench", model, f"--url=http://127.0.0.1:{port}", f"--api={api}", *flags]
    run = subprocess.run(argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    assert run.returncode == expect, (run.returncode, run.stdout, run.stderr)
    return run


def steps(run):
    return json.loads(run.stdout)["steps"]


def answers(server):
    """How many requests the server says that it has answered well."""
    text = server.get("/metrics").text
    return sum(float(n) for n in re.findall(r'^tern_answers_total\{code="OK"\} (\S+)$', text, re.M))


@pytest.mark.parametrize("api", ["rest", "grpc"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_counts_what_the_server_answered(server, api, threads):
    before, pages, windows = answers(server), 0, 0
    for seconds in ("0.5", "3", "20"):  # longer where the machine has no time for it
        step, = steps(bench(server, "--connections=5", f"--threads={threads}", f"--seconds={seconds}", "--warmup=0", "--json",
                            api=api))
        windows += 1
        assert step["errors"] == 0
        if step["requests"] > 0:
            break
    assert step["requests"] > 0

    def counted():
        """Without the pages of metrics."""
        nonlocal pages
        pages += 1
        return answers(server) - before - pages

    # An answer is counted when it is written: its client may see it first.
    server.until(lambda: counted() >= step["requests"], "all answers are counted")
    # What is under way when the time is over was asked, too, and the signature.
    assert counted() <= step["requests"] + (5 + 1) * windows
    assert {"run", "decode", "encode"} <= set(step["stages_mean_ms"])
    assert 0 < step["min_ms"] <= step["p50_ms"] <= step["p99_ms"] <= step["max_ms"]


@pytest.mark.parametrize("signature", [*example_models.DTYPES, "pair", "matrix"])
@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_generated_requests(server, signature, api):
    complex_over_rest = api == "rest" and signature.startswith("complex")
    for seconds in ("0.05", "2", "20"):  # longer where the machine has no time for it
        run = bench(server, f"--signature={signature}", "--batch=3", f"--seconds={seconds}", "--warmup=0", "--json", api=api,
                    expect=2 if complex_over_rest else 0)
        if complex_over_rest:
            assert b"give the request by --data=FILE" in run.stderr
            return
        step, = steps(run)
        assert step["errors"] == 0
        if step["requests"] > 0:
            return
    raise AssertionError("no request was answered")


def test_length_of_generated_requests(start, tmp_path):
    """The first unknown dimension has --batch, every other --length."""
    example_models.write(tmp_path / "m", body="signature serving_default\ninput x int32 [-1,-1,3]\noutput y int32 ? identity x\n")
    server = start("--engine=example", "--model_name=m", f"--model_base_path={tmp_path / 'm'}")
    sizes = [int(re.search(rb"(\d+) bytes a request", bench(server, "--seconds=0.05", "--batch=2", *length).stdout)[1])
             for length in ([], ["--length=9"])]
    assert sizes[1] > sizes[0] + 2 * 8 * 3 * len("0, ")


def test_sweep(server):
    run = bench(server, "--connections=1,4", "--rate=50,200", "--seconds=0.2", "--warmup=0", "--json")
    assert [(s["connections"], s["rate"]) for s in steps(run)] == [(1, 50), (1, 200), (4, 50), (4, 200)]


class Stalls(http.server.BaseHTTPRequestHandler):
    """Answers at once, but stands still for a second in the middle."""
    protocol_version = "HTTP/1.1"
    began, stalled = None, False

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        cls = type(self)
        cls.began = cls.began or time.monotonic()
        if not cls.stalled and time.monotonic() - cls.began > 0.5:
            cls.stalled = True
            time.sleep(1)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def test_coordinated_omission(tmp_path):
    """A server that stands still for a second keeps hundreds of due requests waiting: they count with their waiting time."""
    body = tmp_path / "body.json"
    body.write_text("{}", encoding="ascii")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalls) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            run = bench(server.server_address[1], "--rate=100", "--seconds=2", "--warmup=0", "--json", f"--data={body}")
        finally:
            server.shutdown()
    step, = steps(run)
    assert step["errors"] == 0
    # A third of all requests fell due within the stall: half of those waited for half of it or longer.
    assert step["max_ms"] >= 900
    assert step["p90_ms"] >= 400
    assert step["requests"] + step["unanswered"] == 200


def test_unanswered_at_the_end(server):
    step, = steps(bench(server, "--signature=slow", "--rate=20", "--seconds=0.5", "--warmup=0", "--json"))
    assert step["requests"] == 0 and step["unanswered"] == 10 and step["max_ms"] >= 400


@pytest.mark.parametrize("condition, status", [
    ("p99>0ms", 1), ("p99>100s", 0), ("errors>0", 0), ("per_second<1", 0), ("per_second>1", 1), ("p99.9>0.1us", 1), ("max<100s", 1)])
def test_fail_if(server, condition, status):
    run = bench(server, "--seconds=0.1", "--warmup=0", f"--fail-if={condition}", expect=status)
    assert (condition.encode() in run.stderr) == bool(status)


def test_errors_are_counted_and_told(server):
    run = bench(server, "--signature=fails", "--seconds=0.1", "--warmup=0", "--fail-if", "errors>0", expect=1)
    assert b"First error: HTTP status 400" in run.stdout and b"on purpose" in run.stdout
    run = bench(server, "--signature=fails", "--seconds=0.1", "--warmup=0", "--fail_if", "errors>0", api="grpc", expect=1)
    assert b"First error: gRPC status 9" in run.stdout


def test_server_that_closes_connections(tmp_path):
    """One answer a connection: it connects anew, and counts each."""

    class Closes(Stalls):
        protocol_version = "HTTP/1.0"
        stalled = True

    body = tmp_path / "body.json"
    body.write_text("{}", encoding="ascii")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closes) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            step, = steps(bench(server.server_address[1], "--seconds=0.3", "--warmup=0", "--json", f"--data={body}"))
        finally:
            server.shutdown()
    assert step["errors"] == 0 and step["requests"] > 5


def test_server_that_ends(tmp_path):
    """What becomes of its requests are errors, and the bench goes on to its end."""
    example_models.write(tmp_path / "m")
    server = Server(tmp_path / "tern", ["--engine=example", "--model_name=m", f"--model_base_path={tmp_path / 'm'}"])
    pages = 0

    def under_way():
        nonlocal pages
        pages += 1  # of metrics, counted, too
        return answers(server) > pages + 5

    def kill():
        server.until(under_way, "the bench is under way")
        server.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    step, = steps(bench(server, "--connections=3", "--rate=100", "--seconds=3", "--warmup=0", "--json"))
    thread.join()
    assert step["requests"] > 0 and step["errors"] > 0 and step["first_error"]


def test_output_and_compare(server, tmp_path):
    file = tmp_path / "run.json"
    flags = ["--connections=1,2", "--seconds=0.2", "--warmup=0"]
    run = bench(server, *flags, "-o", str(file))
    assert b"Where the time goes" in run.stdout and b"Written:" in run.stdout and b"\x1b" not in run.stdout + run.stderr
    assert [s["connections"] for s in json.loads(file.read_bytes())["steps"]] == [1, 2]
    run = bench(server, *flags, f"--compare={file}")
    assert len(re.findall(rb"^ +[12] +0( +[0-9.]+ x){4}$", run.stdout, re.M)) == 2
    file.write_bytes(b"{}")
    assert b"no \"steps\"" in bench(server, *flags, f"--compare={file}", expect=2).stderr


def test_data_of_standard_input(server):
    step, = steps(bench(server, "--data=-", "--seconds=0.1", "--warmup=0", "--json", data=b'{"instances": [1.0, 2.0]}'))
    assert step["errors"] == 0 and step["requests"] > 0


def test_large_bodies(server, tmp_path):
    """Larger than any socket's buffer, both ways, over both protocols."""
    for api in ("rest", "grpc"):
        step, = steps(bench(server, "--batch=200000", "--connections=3", "--seconds=2", "--warmup=0", "--json", api=api))
        assert step["errors"] == 0 and step["requests"] > 0
        assert step["answer_bytes"] > step["requests"] * 600000


@pytest.mark.parametrize("flags, words", [
    (["--nothing"], "no flag --nothing"),
    (["--batch=0"], "--batch=0"),
    (["--connections=0"], "--connections=0"),
    (["--connections=1,x"], "--connections=1,x"),
    (["--rate=-1"], "--rate=-1"),
    (["--api=soap"], "--api=soap"),
    (["--api=raw"], "needs --data"),
    (["--url=https://localhost"], "http://"),
    (["--url=http://"], "no host"),
    (["--fail-if=p98>1ms"], "p98>1ms"),
    (["--fail-if=p99>1parsec"], "p99>1parsec"),
    (["--fail-if=errors>1ms"], "errors>1ms"),
    (["--data=/does/not/exist"], "No such file"),
    (["--signature=nothing"], "no signature nothing"),
    (["--seconds=0"], "--seconds=0"),
    (["--compare=/does/not/exist", "--seconds=0.01", "--warmup=0"], "No such file"),
    (["two"], "one model at a time"),
])
def test_wrong_flags(server, flags, words):
    run = bench(server, *flags, expect=2)
    assert words in run.stderr.decode()


def test_nobody_listens(server):
    run = subprocess.run([str(BUILD / "tern"), "bench", "m", "--url=http://127.0.0.1:1"], stderr=subprocess.PIPE, timeout=60, check=False)
    assert run.returncode == 2 and b"127.0.0.1:1: Connection refused" in run.stderr
    assert subprocess.run([str(BUILD / "tern"), "bench"], stderr=subprocess.PIPE, timeout=60, check=False).returncode == 2
    run = subprocess.run([str(BUILD / "tern"), "bench", "--help"], stdout=subprocess.PIPE, timeout=60, check=False)
    assert run.returncode == 0 and max(map(len, run.stdout.decode().splitlines())) <= 110
