"""Shared memory of a worker: segments that the server has made and sent, mapped once and kept.

What a script still holds of a segment when its call ends (a memoryview, an array) must not change under its feet: then
the segment is reported as kept, and the server does not use it again.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import sys
from typing import Any, Dict, Optional

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
    """A segment within one call: what is taken of it, and the views that were given out.

    All views come from one object of the call's own, so that its reference count tells whether any is left.
    """

    __slots__ = ("segment", "size", "used", "_whole")

    def __init__(self, segments: Segments, segment: int) -> None:
        self.segment = segment
        whole = segments.map(segment)
        self.size = len(whole)
        self.used = 0
        self._whole: Any = (ctypes.c_char * self.size).from_buffer(whole)

    def view(self, offset: int, size: int) -> memoryview:
        return memoryview(self._whole).cast("B")[offset:offset + size]

    def take(self, size: int) -> Optional[int]:
        """Offset of so many bytes that nobody uses yet, 64-byte aligned."""
        offset = (self.used + 63) & ~63
        if size > self.size - offset:
            return None
        self.used = offset + size
        return offset

    def find(self, address: int, size: int) -> Optional[int]:
        """Offset of memory that lies in here."""
        offset = address - ctypes.addressof(self._whole)
        return offset if 0 <= offset and size <= self.size - offset else None

    def is_free(self) -> bool:
        """False: something still looks at it."""
        return sys.getrefcount(self._whole) <= 2

    def ref(self, offset: int, size: int) -> Ref:
        return Ref(self.segment, offset, size)
