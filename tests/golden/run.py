#!/usr/bin/env python3
"""Replays recorded answers of TensorFlow Serving against Tern and judges the differences.

    tests/golden/run.py [--build build] [--shared ../shared] [--later] [--jobs 2] [--group REGEX] [--id REGEX] [--json FILE]

The cases and the code that sends and compares them are outside the project, in SHARED/golden/tensorflow_serving. This
script chooses the groups (covered.txt), leaves out what is not built yet (later.txt), forgives the differences that
exceptions.txt names, and prints the rest, grouped by what they have in common. Exit 1 when any is left, when a line of
exceptions.txt is not needed, or when a group stands in no list.

The fixture models are written once into BUILD/golden-models by the recorded set's own script (10 s).
"""
import argparse
import collections
import fnmatch
import importlib.util
import json
import math
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILES = ("rest", "values", "grpc", "sequences", "cli")
DENORMAL = 1.17549435e-38  # smaller floats are; doubles this small differ only where they are denormal, too
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def lines_of(path, columns):
    """Non-empty lines of a list file as tuples; '#' at the start of a line is a comment."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            parts = line.split(None, columns - 1)
            if len(parts) != columns:
                sys.exit(f"{path.name}: a line needs {columns} columns: {line!r}")
            out.append(tuple(parts))
    return out


class Lists:
    """covered.txt, later.txt and exceptions.txt."""

    def __init__(self, folder=HERE):
        self.covered = {group for (group,) in lines_of(folder / "covered.txt", 1)}
        self.later = lines_of(folder / "later.txt", 2)
        self.exceptions = lines_of(folder / "exceptions.txt", 3)

    def is_later(self, case):
        return any(case["group"] == p or fnmatch.fnmatchcase(case["id"], p) for p, _ in self.later)

    def unknown_groups(self, cases):
        return sorted({c["group"] for c in cases if c["group"] not in self.covered and not self.is_later(c)})

    def exceptions_of(self, case):
        return [e for e in self.exceptions if fnmatch.fnmatchcase(case["id"], e[0])]


def load_replay(folder):
    spec = importlib.util.spec_from_file_location("golden_replay", folder / "replay.py")
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def patient(replay, setups, note):
    """Gives servers time to start on a busy machine, and shows the log of one that does not."""
    for setup in setups.values():
        setup.setdefault("start_s", 120)
    plain = replay.Server.wait_ready

    def wait_ready(server):
        plain(server)
        try:
            replay.http(server.rest, b"GET /v1/models/none HTTP/1.1\r\nHost: localhost\r\n\r\n", 5)
        except OSError as error:
            log = pathlib.Path(server.scratch, "log").read_text(encoding="utf-8", errors="replace")
            note(f"server {server.setup['name']} does not answer ({error}); its log:\n{log[-3000:]}")

    replay.Server.wait_ready = wait_ready


def fixture_models(folder, build, name="golden-models"):
    """Writes the fixture models unless they are there. Returns their folder."""
    models = build / name
    done = models / ".done"
    if not done.exists():
        models.mkdir(parents=True, exist_ok=True)
        made = subprocess.run([sys.executable, str(folder / "models.py"), str(models)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
        if made.returncode:
            sys.exit("the fixture models could not be made:\n" + made.stdout[-4000:])
        done.touch()
    return models


def is_error(kind, answer):
    if kind == "rest":
        return answer.get("status", 0) >= 400 or answer.get("no_answer") == "closed"
    return answer.get("code", "OK") not in ("OK", "UNREACHABLE")


def near(a, b):
    """Equal but for the last digits of numbers and for denormal numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, str) and isinstance(b, str):
        return NUMBER.sub("#", a) == NUMBER.sub("#", b) and all(
            map(near, map(float, NUMBER.findall(a)), map(float, NUMBER.findall(b))))
    if isinstance(a, float) and isinstance(b, float):
        small = max(abs(a), abs(b)) < DENORMAL
        # Two floats that are neighbours differ by at most 1.2e-7 of their size.
        return a == b or (math.isnan(a) and math.isnan(b)) or small or math.isclose(a, b, rel_tol=1.2e-7)
    return a == b


def near_answers(kind, want, got):
    if kind != "rest" or want.get("status") != got.get("status") or want.get("headers") != got.get("headers"):
        return False
    try:
        # Every number as float: 1e+30 and 10...0 are the same.
        return near(*(json.loads(x["body"], parse_int=float) for x in (want, got)))
    except (ValueError, TypeError):
        return False


def forgiven(check, case, want, got, replay):
    kind = case["kind"]
    if kind == "sequence":
        return check == "status" and replay.equal_sequence(want, got, "status")
    if got.get("alive") is False:
        return False
    if check == "status":
        return replay.EQUAL[kind](want, got, "status")
    if check == "close":
        return near_answers(kind, want, got)
    if check == "page":
        return "text/html" in want.get("headers", {}).get("content-type", "") and want["status"] == got.get("status")
    if check == "error":
        return is_error(kind, got)
    sys.exit(f"exceptions.txt: unknown comparison {check!r}")


def cause(case, want, got):
    """A short text that differences of one cause share, for grouping."""
    if case["kind"] == "sequence":
        for number, (a, b) in enumerate(zip(want["answers"], got["answers"])):
            if a != b:
                return f"step {number}: " + mask(json.dumps(a)) + " -> " + mask(json.dumps(b))
        return "server ended"
    if "no_answer" in got:
        return f"no answer ({got['no_answer']}), wanted {want.get('status', want)}"
    for key in ("status", "code", "headers", "reason", "message", "body", "json", "response", "exit", "stdout"):
        if key in want and want[key] != got.get(key):
            return f"{key}: {mask(want[key])} -> {mask(got.get(key))}" + (
                f" ({mask(got.get('body', got.get('message', '')))})" if key in ("status", "code") else "")
    return "other"


def mask(value, size=110):
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "#", text)
    return text if len(text) <= size else text[:size] + "..."


def judge(pairs, lists, replay):
    """-> (count of same, [(case, got)] unexpected, {exception line used}, [id forgiven])."""
    same, unexpected, used, forgiven_ids = 0, [], set(), []
    for case, got in pairs:
        if got is None:
            sys.exit("the package grpcio is not installed")
        want = case["answer"]
        equal = replay.EQUAL[case["kind"]](want, got, case["compare"])
        if equal and want.get("alive", True) == got.get("alive", True):
            same += 1
            continue
        fits = [e for e in lists.exceptions_of(case) if forgiven(e[1], case, want, got, replay)]
        if fits:
            used.update(fits)
            forgiven_ids.append(case["id"])
        else:
            unexpected.append((case, got))
    return same, unexpected, used, forgiven_ids


def report(unexpected, replay, show):
    causes = collections.defaultdict(list)
    for case, got in unexpected:
        causes[(case["group"], cause(case, case["answer"], got))].append((case, got))
    for (group, why), found in sorted(causes.items(), key=lambda item: -len(item[1])):
        print(f"\n{len(found)} x {group}: {why}")
        for case, got in sorted(found, key=lambda f: f[0]["id"])[:show]:
            print(f"  {case['id']} (compare {case['compare']}): {replay.describe(case)}")
            visible = [replay.visible(case["kind"], a) for a in (case["answer"], got)]
            print(replay.first_difference(*visible))
        if len(found) > show:
            print("  also: " + " ".join(c["id"] for c, _ in found[show:]))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.environ.get("TERN_BUILD", str(ROOT / "build")))
    parser.add_argument("--shared", default=os.environ.get("TERN_SHARED", str(ROOT.parent / "shared")))
    parser.add_argument("--later", action="store_true", help="send the cases of later.txt, and only those")
    parser.add_argument("--jobs", type=int, default=2, help="servers at a time")
    parser.add_argument("--group", help="only groups that match this regular expression")
    parser.add_argument("--id", help="only cases whose id matches this regular expression")
    parser.add_argument("--show", type=int, default=2, help="differences to show of each cause")
    parser.add_argument("--json", help="write the differing ids by cause here")
    args = parser.parse_args(argv)

    folder = pathlib.Path(args.shared).resolve() / "golden" / "tensorflow_serving"
    if not folder.is_dir():
        sys.exit(f"no recorded answers: {folder}")
    build = pathlib.Path(args.build).resolve()
    binary = build / "tensorflow_model_server"
    replay, lists = load_replay(folder), Lists()
    setups, cases = replay.load([str(folder / f"{name}.jsonl") for name in FILES])
    unknown = lists.unknown_groups(cases)
    if unknown:
        sys.exit("groups in no list: " + " ".join(unknown))
    whole = not (args.group or args.id or args.later)
    cases = [c for c in cases if lists.is_later(c) == args.later]
    cases = [c for c in cases if re.search(args.group or "", c["group"]) and re.search(args.id or "", c["id"])]
    models = fixture_models(folder, build)
    # The answers were recorded without oneDNN, whose kernels have other words for some errors.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    patient(replay, setups, lambda text: print("note:", text))
    pairs = replay.run_parallel(str(binary), str(models), setups, cases, args.jobs, lambda text: print("note:", text))
    same, unexpected, used, excused = judge(pairs, lists, replay)
    report(unexpected, replay, args.show)
    unneeded = [e for e in lists.exceptions if e not in used] if whole else []
    for pattern, check, reason in unneeded:
        print(f"exceptions.txt: nothing needs {pattern} {check} {reason}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(
            {"same": same, "excused": excused, "different": [c["id"] for c, _ in unexpected]}, indent=1), encoding="utf-8")
    print(f"golden: {same} same, {len(excused)} different on purpose, {len(unexpected)} different")
    return 1 if unexpected or unneeded or not same else 0


if __name__ == "__main__":
    sys.exit(main())
