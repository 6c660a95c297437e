#!/usr/bin/env python3
"""Measures Tern against the bare engine, and against the way it replaces (Flask with Keras), in one interleaved run.

    make bench            about fifteen minutes; QUICK=1 about five

For each payload every contestant has its turn once a round, the order turning by one each round, so that what the machine
does meanwhile hits all alike. A ratio is taken within each round, to the limit of that round, and its median over the
rounds is told: the limit is the bare engine for tensors (bench/bare_engine.c: same library, same inputs, no server), and
the C features plus the bare engine for raw HTML. Writes bench/report/: report.md, report.json, plot.png, plot.svg, sagemaker.png.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DEPS = Path(os.environ.get("TERN_DEPS", ROOT / ".deps"))
sys.path[:0] = [str(HERE), *(str(ROOT / f) for f in ("tests/server", "models/html", "models/html/train"))]

import payloads as p  # noqa: E402

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


def measure(payload, contestants, rounds, progress):
    """-> {name: {"rounds": [[ms, ...] of each round], "stages": {stage: [all]}}}"""
    able = [c for c in contestants if c.takes(payload)]
    found = {c.name: {"rounds": [], "stages": {}} for c in able}
    repeats = {}
    for c in able:  # warm up: caches, lazy graph work, measured costs of the server
        progress(f"{payload.name}: warming up {c.name}")
        times = [c.call(payload)[0] for _ in range(3)]
        while sum(times) < 300 and len(times) < 30:
            times.append(c.call(payload)[0])
        repeats[c.name] = max(1, min(20, int(250 / min(times))))
    for turn in range(rounds):
        for c in able[turn % len(able):] + able[:turn % len(able)]:
            progress(f"{payload.name}: round {turn + 1}/{rounds}, {c.name}")
            calls = [c.call(payload) for _ in range(repeats[c.name])]
            found[c.name]["rounds"].append([ms for ms, _ in calls])
            for stage, value in (item for _, stages in calls for item in stages.items()):
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
    by_round = {name: [statistics.median(r) for r in f["rounds"]] for name, f in found.items()}
    rows = []
    for name, f in found.items():
        row = {"name": name, "ms": report.summary([ms for r in f["rounds"] for ms in r])}
        if f["stages"]:
            row["stages"] = {s: statistics.median(v) for s, v in f["stages"].items() if s in STAGES}
        limit = limit_of(name, payload, found)
        if limit:
            ratios = [mine / sum(parts) for mine, *parts in zip(by_round[name], *(by_round[n] for n in limit))]
            row["ratio"], row["limit"] = statistics.median(ratios), " + ".join(limit)
        rows.append(row)
    return {"payload": payload.name, "title": title(payload), "about": about(payload), "client_ms": payload.client_ms,
            "bytes": {"html": len(payload.html or b""), "json": len(payload.json), "grpc": len(payload.proto)}, "rows": rows}


def title(payload):
    return {"median": "Median page", "largest": "Largest page", "widest": "Page with the most blocks",
            "heavy": "Heavy configuration, 8,192 elements"}[payload.name]


def about(payload):
    import report
    shape = next(iter(payload.tensors.values())).shape
    parts = [payload.about, f"{shape[1] if len(shape) > 1 else 1:,} units"]
    if payload.html is not None:
        parts.append(f"{report.size(len(payload.html))} of HTML")
    return ", ".join(parts + [f"{report.size(len(payload.json))} as JSON", f"{report.size(len(payload.proto))} over gRPC"]) + "."


def page_payloads(args, extractor, features, tern_grpc, progress):
    out = []
    for name, (text, page) in p.choose(args.shared, args.build / "bench-pages", extractor, features.FeatureError,
                                       progress).items():
        tensors = features.batch_of_one(extractor.extract(page, p.CONTENT_TYPE))
        out.append(p.encode(p.Payload(name, text, "html", page, tensors), tern_grpc))
    return out


def heavy_payload(args, tern_grpc, progress):
    """The heavy model (made once, by its own script) and its inputs at 8,192 elements of a real page."""
    import heavy
    folder = args.build / "bench-heavy"
    if not (folder / "request.json").exists():
        progress("making the heavy model")
        subprocess.run([sys.executable, str(ROOT / "models" / "html" / "heavy.py"), "--out", str(folder)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cached = args.build / "bench-pages" / "widest.html"
    page = cached if cached.exists() else ROOT / "models" / "html" / "pages" / "article.html"
    text = f"{'the page with the most blocks' if page == cached else page.name}, repeated"
    tensors = heavy.payload(page.read_bytes(), 8192)
    return folder, p.encode(p.Payload("heavy", text, "heavy", None, tensors), tern_grpc)


def engine_cases(args, extractor, features, tern_grpc, progress):
    """[(title, folder of the model, payload)] for bench/engines.py."""
    import engines
    pages = page_payloads(args, extractor, features, tern_grpc, progress)
    folder, heavy = heavy_payload(args, tern_grpc, progress)
    return [*engines.small_payloads(args.build), *((title(x), ROOT / "models" / "html" / "saved_model", x) for x in pages),
            (title(heavy), folder, heavy)]


def run_group(payloads, model_folder, with_features, extractor, args, work, progress):
    """One model: its Tern, its Flask, the bare engine; every payload over them. -> cases"""
    import contestants as c
    import tern_server
    library = args.build / "handlers" / "html.so"
    name = payloads[0].model
    server = tern_server.Server(work / f"tern-{name}", [f"--model_name={name}", f"--model_base_path={model_folder}"],
                                build=args.build)
    flask, bare = None, c.Bare(args.build, model_folder / "1", work)
    try:
        progress.step(f"starting Flask with {name}")
        flask = c.Flask(work, model_folder / "1", with_features, library)
        who = [bare, c.Features(extractor),
               c.Grpc("Tern, gRPC", server.grpc),
               c.Http("Tern, tensors as JSON", server.rest, "/v1/models/{model}:predict", lambda p: p.json, "application/json"),
               c.Http("Tern, raw HTML", server.rest, "/invocations", lambda p: p.html, p.CONTENT_TYPE), *flask.paths()]
        cases = []
        for payload in payloads:
            progress.step(f"measuring: {title(payload)}")
            cases.append(judge(payload, measure(payload, who, args.rounds, progress)))
        return cases
    finally:
        if flask:
            flask.stop()
        bare.stop()
        server.stop()


def arguments():
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TERN_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--rounds", type=int, default=3 if quick else 9)
    parser.add_argument("--out", type=Path, default=HERE / "report")
    parser.add_argument("--only", help="parts by name, separated by commas: median,largest,widest,heavy,small,life,sagemaker,"
                        "engines")
    args = parser.parse_args()
    args.build, args.shared = args.build.resolve(), args.shared.resolve()
    args.seconds, args.quick = 2 if quick else 4, quick
    return args


def main():
    args, progress, busy = arguments(), Progress(), os.getloadavg()[0]
    os.environ["TERN_HTML_LIB"] = str(args.build / "handlers" / "html.so")
    only = set((args.only or "median,largest,widest,heavy,small,life,sagemaker,engines").split(","))
    progress.step("loading TensorFlow, making the payloads")
    import engines
    import features
    import life
    import report
    import small
    import tensorflow
    import tern_grpc
    extractor = features.Extractor()
    pages = only & {"median", "largest", "widest"}
    pages = pages and [x for x in page_payloads(args, extractor, features, tern_grpc, progress) if x.name in only]
    result = {"machine": report.machine(), "tensorflow": tensorflow.__version__, "rounds": args.rounds, "cases": [], "notes": []}
    if busy > 0.7 * (os.cpu_count() or 1):
        result["notes"].append(f"the machine was busy with something else at the start (load {busy:.1f}).")
    with tempfile.TemporaryDirectory(prefix="tern-bench-") as work:
        work = Path(work)
        if pages:
            result["cases"] += run_group(pages, ROOT / "models" / "html" / "saved_model", True, extractor, args, work, progress)
        if "heavy" in only:
            folder, payload = heavy_payload(args, tern_grpc, progress)
            result["cases"] += run_group([payload], folder, False, extractor, args, work, progress)
        if "small" in only:
            progress.step("measuring: small model")
            result["small"] = small.measure(args.build, DEPS, work, 3, args.seconds, progress)
            if not any("nginx" in row["what"] for row in result["small"]):
                result["notes"].append("nginx was not to be had, so there is no comparison with it.")
        if "life" in only:
            progress.step("measuring: loads beside traffic")
            result["life"] = life.measure(args.build, work, args.rounds, args.seconds, progress)
        if "sagemaker" in only:
            import sagemaker
            progress.step("measuring: SageMaker endpoint")
            result["sagemaker"] = sagemaker.measure(args.build, DEPS, work / "sagemaker", args.rounds, args.quick, progress)
        if "engines" in only:
            result["engines"] = engines.measure(args.build, work, engine_cases(args, extractor, features, tern_grpc, progress),
                                                args.rounds, progress.step)
    report.write(result, args.out)
    progress.step(f"written: {args.out / 'report.md'}")
    print((args.out / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
