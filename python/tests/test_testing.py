"""tern.testing: a script of each form, with a function in the model's place."""
import json
import os
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
from tern.testing import Endpoint, ModelError  # noqa: E402


def half(inputs):
    return {"y": inputs["x"] * np.float32(0.5) + np.float32(2)}


@pytest.fixture
def write(tmp_path):
    """write(source) -> a code folder with that inference.py."""
    def write(source, **modules):
        for name, text in {"inference": source, **modules}.items():
            path = tmp_path / "code" / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source if name == "inference" else text)
        return tmp_path / "code"
    return write


@pytest.fixture
def run(write):
    """run(source, **options) -> an open Endpoint."""
    made = []

    def run(source, **options):
        made.append(Endpoint(write(source), **{"predict": half, "input_name": "x", **options}))
        return made[-1]
    yield run
    for endpoint in made:
        endpoint.close()


PAIR = """
import json
def input_handler(data, context):
    if context.request_content_type == "text/csv":
        return json.dumps({"instances": [float(item) for item in data.read().decode().split(",")]})
    return data.read()

def output_handler(response, context):
    if response.status_code != 200:
        return "model said " + str(response.status_code), "text/plain"
    return response.content, context.accept_header
"""


def test_pair(run):
    endpoint = run(PAIR)
    answer = endpoint.invoke("1.0,2.0", content_type="text/csv", accept="application/x-own")
    assert (answer.status, answer.content_type, answer.json()) == (200, "application/x-own", {"predictions": [2.5, 3.0]})
    assert endpoint.invoke({"inputs": {"x": [[1.0], [2.0]]}}).json() == {"outputs": [[2.5], [3.0]]}
    assert endpoint.invoke({"instances": [{"x": 1.0}]}).json() == {"predictions": [2.5]}


def test_what_the_model_refuses(run):
    answer = run(PAIR).invoke("no json")
    assert answer.status == 400 and answer.json()["title"] == "400 Bad Request"
    assert "JSON Parse error" in answer.json()["description"]


def test_what_the_model_refuses_before_2_20(run):
    answer = run(PAIR, generation="2.19").invoke("no json")
    assert (answer.status, answer.text) == (200, "model said 400")


def test_a_function_that_fails_and_one_that_refuses(run, write):
    def bad(inputs):
        raise ZeroDivisionError("by nothing")

    def busy(inputs):
        raise ModelError("come back later", 429)
    assert run(PAIR, predict=bad, generation="2.19").invoke({"instances": [1]}).text == "model said 500"
    Endpoint._open.close()
    with Endpoint(write(PAIR), predict=busy) as endpoint:
        assert endpoint.invoke({"instances": [1]}).json()["title"] == "429 Too Many Requests"
    with Endpoint(write(PAIR)) as endpoint:
        assert "no model" in endpoint.invoke({"instances": [1]}).json()["description"]


def test_several_outputs_and_strings(run):
    endpoint = run(PAIR, predict=lambda inputs: {"a": inputs["x"], "b": np.array([b"t", b"\xff"], object)})
    assert endpoint.invoke({"instances": [{"x": 1.0}, {"x": 2.0}]}).json() == {
        "predictions": [{"a": 1.0, "b": "t"}, {"a": 2.0, "b": {"b64": "/w=="}}]}
    assert endpoint.invoke({"inputs": {"x": [1.0]}}).json() == {"outputs": {"a": [1.0], "b": ["t", {"b64": "/w=="}]}}


def test_handler_that_posts(run):
    pytest.importorskip("requests")
    endpoint = run("""
import requests
def handler(data, context):
    response = requests.post(context.rest_uri, data=data.read())
    return response.content, response.headers["Content-Type"]
""")
    assert endpoint.invoke({"instances": [1.0, 4.0]}).json() == {"predictions": [2.5, 4.0]}
    assert "JSON Parse error" in endpoint.invoke("x").json()["error"]


ARRAYS = """
import numpy as np
def input_handler(data, context):
    return {"x": np.frombuffer(data.read(), np.float32)}

def output_handler(response, context):
    return response["y"].tobytes(), "application/octet-stream"
"""


@pytest.mark.parametrize("count", [0, 1, 100, 3_000_000])
def test_pair_of_arrays_without_json(run, count):
    given = np.arange(count, dtype=np.float32)
    answer = run(ARRAYS).invoke(given.tobytes())
    assert answer.status == 200
    assert np.array_equal(np.frombuffer(answer.body, np.float32), given * np.float32(0.5) + np.float32(2))


def test_context_predict(run):
    seen = []

    def spy(inputs):
        seen.append({name: (array.dtype.name, array.tolist()) for name, array in inputs.items()})
        return {"y": inputs["x"], "z": np.array([b"s"], object)}
    endpoint = run("""
import json
def handler(data, context):
    found = context.predict({"x": [1.5, 2.5], "n": 3, "s": ["a", b"b"]}, outputs=["z"] if data.read() else None)
    return json.dumps({name: str(array.tolist()) for name, array in found.items()}), "application/json"
""", predict=spy)
    assert endpoint.invoke().json() == {"y": "[1.5, 2.5]", "z": "[b's']"}
    assert endpoint.invoke("only z").json() == {"z": "[b's']"}
    assert seen[0] == {"x": ("float32", [1.5, 2.5]), "n": ("int32", 3), "s": ("object", [b"a", b"b"])}


def test_context_predict_that_is_refused(run):
    def refuse(inputs):
        raise ModelError("not these", 400)
    answer = run("def handler(data, context):\n    return context.predict({'x': 1})", predict=refuse).invoke()
    assert answer.status == 500 and answer.json() == {"error": "not these"}
    assert type(answer.exception).__name__ == "PredictError" and answer.exception.code == 400


def test_response_headers(run):
    answer = run("""
def handler(data, context):
    return "body", "text/plain", {"X-Amzn-SageMaker-Custom-Attributes": "a=b", "x-more": "1"}
""").invoke()
    assert (answer.text, answer.headers["x-amzn-sagemaker-custom-attributes"], answer.headers["X-More"]) == ("body", "a=b", "1")


def test_streamed_answer(run):
    endpoint = run("""
def handler(data, context):
    def pieces():
        yield "one"
        yield b"two"
        if data.read():
            raise ValueError("enough")
    return pieces(), "text/plain", {"X-A": "b"}
""")
    answer = endpoint.invoke()
    assert (answer.body, answer.pieces, answer.content_type, answer.headers["x-a"]) == (b"onetwo", [b"one", b"two"], "text/plain", "b")
    assert answer.exception is None
    broken = endpoint.invoke("x")
    assert broken.body == b"onetwo" and "enough" in str(broken.exception)


RAISES = "def handler(data, context):\n    raise ValueError('wrong: ' + data.read().decode())"


def test_what_a_script_raises(run, capfd):
    endpoint = run(RAISES)
    answer = endpoint.invoke("input")
    assert (answer.status, answer.json()) == (500, {"error": "wrong: input"})
    assert isinstance(answer.exception, ValueError) and "Traceback" in capfd.readouterr().err
    with pytest.raises(ValueError, match="wrong: input"):
        endpoint.invoke("input", reraise=True)


@pytest.mark.parametrize("accept, kind, body", [
    (None, "application/json", '{"title": "Sorry", "description": "no <b>"}'), ("*/*", "application/json", '{"title": "Sorry", "description": "no <b>"}'),
    ("text/csv", "application/json", ""),
    ("text/xml", "text/xml", '<?xml version="1.0" encoding="UTF-8"?><error><title>Sorry</title><description>no &lt;b&gt;</description></error>'),
])
def test_errors_of_falcon(run, accept, kind, body):
    pytest.importorskip("falcon")
    answer = run("import falcon\ndef handler(data, context):\n    raise falcon.HTTPConflict(title='Sorry', description='no <b>', headers={'X-A': 'b'})"
                 ).invoke(accept=accept)
    assert (answer.status, answer.content_type, answer.text) == (409, kind, body)
    assert answer.headers["x-a"] == "b"


def test_the_context(run):
    endpoint = run("""
import json
def handler(data, context):
    return json.dumps([context._fields, [str(value) for value in context[:5]], context[6:]]), "application/json"
""")
    fields, first, rest = endpoint.invoke("12345", "a/b", "c/d", "tfs-model-version=7,tfs-method=classify,own=1").json()
    assert len(fields) == 11 and fields[-1] == "timeout"
    assert first[:3] == ["None", "7", "classify"] and first[3].endswith("/v1/models/model/versions/7:classify")
    assert rest == ["tfs-model-version=7,tfs-method=classify,own=1", "a/b", "c/d", 5, 60]
    for wrong, word in (("tfs-model-version=x", "version"), ("tfs-method=fly", "method"), ("tfs-model-name=-", "name")):
        answer = endpoint.invoke(custom_attributes=wrong)
        assert answer.status == 400 and "invalid tfs-" in answer.json()["error"] and word in answer.json()["error"]


def test_several_models_have_no_channel(run):
    source = "def handler(data, context):\n    return repr((context.model_name, context.channel, context.rest_uri[-18:])), 'a/b'"
    endpoint = run(source, several=True, model_name="one")
    for attributes in (None, "tfs-model-name=two"):
        assert endpoint.invoke(custom_attributes=attributes).text == "('one', None, 'models/one:predict')"


def test_code_goes_as_it_came(write, monkeypatch):
    monkeypatch.delenv("OWN", raising=False)
    code = write("import beside, inside, os\nWHO = beside.WHO\ndef handler(data, context):\n    return WHO + inside.WHO + os.environ['OWN'], 'a/b'",
                 beside="WHO = 'first'", lib__inside="WHO = ' and lib '")
    before = (list(sys.path), dict(os.environ))
    with Endpoint(code, environment={"OWN": "set"}) as endpoint:
        assert endpoint.invoke().text == "first and lib set"
        endpoint.script.WHO = "changed"
        assert endpoint.invoke().text == "changed and lib set"
        with pytest.raises(RuntimeError, match="still open"):
            Endpoint(code)
    assert (list(sys.path), dict(os.environ)) == before and not {"beside", "inside", "inference"} & set(sys.modules)
    with pytest.raises(RuntimeError, match="closed"):
        endpoint.invoke()
    (code / "beside.py").write_text("WHO = 'another'  # of another length")
    with Endpoint(code / "inference.py", environment={"OWN": "set"}) as endpoint:
        assert endpoint.invoke().text == "another and lib set"


@pytest.mark.parametrize("source, error", [
    ("raise RuntimeError('at import')", RuntimeError), ("def input_handler(data, context): pass", NotImplementedError),
    ("def handler(", SyntaxError), ("import a_module_that_is_nowhere", ImportError), ("import sys; sys.exit(3)", SystemExit)])
def test_scripts_that_cannot_be_loaded(write, source, error):
    with pytest.raises(error):
        Endpoint(write(source))
    with Endpoint(write("def handler(data, context):\n    return '', 'a/b'")) as endpoint:  # the failed one has left nothing
        assert endpoint.invoke().status == 200


def test_wrong_use(write, tmp_path):
    code = write(PAIR)
    with pytest.raises(FileNotFoundError):
        Endpoint(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="one of predict="):
        Endpoint(code, predict=half, server="http://localhost:1")
    with pytest.raises(ValueError, match="generation"):
        Endpoint(code, generation="3")
    with Endpoint(code, server="http://localhost:9") as endpoint:
        assert endpoint.invoke({"instances": [1]}).status == 500


def test_stand_ins_are_there(write):
    pytest.importorskip("google.protobuf")
    code = write("""
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
def handler(data, context):
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    return request.SerializeToString().hex(), "text/plain"
""")
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, "-c", "import hidden\nhidden.hide('tensorflow', 'tensorflow_serving')\nimport sys\n"
                           "from tern.testing import Endpoint\nprint(Endpoint(sys.argv[1]).invoke().text)", str(code)], text=True, check=True,
                          env={**os.environ, "PYTHONPATH": f"{here}:{os.path.dirname(here)}"}, stdout=subprocess.PIPE)
    assert done.stdout == "12130a0178120e08011204120208012a040000803f\n"


def test_pytest_fixture(write, tmp_path):
    write(PAIR)
    (tmp_path / "test_it.py").write_text(
        "def test_one(tern_endpoint):\n"
        "    endpoint = tern_endpoint('code', predict=lambda inputs: inputs['inputs'])\n"
        "    assert endpoint.invoke({'instances': [1.0]}).json() == {'predictions': [1.0]}\n"
        "def test_two(tern_endpoint):\n"
        "    test_one(tern_endpoint)\n"
        "def test_three(tern_endpoint):\n"
        "    tern_endpoint('code')\n"
        "    assert False\n"
        "def test_four(tern_endpoint):\n"
        "    test_one(tern_endpoint)\n")
    package = os.path.dirname(os.path.dirname(os.path.dirname(sys.modules["tern.testing"].__file__)))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "tern.testing.plugin", "-p", "no:cacheprovider", "test_it.py"], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": package}, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "3 passed" in done.stdout and "1 failed" in done.stdout, done.stdout
