"""tern.testing tries scripts without a server: what it answers is what the container has answered, and what the server does."""
import json
import re
import shutil
import subprocess
import sys

import pytest

from tern_server import BUILD, ROOT

sys.path.insert(0, str(ROOT / "python"))
testing = pytest.importorskip("tern.testing")
pytestmark = pytest.mark.tensorflow

CONFIG = """model_config_list { config { name: "half_plus_two" base_path: "%s" model_platform: "tensorflow"
    model_version_policy { specific { versions: 123 versions: 124 } } } }"""


@pytest.fixture(scope="module")
def recorded(shared):
    return shared / "golden" / "sagemaker"


@pytest.fixture(scope="module")
def server(start_shared, recorded, tmp_path_factory):
    models = BUILD / "golden-sagemaker"
    if not (models / "half_plus_two").is_dir():
        subprocess.run([sys.executable, recorded / "models.py", models], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    config = tmp_path_factory.mktemp("config") / "models.txt"
    config.write_text(CONFIG % (models / "half_plus_two"))
    return start_shared(f"--model_config_file={config}")


def cases_of(recorded, generation, setup):
    with open(recorded / f"python_{generation.replace('.', '')}.jsonl", encoding="utf-8") as lines:
        for case in map(json.loads, lines):
            request = case["request"]
            if case["setup"] == setup and request["method"] == "POST" and request["path"] == "/invocations":
                yield case


def headers_of(request):
    pairs = request["headers"].items() if isinstance(request["headers"], dict) else request["headers"]
    found = {}
    for name, value in pairs:
        found.setdefault(name.lower(), []).append(value.strip())
    return {name: ",".join(values).encode().decode("latin-1") for name, values in found.items()}


def answer_of(replay, endpoint, case, names):
    """The answer as replay.py writes it to the files."""
    headers = headers_of(case["request"])
    body = replay.request_body(case["request"], names) or b""
    got = endpoint.invoke(body, headers.get("content-type"), headers.get("accept"), headers.get("x-amzn-sagemaker-custom-attributes"))
    content = re.sub(rb'; paths are /v1/models/NAME[^"\\\\]*', b"", replay.normal(got.body, names))  # a plain server says more
    answer = {"status": got.status, "headers": {"content-type": got.content_type} if got.content_type else {}}
    if len(content) > replay.LONG:
        answer.update(length=len(content), sha256=replay.hashlib.sha256(content).hexdigest())
    else:
        answer["body"] = content.decode()
    return answer


# What is otherwise: answers that broke off have an end; a process that ends is not replaced here; an HTML page of gunicorn;
# pages of the model's port, which is that of a plain server here.
LEFT_OUT = re.compile(r"zoo/(wrong_returns/.*|returns/18|rest_uri/(23|26))")


def is_left_out(case):
    body = case["request"].get("body") or ""
    return LEFT_OUT.fullmatch(case["id"]) or '"exit"' in body


@pytest.mark.parametrize("generation", ["2.19", "2.20"])
@pytest.mark.parametrize("setup", ["context", "zoo", "pair"])
def test_recorded_answers_of_the_container(recorded, server, tmp_path, monkeypatch, generation, setup):
    monkeypatch.syspath_prepend(str(recorded))
    import replay
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(recorded / "scripts" / f"{setup}.py", code / "inference.py")
    shutil.copy(recorded / "scripts" / "lib_module.py", code / "helper_module.py")
    names = {"LO": "18100", "HI": "18200", "PORT": "18080", "BASE": str(tmp_path)}
    sent, different = 0, []
    with testing.Endpoint(code, server=server.url, grpc_port=server.grpc, model_name="half_plus_two", generation=generation) as endpoint:
        for case in cases_of(recorded, generation, setup):
            if is_left_out(case):
                continue
            got = answer_of(replay, endpoint, case, names)
            if case["compare"] == "skip":
                continue
            sent += 1
            if not replay.same(case["compare"], case["answer"], got):
                different.append((case["id"], case["request"], case["answer"], got))
    assert not different, "\n".join(map(str, different[:20]))
    assert sent > 30


# ---- the model as a folder, or as a server

PAIR_OF_ARRAYS = """
import numpy as np

def input_handler(data, context):
    return {"x": np.array(data.read().split(), np.float32)}

def output_handler(response, context):
    return repr(response["y"].tolist()) + str(response["y"].dtype), "text/plain"
"""

ASKS = """
import json
import requests

def handler(data, context):
    kind = data.read()
    if kind == b"arrays":
        found = context.predict({"x": [1.0, 2.0, 5.0]})
    elif kind == b"version":
        found = context.predict({"x": [1.0]}, model="half_plus_two", version=124)
    elif kind == b"nobody":
        found = context.predict({"x": [1.0]}, model="nobody")
    else:
        return requests.post(context.rest_uri, data=json.dumps({"instances": [1.0]})).content, "application/json"
    return json.dumps({name: array.tolist() for name, array in found.items()}), "application/json"
"""


def test_arrays_by_way_of_a_server(server, tmp_path):
    (tmp_path / "inference.py").write_text(PAIR_OF_ARRAYS)
    with testing.Endpoint(tmp_path, server=server.url, model_name="half_plus_two") as endpoint:
        assert endpoint.invoke(b"1 2 5").text == "[3.5, 4.0, 5.5]float32"
    with testing.Endpoint(tmp_path, server=server.url, model_name="nobody") as endpoint:
        assert endpoint.invoke(b"1").status == 404


def test_a_script_asks_a_server(server, tmp_path):
    (tmp_path / "inference.py").write_text(ASKS)
    with testing.Endpoint(tmp_path, server=server.url, model_name="half_plus_two") as endpoint:
        assert endpoint.invoke(b"arrays").json() == {"y": [3.5, 4.0, 5.5]}
        assert endpoint.invoke(b"version").json() == {"y": [3.5]}
        assert endpoint.invoke(b"version", custom_attributes="tfs-model-version=123").json() == {"y": [3.5]}
        assert endpoint.invoke(b"rest").json() == {"predictions": [3.5]}
        answer = endpoint.invoke(b"nobody")
        assert answer.status == 500 and "nobody" in answer.json()["error"]


def test_a_model_folder_gets_a_server(models, tmp_path, monkeypatch):
    (tmp_path / "inference.py").write_text(ASKS)
    monkeypatch.setenv("TERN_PROGRAM", str(BUILD / "tern"))
    with testing.Endpoint(tmp_path, model=models / "half_plus_two", model_name="half") as endpoint:
        started = endpoint._model._process
        one, two, five = endpoint.invoke(b"arrays").json()["y"]
        assert (two - one, five - two) == (0.5, 1.5)
        assert endpoint.invoke(b"rest").json() == {"predictions": [one]}
    assert started.poll() == 0


def test_a_folder_without_a_model_says_what_the_server_said(tmp_path, monkeypatch):
    (tmp_path / "inference.py").write_text(ASKS)
    (tmp_path / "model" / "1").mkdir(parents=True)
    monkeypatch.setenv("TERN_PROGRAM", str(BUILD / "tern"))
    with pytest.raises(RuntimeError, match="did not get ready"):
        testing.Endpoint(tmp_path, model=tmp_path / "model", timeout=3)
    monkeypatch.delenv("TERN_PROGRAM")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="TERN_PROGRAM"):
        testing.Endpoint(tmp_path, model=tmp_path / "model")
