"""A version of the TensorFlow engine that is copied slowly, file by file and in pieces: not touched before it is whole."""
import shutil
import time

import pytest

pytestmark = pytest.mark.tensorflow
# Between two pieces: longer than a folder must be left alone when it looks whole.
PAUSE = 0.9
NAMES = {"by name": ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"],
         "index first": ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
         "model last": ["variables/variables.data-00000-of-00001", "variables/variables.index", "saved_model.pb"]}


def copy_slowly(source, target, names, look):
    """Every file in three pieces but the last, which comes at once when all before it are there."""
    for name in names:
        data = (source / name).read_bytes()
        third = -(-len(data) // 3)
        for at in range(0, len(data), third):
            if name != names[0] or at:
                time.sleep(PAUSE)
                look()
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with open(target / name, "ab") as f:
                f.write(data[at:at + third] if name != names[-1] else data)
            if name == names[-1]:
                return


@pytest.mark.parametrize("order", NAMES)
def test_slow_copy(start, models, tmp_path, order):
    source = models / "half_plus_two_tf2" / "1"
    base = tmp_path / "m"
    shutil.copytree(source, base / "1")
    server = start("--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=0")

    def look():
        assert server.predict("m", {"instances": [2.0]}).status == 200
        answer = server.get("/v1/models/m/versions/2")
        assert answer.status == 404 or answer.json()["model_version_status"][0]["state"] == "LOADING", "it was touched"
        assert "version 2: cannot be loaded" not in server.log, "it was touched"

    copy_slowly(source, base / "2", NAMES[order], look)
    server.until(lambda: b'"AVAILABLE"' in server.get("/v1/models/m/versions/2").body, "it was served")
    assert "failed" not in server.log and "cannot be loaded" not in server.log
