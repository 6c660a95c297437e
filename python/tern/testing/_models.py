"""The model behind a script that is tried: a function, or a server's REST port.

Whatever it is, scripts find it by context.rest_uri, so a function gets a small HTTP server on the loopback interface.
"""

import base64
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import quote, urlsplit

from tern.client import Client, ServerError, from_json

Function = Callable[[Dict[str, Any]], Any]
_JSON = "application/json"


class ModelError(Exception):
    """The model's refusal: raised by a function in the model's place, or by context.predict() of one that refuses."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def _numpy() -> Any:
    import numpy
    return numpy


def post(url: str, body: bytes, timeout: float, content_type: Optional[str] = None) -> Tuple[int, List[Tuple[str, str]], bytes]:
    """POSTs as requests.post() would; (status, headers, body)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "localhost", parts.port, timeout=timeout)
    try:
        target = quote(parts.path, safe="!#$%&'()*+,/:;=?@[]~") + ("?" + parts.query if parts.query else "")
        connection.request("POST", target, body, {"Content-Type": content_type} if content_type else {})
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


# ---- JSON of the REST API


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value.item() if hasattr(value, "item") and not hasattr(value, "tolist") else value


def _array(value: Any) -> Any:
    numpy = _numpy()
    value = from_json(value)
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    array = numpy.array(value, dtype=object if isinstance(leaf, (bytes, str)) else None)
    if array.dtype == numpy.float64:
        return array.astype(numpy.float32)
    return array


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and set(value) != {"b64"}


def read_predict(body: bytes, name: str) -> Tuple[Dict[str, Any], bool]:
    """The inputs of a predict request, and whether they came by rows."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise ModelError(f"JSON Parse error: {error}") from None
    if not isinstance(request, dict):
        raise ModelError("JSON Value: " + json.dumps(request) + " Is not object")
    if "inputs" in request:
        values = request["inputs"]
        return {key: _array(value) for key, value in (values.items() if _is_named(values) else [(name, values)])}, False
    rows = request.get("instances")
    if not isinstance(rows, list) or not rows:
        raise ModelError("Missing 'inputs' or 'instances' key")
    if _is_named(rows[0]):
        return {key: _array([row[key] for row in rows]) for key in rows[0]}, True
    return {name: _array(rows)}, True


def write_predict(outputs: Any, by_rows: bool) -> bytes:
    numpy = _numpy()
    if not isinstance(outputs, Mapping):
        outputs = {"": outputs}
    values = {name: _to_json(numpy.asarray(value).tolist()) for name, value in outputs.items()}
    if not by_rows:
        return json.dumps({"outputs": next(iter(values.values())) if len(values) == 1 else values}).encode()
    if len(values) == 1:
        return json.dumps({"predictions": next(iter(values.values()))}).encode()
    return json.dumps({"predictions": [dict(zip(values, row)) for row in zip(*values.values())]}).encode()


# ---- A function in the model's place


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: the test's output is the script's."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server: Any = self.server
        self._answer(*server.model.rest(self.path, body))

    def do_GET(self) -> None:
        state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        self._answer(200, json.dumps({"model_version_status": [state]}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class FunctionModel:
    """Calls a function, from REST requests or with arrays."""

    grpc_port = ""

    def __init__(self, function: Function, input_name: str) -> None:
        self._function, self._input_name = function, input_name
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        setattr(self._server, "model", self)
        self.url = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def rest(self, path: str, body: bytes) -> Tuple[int, bytes]:
        try:
            if not re.match(r"^/v1/models/[^/:]+(/(versions|labels)/[^/:]+)?:(predict|classify|regress)$", path):
                raise ModelError(f"Malformed request: POST {path}", 404)
            inputs, by_rows = read_predict(body, self._input_name)
            return 200, write_predict(self._function(inputs), by_rows)
        except ModelError as error:
            return error.status, json.dumps({"error": str(error)}).encode()
        except Exception as error:  # the function's own fault; the script sees a server that failed
            return 500, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()

    def predict(self, inputs: Dict[str, Any], name: str, version: Optional[str], signature: Optional[str],
                wanted: List[str]) -> Dict[str, Any]:
        numpy = _numpy()
        found = self._function(inputs)
        outputs = dict(found) if isinstance(found, Mapping) else {"outputs": found}
        return {key: numpy.asarray(value) for key, value in outputs.items() if not wanted or key in wanted}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# ---- A server


class ServerModel:
    """A server's REST port."""

    def __init__(self, url: str, grpc_port: Optional[int], timeout: float) -> None:
        self.url, self.grpc_port = url.rstrip("/"), str(grpc_port or "")
        self._client = Client(self.url, timeout)

    def predict(self, inputs: Dict[str, Any], name: str, version: Optional[str], signature: Optional[str],
                wanted: List[str]) -> Dict[str, Any]:
        try:
            return self._client.predict(name, inputs, version=int(version) if version else None, signature=signature,
                                        outputs=wanted)
        except ServerError as error:
            raise ModelError(str(error), error.status) from None

    def close(self) -> None:
        self._client.close()


class StartedModel(ServerModel):
    """A model folder, in a server that is started for it."""

    def __init__(self, folder: str, name: str, timeout: float) -> None:
        program = os.environ.get("TERN_PROGRAM") or shutil.which("tern")
        if program is None:
            raise FileNotFoundError("model= needs the program `tern`: put it on PATH, or name it by TERN_PROGRAM")
        self._place = tempfile.TemporaryDirectory(prefix="tern-testing-")
        ports, log = (pathlib.Path(self._place.name, file) for file in ("ports.json", "log.txt"))
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                [program, "serve", "--port=0", "--rest_api_port=0", f"--port_file={ports}", f"--model_name={name}",
                 f"--model_base_path={os.path.abspath(folder)}"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            rest, grpc = self._wait(ports, name, time.monotonic() + timeout)
        except BaseException as error:
            self._end()
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
            self._place.cleanup()
            if isinstance(error, TimeoutError):
                raise RuntimeError(f"the server for {folder} did not get ready:\n{said}") from None
            raise
        super().__init__(f"http://localhost:{rest}", grpc, timeout)

    def _wait(self, ports: pathlib.Path, name: str, end: float) -> Tuple[int, int]:
        while time.monotonic() < end and self._process.poll() is None:
            try:
                told = json.loads(ports.read_text(encoding="ascii"))
                connection = http.client.HTTPConnection("localhost", told["rest"], timeout=5)
                try:
                    connection.request("GET", f"/v1/models/{quote(name)}")
                    if b'"AVAILABLE"' in connection.getresponse().read():
                        return int(told["rest"]), int(told["grpc"])
                finally:
                    connection.close()
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise TimeoutError

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        super().close()
        self._end()
        self._place.cleanup()
