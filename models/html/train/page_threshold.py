"""Fits network.PageThreshold, the threshold of main content that a page gets, to outputs of models that did not see the page.

Block probabilities are good at order and bad at "how much": the best threshold differs from page to page far more than from
type to type. Here the word F1 of each page at each threshold is known, so a function from what the network sees of the page
to a threshold is fitted to the mean word F1 itself. It has 145 weights for 1,300 pages; its score (evaluate.py) is of folds,
by site, within the folds of the network. page_threshold.json keeps the one fitted to all pages, for train.export().
"""

import json
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import data  # noqa: E402
import network  # noqa: E402

FILE = Path(__file__).resolve().parent / "page_threshold.json"
GRID = np.arange(-5, 4.01, 0.25, dtype=np.float32)  # logits
STEPS, RATE, DECAY, SMOOTH = 400, 0.02, 1e-3, 0.5


def logits(output) -> np.ndarray:
    p = np.clip(output["main"][:, 0], 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def curve(page, z) -> np.ndarray:
    """Word F1 of the page at each threshold of GRID."""
    want, got = Counter(data.words(page.gold["main"])), Counter()
    order, k, out = np.argsort(-z), 0, np.zeros(len(GRID), np.float32)
    for at in range(len(GRID) - 1, -1, -1):
        while k < len(order) and z[order[k]] >= GRID[at]:
            got.update(data.words(page.texts[order[k]]))
            k += 1
        out[at] = data.word_f1(got, want)
    return out


def features(page, output, z, words) -> np.ndarray:
    """What the layer sees of a page whose output it has not moved yet; words: the column of `numeric`."""
    count = page.tensors["numeric"][None, :, words].astype(np.float32)
    of = network.PageThreshold.features(z[None, :, None].astype(np.float32), count, output["page_type"][None], np.ones_like(count))
    return np.asarray(of)[0]


class Thresholds:
    """F1 curves (of pages with a reference text) and features (of all); fits and applies thresholds."""

    def __init__(self, pages, outputs, words: int):
        z = [logits(o) for o in outputs]
        self.known = np.array([p.gold.get("main") is not None for p in pages])
        none = np.zeros(len(GRID), np.float32)
        self.curves = np.array([curve(p, v) if k else none for p, v, k in zip(pages, z, self.known)])
        self.x = np.array([features(p, o, v, words) for p, o, v in zip(pages, outputs, z)])

    def fit(self, rows) -> dict:
        """Weights of the layer, by name; rows: which pages may be used (bool). Deterministic."""
        x, c = self.x[rows & self.known], self.curves[rows & self.known]
        mean, scale = x.mean(0), x.std(0) + 1e-6
        rng = np.random.default_rng(0)
        n = x.shape[1]
        kernel = tf.Variable(rng.normal(0, 0.5 / np.sqrt(n), (n, network.CUT)).astype(np.float32))
        bias, out = tf.Variable(np.zeros(network.CUT, np.float32)), tf.Variable(np.zeros((network.CUT, 1), np.float32))
        base = GRID[c.mean(0).argmax()]
        xs, cs, grid = tf.constant((x - mean) / scale), tf.constant(c), tf.constant(GRID)
        optimizer, own = keras.optimizers.Adam(RATE), [kernel, bias, out]

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                t = base + tf.tanh(xs @ kernel + bias) @ out
                near = tf.nn.softmax(-0.5 * ((t - grid) / SMOOTH) ** 2, -1)
                loss = -tf.reduce_mean(tf.reduce_sum(near * cs, -1)) + DECAY * sum(tf.reduce_sum(w * w) for w in own)
            optimizer.apply_gradients(zip(tape.gradient(loss, own), own))

        for _ in range(STEPS):
            step()
        kernel = kernel.numpy() / scale[:, None]
        return {"kernel": kernel, "bias": bias.numpy() - mean @ kernel, "out": out.numpy(), "base": np.array([base])}

    def of(self, weights: dict) -> np.ndarray:
        return (np.tanh(self.x @ weights["kernel"] + weights["bias"]) @ weights["out"] + weights["base"])[:, 0]

    def cross_validate(self, fold) -> np.ndarray:
        """A threshold for each page, fitted on the other folds. fold: the number of each page's."""
        out = np.zeros(len(fold), np.float32)
        for k in set(fold):
            out[fold == k] = self.of(self.fit(fold != k))[fold == k]
        return out

    def f1(self, thresholds) -> np.ndarray:
        """Of the pages with a reference text."""
        at = np.clip(np.round((thresholds - GRID[0]) / (GRID[1] - GRID[0])).astype(int), 0, len(GRID) - 1)
        return self.curves[np.arange(len(at)), at][self.known]

    def one(self, fold) -> np.ndarray:
        """F1 of each such page with one threshold for all, the best one on the other folds."""
        out = np.zeros(len(fold))
        for k in set(fold):
            rest = (fold != k) & self.known
            out[fold == k] = self.curves[fold == k][:, self.curves[rest].mean(0).argmax()]
        return out[self.known]


def move(output: dict, threshold: float) -> dict:
    """The output of a model that has the threshold inside."""
    z = logits(output) - threshold
    return output | {"main": (1 / (1 + np.exp(-z)))[:, None].astype(np.float32)}


def write(weights: dict):
    FILE.write_text(json.dumps({k: np.round(v, 5).tolist() for k, v in weights.items()}) + "\n")


def read() -> dict | None:
    if not FILE.exists():
        return None
    return {k: np.array(v, np.float32) for k, v in json.loads(FILE.read_text()).items()}


def put_into(model):
    """Gives a network the thresholds kept beside this file."""
    weights, layer = read(), model.get_layer("page_threshold")
    if weights is not None:
        layer.set_weights([weights[v.name] for v in layer.weights])
