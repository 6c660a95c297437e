"""A small client: arrays and documents over a server's REST port, with the standard library and numpy.

    from tern import Client

    with Client("http://localhost:8501") as client:
        outputs = client.predict("half_plus_two", {"x": [1.0, 2.0]})     # {"y": array([2.5, 3. ], dtype=float32)}
        y = client.predict_array("half_plus_two", numpy.ones(1000, numpy.float32))   # one input, one output, no JSON
        answer = client.invoke("html_page", page, "text/html")           # a document, for the model's handler

Any thread may use a client; each has a connection of its own, which stays open. What the server refuses is a ServerError.
"""

import base64
import http.client
import io
import json
import threading
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple
from urllib.parse import quote, urlencode, urlsplit

JSON, NPY = "application/json", "application/x-npy"
# Dtypes of a signature's JSON, by numpy's names.
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BFLOAT16": "float32", "DT_BOOL": "bool",
           **{f"DT_{sign}INT{size}": f"{sign.lower()}int{size}" for sign in ("", "U") for size in (8, 16, 32, 64)}}


class ServerError(Exception):
    """The server's own words, and the HTTP status that they came with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Document:
    """An answer to a document."""

    def __init__(self, content_type: str, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.content_type, self.headers, self.body = content_type, headers, body

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


def from_json(value: Any) -> Any:
    """Decodes {"b64": ...} wherever it stands."""
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return [from_json(item) for item in value] if isinstance(value, list) else value


def to_json(value: Any) -> Any:
    """Nested lists with bytes in them, as the REST API takes them."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return [to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    return to_json(value.tolist() if hasattr(value, "tolist") else value)


def _strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_strings(item) for item in value]
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _array(value: Any, dtype: str) -> Any:
    import numpy
    if dtype == "DT_STRING":
        return numpy.array(_strings(from_json(value)), dtype=object)
    if dtype not in _DTYPES:
        raise ServerError(f"an output of type {dtype} cannot be had as JSON; choose others by outputs=", 400)
    return numpy.array(value, dtype=_DTYPES[dtype])


def error_of(status: int, body: bytes) -> ServerError:
    try:
        message = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace") or http.client.responses.get(status, "")
    return ServerError(message, status)


def _place(model: str, version: Optional[int]) -> str:
    return f"/v1/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{int(version)}")


class Client:
    """Talks to one server. url: of its REST port. timeout: seconds, of each wait for the network."""

    def __init__(self, url: str = "http://localhost:8501", timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"{url!r} is no http or https URL")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._here = threading.local()
        self._all: List[http.client.HTTPConnection] = []
        self._signatures: Dict[str, Any] = {}

    def _connection(self) -> http.client.HTTPConnection:
        made: Optional[http.client.HTTPConnection] = getattr(self._here, "connection", None)
        if made is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            made = self._here.connection = kind(self._host, self._port, timeout=self._timeout)
            self._all.append(made)
        return made

    def request(self, method: str, target: str, body: Optional[bytes] = None,
                headers: Optional[Mapping[str, str]] = None) -> Tuple[int, http.client.HTTPMessage, bytes]:
        """(status, headers, body) of any request. A connection that was closed meanwhile is made anew."""
        connection = self._connection()
        kept = connection.sock is not None
        try:
            return self._exchange(connection, method, target, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()
            if not kept:
                raise
        except BaseException:
            connection.close()
            raise
        return self._exchange(connection, method, target, body, headers)

    def _exchange(self, connection: http.client.HTTPConnection, method: str, target: str, body: Optional[bytes],
                  headers: Optional[Mapping[str, str]]) -> Tuple[int, http.client.HTTPMessage, bytes]:
        connection.request(method, self._base + target, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def _get(self, target: str) -> Any:
        status, _, body = self.request("GET", target)
        if status != 200:
            raise error_of(status, body)
        return json.loads(body)

    # ---- what there is

    def is_ready(self, model: Optional[str] = None) -> bool:
        """Whether the model, or any model, can answer. False, too, when nobody listens."""
        try:
            return self.request("GET", "/readyz" + ("?" + urlencode({"model": model}) if model else ""))[0] == 200
        except OSError:
            return False

    def status(self, model: str) -> List[Dict[str, Any]]:
        """The states of its versions, as the REST API has them."""
        found: List[Dict[str, Any]] = self._get(_place(model, None))["model_version_status"]
        return found

    def signatures(self, model: str, version: Optional[int] = None) -> Dict[str, Any]:
        """By name: {"inputs": {alias: {"dtype": ..., "tensor_shape": ...}}, "outputs": ..., "method_name": ...}."""
        found: Dict[str, Any] = self._get(_place(model, version) + "/metadata")["metadata"]["signature_def"]["signature_def"]
        return found

    def _signature(self, model: str, version: Optional[int], name: str, fresh: bool) -> Any:
        place = _place(model, version)
        if fresh or place not in self._signatures:
            self._signatures[place] = self.signatures(model, version)
        known = self._signatures[place]
        if name not in known:
            raise ServerError(f"{model} has no signature {name!r}; it has {', '.join(sorted(known))}", 400)
        return known[name]

    # ---- predict

    def predict(self, model: str, inputs: Mapping[str, Any], *, version: Optional[int] = None, signature: Optional[str] = None,
                outputs: Iterable[str] = ()) -> Dict[str, Any]:
        """Outputs by alias, as arrays of the signature's types, for inputs by alias: arrays, numbers, str, bytes, lists."""
        name, wanted = signature or "serving_default", list(outputs)
        request = {"signature_name": name, "inputs": {alias: _plain(value) for alias, value in inputs.items()}}
        status, _, body = self.request("POST", _place(model, version) + ":predict", json.dumps(request).encode(),
                                       {"Content-Type": JSON})
        if status != 200:
            raise error_of(status, body)
        found = json.loads(body.decode("utf-8", "surrogateescape"))["outputs"]  # strings may be any bytes
        described = self._signature(model, version, name, False)["outputs"]
        several = isinstance(found, dict) and set(found) != {"b64"}
        if several and set(found) != set(described) or not several and len(described) != 1:  # another version answers now
            described = self._signature(model, version, name, True)["outputs"]
        if not several:
            found = {next(iter(described)): found}
        unknown = [alias for alias in wanted if alias not in found]
        if unknown:
            raise ServerError(f"{model} has no output {unknown[0]!r}; it has {', '.join(sorted(found))}", 400)
        return {alias: _array(value, described[alias]["dtype"]) for alias, value in found.items() if not wanted or alias in wanted}

    def predict_array(self, model: str, array: Any, *, version: Optional[int] = None, signature: Optional[str] = None,
                      output: Optional[str] = None) -> Any:
        """One array in and one out, in numpy's own format: for `tern serve`, or a server with --rest_extensions."""
        import numpy
        data = io.BytesIO()
        numpy.save(data, numpy.asarray(array, order="C"), allow_pickle=False)
        query = urlencode([(key, value) for key, value in (("signature_name", signature), ("output", output)) if value is not None])
        target = _place(model, version) + ":predict" + ("?" + query if query else "")
        status, headers, body = self.request("POST", target, data.getvalue(), {"Content-Type": NPY, "Accept": NPY})
        if status != 200:
            raise error_of(status, body)
        if headers.get("Content-Type") != NPY:
            raise ServerError("the answer is no single array of numbers; name one output=, or use predict()", 400)
        return numpy.load(io.BytesIO(body), allow_pickle=False)

    # ---- documents

    def invoke(self, model: str, document: bytes, content_type: str, accept: Optional[str] = None,
               headers: Optional[Mapping[str, str]] = None) -> Document:
        """Gives a document to the model's handler."""
        fields = {**(headers or {}), "Content-Type": content_type, **({"Accept": accept} if accept else {})}
        status, got, body = self.request("POST", f"/models/{quote(model, safe='')}/invoke", document, fields)
        if status != 200:
            raise error_of(status, body)
        return Document(got.get("Content-Type", ""), got, body)

    def close(self) -> None:
        """Closes the connections of all threads; none may be in use."""
        for connection in self._all:
            connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
