"""Requests a second of a very small model (half_plus_two), and what one costs the server's CPU, against nginx `return 200`.

h2load is the client of all. On a machine of few cores it takes part of them, so the fair figure is the server's own CPU
time for a request (its processes' user and system time): requests per second of one core's work.
"""
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import tern_server

ANSWER = re.compile(r"finished in .*?, ([0-9.]+) req/s")
COUNTS = re.compile(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def h2load(url, body_file, connections, seconds, headers=(), h1=False):
    """-> (requests a second, requests that succeeded); raises when any failed."""
    argv = ["h2load", "-c", str(connections), "-t", "1", "-m", "1", "-D", str(seconds), "--warm-up-time", "1",
            "-d", str(body_file), *(["--h1"] if h1 else []), *(a for h in headers for a in ("-H", h)), url]
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
    """nginx that answers everything with 200 and the bytes of Tern's REST answer; HTTP/1.1 on one port, h2c on another."""

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
  server {{ listen 127.0.0.1:{self.h1}; default_type application/json; location / {{ return 200 "{text}"; }} }}
  server {{ listen 127.0.0.1:{self.h2} http2; default_type application/grpc; location / {{ return 200 "{text}"; }} }}
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


def measure(build, deps, folder, rounds, seconds, note):
    """-> [{"what", "connections", "rates": [...], "per_core": [...]}], interleaved by round."""
    models = tern_server.make_models("server_models.py", "server", build)
    server = tern_server.Server(folder / "tern-small",
                                ["--model_name=half_plus_two", f"--model_base_path={models / 'half_plus_two'}"], build=build)
    nginx = None
    try:
        binary = find_nginx(deps, note)
        nginx = Nginx(binary, folder / "nginx") if binary else None
        body, message = folder / "body.json", folder / "message.bin"
        body.write_bytes(b'{"instances": [1.0, 2.0, 5.0]}')
        message.write_bytes(predict_message())
        grpc_headers = ("content-type: application/grpc", "te: trailers")
        path, method = "/v1/models/half_plus_two:predict", "/tensorflow.serving.PredictionService/Predict"
        who = [("Tern REST, HTTP/1.1", f"http://127.0.0.1:{server.rest}{path}", body, (), True, lambda: [server.process.pid]),
               ("Tern gRPC", f"http://127.0.0.1:{server.grpc}{method}", message, grpc_headers, False,
                lambda: [server.process.pid])]
        if nginx:
            who += [("nginx return 200, HTTP/1.1", f"http://127.0.0.1:{nginx.h1}{path}", body, (), True, lambda: nginx.pids),
                    ("nginx return 200, HTTP/2", f"http://127.0.0.1:{nginx.h2}{method}", message, grpc_headers, False,
                     lambda: nginx.pids)]
        rows = {}
        for turn in range(rounds):
            for connections in (1, 8, 64):
                for name, url, data, headers, h1, pids in who:
                    note(f"small model, round {turn + 1}/{rounds}: {name}, {connections} connections")
                    before = cpu_seconds(pids())
                    rate, count = h2load(url, data, connections, seconds, headers, h1)
                    used = cpu_seconds(pids()) - before
                    row = rows.setdefault((name, connections), {"what": name, "connections": connections, "rates": [],
                                                                "cpu_us": []})
                    row["rates"].append(rate)
                    # h2load counts requests after its warm-up second; that second's share of the CPU time is taken off.
                    row["cpu_us"].append(used * 1e6 / count * seconds / (seconds + 1))
        return list(rows.values())
    finally:
        if nginx:
            nginx.stop()
        server.stop()
