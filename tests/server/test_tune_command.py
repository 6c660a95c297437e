"""`tern tune`: what it tries, compares, chooses and writes, and that the server finds it. No time is asserted."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import example_models
from tern_server import BUILD, has_engine, make_models


def tune(folder, *flags, expect=0, work=None):
    argv = [str(BUILD / "tern"), "tune", str(folder), "--seconds=0.05", "--rounds=1", *flags]
    run = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240, check=False, text=True,
                         env={**os.environ, **({"TMPDIR": str(work)} if work else {})})
    assert run.returncode == expect, (run.returncode, run.stdout, run.stderr)
    return run


def extra(folder, version=1):
    path = pathlib.Path(folder) / str(version) / "assets.extra" / "tern.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@pytest.fixture
def model(tmp_path):
    example_models.write(tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.example
def test_writes_what_it_chose(model, tmp_path):
    """Beside the latest version; other members stay, and nothing else is left behind."""
    example_models.write(model, version=12)
    (model / "12" / "assets.extra").mkdir()
    (model / "12" / "assets.extra" / "tern.json").write_text('{"mine": [1.50, {"a": null}], "threads": 3}', encoding="ascii")
    work = tmp_path / "work"
    work.mkdir()
    run = tune(model, "--engines=example", work=work)
    assert extra(model, 12) == {"engine": "example", "mine": [1.5, {"a": None}]}
    assert extra(model, 1) is None
    assert sorted(p.name for p in (model / "12" / "assets.extra").iterdir()) == ["tern.json"]
    assert not list(work.iterdir())
    assert re.search(r"^\* example +\d.* what is right$", run.stdout, re.M), run.stdout
    assert f"Written: {model}/12/assets.extra/tern.json" in run.stdout
    assert not run.stderr  # no bar where there is no terminal


@pytest.mark.example
def test_dry_run_and_json(model):
    found = json.loads(tune(model / "1", "--engines=example,absent", "--dry-run", "--json").stdout)
    assert extra(model) is None and found["written"] is None
    assert (found["version"], found["objective"], found["connections"], found["requests"]) == (f"{model}/1", "latency", 1, 1)
    first, absent = found["settings"]
    assert first["chosen"] and first["equal"] and first["error"] is None and first["engine"] == "example"
    assert first["requests"] > 0 and 0 < first["p50_ms"] <= first["p99_ms"] and first["memory_bytes"] > 0
    assert not absent["chosen"] and 'there is no engine "absent"' in absent["error"]


@pytest.mark.example
@pytest.mark.parametrize("form", ["json", "message", "records"])
def test_requests(model, tmp_path, form):
    """Given ones, and recorded ones, whatever model they name."""
    tern_grpc = pytest.importorskip("tern_grpc")
    flags = []
    message = tern_grpc.predict_request("another", {"a": np.float32([1, 2]), "b": np.int32([7])}, signature="pair", version=9)
    if form == "json":
        (tmp_path / "data").write_text('{"signature_name": "pair", "inputs": {"a": [1, 2], "b": [7]}}', encoding="ascii")
        flags = [f"--data={tmp_path / 'data'}"]
    elif form == "message":
        (tmp_path / "data").write_bytes(message.SerializeToString())
        flags = [f"--data={tmp_path / 'data'}"]
    else:
        prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        tf = pytest.importorskip("tensorflow")
        (model / "1" / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(str(model / "1/assets.extra/tf_serving_warmup_requests")) as records:
            for _ in range(3):
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(message)
                log.predict_log.request.model_spec.Clear()
                log.predict_log.request.model_spec.signature_name = "pair"
                records.write(log.SerializeToString())
    found = json.loads(tune(model, "--engines=example", "--dry-run", "--json", *flags).stdout)
    assert found["source"] == ("the version's warm-up records" if form == "records" else "--data")
    assert found["requests"] == (3 if form == "records" else 1)
    assert found["settings"][0]["chosen"]


@pytest.mark.example
def test_none_within_the_budget(model):
    run = tune(model, "--engines=example", "--budget=p99<0.000001ms", expect=1)
    assert extra(model) is None
    assert "over the budget" in run.stdout and "None is chosen" in run.stdout
    found = json.loads(tune(model, "--engines=example", "--budget=p50<1000s", "--objective=throughput", "--json").stdout)
    assert found["settings"][0]["chosen"] and found["connections"] == 8 and extra(model) == {"engine": "example"}


@pytest.mark.example
@pytest.mark.parametrize("flags,words", [
    (["--budget=p98<1ms"], "--budget=p98<1ms: it is like p99<20ms"),
    (["--objective=speed"], "--objective=speed: it is latency or throughput"),
    (["--rounds=26"], "at most 25 --rounds"),
    (["--seconds=0"], "--seconds above 0"),
    (["--engines="], "--engines=: names of engines"),
    (["--colour"], "there is no flag --colour. See tern tune --help"),
    (["--data=/nonexistent"], "--data=/nonexistent: No such file or directory"),
    (["--engines=absent"], 'absent: there is no engine "absent"'),
    (["--signature=none"], "has no signature none"),
    (["--signature=fails"], "gRPC status 9"),
])
def test_what_cannot_be(model, flags, words):
    run = tune(model, "--engines=example", *flags, expect=2)
    assert words in run.stderr and not run.stdout and extra(model) is None


@pytest.mark.example
def test_broken_settings_stay(model):
    (model / "1" / "assets.extra").mkdir()
    (model / "1" / "assets.extra" / "tern.json").write_text("{not JSON", encoding="ascii")
    assert "tern.json" in tune(model, "--engines=example", expect=2).stderr
    assert (model / "1" / "assets.extra" / "tern.json").read_text(encoding="ascii") == "{not JSON"
    assert "no such folder" in tune(model / "absent", expect=2).stderr


@pytest.mark.example
def test_stopped(model, tmp_path):
    """SIGTERM: no server and no file are left."""
    work = tmp_path / "work"
    work.mkdir()
    argv = [str(BUILD / "tern"), "tune", str(model), "--engines=example", "--seconds=1", "--rounds=25"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(work)}) as run:
        until = time.monotonic() + 60
        while not list(work.glob("*/0/ports")) and time.monotonic() < until:
            time.sleep(0.02)
        children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="ascii").split()
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    assert children and not any(pathlib.Path(f"/proc/{child}").exists() for child in children)
    assert not list(work.iterdir()) and extra(model) is None


@pytest.mark.tensorflow
@pytest.mark.skipif(not has_engine("openvino"), reason="this build has no OpenVINO engine")
def test_engines(start, tmp_path):
    """Every setting is tried for real; the server serves the version as it was written."""
    shutil.copytree(make_models("openvino_models.py", "openvino") / "dense", tmp_path / "dense")
    found = json.loads(tune(tmp_path / "dense", "--json", "--objective=throughput").stdout)
    by_name = {s["name"]: s for s in found["settings"]}
    assert {"tensorflow", "tensorflow, without oneDNN", "tensorflow, XLA", "tensorflow, 1 thread", "tensorflow, batching",
            "openvino", "openvino, 1 thread", "openvino, batching"} <= by_name.keys()
    for setting in found["settings"]:
        assert setting["error"] is None and setting["equal"] and setting["max_difference"] < 1e-4, setting
    chosen, = (s for s in found["settings"] if s["chosen"])
    want = {"engine": chosen["engine"]} | ({"threads": chosen["threads"]} if chosen["threads"] else {})
    assert extra(tmp_path / "dense") == want
    server = start("--model_name=dense", f"--model_base_path={tmp_path / 'dense'}")
    assert f'tern_version_info{{model="dense",version="1",engine="{chosen["engine"]}"' in server.get("/metrics").text


@pytest.mark.tensorflow
@pytest.mark.skipif(not has_engine("openvino"), reason="this build has no OpenVINO engine")
def test_refused_by_an_engine(tmp_path):
    shutil.copytree(make_models("openvino_models.py", "openvino") / "refused_AssignAddVariableOp", tmp_path / "counter")
    run = tune(tmp_path / "counter", "--dry-run")
    assert re.search(r"^  openvino +OpenVINO does not serve this model: .*\bAssignAddVariableOp\b", run.stdout, re.M), run.stdout
    assert re.search(r"^\* tensorflow", run.stdout, re.M) or "None is chosen" in run.stdout
