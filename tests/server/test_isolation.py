"""Loads give way to calls: their thread has less priority, and none of those that run models inherits it."""
import os
import pathlib
import shutil

import numpy as np
import pytest

import example_models
from tern_server import make_models

tern_grpc = pytest.importorskip("tern_grpc")
tf = tern_grpc.tf
from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402


def threads(server):
    """[(name, nice, policy)] of all threads of the server: proc(5), fields 19 and 41."""
    found = []
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            name, _, rest = (task / "stat").read_text(encoding="utf-8").partition("(")[2].rpartition(")")
        except OSError:
            continue
        found.append((name, int(rest.split()[16]), int(rest.split()[38])))
    return found


def usual_nice(server):
    return next(nice for name, nice, _ in threads(server) if name == "tern")


def write_warmup(version, inputs, signature="serving_default"):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(tern_grpc.predict_request("m", inputs, signature=signature))
    (version / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


@pytest.mark.example
def test_loading_thread(start, tmp_path):
    """The first version has nobody to give way to; the next one gives way to the calls of the first."""
    folder = example_models.write(tmp_path / "m")
    server = start("--engine=example", "--model_name=m", f"--model_base_path={folder}", "--file_system_poll_wait_seconds=1")
    usual = usual_nice(server)
    version = example_models.write(tmp_path / "next", 2) / "2"
    write_warmup(version, {"x": np.array([1.0], "f4")}, "slow")
    version.rename(folder / "2")

    def loading():
        return [nice for name, nice, _ in threads(server) if name == "tern-loading"]

    server.until(loading, "a load is under way")
    assert loading() in ([usual + 10], [19], [])
    server.until(lambda: server.get("/v1/models/m/versions/2").json()["model_version_status"][0]["state"] == "AVAILABLE",
                 "version 2 is available")
    server.until(lambda: {thread[1:] for thread in threads(server)} == {(usual, os.SCHED_OTHER)}, "no thread is left with less")


@pytest.mark.tensorflow
def test_threads_of_tensorflow(start, tmp_path):
    """What TensorFlow makes during loads and warm-ups keeps the priority of the others."""
    folders = make_models("engine_models.py", "engine")
    for model, inputs in (("large", {"x": np.ones((64, 2048), "f4")}),
                          ("text", {"text": np.array([[b"the sea"]], dtype=object)})):
        version = tmp_path / model / "1"
        shutil.copytree(folders / model / "1", version)
        write_warmup(version, inputs)
        server = start(f"--model_name={model}", f"--model_base_path={version.parent}")
        found = threads(server)
        with tern_grpc.Client(server.grpc) as client:
            for _ in range(3):
                client.predict(tern_grpc.predict_request(model, inputs))
        found += threads(server)
        usual = usual_nice(server)
        assert [t for t in found if t[1:] != (usual, os.SCHED_OTHER)] == []
        assert len(found) > 10
