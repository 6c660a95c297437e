"""The access log and traces: a line for each request, whoever answers it; W3C Trace Context passed on."""
import json
import os
import re
import signal
import subprocess

import pytest

import example_models
from tern_server import parse_metrics

pytestmark = pytest.mark.example
GOOD = {"instances": [1.0, 2.0, 5.0]}
ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACE = f"00-{ID}-{PARENT}-01"
STAGES = ["read", "decode", "preprocess", "queue", "run", "postprocess", "encode", "write"]


@pytest.fixture
def folder(tmp_path):
    return example_models.write(tmp_path / "m")


def logged(start, folder, *more, log="json", **how):
    path = folder.parent / "access.log"
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", f"--access_log={log}",
                   f"--access_log_file={path}", *more, **how)
    server.access = path
    return server


def lines_of(server, n, condition=lambda line: line["path"] not in ("/readyz", "/metrics")):
    """Waits for n lines that are not the test's own looks at the server."""
    found = []

    def there():
        text = server.access.read_text(encoding="utf-8") if server.access.exists() else ""
        found[:] = [x for x in map(json.loads, text.split("\n")[:-1]) if condition(x)]
        return len(found) >= n

    server.until(there, f"{n} lines were written")
    assert len(found) == n, found
    return found


def test_rest_call(start, folder):
    server = logged(start, folder)
    body = json.dumps(GOOD).encode()
    answer = server.post("/v1/models/m:predict", body, headers={"x-request-id": "mine-1", "traceparent": TRACE})
    assert answer.status == 200
    line, = lines_of(server, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", line["peer"])
    want = {"method": "POST", "path": "/v1/models/m:predict", "protocol": "HTTP/1.1", "status": 200, "code": "OK",
            "end": "sent", "bytes_in": len(body), "bytes_out": len(answer.body), "api": "rest", "call": "predict",
            "model": "m", "version": 1, "signature": "serving_default", "request_id": "mine-1", "trace_id": ID,
            "parent_id": PARENT, "sampled": "1"}
    assert {k: line[k] for k in want} == want
    assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"]) and line["span_id"] != PARENT
    stages = line["stages_ms"]
    assert list(stages) == [s for s in STAGES if s in stages] and {"read", "decode", "run", "encode", "write"} <= set(stages)
    assert all(v >= 0 for v in stages.values()) and line["total_ms"] >= max(stages.values())
    assert answer.headers["traceparent"] == f"00-{ID}-{line['span_id']}-01"


def test_grpc_call(start, folder):
    tern_grpc = pytest.importorskip("tern_grpc")
    import numpy as np
    server = logged(start, folder)
    with tern_grpc.Client(server.grpc) as client:
        request = tern_grpc.predict_request("m", {"x": np.float32([1])})
        _, call = client.prediction.Predict.with_call(
            request, metadata=[("traceparent", TRACE), ("tracestate", "a=1")], timeout=60)
        got = {k: v for k, v in call.initial_metadata()}
        for name in ("nobody", "m"):
            try:
                client.status(name)
            except tern_grpc.grpc.RpcError:
                pass
        with pytest.raises(tern_grpc.grpc.RpcError):
            client.raw("/no.such/Method", b"")
    lines = lines_of(server, 4)
    predict = [x for x in lines if x["path"].endswith("/Predict")][0]
    want = {"method": "POST", "protocol": "HTTP/2", "status": 200, "code": "OK", "api": "grpc", "call": "predict",
            "model": "m", "version": 1, "signature": "serving_default", "trace_id": ID, "parent_id": PARENT}
    assert {k: predict[k] for k in want} == want
    assert got["traceparent"] == f"00-{ID}-{predict['span_id']}-01" and got["tracestate"] == "a=1"
    codes = sorted((x["path"].rsplit("/", 1)[1], x["code"], x.get("model")) for x in lines if x is not predict)
    assert codes == [("GetModelStatus", "NOT_FOUND", None), ("GetModelStatus", "OK", "m"), ("Method", "UNIMPLEMENTED", None)]


def test_every_answer_has_a_line(start, folder):
    """Also those that no model gave, and those of the HTTP layer itself."""
    server = logged(start, folder)
    server.get("/healthz")
    server.get("/v1/models/m")
    server.get("/v1/models/nobody/metadata")
    server.get("/no/such/path")
    server.request("PUT", "/v1/models/m")
    server.predict("m", b"{")
    server.predict("m", {**GOOD, "signature_name": "fails"})
    server.predict("nobody", GOOD)
    with server.connect() as s:
        s.sendall(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n")
        while s.recv(4096):
            pass
    lines = lines_of(server, 9)
    got = {(x["method"], x["path"]): (x["status"], x.get("code"), x.get("call"), x.get("model")) for x in lines}
    assert got[("GET", "/healthz")] == (200, "OK", None, None)
    assert got[("GET", "/v1/models/m")] == (200, "OK", "status", "m")
    assert got[("GET", "/v1/models/nobody/metadata")][:3] == (404, "NOT_FOUND", "metadata")
    assert got[("GET", "/no/such/path")] == (404, "NOT_FOUND", None, None)
    assert got[("PUT", "/v1/models/m")][:3] == (400, "INVALID_ARGUMENT", "other")
    assert got[("TRACE", "/")] == (501, None, None, None)
    assert got[("POST", "/v1/models/nobody:predict")] == (404, "NOT_FOUND", "predict", None)
    predicts = [(x["status"], x["code"], x["version"]) for x in lines if x["path"] == "/v1/models/m:predict"]
    assert sorted(predicts) == [(400, "FAILED_PRECONDITION", 1), (400, "INVALID_ARGUMENT", 1)]


def test_clients_that_vanish_have_a_line(start, folder):
    server = logged(start, folder)
    with server.connect() as s:
        body = json.dumps({**GOOD, "signature_name": "slow"}).encode()
        s.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        server.until(lambda: server.metric("tern_running") == 1, "the call ran")
        s.setsockopt(6, 1, 1)
        s.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: reset
    line, = lines_of(server, 1)
    assert line["end"] == "gone" and line["status"] == 0 and "code" not in line
    assert (line["model"], line["version"], line["call"]) == ("m", 1, "predict") and line["stages_ms"]["read"] >= 0


def test_calls_that_are_cancelled_have_a_line(start, folder):
    tern_grpc = pytest.importorskip("tern_grpc")
    import numpy as np
    server = logged(start, folder)
    with tern_grpc.Client(server.grpc) as client:
        request = tern_grpc.predict_request("m", {"x": np.float32([1])}, signature="stuck")
        call = client.prediction.Predict.future(request, timeout=60)
        server.until(lambda: server.metric("tern_running") == 1, "the call ran")
        call.cancel()
        line, = lines_of(server, 1)
        assert line["end"] == "gone" and line["model"] == "m" and line["protocol"] == "HTTP/2"
        with pytest.raises(tern_grpc.grpc.RpcError):
            client.predict(request, timeout=0.2)
    late = lines_of(server, 2)[1]
    assert late["end"] == "gone" or late["code"] == "DEADLINE_EXCEEDED"


def test_streams_have_a_line(start, folder):
    """The health service's Watch, ended by its client."""
    tern_grpc = pytest.importorskip("tern_grpc")
    from grpc_health.v1 import health_pb2
    server = logged(start, folder)
    with tern_grpc.Client(server.grpc) as client:
        watch = client.health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        line, = lines_of(server, 1)
    assert line["path"] == "/grpc.health.v1.Health/Watch" and line["end"] == "gone"
    assert line["status"] == 200 and line["bytes_out"] == 7


@pytest.mark.parametrize("path", ["/%0a%22}", '/"}{"status":200', "/\\", "/%ff%00", "/" + "x" * 4000, "/a b".replace(" ", "%20")])
def test_hostile_paths_stay_in_their_line(start, folder, path):
    server = logged(start, folder)
    with server.connect() as s:
        s.sendall(b"GET " + path.encode() + b"\xc3\xb6\xff HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\"b\\\xff\r\nConnection: close\r\n\r\n")
        while s.recv(4096):
            pass
    line, = lines_of(server, 1)
    if line["status"] == 404:  # else the HTTP layer did not take it
        assert line["request_id"] == 'a"b\\\ufffd'
        assert line["path"].startswith(path[:2000]) and len(line["path"]) <= 2048


def test_text_lines(start, folder):
    server = logged(start, folder, log="text")
    server.predict("m", GOOD)
    wanted = re.compile(r'\S+Z 127\.0\.0\.1:\d+ "POST" "/v1/models/m:predict" protocol=HTTP/1\.1 status=200 code=OK end=sent '
                        r'bytes_in=\d+ bytes_out=\d+ total_ms=\d+\.\d{3} api=rest call=predict model="m" version=1 '
                        r'signature="serving_default" stages_ms=read:\S+ request_id=\w{16} trace_id=\w{32} span_id=\w{16} sampled=0')
    server.until(lambda: any(wanted.fullmatch(x) for x in server.access.read_text().splitlines()), "the line was written")


def test_slow_calls_alone(start, folder):
    server = logged(start, folder, "--slow_ms=1000")
    for _ in range(5):
        assert server.predict("m", GOOD).status == 200
    assert server.predict("m", {**GOOD, "signature_name": "slow"}).status == 200
    line, = lines_of(server, 1)
    assert line["signature"] == "slow" and line["total_ms"] >= 1500 and line["stages_ms"]["run"] >= 1499


def test_file_is_opened_anew(start, folder):
    server = logged(start, folder)
    server.get("/healthz?1")
    lines_of(server, 1)
    old = server.access.with_suffix(".1")
    server.access.rename(old)
    server.process.send_signal(signal.SIGHUP)
    server.until(server.access.exists, "the file was there again")
    server.get("/healthz?2")
    assert lines_of(server, 1)[0]["path"] == "/healthz?2"
    assert "/healthz?1" in old.read_text() and "/healthz?2" not in old.read_text()


def test_a_blocked_file_costs_lines_not_answers(start, folder):
    pipe = folder.parent / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--access_log=json",
                   f"--access_log_file={pipe}", "--max_access_log_bytes=4096")
    for i in range(600):
        assert server.get("/healthz?" + "x" * 1000).status == 200
    samples, types = parse_metrics(server.get("/metrics").text)
    assert server.metric("tern_access_log_dropped_total") > 300
    assert types["tern_access_log_lines_total"] == "counter"
    server.stop()  # and it ends all the same
    os.close(reader)


def test_standard_error_is_the_default(start, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--access_log=text")
    server.get("/healthz?unmistakable")
    server.until(lambda: '"/healthz?unmistakable"' in server.log, "the line was written")


@pytest.mark.parametrize("flags, word", [(["--access_log=xml"], "off, text or json"), (["--slow_ms=-1"], "slow_ms"),
                                         (["--access_log=json", "--access_log_file=/nowhere/x"], "/nowhere/x")])
def test_bad_flags(folder, flags, word):
    from tern_server import BUILD
    done = subprocess.run([BUILD / "tern", "serve", "--model_name=m", f"--model_base_path={folder}", "--engine=example",
                           "--port=0", "--rest_api_port=0", *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and word in done.stderr


def test_a_pipe_that_nobody_reads_is_refused(folder):
    """The start waited for a reader, and for no signal."""
    pipe = folder.parent / "pipe"
    os.mkfifo(pipe)
    test_bad_flags(folder, ["--access_log=json", f"--access_log_file={pipe}"], "cannot be opened for writing")


# ---- traces without a log ----

def plain(start, folder, handlers=None):
    more = [f"--handler_path={handlers}"] if handlers else []
    return start("--model_name=m", f"--model_base_path={folder}", "--engine=example", *more)


def test_trace_is_passed_on(start, folder):
    server = plain(start, folder)
    for path, status in (("/healthz", 200), ("/metrics", 200), ("/v1/models/m", 200), ("/nothing", 404)):
        answer = server.get(path, headers={"traceparent": TRACE, "tracestate": "a=1,b=2"})
        assert answer.status == status
        assert re.fullmatch(f"00-{ID}-[0-9a-f]{{16}}-01", answer.headers["traceparent"]), path
        assert answer.headers["tracestate"] == "a=1,b=2"
    for state, kept in (("A=1", None), ("a=1,,", "a=1,,"), ("x" * 600, None)):
        answer = server.predict("m", GOOD, headers={"traceparent": TRACE.replace("-01", "-00"), "tracestate": state})
        assert answer.headers["traceparent"].endswith("-00") and answer.headers.get("tracestate") == kept


@pytest.mark.parametrize("parent", [TRACE.upper(), TRACE + "-x", "ff" + TRACE[2:], TRACE.replace(ID, "0" * 32), "x", ""])
def test_broken_trace_begins_anew(start, folder, parent):
    server = plain(start, folder)
    got = server.predict("m", GOOD, headers={"traceparent": parent, "tracestate": "a=1"}).headers
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", got["traceparent"])
    assert ID not in got["traceparent"] and "tracestate" not in got


def test_two_traceparents_are_none(start, folder):
    server = logged(start, folder)
    with server.connect() as s:
        s.sendall(f"GET /healthz HTTP/1.1\r\nHost: x\r\ntraceparent: {TRACE}\r\ntraceparent: {TRACE}\r\n"
                  "tracestate: a=1\r\nConnection: close\r\n\r\n".encode())
        while s.recv(4096):
            pass
    line, = lines_of(server, 1)
    assert line["trace_id"] != ID and "parent_id" not in line


def test_state_in_two_fields(start, folder):
    server = plain(start, folder)
    with server.connect() as s:
        s.sendall(f"GET /healthz HTTP/1.1\r\nHost: x\r\ntraceparent: {TRACE}\r\ntracestate: a=1\r\ntracestate: b=2\r\n"
                  "Connection: close\r\n\r\n".encode())
        text = b""
        while part := s.recv(4096):
            text += part
    assert b"tracestate: a=1,b=2\r\n" in text


def test_no_trace_no_header(start, folder):
    server = plain(start, folder)
    assert "traceparent" not in server.predict("m", GOOD).headers


def test_strict_manner_says_nothing(start, folder):
    """Called tensorflow_model_server, an answer is the original's; the log has the trace all the same."""
    server = logged(start, folder, program="tensorflow_model_server", wait="listen")
    answer = server.predict("m", GOOD, headers={"traceparent": TRACE, "tracestate": "a=1"})
    assert answer.status == 200 and "traceparent" not in answer.headers and "tracestate" not in answer.headers
    assert lines_of(server, 1)[0]["trace_id"] == ID


def test_handlers_get_the_trace(start, tmp_path):
    from tern_server import BUILD
    folder = example_models.write(tmp_path / "m", body="signature serving_default\ninput x float [-1]\noutput y float [-1] identity x\n")
    (folder / "1" / "assets.extra").mkdir()
    (folder / "1" / "assets.extra" / "tern.json").write_text('{"handler": "trace_handler"}', encoding="ascii")
    server = plain(start, folder, handlers=BUILD / "tests" / "server")
    ask = {"content-type": "text/plain"}
    answer = server.post("/invocations", b"x", headers={**ask, "traceparent": TRACE, "tracestate": "a=1"})
    assert answer.status == 200, answer
    parent, state = answer.text.split("|")
    assert parent == answer.headers["traceparent"] and parent.startswith(f"00-{ID}-") and state == "a=1"
    assert server.post("/invocations", b"x", headers=ask).text == "|"
