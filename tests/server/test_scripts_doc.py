"""The scripts and tests of docs/scripts.md do what the page says: without a server, and in workers of one."""
import os
import re
import subprocess
import sys

import pytest

import example_models
from sagemaker_server import SageMaker, write_model
from tern_server import ROOT

PAGE = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
BLOCKS = {(kind, name): text for kind, name, text in re.findall(r"<!-- (script|test) (\w+) -->\n```python\n(.*?)```", PAGE, re.S)}
PACKAGE = str(ROOT / "python")
sys.path.insert(0, PACKAGE)
testing = pytest.importorskip("tern.testing")
np = pytest.importorskip("numpy")
pytestmark = pytest.mark.example

# name: (body, content type, what comes back as text)
CALLS = {
    "classic": (b"1.0,0\n2.0,0", "text/csv", '{ "outputs": [ 2.5, 3.0 ] }'),
    "pair": (b"1.0,2.0", "text/csv", '{ "predictions": [2.5, 3.0 ] }'),
    "arrays": (np.array([1, 2], "<f4").tobytes(), "application/octet-stream", np.array([2.5, 3], "<f4").tobytes().decode("latin-1")),
    "predict": (b"[1.0, 2.0]", None, "[3.25, 3.5]"),
    "stream": (b"one two", None, "eno owt "),
    "grpc": (b"1 2", None, "[2.5, 3.0]"),
}


def same(body, expected):
    return re.sub(r"\s+", " ", body.decode("latin-1")) == re.sub(r"\s+", " ", expected)


@pytest.fixture
def code(tmp_path):
    """code(name) -> folder with that script."""
    def code(name):
        folder = tmp_path / "code"
        folder.mkdir()
        (folder / "inference.py").write_text(BLOCKS["script", name], encoding="utf-8")
        return folder
    return code


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "half_plus_two")
    return start_shared("--model_name=half_plus_two", f"--model_base_path={folder}", "--engine=example")


def test_every_block_is_used():
    assert {name for kind, name in BLOCKS if kind == "script"} == set(CALLS)
    assert PAGE.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("name", sorted(name for kind, name in BLOCKS if kind == "test"))
def test_tests(code, name, tmp_path):
    code(name)
    (tmp_path / "test_page.py").write_text(BLOCKS["test", name], encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "tern.testing.plugin", "-p", "no:cacheprovider", "test_page.py"],
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": PACKAGE}, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0 and f"{BLOCKS['test', name].count('def test_')} passed" in done.stdout, done.stdout


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"grpc"}))
def test_scripts(code, server, name):
    body, kind, expected = CALLS[name]
    with testing.Endpoint(code(name), server=server.url, grpc_port=server.grpc, model_name="half_plus_two") as endpoint:
        answer = endpoint.invoke(body, content_type=kind, reraise=True)
    assert answer.status == 200
    assert same(answer.body, expected)


def test_grpc_script_without_tensorflow(code, server):
    """In a process of its own, where TensorFlow is hidden."""
    body, _, expected = CALLS["grpc"]
    lines = ["import hidden", "hidden.hide('tensorflow', 'tensorflow_serving')", "import sys", "from tern.testing import Endpoint",
             "with Endpoint(sys.argv[1], server=sys.argv[2], grpc_port=int(sys.argv[3]), model_name='half_plus_two') as endpoint:",
             f"    print(endpoint.invoke({body!r}, reraise=True).text)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines), code("grpc"), server.url, str(server.grpc)], check=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{PACKAGE}:{PACKAGE}/tests"}, stdout=subprocess.PIPE)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("name", sorted(CALLS))
def test_scripts_in_workers(tmp_path, name):
    body, kind, expected = CALLS[name]
    write_model(tmp_path / "base" / "model" / "half_plus_two")
    folder = tmp_path / "base" / "model" / "code"
    folder.mkdir()
    first = "import sys\nsys.path.append({!r})\nimport hidden\nhidden.hide('tensorflow', 'tensorflow_serving')\n" if name == "grpc" else ""
    (folder / "inference.py").write_text(first.format(PACKAGE + "/tests") + BLOCKS["script", name], encoding="utf-8")
    server = SageMaker(tmp_path / "server", tmp_path / "base", env={"TERN_PYTHON": sys.executable})
    try:
        for _ in range(3):
            answer = server.ask("POST", "/invocations", data=body, headers={"Content-Type": kind} if kind else {})
            assert answer.status_code == 200, (answer.text, server.log[-3000:])
            assert same(answer.content, expected)
        if name == "stream":
            assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "direction=back"
    finally:
        server.stop()
