"""What every form of the bench's script does itself, the same in each: not transport. And the clock around it.

    text/plain                the document as it is, for the model `text`
    text/html                 a page -> the page model's features (C, by ctypes); its outputs -> the answer
    application/x-rows        {"rows": N, "seed": S} -> ids [N, 160] for the model `rows`; its scores -> their mean

`own_ms` in front of an answer says how long that took in this call.
"""
import json
import os
import sys
import time

import numpy as np

CONFIG = json.loads(os.environ["TERN_BENCH_ENDPOINT"])
MODELS = {"text/plain": "text", "text/html": "html", "application/x-rows": "rows"}
sys.path.append(CONFIG["features"])
own = 0.0  # of the call at work; the bench asks one thing at a time
extractor = None


def model_of(context):
    return MODELS[context.request_content_type.partition(";")[0]]


class Own:
    """Adds the time within to the call's own."""

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        global own
        own += (time.perf_counter() - self.start) * 1e3


def inputs(model, body):
    """-> the arrays of `html` or `rows`, as every way of sending them gets them."""
    global own, extractor
    own = 0.0
    with Own():
        if model == "rows":
            said = json.loads(body)
            base = np.arange(said["rows"], dtype=np.int64)[:, None] * 7919 + np.arange(160) * 104729 + said["seed"]
            return {"ids": ((base * base + base) % 32768).astype(np.int32)}
        import features
        if extractor is None:
            extractor = features.Extractor(CONFIG["library"])
        return features.batch_of_one(extractor.extract(body, "text/html; charset=utf-8"))


def start():
    """For a document that goes on as it is."""
    global own
    own = 0.0


def answer(model, outputs):
    """outputs: arrays by name -> the body of the answer."""
    with Own():
        if model == "html":
            body = extractor.answer({k: v[0] for k, v in outputs.items()}, CONFIG["thresholds"])
        elif model == "rows":
            body = json.dumps({"mean": float(np.mean(outputs["score"])), "rows": len(outputs["score"])}).encode()
        else:
            body = json.dumps({"length": int(outputs["length"][0])}).encode()
    return b'{"own_ms": %.4f, %s' % (own, body[1:])
