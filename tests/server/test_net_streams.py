"""Answers that come piece by piece, over HTTP/1.1, HTTP/1.0 and HTTP/2: against the echo program."""
import http.client
import signal
import subprocess
import threading
import time

import h2.errors
import h2.events
import pytest

from net_client import H2, PATIENCE, Closed, Echo, Reader

pytestmark = pytest.mark.example

PATTERN = (b"abcdefghijklmnopqrstuvwxyz" * ((1 << 20) // 26 + 1))[:1 << 20]


def poured(n):
    return (PATTERN * (n // len(PATTERN) + 1))[:n]


@pytest.fixture(scope="module")
def echo():
    with Echo("--loops", 2, max_body_bytes=20000000, max_drop_bytes=1000000) as server:
        yield server


def rss(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) << 10


def test_chunks_and_what_follows_on_the_connection(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        for n in (0, 1, 15, 16, 70000, 3000000):
            sock.sendall(b"GET /pour?n=%d HTTP/1.1\r\n\r\n" % n)
            answer = reader.answer()
            assert answer.headers["transfer-encoding"] == "chunked" and "connection" not in answer.headers
            assert answer.body == poured(n)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert reader.answer().body == b"ok\n"


def test_pieces_leave_when_they_are_written(echo):
    with echo.connect() as sock:
        sock.sendall(b"GET /drip?n=3 HTTP/1.1\r\n\r\n")
        reader = Reader(sock)
        while b"tick" not in reader.data:
            assert reader.more()
        assert reader.data.count(b"tick") == 1
        assert reader.answer().body == b"tick\n" * 3


def test_http_1_0_gets_it_without_chunks(echo):
    for keep in (b"", b"Connection: keep-alive\r\n"):
        with echo.connect() as sock:
            sock.sendall(b"GET /pour?n=100000 HTTP/1.0\r\n" + keep + b"\r\n")
            answer = Reader(sock).answer()
            assert "transfer-encoding" not in answer.headers and answer.headers["connection"] == "close"
            assert answer.body == poured(100000)


def test_the_client_asked_for_the_end(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET /drip HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        answer = reader.answer()
        assert answer.headers["connection"] == "close" and answer.body == b"tick\n" * 3
        assert reader.at_end()


def test_no_body_where_none_may_be(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"HEAD /pour?n=5000000 HTTP/1.1\r\n\r\nHEAD /break HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert reader.answer(head=True).headers["transfer-encoding"] == "chunked"
        assert reader.answer(head=True).status == 200
        assert reader.answer().body == b"ok\n"
    with H2(echo) as client:
        for path in ("/pour?n=5000000", "/break"):
            status, _, body, _ = client.ask(path, method="HEAD")
            assert (status, body) == (200, b"")


def test_pipelined_streams_keep_their_order(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET /slow?ms=60 HTTP/1.1\r\n\r\nGET /pour?n=3000000 HTTP/1.1\r\n\r\nGET /drip?n=2 HTTP/1.1\r\n\r\n"
                     b"GET /large?n=2000000 HTTP/1.1\r\n\r\nGET /pour?n=5 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        wanted = [b"late\n", poured(3000000), b"tick\n" * 2, poured(2000000), b"abcde", b"ok\n"]
        for body in wanted:
            assert reader.answer().body == body


def test_a_body_is_answered_while_it_comes(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST /back HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        while b"hello" not in reader.data:
            assert reader.more()
        sock.sendall(b"6\r\n world\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert reader.answer().body == b"hello world"
        assert reader.answer().body == b"ok\n"


def test_expect_100_continue_before_the_head(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        for before in (b"", b"GET /slow?ms=50 HTTP/1.1\r\n\r\n"):
            sock.sendall(before + b"POST /back HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            if before:
                assert reader.answer().body == b"late\n"
            while b"chunked" not in reader.data:
                assert reader.more()
            sock.sendall(b"body")
            answer = reader.answer()
            assert answer.interim == [100] and answer.body == b"body"


def test_an_unread_body_ends_the_connection(echo):
    """The answer ends while most of the request is to come."""
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST /pour?n=10 HTTP/1.1\r\nContent-Length: 15000000\r\n\r\n")
        assert reader.answer().body == b"abcdefghij"
        assert reader.at_end()
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST /pour?n=10 HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        assert reader.answer().body == b"abcdefghij"
        sock.sendall(b"x" * 100000 + b"GET / HTTP/1.1\r\n\r\n")
        assert reader.answer().body == b"ok\n"


def test_a_broken_answer_is_seen_as_one(echo):
    with echo.connect() as sock:
        sock.sendall(b"GET /break?n=3 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        reader = Reader(sock)
        with pytest.raises(Closed):
            reader.answer()
    client = http.client.HTTPConnection("127.0.0.1", echo.port, timeout=PATIENCE)
    client.request("GET", "/break?n=3")
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.getresponse().read()
    assert caught.value.partial == b"tick\n" * 3
    client.close()
    run = subprocess.run(["curl", "-sS", "-m", str(PATIENCE), f"http://127.0.0.1:{echo.port}/break?n=2"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.returncode == 18 and run.stdout == b"tick\n" * 2
    with H2(echo) as h2_client:
        stream = h2_client.start("/break?n=3")
        reset = h2_client.wait(h2.events.StreamReset, stream)
        assert reset.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
        assert b"".join(e.data for e in h2_client.events if isinstance(e, h2.events.DataReceived)) == b"tick\n" * 3
        assert h2_client.ask("/")[2] == b"ok\n"


def test_the_request_breaks_while_it_is_answered(echo):
    for body in (b"5\r\nhello\r\nnonsense\r\n", b"5\r\nhello\r\n" + b"f00000\r\n" + b"x" * 0xf00000 + b"\r\nf00000\r\n" + b"x" * 0xf00000):
        with echo.connect() as sock:
            reader, parts = Reader(sock), []

            def read():
                try:
                    reader.answer()
                except Closed:
                    parts.append("closed")

            thread = threading.Thread(target=read)
            thread.start()
            try:
                sock.sendall(b"POST /back HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            except OSError:
                pass
            thread.join(PATIENCE)
            assert parts == ["closed"]


def test_http2_streams(echo):
    with H2(echo) as client:
        streams = {client.start(f"/pour?n={n}"): n for n in (0, 1, 70000, 3000000, 5000000)}
        for stream, n in streams.items():
            assert client.answer(stream)[2] == poured(n)
        back = client.start("/back", end=False)
        client.send(back, b"hello", end=False)
        client.wait(h2.events.DataReceived, back)
        client.send(back, b" world")
        assert client.answer(back)[2] == b"hello world"


def test_a_slow_reader_costs_little_memory():
    with Echo("--loops", 1) as echo:
        echo.ask(b"GET / HTTP/1.1\r\n\r\n")
        before = rss(echo.process.pid)
        socks = [echo.connect(receive_buffer=65536) for _ in range(4)]
        for sock in socks:
            sock.sendall(b"GET /pour?n=300000000 HTTP/1.1\r\n\r\n")
        readers = [Reader(sock) for sock in socks]
        for reader in readers:
            while len(reader.data) < 200000:
                assert reader.more()
        assert echo.stats()["live"] == 5
        assert rss(echo.process.pid) - before < 30 << 20
        for sock in socks:
            sock.close()
        echo.wait_for(live=1)


def test_a_large_stream_arrives_whole(echo):
    n, seen = 300000000, 0
    with echo.connect() as sock:
        sock.sendall(b"GET /pour?n=%d HTTP/1.1\r\n\r\n" % n)
        reader = Reader(sock)
        while b"\r\n\r\n" not in reader.data:
            assert reader.more()
        reader.data = reader.data.split(b"\r\n\r\n", 1)[1]
        while piece := reader.chunk():
            at = seen % len(PATTERN)
            assert piece == (PATTERN * 2)[at:at + len(piece)]
            seen += len(piece)
    assert seen == n


def test_an_endless_stream_leaves_the_others_their_turn():
    """One loop, a reader as fast as it can be: small requests are answered meanwhile."""
    with Echo("--loops", 1) as echo:
        stop = threading.Event()

        def drain():
            with echo.connect() as sock:
                sock.sendall(b"GET /pour?n=1000000000000 HTTP/1.1\r\n\r\n")
                while not stop.is_set():
                    assert sock.recv(1 << 20)

        threads = [threading.Thread(target=drain) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(200):
                assert echo.ask(b"GET / HTTP/1.1\r\n\r\n").body == b"ok\n"
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        echo.wait_for(live=1)


def test_clients_leave_in_the_middle():
    with Echo("--loops", 2) as echo:
        for path in (b"/pour?n=100000000", b"/drip?n=100000"):
            for _ in range(5):
                with echo.connect() as sock:
                    sock.sendall(b"GET %s HTTP/1.1\r\n\r\n" % path)
                    assert Reader(sock).more()
                with H2(echo) as client:
                    stream = client.start(path.decode())
                    client.wait(h2.events.DataReceived, stream)
        echo.wait_for(live=1, gone=20)
        with H2(echo) as client:
            stream = client.start("/drip?n=100000")
            client.wait(h2.events.DataReceived, stream)
            client.conn.reset_stream(stream)
            client.flush()
            echo.wait_for(live=1, gone=21)
            assert client.ask("/")[2] == b"ok\n"


def test_a_client_that_stops_reading_is_closed():
    with Echo(write_timeout_ms=400) as echo:
        with echo.connect(receive_buffer=4096) as sock:
            sock.sendall(b"GET /pour?n=500000000 HTTP/1.1\r\n\r\n")
            echo.wait_for(gone=1, live=1)
        with H2(echo) as client:
            stream = client.start("/pour?n=500000000")
            while not any(isinstance(e, h2.events.StreamReset) for e in client.events):
                assert client.pump(acknowledge=False)
            echo.wait_for(gone=2, live=1)
            assert stream and client.ask("/status?n=204")[0] == 204


def test_draining_waits_for_streams():
    with Echo("--loops", 1, check=False) as echo, echo.connect() as sock, H2(echo) as client:
        reader = Reader(sock)
        sock.sendall(b"GET /drip?n=40 HTTP/1.1\r\n\r\n")
        stream = client.start("/drip?n=40")
        while b"tick" not in reader.data:
            assert reader.more()
        client.wait(h2.events.DataReceived, stream)
        echo.process.send_signal(signal.SIGTERM)
        assert reader.answer().body == b"tick\n" * 40
        assert reader.at_end()
        assert client.answer(stream)[2] == b"tick\n" * 40
        counts = echo.stop()
        assert echo.drained and counts["live"] == 0


def test_draining_does_not_wait_for_ever():
    with Echo("--loops", 1, drain_timeout_ms=300, check=False) as echo, echo.connect() as sock:
        sock.sendall(b"GET /drip?n=1000000 HTTP/1.1\r\n\r\n")
        reader = Reader(sock)
        while b"tick" not in reader.data:
            assert reader.more()
        start = time.monotonic()
        counts = echo.stop()
        assert not echo.drained and counts["live"] == 0 and time.monotonic() - start < 10


def test_many_streams_at_once(echo):
    def one(i):
        with echo.connect() as sock:
            sock.sendall(b"GET /pour?n=%d HTTP/1.1\r\n\r\n" % (i * 50000))
            assert Reader(sock).answer().body == poured(i * 50000)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    with H2(echo) as client:
        streams = {client.start(f"/pour?n={i * 30000}"): i * 30000 for i in range(60)}
        for stream, n in streams.items():
            assert client.answer(stream)[2] == poured(n)
    for thread in threads:
        thread.join()
    echo.wait_for(live=1)
