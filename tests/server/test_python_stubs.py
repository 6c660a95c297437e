"""Scripts with the light stand-ins of python/tern/serving_stubs call the real server over gRPC, without TensorFlow."""
import os
import subprocess
import sys

import pytest

import example_models
from tern_server import ROOT

pytestmark = pytest.mark.example
pytest.importorskip("grpc")
pytest.importorskip("numpy")

MODEL = example_models.text() + """
signature label tensorflow/serving/classify
input inputs string [-1]
output classes string [-1,1] column inputs
output scores float [-1,1] length inputs
"""

SCRIPT = """
import sys
import hidden
hidden.hide("tensorflow", "tensorflow_serving")
import tern.serving_stubs
tern.serving_stubs.install()
import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict, MessageToJson
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1])
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
"""


@pytest.fixture(scope="module")
def run(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m", body=MODEL)
    server = start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example")

    def run(*lines):
        done = subprocess.run([sys.executable, "-c", SCRIPT + "\n".join(lines), f"127.0.0.1:{server.grpc}"], text=True, check=False,
                              env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'python' / 'tests'}"}, timeout=100,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()
    return run


def test_predict_of_every_type(run):
    assert run(
        "names = {'half': 'float16', 'float': 'float32', 'double': 'float64', 'string': object}",
        "for name in ('float double int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string half complex64 complex128').split():",
        "    for values in ([1, 0, 1], [[1], [0]], 1, []):",
        "        request = predict_pb2.PredictRequest()",
        "        request.model_spec.name, request.model_spec.signature_name = 'm', name",
        "        given = np.array(values, names.get(name, name)) if name != 'string' else np.array(values).astype('S').astype(object)",
        "        request.inputs['x'].CopyFrom(tf.make_tensor_proto(given, dtype=name))",
        "        answer = stub.Predict(request, 60.0)",
        "        got = tf.make_ndarray(answer.outputs['y'])",
        "        assert got.dtype == given.dtype and got.shape == given.shape and got.tolist() == given.tolist(), (name, given, got)",
        "        assert tf.TensorShape(answer.outputs['y'].tensor_shape).as_list() == list(given.shape)",
        "print('all', tf.as_dtype(answer.outputs['y'].dtype).name)") == ["all complex128"]


def test_predict_as_the_blog_post_has_it(run):
    """A stub kept by port, a future, and the answer as JSON."""
    assert run(
        "request = predict_pb2.PredictRequest()",
        "request.model_spec.name = 'm'",
        "request.model_spec.signature_name = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY",
        "request.inputs['x'].CopyFrom(tf.make_tensor_proto([1.0, 2.0], shape=[2]))",
        "answer = stub.Predict.future(request, 60).result()",
        "print(MessageToJson(answer, indent=None, sort_keys=True))",
        "print(np.array(answer.outputs['y'].float_val).tolist())") == [
        '{"modelSpec": {"name": "m", "signatureName": "serving_default", "version": "1"}, "outputs": {"y": {"dtype": "DT_FLOAT", '
        '"floatVal": [2.5, 3.0], "tensorShape": {"dim": [{"size": "2"}]}}}}', "[2.5, 3.0]"]


def test_classify_examples(run):
    assert run(
        "request = classification_pb2.ClassificationRequest()",
        "request.model_spec.name, request.model_spec.signature_name = 'm', 'label'",
        "feature = {'a': tf.train.Feature(int64_list=tf.train.Int64List(value=[7]))}",
        "example = tf.train.Example(features=tf.train.Features(feature=feature))",
        "request.input.example_list.examples.extend([example, tf.train.Example()])",
        "result = stub.Classify(request, timeout=60).result",
        "print([row.classes[0].score for row in result.classifications], len(example.SerializeToString()))",
        "print(tf.train.Example.FromString(result.classifications[0].classes[0].label.encode()) == example)") == ["[14.0, 0.0] 14", "True"]


def test_metadata_and_state(run):
    assert run(
        "request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=['signature_def'])",
        "request.model_spec.name = 'm'",
        "answer = stub.GetModelMetadata(request, timeout=60)",
        "signatures = get_model_metadata_pb2.SignatureDefMap()",
        "answer.metadata['signature_def'].Unpack(signatures)",
        "given = signatures.signature_def['serving_default'].inputs['x']",
        "print(given.dtype == tf.float32.as_datatype_enum, tf.TensorShape(given.tensor_shape).as_list())",
        "status = get_model_status_pb2.GetModelStatusRequest()",
        "status.model_spec.name = 'm'",
        "state = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=60)",
        "print(MessageToDict(state)['model_version_status'])",
        "status.model_spec.name = 'nobody'",
        "try: model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=60)",
        "except grpc.RpcError as error: print(error.code())") == [
        "True [None]", "[{'version': '1', 'state': 'AVAILABLE', 'status': {}}]", "StatusCode.NOT_FOUND"]
