"""What a handler is given: the context, the body as a stream, and the model's answer."""
from __future__ import annotations

import collections
import io
import json
import threading
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

if TYPE_CHECKING:
    from tern.worker.call import Call

FIELDS_219 = ("model_name", "model_version", "method", "rest_uri", "grpc_port", "channel", "custom_attributes",
              "request_content_type", "accept_header", "content_length")
FIELDS_220 = FIELDS_219 + ("timeout",)

_channels: Dict[str, Any] = {}
_channels_lock = threading.Lock()


def channel_to(port: str) -> Any:
    """One channel for each port, made when a script first looks at it. Messages may be of any size."""
    with _channels_lock:
        channel = _channels.get(port)
        if channel is None:
            try:
                import grpc
            except ImportError:
                return None
            channel = grpc.insecure_channel("localhost:" + port, options=[
                ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
            _channels[port] = channel
        return channel


class _LazyChannel:
    """Stands in the tuple until somebody looks."""

    def __init__(self, port: str) -> None:
        self.port = port


def _context_class(fields: Sequence[str]) -> Type[Any]:
    base: Any = collections.namedtuple("Context", fields)  # type: ignore[misc]
    place = fields.index("channel")

    class Context(base):
        """The fields are the container's; the methods are Tern's own."""

        _call: Optional["Call"] = None

        @property
        def channel(self) -> Any:
            return self[place]

        def __getitem__(self, key: Any) -> Any:
            value: Any = tuple.__getitem__(self, key)
            if isinstance(value, _LazyChannel):
                return channel_to(value.port)
            return tuple(map(self._real, value)) if isinstance(key, slice) else value

        @staticmethod
        def _real(item: Any) -> Any:
            return channel_to(item.port) if isinstance(item, _LazyChannel) else item

        def __iter__(self) -> Iterator[Any]:
            items: Iterator[Any] = tuple.__iter__(self)
            return map(self._real, items)

        def predict(self, inputs: Mapping[str, Any], model: Optional[str] = None, version: Optional[int] = None,
                    signature: Optional[str] = None, outputs: Optional[Iterable[str]] = None) -> Dict[str, Any]:
            """Runs a model on arrays, without JSON, and returns its outputs as arrays.

            inputs: by alias; arrays, numbers, bytes, str, or lists of them. Without model and version the request's own
            count. outputs: aliases of those that are wanted; all by default. Raises tern.worker.PredictError.
            """
            if self._call is None:
                raise RuntimeError("context.predict() works while its request is handled, not afterwards")
            return self._call.predict(inputs, model, version, signature, outputs)

        def empty(self, shape: Any, dtype: Any = "float32") -> Any:
            """An array in the memory that is shared with the server: filled in place, it is not copied as an input."""
            if self._call is None:
                raise RuntimeError("context.empty() works while its request is handled, not afterwards")
            return self._call.empty(shape, dtype)

    Context.__name__ = Context.__qualname__ = "Context"
    return Context


CONTEXTS = {"2.19": _context_class(FIELDS_219), "2.20": _context_class(FIELDS_220)}


class Body(io.BufferedIOBase):
    """The body of the request: read(), readline(), iteration by lines, readinto(), seek(). view() copies nothing."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._view)

    def __bool__(self) -> bool:
        return True

    def view(self) -> memoryview:
        """All of it, read-only, without a copy."""
        return self._view.toreadonly()

    def read(self, size: Optional[int] = -1, /) -> bytes:
        if size is None or size < 0:
            size = len(self._view) - self._at
        piece = self._view[self._at:self._at + size].tobytes()
        self._at += len(piece)
        return piece

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size)

    def readinto(self, buffer: Any, /) -> int:
        piece = self.read(len(memoryview(buffer).cast("B")))
        memoryview(buffer).cast("B")[:len(piece)] = piece
        return len(piece)

    def readinto1(self, buffer: Any, /) -> int:
        return self.readinto(buffer)

    def readline(self, size: Optional[int] = -1, /) -> bytes:
        end = len(self._view)
        if size is not None and size >= 0:
            end = min(end, self._at + size)
        at, step = self._at, 4096
        while at < end:
            piece = self._view[at:min(end, at + step)].tobytes()
            found = piece.find(b"\n")
            if found >= 0:
                end = at + found + 1
                break
            at += len(piece)
            step = min(step * 4, 1 << 20)
        return self.read(end - self._at)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        start = (0, self._at, len(self._view))[whence]
        self._at = max(0, min(len(self._view), start + offset))
        return self._at

    def tell(self) -> int:
        return self._at

    def exhaust(self, chunk_size: int = 65536) -> None:
        self._at = len(self._view)

    @property
    def eof(self) -> bool:
        return self._at >= len(self._view)


class Headers(Dict[str, str]):
    """Header fields whose names are found in any case."""

    def _name(self, name: object) -> str:
        if not isinstance(name, str):
            return ""
        lower = name.lower()
        return next((own for own in self if own.lower() == lower), name)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(self._name(name))

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._name(name))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._name(name), default)


_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
            501: "Not Implemented", 503: "Service Unavailable", 504: "Gateway Timeout"}


class Response(Mapping[str, Any]):
    """The model's answer, for output_handler: what requests.Response has, and outputs as arrays.

    After an input_handler that returned a dict of arrays, `arrays` holds the outputs by alias, and the response itself is a
    mapping of them: response["y"]. content, text and json() are then made of them when they are asked for. Otherwise
    `arrays` is None, and content is what the model's REST port would have answered.
    """

    encoding: Optional[str] = "utf-8"
    request: Any = None
    is_redirect = is_permanent_redirect = False
    _content: Optional[bytes] = None

    def __init__(self, status: int, url: str, headers: Iterable[Tuple[str, str]], view: memoryview,
                 arrays: Optional[Dict[str, Any]] = None) -> None:
        self.status_code = status
        self.url = url
        self.headers = Headers(headers)
        self.arrays = arrays
        self.history: List[Any] = []
        self.cookies: Dict[str, str] = {}
        self.links: Dict[str, Any] = {}
        self._view = view

    @property
    def content(self) -> bytes:
        if self._content is None:
            if self.arrays is not None:
                from tern.worker import arrays
                self._content = arrays.to_json(self.arrays, False)
            else:
                self._content = self._view.tobytes()
        return self._content

    @property
    def text(self) -> str:
        return self.content.decode(self.encoding or "utf-8", "replace")

    def json(self, **options: Any) -> Any:
        return json.loads(self.content, **options)

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def reason(self) -> str:
        return _REASONS.get(self.status_code, "")

    @property
    def apparent_encoding(self) -> str:
        return "utf-8"

    @property
    def elapsed(self) -> Any:
        import datetime
        return datetime.timedelta(0)

    @property
    def raw(self) -> io.BytesIO:
        return io.BytesIO(self.content)

    def raise_for_status(self) -> None:
        if self.status_code < 400:
            return
        kind = "Client" if self.status_code < 500 else "Server"
        message = f"{self.status_code} {kind} Error: {self.reason} for url: {self.url}"
        try:
            from requests import HTTPError
        except ImportError:
            raise OSError(message) from None
        raise HTTPError(message, response=self)  # type: ignore[arg-type,unused-ignore]

    def iter_content(self, chunk_size: Optional[int] = 1, decode_unicode: bool = False) -> Iterator[Any]:
        content: Any = self.text if decode_unicode else self.content
        step = chunk_size or max(1, len(content))
        return (content[at:at + step] for at in range(0, len(content), step))

    def iter_lines(self, chunk_size: int = 512, decode_unicode: bool = False, delimiter: Any = None) -> Iterator[Any]:
        content: Any = self.text if decode_unicode else self.content
        return iter(content.split(delimiter) if delimiter else content.splitlines())

    def close(self) -> None:
        pass

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"

    def __bool__(self) -> bool:
        return self.ok

    # A mapping of arrays; without them, iteration is over the content, as in requests.

    def __getitem__(self, name: str) -> Any:
        if self.arrays is None:
            raise TypeError("this response has no arrays: input_handler returned text; use response.json()")
        return self.arrays[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.arrays) if self.arrays is not None else self.iter_content(128)

    def __len__(self) -> int:
        return len(self.arrays) if self.arrays is not None else 0

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other
