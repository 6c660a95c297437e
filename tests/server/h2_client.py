"""A small HTTP/2 client on the h2 package, for requests that no real client would send."""
import struct

import h2.config
import h2.connection
import h2.events

from tern_server import PATIENCE

GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"


class H2:
    """One connection with prior knowledge."""

    def __init__(self, server, port=None):
        self.sock = server.connect(port)
        self.sock.settimeout(PATIENCE)
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False))
        self.conn.initiate_connection()
        self.flush()
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.conn.data_to_send())

    def send(self, path, body=b"", headers=(), end=True, method="POST"):
        """Starts a stream; body in frames as the windows allow. -> its id."""
        stream = self.conn.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path), *headers]
        self.conn.send_headers(stream, fields, end_stream=end and not body)
        while body and not self.ended(stream):
            room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size)
            if room == 0:
                self.flush()
                self.pump()
                continue
            piece, body = body[:room], body[room:]
            self.conn.send_data(stream, piece, end_stream=end and not body)
        self.flush()
        return stream

    def ended(self, stream):
        """The server answered or reset the stream: it may do so before the request's end."""
        return any(getattr(e, "stream_id", None) == stream and isinstance(e, (h2.events.StreamEnded, h2.events.StreamReset))
                   for e in self.events)

    def pump(self):
        """Reads once. -> False at the connection's end."""
        data = self.sock.recv(65536)
        if not data:
            return False
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        self.flush()
        return True

    def answer(self, stream):
        """Waits for the stream's end. -> (headers, body, trailers), or the reset's error code as a number."""
        while True:
            headers, body, trailers = {}, b"", {}
            for e in self.events:
                if getattr(e, "stream_id", None) != stream:
                    continue
                if isinstance(e, h2.events.ResponseReceived):
                    headers = pairs(e.headers)
                elif isinstance(e, h2.events.DataReceived):
                    body += e.data
                elif isinstance(e, h2.events.TrailersReceived):
                    trailers = pairs(e.headers)
                elif isinstance(e, h2.events.StreamReset):
                    return int(e.error_code)
                elif isinstance(e, h2.events.StreamEnded):
                    return headers, body, trailers
            if not self.pump():
                raise ConnectionError("closed before the answer's end")

    def grpc(self, path, body, headers=()):
        """-> (grpc-status, grpc-message, body), or the reset's error code."""
        found = self.answer(self.send(path, body, [("content-type", "application/grpc"), ("te", "trailers"), *headers]))
        if isinstance(found, int):
            return found
        headers, body, trailers = found
        trailers = trailers or headers
        return int(trailers["grpc-status"]), trailers.get("grpc-message", ""), body


def pairs(headers):
    return {(k.decode() if isinstance(k, bytes) else k): (v.decode() if isinstance(v, bytes) else v) for k, v in headers}


def frame(message, compressed=0, length=None):
    """gRPC's length-prefixed message."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message


# Protocol buffers by hand: PredictRequest and TensorProto with anything in them.

def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def entry(key, value):
    return field(2, field(1, key.encode()) + field(2, value))


def shape(*dims):
    return field(2, b"".join(field(2, b"\x08" + varint(d)) for d in dims))


FLOATS = b"\x08\x01" + shape(3) + field(4, struct.pack("<3f", 1, 2, 5))  # a TensorProto: float [1, 2, 5]
