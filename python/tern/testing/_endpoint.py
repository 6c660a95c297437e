"""An endpoint in this process: the server's side of a call, in Python, around the worker's own code (tern.worker)."""

import json
import os
import pathlib
import sys
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union
from urllib.parse import urlsplit

from tern.testing import _models, _service
from tern.worker import arrays, script, wire
from tern.worker.call import STAGE_OUTPUT, STAGE_START, Call
from tern.worker.context import Headers
from tern.worker.memory import Segments

Body = Union[bytes, bytearray, memoryview, str, Mapping[str, Any], List[Any]]


class Answer:
    """What a client would get: status, headers (found in any case), body; and what only a test can see."""

    def __init__(self, status: int, headers: List[Tuple[str, str]], body: bytes, pieces: List[bytes],
                 exception: Optional[BaseException]) -> None:
        self.status = status
        self.headers = Headers(headers)
        self.body = body
        self.pieces = pieces  # of a streamed answer, as the generator gave them; empty for others
        self.exception = exception  # that the script raised

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", ""))

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.content_type} {self.body[:200]!r}>"


class _Call(Call):
    """A worker's call that remembers what the script raised."""

    raised: Optional[BaseException] = None

    def _error(self, error: BaseException) -> List[wire.Field]:
        self.raised = error
        return super()._error(error)


class _Runtime:
    """What a call sees of its worker process; the server's answers are made here."""

    def __init__(self, loaded: script.Script, model: Any, name: str, generation: str, several: bool, timeout: int) -> None:
        self.script, self.generation, self.several, self.timeout = loaded, generation, several, timeout
        self.segments = Segments()
        self.pieces: List[bytes] = []
        self.first_part: Optional[wire.Frame] = None
        self._model, self._name = model, name
        self._made = 0

    def segment(self, size: int) -> wire.Ref:
        self._made += 1
        size = max(4096, (size + 4095) // 4096 * 4096)
        descriptor = os.memfd_create("tern-testing")
        os.ftruncate(descriptor, size)
        self.segments.add(self._made, size, descriptor)
        return wire.Ref(self._made, 0, size)

    def forget(self) -> None:
        for number in range(1, self._made + 1):
            self.segments.forget(number)

    def ask(self, call: Call, message: bytes) -> wire.Frame:
        frame = wire.Frame(message)
        if frame.type == wire.NEED:
            made = self.segment(frame.number(wire.TAG_SIZE) or 0)
            return wire.Frame(wire.frame(wire.ROOM, call.id, [wire.ref(wire.TAG_SEGMENT, made)]))
        if frame.type == wire.PART:
            self.first_part = self.first_part or frame
            self.pieces.append(frame.get(wire.TAG_BODY) or b"")
            return wire.Frame(wire.frame(wire.MORE, call.id, []))
        assert frame.type == wire.ASK
        try:
            fields = self.run_model(call, frame)
        except _models.ModelError as error:
            fields = [(wire.TAG_ERROR, 0, str(error).encode()), wire.u64(wire.TAG_STATUS, error.status)]
        return wire.Frame(wire.frame(wire.RESULT, call.id, fields))

    def run_model(self, call: Call, frame: wire.Frame) -> List[wire.Field]:
        asked = call.frame
        name = frame.utf8(wire.TAG_MODEL)
        version = frame.text(wire.TAG_VERSION)
        if name is None:
            name = asked.text(wire.TAG_MODEL) or self._name
            version = version or asked.text(wire.TAG_VERSION)
        wanted = [value.decode() for tag, _, value in frame.fields if tag == wire.TAG_OUTPUT]
        inputs = {key: array.copy() for key, array in call.arrays(frame).items()}
        weak = {tensor.name for tensor in frame.tensors() if tensor.weak}
        for key in weak:  # Python's own numbers: as TensorFlow would take them
            if inputs[key].dtype in ("float64", "int64"):
                inputs[key] = inputs[key].astype(str(inputs[key].dtype).replace("64", "32"))
        outputs = self._model.predict(inputs, name, version, frame.utf8(wire.TAG_SIGNATURE), wanted)
        return tensor_fields(outputs)


def tensor_fields(values: Mapping[str, Any]) -> List[wire.Field]:
    """Arrays within a frame; the server would put large ones into shared memory."""
    fields: List[wire.Field] = []
    inline = bytearray()
    for made in arrays.prepare_all(values):
        start = len(inline)
        inline += bytes(made.size)
        with memoryview(inline) as whole:
            made.write(whole[start:start + made.size])
        inline += bytes(-len(inline) % 64)
        ref = wire.Ref(0, start, made.size)
        fields.append(wire.tensor(wire.Tensor(made.name, made.dtype, made.dims, ref, False)))
    fields.append((wire.TAG_INLINE, 0, bytes(inline)))
    return fields


class Endpoint:
    """A script and a model, to be invoked.

    code: the folder with inference.py (and lib/), or the file itself. generation: "2.20" or "2.19", as SAGEMAKER_TFS_VERSION.
    model_name: that of the default model. input_name: what predict= gets an input under to which the request gives no name.
    several: as one of several models, whose context has no channel. timeout: seconds, of the model and in context.timeout.
    environment: variables that the script sees besides; they are set while the endpoint is open.

    Only one endpoint may be open at a time: the script is imported as module `inference`, and its folders are on sys.path.
    close() takes all of it back, the modules from its folders too.
    """

    _open: Optional["Endpoint"] = None

    def __init__(self, code: Union[str, "os.PathLike[str]"], *, predict: Optional[_models.Function] = None,
                 server: Optional[str] = None, model: Union[str, "os.PathLike[str]", None] = None, grpc_port: Optional[int] = None,
                 generation: str = "2.20", model_name: str = "model", input_name: str = "inputs", several: bool = False,
                 timeout: int = 60, environment: Optional[Mapping[str, str]] = None, stubs: bool = True) -> None:
        if sum(given is not None for given in (predict, server, model)) > 1:
            raise ValueError("give one of predict=, server= and model=")
        if generation not in _service.GENERATIONS:
            raise ValueError(f"generation is {generation!r}; it has to be one of {', '.join(_service.GENERATIONS)}")
        if Endpoint._open is not None:
            raise RuntimeError(f"{Endpoint._open!r} is still open; close it first")
        path = pathlib.Path(code).resolve()
        self.path: pathlib.Path = path if path.suffix == ".py" else path / "inference.py"
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} is not there")
        self.generation, self.model_name, self.timeout = generation, model_name, timeout
        self._several = several
        self._model: Any
        if server is not None:
            self._model = _models.ServerModel(server, grpc_port, timeout)
        elif model is not None:
            self._model = _models.StartedModel(os.fspath(model), model_name, timeout)
        else:
            self._model = _models.FunctionModel(predict or _no_model, input_name)
        self._undo: List[Tuple[Any, ...]] = []
        Endpoint._open = self
        try:
            self._prepare(environment or {}, stubs)
            self._script = script.load(str(self.path))
        except BaseException:
            self.close()
            raise

    # ---- surroundings of the script

    def _prepare(self, environment: Mapping[str, str], stubs: bool) -> None:
        port = urlsplit(self._model.url).port
        usual = {"SAGEMAKER_MULTI_MODEL": str(self._several), "SAGEMAKER_TFS_INSTANCE_COUNT": "1",
                 "SAGEMAKER_GUNICORN_WORKERS": "1",
                 "SAGEMAKER_TFS_WAIT_TIME_SECONDS": "55" if self.generation == "2.19" else "60",
                 "SAGEMAKER_TFS_INTER_OP_PARALLELISM": "0", "SAGEMAKER_TFS_INTRA_OP_PARALLELISM": "0", "OMP_NUM_THREADS": "1"}
        variables = {**{name: value for name, value in usual.items() if name not in os.environ}, "TFS_REST_PORTS": str(port),
                     "TFS_GRPC_PORTS": self._model.grpc_port, "TFS_DEFAULT_MODEL_NAME": self.model_name, **environment}
        self._environment = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        self._path = list(sys.path)
        self._modules = set(sys.modules)
        folder = self.path.parent
        sys.path[:0] = [str(place) for place in (folder, folder / "lib") if place.exists()]
        if stubs:
            from tern import serving_stubs
            serving_stubs.install()

    def close(self) -> None:
        """Takes back what the script brought into this process, and ends the model."""
        if Endpoint._open is not self:
            return
        Endpoint._open = None
        if hasattr(self, "_modules"):
            folder = str(self.path.parent) + os.sep
            for name in set(sys.modules) - self._modules:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if name == "inference" or file.startswith(folder):
                    del sys.modules[name]
            sys.path[:] = self._path
            for name, value in self._environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        self._model.close()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- a request

    @property
    def script(self) -> Any:
        """The script's module, to look into it."""
        return self._script.module

    def invoke(self, body: Body = b"", content_type: Optional[str] = None, accept: Optional[str] = None,
               custom_attributes: Optional[str] = None, *, reraise: bool = False) -> Answer:
        """POSTs to /invocations. A dict or list becomes JSON. With reraise what the script raises comes out here."""
        if Endpoint._open is not self:
            raise RuntimeError("the endpoint is closed")
        if not isinstance(body, (bytes, bytearray, memoryview, str)):
            body = json.dumps(body)
        content = body.encode("utf-8") if isinstance(body, str) else bytes(body)
        try:
            return self._invoke(content, content_type, accept, custom_attributes, reraise)
        except _service.Refused as refused:
            return Answer(refused.status, [("Content-Type", refused.content_type)], refused.body, [], None)

    def _invoke(self, body: bytes, content_type: Optional[str], accept: Optional[str], custom_attributes: Optional[str],
                reraise: bool) -> Answer:
        try:
            attributes = _service.read_attributes(custom_attributes, self.generation)
        except ValueError:
            raise self._refuse(500, None, accept) from None
        url = self._model.url + _service.model_path(attributes, self.model_name, self.generation, self._several)
        name = self.model_name if self._several else attributes.get("tfs-model-name")
        texts = ((wire.TAG_MODEL, name), (wire.TAG_VERSION, attributes.get("tfs-model-version")),
                 (wire.TAG_METHOD, attributes.get("tfs-method")), (wire.TAG_REST_URI, url),
                 (wire.TAG_GRPC_PORT, self._model.grpc_port), (wire.TAG_ATTRIBUTES, custom_attributes),
                 (wire.TAG_CONTENT_TYPE, content_type or "application/json"), (wire.TAG_ACCEPT, accept or "application/json"))
        context = [(tag, 0, text.encode("latin-1", "replace")) for tag, text in texts if text is not None]
        about = [(wire.TAG_CONTEXT, 0, wire.frame(wire.CALL, 0, context)), wire.u64(wire.TAG_LENGTH, len(body))]
        runtime = _Runtime(self._script, self._model, self.model_name, self.generation, self._several, self.timeout)
        try:
            call, frame = self._call(runtime, STAGE_START, about, [(wire.TAG_BODY, 0, body)])
            if frame.get(wire.TAG_STAGE) is not None:  # an input_handler: now the model runs
                call, frame = self._call(runtime, STAGE_OUTPUT, about, self._run_model(call, frame, runtime, url, accept))
            if reraise and call.raised is not None:
                raise call.raised
            return self._answer(call, frame, runtime, accept)
        finally:
            runtime.forget()

    def _call(self, runtime: Any, stage: int, about: List[wire.Field], fields: List[wire.Field]) -> Tuple[_Call, wire.Frame]:
        frame = wire.Frame(wire.frame(wire.CALL, 1, [wire.u64(wire.TAG_STAGE, stage), *about, *fields]))
        call = _Call(runtime, frame)
        return call, wire.Frame(call.run())

    def _run_model(self, call: _Call, frame: wire.Frame, runtime: _Runtime, url: str, accept: Optional[str]) -> List[wire.Field]:
        if frame.tensors():
            try:
                return runtime.run_model(call, frame)
            except _models.ModelError as error:
                if self.generation != "2.19":
                    raise self._refuse(error.status, json.dumps({"error": str(error)}), accept) from None
                refusal = json.dumps({"error": str(error)}).encode()
                return [wire.u64(wire.TAG_STATUS, error.status), (wire.TAG_BODY, 0, refusal)]
        try:
            status, _, content = _models.post(url, bytes(call.body(frame)), self.timeout)
        except OSError as error:
            raise _service.Refused(500, "application/json", json.dumps({"error": str(error)}).encode()) from None
        if status != 200 and self.generation != "2.19":
            raise self._refuse(status, content.decode("utf-8", "replace"), accept)
        return [wire.u64(wire.TAG_STATUS, status), (wire.TAG_BODY, 0, content)]

    def _refuse(self, status: int, description: Optional[str], accept: Optional[str]) -> _service.Refused:
        kind, body = _service.falcon_error(status, _service.status_line(status), description, accept)
        return _service.Refused(status, kind, body)

    def _answer(self, call: _Call, frame: wire.Frame, runtime: _Runtime, accept: Optional[str]) -> Answer:
        if frame.get(wire.TAG_STREAM) is not None and runtime.first_part is not None:
            if call.raised is None and frame.number(wire.TAG_STREAM) == 0:
                call.raised = RuntimeError((frame.utf8(wire.TAG_ERROR) or "") + " (the answer broke off)")
            headers = list(_headers_of(runtime.first_part))
            return Answer(200, headers, b"".join(runtime.pieces), runtime.pieces, call.raised)
        status = frame.number(wire.TAG_STATUS) or 200
        title = frame.utf8(wire.TAG_TITLE)
        if title is not None:
            kind, body = _service.falcon_error(status, title, frame.utf8(wire.TAG_DESCRIPTION), accept)
            headers = [("Content-Type", kind), *((name, value) for name, value in _headers_of(frame) if name != "Content-Type")]
            return Answer(status, headers, body, [], call.raised)
        return Answer(status, list(_headers_of(frame)), bytes(call.body(frame)), [], call.raised)

    def __repr__(self) -> str:
        return f"Endpoint({str(self.path)!r}, generation={self.generation!r})"


def _headers_of(frame: wire.Frame) -> Iterator[Tuple[str, str]]:
    kind = frame.text(wire.TAG_CONTENT_TYPE)
    if kind:
        yield "Content-Type", kind
    for tag, _, value in frame.fields:
        if tag == wire.TAG_HEADER:
            name, _, text = value.partition(b"\0")
            yield name.decode("latin-1"), text.decode("latin-1")


def _no_model(_inputs: Dict[str, Any]) -> Any:
    raise _models.ModelError("this Endpoint has no model: give predict=, server= or model=", 503)

