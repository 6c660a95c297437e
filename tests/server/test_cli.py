"""The command: how arguments are read in both manners, what a start that fails says, and what does not stop one."""
import os
import re
import socket
import subprocess

import pytest

import example_models
from tern_server import BUILD, PATIENCE, SANITIZER

SERVING, TERN = "tensorflow_model_server", "tern"
BOTH_EMPTY = ("Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path and "
              "server_options.model_config_file are empty!\n")
pytestmark = pytest.mark.example


def run(program, *args, env=None, cwd=None):
    """Runs the program to its end. -> (status, stdout, stderr)."""
    argv = [str(BUILD / program)] + (["serve"] if program == TERN else []) + list(map(str, args))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODEL_")}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd,
                          env={**clean, **(env or {})}, check=False)
    assert not SANITIZER.search(done.stderr), done.stderr[-8000:]
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def model(tmp_path):
    return example_models.write(tmp_path / "m")


# ---- tensorflow_model_server: arguments as tsl/util/command_line_flags.cc reads them ----

@pytest.mark.parametrize("arg", [
    "--version", "--version=true", "--version=TRUE", "--version=1", "--version=True"])
def test_serving_version(arg):
    status, out, _ = run(SERVING, arg, "--nope")
    assert status == 0
    assert re.fullmatch(r"TensorFlow ModelServer: \S+\nTensorFlow Library: 2\.21\.0\n", out)


@pytest.mark.parametrize("arg", [
    "--port=7", "--port= 7", "--port=+7", "--port=-7", "--port=007", "--port=4294967303", "--port=99999999999999999999",
    "--load_retry_interval_micros=-9223372036854775808", "--load_retry_interval_micros=99999999999999999999",
    "--tensorflow_session_parallelism=5000000000", "--per_process_gpu_memory_fraction=7",
    "--per_process_gpu_memory_fraction=1e400", "--per_process_gpu_memory_fraction=0x1p3",
    "--per_process_gpu_memory_fraction=inf", "--enable_batching", "--enable_batching=0", "--enable_batching=FALSE",
    "--version=false", "--model_name=", "--model_name=a=b", "--model_name=" + "x" * 100000])
def test_serving_takes(arg):
    assert run(SERVING, arg)[:2] == (255, BOTH_EMPTY)


@pytest.mark.parametrize("arg, value, flag", [
    ("--port=", "", "port"), ("--port=x", "x", "port"), ("--port=7 ", "7 ", "port"), ("--port=0x10", "0x10", "port"),
    ("--port=1.5", "1.5", "port"), ("--port=-", "-", "port"),
    ("--load_retry_interval_micros=1e6", "1e6", "load_retry_interval_micros"),
    ("--per_process_gpu_memory_fraction=nan(1)", "nan(1)", "per_process_gpu_memory_fraction"),
    ("--per_process_gpu_memory_fraction=1e", "1e", "per_process_gpu_memory_fraction"),
    ("--enable_batching=", "", "enable_batching"), ("--enable_batching=yes", "yes", "enable_batching"),
    ("--enable_batching=01", "01", "enable_batching")])
def test_serving_bad_value_prints_usage(arg, value, flag):
    status, out, err = run(SERVING, "--rest_api_port=y", arg, "--nope")
    assert status == 255
    assert out.startswith(f"usage: {BUILD / SERVING}\nFlags:\n\t--port=8500                      \tint32\t")
    assert "Failed to start" not in out and "unknown argument" not in out
    assert "Couldn't interpret value y for flag rest_api_port." in err
    assert f"Couldn't interpret value {value} for flag {flag}." in err


def test_serving_usage_has_every_flag_with_type_and_default():
    status, out, _ = run(SERVING, "--help")
    assert status == 255
    lines = dict(re.findall(r"^\t--(\w+=\S*) *\t(\w+)\t\S", out, re.M))
    wanted = {"port=8500": "int32", "rest_api_port=0": "int32", "model_name=\"default\"": "string",
              "load_retry_interval_micros=60000000": "int64", "tensorflow_session_parallelism=0": "int64",
              "per_process_gpu_memory_fraction=0.000000": "float", "enable_batching=false": "bool",
              f"grpc_max_threads={4 * os.cpu_count()}": "int32"}
    assert wanted.items() <= lines.items()


@pytest.mark.parametrize("args, first", [
    (["--nope"], "--nope"), (["--nope=1", "--other"], "--nope=1"), (["-port=1"], "-port=1"), (["--port", "8599"], "--port"),
    (["x", "--help"], "x"), (["--help=1"], "--help=1"), (["--", "--port=x"], "--"), (["--ports=1"], "--ports=1"),
    (["-h"], "-h"), ([""], "")])
def test_serving_names_the_first_unknown_argument_and_goes_on(args, first):
    status, out, _ = run(SERVING, *args)
    assert status == 255
    assert out.startswith(f"unknown argument: {first}\nusage: ") and out.endswith(BOTH_EMPTY)
    assert out.count("unknown argument") == 1


@pytest.mark.parametrize("args", [["--help"], ["--version", "--help"], ["--help", "--version"], ["--help", "x"]])
def test_serving_help_first_among_the_unknown(args):
    status, out, _ = run(SERVING, *args)
    assert status == 255 and out.startswith("usage: ") and "Failed" not in out


NO_PORT = "INVALID_ARGUMENT: At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
ALL_THREADS = ("INVALID_ARGUMENT: Either configure server_options.tensorflow_session_parallelism or "
               "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
               "separately. You cannot configure all.")


@pytest.mark.parametrize("args, error", [
    (["--port=0"], NO_PORT),
    (["--port=4294967296"], NO_PORT),
    (["--use_alts_credentials", "--ssl_config_file=x"],
     "INVALID_ARGUMENT: Either use_alts_credentials must be false or ssl_config_file must be empty."),
    (["--model_base_path=a/b"],
     "INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got base_path()=a/b"),
    (["--model_base_path=/x", "--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=2",
      "--tensorflow_inter_op_parallelism=3"], ALL_THREADS),
    (["--model_config_file={dir}/none"], "NOT_FOUND: {dir}/none; No such file or directory"),
    (["--model_config_file={dir}/bad/x"], "FAILED_PRECONDITION: {dir}/bad/x; Not a directory"),
    (["--model_config_file={dir}"], "NOT_FOUND: {dir}; No such device"),
    (["--model_config_file={dir}/empty"], "INVALID_ARGUMENT: {dir}/empty; Invalid argument"),
    (["--model_config_file={dir}/bad"], "INVALID_ARGUMENT: Invalid protobuf file: '{dir}/bad'"),
    (["--model_base_path=/x", "--tensorflow_session_config_file={dir}/bad"],
     "INVALID_ARGUMENT: Invalid protobuf file: '{dir}/bad'"),
    (["--model_base_path=/x", "--platform_config_file={dir}/bad"], "INVALID_ARGUMENT: Invalid protobuf file: '{dir}/bad'"),
    (["--model_base_path=/x", "--platform_config_file={dir}/other_platform"],
     "INVALID_ARGUMENT: Model default requests unsupported platform tensorflow"),
    (["--model_base_path=/x", "--platform_config_file={dir}/no_adapter"],
     "INVALID_ARGUMENT: Supplied config's type_url could not be parsed: "),
    (["--model_base_path=/x", "--platform_config_file={dir}/unknown_type"],
     "INVALID_ARGUMENT: Invalid protobuf file: '{dir}/unknown_type'"),
    (["--model_base_path={dir}/m", "--thread_pool_factory_config_file={dir}/comment"],
     "INVALID_ARGUMENT: Supplied config's type_url could not be parsed: "),
    (["--model_base_path=/x", "--tensorflow_session_parallelism=-1"],
     "INVALID_ARGUMENT: -1 threads inside an operation (tensorflow_intra_op_parallelism, tensorflow_session_parallelism or "
     "intra_op_parallelism_threads): use 0 or more"),
    (["--model_base_path=/x", "--tensorflow_session_config_file={dir}/pool"],
     "INVALID_ARGUMENT: session_inter_op_thread_pool: num_threads is -2; use 0 or more"),
    (["--model_base_path={dir}/m", "--use_alts_credentials"], "INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"),
    (["--model_base_path={dir}/m", "--port=70000"], "INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"),
    (["--model_base_path={dir}/m", "--grpc_socket_path=/none/x"], "INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"),
])
def test_serving_start_fails_with_the_originals_words(tmp_path, model, args, error):
    (tmp_path / "empty").touch()
    (tmp_path / "bad").write_text("nonsense")
    (tmp_path / "comment").write_text("# nothing")
    (tmp_path / "pool").write_text("session_inter_op_thread_pool { num_threads: -2 }")
    (tmp_path / "other_platform").write_text('platform_configs { key: "other" value {} }')
    (tmp_path / "no_adapter").write_text('platform_configs { key: "tensorflow" value {} }')
    (tmp_path / "unknown_type").write_text(
        'platform_configs { key: "tensorflow" value { source_adapter_config { [type.googleapis.com/a.B] {} } } }')
    ports = [] if any(a.startswith("--port") for a in args) else [f"--port={free_port()}"]
    status, out, _ = run(SERVING, "--engine=example", *ports, *[a.format(dir=tmp_path) for a in args])
    assert (status, out) == (255, f"Failed to start server. Error: {error.format(dir=tmp_path)}\n")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- tern serve ----

@pytest.mark.parametrize("args, said", [
    (["--prot=1"], "there is no flag --prot=1; did you mean --port?"),
    (["--model_base_pth", "/x"], "did you mean --model_base_path?"),
    (["-port=1"], "did you mean --port?"),
    (["--" + "a" * 5000], "there is no flag --aaaa"),
    (["stray"], "there is no flag stray"),
    (["--port=x"], "--port wants a whole number"),
    (["--port", "99999999999"], "--port wants a whole number of 32 bits"),
    (["--port"], "--port has no value"),
    (["--enable_batching=maybe"], "--enable_batching wants true or false"),
    (["--per_process_gpu_memory_fraction=much"], "wants a number")])
def test_tern_refuses_arguments(args, said):
    status, out, err = run(TERN, *args)
    assert (status, out) == (2, "")
    assert err.startswith("tern serve: ") and said in err and len(err) < 400


@pytest.mark.parametrize("args, said", [
    ([], "There is no model to serve: give --model_base_path=DIR"),
    (["--port=70000", "--model_base_path=/x"], "--port=70000: use -1 to 65535"),
    (["--port=-1", "--rest_api_port=-1", "--model_base_path=/x"], "are both -1 (off): give a port"),
    (["--num_load_threads=-1", "--model_base_path=/x"], "--num_load_threads=-1: use 0 to "),
    (["--file_system_poll_wait_seconds=-1", "--model_base_path=/x"], "--file_system_poll_wait_seconds=-1: use 0 to "),
    (["--max_queue=-1", "--model_base_path=/x"], "--max_queue=-1: use 0 to "),
    (["--log_level=loud", "--model_base_path=/x"], "--log_level=loud: use debug, info, warning or error"),
    (["--mixed_precision=fp16", "--model_base_path=/x"], "--mixed_precision=fp16: use bfloat16"),
    (["--model_config_file={dir}/none"], "--model_config_file={dir}/none: No such file or directory"),
    (["--model_config_file={dir}"], "--model_config_file={dir}: is a folder or a device; give a file"),
    (["--model_config_file={dir}/bad"], "--model_config_file={dir}/bad: line 1, column 1: message "),
    (["--model_base_path=/x", "--monitoring_config_file={dir}/bad"], "--monitoring_config_file={dir}/bad: line 1, column 1"),
    (["--model_base_path=/x", "--platform_config_file={dir}/bad"], "--platform_config_file={dir}/bad: line 1, column 1"),
    (["--model_base_path=/x", "--tensorflow_session_config_file={dir}/bad"], "line 1, column 1"),
    (["--model_base_path=/x", "--thread_pool_factory_config_file={dir}/comment"], "there is no factory of thread pools"),
    (["--model_base_path=/x", "--grpc_socket_path=/none/x"], "--grpc_socket_path: cannot listen on /none/x"),
])
def test_tern_start_fails_with_one_clear_sentence(tmp_path, args, said):
    (tmp_path / "bad").write_text("nonsense")
    (tmp_path / "comment").write_text("# nothing")
    args = [a.format(dir=tmp_path) for a in args]
    ports = [] if any("port=" in a for a in args) else ["--port=0", "--rest_api_port=0"]
    status, out, err = run(TERN, "--engine=example", *ports, *args)
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("tern serve: ") and said.format(dir=tmp_path) in last


def test_tern_help_is_readable():
    status, out, err = run(TERN, "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    groups = re.findall(r"^(\w+):$", out, re.M)
    assert groups[:3] == ["Listening", "Models", "Engine"] and len(groups) == len(set(groups))
    assert len(re.findall(r"^  --\w+=", out, re.M)) > 48


def test_tern_takes_values_as_next_argument(start, model):
    server = start("--model_name", "named", "--model_base_path", model, "--engine", "example", "--allow_model_code")
    assert server.get("/v1/models/named").status == 200


# ---- starts that go on ----

@pytest.mark.parametrize("env, name, folder", [
    ({"MODEL_NAME": "m", "MODEL_BASE_PATH": "{dir}"}, "m", "m"),
    ({"MODEL_BASE_PATH": "{dir}"}, "model", "model"),
])
@pytest.mark.parametrize("program", [TERN, SERVING])
def test_environment_of_a_container_names_the_model(start, tmp_path, program, env, name, folder):
    example_models.write(tmp_path / folder)
    server = start("--engine=example", program=program, env={k: v.format(dir=tmp_path) for k, v in env.items()},
                   wait="ready" if program == TERN else "listen")
    assert server.get(f"/v1/models/{name}").json()["model_version_status"][0]["state"] == "AVAILABLE"


def test_environment_yields_to_flags(start, tmp_path, model):
    server = start("--engine=example", f"--model_base_path={model}", "--model_name=mine",
                   env={"MODEL_NAME": "theirs", "MODEL_BASE_PATH": str(tmp_path / "none")})
    assert server.get("/v1/models/mine").status == 200 and server.get("/v1/models/theirs").status == 404


def test_port_in_use_is_refused(model):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as s:
        port = s.getsockname()[1]
        args = ["--engine=example", f"--model_base_path={model}", f"--port={port}"]
        status, _, err = run(TERN, *args)
        assert status == 1 and re.search(rf"tern serve: --port={port}: .*in use; give another port$", err.splitlines()[-1])
        status, out, err = run(SERVING, *args)
        assert (status, out) == (255, "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server\n")
        assert f"--port={port}: " in err and "in use" in err


def test_serving_goes_on_without_rest(start, tmp_path, model):
    """A REST port in use or out of range, or a broken monitoring file, costs REST only, as in the original."""
    (tmp_path / "bad").write_text("prometheus_config { enable: maybe }")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as s:
        for flag in (f"--rest_api_port={s.getsockname()[1]}", "--rest_api_port=70000", f"--monitoring_config_file={tmp_path}/bad"):
            server = start("--engine=example", f"--model_base_path={model}", flag, program=SERVING, wait=None)
            server.until(lambda: "there is no REST port" in server.log, "it said so")
            server.until(lambda: f"port {server.grpc}" in server.log, "it listened")
            assert server.get("/v1/models/default", port=server.grpc).status == 200
            server.stop()


@pytest.mark.parametrize("program", [TERN, SERVING])
def test_one_port_may_speak_all(start, model, program):
    port = free_port()
    server = start("--engine=example", f"--model_base_path={model}", f"--port={port}", f"--rest_api_port={port}",
                   program=program, wait=None)
    server.rest = server.grpc = port
    server.wait("ready" if program == TERN else "listen")
    assert server.get("/v1/models/default").status == 200


@pytest.mark.parametrize("program", [TERN, SERVING])
def test_missing_and_broken_models_stop_no_other(start, tmp_path, model, program):
    broken = example_models.write(tmp_path / "broken", body="signature")
    entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    models = {"good": model, "missing": tmp_path / "missing", "broken": broken}
    (tmp_path / "c").write_text("model_config_list {" + " ".join(entry.format(*m) for m in models.items()) + "}")
    server = start("--engine=example", f"--model_config_file={tmp_path}/c", "--max_num_load_retries=0", program=program)
    assert server.predict("good", {"instances": [2]}).json() == {"predictions": [3.0]}
    assert server.get("/v1/models/missing").status == 404
    assert server.get("/v1/models/broken").json()["model_version_status"][0]["state"] == "END"


@pytest.mark.parametrize("program", [TERN, SERVING])
def test_signal_during_the_start_ends_with_0(start, tmp_path, program):
    server = start("--engine=example", f"--model_base_path={tmp_path}/none", program=program, wait=None)
    server.until(lambda: "none" in server.log, "it looked for the model")
    server.stop()


def test_serving_takes_what_makes_no_sense(start, model):
    server = start("--engine=example", f"--model_base_path={model}", "--file_system_poll_wait_seconds=-1",
                   "--max_num_load_retries=-1", "--num_load_threads=100000", "--rest_api_num_threads=0",
                   "--rest_api_timeout_in_ms=-1", "--load_retry_interval_micros=-1", "--grpc_channel_arguments=nonsense",
                   "--mixed_precision=int4", "--saved_model_tags=", program=SERVING, wait="listen")
    assert server.predict("default", {"instances": [2]}).json() == {"predictions": [3.0]}
    assert "--file_system_poll_wait_seconds=-1: 0 is used" in server.log


def test_monitoring_path(start, tmp_path, model):
    (tmp_path / "f").write_text('prometheus_config { enable: true path: "/m/x" }')
    server = start("--engine=example", f"--model_base_path={model}", f"--monitoring_config_file={tmp_path}/f")
    assert server.get("/m/x").status == 200
    assert server.get("/monitoring/prometheus/metrics").status == 404
