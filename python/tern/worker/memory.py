"""Shared memory of a worker: segments that the server has made and sent, mapped once and kept.

What a script still holds of a segment when its call ends (a memoryview, an array) must not change under its feet: then
the segment is reported as kept, and the server does not use it again.
"""
from __future__ import annotations

import mmap
import os
from typing import Any, Dict, List, Optional

from tern.worker.wire import Ref


class Segments:
    """All segments that this process knows."""

    def __init__(self) -> None:
        self._maps: Dict[int, mmap.mmap] = {}

    def add(self, segment: int, size: int, descriptor: int) -> None:
        try:
            self._maps[segment] = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def forget(self, segment: int) -> None:
        gone = self._maps.pop(segment, None)
        if gone is not None:
            try:
                gone.close()
            except BufferError:
                pass  # a script still looks at it: unmapped when it lets go

    def map(self, segment: int) -> mmap.mmap:
        return self._maps[segment]


class Room:
    """A segment within one call: what is taken of it, and the views that were given out."""

    __slots__ = ("segment", "size", "used", "_map", "_views", "_address")

    def __init__(self, segments: Segments, segment: int) -> None:
        self.segment = segment
        self._map: Any = segments.map(segment)
        self.size = len(self._map)
        self.used = 0
        self._views: List[memoryview] = []
        self._address: Optional[int] = None

    def view(self, offset: int, size: int) -> memoryview:
        made = memoryview(self._map)[offset:offset + size]
        self._views.append(made)
        return made

    def take(self, size: int) -> Optional[int]:
        """Offset of so many bytes that nobody uses yet, 64-byte aligned."""
        offset = (self.used + 63) & ~63
        if size > self.size - offset:
            return None
        self.used = offset + size
        return offset

    def find(self, address: int, size: int) -> Optional[int]:
        """Offset of memory that lies in here."""
        if self._address is None:
            import ctypes
            whole = (ctypes.c_char * self.size).from_buffer(self._map)
            self._address = ctypes.addressof(whole)
            del whole
        offset = address - self._address
        return offset if 0 <= offset and size <= self.size - offset else None

    def let_go(self) -> bool:
        """False: something still looks at it."""
        left = []
        for view in self._views:
            try:
                view.release()
            except BufferError:
                left.append(view)
        self._views = left
        return not left

    def ref(self, offset: int, size: int) -> Ref:
        return Ref(self.segment, offset, size)
