"""What the tests of src/net share: the echo program (net_echo.c), raw sockets, a reader of HTTP/1.1 answers."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import h2.config
import h2.connection
import h2.events

BUILD = pathlib.Path(os.environ.get("TERN_BUILD", "build")).resolve()
PROGRAM = BUILD / "tests" / "server" / "net_echo"
PATIENCE = 30


class Echo:
    """The running program. Leaving the block drains it and checks that every promise of net.h was kept once."""

    def __init__(self, *args, nofile=None, check=True, **limits):
        self.check, self.drained = check, None
        argv = [str(PROGRAM), *map(str, args)]
        for name, value in limits.items():
            argv += [f"--{name}", str(value)]
        if nofile:
            argv = ["sh", "-c", f"ulimit -n {nofile}; exec \"$@\"", "sh", *argv]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.port = int(line[1])

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        counts = self.stop(failed=kind is not None)
        if kind is None and self.check:
            assert counts["live"] == 0, counts
            assert counts["budget"] == 0, counts
            assert counts["connections_open"] == 0 and counts["exchanges_open"] == 0, counts

    def stop(self, failed=False):
        """SIGTERM. -> the last counts; self.drained tells whether all ended in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
        if not failed:
            assert self.process.returncode == 0 and "runtime error" not in err, (self.process.returncode, err)
        if not out.startswith("drained"):
            return None
        word, answer, counts = out.split(maxsplit=2)
        self.drained = answer == "yes"
        return json.loads(counts)

    def connect(self, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def stats(self):
        return json.loads(self.ask(b"GET /stats HTTP/1.1\r\nConnection: close\r\n\r\n").body)

    def wait_for(self, **wanted):
        """Waits until the counts are as wanted (they are of the moment)."""
        end = time.monotonic() + PATIENCE
        while True:
            stats = self.stats()
            if all(stats[name] == value for name, value in wanted.items()):
                return stats
            assert time.monotonic() < end, (wanted, stats)
            time.sleep(0.02)

    def ask(self, raw, **more):
        """Sends raw bytes on a new connection. -> its first answer."""
        with self.connect() as sock:
            sock.sendall(raw)
            return Reader(sock).answer(**more)

    def curl(self, path, *args):
        """-> (status, body)"""
        run = subprocess.run(["curl", "-sS", "-m", str(PATIENCE), "-o", "-", "-w", "\n%{http_code}", *args,
                              f"http://127.0.0.1:{self.port}{path}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert run.returncode == 0, run.stderr
        body, status = run.stdout.rsplit(b"\n", 1)
        return int(status), body


class Answer:
    def __init__(self, status, reason, headers, body, interim):
        self.status, self.reason, self.headers, self.body, self.interim = status, reason, headers, body, interim


class Closed(Exception):
    """The server closed the connection where an answer should begin."""


class Reader:
    """Reads HTTP/1.1 answers off a socket, one after the other."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def more(self):
        try:
            got = self.sock.recv(1 << 20)
        except ConnectionResetError:
            got = b""
        self.data += got
        return got

    def answer(self, head=False):
        interim = []
        while True:
            while b"\r\n\r\n" not in self.data:
                if not self.more():
                    raise Closed(len(self.data), self.data[:100])
            text, self.data = self.data.split(b"\r\n\r\n", 1)
            first, *lines = text.decode("latin-1").split("\r\n")
            version, status, reason = first.split(" ", 2)
            assert version == "HTTP/1.1"
            if status == "100":
                interim.append(100)
                continue
            break
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name == name.lower() and name not in headers
            headers[name] = value
        if head or status in ("204", "304"):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            assert "content-length" not in headers
            body = b"".join(iter(self.chunk, b""))
        elif "content-length" not in headers:
            assert headers["connection"] == "close"
            while self.more():
                pass
            body, self.data = self.data, b""
        else:
            body = self.take(int(headers["content-length"]))
        return Answer(int(status), reason, headers, body, interim)

    def take(self, n):
        while len(self.data) < n:
            if not self.more():
                raise Closed(len(self.data), self.data[:100])
        piece, self.data = self.data[:n], self.data[n:]
        return piece

    def chunk(self):
        """The next chunk of an answer in chunks; empty at its end."""
        while b"\r\n" not in self.data:
            if not self.more():
                raise Closed(len(self.data), self.data[:100])
        size, self.data = self.data.split(b"\r\n", 1)
        piece = self.take(int(size, 16))
        assert self.take(2) == b"\r\n"
        return piece

    def at_end(self):
        """True when the server closes and sends nothing more."""
        while not self.data:
            if not self.more():
                return True
        return False


class H2:
    """An HTTP/2 connection with prior knowledge, for what no real client would do."""

    def __init__(self, server, receive_buffer=None):
        self.sock = server.connect(receive_buffer)
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False))
        self.conn.initiate_connection()
        self.events, self.pending = [], b""
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.conn.data_to_send())

    def raw(self, data):
        self.flush()
        self.sock.sendall(data)

    def start(self, path, end=True, method="POST", headers=(), pseudo=None):
        stream = self.conn.get_next_available_stream_id()
        fields = pseudo or [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        self.conn.send_headers(stream, [*fields, *headers], end_stream=end)
        self.flush()
        return stream

    def send(self, stream, body, end=True):
        """Sends a body as the windows allow."""
        while True:
            room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size)
            if room == 0:
                self.pump()
                continue
            piece, body = body[:room], body[room:]
            self.conn.send_data(stream, piece, end_stream=end and not body)
            self.flush()
            if not body:
                return

    def pump(self, acknowledge=True):
        """Reads once. -> False at the connection's end."""
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            return False
        if not data:
            return False
        self.pending += data
        while len(self.pending) >= 9 and len(self.pending) >= 9 + int.from_bytes(self.pending[:3], "big"):
            end = 9 + int.from_bytes(self.pending[:3], "big")
            frame, self.pending = self.pending[:end], self.pending[end:]
            for event in self.conn.receive_data(frame):
                if acknowledge and isinstance(event, h2.events.DataReceived):
                    self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events.append(event)
                if isinstance(event, h2.events.ConnectionTerminated):
                    # The package takes no frame after GOAWAY, though open streams go on.
                    self.conn.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        return True

    def wait(self, kind, stream=None, **attributes):
        """Reads until an event of that kind came (for the stream). -> the event"""
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream is None or getattr(event, "stream_id", None) == stream) and all(
                        getattr(event, name) == value for name, value in attributes.items()):
                    return event
            assert self.pump(), (kind, self.events)

    def answer(self, stream):
        """-> (status, headers, body, trailers or None)"""
        self.wait(h2.events.StreamEnded, stream)
        headers, trailers, body = {}, None, b""
        for event in self.events:
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                headers = {k.decode(): v.decode() for k, v in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
            elif isinstance(event, h2.events.TrailersReceived):
                trailers = {k.decode(): v.decode() for k, v in event.headers}
        return int(headers[":status"]), headers, body, trailers

    def ask(self, path, body=b"", **more):
        stream = self.start(path, end=not body, **more)
        if body:
            self.send(stream, body)
        return self.answer(stream)

    def at_end(self):
        while self.pump():
            pass
        return True

    def goaway(self):
        """Reads raw frames to the end, for when the package lost track. -> error codes of GOAWAY frames"""
        data, codes = self.pending, []
        try:
            while got := self.sock.recv(1 << 16):
                data += got
        except ConnectionResetError:
            pass
        while len(data) >= 9:
            length = int.from_bytes(data[:3], "big")
            if data[3] == 7:
                codes.append(int.from_bytes(data[13:17], "big"))
            data = data[9 + length:]
        return codes


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001b3) & 0xffffffffffffffff
    return f"{value:016x}"
