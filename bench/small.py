"""Requests a second of a very small model (half_plus_two), and what one costs the server's CPU, against nginx `return 200`.

h2load is the client of all. On a machine of few cores it takes part of them, so the fair figure is the server's own CPU
time for a request (its processes' user and system time, as the scheduler counts it): requests per second of one core's work.
"""
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import prepare
import tern_server

ANSWER = re.compile(r"finished in .*?, ([0-9.]+) req/s")
COUNTS = re.compile(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed")


def cpu_seconds(pids):
    """Of all threads; they live as long as the turn."""
    return sum(int(task.read_text(encoding="ascii").split()[0]) for pid in pids
               for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def h2load(url, body_file, connections, seconds, headers=(), h1=False):
    """-> (requests a second, requests that succeeded); raises when any failed."""
    argv = ["h2load", "-c", str(connections), "-t", "1", "-m", "1", "-D", str(seconds), "-d", str(body_file),
            *(["--h1"] if h1 else []), *(a for h in headers for a in ("-H", h)), url]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 60, check=False)
    rate, counts = ANSWER.search(done.stdout), COUNTS.search(done.stdout)
    if done.returncode or not rate or not counts or int(counts[3]) or not int(counts[2]):
        raise RuntimeError(f"h2load {url}: {done.stdout[-2000:]}")
    if not re.search(r"status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx", done.stdout):
        raise RuntimeError(f"h2load {url}: not all 2xx: {done.stdout[-2000:]}")
    return float(rate[1]), int(counts[2])


def find_nginx(deps, note):
    """Path of nginx: the system's, or the Debian package unpacked into the dependencies' folder (nothing is installed)."""
    own = deps / "nginx" / "usr" / "sbin" / "nginx"
    for path in (shutil.which("nginx"), str(own) if own.exists() else None):
        if path:
            return path
    if shutil.which("apt-get") is None:
        return None
    note("fetching nginx")
    folder = deps / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "-qq", "download", "nginx"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=300, check=False)
    for package in folder.glob("nginx_*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return str(own) if own.exists() else None


class Nginx:
    """nginx that answers everything with 200 and the bytes of Tern's REST answer; HTTP/1.1 on one port, h2c on another.

    reuseport: the kernel spreads connections over its processes, as Tern spreads them over its loops. Without it one process
    often takes all of a few connections, and sleeps less than two that have half of them each."""

    def __init__(self, binary, folder):
        self.h1, self.h2 = tern_server.free_port(), tern_server.free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
        text = r'{\n    \"predictions\": [2.5, 3.0, 4.5\n    ]\n}'
        temp = "".join(f"{k}_temp_path {folder}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = f"""
daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/logs/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; {temp}
  server {{ listen 127.0.0.1:{self.h1} reuseport; default_type application/json; location / {{ return 200 "{text}"; }} }}
  server {{ listen 127.0.0.1:{self.h2} http2 reuseport; default_type application/grpc; location / {{ return 200 "{text}"; }} }}
}}
"""
        (folder / "nginx.conf").write_text(config, encoding="ascii")
        self.process = subprocess.Popen([binary, "-p", str(folder), "-c", str(folder / "nginx.conf"),
                                         "-e", str(folder / "logs" / "error.log")],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.h2)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("nginx did not start: " + (folder / "logs" / "error.log").read_text(errors="replace"))

    @property
    def pids(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()
        return [self.process.pid, *map(int, children)]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def predict_message():
    """PredictRequest for half_plus_two with x = [1, 2, 5], framed for gRPC."""
    tensor = b"\x08\x01\x12\x04\x12\x02\x08\x03\x22\x0c" + struct.pack("<3f", 1, 2, 5)
    spec = b"\x0a\x0f\x0a\x0dhalf_plus_two"
    entry = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    message = spec + b"\x12" + bytes([len(entry)]) + entry
    return b"\0" + struct.pack(">I", len(message)) + message


@dataclass
class Contestant:
    name: str
    url: str
    data: Path
    headers: tuple
    h1: bool
    pids: Callable

    def ask(self, connections, seconds):
        """-> (requests a second, microseconds of CPU a request)"""
        before = cpu_seconds(self.pids())
        rate, count = h2load(self.url, self.data, connections, seconds, self.headers, self.h1)
        return rate, (cpu_seconds(self.pids()) - before) * 1e6 / count


def contestants(folder, server, nginx):
    body, message = folder / "body.json", folder / "message.bin"
    body.write_bytes(b'{"instances": [1.0, 2.0, 5.0]}')
    message.write_bytes(predict_message())
    headers = ("content-type: application/grpc", "te: trailers")
    path, method = "/v1/models/half_plus_two:predict", "/tensorflow.serving.PredictionService/Predict"
    found = []
    for who, of_rest, of_grpc, h1, h2, pids in (
            ("Tern", "REST, HTTP/1.1", "gRPC", server.rest, server.grpc, lambda: [server.process.pid]),
            *([("nginx return 200,", "HTTP/1.1", "HTTP/2", nginx.h1, nginx.h2, lambda: nginx.pids)] if nginx else [])):
        found += [Contestant(f"{who} {of_rest}", f"http://127.0.0.1:{h1}{path}", body, (), True, pids),
                  Contestant(f"{who} {of_grpc}", f"http://127.0.0.1:{h2}{method}", message, headers, False, pids)]
    return found


def measure(build, deps, folder, rounds, quick, note):
    """-> [{"what", "connections", "rates": [...], "cpu_us": [...]}], interleaved by round. quick: the design's numbers of
    connections only."""
    server = tern_server.Server(folder / "tern-small", [
        "--model_name=half_plus_two", f"--model_base_path={prepare.half_plus_two(build)}"], build=build)
    nginx = None
    try:
        binary = find_nginx(deps, note)
        nginx = Nginx(binary, folder / "nginx") if binary else None
        who, rows = contestants(folder, server, nginx), {}
        for c in who:
            c.ask(8, 1)  # warms up
        for turn in range(rounds):
            for connections in (8, 64) if quick else (1, 8, 64):
                for c in who[turn % len(who):] + who[:turn % len(who)]:
                    note(f"small model, round {turn + 1}/{rounds}: {c.name}, {connections} connections")
                    rate, cpu_us = c.ask(connections, 1)
                    row = rows.setdefault((c.name, connections), {"what": c.name, "connections": connections, "rates": [],
                                                                  "cpu_us": []})
                    row["rates"].append(rate)
                    row["cpu_us"].append(cpu_us)
        return list(rows.values())
    finally:
        if nginx:
            nginx.stop()
        server.stop()
