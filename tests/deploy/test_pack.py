"""deploy/sagemaker/pack.py: what it writes, what it finds, and that the server finds the same."""
import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

import container
import tern_server

PACK = tern_server.ROOT / "deploy" / "sagemaker" / "pack.py"


def pack(*words, code=0):
    """-> its report; the text of its failure where it ends with another code than asked for"""
    done = subprocess.run([sys.executable, str(PACK), "--json", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture
def model(tmp_path):
    """A folder of two versions, of which only the names count here."""
    for version in ("1", "00000123"):
        (tmp_path / "half" / version / "variables").mkdir(parents=True)
        (tmp_path / "half" / version / "saved_model.pb").write_bytes(b"model")
        (tmp_path / "half" / version / "variables" / "variables.index").write_bytes(b"")
    return tmp_path / "half"


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "inference.py").write_text("def handler(data, context):\n    return b'', 'text/plain'\n", encoding="utf-8")
    return folder


def names_in(path):
    with tarfile.open(path) as tar:
        return sorted(tar.getnames())


def test_versions_and_code(model, code, tmp_path):
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "inference.pyc").write_bytes(b"x")
    report = pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")
    assert report["models"] == {"half": {"folder": "half", "versions": [1, 123]}}
    assert report["handler"] == "code/inference.py (handler)" and not report["warnings"]
    assert names_in(tmp_path / "m.tar.gz") == [
        "code/inference.py", "half/00000123/saved_model.pb", "half/00000123/variables/variables.index", "half/1/saved_model.pb",
        "half/1/variables/variables.index"]
    checked = pack("--check", tmp_path / "m.tar.gz")
    del report["written"]
    assert checked == report
    first = (tmp_path / "m.tar.gz").read_bytes()
    os.utime(code / "inference.py", (1, 1))
    pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")
    assert (tmp_path / "m.tar.gz").read_bytes() == first, "the same files make the same archive"


@pytest.mark.parametrize("words, names", [
    (["{}/1"], {"half": [1]}), (["mine={}/1"], {"mine": [1]}), (["mine={}"], {"mine": [1, 123]}),
    (["{}", "other={}"], {"half": [1, 123], "other": [1, 123]})])
def test_names(model, tmp_path, words, names):
    report = pack(*(w.format(model) for w in words), "--out", tmp_path / "m.tar.gz")
    assert {name: found["versions"] for name, found in report["models"].items()} == names


def test_a_saved_model_of_its_own_becomes_version_1(model, tmp_path):
    alone = tmp_path / "export"
    (model / "1").rename(alone)
    assert pack(alone, "--out", tmp_path / "m.tar.gz")["models"] == {"export": {"folder": "export", "versions": [1]}}


@pytest.mark.parametrize("script, said", [
    ("def handler(data, context)\n    pass\n", "line 1"),
    ("def input_handler(data, context):\n    pass\n", "input_handler() without the other"),
    ("x = 1\n", "neither handler nor"),
])
def test_a_script_that_would_not_start(model, code, tmp_path, script, said):
    (code / "inference.py").write_text(script, encoding="utf-8")
    report = pack(model, "--code", code, "--out", tmp_path / "m.tar.gz", code=1)
    assert said in report["errors"][0] and not (tmp_path / "m.tar.gz").exists()


@pytest.mark.parametrize("script, how", [
    ("from mine import handler\n", "handler"),
    ("try:\n    import fast\n    input_handler = fast.f\nexcept ImportError:\n    def input_handler(d, c): pass\n"
     "output_handler = print\n", "input_handler and output_handler"),
    ("from everything import *\n", "what it imports with *"),
])
def test_scripts_that_start(model, code, tmp_path, script, how):
    (code / "inference.py").write_text(script, encoding="utf-8")
    assert pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")["handler"] == f"code/inference.py ({how})"


def test_warnings(model, code, tmp_path):
    (code / "requirements.txt").write_text("numpy\n", encoding="utf-8")
    assert "from the network" in pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")["warnings"][0]
    (code / "wheels").mkdir()
    (code / "wheels" / "x.whl").write_bytes(b"")
    assert not pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")["warnings"]
    (code / "lib").mkdir()
    (code / "lib" / "mine.py").write_bytes(b"")
    assert "is not installed" in pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")["warnings"][0]


def test_a_c_handler(model, code, tmp_path):
    (code / "inference.py").unlink()
    (code / "handler.so").write_bytes(b"\x7fELF no entry")
    assert "tern_handler_entry" in pack(model, "--code", code, "--out", tmp_path / "m.tar.gz", code=1)["errors"][0]
    (code / "handler.so").write_bytes(b"\x7fELF tern_handler_entry")
    assert pack(model, "--code", code, "--out", tmp_path / "m.tar.gz")["handler"] == "code/handler.so"


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("files, said", [
    ({"model/1/weights": b""}, "there is no model"),
    ({"saved_model.pb": b"x"}, "there is no model"),
    ({"a/m/1/saved_model.pb": b"x", "b/m/1/saved_model.pb": b"x"}, "two models are called m"),
    ({"m/1/saved_model.pb": b""}, "is empty"),
    ({"m/1/saved_model.pb": b"x", "../../etc/passwd": b"x"}, "leads out of"),
    ({"top/m/1/saved_model.pb": b"x", "top/code/inference.py": b"def handler(d, c): pass\n"}, "everything lies below top/"),
])
def test_archives_that_would_not_work(tmp_path, files, said):
    report = pack("--check", archive(tmp_path / "m.tar.gz", files), code=1)
    assert any(said in error for error in report["errors"]), report


def test_what_cannot_be_read(tmp_path, model):
    (tmp_path / "m.tar.gz").write_bytes(b"no archive")
    assert "is not a whole tar.gz" in pack("--check", tmp_path / "m.tar.gz", code=1)
    assert "is not a folder" in pack(tmp_path / "nowhere", code=1)
    whole = archive(tmp_path / "w.tar.gz", {"m/1/saved_model.pb": os.urandom(100000)}).read_bytes()
    (tmp_path / "m.tar.gz").write_bytes(whole[:50000])
    assert "is not a whole tar.gz" in pack("--check", tmp_path / "m.tar.gz", code=1)
    (model / "1" / "gone").symlink_to(tmp_path / "nowhere")
    assert "is a link to nothing" in pack(model, code=1)


@pytest.mark.tensorflow
def test_the_server_finds_the_same(models, tmp_path):
    """Unpacked as the platform does it, `serve` has the models that the report names."""
    report = pack(models / "half_plus_two", f"types={models / 'types'}", "--out", tmp_path / "m.tar.gz")
    (tmp_path / "base" / "model").mkdir(parents=True)
    subprocess.run(["tar", "-xzf", tmp_path / "m.tar.gz", "-C", tmp_path / "base" / "model"], check=True)
    port = container.free_ports(5)
    running = container.Running(
        ["env", f"SAGEMAKER_BASE_DIR={tmp_path / 'base'}", f"SAGEMAKER_BIND_TO_PORT={port}",
         f"SAGEMAKER_SAFE_PORT_RANGE={port + 1}-{port + 4}", str(tern_server.BUILD / "serve")],
        tmp_path / "log.txt", lambda r, number: r.process.send_signal(number))
    try:
        running.until(lambda: container.is_up(port), "/ping answered")
        for name, found in report["models"].items():
            status, body = container.ask(port + 2, "GET", f"/v1/models/{name}")
            assert status == 200, body
            assert sorted(int(v["version"]) for v in json.loads(body)["model_version_status"]) == found["versions"]
        assert report["default_model"] == "half_plus_two"
        status, body = container.ask(port, "POST", "/invocations", b'{"instances": [1.0]}', Content_Type="application/json")
        assert status == 200 and "predictions" in json.loads(body)
        assert running.terminate() == 0, running.log
    finally:
        running.kill()
