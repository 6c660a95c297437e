"""The built SageMaker image, started as the platform starts it. Run by `make image-test`."""
import json
import shutil

import pytest

import container
import tern_server
from container import ask, free_ports, is_up

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]

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
    assert len(archive.image["rootfs"]["diff_ids"]) == len(archive.manifest["layers"]) == 3


@pytest.mark.parametrize("who", [{}, {"user": 1234, "read_only": True}], ids=["root", "user-1234-read-only"])
def test_serve(run, volume, who):
    running, port = serve(run, volume, **who)
    status, body = ask(port, "POST", "/invocations", b'{"instances": [1.0, 2.0, 5.0]}', Content_Type="application/json")
    assert status == 200 and json.loads(body) == {"predictions": [2.5, 3.0, 4.5]}
    assert ask(port, "GET", "/ping")[0] == 200
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
