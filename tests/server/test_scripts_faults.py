"""Handler scripts that fail: whatever a worker does, its own calls get a clear answer, and no other call is lost."""
import json
import os
import signal
import socket
import struct
import threading
import time
import zipfile

import pytest
import requests

from script_server import Scripts, stop_all
from tern_server import PATIENCE, run_together

pytestmark = pytest.mark.example

ONE = {"SAGEMAKER_GUNICORN_WORKER_CLASS": "sync"}
# What a script does is said by the body of the request.
FAULTS = """
    import ctypes
    import os
    import signal
    import socket
    import sys
    import threading
    import time

    HELD = []

    def handler(data, context):
        what = data.read().decode()
        print("begins", what, flush=True)
        if what == "exit":
            os._exit(3)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "segfault":
            ctypes.string_at(0)
        if what == "hang":
            while True:
                pass
        if what == "sleep":
            time.sleep(1000)
        if what == "sysexit":
            sys.exit(7)
        if what == "raise":
            raise ValueError("on purpose")
        if what == "leak":
            HELD.append(bytearray(os.urandom(1) * 200_000_000))
        if what == "garbage":
            os.write(3, b"no frame")
        if what == "broken":
            os.write(3, b"\\x13\\x00\\x01\\x00\\x18\\x00\\x00\\x00" + b"\\x00" * 16)
        if what == "other":  # an answer to a call that it does not have
            os.write(3, b"\\x13\\x00\\x00\\x00\\x10\\x00\\x00\\x00" + b"\\xff" * 8)
        if what == "close":
            os.close(3)
            time.sleep(1000)
        if what == "print":
            for _ in range(2000):
                print("x" * 1000)
        if what == "recurse":
            def deeper(): return deeper() + 1
            deeper()
        return "%d %s" % (os.getpid(), what), "text/plain"
"""


@pytest.fixture
def start(tmp_path):
    servers = []

    def starter(script=FAULTS, **more):
        more["env"] = {**ONE, **more.get("env", {})}
        servers.append(Scripts(tmp_path / str(len(servers)), script, **more))
        return servers[-1]

    yield starter
    stop_all(servers)


def fine(server, what="fine"):
    """A call that works. -> id of the worker."""
    answer = server.invoke(what)
    assert answer.status_code == 200 and answer.text.endswith(" " + what), answer.text
    return int(answer.text.split()[0])


@pytest.mark.parametrize("what, words", [
    ("exit", "exit status 3"), ("kill", "signal 9"), ("segfault", "signal 11"), ("garbage", "breaks the protocol"),
    ("broken", "breaks the protocol"), ("other", "breaks the protocol"), ("close", "closed its socket")])
def test_a_worker_that_dies_takes_one_call_along(start, what, words):
    server = start()
    first = fine(server)
    answer = server.invoke(what)
    assert answer.status_code == 500 and answer.headers["Content-Type"] == "application/json"
    assert "ended during this request" in answer.json()["error"] and words in answer.json()["error"]
    second = fine(server)
    assert second != first and not os.path.exists(f"/proc/{first}")
    assert server.ask("GET", "/ping").status_code == 200


def test_workers_are_counted(start):
    server = start(env={"SAGEMAKER_GUNICORN_TIMEOUT_SECONDS": "60"})

    def count(name):
        return server.metric("tern_worker_" + name, kind="script", model="")

    fine(server)
    assert (count("calls_total"), count("starts_total"), count("calls_running"), count("deaths_total")) == (1, 1, 0, 0)
    with server.connect("sleep"):
        server.until(lambda: "begins sleep" in server.log, "it slept")
        with server.connect("behind"):
            server.until(lambda: count("queue_length") == 1, "one waits")
            assert count("calls_running") == 1 == server.metric("tern_workers_ready", kind="script", model="")
    server.until(lambda: count("queue_length") == 0, "nobody waits")
    server = start()
    fine(server)
    assert server.invoke("exit").status_code == 500 and fine(server)
    assert (count("starts_total"), count("deaths_total"), count("calls_lost_total")) == (2, 1, 1)
    assert server.metric("tern_workers_ready", kind="script") == 1


def test_errors_of_the_script_cost_no_worker(start):
    server = start()
    first = fine(server)
    assert server.invoke("raise").json() == {"error": "on purpose"}
    assert server.invoke("sysexit").json() == {"error": "SystemExit: 7"}
    assert "maximum recursion depth" in server.invoke("recurse").json()["error"]
    assert server.invoke("print").status_code == 200
    assert fine(server) == first and "ValueError: on purpose" in server.log


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
@pytest.mark.parametrize("what", ["hang", "sleep"])
def test_a_call_that_hangs_is_504_and_its_worker_replaced(start, kind, what):
    server = start(env={"SAGEMAKER_GUNICORN_TIMEOUT_SECONDS": "1", "SAGEMAKER_GUNICORN_WORKER_CLASS": kind,
                        "SAGEMAKER_GUNICORN_THREADS": "2"})
    first = fine(server)
    answer = server.invoke(what)
    assert answer.status_code == 504 and "SAGEMAKER_GUNICORN_TIMEOUT_SECONDS" in answer.json()["error"]
    server.until(lambda: not os.path.exists(f"/proc/{first}"), "the worker had ended")
    # The next one starts now: a call that waits for it has its second, too.
    server.until(lambda: server.invoke("x").status_code == 200, "another worker was ready")
    assert fine(server) != first


def test_others_of_the_worker_that_hangs_are_answered(start):
    """gevent: one call sleeps for ever; those beside it, and those behind one that never lets go, get their answers."""
    server = start(env={"SAGEMAKER_GUNICORN_TIMEOUT_SECONDS": "2", "SAGEMAKER_GUNICORN_WORKER_CLASS": "gevent"})
    with server.connect("sleep"):
        server.until(lambda: "begins sleep" in server.log, "it slept")
        for _ in range(20):
            fine(server)
    with server.connect("hang"):
        server.until(lambda: "begins hang" in server.log, "it hung")
        answers = run_together([lambda: requests.post(f"http://127.0.0.1:{server.port}/invocations", data="behind",
                                                      timeout=PATIENCE)] * 8)
    # They had the same time as the one before them: none of them may be lost to the worker's death.
    assert {answer.status_code for answer in answers} <= {200, 504} and all(answer.content for answer in answers)
    server.until(lambda: server.invoke("x").status_code == 200, "another worker was ready")


def test_a_call_waits_for_its_turn_and_not_longer(start):
    server = start(env={"SAGEMAKER_GUNICORN_TIMEOUT_SECONDS": "1"}, args=["--max_script_queue=3"])
    with server.connect("sleep"):
        server.until(lambda: "begins sleep" in server.log, "it slept")
        answers = run_together([lambda: requests.post(f"http://127.0.0.1:{server.port}/invocations", data="waits",
                                                      timeout=PATIENCE)] * 8)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(429) == 5 and set(statuses) <= {429, 504, 200}
    refused = [answer for answer in answers if answer.status_code == 429][0]
    assert "--max_script_queue" in refused.json()["error"] and refused.headers["Retry-After"] == "1"
    fine(server)


def test_a_worker_that_grows_is_replaced(start):
    server = start(args=["--max_script_memory=150000000"])
    first = fine(server)
    answer = server.invoke("leak")  # at a stroke over half as much again
    assert answer.status_code in (200, 500)
    server.until(lambda: fine(server) != first, "another worker answered")
    server.until(lambda: not os.path.exists(f"/proc/{first}"), "the first had ended")
    assert "--max_script_memory" in server.log


def test_a_worker_is_replaced_after_its_share_of_calls(start):
    server = start(args=["--max_script_calls=5"])
    seen = []
    server.until(lambda: seen.append(fine(server)) or len(set(seen)) > 2, "three workers had answered")
    assert seen.count(seen[0]) >= 5


def test_a_script_that_breaks_later_is_told_by_ping(start):
    """The script can be imported at the start, and not any more when its worker has died; then it can again."""
    server = start("""
        import os

        if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
            raise RuntimeError("broken by the test")

        def handler(data, context):
            if data.read() == b"exit":
                os._exit(1)
            return "%d fine" % os.getpid(), "text/plain"
    """)
    fine(server)
    (server.code / "broken").touch()
    assert server.invoke("exit").status_code == 500
    server.until(lambda: server.ask("GET", "/ping").status_code == 503, "ping told it")
    assert "RuntimeError: broken by the test" in server.ask("GET", "/ping").json()["error"]
    answer = server.invoke("x")
    assert answer.status_code == 503 and "broken by the test" in answer.json()["error"]
    (server.code / "broken").unlink()
    server.until(lambda: server.ask("GET", "/ping").status_code == 200, "it was well again")
    fine(server)


def test_requirements_that_cannot_be_installed_are_told_by_ping(start, tmp_path):
    """The start goes on, and when they can be had it is well."""
    server = start("""
        import os
        import wanted

        def handler(data, context):
            return "%d %s" % (os.getpid(), wanted.WORD), "text/plain"
    """, files={"requirements.txt": "./wanted-1-py3-none-any.whl\n"}, env={"TERN_CACHE_DIR": str(tmp_path / "cache")})
    answer = server.ask("GET", "/ping")
    assert answer.status_code == 503 and "requirements.txt could not be installed" in answer.json()["error"]
    answer = server.invoke("x")
    assert answer.status_code == 503 and "requirements.txt" in answer.json()["error"]
    assert answer.headers["Retry-After"] == "1"
    with zipfile.ZipFile(server.folder / "wheel", "w") as wheel:
        wheel.writestr("wanted.py", "WORD = 'fine'\n")
        wheel.writestr("wanted-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: wanted\nVersion: 1\n")
        wheel.writestr("wanted-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("wanted-1.dist-info/RECORD", "wanted.py,,\n")
    (server.folder / "wheel").rename(server.code / "wanted-1-py3-none-any.whl")
    server.until(lambda: server.ask("GET", "/ping").status_code == 200, "they were installed")
    fine(server)


@pytest.mark.parametrize("script, words", [
    ("raise RuntimeError('not today')", "RuntimeError: not today"), ("x = 1", "Handlers are not implemented correctly"),
    ("def handler(data, context)\n  return", "SyntaxError"), ("import os; os._exit(9)", "exit status 9"),
    ("import no_such_module", "No module named 'no_such_module'")])
def test_a_script_that_cannot_be_imported_ends_the_start(start, script, words):
    server = start(script, wait=None)
    assert server.process.wait(PATIENCE) == 1
    assert words in server.log and "inference.py cannot be used" in server.log


def test_an_unknown_worker_class_ends_the_start(start):
    server = start(env={"SAGEMAKER_GUNICORN_WORKER_CLASS": "nonsense"}, wait=None)
    assert server.process.wait(PATIENCE) == 1 and "nonsense" in server.log


def test_no_interpreter_ends_the_start(start):
    server = start(env={"TERN_PYTHON": "/no/such/python"}, wait=None)
    assert server.process.wait(PATIENCE) == 1 and "Cannot start /no/such/python" in server.log


def test_ping_is_never_behind_a_handler(start):
    server = start(env={"SAGEMAKER_GUNICORN_WORKER_CLASS": "gevent"})
    with server.connect("hang") as hung:
        server.until(lambda: "begins hang" in server.log, "it hung")
        for _ in range(50):
            assert server.ask("GET", "/ping").status_code == 200
        hung.close()
    server.process.send_signal(signal.SIGTERM)


def test_a_client_that_leaves_frees_its_place(start):
    """Those that wait leave the queue; the one that runs is let go when it ends."""
    server = start("""
        import os
        import time

        def handler(data, context):
            what = data.read().decode()
            print("begins", what, flush=True)
            while what.startswith("/") and not os.path.exists(what):
                time.sleep(0.01)
            return "%d fine" % os.getpid(), "text/plain"
    """, args=["--max_script_queue=4"])
    flag = str(server.folder / "flag")
    running = server.connect(flag)
    server.until(lambda: "begins /" in server.log, "it ran")
    for _ in range(5):  # each time the queue would be full if they stayed in it
        waiting = [server.connect("left") for _ in range(4)]
        assert server.ask("GET", "/ping").status_code == 200
        for sock in waiting:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone at once
            sock.close()
    running.close()
    (server.folder / "flag").touch()
    server.until(lambda: server.invoke("fine").status_code == 200, "there was room again")
    fine(server)


@pytest.mark.parametrize("size", [200 << 20])
def test_a_body_of_200_mb(start, size):
    server = start("""
        import hashlib

        def handler(data, context):
            if context.accept_header == "text/length":
                return str(len(data.read())), "text/plain"
            return data.view(), "application/octet-stream"
    """)
    block = os.urandom(1 << 20)

    def pieces():
        for _ in range(size >> 20):
            yield block

    assert server.invoke(pieces(), headers={"Accept": "text/length"}).text == str(size)
    body = block * (size >> 20)
    assert server.invoke(body, headers={"Accept": "text/length"}).text == str(size)
    assert server.invoke(body).content == body


def test_sigterm_under_load_loses_nothing(start):
    server = start("""
        import time

        def handler(data, context):
            time.sleep(0.02)
            return data.read(), "application/octet-stream"
    """, env={"SAGEMAKER_GUNICORN_WORKERS": "2", "SAGEMAKER_GUNICORN_WORKER_CLASS": "gevent"})
    bad, done, stop = [], [], threading.Event()

    def client(number):
        body = b"%d" % number * (1000 if number % 2 else 100_000)
        while not stop.is_set():
            try:
                sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
            except OSError:
                return  # it accepts no more
            with sock:
                try:
                    sock.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
                    answer = b""
                    while True:
                        piece = sock.recv(1 << 20)
                        if not piece:
                            break
                        answer += piece
                except OSError:
                    answer = b""
                if not answer:
                    return  # closed before it was read: never accepted
                head, _, rest = answer.partition(b"\r\n\r\n")
                if b" 200 " in head.split(b"\r\n")[0] and rest == body:
                    done.append(number)
                elif b" 503 " not in head.split(b"\r\n")[0]:
                    bad.append(answer[:300])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    server.until(lambda: len(done) > 100, "there was load")
    workers = server.workers()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not bad
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_workers_end_with_a_server_that_is_killed(start):
    server = start()
    fine(server)
    with server.connect("hang"):
        server.until(lambda: "begins hang" in server.log, "it hung")
        workers = server.workers()
        assert workers
        server.process.kill()
        server.process.wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while any(os.path.exists(f"/proc/{pid}") for pid in workers):
            assert time.monotonic() < end, "workers outlive the server"
            time.sleep(0.01)


def test_sigterm_ends_a_hanging_call_in_time(start):
    server = start(args=["--drain_timeout_ms=500"])
    with server.connect("hang"):
        server.until(lambda: "begins hang" in server.log, "it hung")
        workers = server.workers()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_deaths_under_load_are_the_only_losses(start):
    """Workers are killed while they work: a call is answered well, or with the one clear error."""
    server = start("""
        import os
        import time

        def handler(data, context):
            time.sleep(0.002)
            return data.read(), "application/octet-stream", {"X-Worker": os.getpid()}
    """, env={"SAGEMAKER_GUNICORN_WORKERS": "2", "SAGEMAKER_GUNICORN_WORKER_CLASS": "gevent"})
    seen, killed, stop = set(), set(), threading.Event()

    def killer():
        while not stop.is_set():
            for pid in list(seen - killed):
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
                break
            stop.wait(0.1)

    def client(number):
        answers = []
        with requests.Session() as session:
            for i in range(150):
                body = b"%d.%d " % (number, i) * (9000 if i % 10 == 0 else 10)
                answer = session.post(f"http://127.0.0.1:{server.port}/invocations", data=body, timeout=PATIENCE)
                if answer.status_code == 200:
                    assert answer.content == body
                    seen.add(int(answer.headers["X-Worker"]))
                answers.append((answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]))
        return answers

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        results = run_together([lambda number=number: client(number) for number in range(6)])
    finally:
        stop.set()
        thread.join()
    answers = [answer for result in results for answer in result]
    bad = [(status, text) for status, text in answers
           if status != 200 and (status != 500 or "ended during this request" not in text)]
    assert not bad and len(answers) == 900 and killed
    # Those that were killed had at most all six calls in them.
    assert sum(status != 200 for status, _ in answers) <= 6 * len(killed)
