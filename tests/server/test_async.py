"""InvokeEndpointAsync by unmodified boto3 and the SDK, against --async_dir."""
import io
import json
import os
import subprocess
import threading
import time

import numpy as np
import pytest

import example_models
from tern_server import BUILD
from test_runtime import ANSWER, GOOD, JSON, runtime

pytestmark = pytest.mark.example
NPY = "application/x-npy"


class Place:
    """A server, a client, and the folder that is S3."""

    def __init__(self, start, root, *flags):
        self.folder = root / "s3"
        self.folder.mkdir()
        model = example_models.write(root / "m")
        self.server = start("--model_name=m", f"--model_base_path={model}", "--engine=example", f"--async_dir={self.folder}",
                            *flags)
        self.client = runtime(self.server)

    def path(self, uri):
        assert uri.startswith("s3://")
        return self.folder / uri[5:]

    def put(self, key, data):
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return f"s3://{key}"

    def call(self, **more):
        return self.client.invoke_endpoint_async(EndpointName="my-endpoint", **more)

    def result(self, answer):
        """-> (output or None, failure or None)"""
        output, failure = self.path(answer["OutputLocation"]), self.path(answer["FailureLocation"])
        self.server.until(lambda: output.exists() or failure.exists(), "there was a file")
        return (output.read_bytes() if output.exists() else None, failure.read_text("utf-8") if failure.exists() else None)

    def leftovers(self):
        return [p for p in self.folder.rglob("*") if p.name.startswith(".")]


@pytest.fixture(scope="module")
def place(start_shared, tmp_path_factory):
    return Place(start_shared, tmp_path_factory.mktemp("async"))


def test_a_file_in_a_file_out(place):
    uri = place.put("bucket/some/folder/input.json", GOOD)
    answer = place.call(InputLocation=uri, ContentType=JSON, Accept=JSON, InferenceId="id-1")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202 and answer["InferenceId"] == "id-1"
    assert answer["OutputLocation"] == "s3://bucket/async-endpoint-outputs/my-endpoint/id-1.out"
    assert answer["FailureLocation"] == "s3://bucket/async-endpoint-failures/my-endpoint/id-1-error.out"
    output, failure = place.result(answer)
    assert json.loads(output) == ANSWER and failure is None and not place.leftovers()


def test_an_inline_body(place):
    answer = place.call(Body=GOOD.encode(), ContentType=JSON)
    assert len(answer["InferenceId"]) == 36 and answer["InferenceId"] in answer["OutputLocation"]
    assert json.loads(place.result(answer)[0]) == ANSWER


def test_names_of_outputs(place):
    uri = place.put("bucket/in.json", GOOD)
    answer = place.call(InputLocation=uri, ContentType=JSON, Filename="mine.json", S3OutputPathExtension="a/b/")
    assert answer["OutputLocation"] == "s3://bucket/async-endpoint-outputs/my-endpoint/a/b/mine.json"
    assert json.loads(place.result(answer)[0]) == ANSWER
    answer = place.call(InputLocation=uri, ContentType=JSON, InferenceId="../../odd id/%s")
    assert "/_._.._odd_id__s.out" in answer["OutputLocation"].replace("/.._", "/_._") and answer["InferenceId"] == "../../odd id/%s"
    assert json.loads(place.result(answer)[0]) == ANSWER


def test_what_the_model_refuses_is_in_the_failure_file(place):
    answer = place.call(InputLocation=place.put("bucket/bad.json", "{nonsense"), ContentType=JSON)
    output, failure = place.result(answer)
    assert output is None and failure.startswith('Received client error (400) from primary with message "')
    assert "/aws/sagemaker/Endpoints/my-endpoint in account" in failure


def test_inputs_that_are_not_there(place, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text(GOOD, "utf-8")
    (place.folder / "links").mkdir()
    (place.folder / "links" / "file").symlink_to(secret)
    (place.folder / "links" / "folder").symlink_to(tmp_path)
    (place.folder / "bucket-link").symlink_to(tmp_path)
    os.mkfifo(place.folder / "links" / "pipe")
    for key in ("nowhere/x", "links/file", "links/folder/secret.json", "links/pipe", "links/folder", "bucket-link/secret.json"):
        answer = place.call(InputLocation=f"s3://{key}", ContentType=JSON, InferenceId=key.replace("/", "-"))
        # Nothing is written through a link either: a bucket that is one has no files.
        if key.startswith("bucket-link"):
            assert not list(tmp_path.glob("async-*"))
            continue
        output, failure = place.result(answer)
        assert output is None and failure.startswith(f"The input s3://{key} cannot be read: "), key


@pytest.mark.parametrize("more, word", [
    ({}, "exactly one"),
    ({"Body": b"x", "InputLocation": "s3://b/k"}, "exactly one"),
    ({"Body": b"x" * 128001}, "128000"),
    ({"InputLocation": "https://b/k"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3://b"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3://b/"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3:///etc/passwd"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3://../etc"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3://b/../../etc/passwd"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3://b/a/./c"}, "s3://BUCKET/KEY"),
    ({"InputLocation": "s3://b/" + "n" * 300}, "s3://BUCKET/KEY"),
    ({"Body": b"x", "S3OutputPathExtension": "../x"}, "S3OutputPathExtension"),
    ({"Body": b"x", "Filename": ".."}, "Filename"),
    ({"Body": b"x", "Filename": "a/b"}, "Filename"),
    ({"Body": b"x", "InferenceId": "i" * 65}, "InferenceId"),
])
def test_validation(place, more, word):
    with pytest.raises(place.client.exceptions.ValidationError) as caught:
        place.call(ContentType=JSON, **more)
    assert word in caught.value.response["Message"], caught.value.response


@pytest.mark.parametrize("field, value", [("RequestTTLSeconds", "59"), ("RequestTTLSeconds", "21601"), ("RequestTTLSeconds", "x"),
                                          ("InvocationTimeoutSeconds", "0"), ("InvocationTimeoutSeconds", "3601")])
def test_numbers_out_of_bounds(place, field, value):
    answer = place.server.post("/endpoints/m/async-invocations", GOOD, headers={f"X-Amzn-SageMaker-{field}": value})
    assert answer.status == 400 and (field[0].lower() + field[1:]) in answer.json()["Message"]


def test_an_invocation_that_takes_too_long(place):
    answer = place.call(Body=json.dumps({"signature_name": "slow", "instances": [1]}).encode(), ContentType=JSON,
                        InvocationTimeoutSeconds=1, RequestTTLSeconds=60)
    output, failure = place.result(answer)
    assert output is None and failure == "The model did not answer within InvocationTimeoutSeconds=1"


def test_outputs_replace_each_other(place):
    uri = place.put("bucket/first.json", GOOD)
    first = place.call(InputLocation=uri, ContentType=JSON, Filename="same")
    place.result(first)
    other = place.put("bucket/second.json", json.dumps({"instances": [0.0]}))
    place.call(InputLocation=other, ContentType=JSON, Filename="same")
    path = place.path(first["OutputLocation"])
    place.server.until(lambda: json.loads(path.read_bytes()) == {"predictions": [2.0]}, "it was replaced")


def test_large_files(place):
    x = np.arange(75 << 20, dtype="f4")
    data = io.BytesIO()
    np.save(data, x)
    answer = place.call(InputLocation=place.put("bucket/large.npy", data.getvalue()), ContentType=NPY, Accept=NPY)
    # The server is there for others meanwhile.
    for _ in range(20):
        assert place.server.predict("m", GOOD).json() == ANSWER
    output = place.path(answer["OutputLocation"])
    place.server.until(output.exists, "it was answered")
    got = np.load(output)
    assert got.shape == x.shape and np.array_equal(got[::1000], (x / 2 + 2)[::1000])
    output.unlink()
    place.server.until(lambda: place.server.metric("tern_bytes_in_flight") == 0, "all memory was given back")


def test_many_calls(place):
    uri = place.put("bucket/many.json", GOOD)
    answers = [place.call(InputLocation=uri, ContentType=JSON) for _ in range(200)]
    for answer in answers:
        assert json.loads(place.result(answer)[0]) == ANSWER
    assert place.server.metric("tern_async_invocations_total", result="completed") >= 200


def test_clients_that_leave_before_their_body(place):
    before = place.server.metric("tern_async_invocations_total")
    for _ in range(5):
        with place.server.connect() as sock:
            sock.sendall(b"POST /endpoints/m/async-invocations HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    place.server.until(lambda: place.server.metric("tern_bytes_in_flight") == 0, "they were gone")
    assert place.server.metric("tern_async_invocations_total") == before


def test_other_places(start, tmp_path):
    place = Place(start, tmp_path, "--async_output=s3://results/good", "--async_failure=s3://results/bad/")
    answer = place.call(Body=GOOD.encode(), ContentType=JSON, InferenceId="i")
    assert answer["OutputLocation"] == "s3://results/good/i.out" and answer["FailureLocation"] == "s3://results/bad/i-error.out"
    assert json.loads(place.result(answer)[0]) == ANSWER
    place.path(answer["OutputLocation"]).unlink()
    (place.folder / "results" / "good").rmdir()
    (place.folder / "results" / "good").write_text("in the way", "utf-8")
    output, failure = None, place.path(answer["FailureLocation"])
    place.call(Body=GOOD.encode(), ContentType=JSON, InferenceId="i")
    place.server.until(failure.exists, "the failure was told")
    assert output is None and failure.read_text("utf-8").startswith("The output s3://results/good/i.out cannot be written: ")


def test_a_full_queue(start, tmp_path):
    place = Place(start, tmp_path, "--async_concurrency=1", "--max_async_queue=1")
    slow = json.dumps({"signature_name": "slow", "instances": [1]}).encode()
    answers = []
    with pytest.raises(place.client.exceptions.ServiceUnavailable) as caught:
        for _ in range(5):
            answers.append(place.call(Body=slow, ContentType=JSON))
    assert "--max_async_queue" in caught.value.response["Message"] and 1 <= len(answers) <= 3
    for answer in answers:
        assert place.result(answer)[0]


def test_sigterm_finishes_what_was_accepted(start, tmp_path):
    place = Place(start, tmp_path, "--async_concurrency=1")
    slow = json.dumps({"signature_name": "slow", "instances": [1]}).encode()
    answers = [place.call(Body=slow, ContentType=JSON)] + [place.call(Body=GOOD.encode(), ContentType=JSON) for _ in range(20)]
    place.server.stop()
    for answer in answers:
        assert place.path(answer["OutputLocation"]).exists(), place.path(answer["FailureLocation"]).read_text("utf-8")


def test_sigterm_tells_what_could_not_be_done(start, tmp_path):
    place = Place(start, tmp_path, "--async_concurrency=1", "--drain_timeout_ms=500")
    stuck = json.dumps({"signature_name": "stuck", "instances": [1]}).encode()
    answers = [place.call(Body=stuck, ContentType=JSON) for _ in range(3)]
    place.server.until(lambda: place.server.metric("tern_async_running") == 1, "one was under way")
    place.server.stop()
    texts = [place.path(a["FailureLocation"]).read_text("utf-8") for a in answers]
    assert all(text.startswith("The server went down before") for text in texts), texts
    assert not any(place.path(a["OutputLocation"]).exists() for a in answers) and not place.leftovers()


def test_off_without_the_flag(start, tmp_path):
    folder = example_models.write(tmp_path / "m")
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example")
    client = runtime(server)
    with pytest.raises(client.exceptions.ValidationError) as caught:
        client.invoke_endpoint_async(EndpointName="m", InputLocation="s3://b/k")
    assert "--async_dir" in caught.value.response["Message"]


@pytest.mark.parametrize("flag", ["--async_dir=/nowhere", "--async_output=folder", "--async_failure=s3://a/../b",
                                  "--async_concurrency=0"])
def test_bad_flags(tmp_path, flag):
    folder = example_models.write(tmp_path / "m")
    run = subprocess.run([str(BUILD / "tern"), "serve", "--port=0", "--model_name=m", f"--model_base_path={folder}",
                          "--engine=example", flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert run.returncode == 1 and flag in run.stdout


class S3:
    """What the SDK asks of S3, over the folder."""

    def __init__(self, folder):
        self.folder, self.found = folder, threading.Event()

    def put_object(self, Bucket, Key, Body, **_):  # noqa: N803
        path = self.folder / Bucket / Key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Body if isinstance(Body, bytes) else Body.encode())

    def get_object(self, Bucket, Key, **_):  # noqa: N803
        return {"Body": io.BytesIO((self.folder / Bucket / Key).read_bytes()), "ContentType": JSON}

    def get_waiter(self, _):
        outer = self

        class Waiter:
            def wait(self, Bucket, Key, **_):  # noqa: N803
                from botocore.exceptions import WaiterError
                end = time.monotonic() + 60
                while not (outer.folder / Bucket / Key).exists():
                    # Of two waiters, for the output and for the failure, one waits in vain: it ends after the other.
                    if time.monotonic() > end or outer.found.is_set():
                        time.sleep(1)
                        raise WaiterError("object_exists", "timeout", {})
                    time.sleep(0.02)
                outer.found.set()

        return Waiter()


def test_async_predictor_of_the_sdk(place):
    sagemaker = pytest.importorskip("sagemaker")
    import boto3
    from sagemaker.async_inference import WaiterConfig
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.predictor import Predictor
    from sagemaker.predictor_async import AsyncPredictor
    from sagemaker.serializers import JSONSerializer

    class Control:
        meta = type("Meta", (), {"region_name": "eu-west-3"})

    session = sagemaker.Session(boto_session=boto3.Session(region_name="eu-west-3", aws_access_key_id="x", aws_secret_access_key="y"),
                                sagemaker_client=Control(), sagemaker_runtime_client=place.client, default_bucket="default")
    session.s3_client = S3(place.folder)
    session._get_account_id_if_default_bucket = lambda bucket: None
    predictor = AsyncPredictor(Predictor("my-endpoint", session, JSONSerializer(), JSONDeserializer()))
    args = {"ContentType": JSON}
    assert predictor.predict({"instances": [1, 2, 5]}, "s3://default/in.json", initial_args=args, waiter_config=WaiterConfig(60, 1)) == ANSWER
