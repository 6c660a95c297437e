"""Run in a process of its own with TensorFlow (`real`) or without it (`light`): prints what many calls give, as JSON."""
import array
import json
import sys

import numpy as np

import hidden

if sys.argv[1] == "light":
    hidden.hide("tensorflow", *sys.argv[2:])
    import tern.serving_stubs
    tern.serving_stubs.install()

import tensorflow as tf  # noqa: E402
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2  # noqa: E402

OUT = {}


def note(name, call):
    try:
        value = call()
        if isinstance(value, tensor_pb2.TensorProto):
            value = ["tensor", value.SerializeToString(deterministic=True).hex()]
        elif isinstance(value, np.ndarray):
            content = [repr(item) for item in value.ravel().tolist()] if value.dtype == object else value.tobytes().hex()
            value = ["array", str(value.dtype), list(value.shape), content, bool(value.flags.writeable)]
        else:
            value = repr(value)
    except Exception as error:
        value = ["error", type(error).__name__]
    assert name not in OUT, name
    OUT[name] = value


def both(name, *arguments, **options):
    """A tensor of the values, and the array of that tensor."""
    note(name, lambda: tf.make_tensor_proto(*arguments, **options))
    note(name + " and back", lambda: tf.make_ndarray(tf.make_tensor_proto(*arguments, **options)))


NUMERIC = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "complex64",
           "complex128", "bool"]
SMALL = ["bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4",
         "int2", "uint2", "float4_e2m1fn"]
QUANTIZED = ["qint8", "quint8", "qint16", "quint16", "qint32"]
SHAPES = [(), (0,), (1,), (2,), (3, 2), (2, 0), (1, 1), (2, 1, 3)]

import ml_dtypes  # noqa: E402

for dtype in NUMERIC + SMALL:
    kind = getattr(ml_dtypes, dtype) if dtype in SMALL else np.dtype(dtype)
    for shape in SHAPES:
        values = (np.arange(int(np.prod(shape))) % 3).astype(kind).reshape(shape)
        both(f"{dtype} array {shape}", values)
        both(f"{dtype} array {shape} to a wider shape", values, shape=[4, 5])
        both(f"{dtype} array {shape} verified", values, shape=[3, 2], verify_shape=True)
        both(f"{dtype} array {shape} broadcast", values, shape=[3, 2], allow_broadcast=True)
        for wanted in ("float32", "int64", "string", "bool"):
            both(f"{dtype} array {shape} as {wanted}", values, dtype=wanted)
        both(f"{dtype} list {shape}", values.tolist(), dtype=dtype)
    if dtype != "bool":
        both(f"{dtype} ends", np.array([-1, 127, 255, 65535, 2 ** 31, -2 ** 31]).astype(kind))
    both(f"{dtype} transposed", np.ones((3, 2), kind).T * np.array([0, 1]).astype(kind)[:, None])
    both(f"{dtype} strided", np.ones(10, kind)[::3])
    both(f"{dtype} scalar of numpy", np.ones(1, kind)[0])
    both(f"{dtype} none", [], dtype=dtype)
    both(f"{dtype} from a number", 1, dtype=dtype)
    both(f"{dtype} from a negative number", -1, dtype=dtype)
    both(f"{dtype} from a fraction", 1.5, dtype=dtype)
    both(f"{dtype} from fractions", [1.5, 2.5], dtype=dtype)
    both(f"{dtype} from a truth", [True, False], dtype=dtype)
    both(f"{dtype} from text", "1", dtype=dtype)
    both(f"{dtype} from complex", [1j], dtype=dtype)
    both(f"{dtype} from large", [300, 70000, 2 ** 40], dtype=dtype)
    both(f"{dtype} from arrays in a list", [np.ones(2, np.int32), np.zeros(2, np.int32)], dtype=dtype)
    both(f"{dtype} ragged", [[1], [1, 2]], dtype=dtype)
for dtype in ("float16", "float32", "float64"):
    both(f"{dtype} odd", np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 1e300]).astype(dtype))
    both(f"{dtype} nan", np.array(np.nan, dtype))
for dtype in QUANTIZED:
    both(f"{dtype} values", [(1,), (2,), (3,)], dtype=dtype)
    both(f"{dtype} value", (7,), dtype=dtype)
    both(f"{dtype} plain", [1, 2], dtype=dtype)
    both(f"{dtype} array", np.array([(1,), (2,)], tf.as_dtype(dtype).as_numpy_dtype))
for dtype in ("resource", "variant"):
    both(f"{dtype}", [1], dtype=dtype)

STRINGS = {
    "one": "text", "bytes": b"by\0tes\0", "umlaut": "üñ€😀", "list": ["a", "bc"], "mixed": ["a", b"b\xff\0"], "nested": [["a", "b"], ["c", "d"]],
    "empty": "", "empties": ["", ""], "none": [], "bytearray": bytearray(b"abc"), "memoryview": memoryview(b"abc"), "with a number": ["a", 1],
    "with none": ["a", None], "ragged": [["a"], ["b", "c"]], "tuple": ("a", "b"), "surrogate": "\ud800",
    "array S": np.array([b"a\0", b"bcd"]), "array U": np.array(["a", "üx"]), "array O": np.array(["a", b"b\0", "ü"], dtype=object),
    "array O of numbers": np.array([1, 2], dtype=object), "array O empty": np.array([], dtype=object), "scalar S": np.bytes_(b"x\0y"),
    "scalar U": np.str_("xy"), "array S 2d": np.array([[b"a", b"b"], [b"c", b"d"]]), "array U none": np.array([], dtype="U3"),
}
for name, values in STRINGS.items():
    both(f"string {name}", values)
    both(f"string {name} as string", values, dtype=tf.string)
    both(f"string {name} as number", values, dtype=tf.float32)
    both(f"string {name} wider", values, shape=[2, 3])

VALUES = {
    "int": 1, "negative": -5, "large int": 2 ** 31, "larger int": 2 ** 63, "huge int": 2 ** 70, "float": 0.1, "bool": True, "complex": 1 + 2j,
    "ints": [1, 2, 3], "ints and large": [1, 2 ** 40], "floats": [1.5, 2], "bools": [True, False], "bool and int": [True, 2], "none": None,
    "list of none": [None], "dict": {"a": 1}, "set": {1}, "object": object, "ragged": [[1, 2], [3]], "deep ragged": [[[1], [2, 3]]],
    "ragged with scalar": [[1], 2], "empty nested": [[], []], "tuples": ((1, 2), (3, 4)), "range": range(3),
    "array.array": array.array("f", [1, 2, 3]), "memoryview of ints": memoryview(array.array("i", [1, 2])), "date": np.datetime64("2020-01-01"),
    "dates": np.array(["2020-01-01"], "datetime64[D]"), "long double": np.ones(2, np.longdouble), "big-endian": np.array([1, 2], ">i4"),
    "big-endian floats": np.array([1, 2], ">f4"), "big-endian one": np.array([1], ">f8"), "structured": np.zeros(2, [("a", "i4")]),
    "0-d": np.array(5), "0-d list": [np.array(5), np.array(6)], "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "list of scalars": [np.float32(1), np.float64(2)], "float64 array": np.array([0.1, 0.2]), "int64 array": np.array([1, 2]),
    "mixed arrays": [np.ones(2), [1, 2]],
}
for name, values in VALUES.items():
    both(f"value {name}", values)
    both(f"value {name} shaped", values, shape=[3])
    both(f"value {name} scalar shaped", values, shape=[])
    both(f"value {name} none shaped", values, shape=[0, 2])
    for wanted in ("float32", tf.int32, np.float64, 9, bool, float, np.dtype("uint8"), "half", "nonsense", int, 101, "float_ref"):
        both(f"value {name} as {wanted}", values, dtype=wanted)
both("both checks", [1], shape=[1], verify_shape=True, allow_broadcast=True)
both("a tensor", tensor_pb2.TensorProto(dtype=1, float_val=[3]), dtype="int32")
both("negative shape", [1], shape=[-1])
both("shape of floats", [1, 2], shape=[2.0])
both("shape of text", [1, 2], shape="2")
both("shape is a tuple", [1, 2], shape=(2, 1))
both("shape is a TensorShape", [1, 2], shape=tf.TensorShape([2]))
both("shape is an array", [1, 2], shape=np.array([2]))

FIELDS = {1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 7: "string_val", 8: "scomplex_val",
          9: "int64_val", 10: "bool_val", 11: "int_val", 12: "int_val", 13: "int_val", 14: "half_val", 15: "int_val", 16: "int_val",
          17: "int_val", 18: "dcomplex_val", 19: "half_val", 20: None, 21: None, 22: "uint32_val", 23: "uint64_val", 24: "float8_val",
          25: "float8_val", 26: "float8_val", 27: "float8_val", 28: "float8_val", 29: "int_val", 30: "int_val", 31: "int_val",
          32: "int_val", 33: "float8_val", 0: "int_val", 77: "int_val", 101: "float_val", 107: "string_val"}
for number, field in FIELDS.items():
    for shape in ([], [1], [3], [2, 2], [0], [-1]):
        for count in (0, 1, 2, 3, 4, 5):
            def make(content=None):
                tensor = tensor_pb2.TensorProto(dtype=number)
                for size in shape:
                    tensor.tensor_shape.dim.add(size=size)
                if content is not None:
                    tensor.tensor_content = content
                elif field == "string_val":
                    tensor.string_val.extend([b"s%d" % i for i in range(count)])
                elif field == "float8_val":
                    tensor.float8_val = bytes(range(count))
                elif field:
                    getattr(tensor, field).extend([1] * count)
                return tensor
            note(f"read {number} {shape} {count}", lambda: tf.make_ndarray(make()))
        for size in (1, 2, 4, 8, 16, 32):
            if field and number not in (7, 107):
                note(f"read {number} {shape} content {size}", lambda: tf.make_ndarray(make(bytes(range(size)))))
note("read text", lambda: tf.make_ndarray("text"))

TYPES = ["float32", "float", "double", "half", "string", "bool", "qint8", "float32_ref", "nonsense", "", 1, 2, 33, 34, 0, 101, 133, 200, -1, 1.5,
         float, bool, object, int, str, bytes, complex, None, np.float32, np.int_, np.intc, np.longlong, np.str_, np.bytes_, np.object_,
         np.bool_, np.datetime64, np.dtype("f4"), np.dtype(">f4"), np.dtype("S3"), np.dtype("U1"), np.dtype("O"), np.dtype("M8[D]"),
         np.zeros(1), [], {}, ml_dtypes.bfloat16, np.dtype(ml_dtypes.int4), tf.int8, np.generic, np.longdouble]
for index, value in enumerate(TYPES):
    for what in ("name", "as_datatype_enum", "is_integer", "is_floating", "is_complex", "is_bool", "is_quantized", "is_unsigned",
                 "is_numpy_compatible", "base_dtype", "real_dtype", "as_numpy_dtype", "size", "min", "max"):
        note(f"type {index} {what}", lambda: getattr(tf.as_dtype(value), what))
    note(f"type {index} repr", lambda: (repr(tf.as_dtype(value)), str(tf.as_dtype(value)), hash(tf.as_dtype(value))))
    note(f"type {index} equal", lambda: [bool(tf.as_dtype(name) == value) for name in ("float32", "string", "int64", "bool", "half")])
for name in NUMERIC + QUANTIZED + ["half", "double", "string", "bfloat16", "resource", "variant"]:
    note(f"tf.{name}", lambda: (repr(getattr(tf, name)), repr(getattr(tf.dtypes, name)), getattr(tf, name) is tf.as_dtype(name)))

PROTO = tensor_shape_pb2.TensorShapeProto
SHAPE_VALUES = [None, [], [1], [1, None], (2, 3), 4, "2", -1, [-1], [1.0], [2.5], PROTO(unknown_rank=True), PROTO(), np.array([2, 3]),
                PROTO(dim=[PROTO.Dim(size=3), PROTO.Dim(size=-1)]), tf.TensorShape([5])]
for index, value in enumerate(SHAPE_VALUES):
    for what in ("as_list", "num_elements", "is_fully_defined", "as_proto"):
        note(f"shape {index} {what}", lambda: str(getattr(tf.TensorShape(value), what)()))
    for what in ("rank", "ndims"):
        note(f"shape {index} {what}", lambda: getattr(tf.TensorShape(value), what))
    note(f"shape {index} text", lambda: (repr(tf.TensorShape(value)), str(tf.TensorShape(value))))
    note(f"shape {index} truth", lambda: bool(tf.TensorShape(value)))
    note(f"shape {index} length", lambda: len(tf.TensorShape(value)))
    note(f"shape {index} list", lambda: list(tf.TensorShape(value)))
    note(f"shape {index} first", lambda: tf.TensorShape(value)[0])
    if index not in (0, 11):  # of unknown rank
        note(f"shape {index} slice", lambda: tf.TensorShape(value)[:1])

EXAMPLE = tf.train.Example(features=tf.train.Features(feature={
    "f": tf.train.Feature(float_list=tf.train.FloatList(value=[1.5, 2])),
    "i": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1, 2 ** 40])),
    "b": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x", b"\0"]))}))
note("example", lambda: EXAMPLE.SerializeToString(deterministic=True).hex())
note("example text", lambda: str(EXAMPLE))
note("other names", lambda: [tf.io.gfile.exists("/nowhere"), tf.compat.as_bytes("ü"), tf.compat.as_str(b"x"), tf.compat.as_text("y"),
                             tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY, tf.saved_model.PREDICT_METHOD_NAME,
                             tf.compat.v1.make_tensor_proto is tf.make_tensor_proto, tf.compat.v1.float32 is tf.float32])
json.dump(OUT, sys.stdout)
