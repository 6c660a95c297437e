"""Packages of handler scripts, as the server has them installed: from code/wheels, once, and what becomes of failures."""
import os
import pathlib
import sys
import time

import pytest

from sagemaker_server import SageMaker, write_model
from tern_server import PATIENCE, ROOT

sys.path.insert(0, str(ROOT / "python" / "tests"))
from test_requirements import SLEEPER, alive, make_sdist, make_wheel  # noqa: E402

pytestmark = pytest.mark.example
SCRIPT = "import wanted_module\ndef handler(data, context):\n    return wanted_module.ANSWER, 'text/plain'\n"


@pytest.fixture
def start(tmp_path):
    """start(**variables) -> a server on the folders below tmp_path, with no package index."""
    write_model(tmp_path / "base" / "model" / "half")
    code = tmp_path / "base" / "model" / "code"
    code.mkdir()
    (code / "inference.py").write_text(SCRIPT)
    (code / "requirements.txt").write_text("wanted_module\n")
    servers = []

    def start(wait="listen", **variables):
        env = {"TERN_PYTHON": sys.executable, "TERN_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull,
               "PIP_FIND_LINKS": "", "PIP_NO_BUILD_ISOLATION": "0", "PIP_USE_PEP517": "0", **variables}
        servers.append(SageMaker(tmp_path / f"server{len(servers)}", tmp_path / "base", env=env, wait=wait))
        return servers[-1]
    start.code, start.cache = code, tmp_path / "cache"
    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


def wait_for(server, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end and server.process.poll() is None, server.log[-4000:]
        time.sleep(0.05)


def invoke(server):
    answer = server.ask("POST", "/invocations", data="x")
    return answer.status_code, answer.text


def test_wheels_beside_the_script_are_installed_once(start):
    make_wheel(start.code / "wheels", "wanted_module", "ANSWER = 'from the wheel'\n")
    server = start(SAGEMAKER_GUNICORN_WORKERS="2")
    assert server.ask("GET", "/ping").status_code == 200
    assert invoke(server) == (200, "from the wheel")
    (stamp,) = start.cache.glob("requirements-*/complete")
    made = stamp.stat().st_mtime_ns
    server.stop()
    again = start()
    assert invoke(again) == (200, "from the wheel")
    assert list(start.cache.glob("requirements-*/complete")) == [stamp] and stamp.stat().st_mtime_ns == made


def test_a_failure_is_told_and_its_repair_is_seen(start):
    server = start()
    wait_for(server, lambda: "No matching distribution found for wanted_module" in server.ask("GET", "/ping").text)
    ping = server.ask("GET", "/ping")
    assert ping.status_code == 503 and "requirements.txt could not be installed" in ping.text
    status, text = invoke(server)
    assert status == 503 and "wanted_module" in text
    assert "pip: ERROR" in server.log
    make_wheel(start.code / "wheels", "wanted_module", "ANSWER = 'at last'\n")
    wait_for(server, lambda: server.ask("GET", "/ping").status_code == 200)
    assert invoke(server) == (200, "at last")


def test_the_end_in_the_middle_of_an_install_leaves_nothing(start, tmp_path):
    make_sdist(start.code / "wheels", "wanted_module", SLEEPER)
    started = tmp_path / "started"
    server = start(wait=None, STARTED=str(started))
    wait_for(server, lambda: started.exists() and started.read_text())
    sleeper = int(started.read_text())
    server.stop()
    end = time.monotonic() + PATIENCE
    while alive(sleeper):
        assert time.monotonic() < end, pathlib.Path(f"/proc/{sleeper}/cmdline").read_bytes()
        time.sleep(0.05)
