#!/usr/bin/env python3
"""Replays recorded answers of the SageMaker TensorFlow Serving container against Tern and judges the differences.

    tests/golden/run_sagemaker.py [--build build] [--shared ../shared] [--later] [--jobs 2] [--generation 2.20] [--setup REGEX]
                              [--group REGEX] [--id REGEX] [--show 20]

The cases and the code that sends and compares them are outside the project, in SHARED/golden/sagemaker. This script
leaves out what is not built yet (sagemaker_later.txt), forgives the differences that sagemaker_exceptions.txt names, and
prints the rest. Exit 1 when any is left, or when a line of either file fits nothing.

A case is named GENERATION/ID in both files and by --id, for instance 2.19/routing/ping/20. The fixture models are
written once into BUILD/golden-sagemaker by the recorded set's own script. Handler scripts run under this Python.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

import run as golden

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = ("routing", "python", "models", "start")
PORTS = 50


def lines_of(path, columns):
    """[(compiled regex, ...)] of the lines "REGEX | ... | reason"."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            parts = [part.strip() for part in line.split(" | ")]
            if len(parts) != columns:
                sys.exit(f"{path.name}: a line needs {columns} columns: {line!r}")
            out.append((re.compile(parts[0]), *parts[1:]))
    return out


def name_of(case):
    return f"{case['generation']}/{case['id']}"


def fitting(lines, case):
    return [line for line in lines if line[0].fullmatch(name_of(case))]


def holds(check, want, got):
    """What an exception still asks for."""
    if check == "status":
        return want.get("status") == got.get("status")
    if check == "error":
        return want.get("status", 0) >= 400 <= got.get("status", 0) or (want.get("status") == 0 and got.get("status", 0) >= 400)
    if check == "answer":
        return got.get("status", 0) >= 200
    if check == "ready":
        return got.get("start") == "ready"
    return sys.exit(f"sagemaker_exceptions.txt: unknown comparison {check!r}")


taken, taking = set(), threading.Lock()


def free_ports():
    """-> (port, "lo-hi") that nobody else of this run has, outside the range the system gives out by itself."""
    with taking:
        while True:
            low = random.randrange(12000, 31900, 100)
            if low in taken:
                continue
            try:
                for port in range(low, low + PORTS + 1):
                    with socket.socket() as s:
                        s.bind(("127.0.0.1", port))
            except OSError:
                continue
            taken.add(low)
            return low, f"{low + 1}-{low + PORTS}"


def play(replay, args, cases):
    """One server, its requests in order -> [(case, answer)] of those that are compared."""
    port, ports = free_ports()
    work = tempfile.mkdtemp(prefix="tern_sagemaker_")
    more = argparse.Namespace(port=port, ports=ports, work=work, kill=False)
    first, out = cases[0], []
    exits = first["expect"] == "exit"
    server = replay.Server(str(args.build / "serve"), first, first["generation"], str(args.models), more)
    try:
        ready = exits or server.wait_ready(120)
        for case in cases:
            if exits:
                got = replay.outcome(server, case)
            elif ready:
                got = replay.send(case["request"], server.names)
            else:
                got = {"status": 0, "body": "the server did not become ready"}
            if case["compare"] != "skip":
                out.append((case, got))
    finally:
        server.stop()
        if not ready:
            log = pathlib.Path(work, "last.log").read_text(encoding="utf-8", errors="replace")
            print(f"{first['generation']} {first['setup']} did not become ready; its log:\n{log[-2000:]}")
        shutil.rmtree(work, ignore_errors=True)
        taken.discard(port)
    return out


def load(folder):
    cases = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.name.split("_")[0] in KINDS:
            cases += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return cases


def by_setup(args, cases, later):
    """Cases of one server each, in order; those whose setup has nothing to compare are left out."""
    wanted = collections.OrderedDict()
    for case in sorted(cases, key=lambda c: (c["generation"], c["order"])):
        skip = case["compare"] == "skip"
        if bool(fitting(later, case)) != args.later and not skip:
            continue
        if args.generation not in (None, case["generation"]) or not re.search(args.setup or "", case["setup"]):
            continue
        if not skip and not (re.search(args.group or "", case["group"]) and re.search(args.id or "", name_of(case))):
            continue
        wanted.setdefault((case["generation"], case["setup"]), []).append(case)
    return [group for group in wanted.values() if any(c["compare"] != "skip" for c in group)]


def judge(replay, pairs, exceptions):
    """-> (same, forgiven, [(case, got)], {exception line used})"""
    same, forgiven, different, used = 0, 0, [], set()
    for case, got in pairs:
        if replay.same(case["compare"], case["answer"], got):
            same += 1
            continue
        fits = [e for e in fitting(exceptions, case) if holds(e[1], case["answer"], got)]
        used.update(fits)
        if fits:
            forgiven += 1
        else:
            different.append((case, got))
    return same, forgiven, different, used


def show(different, most):
    groups = collections.Counter((case["generation"], case["group"]) for case, _ in different)
    for case, got in different[:most]:
        print(f"\n{name_of(case)} (setup {case['setup']}, compare {case['compare']})")
        for title, what in (("request ", case.get("request")), ("expected", case["answer"]), ("got     ", got)):
            print(f"  {title} {json.dumps(what)[:600]}")
    for (generation, group), n in sorted(groups.items()):
        print(f"{n} different: {generation} {group}")


def unneeded(cases, later, exceptions, used):
    out = [f"sagemaker_exceptions.txt: nothing needs {e[0].pattern}" for e in exceptions if e not in used]
    return out + [f"sagemaker_later.txt: {line[0].pattern} fits nothing" for line in later
                  if not any(line[0].fullmatch(name_of(c)) for c in cases)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=os.environ.get("TERN_BUILD", str(ROOT / "build")))
    parser.add_argument("--shared", default=os.environ.get("TERN_SHARED", str(ROOT.parent / "shared")))
    parser.add_argument("--later", action="store_true", help="send the cases of sagemaker_later.txt, and only those")
    parser.add_argument("--jobs", type=int, default=2, help="servers at a time")
    parser.add_argument("--generation", help="only 2.19 or only 2.20")
    for what in ("setup", "group", "id"):
        parser.add_argument(f"--{what}", help=f"only cases whose {what} matches this regular expression")
    parser.add_argument("--show", type=int, default=20, help="how many differences to print")
    args = parser.parse_args(argv)

    args.build = args.build.resolve()
    folder = pathlib.Path(args.shared).resolve() / "golden" / "sagemaker"
    if not folder.is_dir():
        sys.exit(f"no recorded answers: {folder}")
    os.environ["TERN_PYTHON"] = sys.executable
    replay = golden.load_replay(folder)
    later, exceptions = lines_of(HERE / "sagemaker_later.txt", 2), lines_of(HERE / "sagemaker_exceptions.txt", 3)
    args.models = golden.fixture_models(folder, args.build, "golden-sagemaker")
    cases = load(folder)
    setups = by_setup(args, cases, later)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        pairs = [pair for part in pool.map(lambda group: play(replay, args, group), setups) for pair in part]
    same, forgiven, different, used = judge(replay, pairs, exceptions)
    show(different, args.show)
    whole = not (args.generation or args.setup or args.group or args.id or args.later)
    needless = unneeded(cases, later, exceptions, used) if whole else []
    print("\n".join(needless))
    print(f"golden: {same} same, {forgiven} different on purpose, {len(different)} different, "
          f"{sum(1 for c in cases if c['compare'] != 'skip' and fitting(later, c))} not sent yet")
    return 1 if different or needless or not same else 0


if __name__ == "__main__":
    sys.exit(main())
