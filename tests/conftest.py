"""TERN_PART=i/n: only the i-th of n parts of the tests, which may run at the same time. Whole files, so that their servers are shared."""
import collections
import os

# Files that take far longer than their number of tests says; a test takes about 0.4 s.
WEIGHTS = {"test_golden.py": 700, "test_handlers.py": 180, "test_sagemaker_models.py": 165, "test_scripts_faults.py": 145,
           "test_engine_memory.py": 125, "test_engine_tensorflow.py": 125, "test_reload.py": 110, "test_net_limits.py": 100,
           "test_life.py": 85, "test_read_command.py": 85, "test_html_model.py": 75, "test_tune_command.py": 70, "test_async.py": 65}


def pytest_collection_modifyitems(config, items):
    part = os.environ.get("TERN_PART")
    if not part:
        return
    index, parts = map(int, part.split("/"))
    sizes = collections.Counter(item.path for item in items)
    loads, place = [0] * parts, {}
    for path, size in sorted(sizes.items(), key=lambda one: (-max(one[1], WEIGHTS.get(one[0].name, 0)), str(one[0]))):
        lightest = loads.index(min(loads))
        place[path] = lightest
        loads[lightest] += max(size, WEIGHTS.get(path.name, 0))
    kept = [item for item in items if place[item.path] == index - 1]
    config.hook.pytest_deselected(items=[item for item in items if place[item.path] != index - 1])
    items[:] = kept
