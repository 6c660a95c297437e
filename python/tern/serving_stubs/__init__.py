"""Light stand-ins for `tensorflow_serving.apis` and the little of `tensorflow` that gRPC handler scripts use.

    import tern.serving_stubs
    tern.serving_stubs.install()

    import tensorflow as tf                                  # the real one, if there is one
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

`install` appends a finder to the end of sys.meta_path, so whatever is really installed wins: a whole TensorFlow, or only
tensorflow_serving, whose `import tensorflow.core...` is then answered from here. Where a real package is in use, none of its
modules comes from here. Nothing else happens before a script imports one of these modules; protobuf, grpcio and numpy are
needed only then, for the parts that use them.

Messages have the originals' full names and field numbers (they are made from Tern's own proto files), so serialised bytes,
text and JSON are the same. `tf.make_tensor_proto` and `tf.make_ndarray` give the same bytes and arrays as TensorFlow's.
Not here: operations, eager tensors, sessions, Keras. Asking for them is an AttributeError that says what to do. A package that
only looks whether there is a TensorFlow may be misled by that: TERN_SERVING_STUBS=0 in the environment keeps the stand-ins out.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import types
from typing import Optional, Sequence

from tern.serving_stubs import _modules

__all__ = ["install", "uninstall"]


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what _modules can make, below packages that were made here too."""

    def find_spec(self, fullname: str, path: Optional[Sequence[str]],
                  target: Optional[types.ModuleType] = None) -> Optional[importlib.machinery.ModuleSpec]:
        parent = fullname.rpartition(".")[0]
        if parent:
            spec = getattr(sys.modules.get(parent), "__spec__", None)
            if spec is None or spec.loader is not self:
                return None
        if not _modules.is_known(fullname):
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=_modules.__file__, is_package=_modules.is_package(fullname))
        spec.has_location = True
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Optional[types.ModuleType]:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        _modules.fill(module)


_finder = _Finder()


def install() -> None:
    """Makes the stand-ins importable where the real modules are not. A second call does nothing."""
    if _finder not in sys.meta_path and os.environ.get("TERN_SERVING_STUBS") != "0":
        sys.meta_path.append(_finder)


def uninstall() -> None:
    """Takes the finder away; modules imported through it stay."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
