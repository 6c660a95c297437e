"""tern.Client against the real server."""
import json
import sys
import threading

import pytest

import example_models
from tern_server import ROOT

sys.path.insert(0, str(ROOT / "python"))
np = pytest.importorskip("numpy")
tern = pytest.importorskip("tern")
pytestmark = pytest.mark.example

HANDLED = "signature serving_default\ninput x float [-1]\noutput y float [-1] affine 0.5 2 x\n"


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m")
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example")


@pytest.fixture
def client(server):
    with tern.Client(server.url) as client:
        yield client


@pytest.mark.parametrize("dtype", sorted(set(example_models.DTYPES) - {"complex64", "complex128", "string"}))
@pytest.mark.parametrize("values", [[1, 0, 1], [[1, 0], [0, 1]], 1])
def test_arrays_of_every_type(client, dtype, values):
    given = np.array(values, example_models.DTYPES[dtype])
    found = client.predict("m", {"x": given}, signature=dtype)["y"]
    assert (found.dtype, found.shape, found.tolist()) == (given.dtype, given.shape, given.tolist())
    quick = client.predict_array("m", given, signature=dtype)
    assert (quick.dtype, quick.shape, quick.tolist()) == (given.dtype, given.shape, given.tolist())


def test_strings_and_python_values(client):
    assert client.predict("m", {"x": ["ä", b"\xff\0", "z"]}, signature="string")["y"].tolist() == ["ä".encode(), b"\xff\0", b"z"]
    assert client.predict("m", {"x": "one"}, signature="string")["y"].tolist() == b"one"
    assert client.predict("m", {"x": [1, 2.5]})["y"].tolist() == [2.5, 3.25]


def test_several_outputs_and_one_of_them(client):
    found = client.predict("m", {"a": [1.0], "b": np.array([3], np.int64)}, signature="pair")
    assert {name: (str(array.dtype), array.tolist()) for name, array in found.items()} == {"a": ("float32", [2.0]), "b": ("int32", [3])}
    assert list(client.predict("m", {"a": [1.0], "b": [3]}, signature="pair", outputs=["b"])) == ["b"]


@pytest.mark.parametrize("call, status, words", [
    (lambda client: client.predict("nobody", {"x": [1.0]}), 404, "nobody"),
    (lambda client: client.predict("m", {"wrong": [1.0]}), 400, "named input: x"),
    (lambda client: client.predict("m", {"x": [1.0]}, signature="nothing"), 400, "nothing"),
    (lambda client: client.predict("m", {"x": [1.0]}, outputs=["z"]), 400, "no output 'z'"),
    (lambda client: client.predict("m", {"x": [1.0]}, version=7), 404, "7"),
    (lambda client: client.predict("m", {"x": [1.0]}, signature="fails"), 400, "broken"),
    (lambda client: client.predict_array("m", np.array(["a"])), 400, ""),
    (lambda client: client.status("nobody"), 404, "nobody"),
    (lambda client: client.signatures("nobody"), 404, "nobody"),
    (lambda client: client.invoke("m", b"x", "text/plain"), 400, "no handler"),
])
def test_refusals(client, call, status, words):
    with pytest.raises(tern.ServerError) as refused:
        call(client)
    assert refused.value.status == status and words in str(refused.value)
    assert client.predict("m", {"x": [1.0]})["y"].tolist() == [2.5]


def test_what_there_is(client):
    assert client.is_ready() and client.is_ready("m") and not client.is_ready("nobody")
    assert [version["state"] for version in client.status("m")] == ["AVAILABLE"]
    assert client.signatures("m", 1)["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert not tern.Client("http://localhost:9").is_ready()
    with pytest.raises(ValueError):
        tern.Client("localhost:8501")


def test_threads(client):
    found = []
    threads = [threading.Thread(target=lambda i=i: found.extend(
        client.predict("m", {"x": [float(i)]})["y"].tolist() == [i / 2 + 2] for _ in range(20))) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 120


def test_a_document_and_a_server_that_was_started_anew(start, tmp_path):
    folder = example_models.write(tmp_path / "m", body=HANDLED)
    (folder / "1" / "assets.extra").mkdir()
    (folder / "1" / "assets.extra" / "tern.json").write_text(json.dumps({"handler": "example"}))
    first = start("--model_name=m", f"--model_base_path={folder}", "--engine=example")
    with tern.Client(first.url) as client:
        answer = client.invoke("m", b"one\nthree\n", "text/plain; charset=utf-8")
        assert answer.content_type == "application/json" and answer.json() and answer.text == answer.body.decode()
        first.stop()
        again = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", f"--rest_api_port={first.rest}")
        assert again.rest == first.rest
        assert client.invoke("m", b"one\nthree\n", "text/plain").body == answer.body
