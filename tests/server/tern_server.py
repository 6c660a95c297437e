"""Starts the real program for a test or a measurement, talks to it, and ends it.

A Server listens on free loopback ports in a folder of its own and is ended by its process id. stop() sends SIGTERM and
checks that the program drained, exited with 0 and that no sanitizer wrote a report.
"""
import fcntl
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TERN_BUILD", ROOT / "build")).resolve()
SHARED = pathlib.Path(os.environ.get("TERN_SHARED", ROOT.parent / "shared")).resolve()
# Only to stop a hang: everything awaited here takes a small part of it.
PATIENCE = 60.0
SANITIZER = re.compile(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|ERROR: LeakSanitizer)")


def has_engine(name):
    return (BUILD / "engines" / f"{name}.so").exists()


def free_port():
    """For programs that must be told one. Below those that the system gives to clients: these come and go all the time."""
    least = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    first, last = (10_000, least - 1) if least > 20_000 else (20_000, 65_535)
    while True:
        port = random.SystemRandom().randint(first, last)
        with socket.socket(socket.AF_INET) as s:
            try:
                s.bind(("", port))
                return port
            except OSError:
                continue


class Answer:
    """An HTTP answer, read whole."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class Server:
    """One running program. args: its flags after the ports. wait: "ready" (GET /readyz), "listen" (port file) or None."""

    def __init__(self, folder, args, program="tern", build=BUILD, env=None, wait="ready"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports_file = self.folder / "ports.json"
        self.log_file = self.folder / "log.txt"
        self.grpc = self.rest = None
        if program == "tern":
            argv = [str(build / "tern"), "serve", "--port=0", "--rest_api_port=0", f"--port_file={self.ports_file}"]
        elif program == "serve":  # SageMaker's: ports are variables of the environment
            argv = [str(build / "serve"), f"--port_file={self.ports_file}"]
        elif program == "tern serve --sagemaker":
            argv = [str(build / "tern"), "serve", "--sagemaker", f"--port_file={self.ports_file}"]
        else:
            self.grpc, self.rest = free_port(), free_port()
            argv = [str(build / program), f"--port={self.grpc}", f"--rest_api_port={self.rest}"]
        self.argv = argv + list(map(str, args))
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            cwd=self.folder, env={**os.environ, **(env or {})})
        if wait:
            try:
                self.wait(wait)
            except BaseException:
                self.kill()
                raise

    @property
    def log(self):
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.rest}"

    def until(self, condition, what):
        """Waits until condition() is true; fails when the program ended, or after PATIENCE."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode} before {what}:\n{self.log[-4000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"timed out before {what}:\n{self.log[-4000:]}")
            time.sleep(0.01)

    def wait(self, wait="ready"):
        self.until(self._listening, "it listened")
        if wait == "ready":
            self.until(self._ready, "it was ready")
        return self

    def _listening(self):
        if self.rest is not None:
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.rest)) == 0
        try:
            ports = json.loads(self.ports_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return False
        self.grpc, self.rest = ports["grpc"], ports["rest"]
        return True

    def _ready(self):
        """Every model answers or failed for good; /readyz alone says that one does."""
        try:
            answer = self.get("/readyz")
            return answer.status == 200 and b" 0 loading" in answer.body
        except OSError:
            return False

    # HTTP/1.1 by the standard library, one connection a call.
    def request(self, method, path, body=None, headers=None, port=None, timeout=PATIENCE):
        c = http.client.HTTPConnection("127.0.0.1", port or self.rest, timeout=timeout)
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body, **more):
        if not isinstance(body, (bytes, bytearray, memoryview)):
            body = (body if isinstance(body, str) else json.dumps(body)).encode()
        return self.request("POST", path, body=body, **more)

    def predict(self, model, body, version=None, **more):
        part = "" if version is None else f"/versions/{version}"
        return self.post(f"/v1/models/{model}{part}:predict", body, **more)

    def connect(self, port=None):
        s = socket.create_connection(("127.0.0.1", port or self.rest), timeout=PATIENCE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def metric(self, name, **labels):
        """Sum of the samples of that name whose labels include these; 0 when there is none."""
        total = 0.0
        for sample, found, value in parse_metrics(self.get("/metrics").text)[0]:
            if sample == name and all(found.get(k) == v for k, v in labels.items()):
                total += value
        return total

    # The end.
    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """SIGTERM, then wait and check. May be called again."""
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end after SIGTERM:\n{self.log[-4000:]}") from None
        found = SANITIZER.search(self.log)
        assert found is None, self.log[found.start():][:8000]
        assert code == 0, f"exit status {code}:\n{self.log[-4000:]}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.eE+-]+|[+-]?Inf|NaN)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parse_metrics(text):
    """Prometheus' text form 0.0.4 -> ([(sample, labels, value)], {metric: type}). Raises ValueError where it is broken."""
    samples, types = [], {}
    if not text.endswith("\n"):
        raise ValueError("no newline at the end")
    for line in text.splitlines():
        if not line:
            continue
        if line.startswith("#"):
            words = line.split(" ", 3)
            if words[1] == "TYPE":
                if words[2] in types or words[3] not in ("counter", "gauge", "histogram", "summary", "untyped"):
                    raise ValueError(line)
                types[words[2]] = words[3]
            elif words[1] != "HELP":
                raise ValueError(line)
            continue
        found = SAMPLE.match(line)
        if not found:
            raise ValueError(line)
        labels, at = {}, 0
        inner = found[2] or ""
        while at < len(inner):
            label = LABEL.match(inner, at)
            if not label or label[1] in labels:
                raise ValueError(line)
            labels[label[1]], at = label[2], label.end()
        base = re.sub(r"_(bucket|sum|count)$", "", found[1])
        if found[1] not in types and types.get(base) not in ("histogram", "summary"):
            raise ValueError(f"no TYPE before: {line}")
        samples.append((found[1], labels, float(found[3])))
    return samples, types


def run_together(functions):
    """Runs functions in threads, waits for all, raises the first error. -> their results in order."""
    results, errors = [None] * len(functions), []

    def call(i):
        try:
            results[i] = functions[i]()
        except BaseException as error:  # noqa: BLE001, handed to the caller
            errors.append(error)

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(len(functions))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE * 2)
    if any(t.is_alive() for t in threads):
        raise AssertionError("a client thread hangs")
    if errors:
        raise errors[0]
    return results


def make_models(script, name, build=BUILD):
    """Runs tests/models/SCRIPT once for this build folder and this text of the script. -> folder of the models."""
    source = ROOT / "tests" / "models" / script
    folder = build / "test-models" / name
    stamp = folder / ".made-from"
    text = source.read_text(encoding="utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".lock-{name}", "w", encoding="ascii") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # parts of the tests run at the same time
        make_once(source, folder, stamp, text)
    return folder


def make_once(source, folder, stamp, text):
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != text:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["rm", "-rf", *(str(p) for p in folder.iterdir())], check=True)
        made = subprocess.run([sys.executable, str(source), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=600, check=False)
        if made.returncode:
            raise RuntimeError(f"{source.name}: {made.stdout[-4000:]}")
        stamp.write_text(text, encoding="utf-8")
