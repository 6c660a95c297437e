"""Frames between the server and a worker: see src/handler/script_wire.h, whose other side this is.

A frame is one message of the socket: u16 type, u16 number of fields, u32 length, u64 call; then fields of u16 tag,
u16 flags, u32 length, the bytes, zeros up to a multiple of 8. Everything is little-endian.
"""
from __future__ import annotations

import socket
import struct
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

FRAME_MAX = 64 << 10
INLINE_MAX = 24 << 10
ANCILLARY = socket.CMSG_SPACE(16 * 4)  # of descriptors that come along

CALL, ROOM, RESULT, FORGET, CANCEL, MORE, MAP = range(1, 8)
READY, FAILED, NEED, ANSWER, ASK, PART = range(16, 22)

TAG_MAP, TAG_SEGMENT, TAG_SIZE, TAG_ERROR, TAG_CAPACITY, TAG_NOTE, TAG_KEPT, TAG_TENSOR, TAG_INLINE = range(1, 10)

# What scripts add (src/api/script_fields.h).
(TAG_BODY, TAG_BODY_REF, TAG_STAGE, TAG_MODEL, TAG_VERSION, TAG_METHOD, TAG_REST_URI, TAG_GRPC_PORT, TAG_ATTRIBUTES,
 TAG_CONTENT_TYPE, TAG_ACCEPT, TAG_LENGTH, TAG_STATUS, TAG_HEADER, TAG_TITLE, TAG_DESCRIPTION, TAG_SIGNATURE, TAG_OUTPUT,
 TAG_STREAM, TAG_CONTEXT) = range(65, 85)

TENSOR_WEAK = 1

_HEAD = struct.Struct("<HHIQ")
_FIELD = struct.Struct("<HHI")
_U64 = struct.Struct("<Q")
_REF = struct.Struct("<QQQ")
_TENSOR = struct.Struct("<HHIQQQ")
_PADS = [b"\0" * ((8 - n % 8) % 8) for n in range(8)]


class Ref(NamedTuple):
    """A place in shared memory; segment 0 is the frame's own field INLINE."""

    segment: int
    offset: int
    size: int


class Tensor(NamedTuple):
    name: str
    dtype: int
    dims: Tuple[int, ...]
    ref: Ref
    weak: bool


Field = Tuple[int, int, bytes]  # tag, flags, bytes


class Frame:
    """A frame that was read."""

    __slots__ = ("type", "call", "fields", "get")

    def __init__(self, message: bytes) -> None:
        self.type, count, _, self.call = _HEAD.unpack_from(message)
        self.fields: List[Field] = []
        first: Dict[int, bytes] = {}
        at = 16
        for _ in range(count):
            tag, flags, length = _FIELD.unpack_from(message, at)
            value = message[at + 8:at + 8 + length]
            self.fields.append((tag, flags, value))
            first.setdefault(tag, value)
            at += 8 + (length + 7) // 8 * 8
        self.get = first.get  # bytes of the first field with that tag, or None

    def text(self, tag: int) -> Optional[str]:
        """Latin-1, as WSGI has header fields."""
        value = self.get(tag)
        return None if value is None else value.decode("latin-1")

    def utf8(self, tag: int) -> Optional[str]:
        value = self.get(tag)
        return None if value is None else value.decode("utf-8", "replace")

    def number(self, tag: int) -> Optional[int]:
        value = self.get(tag)
        return None if value is None else int(_U64.unpack(value)[0])

    def ref(self, tag: int) -> Optional[Ref]:
        value = self.get(tag)
        return None if value is None else Ref(*_REF.unpack(value))

    def tensors(self) -> List[Tensor]:
        found = []
        for tag, flags, value in self.fields:
            if tag == TAG_TENSOR:
                dtype, rank, length, segment, offset, size = _TENSOR.unpack_from(value)
                dims = struct.unpack_from(f"<{rank}q", value, 32)
                name = value[32 + 8 * rank:32 + 8 * rank + length].decode("utf-8", "replace")
                found.append(Tensor(name, dtype, dims, Ref(segment, offset, size), bool(flags & TENSOR_WEAK)))
        return found


def u64(tag: int, value: int) -> Field:
    return tag, 0, _U64.pack(value)


def ref(tag: int, value: Ref) -> Field:
    return tag, 0, _REF.pack(*value)


def refs_of(value: bytes) -> Ref:
    return Ref(*_REF.unpack(value))


def tensor(value: Tensor) -> Field:
    name = value.name.encode("utf-8")
    return TAG_TENSOR, TENSOR_WEAK if value.weak else 0, b"".join((
        _TENSOR.pack(value.dtype, len(value.dims), len(name), *value.ref),
        struct.pack(f"<{len(value.dims)}q", *value.dims), name))


def size_of(fields: Iterable[Field]) -> int:
    return 16 + sum(8 + (len(value) + 7) // 8 * 8 for _, _, value in fields)


def frame(kind: int, call: int, fields: List[Field]) -> bytes:
    parts = [b""]
    length = 16
    for tag, flags, value in fields:
        size = len(value)
        parts.append(_FIELD.pack(tag, flags, size))
        parts.append(value)
        if size % 8:
            parts.append(_PADS[size % 8])
            size += 8 - size % 8
        length += 8 + size
    parts[0] = _HEAD.pack(kind, len(fields), length, call)
    return b"".join(parts)
