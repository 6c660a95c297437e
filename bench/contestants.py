"""Who is measured: each has a name, says what it takes(payload), and has its turn by round(payload, seconds, expected_ms) ->
([milliseconds], {stage: milliseconds}). What is a server is asked by bench/load.py; Http is bench/sagemaker.py's client."""
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

import tern_server  # noqa: E402
from load import Called, Failed, Loaded  # noqa: E402
from payloads import CONTENT_TYPE  # noqa: E402

STAGE = re.compile(r"(\w+);dur=([0-9.]+)")


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


class Features(Called):
    """The C features called from this process: the floor of what raw HTML costs before the run."""

    def __init__(self, extractor):
        self.name, self.extractor = "C features alone", extractor

    def takes(self, payload):
        return payload.html is not None

    def call(self, payload):
        start = time.perf_counter()
        self.extractor.extract(payload.html, CONTENT_TYPE)
        return (time.perf_counter() - start) * 1e3


class Bare(Called):
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
        return float(process.stdout.readline()) / 1e3

    def stop(self):
        for process in self.processes.values():
            process.stdin.close()
            process.wait(60)
            process.stdout.close()


class Flask:
    """bench/flask_app.py behind gunicorn, one worker with a thread pool so that connections are kept, or under the server for
    development that `flask run` starts. It starts without waiting: wait() before it is asked."""

    def __init__(self, folder, build, model, with_features, library, gunicorn=True):
        self.port, self.build, self.work, self.gunicorn = tern_server.free_port(), build, Path(folder), gunicorn
        env = {**os.environ, "TERN_BENCH_MODEL": str(model), "TERN_HTML_LIB": str(library)}
        if with_features:
            env["TERN_BENCH_FEATURES"] = "1"
        way = ["-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--worker-class", "gthread", "--threads",
               "2", "--timeout", "600", "--keep-alive", "600", "--no-control-socket", "flask_app:app"] if gunicorn else [
                   "-m", "flask", "--app", "flask_app", "run", "--port", str(self.port)]
        self.log_path = self.work / f"flask-{self.port}.log"
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([sys.executable, *way], cwd=Path(__file__).resolve().parent, env=env,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def wait(self):
        wait_http(self.port, "/ready", self.process, self.log_path)

    def paths(self, quick):
        """quick: what the design's table needs, which is predict() at the median page."""
        def of_json(payload):
            return payload.json if payload.name == "median" or not quick else None

        who = "Flask" if self.gunicorn else "Flask's own server"
        found = [self.way(f"{who}, tensors as JSON, predict()", "/json", of_json, "application/json")]
        if self.gunicorn and not quick:
            found += [self.way("Flask, tensors as JSON, signature", "/json_direct", of_json, "application/json"),
                      self.way("Flask, raw HTML, predict()", "/html", lambda p: p.html, CONTENT_TYPE),
                      self.way("Flask, raw HTML, signature", "/html_direct", lambda p: p.html, CONTENT_TYPE)]
        return found

    def way(self, name, path, body_of, content_type):
        return Loaded(name, self.build, self.work, self.port, path, body_of, content_type)

    def stop(self):
        stop_process(self.process)
        self.log.close()


def wait_http(port, path, process, log, seconds=180):
    """Until GET path answers 200; Failed with the end of the log when the process ends or the time is over."""
    end = time.monotonic() + seconds
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"{path} on port {port} never answered: " + Path(log).read_text(errors="replace")[-3000:])
        time.sleep(0.2)


def stop_process(process):
    """SIGTERM, and SIGKILL where that does not help."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
