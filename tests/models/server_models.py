#!/usr/bin/env python3
"""Writes the small SavedModels of the server tests into a folder: tests/models/server_models.py FOLDER

Deterministic (fixed seeds), about 10 s. What each is for stands at its function. Layout: FOLDER/MODEL/VERSION/.
"""
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

DTYPES = {
    "float32": tf.float32, "float64": tf.float64, "half": tf.half, "bfloat16": tf.bfloat16,
    "int8": tf.int8, "int16": tf.int16, "int32": tf.int32, "int64": tf.int64,
    "uint8": tf.uint8, "uint16": tf.uint16, "uint32": tf.uint32, "uint64": tf.uint64,
    "bool": tf.bool, "string": tf.string, "complex64": tf.complex64, "complex128": tf.complex128,
}


def write_graph(path, build):
    """Saves the TF1 graph that build() makes; build returns {signature: (inputs, outputs), or a SignatureDef}."""
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signatures = {name: v1.saved_model.predict_signature_def(*made) if isinstance(made, tuple) else made
                      for name, made in build().items()}
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def half_plus_two(folder, version, addend):
    """y = x / 2 + addend, the TF1 way, with variables."""

    def build():
        x = v1.placeholder(tf.float32, [None], "x")
        a, b = v1.get_variable("a", initializer=0.5), v1.get_variable("b", initializer=float(addend))
        return {"serving_default": ({"x": x}, {"y": tf.add(x * a, b, name="y")})}

    write_graph(folder / "half_plus_two" / str(version), build)


def half_plus_two_tf2(folder):
    """The same function as a tf.Module."""

    class Half(tf.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = tf.Variable(0.5), tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def predict(self, x):
            return {"y": x * self.a + self.b}

    module = Half()
    tf.saved_model.save(module, str(folder / "half_plus_two_tf2" / "1"), signatures={"serving_default": module.predict})


def types(folder):
    """For each dtype a signature that answers its input, of any shape."""

    def build():
        out = {}
        for name, dtype in DTYPES.items():
            x = v1.placeholder(dtype, None, name + "_in")
            out[name] = ({"x": x}, {"y": tf.identity(x, name=name + "_out")})
        x = v1.placeholder(tf.string, [None], "text_in")
        out["serving_default"] = ({"text": x}, {"text": tf.strings.join(["<", x, ">"]), "length": tf.strings.length(x)})
        return out

    write_graph(folder / "types" / "1", build)


def pages(folder):
    """Keras, several named inputs of different dtypes with a variable axis, several named heads: the shape of the HTML model."""
    keras.utils.set_random_seed(7)
    tags = keras.Input((None, 4), dtype="int32", name="tags")
    counts = keras.Input((None, 3), dtype="float32", name="counts")
    mask = keras.Input((None,), dtype="float32", name="mask")
    x = keras.layers.Embedding(64, 8, name="embed")(tags)
    x = keras.layers.Lambda(lambda t: tf.reduce_mean(t, axis=2), name="mean")(x)
    x = keras.layers.Concatenate()([x, counts])
    x = keras.layers.Dense(32, activation="gelu")(x)
    x = keras.layers.Conv1D(32, 3, padding="same", activation="gelu")(x)
    main = keras.layers.Dense(1, activation="sigmoid")(x)
    pooled = keras.layers.Lambda(
        lambda p: tf.reduce_sum(p[0] * p[1][:, :, None], 1) / tf.reduce_sum(p[1], 1, keepdims=True), name="pool")([x, mask])
    kind = keras.layers.Dense(7, activation="softmax")(pooled)
    model = keras.Model({"tags": tags, "counts": counts, "mask": mask}, {"main": main, "kind": kind})
    model.export(str(folder / "pages" / "1"), verbose=False)


def dense(folder):
    """A matrix product large enough to be split over threads, with more than 64 kB going in."""
    weights = np.random.default_rng(11).normal(size=(512, 128)).astype("float32")

    class Dense(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 512], tf.float32, name="x")])
        def predict(self, x):
            return {"y": tf.matmul(x, weights)}

    module = Dense()
    tf.saved_model.save(module, str(folder / "dense" / "1"), signatures={"serving_default": module.predict})


def slow(folder):
    """Counts to n, one step a turn of a loop: runs as long as wanted."""

    def build():
        n = v1.placeholder(tf.int64, [], "n")
        count = v1.while_loop(lambda i: i < n, lambda i: i + 1, [tf.constant(0, tf.int64)], name="spin")
        return {"serving_default": ({"n": n}, {"count": tf.identity(count, name="count")})}

    write_graph(folder / "slow" / "1", build)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    half_plus_two(folder, 1, 2.0)
    half_plus_two(folder, 2, 3.0)
    for build in (half_plus_two_tf2, types, pages, dense, slow):
        build(folder)


if __name__ == "__main__":
    main()
