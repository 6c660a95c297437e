"""What src/net does with clients that are slow, gone, or hostile, and how it goes down: against the echo program."""
import os
import signal
import socket
import struct
import threading
import time

import h2.errors
import h2.events
import pytest

from net_client import H2, PATIENCE, Closed, Echo, Reader

pytestmark = pytest.mark.example


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def seconds(run):
    start = time.monotonic()
    run()
    return time.monotonic() - start


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Slow clients.

def test_a_head_that_does_not_end():
    with Echo(header_timeout_ms=400) as echo, echo.connect() as sock:
        reader = Reader(sock)
        start = time.monotonic()
        stop = threading.Event()

        def drip():
            while not stop.wait(0.05):
                try:
                    sock.sendall(b"X-Slow: loris\r\n")
                except OSError:
                    return

        sock.sendall(b"GET / HTTP/1.1\r\n")
        thread = threading.Thread(target=drip)
        thread.start()
        answer = reader.answer()
        stop.set()
        thread.join()
        assert answer.status == 408 and answer.headers["connection"] == "close"
        assert 0.35 < time.monotonic() - start < 3


@pytest.mark.parametrize("raw", [b"", b"PRI * HTTP/2.0\r\n"])
def test_nothing_but_a_connection(raw):
    with Echo(header_timeout_ms=300, idle_timeout_ms=5000) as echo, echo.connect() as sock:
        sock.sendall(raw)
        assert 0.2 < seconds(lambda: Reader(sock).at_end()) < 3


def test_an_idle_connection():
    with Echo(idle_timeout_ms=300) as echo:
        with echo.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            reader = Reader(sock)
            assert reader.answer().status == 200
            assert 0.2 < seconds(reader.at_end) < 3
        with H2(echo) as client:
            assert client.ask("/")[0] == 200
            assert 0.2 < seconds(client.at_end) < 3
            assert any(isinstance(e, h2.events.ConnectionTerminated) and e.error_code == 0 for e in client.events)


def test_waiting_for_an_answer_is_not_idle():
    with Echo(idle_timeout_ms=700, header_timeout_ms=700, write_timeout_ms=700) as echo:
        assert echo.ask(b"GET /slow?ms=1800 HTTP/1.1\r\n\r\n").body == b"late\n"
        with H2(echo) as client:
            assert client.ask("/slow?ms=1800")[2] == b"late\n"


def test_a_body_that_stalls():
    with Echo(idle_timeout_ms=300) as echo:
        with echo.connect() as sock:
            sock.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
            assert Reader(sock).answer().status == 408
        with H2(echo) as client:
            stream = client.start("/echo", end=False)
            client.send(stream, b"half", end=False)
            assert client.answer(stream)[0] == 408
        stats = echo.wait_for(live=1)
        assert stats["abort"] == 2 and stats["gone"] == 2


def test_a_body_that_drips():
    """min_body_rate counts after 10 seconds."""
    with Echo(min_body_rate=100) as echo, echo.connect() as slow, echo.connect() as good:
        head = b"POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
        slow.sendall(head)
        good.sendall(head)
        slow.settimeout(0.2)
        reader, data = Reader(slow), b""
        start = time.monotonic()
        while b"\r\n\r\n" not in data:
            assert time.monotonic() - start < 25
            slow.sendall(b"x" * 10)
            good.sendall(b"x" * 100)
            try:
                data += slow.recv(4096)
            except TimeoutError:
                pass
        assert data.startswith(b"HTTP/1.1 408 ") and time.monotonic() - start > 9.5
        good.sendall(b"x" * 100000)
        assert Reader(good).answer().status == 200 and reader


def test_a_client_that_does_not_read():
    with Echo(write_timeout_ms=400) as echo:
        with echo.connect(receive_buffer=4096) as sock:
            sock.sendall(b"GET /large?n=50000000 HTTP/1.1\r\n\r\n")
            echo.wait_for(unsent=1, live=1)
        with H2(echo, receive_buffer=4096) as client:
            client.start("/large?n=50000000")
            echo.wait_for(unsent=2, live=1)
        # It reads the connection, but opens no window for the stream.
        with H2(echo) as client:
            stream = client.start("/large?n=50000000")
            while not any(isinstance(e, h2.events.StreamReset) for e in client.events):
                assert client.pump(acknowledge=False)
            assert client.wait(h2.events.StreamReset, stream).error_code == h2.errors.ErrorCodes.CANCEL
            assert client.ask("/status?n=204")[0] == 204
            echo.wait_for(unsent=3, live=1)


def test_a_client_that_reads_slowly_is_served():
    with Echo(write_timeout_ms=3000) as echo, echo.connect(receive_buffer=65536) as sock:
        sock.sendall(b"GET /large?n=30000000 HTTP/1.1\r\n\r\n")
        reader, end = Reader(sock), time.monotonic() + 5
        while time.monotonic() < end:
            reader.data += sock.recv(65536)
            time.sleep(0.1)
        assert len(reader.answer().body) == 30000000


# Clients that vanish.

HALVES = [b"", b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHo", b"GET / HTTP/1.1\r\nHost: a\r\n", b"PRI * HT",
          b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\n", b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
          b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
          b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
          b"GET /slow?ms=300 HTTP/1.1\r\n\r\n", b"GET /never HTTP/1.1\r\n\r\n", b"GET /thread HTTP/1.1\r\n\r\n",
          b"GET /careless?ms=100 HTTP/1.1\r\n\r\n", b"GET /large?n=50000000 HTTP/1.1\r\n\r\n",
          b"GET /never HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET /slow?ms=50 HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Le"]


@pytest.mark.parametrize("leave", [socket.socket.close, reset, lambda s: s.shutdown(socket.SHUT_WR)])
def test_clients_vanish_at_every_stage(leave):
    with Echo("--loops", 2, half_close_ms=300, write_timeout_ms=500) as echo:
        socks = []
        for half in HALVES:
            sock = echo.connect()
            sock.sendall(half)
            time.sleep(0.01)
            leave(sock)
            socks.append(sock)
        stats = echo.wait_for(live=1, connections_open=1)
        assert stats["gone"] >= 2
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_http2_clients_vanish(leave):
    with Echo("--loops", 2) as echo:
        for end in (True, False):
            for path in ("/never", "/slow?ms=200", "/thread", "/careless?ms=100", "/large?n=50000000", "/echo", "/"):
                client = H2(echo)
                stream = client.start(path, end=end)
                if not end:
                    client.send(stream, b"half", end=False)
                time.sleep(0.01)
                leave(client.sock)
        stats = echo.wait_for(live=1, connections_open=1)
        assert stats["gone"] >= 2 and stats["abort"] == 1


def test_a_half_closed_client_gets_its_answers():
    with Echo() as echo, echo.connect() as sock:
        sock.sendall(b"GET /slow?ms=200 HTTP/1.1\r\n\r\nGET /thread HTTP/1.1\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        reader = Reader(sock)
        assert reader.answer().body == b"late\n" and reader.answer().body == b"from a thread\n" and reader.at_end()


def test_a_reset_is_noticed_while_the_answer_is_made():
    with Echo(half_close_ms=60000) as echo:
        sock = echo.connect()
        sock.sendall(b"GET /never HTTP/1.1\r\n\r\n")
        echo.wait_for(live=2)
        reset(sock)
        assert echo.wait_for(live=1)["gone"] == 1
        # And when it had said before that it sends no more.
        sock = echo.connect()
        sock.sendall(b"GET /never HTTP/1.1\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        echo.wait_for(live=2)
        reset(sock)
        assert echo.wait_for(live=1)["gone"] == 2


def test_urgent_data_does_not_keep_the_loop_busy():
    with Echo(max_pipelined_requests=1) as echo, echo.connect() as sock:
        sock.sendall(b"GET /slow?ms=1500 HTTP/1.1\r\n\r\n")
        time.sleep(0.1)
        sock.send(b"!", socket.MSG_OOB)
        before = cpu(echo.process.pid)
        assert Reader(sock).answer().body == b"late\n"
        assert cpu(echo.process.pid) - before < 0.5


# Floods.

def test_pipelined_requests_wait_for_their_turn():
    with Echo(max_pipelined_requests=8) as echo, echo.connect() as sock:
        sock.sendall(b"GET /slow?ms=400 HTTP/1.1\r\n\r\n" + b"GET /thread HTTP/1.1\r\n\r\n" * 5000)
        time.sleep(0.15)
        assert echo.stats()["on_request"] <= 8 + 1, "no more are taken than may wait"
        reader = Reader(sock)
        assert reader.answer().body == b"late\n"
        for _ in range(5000):
            assert reader.answer().body == b"from a thread\n"


def test_answers_nobody_reads_stop_the_reading():
    with Echo(max_write_backlog_bytes=3000000) as echo, echo.connect(receive_buffer=65536) as sock:
        sock.sendall(b"GET /large?n=1000000 HTTP/1.1\r\n\r\n" * 200)
        time.sleep(0.3)
        stats = echo.stats()
        assert stats["on_request"] < 30 and stats["live"] < 30
        reader = Reader(sock)
        for _ in range(200):
            assert len(reader.answer().body) == 1000000


def test_answers_nobody_reads_refuse_streams():
    with Echo(max_write_backlog_bytes=3000000) as echo, H2(echo) as client:
        client.ask("/")
        streams = [client.start("/large?n=1000000") for _ in range(20)]
        client.conn.ping(b"12345678")
        client.flush()
        while not any(isinstance(e, h2.events.PingAckReceived) for e in client.events):
            client.pump(acknowledge=False)
        refused = [e.stream_id for e in client.events if isinstance(e, h2.events.StreamReset)]
        assert all(e.error_code == h2.errors.ErrorCodes.REFUSED_STREAM for e in client.events
                   if isinstance(e, h2.events.StreamReset))
        assert refused == streams[4:] and echo.stats()["live"] <= 5
        taken = sum(e.flow_controlled_length for e in client.events if isinstance(e, h2.events.DataReceived))
        client.conn.increment_flow_control_window(20000000)
        for stream in streams[:4]:
            client.conn.increment_flow_control_window(2000000, stream)
        client.flush()
        for stream in streams[:4]:
            assert len(client.answer(stream)[2]) == 1000000
        assert taken < 100000 and client.ask("/large?n=100")[0] == 200


def test_bytes_behind_the_last_request_do_not_destroy_its_answer():
    with Echo() as echo:
        for _ in range(50):
            with echo.connect() as sock:
                sock.sendall(b"POST /large?n=300000 HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
                sock.sendall(b"\r\n" * 10)
                assert len(Reader(sock).answer().body) == 300000


def test_one_client_does_not_keep_the_others_out():
    with Echo() as echo, echo.connect() as flood:
        stop = threading.Event()

        def pour():
            requests = b"GET / HTTP/1.1\r\n\r\n" * 2000
            while not stop.is_set():
                flood.sendall(requests)

        def drink():
            try:
                while flood.recv(1 << 20):
                    pass
            except OSError:
                pass

        threads = [threading.Thread(target=pour), threading.Thread(target=drink)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        took = seconds(lambda: [echo.ask(b"GET / HTTP/1.1\r\n\r\n") for _ in range(20)])
        stop.set()
        threads[0].join()
        flood.shutdown(socket.SHUT_RDWR)
        threads[1].join()
        assert took < 5


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def flooded(make, many=40000):
    """The connection ends with GOAWAY and the server lives."""
    with Echo() as echo:
        with H2(echo) as client:
            assert client.ask("/")[0] == 200
            try:
                for i in range(0, many, 500):
                    client.sock.sendall(b"".join(make(client, j) for j in range(i, i + 500)))
            except OSError:
                pass
            # Which code it is depends on whether nghttp2's own limits, of its newer versions, come first.
            assert client.goaway() in ([1], [2], [11])
        assert echo.curl("/", "--http2-prior-knowledge") == (200, b"ok\n")


HEAD = bytes([0x83, 0x86, 0x84, 0x41, 0x01, 0x61])  # POST http / a


@pytest.mark.parametrize("make", [
    lambda c, i: frame(1, 5, 2 * i + 3, HEAD) + frame(3, 0, 2 * i + 3, struct.pack(">I", 8)),
    lambda c, i: frame(1, 4, 2 * i + 3, HEAD) + frame(3, 0, 2 * i + 3, struct.pack(">I", 8)),
    lambda c, i: frame(1, 4, 2 * i + 3, HEAD) + frame(8, 0, 2 * i + 3, struct.pack(">I", 0)),
    lambda c, i: frame(6, 0, 0, b"12345678"),
    lambda c, i: frame(4, 0, 0),
    lambda c, i: frame(2, 0, 2 * i + 3, struct.pack(">IB", 0, 16)),
    lambda c, i: frame(8, 0, 0, struct.pack(">I", 1)),
    lambda c, i: frame(1, 4, 3, HEAD) if i == 0 else frame(0, 0, 3),
    lambda c, i: frame(1, 0, 3, HEAD) if i == 0 else frame(9, 0, 3),
    lambda c, i: frame(1, 0, 3, HEAD) if i == 0 else frame(9, 0, 3, b"\x00\x01x\x01y"),
], ids=["rapid reset", "reset of open streams", "resets by the server", "ping", "settings", "priority", "window update",
        "empty data", "empty continuation", "continuation"])
def test_http2_floods(make):
    flooded(make)


def test_work_pays_for_frames():
    """A client that cancels now and then, and pings, among real requests is no flood."""
    with Echo() as echo, H2(echo) as client:
        for i in range(600):
            streams = [client.start("/thread") for _ in range(10)]
            client.conn.ping(b"12345678")
            client.conn.reset_stream(client.start("/never"), h2.errors.ErrorCodes.CANCEL)
            client.flush()
            for stream in streams:
                client.answer(stream)
            client.events.clear()


def test_a_header_block_that_does_not_end():
    with Echo(header_timeout_ms=300) as echo, H2(echo) as client:
        assert client.ask("/")[0] == 200
        client.raw(frame(1, 0, 3, HEAD))
        assert 0.2 < seconds(lambda: client.goaway() == [h2.errors.ErrorCodes.ENHANCE_YOUR_CALM]) < 3


@pytest.mark.parametrize("raw", [b"\0" * 100, frame(0, 0, 0, b"x"), frame(5, 4, 1, HEAD), frame(1, 4, 2, HEAD),
                                 frame(9, 4, 1, HEAD), frame(6, 0, 0, b"1"), frame(4, 0, 0, b"12345"),
                                 frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), frame(8, 0, 0, struct.pack(">I", 0)),
                                 b"\xff\xff\xff\x01\x05\x00\x00\x00\x01"])
def test_broken_frames(raw):
    with Echo() as echo, H2(echo) as client:
        assert client.ask("/")[0] == 200
        client.raw(raw)
        assert len(client.goaway()) == 1
        assert echo.stats()["protocol_errors"] > 0
        assert echo.curl("/") == (200, b"ok\n")


# Too many connections.

def test_max_connections():
    with Echo("--loops", 2, max_connections=5) as echo:
        socks = [echo.connect() for _ in range(5)]
        readers = [Reader(sock) for sock in socks]
        for sock, reader in zip(socks, readers):
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert reader.answer().status == 200
        with pytest.raises((Closed, OSError)):
            echo.ask(b"GET / HTTP/1.1\r\n\r\n")
        socks[0].close()
        end = time.monotonic() + PATIENCE
        while True:
            try:
                assert echo.stats()["refused"] >= 1
                break
            except (Closed, OSError):
                assert time.monotonic() < end
                time.sleep(0.02)
        for sock in socks:
            sock.close()


def test_out_of_descriptors():
    """Accepting pauses without a busy loop, and goes on when descriptors are free again."""
    with Echo(nofile=40) as echo:
        socks = [echo.connect() for _ in range(60)]
        time.sleep(0.2)
        before = cpu(echo.process.pid)
        time.sleep(0.6)
        assert cpu(echo.process.pid) - before < 0.3
        socks[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert Reader(socks[0]).answer().status == 200
        for sock in socks[:40]:
            sock.close()
        socks[59].sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert Reader(socks[59]).answer().status == 200
        for sock in socks[40:]:
            sock.close()


def test_connections_are_spread_evenly():
    with Echo("--loops", 4) as echo:
        socks = [echo.connect() for _ in range(40)]
        for sock in socks:
            sock.sendall(b"GET /thread HTTP/1.1\r\n\r\n")
        for sock in socks:
            assert Reader(sock).answer().status == 200
        for sock in socks:
            sock.close()


# Going down.

def drain(echo):
    echo.process.send_signal(signal.SIGTERM)


def test_draining_an_idle_server_is_quick():
    with Echo("--loops", 2) as echo:
        idle = [echo.connect() for _ in range(20)]
        for sock in idle[:10]:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            Reader(sock).answer()
        quiet = H2(echo)
        assert quiet.ask("/")[0] == 200
        reader = threading.Thread(target=quiet.at_end)
        reader.start()
        start = time.monotonic()
        counts = echo.stop()
        reader.join()
        assert echo.drained and counts["connections_open"] == 0 and time.monotonic() - start < 2
        assert any(isinstance(e, h2.events.ConnectionTerminated) for e in quiet.events)


def test_draining_while_busy():
    with Echo("--loops", 2) as echo:
        first, second, half = echo.connect(), echo.connect(), echo.connect()
        first.sendall(b"GET /slow?ms=500 HTTP/1.1\r\n\r\nGET /slow?ms=600 HTTP/1.1\r\n\r\n")
        second.sendall(b"GET /large?n=30000000 HTTP/1.1\r\n\r\n")
        half.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nhello")
        client = H2(echo)
        stream = client.start("/slow?ms=500")
        upload = client.start("/echo", end=False)
        client.send(upload, b"half, ", end=False)
        client.ask("/")
        time.sleep(0.1)
        drain(echo)
        time.sleep(0.2)
        with pytest.raises(OSError):
            echo.connect()
        half.sendall(b"world")
        client.send(upload, b"whole")
        assert client.answer(stream)[2] == b"late\n" and client.answer(upload)[2] == b"half, whole"
        client.wait(h2.events.ConnectionTerminated, error_code=0)
        reader = Reader(first)
        assert reader.answer().body == b"late\n"
        answer = reader.answer()
        assert answer.body == b"late\n" and answer.headers["connection"] == "close" and reader.at_end()
        answer = Reader(half).answer()
        assert answer.body == b"helloworld" and answer.headers["connection"] == "close"
        assert len(Reader(second).answer().body) == 30000000
        client.at_end()
        echo.stop()
        assert echo.drained


def test_draining_does_not_wait_for_ever():
    with Echo(drain_timeout_ms=300) as echo:
        sock = echo.connect()
        sock.sendall(b"GET /never HTTP/1.1\r\n\r\n")
        echo.wait_for(live=2)
        start = time.monotonic()
        counts = echo.stop()
        assert echo.drained is False and 0.25 < time.monotonic() - start < 3
        assert counts["gone"] == 1 and counts["live"] == 0
