"""requests.post with kept connections: the same to a script in everything but the connections."""
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest

requests = pytest.importorskip("requests")
PACKAGE = pathlib.Path(__file__).resolve().parent.parent


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.seen.append(self.client_address[1])
        if self.path == "/slow":
            self.server.release.wait(30)
            self.close_connection = True
        elif self.path == "/broken":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            self.close_connection = True
        elif self.path == "/none":
            self.close_connection = True
        elif self.path == "/last":
            self.answer(200, b"last", Connection="close")
            self.close_connection = True
        elif self.path == "/drop":  # an answer that promises to stay, and then the connection goes
            self.answer(200, b"dropped")
            self.close_connection = True
        elif self.path == "/moved":
            self.answer(307, b"", Location="/echo")
        elif self.path == "/cookie":
            self.answer(200, b"sweet", Set_Cookie="taste=salt; Path=/")
        elif self.path.startswith("/status/"):
            status = int(self.path[8:])
            self.answer(status, b"" if status == 204 else b'{"error": "no"}', Content_Type="application/json")
        elif self.path == "/chunks":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        else:
            told = {"method": self.command, "path": self.path, "body": body.decode("latin-1"),
                    "headers": sorted((name.lower(), value) for name, value in self.headers.items())}
            self.answer(200, json.dumps(told).encode(), Content_Type="application/json; charset=utf-8")

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = handle_any


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True


@pytest.fixture
def listener():
    server = Listener(("127.0.0.1", 0), Handler)
    server.seen, server.release = [], threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def patched(listener, monkeypatch):
    """Patches requests for the listener's port, and undoes it."""
    sys.path.insert(0, str(PACKAGE))
    from tern.worker import rest
    monkeypatch.setattr(requests.api, "request", requests.api.request)
    monkeypatch.setattr(requests, "request", requests.request)
    monkeypatch.setattr(rest, "_origins", set())
    plain = requests.api.request
    uri = f"http://localhost:{listener.server_port}/v1/models/m:predict"
    rest.prepare(uri)
    quick = requests.api.request
    assert quick is not plain and requests.request is quick
    rest.prepare(uri)
    assert requests.api.request is quick
    listener.plain, listener.quick, listener.url = plain, quick, f"http://localhost:{listener.server_port}"
    return listener


VOLATILE = ("raw", "connection", "elapsed", "request", "_next", "cookies", "history")


def describe(response):
    """What can be seen of a Response."""
    request = response.request
    kept = {name: value for name, value in vars(response).items() if name not in VOLATILE}
    kept["headers"] = sorted((name, value) for name, value in response.headers.items() if name != "Date")
    kept["properties"] = [response.ok, response.reason, response.text, response.content, response.encoding, response.apparent_encoding,
                          response.is_redirect, response.links, getattr(response.next, "url", None), repr(response), type(response).__mro__]
    kept["request"] = [request.method, request.url, sorted(request.headers.items()), request.body, request.hooks]
    kept["raw"] = [type(response.raw), response.raw.status, response.raw.version, response.raw.reason, response.raw.read(),
                   response.raw.closed, sorted(name for name in response.raw.headers if name != "Date"), response.raw.geturl()]
    kept["cookies"] = sorted((cookie.name, cookie.value) for cookie in response.cookies)
    kept["history"] = [describe(earlier) for earlier in response.history]
    kept["types"] = [type(response.elapsed), type(response.cookies), isinstance(response.connection, requests.adapters.HTTPAdapter)]
    return kept


CALLS = {
    "post": ("post", "/echo", {"data": b"abc"}), "text": ("post", "/echo", {"data": "äöü"}), "json": ("post", "/echo", {"json": {"a": [1]}}),
    "form": ("post", "/echo", {"data": {"instances": "[1.0]"}}), "nothing": ("post", "/echo", {}), "none": ("post", "/echo", {"data": None}),
    "large": ("post", "/echo", {"data": b"x" * 3_000_000}), "get": ("get", "/echo?a=1", {"params": {"b": "ü"}}),
    "headers": ("post", "/echo", {"data": "x", "headers": {"X-Own": "1", "Content-Type": "text/csv"}}),
    "authorisation": ("get", "/echo", {"auth": ("user", "word")}), "cookies": ("get", "/echo", {"cookies": {"a": "b"}}),
    "cookie": ("get", "/cookie", {}), "moved": ("post", "/moved", {"data": "again"}), "not followed": ("post", "/moved", {"allow_redirects": False}),
    "head": ("head", "/echo", {}), "put": ("put", "/echo", {"data": "x"}), "delete": ("delete", "/echo", {}), "options": ("options", "/echo", {}),
    "patch": ("patch", "/echo", {"data": "x"}), "refused": ("post", "/status/400", {"data": "x"}), "failed": ("post", "/status/503", {}),
    "without content": ("get", "/status/204", {}), "chunks": ("get", "/chunks", {}), "closed after": ("get", "/last", {}),
    "with a timeout": ("post", "/echo", {"data": "x", "timeout": 30}), "with two": ("post", "/echo", {"data": "x", "timeout": (3, 30.5)}),
    "streamed": ("get", "/chunks", {"stream": True}), "not verified": ("get", "/echo", {"verify": False}),
    "proxies": ("get", "/echo", {"proxies": {"https": "http://127.0.0.1:9"}}),
}


@pytest.mark.parametrize("name", CALLS)
def test_responses_are_the_same(patched, name):
    method, path, options = CALLS[name]
    found = [describe(call(method, patched.url + path, **options)) for call in (patched.plain, patched.quick, patched.quick)]
    assert found[0] == found[1] == found[2]


ERRORS = {
    "late": ("/slow", {"timeout": 0.2}), "broken": ("/broken", {}), "no answer": ("/none", {}), "no url": ("?", {"params": 5}),
    "wrong timeout": ("/echo", {"timeout": "soon"}), "negative timeout": ("/echo", {"timeout": -1}), "three timeouts": ("/echo", {"timeout": (1, 2, 3)}),
    "wrong header": ("/echo", {"headers": {"a": "b\r\nc: d"}}), "wrong data": ("/echo", {"data": 5}), "wrong option": ("/echo", {"colour": "red"}),
    "proxy": ("/echo", {"proxies": {"http": "http://127.0.0.1:9"}}),
}


def error_of(call, url, options):
    with pytest.raises(Exception) as caught:
        call("post", url, **options)
    error = caught.value
    return type(error), [type(base) for base in error.args], str(error).split(" at 0x")[0], getattr(error, "request", None) is not None


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_the_same(patched, name):
    path, options = ERRORS[name]
    patched.quick("get", patched.url + "/echo")  # there is a kept connection
    assert error_of(patched.quick, patched.url + path, options) == error_of(patched.plain, patched.url + path, options)


def test_a_port_where_nobody_listens(patched):
    from tern.worker import rest
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://localhost:{port}/"
    rest.prepare(url)
    assert error_of(patched.quick, url, {}) == error_of(patched.plain, url, {})


def test_connections_are_kept_and_not_shared_at_once(patched):
    for _ in range(20):
        assert requests.post(patched.url + "/echo", data="x").status_code == 200
    assert len(set(patched.seen)) == 1
    patched.seen.clear()
    answers = []
    threads = [threading.Thread(target=lambda i=i: [answers.append(requests.post(patched.url + "/echo", data=str(i)).json()["body"] == str(i))
                                                    for _ in range(30)]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 240 and len(set(patched.seen)) <= 9


def test_a_kept_connection_that_was_closed_is_replaced(patched):
    for _ in range(30):
        assert requests.post(patched.url + "/drop", data="x").text == "dropped"
        assert requests.post(patched.url + "/echo", data="y").json()["body"] == "y"


def test_hooks_see_the_response(patched):
    seen = []
    requests.post(patched.url + "/echo", data="x", hooks={"response": lambda response, **options: seen.append((response.status_code, sorted(options)))})
    plain = []
    patched.plain("post", patched.url + "/echo", hooks={"response": lambda response, **options: plain.append((response.status_code, sorted(options)))})
    assert seen == plain


def test_sessions_and_other_urls_are_left_alone(patched):
    with requests.Session() as session:
        assert type(session.get_adapter(patched.url)) is requests.adapters.HTTPAdapter
        session.post(patched.url + "/echo")
    for url in (f"http://127.0.0.1:{patched.server_port}/echo", patched.url.replace("localhost", "LOCALHOST") + "/echo"):
        assert type(requests.get(url).connection) is requests.adapters.HTTPAdapter
    assert type(requests.get(patched.url + "/echo").connection) is not requests.adapters.HTTPAdapter


def test_the_environment_counts(patched, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert error_of(requests.request, patched.url + "/echo", {}) == error_of(patched.plain, patched.url + "/echo", {})
    monkeypatch.setenv("no_proxy", "localhost")
    assert requests.get(patched.url + "/echo").status_code == 200


def test_a_forked_child_has_its_own_connections(patched):
    requests.post(patched.url + "/echo", data="x")
    child = os.fork()
    if child == 0:
        fine = False
        try:
            fine = all(requests.post(patched.url + "/echo", data="child").json()["body"] == "child" for _ in range(50))
        finally:
            os._exit(0 if fine else 1)
    assert all(requests.post(patched.url + "/echo", data="parent").json()["body"] == "parent" for _ in range(50))
    assert os.waitpid(child, 0)[1] == 0


def test_requests_is_not_imported_for_it():
    done = subprocess.run([sys.executable, "-c", "import sys\nfrom tern.worker import rest\nuri = 'http://localhost:1/v1'\nrest.prepare('')\nrest.prepare(uri)\n"
                           "assert 'requests' not in sys.modules and 'urllib3' not in sys.modules\nimport requests\n"
                           "from requests import post\nbefore = requests.api.request\nrest.prepare('http://far:80/')\n"
                           "assert requests.request is before\nrest.prepare(uri)\n"
                           "assert post.__globals__['request'] is requests.request is not before\n"
                           "import inspect\nassert inspect.signature(requests.request) == inspect.signature(before)"],
                          env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=False, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
