"""boto3 and the SDK's predictors against SageMaker's port: with and without scripts, streamed answers, several models."""
import json
import threading

import numpy as np
import pytest
import requests
from botocore.exceptions import ClientError, EventStreamError, ResponseStreamingError

from sagemaker_server import SageMaker, write_model
from script_server import Scripts
from test_runtime import JSON, runtime

pytestmark = pytest.mark.example
GENERATIONS = ("2.19", "2.20")
GOOD = json.dumps({"instances": [1.0, 2.0, 5.0]})
EXTRAS = "--sagemaker_extras"


@pytest.fixture
def script(tmp_path):
    """script(text, ...) -> (server, client)"""
    servers = []

    def starter(text, args=(), **more):
        server = Scripts(tmp_path / str(len(servers)), text, args=(EXTRAS, *args), **more)
        servers.append(server)
        server.until(lambda: server.ask("GET", "/ping").status_code == 200, "it was ready")
        return server, runtime(server, server.port)

    yield starter
    for server in servers:
        server.stop()


@pytest.fixture(params=GENERATIONS)
def plain(request, tmp_path):
    """The container without a script."""
    base = tmp_path / "base"
    write_model(base / "model" / "half")
    server = SageMaker(tmp_path / "server", base, request.param, args=[EXTRAS])
    yield server
    server.stop()


def parts_of(answer):
    return [event["PayloadPart"]["Bytes"] for event in answer["Body"]]


def test_without_a_script(plain):
    client = runtime(plain, plain.port)
    answer = client.invoke_endpoint(EndpointName="any-name", ContentType=JSON, Body=GOOD)
    assert json.loads(answer["Body"].read()) == {"predictions": [2.5, 3.0, 4.5]} and answer["ContentType"] == JSON
    answer = client.invoke_endpoint(EndpointName="any-name", ContentType="text/csv", Body="1.0\n2.0\n5.0")
    assert json.loads(answer["Body"].read())["predictions"]
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="any-name", ContentType="image/png", Body=b"x")
    assert caught.value.response["OriginalStatusCode"] in (400, 415)
    with pytest.raises(client.exceptions.ValidationError) as caught:
        client.invoke_endpoint(EndpointName="any-name", ContentType=JSON, Body=GOOD, TargetModel="half")
    assert caught.value.response["Message"] == (
        "Endpoint any-name is not a multi-model endpoint and does not support target model header.")
    stream = client.invoke_endpoint_with_response_stream(EndpointName="any-name", ContentType=JSON, Accept=JSON, Body=GOOD)
    assert json.loads(b"".join(parts_of(stream)))["predictions"] == [2.5, 3.0, 4.5]


def test_off_by_default(tmp_path):
    base = tmp_path / "base"
    write_model(base / "model" / "half")
    server = SageMaker(tmp_path / "server", base)
    try:
        answer = server.ask("POST", "/endpoints/x/invocations", data=GOOD)
        assert answer.status_code == 404 and answer.json() == {"error": "Not Found"}
    finally:
        server.stop()


WORDS = """
    import os, time

    def handler(data, context):
        text = data.read().decode("utf-8")
        folder = os.environ["GATE"]

        def pieces():
            for i, word in enumerate(text.split()):
                while i > 0 and not os.path.exists(os.path.join(folder, str(i))):
                    time.sleep(0.005)
                if word == "fail":
                    raise RuntimeError("on purpose")
                yield word

        if text == "early":
            raise RuntimeError("before the first piece")
        return pieces(), "text/x-words", {"X-Amzn-SageMaker-Custom-Attributes": "a=" + text[:3]}
"""


def test_pieces_arrive_as_they_are_made(script, tmp_path):
    server, client = script(WORDS, env={"GATE": str(tmp_path)})
    answer = client.invoke_endpoint_with_response_stream(EndpointName="e", ContentType="text/plain", Body="one two three")
    assert answer["ContentType"] == "text/x-words" and answer["CustomAttributes"] == "a=one"
    events = iter(answer["Body"])
    assert next(events) == {"PayloadPart": {"Bytes": b"one"}}  # the script waits meanwhile
    (tmp_path / "1").touch()
    assert next(events) == {"PayloadPart": {"Bytes": b"two"}}
    (tmp_path / "2").touch()
    assert next(events) == {"PayloadPart": {"Bytes": b"three"}} and next(events, None) is None
    # The same without a stream.
    answer = client.invoke_endpoint(EndpointName="e", ContentType="text/plain", Body="one two three")
    assert answer["Body"].read() == b"onetwothree" and answer["CustomAttributes"] == "a=one"
    assert server.process.poll() is None


def test_what_breaks_off(script, tmp_path):
    _, client = script(WORDS, env={"GATE": str(tmp_path)})
    (tmp_path / "1").touch()
    answer = client.invoke_endpoint_with_response_stream(EndpointName="e", ContentType="text/plain", Body="one fail")
    events = iter(answer["Body"])
    assert next(events) == {"PayloadPart": {"Bytes": b"one"}}
    with pytest.raises(EventStreamError) as caught:
        next(events)
    assert caught.value.response["Error"]["Code"] == "ModelStreamError" and "broke" in str(caught.value)
    answer = client.invoke_endpoint(EndpointName="e", ContentType="text/plain", Body="one fail")
    with pytest.raises(ResponseStreamingError):
        answer["Body"].read()
    for call in (client.invoke_endpoint, client.invoke_endpoint_with_response_stream):
        with pytest.raises(client.exceptions.ModelError) as caught:
            call(EndpointName="e", ContentType="text/plain", Body="early")
        assert caught.value.response["OriginalStatusCode"] == 500


SESSIONS = """
    def handler(data, context):
        word = data.read().decode()
        if word == "open":
            return "opened", "text/plain", {"X-Amzn-SageMaker-New-Session-Id": "s1; Expires=2030-01-01T00:00:00Z"}
        if word == "close":
            return "closed", "text/plain", {"X-Amzn-SageMaker-Closed-Session-Id": "s1"}
        if word == "refuse":
            raise ValueError("no")
        return context.custom_attributes or "none", "text/plain", {"X-Amzn-SageMaker-Custom-Attributes": "back"}
"""


def test_sessions_and_attributes(script):
    _, client = script(SESSIONS)

    def call(body, **more):
        return client.invoke_endpoint(EndpointName="e", ContentType="text/plain", Body=body, **more)

    assert call("open", SessionId="NEW_SESSION")["NewSessionId"] == "s1; Expires=2030-01-01T00:00:00Z"
    assert call("close", SessionId="s1")["ClosedSessionId"] == "s1"
    answer = call("x", CustomAttributes="to=you")
    assert answer["Body"].read() == b"to=you" and answer["CustomAttributes"] == "back"


FLOOD = """
    def handler(data, context):
        def pieces():
            for i in range(3000):
                yield b"%08d" % i * 2500
        return pieces(), "application/octet-stream", {}
"""


def test_a_long_stream_to_a_slow_reader(script):
    """60 MB through a client that pauses: all of it arrives, in order, and little of it is held."""
    server, client = script(FLOOD)
    answer = client.invoke_endpoint_with_response_stream(EndpointName="e", ContentType="text/plain", Body=b"x")
    events = iter(answer["Body"])
    data = next(events)["PayloadPart"]["Bytes"]
    for _ in range(20):
        assert server.ask("GET", "/ping").status_code == 200
    data += b"".join(event["PayloadPart"]["Bytes"] for event in events)
    assert data == b"".join(b"%08d" % i * 2500 for i in range(3000))


def test_clients_leave_in_mid_stream(script):
    """The script's only worker is free for the next call, and nothing is kept."""
    server, client = script(FLOOD)
    for path in ("invocations", "invocations-response-stream"):
        for _ in range(3):
            with requests.post(f"http://127.0.0.1:{server.port}/endpoints/e/{path}", data=b"x", stream=True,
                               timeout=60) as answer:
                assert answer.status_code == 200 and next(answer.iter_content(1000))
    answer = client.invoke_endpoint(EndpointName="e", ContentType="text/plain", Body=b"x")
    assert len(answer["Body"].read()) == 60000000


def test_many_streams_at_once(script, tmp_path):
    _, client = script(WORDS, env={"GATE": str(tmp_path), "SAGEMAKER_GUNICORN_WORKER_CLASS": "gthread",
                                   "SAGEMAKER_GUNICORN_THREADS": "8", "SAGEMAKER_GUNICORN_WORKERS": "1"})
    results = []

    def one():
        answer = client.invoke_endpoint_with_response_stream(EndpointName="e", ContentType="text/plain", Body="one two")
        results.append(b"".join(parts_of(answer)))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    (tmp_path / "1").touch()
    for thread in threads:
        thread.join()
    assert results == [b"onetwo"] * 6


def test_scripts_asynchronously_and_captured(script, tmp_path):
    s3, captured = tmp_path / "s3", tmp_path / "captured"
    s3.mkdir()
    captured.mkdir()
    (tmp_path / "1").touch()
    server, client = script(WORDS, args=(f"--async_dir={s3}", f"--data_capture_dir={captured}"), env={"GATE": str(tmp_path)})
    good = client.invoke_endpoint_async(EndpointName="e", ContentType="text/plain", Body=b"one two")
    bad = client.invoke_endpoint_async(EndpointName="e", ContentType="text/plain", Body=b"one fail")
    early = client.invoke_endpoint_async(EndpointName="e", ContentType="text/plain", Body=b"early")
    output = s3 / good["OutputLocation"][5:]
    server.until(output.exists, "there was an output")
    assert output.read_bytes() == b"onetwo"
    for answer, text in ((bad, "The model broke its answer off"), (early, "Received server error (500) from primary")):
        failure = s3 / answer["FailureLocation"][5:]
        server.until(failure.exists, "there was a failure")
        assert failure.read_text("utf-8").startswith(text) and not (s3 / answer["OutputLocation"][5:]).exists()
    assert server.ask("POST", "/invocations", data="one two", headers={"Content-Type": "text/plain"}).text == "onetwo"
    server.until(lambda: len(list(captured.rglob("*.jsonl"))) == 2, "both calls were captured")
    lines = [json.loads(line) for p in captured.rglob("*.jsonl") for line in p.read_text("utf-8").splitlines()]
    assert len(lines) == 2 and all(line["captureData"]["endpointOutput"]["observedContentType"] == "text/x-words" for line in lines)


def test_several_models(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for i, name in enumerate(("first", "second")):
        write_model(tmp_path / "models" / name, addend=2 + i)
    server = SageMaker(tmp_path / "server", base, args=[EXTRAS], env={"SAGEMAKER_MULTI_MODEL": "true"})
    try:
        client = runtime(server, server.port)
        for name in ("first", "second"):
            assert server.ask("POST", "/models", json={"model_name": name, "url": str(tmp_path / "models" / name)}).status_code == 200

        def predict(**more):
            answer = client.invoke_endpoint(EndpointName="e", ContentType=JSON, Body=GOOD, **more)
            return json.loads(answer["Body"].read())["predictions"][0]

        assert predict(TargetModel="first") == 2.5 and predict(TargetModel="second.tar.gz") == 3.5
        with pytest.raises(client.exceptions.ValidationError) as caught:
            predict()
        assert "is missing a target model header" in caught.value.response["Message"]
        with pytest.raises(client.exceptions.ModelError) as caught:
            predict(TargetModel="nowhere")
        assert caught.value.response["OriginalStatusCode"] == 404
    finally:
        server.stop()


# The SDK.

@pytest.fixture
def session(plain):
    sagemaker = pytest.importorskip("sagemaker")
    import boto3

    class Control:
        meta = type("Meta", (), {"region_name": "eu-west-3"})

    return sagemaker.Session(boto_session=boto3.Session(region_name="eu-west-3", aws_access_key_id="x", aws_secret_access_key="y"),
                             sagemaker_client=Control(), sagemaker_runtime_client=runtime(plain, plain.port), default_bucket="b")


def test_serializers_of_the_sdk(session):
    from sagemaker.deserializers import JSONDeserializer, NumpyDeserializer
    from sagemaker.predictor import Predictor
    from sagemaker.serializers import CSVSerializer, JSONLinesSerializer, JSONSerializer, NumpySerializer
    from sagemaker.tensorflow import TensorFlowPredictor
    want = {"predictions": [2.5, 3.0, 4.5]}
    assert Predictor("e", session, JSONSerializer(), JSONDeserializer()).predict({"instances": [1, 2, 5]}) == want
    assert TensorFlowPredictor("e", session).predict({"instances": [1, 2, 5]}) == want
    assert TensorFlowPredictor("e", session, model_name="half", model_version="1").predict({"instances": [1, 2, 5]}) == want
    array = Predictor("e", session, NumpySerializer(dtype="f4"), NumpyDeserializer()).predict(np.array([1, 2, 5], dtype="f4"))
    np.testing.assert_array_equal(array, [2.5, 3, 4.5])
    with pytest.raises(ClientError) as caught:
        TensorFlowPredictor("e", session, model_name="nowhere").predict({"instances": [1]})
    assert caught.value.response["Error"]["Code"] == "ModelError"
    # The signature takes numbers in one dimension, these make lists of them: the model's own words come back.
    for serializer in (CSVSerializer(), JSONLinesSerializer()):
        predictor = Predictor("e", session, serializer, JSONDeserializer())
        try:
            assert predictor.predict([1.0, 2.0, 5.0])["predictions"]
        except ClientError as error:
            assert error.response["OriginalStatusCode"] == 400, error.response


def test_local_session(plain):
    local = pytest.importorskip("sagemaker.local")
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.predictor import Predictor
    from sagemaker.serializers import JSONSerializer
    import boto3
    session = local.LocalSession(boto3.Session(region_name="eu-west-3", aws_access_key_id="x", aws_secret_access_key="y"))
    session.config = {"local": {"serving_port": plain.port}}
    predictor = Predictor("e", session, JSONSerializer(), JSONDeserializer())
    assert predictor.predict({"instances": [1, 2, 5]}) == {"predictions": [2.5, 3.0, 4.5]}


def test_sigterm_while_pieces_come(script, tmp_path):
    server, client = script(WORDS, env={"GATE": str(tmp_path)})
    answer = client.invoke_endpoint_with_response_stream(EndpointName="e", ContentType="text/plain", Body="one two")
    events = iter(answer["Body"])
    assert next(events) == {"PayloadPart": {"Bytes": b"one"}}
    server.terminate()
    (tmp_path / "1").touch()
    assert next(events) == {"PayloadPart": {"Bytes": b"two"}} and next(events, None) is None
