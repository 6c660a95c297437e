"""The OpenVINO engine through the running server: TensorFlow's answers, or a load that is refused by an operation's name.

Floats agree to 1e-5 of the largest value, integers exactly. What is refused, --engine=auto gives to TensorFlow.
"""
import fcntl
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from tern_server import ROOT, has_engine, make_models, run_together

pytestmark = [pytest.mark.tensorflow,
              pytest.mark.skipif(not has_engine("openvino"), reason="this build has no OpenVINO engine")]
tern_grpc = pytest.importorskip("tern_grpc")
grpc = tern_grpc.grpc
HTML = ROOT / "models" / "html" / "saved_model"
SERVED = ("dense", "convolution", "sequence", "tf1", "integers", "control")
REFUSED = ("Assert", "AssignAddVariableOp", "Tanh", "StringLength", "Identity", "double", "uint32", "Mul", "AddV2", "FloorDiv",
           "Sum", "GatherV2", "GatherNd", "MatrixDeterminant")


@pytest.fixture(scope="module")
def folders():
    return make_models("openvino_models.py", "openvino")


def config_file(folder, entries):
    path = folder / "models.config"
    text = "".join(f'config {{ name: "{n}" base_path: "{p}" model_platform: "tensorflow" }}\n' for n, p in entries.items())
    path.write_text(f"model_config_list {{\n{text}}}\n", encoding="ascii")
    return f"--model_config_file={path}"


@pytest.fixture(scope="module")
def server(start_shared, folders, tmp_path_factory):
    entries = {n: folders / n for n in SERVED} | {"html": HTML}
    return start_shared(config_file(tmp_path_factory.mktemp("config"), entries), "--engine=openvino")


@pytest.fixture(scope="module")
def client(server):
    with tern_grpc.Client(server.grpc) as c:
        yield c


def random(shape, dtype="f4", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def whole(shape, top, dtype="i4", seed=1):
    return np.random.default_rng(seed).integers(0, top, size=shape).astype(dtype)


def ask(client, model, inputs, signature="serving_default", **more):
    return tern_grpc.outputs_of(client.predict(tern_grpc.predict_request(model, inputs, signature=signature, **more)))


def assert_close(got, want):
    assert got.keys() == want.keys()
    for alias, value in want.items():
        mine = got[alias]
        assert (mine.dtype, mine.shape) == (value.dtype, value.shape), alias
        if mine.dtype.kind != "f":
            tern_grpc.assert_same(mine, value)
        elif mine.size:
            assert np.max(np.abs(mine - value)) <= 1e-5 * max(1.0, float(np.max(np.abs(value)))), alias


BIG = np.array([2**31 - 1, -2**31, 2**24 + 1, -7, 0, 2**30 + 3], "i4")
CASES = [
    ("dense", "serving_default", {"x": random((9, 8))}),
    ("dense", "serve", {"x": random((1, 8))}),
    ("dense", "serving_default", {"x": random((0, 8))}),
    ("convolution", "serving_default", {"image": random((2, 20, 31, 3))}),
    ("sequence", "serving_default", {"ids": whole((3, 17), 50, "i8")}),
    ("tf1", "serving_default", {"x": random((5, 4))}),
    ("tf1", "scaled", {"x": random((5, 4)), "by": np.float32(-2.5)}),
    ("tf1", "same", {"x": random((5, 4))}),
    ("tf1", "unused", {"x": random((5, 4)), "by": np.float32(1)}),
    ("control", "serving_default", {"x": random((3, 16)), "steps": np.int32(0)}),
    ("control", "serving_default", {"x": random((70, 16)), "steps": np.int32(5)}),
    ("integers", "serving_default", {"a": BIG, "b": BIG[::-1].copy()}),
    *[("integers", name, {"x": np.array([0, 1, 5, 100], dtype)}) for name, dtype in (
        ("int8", "i1"), ("uint8", "u1"), ("int16", "i2"), ("bool", "?"), ("float16", "f2"))],
    ("integers", "int32", {"x": BIG}),
    ("integers", "int64", {"x": BIG.astype("i8")}),
]


@pytest.mark.parametrize("model,signature,inputs", CASES, ids=[f"{i}-{m}-{s}" for i, (m, s, _) in enumerate(CASES)])
def test_same_as_tensorflow(client, folders, model, signature, inputs):
    want = tern_grpc.reference(folders / model / "1", signature)(inputs)
    assert_close(ask(client, model, inputs, signature), want)


@pytest.mark.parametrize("model", ["idioms", "idioms_tf1"])
def test_idioms(start, folders, model):
    """What is rewritten before OpenVINO reads it; lengths below, at and above the reach of a convolution."""
    server = start(f"--model_name={model}", f"--model_base_path={folders / model}", "--engine=openvino")
    reference = tern_grpc.reference(folders / model / "1")
    with tern_grpc.Client(server.grpc) as c:
        for batch, length in ((1, 1), (1, 2), (2, 3), (3, 40)):
            inputs = {"x": random((batch, length, 16))}
            if model == "idioms":
                inputs["parent"] = whole((batch, length), 2 * length) - length
            assert_close(ask(c, model, inputs), reference(inputs))


def html_inputs(client, units, seed=1):
    """A page of so many blocks, of the widths that the model takes."""
    inputs = {}
    for alias, info in client.metadata("html")[1]["serving_default"].inputs.items():
        shape = [dim.size for dim in info.tensor_shape.dim]
        shape = tuple(1 if at == 0 else units if size < 0 else size for at, size in enumerate(shape))
        inputs[alias] = np.ones(shape, "f4") if alias == "node_mask" else whole(shape, 50, seed=seed)
    return inputs


def test_html_model(client):
    """Sizes that change from call to call, back and forth."""
    reference = tern_grpc.reference(HTML / "1")
    for units in (3, 250, 1, 250, 64):
        inputs = html_inputs(client, units, seed=units)
        assert_close(ask(client, "html", inputs), reference(inputs))


def test_metadata_is_tensorflows(client, start, folders, tmp_path):
    other = start(config_file(tmp_path, {n: folders / n for n in SERVED}))
    with tern_grpc.Client(other.grpc) as c:
        for name in SERVED:
            assert client.metadata(name)[1] == c.metadata(name)[1]


def test_subsets_of_outputs(client, folders):
    inputs = {"x": random((5, 4))}
    want = tern_grpc.reference(folders / "tf1" / "1")(inputs)
    assert_close(ask(client, "tf1", inputs, output_filter=["again"]), {"again": want["again"]})


def test_together(client, folders):
    """Many at once on one model, each of another size; every answer is its own."""
    reference = tern_grpc.reference(folders / "control" / "1")
    inputs = [{"x": random((1 + 37 * i, 16), seed=i), "steps": np.int32(i % 4)} for i in range(8)]
    wants = [reference(x) for x in inputs]

    def ten_times(i):
        for _ in range(10):
            assert_close(ask(client, "control", inputs[i]), wants[i])

    run_together([lambda i=i: ten_times(i) for i in range(8)])


@pytest.mark.parametrize("model,inputs,words", [
    ("dense", {"x": random((2, 7))}, "input \"x\" has shape [2,7], the model takes [-1,8]"),
    ("dense", {"x": random((2, 8), "f8")}, "input \"x\" is double, the model takes float"),
    ("sequence", {"ids": np.array([[1, 2**31]])}, "input \"ids\" has a value of 33554432 or more"),
], ids=["shape", "dtype", "int64"])
def test_what_does_not_fit(client, model, inputs, words):
    with pytest.raises(grpc.RpcError) as failed:
        ask(client, model, inputs)
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in failed.value.details()


def test_initialization_signature(client):
    """As the TensorFlow engine has it: there, and nothing to run."""
    with pytest.raises(grpc.RpcError) as failed:
        ask(client, "dense", {}, "__saved_model_init_op")
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_refused(start, folders, tmp_path):
    """Each by a sentence with the operation's name, and the others are served."""
    entries = {f"refused_{n}": folders / f"refused_{n}" for n in REFUSED} | {"dense": folders / "dense"}
    server = start(config_file(tmp_path, entries), "--engine=openvino", "--max_num_load_retries=0",
                   "--file_system_poll_wait_seconds=1", wait="listen")

    def version(model):
        return server.get(f"/v1/models/{model}").json().get("model_version_status", [{"state": "NONE"}])[0]

    server.until(lambda: version("dense")["state"] == "AVAILABLE", "dense")
    for name in REFUSED:
        server.until(lambda n=name: version(f"refused_{n}")["state"] == "END", f"refused_{name} ended")
        status = version(f"refused_{name}")["status"]
        assert status["error_code"] == "UNIMPLEMENTED", status
        assert status["error_message"].startswith("OpenVINO does not serve this model: "), status
        word = {"StringLength": "strings", "uint32": "dtype"}.get(name, name)  # these two are told at the input
        assert re.search(rf"\b{word}\b", status["error_message"]), status


def engines_of(server):
    """{model: the engine that serves it}, by the metrics."""
    text = server.get("/metrics").text
    return {m: e for m, e in re.findall(r'^tern_version_info\{model="(\w+)",version="1",engine="(\w+)"', text, re.M)}


def ticks_of_low_threads(server):
    """Processor time of the threads with a lower priority than the main thread's."""
    task = pathlib.Path(f"/proc/{server.process.pid}/task")
    fields = {p.parent.name: p.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
              for p in task.glob("*/stat")}
    usual = int(fields[str(server.process.pid)][16])
    return sum(int(f[11]) + int(f[12]) for f in fields.values() if int(f[16]) > usual)


def test_threads(server, client):
    """Loads have a lower priority than calls; the threads that calls run on were not made by one."""
    before = ticks_of_low_threads(server)
    for _ in range(10):
        ask(client, "html", html_inputs(client, 2000))
    assert ticks_of_low_threads(server) == before


def test_auto(start, folders, tmp_path):
    """Every model is served; TensorFlow where OpenVINO refuses, and the log says why each was chosen."""
    names = ("dense", "sequence", "refused_StringLength", "refused_AssignAddVariableOp", "refused_Identity")
    server = start(config_file(tmp_path, {n: folders / n for n in names}), "--engine=auto")
    served = engines_of(server)
    assert served.keys() == set(names)
    assert {served[n] for n in names if n.startswith("refused")} == {"tensorflow"}
    for name in names:
        assert f"{name} version 1: {served[name]} of 2 engines" in server.log
    assert "openvino: not kept: OpenVINO does not serve this model: " in server.log
    for operation in ("AssignAddVariableOp", "Identity"):
        assert re.search(rf"openvino: not kept: OpenVINO does not serve this model: .*\b{operation}\b", server.log), server.log
    with tern_grpc.Client(server.grpc) as c:
        for name, inputs in (("dense", {"x": random((4, 8))}), ("sequence", {"ids": whole((2, 9), 50, "i8")})):
            assert_close(ask(c, name, inputs), tern_grpc.reference(folders / name / "1")(inputs))
        texts = np.array([b"a", b"bcd"], object)
        assert ask(c, "refused_StringLength", {"x": texts})["y"].tolist() == [1, 3]


def test_auto_without_time(start, folders):
    """Nothing is tried, so what defines right is kept."""
    server = start("--model_name=dense", f"--model_base_path={folders / 'dense'}", "--engine=auto", "--auto_try_ms=0")
    assert engines_of(server) == {"dense": "tensorflow"}
    assert "tensorflow: no request to try, kept" in server.log


def test_auto_by_warmup_records(start, folders, tmp_path):
    """The recorded requests are what is tried: one whose ids are out of range for made inputs, too."""
    from tensorflow_serving.apis import prediction_log_pb2
    import tensorflow as tf
    shutil.copytree(folders / "sequence", tmp_path / "sequence")
    (tmp_path / "sequence" / "1" / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "sequence/1/assets.extra/tf_serving_warmup_requests")) as records:
        for rows in (1, 3, 2):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(tern_grpc.predict_request("sequence", {"ids": whole((rows, 7), 50, "i8")}))
            records.write(log.SerializeToString())
    server = start("--model_name=sequence", f"--model_base_path={tmp_path / 'sequence'}", "--engine=auto")
    assert re.search(r"sequence version 1: \w+ of 2 engines, after 3 requests on each", server.log)


@pytest.mark.parametrize("flag,wanted,serves", [
    ("tensorflow", {"engine": "openvino"}, "openvino"),
    ("openvino", {"engine": "tensorflow", "other": 1}, "tensorflow"),
    ("openvino", {"handler": None}, "openvino"),
])
def test_engine_of_a_version(start, folders, tmp_path, flag, wanted, serves):
    """assets.extra/tern.json says which engine its version wants."""
    shutil.copytree(folders / "dense", tmp_path / "dense")
    (tmp_path / "dense" / "1" / "assets.extra").mkdir()
    (tmp_path / "dense" / "1" / "assets.extra" / "tern.json").write_text(json.dumps(wanted), encoding="ascii")
    server = start("--model_name=dense", f"--model_base_path={tmp_path / 'dense'}", f"--engine={flag}")
    assert engines_of(server) == {"dense": serves}
    assert re.findall(r"opened (\w+)", server.log) == [serves]  # none only to look whether the folder is complete


def test_folders_of_killed_servers(start, folders, tmp_path):
    """Folders of loads that nobody is at any more go with the next start; one in use, a young one and a link stay."""
    for name in ("left", "used", "young"):
        (tmp_path / f"tern-openvino-{name}").mkdir()
    (tmp_path / "tern-openvino-left" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "tern-openvino-left" / "variables").symlink_to("/nonexistent")
    (tmp_path / "tern-openvino-link").symlink_to(tmp_path)
    for name in ("left", "used"):
        os.utime(tmp_path / f"tern-openvino-{name}", (1e9, 1e9))
    used = os.open(tmp_path / "tern-openvino-used", os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_EX)
    start("--model_name=dense", f"--model_base_path={folders / 'dense'}", "--engine=openvino", env={"TMPDIR": str(tmp_path)})
    os.close(used)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tern-openvino-link", "tern-openvino-used", "tern-openvino-young"]
