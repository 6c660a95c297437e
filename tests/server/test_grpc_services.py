"""Services that are no model's: server reflection, the watching of health, the profiler. With the real clients."""
import os
import shutil
import subprocess
import time

import pytest

import example_models
from h2_client import H2, field, frame
from tern_server import PATIENCE, run_together

grpc = pytest.importorskip("grpc")
pytest.importorskip("tern_grpc")
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase  # noqa: E402
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2  # noqa: E402

pytestmark = pytest.mark.example
OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
WATCH = "/grpc.health.v1.Health/Watch"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return example_models.write(tmp_path_factory.mktemp("models") / "m")


@pytest.fixture(scope="module")
def server(start_shared, folder):
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example")


def channel_to(server):
    return grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options=OPTIONS)


@pytest.fixture(scope="module")
def channel(server):
    with channel_to(server) as c:
        yield c


# ---- reflection ----

SERVICES = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
            "tensorflow.ProfilerService", "tensorflow.serving.ModelService", "tensorflow.serving.PredictionService"]


def test_services_are_listed(channel):
    assert sorted(ProtoReflectionDescriptorDatabase(channel).get_services()) == SERVICES


def test_services_that_are_off_are_not_listed(start, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--enable_profiler=false",
                   program="tensorflow_model_server")
    with channel_to(server) as c:
        assert sorted(ProtoReflectionDescriptorDatabase(c).get_services()) == [
            s for s in SERVICES if "health" not in s and "Profiler" not in s]


def original_files():
    files = {}

    def walk(file):
        if file.name not in files:
            files[file.name] = file
            for d in file.dependencies:
                walk(d)

    walk(prediction_service_pb2.DESCRIPTOR)
    walk(model_service_pb2.DESCRIPTOR)
    return files


def check_message(got, want):
    """Fields of ours are the original's: number, type, label; what the original has more is not needed."""
    originals = {f.number: f for f in want.field}
    for f in got.field:
        o = originals[f.number]
        assert (f.name, f.type, f.label, f.type_name) == (o.name, o.type, o.label, o.type_name), (got.name, f, o)
    nested = {n.name: n for n in want.nested_type}
    for n in got.nested_type:
        assert n.options.map_entry == nested[n.name].options.map_entry
        check_message(n, nested[n.name])


def test_descriptors_are_the_originals(channel):
    """Each file that is told has the name, the package, the messages and the fields of the original's."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    files = original_files()
    found = 0
    for service in ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        todo, seen = [pool.FindServiceByName(service).file], set()
        methods = pool.FindServiceByName(service).methods_by_name
        want = files[todo[0].name].services_by_name[service.rpartition(".")[2]].methods_by_name
        assert {m: (methods[m].input_type.full_name, methods[m].output_type.full_name) for m in methods} == {
            m: (want[m].input_type.full_name, want[m].output_type.full_name) for m in want}
        while todo:
            file = todo.pop()
            if file.name in seen:
                continue
            seen.add(file.name)
            todo += file.dependencies
            ours, theirs = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(ours)
            if file.name == "tensorflow/core/protobuf/error_codes.proto":  # imports its own successor in newer versions
                continue
            files[file.name].CopyToProto(theirs)
            assert ours.package == theirs.package
            messages = {m.name: m for m in theirs.message_type}
            enums = {e.name: e for e in theirs.enum_type}
            for m in ours.message_type:
                check_message(m, messages[m.name])
                found += 1
            for e in ours.enum_type:
                assert {(v.name, v.number) for v in e.value} <= {(v.name, v.number) for v in enums[e.name].value}
    assert found > 40


def test_a_call_by_reflection_alone(channel):
    """What grpcurl does: messages out of the descriptors, from and to JSON."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("tensorflow.serving.PredictionService").methods_by_name["Predict"]
    request = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict({"modelSpec": {"name": "m"}, "inputs": {"x": {
        "dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": 3}]}, "floatVal": [1, 2, 5]}}}, request, descriptor_pool=pool)
    answer = message_factory.GetMessageClass(method.output_type)()
    answer.ParseFromString(channel.unary_unary(f"/{method.containing_service.full_name}/Predict", None, None)(
        request.SerializeToString(), timeout=PATIENCE))
    assert json_format.MessageToDict(answer)["outputs"]["y"]["floatVal"] == [2.5, 3.0, 4.5]


def ask(channel, *requests, version="v1alpha"):
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    call = channel.stream_stream(path, reflection_pb2.ServerReflectionRequest.SerializeToString,
                                 reflection_pb2.ServerReflectionResponse.FromString)
    return list(call(iter(requests), timeout=PATIENCE))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_questions(channel, version):
    ask_ = reflection_pb2.ServerReflectionRequest
    good = [ask_(file_by_filename="tensorflow_serving/apis/predict.proto"),
            ask_(file_containing_symbol="tensorflow.serving.PredictionService.Predict"),
            ask_(file_containing_symbol="tensorflow.TensorProto.float_val"),
            ask_(file_containing_symbol="tensorflow.DT_FLOAT"),
            ask_(file_containing_symbol=f"grpc.reflection.{version}.ServerReflection"),
            ask_(file_containing_symbol="google.protobuf.Any")]
    bad = [ask_(file_by_filename="nope.proto"), ask_(file_containing_symbol="tensorflow.Nope"), ask_(file_containing_symbol=""),
           ask_(file_containing_extension=reflection_pb2.ExtensionRequest(containing_type="tensorflow.TensorProto")),
           ask_(all_extension_numbers_of_type="tensorflow.Nope")]
    answers = ask(channel, *good, *bad, ask_(all_extension_numbers_of_type="tensorflow.TensorProto"), ask_(host="h"),
                  version=version)
    for question, answer in zip(good, answers):
        assert answer.original_request == question
        files = [descriptor_pb2.FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
        names = [f.name for f in files]
        assert len(set(names)) == len(names) and set(d for f in files for d in f.dependency) <= set(names)
    assert answers[0].file_descriptor_response.file_descriptor_proto[0].startswith(b"\n\x25tensorflow_serving/apis/predict.proto")
    for answer in answers[len(good):len(good) + len(bad)]:
        assert answer.error_response.error_code == 5 and answer.error_response.error_message
    assert answers[-2].all_extension_numbers_response.base_type_name == "tensorflow.TensorProto"
    assert answers[-1].valid_host == "h" and answers[-1].error_response.error_code == 3


def grpcurl():
    path = shutil.which("grpcurl") or shutil.which("grpcurl", path=os.path.expanduser("~/go/bin"))
    if path is None:
        pytest.skip("no grpcurl")
    return path


def test_grpcurl(server):
    def run(*args):
        return subprocess.run([grpcurl(), "-plaintext", *args], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    address = f"127.0.0.1:{server.grpc}"
    assert run(address, "list").split() == SERVICES
    for service in SERVICES:
        assert "service" in run(address, "describe", service)
        for method in run(address, "list", service).split():
            assert "rpc" in run(address, "describe", method)
    assert "map<string, .tensorflow.TensorProto> inputs = 2;" in run(address, "describe", "tensorflow.serving.PredictRequest")
    said = run("-d", '{"model_spec": {"name": "m"}}', address, "tensorflow.serving.ModelService/GetModelStatus")
    assert '"AVAILABLE"' in said


def test_one_answer_for_each_question_at_once(channel):
    """A stream is a conversation: the answer comes while the client's side is still open."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    step = []

    def questions():
        for i in range(50):
            while len(step) < i:
                time.sleep(0.001)
            yield reflection_pb2.ServerReflectionRequest(host=str(i), list_services="")

    for i, answer in enumerate(stub.ServerReflectionInfo(questions(), timeout=PATIENCE)):
        assert answer.valid_host == str(i)
        step.append(i)
    assert len(step) == 50


def test_broken_questions(server):
    for body in (frame(b"\xff\xff"), frame(b"", compressed=1), frame(b"abc")[:-1], frame(b"x" * 70000), b"\0\0", frame(b"", 9)):
        with H2(server, server.grpc) as c:
            headers, _, trailers = c.answer(c.send(V1, body, GRPC))
            assert headers[":status"] == "200" and trailers["grpc-status"] in ("8", "13") and trailers["grpc-message"]
    with H2(server, server.grpc) as c:
        assert c.answer(c.send(V1, b"", GRPC))[2]["grpc-status"] == "0"
        headers, _, _ = c.answer(c.send(V1, b"", [*GRPC, ("grpc-encoding", "nope")]))
        assert headers["grpc-status"] == "12" and headers["grpc-accept-encoding"] == "identity, deflate, gzip"


def test_a_client_that_does_not_read_loses_its_stream(server):
    """Questions of a few bytes, answers of many: what waits is bounded."""
    before = server.metric("tern_bytes_in_flight")
    question = frame(field(4, b"tensorflow.serving.PredictionService"))
    with H2(server, server.grpc) as c:
        c.conn.acknowledge_received_data = lambda *a: None  # its windows stay shut
        stream = c.send(V1, question * 3, GRPC, end=False)
        for _ in range(400):
            c.conn.send_data(stream, question)
        c.flush()
        server.until(lambda: server.metric("tern_bytes_in_flight") == before, "the stream ended")
    assert server.get("/healthz").status == 200


def test_many_streams_come_and_go(server):
    def one():
        with channel_to(server) as c:
            for _ in range(10):
                assert len(ProtoReflectionDescriptorDatabase(c).get_services()) == 6
                call = health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest())
                assert next(call).status == 1
                call.cancel()

    run_together([one] * 8)
    server.until(lambda: server.metric("tern_bytes_in_flight") == 0, "all streams were gone")


def test_streams_have_deadlines(channel):
    with pytest.raises(grpc.RpcError) as error:
        list(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=0.5))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_streams_pay_from_the_budget(start, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--max_bytes_in_flight=300000")
    with channel_to(server) as c:
        calls = [health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        assert [next(call).status for call in calls] == [1, 1]
        with pytest.raises(grpc.RpcError) as error:
            next(health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE))
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in calls:
            call.cancel()


# ---- health ----

def test_watch_tells_changes(start, tmp_path):
    (tmp_path / "m").mkdir()
    server = start("--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--engine=example",
                   "--file_system_poll_wait_seconds=1", wait="listen")
    with channel_to(server) as c:
        call = health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(call).status == health_pb2.HealthCheckResponse.NOT_SERVING
        example_models.write(tmp_path / "m")
        assert next(call).status == health_pb2.HealthCheckResponse.SERVING
        server.terminate()
        assert next(call).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as error:
            next(call)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_watch_of_what_is_not_known(channel):
    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=PATIENCE)
    assert next(call).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    call.cancel()


def test_watch_wants_one_request(server):
    for body in (b"", frame(b"") * 2, frame(b"\xff")):
        with H2(server, server.grpc) as c:
            _, _, trailers = c.answer(c.send(WATCH, body, GRPC))
            assert trailers["grpc-status"] == "13"


def test_streams_do_not_hold_up_the_end(start, folder):
    """Idle conversations end with the server, long before --drain_timeout_ms."""
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--drain_timeout_ms=60000")
    with channel_to(server) as c:
        call = health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest())
        assert next(call).status == 1
        with H2(server, server.grpc) as h2:
            h2.send(V1, frame(field(7, b"")), GRPC, end=False)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 30


# ---- the profiler ----

@pytest.mark.parametrize("method", ["Profile", "Terminate", "Monitor"])
def test_the_profiler_says_that_it_is_not_there(channel, method):
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/tensorflow.ProfilerService/{method}", None, None)(b"", timeout=PATIENCE)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED and "profiler" in error.value.details()
