"""What a web page says: its kind, language, title, author, day, main text, how sure each is, and where it was found.

    page = tern.read(open("page.html", "rb").read())
    page.title, page.confidence["title"], page.evidence["title"][0].path

The page model's own C code (the handler html.so of a Tern installation) turns the page into tensors and the network's
outputs into the answer, in this process; the network between them is run by whatever is importable, OpenVINO or TensorFlow, or
by a callable of yours. Where none of these is at hand, Reader(url="http://localhost:8501") asks a running server instead, and
needs nothing but the standard library. All three give the same bytes, but for the last digit of a probability, which
another engine may round differently.

A Reader may be used by many threads: pages are read one after the other (the server's answers at once). Errors: ReadError
for a page that is no HTML and the like, LookupError for a library, model or engine that is not there.
"""
import ctypes
import functools
import json
import os
import pathlib
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Union

__all__ = ["Block", "Page", "ReadError", "Reader", "Source", "read"]

PathLike = Union[str, "os.PathLike[str]"]
Arrays = Mapping[str, Any]  # numpy arrays by name
Run = Callable[[Dict[str, Any]], Arrays]

_OUTPUTS = ("main", "role", "page_type", "language")
_ACCEPT = {"json": "application/json", "text": "text/plain", "markdown": "text/markdown", "view": "text/html"}


class ReadError(ValueError):
    """The page cannot be read; the message says why in one sentence."""


@dataclass(frozen=True)
class Source:
    """Where an answer was found."""

    source: str  # "block", "time", "meta", "title", "json-ld", "url"
    name: Optional[str] = None  # of the <meta>, or "NewsArticle.author.name"
    block: Optional[int] = None  # index in Page.blocks
    offset: Optional[int] = None  # bytes from the page's begin, in its UTF-8 form
    path: Optional[str] = None  # CSS selector of the block's element


@dataclass(frozen=True)
class Block:
    """A piece of text, and what the network says of it."""

    text: str  # the first 240 bytes
    tag: str
    offset: int
    role: str
    role_probability: float
    main: float
    path: Optional[str] = None  # with evidence=True


@dataclass(frozen=True)
class Page:
    """The answer about a page. `raw` is the JSON as it came."""

    page_type: str
    language: str
    title: Optional[str]
    author: Optional[str]
    date: Optional[str]  # ISO 8601 day
    main_content: str
    truncated: bool  # a limit cut the page
    confidence: Dict[str, float]  # main_content, title, author, date, page_type, language
    evidence: Dict[str, List[Source]]  # title, author, date
    raw: Dict[str, Any]

    @functools.cached_property
    def blocks(self) -> List[Block]:
        return [Block(**b) for b in self.raw["blocks"]]

    @classmethod
    def from_json(cls, text: Union[str, bytes]) -> "Page":
        a: Dict[str, Any] = json.loads(text)
        confidence = {k: float(v) for k, v in a["confidence"].items()}
        confidence.update({k: float(a[k]["probability"]) for k in ("page_type", "language")})
        return cls(page_type=a["page_type"]["label"], language=a["language"]["label"], title=a["title"], author=a["author"],
                   date=a["date"], main_content=a["main_content"], truncated=a["truncated"], confidence=confidence,
                   evidence={k: [Source(**s) for s in v] for k, v in a["evidence"].items()}, raw=a)


# ---- the C library ----


class _Outputs(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in _OUTPUTS] + [("n", ctypes.c_uint32)]


class _Settings(ctypes.Structure):
    _fields_ = [("main", ctypes.c_float * 7), ("page_type_temperature", ctypes.c_float), ("language_temperature", ctypes.c_float)]


def _places(*below: str) -> List[pathlib.Path]:
    """Where a source tree or an installation has things."""
    here = pathlib.Path(__file__).resolve()
    roots = [here.parents[2], pathlib.Path("/usr/local"), pathlib.Path("/usr"), pathlib.Path("/opt/tern")]
    return [r / b for r in roots for b in below]


def _find(what: str, given: Optional[PathLike], variable: str, places: List[pathlib.Path]) -> pathlib.Path:
    if given is None and variable in os.environ:
        given = os.environ[variable]
    for path in [pathlib.Path(given)] if given is not None else places:
        if path.exists():
            return path.resolve()
    where = str(given) if given is not None else ", ".join(map(str, places))
    raise LookupError(f"There is no {what} at {where}: name it, or set {variable}")


class _Library:
    """html.so by ctypes, with the one page that it holds."""

    def __init__(self, path: pathlib.Path) -> None:
        self.c = ctypes.CDLL(str(path))
        p, s, size, i = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
        made = (p, [p, ctypes.POINTER(_Outputs), ctypes.POINTER(_Settings), i, ctypes.POINTER(size)])
        signatures: Dict[str, Any] = {
            "tern_html_create": (p, []), "tern_html_free": (None, [p]), "tern_html_message": (s, [p]),
            "tern_html_extract": (i, [p, s, size, s, size, s, size, ctypes.c_int64]),
            "tern_html_tensor_shape": (i, [p, i, ctypes.POINTER(ctypes.c_int64)]), "tern_html_tensor_fill": (None, [p, i, p]),
            "tern_html_tensor_name": (s, [i]), "tern_html_fingerprint": (s, []),
            "tern_html_settings_read": (ctypes.c_bool, [ctypes.POINTER(_Settings), s, size]),
            "tern_html_answer": made, "tern_html_write": made, "tern_html_answer_free": (None, [p]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        self.x = self.c.tern_html_create()
        if not self.x:
            raise MemoryError
        self.names: List[str] = []
        for name in iter(lambda: self.c.tern_html_tensor_name(len(self.names)), None):
            self.names.append(name.decode())

    def __del__(self) -> None:
        if getattr(self, "x", None):
            self.c.tern_html_free(self.x)

    def tensors(self, page: bytes, content_type: str, url: Optional[str]) -> Dict[str, Any]:
        import numpy
        kind, address = content_type.encode(), (url or "").encode()
        if self.c.tern_html_extract(self.x, page, len(page), kind, len(kind), address, len(address), 0) != 0:
            raise ReadError(self.c.tern_html_message(self.x).decode(errors="replace"))
        out: Dict[str, Any] = {}
        shape = (ctypes.c_int64 * 2)()
        for i, name in enumerate(self.names):
            rank = self.c.tern_html_tensor_shape(self.x, i, shape)
            out[name] = numpy.empty([1, *shape[:rank]], numpy.int32)
            self.c.tern_html_tensor_fill(self.x, i, out[name].ctypes.data)
        out["node_mask"] = numpy.ones(out["tag_path"].shape[:2], numpy.float32)
        return out

    def write(self, outputs: Arrays, settings: _Settings, form: str, evidence: bool) -> bytes:
        import numpy
        keep = {n: numpy.ascontiguousarray(outputs[n], numpy.float32) for n in _OUTPUTS}
        blocks = keep["main"].size
        if keep["role"].size != 10 * blocks or keep["page_type"].size != 7 or keep["language"].size != 5:
            raise ValueError("The outputs are not the page model's: main [n], role [n, 10], page_type [7], language [5]")
        o, n = _Outputs(*(keep[k].ctypes.data for k in _OUTPUTS), blocks), ctypes.c_size_t()
        function = self.c.tern_html_answer if form == "json" else self.c.tern_html_write
        which = int(evidence) if form == "json" else ("text", "markdown", "view").index(form)
        text = function(self.x, ctypes.byref(o), ctypes.byref(settings), which, ctypes.byref(n))
        if not text:
            raise ValueError("The outputs are of another number of blocks than the page has, or memory is short")
        try:
            return ctypes.string_at(text, n.value)
        finally:
            self.c.tern_html_answer_free(text)


# ---- the network ----


def _openvino(model: pathlib.Path) -> Run:
    import openvino
    compiled = openvino.Core().compile_model(str(model), "CPU")

    def run(inputs: Dict[str, Any]) -> Arrays:
        result = compiled(inputs)
        return {next(n for n in o.get_names() if n.split(":")[0] in _OUTPUTS).split(":")[0]: result[o] for o in compiled.outputs}
    return run


def _tensorflow(model: pathlib.Path) -> Run:
    """By a session, which costs a page a seventh less than the eager call of a signature; one thread, as pages come one by one."""
    import tensorflow
    from tensorflow.core.protobuf import saved_model_pb2
    v1 = tensorflow.compat.v1
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    graph = next(g for g in saved.meta_graphs if "serve" in g.meta_info_def.tags)
    signature = graph.signature_def["serving_default"]
    with tensorflow.Graph().as_default() as empty:
        saver = v1.train.import_meta_graph(graph, clear_devices=True)
        session = v1.Session(graph=empty, config=v1.ConfigProto(
            intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True))
        saver.restore(session, str(model / "variables" / "variables"))
    names = sorted(signature.inputs)
    call = session.make_callable({n: t.name for n, t in signature.outputs.items()}, [signature.inputs[n].name for n in names])

    def run(inputs: Dict[str, Any]) -> Arrays:
        answer: Arrays = call(*[inputs[n] for n in names])
        return answer
    return run


_ENGINES: Dict[str, Callable[[pathlib.Path], Run]] = {"tensorflow": _tensorflow, "openvino": _openvino}


def _engine(name: Optional[str], model: pathlib.Path) -> Run:
    if name is not None and name not in _ENGINES:
        raise LookupError(f"engine={name!r}: it is tensorflow or openvino")
    names = [name] if name is not None else sorted(_ENGINES, key=lambda n: n not in sys.modules)
    for one in names:
        try:
            return _ENGINES[one](model)
        except ImportError:
            continue
    raise LookupError(f"Nothing here can run the network: install {' or '.join(names)}, or use Reader(url=...) with a server")


# ---- readers ----


class Reader:
    """Reads pages, here or by a server.

    url      of a server that has the page model; everything below is then not used
    model    folder of one version of the model (default: $TERN_HTML_MODEL, the source tree's, the installation's)
    library  html.so (default: $TERN_HTML_LIB, the build's, the installation's)
    engine   "tensorflow" or "openvino"; default: one that is imported already, else one that can be
    run      a callable that runs the network instead: arrays by name in, arrays by name out
    """

    def __init__(self, url: Optional[str] = None, *, model: Optional[PathLike] = None, library: Optional[PathLike] = None,
                 engine: Optional[str] = None, run: Optional[Run] = None, timeout: float = 60.0) -> None:
        self._url, self._timeout, self._lock = url.rstrip("/") if url else None, timeout, threading.Lock()
        if self._url is not None:
            return
        self._library = _Library(_find("library of the page model", library, "TERN_HTML_LIB",
                                       _places("build/handlers/html.so", "lib/tern/handlers/html.so",
                                               "lib/x86_64-linux-gnu/tern/handlers/html.so")))
        folder = _find("page model", model, "TERN_HTML_MODEL",
                       _places("models/html/saved_model/1", "share/tern/models/html/1"))
        config = (folder / "assets.extra" / "tern.json").read_bytes()
        mine, theirs = self._library.c.tern_html_fingerprint().decode(), json.loads(config).get("fingerprint")
        if mine != theirs:
            raise LookupError(f"The model in {folder} was trained on other features ({theirs}) than the library extracts ({mine})")
        self._settings = _Settings()
        self._library.c.tern_html_settings_read(ctypes.byref(self._settings), config, len(config))
        self._run = run if run is not None else _engine(engine, folder)

    def _get(self, page: Union[str, bytes], form: str, url: Optional[str], content_type: Optional[str], evidence: bool) -> bytes:
        if isinstance(page, str):
            page, content_type = page.encode("utf-8", "surrogatepass"), "text/html; charset=utf-8"
        kind = content_type or "text/html"
        if self._url is not None:
            return self._ask(page, form, url, kind, evidence)
        with self._lock:
            outputs = self._run(self._library.tensors(page, kind, url))
            return self._library.write(outputs, self._settings, form, evidence)

    def _ask(self, page: bytes, form: str, url: Optional[str], content_type: str, evidence: bool) -> bytes:
        headers = {"Content-Type": content_type, "Accept": _ACCEPT[form]}
        if url is not None:
            headers["X-Tern-Document-Url"] = url
        request = urllib.request.Request(f"{self._url}/invocations" + ("?evidence=1" if evidence else ""), page, headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            try:
                text = json.loads(text)["error"]
            except (ValueError, KeyError, TypeError):
                pass
            raise ReadError(f"The server answers {error.code}: {text}") from None

    def read(self, page: Union[str, bytes], *, url: Optional[str] = None, content_type: Optional[str] = None,
             evidence: bool = False) -> Page:
        """The answer about a page. url: its address; content_type: the HTTP header's value, for its charset; evidence: with the
        CSS path of every block."""
        return Page.from_json(self._get(page, "json", url, content_type, evidence))

    def text(self, page: Union[str, bytes], *, url: Optional[str] = None, content_type: Optional[str] = None) -> str:
        """The main content, a line for each block."""
        return self._get(page, "text", url, content_type, False).decode()

    def markdown(self, page: Union[str, bytes], *, url: Optional[str] = None, content_type: Optional[str] = None) -> str:
        """The main content as Markdown, with links and tables."""
        return self._get(page, "markdown", url, content_type, False).decode()

    def view(self, page: Union[str, bytes], *, url: Optional[str] = None, content_type: Optional[str] = None) -> str:
        """An HTML page that shows the blocks coloured by role and confidence."""
        return self._get(page, "view", url, content_type, False).decode()


_default: Optional[Reader] = None
_default_lock = threading.Lock()


def read(page: Union[str, bytes], *, url: Optional[str] = None, content_type: Optional[str] = None, evidence: bool = False) -> Page:
    """Reader().read(), with one reader for the process, made at the first call."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Reader()
    return _default.read(page, url=url, content_type=content_type, evidence=evidence)
