"""Calls on tf.Examples: Classify, Regress, MultiInference, over REST and gRPC with the real stubs.

On the example engine a "class" is the example itself and its score the bytes of it, so that what arrives can be seen. On
TensorFlow, models that parse examples.
"""
import gzip
import json

import pytest

import example_models
from tern_server import PATIENCE, make_models

tern_grpc = pytest.importorskip("tern_grpc")
grpc = tern_grpc.grpc
from tensorflow.core.example import example_pb2  # noqa: E402
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2  # noqa: E402

example_engine = pytest.mark.example
CODE = grpc.StatusCode
REQUESTS = {"Classify": classification_pb2.ClassificationRequest, "Regress": regression_pb2.RegressionRequest}
METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}

MODEL = """
signature serving_default tensorflow/serving/classify
input inputs string [-1]
output classes string [-1,1] column inputs
output scores float [-1,1] length inputs

signature regress tensorflow/serving/regress
input inputs string [-1]
output outputs float [-1,1] length inputs

signature odd other/method
input inputs string [-1]
output outputs float [-1,1] length inputs

signature scores
input inputs string [-1]
output scores float [-1,1] length inputs

signature flat
input inputs string [-1]
output scores string [-1] identity inputs

signature stuck
input inputs string [-1]
output outputs float [-1,1] length inputs
sleep {stuck}

signature fails
input inputs string [-1]
output outputs float [-1,1] length inputs
fail 9 broken on purpose
""".format(stuck=example_models.STUCK_MS)


def example(**features):
    e = example_pb2.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        f = e.features.feature[name]
        kind = {bytes: f.bytes_list, float: f.float_list, int: f.int64_list}[type(values[0])]
        kind.value.extend(values)
    return e


def fill(message, examples, context=None):
    target = message.input.example_list if context is None else message.input.example_list_with_context
    target.examples.extend(examples)
    if context is not None:
        target.context.CopyFrom(context)
    return message


def request(rpc, examples, signature="", context=None, model="m", **spec):
    message = REQUESTS[rpc]()
    message.model_spec.name, message.model_spec.signature_name = model, signature
    if "version" in spec:
        message.model_spec.version.value = spec["version"]
    return fill(message, examples, context)


def multi(examples, *tasks, model="m", context=None):
    """tasks: (signature, "classify" or "regress")."""
    message = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = message.tasks.add(method_name=METHODS.get(method, method))
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return fill(message, examples, context)


def classes(result):
    return [[(c.label.encode(), c.score) for c in row.classes] for row in result.classifications]


def values(result):
    return [r.value for r in result.regressions]


def size(*parts):
    return float(sum(len(p.SerializeToString()) for p in parts))


def refused(call, code, text=None):
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() is code, error.value
    if text is not None:
        assert error.value.details() == text


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m", body=MODEL)
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--drain_timeout_ms=1000")


@pytest.fixture(scope="module")
def client(server):
    with tern_grpc.Client(server.grpc) as c:
        yield c


# ---- REST ----

def call(server, verb, body, part="", model="m", **more):
    return server.post(f"/v1/models/{model}{part}:{verb}", body, **more)


@example_engine
def test_rest_values(server):
    """The serialized Example is protobuf's own."""
    for feature, value in (("x", 1.5), ("x", [1.5, 2.5]), ("n", 3), ("n", [1, -1]), ("text", "ä")):
        given = [v.encode() if isinstance(v, str) else v for v in (value if isinstance(value, list) else [value])]
        answer = call(server, "regress", {"signature_name": "regress", "examples": [{feature: value}, {}]})
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        assert answer.json() == {"results": [size(example(**{feature: given})), 0.0]}
    answer = call(server, "classify", {"examples": [{"s": "q"}]})
    (label, score), = answer.json()["results"][0]
    assert label.encode() == example(s=b"q").SerializeToString() and score == len(label)


@example_engine
def test_rest_context_and_bytes(server):
    body = {"signature_name": "regress", "context": {"c": 1.0}, "examples": [{"x": {"b64": "AAEC"}}, {}]}
    answer = call(server, "regress", body)
    common, one = example(c=1.0), example(x=b"\0\1\2")
    assert answer.body == b'{\n    "results": [%.1f, %.1f]\n}' % (size(common, one), size(common))


@example_engine
def test_rest_compact_and_compressed(server):
    body = {"signature_name": "regress", "examples": [{"x": 1.0}] * 2000}
    plain = call(server, "regress", body)
    compact = call(server, "regress", body, headers={"Accept": "application/json;format=compact"})
    assert compact.json() == plain.json() and compact.body == plain.body.replace(b" ", b"").replace(b"\n", b"")
    packed = call(server, "regress", body, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == plain.body
    small = {"examples": [{"s": "a"}, {}]}
    assert call(server, "classify", small, headers={"Accept": "application/json;format=compact"}).body == (
        b'{"results":[[[%s,%.1f]],[["",0.0]]]}' % (
            json.dumps(example(s=b"a").SerializeToString().decode()).encode().replace(b"\\u000f", b"\\u000F").replace(
                b"\\u000b", b"\\u000B"), size(example(s=b"a"))))


@example_engine
def test_rest_gzip_version(server):
    body = {"signature_name": "regress", "examples": [{"x": 1.0}]}
    want = {"results": [size(example(x=1.0))]}
    packed = gzip.compress(json.dumps(body).encode())
    assert call(server, "regress", packed, headers={"Content-Encoding": "gzip"}).json() == want
    assert call(server, "regress", body, part="/versions/1").json() == want
    answer = call(server, "regress", body, part="/versions/2")
    assert answer.status == 404 and answer.json()["error"] == "Servable not found for request: Specific(m, 2)"
    answer = call(server, "regress", body, part="/labels/new")
    assert answer.status == 400 and answer.json()["error"] == "Unrecognized servable version label: new"


@example_engine
def test_rest_errors(server):
    """A fault of the body comes before one of the model, and that before one of the signature."""
    answer = call(server, "classify", {"examples": [1]}, model="nobody")
    assert answer.status == 400 and answer.json()["error"] == "Example must be JSON object but got JSON Number"
    answer = call(server, "classify", {"examples": [{}], "signature_name": "none"}, model="nobody")
    assert answer.status == 404 and answer.json()["error"] == "Servable not found for request: Latest(nobody)"
    answer = call(server, "classify", {"examples": [{}], "signature_name": "none"})
    assert answer.status == 400 and answer.json()["error"] == "No signature was found with the name: none"
    answer = call(server, "regress", {"examples": [{}]})
    assert answer.status == 400 and answer.json()["error"] == "Expected one output Tensor."
    answer = call(server, "classify", {"examples": [{}], "signature_name": "flat"})
    assert answer.status == 400
    assert answer.json()["error"] == "Expected Tensor shape: [batch_size num_classes] but got [1]"
    answer = call(server, "regress", {"examples": [{}], "signature_name": "fails"})
    assert answer.status == 400 and answer.json()["error"] == "broken on purpose"
    for body in (b"", b"{", b"\xff", b"[]", b"null", b'{"examples": [{"x": [[]]}]}', b'{"examples": [{"\\u0000": {}}]}'):
        assert call(server, "classify", body).status == 400, body
    assert call(server, "regress", {"signature_name": "regress", "examples": [{}]}).json() == {"results": [0.0]}


@example_engine
def test_rest_long_errors(start, tmp_path):
    """As long as what it repeats, where that is asked for: a body without examples comes back in the error."""
    folder = example_models.write(tmp_path / "m", body=MODEL)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--max_error_bytes=100000")
    answer = call(server, "classify", {"context": {}, "more": ["x" * 20000]})
    assert answer.status == 400 and "x" * 20000 in answer.json()["error"]
    assert answer.json()["error"].endswith("When method is classify, key 'examples' is expected and was not found")


@example_engine
def test_rest_timeout(start, tmp_path):
    folder = example_models.write(tmp_path / "m", body=MODEL)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--rest_api_timeout_in_ms=300",
                   "--drain_timeout_ms=1000")
    assert call(server, "regress", {"signature_name": "stuck", "examples": [{}]}).status == 504
    assert call(server, "regress", {"signature_name": "regress", "examples": [{}]}).status == 200


@example_engine
def test_method_names(start, tmp_path):
    folder = example_models.write(tmp_path / "m", body=MODEL)
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example",
                   "--enable_signature_method_name_check")
    answer = call(server, "regress", {"signature_name": "odd", "examples": [{}]})
    assert answer.status == 400 and answer.json()["error"] == (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: other/method")
    answer = server.predict("m", {"signature_name": "odd", "instances": ["a"]})
    assert answer.status == 500 and answer.json()["error"].endswith("Was: other/method")
    assert call(server, "regress", {"signature_name": "regress", "examples": [{}]}).status == 200
    with tern_grpc.Client(server.grpc) as c:
        refused(lambda: c.prediction.Classify(request("Classify", [example()], "regress"), timeout=PATIENCE),
                CODE.INVALID_ARGUMENT,
                "Expected classification signature method_name to be tensorflow/serving/classify. "
                "Was: tensorflow/serving/regress")


# ---- gRPC ----

@example_engine
def test_grpc_classify(client):
    given = [example(n=[1, 2], s=b"text"), example()]
    answer = client.prediction.Classify(request("Classify", given), timeout=PATIENCE)
    assert (answer.model_spec.name, answer.model_spec.version.value, answer.model_spec.signature_name) == (
        "m", 1, "serving_default")
    # The label is the example as it was sent, whose map has any order.
    found = [[(example_pb2.Example.FromString(label), score) for label, score in row] for row in classes(answer.result)]
    assert found == [[(e, size(e))] for e in given]


@example_engine
def test_grpc_regress(client):
    given = [example(x=1.5), example(), example(n=[1, -1], s=b"\xff")]
    answer = client.prediction.Regress(request("Regress", given, "regress", version=1), timeout=PATIENCE)
    assert values(answer.result) == [size(e) for e in given]
    assert answer.model_spec.signature_name == "regress"
    common = example(c=[1.0] * 100)
    answer = client.prediction.Regress(request("Regress", given, "regress", context=common), timeout=PATIENCE)
    assert values(answer.result) == [size(common, e) for e in given]


@example_engine
def test_grpc_multi_inference(client):
    given = [example(n=5), example()]
    answer = client.prediction.MultiInference(
        multi(given, ("regress", "regress"), ("", "classify")), timeout=PATIENCE)
    first, second = answer.results
    assert values(first.regression_result) == [size(e) for e in given]
    assert [row[0][1] for row in classes(second.classification_result)] == [size(e) for e in given]
    assert [r.model_spec.signature_name for r in answer.results] == ["regress", "serving_default"]
    assert {r.model_spec.version.value for r in answer.results} == {1}


@example_engine
def test_grpc_errors(client):
    one = [example()]
    classify, regress = client.prediction.Classify, client.prediction.Regress
    together = client.prediction.MultiInference
    refused(lambda: classify(request("Classify", []), timeout=PATIENCE), CODE.INVALID_ARGUMENT, "Input is empty.")
    refused(lambda: classify(classification_pb2.ClassificationRequest()), CODE.INVALID_ARGUMENT, "Missing ModelSpec")
    refused(lambda: classify(request("Classify", one, model="")), CODE.INVALID_ARGUMENT,
            "ModelSpec has no name specified.")
    refused(lambda: regress(request("Regress", one, model="nobody")), CODE.NOT_FOUND,
            "Servable not found for request: Latest(nobody)")
    refused(lambda: regress(request("Regress", one, "none")), CODE.INVALID_ARGUMENT,
            "No signature was found with the name: none")
    # the signature is looked at before the input
    refused(lambda: regress(request("Regress", [])), CODE.INVALID_ARGUMENT, "Expected one output Tensor.")
    refused(lambda: regress(request("Regress", one, "fails")), CODE.FAILED_PRECONDITION, "broken on purpose")
    refused(lambda: together(multi(one)), CODE.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    refused(lambda: together(multi(one, ("regress", "regress"), ("regress", "regress"))), CODE.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress")
    refused(lambda: together(multi(one, ("regress", "regress"), ("none", "classify"))), CODE.INVALID_ARGUMENT,
            "Requested signature not found in model graph: none")
    refused(lambda: together(multi(one, ("regress", "other"))), CODE.UNIMPLEMENTED,
            "Unsupported signature method_name: other")
    refused(lambda: together(multi([], ("regress", "regress"))), CODE.INVALID_ARGUMENT, "Input is empty.")
    # all or nothing
    refused(lambda: together(multi(one, ("regress", "regress"), ("fails", "regress"))), CODE.FAILED_PRECONDITION,
            "broken on purpose")
    mixed = multi(one, ("regress", "regress"), ("", "classify"))
    mixed.tasks[1].model_spec.name = "other"
    refused(lambda: together(mixed), CODE.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    assert values(regress(request("Regress", one, "regress"), timeout=PATIENCE).result) == [0.0]


@example_engine
def test_grpc_broken_messages(client):
    """Broken as a whole, wherever it is broken: also where no model is asked for, or one that is not there."""
    good = request("Regress", [example(x=1.0)], "regress").SerializeToString()
    nobody = request("Regress", [example(x=1.0)], model="nobody").SerializeToString()
    bad_example = b"\x12\x07\x0a\x05\x0a\x03\x0a\x01\x0a"
    for name in ("Classify", "Regress", "MultiInference"):
        path = f"/tensorflow.serving.PredictionService/{name}"
        for message in (b"\xff", b"\x0a\x05", good[:-1], good + bad_example, nobody + bad_example, bad_example):
            refused(lambda m=message, p=path: client.raw(p, m), CODE.INTERNAL)
    assert client.raw("/tensorflow.serving.PredictionService/Regress", good)


@example_engine
def test_grpc_large(client):
    """Far over what the small calls may send."""
    given = [example(s=bytes([i]) * (1 << 20)) for i in range(24)]
    answer = client.prediction.Regress(request("Regress", given, "regress"), timeout=PATIENCE)
    assert values(answer.result) == [size(e) for e in given]
    answer = client.prediction.Classify(request("Classify", given[:8], "scores"), timeout=PATIENCE)
    assert [row[0][1] for row in classes(answer.result)] == [size(e) for e in given[:8]]
    many = [example(x=float(i)) for i in range(50000)]
    answer = client.prediction.MultiInference(multi(many, ("regress", "regress"), ("scores", "classify")), timeout=PATIENCE)
    assert values(answer.results[0].regression_result) == [size(e) for e in many]
    assert len(answer.results[1].classification_result.classifications) == 50000


@example_engine
def test_context_is_bounded(server, client):
    """A context of 1 MB before each of 100,000 examples would be 100 GB."""
    message = request("Regress", [example()] * 100000, "regress", context=example(s=b"x" * (1 << 20)))
    refused(lambda: client.prediction.Regress(message, timeout=PATIENCE), CODE.RESOURCE_EXHAUSTED)
    body = {"signature_name": "regress", "context": {"s": "x" * (1 << 20)}, "examples": [{}] * 100000}
    assert call(server, "regress", body).status == 429
    assert values(client.prediction.Regress(request("Regress", [example()], "regress"), timeout=PATIENCE).result) == [0.0]


@example_engine
def test_deadline_and_cancel(client):
    stuck = request("Regress", [example()], "stuck")
    refused(lambda: client.prediction.Regress(stuck, timeout=0.3), CODE.DEADLINE_EXCEEDED)
    both = multi([example()], ("stuck", "regress"), ("", "classify"))
    refused(lambda: client.prediction.MultiInference(both, timeout=0.3), CODE.DEADLINE_EXCEEDED)
    left = client.prediction.MultiInference.future(both, timeout=PATIENCE)
    left.cancel()
    assert values(client.prediction.Regress(request("Regress", [example()], "regress"), timeout=PATIENCE).result) == [0.0]


@example_engine
def test_statistics(server, client):
    def counted(method):
        return sum(server.metric("tern_model_requests_total", model="m", api=api, method=method) for api in ("rest", "grpc"))

    before = {m: counted(m) for m in ("classify", "regress", "multi_inference")}
    call(server, "classify", {"examples": [{}]})
    client.prediction.Classify(request("Classify", [example()]), timeout=PATIENCE)
    client.prediction.Regress(request("Regress", [example()], "regress"), timeout=PATIENCE)
    client.prediction.MultiInference(multi([example()], ("regress", "regress")), timeout=PATIENCE)
    server.until(lambda: counted("multi_inference") == before["multi_inference"] + 1, "it was counted")
    assert counted("classify") == before["classify"] + 2 and counted("regress") == before["regress"] + 1


@example_engine
def test_examples_are_counted(start, tmp_path):
    """On TensorFlow Serving's page: those of MultiInference."""
    folder = example_models.write(tmp_path / "m", body=MODEL)
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }", encoding="ascii")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", f"--monitoring_config_file={config}")
    with tern_grpc.Client(server.grpc) as c:
        c.prediction.Regress(request("Regress", [example()] * 5, "regress"), timeout=PATIENCE)
        c.prediction.MultiInference(multi([example()] * 3, ("regress", "regress"), ("scores", "classify")), timeout=PATIENCE)
    page = server.get("/monitoring/prometheus/metrics", port=server.rest).text
    assert ':tensorflow:serving:request_example_count_total{model="m"} 3' in page


# ---- models that parse ----

@pytest.fixture(scope="module")
def parsing(start_shared, tmp_path_factory):
    folder = make_models("parsing_models.py", "parsing")
    config = tmp_path_factory.mktemp("config") / "models.config"
    entries = "".join(f'config {{ name: "{n}" base_path: "{folder / n}" model_platform: "tensorflow" }}\n' for n in ("tf1", "tf2"))
    config.write_text(f"model_config_list {{\n{entries}}}\n", encoding="ascii")
    return start_shared(f"--model_config_file={config}")


@pytest.fixture(scope="module")
def parsing_client(parsing):
    with tern_grpc.Client(parsing.grpc) as c:
        yield c


@pytest.mark.tensorflow
def test_tf1_model(parsing, parsing_client):
    given = [example(x=1.5, tags=[b"a", b"b"]), example(x=-1.0, n=4)]
    want = [2 * 1.5 + 0 + 2, 2 * -1.0 + 4 + 2]  # the longest list of tags counts for all
    answer = parsing_client.prediction.Regress(request("Regress", given, "regress", model="tf1"), timeout=PATIENCE)
    assert values(answer.result) == want
    answer = parsing_client.prediction.Classify(request("Classify", given, model="tf1"), timeout=PATIENCE)
    assert classes(answer.result) == [[(b"plus", y), (b"minus", -y)] for y in want]
    body = {"examples": [{"x": 1.5, "tags": ["a", "b"]}, {"x": -1.0, "n": 4}]}
    assert call(parsing, "classify", body, model="tf1").json() == {"results": [[["plus", y], ["minus", -y]] for y in want]}
    answer = parsing_client.prediction.Regress(
        request("Regress", [example(x=2.0), example(n=1)], "regress", context=example(x=1.5), model="tf1"),
        timeout=PATIENCE)
    assert values(answer.result) == [4.0, 4.0], "an example's feature stands before the context's"


@pytest.mark.tensorflow
def test_tf1_words(parsing_client):
    refused(lambda: parsing_client.prediction.Regress(request("Regress", [example(n=1)], "regress", model="tf1")),
            CODE.INVALID_ARGUMENT,
            "Name: <unknown>, Feature: x (data type: float) is required but could not be found.\n\t [[{{node parse/parse}}]]")


@pytest.mark.tensorflow
def test_tf2_model(parsing, parsing_client):
    given = [example(x=[1.0, 2.0], name=b"n"), example(x=[0.5, 0.25])]
    answer = parsing_client.prediction.Regress(request("Regress", given, model="tf2"), timeout=PATIENCE)
    assert values(answer.result) == [9.0, 2.25]
    answer = parsing_client.prediction.Classify(request("Classify", given, "classify", model="tf2"), timeout=PATIENCE)
    assert classes(answer.result) == [[(b"n/a", 3.0), (b"n/b", 6.0)], [(b"none/a", 1.5), (b"none/b", 0.75)]]
    body = {"signature_name": "classify", "examples": [{"x": [1.0, 2.0], "name": "n"}]}
    assert call(parsing, "classify", body, model="tf2").json() == {"results": [[["n/a", 3.0], ["n/b", 6.0]]]}


@pytest.mark.tensorflow
def test_multi_inference_runs_once(parsing_client):
    """Both tasks saw the same count: the graph ran once for them. Inputs that differ are fed alike."""
    given = [example(x=1.0), example(x=2.0)]
    counts = []
    for _ in range(3):
        answer = parsing_client.prediction.MultiInference(
            multi(given, ("count_a", "regress"), ("count_b", "regress"), ("other", "regress"), ("", "classify"), model="tf1"),
            timeout=PATIENCE)
        a, b, other = (values(r.regression_result) for r in answer.results[:3])
        assert a == b and other == [-1.0, -2.0]
        assert classes(answer.results[3].classification_result)[1] == [(b"plus", 4.0), (b"minus", -4.0)]
        counts.append(a[0])
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]


@pytest.mark.tensorflow
def test_sets_of_tasks(parsing_client):
    """More sets of tasks than the engine keeps as such: the answers are the same."""
    names = ("scores", "regress", "column", "count_a", "count_b", "other", "")
    given = [example(x=1.0)]
    for mask in range(1, 1 << len(names)):
        chosen = [n for i, n in enumerate(names) if mask >> i & 1]
        tasks = [(n, "classify" if n in ("", "scores") else "regress") for n in chosen]
        answer = parsing_client.prediction.MultiInference(multi(given, *tasks, model="tf1"), timeout=PATIENCE)
        for name, result in zip(chosen, answer.results):
            if name in ("regress", "column"):
                assert values(result.regression_result) == [2.0]
            elif name == "other":
                assert values(result.regression_result) == [-1.0]
            elif name in ("", "scores"):
                assert [c.score for c in result.classification_result.classifications[0].classes] == [2.0, -2.0]
