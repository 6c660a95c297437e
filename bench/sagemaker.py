"""The SageMaker endpoint: handlers of Tern against the container's old shape, in one interleaved run.

    make bench, or bench/run.sh --only sagemaker       about two minutes

The old shape is built from PyPI's and Debian's parts: nginx (the container's buffering) before gunicorn with one gevent
worker and a falcon service (endpoint/service.py) that calls the user's script, which asks a predict server over REST with
JSON, or over gRPC. TensorFlow Serving's own binary cannot be had from a registry, so a Tern process plays the predict
server there; the old shape is no slower by that.

A call's overhead is its time less the model's run (the server's own stage `run` in the same round) and less what the script
does itself in any form (features, arrays from the body: endpoint/work.py times it, the server its C handler). So it is what
the way of the document, the tensors and the answer costs.
"""
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import contestants
import prepare
import tern_server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OWN = re.compile(rb'^\{"own_ms": ([0-9.]+)')
MODELS = ("text", "html", "rows")
JSON_OLD, GRPC_OLD = "old shape, script over REST (JSON)", "old shape, script over gRPC"
C_HANDLER, NUMPY, CLASSIC = "Tern, C handler", "Tern, Python handler, numpy form", "Tern, Python handler, classic JSON form"
TERN = {C_HANDLER: None, NUMPY: "numpy_form", CLASSIC: "json_form"}
SIZES = {"10 kB": 10_000, "1 MB": 1_000_000, "5 MB": 5_000_000, "20 MB": 20_000_000}


@dataclass
class Payload:
    """One case: what is posted to every contestant."""

    group: str  # text, html, rows
    name: str
    body: bytes
    content_type: str

    @property
    def model(self):
        return self.group


# ---- what is sent ----

def random_html(size, seed=1):
    """A page of at least that many bytes: headings, paragraphs, links, lists, tables; quotes, entities, some not ASCII."""
    dice = random.Random(seed)
    letters = "bcdfghklmnprstvw", "aeiouaeiouäéü"
    words = ["".join(dice.choice(letters[i % 2]) for i in range(dice.randint(2, 9))) for _ in range(4000)]

    def text(low, high):
        line = " ".join(dice.choices(words, k=dice.randint(low, high)))
        return line.capitalize() + dice.choice((".", ".", ",", " &amp;", "\u2026", "!"))

    def link():
        return f'<a class="nav-link {dice.choice(words)}" href="/{dice.choice(words)}/{dice.randint(1, 99999)}?q=1&amp;p=2">' \
               f"{text(1, 4)}</a>"

    makers = (
        lambda: f'<div class="post-body" id="p{dice.randint(1, 99999)}"><p>{text(20, 90)} {link()} {text(10, 60)}</p></div>\n',
        lambda: f'<h2 class="title">{text(3, 9)}</h2>\n',
        lambda: "<ul>\n" + "".join(f"\t<li>{link()}</li>\n" for _ in range(dice.randint(3, 9))) + "</ul>\n",
        lambda: "<table>" + "".join(f'<tr><td class="n">{dice.randint(0, 9999)}</td><td>{text(1, 6)}</td></tr>\n'
                                    for _ in range(dice.randint(2, 8))) + "</table>\n",
        lambda: f'<p style="margin:0 auto">{text(30, 120)} <em>"{text(2, 5)}"</em> {text(30, 120)}</p>\n',
    )
    parts = [f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(3, 8)}</title></head>\n<body>\n']
    total = 0
    while total < size:
        parts.append(dice.choice(makers)())
        total += len(parts[-1].encode())
    return ("".join(parts) + "</body></html>\n").encode()


def payloads():
    out = []
    for name, size in SIZES.items():
        page = random_html(size)
        out += [Payload("text", name, page, "text/plain"), Payload("html", name, page, "text/html; charset=utf-8")]
    out += [Payload("rows", f"{n:,} rows", json.dumps({"rows": n, "seed": 7}).encode(), "application/x-rows")
            for n in (2000, 8000)]
    return sorted(out, key=lambda p: MODELS.index(p.group))


# ---- who is measured ----

class Contestant(contestants.Http):
    """Posts to /invocations; -> (ms, what the script said of its own work or None). metrics() is the page of the server that
    runs the model."""

    def __init__(self, name, port, metrics, groups=MODELS):
        super().__init__(name, port, "/invocations", lambda p: p.body, None)
        self.metrics, self.groups = metrics, groups

    def takes(self, payload):
        return payload.group in self.groups

    def call(self, payload):
        """As its base, with the payload's own headers and the answer's first member."""
        for attempt in (0, 1):
            start = time.perf_counter()
            try:
                if self.connection is None:
                    self.connection = contestants.http.client.HTTPConnection(*self.address, timeout=600)
                    self.connection.connect()
                    self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    start = time.perf_counter()
                self.connection.request("POST", self.path, body=payload.body, headers={
                    "Content-Type": payload.content_type, "Accept": "application/json",
                    "X-Amzn-SageMaker-Custom-Attributes": f"tfs-model-name={payload.model}"})
                answer = self.connection.getresponse()
                data = answer.read()
                break
            except (contestants.http.client.HTTPException, OSError):
                self.connection = None  # the old shape closes a kept connection after three seconds
                if attempt:
                    raise
        ms = (time.perf_counter() - start) * 1e3
        if answer.status != 200:
            raise contestants.Failed(f"{self.name}, {payload.group} {payload.name}: {answer.status} {data[:600]!r}")
        own = OWN.match(data)
        return ms, float(own[1]) if own else None

    def stage(self, payload, stages):
        """-> (seconds, calls) of these stages of the payload's model up to now."""
        samples, _ = tern_server.parse_metrics(self.metrics())
        found = [(name, value) for name, labels, value in samples
                 if labels.get("model") == payload.model and labels.get("stage") in stages]
        return (sum(v for n, v in found if n == "tern_stage_seconds_sum"),
                sum(v for n, v in found if n == "tern_stage_seconds_count") / len(stages))


NGINX = """
daemon off; worker_processes auto; worker_rlimit_nofile 4096; pid {folder}/pid; error_log {folder}/log.txt error; {user}
events {{ worker_connections 2048; }}
http {{
  default_type application/json; access_log {folder}/access.log combined; {temp}
  client_max_body_size 0; client_body_buffer_size 100m; subrequest_output_buffer_size 100m;
  keepalive_timeout 3; proxy_read_timeout 600;
  upstream gunicorn_upstream {{ server unix:{socket} fail_timeout=1; }}
  server {{
    listen 127.0.0.1:{port} deferred;
    location /ping {{ proxy_pass http://gunicorn_upstream/ping; }}
    location /invocations {{ proxy_pass http://gunicorn_upstream/invocations; }}
    location / {{ return 404 '{{"error": "Not Found"}}'; }}
  }}
}}
"""


class OldShape:
    """nginx and gunicorn around one form of the script."""

    def __init__(self, nginx, folder, form, config):
        self.port, self.processes = tern_server.free_port(), []
        folder.mkdir(parents=True)
        env = {**os.environ, "TERN_BENCH_ENDPOINT": json.dumps({**config, "form": form}), "PYTHONPATH": str(HERE / "endpoint")}
        temp = "".join(f"{k}_temp_path {folder}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(
            NGINX.format(folder=folder, temp=temp, socket=folder / "gunicorn.sock", port=self.port,
                         user="user root;" if os.getuid() == 0 else ""), encoding="ascii")
        self.log = open(folder / "log.txt", "ab")
        try:
            self.start([sys.executable, "-m", "gunicorn", "--bind", f"unix:{folder / 'gunicorn.sock'}", "--workers", "1",
                        "--worker-class", "gevent", "--timeout", "600", "--no-control-socket", "service:app"], env)
            self.start([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "log.txt")], env)
            contestants.wait_http(self.port, "/ping", self.processes[0], folder / "log.txt")
        except BaseException:
            self.stop()
            raise

    def start(self, argv, env):
        self.processes.append(subprocess.Popen(argv, cwd=HERE / "endpoint", env=env, stdin=subprocess.DEVNULL,
                                               stdout=self.log, stderr=self.log))

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()


class Endpoint:
    """Tern, called as the platform does: `serve` with a model folder, and one form of the script or C handlers."""

    def __init__(self, build, folder, models, form, config):
        self.port, base = tern_server.free_port(), folder / "base" / "model"
        inner = free_range(2)
        self.rest = inner + 1
        for name, source in models.items():
            shutil.copytree(source, base / name)
            if form is None:
                extra = base / name / "1" / "assets.extra"
                extra.mkdir(exist_ok=True)
                if not (extra / "tern.json").exists():
                    (extra / "tern.json").write_text('{"handler": "endpoint"}', encoding="ascii")
            else:  # only the script is asked
                shutil.rmtree(base / name / "1" / "assets.extra", ignore_errors=True)
        if form is not None:
            (base / "code").mkdir()
            shutil.copy(HERE / "endpoint" / "work.py", base / "code")
            shutil.copy(HERE / "endpoint" / f"{form}.py", base / "code" / "inference.py")
        env = {**os.environ, "TERN_BENCH_ENDPOINT": json.dumps(config), "TERN_PYTHON": sys.executable,
               "SAGEMAKER_BASE_DIR": str(base.parent), "SAGEMAKER_BIND_TO_PORT": str(self.port),
               "SAGEMAKER_SAFE_PORT_RANGE": f"{inner}-{inner + 2}", "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "text",
               "SAGEMAKER_GUNICORN_TIMEOUT_SECONDS": "600"}
        log = folder / "log.txt"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [build / "serve", f"--handler_path={build / 'handlers'}:{build / 'bench'}"], env=env, cwd=folder,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            contestants.wait_http(self.port, "/ping", self.process, log)
        except BaseException:
            self.stop()
            raise

    def metrics(self):
        return get(self.rest, "/metrics")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_range(n):
    """The first of n + 1 ports in a row that nobody listens on."""
    while True:
        first, held = tern_server.free_port(), []
        try:
            for port in range(first, first + n + 1):
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for s in held:
                s.close()


def get(port, path):
    connection = contestants.http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode("utf-8", "replace")
    finally:
        connection.close()


# ---- the run ----

def call_with_run(c, payload):
    """One call -> (ms, own ms, run ms), the run's time from the server's own counters around it."""
    run, handler = c.stage(payload, ("run",)), c.stage(payload, ("preprocess", "postprocess"))
    ms, own = c.call(payload)
    end = time.monotonic() + 10
    while (after := c.stage(payload, ("run",)))[1] == run[1]:  # counted when the answer was sent, which may be just now
        if time.monotonic() > end:
            raise contestants.Failed(f"{c.name}: the server did not count a run of {payload.model}")
    if own is None:
        own = (c.stage(payload, ("preprocess", "postprocess"))[0] - handler[0]) * 1e3
    return ms, own, (after[0] - run[0]) * 1e3


def calls_of_round(c, payload, n):
    """n calls in a row -> [(ms, own ms, run ms)], where the last two are the round's means for what the server counts."""
    before = [c.stage(payload, s) for s in (("run",), ("preprocess", "postprocess"))]
    calls = [c.call(payload) for _ in range(n)]
    time.sleep(0.02)
    after = [c.stage(payload, s) for s in (("run",), ("preprocess", "postprocess"))]
    run, handler = ((a[0] - b[0]) * 1e3 / n for a, b in zip(after, before))
    return [(ms, handler if own is None else own, run) for ms, own in calls]


def measure_case(payload, able, rounds, budget_ms, note):
    """-> {contestant: {"ms", "own", "run", "overhead": one for each call}}"""
    found = {c.name: {"ms": [], "own": [], "run": [], "overhead": []} for c in able}
    repeats = {}
    for c in able:
        note(f"{payload.group} {payload.name}: warming up {c.name}")
        times = [c.call(payload)[0] for _ in range(3)]
        while sum(times) < 200 and len(times) < 30:
            times.append(c.call(payload)[0])
        repeats[c.name] = max(3, min(60, int(budget_ms / min(times))))
    for turn in range(rounds):
        for c in able[turn % len(able):] + able[:turn % len(able)]:
            note(f"{payload.group} {payload.name}: round {turn + 1}/{rounds}, {c.name}")
            if payload.group == "text":  # its run is so short that a look between calls would cost more than it tells
                calls = calls_of_round(c, payload, repeats[c.name])
            else:
                calls = [call_with_run(c, payload) for _ in range(repeats[c.name])]
            for ms, own, run in calls:
                for key, value in (("ms", ms), ("own", own), ("run", run), ("overhead", ms - own - run)):
                    found[c.name][key].append(value)
    return found


def rows_of(found):
    """The report's rows of one case."""
    def at(values, share):
        return sorted(values)[min(len(values) - 1, int(len(values) * share))]

    base = statistics.median(found[JSON_OLD]["overhead"])
    base_ms = statistics.median(found[JSON_OLD]["ms"])
    return [{"name": name, "p50": statistics.median(f["ms"]), "p99": at(f["ms"], 0.99), "n": len(f["ms"]),
             "run": statistics.median(f["run"]), "own": statistics.median(f["own"]),
             "overhead": statistics.median(f["overhead"]), "overhead_p99": at(f["overhead"], 0.99),
             "share": statistics.median(f["overhead"]) / base, "times": base_ms / statistics.median(f["ms"])}
            for name, f in found.items()]


def start_all(build, deps, work, note):
    """-> ([what is to be stopped], [contestants])"""
    import small
    models = prepare.endpoint_models(build)
    config = work / "models.config"
    config.write_text("model_config_list {\n" + "".join(
        f'config {{ name: "{m}" base_path: "{models / m}" model_platform: "tensorflow" }}\n'
        for m in MODELS) + "}\n", encoding="ascii")
    nginx = small.find_nginx(deps, note)
    if nginx is None:
        raise contestants.Failed("nginx is not to be had, and there is no old shape without it")
    note("starting all servers")
    predict = tern_server.Server(work / "predict", [f"--model_config_file={config}"], build=build)
    thresholds = json.loads((models / "html" / "1" / "assets.extra" / "tern.json").read_text(encoding="utf-8"))
    form = {"rest": predict.rest, "grpc": predict.grpc, "library": str(build / "handlers" / "html.so"),
            "features": str(ROOT / "models" / "html" / "train"), "thresholds": thresholds.get("thresholds", thresholds)}
    where = {m: models / m for m in MODELS}
    with ThreadPoolExecutor(3) as pool:  # each loads TensorFlow
        starts = {name: pool.submit(OldShape, nginx, work / module, module, form)
                  for name, module in ((JSON_OLD, "json_form"), (GRPC_OLD, "grpc_form"))}
        starts |= {name: pool.submit(Endpoint, build, work / f"tern-{module}", where, module, form)
                   for name, module in TERN.items()}
    running = [predict, *(s.result() for s in starts.values() if not s.exception())]
    if failed := [s.exception() for s in starts.values() if s.exception()]:
        stop_all(running)
        raise failed[0]
    metrics = {JSON_OLD: lambda: get(predict.rest, "/metrics"), GRPC_OLD: lambda: get(predict.rest, "/metrics")}
    return running, [Contestant(name, s.result().port, metrics[name] if name in metrics else s.result().metrics)
                     for name, s in starts.items()]


def stop_all(running):
    for part in reversed(running):
        part.stop()


def measure(build, deps, work, rounds, note):
    """-> [{"group", "case", "bytes", "rows"}]"""
    work.mkdir(parents=True, exist_ok=True)
    running, who = start_all(build, deps, work, note)
    try:
        cases = []
        for payload in payloads():
            able = [c for c in who if c.takes(payload)]
            found = measure_case(payload, able, rounds, 200, note)
            cases.append({"group": payload.group, "case": payload.name, "bytes": len(payload.body), "rows": rows_of(found)})
        return cases
    finally:
        stop_all(running)


# ---- the report ----

TITLES = {"text": "A document on its way to a model that takes it as a string", "html": "A page to the page model",
          "rows": "Tensors that the script builds from a small body"}
ABOUT = {
    "text": "The model gives the document's length: what is measured is transport. C and numpy hand the bytes on, JSON has them "
            "escaped and unescaped, gRPC has them in a protobuf message.",
    "html": "Features are made in C in every form (ctypes in the scripts) and count as the script's own work, as does the answer.",
    "rows": "int32 ids [rows, 160] made by numpy (in C by the C handler), a model of 2.1 GFLOP at 2,000 rows and 8.4 at 8,000.",
}


def number(ms):
    return f"{ms:.2f}" if abs(ms) < 10 else f"{ms:.1f}" if abs(ms) < 100 else f"{ms:.0f}"


def find(cases, group, case, name):
    return next((row for c in cases if (c["group"], c["case"]) == (group, case) for row in c["rows"] if row["name"] == name), None)


def aims(cases):
    """Lines that say whether the two aims are reached."""
    lines = []
    big, old = find(cases, "text", "5 MB", NUMPY), find(cases, "text", "5 MB", JSON_OLD)
    if big and old:
        lines.append(f"Transport overhead of the numpy form at 5 MB: **{big['share'] * 100:.1f} %** of the old shape's with JSON "
                     f"({number(big['overhead'])} of {number(old['overhead'])} ms; aim: at most 10 %).")
    for name in (NUMPY, C_HANDLER):
        small, old = find(cases, "text", "10 kB", name), find(cases, "text", "10 kB", JSON_OLD)
        if small and old:
            lines.append(f"Floor (overhead at 10 kB), {name}: **{small['overhead']:.2f} ms**, where the old shape with JSON has "
                         f"{number(old['overhead'])} (aim: below 0.5).")
    return lines


def section(cases):
    """The lines of the report."""
    import report
    lines = ["## SageMaker endpoint", "",
             "POST /invocations over one kept connection. The old shape is nginx, gunicorn (one gevent worker) and the script; a "
             "Tern process plays the predict server behind it, as TensorFlow Serving's binary is in no registry. Tern is `serve` "
             "with one worker. Overhead is a call's time less the model's run and less the work that the script does in any form, "
             "each measured in the same calls; its share is of the old shape's with JSON. The p99 of less than a hundred calls is "
             "their longest.", "", "![overhead](sagemaker.png)", ""]
    for line in aims(cases):
        lines += [line, ""]
    for group in MODELS:
        mine = [c for c in cases if c["group"] == group]
        if not mine:
            continue
        lines += [f"### {TITLES[group]}", "", ABOUT[group], ""]
        for case in mine:
            lines += [f"{case['case']}:", ""]
            lines += report.table(
                ["who", "p50 ms", "p99 ms", "calls", "run", "script", "overhead p50", "p99", "share", "old JSON / this"],
                [[r["name"], number(r["p50"]), number(r["p99"]), str(r["n"]), number(r["run"]), number(r["own"]),
                  number(r["overhead"]), number(r["overhead_p99"]), f"{r['share'] * 100:.1f} %", f"{r['times']:.1f}"]
                 for r in case["rows"]])
    return lines


COLOURS = {JSON_OLD: "#8c8c8c", GRPC_OLD: "#c4c4c4", CLASSIC: "#8fb8d6", NUMPY: "#1b6ca8", C_HANDLER: "#e0a030"}


def plot(cases, folder):
    """sagemaker.png: for each model the median time of each contestant, its overhead in full colour."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = [g for g in MODELS if any(c["group"] == g for c in cases)]
    figure, axes = plt.subplots(1, len(groups), figsize=(5.2 * len(groups), 5), squeeze=False, layout="constrained")
    for axis, group in zip(axes[0], groups):
        mine = [c for c in cases if c["group"] == group]
        names = [n for n in COLOURS if any(r["name"] == n for c in mine for r in c["rows"])]
        width = 0.8 / len(names)
        for k, name in enumerate(names):
            rows = [next(r for r in c["rows"] if r["name"] == name) for c in mine]
            at = [i + (k - (len(names) - 1) / 2) * width for i in range(len(mine))]
            over = [max(r["overhead"], 0.01) for r in rows]
            axis.bar(at, over, width, color=COLOURS[name], label=name)
            for x, ms in zip(at, over):
                axis.annotate(number(ms), (x, ms), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7, rotation=90)
        axis.set_yscale("log")
        axis.set_ylim(top=axis.get_ylim()[1] * 3)
        axis.set_xticks(range(len(mine)), [c["case"] for c in mine])
        axis.set_title(TITLES[group], fontsize=9, loc="left")
        axis.set_ylabel("overhead, ms (median; without run and script's own work)", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(fontsize=7, frameon=False, loc="upper left")
    figure.savefig(folder / "sagemaker.png", dpi=110)
    plt.close(figure)
