"""How `serve` starts as the SageMaker container: variables, model layouts, ports, ends."""
import os
import random
import socket
import subprocess
import threading

import grpc
import pytest

from sagemaker_server import SageMaker, write_model
from tern_server import BUILD, PATIENCE, free_port

pytestmark = pytest.mark.example

BODY = '{"instances": [1.0, 2.0, 5.0]}'
JSON = {"Content-Type": "application/json"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture
def base(tmp_path):
    write_model(tmp_path / "base" / "model" / "net")
    return tmp_path / "base"


@pytest.fixture
def start(tmp_path):
    """start(base, generation, **variables) -> SageMaker, ended after the test."""
    servers = []

    def run(base, generation="2.20", args=(), **env):
        servers.append(SageMaker(tmp_path / f"server{len(servers)}", base, generation, args, env))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def end(base, args=(), program="serve", **env):
    """A start that has to end by itself. -> exit status, last line of its log"""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("SAGEMAKER_", "TERN_"))}
    variables.update({"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": "0", "SAGEMAKER_SAFE_PORT_RANGE": "0-30",
                      "SAGEMAKER_TFS_WAIT_TIME_SECONDS": "1", **{k: str(v) for k, v in env.items() if v is not None}})
    for name in [k for k, v in env.items() if v is None]:
        variables.pop(name, None)
    argv = [str(BUILD / program)] + (["serve", "--sagemaker"] if program == "tern" else [])
    run = subprocess.run([*argv, "--engine=example", *args], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=PATIENCE, check=False)
    return run.returncode, run.stdout.rstrip().split("\n")[-1]


# ---- what ends the start

BAD = [
    ("SAGEMAKER_MULTI_MODEL", "maybe"), ("SAGEMAKER_MULTI_MODEL", ""), ("SAGEMAKER_TFS_ENABLE_BATCHING", "yes"),
    ("SAGEMAKER_SAFE_PORT_RANGE", "many"), ("SAGEMAKER_SAFE_PORT_RANGE", "9000"), ("SAGEMAKER_SAFE_PORT_RANGE", "9000-x"),
    ("SAGEMAKER_SAFE_PORT_RANGE", "9001-9002"), ("SAGEMAKER_SAFE_PORT_RANGE", "9002-9000"), ("SAGEMAKER_SAFE_PORT_RANGE", "65530-70000"),
    ("SAGEMAKER_TFS_INSTANCE_COUNT", "two"), ("SAGEMAKER_TFS_INSTANCE_COUNT", "0"), ("SAGEMAKER_TFS_INSTANCE_COUNT", "-1"),
    ("SAGEMAKER_TFS_INSTANCE_COUNT", "1.0"), ("SAGEMAKER_TFS_INSTANCE_COUNT", ""), ("SAGEMAKER_TFS_INSTANCE_COUNT", "1__0"),
    ("SAGEMAKER_TFS_WAIT_TIME_SECONDS", "soon"), ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "x"), ("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", ""),
    ("SAGEMAKER_TFS_INTER_OP_PARALLELISM", "x"), ("SAGEMAKER_TFS_INTRA_OP_PARALLELISM", "99999999999"),
    ("SAGEMAKER_GUNICORN_TIMEOUT_SECONDS", ""), ("SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS", "1m"), ("SAGEMAKER_BIND_TO_PORT", "http"),
    ("SAGEMAKER_BIND_TO_PORT", "65536"), ("SAGEMAKER_TFS_DEFAULT_MODEL_NAME", "nothing"), ("SAGEMAKER_BASE_DIR", "relative"),
    ("TERN_SAGEMAKER_EXTRAS", "2"),
]


@pytest.mark.parametrize("name, value", BAD)
def test_a_bad_value_is_named(base, name, value):
    status, line = end(base, **{name: value})
    assert status == 1 and line.startswith(f"tern serve: {name}"), line


@pytest.mark.parametrize("name, value", [("MAX_BATCH_SIZE", "x"), ("BATCH_TIMEOUT_MICROS", "1.5"), ("NUM_BATCH_THREADS", ""), ("MAX_ENQUEUED_BATCHES", "a b")])
def test_a_bad_value_of_batching_is_named(base, name, value):
    status, line = end(base, SAGEMAKER_TFS_ENABLE_BATCHING="true", **{"SAGEMAKER_TFS_" + name: value})
    assert status == 1 and line.startswith(f"tern serve: SAGEMAKER_TFS_{name}={value}"), line
    assert end(base, SAGEMAKER_TFS_DEFAULT_MODEL_NAME="x", **{"SAGEMAKER_TFS_" + name: value})[1].startswith(
        "tern serve: SAGEMAKER_TFS_DEFAULT_MODEL_NAME")  # without batching nobody looks


@pytest.mark.parametrize("env, words", [({"SAGEMAKER_MULTI_MODEL": "true"}, "SAGEMAKER_MULTI_MODEL"),
                                        ({"SAGEMAKER_TFS_INSTANCE_COUNT": "2"}, "SAGEMAKER_TFS_INSTANCE_COUNT")])
def test_more_than_one_needs_ports(base, env, words):
    status, line = end(base, SAGEMAKER_SAFE_PORT_RANGE=None, **env)
    assert status == 1 and "SAGEMAKER_SAFE_PORT_RANGE is not set" in line and words in line


def test_no_folder(tmp_path):
    status, line = end(tmp_path)
    assert status == 1 and str(tmp_path / "model") in line


@pytest.mark.parametrize("what", ["nothing", "version", "above"])
def test_no_model(tmp_path, what):
    (tmp_path / "model").mkdir()
    if what == "version":  # a name that is no number
        write_model(tmp_path / "model" / "net").joinpath("1").rename(tmp_path / "model" / "net" / "v1")
    elif what == "above":  # a model right in the folder
        (tmp_path / "model" / "saved_model.pb").touch()
    status, line = end(tmp_path)
    assert status == 1 and "There is no SavedModel below" in line and "saved_model.pb" in line


def test_a_model_that_cannot_be_loaded(base):
    (base / "model" / "net" / "1" / "example.txt").write_text("nonsense")
    status, line = end(base)
    assert status == 1 and "model net" in line


def test_a_numbered_folder_without_a_model(base):
    (base / "model" / "net" / "7").mkdir()
    status, line = end(base)
    assert status == 1 and "Version 7 of model net" in line


def test_two_models_of_one_name(base):
    write_model(base / "model" / "more" / "net")
    status, line = end(base)
    assert status == 1 and "net" in line


def test_folders_without_end(base):
    (base / "model" / "loop").symlink_to(base / "model")
    status, line = end(base)
    assert status == 1 and "nested" in line


@pytest.mark.parametrize("flag", ["--model_base_path=/x", "--model_config_file=/x", "--port=1", "--rest_api_port=1", "--enable_batching"])
def test_flags_that_variables_say(base, flag):
    status, line = end(base, args=[flag])
    assert status == 1 and flag.split("=", maxsplit=1)[0] in line


def test_a_port_that_is_taken(base):
    with socket.create_server(("127.0.0.1", 0)) as s, socket.create_server(("", 0)) as t:
        port = s.getsockname()[1]
        status, line = end(base, SAGEMAKER_SAFE_PORT_RANGE=f"{port}-{port + 2}")
        assert status == 1 and line.startswith(f"tern serve: SAGEMAKER_SAFE_PORT_RANGE={port}-{port + 2}")
        status, line = end(base, SAGEMAKER_BIND_TO_PORT=t.getsockname()[1])
        assert status == 1 and line.startswith(f"tern serve: SAGEMAKER_BIND_TO_PORT={t.getsockname()[1]}")


def test_the_same_as_a_command_and_a_flag(base):
    assert end(base, program="tern", SAGEMAKER_MULTI_MODEL="maybe")[1].startswith("tern serve: SAGEMAKER_MULTI_MODEL=maybe")


# ---- layouts


@pytest.mark.parametrize("path, name", [("1", "model"), ("net/1", "net"), ("export/Servo/1", "Servo"), ("a/b/c/net/1", "net")])
@pytest.mark.parametrize("generation", ["2.19", "2.20"])
def test_layouts(tmp_path, start, generation, path, name):
    folder = tmp_path / "base" / "model" / path
    write_model(folder.parent)
    server = start(tmp_path / "base", generation)
    assert server.ask("GET", "/ping").status_code == 200
    assert server.ask("POST", "/invocations", data=BODY, headers=JSON).json() == {"predictions": [2.5, 3.0, 4.5]}
    assert server.ask("GET", f"/tfs/v1/models/{name}/versions/1").status_code == 200


def test_all_numbered_versions_are_loaded(tmp_path, start):
    net = tmp_path / "base" / "model" / "net"
    write_model(net, 7, addend=3)
    write_model(net, 123)
    (net / "123").rename(net / "00000123")
    write_model(net, 111)
    (net / "111").rename(net / ".00000111")
    (net / "notes").mkdir()
    (net / "README.md").touch()
    server = start(tmp_path / "base")
    states = server.ask("GET", "/tfs/v1/models/net").json()["model_version_status"]
    assert [(s["version"], s["state"]) for s in states] == [("123", "AVAILABLE"), ("7", "AVAILABLE")]
    answer = server.ask("POST", "/invocations", data=BODY, headers={**JSON, ATTRIBUTES: "tfs-model-version=7"})
    assert answer.json() == {"predictions": [3.5, 4.0, 5.5]}


def test_without_a_name_the_first_model_is_the_default(tmp_path, start):
    for name, addend in (("b", 3), ("a", 2), ("c", 5)):
        write_model(tmp_path / "base" / "model" / name, addend=addend)
    server = start(tmp_path / "base")
    assert server.ask("POST", "/invocations", data=BODY, headers=JSON).json() == {"predictions": [2.5, 3.0, 4.5]}


def test_a_code_folder_with_nothing_known_in_it_changes_nothing(base, start):
    (base / "model" / "code").mkdir()
    (base / "model" / "code" / "readme.txt").touch()
    assert start(base).ask("GET", "/pingpong").status_code == 200


# ---- settings


@pytest.mark.parametrize("version, later", [("2.20", True), ("2.19", False), ("2.19.1", False), ("2.3", False), ("1.13", False), ("2.21", True),
                                            ("3.0", True), ("", True), ("new", True)])
def test_generations(base, start, version, later):
    server = start(base, version)
    text = server.ask("POST", "/invocations", data=b"x", headers={"Content-Type": "a/b"}).text
    assert text == ('{"error":"Unsupported Media Type: a/b"}' if later else '{"error": "Unsupported Media Type: a/b"}')


def test_without_variables_of_its_own_ports_are_the_containers(base, tmp_path):
    """8080, 9000 and 8501 may be taken here: then the sentence names them."""
    status, line = end(base, SAGEMAKER_BIND_TO_PORT="x", SAGEMAKER_SAFE_PORT_RANGE=None)
    assert status == 1 and "SAGEMAKER_BIND_TO_PORT=x" in line
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", 9000))
            s.listen()
        except OSError:
            pass  # taken already
        status, line = end(base, SAGEMAKER_SAFE_PORT_RANGE=None)
    assert status == 1 and "SAGEMAKER_SAFE_PORT_RANGE is not set" in line and "9000" in line


def test_each_instance_has_a_pair_of_ports(base, start):
    low = 0
    while not low or not all(is_free(p) for p in range(low, low + 7)):
        low = random.randrange(12000, 31000)
    server = start(base, SAGEMAKER_SAFE_PORT_RANGE=f"{low}-{low + 6}", SAGEMAKER_TFS_INSTANCE_COUNT=" 3 ", SAGEMAKER_TFS_INTER_OP_PARALLELISM="1",
                   SAGEMAKER_TFS_INTRA_OP_PARALLELISM="1")
    for i in range(3):
        assert server.post("/v1/models/net:predict", BODY, port=low + 2 * i + 1).json() == {"predictions": [2.5, 3.0, 4.5]}
        with grpc.insecure_channel(f"127.0.0.1:{low + 2 * i}") as channel:
            grpc.channel_ready_future(channel).result(PATIENCE)
    with pytest.raises(OSError):
        server.get("/v1/models/net", port=low + 6)
    assert server.get("/ping", port=low + 1).status == 200  # the light form: scripts may ask there


def is_free(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("generation", ["2.19", "2.20"])
def test_batching(base, start, generation):
    server = start(base, generation, SAGEMAKER_TFS_ENABLE_BATCHING="True", SAGEMAKER_TFS_MAX_BATCH_SIZE="4", SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS="500",
                   SAGEMAKER_TFS_NUM_BATCH_THREADS="2", SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES="10")
    assert server.ask("POST", "/invocations", data="1\n2\n3\n4", headers={"Content-Type": "text/csv"}).status_code == 200
    answer = server.ask("POST", "/invocations", data="1\n2\n3\n4\n5", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()) == (400, {"error": "Task size 5 is larger than maximum input batch size 4"})


def test_batch_transform_may_ask_for_its_parameters(base, start):
    server = start(base, SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="20", SAGEMAKER_MAX_CONCURRENT_TRANSFORMS="3",
                   SAGEMAKER_BATCH_STRATEGY="SINGLE_RECORD")
    assert server.ask("GET", "/execution-parameters").json() == {"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 20}
    server = start(base, SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="lots")
    assert server.ask("GET", "/execution-parameters").json() == {"MaxConcurrentTransforms": os.cpu_count(), "BatchStrategy": "MULTI_RECORD",
                                                                 "MaxPayloadInMB": 6}


def test_the_port_opens_when_the_models_are_there(tmp_path):
    write_model(tmp_path / "base" / "model" / "net")
    part = tmp_path / "base" / "model" / "net" / "1" / "example.txt"
    text = part.read_text()
    part.write_text("signature serving_default\n")  # is no model yet
    port = free_port()
    server = SageMaker(tmp_path / "server", tmp_path / "base", env={"SAGEMAKER_BIND_TO_PORT": str(port)}, wait=None)
    try:
        server.until(lambda: "for scripts, on 127.0.0.1" in server.log, "its inner ports were open")
        assert is_free(port)
    finally:
        part.write_text(text)
        server.kill()


def test_reads_of_slow_clients_do_not_hold_up_ping(base, start):
    server = start(base)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as s:
        s.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000000\r\n\r\n1,")
        assert server.ask("GET", "/ping").status_code == 200


def test_calls_are_cut_off_after_nginx_read_timeout(base, start):
    server = start(base, SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS="1", SAGEMAKER_GUNICORN_TIMEOUT_SECONDS="1")
    answer = server.ask("POST", "/invocations", data='{"signature_name":"stuck","instances":[1]}', headers=JSON)
    assert answer.status_code == 504 and "error" in answer.json()


# ---- ends


def test_sigterm_lets_calls_end(base, start):
    server = start(base)
    body = '{"signature_name": "slow", "instances": [1.0]}'
    answers = []

    def ask():
        answers.append(server.ask("POST", "/invocations", data=body, headers={**JSON, "Connection": "close"}).json())

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for t in threads:
        t.start()
    server.until(lambda: server.metric("tern_exchanges") >= 3, "both calls were under way")
    server.process.terminate()
    server.process.wait(PATIENCE)
    for t in threads:
        t.join(PATIENCE)
    assert server.process.returncode == 0 and answers == [{"predictions": [2.5]}] * 2


def test_sigterm_under_load_answers_or_closes(base, start):
    server = start(base)
    lost, good = [], []

    def ask(_):
        while True:
            try:
                answer = server.request("POST", "/invocations", body=b"1,2\n", headers={"Content-Type": "text/csv"}, port=server.port)
            except ConnectionRefusedError:
                return
            except OSError as error:
                # A connection that the kernel had accepted: it was closed before anything was read from it.
                if not isinstance(error, (ConnectionResetError, BrokenPipeError)):
                    lost.append(error)
                return
            (good if answer.status == 200 else lost).append(answer.status)

    workers = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for w in workers:
        w.start()
    server.until(lambda: len(good) > 200, "there was load")
    server.process.terminate()
    for w in workers:
        w.join(PATIENCE)
    assert server.process.wait(PATIENCE) == 0 and not lost
    assert "were cut off" not in server.log
