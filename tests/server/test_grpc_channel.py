"""Connections of gRPC clients: --grpc_channel_arguments, keepalive, age, unix sockets, drain, many large streams."""
import struct

import h2.events
import numpy as np
import pytest

import example_models
from h2_client import FLOATS, GRPC_PREDICT, H2, entry, field, frame, shape
from tern_server import PATIENCE, Server

grpc = pytest.importorskip("grpc")
tern_grpc = pytest.importorskip("tern_grpc")

pytestmark = pytest.mark.example
REQUEST = field(1, field(1, b"m")) + entry("x", FLOATS)
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return example_models.write(tmp_path_factory.mktemp("models") / "m")


def flags(folder, *more):
    return ["--model_name=m", f"--model_base_path={folder}", "--engine=example", *more]


def arguments(folder, text, *more):
    return flags(folder, f"--grpc_channel_arguments={text}", *more)


def request(n):
    return field(1, field(1, b"m")) + entry("x", b"\x08\x01" + shape(n) + field(4, struct.pack("<f", 2) * n))


def status(c, message, headers=()):
    found = c.grpc(GRPC_PREDICT, frame(message), headers)
    return found[:2]


# ---- arguments ----

def test_message_lengths(start, folder):
    server = start(*arguments(folder, "grpc.max_receive_message_length=1000,grpc.max_send_message_length=500"))
    with H2(server, server.grpc) as c:
        assert status(c, REQUEST)[0] == 0
        assert status(c, request(300)) == (8, "Received message larger than max (%d vs. 1000)" % len(request(300)))
        code, text = status(c, request(150))
        assert code == 8 and text.startswith("Sent message larger than max (") and text.endswith("vs. 500)")
    assert server.predict("m", {"instances": [1.0] * 1000}).status == 200  # REST has its own limits


def test_no_limits_by_minus_one(start, folder):
    server = start(*arguments(folder, "grpc.max_receive_message_length=-1,,grpc.max_send_message_length=-1"))
    with H2(server, server.grpc) as c:
        assert status(c, request(100000))[0] == 0


def test_streams_and_header_sizes_are_told(start, folder):
    server = start(*arguments(folder, "grpc.max_concurrent_streams=7,grpc.max_metadata_size=9000"))
    with H2(server, server.grpc) as c:
        assert status(c, REQUEST)[0] == 0
        assert c.conn.remote_settings.max_concurrent_streams == 7 and c.conn.remote_settings.max_header_list_size == 9000


@pytest.mark.parametrize("text,name", [("grpc.default_compression_algorithm=2", "gzip"),
                                       ("grpc.default_compression_algorithm=1", "deflate"),
                                       ("grpc.default_compression_level=2", "gzip")])
def test_answers_are_compressed_on_demand(start, folder, text, name):
    server = start(*arguments(folder, text))
    with H2(server, server.grpc) as c:
        for accepts, coding in ((f"identity,{name}", name), ("identity", None), (None, None)):
            more = [("grpc-accept-encoding", accepts)] if accepts else []
            headers, body, trailers = c.answer(c.send(GRPC_PREDICT, frame(request(10000)), [*GRPC, *more]))
            assert trailers["grpc-status"] == "0" and headers.get("grpc-encoding") == coding and body[0] == (coding is not None)
    with tern_grpc.Client(server.grpc) as c:
        answer = c.predict(tern_grpc.predict_request("m", {"x": np.ones(10000, "f4")}))
        assert tern_grpc.outputs_of(answer)["y"].tolist() == [2.5] * 10000


def test_unknown_arguments_are_named_in_the_log(start, folder):
    server = start(*arguments(folder, "grpc.so_reuseport=0,grpc.primary_user_agent=x,grpc.max_concurrent_streams=5"))
    assert "grpc.so_reuseport=0 has no effect" in server.log and "grpc.primary_user_agent=x has no effect" in server.log
    assert "grpc.max_concurrent_streams=5 has" not in server.log


@pytest.mark.parametrize("text", ["grpc.max_concurrent_streams", "=5", "grpc.max_concurrent_streams=x", "grpc.max_concurrent_streams=0",
                                  "grpc.max_concurrent_streams=-1", "grpc.default_compression_algorithm=3", "a=1,b"])
def test_broken_arguments_end_the_start(folder, tmp_path, text):
    server = Server(tmp_path / "run", arguments(folder, text), wait=None)
    try:
        assert server.process.wait(PATIENCE) == 1
    finally:
        server.kill()
    assert "--grpc_channel_arguments: " in server.log


# ---- life of a connection ----

def frames_until_end(c):
    """Reads the connection to its end by hand (the h2 package takes nothing behind a GOAWAY) and answers PINGs. -> [(type, flags,
    stream, payload)]"""
    data, found = b"", []
    try:
        while piece := c.sock.recv(65536):
            data += piece
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                size, kind, flags_, stream = int.from_bytes(data[:3], "big"), data[3], data[4], int.from_bytes(data[5:9], "big")
                found.append((kind, flags_, stream, data[9:9 + size]))
                data = data[9 + size:]
                if kind == 6 and not flags_ & 1:
                    c.sock.sendall(b"\0\0\x08\x06\x01\0\0\0\0" + found[-1][3])
    except ConnectionError:
        pass
    return found


def goaways(frames):
    """-> [(last stream, error code)]"""
    return [struct.unpack(">II", payload[:8]) for kind, _, _, payload in frames if kind == 7]


def test_keepalive_pings(start, folder):
    """Who answers them stays; who does not is dropped."""
    server = start(*arguments(folder, "grpc.keepalive_time_ms=200,grpc.keepalive_timeout_ms=300"))
    with H2(server, server.grpc) as alive, H2(server, server.grpc) as dead:
        assert status(alive, REQUEST)[0] == 0 and status(dead, REQUEST)[0] == 0
        pings = 0
        while pings < 5:
            assert alive.pump()
            pings = sum(isinstance(e, h2.events.PingReceived) for e in alive.events)
        dead.sock.settimeout(PATIENCE)
        while dead.sock.recv(4096):
            pass
        assert status(alive, REQUEST)[0] == 0


def test_pings_do_not_make_a_connection_busy(start, folder):
    """An idle connection gets GOAWAY though both sides ping."""
    server = start(*arguments(folder, "grpc.keepalive_time_ms=100,grpc.max_connection_idle_ms=1000"))
    with H2(server, server.grpc) as c:
        stream = c.send(GRPC_PREDICT, frame(REQUEST), GRPC)
        assert c.answer(stream)[2]["grpc-status"] == "0"
        frames = frames_until_end(c)
    assert sum(kind == 6 and not flags_ & 1 for kind, flags_, _, _ in frames) >= 3
    assert goaways(frames) == [(2**31 - 1, 0), (stream, 0)]


def test_old_connections_end_between_calls(start, folder):
    """Two GOAWAYs, the call under way is answered, and grpcio goes on by a new connection."""
    server = start(*arguments(folder, "grpc.max_connection_age_ms=400"))
    slow = field(1, field(1, b"m") + field(3, b"slow")) + entry("x", FLOATS)
    with H2(server, server.grpc) as c:
        stream = c.send(GRPC_PREDICT, frame(slow), GRPC)
        frames = frames_until_end(c)
    assert goaways(frames) == [(2**31 - 1, 0), (stream, 0)]
    assert [kind for kind, _, of, _ in frames if of == stream][-3:] == [1, 0, 1]  # headers, data, trailers
    assert frames.index(next(f for f in frames if f[0] == 7)) < frames.index(next(f for f in frames if f[2] == stream))
    before = server.metric("tern_connections_total")
    with tern_grpc.Client(server.grpc) as c:
        for _ in range(3):
            c.predict(tern_grpc.predict_request("m", {"x": np.ones(3, "f4")}, signature="slow"))
    assert server.metric("tern_connections_total") >= before + 3


def test_grace_ends_what_does_not_end(start, folder):
    server = start(*arguments(folder, "grpc.max_connection_age_ms=200,grpc.max_connection_age_grace_ms=200",
                              "--drain_timeout_ms=500"))
    stuck = field(1, field(1, b"m") + field(3, b"stuck")) + entry("x", FLOATS)
    with H2(server, server.grpc) as c:
        c.send(GRPC_PREDICT, frame(stuck), GRPC)
        assert len(goaways(frames_until_end(c))) == 2


def test_cancelled_calls_are_not_run(start, folder):
    """Of twenty calls that wait, nineteen clients leave: the count of runs rises by the one that stayed."""
    server = start(*flags(folder, "--num_executors=1", "--inline_run_us=0"))
    slow = field(1, field(1, b"m") + field(3, b"slow")) + entry("x", FLOATS)

    def runs():
        return server.metric("tern_stage_seconds_count", stage="run")

    before = runs()
    with H2(server, server.grpc) as first, H2(server, server.grpc) as c:
        running = first.send(GRPC_PREDICT, frame(slow), GRPC)
        server.until(lambda: server.metric("tern_running") == 1, "the first call ran")
        waiting = [c.send(GRPC_PREDICT, frame(REQUEST), GRPC) for _ in range(20)]
        server.until(lambda: server.metric("tern_queue_length") == 20, "the others waited")
        for stream in waiting[:-1]:
            c.conn.reset_stream(stream, 8)
        c.flush()
        assert c.answer(waiting[-1])[2]["grpc-status"] == "0" and first.answer(running)[2]["grpc-status"] == "0"
    assert runs() == before + 2


def test_unix_socket(start, folder, tmp_path):
    path = tmp_path / "s"
    server = start(*flags(folder, f"--grpc_socket_path={path}"))
    with grpc.insecure_channel(f"unix:{path}", options=tern_grpc.OPTIONS) as c:
        for n in (1, 100000):
            answer = c.unary_unary(GRPC_PREDICT, None, None)(request(n), timeout=PATIENCE)
            assert b"serving_default" in answer
    server.stop()
    assert not path.exists()


# ---- flow control ----

def memory(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) * 1024


def test_many_large_streams_and_a_slow_reader(start, folder):
    """Twelve answers of 4 MB on one connection that opens its windows little by little: all of them arrive, whole."""
    server = start(*flags(folder))
    n = 1000000
    with H2(server, server.grpc) as c:
        acknowledge, held, counted, done = c.conn.acknowledge_received_data, [], {}, set()
        c.conn.acknowledge_received_data = lambda size, stream: held.append((size, stream))
        streams = [c.send(GRPC_PREDICT, frame(request(n)), GRPC) for _ in range(12)]
        while len(done) < len(streams):
            assert c.pump()
            for e in c.events:
                assert not isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated)), e
                if isinstance(e, h2.events.DataReceived):
                    counted[e.stream_id] = counted.get(e.stream_id, 0) + len(e.data)
                elif isinstance(e, h2.events.StreamEnded):
                    done.add(e.stream_id)
            c.events.clear()
            if len(held) >= 3:
                for size, stream in held:
                    acknowledge(size, stream)
                held.clear()
                c.flush()
        assert set(counted) == set(streams) and len(set(counted.values())) == 1 and counted[streams[0]] > 4 * n
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all memory was given back")


def test_uploads_that_stand_still_do_not_stop_others(start, folder):
    """A hundred half-sent messages hold no thread, and only what has arrived."""
    server = start(*flags(folder))
    with H2(server, server.grpc) as c:
        for _ in range(100):
            stream = c.conn.get_next_available_stream_id()
            c.conn.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", GRPC_PREDICT), *GRPC])
            c.conn.send_data(stream, frame(request(100), length=1 << 30)[:200])
        c.flush()
        with H2(server, server.grpc) as other:
            assert status(other, request(100000))[0] == 0
        assert status(c, REQUEST)[0] == 0
        assert memory(server) < 2 << 30
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all memory was given back")
