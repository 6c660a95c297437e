"""C handlers on SageMaker's port: code/handler.so by its place, and a model's own; both forms, several models, boto3's paths."""
import json
import shutil

import pytest

from sagemaker_server import SageMaker, write_model
from tern_server import BUILD, ROOT

ACTOR = BUILD / "tests" / "server" / "actor_handler.so"
ACT = {"Content-Type": "text/x-act"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><title>A day</title><h1>A day</h1><p>It rained in the morning, and the sun came out later."
SCRIPT = """
def handler(data, context):
    return b"script: " + data.read(), "text/plain"
"""


def put_handler(code):
    code.mkdir(parents=True, exist_ok=True)
    shutil.copy(ACTOR, code / "handler.so")


@pytest.fixture(params=["2.19", "2.20"])
def begin(request, tmp_path):
    """begin(args, env) -> a running container on tmp_path/ml."""
    servers = []

    def make(*args, **env):
        servers.append(SageMaker(tmp_path / f"run{len(servers)}", tmp_path / "ml", request.param, args, env))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.mark.example
@pytest.mark.parametrize("isolation", ["none", "process"])
def test_proxy_form(begin, tmp_path, isolation):
    """Types that the handler takes are its own, the rest is the container's."""
    write_model(tmp_path / "ml" / "model" / "m")
    put_handler(tmp_path / "ml" / "model" / "code")
    server = begin(f"--handler_isolation={isolation}")
    answer = server.ask("POST", "/invocations", data=b"x\nab", headers=ACT)
    assert (answer.status_code, answer.text) == (200, "4"), answer.text
    answer = server.ask("POST", "/invocations", data=b"now\nfrom memory", headers=ACT)
    assert (answer.status_code, answer.text) == (203, "from memory")
    assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "kept=1"
    # application/json is the actor's, too; csv is not.
    assert server.ask("POST", "/invocations", data=b"now\nyes", headers={"Content-Type": "application/json"}).text == "yes"
    answer = server.ask("POST", "/invocations", data="1.0", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200 and "predictions" in answer.json(), answer.text
    answer = server.ask("POST", "/invocations", data=b"x", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    # The model and version that the attributes name.
    for attributes, status in (("tfs-model-name=m,tfs-model-version=1", 203), ("tfs-model-name=other", 415)):
        answer = server.ask("POST", "/invocations", data=b"now\nyes",
                            headers={**ACT, "X-Amzn-SageMaker-Custom-Attributes": attributes})
        assert answer.status_code == status, (attributes, answer.text)


@pytest.mark.example
def test_endpoints_path(begin, tmp_path):
    """The path of boto3's invoke_endpoint."""
    write_model(tmp_path / "ml" / "model" / "m")
    put_handler(tmp_path / "ml" / "model" / "code")
    server = begin("--sagemaker_extras")
    answer = server.ask("POST", "/endpoints/any/invocations", data=b"x\nab", headers=ACT)
    assert (answer.status_code, answer.text) == (200, "4"), answer.text


@pytest.mark.example
def test_handler_before_script(begin, tmp_path):
    """The slot before inference.py: what the handler does not take is the script's."""
    write_model(tmp_path / "ml" / "model" / "m")
    code = tmp_path / "ml" / "model" / "code"
    put_handler(code)
    (code / "inference.py").write_text(SCRIPT, encoding="utf-8")
    server = begin()
    assert server.ask("POST", "/invocations", data=b"x\nab", headers=ACT).text == "4"
    answer = server.ask("POST", "/invocations", data=b"hello", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.text) == (200, "script: hello"), answer.text


@pytest.mark.example
def test_several_models(begin, tmp_path):
    """Each model has the nearest one: its own, or that of the base folder."""
    (tmp_path / "ml").mkdir()
    own, other = tmp_path / "ml" / "models" / "a" / "model", tmp_path / "ml" / "models" / "b" / "model"
    write_model(own)
    write_model(other)
    put_handler(own / "code")
    server = begin(SAGEMAKER_MULTI_MODEL="true")
    for name, folder in (("a", own), ("b", other)):
        loaded = server.ask("POST", "/models", json={"model_name": name, "url": str(folder)})
        assert loaded.status_code == 200, loaded.text
    assert server.ask("POST", "/models/a/invoke", data=b"x\nab", headers=ACT).text == "4"
    assert server.ask("POST", "/models/b/invoke", data=b"x\nab", headers=ACT).text != "4"
    put_handler(tmp_path / "ml" / "code")
    assert server.ask("DELETE", "/models/b").status_code == 200
    assert server.ask("POST", "/models", json={"model_name": "b", "url": str(other)}).status_code == 200
    assert server.ask("POST", "/models/b/invoke", data=b"x\nab", headers=ACT).text == "4"


@pytest.mark.tensorflow
def test_html_model(begin, tmp_path):
    """The page model as the container would have it: BASE/model/html/1."""
    saved = ROOT / "models" / "html" / "saved_model"
    if not (saved / "1" / "saved_model.pb").exists() or not (BUILD / "handlers" / "html.so").exists():
        pytest.skip("the HTML model or its handler is not built")
    shutil.copytree(saved, tmp_path / "ml" / "model" / "html")
    server = begin("--engine=tensorflow", "--sagemaker_extras")
    answers = [server.ask("POST", path, data=PAGE, headers=HTML) for path in ("/invocations", "/endpoints/x/invocations")]
    for answer in answers:
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json", answer.text
    found = json.loads(answers[0].content)
    assert answers[0].content == answers[1].content and found["blocks"]
    assert server.ask("POST", "/invocations", data=b"\x00", headers=HTML).status_code == 400
