"""The built SageMaker image, started as the platform starts it. Run by `make image-test`."""
import json
import shutil
import zipfile

import pytest

import container
import tern_server
from container import ask, free_ports, is_up

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]
WHO, WHO_NAMES = [{}, {"user": 1234, "read_only": True}], ["root", "user-1234-read-only"]

PAIR = '''
import json
import falcon
import numpy
import requests
import tiny


def input_handler(data, context):
    rows = [[float(x) for x in line.split(",")] for line in data.read().decode().splitlines()]
    if not rows:
        raise falcon.HTTPBadRequest(title="no rows")
    return json.dumps({"instances": numpy.asarray(rows).sum(axis=1).tolist()})


def output_handler(response, context):
    return json.dumps({**response.json(), "tiny": tiny.VALUE, "requests": requests.__version__}), "application/json"
'''

# The way of the AWS blog: TensorFlow's own names, which the image has without TensorFlow's wheel.
OVER_GRPC = '''
import json
import numpy
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def handler(data, context):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(numpy.array(json.loads(data.read()), numpy.float32)))
    result = prediction_service_pb2_grpc.PredictionServiceStub(context.channel).Predict(request, 60)
    return json.dumps(tf.make_ndarray(result.outputs["y"]).tolist()), "application/json"
'''


def tiny_wheel(folder):
    """A package of one file, as pip wants it."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "VALUE = 7\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\n"
                                                    "tiny-1.0.dist-info/RECORD,,\n")


@pytest.fixture
def volume(models):
    """A model folder as model.tar.gz leaves it, readable by all."""
    folder = container.scratch()
    model = folder / "model"
    shutil.copytree(models / "half_plus_two" / "1", model / "half_plus_two" / "1")
    for path in model.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    model.chmod(0o755)
    (model / "half_plus_two").chmod(0o755)
    yield model
    shutil.rmtree(folder)


def serve(run, volume, **more):
    """-> (running, port) of a container started with `serve` that is in service."""
    first = free_ports(5)
    env = {"SAGEMAKER_BIND_TO_PORT": first, "SAGEMAKER_SAFE_PORT_RANGE": f"{first + 1}-{first + 4}", **more.pop("env", {})}
    running = run(["serve"], env=env, volumes=[(volume, "/opt/ml/model")], **more)
    running.until(lambda: is_up(first), "/ping answered")
    return running, first


def test_the_platform_reads_its_settings(archive):
    config = archive.config
    assert config["Labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert config["Labels"]["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8500/tcp", "8501/tcp"}
    assert config["Entrypoint"] == ["/usr/local/bin/tern-entrypoint"] and not config.get("User")
    assert archive.image["architecture"] == "amd64"
    assert len(archive.image["rootfs"]["diff_ids"]) == len(archive.manifest["layers"]) == 4


@pytest.mark.parametrize("who", WHO, ids=WHO_NAMES)
def test_serve(run, volume, who):
    running, port = serve(run, volume, **who)
    status, body = ask(port, "POST", "/invocations", b'{"instances": [1.0, 2.0, 5.0]}', Content_Type="application/json")
    assert status == 200 and json.loads(body) == {"predictions": [2.5, 3.0, 4.5]}
    assert ask(port, "GET", "/ping")[0] == 200
    status, body = ask(port, "GET", "/metrics")
    assert status == 200 and b"tern_model_requests_total" in body
    assert running.terminate() == 0, running.log


@pytest.mark.parametrize("who", WHO, ids=WHO_NAMES)
def test_a_script_with_requirements_and_without_a_network_for_them(run, volume, who):
    code = volume / "code"
    code.mkdir()
    (code / "inference.py").write_text(PAIR, encoding="utf-8")
    (code / "requirements.txt").write_text("tiny==1.0\n", encoding="utf-8")
    tiny_wheel(code / "wheels")
    running, port = serve(run, volume, **who)
    status, body = ask(port, "POST", "/invocations", b"1,2\n3,4\n", Content_Type="text/csv")
    assert status == 200, body + running.log.encode()
    assert json.loads(body).items() >= {"predictions": [3.5, 5.5], "tiny": 7}.items()
    assert ask(port, "POST", "/invocations", b"", Content_Type="text/csv")[0] == 400
    assert running.terminate() == 0, running.log


def test_a_script_over_grpc(run, volume):
    (volume / "code").mkdir()
    (volume / "code" / "inference.py").write_text(OVER_GRPC, encoding="utf-8")
    running, port = serve(run, volume)
    status, body = ask(port, "POST", "/invocations", b"[1.0, 2.0, 5.0]", Content_Type="application/json")
    assert status == 200, body + running.log.encode()
    assert json.loads(body) == [2.5, 3.0, 4.5]
    assert running.terminate() == 0, running.log


def test_without_serve_it_is_tensorflow_model_server(run, volume):
    first = free_ports(2)
    running = run([f"--port={first}", f"--rest_api_port={first + 1}"], env={"MODEL_NAME": "half_plus_two"},
                  volumes=[(volume, "/models")])
    running.until(lambda: is_up(first + 1, "/v1/models/half_plus_two"), "the model was there")
    running.until(lambda: b'"AVAILABLE"' in ask(first + 1, "GET", "/v1/models/half_plus_two")[1], "it was available")
    status, body = ask(first + 1, "POST", "/v1/models/half_plus_two:predict", b'{"instances": [1.0, 2.0, 5.0]}')
    assert status == 200 and json.loads(body) == {"predictions": [2.5, 3.0, 4.5]}
    assert running.terminate() == 0, running.log


def test_a_command_is_run_as_it_is(run):
    running = run(["tern", "version"])
    assert running.wait() == 0
    version = (tern_server.ROOT / "VERSION").read_text(encoding="utf-8").strip()
    assert running.log.strip() == f"tern {version}"


def test_a_start_that_fails_says_so(run, volume):
    shutil.rmtree(volume / "half_plus_two")
    running = run(["serve"], env={"SAGEMAKER_BIND_TO_PORT": tern_server.free_port()}, volumes=[(volume, "/opt/ml/model")])
    assert running.wait() == 1
    assert "no SavedModel" in running.log, running.log
