"""The package as a whole: it is typed, its wheel builds and installs without a network, and the wheel is complete."""
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **more)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools leaves its traces in the folder."""
    pytest.importorskip("wheel")
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PACKAGE, place / "python", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    shutil.copy(PACKAGE.parent / "VERSION", place)
    run(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", place / "out",
        place / "python", env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (path,) = (place / "out").iterdir()
    return path


def test_wheel_holds_every_file(wheel):
    version = (PACKAGE.parent / "VERSION").read_text().strip()
    assert wheel.name == f"tern_serving-{version}-py3-none-any.whl"
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {str(path.relative_to(PACKAGE)) for path in (PACKAGE / "tern").rglob("*")
             if path.is_file() and path.suffix != ".pyc"}
    assert inside == there and "tern/py.typed" in inside


def test_wheel_installs_and_works_alone(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONFIG_FILE")}
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", wheel, env=plain, cwd=tmp_path)
    assert run(python, "-m", "tern.worker.requirements", tmp_path, env=plain, cwd=tmp_path) == f"{tmp_path}\n"
    modules = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in (PACKAGE / "tern").rglob("*.py")]
    names = sorted(name[:-len(".__init__")] if name.endswith(".__init__") else name
                   for name in modules if not name.endswith(("__main__", "testing.plugin")))  # pytest's plugin needs pytest
    # Nothing but the standard library is there: every module can be imported all the same.
    run(python, "-W", "error", "-c", "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)", *names,
        env=plain, cwd=tmp_path)


def test_types():
    pytest.importorskip("mypy")
    assert "Success" in run(sys.executable, "-m", "mypy", "--cache-dir", os.devnull, cwd=PACKAGE)
