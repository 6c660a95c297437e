"""Trains the page model and exports it: one command, two CPU cores, a fixed seed.

    python models/html/train/train.py --data FOLDER [--out models/html/saved_model/1]

The final model is fitted on all pages; the thresholds of main content are those that cross-validation chose (evaluate.py
writes them to page_threshold.json beside this file). See ../MODEL_CARD.md for the data and the scores.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import data  # noqa: E402
import network  # noqa: E402
import page_threshold  # noqa: E402
import report  # noqa: E402
from export import export  # noqa: E402
from features import BIT, CONTEXT, Extractor  # noqa: E402

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "saved_model" / "1"
# Of the loss of `main`, by page type: articles are half of the pages, and easy.
WEIGHT = {data.PAGE_TYPES.index(k): w for k, w in (
    ("article", 0.7), ("service", 1.2), ("forum", 1.3), ("product", 1.8), ("listing", 1.8), ("collection", 1.8),
    ("documentation", 1.2))}  # fmt: skip
F1_WEIGHT = 1.0  # of the soft F1 beside the cross entropy of single blocks
SCHEMA = network.META_PARTS[-1][0]
BLOCK_INPUTS = ("tag_path", "attr_tokens", "text_tokens", "numeric")
LANDMARK_TAGS = {"nav", "aside", "header", "footer", "form", "main", "article"}
LANDMARK_BITS = ("nav", "header", "footer", "aside", "main", "article", "form", "comment")
LANDMARK_ROLES = "navigation banner contentinfo complementary main article form search menu menubar".split()


class Augment:
    """Random changes to a training page, so that the network does not lean on what other sites lack."""

    def __init__(self, x: Extractor, seed: int):
        self.rng = np.random.default_rng(seed)
        self.to_div = np.arange(256, dtype=np.int32)
        for i, name in enumerate(x.tags):
            if name in LANDMARK_TAGS:
                self.to_div[i] = x.tags.index("div")
        first = x.numeric_names.index("in_p")
        self.columns = [first + CONTEXT.index(b) for b in LANDMARK_BITS]
        names = set()
        for role in LANDMARK_ROLES:
            t = x.extract(f'<body><div role="{role}"><p>x</p></div>'.encode())
            names.update(t["attr_tokens"][t["attr_tokens"] > 0].tolist())
        self.role_tokens = np.array(sorted(names), np.int32)

    def __call__(self, t: dict, longest: int):
        """Returns changed copies and the slice of blocks that was kept."""
        rng = self.rng
        n = t["tag_path"].shape[0]
        at = int(rng.integers(0, n - longest + 1)) if n > longest else 0
        keep = slice(at, at + min(n, longest))
        out = {k: (v[keep] if k in BLOCK_INPUTS else v).astype(np.int32) for k, v in t.items()}
        if rng.random() < 0.5:  # roles are learnt from landmarks: half of the pages must do without
            out["tag_path"] = self.to_div[out["tag_path"]]
            out["numeric"][:, self.columns] = 0
            out["attr_tokens"][np.isin(out["attr_tokens"], self.role_tokens)] = 0
        if rng.random() < 0.15:
            out["attr_tokens"][:] = 0
        for k, p in (("text_tokens", 0.1), ("page_meta", 0.1)):
            out[k][rng.random(out[k].shape) < p] = 0
        names = np.unique(out["attr_tokens"])  # a name goes from the whole page: blocks of one template stay alike
        out["attr_tokens"][np.isin(out["attr_tokens"], names[rng.random(names.size) < 0.1])] = 0
        if rng.random() < 0.5:
            out["url_tokens"][:] = 0
        if rng.random() < 0.15:
            out["page_meta"][:] = 0
        if rng.random() < 0.4:  # pages saved without their scripts have no JSON-LD
            out["page_meta"][SCHEMA:] = 0
        return out, keep


def pad(pages: list[dict]) -> dict:
    """Stacks pages of different length; node_mask tells blocks from padding."""
    longest = max(p["tag_path"].shape[0] for p in pages)
    out = {}
    for k in pages[0]:
        if k in BLOCK_INPUTS:
            a = np.zeros((len(pages), longest, pages[0][k].shape[1]), np.int32)
            for i, p in enumerate(pages):
                a[i, : p[k].shape[0]] = p[k]
        else:
            a = np.stack([p[k] for p in pages]).astype(np.int32)
        out[k] = a
    out["node_mask"] = np.zeros((len(pages), longest), np.float32)
    for i, p in enumerate(pages):
        out["node_mask"][i, : p["tag_path"].shape[0]] = 1
    return out


def pad_labels(rows: list[np.ndarray], longest: int) -> np.ndarray:
    out = np.full((len(rows), longest), -1, np.int32)
    for i, r in enumerate(rows):
        out[i, : len(r)] = r
    return out


def batches(pages, augment, longest, blocks_per_batch, rng):
    """Pages of like length together, batches in random order."""
    jitter = [min(p.main.size, longest) * rng.uniform(0.85, 1.15) for p in pages]
    order, group = [], []
    for i in np.argsort(jitter):
        n = min(pages[i].main.size, longest)
        if group and (n * (len(group) + 1) > blocks_per_batch or len(group) >= 16):
            order.append(group)
            group = []
        group.append(int(i))
    order.append(group)
    rng.shuffle(order)
    for group in order:
        changed = [augment(pages[i].tensors, longest) for i in group]
        x = pad([c[0] for c in changed])
        n = x["node_mask"].shape[1]
        y = {
            "main": pad_labels([pages[i].main[c[1]] for i, c in zip(group, changed)], n),
            "role": pad_labels([pages[i].role[c[1]] for i, c in zip(group, changed)], n),
            "language": np.array([pages[i].language for i in group], np.int32),
            "weight": np.array([WEIGHT.get(pages[i].page_type, 1.0) for i in group], np.float32),
        }
        yield x, y


def class_weights(labels: np.ndarray, n: int, power: float) -> np.ndarray:
    count = np.bincount(labels[labels >= 0], minlength=n) + 1.0
    w = (count.sum() / count) ** power
    return (w / (w * count).sum() * count.sum()).astype(np.float32)


def make_step(model, optimizer, weights, words):
    """words: the column of `numeric` that counts a block's words."""
    role_w, language_w = (tf.constant(w) for w in weights)

    def soft_f1(p, t, known, size, weight):
        """1 - the word F1 that the probabilities stand for, of pages whose main text is known as a whole."""
        size = size * known
        both = tf.reduce_sum(p * t * size, 1)
        f1 = (2.0 * both + 1.0) / (tf.reduce_sum((p + t) * size, 1) + 1.0)
        whole = tf.cast(tf.reduce_sum(t * size, 1) > 0, tf.float32)
        return tf.reduce_sum((1.0 - f1) * whole * weight) / tf.maximum(tf.reduce_sum(whole), 1.0)

    def page_mean(loss, known, weight=1.0):
        """Mean over the known blocks of each page, then over pages that have any."""
        per = tf.reduce_sum(loss * known, 1) / tf.maximum(tf.reduce_sum(known, 1), 1.0)
        has = tf.cast(tf.reduce_sum(known, 1) > 0, tf.float32)
        return tf.reduce_sum(per * has * weight) / tf.maximum(tf.reduce_sum(has), 1.0)

    def one_of(p, y, w, smooth):
        known = tf.cast(y >= 0, tf.float32)
        n = p.shape[-1]
        target = tf.one_hot(tf.maximum(y, 0), n) * (1.0 - smooth) + smooth / n
        loss = -tf.reduce_sum(target * tf.math.log(p + 1e-7), -1) * tf.gather(w, tf.maximum(y, 0))
        return loss, known

    @tf.function(reduce_retracing=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            out = model(x, training=True)
            p = tf.clip_by_value(out["main"][..., 0], 1e-6, 1 - 1e-6)
            t = tf.cast(y["main"], tf.float32)
            bce = -(t * tf.math.log(p) + (1 - t) * tf.math.log(1 - p))
            known = tf.cast(y["main"] >= 0, tf.float32)
            main = page_mean(bce, known, y["weight"])
            main += F1_WEIGHT * soft_f1(p, t, known, tf.cast(x["numeric"][..., words], tf.float32), y["weight"])
            loss, known = one_of(out["role"], y["role"], role_w, 0.0)
            role = page_mean(loss, known)
            loss, known = one_of(out["language"], y["language"], language_w, 0.02)
            language = tf.reduce_sum(loss * known) / tf.maximum(tf.reduce_sum(known), 1.0)
            total = main + 1.0 * role + 0.1 * language
        grads = tape.gradient(total, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))
        return tf.stack([total, main, role, language])

    return step


def page_counts(pages, model) -> dict:
    """The inputs of the page part, pooled once for all of its epochs: a dict of arrays, a row a page."""
    sums = model.get_layer("sums")

    def bins(name, columns, n):
        return np.stack([np.bincount(p.tensors[name][:, columns].ravel(), minlength=n) for p in pages])

    ones = [tf.ones((1, p.main.size)) for p in pages]
    counts = {
        "sums": np.concatenate([sums(p.tensors["numeric"][None].astype(np.int32), m).numpy() for p, m in zip(pages, ones)]),
        "words": bins("text_tokens", slice(None), network.TEXT_VOCAB).astype(np.uint16),
        "attrs": bins("attr_tokens", slice(network.OWN), network.ATTR_VOCAB).astype(np.uint16),
        "tags": np.concatenate([bins("tag_path", k, network.TAGS) for k in (0, 1)], axis=1).astype(np.float32),
    }
    return counts | {k: np.stack([p.tensors[k] for p in pages]).astype(np.int32) for k in ("url_tokens", "page_meta")}


def drop_page_inputs(b: dict, rng):
    """Augments pooled pages, in place: no site's names, address or scripts may be needed."""
    n = len(b["sums"])
    for k, p in (("words", 0.1), ("attrs", 0.1)):
        b[k] *= rng.random(b[k].shape[1]) > p
    b["attrs"][rng.random(n) < 0.1] = 0
    b["url_tokens"][rng.random(n) < 0.3] = 0
    b["page_meta"][rng.random(b["page_meta"].shape) < 0.1] = 0
    b["page_meta"][rng.random(n) < 0.1] = 0
    b["page_meta"][rng.random(n) < 0.4, SCHEMA:] = 0  # pages saved without their scripts have no JSON-LD


def fit_page_part(model, pages, epochs=30, seed=7, size=32, rate=2e-3, log=print):
    """Fits the part that says the page's type, on pooled pages, and freezes it."""
    pages = [p for p in pages if p.page_type >= 0]
    if not pages:
        return
    rng = np.random.default_rng(seed)
    counts = page_counts(pages, model)
    kind = np.array([p.page_type for p in pages])
    weight = class_weights(kind, len(data.PAGE_TYPES), 0.3)[kind]
    words, attrs, part = (model.get_layer(n) for n in ("page_words", "page_attrs", "page"))
    own = [words, attrs, part]
    variables = [v for layer in own for v in layer.trainable_variables]
    steps = max(len(pages) // size, 1)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps * epochs, alpha=0.02)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05)
    optimizer.build(variables)
    loss_of = keras.losses.CategoricalCrossentropy(label_smoothing=0.1, reduction="none")

    @tf.function(reduce_retracing=True)
    def step(b, target, w):
        with tf.GradientTape() as tape:
            pooled = [b["sums"], words.of_counts(b["words"]), attrs.of_counts(b["attrs"]), b["tags"], b["url_tokens"],
                      b["page_meta"]]  # fmt: skip
            loss = tf.reduce_mean(loss_of(target, part(pooled, training=True)[1]) * w)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    start = time.time()
    for _ in range(epochs):
        order, total = rng.permutation(len(pages)), 0.0
        for at in range(0, steps * size, size):
            rows = order[at : at + size]
            b = {k: v[rows].astype(np.int32 if k in ("url_tokens", "page_meta") else np.float32) for k, v in counts.items()}
            drop_page_inputs(b, rng)
            total += float(step({k: tf.constant(v) for k, v in b.items()}, tf.one_hot(kind[rows], len(data.PAGE_TYPES)),
                                tf.constant(weight[rows], tf.float32)))  # fmt: skip
    for layer in own:
        layer.trainable = False
    log(f"page types: {epochs} epochs {time.time() - start:.0f} s, loss {total / steps:.4f}", flush=True)


def fit(pages, x: Extractor, epochs=9, seed=7, longest=768, blocks_per_batch=4096, rate=2e-3, history=None, log=print):
    """A trained model. Deterministic up to the order of floating point additions on several threads.

    history: a list that gets a dict of losses for each epoch.
    """
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    pages = [p for p in pages if p.oracle >= 0.6 or not p.name.startswith("wcxb")]
    augment = Augment(x, seed)
    model = network.build(x.numeric_names)
    fit_page_part(model, pages, seed=seed, log=log)
    per_epoch = sum(1 for _ in batches(pages, augment, longest, blocks_per_batch, rng))
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, per_epoch * epochs, alpha=0.02, warmup_target=rate, warmup_steps=per_epoch // 2
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=0.02, global_clipnorm=1.0, use_ema=True, ema_momentum=0.998
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    weights = (
        class_weights(np.concatenate([p.role for p in pages]).astype(int), len(data.ROLES), 0.35),
        class_weights(np.array([p.language for p in pages]), len(data.LANGUAGES), 0.5),
    )
    step = make_step(model, optimizer, weights, x.numeric_names.index("words"))
    for epoch in range(epochs):
        start, sums, n = time.time(), np.zeros(4), 0
        for bx, by in batches(pages, augment, longest, blocks_per_batch, rng):
            sums += step({k: tf.constant(v) for k, v in bx.items()}, {k: tf.constant(v) for k, v in by.items()}).numpy()
            n += 1
        losses = dict(zip(("total", "main", "role", "language"), (sums / n).tolist()))
        log(f"epoch {epoch + 1}/{epochs} {time.time() - start:.0f} s " +
            " ".join(f"{k} {v:.4f}" for k, v in losses.items()), flush=True)  # fmt: skip
        if history is not None:
            losses = {k: round(v, 4) for k, v in losses.items()}
            history.append({"epoch": epoch + 1, "seconds": round(time.time() - start)} | losses)
    optimizer.finalize_variable_values(model.trainable_variables)
    return model




def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--data", type=Path, required=True, help="folder with wcxb-dev/ and trafilatura's evaldata.json")
    a.add_argument("--out", type=Path, default=OUT)
    a.add_argument("--cache", type=Path, help="folder for extracted features")
    a.add_argument("--library", type=Path, help="the feature library (default build/handlers/html.so)")
    a.add_argument("--epochs", type=int, default=8)
    a.add_argument("--seed", type=int, default=7)
    a = a.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    start = time.time()
    x = Extractor(a.library)
    pages = data.load(a.data, a.cache, a.library)
    print(f"{len(pages)} pages, {sum(p.main.size for p in pages)} blocks, {time.time() - start:.0f} s", flush=True)
    history = []
    model = fit(pages, x, a.epochs, a.seed, history=history)
    page_threshold.put_into(model)
    print(f"{model.count_params()} parameters")
    export(model, a.out, x)
    print(f"{a.out} written after {time.time() - start:.0f} s")
    if a.out == OUT:
        (HERE / "training.json").write_text("[\n" + ",\n".join(json.dumps(h) for h in history) + "\n]\n")
        try:
            report.curves(history, HERE.parent / "training.svg")
        except ModuleNotFoundError as e:
            print(f"training.svg is not drawn: {e}")


if __name__ == "__main__":
    main()
