"""All that goes on beside each other, at once, and the end in the middle of it: no call of a model that stays fails, and
the server drains and ends as if it had been idle. What else may go wrong here shows in the sanitizer builds.
"""
import random
import signal
import threading
import time

import numpy as np
import pytest

import example_models
from test_reload import Reloader, grpc, tern_grpc

pytestmark = pytest.mark.example
PARAMETERS = "max_batch_size { value: 16 } batch_timeout_micros { value: 3000 } max_enqueued_batches { value: 1000 }"
# What a call may end with, whose client's patience is 2 ms, or whose server ends.
GOOD_ENDS = ("DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED")
HEADS = {"keep": "", "slow": "sleep 100\n", "plain": "", "broken": 'sleep 50\nfail 3 "broken"\n'}


@pytest.mark.parametrize("manner", ["serving", "auto"])
def test_end_amid_everything(start, tmp_path, manner):
    folders = {name: example_models.write(tmp_path / name, body=head + example_models.text()) for name, head in HEADS.items()}
    (tmp_path / "batching.txt").write_text(PARAMETERS, encoding="ascii")
    more = [f"--batching_parameters_file={tmp_path / 'batching.txt'}"] if manner == "serving" else []
    server = start("--model_name=keep", f"--model_base_path={folders['keep']}", "--engine=example", f"--batching={manner}",
                   "--access_log=json", f"--access_log_file={tmp_path / 'access.log'}", *more)
    over = threading.Event()
    bad, good = [], []

    def calls(name, signature):
        rng = random.Random(signature)
        request = tern_grpc.predict_request(name, {"x": np.ones(3, "f4")}, signature=signature)
        with tern_grpc.Client(server.grpc) as c:
            while not over.is_set():
                try:
                    c.predict(request, timeout=rng.choice([0.002, 30]))
                    good.append(name)
                except grpc.RpcError as error:
                    if error.code().name not in GOOD_ENDS + (("NOT_FOUND",) if name != "keep" else ()):
                        bad.append((name, signature, error.code().name, error.details()))

    def reloads(seed):
        rng = random.Random(seed)
        with Reloader(server.grpc) as c:
            while not over.is_set():
                names = ["keep"] + [n for n in ("slow", "plain", "broken") if rng.random() < 0.5]
                call = c.begin(*[(n, folders[n]) for n in names])
                over.wait(rng.random() * 0.05)
                if rng.random() < 0.6:
                    call.cancel()
                else:
                    call.exception()

    def pages():
        rng = random.Random(1)
        while not over.is_set():
            try:
                with server.connect() as s:
                    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                    if rng.random() < 0.5:
                        s.recv(100)
            except OSError:
                over.wait(0.01)

    def hangups():
        while not over.is_set() and server.process.poll() is None:
            server.process.send_signal(signal.SIGHUP)
            over.wait(0.01)

    jobs = [(calls, "keep", "serving_default"), (calls, "keep", "hold"), (calls, "plain", "serving_default"),
            (reloads, 1), (reloads, 2), (reloads, 3), (pages,), (hangups,)]
    threads = [threading.Thread(target=job, args=args) for job, *args in jobs]
    for t in threads:
        t.start()
    begun = time.monotonic()
    try:
        server.until(lambda: good.count("keep") >= 100 and good.count("plain") >= 5 and time.monotonic() > begun + 2,
                     "there was much to do")
        server.terminate()
        server.process.wait(60)
    finally:
        over.set()
        for t in threads:
            t.join()
    server.stop()
    assert not bad, bad[:5]
