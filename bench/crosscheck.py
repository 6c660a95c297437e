#!/usr/bin/env python3
"""`tern bench` against other load generators on the same server: what one says should be what the others say. By hand:

    bench/crosscheck.py [--build build] [--rounds 5] [--seconds 2] [--json FILE]

A Tern with half_plus_two is asked the same question by wrk, h2load and hey (Debian packages of these names; what is missing is
left out), and by `tern bench`, with 1, 8 and 64 connections, each by one thread and in a closed loop, turn and turn about. Told
are the medians of the rounds' own ratios to `tern bench`: requests a second, p50 and p99. They need not be 1: a load generator
takes part of a small machine, so the one that costs less sees a faster server (and Go's has as many threads as it wants).
"""
import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "server")]

import load  # noqa: E402
import small  # noqa: E402
import tern_server  # noqa: E402

PATH, METHOD = "/v1/models/half_plus_two:predict", "/tensorflow.serving.PredictionService/Predict"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'
UNITS = {"us": 1e-3, "ms": 1, "s": 1e3}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Asked:
    """One server, one question in the forms that the generators take."""

    def __init__(self, server, folder):
        self.url, self.grpc_url = f"http://127.0.0.1:{server.rest}", f"http://127.0.0.1:{server.grpc}"
        self.log, self.body, self.framed, self.message, self.lua = (
            folder / n for n in ("log.txt", "body.json", "framed.bin", "message.bin", "wrk.lua"))
        self.body.write_bytes(BODY)
        self.framed.write_bytes(small.predict_message())
        self.message.write_bytes(small.predict_message()[5:])
        self.lua.write_text(f"wrk.method = 'POST'\nwrk.body = '{BODY.decode()}'\nwrk.headers['content-type'] = "
                            "'application/json'\n", encoding="ascii")


def output_of(command, seconds):
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=seconds + 60)
    if done.returncode:
        raise load.Failed(f"{command[0]}: {done.stdout[-800:]}")
    return done.stdout


def wrk(_, asked, connections, seconds):
    text = output_of(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", asked.lua, asked.url + PATH], seconds)
    if "Non-2xx" in text or "Socket errors" in text:
        raise load.Failed(f"wrk: {text[-800:]}")

    def latency(share):
        value, unit = re.search(rf"{share}%\s+([0-9.]+)(us|ms|s)", text).groups()
        return float(value) * UNITS[unit]

    return float(re.search(r"Requests/sec:\s+([0-9.]+)", text)[1]), latency(50), latency(99)


def h2load(kind):
    def ask(_, asked, connections, seconds):
        asked.log.unlink(missing_ok=True)
        how = ["--h1", "-d", asked.body, "-H", "content-type: application/json", asked.url + PATH] if kind == "rest" else [
            "-d", asked.framed, "-H", "content-type: application/grpc", "-H", "te: trailers", asked.grpc_url + METHOD]
        text = output_of(["h2load", "-c", connections, "-t", 1, "-m", 1, "-D", seconds, f"--log-file={asked.log}", *how], seconds)
        rows = [line.split("\t") for line in asked.log.read_text(encoding="ascii").splitlines()]
        if any(row[1] != "200" for row in rows):
            raise load.Failed(f"h2load: {text[-800:]}")
        times = [int(row[2]) / 1e3 for row in rows]
        return len(rows) / seconds, percentile(times, 0.5), percentile(times, 0.99)
    return ask


def hey(_, asked, connections, seconds):
    text = output_of(["hey", "-cpus", 1, "-c", connections, "-z", f"{seconds}s", "-m", "POST", "-T", "application/json", "-D",
                      asked.body, asked.url + PATH], seconds)
    if set(re.findall(r"\[(\d{3})\]\s+\d+ responses", text)) != {"200"}:
        raise load.Failed(f"hey: {text[-800:]}")

    def latency(share):
        return float(re.search(rf"{share}%+ in ([0-9.]+) secs", text)[1]) * 1e3

    return float(re.search(r"Requests/sec:\s+([0-9.]+)", text)[1]), latency(50), latency(99)


def tern(kind):
    def ask(build, asked, connections, seconds):
        url, file, path = (asked.url, asked.body, PATH) if kind == "rest" else (asked.grpc_url, asked.message, METHOD)
        step = load.run(build, url, file, api=kind, path=path, connections=connections, seconds=seconds, model="half_plus_two")
        return step["per_second"], step["p50_ms"], step["p99_ms"]
    return ask


WHO = {"REST": {"tern bench": tern("rest"), "wrk": wrk, "h2load": h2load("rest"), "hey": hey},
       "gRPC": {"tern bench": tern("grpc"), "h2load": h2load("grpc")}}


def measure(build, folder, rounds, seconds, note):
    """-> {(api, connections, who): [(rate, p50, p99) of each round]}"""
    models = tern_server.make_models("server_models.py", "server", build)
    server = tern_server.Server(folder / "tern", ["--model_name=half_plus_two", f"--model_base_path={models / 'half_plus_two'}"],
                                build=build)
    found = {}
    try:
        asked = Asked(server, folder)
        for turn in range(rounds):
            for api, all_of in WHO.items():
                able = [w for w in all_of if w == "tern bench" or shutil.which(w)]
                for connections in (1, 8, 64):
                    for who in able[turn % len(able):] + able[:turn % len(able)]:
                        note(f"round {turn + 1}/{rounds}: {api}, {connections} connections, {who}")
                        found.setdefault((api, connections, who), []).append(all_of[who](build, asked, connections, seconds))
    finally:
        server.stop()
    return found


def lines(found):
    import report
    out = []
    for (api, connections, who), values in found.items():
        medians = [statistics.median(v) for v in zip(*values)]
        ours = found[api, connections, "tern bench"]
        cells = [f"{statistics.median(a[i] / b[i] for a, b in zip(values, ours)):.2f}" for i in range(3)]
        out.append([api, str(connections), who, f"{medians[0]:,.0f}", f"{medians[1]:.3f}", f"{medians[2]:.3f}",
                    *(cells if who != "tern bench" else [""] * 3)])
    return report.table(["", "connections", "who asks", "requests/s", "p50 ms", "p99 ms", "rate / tern bench's", "p50 /", "p99 /"],
                        out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.build.resolve(), Path(folder), args.rounds, args.seconds, lambda t: print(f"  {t}", file=sys.stderr))
    print("\n".join(lines(found)))
    if args.json:
        args.json.write_text(json.dumps([{"api": a, "connections": c, "who": w, "rounds": v} for (a, c, w), v in found.items()],
                                        indent=1), encoding="ascii")


if __name__ == "__main__":
    main()
