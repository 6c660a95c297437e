"""The old way: the page model behind Flask, as such services are written. Served by gunicorn, one worker (run.py does it).

    POST /json          {"inputs": {name: nested lists}} -> model.predict() -> {"outputs": {...}}
    POST /html          a raw page -> the same C features through ctypes -> model.predict() -> the same answer as Tern's
    POST /json_direct, /html_direct   the same with the SavedModel's signature called directly, the best case of this way

TERN_BENCH_MODEL names the SavedModel, TERN_BENCH_FEATURES=1 says that it takes the page model's features.
"""
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import flask  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

MODEL = os.environ["TERN_BENCH_MODEL"]
loaded = tf.saved_model.load(MODEL)
signature = loaded.signatures["serving_default"]
specs = signature.structured_input_signature[1]


class Loaded(keras.Model):
    """The SavedModel as a Keras model, for its predict()."""

    def call(self, inputs):
        return signature(**inputs)


model = Loaded()
app = flask.Flask(__name__)
if os.environ.get("TERN_BENCH_FEATURES"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models" / "html" / "train"))
    import features

    extractor = features.Extractor()
    config = json.loads((Path(MODEL) / "assets.extra" / "tern.json").read_text(encoding="utf-8"))
    thresholds = config.get("thresholds", config)


def predict(inputs):
    return model.predict(inputs, verbose=0)


def direct(inputs):
    return {k: v.numpy() for k, v in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def answer_json(run):
    """What a handler of JSON tensors does: parse, make arrays, run, dump."""
    sent = flask.request.get_json(force=True)["inputs"]
    outputs = run({k: np.asarray(v, dtype=specs[k].dtype.as_numpy_dtype) for k, v in sent.items()})
    return flask.jsonify({"outputs": {k: v.tolist() for k, v in outputs.items()}})


def answer_html(run):
    tensors = extractor.extract(flask.request.get_data(), flask.request.headers.get("Content-Type"))
    outputs = run(features.batch_of_one(tensors))
    return flask.Response(extractor.answer({k: v[0] for k, v in outputs.items()}, thresholds), mimetype="application/json")


@app.post("/json")
def json_predict():
    return answer_json(predict)


@app.post("/json_direct")
def json_direct():
    return answer_json(direct)


@app.post("/html")
def html_predict():
    return answer_html(predict)


@app.post("/html_direct")
def html_direct():
    return answer_html(direct)


@app.get("/ready")
def ready():
    return "ok"
