"""Which modules the stand-ins have and what is in them. Nothing heavy is imported before such a module is."""

import importlib
import types
from typing import Any, Callable, Dict, List

from tern.serving_stubs import _protos

# name in `tensorflow` and its submodules: where it comes from, "module:attribute"
_TENSORS = "tern.serving_stubs._tensors"
_DTYPE_NAMES = ("DType", "as_dtype", "float16", "half", "float32", "float64", "double", "bfloat16", "int8", "int16", "int32",
                "int64", "uint8", "uint16", "uint32", "uint64", "string", "complex64", "complex128", "qint8", "quint8",
                "qint16", "quint16", "qint32", "resource", "variant")
_DTYPES = {"bool": f"{_TENSORS}:bool_", **{name: f"{_TENSORS}:{name}" for name in _DTYPE_NAMES}}
_PROTO_TOOLS = {name: f"{_TENSORS}:{name}" for name in ("make_tensor_proto", "make_ndarray")}
_TRAIN = {
    "Example": "tensorflow.core.example.example_pb2:Example",
    **{name: f"tensorflow.core.example.feature_pb2:{name}"
       for name in ("BytesList", "FloatList", "Int64List", "Feature", "Features")},
}
_SHAPES = {"TensorShape": f"{_TENSORS}:TensorShape"}
_TOP = {**_DTYPES, **_PROTO_TOOLS, **_SHAPES, "__version__": f"{_TENSORS}:VERSION", "version": "tensorflow.version"}

_MODULES: Dict[str, Dict[str, str]] = {
    "tensorflow": {**_TOP, **{name: f"tensorflow.{name}" for name in ("compat", "dtypes", "io", "saved_model", "train")}},
    "tensorflow.compat": {"v1": "tensorflow.compat.v1", "v2": "tensorflow", "as_bytes": f"{_TENSORS}:as_bytes",
                          "as_str": f"{_TENSORS}:as_str", "as_text": f"{_TENSORS}:as_str"},
    "tensorflow.compat.v1": {**_TOP, **{name: f"tensorflow.{name}" for name in ("dtypes", "io", "saved_model", "train")}},
    "tensorflow.contrib": {"util": "tensorflow.contrib.util"},
    "tensorflow.contrib.util": _PROTO_TOOLS,
    "tensorflow.core": {},
    "tensorflow.core.example": {},
    "tensorflow.core.framework": {},
    "tensorflow.core.protobuf": {},
    "tensorflow.dtypes": _DTYPES,
    "tensorflow.io": {"gfile": "tensorflow.io.gfile"},
    "tensorflow.io.gfile": {name: f"tern.serving_stubs._files:{name}"
                            for name in ("GFile", "exists", "isdir", "listdir", "glob")},
    "tensorflow.python": {},
    "tensorflow.python.framework": {},
    "tensorflow.python.framework.dtypes": _DTYPES,
    "tensorflow.python.framework.tensor_shape": _SHAPES,
    "tensorflow.python.framework.tensor_util": {"make_tensor_proto": f"{_TENSORS}:make_tensor_proto",
                                                "MakeNdarray": f"{_TENSORS}:make_ndarray"},
    "tensorflow.saved_model": {
        "signature_constants": "tensorflow.saved_model",
        **{name: f"{_TENSORS}:{name}"
           for name in ("DEFAULT_SERVING_SIGNATURE_DEF_KEY", "PREDICT_METHOD_NAME", "CLASSIFY_METHOD_NAME", "REGRESS_METHOD_NAME",
                        "PREDICT_INPUTS", "PREDICT_OUTPUTS", "CLASSIFY_INPUTS", "REGRESS_INPUTS")},
    },
    "tensorflow.train": _TRAIN,
    "tensorflow.version": {"VERSION": f"{_TENSORS}:VERSION"},
    "tensorflow_serving": {},
    "tensorflow_serving.apis": {},
    "tensorflow_serving.config": {},
}


def is_known(name: str) -> bool:
    return name in _MODULES or _protos.is_known(name)


def is_package(name: str) -> bool:
    return name in _MODULES and any(other.startswith(name + ".") for other in [*_MODULES, *_protos.names()])


def _take(source: str) -> Any:
    place, _, attribute = source.partition(":")
    module = importlib.import_module(place)
    return getattr(module, attribute) if attribute else module


def _lazy(module: types.ModuleType, sources: Dict[str, str]) -> Callable[[str], Any]:
    def get(name: str) -> Any:
        if name in sources:
            value = _take(sources[name])
            setattr(module, name, value)
            return value
        if name.startswith("__") or module.__name__.startswith("tensorflow_serving"):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        raise AttributeError(f"{module.__name__}.{name}: TensorFlow is not installed, and Tern's stand-in for it has only what "
                             "gRPC calls need; put tensorflow into requirements.txt for the rest")
    return get


def fill(module: types.ModuleType) -> None:
    """Gives a fresh module its content: that of a proto file at once, everything else when it is asked for."""
    if module.__name__ not in _MODULES:
        _protos.fill(module)
        return
    sources = _MODULES[module.__name__]
    module.__doc__ = f"Tern's light stand-in for {module.__name__} (see tern.serving_stubs)."
    content: Dict[str, Any] = module.__dict__
    content["__getattr__"] = _lazy(module, sources)
    names: List[str] = sorted(sources)
    content["__all__"] = [name for name in names if not name.startswith("_")]
    content["__dir__"] = lambda: sorted({*module.__dict__, *names})
