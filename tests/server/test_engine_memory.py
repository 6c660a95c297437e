"""What the TensorFlow engine keeps: nothing that clients can make grow, nothing of a version that went."""
import pathlib
import shutil
import subprocess
import threading

import numpy as np
import pytest

from tern_server import BUILD, make_models

pytestmark = pytest.mark.tensorflow
tern_grpc = pytest.importorskip("tern_grpc")
from tensorflow_serving.apis import model_management_pb2  # noqa: E402

AVAILABLE, END = 30, 50


@pytest.fixture(scope="module")
def folders():
    return make_models("engine_models.py", "engine")


def resident_kb(server):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def some_sets(n, seed):
    """n different sets of the outputs' numbers, in any order."""
    rng = np.random.default_rng(seed)
    seen = set()
    while len(seen) < n:
        order = tuple(rng.permutation(12)[:rng.integers(1, 12)].tolist())
        if frozenset(order) not in map(frozenset, seen):
            seen.add(order)
    return sorted(seen)


def test_output_filters(start, folders):
    """TensorFlow keeps 140 kB for each list of outputs that it runs; 600 lists chosen by a client leave less than 8 MB."""
    server = start("--model_name=outputs", f"--model_base_path={folders / 'outputs'}")
    x = {"x": np.array([0.5, -1.0], "f4")}
    with tern_grpc.Client(server.grpc) as client:
        every = tern_grpc.outputs_of(client.predict(tern_grpc.predict_request("outputs", x)))
        assert len(every) == 12

        def ask(order):
            wanted = [f"y{i:02}" for i in order]
            got = tern_grpc.outputs_of(client.predict(tern_grpc.predict_request("outputs", x, output_filter=wanted)))
            assert got.keys() == set(wanted)
            for alias in wanted:
                tern_grpc.assert_same(got[alias], every[alias])

        for order in some_sets(40, 1):
            ask(order)
        before = resident_kb(server)
        for order in some_sets(600, 2):
            ask(order)
        grown = resident_kb(server) - before
    assert grown < 8000, f"{grown} kB more"


def test_shards_count(folders):
    """What a model is said to hold is its graph and all files of its variables."""
    tool = BUILD / "tests" / "tools" / "engine_run"
    if not tool.exists():
        pytest.skip(f"no {tool}")
    version = folders / "sharded" / "1"
    shards = list((version / "variables").glob("variables.data-*"))
    assert len(shards) > 1
    told = subprocess.run([tool, f"--path={BUILD / 'engines'}", "tensorflow", version], check=True, timeout=100,
                          stdout=subprocess.PIPE, text=True).stdout
    size = sum(p.stat().st_size for p in [version / "saved_model.pb", *shards])
    assert f" {size} bytes" in told, told


def reload_request(models):
    """models: {name: (base path, version)}"""
    request = model_management_pb2.ReloadConfigRequest()
    for name, (path, version) in models.items():
        config = request.config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
        config.model_version_policy.specific.versions.append(version)
    return request


@pytest.mark.parametrize("model,inputs", [
    ("large", {"x": np.ones((1, 2048), "f4")}),
    ("text", {"text": np.array([[b"the sea"]], dtype=object)}),
], ids=["large", "text"])
def test_fifty_reloads(start, folders, models, tmp_path, model, inputs):
    """After 50 reloads (two versions in turn, each answers) the process is within a tenth of what it was after two, while
    another model is asked all the time."""
    for version in ("1", "2"):
        shutil.copytree(folders / model / "1", tmp_path / model / version)
    half = models / "half_plus_two"
    server = start("--model_name=half", f"--model_base_path={half}")
    over, failed = threading.Event(), []

    def traffic():
        while not over.is_set():
            answer = server.predict("half", {"instances": [1.0]})
            if answer.status != 200:
                failed.append(answer)
            over.wait(0.005)

    thread = threading.Thread(target=traffic)
    thread.start()
    sizes = []
    try:
        with tern_grpc.Client(server.grpc) as client:
            for i in range(52):
                version = 1 + i % 2
                answer = client.model.HandleReloadConfigRequest(
                    reload_request({"half": (half, 2), "m": (tmp_path / model, version)}), timeout=60)
                assert not answer.status.error_code, answer

                def swapped(wanted=version):
                    states = {v.version: v.state for v in client.status("m").model_version_status}
                    return states.get(wanted) == AVAILABLE and states.get(3 - wanted, END) == END

                server.until(swapped, f"version {version} alone is served")
                client.predict(tern_grpc.predict_request("m", inputs))
                sizes.append(resident_kb(server))
    finally:
        over.set()
        thread.join()
    print("RSS kB:", sizes)
    assert not failed, failed[0]
    assert sizes[-1] < 1.1 * sizes[1], sizes
