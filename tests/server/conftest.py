"""Fixtures of the black-box tests: the real program (TERN_BUILD), real clients, loopback only.

Marks: `example` needs nothing but the example engine and runs against the sanitizer builds too; `tensorflow` needs the
TensorFlow engine. Tests that need TERN_SHARED skip and say so where it is absent.
"""
import os

import pytest

import tern_server
from tern_server import BUILD, Server, has_engine, make_models

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

running = []


def pytest_collection_modifyitems(items):
    for item in items:
        for engine in ("tensorflow", "example"):
            if item.get_closest_marker(engine) and not has_engine(engine):
                item.add_marker(pytest.mark.skip(reason=f"{BUILD} has no engine {engine}"))
        if not (BUILD / "tern").exists():
            item.add_marker(pytest.mark.skip(reason=f"{BUILD} has no program"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for server in running:
            report.sections.append((f"log of {' '.join(server.argv)}", server.log[-6000:]))


class Starter:
    """Starts servers; ends and checks what still runs at the end of its scope."""

    def __init__(self, folders):
        self.folders, self.servers = folders, []

    def __call__(self, *args, **more):
        server = Server(self.folders.mktemp("tern"), args, **more)
        self.servers.append(server)
        running.append(server)
        return server

    def end(self):
        errors = []
        for server in self.servers:
            try:
                server.stop()
            except AssertionError as error:
                errors.append(error)
            running.remove(server)
        if errors:
            raise errors[0]


@pytest.fixture
def start(tmp_path_factory):
    """start(flags...) -> Server, ended after the test."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.end()


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory):
    """The same for servers that the tests of one file share."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.end()


@pytest.fixture(scope="session")
def models():
    """Folder with the models of tests/models/server_models.py, made once for the build folder."""
    return make_models("server_models.py", "server")


@pytest.fixture(scope="session")
def shared():
    if not tern_server.SHARED.is_dir():
        pytest.skip(f"no folder {tern_server.SHARED} (TERN_SHARED)")
    return tern_server.SHARED
