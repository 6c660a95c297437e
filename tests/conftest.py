"""TERN_PART=i/n: only the i-th of n parts of the tests, which may run at the same time. Whole files, so that their servers are shared."""
import collections
import os

# Files that take far longer than their number of tests says.
WEIGHTS = {"test_golden.py": 300, "test_sagemaker_large.py": 60, "test_engine_memory.py": 60, "test_html_model.py": 60}


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
