"""gRPC clients of the tests: grpcio with the stubs of tensorflow-serving-api, and a channel for raw bytes."""
import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0),
           ("grpc.use_local_subchannel_pool", 1)]
TIMEOUT = 60.0


class Client:
    """One channel to a port."""

    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.channel.close()

    def raw(self, method, message, timeout=TIMEOUT):
        """Sends bytes as they are. -> the answer's bytes."""
        return self.channel.unary_unary(method, None, None)(message, timeout=timeout)

    def predict(self, request, timeout=TIMEOUT):
        return self.prediction.Predict(request, timeout=timeout)

    def status(self, name, version=None):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        if version is not None:
            request.model_spec.version.value = version
        return self.model.GetModelStatus(request, timeout=TIMEOUT)

    def metadata(self, name):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        answer = self.prediction.GetModelMetadata(request, timeout=TIMEOUT)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        return answer, signatures.signature_def

    def check(self, service=""):
        return self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)


def predict_request(model, inputs, signature=None, version=None, label=None, content=True, output_filter=()):
    """inputs: {alias: numpy array}. content: as tensor_content, else in the typed fields."""
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = model
    if signature is not None:
        request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(to_proto(np.asarray(value), content))
    return request


def to_proto(array, content=True):
    """A TensorProto by tf.make_tensor_proto's own rules, as tensor_content or as typed fields."""
    if array.dtype.kind in "OSU":
        return tf.make_tensor_proto(array, dtype=tf.string, shape=array.shape)
    dtype = tf.as_dtype(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if content:
        proto.tensor_content = array.tobytes()
        return proto
    flat = array.reshape(-1)
    name = array.dtype.name
    if name in ("float16", "bfloat16"):
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif name in ("complex64", "complex128"):
        field = proto.scomplex_val if name == "complex64" else proto.dcomplex_val
        field.extend(flat.view(np.float32 if name == "complex64" else np.float64).tolist())
    else:
        field = {"float32": "float_val", "float64": "double_val", "int64": "int64_val", "uint32": "uint32_val",
                 "uint64": "uint64_val", "bool": "bool_val"}.get(name, "int_val")
        getattr(proto, field).extend(flat.tolist())
    return proto


def outputs_of(answer):
    """{alias: numpy array} of a PredictResponse."""
    return {alias: tf.make_ndarray(proto) for alias, proto in answer.outputs.items()}


def assert_same(got, want):
    """Equal bit for bit: dtype, shape and bytes (for strings: each string)."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if want.dtype.kind == "O":
        assert got.tolist() == want.tolist()
        return
    assert got.dtype == want.dtype
    if got.tobytes() != want.tobytes():
        differ = np.flatnonzero(got.reshape(-1) != want.reshape(-1))
        raise AssertionError(f"{len(differ)} of {got.size} differ, first {differ[:5]}: "
                             f"{got.reshape(-1)[differ[:5]]} instead of {want.reshape(-1)[differ[:5]]}")


def reference(folder, signature="serving_default"):
    """The same signature in TensorFlow itself: a function of {alias: array} that answers {alias: array}."""
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures[signature]

    def run(inputs):
        fed = {k: tf.constant(v, dtype=function.structured_input_signature[1][k].dtype) for k, v in inputs.items()}
        return {k: v.numpy() for k, v in function(**fed).items()}

    run.keep = loaded
    return run
