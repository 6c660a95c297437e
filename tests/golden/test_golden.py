"""The recorded answers of TensorFlow Serving and of the SageMaker container, replayed: see run.py and run_sagemaker.py."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("TERN_BUILD", HERE.parents[1] / "build"))
SHARED = pathlib.Path(os.environ.get("TERN_SHARED", HERE.parents[2] / "shared"))


def replay(recorded, script):
    if not (SHARED / "golden" / recorded).is_dir():
        pytest.skip(f"no recorded answers at {SHARED} (TERN_SHARED)")
    if not (BUILD / "engines" / "tensorflow.so").exists():
        pytest.skip(f"{BUILD} has no TensorFlow engine")
    run = subprocess.run([sys.executable, str(HERE / script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, errors="replace", check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-6000:]


@pytest.mark.tensorflow
@pytest.mark.timeout(1200)
def test_golden_tensorflow_serving():
    replay("tensorflow_serving", "run.py")


@pytest.mark.tensorflow
@pytest.mark.timeout(1800)
def test_golden_sagemaker():
    replay("sagemaker", "run_sagemaker.py")
