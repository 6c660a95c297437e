#!/usr/bin/env python3
"""Writes SavedModels that parse tf.Examples into a folder: tests/models/parsing_models.py FOLDER

tf1   parse_example the TF1 way, on two placeholders; `count_a` and `count_b` tell how often the graph ran
tf2   parse_example in a tf.Module
Layout: FOLDER/MODEL/1/. Deterministic.
"""
import pathlib
import sys

import tensorflow as tf

v1 = tf.compat.v1
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def parse(serialized, name):
    """x: one float, required; tags: any number of strings; n: one int64."""
    features = {"x": v1.FixedLenFeature([], tf.float32), "n": v1.FixedLenFeature([], tf.int64, default_value=0),
                "tags": v1.VarLenFeature(tf.string)}
    found = v1.parse_example(serialized, features, name=name)
    tags = tf.cast(tf.shape(tf.sparse.to_dense(found["tags"]))[1], tf.float32)
    return found["x"], tf.cast(found["n"], tf.float32), tags


def sign(inputs, outputs, method):
    info = v1.saved_model.utils.build_tensor_info
    return v1.saved_model.signature_def_utils.build_signature_def(
        {k: info(t) for k, t in inputs.items()}, {k: info(t) for k, t in outputs.items()}, method)


def tf1(folder):
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        total = v1.get_variable("total", initializer=tf.constant(0.0), use_resource=True)
        s = v1.placeholder(tf.string, [None], "examples")
        x, n, tags = parse(s, "parse")
        rows = tf.shape(x)[0]
        y = tf.add(2.0 * x + n, tags, name="y")
        scores = tf.stack([y, -y], axis=1, name="scores")
        labels = tf.tile(tf.constant([["plus", "minus"]]), tf.stack([rows, 1]), name="labels")
        count = tf.fill([rows], total.assign_add(1.0, read_value=True), name="count")
        # a placeholder of its own, so that two signatures feed two
        other = v1.placeholder(tf.string, [None], "other_examples")
        z, _, _ = parse(other, "parse_other")
        signatures = {
            "serving_default": sign({"inputs": s}, {"classes": labels, "scores": scores}, CLASSIFY),
            "scores": sign({"inputs": s}, {"scores": scores}, CLASSIFY),
            "regress": sign({"inputs": s}, {"outputs": y}, REGRESS),
            "column": sign({"inputs": s}, {"outputs": tf.reshape(y, [-1, 1], name="column")}, REGRESS),
            "count_a": sign({"inputs": s}, {"outputs": count}, REGRESS),
            "count_b": sign({"inputs": s}, {"outputs": tf.identity(count, name="count_b")}, REGRESS),
            "other": sign({"inputs": other}, {"outputs": tf.negative(z, name="z")}, REGRESS),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "tf1" / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def tf2(folder):
    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(3.0)

        def parse(self, examples):
            features = {"x": tf.io.FixedLenFeature([2], tf.float32), "name": tf.io.FixedLenFeature([], tf.string, "none")}
            return tf.io.parse_example(examples, features)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def regress(self, inputs):
            return {"outputs": self.w * tf.reduce_sum(self.parse(inputs)["x"], axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def classify(self, inputs):
            found = self.parse(inputs)
            names = [found["name"] + "/a", found["name"] + "/b"]
            return {"classes": tf.stack(names, axis=1), "scores": self.w * found["x"]}

    model = Model()
    tf.saved_model.save(model, str(folder / "tf2" / "1"),
                        signatures={"serving_default": model.regress, "classify": model.classify})


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    tf1(target)
    tf2(target)
