"""Both pages of metrics: Tern's own (/metrics), and TensorFlow Serving's (--monitoring_config_file)."""
import re
import shutil

import pytest

import example_models
from tern_server import ROOT, make_models, parse_metrics

GOOD = {"instances": [1.0, 2.0, 5.0]}
SERVING = "/monitoring/prometheus/metrics"
HEAD = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)")


def config_file(folder, text="prometheus_config { enable: true }"):
    path = folder / "monitoring.config"
    path.write_text(text, encoding="utf-8")
    return f"--monitoring_config_file={path}"


def clean(text):
    """What promtool's check looks at, and more. -> (samples, types)"""
    samples, types = parse_metrics(text)
    helps, order = {}, []
    for line in text.splitlines():
        head = HEAD.fullmatch(line)
        if line.startswith("#"):
            assert head, line
            if head[1] == "HELP":
                assert head[2] not in helps, f"two HELP: {line}"
                helps[head[2]] = head[3]
        else:
            name = re.match(r"[^{ ]+", line)[0]
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            base = name if name in types else base
            if not order or order[-1] != base:
                order.append(base)
    assert len(order) == len(set(order)), "samples of one metric stand apart"
    keys = [(n, tuple(sorted(labels.items()))) for n, labels, _ in samples]
    assert len(keys) == len(set(keys)), "a series twice"
    for name, kind in types.items():
        assert helps.get(name, "").strip(), f"no HELP for {name}"
        assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"
    return samples, types


def total(samples, name, **labels):
    return sum(v for n, found, v in samples if n == name and all(found.get(k) == x for k, x in labels.items()))


@pytest.fixture
def folder(tmp_path):
    return example_models.write(tmp_path / "m")


def tern(start, folder, *more):
    return start("--model_name=m", f"--model_base_path={folder}", "--engine=example", *more)


@pytest.mark.example
def test_page_is_clean(start, folder):
    server = tern(start, folder)
    answer = server.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    clean(answer.text)
    for signature in ("serving_default", "fails", "float", "nothing"):
        server.predict("m", {**GOOD, "signature_name": signature})
    samples, types = clean(server.get("/metrics").text)
    for name in ("tern_stage_seconds", "tern_call_seconds", "tern_model_request_seconds", "tern_model_load_seconds"):
        assert types[name] == "histogram"
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "process_start_time_seconds", "tern_build_info", "tern_queue_length", "tern_bytes_in_flight_limit"):
        assert any(n == name for n, _, _ in samples), name


@pytest.mark.example
def test_calls_by_model_version_signature_surface_and_stage(start, folder):
    tern_grpc = pytest.importorskip("tern_grpc")
    import numpy as np
    server = tern(start, folder)
    for _ in range(3):
        assert server.predict("m", GOOD).status == 200
    assert server.predict("m", {**GOOD, "signature_name": "fails"}).status >= 400
    with tern_grpc.Client(server.grpc) as client:
        client.predict(tern_grpc.predict_request("m", {"x": np.float32([1])}))
        client.status("m")
        client.metadata("m")
    assert server.get("/v1/models/m").status == 200 and server.get("/v1/models/m/metadata").status == 200
    server.until(lambda: server.metric("tern_calls_total") == 5, "all calls were counted")
    samples, _ = clean(server.get("/metrics").text)
    rest = {"model": "m", "version": "1", "signature": "serving_default", "api": "rest", "method": "predict"}
    assert total(samples, "tern_calls_total", **rest, code="OK") == 3
    for stage in ("read", "decode", "queue", "run", "encode", "write"):
        assert total(samples, "tern_stage_seconds_count", **rest, stage=stage) == 3, stage
    failed = {**rest, "signature": "fails"}
    assert total(samples, "tern_calls_total", **failed) == total(samples, "tern_call_seconds_count", **failed) == 1
    assert total(samples, "tern_stage_seconds_count", **failed, stage="encode") == 0
    assert total(samples, "tern_calls_total", **{**rest, "api": "grpc"}, code="OK") == 1
    for api, method, n in (("rest", "predict", 3), ("grpc", "predict", 1), ("grpc", "status", 1), ("rest", "status", 1),
                           ("grpc", "metadata", 1), ("rest", "metadata", 1)):
        asked = {"model": "m", "api": api, "method": method}
        assert total(samples, "tern_model_requests_total", **asked, code="OK") == n, asked
        assert total(samples, "tern_model_request_seconds_count", **asked, outcome="ok") == n, asked
    assert total(samples, "tern_version_info", model="m", version="1", engine="example") == 1
    assert total(samples, "tern_version_state", model="m", version="1", state="AVAILABLE") == 1
    assert total(samples, "tern_model_loads_total", model="m", result="ok") == 1
    assert total(samples, "tern_model_load_seconds_count", model="m") == 1


@pytest.mark.example
def test_documents_count_for_their_handler(start):
    pytest.importorskip("numpy")
    model = ROOT / "models" / "html" / "saved_model"
    if not model.exists():
        pytest.skip("the HTML model is not there")
    from tern_server import has_engine
    if not has_engine("tensorflow"):
        pytest.skip("no engine tensorflow in this build")
    server = start("--model_name=html", f"--model_base_path={model}")
    for _ in range(2):
        answer = server.post("/invocations", b"<html><body><p>some text</p></body></html>",
                             headers={"content-type": "text/html"})
        assert answer.status == 200
    server.until(lambda: server.metric("tern_calls_total") == 2, "all calls were counted")
    samples, _ = clean(server.get("/metrics").text)
    for stage in ("preprocess", "run", "postprocess"):
        assert total(samples, "tern_stage_seconds_count", api="document", method="invoke", stage=stage) == 2, stage


@pytest.mark.example
def test_strangers_share_one_label(start, folder):
    """However many names clients make up, the number of series stays the same."""
    server = tern(start, folder, config_file(folder.parent))
    server.predict("nobody", GOOD)
    server.predict("a%22b%5C", GOOD)
    server.get("/v1/models/other")
    before = {path: len(parse_metrics(server.get(path).text)[0]) for path in ("/metrics", SERVING)}
    for i in range(50):
        assert server.predict(f"nobody{i}", GOOD).status == 404
        assert server.get(f"/v1/models/nobody{i}").status == 404
        assert server.predict("m", {**GOOD, "signature_name": f"made-up-{i}"}).status == 400
    server.until(lambda: server.metric("tern_calls_total", model="m", signature="") == 50, "all calls were counted")
    samples, _ = clean(server.get("/metrics").text)
    assert total(samples, "tern_model_requests_total", model="", api="rest", method="predict", code="NOT_FOUND") == 52
    assert total(samples, "tern_calls_total", model="m", signature="", code="INVALID_ARGUMENT") == 50
    # The first made-up signature brought the series of calls without one; this one brings none.
    server.predict("m", {**GOOD, "signature_name": "made-up-again"})
    server.until(lambda: server.metric("tern_calls_total", model="m", signature="") == 51, "the call was counted")
    after = {path: len(parse_metrics(server.get(path).text)[0]) for path in ("/metrics", SERVING)}
    again = {path: len(parse_metrics(server.get(path).text)[0]) for path in ("/metrics", SERVING)}
    assert after == again
    assert after["/metrics"] - before["/metrics"] < 8 * 36 and after[SERVING] - before[SERVING] <= 1


@pytest.mark.example
def test_totals_outlive_versions(start, folder):
    """A model's counters do not go back when a version goes."""
    server = tern(start, folder, "--file_system_poll_wait_seconds=1")
    for _ in range(4):
        assert server.predict("m", GOOD).status == 200
    example_models.write(folder, version=2)
    server.until(lambda: server.metric("tern_version_info", version="2") == 1
                 and server.metric("tern_version_info", version="1") == 0, "version 2 took over")
    assert server.predict("m", GOOD).status == 200
    server.until(lambda: server.metric("tern_calls_total", version="2") == 1, "the call was counted")
    samples, _ = clean(server.get("/metrics").text)
    assert total(samples, "tern_model_requests_total", model="m", method="predict") == 5
    assert total(samples, "tern_model_request_seconds_count", model="m", method="predict") == 5
    assert total(samples, "tern_model_loads_total", model="m", result="ok") == 2
    assert total(samples, "tern_calls_total", version="1") == 0


@pytest.mark.example
def test_answers_without_a_request_count(start, folder):
    server = tern(start, folder)
    answer = server.post("/tensorflow.serving.PredictionService/Predict", b"", headers={"Content-Type": "application/grpc"})
    assert answer.status == 415 and "HTTP/2" in answer.text
    assert server.metric("tern_answers_total", code="INVALID_ARGUMENT") == 1


@pytest.mark.example
def test_failed_loads(start, tmp_path):
    good = example_models.write(tmp_path / "good")
    bad = example_models.write(tmp_path / "bad", body="no such word\n")
    models = tmp_path / "models.config"
    models.write_text("model_config_list {" + "".join(
        f'config {{ name: "{f.name}" base_path: "{f}" model_platform: "tensorflow" }}' for f in (good, bad)) + "}")
    server = start(f"--model_config_file={models}", "--engine=example", "--max_num_load_retries=1",
                   "--load_retry_interval_micros=1000", config_file(tmp_path))
    server.until(lambda: server.metric("tern_models_failed") == 1, "the load had failed for good")
    samples, _ = clean(server.get("/metrics").text)
    assert total(samples, "tern_model_loads_total", model="bad", result="error") == 2
    assert total(samples, "tern_version_state", model="bad", version="1", state="FAILED") == 1
    assert total(samples, "tern_models_ready") == 1
    text = server.get(SERVING).text
    assert f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{bad}/1",status="fail"}} 2\n' in text
    assert f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{good}/1",status="success"}} 1\n' in text
    assert f'load_latency{{model_path="{bad}/1"}}' not in text


@pytest.mark.example
def test_names_are_escaped(start, tmp_path):
    folder = example_models.write(tmp_path / "m")
    name = 'a "quoted" \\ name, größer'
    models = tmp_path / "models.config"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    models.write_text(f'model_config_list {{ config {{ name: "{quoted}" base_path: "{folder}" '
                      'model_platform: "tensorflow" }}', encoding="utf-8")
    server = start(f"--model_config_file={models}", "--engine=example", config_file(tmp_path))
    from urllib.parse import quote
    assert server.predict(quote(name, safe=""), GOOD).status == 200
    samples, _ = clean(server.get("/metrics").text)
    labels = {found["model"] for n, found, _ in samples if n == "tern_model_requests_total"}
    assert {x.replace('\\"', '"').replace("\\\\", "\\") for x in labels} == {name}
    parse_metrics(server.get(SERVING).text)


@pytest.mark.example
def test_a_client_that_does_not_wait_for_its_page(start, folder):
    server = tern(start, folder)
    for _ in range(50):
        with server.connect() as s:
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

    def alone():
        answer = server.get("/metrics")  # 503 while too many are being written
        return answer.status == 200 and b"\ntern_exchanges 1\n" in answer.body

    server.until(alone, "the others were gone")


# ---- TensorFlow Serving's page ----

def serving(start, folder, *more, program="tensorflow_model_server"):
    return start("--model_name=m", f"--model_base_path={folder}", "--engine=example", *more, program=program, wait="listen")


@pytest.mark.example
def test_serving_page(start, folder):
    tern_grpc = pytest.importorskip("tern_grpc")
    import numpy as np
    server = serving(start, folder, config_file(folder.parent))
    assert server.get("/v1/models/m").status == 200
    for _ in range(3):
        assert server.predict("m", GOOD).status == 200
    assert server.predict("m", b"{").status == 400
    assert server.request("PUT", "/v1/models/m").status == 400
    with tern_grpc.Client(server.grpc) as client:
        for _ in range(2):
            client.predict(tern_grpc.predict_request("m", {"x": np.float32([1])}))
        client.metadata("m")
    answer = server.get(SERVING)
    assert answer.status == 200 and answer.headers["content-type"] == "text/plain"
    text = answer.text
    assert "# HELP" not in text
    samples, types = parse_metrics(text)
    assert list(types) == sorted(types)
    one = ":tensorflow:serving:"
    assert f'{one}request_count{{model_name="m",status="OK"}} 6\n' in text
    assert f'{one}request_count{{model_name="m",status="INVALID_ARGUMENT"}} 1\n' in text
    assert f'{one}request_count{{model_name="",status="INVALID_ARGUMENT"}} 1\n' in text
    for api, entry, n in (("", "REST", 1), ("predict", "REST", 3), ("Predict", "GRPC", 2)):
        labels = f'model_name="m",API="{api}",entrypoint="{entry}"'
        assert f"{one}request_latency_count{{{labels}}} {n}\n" in text, labels
        assert f'{one}request_latency_bucket{{{labels},le="10"}} ' in text
        assert f'{one}request_latency_bucket{{{labels},le="1.47476e+09"}} {n}\n' in text
        assert f'{one}request_latency_bucket{{{labels},le="+Inf"}} {n}\n' in text
    assert f'{one}runtime_latency_count{{model_name="m",API="Predict",runtime="TF1"}} 5\n' in text
    assert ":tensorflow:core:graph_runs{} 5\n" in text
    path = f'model_path="{folder}/1"'
    assert f':tensorflow:cc:saved_model:load_attempt_count{{{path},status="success"}} 1\n' in text
    assert re.search(rf":tensorflow:cc:saved_model:load_latency\{{{re.escape(path)}\}} \d+\n", text)


@pytest.mark.example
def test_serving_page_routes(start, folder):
    server = serving(start, folder, config_file(folder.parent))
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = server.request(method, SERVING, body=b"{}" if method in ("POST", "PUT", "PATCH") else None)
        assert answer.status == 200 and b":tensorflow:serving:request_count" in answer.body, method
    answer = server.request("HEAD", SERVING)
    assert answer.status == 200 and answer.body == b""
    answer = server.get(SERVING + "?x=1")
    assert answer.status == 400 and answer.headers["content-type"] == "text/plain"
    assert answer.text == f"Unexpected path: {SERVING}?x=1. Should be {SERVING}"
    coded = SERVING.replace("m", "%6d", 1)
    assert server.get(coded).text == f"Unexpected path: {coded}. Should be {SERVING}"
    for path in (SERVING + "/", SERVING.upper(), "/monitoring"):
        assert server.get(path).status == 404
    assert server.request("GET", SERVING, port=server.grpc).status == 404


@pytest.mark.example
def test_serving_page_at_a_path_of_its_own(start, folder):
    server = serving(start, folder, config_file(folder.parent, 'prometheus_config { enable: true path: "/my/page" }'))
    assert server.get("/my/page").status == 200 and server.get(SERVING).status == 404


@pytest.mark.example
@pytest.mark.parametrize("text", [None, "prometheus_config { enable: false }", "prometheus_config { path: \"/x\" }"])
def test_serving_page_is_off(start, folder, text):
    server = serving(start, folder, *([config_file(folder.parent, text)] if text is not None else []))
    assert server.get(SERVING).status == 404 and server.get("/x").status == 404
    assert server.predict("m", GOOD).status == 200


@pytest.mark.example
@pytest.mark.parametrize("text", ["nonsense", "", "prometheus_config { enable: maybe }", None])
def test_broken_monitoring_file(start, folder, text):
    """The original serves on over gRPC alone; tern says what is wrong and ends."""
    flag = config_file(folder.parent, text) if text is not None else "--monitoring_config_file=/nowhere/m.config"
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", flag,
                   program="tensorflow_model_server", wait=None)
    server.until(lambda: server.request("GET", "/healthz", port=server.grpc).status == 200
                 if listens(server.grpc) else False, "gRPC was there")
    assert not listens(server.rest) and "there is no REST port" in server.log


def listens(port):
    import socket
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.tensorflow
def test_serving_page_with_tensorflow(start, tmp_path):
    folder = make_models("server_models.py", "server")
    name = sorted(p.name for p in folder.iterdir() if (p / "1").exists())[0]
    server = start(f"--model_name={name}", f"--model_base_path={folder / name}", config_file(tmp_path),
                   program="tensorflow_model_server", wait="listen")
    text = server.get(SERVING).text
    assert f'load_attempt_count{{model_path="{folder / name}/1",status="success"}} 1\n' in text
    samples, _ = clean(server.get("/metrics").text)
    info = [found for n, found, _ in samples if n == "tern_version_info"]
    assert info[0]["engine"] == "tensorflow" and re.match(r"2\.\d+\.", info[0]["runtime_version"])


@pytest.mark.example
@pytest.mark.parametrize("manner", ["auto", "serving"])
def test_batches(start, folder, manner):
    """Batches on both pages, and one run of the engine each."""
    import concurrent.futures
    server = tern(start, folder, config_file(folder.parent), f"--batching={manner}", "--num_executors=1", "--inline_run_us=0")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.predict("m", {**GOOD, "signature_name": "hold"}).status, range(64)))
    assert set(answers) == {200}
    server.until(lambda: server.metric("tern_calls_total") == 64, "all calls were counted")
    samples, types = clean(server.get("/metrics").text)
    of = {"model": "m", "version": "1", "signature": "hold"}
    batches = total(samples, "tern_batches_total", **of)
    assert 0 < batches <= 64 and total(samples, "tern_batch_calls_total", **of) == 64
    assert total(samples, "tern_batch_rows_total", **of) == 64 * 3
    assert total(samples, "tern_batch_size_calls_count", **of) == batches
    assert total(samples, "tern_batch_size_calls_sum", **of) == 64
    assert types["tern_batch_size_calls"] == "histogram" and total(samples, "tern_batch_queue_length", **of) == 0
    text = server.get(SERVING).text
    samples, types = parse_metrics(text)
    assert list(types) == sorted(types)
    assert total(samples, ":tensorflow:core:graph_runs") == batches
    assert total(samples, ":tensorflow:serving:batching_session:processed_batch_size_count") == batches
    assert total(samples, ":tensorflow:serving:batching_session:wrapped_run_count") == batches


@pytest.mark.example
def test_examples_on_the_serving_page(start, tmp_path):
    """Classify and Regress by their own names; MultiInference counts examples, and is no request of the original's."""
    pytest.importorskip("tern_grpc")
    import test_examples as examples
    folder = example_models.write(tmp_path / "m", body=examples.MODEL)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", config_file(tmp_path))
    import tern_grpc
    one = examples.example(a=b"x")
    with tern_grpc.Client(server.grpc) as client:
        for n in (1, 3):
            client.prediction.MultiInference(examples.multi([one] * n, ("regress", "regress"), ("", "classify")), timeout=60)
        for name, signature in (("Classify", "serving_default"), ("Regress", "regress"), ("Regress", "regress")):
            request = examples.fill(examples.REQUESTS[name](), [one])
            request.model_spec.name, request.model_spec.signature_name = "m", signature
            getattr(client.prediction, name)(request, timeout=60)
    assert server.post("/v1/models/m:classify", {"examples": [{"a": 1}]}).status == 200
    text = server.get(SERVING).text
    parse_metrics(text)
    one = ":tensorflow:serving:"
    assert f'{one}request_count{{model_name="m",status="OK"}} 4\n' in text
    for api, entry, n in (("Classify", "GRPC", 1), ("Regress", "GRPC", 2), ("classify", "REST", 1)):
        assert f'{one}request_latency_count{{model_name="m",API="{api}",entrypoint="{entry}"}} {n}\n' in text, api
    for api, n in (("Classify", 2), ("Regress", 2), ("MultiInference", 2)):
        assert f'{one}runtime_latency_count{{model_name="m",API="{api}",runtime="TF1"}} {n}\n' in text, api
    assert f'{one}request_example_count_total{{model="m"}} 4\n' in text
    assert f'{one}request_example_counts_bucket{{model="m",le="1"}} 1\n' in text
    assert f'{one}request_example_counts_bucket{{model="m",le="16384"}} 2\n' in text
    assert f'{one}request_example_counts_sum{{model="m"}} 4\n' in text
