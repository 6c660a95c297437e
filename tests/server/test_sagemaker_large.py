"""SageMaker's port and large bodies: no cliff at 100 MB, limits with clear answers, conversions that are linear."""
import socket

import pytest

from sagemaker_server import SageMaker, write_model
from tern_server import PATIENCE

JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}
MODEL = "signature serving_default\ninput x float ?\noutput y float ? affine 0 1 x\n"


@pytest.fixture
def start(tmp_path):
    write_model(tmp_path / "base" / "model" / "net", body=MODEL)
    servers = []

    def run(*args):
        servers.append(SageMaker(tmp_path / "server", tmp_path / "base", args=args))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def test_bodies_beyond_100_mb(start):
    server = start()
    row = ",".join(["0.25"] * 2000)
    n = 120_000_000 // (len(row) + 1)
    for body, headers, length in (("\n".join([row] * n), CSV, n), ('{"instances":[' + ",".join([f"[{row}]"] * n) + "]}", JSON, n),
                                  ("\n".join([f"[{row}]"] * n), {"Content-Type": "application/jsonlines"}, n)):
        assert len(body) > 110_000_000
        answer = server.ask("POST", "/invocations", data=body, headers={**headers, "Accept": "application/json"})
        assert answer.status_code == 200 and answer.content.count(b"[") == length + 1 and b"\n" not in answer.content
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all bytes were given back")


# What is quadratic in the original: its 80 kB took seconds, one line of 100 kB took 20.
@pytest.mark.example
@pytest.mark.parametrize("body, headers", [("0.25\n" * 400_000, CSV), ("0.25," * 400_000 + "1", CSV), ('"a""b",' * 200_000 + "x", CSV),
                                           ("[0.25]\n" * 300_000, {"Content-Type": "application/jsonlines"}), ("]" * 2_000_000, JSON),
                                           ('"inputs" ' * 200_000, JSON), (" " * 2_000_000, JSON), ('"' * 1_000_000, CSV)])
def test_conversions_are_linear(start, body, headers):
    answer = start().ask("POST", "/invocations", data=body, headers=headers)
    assert answer.status_code in (200, 400)


@pytest.mark.example
def test_a_body_over_the_limit_is_refused(start):
    server = start("--max_body_bytes=1000000")
    assert server.ask("POST", "/invocations", data="1\n" * 400_000, headers=CSV).status_code == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as s:
        s.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000001\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.example
def test_memory_of_conversions_is_counted(start):
    server = start("--max_bytes_in_flight=3000000")
    answer = server.ask("POST", "/invocations", data="a," * 700_000, headers=CSV)
    assert answer.status_code == 429 and "max_bytes_in_flight" in answer.json()["error"] and answer.headers["Retry-After"] == "1"
    assert server.ask("POST", "/invocations", data="1,2", headers=CSV).status_code == 200
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all bytes were given back")


@pytest.mark.example
def test_a_client_that_leaves_costs_nothing(start):
    server = start()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as s:
            s.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 900000\r\n\r\n" + b"1," * 100_000)
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all bytes were given back")
    assert server.ask("GET", "/ping").status_code == 200
