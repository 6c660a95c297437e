"""HTTP/2 of src/net with prior knowledge, against the echo program: streams, bodies, trailers, flow control, refusals."""
import json
import os
import subprocess

import h2.errors
import h2.events
import h2.settings
import pytest

from net_client import H2, Echo, fnv

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def echo():
    with Echo("--loops", 2, max_body_bytes=20000000, max_streams=100, max_drop_bytes=1000000, linger_ms=300) as server:
        yield server


@pytest.fixture
def client(echo):
    with H2(echo) as connection:
        yield connection


def test_a_small_request(client):
    status, headers, body, trailers = client.ask("/", method="GET")
    assert status == 200 and body == b"ok\n" and trailers is None
    assert headers["content-length"] == "3" and headers["content-type"] == "text/plain" and "date" in headers


def test_the_preface_arrives_byte_by_byte(echo):
    with H2.__new__(H2) as c:
        c.sock = echo.connect()
        import h2.config
        import h2.connection
        c.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        c.events, c.pending = [], b""
        c.conn.initiate_connection()
        for byte in c.conn.data_to_send():
            c.sock.sendall(bytes([byte]))
        assert c.ask("/", method="GET")[2] == b"ok\n"


def test_settings(client):
    client.ask("/")
    remote = client.conn.remote_settings
    assert remote.max_concurrent_streams == 100
    assert remote.initial_window_size == 8 << 20
    assert client.conn.outbound_flow_control_window == 16 << 20


def test_fields(client):
    many = [(f"x-{i}", "v" * (i * 7)) for i in range(90)]
    lines = client.ask("/headers?a=b", method="GET", headers=many)[2].decode().splitlines()
    assert lines[0] == "GET /headers?a=b h2 0" and lines[1] == "host=a"
    assert lines[2:] == [f"{name}={value}" for name, value in many]
    headers = client.ask("/fields", headers=[("x-there", "and back")])[1]
    assert headers["x-back"] == "and back" and headers["x-last"] == "yes" and headers["content-length"] == "3"
    assert not {"x-evil", "x-injected", "connection"} & set(headers)


@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 3000000, 19000000])
def test_bodies(client, size):
    body = (os.urandom(4096) * (size // 4096 + 1))[:size]
    counted = json.loads(client.ask("/count", body)[2])
    assert counted["bytes"] == size and (size > 300000 or counted["fnv"] == fnv(body))
    assert client.ask("/echo", body)[2] == body


def test_many_streams_answered_in_any_order(client):
    slow = [client.start(f"/slow?ms={200 - i * 2}") for i in range(80)]
    quick = [client.start("/thread") for _ in range(20)]
    for stream in quick:
        assert client.answer(stream)[2] == b"from a thread\n"
    assert not any(isinstance(e, h2.events.StreamEnded) and e.stream_id in slow[:20] for e in client.events)
    for stream in slow:
        assert client.answer(stream)[2] == b"late\n"


def test_more_streams_than_allowed_are_refused(echo):
    with H2(echo) as client:
        client.ask("/")
        client.conn.remote_settings.update({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
        client.conn.remote_settings.acknowledge()
        streams = [client.start("/never") for _ in range(100)]
        extra = client.start("/")
        # Over an acknowledged limit it is either the stream or the whole connection that ends; not the server.
        while not any(isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated)) for e in client.events):
            if not client.pump():
                break
        assert extra and streams
    echo.wait_for(live=1)


def test_trailers(client):
    status, headers, body, trailers = client.ask("/trailers", b"abc")
    assert status == 200 and body == b"ok\n" and trailers == {"grpc-status": "0", "grpc-message": ""}
    assert "content-length" not in headers
    status, _, body, trailers = client.ask("/trailers?n=0")
    assert status == 200 and body == b"" and trailers["grpc-status"] == "0"
    status, headers, body, trailers = client.ask("/trailers-only", b"abc")
    assert headers["grpc-status"] == "12" and body == b"" and trailers is None


def test_trailers_of_a_request_are_dropped(client):
    stream = client.start("/echo", end=False)
    client.send(stream, b"body", end=False)
    client.conn.send_headers(stream, [("x-checksum", "1")], end_stream=True)
    client.flush()
    assert client.answer(stream)[2] == b"body"


def test_head_and_answers_without_body(client):
    status, headers, body, _ = client.ask("/", method="HEAD")
    assert status == 200 and headers["content-length"] == "3" and body == b""
    status, headers, body, _ = client.ask("/status?n=204", method="GET")
    assert status == 204 and body == b""


def test_large_answers_and_small_windows(echo):
    with H2(echo) as client:
        client.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 5000})
        client.flush()
        client.wait(h2.events.SettingsAcknowledged)
        streams = [client.start(f"/large?n={n}") for n in (100001, 3000000, 2048, 4999)]
        bodies = [client.answer(stream)[2] for stream in streams]
        assert [len(body) for body in bodies] == [100001, 3000000, 2048, 4999]
        assert all(body[:26] == b"abcdefghijklmnopqrstuvwxyz" for body in bodies)


def test_an_upload_does_not_starve_others(client):
    """A stream stands in the middle of its body for as long as it likes; the connection's window stays open."""
    stuck = [client.start("/echo", end=False) for _ in range(5)]
    for stream in stuck:
        client.send(stream, b"x" * 6000000, end=False)
    assert client.ask("/")[2] == b"ok\n"
    assert len(client.ask("/echo", b"y" * 9000000)[2]) == 9000000
    for stream in stuck:
        client.send(stream, b"z")
        assert len(client.answer(stream)[2]) == 6000001


def test_expect_100_continue(client):
    stream = client.start("/echo", end=False, headers=[("expect", "100-continue")])
    client.wait(h2.events.InformationalResponseReceived, stream)
    client.send(stream, b"now")
    assert client.answer(stream)[2] == b"now"


def refused(client, stream, status):
    got, headers, body, _ = client.answer(stream)
    assert got == status and headers["content-type"] == "application/json"
    assert json.loads(body)["error"].endswith(".")
    assert client.ask("/")[0] == 200, "the connection goes on"


@pytest.mark.parametrize("status, path, more", [
    (501, "/", {"method": "TRACE"}),
    (501, "/", {"method": "get"}),
    (414, "/" + "a" * 20000, {}),
    (417, "/", {"headers": [("expect", "a miracle")]}),
    (413, "/echo", {"headers": [("content-length", "20000001")], "end": False}),
    (431, "/", {"headers": [("x", "y")] * 129}),
    (431, "/", {"headers": [(f"x{i}", "y" * 15000) for i in range(5)]}),
])
def test_refusals(client, status, path, more):
    if status == 431 and path == "/":
        client.conn.max_outbound_frame_size = 16384
    stream = client.start(path, **more)
    refused(client, stream, status)


def test_connect_is_refused(client):
    stream = client.start("", pseudo=[(":method", "CONNECT"), (":authority", "a:80")])
    got = client.wait((h2.events.ResponseReceived, h2.events.StreamReset), stream)
    assert isinstance(got, h2.events.StreamReset) or dict(got.headers)[b":status"] == b"501"


def test_a_body_over_the_limit(client, echo):
    before = echo.stats()
    stream = client.start("/echo", end=False)
    client.send(stream, b"x" * 20500000, end=False)
    refused(client, stream, 413)
    after = echo.stats()
    assert after["abort"] == before["abort"] + 1 and after["gone"] == before["gone"] + 1


def test_an_early_answer_ends_the_upload(client):
    stream = client.start("/", end=False)
    status, *_ = client.answer(stream)
    assert status == 200
    reset = client.wait(h2.events.StreamReset, stream)
    assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR
    stream = client.start("/", end=False)
    client.send(stream, b"x" * 900000)
    assert client.answer(stream)[0] == 200
    assert not any(isinstance(e, h2.events.StreamReset) and e.stream_id == stream for e in client.events)
    stream = client.start("/", end=False)
    try:
        client.send(stream, b"x" * 3000000, end=False)
    except Exception as error:
        assert "Stream" in type(error).__name__, error
    assert client.answer(stream)[0] == 200
    assert client.wait(h2.events.StreamReset, stream).error_code == h2.errors.ErrorCodes.NO_ERROR
    stream = client.start("/limit?at=1000", end=False)
    client.send(stream, b"x" * 2000, end=False)
    assert client.answer(stream)[0] == 429
    assert client.ask("/")[0] == 200


def test_a_length_that_is_not_kept(client, echo):
    before = echo.stats()
    stream = client.start("/echo", end=False, headers=[("content-length", "10")])
    client.send(stream, b"too few")
    assert client.wait(h2.events.StreamReset, stream).error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert client.ask("/")[0] == 200
    assert echo.stats()["abort"] == before["abort"] + 1


@pytest.mark.parametrize("pseudo", [
    [(":method", "GET"), (":scheme", "http")],
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":path", "/")],
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("connection", "close")],
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("X-Upper", "case")],
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":status", "200")],
])
def test_malformed_heads_end_the_stream(client, pseudo):
    stream = client.start("/", pseudo=pseudo)
    client.wait(h2.events.StreamReset, stream)
    assert client.ask("/")[0] == 200


def test_a_reset_tells_the_application(client, echo):
    before = echo.stats()
    answered = client.start("/large?n=30000000")
    waiting = client.start("/never")
    body = client.start("/echo", end=False)
    thread = client.start("/slow?ms=50")
    client.send(body, b"half", end=False)
    client.wait(h2.events.ResponseReceived, answered)
    for stream in (answered, waiting, body):
        client.conn.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    client.flush()
    assert client.answer(thread)[0] == 200 and client.ask("/")[0] == 200
    after = echo.wait_for(live=1)
    assert after["gone"] == before["gone"] + 2 and after["abort"] == before["abort"] + 1
    assert after["unsent"] == before["unsent"] + 1


def test_ping(client):
    client.conn.ping(b"12345678")
    client.flush()
    assert client.wait(h2.events.PingAckReceived).ping_data == b"12345678"


def test_curl_agrees(echo, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(os.urandom(3000000))
    prior = "--http2-prior-knowledge"
    assert echo.curl("/", prior) == (200, b"ok\n")
    assert echo.curl("/echo", prior, "--data-binary", f"@{file}") == (200, file.read_bytes())
    assert echo.curl("/echo", prior, "-T", str(file)) == (200, file.read_bytes())
    assert len(echo.curl("/large?n=40000000", prior)[1]) == 40000000
    # The rest is read to its end: curl may take a reset behind an early answer for an error (it must not: RFC 9113, 8.1).
    with Echo(max_body_bytes=2000000, max_drop_bytes=16000000, linger_ms=60000) as small:
        assert small.curl("/echo", prior, "--data-binary", f"@{file}")[0] == 413


def test_h2load_agrees(echo, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(os.urandom(50000))
    for more in ([], ["-d", str(file)], ["-H", "x-y: z", "-m", "100"]):
        path = "/echo" if "-d" in more else "/"
        run = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "10", *more, f"http://127.0.0.1:{echo.port}{path}"],
                             stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        assert "2000 succeeded, 0 failed, 0 errored" in run.stdout, run.stdout
