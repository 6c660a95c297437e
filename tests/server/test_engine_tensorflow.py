"""The TensorFlow engine through the running server: what test_answers.py leaves out.

Tables, state, several functions, text in Keras, the HTML model: bit for bit TensorFlow's own answers. Errors in its words.
Inputs live as long as TensorFlow keeps them. Unloading gives memory back. The log is the server's.
"""
import base64
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tern_server import BUILD, ROOT, make_models, run_together

pytestmark = pytest.mark.tensorflow
tern_grpc = pytest.importorskip("tern_grpc")
tf, grpc = tern_grpc.tf, tern_grpc.grpc
HTML = ROOT / "models" / "html" / "saved_model"
NAMES = ("table", "functions", "state", "text", "fails")
WORDS = [["sea", "tern", "nothing"], ["größe", "鳥", "a b"], ["", "sea ", "x" * 200]]


@pytest.fixture(scope="module")
def folders():
    return make_models("engine_models.py", "engine")


@pytest.fixture(scope="module")
def server(start_shared, folders, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "models.config"
    entries = "".join(f'config {{ name: "{n}" base_path: "{folders / n}" model_platform: "tensorflow" }}\n' for n in NAMES)
    config.write_text(f"model_config_list {{\n{entries}}}\n", encoding="ascii")
    return start_shared(f"--model_config_file={config}")


@pytest.fixture(scope="module")
def client(server):
    with tern_grpc.Client(server.grpc) as c:
        yield c


def texts(rows):
    return np.array([[w.encode() for w in row] for row in rows], dtype=object)


def over_grpc(client, model, inputs, signature="serving_default"):
    return tern_grpc.outputs_of(client.predict(tern_grpc.predict_request(model, inputs, signature=signature)))


def listed(array):
    array = np.asarray(array)
    return np.vectorize(lambda b: b.decode(), otypes=[object])(array).tolist() if array.dtype.kind == "O" else array.tolist()


def over_rest(server, model, inputs, want, signature="serving_default"):
    """{alias: array}, in the dtypes of `want`."""
    body = {"signature_name": signature, "inputs": {k: listed(v) for k, v in inputs.items()}}
    answer = server.predict(model, body)
    assert answer.status == 200, answer
    got = answer.json()["outputs"]
    got = got if isinstance(got, dict) and got.keys() == want.keys() else {next(iter(want)): got}

    def string(value):
        return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()

    def array(value, like):
        if like.dtype.kind != "O":
            return np.array(value, dtype=like.dtype).reshape(like.shape)
        return np.vectorize(string, otypes=[object])(np.array(value, dtype=object))

    return {k: array(got[k], want[k]) for k in want}


def assert_all_same(got, want):
    assert got.keys() == want.keys()
    for alias in want:
        tern_grpc.assert_same(got[alias], want[alias])


def random(shape, dtype, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


CASES = [
    ("table", "serving_default", {"words": texts(WORDS)}),
    ("table", "to_words", {"ids": np.array([0, 3, 2, 5, 99, -1, 2**62])}),
    ("functions", "serving_default", {"x": random((5, 33), "f4"), "scale": np.float32(3.3)}),
    ("functions", "inverse", {"x": random((3, 3), "f8")}),
    ("functions", "text", {"x": texts([["größe", "", "Ünïcode"]])[0], "times": np.array([1, -2, 3], "i4")}),
    ("text", "serving_default", {"text": texts([["The SEA is calm!"], ["größe of a wild, wild sea"], [""], ["the " * 90]])}),
]


@pytest.mark.parametrize("model,signature,inputs", CASES, ids=[f"{m}-{s}" for m, s, _ in CASES])
def test_same_as_tensorflow(server, client, folders, model, signature, inputs):
    want = tern_grpc.reference(folders / model / "1", signature)(inputs)
    assert_all_same(over_grpc(client, model, inputs, signature), want)
    assert_all_same(over_rest(server, model, inputs, want, signature), want)


def test_complex_signature(client, folders):
    """Over gRPC only: JSON has no complex numbers."""
    x = random(64, "f4").astype("c8") + 1j * random(64, "f4", 2)
    inputs = {"x": x.astype("c8")}
    want = tern_grpc.reference(folders / "functions" / "1", "spectrum")(inputs)
    assert_all_same(over_grpc(client, "functions", inputs, "spectrum"), want)


REFERENCE = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads({intra})
tf.config.threading.set_inter_op_parallelism_threads({inter})
import tern_grpc
inputs = dict(np.load({inputs!r}))
np.savez({outputs!r}, **tern_grpc.reference({folder!r})(inputs))
"""


@pytest.mark.parametrize("intra,inter", [(1, 1), (2, 3)])
def test_threads(start, folders, models, tmp_path, intra, inter):
    """The same thread settings on both sides, on products large enough to be split."""
    threads = (f"--tensorflow_intra_op_parallelism={intra}", f"--tensorflow_inter_op_parallelism={inter}")
    for model in (folders / "large", models / "pages"):
        inputs = {"x": random((300, 2048), "f4")} if model.name == "large" else {
            "tags": np.arange(4 * 700).reshape(1, 700, 4).astype("i4") % 64, "counts": random((1, 700, 3), "f4"),
            "mask": np.ones((1, 700), "f4")}
        np.savez(tmp_path / "in.npz", **inputs)
        code = REFERENCE.format(tests=str(pathlib.Path(__file__).parent), intra=intra, inter=inter, folder=str(model / "1"),
                                inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"))
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=100)
        want = dict(np.load(tmp_path / "out.npz"))
        server = start(f"--model_name={model.name}", f"--model_base_path={model}", *threads)
        with tern_grpc.Client(server.grpc) as c:
            assert_all_same(over_grpc(c, model.name, inputs), want)


def in_session(folder, inputs, signature="serving_default"):
    """The signature's outputs by a session, as the engine runs it. By a function other operations are fused, and here and
    there the last bit of a float differs."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        s = v1.saved_model.load(session, ["serve"], str(folder)).signature_def[signature]
        return session.run({k: t.name for k, t in s.outputs.items()}, {s.inputs[k].name: v for k, v in inputs.items()})


def html_inputs(function, blocks, seed):
    """Of the signature's dtypes and shapes: one page, `blocks` where a dimension is unknown."""
    rng = np.random.default_rng(seed)
    out = {}
    for alias, what in sorted(function.structured_input_signature[1].items()):
        shape = [1 if i == 0 else blocks if d is None else d for i, d in enumerate(what.shape)]
        out[alias] = (rng.integers(0, 5, shape).astype(what.dtype.as_numpy_dtype) if what.dtype.is_integer
                      else rng.random(shape).astype(what.dtype.as_numpy_dtype))
    return out


def test_html_model(start):
    if not (HTML / "1" / "saved_model.pb").exists() or not (BUILD / "handlers" / "html.so").exists():
        pytest.skip("the HTML model or its handler is not built")
    server = start("--model_name=html", f"--model_base_path={HTML}")
    function = tern_grpc.reference(HTML / "1").keep.signatures["serving_default"]
    with tern_grpc.Client(server.grpc) as c:
        for blocks in (1, 37, 400):
            inputs = html_inputs(function, blocks, blocks)
            want = in_session(HTML / "1", inputs)
            assert_all_same(over_grpc(c, "html", inputs), want)
            assert_all_same(over_rest(server, "html", inputs, want), want)


GOLDEN = [
    ("multi", "mixed", {"v": random((3, 2), "f4"), "i": np.array([1, -2, 2**31 - 1], "i4"),
                        "s": texts([["a", "größe", ""]])[0], "f": np.array([True, False, True])}),
    ("keras", "serving_default", {"features": random((6, 2), "f4")}),
    ("no_batch", "fixed", {"x": random((2, 2), "f4")}),
    ("no_batch", "any", {"x": np.arange(24).reshape(2, 3, 4)}),
]


@pytest.mark.parametrize("model,signature,inputs", GOLDEN, ids=[f"{m}-{s}" for m, s, _ in GOLDEN])
def test_recorded_models(start, shared, model, signature, inputs):
    """The models of the recorded answers; their script writes them once, with the replay of the answers."""
    folder = BUILD / "golden-models" / model
    script = shared / "golden" / "tensorflow_serving" / "models.py"
    if not script.exists():
        pytest.skip(f"no {script} (TERN_SHARED)")
    if not folder.exists():
        subprocess.run([sys.executable, str(script), str(folder.parent)], check=True, capture_output=True, timeout=300)
    (version,) = [p for p in folder.iterdir() if p.name.isdigit()]
    server = start(f"--model_name={model}", f"--model_base_path={folder}")
    want = tern_grpc.reference(version, signature)(inputs)
    with tern_grpc.Client(server.grpc) as c:
        assert_all_same(over_grpc(c, model, inputs, signature), want)
    assert_all_same(over_rest(server, model, inputs, want, signature), want)


# ---- errors ----

FAILS = [
    ("assert", {"x": np.array([1.0, -1.0], "f4")}),
    ("gather", {"i": np.array([1, 7], "i4")}),
    ("divide", {"i": np.array([3, 0], "i4")}),
    ("number", {"s": texts([["1.5", "größe"]])[0]}),
    ("base64", {"s": texts([["not base64!"]])[0]}),
    ("reshape", {"x": np.ones(6, "f4"), "i": np.array([4, 4], "i4")}),
    ("file", {"s": texts([["/nowhere/größe"]])[0]}),
]


def tensorflow_error(folder, signature, inputs):
    """-> (code, the status' message) of the same run in a session."""
    with pytest.raises(tf.errors.OpError) as error:
        in_session(folder, inputs, signature)
    # Python puts before and behind it where its own code made the operation.
    message = error.value.message
    message = re.sub(r"^Graph execution error:\n\n(Detected at node .*?\nNode: [^\n]*\n)?", "", message, flags=re.S)
    return error.value.error_code, message.split("\n\nOriginal stack trace")[0]


def words(text):
    """Without the numbered names of functions, which Python's session leaves out."""
    return re.sub(r"\{\{function_node [^}]*\}\}", "", text).strip()


@pytest.mark.parametrize("signature,inputs", FAILS, ids=[s for s, _ in FAILS])
def test_errors_in_its_words(server, client, folders, signature, inputs):
    code, message = tensorflow_error(folders / "fails" / "1", signature, inputs)
    with pytest.raises(grpc.RpcError) as error:
        over_grpc(client, "fails", inputs, signature)
    assert error.value.code().value[0] == code
    assert words(error.value.details()) == words(message)
    answer = server.predict("fails", {"signature_name": signature, "inputs": {k: listed(v) for k, v in inputs.items()}})
    assert answer.status == {3: 400, 5: 404, 9: 412}[code]
    assert words(answer.json()["error"]) == words(message)
    assert server.predict("fails", {"signature_name": "gather", "inputs": [2]}).json() == {"outputs": [30.0]}


# ---- memory ----

def test_kept_inputs(server, client):
    """A variable keeps the input's memory after the call; other calls of the same size may not write into it."""
    for seed, size in enumerate((1, 3, 1000, 16384, 300000)):
        x = random(size, "f4", seed)
        assert over_grpc(client, "state", {"x": x}, "keep")["size"] == size
        for other in range(8):
            over_grpc(client, "state", {"x": np.full(size, other, "f4")})
            server.predict("state", {"instances": [float(other)] * min(size, 20000)})
        tern_grpc.assert_same(over_grpc(client, "state", {}, "recall")["x"], x)


def test_kept_while_answered(server):
    """Reads of the variable leave while others assign it: each answer is one whole value."""
    def keep(value):
        with tern_grpc.Client(server.grpc) as c:
            for _ in range(30):
                over_grpc(c, "state", {"x": np.full(50000, value, "f4")}, "keep")

    def recall():
        with tern_grpc.Client(server.grpc) as c:
            for _ in range(60):
                x = over_grpc(c, "state", {}, "recall")["x"]
                assert x.size in (50000, size) and (x == x[0]).all()

    with tern_grpc.Client(server.grpc) as c:
        size = over_grpc(c, "state", {}, "recall")["x"].size
        over_grpc(c, "state", {"x": np.full(50000, 1, "f4")}, "keep")
    run_together([lambda: keep(1.0), lambda: keep(2.0), recall, recall])


def test_identity_twice(server, client):
    """Two outputs that are the input's own memory, several sizes, REST and gRPC."""
    for size in (0, 1, 5, 200000):
        x = random(size, "f4", size)
        got = over_grpc(client, "state", {"x": x})
        assert_all_same(got, {"first": x, "second": x})
        assert_all_same(over_rest(server, "state", {"x": x}, {"first": x, "second": x}), {"first": x, "second": x})


def resident(server):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_unload_gives_memory_back(start, folders, tmp_path):
    """33 versions of 16 MB, three at a time: the process does not grow."""
    base, config = tmp_path / "large", tmp_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "large" base_path: "{base}" model_platform: "tensorflow"\n'
                      "model_version_policy { all {} } } }\n", encoding="ascii")

    def add(versions):
        for v in versions:
            shutil.copytree(folders / "large" / "1", tmp_path / "part")
            (tmp_path / "part").rename(base / str(v))

    def available(server):
        states = server.get("/v1/models/large").json()["model_version_status"]
        return sorted(int(s["version"]) for s in states if s["state"] == "AVAILABLE"), {s["state"] for s in states}

    base.mkdir()
    add((1, 2, 3))
    server = start(f"--model_config_file={config}", "--file_system_poll_wait_seconds=1")
    x, sizes = {"instances": [[1.0] * 2048]}, []
    for first in range(1, 34, 3):
        versions = [first, first + 1, first + 2]
        if first > 1:
            add(versions)
            for v in range(first - 3, first):
                shutil.rmtree(base / str(v))
        server.until(lambda v=versions: available(server)[0] == v and not available(server)[1] & {"UNLOADING", "LOADING"},
                     f"versions {versions} alone are served")
        for v in versions:
            assert server.predict("large", x, v).status == 200
        time.sleep(0.1)
        sizes.append(resident(server))
    print("RSS kB after each three loads:", sizes)
    assert sizes[-1] < 1.2 * sizes[0], sizes


def test_quiet(start, models):
    """The log is the server's own, unless TensorFlow's is asked for."""
    args = ("--model_name=half_plus_two", f"--model_base_path={models / 'half_plus_two'}")
    env = pytest.MonkeyPatch()
    env.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    try:
        server = start(*args)
    finally:
        env.undo()
    foreign = [line for line in server.log.splitlines() if not line[:4].isdigit()]
    assert not foreign, foreign
    loud = start(*args, env={"TF_CPP_MIN_LOG_LEVEL": "0"})
    assert "SavedModel" in loud.log
