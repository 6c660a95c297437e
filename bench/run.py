#!/usr/bin/env python3
"""Measures Tern against the bare engine, and against the way it replaces (Flask with Keras), in one interleaved run.

    make bench            about fifteen minutes; QUICK=1 about three (what the design's table needs)

Models are made once a build folder (prepare.py). For each payload every contestant has its turn once a round, the order
turning by one each round, so that what the machine does meanwhile hits all alike. A ratio is taken within each round, to
the limit of that round, and its median over the rounds is told: the limit is the bare engine for tensors
(bench/bare_engine.c: same library, same inputs, no server), and the C features plus the bare engine for raw HTML. Writes
bench/report/: report.md, report.json, plot.png, plot.svg, sagemaker.png.
"""
import argparse
import os
import statistics
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DEPS = Path(os.environ.get("TERN_DEPS", ROOT / ".deps"))
sys.path[:0] = [str(HERE), *(str(ROOT / f) for f in ("tests/server", "models/html", "models/html/train"))]

import payloads as p  # noqa: E402
import prepare  # noqa: E402

STAGES = ("read", "decode", "preprocess", "queue", "run", "postprocess", "encode")


class Progress:
    """One line that is written over on a terminal; plain lines elsewhere, one a step."""

    def __init__(self):
        self.live, self.start = sys.stderr.isatty(), time.monotonic()

    def __call__(self, text):
        text = f"bench: {time.monotonic() - self.start:4.0f} s  {text}"
        if self.live:
            print(f"\r\033[K{text[:118]}", end="", file=sys.stderr, flush=True)

    def step(self, text):
        print(("\r\033[K" if self.live else "") + f"bench: {time.monotonic() - self.start:4.0f} s  {text}", file=sys.stderr,
              flush=True)


def measure(payload, contestants, rounds, seconds, progress):
    """-> {name: {"rounds": [ms of each round], "stages": {stage: [ms of each round]}}}"""
    able = [c for c in contestants if c.takes(payload)]
    found = {c.name: {"rounds": [], "stages": {}} for c in able}
    expected = {}
    bare = 0
    for c in able:  # warm up: caches, lazy graph work, measured costs of the server; the bare engine is the first
        progress(f"{payload.name}: warming up {c.name}")
        expected[c.name] = statistics.median(c.round(payload, seconds, bare)[0])
        if expected[c.name] < seconds * 1e3:
            expected[c.name] = statistics.median(c.round(payload, seconds, expected[c.name])[0])
        bare = bare or expected[c.name]
    for turn in range(rounds):
        for c in able[turn % len(able):] + able[:turn % len(able)]:
            progress(f"{payload.name}: round {turn + 1}/{rounds}, {c.name}")
            times, stages = c.round(payload, seconds, expected[c.name])
            found[c.name]["rounds"] += times
            for stage, value in stages.items():
                found[c.name]["stages"].setdefault(stage, []).append(value)
    return found


def limit_of(name, payload, found):
    """Which contestants' times a contestant's are compared with; none for the limits themselves."""
    if not name.startswith(("Tern", "Flask")):
        return ()
    names = ("C features alone", "bare engine") if "HTML" in name else ("bare engine",)
    return names if all(n in found for n in names) else ()


def judge(payload, found):
    """Rows with medians, spread, stages, and the ratio to the limit: the median over the rounds of each round's own ratio."""
    import report
    by_round = {name: f["rounds"] for name, f in found.items()}
    rows = []
    for name, f in found.items():
        row = {"name": name, "ms": report.summary(f["rounds"]), "rounds": f["rounds"]}
        if f["stages"]:
            row["stages"] = {s: statistics.median(v) for s, v in f["stages"].items() if s in STAGES}
        limit = limit_of(name, payload, found)
        if limit:
            ratios = [mine / sum(parts) for mine, *parts in zip(by_round[name], *(by_round[n] for n in limit))]
            row["ratio"], row["limit"] = statistics.median(ratios), " + ".join(limit)
            row["ratios"] = ratios
        rows.append(row)
    return {"payload": payload.name, "title": title(payload), "about": about(payload), "client_ms": payload.client_ms,
            "bytes": {"html": len(payload.html or b""), "json": len(payload.json), "grpc": len(payload.proto)}, "rows": rows}


def title(payload):
    return {"median": "Median page", "largest": "Largest page", "widest": "Page with the most blocks",
            "heavy": "Heavy configuration, 8,192 elements", "wide": "Wide model, 10,000 rows"}[payload.name]


def about(payload):
    import report
    shape = next(iter(payload.tensors.values())).shape
    parts = [payload.about, f"{shape[1]:,} units" if shape[0] == 1 else f"{shape[0]:,} rows of {shape[1]}"]
    if payload.html is not None:
        parts.append(f"{report.size(len(payload.html))} of HTML")
    return ", ".join(parts + [f"{report.size(len(payload.json))} as JSON", f"{report.size(len(payload.proto))} over gRPC"]) + "."


def run_group(payloads, model_folder, flasks, context):
    """One model: its Tern, the bare engine, and what is given of Flask; every payload over them. -> cases"""
    import contestants as c
    import tern_server
    args, work, name = context.args, context.work, payloads[0].model
    server = tern_server.Server(work / f"tern-{name}", [f"--model_name={name}", f"--model_base_path={model_folder}"],
                                build=args.build)
    bare = c.Bare(args.build, model_folder / "1", work)
    try:
        def tern(title, port, path, body_of, content_type="", api="rest"):
            return c.Loaded(title, args.build, work, port, path, body_of, content_type, api)

        who = [bare, c.Features(context.extractor),
               tern("Tern, gRPC", server.grpc, "", lambda p: p.proto, api="grpc"),
               tern("Tern, tensors as JSON", server.rest, "/v1/models/{model}:predict", lambda p: p.json, "application/json"),
               tern("Tern, raw HTML", server.rest, "/invocations", lambda p: p.html, p.CONTENT_TYPE),
               *(way for flask in flasks for way in flask.paths(args.quick))]
        cases = []
        for payload in payloads:
            context.progress.step(f"measuring: {title(payload)}")
            cases.append(judge(payload, measure(payload, who, args.rounds, 0.25, context.progress)))
        return cases
    finally:
        bare.stop()
        server.stop()


# ---- the parts: each takes (context) and gives what report.json holds under its name ----


@dataclass
class Context:
    args: argparse.Namespace
    work: Path
    progress: Progress
    extractor: object
    payloads: prepare.Payloads
    flasks: list  # the page model in Flask: behind gunicorn, and by its own server


def pages_part(context, names):
    found = [x for x in context.payloads.pages() if x.name in names]
    try:
        for flask in context.flasks:
            flask.wait()
        return run_group(found, prepare.HTML_MODEL, context.flasks, context)
    finally:
        stop_flasks(context)


def stop_flasks(context):
    while context.flasks:
        context.flasks.pop().stop()


def single_part(context, made):
    folder, payload = made()
    return run_group([payload], folder, [], context)


def small_part(context):
    import small
    args = context.args
    return small.measure(args.build, DEPS, context.work, args.rounds, args.quick, context.progress)


def life_part(context):
    import life
    return life.measure(context.args.build, context.work, context.args.rounds, context.args.quick, context.progress)


def sagemaker_part(context):
    import sagemaker
    return sagemaker.measure(context.args.build, DEPS, context.work / "sagemaker", min(3, context.args.rounds),
                             context.progress)


def engines_part(context):
    import engines
    args, large = context.args, (context.payloads.heavy(), context.payloads.wide())
    cases = [*engines.small_payloads(args.build), *((title(x), prepare.HTML_MODEL, x) for x in context.payloads.pages()),
             *((title(payload), folder, payload) for folder, payload in large)]
    return engines.measure(args.build, context.work, cases, args.rounds, context.progress.step)


def micro_part(context):
    import micro
    return micro.measure(context.args.build, context.work, context.payloads.pages(), context.args.rounds, context.args.quick,
                         context.progress)


def limits_part(context):
    import limits
    page = (prepare.HTML_MODEL, context.payloads.pages()[-1])
    cases = {title(payload): (folder, payload) for folder, payload in (page, context.payloads.heavy(), context.payloads.wide())}
    return limits.measure(context.args.build, context.work, cases, context.args.rounds, context.progress)


def sweep_part(context):
    import sweep
    return sweep.measure(context.args.build, context.work, context.payloads.wide()[0], context.progress)


def flame_part(context):
    import flame
    return flame.measure(context.args.build, context.work, context.args.out, context.payloads.heavy()[1], context.progress)


PARTS = {"small": small_part, "life": life_part, "micro": micro_part, "limits": limits_part, "sweep": sweep_part,
         "engines": engines_part, "sagemaker": sagemaker_part, "flame": flame_part}
PAYLOADS = ("median", "largest", "widest", "heavy", "wide")


def arguments():
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TERN_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--rounds", type=int, default=3 if quick else 7)
    parser.add_argument("--out", type=Path, default=HERE / "report")
    # What does not bear on the design's table is left out of a quick run.
    parser.add_argument("--only", default=",".join((*PAYLOADS, "small", "life", "micro", "limits")
                                                   if quick else (*PAYLOADS, *PARTS)),
                        help=f"parts by name, separated by commas: {','.join((*PAYLOADS, *PARTS))}")
    args = parser.parse_args()
    args.build, args.shared, args.out = args.build.resolve(), args.shared.resolve(), args.out.resolve()
    args.quick, args.only = quick, args.only.split(",")
    if unknown := set(args.only) - {*PAYLOADS, *PARTS}:
        parser.error(f"--only: there is no part called {', '.join(sorted(unknown))}")
    return args


def start_flasks(args, work):
    """Not awaited here: each loads TensorFlow, as this process does meanwhile."""
    import contestants
    if "median" not in args.only:
        return []
    library = args.build / "handlers" / "html.so"
    return [contestants.Flask(work, args.build, prepare.HTML_MODEL / "1", True, library, gunicorn) for gunicorn in (True, False)]


def get_ready(args, work, progress):
    """-> (the context, TensorFlow's version), when the models are made and the payloads of the pages."""
    progress.step("loading TensorFlow, making models and payloads")
    models, flasks = prepare.Models(args.build, args.only), start_flasks(args, work)
    import features
    import tensorflow
    extractor = features.Extractor()
    context = Context(args, work, progress, extractor, prepare.Payloads(args, extractor, progress), flasks)
    try:
        context.payloads.pages()
        models.wait()
    except BaseException:
        stop_flasks(context)
        raise
    return context, tensorflow.__version__


def run_parts(context, result):
    """Every part on its own: one that fails is told in the report, and the others go on."""
    names = [n for n in context.args.only if n in ("median", "largest", "widest")]
    steps = [("pages", lambda: pages_part(context, names))] if names else []
    steps += [(n, lambda made=made: single_part(context, made))
              for n, made in (("heavy", context.payloads.heavy), ("wide", context.payloads.wide)) if n in context.args.only]
    steps += [(n, lambda part=part: part(context)) for n, part in PARTS.items() if n in context.args.only]
    for name, step in steps:
        context.progress.step(f"part: {name}")
        start = time.monotonic()
        try:
            found = step()
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            result["notes"].append(f"the part \"{name}\" failed: {str(error)[:500]}")
            continue
        finally:
            result["took"][name] = time.monotonic() - start
        if name in PARTS:
            result[name] = found
        else:
            result["cases"] += found


def main():
    args, progress, busy = arguments(), Progress(), os.getloadavg()[0]
    os.environ["TERN_HTML_LIB"] = str(args.build / "handlers" / "html.so")
    import report
    result = {"machine": report.machine(), "rounds": args.rounds, "quick": args.quick, "cases": [], "notes": [], "took": {}}
    if busy > 0.7 * (os.cpu_count() or 1):
        result["notes"].append(f"the machine was busy with something else at the start (load {busy:.1f}).")
    with tempfile.TemporaryDirectory(prefix="tern-bench-") as work:
        context, result["tensorflow"] = get_ready(args, Path(work), progress)
        result["took"]["getting ready"] = time.monotonic() - progress.start
        run_parts(context, result)
    if result.get("small") and not any("nginx" in row["what"] for row in result["small"]):
        result["notes"].append("nginx was not to be had, so there is no comparison with it.")
    result["seconds"] = time.monotonic() - progress.start
    report.write(result, args.out)
    progress.step(f"written: {args.out / 'report.md'}")
    print((args.out / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
