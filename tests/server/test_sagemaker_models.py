"""Several models on SageMaker's port (SAGEMAKER_MULTI_MODEL): load, list, describe, invoke, unload; what goes wrong."""
import http.client
import json
import os
import re
import socket
import threading

import pytest
import requests

import example_models
from sagemaker_server import SageMaker
from tern_server import PATIENCE, run_together

pytestmark = pytest.mark.example

GENERATIONS = ("2.19", "2.20")
INPUT = {"instances": [1.0, 2.0]}
SUCCESS = re.compile(r'\{"success": "Successfully loaded model (\S+), listening on rest port (\d+) and grpc port (\d+)\."\}')
NEVER = f"sleep {example_models.STUCK_MS}\n"
FALCON = (500, '{"title": "500 Internal Server Error"}')


class Models(SageMaker):
    def __init__(self, folder, base, generation, env=None, **more):
        (base / "models").mkdir(parents=True, exist_ok=True)
        self.later = generation == "2.20"
        super().__init__(folder, base, generation,
                         env={"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_TFS_WAIT_TIME_SECONDS": "10", **(env or {})}, **more)

    def load(self, name, url, **more):
        return self.ask("POST", "/models", json={"model_name": name, "url": str(url)}, **more)

    def invoke(self, name, body=None, **more):
        return self.ask("POST", f"/models/{name}/invoke", json=body or INPUT, **more)

    def first(self, name):
        return self.invoke(name).json()["predictions"][0]


def kept(answer):
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.text


@pytest.fixture(params=GENERATIONS)
def start(request, tmp_path):
    servers = []

    def starter(**more):
        servers.append(Models(tmp_path / f"server{len(servers)}", tmp_path, request.param, **more))
        return servers[-1]

    yield starter
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """Servers of both generations for tests that leave no model behind."""
    servers = {g: Models(tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("base"), g) for g in GENERATIONS}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(params=GENERATIONS)
def server(request, lasting):
    yield lasting[request.param]
    assert lasting[request.param].ask("GET", "/models").json() == {}


@pytest.fixture
def model(tmp_path):
    """Writes a model's folder as the platform does: models/NAME/model/VERSION. -> the folder above the versions."""
    def write(name, *versions, addend=2, body=None):
        folder = tmp_path / "models" / name / "model"
        for version in versions or (1,):
            example_models.write(folder, version, addend=addend, body=body)
        return folder
    return write


def status_of(*versions):
    return {"model_version_status": [{"version": str(v), "state": "AVAILABLE",
                                      "status": {"error_code": "OK", "error_message": ""}} for v in versions]}


# ---- the life of a model


def test_load_invoke_describe_list_unload(start, model):
    server = start()
    one, two = model("one", 3, 12), model("two", addend=7)
    assert kept(server.ask("GET", "/models")) == (200, "{}")
    answer = server.load("one", one)
    assert answer.status_code == 200 and SUCCESS.fullmatch(answer.text)[1] == "one"
    assert kept(server.load("one", one)) == (409, '{"error": "Model one is already loaded."}')
    assert server.load("two", two).status_code == 200
    assert (server.first("one"), server.first("two")) == (2.5, 7.5)
    assert server.ask("POST", "/models/two", json=INPUT).json()["predictions"] == [7.5, 8.0]
    assert kept(server.ask("GET", "/models")) == (200, json.dumps({"one": status_of(12, 3), "two": status_of(1)}))
    described = (200, json.dumps({"model": status_of(12, 3)})) if server.later else FALCON
    assert kept(server.ask("GET", "/models/one")) == kept(server.ask("GET", "/models/one/invoke")) == described
    assert kept(server.ask("DELETE", "/models/one")) == (200, '{"success": "Successfully unloaded model one."}')
    assert kept(server.ask("DELETE", "/models/one")) == (404, '{"error": "Model one is not loaded yet"}')
    assert kept(server.invoke("one")) == (404, '{"error": "Model one is not loaded yet."}')
    assert kept(server.ask("GET", "/models/one")) == \
        (404, '{"error": "Model one is %sloaded yet."}' % ("not " if server.later else ""))
    assert server.load("one", one).status_code == 200 and server.first("one") == 2.5
    assert list(server.ask("GET", "/models").json()) == ["two", "one"]


def test_versions_are_chosen_by_attribute(start, model):
    server = start()
    folder = model("m", 5)
    example_models.write(folder, 6, addend=9)
    server.load("m", folder)
    ask = {"X-Amzn-SageMaker-Custom-Attributes": "tfs-model-version=5"}
    assert server.first("m") == 9.5
    assert server.invoke("m", headers=ask).json()["predictions"][0] == 2.5
    answer = server.invoke("m", headers={"X-Amzn-SageMaker-Custom-Attributes": "tfs-model-version=7"})
    assert answer.status_code == (404 if server.later else 200)
    assert "Servable not found for request: Specific(m, 7)" in answer.text


def test_another_name_in_the_attributes_is_not_asked(start, model):
    server = start()
    server.load("one", model("one"))
    server.load("two", model("two", addend=7))
    ask = {"X-Amzn-SageMaker-Custom-Attributes": "tfs-model-name=two"}
    assert server.invoke("one", headers=ask).json()["predictions"][0] == 2.5


def test_ping_and_invocations(server):
    assert kept(server.ask("GET", "/ping")) == (200, "")
    refused = (400, '{"error": "Invocation request does not contain model name."}')
    assert kept(server.ask("POST", "/invocations", json=INPUT)) == refused
    assert kept(server.ask("POST", "/models?for=invocations", json=INPUT)) == refused
    assert kept(server.ask("GET", "/invocations")) == (200, "{}")
    assert kept(server.ask("DELETE", "/invocations")) == kept(server.ask("DELETE", "/models")) == FALCON


@pytest.mark.parametrize("method, path", [("PUT", "/models"), ("PUT", "/models/m"), ("PATCH", "/models/m/invoke")])
def test_other_methods_are_405(server, method, path):
    answer = server.ask(method, path, data="x")
    assert kept(answer) == (405, '{"title": "405 Method Not Allowed"}')
    assert answer.headers["Allow"] == "DELETE, GET, POST, OPTIONS"


# ---- ports


def test_ports_are_listened_on(start, model):
    server = start(env={"SAGEMAKER_TFS_INSTANCE_COUNT": "2"})
    _, rest, grpc = SUCCESS.fullmatch(server.load("m", model("m")).text).groups()
    for port in (rest, grpc):
        answer = requests.post(f"http://localhost:{port}/v1/models/m:predict", json=INPUT, timeout=PATIENCE)
        assert answer.json()["predictions"][0] == 2.5


def test_the_range_says_how_many_models_fit(start, model, tmp_path):
    server = start(env={"SAGEMAKER_SAFE_PORT_RANGE": "0-5"})  # 4 ports: two pairs
    full = (507, '{"error": "Memory exhausted: no available ports to load the model."}')
    for name in "ab":
        assert server.load(name, model(name)).status_code == 200
    assert kept(server.load("c", model("c"))) == full
    assert kept(server.load("d", tmp_path / "nothing")) == full
    assert server.ask("DELETE", "/models/a").status_code == 200
    assert kept(server.load("d", tmp_path / "nothing"))[0] == 404
    assert server.load("c", tmp_path / "models" / "c" / "model").status_code == 200
    assert kept(server.load("a", tmp_path / "models" / "a" / "model")) == full


def test_instances_take_a_pair_each(start, model, tmp_path):
    server = start(env={"SAGEMAKER_SAFE_PORT_RANGE": "0-7", "SAGEMAKER_TFS_INSTANCE_COUNT": "2"})  # 3 pairs
    assert server.load("a", model("a")).status_code == 200
    assert kept(server.load("b", tmp_path / "nothing"))[0] == 404
    assert server.load("b", model("b")).status_code == 507
    assert list(server.ask("GET", "/models").json()) == ["a"]


def port_with_free_ones_below():
    """-> a socket that listens, eight ports above one where a server can listen."""
    while True:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        try:
            for port in range(taken.getsockname()[1] - 8, taken.getsockname()[1]):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return taken
        except OSError:
            taken.close()


def test_a_port_of_somebody_else_is_left_out(start, model):
    with port_with_free_ones_below() as taken:
        high = taken.getsockname()[1] + 1  # of low..low+10, nine tenths: the last one is the highest gRPC port
        server = start(env={"SAGEMAKER_SAFE_PORT_RANGE": f"{high - 9}-{high + 1}"})
        answer = server.load("m", model("m"))
        assert answer.status_code == 200
        assert int(SUCCESS.fullmatch(answer.text)[3]) < high - 1
        assert server.first("m") == 2.5


# ---- what is refused


@pytest.mark.parametrize("body", ["", "not json", "{}", "[]", "5", '"x"', "null", '{"model_name": "x"}', '{"url": "/x"}',
                                  b'{"model_name": "\xff", "url": "/x"}', '{"model_name": "x", "url": null}',
                                  '{"model_name": "x", "url": 5}', '{"model_name": "x", "url": ["/x"]}',
                                  '{"model_name": ["x"], "url": "/x"}', '{"model_name": "x", "url": "/x"} more',
                                  '{"model_name": "x", "url": 1.5}', '{"model_name": "x", "url": true}', "[" * 5000, b'\xef\xbb\xbf{"model_name": "x", "url": "/x"}',
                                  '{"model_name": {"x": NaN}, "url": "/x"}'])
def test_what_the_service_stumbles_over_is_500(server, body):
    assert kept(server.ask("POST", "/models", data=body)) == FALCON


@pytest.mark.parametrize("name, shown", [
    ("x y", "'x y'"), ("", "''"), ("a/b", "'a/b'"), ("../up", "'../up'"), (".x", "'.x'"), ("it's", '"it\'s"'),
    ("a\u0000b", "'a\\x00b'"), ("é", "'é'"), ("a\n", "'a\\n'"), ("a" * 256, "'" + "a" * 256 + "'"), (None, "None"),
    (0, "0"), (False, "False"), ([], "[]"), ({}, "{}")])
def test_bad_names(server, model, tmp_path, name, shown):
    answer = server.ask("POST", "/models", json={"model_name": name, "url": str(tmp_path / "nothing")})
    if server.later:
        assert kept(answer) == (400, json.dumps({"error": f"invalid model_name: {shown}"}))
    elif isinstance(name, (list, dict)):
        assert kept(answer) == FALCON
    else:
        assert kept(answer) == (404, json.dumps({"error": f"Could not find valid base path {tmp_path / 'nothing'} for servable {name}"}))
    answer = server.ask("POST", "/models", json={"model_name": name, "url": str(model("good"))})
    if not server.later and isinstance(name, (int, type(None))):
        assert answer.status_code == 200 and server.first(str(name)) == 2.5
        server.ask("DELETE", f"/models/{name}")
    else:
        assert answer.status_code in (400, 500)  # names that nobody could ask for are refused in both
    assert server.ask("GET", "/models").json() == {}


def test_names_that_are_no_strings(server, tmp_path):
    answer = server.ask("POST", "/models", json={"model_name": 5, "url": str(tmp_path / "nothing")})
    assert kept(answer) == (FALCON if server.later else
                            (404, '{"error": "Could not find valid base path %s for servable 5"}' % (tmp_path / "nothing")))


def test_the_last_of_equal_keys_counts(start, model, tmp_path):
    server = start()
    body = '{"model_name": "a", "url": "/nothing", "model_name": "b", "url": "%s"}' % model("b")
    assert server.ask("POST", "/models", data=body).status_code == 200
    assert list(server.ask("GET", "/models").json()) == ["b"]


@pytest.mark.parametrize("url", ["/nothing/there", "relative", "", "s3://bucket/key", "/etc/passwd", "/x\u0000y", "/" + "a" * 5000])
def test_urls_that_hold_no_model(server, url):
    answer = server.ask("POST", "/models", json={"model_name": "m", "url": url})
    assert kept(answer) == (404, json.dumps({"error": f"Could not find valid base path {url} for servable m"}))


def test_folders_that_hold_no_model(server, model, tmp_path):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "again").symlink_to(tmp_path / "loop")
    (tmp_path / "closed" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo")
    for folder in ("empty", "loop", "fifo"):
        assert kept(server.load("m", tmp_path / folder))[0] == 404
    model("deep")  # its versions lie further down: it is no model's folder, but there is a number below
    answer = server.load("m", tmp_path / "models" / "deep")
    assert kept(answer) == (408, f"There is no version right below {tmp_path / 'models' / 'deep'}")
    (tmp_path / "numbers" / "99999999999999999999").mkdir(parents=True)
    assert kept(server.load("m", tmp_path / "numbers"))[0] == 408
    assert server.ask("GET", "/models").json() == {}


def test_links_to_models_are_followed_at_the_top(start, model, tmp_path):
    server = start()
    (tmp_path / "link").symlink_to(model("m"))
    assert server.load("m", tmp_path / "link").status_code == 200
    assert server.first("m") == 2.5


# ---- loads that fail


def test_a_load_that_fails_leaves_nothing_behind(start, model):
    server = start()
    folder = model("bad", body="fail 15 broken on purpose\n")
    for _ in range(2):
        answer = server.load("bad", folder)
        if server.later:
            assert answer.status_code == 408 and "broken on purpose" in answer.text
        else:
            assert kept(answer) == FALCON
        assert server.invoke("bad").status_code == 404
        assert server.ask("GET", "/models").json() == {}
        assert server.ask("DELETE", "/models/bad").status_code == 404
    (folder / "1" / "example.txt").write_text(example_models.text())
    assert server.load("bad", folder).status_code == 200


def test_one_version_that_fails_fails_the_model(start, model):
    server = start()
    folder = model("m", 1)
    example_models.write(folder, 2, body="fail 15 broken on purpose\n")
    assert server.load("m", folder).status_code == (408 if server.later else 500)
    assert server.ask("GET", "/models").json() == {}


def test_an_engine_without_memory_is_507(start, model):
    server = start()
    answer = server.load("m", model("m", body="fail 8 no memory\n"))
    assert kept(answer) == (507, "Memory exhausted: not enough memory to start TFS instance")


def test_a_model_that_does_not_fit_is_507(start, model):
    server = start(args=["--max_models_bytes=100000"])
    for name in "abc":
        (model(name) / "1" / "weights").write_bytes(bytes(40000))
    answers = [server.load(name, server.base / "models" / name / "model") for name in "abc"]
    assert [a.status_code for a in answers] == [200, 200, 507]
    assert answers[2].text == "Memory exhausted: not enough memory to start TFS instance"
    server.ask("DELETE", "/models/a")
    assert server.load("c", server.base / "models" / "c" / "model").status_code == 200


def test_a_load_that_takes_too_long(start, model):
    server = start(env={"SAGEMAKER_TFS_WAIT_TIME_SECONDS": "4"})
    answer = server.load("slow", model("slow", body="sleep 6000\n" + example_models.text()))
    assert kept(answer) == (408, "Timed out after 4 seconds")
    assert server.invoke("slow").status_code == 404
    assert server.load("m", model("m")).status_code == 200


def test_batching_of_2_19_loads_nothing(start, model):
    server = start(env={"SAGEMAKER_TFS_ENABLE_BATCHING": "true"})
    answer = server.load("m", model("m"))
    if server.later:
        assert answer.status_code == 200 and server.first("m") == 2.5
    else:
        assert kept(answer) == (500, "No such file or directory")


# ---- at the same time


def test_the_same_name_at_once(start, model):
    server = start()
    folder = model("m", body="sleep 300\n" + example_models.text())
    answers = run_together([lambda: requests.post(f"http://127.0.0.1:{server.port}/models", timeout=PATIENCE,
                                                  json={"model_name": "m", "url": str(folder)}) for _ in range(6)])
    assert sorted(a.status_code for a in answers) == [200, 409, 409, 409, 409, 409]
    assert server.first("m") == 2.5


def test_an_unload_waits_for_the_load(start, model):
    server = start()
    folder = model("m", body="sleep 600\n" + example_models.text())
    loading = threading.Thread(target=lambda: requests.post(f"http://127.0.0.1:{server.port}/models", timeout=PATIENCE,
                                                            json={"model_name": "m", "url": str(folder)}))
    loading.start()
    server.until(lambda: "m: added" in server.log, "the load began")
    assert server.invoke("m").status_code == 404
    assert kept(server.ask("DELETE", "/models/m")) == (200, '{"success": "Successfully unloaded model m."}')
    loading.join(PATIENCE)
    assert server.ask("GET", "/models").json() == {}


def test_a_slow_load_holds_up_nobody(start, model):
    server = start(args=["--num_load_threads=2"])
    folder = model("slow", body="sleep 4000\n" + example_models.text())
    slow = threading.Thread(target=lambda: requests.post(f"http://127.0.0.1:{server.port}/models", timeout=PATIENCE,
                                                         json={"model_name": "slow", "url": str(folder)}))
    slow.start()
    server.until(lambda: "slow: added" in server.log, "the load began")
    assert server.load("m", model("m")).status_code == 200
    assert server.first("m") == 2.5
    assert list(server.ask("GET", "/models").json()) == ["m"]
    slow.join(PATIENCE)
    assert list(server.ask("GET", "/models").json()) == ["m", "slow"] or list(server.ask("GET", "/models").json()) == ["slow", "m"]


def test_a_client_that_leaves_does_not_end_its_load(start, model):
    server = start()
    folder = model("m", body="sleep 500\n" + example_models.text())
    body = json.dumps({"model_name": "m", "url": str(folder)})
    with server.connect(server.port) as client:
        client.sendall(f"POST /models HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        server.until(lambda: "m: added" in server.log, "the load began")
    server.until(lambda: server.invoke("m").status_code == 200, "the model was loaded")


def test_calls_under_way_end_on_the_old_model(start, model):
    server = start()
    folder = model("m")
    server.load("m", folder)
    slow = {"signature_name": "slow", **INPUT}
    answers = []
    caller = threading.Thread(target=lambda: answers.append(requests.post(
        f"http://127.0.0.1:{server.port}/models/m/invoke", json=slow, timeout=PATIENCE).json()))
    caller.start()
    server.until(lambda: server.metric("tern_running") > 0, "the call ran")
    assert server.ask("DELETE", "/models/m").status_code == 200
    (folder / "1" / "example.txt").write_text(example_models.text(addend=9))
    assert server.load("m", folder).status_code == 200
    assert server.first("m") == 9.5
    caller.join(PATIENCE)
    assert answers == [{"predictions": [2.5, 3.0]}]


def test_models_come_and_go_under_load(start, model):
    server = start()
    folders = {name: model(name) for name in ("a", "b", "c")}
    server.load("stays", model("stays", addend=4))
    stop = threading.Event()

    def churn(name):
        with requests.Session() as session:
            for _ in range(8):
                url = f"http://127.0.0.1:{server.port}/models"
                loaded = session.post(url, json={"model_name": name, "url": str(folders[name])}, timeout=PATIENCE)
                assert loaded.status_code == 200, loaded.text
                answer = session.post(f"{url}/{name}/invoke", json=INPUT, timeout=PATIENCE)
                assert answer.json() == {"predictions": [2.5, 3.0]}, answer.text
                assert session.delete(f"{url}/{name}", timeout=PATIENCE).status_code == 200

    def ask():
        with requests.Session() as session:
            while not stop.is_set():
                url = f"http://127.0.0.1:{server.port}/models"
                assert session.post(f"{url}/stays/invoke", json=INPUT, timeout=PATIENCE).json()["predictions"][0] == 4.5
                assert session.get(url, timeout=PATIENCE).json()["stays"] == status_of(1)

    def churn_all():
        try:
            run_together([lambda name=name: churn(name) for name in folders])
        finally:
            stop.set()

    run_together([churn_all, ask, ask])
    assert list(server.ask("GET", "/models").json()) == ["stays"]


def test_the_end_comes_while_models_are_loaded(start, model):
    server = start()
    folder = model("m", body="sleep 700\n" + example_models.text())
    body = json.dumps({"model_name": "m", "url": str(folder)})
    callers = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(3)]
    for caller in callers:  # all three are sent before the end begins
        caller.request("POST", "/models", body, {"Content-Type": "application/json"})
    server.until(lambda: "m: added" in server.log, "the load began")
    server.terminate()
    assert [caller.getresponse().status for caller in callers] == [503, 503, 503]
    server.stop()


# ---- scripts


SCRIPT = '''
import sys
def handler(data, context):
    return "%s:%%s:%%s:%%s" %% (context.model_name, context.rest_uri.split("/v1/")[1], data.read().decode()), "text/plain"
'''


def test_a_model_brings_its_own_script(start, model, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(SCRIPT % "universal")
    server = start()
    for name in ("own", "plain"):
        model(name)
    code = tmp_path / "models" / "own" / "model" / "code"
    code.mkdir()
    (code / "inference.py").write_text(SCRIPT % "first")
    for name in ("own", "plain"):
        assert server.load(name, tmp_path / "models" / name / "model").status_code == 200
    assert server.ask("POST", "/models/own/invoke", data="x").text == "first:own:models/own:predict:x"
    assert server.ask("POST", "/models/plain", data="x").text == "universal:plain:models/plain:predict:x"
    server.ask("DELETE", "/models/own")
    assert server.ask("POST", "/models/own/invoke", data="x").status_code == 404
    (code / "inference.py").write_text(SCRIPT % "second")
    assert server.load("own", tmp_path / "models" / "own" / "model").status_code == 200
    assert server.ask("POST", "/models/own/invoke", data="x").text == "second:own:models/own:predict:x"


def test_a_script_finds_its_model_at_its_uri(start, model, tmp_path):
    folder = model("m")
    (folder / "code" / "lib").mkdir(parents=True)
    (folder / "code" / "lib" / "helper_of_m.py").write_text("FACTOR = 3\n")
    (folder / "code" / "inference.py").write_text('''
import json, urllib.request, helper_of_m
def handler(data, context):
    body = json.dumps({"instances": [helper_of_m.FACTOR * float(data.read())]}).encode()
    with urllib.request.urlopen(urllib.request.Request(context.rest_uri, data=body)) as answer:
        return answer.read(), "application/json"
''')
    server = start()
    assert server.load("m", folder).status_code == 200
    assert server.ask("POST", "/models/m/invoke", data="2").json() == {"predictions": [5.0]}


@pytest.mark.parametrize("script", ["raise RuntimeError('no')", "def input_handler(data, context): pass", "not python"])
def test_a_script_that_cannot_be_imported(start, model, tmp_path, script):
    folder = model("m")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(script)
    server = start()
    assert kept(server.load("m", folder)) == FALCON
    assert server.invoke("m").status_code == 404
    (folder / "code" / "inference.py").write_text(SCRIPT % "good")
    assert server.load("m", folder).status_code == 200
