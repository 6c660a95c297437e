"""What files and flags say about TensorFlow's session reaches TensorFlow: seen by the names of its threads and by its words."""
import pathlib

import pytest

from tern_server import make_models

pytestmark = pytest.mark.tensorflow

POOL = 'session_inter_op_thread_pool { num_threads: 3 global_name: "mine" }'
PLATFORM = """platform_configs {{ key: "tensorflow" value {{ source_adapter_config {{
  [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {{ legacy_config {{ {} }} }} }} }} }}"""


@pytest.fixture(scope="module")
def table():
    return make_models("engine_models.py", "engine") / "table"


def pool(server):
    """Threads of TensorFlow that run operations."""
    names = [path.read_text(encoding="ascii").strip() for path in pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/comm")]
    return sum(name.startswith("tf_Compute") for name in names)


@pytest.mark.parametrize("flag, text", [
    ("tensorflow_session_config_file", POOL),
    ("tensorflow_session_config_file", "inter_op_parallelism_threads: 3"),
    ("platform_config_file", PLATFORM.format("session_config { " + POOL + " }")),
    ("platform_config_file", PLATFORM.format("session_config { inter_op_parallelism_threads: 3 }"))])
def test_threads_of_a_file(start, tmp_path, table, flag, text):
    (tmp_path / "f").write_text(text)
    server = start(f"--model_base_path={table}", f"--{flag}={tmp_path}/f")
    assert pool(server) == 3


def test_flags_count_more_than_the_session_file(start, tmp_path, table):
    (tmp_path / "f").write_text("inter_op_parallelism_threads: 3 intra_op_parallelism_threads: 3")
    server = start(f"--model_base_path={table}", f"--tensorflow_session_config_file={tmp_path}/f",
                   "--tensorflow_inter_op_parallelism=5")
    assert pool(server) == 5


@pytest.mark.parametrize("program", ["tern", "tensorflow_model_server"])
def test_platform_file_counts_instead_of_flags(start, tmp_path, table, program):
    (tmp_path / "f").write_text(PLATFORM.format(
        'session_config { inter_op_parallelism_threads: 3 } saved_model_tags: "serve"'))
    (tmp_path / "s").write_text("inter_op_parallelism_threads: 7")
    server = start(f"--model_base_path={table}", f"--platform_config_file={tmp_path}/f", "--saved_model_tags=none",
                   f"--tensorflow_session_config_file={tmp_path}/s", "--tensorflow_inter_op_parallelism=5", program=program)
    assert pool(server) == 3


def test_tags_of_the_platform_file(start, tmp_path, table):
    (tmp_path / "f").write_text(PLATFORM.format('saved_model_tags: "serve" saved_model_tags: "gpu"'))
    server = start(f"--model_base_path={table}", f"--platform_config_file={tmp_path}/f", "--max_num_load_retries=0", wait="listen")
    server.until(lambda: "Could not find meta graph def matching supplied tags: { serve gpu }" in server.log
                 or "Could not find meta graph def matching supplied tags: { gpu serve }" in server.log, "it named the tags")


def test_bfloat16_turns_the_rewriter_on(start, table):
    server = start(f"--model_base_path={table}", "--mixed_precision=bfloat16", env={"TF_CPP_MIN_LOG_LEVEL": "0"})
    assert "Running auto_mixed_precision_onednn_bfloat16 graph optimizer" in server.log
