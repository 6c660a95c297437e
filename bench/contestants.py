"""Who is measured: each has name, payload kinds it can take, call(payload) -> (milliseconds, {stage: milliseconds})."""
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "server"))

import grpc  # noqa: E402

import tern_server  # noqa: E402
from payloads import CONTENT_TYPE  # noqa: E402

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STAGE = re.compile(r"(\w+);dur=([0-9.]+)")


class Failed(Exception):
    """A contestant that did not answer as it should; the run stops."""


class Http:
    """POST over one kept connection. Times from the first byte sent to the last byte read."""

    def __init__(self, name, port, path, body_of, content_type, host="127.0.0.1"):
        self.name, self.path, self.body_of, self.content_type = name, path, body_of, content_type
        self.address = (host, port)
        self.connection = None

    def takes(self, payload):
        return self.body_of(payload) is not None

    def call(self, payload):
        body = self.body_of(payload)
        path = self.path.format(model=payload.model)
        start = time.perf_counter()
        try:
            answer = self.post(path, body)
        except (http.client.HTTPException, OSError):
            # A kept connection may have been closed meanwhile: once more on a new one.
            self.connection = None
            start = time.perf_counter()
            answer = self.post(path, body)
        data = answer.read()
        ms = (time.perf_counter() - start) * 1e3
        if answer.status != 200:
            raise Failed(f"{self.name}: {answer.status} {data[:300]!r}")
        return ms, {k: float(v) for k, v in STAGE.findall(answer.headers.get("server-timing", ""))}

    def post(self, path, body):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=600)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.request("POST", path, body=body, headers={"Content-Type": self.content_type})
        return self.connection.getresponse()


class Grpc:
    """Predict with grpcio; the message is made before, so that only the call is timed."""

    def __init__(self, name, port):
        self.name = name
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)])
        self.method = self.channel.unary_unary(PREDICT, None, None)

    def takes(self, payload):
        return bool(payload.proto)

    def call(self, payload):
        start = time.perf_counter()
        _, call = self.method.with_call(payload.proto, timeout=600)
        ms = (time.perf_counter() - start) * 1e3
        metadata = list(call.initial_metadata() or ()) + list(call.trailing_metadata() or ())
        timing = " ".join(v if isinstance(v, str) else v.decode() for k, v in metadata if k == "server-timing")
        return ms, {k: float(v) for k, v in STAGE.findall(timing)}


class Features:
    """The C features called from this process: the floor of what raw HTML costs before the run."""

    def __init__(self, extractor):
        self.name, self.extractor = "C features alone", extractor

    def takes(self, payload):
        return payload.html is not None

    def call(self, payload):
        start = time.perf_counter()
        self.extractor.extract(payload.html, CONTENT_TYPE)
        return (time.perf_counter() - start) * 1e3, {}


class Bare:
    """The engine with nothing around it (bench/bare_engine.c), one process for each payload: same library, same inputs."""

    def __init__(self, build, version, work, engine="tensorflow"):
        self.name, self.build, self.version, self.work, self.engine = "bare engine", build, version, work, engine
        self.processes = {}

    def takes(self, payload):
        return bool(payload.proto)

    def process_of(self, payload):
        if payload.name not in self.processes:
            request = self.work / f"{payload.name}-{self.engine}.request"
            request.write_bytes(payload.proto)
            process = subprocess.Popen(
                [self.build / "bench" / "bare_engine", self.engine, self.version, request], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env={**os.environ, "TERN_ENGINE_PATH": str(self.build / "engines")})
            if process.stdout.readline().strip() != "ready":
                raise Failed(f"bare engine: it ended with {process.wait()}")
            self.processes[payload.name] = process
        return self.processes[payload.name]

    def call(self, payload, times=1):
        process = self.process_of(payload)
        process.stdin.write(f"0 {times}\n")
        process.stdin.flush()
        return float(process.stdout.readline()) / 1e3, {}

    def stop(self):
        for process in self.processes.values():
            process.stdin.close()
            process.wait(60)
            process.stdout.close()


class Flask:
    """gunicorn with bench/flask_app.py, one worker with a thread pool so that connections are kept."""

    def __init__(self, folder, model, with_features, library):
        self.port = tern_server.free_port()
        env = {**os.environ, "TERN_BENCH_MODEL": str(model), "TERN_HTML_LIB": str(library)}
        if with_features:
            env["TERN_BENCH_FEATURES"] = "1"
        self.log = open(Path(folder) / "flask.log", "ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--worker-class",
             "gthread", "--threads", "2", "--timeout", "600", "--keep-alive", "600", "--no-control-socket", "flask_app:app"],
            cwd=Path(__file__).resolve().parent, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 180
        while True:
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
                c.request("GET", "/ready")
                if c.getresponse().status == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed("Flask did not start: " + (Path(folder) / "flask.log").read_text(errors="replace")[-3000:])
            time.sleep(0.2)

    def paths(self):
        return [Http("Flask, tensors as JSON, predict()", self.port, "/json", lambda p: p.json, "application/json"),
                Http("Flask, tensors as JSON, signature", self.port, "/json_direct", lambda p: p.json, "application/json"),
                Http("Flask, raw HTML, predict()", self.port, "/html", lambda p: p.html, CONTENT_TYPE),
                Http("Flask, raw HTML, signature", self.port, "/html_direct", lambda p: p.html, CONTENT_TYPE)]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


