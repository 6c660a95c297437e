"""Fixtures of the deployment's tests. Those marked `image` want the archive that `make image` writes, and root."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))

import container  # noqa: E402
import tern_server  # noqa: E402

ways = []


@pytest.fixture(scope="session")
def archive():
    path = tern_server.BUILD / "image" / "tern-sagemaker.tar"
    assert path.exists(), f"no {path}: `make image` makes it"
    return container.Archive(path)


@pytest.fixture(scope="session")
def image(archive):
    try:
        opened = container.open_image(archive)
    except container.Unable as error:
        pytest.skip(str(error))
    ways.append(f"image: {opened.archive.tag} started by {opened.name}")
    return opened


@pytest.fixture
def run(image, tmp_path):
    """run(args, ...) -> container.Running, ended after the test."""
    started = []

    def start(args, **more):
        started.append(image.start(args, tmp_path / f"log-{len(started)}.txt", **more))
        return started[-1]

    yield start
    for running in started:
        running.kill()


@pytest.fixture(scope="session")
def models():
    return tern_server.make_models("server_models.py", "server")


def pytest_terminal_summary(terminalreporter):
    for line in ways:
        terminalreporter.write_line(line)
