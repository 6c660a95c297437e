"""SageMaker's runtime API by unmodified boto3 and the SageMaker SDK's predictors, against a local server."""
import io
import json
import re
import struct
import threading

import numpy as np
import pytest
import requests

import example_models

boto3 = pytest.importorskip("boto3")
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

pytestmark = pytest.mark.example

GOOD = json.dumps({"instances": [1.0, 2.0, 5.0]})
ANSWER = {"predictions": [2.5, 3.0, 4.5]}
JSON = "application/json"


def runtime(server, port=None, **config):
    return boto3.client("sagemaker-runtime", region_name="eu-west-3", endpoint_url=f"http://127.0.0.1:{port or server.rest}",
                        aws_access_key_id="local", aws_secret_access_key="local",
                        config=Config(retries={"max_attempts": 0}, read_timeout=60, **config))


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    config = root / "models.config"
    names = ["m", "other"]
    for i, name in enumerate(names):
        example_models.write(root / name, addend=2 + i)
    config.write_text("model_config_list {" + "".join(
        f'config {{ name: "{n}" base_path: "{root / n}" model_platform: "tensorflow" }}' for n in names) + "}", "utf-8")
    return start_shared(f"--model_config_file={config}", "--engine=example", "--default_model=m")


@pytest.fixture(scope="module")
def client(server):
    return runtime(server)


def test_invoke_endpoint(client):
    answer = client.invoke_endpoint(EndpointName="anything", ContentType=JSON, Body=GOOD)
    assert json.loads(answer["Body"].read()) == ANSWER and answer["ContentType"] == JSON
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer["ResponseMetadata"]["RequestId"])
    answer = client.invoke_endpoint(EndpointName="anything", ContentType=JSON, Body=GOOD, TargetVariant="blue",
                                    CustomAttributes="a=b", InferenceId="id-1", Accept=JSON)
    assert answer["InvokedProductionVariant"] == "blue"


def test_the_name_chooses_a_model(client):
    def predict(**more):
        return json.loads(client.invoke_endpoint(ContentType=JSON, Body=GOOD, **more)["Body"].read())["predictions"][0]

    assert predict(EndpointName="other") == 3.5
    assert predict(EndpointName="m") == predict(EndpointName="no-such-model") == 2.5
    assert predict(EndpointName="anything", TargetModel="other") == 3.5
    assert predict(EndpointName="anything", TargetModel="other.tar.gz") == 3.5
    assert predict(EndpointName="other", TargetModel="m.tar.gz") == 2.5


def test_numpy_both_ways(client):
    x = np.arange(1000, dtype="f4")
    body = io.BytesIO()
    np.save(body, x)
    answer = client.invoke_endpoint(EndpointName="m", ContentType="application/x-npy", Accept="application/x-npy",
                                    Body=body.getvalue())
    assert answer["ContentType"] == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(answer["Body"].read())), x / 2 + 2)


def test_model_errors(client):
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="my-endpoint", ContentType=JSON, Body="{nonsense")
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424 and error["Error"]["Code"] == "ModelError"
    assert error["OriginalStatusCode"] == 400 and "JSON" in error["OriginalMessage"]
    assert error["LogStreamArn"] == "arn:aws:logs:eu-west-3:000000000000:log-group:/aws/sagemaker/Endpoints/my-endpoint"
    assert error["Message"] == error["Error"]["Message"] == (
        f"Received client error (400) from primary with message \"{error['OriginalMessage']}\". See "
        "https://eu-west-3.console.aws.amazon.com/cloudwatch/home?region=eu-west-3#logEventViewer:group="
        "/aws/sagemaker/Endpoints/my-endpoint in account 000000000000 for more information.")
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body=json.dumps(
            {"signature_name": "fails", "instances": [1]}))
    error = caught.value.response
    assert error["OriginalStatusCode"] == 400 and "größer" in error["OriginalMessage"]
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body=GOOD, TargetModel="nowhere")
    assert caught.value.response["OriginalStatusCode"] == 404


def test_long_errors_are_cut(client):
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body='{"instances": ["' + "ö" * 50000 + '"]}')
    error = caught.value.response
    assert 2000 <= len(error["OriginalMessage"].encode()) <= 2048 and "�" not in error["OriginalMessage"]
    assert "(400) from primary and could not load the entire response body. See https://" in error["Message"]
    assert len(error["Message"].encode()) <= 2048


def test_validation_errors(client, server):
    with pytest.raises(client.exceptions.ValidationError) as caught:
        client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body=GOOD, CustomAttributes="x" * 1025)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    answer = server.get("/endpoints/m/invocations")
    assert answer.status == 400 and answer.headers["x-amzn-errortype"] == "ValidationError" and "POST" in answer.json()["Message"]
    answer = server.post("/endpoints/%zz/invocations", GOOD)
    assert answer.status == 400
    for path in ("/endpoints/", "/endpoints/m", "/endpoints//invocations", "/endpoints/m/else", "/endpoints/m/invocations/"):
        assert server.post(path, GOOD).status == 404, path


def test_a_model_that_is_loading(start, tmp_path):
    folder = example_models.write(tmp_path / "slow", body=f"sleep 2500\n{example_models.text()}")
    server = start("--model_name=slow", f"--model_base_path={folder}", "--engine=example", wait="listen")
    client = runtime(server)
    with pytest.raises(client.exceptions.ModelNotReadyException) as caught:
        client.invoke_endpoint(EndpointName="slow", ContentType=JSON, Body=GOOD)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    server.until(lambda: server.get("/readyz").status == 200, "it was ready")
    assert client.invoke_endpoint(EndpointName="slow", ContentType=JSON, Body=GOOD)["Body"].read()


def test_no_room_is_service_unavailable(start, tmp_path):
    folder = example_models.write(tmp_path / "m")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--max_bytes_in_flight=100000")
    client = runtime(server)
    with pytest.raises(client.exceptions.ServiceUnavailable) as caught:
        client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body=b" " * 300000)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body=GOOD)["Body"].read()
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all bytes were given back")


def test_off_without_extensions(start, tmp_path):
    folder = example_models.write(tmp_path / "m")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", program="tensorflow_model_server")
    assert server.post("/endpoints/m/invocations", GOOD).status == 404


# Streams.

def parts_of(answer):
    return [event["PayloadPart"]["Bytes"] for event in answer["Body"]]


def test_response_stream(client):
    answer = client.invoke_endpoint_with_response_stream(EndpointName="m", ContentType=JSON, Accept=JSON, Body=GOOD,
                                                         TargetVariant="green")
    assert answer["ContentType"] == JSON and answer["InvokedProductionVariant"] == "green"
    assert json.loads(b"".join(parts_of(answer))) == ANSWER


def test_a_large_answer_comes_in_parts(client):
    x = np.arange(3000000, dtype="f4")
    body = io.BytesIO()
    np.save(body, x)
    answer = client.invoke_endpoint_with_response_stream(EndpointName="m", ContentType="application/x-npy",
                                                         Accept="application/x-npy", Body=body.getvalue())
    assert answer["ContentType"] == "application/x-npy"
    parts = parts_of(answer)
    assert len(parts) > 100 and max(map(len, parts)) <= 65536
    np.testing.assert_array_equal(np.load(io.BytesIO(b"".join(parts))), x / 2 + 2)


def test_errors_before_the_stream(client):
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint_with_response_stream(EndpointName="m", ContentType=JSON, Body="[")
    assert caught.value.response["OriginalStatusCode"] == 400


def test_the_frames_themselves(server):
    """Every byte of the events, by hand: lengths, checksums, headers."""
    import zlib
    answer = server.post("/endpoints/m/invocations-response-stream", GOOD, headers={"Content-Type": JSON})
    assert answer.status == 200 and answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    data, payload = answer.body, b""
    while data:
        whole, heads, crc = struct.unpack(">III", data[:12])
        assert crc == zlib.crc32(data[:8]) and struct.unpack(">I", data[whole - 4:whole])[0] == zlib.crc32(data[:whole - 4])
        headers, fields = data[12:12 + heads], {}
        while headers:
            n = headers[0]
            kind, length = struct.unpack(">BH", headers[1 + n:4 + n])
            assert kind == 7
            fields[headers[1:1 + n].decode()] = headers[4 + n:4 + n + length].decode()
            headers = headers[4 + n + length:]
        assert fields == {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
        payload += data[12 + heads:whole - 4]
        data = data[whole:]
    assert json.loads(payload) == ANSWER


def test_clients_leave_in_mid_stream(server):
    body = io.BytesIO()
    np.save(body, np.arange(6000000, dtype="f4"))
    for path in ("invocations", "invocations-response-stream"):
        for _ in range(3):
            with requests.post(f"{server.url}/endpoints/m/{path}", data=body.getvalue(), stream=True, headers={
                    "Content-Type": "application/x-npy", "Accept": "application/x-npy"}) as answer:
                assert answer.status_code == 200 and next(answer.iter_content(1000))
    with server.connect() as sock:
        sock.sendall(b"POST /endpoints/m/invocations HTTP/1.1\r\nContent-Length: 100000\r\n\r\nhalf")
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all memory was given back")


def test_many_at_once(server):
    x = np.arange(200000, dtype="f4")
    body = io.BytesIO()
    np.save(body, x)
    want = (x / 2 + 2).tobytes()
    errors = []

    def one(i):
        try:
            client = runtime(server)
            for k in range(4):
                if (i + k) % 2:
                    answer = client.invoke_endpoint_with_response_stream(
                        EndpointName="m", ContentType="application/x-npy", Accept="application/x-npy", Body=body.getvalue())
                    assert b"".join(parts_of(answer)).endswith(want)
                else:
                    answer = client.invoke_endpoint(EndpointName="m", ContentType="application/x-npy",
                                                    Accept="application/x-npy", Body=body.getvalue())
                    assert answer["Body"].read().endswith(want)
        except BaseException as error:  # noqa: BLE001, told below
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all memory was given back")


@pytest.mark.parametrize("megabytes", [25, 200])
def test_large_bodies(client, server, megabytes):
    x = np.ones(megabytes << 18, dtype="f4")
    body = io.BytesIO()
    np.save(body, x)
    answer = client.invoke_endpoint(EndpointName="m", ContentType="application/x-npy", Accept="application/x-npy",
                                    Body=body.getvalue())
    got = np.load(io.BytesIO(answer["Body"].read()))
    assert got.shape == x.shape and (got == 2.5).all()


def test_sigterm_during_a_stream(start, tmp_path):
    folder = example_models.write(tmp_path / "m")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example")
    body = io.BytesIO()
    np.save(body, np.arange(6000000, dtype="f4"))
    client = runtime(server)
    answer = client.invoke_endpoint_with_response_stream(EndpointName="m", ContentType="application/x-npy",
                                                         Accept="application/x-npy", Body=body.getvalue())
    events = iter(answer["Body"])
    data = next(events)["PayloadPart"]["Bytes"]
    server.terminate()
    data += b"".join(event["PayloadPart"]["Bytes"] for event in events)
    assert np.load(io.BytesIO(data)).shape == (6000000,)
    server.stop()


# The environment variable, and the SDK's predictors.

def test_the_endpoint_url_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    client = boto3.client("sagemaker-runtime", region_name="us-west-2")
    assert json.loads(client.invoke_endpoint(EndpointName="m", ContentType=JSON, Body=GOOD)["Body"].read()) == ANSWER


@pytest.fixture(scope="module")
def session(client):
    sagemaker = pytest.importorskip("sagemaker")

    class Control:
        """The control plane, which is not asked."""
        meta = type("Meta", (), {"region_name": "eu-west-3"})

    return sagemaker.Session(boto_session=boto3.Session(region_name="eu-west-3", aws_access_key_id="x",
                                                        aws_secret_access_key="y"),
                             sagemaker_client=Control(), sagemaker_runtime_client=client, default_bucket="b")


def test_predictors_of_the_sdk(session):
    from sagemaker.deserializers import JSONDeserializer, NumpyDeserializer
    from sagemaker.predictor import Predictor
    from sagemaker.serializers import JSONSerializer, NumpySerializer
    predictor = Predictor("m", session, JSONSerializer(), JSONDeserializer())
    assert predictor.predict({"instances": [1, 2, 5]}) == ANSWER
    predictor = Predictor("m", session, NumpySerializer(dtype="f4"), NumpyDeserializer())
    np.testing.assert_array_equal(predictor.predict(np.array([1, 2, 5], dtype="f4")), [2.5, 3, 4.5])
    with pytest.raises(ClientError) as caught:
        Predictor("m", session, JSONSerializer(), JSONDeserializer()).predict({"instances": "x"})
    assert caught.value.response["Error"]["Code"] == "ModelError"


def test_tensorflow_predictor(session):
    from sagemaker.tensorflow import TensorFlowPredictor
    assert TensorFlowPredictor("m", session).predict({"instances": [1, 2, 5]}) == ANSWER
