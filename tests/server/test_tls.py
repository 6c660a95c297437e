"""TLS and client certificates on the running program: grpcio, requests, curl, openssl, and clients that mean no good."""
import json
import os
import signal
import socket
import ssl
import subprocess

import pytest
import requests

import example_models
import tls_keys
from h2_client import FLOATS, GRPC_PREDICT, H2, entry, field, frame
from tern_server import PATIENCE, Server, run_together

pytestmark = pytest.mark.example
GOOD = {"instances": [1.0, 2.0, 5.0]}
ANSWER = {"predictions": [2.5, 3.0, 4.5]}
PREDICT = "/v1/models/m:predict"
REQUEST = field(1, field(1, b"m")) + entry("x", FLOATS)


class Keys:
    def __init__(self, folder):
        self.ours, self.theirs = tls_keys.Authority(folder, "ours"), tls_keys.Authority(folder, "theirs")
        self.server, self.other = self.ours.sign("server"), self.ours.sign("other")
        self.client = self.ours.sign("client", "clientAuth")
        self.stranger = self.theirs.sign("stranger", "clientAuth")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return example_models.write(tmp_path_factory.mktemp("models") / "m")


def flags(folder, config, *more):
    return ["--model_name=m", f"--model_base_path={folder}", "--engine=example", f"--ssl_config_file={config}", *more]


def ready(server, verify, cert=None):
    def answered():
        try:
            return requests.get(f"https://127.0.0.1:{server.rest}/readyz", verify=verify, cert=cert, timeout=PATIENCE).ok
        except requests.exceptions.ConnectionError:
            return False
    server.until(answered, "it was ready")
    return server


@pytest.fixture(scope="module")
def server(start_shared, keys, folder, tmp_path_factory):
    config = tls_keys.write_config(tmp_path_factory.mktemp("config") / "ssl", keys.server)
    return ready(start_shared(*flags(folder, config, "--header_timeout_ms=3000"), wait="listen"), keys.ours.cert)


@pytest.fixture(scope="module")
def strict(start_shared, keys, folder, tmp_path_factory):
    """With client certificates."""
    config = tls_keys.write_config(tmp_path_factory.mktemp("config") / "ssl", keys.server, keys.ours.cert, True)
    return ready(start_shared(*flags(folder, config), wait="listen"), keys.ours.cert,
                 (str(keys.client[1]), str(keys.client[0])))


def url(server):
    return f"https://127.0.0.1:{server.rest}"


def channel(server, keys, pair=None):
    grpc = pytest.importorskip("grpc")
    credentials = grpc.ssl_channel_credentials(keys.ours.pem, *(p.read_bytes() for p in pair or ()))
    return grpc.secure_channel(f"localhost:{server.grpc}", credentials, [("grpc.enable_http_proxy", 0),
                                                                       ("grpc.use_local_subchannel_pool", 1)])


def predict(opened):
    answer = opened.unary_unary(GRPC_PREDICT, None, None)(REQUEST, timeout=PATIENCE)
    assert b"serving_default" in answer


def connect(server, keys, port=None, protocols=(), pair=None, lowest=ssl.TLSVersion.TLSv1_2, highest=None):
    context = ssl.create_default_context(cafile=keys.ours.cert)
    context.minimum_version = lowest
    context.maximum_version = highest or ssl.TLSVersion.MAXIMUM_SUPPORTED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if pair:
        context.load_cert_chain(pair[1], pair[0])
    return context.wrap_socket(server.connect(port), server_hostname="localhost")


def test_grpc(server, keys):
    with channel(server, keys) as c:
        for _ in range(3):
            predict(c)


def test_requests_keep_their_connection(server, keys):
    with requests.Session() as session:
        for _ in range(5):
            answer = session.post(url(server) + PREDICT, json=GOOD, verify=keys.ours.cert, timeout=PATIENCE)
            assert answer.json() == ANSWER


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("tls", [["--tls-max", "1.2"], ["--tlsv1.3"]], ids=["1.2", "1.3"])
def test_curl(server, keys, version, tls):
    said = subprocess.run(["curl", "-sS", version, *tls, "--cacert", keys.ours.cert, "-d", json.dumps(GOOD),
                           "-w", "\n%{http_version}", f"https://localhost:{server.rest}{PREDICT}"],
                          capture_output=True, timeout=PATIENCE, check=True, text=True).stdout
    body, _, http = said.rpartition("\n")
    assert json.loads(body) == ANSWER and http == {"--http1.1": "1.1", "--http2": "2"}[version]


@pytest.mark.parametrize("offered,chosen", [(("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"),
                                            (("grpc-exp", "h2"), "h2"), ((), None)])
def test_protocol_is_agreed(server, keys, offered, chosen):
    for port in (server.grpc, server.rest):
        with connect(server, keys, port, offered) as s:
            assert s.selected_alpn_protocol() == chosen


def test_no_common_protocol(server, keys):
    with pytest.raises(ssl.SSLError, match="ALERT_NO_APPLICATION_PROTOCOL|alert"):
        connect(server, keys, protocols=("spdy/1",))


def test_old_versions_are_refused(server, keys):
    said = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{server.rest}", "-tls1_1", "-cipher",
                           "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    assert b"alert protocol version" in said.stderr


def test_openssl_sees_a_clean_end(server, keys):
    """close_notify comes before the connection's end."""
    request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    said = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{server.rest}", "-CAfile", keys.ours.cert,
                           "-verify_return_error", "-quiet", "-state"],
                          input=request, capture_output=True, timeout=PATIENCE, check=False)
    assert b"HTTP/1.1 200 OK" in said.stdout and said.stdout.endswith(b"ok\n")
    assert b"alert read:warning:close notify" in said.stderr and b"unexpected eof" not in said.stderr


def test_large_bodies(server, keys):
    """More than many records both ways, in both protocols."""
    values = [float(i) for i in range(400000)]
    want = [v / 2 + 2 for v in values]
    answer = requests.post(url(server) + PREDICT, json={"instances": values}, verify=keys.ours.cert, timeout=PATIENCE)
    assert answer.json()["predictions"] == want
    said = subprocess.run(["curl", "-sS", "--http2", "--cacert", keys.ours.cert, "--data-binary", "@-",
                           f"https://localhost:{server.rest}{PREDICT}"], input=json.dumps({"inputs": values}).encode(),
                          capture_output=True, timeout=PATIENCE, check=True).stdout
    assert json.loads(said)["outputs"] == want


def test_slow_reader(server, keys):
    """A client that reads little by little gets all of it, though records do not fit into the socket at once."""
    body = json.dumps({"instances": [1.0] * 300000}).encode()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(PATIENCE)
    raw.connect(("127.0.0.1", server.rest))
    with ssl.create_default_context(cafile=keys.ours.cert).wrap_socket(raw, server_hostname="localhost") as s:
        s.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
                  % (len(body), body))
        got = b""
        while piece := s.recv(1500):
            got += piece
    assert json.loads(got.partition(b"\r\n\r\n")[2])["predictions"] == [2.5] * 300000


def test_pipelined_and_split_records(server, keys):
    """Several requests in one record, then one request in many."""
    with connect(server, keys) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n" * 20)
        for byte in b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n":
            s.sendall(bytes([byte]))
        got = b""
        while piece := s.recv(65536):
            got += piece
    assert got.count(b"HTTP/1.1 200 OK") == 21


def test_an_answer_behind_the_clients_own_end(server, keys):
    """close_notify of the client ends its own side only: a slow answer still comes, and close_notify behind it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=keys.ours.cert).wrap_bio(incoming, outgoing, server_hostname="localhost")
    body = json.dumps({"signature_name": "slow", **GOOD}).encode()
    with server.connect() as s:
        def pump(step):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    s.sendall(outgoing.read())
                    piece = s.recv(65536)
                    incoming.write(piece) if piece else incoming.write_eof()
                    continue
                s.sendall(outgoing.read())
                return result

        pump(client.do_handshake)
        client.write(b"POST /v1/models/m:predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        s.sendall(outgoing.read())
        got = b""
        with pytest.raises(ssl.SSLZeroReturnError):
            while True:
                got += pump(lambda: client.read(65536))
    assert json.loads(got.partition(b"\r\n\r\n")[2]) == ANSWER


# Who does not speak TLS.

def test_http_on_a_tls_port(server):
    for text in (b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", b"POST /v1/models/m:predict HTTP/1.1\r\n\r\n"):
        with server.connect() as s:
            s.sendall(text)
            got = b""
            while piece := s.recv(4096):
                got += piece
            assert got.startswith(b"HTTP/1.0 400 ") and b"https" in got


@pytest.mark.parametrize("bytes_", [b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 100, os.urandom(5000), b"\x16",
                                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100), b"\x80\x2e\x01\x03\x01\0\x15"])
def test_garbage(server, keys, bytes_):
    with server.connect() as s:
        s.sendall(bytes_)
        s.shutdown(socket.SHUT_WR)
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert requests.get(url(server) + "/healthz", verify=keys.ours.cert, timeout=PATIENCE).ok


def test_garbage_inside(server, keys):
    """Broken HTTP inside good TLS; and good TLS that breaks."""
    with connect(server, keys) as s:
        s.sendall(b"\0garbage\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 400 ")
    s = connect(server, keys)
    s.sendall(b"GET /healthz HTTP/1.1\r\n")
    raw = socket.socket(fileno=s.detach())
    raw.settimeout(PATIENCE)
    raw.sendall(b"\x17\x03\x03\0\x20" + bytes(32))
    with raw:
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass


def test_slow_handshake_is_ended(server):
    with server.connect() as idle, server.connect() as slow:
        slow.sendall(b"\x16\x03\x01\x02")
        assert idle.recv(10) == b""
        try:
            assert slow.recv(10) == b""
        except ConnectionResetError:
            pass


def test_tls_on_a_plain_port(start, keys, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(server, keys)
    assert server.predict("m", GOOD).json() == ANSWER


def test_many_connections_at_a_time(server, keys):
    def one():
        for _ in range(5):
            with connect(server, keys) as s:
                s.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                assert s.recv(4096).startswith(b"HTTP/1.1 200 OK")

    run_together([one] * 16)


def test_handshakes_that_end_in_the_middle(server, keys):
    """The client goes away after each byte of its hello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=keys.ours.cert).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    for n in range(0, len(hello), 7):
        with server.connect() as s:
            s.sendall(hello[:n])
    assert requests.get(url(server) + "/healthz", verify=keys.ours.cert, timeout=PATIENCE).ok


# Client certificates.

def test_grpc_with_a_client_certificate(strict, keys):
    with channel(strict, keys, keys.client) as c:
        predict(c)


@pytest.mark.parametrize("who", ["nobody", "stranger", "server"])
def test_wrong_client_certificates(strict, keys, who):
    grpc = pytest.importorskip("grpc")
    pair = {"nobody": None, "stranger": keys.stranger, "server": keys.server}[who]
    with channel(strict, keys, pair) as c:
        with pytest.raises(grpc.RpcError) as error:
            predict(c)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
        requests.get(url(strict) + "/healthz", verify=keys.ours.cert, timeout=PATIENCE,
                     cert=(str(pair[1]), str(pair[0])) if pair else None)


def test_client_is_told_why(strict, keys):
    with pytest.raises(ssl.SSLError, match="(?i)certificate.required|unknown.ca|alert"):
        with connect(strict, keys) as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            s.recv(4096)


def test_sessions_are_taken_up_again(strict, keys):
    context = ssl.create_default_context(cafile=keys.ours.cert)
    context.load_cert_chain(keys.client[1], keys.client[0])
    session = None
    for again in (False, True):
        with context.wrap_socket(strict.connect(), server_hostname="localhost", session=session) as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert s.recv(4096).startswith(b"HTTP/1.1 200 OK")
            assert s.session_reused == again
            session = s.session


# Flags, files, change of keys.

def test_rest_may_stay_without(start, keys, folder, tmp_path):
    server = start(*flags(folder, tls_keys.write_config(tmp_path / "ssl", keys.server), "--rest_api_tls=false"))
    assert server.predict("m", GOOD).json() == ANSWER
    with channel(server, keys) as c:
        predict(c)


def test_as_the_original_secures_grpc_only(start, keys, folder, tmp_path):
    sock = tmp_path / "sock"
    server = start(*flags(folder, tls_keys.write_config(tmp_path / "ssl", keys.server), f"--grpc_socket_path={sock}"),
                   program="tensorflow_model_server")
    assert server.predict("m", GOOD).json() == ANSWER
    with channel(server, keys) as c:
        predict(c)
    with H2(server, server.rest) as c:  # HTTP/2 and gRPC in the clear on the REST port, as ever
        assert c.grpc(GRPC_PREDICT, frame(REQUEST))[0] == 0
    context = ssl.create_default_context(cafile=keys.ours.cert)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(sock))
        with context.wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert s.recv(4096).startswith(b"HTTP/1.1 200 OK")


def cases(keys):
    return {
        "missing": (None, "No such file"),
        "nonsense": ("nonsense", "nonsense"),
        "empty": ("", "Invalid argument"),
        "nothing": ("\n", "server_key is missing"),
        "no cert": (f"server_key: {tls_keys.text(keys.server[0])}", "server_cert is missing"),
        "no pem": ('server_key: "x" server_cert: "y"', "server_cert: there is no certificate"),
        "no key": (f'server_key: "x" server_cert: {tls_keys.text(keys.server[1])}', "server_key: there is no private key"),
        "other key": (f"server_key: {tls_keys.text(keys.other[0])} server_cert: {tls_keys.text(keys.server[1])}",
                      "server_key: the key does not belong to server_cert"),
        "bad ca": (f"server_key: {tls_keys.text(keys.server[0])} server_cert: {tls_keys.text(keys.server[1])} custom_ca: 'x'",
                   "custom_ca: there is no certificate"),
    }


@pytest.mark.parametrize("name", ["missing", "nonsense", "empty", "nothing", "no cert", "no pem", "no key", "other key", "bad ca"])
@pytest.mark.parametrize("program", ["tern", "tensorflow_model_server"])
def test_bad_files_end_the_start(start, keys, folder, tmp_path, name, program):
    text, words = cases(keys)[name]
    config = tmp_path / "ssl"
    if text is not None:
        config.write_text(text, encoding="ascii")
    server = Server(tmp_path / "run", flags(folder, config), program=program, wait=None)
    try:
        status = server.process.wait(PATIENCE)
    finally:
        server.kill()
    assert status == (1 if program == "tern" else 255) and words in server.log and str(config) in server.log, server.log


def test_passphrases_are_not_asked_for(keys, folder, tmp_path):
    locked = tmp_path / "locked"
    tls_keys.openssl("ec", "-aes128", "-passout", "pass:secret", "-in", keys.server[0], "-out", locked)
    config = tls_keys.write_config(tmp_path / "ssl", (locked, keys.server[1]))
    server = Server(tmp_path / "run", flags(folder, config), wait=None)
    try:
        assert server.process.wait(PATIENCE) == 1
    finally:
        server.kill()
    assert "without a passphrase" in server.log


def test_alts_has_no_effect_and_that_is_said(folder, tmp_path):
    server = Server(tmp_path / "run", ["--model_name=m", f"--model_base_path={folder}", "--engine=example",
                                       "--use_alts_credentials"])
    try:
        assert server.get("/v1/models/m").status == 200
    finally:
        server.stop()
    said = [line for line in server.log.splitlines() if "ALTS" in line]
    assert len(said) == 1 and "has no effect, connections are not encrypted" in said[0] and "--ssl_config_file" in said[0]


def serial(server, keys):
    with connect(server, keys) as s:
        return s.getpeercert()["subject"]


@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP", "by itself"])
def test_keys_change_while_serving(start, keys, folder, tmp_path, told):
    config = tls_keys.write_config(tmp_path / "ssl", keys.server)
    server = ready(start(*flags(folder, config), wait="listen"), keys.ours.cert)
    before = serial(server, keys)
    old = connect(server, keys)
    config.write_text("nonsense", encoding="ascii")
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: "the old keys stay" in server.log, "it refused the file")
    assert serial(server, keys) == before
    tls_keys.write_config(config, keys.other)
    if told:
        server.process.send_signal(signal.SIGHUP)
    server.until(lambda: serial(server, keys) != before, "it took the new keys")
    with old:
        old.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert old.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_hangup_means_keys_and_access_log(start, keys, folder, tmp_path):
    """One signal, two who hear it."""
    config = tls_keys.write_config(tmp_path / "ssl", keys.server)
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    server = ready(start(*flags(folder, config), "--access_log=json", f"--access_log_file={log}", wait="listen"),
                   keys.ours.cert)
    before = serial(server, keys)
    log.rename(old)
    tls_keys.write_config(config, keys.other)
    server.process.send_signal(signal.SIGHUP)
    server.until(log.exists, "the access log was there again")
    server.until(lambda: serial(server, keys) != before, "it took the new keys")
