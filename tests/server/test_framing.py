"""Where a request ends must be the same to everybody: ambiguous framing is refused in both manners, over HTTP/1.1 and HTTP/2, and
what stands behind it is never taken for a request of its own (RFC 9112, 6.3 and 11.2; RFC 9113, 8.1.1 and 8.2)."""
import h2.events
import pytest

import example_models
from h2_client import H2

pytestmark = pytest.mark.example
PATH = b"/v1/models/m:predict"
BODY = b'{"instances": [1.0]}'
HEAD = b"POST " + PATH + b" HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
BEHIND = b"GET /v1/models/m HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@pytest.fixture(scope="module", params=["tern", "tensorflow_model_server"])
def server(request, start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m")
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", program=request.param)


def answers(server, raw):
    """-> statuses of the answers on one connection, which must come to its end."""
    data = b""
    with server.connect() as s:
        try:
            s.sendall(raw)
            while piece := s.recv(65536):
                data += piece
        except ConnectionError:
            pass
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


AMBIGUOUS = {
    "two lengths": HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY,
    "two lengths, the first is short": HEAD + b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + BODY,
    "list of lengths": HEAD + b"Content-Length: 20, 5\r\n\r\n" + BODY,
    "length and chunks": HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK,
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNK,
    "length with a sign": HEAD + b"Content-Length: +20\r\n\r\n" + BODY,
    "length in hex": HEAD + b"Content-Length: 0x14\r\n\r\n" + BODY,
    "length with a blank inside": HEAD + b"Content-Length: 2 0\r\n\r\n" + BODY,
    "empty length": HEAD + b"Content-Length:\r\n\r\n" + BODY,
    "blank before the colon of the length": HEAD + b"Content-Length : 20\r\n\r\n" + BODY,
    "blank before the colon of the coding": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNK,
    "folded length": HEAD + b"X: y\r\n Content-Length: 20\r\n\r\n" + BODY,
    "unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK,
    "coding behind a vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNK,
    "chunked is not the last": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNK,
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNK,
    "chunks in HTTP/1.0": b"POST " + PATH + b" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK,
    "bare CR in a head": HEAD + b"X: y\rContent-Length: 20\r\n\r\n" + BODY,
    "NUL in a head": HEAD + b"X: \0\r\n" + LENGTH + b"\r\n" + BODY,
    "chunk of negative size": CHUNKED + b"-14\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a sign": CHUNKED + b"+14\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size as 0x": CHUNKED + b"0x14\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size over 64 bits": CHUNKED + b"10000000000000014\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk longer than it says": CHUNKED + b"5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"14\r\n" + BODY + b"0\r\n\r\n",
    "bare LF behind a chunk size": CHUNKED + b"14\n" + BODY + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
def test_http1(server, name):
    found = answers(server, AMBIGUOUS[name] + BEHIND)
    assert len(found) == 1 and 400 <= found[0] <= 501, found


def test_what_is_clear_is_answered(server):
    """The same shapes without the fault; what stands behind them is the next request."""
    last = b"GET /v1/models/m HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for good in (HEAD + LENGTH + b"\r\n" + BODY, CHUNKED + CHUNK, HEAD + b"content-length:\t20 \r\n\r\n" + BODY):
        assert answers(server, good + last) == [200, 200]


PSEUDO = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", PATH.decode())]


@pytest.mark.parametrize("fields", [
    [*PSEUDO, ("content-length", "5")], [*PSEUDO, ("content-length", "200")],
    [*PSEUDO, ("content-length", "20"), ("content-length", "20")], [*PSEUDO, ("content-length", "20"), ("content-length", "5")],
    [*PSEUDO, ("content-length", "+20")], [*PSEUDO, ("content-length", "-20")], [*PSEUDO, ("content-length", "")],
    [*PSEUDO, ("content-length", "99999999999999999999")],
    [*PSEUDO, ("transfer-encoding", "chunked")], [*PSEUDO, ("connection", "close")], [*PSEUDO, ("keep-alive", "5")],
    [*PSEUDO, ("upgrade", "h2c")], [*PSEUDO, ("te", "gzip")], [*PSEUDO, ("Content-Length", "20")],
    [*PSEUDO, ("x", "a\r\nb: c")], [*PSEUDO, ("x", "a\0b")], [*PSEUDO, ("x\n", "a")], [*PSEUDO, ("", "a")],
    [*PSEUDO, (":path", "/")], [("x", "y"), *PSEUDO], PSEUDO[:3], PSEUDO[1:], [*PSEUDO[:3], (":path", "")],
    [*PSEUDO[:3], (":path", "no slash")], [*PSEUDO, (":nope", "x")],
], ids=range(25))
def test_http2(server, fields):
    """The stream is reset or refused, and the connection's other streams go on; never is it answered as if it were right."""
    with H2(server) as c:
        stream = c.conn.get_next_available_stream_id()
        c.conn.send_headers(stream, fields)
        c.conn.send_data(stream, BODY, end_stream=True)
        c.flush()
        while not c.ended(stream) and c.pump():
            pass
        reset = any(isinstance(e, h2.events.StreamReset) and e.stream_id == stream for e in c.events)
        status = next((int(dict(e.headers)[b":status"]) for e in c.events
                       if isinstance(e, h2.events.ResponseReceived) and e.stream_id == stream), None)
        ended = any(isinstance(e, h2.events.ConnectionTerminated) for e in c.events)
        assert reset or ended or (status is not None and status >= 400), (reset, ended, status)
    assert server.get("/v1/models/m").status == 200
