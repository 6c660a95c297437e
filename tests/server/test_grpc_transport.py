"""gRPC's transport on the running program: compressed messages, deadlines, cancellation, many streams, unix sockets."""
import gzip
import struct
import zlib

import numpy as np
import pytest

import example_models
from h2_client import FLOATS, GRPC_PREDICT, H2, entry, field, frame, shape, varint
from tern_server import PATIENCE, run_together

grpc = pytest.importorskip("grpc")
tern_grpc = pytest.importorskip("tern_grpc")

pytestmark = pytest.mark.example
REQUEST = field(1, field(1, b"m")) + entry("x", FLOATS)
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return example_models.write(tmp_path_factory.mktemp("models") / "m")


@pytest.fixture(scope="module")
def server(start_shared, folder):
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--num_loops=1")


@pytest.fixture(scope="module")
def client(server):
    with tern_grpc.Client(server.grpc) as c:
        yield c


def request(n, **more):
    return tern_grpc.predict_request("m", {"x": np.arange(n, dtype=np.float32)}, **more)


def affine(n):
    return np.arange(n, dtype=np.float32) / 2 + 2


# ---- compression ----

CODINGS = [grpc.Compression.Gzip, grpc.Compression.Deflate]


@pytest.mark.parametrize("coding", CODINGS, ids=str)
@pytest.mark.parametrize("n", [1, 100, 1 << 20])
@pytest.mark.parametrize("content", [True, False], ids=["content", "typed"])
def test_compressed_requests(client, coding, n, content):
    """grpcio refuses an answer whose compression it did not offer, so what comes back is right both ways."""
    answer = client.prediction.Predict(request(n, content=content), timeout=PATIENCE, compression=coding)
    tern_grpc.assert_same(tern_grpc.outputs_of(answer)["y"], affine(n))


def test_compressed_small_calls(client):
    call = client.channel.unary_unary(METADATA, None, None)
    for coding in CODINGS:
        answer = call(field(1, field(1, b"m")) + field(2, b"signature_def"), timeout=PATIENCE, compression=coding)
        assert b"signature_def" in answer


def raw(server, message, compressed=1, **headers):
    """-> (grpc-status, text, headers, message bytes behind the prefix, flag)"""
    with H2(server, server.grpc) as c:
        fields = [("content-type", "application/grpc"), ("te", "trailers"),
                  *((k.replace("_", "-"), v) for k, v in headers.items())]
        headers, body, trailers = c.answer(c.send(GRPC_PREDICT, frame(message, compressed), fields))
        trailers = trailers or headers
        return int(trailers["grpc-status"]), trailers.get("grpc-message", ""), headers, body[5:], body[0] if body else None


def big_request(n=100000):
    tensor = b"\x08\x01" + shape(n) + field(4, struct.pack("<f", 2) * n)
    return field(1, field(1, b"m")) + entry("x", tensor)


@pytest.mark.parametrize("name,pack,unpack", [("gzip", gzip.compress, gzip.decompress),
                                              ("deflate", zlib.compress, zlib.decompress)])
def test_answers_are_compressed_as_the_request_was(server, name, pack, unpack):
    accepts = "identity, deflate, gzip"
    status, _, headers, body, flag = raw(server, pack(big_request()), grpc_encoding=name, grpc_accept_encoding=accepts)
    assert status == 0 and headers["grpc-encoding"] == name and flag == 1 and headers["grpc-accept-encoding"] == accepts
    plain = raw(server, big_request(), compressed=0)
    assert plain[0] == 0 and plain[4] == 0 and "grpc-encoding" not in plain[2]
    assert unpack(body) == plain[3] and len(body) < len(plain[3]) / 10


@pytest.mark.parametrize("accepts", [{}, {"grpc_accept_encoding": "identity"}, {"grpc_accept_encoding": "snappy,zstd"}])
def test_answers_are_plain_where_the_client_wants_it(server, accepts):
    status, _, headers, _, flag = raw(server, gzip.compress(big_request()), grpc_encoding="gzip", **accepts)
    assert status == 0 and flag == 0 and "grpc-encoding" not in headers


def test_answers_that_get_no_smaller_stay(server):
    status, _, headers, _, flag = raw(server, gzip.compress(REQUEST), grpc_encoding="gzip", grpc_accept_encoding="gzip")
    assert status == 0 and (flag == 1) == ("grpc-encoding" in headers)
    tiny = field(1, field(1, b"m")) + entry("x", b"\x08\x01" + shape(1) + field(4, b"\0\0\0\0")) + field(3, b"y")
    assert raw(server, gzip.compress(tiny), grpc_encoding="gzip", grpc_accept_encoding="gzip")[0] == 0


def test_unknown_codings_are_refused_with_what_is_known(server):
    for compressed in (0, 1):
        status, text, headers, _, _ = raw(server, REQUEST, compressed, grpc_encoding="snappy")
        assert status == 12 and "snappy" in text and headers["grpc-accept-encoding"] == "identity, deflate, gzip"


def test_a_flag_without_a_coding_is_an_error(server):
    assert raw(server, gzip.compress(REQUEST))[0] == 13
    assert raw(server, gzip.compress(REQUEST), grpc_encoding="identity")[0] == 13


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_broken_compression(server, name):
    good = (gzip if name == "gzip" else zlib).compress(REQUEST)
    for message in (REQUEST, good[:-1], good + b"x", b"", good[:-6] + b"\0" * 6, b"\x1f\x8b"):
        status, text, _, _, _ = raw(server, message, grpc_encoding=name)
        assert status == 13 and name in text, message


def test_plain_messages_may_stand_beside_a_coding(server):
    assert raw(server, REQUEST, 0, grpc_encoding="gzip")[0] == 0


def test_bombs_are_bounded_and_others_are_answered(start, folder):
    """300 MB of a field that nobody wants, out of 300 kB: refused at the limit; the one loop answers others meanwhile."""
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--num_loops=1",
                   "--max_body_bytes=50000000")
    packer = zlib.compressobj(9)
    bomb = packer.compress(field(1, field(1, b"m")) + varint(99 << 3 | 2) + varint(300 << 20))
    for _ in range(300):
        bomb += packer.compress(bytes(1 << 20))
    bomb += packer.flush()
    assert len(bomb) < 400000

    def explode():
        status, text, _, _, _ = raw(server, bomb, grpc_encoding="deflate")
        assert status == 8 and "larger than max" in text

    def others():
        for _ in range(20):
            assert server.get("/healthz").status == 200

    run_together([explode, explode, others])
    assert server.metric("tern_bytes_in_flight") == 0


def test_the_limit_counts_inflated_bytes(start, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--max_body_bytes=100000")
    assert raw(server, zlib.compress(big_request(20000)), grpc_encoding="deflate")[0] == 0
    assert raw(server, zlib.compress(big_request(30000)), grpc_encoding="deflate")[0] == 8
    path_message = b"\x12\0" * 600000
    with H2(server, server.grpc) as c:
        headers, _, trailers = c.answer(c.send(METADATA, frame(zlib.compress(path_message), 1), [
            ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-encoding", "deflate")]))
        assert int({**headers, **trailers}["grpc-status"]) == 8
