"""Every surface of the program with real clients, on the example engine."""
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import requests

import example_models
from tern_server import parse_metrics

pytestmark = pytest.mark.example
GOOD = {"instances": [1.0, 2.0, 5.0]}
ANSWER = {"predictions": [2.5, 3.0, 4.5]}
PREDICT = "/v1/models/m:predict"


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m")
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example")


@pytest.fixture(scope="module")
def client(server):
    tern_grpc = pytest.importorskip("tern_grpc")
    with tern_grpc.Client(server.grpc) as c:
        yield c


def test_health(server):
    for path in ("/healthz", "/readyz", "/ping"):
        assert server.get(path).status == 200, path


def test_not_ready_while_loading(start, tmp_path):
    body = f"sleep 1500\n{example_models.text()}"
    folder = example_models.write(tmp_path / "m", body=body)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", wait="listen")
    assert server.get("/healthz").status == 200
    states = set()

    def ready():
        status = server.get("/readyz").status
        states.add(status)
        return status == 200

    server.until(ready, "it was ready")
    assert states <= {200, 503} and server.get("/ping").status == 200
    assert server.predict("m", GOOD).json() == ANSWER


def test_missing_model_is_not_ready(start, tmp_path):
    (tmp_path / "empty").mkdir()
    server = start("--model_name=m", f"--model_base_path={tmp_path / 'empty'}", "--engine=example", wait="listen")
    assert server.get("/healthz").status == 200 and server.get("/readyz").status == 503
    assert server.get("/ping").status >= 500
    answer = server.predict("m", GOOD)
    assert answer.status == 404 and "Servable not found" in answer.json()["error"]


def test_invocations(server):
    for path in ("/invocations", "/models/m/invoke"):
        answer = server.post(path, GOOD, headers={"Content-Type": "application/json"})
        assert answer.status == 200 and answer.json() == ANSWER, (path, answer)
        assert answer.headers["content-type"].startswith("application/json")


def test_document_without_handler(server):
    """This model has no handler: an error that says so, not a crash."""
    for path in ("/invocations", "/models/m/invoke"):
        answer = server.post(path, b"<p>hello", headers={"Content-Type": "text/html"})
        assert 400 <= answer.status < 500 and answer.json()["error"], (path, answer)


def test_unknown_model(server):
    answer = server.predict("nobody", GOOD)
    assert answer.status == 404 and "nobody" in answer.json()["error"]
    answer = server.post("/models/nobody/invoke", b"<p>", headers={"Content-Type": "text/html"})
    assert answer.status == 404 and "nobody" in answer.text
    answer = server.predict("m", GOOD, version=99)
    assert answer.status == 404 and "99" in answer.json()["error"]
    assert server.get("/nowhere").status == 404


def test_status_metadata(server):
    status = server.get("/v1/models/m").json()
    assert status == {"model_version_status": [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]}
    metadata = server.get("/v1/models/m/metadata")
    assert metadata.status == 200 and metadata.json()["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}


def test_server_timing(server):
    """Names in the order of the stages, durations in milliseconds."""
    answer = server.predict("m", GOOD)
    stages = re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"])
    assert [name for name, _ in stages if name in ("read", "decode", "queue", "run", "encode")] == [
        "read", "decode", "queue", "run", "encode"]
    assert all(float(ms) >= 0 for _, ms in stages)
    slow = server.predict("m", {**GOOD, "signature_name": "slow"})
    took = dict(re.findall(r"(\w+);dur=([0-9.]+)", slow.headers["server-timing"]))
    assert float(took["run"]) >= 1499


def test_metrics(server):
    before = sum(
        v for n, _, v in parse_metrics(server.get("/metrics").text)[0] if n.endswith("_count"))
    for _ in range(3):
        assert server.predict("m", GOOD).status == 200
    answer = server.get("/metrics")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
    samples, types = parse_metrics(answer.text)
    assert sum(v for n, _, v in samples if n.endswith("_count")) >= before + 3
    assert "histogram" in types.values() and "counter" in types.values()
    stages = {labels["stage"] for _, labels, _ in samples if "stage" in labels}
    assert {"read", "decode", "queue", "run", "encode"} <= stages
    check_histograms(samples, types)


def check_histograms(samples, types):
    """Buckets grow, end in +Inf, and +Inf equals _count."""
    series = {}
    for name, labels, value in samples:
        base = re.sub(r"_(bucket|count)$", "", name)
        if types.get(base) == "histogram" and name != base + "_sum":
            key = (base, tuple(sorted((k, v) for k, v in labels.items() if k != "le")))
            series.setdefault(key, []).append((labels.get("le"), value))
    assert series
    for key, found in series.items():
        buckets = [(float(le), v) for le, v in found if le is not None]
        values = [v for _, v in buckets]
        assert buckets == sorted(buckets) and values == sorted(values), key
        assert buckets[-1][0] == float("inf") and [v for le, v in found if le is None] == [values[-1]], key


def test_every_port_speaks_http(server):
    for port in (server.grpc, server.rest):
        assert server.predict("m", GOOD, port=port).json() == ANSWER
        assert server.get("/healthz", port=port).status == 200


def test_every_port_speaks_grpc(server):
    tern_grpc = pytest.importorskip("tern_grpc")
    request = tern_grpc.predict_request("m", {"x": np.array([1.0, 2.0], "f4")})
    for port in (server.grpc, server.rest):
        with tern_grpc.Client(port) as c:
            assert tern_grpc.outputs_of(c.predict(request))["y"].tolist() == [2.5, 3.0]


def test_grpc_services(server, client):
    assert client.check().status == 1 and client.check("tensorflow.serving.PredictionService") is not None
    states = client.status("m").model_version_status
    assert [(s.version, s.state) for s in states] == [(1, 30)]
    _, signatures = client.metadata("m")
    assert {"serving_default", "pair", "slow"} <= set(signatures)
    assert set(signatures["pair"].inputs) == {"a", "b"} and signatures["pair"].inputs["b"].dtype == 3


@pytest.mark.parametrize("dtype", sorted(example_models.DTYPES))
def test_grpc_dtypes(client, dtype):
    """Identity of every dtype: the input's own memory goes out again."""
    tern_grpc = pytest.importorskip("tern_grpc")
    if dtype == "string":
        x = np.array([[b"", b"a\0b"], [bytes(range(256)), b"z" * 5000]], dtype=object)
    else:
        x = np.arange(-3, 9).reshape(3, 4).astype(example_models.DTYPES[dtype])
    for content in (True, False):
        answer = client.predict(tern_grpc.predict_request("m", {"x": x}, signature=dtype, content=content))
        tern_grpc.assert_same(tern_grpc.outputs_of(answer)["y"], x)


def test_kept_inputs(server, client):
    """An engine may keep its inputs after the run (hold), and hand one of them out as an output."""
    tern_grpc = pytest.importorskip("tern_grpc")
    for size in (3, 100000):
        x = np.arange(size, dtype="f4")
        answer = server.predict("m", {"signature_name": "hold", "inputs": x.tolist()})
        assert answer.json()["outputs"]["x"] == x.tolist()
        got = tern_grpc.outputs_of(client.predict(tern_grpc.predict_request("m", {"x": x}, signature="hold")))
        tern_grpc.assert_same(got["x"], x)
        tern_grpc.assert_same(got["y"], x + 1)


def curl(*args, data=None):
    done = subprocess.run(["curl", "-sS", "--max-time", "60", "-o", "-", "-w", "\n%{http_version} %{http_code}", *args],
                          input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    body, _, last = done.stdout.rpartition(b"\n")
    return body, last.decode().split()


@pytest.mark.parametrize("flag,version", [("--http1.1", "1.1"), ("--http1.0", "1.1"), ("--http2-prior-knowledge", "2")])
def test_curl(server, flag, version):
    """An HTTP/1.0 request gets the server's own version in the status line (RFC 9110, 6.2), and no chunks."""
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    for port in (server.rest, server.grpc):
        url = f"http://127.0.0.1:{port}"
        body, (http, code) = curl(flag, "-d", json.dumps(GOOD), url + PREDICT)
        assert (json.loads(body), http, code) == (ANSWER, version, "200")
        body, (http, code) = curl(flag, url + "/v1/models/m")
        assert code == "200" and json.loads(body)["model_version_status"][0]["state"] == "AVAILABLE"
    # A body of megabytes, which curl sends after "Expect: 100-continue".
    x = (np.arange(300000) / 8).tolist()
    body, (http, code) = curl(flag, "--data-binary", "@-", url + PREDICT, data=json.dumps({"instances": x}).encode())
    assert code == "200" and json.loads(body)["predictions"] == [v / 2 + 2 for v in x]


def test_requests_keep_alive(server):
    with requests.Session() as session:
        for i in range(20):
            answer = session.post(server.url + PREDICT, json={"instances": [float(i)]}, timeout=60)
            assert answer.json() == {"predictions": [i / 2 + 2]}
        assert session.get(server.url + "/v1/models/nobody", timeout=60).status_code == 404
        assert session.post(server.url + PREDICT, data=b"junk", timeout=60).status_code == 400
        assert session.post(server.url + PREDICT, json=GOOD, timeout=60).json() == ANSWER


def test_pipelining(server):
    """Ten requests in one write, one of them wrong; answers come in order."""
    requests_ = []
    for i in range(10):
        body = b"junk" if i == 4 else json.dumps({"instances": [float(i)]}).encode()
        requests_.append(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (PREDICT.encode(), len(body), body))
    with server.connect() as s:
        s.sendall(b"".join(requests_))
        read = s.makefile("rb")
        for i in range(10):
            status = int(read.readline().split()[1])
            length = 0
            while (line := read.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = json.loads(read.read(length))
            assert (status, body.get("predictions")) == ((400, None) if i == 4 else (200, [i / 2 + 2]))


@pytest.mark.parametrize("clients,flag", [(1, "--h1"), (8, "--h1"), (8, None)])
def test_h2load(server, tmp_path, clients, flag):
    if shutil.which("h2load") is None:
        pytest.skip("no h2load")
    body = tmp_path / "body.json"
    body.write_text(json.dumps(GOOD), encoding="ascii")
    argv = ["h2load", "-n", "800", "-c", str(clients), "-m", "1" if flag else "16", "-d", str(body)]
    done = subprocess.run([*argv, *([flag] if flag else []), server.url + PREDICT], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
    assert done.returncode == 0 and "800 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout
    assert "status codes: 800 2xx" in done.stdout, done.stdout


def test_port_file(server):
    """The port file is whole JSON and names both ports."""
    ports = json.loads(pathlib.Path(server.ports_file).read_text(encoding="ascii"))
    assert ports["grpc"] == server.grpc and ports["rest"] == server.rest and server.grpc != server.rest


def test_tensorflow_model_server_form(start, tmp_path):
    """Under TensorFlow Serving's name: its flags, its answers, and no extension that a client could tell apart."""
    folder = example_models.write(tmp_path / "m")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example",
                   program="tensorflow_model_server", wait="listen")
    server.until(lambda: b"AVAILABLE" in server.get("/v1/models/m").body, "the model was there")
    answer = server.predict("m", GOOD)
    assert answer.body == b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}' and "server-timing" not in answer.headers
    assert answer.headers["content-type"] == "application/json"
