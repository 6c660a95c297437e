"""What the TensorFlow engine keeps: nothing that clients can make grow, nothing of a version that went."""
import pathlib
import subprocess

import numpy as np
import pytest

from tern_server import BUILD, make_models

pytestmark = pytest.mark.tensorflow
tern_grpc = pytest.importorskip("tern_grpc")


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
