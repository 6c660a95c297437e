"""The way that people are told for speed: a `handler` that calls the gRPC port with TensorFlow's own helpers."""
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import work

stubs = {}


def handler(data, context):
    model, body = work.model_of(context), data.read()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if model == "text":
        work.start()
        request.inputs["document"].CopyFrom(tf.make_tensor_proto([body]))
    else:
        for name, array in work.inputs(model, body).items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    if context.grpc_port not in stubs:
        stubs[context.grpc_port] = prediction_service_pb2_grpc.PredictionServiceStub(context.channel)
    result = stubs[context.grpc_port].Predict(request, 60)
    return work.answer(model, {name: tf.make_ndarray(value) for name, value in result.outputs.items()}), "application/json"
