"""The recorded answers of TensorFlow Serving, replayed: see run.py."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("TERN_BUILD", HERE.parents[1] / "build"))
SHARED = pathlib.Path(os.environ.get("TERN_SHARED", HERE.parents[2] / "shared"))


@pytest.mark.tensorflow
@pytest.mark.timeout(1200)
def test_golden_tensorflow_serving():
    if not (SHARED / "golden" / "tensorflow_serving").is_dir():
        pytest.skip(f"no recorded answers at {SHARED} (TERN_SHARED)")
    if not (BUILD / "engines" / "tensorflow.so").exists():
        pytest.skip(f"{BUILD} has no TensorFlow engine")
    run = subprocess.run([sys.executable, str(HERE / "run.py")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, errors="replace", check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-6000:]
