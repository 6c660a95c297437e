"""Answers equal TensorFlow's own, bit for bit, over REST and gRPC, for the same inputs in the same build of TensorFlow."""
import base64
import json

import numpy as np
import pytest

from tern_server import run_together


pytestmark = pytest.mark.tensorflow
tern_grpc = pytest.importorskip("tern_grpc")
NUMBERS = ("float32", "float64", "half", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
           "uint64", "bool", "complex64", "complex128")
REST_NUMBERS = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool")
SHAPES = ((), (0,), (1,), (7,), (2, 3), (2, 0, 4), (3, 1, 2, 2))
NAMES = ("half_plus_two", "half_plus_two_tf2", "types", "pages", "dense")


@pytest.fixture(scope="module")
def server(start_shared, models, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "models.config"
    entries = "".join(
        f'  config {{ name: "{n}" base_path: "{models / n}" model_platform: "tensorflow"'
        + (' model_version_policy { all {} } version_labels { key: "stable" value: 1 }' if n == "half_plus_two" else "")
        + " }\n" for n in NAMES)
    config.write_text(f"model_config_list {{\n{entries}}}\n", encoding="ascii")
    return start_shared(f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true")


@pytest.fixture(scope="module")
def client(server):
    with tern_grpc.Client(server.grpc) as c:
        yield c


def numpy_dtype(name):
    return np.dtype(tern_grpc.tf.as_dtype(name).as_numpy_dtype)


def random_array(name, shape, seed=3):
    """Random bits of the dtype: NaNs, infinities and denormals come along."""
    dtype = numpy_dtype(name)
    rng = np.random.default_rng([seed, len(name), *shape])
    count = int(np.prod(shape))
    if name == "bool":
        return rng.integers(0, 2, count).astype(bool).reshape(shape)
    return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype=dtype).reshape(shape).copy()


@pytest.mark.parametrize("content", [True, False], ids=["content", "fields"])
@pytest.mark.parametrize("name", NUMBERS)
def test_grpc_dtype(client, name, content):
    for shape in SHAPES:
        x = random_array(name, shape)
        if not content and not np.array_equal(x, x):
            # A signalling NaN may be made quiet by Python's own float on its way into a typed field.
            x = np.where(x == x, x, numpy_dtype(name).type(1))
        answer = client.predict(tern_grpc.predict_request("types", {"x": x}, signature=name, content=content))
        tern_grpc.assert_same(tern_grpc.outputs_of(answer)["y"], x)
        assert answer.model_spec.signature_name == name and answer.model_spec.version.value == 1


def test_grpc_strings(client):
    texts = np.array([b"", b"\x00", b"plain", bytes(range(256)), "größe".encode(), b"x" * 100000], dtype=object)
    answer = client.predict(tern_grpc.predict_request("types", {"x": texts.reshape(2, 3)}, signature="string"))
    tern_grpc.assert_same(tern_grpc.outputs_of(answer)["y"], texts.reshape(2, 3))


def rest_numbers(name, shape):
    x = random_array(name, shape, 5)
    if x.dtype.kind in "f":
        x = np.where(np.isfinite(x), x, x.dtype.type(0.1))
    return x


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize("name", REST_NUMBERS)
def test_rest_dtype(server, name, form):
    """Numbers are read as the nearest value of the dtype and written so that they read back the same."""
    for shape in SHAPES:
        if form == "instances" and (not shape or shape[0] == 0):
            continue
        x = rest_numbers(name, shape)
        answer = server.predict("types", {"signature_name": name, form: x.tolist()})
        assert answer.status == 200, answer
        got = answer.json()["predictions" if form == "instances" else "outputs"]
        tern_grpc.assert_same(np.array(got, dtype=x.dtype).reshape(shape), x)


def test_rest_decimal_is_nearest(server):
    """Long decimal text, as Python writes and reads it."""
    rng = np.random.default_rng(17)
    texts = [repr(v) for v in np.frombuffer(rng.bytes(8 * 3000), dtype="f8").tolist() if np.isfinite(v)]
    texts += [f"{rng.integers(10**18)}{rng.integers(10**18)}e{e}" for e in rng.integers(-340, 270, 500)]
    texts += ["5e-324", "2.4703282292062328e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "-0.0", "0e308"]
    body = '{"signature_name": "float64", "inputs": [' + ",".join(texts) + "]}"
    answer = server.predict("types", body)
    assert answer.status == 200, answer
    tern_grpc.assert_same(np.array(answer.json()["outputs"]), np.array([float(t) for t in texts]))
    wide = [t for t in texts if abs(float(t)) < 3e38]
    answer = server.predict("types", '{"signature_name": "float32", "inputs": [' + ",".join(wide) + "]}")
    # One rounding, from the text to float: numpy does it from text too.
    tern_grpc.assert_same(np.array(answer.json()["outputs"], dtype="f4"), np.array(wide).astype("f4"))


def test_rest_not_finite(server):
    answer = server.predict("types", '{"signature_name": "float32", "inputs": [NaN, Infinity, -Infinity]}')
    assert [str(v) for v in answer.json()["outputs"]] == ["nan", "inf", "-inf"]


def test_rest_strings(server, models):
    texts = ["", "a\"b\\c/\b\f\n\r\t", "größe 漢字 😀", "x" * 70000]
    answer = server.predict("types", json.dumps({"instances": texts}))
    assert answer.status == 200, answer
    want = tern_grpc.reference(models / "types" / "1")({"text": np.array([t.encode() for t in texts], dtype=object)})
    assert [p["text"].encode() for p in answer.json()["predictions"]] == want["text"].tolist()
    assert [p["length"] for p in answer.json()["predictions"]] == want["length"].tolist()
    raw = bytes(range(0x20, 0x7f)) * 3
    answer = server.predict("types", {"signature_name": "string", "inputs": {"b64": base64.b64encode(raw).decode()}})
    assert answer.json()["outputs"].encode() == raw


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
def test_half_plus_two(server, client, models, model):
    versions = [1, 2] if model == "half_plus_two" else [1]
    x = np.random.default_rng(1).normal(size=257).astype("f4")
    for version in versions:
        want = tern_grpc.reference(models / model / str(version))({"x": x})["y"]
        got = server.predict(model, {"instances": x.tolist()}, version).json()["predictions"]
        tern_grpc.assert_same(np.array(got, dtype="f4"), want)
        got = server.predict(model, {"instances": [{"x": v} for v in x.tolist()]}, version).json()["predictions"]
        tern_grpc.assert_same(np.array(got, dtype="f4"), want)
        got = server.predict(model, {"inputs": {"x": x.tolist()}}, version).json()["outputs"]
        tern_grpc.assert_same(np.array(got, dtype="f4"), want)
        answer = client.predict(tern_grpc.predict_request(model, {"x": x}, version=version))
        tern_grpc.assert_same(tern_grpc.outputs_of(answer)["y"], want)
        assert answer.model_spec.version.value == version
    newest = client.predict(tern_grpc.predict_request(model, {"x": x}))
    assert newest.model_spec.version.value == versions[-1]


def test_version_label(server, client):
    x = np.array([2.0], dtype="f4")
    answer = client.predict(tern_grpc.predict_request("half_plus_two", {"x": x}, label="stable"))
    assert answer.model_spec.version.value == 1 and tern_grpc.outputs_of(answer)["y"].tolist() == [3.0]
    answer = server.post("/v1/models/half_plus_two/labels/stable:predict", {"instances": [2.0]})
    assert answer.json() == {"predictions": [3.0]}


def page_inputs(pages, blocks, seed=23):
    rng = np.random.default_rng(seed)
    return {"tags": rng.integers(0, 64, (pages, blocks, 4)).astype("i4"),
            "counts": rng.normal(size=(pages, blocks, 3)).astype("f4"),
            "mask": np.ones((pages, blocks), dtype="f4")}


@pytest.mark.parametrize("pages,blocks", [(1, 1), (1, 300), (3, 40)])
def test_keras_multi_input(server, client, models, pages, blocks):
    inputs = page_inputs(pages, blocks)
    want = tern_grpc.reference(models / "pages" / "1")(inputs)
    answer = client.predict(tern_grpc.predict_request("pages", inputs))
    got = tern_grpc.outputs_of(answer)
    assert got.keys() == want.keys()
    for alias in want:
        tern_grpc.assert_same(got[alias], want[alias])
    columns = server.predict("pages", {"inputs": {k: v.tolist() for k, v in inputs.items()}}).json()["outputs"]
    rows = server.predict("pages", {"instances": [
        {k: v[i].tolist() for k, v in inputs.items()} for i in range(pages)]}).json()["predictions"]
    for alias in want:
        tern_grpc.assert_same(np.array(columns[alias], dtype="f4"), want[alias])
        tern_grpc.assert_same(np.array([row[alias] for row in rows], dtype="f4"), want[alias])


def test_output_filter(client):
    inputs = page_inputs(1, 5)
    answer = client.predict(tern_grpc.predict_request("pages", inputs, output_filter=["kind"]))
    assert list(answer.outputs) == ["kind"]


def test_large(server, client, models):
    """Megabytes in, through the paths for large bodies; typed fields and tensor_content, JSON with and without chunks."""
    x = np.random.default_rng(29).normal(size=(600, 512)).astype("f4")
    want = tern_grpc.reference(models / "dense" / "1")({"x": x})["y"]
    for content in (True, False):
        answer = client.predict(tern_grpc.predict_request("dense", {"x": x}, content=content))
        tern_grpc.assert_same(tern_grpc.outputs_of(answer)["y"], want)
    body = json.dumps({"instances": x.tolist()}).encode()
    answer = server.predict("dense", body)
    assert answer.status == 200, answer
    tern_grpc.assert_same(np.array(answer.json()["predictions"], dtype="f4"), want)
    pieces = (body[i:i + 77777] for i in range(0, len(body), 77777))
    answer = server.request("POST", "/v1/models/dense:predict", body=pieces)  # without a length: in chunks
    tern_grpc.assert_same(np.array(answer.json()["predictions"], dtype="f4"), want)


def test_status_and_metadata(server, client):
    states = client.status("half_plus_two").model_version_status
    assert [(s.version, s.state, s.status.error_code) for s in states] == [(2, 30, 0), (1, 30, 0)]
    rest = server.get("/v1/models/half_plus_two").json()["model_version_status"]
    assert [(s["version"], s["state"], s["status"]["error_code"]) for s in rest] == [
        ("2", "AVAILABLE", "OK"), ("1", "AVAILABLE", "OK")]
    answer, signatures = client.metadata("pages")
    assert answer.model_spec.version.value == 1
    inputs = signatures["serving_default"].inputs
    assert {k: (v.dtype, [d.size for d in v.tensor_shape.dim]) for k, v in inputs.items()} == {
        "tags": (3, [-1, -1, 4]), "counts": (1, [-1, -1, 3]), "mask": (1, [-1, -1])}
    found = server.get("/v1/models/pages/metadata").json()
    assert found["model_spec"]["name"] == "pages"
    told = found["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["tags"]
    assert told["dtype"] == "DT_INT32" and [d["size"] for d in told["tensor_shape"]["dim"]] == ["-1", "-1", "4"]


def test_tensorflow_words(server, client):
    """Errors of the graph come back in TensorFlow's own words, and the next call is answered."""
    grpc = tern_grpc.grpc
    with pytest.raises(grpc.RpcError) as error:
        client.predict(tern_grpc.predict_request("dense", {"x": np.ones((2, 3), "f4")}))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT and "Matrix size-incompatible" in error.value.details()
    with pytest.raises(grpc.RpcError) as error:
        client.predict(tern_grpc.predict_request("dense", {"x": np.ones((2, 512), "f8")}))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT and "float" in error.value.details()
    answer = server.predict("dense", {"instances": [[1.0, 2.0]]})
    assert answer.status == 400 and "Matrix size-incompatible" in answer.json()["error"]
    assert server.predict("half_plus_two", {"instances": [1.0]}).json() == {"predictions": [3.5]}


def test_many_at_once(server, models):
    """The same answers when many clients ask different things at once."""
    want = {}
    run = tern_grpc.reference(models / "pages" / "1")
    for i in range(6):
        want[i] = run(page_inputs(1, 20 + 30 * i, i))

    def rest(i):
        inputs = page_inputs(1, 20 + 30 * i, i)
        for _ in range(10):
            got = server.predict("pages", {"inputs": {k: v.tolist() for k, v in inputs.items()}}).json()["outputs"]
            tern_grpc.assert_same(np.array(got["kind"], dtype="f4"), want[i]["kind"])

    def grpc(i):
        request = tern_grpc.predict_request("pages", page_inputs(1, 20 + 30 * i, i))
        with tern_grpc.Client(server.grpc) as c:
            for _ in range(20):
                tern_grpc.assert_same(tern_grpc.outputs_of(c.predict(request))["main"], want[i]["main"])

    calls = [lambda i=i: grpc(i) for i in range(6)]
    run_together(calls + [lambda i=i: rest(i) for i in range(6)])
