"""Types, shapes, and tensors as messages: what `tensorflow.make_tensor_proto` and `make_ndarray` do, byte for byte.

Without TensorFlow's types for small floats: where ml_dtypes is installed bfloat16, float8 and int4 have arrays, else not.
"""

import importlib
import numbers
import operator
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

VERSION = "2.20.0+tern.stand.in"

DEFAULT_SERVING_SIGNATURE_DEF_KEY = "serving_default"
PREDICT_METHOD_NAME = "tensorflow/serving/predict"
CLASSIFY_METHOD_NAME = "tensorflow/serving/classify"
REGRESS_METHOD_NAME = "tensorflow/serving/regress"
PREDICT_INPUTS, PREDICT_OUTPUTS = "inputs", "outputs"
CLASSIFY_INPUTS, REGRESS_INPUTS = "inputs", "inputs"


def _numpy() -> Any:
    return importlib.import_module("numpy")


# ---- Types

# name: (number of the enum, field of the values in a TensorProto, whether many values go into tensor_content)
_TABLE: Dict[str, Tuple[int, Optional[str], bool]] = {
    "float32": (1, "float_val", True), "float64": (2, "double_val", True), "int32": (3, "int_val", True),
    "uint8": (4, "int_val", True), "int16": (5, "int_val", True), "int8": (6, "int_val", True),
    "string": (7, "string_val", False), "complex64": (8, "scomplex_val", False), "int64": (9, "int64_val", True),
    "bool": (10, "bool_val", False), "qint8": (11, "int_val", True), "quint8": (12, "int_val", True),
    "qint32": (13, "int_val", True), "bfloat16": (14, "half_val", True), "qint16": (15, "int_val", True),
    "quint16": (16, "int_val", True), "uint16": (17, "int_val", False), "complex128": (18, "dcomplex_val", False),
    "float16": (19, "half_val", True), "resource": (20, None, False), "variant": (21, None, False),
    "uint32": (22, "uint32_val", True), "uint64": (23, "uint64_val", True), "float8_e5m2": (24, "float8_val", True),
    "float8_e4m3fn": (25, "float8_val", True), "float8_e4m3fnuz": (26, "float8_val", True),
    "float8_e4m3b11fnuz": (27, "float8_val", True), "float8_e5m2fnuz": (28, "float8_val", True),
    "int4": (29, "int_val", False), "uint4": (30, "int_val", False), "int2": (31, "int_val", False),
    "uint2": (32, "int_val", False), "float4_e2m1fn": (33, "float8_val", True),
}
_QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint16": "int16", "quint16": "uint16", "qint32": "int32"}
_SMALL = ("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4",
          "int2", "uint2", "float4_e2m1fn")
_IN_FLOAT8 = ("float8_e5m2", "float8_e4m3fn", "float4_e2m1fn")
_ALIASES = {"half": "float16", "float": "float32", "double": "float64"}


class DType:
    """A type of elements, equal to whatever as_dtype turns into it."""

    __slots__ = ("_name", "_number")

    def __init__(self, number: int) -> None:
        self._name, self._number = next(((name, number) for name, row in _TABLE.items() if row[0] == number % 100), ("", 0))
        if not self._name or number > 200:
            raise TypeError(f"{number} is no data type")

    @property
    def name(self) -> str:
        return self._name + ("_ref" if self._number > 100 else "")

    @property
    def as_datatype_enum(self) -> int:
        return self._number

    @property
    def base_dtype(self) -> "DType":
        return _BY_NAME[self._name]

    @property
    def real_dtype(self) -> "DType":
        return {"complex64": _BY_NAME["float32"], "complex128": _BY_NAME["float64"]}.get(self._name, self)

    @property
    def as_numpy_dtype(self) -> Any:
        return _numpy_type(self._name)

    @property
    def is_numpy_compatible(self) -> bool:
        return self._name not in ("resource", "variant")

    @property
    def is_bool(self) -> bool:
        return self._name == "bool"

    @property
    def is_floating(self) -> bool:
        return self._name.startswith(("float", "bfloat"))

    @property
    def is_complex(self) -> bool:
        return self._name.startswith("complex")

    @property
    def is_integer(self) -> bool:
        return self._name.startswith(("int", "uint"))

    @property
    def is_quantized(self) -> bool:
        return self._name in _QUANTIZED

    @property
    def is_unsigned(self) -> bool:
        return self._name.startswith("uint")

    @property
    def size(self) -> int:
        return 0 if self._name == "string" else int(_numpy().dtype(self.as_numpy_dtype).itemsize)

    @property
    def min(self) -> Any:
        return self._limits().min

    @property
    def max(self) -> Any:
        return self._limits().max

    def _limits(self) -> Any:
        tools = importlib.import_module("ml_dtypes") if self._name in _SMALL else _numpy()
        if self.is_floating:
            return tools.finfo(self.as_numpy_dtype)
        if self.is_integer:
            return tools.iinfo(self.as_numpy_dtype)
        raise TypeError(f"{self!r} has no smallest and largest value")

    def is_compatible_with(self, other: Any) -> bool:
        return as_dtype(other).base_dtype._number in (self._number, self._number - 100)

    def __eq__(self, other: object) -> bool:
        try:
            return other is not None and self._number == as_dtype(other)._number
        except TypeError:
            return False

    def __hash__(self) -> int:
        return self._number

    def __int__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        return "tf." + self.name

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"

    def __reduce__(self) -> Tuple[Callable[[Any], "DType"], Tuple[str]]:
        return as_dtype, (self.name,)


_BY_NAME = {name: DType(row[0]) for name, row in _TABLE.items()}
_BY_NAME.update({f"{name}_ref": DType(row[0] + 100) for name, row in _TABLE.items()})
_BY_NAME.update({alias + end: _BY_NAME[name + end] for alias, name in _ALIASES.items() for end in ("", "_ref")})
_BY_NUMBER = {dtype._number: dtype for dtype in _BY_NAME.values()}
_PYTHON: Dict[Any, str] = {float: "float32", bool: "bool", object: "string"}


def _numpy_type(name: str) -> Any:
    numpy = _numpy()
    if name == "string":
        return object
    if name == "bool":
        return numpy.bool_
    if name in _QUANTIZED:
        return numpy.dtype([(name, getattr(numpy, _QUANTIZED[name]))])
    if name in _SMALL:
        try:
            return getattr(importlib.import_module("ml_dtypes"), name)
        except (ImportError, AttributeError):
            raise TypeError(f"arrays of {name} need the package ml_dtypes; put it into requirements.txt") from None
    if name in ("resource", "variant"):
        raise KeyError(f"there are no arrays of {name}")
    return getattr(numpy, name)


def _from_numpy(dtype: Any) -> Optional[DType]:
    """The type of a numpy dtype, or None."""
    if dtype.name in _SMALL:  # of ml_dtypes; the kind of some is that of a float
        return _BY_NAME[dtype.name]
    if dtype.kind in "OSUT":
        return _BY_NAME["string"]
    if dtype.kind == "b":
        return _BY_NAME["bool"]
    if dtype.kind in "iufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8):
        kind = {"i": "int", "u": "uint", "f": "float", "c": "complex"}[dtype.kind]
        return _BY_NAME.get(f"{kind}{dtype.itemsize * 8}")
    if dtype.names:
        name = dtype.names[0]
        return _BY_NAME[name] if name in _QUANTIZED and dtype == _numpy_type(name) else None
    return None


def as_dtype(type_value: Any) -> DType:
    """A DType from itself, its name or number, a numpy type or dtype, or something that has one."""
    if isinstance(type_value, DType):
        return type_value
    found: Optional[DType] = None
    if isinstance(type_value, str):
        found = _BY_NAME.get(type_value)
    elif isinstance(type_value, type) and type_value in _PYTHON:
        found = _BY_NAME[_PYTHON[type_value]]
    elif isinstance(type_value, numbers.Integral):
        found = _BY_NUMBER.get(int(type_value))
    else:
        found = _as_numpy_dtype(type_value)
    if found is None:
        raise TypeError(f"{type_value!r} is no TensorFlow data type")
    return found


def _as_numpy_dtype(value: Any) -> Optional[DType]:
    try:
        numpy = _numpy()
    except ImportError:
        return None
    if isinstance(value, type):
        if not issubclass(value, numpy.generic) and value.__name__ not in _SMALL:
            return None
    elif not isinstance(value, numpy.dtype):
        value = getattr(value, "dtype", None)
        if value is None:
            return None
    try:
        return _from_numpy(numpy.dtype(value))
    except TypeError:
        return None


float16 = half = _BY_NAME["float16"]
float32 = _BY_NAME["float32"]
float64 = double = _BY_NAME["float64"]
bfloat16 = _BY_NAME["bfloat16"]
int8, int16, int32, int64 = (_BY_NAME[name] for name in ("int8", "int16", "int32", "int64"))
uint8, uint16, uint32, uint64 = (_BY_NAME[name] for name in ("uint8", "uint16", "uint32", "uint64"))
complex64, complex128 = _BY_NAME["complex64"], _BY_NAME["complex128"]
qint8, quint8, qint16, quint16, qint32 = (_BY_NAME[name] for name in _QUANTIZED)
string, resource, variant = _BY_NAME["string"], _BY_NAME["resource"], _BY_NAME["variant"]
bool_ = _BY_NAME["bool"]


# ---- Shapes


class TensorShape:
    """A shape whose dimensions, or rank, may be unknown (None)."""

    def __init__(self, dims: Any) -> None:
        self._dims: Optional[Tuple[Optional[int], ...]]
        if dims is None:
            self._dims = None
        elif isinstance(dims, TensorShape):
            self._dims = dims._dims
        elif hasattr(dims, "unknown_rank"):  # a TensorShapeProto
            self._dims = None if dims.unknown_rank else tuple(None if d.size == -1 else d.size for d in dims.dim)
        else:
            try:
                sizes: Iterable[Any] = iter(dims)
            except TypeError:
                sizes = [dims]
            self._dims = tuple(None if size is None else _dimension(size) for size in sizes)

    @property
    def rank(self) -> Optional[int]:
        return None if self._dims is None else len(self._dims)

    ndims = rank

    @property
    def dims(self) -> Optional[List[Optional[int]]]:
        return None if self._dims is None else list(self._dims)

    def as_list(self) -> List[Optional[int]]:
        return list(self._known())

    def num_elements(self) -> Optional[int]:
        if not self.is_fully_defined():
            return None
        product = 1
        for size in self._known():
            product *= size or 0
        return product

    def is_fully_defined(self) -> bool:
        return self._dims is not None and None not in self._dims

    def as_proto(self) -> Any:
        message: Any = importlib.import_module("tensorflow.core.framework.tensor_shape_pb2")
        if self._dims is None:
            return message.TensorShapeProto(unknown_rank=True)
        return message.TensorShapeProto(dim=[{"size": -1 if size is None else size} for size in self._dims])

    def _known(self) -> Tuple[Optional[int], ...]:
        if self._dims is None:
            raise ValueError("the shape's rank is not known")
        return self._dims

    def __len__(self) -> int:
        return len(self._known())

    def __iter__(self) -> Iterator[Optional[int]]:
        return iter(self._known())

    def __getitem__(self, key: Any) -> Any:
        if self._dims is None:
            return TensorShape(None) if isinstance(key, slice) else None
        found = self._dims[key]
        return TensorShape(found) if isinstance(key, slice) else found

    def __bool__(self) -> bool:
        return self._dims is not None

    def __eq__(self, other: object) -> bool:
        try:
            return self._dims == TensorShape(other)._dims
        except (TypeError, ValueError):
            return False

    def __hash__(self) -> int:
        return hash(self._dims)

    def __repr__(self) -> str:
        return f"TensorShape({None if self._dims is None else list(self._dims)})"

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        return "(" + ", ".join(map(str, self._dims)) + ("," if len(self._dims) == 1 else "") + ")"


def _dimension(size: Any) -> int:
    number = operator.index(size)
    if number < 0:
        raise ValueError(f"a dimension is {number}, it has to be 0 or more")
    return number


# ---- Tensors


def as_bytes(value: Any, encoding: str = "utf-8") -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode(encoding)
    raise TypeError(f"a string has to be bytes or str, {value!r} is neither")


def as_str(value: Any, encoding: str = "utf-8") -> str:
    if isinstance(value, bytes):
        return value.decode(encoding)
    if isinstance(value, str):
        return value
    raise TypeError(f"a string has to be bytes or str, {value!r} is neither")


def _leaves(values: Any) -> Iterator[Any]:
    if isinstance(values, (list, tuple)):
        for inner in values:
            yield from _leaves(inner)
    else:
        yield values


def _dense_dimensions(values: Any) -> List[int]:
    if not isinstance(values, (list, tuple)):
        return []
    return [len(values), *_dense_dimensions(values[0])] if values else [0]


def _is_array_like(value: Any) -> bool:
    if callable(getattr(value, "__array__", None)) or isinstance(getattr(value, "__array_interface__", None), dict):
        return True
    try:
        memoryview(value)
    except TypeError:
        return False
    return not isinstance(value, bytes)


def _check_leaves(values: Any, dtype: DType) -> None:
    """Python values have to be of the kind that the wanted type holds; a float is not cut to an int, for example."""
    numpy = _numpy()
    if dtype.is_quantized:
        if not isinstance(values, (list, tuple)):
            raise TypeError(f"{dtype.name} values are lists of tuples, {values!r} is not")
        if isinstance(values, list):
            for inner in values:
                _check_leaves(inner, dtype)
            return
    kinds: Dict[str, Tuple[Any, ...]] = {
        "bool": (bool,), "string": (bytes, str), "complex": (numbers.Complex, numpy.number),
        "int": (numbers.Integral, numpy.integer), "float": (numbers.Real, numpy.integer, numpy.floating)}
    if dtype.is_integer or dtype.is_quantized:
        wanted = kinds["int"]
    elif dtype.is_floating:
        wanted = kinds["float"]
    else:
        wanted = kinds.get("complex" if dtype.is_complex else dtype.name, (object,))
    for leaf in _leaves(list(values) if isinstance(values, range) else values):
        if not (isinstance(leaf, wanted) or (isinstance(leaf, numpy.ndarray) and issubclass(leaf.dtype.type, wanted))):
            raise TypeError(f"Expected {dtype.name}, but got {leaf!r} of type '{type(leaf).__name__}'.")


def _to_array(values: Any, wanted: Any) -> Any:
    """numpy.array, with the overflows that numpy 1 let through."""
    numpy = _numpy()
    if wanted is not None and numpy.issubdtype(wanted, numpy.number):
        return numpy.array(values).astype(wanted)
    return numpy.array(values, wanted)


def _make_array(values: Any, dtype: Optional[DType], shape: Optional[Sequence[Any]]) -> Any:
    numpy = _numpy()
    wanted = dtype.as_numpy_dtype if dtype is not None and dtype.is_numpy_compatible else None
    if isinstance(values, (numpy.ndarray, numpy.generic)):
        return values if wanted is None else values.astype(wanted)
    if values is None:
        raise ValueError("None values not supported.")
    if shape is not None and numpy.prod(shape, dtype=numpy.int64) == 0:
        array = numpy.empty(shape, dtype=wanted)
    else:
        if dtype is not None:
            _check_leaves(values, dtype)
        array = _to_array(values, wanted)
        if list(array.shape) != _dense_dimensions(values) and not (dtype is not None and dtype.is_quantized):
            raise ValueError(f"the values are no dense tensor: the shape of {values!r} seems to be {_dense_dimensions(values)}, "
                             f"but is {list(array.shape)}")
    if dtype is None and array.dtype == numpy.float64:
        return array.astype(numpy.float32)
    if dtype is None and array.dtype == numpy.int64:
        smaller = array.astype(numpy.int32)
        return smaller if numpy.array_equal(smaller, array) else array
    return array


def _check_size(array: Any, shape: List[int], size: int, verify_shape: bool, allow_broadcast: bool) -> None:
    if allow_broadcast:
        if array.shape not in ((1,), ()) and array.size != size:
            raise TypeError(f"the tensor's shape is to be {tuple(shape)}, but the values have {array.shape}")
    elif verify_shape and array.shape != tuple(shape):
        raise TypeError(f"the tensor's shape is to be {tuple(shape)}, but the values have {array.shape}")
    elif array.size > size:
        raise ValueError(f"too many values: {array.size}, and a tensor of shape {tuple(shape)} has {size}")


def _append(tensor: Any, array: Any, dtype: DType) -> None:
    """Writes values, few of them as a rule, into the field of their type."""
    numpy = _numpy()
    name = dtype.name
    field = _TABLE[name][1]
    if field is None or (field == "float8_val" and name not in _IN_FLOAT8) or (name != "string" and not array.dtype.isnative):
        raise TypeError(f"Element type not supported in TensorProto: {name}.")
    if field == "string_val":
        tensor.string_val.extend([as_bytes(item) for item in array])
    elif field == "half_val":
        tensor.half_val.extend(array.view(numpy.uint16).tolist())
    elif field == "float8_val":
        tensor.float8_val += array.view(numpy.uint8).tobytes()
    elif field in ("scomplex_val", "dcomplex_val"):
        getattr(tensor, field).extend([part for item in array.tolist() for part in (item.real, item.imag)])
    elif name in ("int4", "uint4", "int2", "uint2"):
        tensor.int_val.extend(array.astype(numpy.int8).tolist())
    elif name in _QUANTIZED:
        tensor.int_val.extend(array.view(_QUANTIZED[name]).tolist())
    else:
        getattr(tensor, field).extend(array.tolist())


def make_tensor_proto(values: Any, dtype: Any = None, shape: Optional[Sequence[Any]] = None, verify_shape: bool = False,
                      allow_broadcast: bool = False) -> Any:
    """A TensorProto of a number, a string, nested lists of them, an array or what can become one.

    Without `dtype` Python's floats become float32 and its ints int32 where they fit. With `shape` there may be fewer values
    than the shape holds; the last one then stands for the rest.
    """
    if allow_broadcast and verify_shape:
        raise ValueError("allow_broadcast and verify_shape are not both allowed.")
    tensor_pb2: Any = importlib.import_module("tensorflow.core.framework.tensor_pb2")
    if isinstance(values, tensor_pb2.TensorProto):
        return values
    numpy = _numpy()
    wanted = None if dtype is None else as_dtype(dtype)
    if _is_array_like(values):
        values = numpy.asarray(values)
    array = _make_array(values, wanted, shape)
    found = as_dtype(array.dtype)
    if wanted is not None:
        if wanted.is_quantized:
            found = wanted
        if wanted.base_dtype != found.base_dtype:
            raise TypeError(f"{values!r} of dtype {array.dtype} cannot be a tensor of {wanted.name}")
    sizes = [int(size) for size in (array.shape if shape is None else shape)]
    size = int(numpy.prod(sizes, dtype=numpy.int64))
    if shape is not None:
        _check_size(array, sizes, size, verify_shape, allow_broadcast)
    tensor = tensor_pb2.TensorProto(dtype=found.as_datatype_enum, tensor_shape=TensorShape(sizes).as_proto())
    if size == array.size and size > 1 and _TABLE[found.name][2]:
        if array.size * array.itemsize >= 1 << 31:
            raise ValueError("Cannot create a tensor proto whose content is larger than 2GB.")
        tensor.tensor_content = array.tobytes()
    elif found.name == "string" and not isinstance(values, numpy.ndarray):
        # From the values themselves: numpy would cut NULs off the strings' ends.
        try:
            tensor.string_val.extend([as_bytes(item) for item in _leaves(values)])
        except TypeError:
            raise TypeError(f"{values!r} cannot become a tensor: its elements have no common type that TensorFlow knows") from None
    else:
        _append(tensor, array.ravel(), found)
    return tensor


def _read_values(tensor: Any, dtype: DType) -> Any:
    numpy = _numpy()
    name, kind = dtype.name, dtype.as_numpy_dtype
    field = _TABLE[name][1] if name in _TABLE else None  # references have no values
    if field == "half_val":
        return numpy.array(tensor.half_val, dtype=numpy.uint16).view(kind)
    if field == "float8_val" and name in _IN_FLOAT8:
        return numpy.frombuffer(tensor.float8_val, dtype=numpy.uint8).copy().view(kind)
    if field in ("scomplex_val", "dcomplex_val"):
        parts = numpy.array(getattr(tensor, field), dtype=numpy.float32 if name == "complex64" else numpy.float64)
        return parts[:len(parts) // 2 * 2].view(kind)
    if field is None or field == "float8_val":
        raise TypeError(f"Unsupported tensor type: {tensor.dtype}.")
    return numpy.fromiter(getattr(tensor, field), dtype=kind)


def make_ndarray(tensor: Any) -> Any:
    """The array of a TensorProto: a copy, which may be changed."""
    numpy = _numpy()
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = int(numpy.prod(shape, dtype=numpy.int64))
    dtype = as_dtype(tensor.dtype)
    kind = dtype.as_numpy_dtype
    if tensor.tensor_content:
        return numpy.frombuffer(tensor.tensor_content, dtype=kind).copy().reshape(shape)
    if dtype.name == "string":
        strings: List[Any] = list(tensor.string_val)
        strings.extend([strings[-1] if strings else ""] * (size - len(strings)))
        return numpy.array(strings, dtype=kind).reshape(shape)
    values = _read_values(tensor, dtype)
    if values.size == 0:
        return numpy.zeros(shape, kind)
    if values.size != size:
        values = numpy.pad(values, (0, size - values.size), "edge")
    return values.reshape(shape)
