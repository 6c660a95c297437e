"""HTTP/1.1 of src/net, against the echo program: framing, order, bodies, early answers, refusals."""
import json
import os
import time

import pytest

from net_client import Closed, Echo, Reader, fnv

pytestmark = pytest.mark.example


@pytest.fixture(scope="module")
def echo():
    with Echo("--loops", 2, max_body_bytes=20000000, max_drop_bytes=1000000) as server:
        yield server


def test_a_small_request(echo):
    answer = echo.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"ok\n")
    assert answer.headers["content-length"] == "3" and answer.headers["content-type"] == "text/plain"
    assert "connection" not in answer.headers
    stamp = time.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs(time.mktime(stamp) - time.mktime(time.gmtime())) < 5


def test_the_head_arrives_byte_by_byte(echo):
    raw = b"POST /headers?x=1 HTTP/1.1\r\nHost: a\r\nX-Long-Name:  two words \t\r\nContent-Length: 3\r\n\r\nabc"
    with echo.connect() as sock:
        for i in range(len(raw)):
            sock.sendall(raw[i:i + 1])
        lines = Reader(sock).answer().body.decode().splitlines()
    assert lines == ["POST /headers?x=1 h1 3", "host=a", "x-long-name=two words", "content-length=3"]


def test_long_heads_move_in_memory(echo):
    fields = "".join(f"X-{i}: {'v' * (i * 7)}\r\n" for i in range(90)).encode()
    lines = echo.ask(b"GET /headers HTTP/1.1\r\n" + fields + b"\r\n").body.decode().splitlines()
    assert lines[0] == "GET /headers h1 0"
    assert lines[1:] == [f"x-{i}={'v' * (i * 7)}" for i in range(90)]


@pytest.mark.parametrize("size", [0, 1, 100, 65535, 65536, 65537, 300000, 5000000])
@pytest.mark.parametrize("reserve", [0, 1])
def test_bodies_of_known_length(echo, size, reserve):
    body = (os.urandom(4096) * (size // 4096 + 1))[:size]
    answer = echo.ask(b"POST /count?reserve=%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (reserve, size) + body)
    counted = json.loads(answer.body)
    assert counted["bytes"] == size and (size > 300000 or counted["fnv"] == fnv(body))
    if reserve and size >= 300000:
        assert counted["direct"] >= size - 65536, "all but the first read: read straight into the sink's room"
    if not reserve:
        assert counted["direct"] == 0


@pytest.mark.parametrize("piece", [1, 7, 65536, 1000000])
def test_chunked_bodies(echo, piece):
    body = os.urandom(min(piece * 30, 3000000))
    raw = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
    for i in range(0, len(body), piece):
        part = body[i:i + piece]
        raw += b"%x\r\n" % len(part) + part + b"\r\n"
    raw += b"0\r\nX-Trailer: is dropped\r\n\r\n"
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(raw)
        assert reader.answer().body == body
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert reader.answer().body == b"ok\n"


def test_chunks_cut_anywhere(echo):
    raw = b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nB\r\n, you world\r\n0\r\n\r\n"
    with echo.connect() as sock:
        for byte in raw:
            sock.sendall(bytes([byte]))
        assert Reader(sock).answer().body == b"hello, you world"


def test_pipelined_answers_keep_their_order(echo):
    paths = ["/slow?ms=150", "/", "/thread", "/headers?n=3", "/slow?ms=20", "/large?n=200000", "/"]
    raw = "".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths).encode()
    with echo.connect() as sock:
        sock.sendall(raw)
        reader = Reader(sock)
        bodies = [reader.answer().body for _ in paths]
    assert bodies[0] == b"late\n" and bodies[1] == b"ok\n" and bodies[2] == b"from a thread\n"
    assert bodies[3].startswith(b"GET /headers?n=3 h1 0\n") and bodies[4] == b"late\n"
    assert len(bodies[5]) == 200000 and bodies[6] == b"ok\n"


def test_many_pipelined_requests_in_one_write(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"".join(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\n%05d" % i for i in range(3000)))
        for i in range(3000):
            assert reader.answer().body == b"%05d" % i


def test_keep_alive_of_both_versions(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        for _ in range(3):
            sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert reader.answer().headers["connection"] == "keep-alive"
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert reader.answer().headers["connection"] == "close" and reader.at_end()
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert reader.answer().headers["connection"] == "close" and reader.at_end()
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET /close HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert reader.answer().headers["connection"] == "close" and reader.at_end()


def test_head_and_answers_without_body(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"HEAD / HTTP/1.1\r\n\r\nHEAD /slow?ms=10 HTTP/1.1\r\n\r\nGET /status?n=204 HTTP/1.1\r\n\r\n"
                     b"GET /status?n=304 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert reader.answer(head=True).headers["content-length"] == "3"
        assert reader.answer(head=True).headers["content-length"] == "5"
        no_content = reader.answer()
        assert no_content.status == 204 and "content-length" not in no_content.headers
        assert reader.answer().status == 304
        assert reader.answer().body == b"ok\n"


def test_fields_of_an_answer_cannot_break_it(echo):
    headers = echo.ask(b"GET /fields HTTP/1.1\r\nX-There: and back\r\n\r\n").headers
    assert headers["x-back"] == "and back" and headers["x-last"] == "yes" and headers["content-length"] == "3"
    assert not {"x-evil", "x-injected", "connection"} & set(headers)


def test_later_versions_of_http_1_are_as_good(echo):
    """RFC 9110, 6.2: a higher minor version is read as the highest that is known."""
    for version in (b"HTTP/1.2", b"HTTP/1.9"):
        answer = echo.ask(b"GET / " + version + b"\r\nHost: h\r\n\r\n")
        assert answer.status == 200 and "connection" not in answer.headers


def test_absolute_target_and_empty_line_between_requests(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET http://a.example:80/headers?q=1 HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert reader.answer().body.startswith(b"GET /headers?q=1 h1")
        assert reader.answer().body == b"ok\n"


def test_bare_line_feeds_end_lines_of_a_head(echo):
    assert echo.ask(b"GET /headers HTTP/1.1\nHost: a\nX: y\n\n").body == b"GET /headers h1 0\nhost=a\nx=y\n"


def test_an_upgrade_is_ignored(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST /echo HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
                     b"Content-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                     b"GET / HTTP/1.1\r\n\r\n")
        assert [reader.answer().body for _ in range(3)] == [b"hi", b"ok\n", b"ok\n"]


def test_expect_100_continue(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST /echo HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n")
        while b"\r\n\r\n" not in reader.data:
            assert reader.more()
        assert reader.data == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"body")
        answer = reader.answer()
        assert answer.interim == [100] and answer.body == b"body"
        # A body that comes along needs no invitation; one that is not wanted gets none, and the connection ends.
        sock.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        answer = reader.answer()
        assert answer.status == 200 and answer.headers["connection"] == "close" and not answer.interim
        assert reader.at_end()


def test_expect_waits_for_its_turn(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET /slow?ms=80 HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        first = reader.answer()
        assert first.body == b"late\n" and not first.interim
        while b"100 Continue" not in reader.data:
            assert reader.more()
        sock.sendall(b"ab")
        assert reader.answer().body == b"ab"


def refused(echo, raw, status):
    """The refusal says why in JSON, closes, and the next client is served."""
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(raw)
        answer = reader.answer()
        assert answer.status == status, (answer.status, answer.body)
        assert answer.headers["content-type"] == "application/json" and answer.headers["connection"] == "close"
        assert list(json.loads(answer.body)) == ["error"] and json.loads(answer.body)["error"].endswith(".")
        assert reader.at_end()
    assert echo.ask(b"GET / HTTP/1.1\r\n\r\n").status == 200


P = b"POST /echo HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize("raw, status", [
    (P + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello!!", 400),
    (P + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (P + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    (P + b"Transfer-Encoding: gzip\r\nContent-Length: 30\r\n\r\n", 400),
    (P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (P + b"Transfer-Encoding: gzip\r\n\r\n", 400),
    (P + b"Transfer-Encoding: chunked, identity\r\n\r\n", 400),
    (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (P + b"Content-Length: abc\r\n\r\n", 400),
    (P + b"Content-Length: -1\r\n\r\n", 400),
    (P + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    (P + b"Content-Length: 20000001\r\n\r\n", 413),
    (P + b"Content-Length: 9223372036854775807\r\n\r\n", 413),
    (P + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 413),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n", 413),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400),
    (P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", 400),
    (P + b"Expect: a miracle\r\n\r\n", 417),
    (P + b"Host : h\r\n\r\n", 400),
    (P + b"no colon here\r\n\r\n", 400),
    (P + b"X: a\r\n folded\r\n\r\n", 400),
    (P + b"X: a\0b\r\n\r\n", 400),
    (b"POST /echo HTTP/2.0\r\nHost: h\r\n\r\n", 400),
    (b"POST /echo HTTP/3.7\r\nHost: h\r\n\r\n", 400),
    (b"POST /echo\r\n\r\n", 400),
    (b"GET\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\n\r\n", 400),
    (b"\r\nGET / HTTP/1.1\r\n\r\n", 400),
    (b"\0\0\0\0", 400),
    (b"TRACE / HTTP/1.1\r\n\r\n", 501),
    (b"CONNECT / HTTP/1.1\r\n\r\n", 501),
    (b"CONNECT a:80 HTTP/1.1\r\n\r\n", 501),
    (b"get / HTTP/1.1\r\n\r\n", 501),
    (b"FOO / HTTP/1.1\r\n\r\n", 501),
    (b"hello world\r\n\r\n", 400),
    (b"Get /\r\n\r\n", 400),
    (b"PRI * HTTP/1.1\r\n\r\n", 400),
    (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 129 + b"\r\n", 431),
    (P + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431),
])
def test_refusals(echo, raw, status):
    refused(echo, raw, status)


def test_a_refusal_comes_after_the_answers_before_it(echo):
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"GET /slow?ms=100 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nFOO / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert [reader.answer().status for _ in range(3)] == [200, 200, 501] and reader.at_end()


def test_tls_gets_no_answer(echo):
    with echo.connect() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x20TLS hello")
        with pytest.raises(Closed):
            Reader(sock).answer()


def test_chunked_body_over_the_limit(echo):
    before = echo.stats()
    part = b"%x\r\n" % 1000000 + b"x" * 1000000 + b"\r\n"
    with echo.connect() as sock:
        sock.sendall(P + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(21):
                sock.sendall(part)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert Reader(sock).answer().status == 413
    after = echo.wait_for(live=1)
    assert after["abort"] == before["abort"] + 1 and after["gone"] == before["gone"] + 1


def test_early_answers_while_the_body_comes(echo):
    # What remains is little: it is dropped, and the connection goes on.
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 500000\r\n\r\n")
        answer = reader.answer()
        assert answer.status == 200 and "connection" not in answer.headers
        sock.sendall(b"x" * 500000 + b"GET /headers HTTP/1.1\r\n\r\n")
        assert reader.answer().body == b"GET /headers h1 0\n"
    # It is much, or nobody knows: the connection ends.
    for field in (b"Content-Length: 5000000", b"Transfer-Encoding: chunked"):
        with echo.connect() as sock:
            reader = Reader(sock)
            sock.sendall(b"POST / HTTP/1.1\r\n" + field + b"\r\n\r\n")
            answer = reader.answer()
            assert answer.status == 200 and answer.headers["connection"] == "close"
            sock.close()


def test_a_sink_that_refuses(echo):
    for body, at in ((b"x" * 50000, 1000), (b"x" * 900000, 700000)):
        with echo.connect() as sock:
            reader = Reader(sock)
            sock.sendall(b"POST /limit?at=%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (at, len(body)) + body)
            answer = reader.answer()
            assert answer.status == 429 and answer.body == b"too much for me\n"
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert reader.answer().body == b"ok\n"
    # Answered later; more than may be dropped then waits in the kernel, and the answer closes.
    with echo.connect() as sock:
        reader = Reader(sock)
        sock.sendall(b"POST /limit-late?ms=100 HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200000)
        assert reader.answer().body == b"too much for me\nlate\n"[:16]
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert reader.answer().body == b"ok\n"


def test_a_refused_upload_can_read_its_answer(echo):
    """The client sends all of a large body before it reads: the refusal must not be lost to a reset."""
    body = b"x" * 900000
    with echo.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n")
        for _ in range(1):
            sock.sendall(body)
        assert Reader(sock).answer().status == 413


def test_large_answers(echo):
    for n in (2047, 2048, 2049, 1048576, 50000001):
        answer = echo.ask(b"GET /large?n=%d HTTP/1.1\r\n\r\n" % n)
        assert len(answer.body) == n and answer.body[:30] == b"abcdefghijklmnopqrstuvwxyzabcd"[:n]
        assert answer.body[1048570:1048578] == b"abcdefghijklmnopqrstuvwxyz"[1048570 % 26:][:6] + b"ab" or n < 1048580


def test_echo_of_a_large_body_both_ways_at_once(echo):
    body = os.urandom(1 << 20) * 15
    assert echo.ask(b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body).body == body


def test_curl_agrees(echo, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(os.urandom(3000000))
    assert echo.curl("/echo", "--data-binary", f"@{file}") == (200, file.read_bytes())
    assert echo.curl("/echo", "--data-binary", f"@{file}", "-H", "Transfer-Encoding: chunked") == (200, file.read_bytes())
    assert echo.curl("/echo", "-T", str(file), "-X", "PUT") == (200, file.read_bytes())
    assert echo.curl("/nothing")[0] == 404
    assert echo.curl("/", "--http2") == (200, b"ok\n")
    assert echo.curl("/", "--http1.0") == (200, b"ok\n")
    # The large body that is refused: curl stops sending and shows the answer.
    file.write_bytes(b"x" * 21000000)
    assert echo.curl("/echo", "--data-binary", f"@{file}")[0] == 413


def test_unix_socket(tmp_path):
    path = tmp_path / "sock"
    for _ in range(2):
        with Echo("--unix", path) as server:
            assert server.curl("/", "--unix-socket", str(path)) == (200, b"ok\n")
        assert not path.exists()
