"""Loads beside traffic: the tail latency of one model while another is swapped, and the time to ready beside a broken model.

Swaps: a small model is asked over gRPC at a fixed rate, whether answers come or not (open loop), in windows that take turns:
nothing else happens, or another model (16 MB, TensorFlow) goes from version to version by HandleReloadConfigRequest
without a pause. The ratio of the two windows' p99 is told, its median over the rounds.
Ready: ten models at the start, one of which cannot be loaded, against the same ten where all can; from the start of the
process until nine (ten) of them answer.
"""
import http.client
import json
import os
import pathlib
import select
import shutil
import statistics
import subprocess
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "server"))

import load  # noqa: E402
import tern_server  # noqa: E402

MODELS, RATE = 10, 1000


# ---- swaps ----


def open_loop(build, port, message, seconds):
    """-> {"p50_ms", "p99_ms", "p99.9_ms"} of one window, from when a call was due."""
    return load.run(build, f"http://127.0.0.1:{port}", message, api="grpc", connections=8, rate=RATE, seconds=seconds)


class Swaps:
    """Lets a model go from version to version between go() and stop(): a process of its own, which gives way to all others, so
    that what asks for the swaps is not measured with them."""

    def __init__(self, port, models):
        command = [sys.executable, __file__, str(port), json.dumps({name: str(path) for name, path in models.items()})]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()  # it is there, and both versions were served

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a swap failed, see above; it ended with {self.process.wait()}")
        return line

    def tell(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def go(self):
        self.tell()

    def stop(self):
        """-> how many swaps that were"""
        self.tell()
        return int(self.read())

    def end(self):
        self.process.kill()  # on a busy machine its own way out would take it minutes
        self.process.communicate()


def keep_swapping(port, models):
    """What the process does: a line starts the swaps, the next one stops them and has their number printed."""
    import tern_grpc
    with tern_grpc.Client(port) as client:
        for version in (1, 2):
            swap(client, models, version)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        print("ready", flush=True)
        while sys.stdin.readline():
            count = 0
            while not select.select([sys.stdin], [], [], 0)[0]:
                count += 1
                swap(client, models, 1 + count % 2)
            if sys.stdin.readline():
                print(count, flush=True)


def reload_request(models, version):
    """models: {name: base path}; the one called "swapped" serves that version alone."""
    from tensorflow_serving.apis import model_management_pb2
    request = model_management_pb2.ReloadConfigRequest()
    for name, path in models.items():
        config = request.config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
        if name == "swapped":
            config.model_version_policy.specific.versions.append(version)
    return request


def swap(client, models, version):
    """Asks for the version and waits until it is served."""
    answer = client.model.HandleReloadConfigRequest(reload_request(models, version), timeout=100)
    if answer.status.error_code:
        raise RuntimeError(f"reload: {answer.status}")
    end = time.monotonic() + 100
    while not any(v.version == version and v.state == 30 for v in client.status("swapped").model_version_status):
        if time.monotonic() > end:
            raise RuntimeError(f"swapped version {version} did not become available")
        time.sleep(0.01)


def measure_swaps(build, folder, rounds, seconds, note):
    import prepare
    import small
    large = prepare.large_model(build) / "1"
    models = {"half_plus_two": prepare.half_plus_two(build), "swapped": folder / "swapped"}
    for version in ("1", "2"):
        shutil.copytree(large, models["swapped"] / version)
    message = folder / "message.bin"
    message.write_bytes(small.predict_message()[5:])  # without gRPC's frame
    server = tern_server.Server(folder / "tern-swaps", ["--model_name=half_plus_two",
                                                        f"--model_base_path={models['half_plus_two']}"], build=build)
    rest, swaps, ratios, swapped, running = [], [], [], 0, None
    try:
        running = Swaps(server.grpc, models)
        open_loop(build, server.grpc, message, 2)
        for turn in range(rounds):
            note(f"swaps, round {turn + 1}/{rounds}")
            rest.append(open_loop(build, server.grpc, message, seconds))
            running.go()
            swaps.append(open_loop(build, server.grpc, message, seconds))
            swapped += running.stop()
            ratios.append(swaps[-1]["p99_ms"] / rest[-1]["p99_ms"])
    finally:
        server.stop()
        if running:
            running.end()
    return {"swaps": swapped, "ratio": statistics.median(ratios), "ratios": ratios,
            **{f"{name}_{label}": statistics.median(w[f"{label}_ms"] for w in windows)
               for name, windows in (("rest", rest), ("busy", swaps)) for label in ("p50", "p99", "p99.9")}}


# ---- ready ----

def answers(port, names):
    """Which of the models answer a request."""
    good = set()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for name in names:
        connection.request("POST", f"/v1/models/{name}:predict", body=b'{"instances": [1.0]}')
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            good.add(name)
    connection.close()
    return good


def time_to_ready(build, folder, source, broken):
    """Seconds until all models but the broken one answer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = [f"m{i}" for i in range(MODELS)]
    entries = ""
    for name in names:
        shutil.copytree(source, folder / name / "1")
        entries += f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}\n'
    if broken:
        (folder / "m0" / "1" / "saved_model.pb").write_bytes(b"no model")
    (folder / "models.config").write_text(f"model_config_list {{\n{entries}}}\n", encoding="ascii")
    start = time.perf_counter()
    server = tern_server.Server(folder / "tern", [f"--model_config_file={folder / 'models.config'}"], build=build, wait="listen")
    try:
        left = set(names[1:] if broken else names)
        server.until(lambda: not (left - answers(server.rest, left)), "the models answer")
        took = time.perf_counter() - start
        assert not broken or not answers(server.rest, ["m0"])
        return took
    finally:
        server.stop()


def measure_ready(build, folder, rounds, note):
    import prepare
    source = prepare.half_plus_two(build) / "1"
    times = {False: [], True: []}
    for turn in range(rounds):
        for broken in (False, True) if turn % 2 else (True, False):
            note(f"time to ready, round {turn + 1}/{rounds}")
            times[broken].append(time_to_ready(build, folder / "ready", source, broken))
    return {"models": MODELS, "good_s": statistics.median(times[False]), "broken_s": statistics.median(times[True]),
            "ratio": statistics.median(b / g for b, g in zip(times[True], times[False]))}


def section(found):
    """The lines of the report."""
    import report
    swaps, ready = found["swaps"], found["ready"]
    lines = ["## Loads beside traffic", ""]
    lines += [f"half_plus_two over gRPC, {RATE:,} calls a second in an open loop; {swaps['swaps']} swaps of another model (16 MB). "
              "Medians of the windows.",
              ""]
    lines += report.table(["", "p50 ms", "p99 ms", "p99.9 ms"], [
        [title, *(f"{swaps[f'{name}_{p}']:.2f}" for p in ("p50", "p99", "p99.9"))]
        for title, name in (("at rest", "rest"), ("while swapped", "busy"))])
    lines += [f"p99 while swapped / at rest: **{swaps['ratio']:.2f}** (aim: at most 1.5).", ""]
    if ready:
        lines += [f"Time to ready of {ready['models']} models: {ready['good_s']:.2f} s; of the {ready['models'] - 1} others when "
                  f"one cannot be loaded: {ready['broken_s']:.2f} s, **{ready['ratio']:.2f}** times as long (aim: 1).", ""]
    return lines


def measure(build, folder, rounds, quick, note):
    """quick: the swaps only."""
    return {"swaps": measure_swaps(build, folder, rounds, 2 if quick else 3, note),
            "ready": None if quick else measure_ready(build, folder, min(3, rounds), note)}


if __name__ == "__main__":
    keep_swapping(int(sys.argv[1]), json.loads(sys.argv[2]))
