#!/usr/bin/env python3
"""make demo: starts Tern with the HTML model, asks it about one page, prints the answer and how to ask again.

Standard library only. PAGE=file.html chooses the page, PORT=n the port (default 8501, or a free one when that is taken).
Goes on serving on a terminal; with ONCE=1, or without a terminal, it ends by itself.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PAGE = ROOT / "models/html/pages/article.html"
STAGES = ["read", "preprocess", "queue", "run", "postprocess"]
MEANING = {
    "read": "bytes from the socket",
    "preprocess": "HTML to tensors, in C",
    "queue": "waiting for an executor",
    "run": "the network, in TensorFlow",
    "postprocess": "tensors to the answer, in C",
}
AGAIN = 20


def colour(code, text):
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def bold(text):
    return colour("1", text)


def fail(sentence):
    print(f"make demo: {sentence}", file=sys.stderr)
    sys.exit(1)


def choose_port():
    wanted = os.environ.get("PORT")
    if wanted:
        return int(wanted)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8501))
            return 8501
        except OSError:
            return 0


def start(folder, port):
    """Starts the program; returns the process and its REST port once a model can answer."""
    build = Path(os.environ.get("TERN_BUILD", ROOT / "build"))
    command = [
        str(build / "tern"), "serve", "--address=127.0.0.1", "--port=0", f"--rest_api_port={port}",
        "--model_name=html", f"--model_base_path={ROOT / 'models/html/saved_model'}",
        f"--port_file={folder}/ports.json", "--log_level=warning",
    ]  # fmt: skip
    log = open(f"{folder}/log", "w+")
    process = subprocess.Popen(command, stderr=log, stdout=log)
    ports = None
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if process.poll() is not None:
            fail(f"the server ended with status {process.returncode}:\n{Path(log.name).read_text()}")
        if ports is None and Path(f"{folder}/ports.json").exists():
            ports = json.loads(Path(f"{folder}/ports.json").read_text())
        if ports is not None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ports['rest']}/readyz", timeout=5)
                return process, ports["rest"]
            except (urllib.error.URLError, OSError):
                pass
        time.sleep(0.02)
    fail(f"the model was not ready after two minutes:\n{Path(log.name).read_text()}")


def ask(port, page):
    """One POST; returns the answer, its stage times in ms, and the client's wall time in ms."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", data=page, headers={"Content-Type": "text/html"}
    )
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            body = response.read()
            wall = (time.perf_counter() - began) * 1e3
            timing = response.headers.get("server-timing", "")
    except urllib.error.HTTPError as error:
        fail(f"the server answered {error.code}: {error.read().decode(errors='replace')}")
    stages = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}
    return json.loads(body), stages, wall


def shorten(text, width):
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def show_answer(answer):
    def likely(head):
        return f"{head['label']} ({head['probability']:.0%})"

    columns = min(shutil.get_terminal_size((100, 24)).columns, 120)
    rows = [("type", likely(answer["page_type"])), ("language", likely(answer["language"]))]
    rows += [(key, answer[key] or "none found") for key in ("title", "author", "date")]
    for key, value in rows:
        print(f"  {key:<10}{bold(shorten(value, columns - 14))}")
    main = answer["main_content"] or ""
    print(f"  {'content':<10}{len(main.split())} words: {shorten(main, 3 * columns - 40)}")
    roles = {}
    for block in answer["blocks"]:
        roles[block["role"]] = roles.get(block["role"], 0) + 1
    told = ", ".join(f"{n} {role}" for role, n in sorted(roles.items(), key=lambda item: -item[1]))
    print(f"  {'blocks':<10}{len(answer['blocks'])}: {told}")


def show_times(first, runs):
    walls = sorted(wall for _, wall in runs)
    middle = walls[len(walls) // 2]
    print(f"\nOne request: {first:.1f} ms the first time, then {middle:.1f} ms (median of {len(runs)}). Where it goes:\n")
    medians = {}
    for stage in STAGES:
        values = sorted(stages.get(stage, 0.0) for stages, _ in runs)
        medians[stage] = values[len(values) // 2]
    for stage in STAGES:
        share = medians[stage] / middle if middle else 0
        print(f"  {stage:<12}{medians[stage]:8.2f} ms  {'█' * round(share * 40):<40}  {MEANING[stage]}")


def show_next(port, page):
    print(
        f"""
Ask it yourself:

  curl -s --data-binary @{page} -H 'Content-Type: text/html' http://localhost:{port}/invocations
  curl -s http://localhost:{port}/v1/models/html            # status, as TensorFlow Serving says it
  curl -s http://localhost:{port}/v1/models/html/metadata   # inputs and outputs of the network
  curl -s http://localhost:{port}/metrics                   # counters and stage times
"""
    )


def main():
    page = Path(os.environ.get("PAGE") or DEFAULT_PAGE)
    if not page.is_file():
        fail(f"there is no file {page}; give a saved page with PAGE=file.html")
    html = page.read_bytes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="tern-demo-") as folder:
        process, port = start(folder, choose_port())
        try:
            shown = os.path.relpath(page)
            print(f"\nTern serves models/html on http://localhost:{port}. The page is {bold(shown)}, {len(html) / 1e3:.0f} kB.\n")
            answer, _, first = ask(port, html)
            show_answer(answer)
            show_times(first, [ask(port, html)[1:] for _ in range(AGAIN)])
            show_next(port, shown)
            if sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("ONCE") != "1":
                print("Serving until Ctrl-C.")
                try:
                    process.wait()
                except KeyboardInterrupt:
                    print()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
    if process.returncode != 0:
        fail(f"the server ended with status {process.returncode}")


if __name__ == "__main__":
    main()
