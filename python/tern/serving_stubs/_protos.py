"""The modules NAME_pb2 and NAME_pb2_grpc, made from descriptors.bin (see tools/stubs.py) instead of generated source."""

import importlib
import os
import types
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

_ENDING = ".proto"
_OWN = ("tensorflow/", "tensorflow_serving/")
_files: Optional[Dict[str, bytes]] = None  # file name: FileDescriptorProto, serialised


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _strings(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """The length-delimited fields of a message; there are no others in a set, and only varints besides in a file."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)
        if tag & 7 == 2:
            yield tag >> 3, data[at:at + size]
            at += size


def _load() -> Dict[str, bytes]:
    # Read by hand, so that knowing which modules there are does not need protobuf.
    global _files
    if _files is None:
        with open(os.path.join(os.path.dirname(__file__), "descriptors.bin"), "rb") as source:
            bodies = [body for _, body in _strings(source.read())]
        _files = {next(value for number, value in _strings(body) if number == 1).decode(): body for body in bodies}
    return _files


def _module_of(file: str) -> str:
    return file[:-len(_ENDING)].replace("/", ".") + "_pb2"


def _file_of(name: str) -> str:
    return name[:-len("_pb2")].replace(".", "/") + _ENDING


def _has_service(body: bytes) -> bool:
    return any(number == 6 for number, _ in _strings(body))


def names() -> List[str]:
    modules = [_module_of(file) for file in _load()]
    return modules + [_module_of(file) + "_grpc" for file, body in _load().items() if _has_service(body)]


def is_known(name: str) -> bool:
    if not name.endswith(("_pb2", "_pb2_grpc")):
        return False
    return name in names()


def fill(module: types.ModuleType) -> None:
    if module.__name__.endswith("_grpc"):
        _fill_grpc(module)
    else:
        _fill_messages(module)


def _fill_messages(module: types.ModuleType) -> None:
    from google.protobuf import descriptor_pool
    from google.protobuf.internal import builder
    file = _file_of(module.__name__)
    body = _load()[file]
    # What it imports first, by Python's import: a real package registers its own descriptors then.
    for dependency in [value.decode() for number, value in _strings(body) if number == 3]:
        importlib.import_module(_module_of(dependency))
    pool = descriptor_pool.Default()
    try:
        descriptor = pool.FindFileByName(file)  # registered by a package that brought its own
    except KeyError:
        descriptor = pool.AddSerializedFile(body)
        descriptor = descriptor or pool.FindFileByName(file)  # protobuf before 4 returns nothing here
    content: Dict[str, Any] = module.__dict__
    content["DESCRIPTOR"] = descriptor
    builder.BuildMessageAndEnumDescriptors(descriptor, content)
    builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, content)
    if file == "tensorflow/core/protobuf/error_codes.proto":
        content["__getattr__"] = _handed_on(module)


def _handed_on(module: types.ModuleType) -> Callable[[str], Any]:
    """TensorFlow's own file only hands on another one, which users of it ask it for by a name that changes with the version."""
    def get(name: str) -> Any:
        if name.endswith("_dot_error__codes__pb2"):
            return module
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    return get


def _class_of(descriptor: Any) -> Any:
    value: Any = importlib.import_module(_module_of(descriptor.file.name))
    return getattr(value, descriptor.name)


def _fill_grpc(module: types.ModuleType) -> None:
    import grpc  # noqa: F401, an ImportError belongs here and not into the first call
    messages = importlib.import_module(module.__name__[:-len("_grpc")])
    for service in messages.DESCRIPTOR.services_by_name.values():
        methods = [(method.name, f"/{service.full_name}/{method.name}", _class_of(method.input_type),
                    _class_of(method.output_type)) for method in service.methods]
        content: Dict[str, Any] = module.__dict__
        for made in (_stub(service.name, methods), _servicer(service.name, methods)):
            made.__module__ = module.__name__
            content[made.__name__] = made
        content[f"add_{service.name}Servicer_to_server"] = _registrar(service.full_name, methods)


_Methods = List[Tuple[str, str, Any, Any]]


def _stub(service: str, methods: _Methods) -> type:
    def __init__(self: Any, channel: Any) -> None:
        for name, path, request, response in methods:
            setattr(self, name, channel.unary_unary(path, request_serializer=request.SerializeToString,
                                                    response_deserializer=response.FromString))
    return type(service + "Stub", (object,), {"__init__": __init__, "__doc__": f"Calls {service} over a grpc.Channel."})


def _servicer(service: str, methods: _Methods) -> type:
    def refuse(_self: Any, _request: Any, context: Any) -> Any:
        import grpc
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")
    return type(service + "Servicer", (object,), {name: refuse for name, _, _, _ in methods})


def _registrar(full_name: str, methods: _Methods) -> Callable[[Any, Any], None]:
    def add(servicer: Any, server: Any) -> None:
        import grpc
        handlers = {name: grpc.unary_unary_rpc_method_handler(getattr(servicer, name), request_deserializer=request.FromString,
                                                              response_serializer=response.SerializeToString)
                    for name, _, request, response in methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(full_name, handlers),))
    return add
