"""What a server costs besides time: memory of one large request above the loaded model, and the time to its first answer.

Memory: the peak of the server's resident set during its first large request, less the set before (a small request has been
answered, so the model is loaded and has run), less what the run itself takes: the same peak of the bare engine, without its
outputs. That is what the way from the socket to the tensors and back takes, told as a ratio to the body and the tensors. Both run
with one thread inside an operation: with more, what the runtime holds at once differs from run to run by more than all that.
Start: from the start of the process to the first answer, against the bare engine's process from its start to the end of its
first run. Both have everything in the page cache. Every measurement is of a fresh process.
"""
import os
import socket
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tern_server
from load import Failed

SMALL = 16  # units of the small request


# ---- memory ----


def resident(pid, key="VmRSS"):
    """Bytes; VmHWM is the peak since reset_peak()."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise Failed(f"/proc/{pid}/status has no {key}")


def reset_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def small_of(payload):
    """The same request with the first units only."""
    import numpy as np
    import payloads
    import tern_grpc
    rows = next(iter(payload.tensors.values())).shape[0] > 1

    def by_unit(name, value):
        return rows or value.ndim == 3 or name in ("node_mask", "parent")

    cut = {k: (v[:SMALL] if rows else v[:, :SMALL]) if by_unit(k, v) else v for k, v in payload.tensors.items()}
    cut = {k: np.minimum(v, SMALL - 1) if k == "parent" else v for k, v in cut.items()}
    return payloads.encode(payloads.Payload("small", "", payload.model, None, cut), tern_grpc)


class Engine:
    """bench/bare_engine.c with the small request as number 0 and the large one as number 1."""

    def __init__(self, build, version, files, engine="tensorflow", one_thread=False):
        how = {"BARE_ENGINE_ONE_THREAD": "1"} if one_thread else {}
        self.start = time.perf_counter()
        self.process = subprocess.Popen(
            [build / "bench" / "bare_engine", engine, version, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "TERN_ENGINE_PATH": str(build / "engines")} | how)
        if self.process.stdout.readline().strip() != "ready":
            raise Failed(f"bare engine: it ended with {self.process.wait()}")

    def run(self, which):
        self.process.stdin.write(f"{which} 1\n")
        self.process.stdin.flush()
        if not self.process.stdout.readline():
            raise Failed(f"bare engine: it ended with {self.process.wait()}")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def engine_peak(build, version, files):
    bare = Engine(build, version, files, one_thread=True)
    try:
        bare.run(0)
        before = resident(bare.process.pid)
        reset_peak(bare.process.pid)
        bare.run(1)
        return resident(bare.process.pid, "VmHWM") - before
    finally:
        bare.stop()


def server_peak(build, folder, model_folder, payload, small, api):
    """-> (peak above the loaded model, bytes of the outputs as raw tensors)"""
    import tensorflow as tf
    import tern_grpc
    from tensorflow_serving.apis import predict_pb2
    server = tern_server.Server(folder, [f"--model_name={payload.model}", f"--model_base_path={model_folder}",
                                         "--tensorflow_intra_op_parallelism=1"], build=build)
    try:
        with tern_grpc.Client(server.grpc) as client:
            def ask(p):
                if api == "gRPC":
                    return client.raw(tern_grpc.PREDICT, p.proto)
                answer = server.post(f"/v1/models/{p.model}:predict", p.json)
                if answer.status != 200:
                    raise Failed(f"memory, {p.model}: {answer!r}")
                return None

            ask(small)
            pid = server.process.pid
            before = resident(pid)
            reset_peak(pid)
            ask(payload)
            peak = resident(pid, "VmHWM") - before
            told = predict_pb2.PredictResponse.FromString(client.raw(tern_grpc.PREDICT, payload.proto))
            return peak, sum(tf.make_ndarray(t).nbytes for t in told.outputs.values())
    finally:
        server.stop()


def memory_of(build, work, title, model_folder, payload, rounds):
    """Two processes at a time: what they take does not depend on how long they take."""
    small = small_of(payload)
    files = [work / f"memory-{payload.name}-{i}.request" for i in range(2)]
    for file, p in zip(files, (small, payload)):
        file.write_bytes(p.proto)
    bodies = {"REST": payload.json, "gRPC": payload.proto}
    with ThreadPoolExecutor(2) as pool:
        bare = [pool.submit(engine_peak, build, model_folder / "1", files) for _ in range(rounds)]
        served = {api: [pool.submit(server_peak, build, work / f"memory-{payload.name}-{api}-{turn}", model_folder, payload, small,
                                    api) for turn in range(rounds)] for api in bodies}
    rows, inputs = [], sum(v.nbytes for v in payload.tensors.values())
    for api, body in bodies.items():
        row = {"title": title, "api": api, "body": len(body), "peak": [], "run": [], "ratios": []}
        for alone, (peak, outputs) in zip((b.result() for b in bare), (s.result() for s in served[api])):
            row["tensors"] = inputs + outputs
            row["peak"].append(peak)
            row["run"].append(alone - outputs)
            row["ratios"].append((peak - row["run"][-1]) / (len(body) + row["tensors"]))
        rows.append(row)
    return rows


# ---- start ----


def bare_start(build, version, file, engine):
    """Seconds."""
    bare = Engine(build, version, [file], engine)
    try:
        bare.run(0)
        return time.perf_counter() - bare.start
    finally:
        bare.stop()


def ask_once(port, head, body):
    """Status of one request on a new connection; None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            s.sendall(head + body)
            answer = s.recv(1 << 16)
            return int(answer[9:12]) if len(answer) > 12 else None
    except OSError:
        return None


def server_start(build, folder, model_folder, payload, engine):
    """Seconds; asked again every millisecond until there is an answer with 200."""
    folder.mkdir(parents=True, exist_ok=True)
    port = tern_server.free_port()
    head = (f"POST /v1/models/{payload.model}:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(payload.json)}\r\n\r\n").encode()
    with open(folder / "log.txt", "wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen([build / "tern", "serve", "--port=0", f"--rest_api_port={port}", f"--engine={engine}",
                                    f"--model_name={payload.model}", f"--model_base_path={model_folder}"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        try:
            while ask_once(port, head, payload.json) != 200:
                if process.poll() is not None or time.perf_counter() - start > 60:
                    raise Failed("start: " + (folder / "log.txt").read_text(errors="replace")[-2000:])
                time.sleep(0.001)
            return time.perf_counter() - start
        finally:
            process.terminate()
            process.wait(60)


def start_of(build, work, title, model_folder, payload, engine, rounds):
    small = small_of(payload)
    file = work / f"start-{payload.name}.request"
    file.write_bytes(small.proto)
    bare, served = [], []
    for turn in range(-1, rounds):  # the first one fills the page cache
        one = bare_start(build, model_folder / "1", file, engine)
        two = server_start(build, work / f"start-{payload.name}-{engine}-{turn}", model_folder, small, engine)
        if turn >= 0:
            bare.append(one)
            served.append(two)
    return {"title": title, "engine": engine, "bare_s": statistics.median(bare), "served_s": statistics.median(served),
            "ratios": [s / b for s, b in zip(served, bare)]}


def measure(build, work, cases, rounds, note):
    """cases: {title: (folder of the model, payload)}; the first one's start is measured with each engine."""
    memory, start = [], []
    for title, (folder, payload) in cases.items():
        note.step(f"memory: {title}")
        memory += memory_of(build, work, title, folder, payload, 3 if rounds > 3 else 2)
    title, (folder, payload) = next(iter(cases.items()))
    for engine in ("tensorflow", "openvino"):
        if (build / "engines" / f"{engine}.so").exists():
            note.step(f"start: {engine}")
            start.append(start_of(build, work, "page model", folder, payload, engine, rounds))
    return {"memory": memory, "start": start}


def section(found):
    """The lines of the report."""
    import report
    lines = ["## Memory of one large request", "",
             "Peak above the loaded model, less what the bare engine's run takes, to the body and the tensors (inputs and outputs)."
             " The first large request of a fresh process.", ""]
    lines += report.table(["request", "", "body", "tensors", "peak", "of it the run", "ratio", "from - to"], [
        [r["title"], r["api"], report.size(r["body"]), report.size(r["tensors"]), report.size(statistics.median(r["peak"])),
         report.size(statistics.median(r["run"])), f"{statistics.median(r['ratios']):.2f}",
         f"{min(r['ratios']):.2f} - {max(r['ratios']):.2f}"] for r in found["memory"]])
    lines += ["## Start to the first answer", "", "From the start of the process; bare: load and first run of the engine.", ""]
    return lines + report.table(["model", "engine", "bare s", "Tern s", "ratio", "from - to"], [
        [r["title"], r["engine"], f"{r['bare_s']:.2f}", f"{r['served_s']:.2f}", f"{statistics.median(r['ratios']):.2f}",
         f"{min(r['ratios']):.2f} - {max(r['ratios']):.2f}"] for r in found["start"]])
