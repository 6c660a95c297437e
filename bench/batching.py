#!/usr/bin/env python3
"""What batching is worth: one model, three servers, interleaved. By hand:

    bench/batching.py [--build build] [--rounds 3] [--seconds 4] [--json FILE]

The model is a few dense layers, where a run of 64 rows costs far less than ten runs of one row: the weights have to be
read once. Each round asks every server (batching off, serving, auto) over REST and gRPC with 1 and with 64 connections
of one row each. Printed are the ratios that count: requests a second at 64 connections against no batching, and the
median latency at one connection against no batching. h2load is the client; it takes part of a small machine.
"""
import argparse
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "server"))

import tern_server  # noqa: E402

WIDTH, LAYERS, INPUT = 1024, 3, 16
PATH, METHOD = "/v1/models/layers:predict", "/tensorflow.serving.PredictionService/Predict"
PARAMETERS = ("max_batch_size { value: 64 }\nbatch_timeout_micros { value: 1000 }\nmax_enqueued_batches { value: 1000 }\n"
              f"num_batch_threads {{ value: {os.cpu_count()} }}\n")
RATE = re.compile(r"finished in .*?, ([0-9.]+) req/s")
RUN = re.compile(r"run;dur=([0-9.]+)")


def write_model(folder):
    """FOLDER/1: y = the last of LAYERS dense layers of WIDTH, of which 8 columns are the answer."""
    code = f"""
import numpy as np, tensorflow as tf
dice = np.random.default_rng(3)
shapes = [({INPUT}, {WIDTH})] + [({WIDTH}, {WIDTH})] * {LAYERS} + [({WIDTH}, 8)]
class Layers(tf.Module):
    def __init__(self):
        self.weights = [tf.Variable(dice.normal(size=s, scale=s[0] ** -0.5).astype("float32")) for s in shapes]
    @tf.function(input_signature=[tf.TensorSpec([None, {INPUT}], tf.float32, name="x")])
    def predict(self, x):
        for w in self.weights[:-1]:
            x = tf.nn.relu(tf.matmul(x, w))
        return {{"y": tf.matmul(x, self.weights[-1])}}
module = Layers()
tf.saved_model.save(module, {str(folder / "1")!r}, signatures={{"serving_default": module.predict}})
"""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def message():
    """PredictRequest of one row, framed for gRPC."""
    def field(number, data):
        return bytes([number << 3 | 2]) + (bytes([len(data)]) if len(data) < 128
                                           else bytes([len(data) & 127 | 128, len(data) >> 7])) + data
    shape = field(2, b"\x08\x01") + field(2, bytes([8, INPUT]))
    tensor = b"\x08\x01" + field(2, shape) + field(4, struct.pack(f"<{INPUT}f", *(i / 7 for i in range(INPUT))))
    body = field(1, field(1, b"layers")) + field(2, field(1, b"x") + field(2, tensor))
    return b"\0" + struct.pack(">I", len(body)) + body


def h2load(url, body, connections, seconds, log, headers=(), h1=False):
    """-> (requests a second, median latency in ms); raises when any request failed."""
    log.unlink(missing_ok=True)
    argv = ["h2load", "-c", str(connections), "-t", "1", "-m", "1", "-D", str(seconds), "--warm-up-time", "1", "-d", str(body),
            f"--log-file={log}", *(["--h1"] if h1 else []), *(a for h in headers for a in ("-H", h)), url]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 60, check=False)
    rate = RATE.search(done.stdout)
    if done.returncode or not rate or not re.search(r"status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx", done.stdout):
        raise RuntimeError(f"h2load {url}: {done.stdout[-2000:]}")
    times = [int(line.split("\t")[2]) for line in log.read_text(encoding="ascii").splitlines()]
    return float(rate[1]), statistics.median(times) / 1000


def run_cost(server, rows):
    """Milliseconds that the engine takes for one run of so many rows: the least of some."""
    body = {"inputs": [[i / 7 for i in range(INPUT)]] * rows}
    return min(float(RUN.search(server.predict("layers", body).headers["server-timing"])[1]) for _ in range(20))


def measure(build, folder, rounds, seconds, note):
    """-> {"cost_1", "cost_64", "rows": {(manner, api, connections): {"rates", "ms"}}}"""
    model = folder / "layers"
    note("writing the model")
    write_model(model)
    (folder / "batching.txt").write_text(PARAMETERS, encoding="ascii")
    body, grpc_body, log = folder / "body.json", folder / "message.bin", folder / "log.txt"
    body.write_text(json.dumps({"instances": [[i / 7 for i in range(INPUT)]]}), encoding="ascii")
    grpc_body.write_bytes(message())
    flags = {"off": [], "serving": ["--enable_batching", f"--batching_parameters_file={folder / 'batching.txt'}"],
             "auto": ["--batching=auto"]}
    servers, result = {}, {"rows": {}}
    try:
        for manner, more in flags.items():
            servers[manner] = tern_server.Server(folder / manner, ["--model_name=layers", f"--model_base_path={model}", *more],
                                                 build=build)
        result["cost_1"], result["cost_64"] = run_cost(servers["off"], 1), run_cost(servers["off"], 64)
        for turn in range(rounds):
            for connections in (1, 64):
                for manner, server in servers.items():
                    note(f"round {turn + 1}/{rounds}: {manner}, {connections} connections")
                    rest = h2load(f"http://127.0.0.1:{server.rest}{PATH}", body, connections, seconds, log, h1=True)
                    grpc = h2load(f"http://127.0.0.1:{server.grpc}{METHOD}", grpc_body, connections, seconds, log,
                                  ("content-type: application/grpc", "te: trailers"))
                    for api, (rate, ms) in (("REST", rest), ("gRPC", grpc)):
                        row = result["rows"].setdefault((manner, api, connections), {"rates": [], "ms": []})
                        row["rates"].append(rate)
                        row["ms"].append(ms)
        result["fill"] = {m: s.metric("tern_batch_calls_total") / max(1, s.metric("tern_batches_total"))
                          for m, s in servers.items()}
    finally:
        for server in servers.values():
            server.stop()
    return result


def report(result):
    lines = [f"one run: {result['cost_1']:.2f} ms for 1 row, {result['cost_64']:.2f} ms for 64 rows "
             f"({result['cost_64'] / result['cost_1']:.1f} times; needed for the comparison: less than 10)",
             "calls in a batch, over all: " + ", ".join(f"{m} {f:.1f}" for m, f in result["fill"].items() if m != "off")]
    rows = result["rows"]
    for api in ("REST", "gRPC"):
        for connections in (1, 64):
            def ratio(manner, what, api=api, connections=connections):
                """Of one round and the same round without batching, the median of these."""
                mine, off = rows[manner, api, connections][what], rows["off", api, connections][what]
                return statistics.median(a / b for a, b in zip(mine, off))
            for manner in ("off", "serving", "auto"):
                row = rows[manner, api, connections]
                lines.append(f"{api}, {connections:2d} connections, {manner:7s}: {statistics.median(row['rates']):8.0f} req/s "
                             f"({ratio(manner, 'rates'):.2f} of off), p50 {statistics.median(row['ms']):7.2f} ms "
                             f"({ratio(manner, 'ms'):.2f} of off)")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args.build.resolve(), Path(folder), args.rounds, args.seconds,
                         lambda text: print(f"  {text}", file=sys.stderr))
    print(report(result))
    if args.json:
        plain = {**result, "rows": [{"manner": m, "api": a, "connections": c, **row} for (m, a, c), row in result["rows"].items()]}
        args.json.write_text(json.dumps(plain, indent=1), encoding="ascii")


if __name__ == "__main__":
    main()
