#!/usr/bin/env python3
"""Writes the SavedModels of tests/server/test_engine_tensorflow.py into a folder: tests/models/engine_models.py FOLDER

They have what server_models.py leaves out: tables, state, several functions, text and recurrent layers, graphs that fail.
Deterministic. Layout: FOLDER/MODEL/VERSION/.
"""
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from server_models import v1, write_graph  # noqa: E402

WORDS = ["sea", "tern", "größe", "鳥", "x" * 200, "a b"]


def spec(dtype, shape, name):
    return tf.TensorSpec(shape, dtype, name=name)


def table(folder):
    """Words to numbers and back, by tables that a file in assets/ fills when the model is loaded."""
    with tempfile.TemporaryDirectory() as place:
        vocabulary = os.path.join(place, "words.txt")
        with open(vocabulary, "w", encoding="utf-8") as f:
            f.write("".join(word + "\n" for word in WORDS))

        class Table(tf.Module):
            def __init__(self):
                super().__init__()
                line, whole = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
                self.asset = tf.saved_model.Asset(vocabulary)
                self.ids = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
                    self.asset, tf.string, whole, tf.int64, line), -1)
                self.words = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
                    self.asset, tf.int64, line, tf.string, whole), "?")

            @tf.function(input_signature=[spec(tf.string, [None, None], "words")])
            def to_ids(self, words):
                return {"ids": self.ids.lookup(words)}

            @tf.function(input_signature=[spec(tf.int64, [None], "ids")])
            def to_words(self, ids):
                return {"words": self.words.lookup(ids), "known": ids < self.words.size()}

        module = Table()
        tf.saved_model.save(module, str(folder / "table" / "1"), signatures={
            "serving_default": module.to_ids, "to_words": module.to_words})


def functions(folder):
    """Several signatures of one module, that share aliases but not dtypes or shapes."""

    class Functions(tf.Module):
        @tf.function(input_signature=[spec(tf.float32, [None, None], "x"), spec(tf.float32, [], "scale")])
        def scaled(self, x, scale):
            return {"y": tf.nn.softmax(x * scale), "rows": tf.shape(x)[0], "x": x}

        @tf.function(input_signature=[spec(tf.float64, [3, 3], "x")])
        def inverse(self, x):
            return {"y": tf.linalg.inv(x), "determinant": tf.linalg.det(x)}

        @tf.function(input_signature=[spec(tf.string, [None], "x"), spec(tf.int32, [None], "times")])
        def text(self, x, times):
            joined = tf.strings.join([x, tf.strings.as_string(times)], "-")
            return {"y": joined, "bytes": tf.strings.length(joined), "upper": tf.strings.upper(x, "utf-8")}

        @tf.function(input_signature=[spec(tf.complex64, [None], "x")])
        def spectrum(self, x):
            return {"y": tf.signal.fft(x), "size": tf.abs(x)}

    m = Functions()
    tf.saved_model.save(m, str(folder / "functions" / "1"), signatures={
        "serving_default": m.scaled, "inverse": m.inverse, "text": m.text, "spectrum": m.spectrum})


def state(folder):
    """Keeps what it is given, in TensorFlow's memory and perhaps in the caller's."""

    class State(tf.Module):
        def __init__(self):
            super().__init__()
            self.kept = tf.Variable(tf.zeros([0]), shape=tf.TensorShape(None), name="kept")

        @tf.function(input_signature=[spec(tf.float32, None, "x")])
        def keep(self, x):
            self.kept.assign(x)
            return {"size": tf.size(x)}

        @tf.function(input_signature=[])
        def recall(self):
            return {"x": self.kept.read_value()}

        @tf.function(input_signature=[spec(tf.float32, None, "x")])
        def same(self, x):
            return {"first": tf.identity(x), "second": x}

    m = State()
    tf.saved_model.save(m, str(folder / "state" / "1"), signatures={
        "serving_default": m.same, "keep": m.keep, "recall": m.recall})


def text(folder):
    """Keras: text to words to a recurrent layer to classes."""
    keras.utils.set_random_seed(5)
    words = keras.layers.TextVectorization(vocabulary=["the", "sea", "is", "calm", "wild", "größe"],
                                           output_sequence_length=12)
    inputs = keras.Input((1,), dtype="string", name="text")
    x = keras.layers.Embedding(words.vocabulary_size(), 16, mask_zero=True)(words(inputs))
    x = keras.layers.Bidirectional(keras.layers.GRU(24))(x)
    x = keras.layers.LayerNormalization()(x)
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax", name="classes")(x))
    model.export(str(folder / "text" / "1"), verbose=False)


def fails(folder):
    """Signatures that fail for some inputs, each in another kernel."""

    def build():
        x, i, s = v1.placeholder(tf.float32, [None], "x"), v1.placeholder(tf.int32, [None], "i"), \
            v1.placeholder(tf.string, [None], "s")
        check = v1.Assert(tf.reduce_all(x > 0.0), ["größe \"x\" must be positive\n", x], name="check")
        with tf.control_dependencies([check]):
            checked = tf.identity(x, name="checked")
        return {
            "assert": ({"x": x}, {"y": checked}),
            "gather": ({"i": i}, {"y": tf.gather(tf.constant([10.0, 20.0, 30.0]), i, name="gathered")}),
            "divide": ({"i": i}, {"y": tf.math.floordiv(tf.constant(12), i, name="quotient")}),
            "number": ({"s": s}, {"y": v1.string_to_number(s, tf.float32, name="number")}),
            "base64": ({"s": s}, {"y": tf.io.decode_base64(s, name="decoded")}),
            "reshape": ({"x": x, "i": i}, {"y": tf.reshape(x, i, name="reshaped")}),
            "file": ({"s": s}, {"y": tf.io.read_file(s[0], name="read")}),
        }

    write_graph(folder / "fails" / "1", build)


def large(folder):
    """16 MB of weights: what stays behind after an unload is seen."""
    weights = np.random.default_rng(2).normal(size=(2048, 2048)).astype("f4")

    class Large(tf.Module):
        def __init__(self):
            super().__init__()
            self.weights = tf.Variable(weights)

        @tf.function(input_signature=[spec(tf.float32, [None, 2048], "x")])
        def predict(self, x):
            return {"y": tf.matmul(x, self.weights)}

    m = Large()
    tf.saved_model.save(m, str(folder / "large" / "1"), signatures={"serving_default": m.predict})


def counter(folder):
    """Counts what it was given, the TF1 way: `count` is the sum of all `by` so far."""

    def build():
        by = v1.placeholder(tf.int64, [], "by")
        total = v1.get_variable("total", initializer=tf.constant(0, tf.int64), use_resource=True)
        return {"serving_default": ({"by": by}, {"count": tf.identity(total.assign_add(by), name="count")})}

    write_graph(folder / "counter" / "1", build)


def examples(folder):
    """Serialized tf.Examples in: y = x / 2 as a score, as a class and as a value."""

    def build():
        serialized = v1.placeholder(tf.string, [None], "examples")
        x = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32)})["x"]
        y = tf.multiply(x, 0.5, name="y")
        classes = tf.strings.as_string(y, name="classes")
        inputs, info = {"inputs": v1.saved_model.build_tensor_info(serialized)}, v1.saved_model.build_tensor_info

        def sign(outputs, method):
            return v1.saved_model.build_signature_def(inputs, {k: info(t) for k, t in outputs.items()}, method)

        return {"serving_default": sign({"outputs": y}, "tensorflow/serving/regress"),
                "classify": sign({"classes": classes, "scores": y}, "tensorflow/serving/classify")}

    write_graph(folder / "examples" / "1", build)


def outputs(folder):
    """Twelve outputs, each a step further than the one before: 4095 sets of them."""

    def build():
        x = v1.placeholder(tf.float32, [None], "x")
        y, out = x, {}
        for i in range(12):
            y = tf.tanh(y) + tf.constant(float(i), name=f"step{i}")
            out[f"y{i:02}"] = y
        return {"serving_default": ({"x": x}, out)}

    write_graph(folder / "outputs" / "1", build)


def sharded(folder):
    """Four variables of 256 kB, each in a file of its own."""

    class Sharded(tf.Module):
        def __init__(self):
            super().__init__()
            self.parts = [tf.Variable(tf.fill([256, 256], float(i)), name=f"part{i}") for i in range(4)]

        @tf.function(input_signature=[spec(tf.float32, [256], "x")])
        def predict(self, x):
            return {"y": tf.add_n([tf.linalg.matvec(p, x) for p in self.parts])}

    m = Sharded()
    tf.saved_model.save(m, str(folder / "sharded" / "1"), signatures={"serving_default": m.predict},
                        options=tf.saved_model.SaveOptions(
                            experimental_sharding_callback=tf.train.experimental.MaxShardSizePolicy(300000)))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for build in (table, functions, state, text, fails, large, counter, examples, outputs, sharded):
        build(pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
