"""Tensors as numpy arrays, and back. numpy is imported when a script uses arrays, not before.

Strings lie in memory as include/tern/tensor.h says: u64 offsets[n + 1], then the bytes.
"""
from __future__ import annotations

import itertools
import struct
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

if TYPE_CHECKING:
    import numpy

STRING = 7
HALF, BFLOAT16 = 19, 14
_NAMES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64", 9: "int64",
          10: "bool", 17: "uint16", 18: "complex128", 19: "float16", 22: "uint32", 23: "uint64"}
_NUMBERS = {name: number for number, name in _NAMES.items()}
_kinds: Dict[int, Any] = {}  # numpy's dtypes, once they are asked for
_WHAT = ("give arrays, numbers, bytes or str, or lists of them; dtypes are those of numpy that TensorFlow has, "
         "and bfloat16 of ml_dtypes")


def is_array_like(value: object) -> bool:
    """Whether a value in a dict of input_handler asks for the form without JSON."""
    if isinstance(value, (bytes, bytearray, memoryview, list, tuple, bool, int, float, complex)):
        return True
    return hasattr(value, "__array__") or hasattr(value, "__array_interface__")


def is_arrays(value: object) -> bool:
    """A dict is data of a form for requests.post() when all its values are str (or it is empty), else arrays."""
    if not isinstance(value, (dict, Mapping)) or not all(isinstance(name, str) for name in value):
        return False
    return any(map(is_array_like, value.values()))


class Prepared:
    """An input on its way: what it is, and how many bytes it takes."""

    __slots__ = ("name", "dtype", "dims", "array", "offsets", "parts", "size", "weak")

    def __init__(self, name: str, dtype: int, dims: Tuple[int, ...], size: int, weak: bool) -> None:
        self.name, self.dtype, self.dims, self.size, self.weak = name, dtype, dims, size, weak
        self.array: Any = None
        self.offsets: bytes = b""
        self.parts: List[bytes] = []

    def tobytes(self) -> bytes:
        if self.dtype == STRING:
            return b"".join((self.offsets, *self.parts))
        data: bytes = self.array.tobytes()
        return data

    def write(self, into: memoryview) -> None:
        import numpy
        if self.dtype != STRING:
            if self.size:
                target = numpy.frombuffer(into, dtype=self.array.dtype, count=self.array.size)
                numpy.copyto(target.reshape(self.array.shape), self.array, casting="no")
            return
        at = len(self.offsets)
        into[:at] = self.offsets
        for part in self.parts:
            into[at:at + len(part)] = part
            at += len(part)


def _strings(name: str, array: "numpy.ndarray[Any, Any]") -> Prepared:
    parts: List[bytes] = []
    for item in array.reshape(-1).tolist():
        if isinstance(item, str):
            item = item.encode("utf-8")
        elif isinstance(item, (bytearray, memoryview)):
            item = bytes(item)
        if not isinstance(item, bytes):
            raise TypeError(f"input {name!r} holds {type(item).__name__} among its strings; {_WHAT}")
        parts.append(item)
    return _of_parts(name, tuple(array.shape), parts)


def _of_parts(name: str, dims: Tuple[int, ...], parts: List[bytes]) -> Prepared:
    ends = list(itertools.accumulate(map(len, parts)))
    text = struct.pack(f"<{len(ends) + 1}Q", 0, *ends)
    made = Prepared(name, STRING, dims, len(text) + (ends[-1] if ends else 0), False)
    made.offsets, made.parts = text, parts
    return made


def prepare(name: str, value: Any) -> Prepared:
    if type(value) is list and set(map(type, value)) == {bytes}:
        return _of_parts(name, (len(value),), value)
    import numpy
    weak = not hasattr(value, "dtype")
    if isinstance(value, (bytes, bytearray, memoryview, str)):
        array: Any = numpy.empty((), dtype=object)
        array[()] = bytes(value) if not isinstance(value, (str, bytes)) else value
        return _strings(name, array)
    array = value if isinstance(value, numpy.ndarray) else None
    if array is None:
        items: Any = value
        while isinstance(items, (list, tuple)) and items:
            items = items[0]
        # bytes in lists: as objects, for numpy would cut zeros off their ends.
        array = numpy.array(value, dtype=object) if isinstance(items, (bytes, str)) else numpy.asarray(value)
    if array.dtype.kind in "OSU":
        return _strings(name, array)
    kind = array.dtype.name
    number = BFLOAT16 if kind == "bfloat16" else _NUMBERS.get(kind)
    if number is None:
        raise TypeError(f"input {name!r} has dtype {array.dtype}; {_WHAT}")
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big"):
        array = array.astype(array.dtype.newbyteorder("<"))
    made = Prepared(name, number, tuple(array.shape), int(array.nbytes), weak)
    made.array = array
    return made


def prepare_all(values: Mapping[str, Any]) -> List[Prepared]:
    return [prepare(name, value) for name, value in values.items()]


def address_of(made: Prepared) -> Optional[int]:
    """Where the numbers lie, when they lie in one piece."""
    if made.array is None or not made.array.flags["C_CONTIGUOUS"] or made.size == 0:
        return None
    return int(made.array.__array_interface__["data"][0])


def array_of(dtype: int, dims: Tuple[int, ...], view: memoryview) -> Any:
    """An array over the view; strings as an array of bytes objects, which is a copy."""
    import numpy
    if dtype == STRING:
        count = 1
        for dim in dims:
            count *= dim
        offsets = numpy.frombuffer(view, dtype="<u8", count=count + 1).tolist()
        start = 8 * (count + 1)
        strings = numpy.empty(count, dtype=object)
        for i in range(count):
            strings[i] = bytes(view[start + offsets[i]:start + offsets[i + 1]])
        return strings.reshape(dims)
    if dtype == BFLOAT16:
        try:
            import ml_dtypes
            kind: Any = numpy.dtype(ml_dtypes.bfloat16)
        except ImportError:
            kind = numpy.dtype("V2")
    else:
        kind = _kinds.get(dtype)
        if kind is None:
            kind = _kinds[dtype] = numpy.dtype(_NAMES[dtype])
    if len(view) == 0:
        return numpy.zeros(dims, dtype=kind)
    return numpy.frombuffer(view, dtype=kind).reshape(dims)


def to_json(arrays: Dict[str, Any], row: bool) -> bytes:
    """The arrays as a predict answer's JSON, for scripts that look at response.content all the same."""
    import base64
    import json

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return {"b64": base64.b64encode(value).decode("ascii")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    values = {name: plain(array.tolist()) for name, array in arrays.items()}
    if not row:
        return json.dumps({"outputs": next(iter(values.values())) if len(values) == 1 else values}).encode("utf-8")
    if len(values) == 1:
        return json.dumps({"predictions": next(iter(values.values()))}).encode("utf-8")
    rows = [dict(zip(values, items)) for items in zip(*values.values())]
    return json.dumps({"predictions": rows}).encode("utf-8")
