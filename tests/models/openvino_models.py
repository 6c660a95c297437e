#!/usr/bin/env python3
"""Writes the SavedModels of tests/server/test_engine_openvino.py into a folder: tests/models/openvino_models.py FOLDER

Those of SERVED are computed by OpenVINO as TensorFlow computes them; each of `refused` has one operation that it would not,
named by the folder: FOLDER/refused_OPERATION/1. Deterministic. Layout: FOLDER/MODEL/VERSION/.
"""
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from server_models import v1, write_graph  # noqa: E402


def spec(dtype, shape, name):
    return tf.TensorSpec(shape, dtype, name=name)


def export(model, folder, name):
    model.export(str(folder / name / "1"), verbose=False)


def dense(folder):
    """Keras, with its two signatures (serve and serving_default)."""
    keras.utils.set_random_seed(1)
    x = keras.Input((8,), name="x")
    y = keras.layers.Dense(32, activation="relu")(x)
    y = keras.layers.BatchNormalization()(y)
    export(keras.Model(x, keras.layers.Dense(3, activation="softmax")(y)), folder, "dense")


def convolution(folder):
    keras.utils.set_random_seed(2)
    x = keras.Input((None, None, 3), name="image")
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = keras.layers.MaxPooling2D()(keras.layers.DepthwiseConv2D(3)(y))
    y = keras.layers.GlobalAveragePooling2D()(y)
    export(keras.Model(x, keras.layers.Dense(5)(y)), folder, "convolution")


def sequence(folder):
    """Token ids of int64 to a recurrent layer and to attention; a class as int64 beside floats."""
    keras.utils.set_random_seed(3)
    ids = keras.Input((None,), dtype="int64", name="ids")
    x = keras.layers.GRU(16, return_sequences=True)(keras.layers.Embedding(50, 16)(ids))
    x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, 8)(x, x))
    scores = keras.layers.Dense(4, activation="softmax")(keras.ops.mean(x, axis=1))
    model = keras.Model(ids, {"scores": scores, "vectors": x})

    @tf.function(input_signature=[spec(tf.int64, [None, None], "ids")])
    def predict(ids):
        out = model(ids, training=False)
        return out | {"best": tf.argmax(out["scores"], axis=-1)}

    holder = tf.Module()
    holder.weights, holder.predict = [v.value for v in model.weights], predict
    tf.saved_model.save(holder, str(folder / "sequence" / "1"), signatures={"serving_default": predict})


def tf1(folder):
    """The TF1 way, with variables; several signatures over shared tensors, one of them its own input."""

    def build():
        x = v1.placeholder(tf.float32, [None, 4], "x")
        scale = v1.placeholder(tf.float32, [], "scale")
        w = v1.get_variable("w", initializer=np.linspace(-1, 1, 12).reshape(4, 3).astype("f4"))
        b = v1.get_variable("b", initializer=np.ones(3, "f4"))
        y = tf.nn.bias_add(tf.matmul(x, w), b, name="y")
        scaled = tf.multiply(y, scale, name="scaled")
        return {
            "serving_default": ({"x": x}, {"y": y, "again": y}),
            "scaled": ({"x": x, "by": scale}, {"y": scaled, "raw": y}),
            "same": ({"x": x}, {"x": x, "shape": tf.shape(x)}),
            "unused": ({"x": x, "by": scale}, {"y": tf.tanh(y)}),
        }

    write_graph(folder / "tf1" / "1", build)


def integers(folder):
    """What has to be exact: moved values in each dtype, sums of int32."""

    def build():
        out = {}
        for dtype in (tf.int8, tf.uint8, tf.int16, tf.int32, tf.int64, tf.bool, tf.half, tf.bfloat16):
            x = v1.placeholder(dtype, [None], dtype.name + "_x")
            out[dtype.name] = ({"x": x}, {"twice": tf.concat([x, x], 0), "first": x[:1]})
        a, b = v1.placeholder(tf.int32, [None], "a"), v1.placeholder(tf.int32, [None], "b")
        out["serving_default"] = ({"a": a, "b": b}, {
            "sum": a + b, "product": a * b, "larger": tf.maximum(a, b), "less": a < b,
            "where": tf.where(a > b, a, b), "order": tf.argsort(a)})
        return out

    write_graph(folder / "integers" / "1", build)


def control(folder):
    """Branches and loops as functions; a large output."""

    class Control(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(np.random.default_rng(4).normal(size=(16, 16)).astype("f4") / 4)

        @tf.function(input_signature=[spec(tf.float32, [None, 16], "x"), spec(tf.int32, [], "steps")])
        def predict(self, x, steps):
            y = tf.while_loop(lambda i, _: i < steps, lambda i, v: (i + 1, tf.tanh(v @ self.w)), [0, x],
                              shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 16])])[1]
            return {"y": tf.cond(tf.reduce_sum(y) > 0, lambda: y, lambda: -y), "large": tf.tile(y, [1, 256])}

    m = Control()
    tf.saved_model.save(m, str(folder / "control" / "1"), signatures={"serving_default": m.predict})


def idioms(folder):
    """What engines/openvino/rewrite.c says in other words, each as an output of its own; in functions, and without."""
    keras.utils.set_random_seed(5)
    layers, ops = keras.layers, keras.ops
    x, parent = keras.Input((None, 16), name="x"), keras.Input((None,), dtype="int32", name="parent")
    out = {f"conv_{k}_{rate}": layers.Conv1D(9, k, padding="same", dilation_rate=rate, use_bias=k > 2)(x)
           for k, rate in ((1, 1), (2, 1), (3, 1), (5, 1), (7, 1), (3, 2), (4, 3))}
    out["valid"] = layers.Conv1D(9, 3, padding="valid", dilation_rate=2)(layers.ZeroPadding1D(4)(x))
    out["causal"] = layers.Conv1D(9, 3, padding="causal", dilation_rate=2)(x)
    out["strided"] = layers.Conv1D(9, 3, padding="same", strides=2)(x)
    out["grouped"] = layers.Conv1D(8, 3, padding="same", groups=2)(layers.Dense(32)(x))
    out["dense"] = layers.Dense(7, activation="gelu")(x)
    out["dense_4"] = layers.Dense(3)(ops.stack([x, -x, 2 * x], axis=1))
    out["gelu"] = layers.Dense(7, activation=lambda v: keras.activations.gelu(v, approximate=True))(x)
    out["rows"] = ops.take_along_axis(x, parent[..., None], axis=1)
    out["elements"] = ops.take_along_axis(x, ops.stack([parent] * 16, axis=-1), axis=1)
    y = layers.Conv1D(16, 3, padding="same", dilation_rate=2, activation="gelu")(x + ops.take_along_axis(x, parent[..., None], 1))
    out["all"] = layers.Dense(16, activation="gelu")(ops.concatenate([y, x], axis=-1)) + y
    export(keras.Model({"x": x, "parent": parent}, out), folder, "idioms")

    def build():
        x = v1.placeholder(tf.float32, [None, None, 16], "x")
        w = v1.get_variable("w", initializer=np.random.default_rng(6).normal(size=(3, 16, 5)).astype("f4"))
        dense = tf.tensordot(x, w[0], [[2], [0]])
        outputs = {f"conv_{rate}": tf.nn.convolution(x, w, padding="SAME", dilations=rate) for rate in (1, 2, 3)}
        return {"serving_default": ({"x": x}, {
            **outputs, "dense": dense + 1.0, "gelu": 0.5 * dense * tf.math.erfc(-dense * np.float32(0.5 ** 0.5))})}

    write_graph(folder / "idioms_tf1" / "1", build)


def refused(folder):
    """{operation: signature}; each is the only one of its model that OpenVINO must not serve."""
    f, i = tf.float32, tf.int32

    def one(operation, make):
        write_graph(folder / f"refused_{operation}" / "1", lambda: {"serving_default": make()})

    def x(dtype, shape=(None,), name="x"):
        return v1.placeholder(dtype, list(shape), name)

    def asserted():
        a = x(f)
        with tf.control_dependencies([v1.Assert(tf.reduce_all(a > 0.0), [a])]):
            return {"x": a}, {"y": tf.identity(a)}

    def assigned():
        by = x(f, ())
        total = v1.get_variable("total", initializer=0.0, use_resource=True)
        return {"x": by}, {"y": tf.identity(total.assign_add(by))}

    def fed():
        a = x(f)
        return {"x": tf.tanh(a, name="fed")}, {"y": v1.get_default_graph().get_tensor_by_name("fed:0") * 2.0}

    def over(dtype, fn):
        def make():
            a = x(dtype)
            return {"x": a}, {"y": fn(a)}
        return make

    one("Assert", asserted)
    one("AssignAddVariableOp", assigned)
    one("Tanh", fed)
    one("StringLength", over(tf.string, tf.strings.length))
    one("Identity", over(f, tf.identity))
    one("double", over(tf.float64, tf.identity))
    one("uint32", over(tf.uint32, tf.identity))
    one("Mul", over(tf.int64, lambda a: a * a))
    one("AddV2", over(tf.uint8, lambda a: a + a))
    one("FloorDiv", over(i, lambda a: tf.constant(7) // a))
    one("Sum", over(i, tf.reduce_sum))
    one("GatherV2", over(i, lambda a: tf.gather(tf.constant([1, 2, 3]), a)))
    one("GatherNd", over(i, lambda a: tf.gather_nd(tf.constant([1.0, 2.0, 3.0]), a[:, None])))
    one("MatrixDeterminant", over(f, lambda a: tf.linalg.det(tf.reshape(a, [-1, 2, 2]))))


SERVED = (dense, convolution, sequence, tf1, integers, control, idioms)

if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1])
    for write in (*SERVED, refused):
        write(place)
