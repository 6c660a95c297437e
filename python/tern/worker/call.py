"""One call of a script: from its frame to the answer, and what the script asks for meanwhile."""
from __future__ import annotations

import json
import sys
import traceback
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple
from urllib.parse import urlencode

from tern.worker import arrays as _arrays
from tern.worker import rest, wire
from tern.worker.context import CONTEXTS, Body, Response, _LazyChannel
from tern.worker.memory import Room

if TYPE_CHECKING:
    from tern.worker.runtime import Runtime

STAGE_START, STAGE_OUTPUT = 0, 1
CONTEXTS_KEPT, CONTEXT_KEPT_BYTES = 256, 4096
_EMPTY = memoryview(b"")
_OUTPUT, _START_FIELD = wire.u64(wire.TAG_STAGE, STAGE_OUTPUT)[2], wire.u64(wire.TAG_STAGE, STAGE_START)


class PredictError(RuntimeError):
    """context.predict() failed: code is the HTTP status that belongs to it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Lost(Exception):
    """The server is gone."""




def _falcon_error() -> Optional[type]:
    falcon = sys.modules.get("falcon")
    return getattr(falcon, "HTTPError", None)


_known: Dict[bytes, Tuple[Any, ...]] = {}


def known_context(frame: wire.Frame) -> Tuple[Any, ...]:
    """The context's first nine values. Most requests have those of the one before, byte for byte."""
    said = frame.get(wire.TAG_CONTEXT) or b""
    values = _known.get(said)
    if values is None:
        about = wire.Frame(said) if said else wire.Frame(wire.frame(wire.CALL, 0, []))
        port = about.text(wire.TAG_GRPC_PORT) or ""
        values = (about.text(wire.TAG_MODEL), about.text(wire.TAG_VERSION), about.text(wire.TAG_METHOD),
                  about.text(wire.TAG_REST_URI), port, _LazyChannel(port), about.text(wire.TAG_ATTRIBUTES),
                  about.text(wire.TAG_CONTENT_TYPE), about.text(wire.TAG_ACCEPT))
        if len(_known) >= CONTEXTS_KEPT:
            _known.clear()
        if len(said) <= CONTEXT_KEPT_BYTES:
            _known[said] = values
    return values


class Call:
    """What belongs to a call while it is here."""

    def __init__(self, runtime: "Runtime", frame: wire.Frame) -> None:
        self.runtime = runtime
        self.frame = frame
        self.id = frame.call
        self.cancelled = False
        self._rooms: Dict[int, Room] = {}

    # ---- memory

    def _room(self, segment: int) -> Room:
        room = self._rooms.get(segment)
        if room is None:
            room = self._rooms[segment] = Room(self.runtime.segments, segment)
        return room

    def _bytes(self, ref: wire.Ref, frame: wire.Frame) -> memoryview:
        if ref.segment == 0:
            inline = frame.get(wire.TAG_INLINE) or b""
            return memoryview(inline)[ref.offset:ref.offset + ref.size]
        room = self._room(ref.segment)
        room.used = max(room.used, ref.offset + ref.size)
        return room.view(ref.offset, ref.size)

    def body(self, frame: wire.Frame) -> memoryview:
        ref = frame.ref(wire.TAG_BODY_REF)
        if ref is not None:
            return self._bytes(ref, frame)
        return memoryview(frame.get(wire.TAG_BODY) or b"")

    def _need(self, size: int) -> Tuple[Room, int]:
        """Memory for so many bytes: what is left of a segment of this call, or a new one."""
        for room in self._rooms.values():
            offset = room.take(size)
            if offset is not None:
                return room, offset
        answer = self.runtime.ask(self, wire.frame(wire.NEED, self.id, [wire.u64(wire.TAG_SIZE, size)]))
        error = answer.utf8(wire.TAG_ERROR)
        if error is not None:
            raise MemoryError(error)
        ref = answer.ref(wire.TAG_SEGMENT)
        assert ref is not None
        room = self._room(ref.segment)
        offset = room.take(size)
        assert offset is not None
        return room, offset

    def reuse_inputs(self) -> None:
        """The body has been read for the last time: its memory is free for the answer."""
        for room in self._rooms.values():
            if room.is_free():
                room.used = 0

    def kept(self) -> List[wire.Field]:
        return [wire.ref(wire.TAG_KEPT, room.ref(0, 0)) for room in self._rooms.values()
                if not room.is_free()]

    def body_fields(self, data: Any, tag: int, tag_ref: int) -> List[wire.Field]:
        size = len(data)
        if size <= wire.INLINE_MAX:
            return [(tag, 0, bytes(data))] if size else []
        room, offset = self._need(size)
        with memoryview(self.runtime.segments.map(room.segment)) as whole:
            whole[offset:offset + size] = data
        return [wire.ref(tag_ref, room.ref(offset, size))]

    def tensor_fields(self, values: Mapping[str, Any], room_left: int) -> List[wire.Field]:
        prepared = _arrays.prepare_all(values)
        inline: List[bytes] = []
        fields: List[wire.Field] = []
        small = sum((made.size + 63) & ~63 for made in prepared) <= min(wire.INLINE_MAX, room_left)
        at = 0
        for made in prepared:
            if small:
                ref = wire.Ref(0, at, made.size)
                inline += made.tobytes(), bytes(-made.size % 64)
                at += (made.size + 63) & ~63
            else:
                ref = self._place(made)
            fields.append(wire.tensor(wire.Tensor(made.name, made.dtype, made.dims, ref, made.weak)))
        if small:
            fields.append((wire.TAG_INLINE, 0, b"".join(inline)))
        return fields

    def _place(self, made: "_arrays.Prepared") -> wire.Ref:
        address = _arrays.address_of(made)
        if address is not None:
            for room in self._rooms.values():
                offset = room.find(address, made.size)
                if offset is not None:
                    return room.ref(offset, made.size)
        room, offset = self._need(made.size)
        with memoryview(self.runtime.segments.map(room.segment)) as whole:
            made.write(whole[offset:offset + made.size])
        return room.ref(offset, made.size)

    def arrays(self, frame: wire.Frame) -> Dict[str, Any]:
        return {item.name: _arrays.array_of(item.dtype, item.dims, self._bytes(item.ref, frame))
                for item in frame.tensors()}

    def empty(self, shape: Any, dtype: Any) -> Any:
        import numpy
        kind = numpy.dtype(dtype)
        dims = (shape,) if isinstance(shape, int) else tuple(shape)
        size = kind.itemsize
        for dim in dims:
            size *= int(dim)
        if size == 0:
            return numpy.empty(dims, kind)
        room, offset = self._need(size)
        return numpy.frombuffer(room.view(offset, size), dtype=kind).reshape(dims)

    # ---- what a script may ask for

    def predict(self, inputs: Mapping[str, Any], model: Optional[str], version: Optional[int],
                signature: Optional[str], outputs: Optional[Iterable[str]]) -> Dict[str, Any]:
        fields: List[wire.Field] = []
        if model is not None:
            fields.append((wire.TAG_MODEL, 0, str(model).encode("utf-8")))
        if version is not None:
            fields.append((wire.TAG_VERSION, 0, str(int(version)).encode("ascii")))
        if signature is not None:
            fields.append((wire.TAG_SIGNATURE, 0, str(signature).encode("utf-8")))
        for name in outputs or ():
            fields.append((wire.TAG_OUTPUT, 0, str(name).encode("utf-8")))
        fields += self.tensor_fields(inputs, wire.FRAME_MAX // 2 - wire.size_of(fields))
        answer = self.runtime.ask(self, wire.frame(wire.ASK, self.id, fields))
        error = answer.utf8(wire.TAG_ERROR)
        if error is not None:
            raise PredictError(error, answer.number(wire.TAG_STATUS) or 500)
        return self.arrays(answer)

    # ---- its way

    def context(self) -> Any:
        runtime = self.runtime
        about = known_context(self.frame)
        rest.prepare(about[3] or "")
        length = self.frame.number(wire.TAG_LENGTH)
        values = (*about, length) if runtime.generation == "2.19" else (*about, length, runtime.timeout)
        if runtime.several:
            values = values[:5] + (None,) + values[6:]
        context = CONTEXTS[runtime.generation]._make(values)
        context._call = self
        return context

    def run(self) -> bytes:
        """The frame that ends the call here."""
        context = self.context()
        try:
            fields = self._run(context)
        except Lost:
            raise
        except BaseException as error:  # SystemExit, too: a script cannot take other calls along by it
            fields = self._error(error)
        finally:
            context._call = None
        fields += self.kept()
        made = wire.frame(wire.ANSWER, self.id, fields)
        if len(made) > wire.FRAME_MAX:
            made = wire.frame(wire.ANSWER, self.id, failure(500, "The handler's header fields are too long"))
        return made

    def _run(self, context: Any) -> List[wire.Field]:
        """What a script was given is referred to in its own frame only: what it has not kept is gone afterwards."""
        script = self.runtime.script
        if self.frame.get(wire.TAG_STAGE) == _OUTPUT:
            assert script.output_handler is not None
            return self._answer(script.output_handler(self._response(), context))
        if script.handler is not None:
            return self._answer(script.handler(Body(self.body(self.frame)), context))
        assert script.input_handler is not None
        return self._input(script.input_handler(Body(self.body(self.frame)), context))

    def _response(self) -> Response:
        frame = self.frame
        status = frame.number(wire.TAG_STATUS) or 200
        url = known_context(frame)[3] or ""
        if frame.get(wire.TAG_TENSOR) is not None or frame.get(wire.TAG_INLINE) is not None:
            return Response(status, url, (("Content-Type", "application/json"),), _EMPTY, self.arrays(frame))
        view = self.body(frame)
        return Response(status, url, (("Content-Type", "application/json"), ("Content-Length", str(len(view)))), view)

    # ---- results

    def _input(self, processed: Any) -> List[wire.Field]:
        stage = [_START_FIELD]
        if _arrays.is_arrays(processed):
            return stage + self.tensor_fields(processed, wire.FRAME_MAX // 2)
        content = _form_data(processed)
        del processed
        self.reuse_inputs()
        return stage + self.body_fields(content, wire.TAG_BODY, wire.TAG_BODY_REF)

    def _answer(self, result: Any) -> List[wire.Field]:
        headers: Mapping[str, Any] = {}
        if isinstance(result, (tuple, list)) and len(result) == 3 and isinstance(result[2], Mapping):
            body, kind, headers = result
            streams = hasattr(body, "__next__")
        else:
            body, kind = result
            streams = False
        fields = _header_fields(kind, headers)
        if streams:
            return self._stream(body, fields)
        content, trouble = _content(body)
        if trouble is not None:
            return trouble
        del body, result
        self.reuse_inputs()
        return fields + self.body_fields(content, wire.TAG_BODY, wire.TAG_BODY_REF)

    def _stream(self, pieces: Any, fields: List[wire.Field]) -> List[wire.Field]:
        """Parts go out as the generator gives them. An error after the first one can only break the answer off."""
        begun = False
        try:
            for piece in pieces:
                content = piece.encode("utf-8") if isinstance(piece, str) else piece
                with memoryview(content) as whole:
                    flat = whole.cast("B")
                    for at in range(0, len(flat), wire.INLINE_MAX):
                        part = [] if begun else fields
                        begun = True
                        answer = self.runtime.ask(self, wire.frame(wire.PART, self.id, part + [
                            (wire.TAG_BODY, 0, bytes(flat[at:at + wire.INLINE_MAX]))]))
                        if self.cancelled or answer.get(wire.TAG_ERROR) is not None:
                            return [wire.u64(wire.TAG_STREAM, 1)]
        except Exception as error:
            if not begun:
                raise
            report(error)
            return [wire.u64(wire.TAG_STREAM, 0), (wire.TAG_ERROR, 0, _text_of(error))]
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        return [wire.u64(wire.TAG_STREAM, 1)] if begun else fields

    def _error(self, error: BaseException) -> List[wire.Field]:
        http_error = _falcon_error()
        if http_error is not None and isinstance(error, http_error):
            if self.runtime.generation != "2.19":
                return falcon_fields(error)
            report(error)
            return failure(500, _old_names(str(error)))
        report(error)
        if isinstance(error, Exception):
            return failure(500, str(error))
        return failure(500, f"{type(error).__name__}: {error}")


def report(error: BaseException) -> None:
    """The traceback goes to the log, in one piece."""
    sys.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    sys.stderr.flush()


def _text_of(error: BaseException) -> bytes:
    return str(error).encode("utf-8", "backslashreplace")[:8192]


def failure(status: int, message: str) -> List[wire.Field]:
    """An error in the container's form."""
    if len(message) > 8192:
        message = message[:8192] + "..."
    return [wire.u64(wire.TAG_STATUS, status), (wire.TAG_CONTENT_TYPE, 0, b"application/json"),
            (wire.TAG_BODY, 0, json.dumps({"error": message}).encode("utf-8"))]


def _old_names(text: str) -> str:
    """The container has falcon 3, which names two statuses as RFC 7231 does."""
    return text.replace("413 Content Too Large", "413 Payload Too Large").replace(
        "422 Unprocessable Content", "422 Unprocessable Entity")


def falcon_fields(error: Any) -> List[wire.Field]:
    """A falcon.HTTPError that the script raised: the server writes it in the form that the client accepts."""
    status = error.status
    code = int(status) if isinstance(status, int) else int(str(getattr(status, "value", status)).split()[0])
    fields = [wire.u64(wire.TAG_STATUS, code), (wire.TAG_TITLE, 0, _old_names(str(error.title)).encode("utf-8"))]
    if error.description is not None:
        fields.append((wire.TAG_DESCRIPTION, 0, str(error.description).encode("utf-8")[:16384]))
    headers = error.headers or {}
    pairs: Iterable[Tuple[str, Any]] = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        fields.append(_header(name, value))
    return fields


def _header(name: Any, value: Any) -> wire.Field:
    pair = (str(name).encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
    return wire.TAG_HEADER, 0, b"\0".join(pair)


def _header_fields(kind: Any, headers: Mapping[str, Any]) -> List[wire.Field]:
    content_type = "application/json" if kind is None else str(kind)
    fields: List[wire.Field] = [(wire.TAG_CONTENT_TYPE, 0, content_type.encode("latin-1"))]
    for name, value in headers.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            fields.append(_header(name, item))
    return fields


def _content(body: Any) -> Tuple[Any, Optional[List[wire.Field]]]:
    """Bytes of a returned body; or, where the container could not send it, the error."""
    if body is None:
        return b"", None
    if isinstance(body, str):
        return body.encode("utf-8"), None
    if isinstance(body, bytes):
        return body, None
    if isinstance(body, (bytearray, memoryview)):
        return memoryview(body).cast("B"), None
    report(TypeError(f"The handler returned {type(body).__name__} as body: return str or bytes"))
    if hasattr(body, "__next__"):
        return b"", failure(500, "The handler returned a generator: to stream it, return (generator, content type, headers) "
                                 "with a dict, which may be empty, as headers")
    if hasattr(body, "__len__"):
        return b"", failure(500, f"The handler returned {type(body).__name__} as body: return str or bytes")
    return b"", [wire.u64(wire.TAG_STATUS, 500), (wire.TAG_CONTENT_TYPE, 0, b"application/json")]


def _form_data(data: Any) -> Any:
    """What requests.post(data=data) would send."""
    if isinstance(data, str):
        return data.encode("utf-8")
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return memoryview(data).cast("B")
    if not data:
        return b""
    if hasattr(data, "read"):
        content = data.read()
        return content.encode("utf-8") if isinstance(content, str) else content
    if isinstance(data, Mapping) or isinstance(data, (list, tuple)):
        return _urlencode(data)
    if hasattr(data, "__iter__"):
        return b"".join(piece.encode("utf-8") if isinstance(piece, str) else piece for piece in data)
    raise TypeError(f"'body' must be a bytes-like object, file-like object, or iterable. Instead was {data!r}")


def _urlencode(data: Any) -> bytes:
    if isinstance(data, Mapping):
        pairs: Iterable[Any] = data.items()
    else:
        if not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in data):
            raise ValueError("cannot encode objects that are not 2-tuples")
        pairs = data
    flat = []
    for name, values in pairs:
        if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            values = [values]
        for value in values:
            if value is not None:
                flat.append((name, value))
    return urlencode(flat, doseq=True).encode("ascii")


Handler = Callable[[Any, Any], Any]
