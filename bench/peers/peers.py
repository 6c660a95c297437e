#!/usr/bin/env python3
"""Tern beside other servers that can serve a Keras or SavedModel: `make bench-peers`.

    bench/peers/peers.py [--build build] [--rounds 5] [--only NAME,...] [--out bench/report]

MLServer, Ray Serve, BentoML, LitServe and Triton (by nvidia-pytriton), each of the environment that bench/peers/install.py
makes, run the same SavedModel with the same TensorFlow (bench/peers/model.py): the rows model of bench/endpoint, [N, 160] ids.
Each is set up as its own manual has it, with one worker that has all cores, and speaks its own protocol. One peer at a time is
up, beside one Tern; the two take turns, round by round, asked by `tern bench`. Before that each one's answer is compared with
Tern's. Binary: the same array without JSON, where the peer has such a way.

Writes peers.md, peers.json, peers.png and peers.svg.
"""
import argparse
import http.client
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEPS = Path(os.environ.get("TERN_DEPS") or ROOT / ".deps")
PEERS = Path(os.environ.get("TERN_PEERS") or DEPS / "peers")
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests" / "server")]

import contestants  # noqa: E402
import load  # noqa: E402
import tern_server  # noqa: E402

ROWS = {"1 row, 1 kB of JSON": 1, "2,000 rows, 1.6 MB of JSON": 2000}
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Way:
    """One form of the question: how it is asked, and how the scores are read from the answer."""

    form: str  # JSON or binary
    body: object  # ids -> bytes
    scores: object  # bytes -> list of floats
    path: str
    api: str = "rest"
    content_type: str = "application/json"


@dataclass
class Peer:
    name: str
    title: str
    command: object  # (python, folder, ports) -> argument list; may write settings into the folder
    ready: str  # path that answers 200
    ways: list
    env: dict = field(default_factory=dict)


# ---- forms ----


def json_ids(ids):
    return json.dumps({"ids": ids.tolist()}, separators=(",", ":")).encode()


def json_v2(ids):
    tensor = {"name": "ids", "shape": list(ids.shape), "datatype": "INT32", "data": ids.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def wire(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def grpc_v2(ids):
    """inference.ModelInferRequest with raw contents."""
    tensor = wire(1, b"ids") + wire(2, b"INT32") + wire(3, varint(ids.shape[0]) + varint(ids.shape[1]))
    return wire(1, b"rows") + wire(5, tensor) + wire(7, ids.tobytes())


def floats_at_end(data):
    """Raw contents are the last field of a ModelInferResponse: one field of 4 N bytes."""
    for n in range(len(data) // 4, 0, -1):
        if data.endswith(wire(6, data[len(data) - 4 * n:])):
            return list(struct.unpack(f"<{n}f", data[len(data) - 4 * n:]))
    raise load.Failed(f"no raw contents in {data[:100]!r}")


def scores_v2(data):
    return json.loads(data)["outputs"][0]["data"]


V2_WAYS = [Way("JSON", json_v2, scores_v2, "/v2/models/rows/infer"), Way("binary", grpc_v2, floats_at_end, INFER, "grpc", "")]


# ---- peers ----


def mlserver(python, folder, ports):
    settings = {"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2],
                "parallel_workers": 0, "grpc_max_message_length": -1, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="ascii")
    (folder / "model-settings.json").write_text(json.dumps({"name": "rows", "implementation": "serve_mlserver.Rows"}),
                                                encoding="ascii")
    return [python.parent / "mlserver", "start", folder]


def bentoml(python, _, ports):
    return [python.parent / "bentoml", "serve", "serve_bentoml:Rows", "--host", "127.0.0.1", "--port", str(ports[0]),
            "--working-dir", HERE]


def script(name):
    return lambda python, _, ports: [python, HERE / name, *map(str, ports[:2])]


ALL = [
    Peer("mlserver", "MLServer", mlserver, "/v2/models/rows/ready", V2_WAYS),
    Peer("ray", "Ray Serve", script("serve_ray.py"), "/-/healthz", [
        Way("JSON", json_ids, lambda data: json.loads(data)["score"], "/"),
        Way("binary", lambda ids: ids.tobytes(), lambda data: list(struct.unpack(f"<{len(data) // 4}f", data)), "/",
            content_type="application/octet-stream")], {"RAY_USAGE_STATS_ENABLED": "0"}),
    Peer("bentoml", "BentoML", bentoml, "/readyz", [Way("JSON", json_ids, json.loads, "/predict")],
         {"BENTOML_DO_NOT_TRACK": "True"}),
    Peer("litserve", "LitServe", script("serve_litserve.py"), "/health", [
        Way("JSON", json_ids, lambda data: json.loads(data)["score"], "/predict")]),
    Peer("pytriton", "Triton (nvidia-pytriton)", script("serve_pytriton.py"), "/v2/models/rows/ready", V2_WAYS),
]


class Running:
    """A peer's process and its descendants."""

    def __init__(self, peer, folder, model):
        folder.mkdir(parents=True)
        self.ports = [tern_server.free_port() for _ in range(3)]
        self.log = folder / "log.txt"
        python = PEERS / peer.name / "bin" / "python"
        if not python.exists():
            raise load.Failed(f"it is not installed (bench/peers/install.py {peer.name})")
        env = {**os.environ, "PYTHONPATH": str(HERE), "TERN_BENCH_MODEL": str(model), "PYTHONUNBUFFERED": "1",
               "PATH": f"{python.parent}:{os.environ['PATH']}", **peer.env}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*map(str, peer.command(python, folder, self.ports))], cwd=folder, env=env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            contestants.wait_http(self.ports[0], peer.ready, self.process, self.log)
        except load.Failed:
            self.stop()
            raise

    def stop(self):
        """The process asked to end has all of its session ended with it."""
        contestants.stop_process(self.process)
        for pid in session(self.process.pid):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass


def session(leader):
    """Processes whose session that process has begun."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[3]) == leader:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


# ---- measuring ----


def ask(port, way, body):
    """One answer's body."""
    if way.api == "grpc":
        import grpc
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            return channel.unary_unary(way.path, None, None)(body, timeout=120)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", way.path, body=body, headers={"Content-Type": way.content_type})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise load.Failed(f"{way.path}: {answer.status} {data[:300]!r}")
    return data


def same(found, wanted):
    if len(found) != len(wanted) or any(abs(a - b) > 1e-4 + 1e-4 * abs(b) for a, b in zip(found, wanted)):
        raise load.Failed(f"its answer is not Tern's: {found[:3]} ... for {wanted[:3]} ...")


def step(build, port, way, file, connections, expected_ms):
    return load.patient(max(0.4, 4e-3 * expected_ms * connections), build, f"http://127.0.0.1:{port}", file, api=way.api,
                        path=way.path, content_type=way.content_type, connections=connections, warmup=0.1, model="rows")


def measure_peer(peer, build, work, model, requests, tern, rounds, note):
    """-> rows of one peer: its times and Tern's of the same rounds."""
    import tern_grpc
    note(f"{peer.title}: starting")
    running, rows = Running(peer, work / peer.name, model), []
    try:
        for size, (ids, wanted) in requests.items():
            for way in peer.ways:
                own = way.body(ids)
                port = running.ports[1 if way.api == "grpc" else 0]
                same(scores_of(peer, way, port, own), wanted)
                mine = Way("binary", None, None, tern_grpc.PREDICT, "grpc", "") if way.form == "binary" else Way(
                    "JSON", None, None, "/v1/models/rows:predict")
                files = [work / f"{peer.name}.body", work / "tern.body"]
                files[0].write_bytes(own)
                files[1].write_bytes(tern_grpc.predict_request("rows", {"ids": ids}).SerializeToString() if way.form == "binary"
                                     else json.dumps({"inputs": ids.tolist()}, separators=(",", ":")).encode())
                both = ((port, way, files[0]), (tern.grpc if mine.api == "grpc" else tern.rest, mine, files[1]))
                for connections in (1, 8):
                    note(f"{peer.title}: {size}, {way.form}, {connections} connections")
                    expected = [step(build, *who, connections, 0)["mean_ms"] / connections for who in both]
                    found = ([], [])
                    for turn in range(rounds):
                        for i in (0, 1) if turn % 2 else (1, 0):
                            found[i].append(step(build, *both[i], connections, expected[i]))
                    rows.append({"peer": peer.title, "size": size, "form": way.form, "connections": connections,
                                 "p50_ms": [[s["p50_ms"] for s in f] for f in found],
                                 "per_second": [[s["per_second"] for s in f] for f in found]})
    finally:
        running.stop()
    return rows


def scores_of(peer, way, port, body):
    try:
        return way.scores(ask(port, way, body))
    except Exception as error:  # noqa: BLE001
        raise load.Failed(f"{peer.title}, {way.form}: {error}") from error


def measure(build, work, model_folder, names, rounds, note):
    import numpy as np
    tern = tern_server.Server(work / "tern", ["--model_name=rows", f"--model_base_path={model_folder}"], build=build)
    rows, failed, requests = [], {}, {}
    try:
        for size, count in ROWS.items():
            ids = np.random.default_rng(count).integers(0, 10_000, size=(count, 160)).astype("i4")
            requests[size] = ids, tern.predict("rows", {"inputs": ids.tolist()}).json()["outputs"]
        for peer in ALL:
            if peer.name not in names:
                continue
            try:
                rows += measure_peer(peer, build, work, model_folder / "1", requests, tern, rounds, note)
            except (load.Failed, OSError, ValueError) as error:
                failed[peer.title] = re.sub(r"\s+", " ", str(error))[-500:]
                note(f"{peer.title} does not work: {failed[peer.title][:200]}")
    finally:
        tern.stop()
    return {"rows": rows, "failed": failed}


# ---- report ----


def versions(names):
    found = {}
    for name in names:
        lock = (HERE / f"{name}.lock").read_text(encoding="utf-8") if (HERE / f"{name}.lock").exists() else ""
        package = "nvidia-pytriton" if name == "pytriton" else name
        found[name] = next((line.split(" ")[0].partition("==")[2] for line in lock.splitlines()
                            if line.startswith(package + "==")), "")
    return found


def ratios(row):
    """How many times Tern's latency the peer's is, and how many times the peer's rate Tern's is; of each round."""
    (own, tern), (rate, tern_rate) = row["p50_ms"], row["per_second"]
    return [a / b for a, b in zip(own, tern)], [b / a for a, b in zip(rate, tern_rate)]


def markdown(result):
    import report
    m = result["machine"]
    lines = ["# Tern beside other servers", "",
             f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; {result['rounds']} rounds. The same SavedModel and TensorFlow "
             "everywhere: [N, 160] ids, an embedding and a few dense layers, 1 MFLOP a row. A peer and Tern take turns; ratios are "
             "medians of the rounds' own, with their middle half. Versions: "
             + ", ".join(f"{k} {v}" for k, v in result["versions"].items()) + ".", ""]
    if result["rows"]:
        lines += ["![ratios](peers.png)", ""]
    out = []
    for row in result["rows"]:
        slower, fewer = ratios(row)
        med = statistics.median
        out.append([row["peer"], row["size"], row["form"], str(row["connections"]), report.number(med(row["p50_ms"][0])),
                    report.number(med(row["p50_ms"][1])), f"{med(slower):.1f} ({report.spread(slower)})",
                    f"{med(row['per_second'][0]):,.0f}", f"{med(row['per_second'][1]):,.0f}",
                    f"{med(fewer):.1f} ({report.spread(fewer)})"])
    lines += report.table(["peer", "request", "form", "connections", "its p50 ms", "Tern's", "its p50 / Tern's",
                           "its requests/s", "Tern's", "Tern's / its"], out)
    lines += ["JSON is each server's own form of it; binary is gRPC for Tern, MLServer and Triton, and the array's bytes over HTTP "
              "for Ray Serve. BentoML and LitServe are asked in JSON only.", ""]
    for name, why in result["failed"].items():
        lines += [f"{name} does not work here: {why}", ""]
    return "\n".join(lines)


def plot(result, folder):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    sizes = list(dict.fromkeys(r["size"] for r in result["rows"]))
    figure, axes = plt.subplots(1, len(sizes), figsize=(6.5 * len(sizes), 4.6), squeeze=False, layout="constrained")
    for axis, size in zip(axes[0], sizes):
        rows = [r for r in result["rows"] if r["size"] == size and r["connections"] == 1][::-1]
        values = [statistics.median(ratios(r)[0]) for r in rows]
        axis.barh([f"{r['peer']}, {r['form']}" for r in rows], values,
                  color=["#1b6ca8" if r["form"] == "JSON" else "#e0722a" for r in rows])
        for i, value in enumerate(values):
            axis.annotate(f"{value:.1f}", (value, i), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        axis.axvline(1, color="#444444", linewidth=1)
        axis.set_xlim(0, 1.12 * max(values))
        axis.set_title(f"{size}: p50 at one connection, in Tern's", fontsize=10, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for form in ("png", "svg"):
        figure.savefig(folder / f"peers.{form}", dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=3 if os.environ.get("QUICK") else 5)
    parser.add_argument("--only", default=",".join(p.name for p in ALL))
    parser.add_argument("--out", type=Path, default=HERE.parent / "report")
    args = parser.parse_args()
    import prepare
    import report
    import run
    progress, build, names = run.Progress(), args.build.resolve(), args.only.split(",")
    progress.step("making the model, where it is not there")
    model = prepare.endpoint_models(build) / "rows"
    with tempfile.TemporaryDirectory(prefix="tern-peers-") as work:
        result = measure(build, Path(work), model, names, args.rounds, progress.step)
    result |= {"machine": report.machine(), "rounds": args.rounds, "versions": versions(names)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "peers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (args.out / "peers.md").write_text(markdown(result), encoding="utf-8")
    if result["rows"]:
        plot(result, args.out)
    print((args.out / "peers.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
