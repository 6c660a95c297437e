"""Warm-up records: run before a version is served, as often as asked for; what is wrong with them fails the load."""
import shutil
import struct

import numpy as np
import pytest

import example_models
from tern_server import make_models

tern_grpc = pytest.importorskip("tern_grpc")
tf = tern_grpc.tf
from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402

FILE = "assets.extra/tf_serving_warmup_requests"
IN_FORMAT = "Please verify your warmup data is in TFRecord format."


def log_of(request):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log


def ask(x=1.0, signature=None, **more):
    return log_of(tern_grpc.predict_request("any name", {"x": np.array([x], "f4")}, signature=signature, **more))


def write_records(version, logs):
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return path


@pytest.fixture
def half(tmp_path):
    """A model of the example engine that is not served yet. -> its version folder"""
    base = tmp_path / "model"
    return example_models.write(base) / "1"


def serve(start, version, *flags, wait="ready"):
    return start("--engine=example", "--model_name=m", f"--model_base_path={version.parent}", *flags, wait=wait)


def state(server):
    (only,) = server.get("/v1/models/m").json()["model_version_status"]
    return only["state"], only["status"]


def failure(start, version, *flags):
    """-> (code, message) of the load that fails."""
    server = serve(start, version, "--max_num_load_retries=0", *flags, wait="listen")
    server.until(lambda: server.get("/v1/models/m").status == 200 and state(server)[0] == "END", "the load failed")
    assert server.predict("m", {"instances": [1.0]}).status == 404
    return state(server)[1]["error_code"], state(server)[1]["error_message"]


@pytest.mark.example
def test_runs_before_it_is_served(start, half):
    write_records(half, [ask(), ask(signature="slow"), ask(2.0, output_filter=["y"])])
    server = serve(start, half, wait="listen")
    server.until(lambda: server.get("/v1/models/m").status == 200 and state(server)[0] == "LOADING", "it was loading")
    assert server.predict("m", {"instances": [1.0]}).status == 404
    server.wait()
    assert server.predict("m", {"instances": [1.0]}).json() == {"predictions": [2.5]}
    assert "m version 1: warmed up with 3 records" in server.log
    assert server.metric("tern_requests_total", model="m") <= 1


@pytest.mark.example
def test_off(start, half):
    write_records(half, [ask(signature="fails")])
    server = serve(start, half, "--enable_model_warmup=false")
    assert "warmed up" not in server.log


@pytest.mark.example
@pytest.mark.parametrize("records", [0, 1, 1000])
def test_good_files(start, half, records):
    write_records(half, [ask()] * records)
    assert f"warmed up with {records} records" in serve(start, half).log


@pytest.mark.example
def test_empty_log_is_passed_over(start, half):
    write_records(half, [b"", prediction_log_pb2.PredictionLog(), ask()])
    assert "warmed up with 3 records" in serve(start, half).log


@pytest.mark.example
def test_too_many(start, half):
    path = write_records(half, [ask()] * 1002)
    assert failure(start, half) == (
        "INVALID_ARGUMENT", f"Number of warmup records exceeds the maximum (1000) at {path}")


def no_log(kind):
    log = prediction_log_pb2.PredictionLog()
    getattr(log, kind).SetInParent()
    return log


BAD_RECORDS = [
    ([no_log("session_run_log")], "UNIMPLEMENTED", "Unsupported log_type for warmup: 5"),
    ([no_log("predict_streamed_log")], "UNIMPLEMENTED", "Unsupported log_type for warmup: 7"),
    ([ask(), ask(signature="fails")], "FAILED_PRECONDITION", '"broken" on purpose: {x} größer'),
    ([ask(signature="nothing")], "FAILED_PRECONDITION", 'Serving signature key "nothing" not found.'),
    ([log_of(tern_grpc.predict_request("m", {"z": np.array([1.0], "f4")}))], "INVALID_ARGUMENT",
     "Signature input alias: x"),
    ([no_log("predict_log")], "INVALID_ARGUMENT", "input size does not match signature: 0!=1 len({}) != len({x})."),
    ([ask(output_filter=["nothing"])], "INVALID_ARGUMENT", "output tensor alias not found in signature: nothing"),
    ([b"\x32\xff"], "INVALID_ARGUMENT", "Failed to parse warmup record: "),
    ([b"\x32\x03\x0a\x01\x0a"], "INVALID_ARGUMENT", "Failed to parse warmup record: "),
]


@pytest.mark.example
@pytest.mark.parametrize("records,code,text", BAD_RECORDS, ids=range(len(BAD_RECORDS)))
def test_bad_records(start, half, records, code, text):
    write_records(half, records)
    got = failure(start, half)
    assert got[0] == code and text in got[1], got


def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def head(length):
    packed = struct.pack("<Q", length)
    return packed + masked(packed)


BAD_FILES = {
    "text": (b"this is text and no TFRecord file", "corrupted record at 0 (Is this even a TFRecord file?)"),
    "truncated": (head(1000) + b"short", "truncated record at 0' failed with Read less bytes than requested"),
    "huge": (head(2**62) + b"short", None),
    "crc": (head(1) + b"a" + b"1234", "corrupted record at 12"),
}


@pytest.mark.example
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(start, half, name):
    data, text = BAD_FILES[name]
    path = half / FILE
    path.parent.mkdir()
    path.write_bytes(data)
    code, message = failure(start, half)
    if text is None:
        assert code == "RESOURCE_EXHAUSTED" and "too large" in message
    else:
        assert (code, message) == ("DATA_LOSS", f"{text}. {IN_FORMAT}")


@pytest.mark.example
def test_folder_in_its_place(start, half):
    path = half / FILE
    path.mkdir(parents=True)
    assert failure(start, half) == ("FAILED_PRECONDITION", f"{path}; Is a directory")


@pytest.mark.example
def test_method_name_check(start, tmp_path):
    version = example_models.write(tmp_path / "m", body=(
        "signature serving_default my/method\ninput x float [-1]\noutput y float [-1] affine 1 0 x\n")) / "1"
    write_records(version, [ask()])
    serve(start, version)
    code, message = failure(start, version, "--enable_signature_method_name_check=true")
    assert code == "INTERNAL" and message.endswith("Was: my/method")


@pytest.mark.tensorflow
def test_times(start, tmp_path):
    """Each record as often as the flag says: the model counts."""
    folder = make_models("engine_models.py", "engine") / "counter"
    for times in (0, 1, 7):
        version = tmp_path / str(times) / "1"
        version.parent.mkdir()
        shutil.copytree(folder / "1", version)
        write_records(version, [log_of(tern_grpc.predict_request("m", {"by": np.int64(1)}))] * 3)
        server = start("--model_name=m", f"--model_base_path={version.parent}",
                       f"--num_request_iterations_for_warmup={times}")
        with tern_grpc.Client(server.grpc) as client:
            got = tern_grpc.outputs_of(client.predict(tern_grpc.predict_request("m", {"by": np.int64(0)})))
        assert got["count"] == 3 * max(times, 1)


def example_logs(feature="x", signature="serving_default"):
    """Classify, Regress and MultiInference of one tf.Example."""
    example = tf.train.Example(features=tf.train.Features(feature={
        feature: tf.train.Feature(float_list=tf.train.FloatList(value=[3.0]))}))
    logs = [prediction_log_pb2.PredictionLog() for _ in range(3)]
    requests = [logs[0].classify_log.request, logs[1].regress_log.request, logs[2].multi_inference_log.request]
    requests[0].model_spec.signature_name = "classify"
    requests[1].model_spec.signature_name = signature
    for method, name in (("classify", "classify"), ("regress", signature)):
        task = requests[2].tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "m", name
    for request in requests:
        request.input.example_list.examples.append(example)
    return logs


@pytest.mark.tensorflow
def test_examples(start, tmp_path):
    """The other three kinds of requests; each of them fails the load when it is wrong."""
    folder = make_models("engine_models.py", "engine") / "examples" / "1"
    for i, (logs, code, text) in enumerate([
            (example_logs(), None, None),
            (example_logs("z")[:1], "INVALID_ARGUMENT", "Feature: x (data type: float) is required"),
            (example_logs(signature="classify")[1:2], "INVALID_ARGUMENT", "Expected one output Tensor."),
            (example_logs(signature="nothing")[2:], "INVALID_ARGUMENT", "nothing"),
            ([b"\x12\x03\x0a\x01\x0a"], "INVALID_ARGUMENT", "Failed to parse warmup record: ")]):
        version = tmp_path / str(i) / "1"
        shutil.copytree(folder, version)
        write_records(version, logs)
        if code is None:
            server = start("--model_name=m", f"--model_base_path={version.parent}")
            assert "warmed up with 3 records" in server.log
            continue
        server = start("--model_name=m", f"--model_base_path={version.parent}", "--max_num_load_retries=0", wait="listen")
        server.until(lambda s=server: s.get("/v1/models/m").status == 200 and state(s)[0] == "END", "the load failed")
        assert state(server)[1]["error_code"] == code and text in state(server)[1]["error_message"], state(server)


def test_warm_up_is_counted(start, half, tmp_path):
    write_records(half, [ask()])
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    server = serve(start, half, f"--monitoring_config_file={config}")
    text = server.get("/monitoring/prometheus/metrics").text
    assert f':tensorflow:serving:model_warmup_latency_count{{model_path="{half}",status="OK"}} 1\n' in text
    assert ":tensorflow:core:graph_runs{} 1\n" in text
