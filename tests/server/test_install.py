"""What `make install` leaves behind serves without the build folder, wherever it is put."""
import os
import pathlib
import shutil
import subprocess

import pytest

from tern_server import BUILD, has_engine

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the prefix became below a DESTDIR; moved away from there, so that no path in it is as it was."""
    if shutil.which("meson") is None:
        pytest.skip("no meson")
    place = tmp_path_factory.mktemp("install")
    done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", place / "first"], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
                          env={k: v for k, v in os.environ.items() if k != "DESTDIR"})
    assert done.returncode == 0, done.stdout[-3000:]
    (program,) = (place / "first").rglob("bin/tern")
    program.parents[1].rename(place / "second")
    yield place / "second"
    shutil.rmtree(place)


@pytest.mark.tensorflow
@pytest.mark.parametrize("program", ["tern", "tensorflow_model_server"])
def test_installed(start, models, installed, program):
    server = start("--model_name=half", f"--model_base_path={models / 'half_plus_two'}", build=installed / "bin",
                   program=program)
    assert server.predict("half", {"instances": [1.0, 5.0]}).json() == {"predictions": [3.5, 5.5]}
    maps = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    used = {line.split()[-1] for line in maps.splitlines() if "tensorflow" in line}
    assert used and all(path.startswith(str(installed)) for path in used), used


@pytest.mark.skipif(not has_engine("openvino"), reason="this build has no OpenVINO engine")
def test_installed_openvino(start, models, installed):
    """OpenVINO finds its plugin and its front end where they were put."""
    server = start("--model_name=half", f"--model_base_path={models / 'half_plus_two'}", "--engine=openvino",
                   build=installed / "bin")
    assert server.predict("half", {"instances": [1.0, 5.0]}).json() == {"predictions": [3.5, 5.5]}
    maps = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    used = {line.split()[-1] for line in maps.splitlines() if "libopenvino" in line}
    assert len(used) == 4 and all(path.startswith(str(installed)) for path in used), used
