"""The heavy configuration: what a model of every element of a page costs. Made on demand, never trained, not committed.

    python models/html/heavy.py --out FOLDER [--page FILE] [--elements 8192]

writes FOLDER/1 (a SavedModel of about 40 MB with weights of a fixed seed) and FOLDER/request.json, a predict request in
columnar form whose tensors come from a real page, repeated until it has that many elements. It is the benchmark's
reference payload: about 60 GFLOP and 3 MB of JSON at 8,192 elements. Its answers mean nothing; only its cost does.

One unit for each element: its path of tags, the class and id names on it and above, the first 48 words in it (with a layer
over windows of three; short ones go on with their parent's), counts, and the index of its parent, whose vector each layer
gathers.
"""

import argparse
import json
import os
import zlib
from html.parser import HTMLParser
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

TAG_PATH, ATTRS, WORDS, NUMERIC, URL = 16, 16, 48, 32, 32
TAGS, ATTR_VOCAB, WORD_VOCAB, URL_VOCAB = 256, 32768, 65536, 4096
WIDTH, LAYERS, SEED = 256, 8, 20260101
VOID = set("area base br col embed hr img input link meta source track wbr".split())


# ---- payload ----


class _Elements(HTMLParser):
    """Flat list of elements: (tag, parent, attributes, words, depth)."""

    def __init__(self):
        super().__init__()
        self.rows, self.stack, self.skip = [], [], 0

    def handle_starttag(self, tag, attrs):
        parent = self.stack[-1] if self.stack else 0
        self.rows.append([tag, parent, dict(attrs), [], len(self.stack)])
        if tag not in VOID:
            self.stack.append(len(self.rows) - 1)

    def handle_endtag(self, tag):
        for i in range(len(self.stack) - 1, -1, -1):
            if self.rows[self.stack[i]][0] == tag:
                del self.stack[i:]
                return

    def handle_data(self, data):
        if self.stack and self.rows[self.stack[-1]][0] not in ("script", "style"):
            words = data.split()
            for i in self.stack:  # an element's text is that of all it holds
                if len(self.rows[i][3]) < WORDS:
                    self.rows[i][3].extend(words[:WORDS])


def _token(text: str, vocab: int) -> int:
    return 1 + zlib.crc32(text.lower().encode()) % (vocab - 1)


def _names(rows: list, k: int) -> list[str]:
    """Class and id names of an element, then of those above it."""
    out = []
    for _ in range(8):
        attrs = rows[k][2]
        out += f"{attrs.get('class') or ''} {attrs.get('id') or ''}".replace("-", " ").replace("_", " ").split()
        if k == rows[k][1] or len(out) >= ATTRS:
            break
        k = rows[k][1]
    return out


def payload(page: bytes, elements: int = 8192) -> dict:
    """The model's inputs for a batch of one: a real page, repeated or cut to that many elements."""
    p = _Elements()
    p.feed(page.decode("utf-8", "replace"))
    rows = p.rows or [["p", 0, {}, ["empty"], 0]]
    n = elements
    t = {
        "tag_path": np.zeros((1, n, TAG_PATH), np.int32),
        "attr_tokens": np.zeros((1, n, ATTRS), np.int32),
        "text_tokens": np.zeros((1, n, WORDS), np.int32),
        "numeric": np.zeros((1, n, NUMERIC), np.int32),
        "parent": np.zeros((1, n), np.int32),
        "url_tokens": np.zeros((1, URL), np.int32),
        "node_mask": np.ones((1, n), np.float32),
    }
    for i in range(n):
        base, k = i - i % len(rows), i % len(rows)
        tag, parent, attrs, words, depth = rows[k]
        t["parent"][0, i] = base + parent
        up, j = k, 0
        while j < TAG_PATH:
            t["tag_path"][0, i, j] = 1 + zlib.crc32(rows[up][0].encode()) % (TAGS - 1)
            j += 1
            if up == rows[up][1]:
                break
            up = rows[up][1]
        names = _names(rows, k)
        for j, a in enumerate(names[:ATTRS]):
            t["attr_tokens"][0, i, j] = _token(a, ATTR_VOCAB)
        around = rows[parent][3]
        for j, w in enumerate((words + around)[:WORDS]):
            t["text_tokens"][0, i, j] = _token(w, WORD_VOCAB)
        text = " ".join(words)
        counts = [
            len(text), len(words), depth, i, len(attrs), len(names), k - parent,
            sum(c.isupper() for c in text), sum(c.isdigit() for c in text), text.count("."), text.count(","),
            tag == "a", tag == "p", tag == "li", tag[0] == "h", tag == "td", "href" in attrs, "src" in attrs,
        ]  # fmt: skip
        t["numeric"][0, i, : len(counts)] = counts
    for j in range(8):
        t["url_tokens"][0, j] = _token(f"path{j}", URL_VOCAB)
    return t


def to_json(tensors: dict) -> bytes:
    """A predict request in columnar form, without blanks."""
    inputs = {k: (v.astype(np.int32) if k == "node_mask" else v).tolist() for k, v in tensors.items()}
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


# ---- model ----


def build():
    """The network with the weights of SEED."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(SEED)
    shapes = {
        "tag_path": (None, TAG_PATH), "attr_tokens": (None, ATTRS), "text_tokens": (None, WORDS),
        "numeric": (None, NUMERIC), "parent": (None,), "url_tokens": (URL,),
    }  # fmt: skip
    inputs = {k: keras.Input(s, dtype="int32", name=k) for k, s in shapes.items()}
    inputs["node_mask"] = keras.Input((None,), dtype="float32", name="node_mask")
    mask = inputs["node_mask"][..., None]

    tags = layers.Embedding(TAGS, 16)(inputs["tag_path"])
    path = ops.concatenate([tags[:, :, k] for k in range(TAG_PATH)], axis=-1)
    names = ops.mean(layers.Embedding(ATTR_VOCAB, 64)(inputs["attr_tokens"]), axis=2)
    words = layers.Embedding(WORD_VOCAB, 64)(inputs["text_tokens"])
    # A window of three words as slices and one Dense: shape-polymorphic, where Conv1D within TimeDistributed is not.
    window = ops.concatenate([words[:, :, :-2], words[:, :, 1:-1], words[:, :, 2:]], axis=-1)
    words = ops.max(layers.Dense(48, activation="gelu")(window), axis=2)
    counts = ops.log1p(ops.cast(ops.maximum(inputs["numeric"], 0), "float32"))
    url = ops.mean(layers.Embedding(URL_VOCAB, 32)(inputs["url_tokens"]), axis=1)
    x = layers.Dense(WIDTH, activation="gelu")(ops.concatenate([path, names, words, counts], axis=-1)) * mask
    for i in range(LAYERS):
        y = layers.LayerNormalization()(x) * mask
        parent = ops.take_along_axis(y, inputs["parent"][..., None], axis=1)
        y = layers.Dense(WIDTH, activation="gelu")(ops.concatenate([y, parent], axis=-1)) * mask
        y = layers.Conv1D(WIDTH, 3, padding="same", dilation_rate=2 ** (i % 4), activation="gelu")(y)
        x = (x + layers.Dense(WIDTH)(y)) * mask
    page = ops.concatenate([ops.sum(x, axis=1) / (ops.sum(mask, axis=1) + 1e-6), ops.max(x, axis=1), url], axis=-1)
    page = layers.Dense(WIDTH, activation="gelu")(page)
    outputs = {
        "main": layers.Dense(1, activation="sigmoid", name="main")(x),
        "role": layers.Dense(12, activation="softmax", name="role")(x),
        "page_type": layers.Dense(7, activation="softmax", name="page_type")(page),
        "language": layers.Dense(24, activation="softmax", name="language")(page),
    }
    return keras.Model(inputs, outputs, name="tern_html_heavy")


def save(out: Path):
    """Writes the SavedModel to out."""
    import tensorflow as tf

    model = build()
    signature = {t.name: tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs}
    holder = tf.Module()
    holder.weights = [v.value for v in model.weights]
    holder.serve = tf.function(lambda inputs: model(inputs, training=False), input_signature=[signature])
    tf.saved_model.save(holder, str(out), signatures={"serving_default": holder.serve})
    return model


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--page", type=Path, default=Path(__file__).parent / "pages" / "article.html")
    a.add_argument("--elements", type=int, default=8192)
    a = a.parse_args()
    model = save(a.out / "1")
    request = to_json(payload(a.page.read_bytes(), a.elements))
    (a.out / "request.json").write_bytes(request)
    print(f"{model.count_params()} parameters; request of {len(request)} bytes, {a.elements} elements")


if __name__ == "__main__":
    main()
