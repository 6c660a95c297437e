"""Writes the trained network as a SavedModel whose graph is made for answering: the same function in fewer and larger steps.

network.build() says what the network is, and is what is trained. Lean is the same network over the rows of all pages together:
weights are constants, what is linear is folded into the product behind it, and a convolution is one product of the rows that it
sees side by side. The number of blocks is rounded up, as oneDNN keeps a kernel for each shape and would make new ones for
nearly every page; padding changes nothing. export() compares both before it writes, and writes network.build()'s own graph
when they differ.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

import network
from features import Extractor, batch_of_one

PAGES = Path(__file__).resolve().parent.parent / "pages"
EPSILON = 1e-3  # of keras' normalizations
ROUND = 16  # blocks
NEAR = 4  # tags of a path whose place counts
START = 4  # words of a block that count by themselves
SAME = 1e-5  # most that an answer may differ

# The features of network.Counts that divide, in its order: numerator, denominator less 1, factor.
RATIOS = """link_bytes/bytes upper/bytes/3 digits/bytes/3 punctuation/words commas/words/3 symbols/bytes/5 sentences/words/3
    non_ascii/bytes bytes/words/0.1 title_words/words author_words/words l1_link_bytes/l1_bytes l3_link_bytes/l3_bytes
    l5_link_bytes/l5_bytes l1_p_bytes/l1_bytes l3_p_bytes/l3_bytes l5_p_bytes/l5_bytes""".split()
LATER_RATIOS = "alike_index/alike group_index/group group_link_bytes/group_bytes".split()
LOG_RATIOS = "l1_bytes/l1_blocks l3_bytes/l3_blocks group_bytes/group_blocks".split()
SHARES = "l1_bytes l3_bytes l5_bytes bytes".split()  # of the page's bytes
# What network.Sums counts the blocks of, in its order: more than that.
MANY = [(n, least) for n in ("same", "alike", "group") for least in (3.5, 11.5)] + [("bytes", n) for n in (60.0, 200.0, 500.0)]


class Weights(dict):
    """By path; knows what was never asked for."""

    def __init__(self, model):
        super().__init__((v.path, v.numpy()) for v in model.weights)
        self.left = set(self)

    def __getitem__(self, path):
        self.left.discard(path)
        return super().__getitem__(path)


def product(x, kernel, bias, gelu):
    """In the form that TensorFlow makes one step of."""
    y = tf.nn.bias_add(tf.matmul(x, tf.constant(kernel, tf.float32)), tf.constant(bias, tf.float32))
    return tf.nn.gelu(y) if gelu else y


def normalized(x):
    """A LayerNormalization before its gamma and beta."""
    x = x - tf.reduce_mean(x, -1, keepdims=True)
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + EPSILON)


class Lean:
    """Called with the inputs of network.build(), returns its outputs.

    B pages of N blocks each; "rows" are [B * N, ...].
    """

    def __init__(self, model, numeric_names):
        self.w = w = Weights(model)
        self.at = {n: i for i, n in enumerate(numeric_names)}
        self.names, self.ties = list(numeric_names), 1 + len(network.KIN_LEVELS)
        self.columns, self.first_bit = len(numeric_names), self.at["in_p"]
        # token 0 counts for nothing: as a row of zeros it needs no mask
        self.tables = {p: tf.Variable(w[p], trainable=False, name=p) for p in w if p.split("/")[1] in ("embeddings", "vectors")}
        for path, t in self.tables.items():
            if path != "tags/embeddings":
                t[0].assign(tf.zeros_like(t[0]))
        far = w["tags/embeddings"].copy()
        far[0] = 0
        self.far = tf.constant(far)
        self.counts_kernel, self.counts_bias = self.counts_weights(numeric_names)

    def dense(self, x, name, gelu=False):
        return product(x, self.w[f"{name}/kernel"], self.w[f"{name}/bias"], gelu)

    # ---- what is counted ----

    def counts_weights(self, names):
        """The weights of counts_dense for the features of counts()."""
        later = self.at["prices"]
        order = [("log", n) for n in names[:later]] + [("bit", n) for n in names[self.first_bit :]]
        order += RATIOS + [("share", n) for n in SHARES] + LOG_RATIOS[:2]
        order += ["place", "place from the end", "offset", "first", "titled", "all link"]
        order += [("log", n) for n in names[later : self.first_bit]] + LATER_RATIOS + LOG_RATIOS[2:]
        order += ["group share", "same", "priced", "grouped"]
        kernel, bias = self.w["counts_dense/kernel"], self.w["counts_dense/bias"]
        of = dict(zip(order, kernel, strict=True))

        def ratio(r):
            return of[r] * np.float32(r.split("/")[2]) if r.count("/") == 2 else of[r]

        rows = [of["log", n] * np.float32(0.3) for n in names[: self.first_bit]] + [of["bit", n] for n in names[self.first_bit :]]
        rows += [ratio(r) for r in RATIOS + LATER_RATIOS] + [of[r] * np.float32(0.3) for r in LOG_RATIOS]
        rows += [of["place"] - of["place from the end"], of["offset"], of["same"]] + [of["share", n] for n in SHARES]
        rows += [of["group share"] * np.float32(0.5), of["first"], -of["all link"], of["titled"], of["priced"], of["grouped"]]
        return np.stack(rows), bias + of["place from the end"] + of["all link"]

    def pick(self, v, *names):
        return tf.gather(v, [self.at[n] for n in names])

    def counts(self, v, mask):
        """v [columns, B, N]: raw counts. Returns counts_dense of each row, and what network.Sums says of each page."""
        flags = [("title_words", 0.5), ("prices", 0.5), ("group", 3.5)] + MANY
        least = np.array([n for _, n in flags], np.float32)[:, None, None]
        less = self.pick(v, "index", "link_bytes") < tf.concat([0.5 * tf.ones_like(v[:1]), self.pick(v, "bytes")], 0)
        flags = tf.cast(tf.concat([less, self.pick(v, *(n for n, _ in flags)) > least], 0), tf.float32)
        everything = tf.concat([v, flags], 0) * mask
        sums, by_bytes = tf.reduce_sum(everything, 2), tf.reduce_sum(everything * v[self.at["bytes"]], 2)
        total = sums[self.at["bytes"] :][:1] + 1.0

        d = self.pick(v, "index", "offset", "same", *SHARES, "group", "group_bytes")
        d = tf.concat([d[:-2], d[-2:-1] * d[-1:]], 0)
        far = tf.reduce_max(d[:2] * mask, 2) + 1.0
        d = d / tf.concat([far, far[:1] + 1.0] + [total] * 5, 0)[..., None]
        over, under = zip(*(r.split("/")[:2] for r in RATIOS + LATER_RATIOS + LOG_RATIOS))
        ratios = self.pick(v, *over) / (self.pick(v, *under) + 1.0)
        plain = len(RATIOS + LATER_RATIOS)
        logs = tf.math.log1p(tf.maximum(v[: self.first_bit], 0.0))
        features = [logs, v[self.first_bit :], ratios[:plain], tf.math.log1p(ratios[plain:]), d, flags[:5]]
        features = tf.transpose(tf.concat(features, 0), [1, 2, 0])
        features = tf.reshape(features, [-1, features.shape[-1]])
        return product(features, self.counts_kernel, self.counts_bias, True), self.sums(sums, by_bytes, total, mask)

    def sums(self, sums, by_bytes, total, mask):
        """Sums of the counts and of the flags of counts(), [columns + flags, B], and both weighted by bytes."""
        bit, k, link = self.first_bit, self.columns, self.at["link_bytes"]
        many = sums.shape[0] - len(MANY)
        factor = np.repeat(np.float32([[0.15], [0.2]]), (bit, sums.shape[0] - bit), axis=0)
        logs, shares = tf.math.log1p(tf.maximum(sums, 0.0)) * factor, by_bytes / total
        out = [logs[:bit], sums[bit:k] / (tf.reduce_sum(mask, 1) + 1e-6), logs[bit:k], shares[bit:k],
               sums[link : link + 1] / total, shares[many:], logs[many:]]  # fmt: skip
        out = tf.concat(out, 0)
        # a transpose would do, if OpenVINO did not move it through the whole page part and fail
        return tf.matmul(out, np.eye(out.shape[0], dtype=np.float32), transpose_a=True)

    # ---- words ----

    def bags(self, table, ids, parts):
        """Means of the vectors of ids [rows, T] from 0 to the first end in parts, from there to the next, ..., as a list."""
        known = tf.cast(ids > 0, tf.float32)
        return [
            tf.reduce_sum(tf.gather(table, ids[:, a:e]), 1) / (tf.reduce_sum(known[:, a:e], 1, keepdims=True) + 1e-6)
            for a, e in zip((0, *parts), parts)
        ]

    def starts(self, table, ids):
        """As bags(): of the first words, and of all."""
        known = tf.cast(ids > 0, tf.float32)
        start, start_n = tf.reduce_sum(tf.gather(table, ids[:, :START]), 1), tf.reduce_sum(known[:, :START], 1, keepdims=True)
        rest = tf.reduce_sum(tf.gather(table, ids[:, START:]), 1)
        return [start / (start_n + 1e-6), (start + rest) / (tf.reduce_sum(known, 1, keepdims=True) + 1e-6)]

    def keywords(self, table, ids):
        """network.Keywords of ids [B, words of the page]."""
        v, total = tf.gather(table, ids), tf.reduce_sum(tf.cast(ids > 0, tf.float32), 1, keepdims=True)
        lists, sums = tf.reduce_sum(tf.nn.relu(v), 1), tf.reduce_sum(v, 1)
        return tf.concat([tf.math.log1p(lists) * 0.5, sums / (total + 1.0) * 10.0], -1)

    # ---- the page ----

    def batch_normalized(self, x, name):
        gamma, beta, mean, variance = (self.w[f"{name}/{n}"] for n in ("gamma", "beta", "moving_mean", "moving_variance"))
        return (x - mean) * (gamma / np.sqrt(variance + EPSILON)) + beta

    def page(self, sums, words, names, tags, url, meta):
        """network.page_part(): hidden vector and type."""
        tags = self.dense(self.batch_normalized(tf.math.log1p(tags), "tags_norm"), "tags_dense", True)
        url = self.bags(self.tables["urls/embeddings"], url, [e for _, e in network.URL_PARTS])
        meta = self.bags(self.tables["metas/embeddings"], meta, [e for _, e in network.META_PARTS])
        parts = [self.batch_normalized(sums, "sums_norm"), words, names, tags, *url, *meta]
        hidden = self.dense(tf.concat(parts, -1), "hidden", True)
        return hidden, tf.nn.softmax(self.dense(hidden, "type"))

    def tag_counts(self, tags, mask, wide):
        """How often each tag is a block's own and its parent's: [B, 2 * TAGS]."""
        n = 2 * network.TAGS
        at = tf.reshape(tags[:, :2], wide) + [0, network.TAGS] + tf.range(wide[0])[:, None, None] * n
        each = tf.reshape(tf.stack([mask, mask], -1), [-1])
        return tf.reshape(tf.math.unsorted_segment_sum(each, tf.reshape(at, [-1]), wide[0] * n), [-1, n])

    # ---- the blocks ----

    def seen(self, dilations, mask, wide):
        """For each convolution the three rows that each row sees, [B * N, 3]; the row behind the last where none is."""
        pages, blocks = wide[0], wide[1]
        at = np.array([[-d, 0, d] for d in dilations], np.int32)[:, None, None] + tf.range(blocks)[:, None]  # [., 1, N, 3]
        row = at + tf.range(pages)[:, None, None] * blocks
        last = pages * blocks
        there = tf.gather(tf.reshape(mask, [-1]), tf.clip_by_value(row, 0, last - 1)) > 0
        row = tf.where((at >= 0) & (at < blocks) & there, row, last)
        return tf.unstack(tf.reshape(row, [len(dilations), -1]))

    def convolution(self, x, i, seen):
        """norm_i and conv_i. gamma and beta are in the kernel; the row that stands for none makes a 0 of them."""
        kernel, bias, gamma, beta = (self.w[n] for n in (f"conv_{i}/kernel", f"conv_{i}/bias", f"norm_{i}/gamma", f"norm_{i}/beta"))
        gamma = np.where(np.abs(gamma) < 1e-6, np.float32(1e-6), gamma)
        bias = bias + np.einsum("i,kio->o", beta, kernel)
        kernel = (kernel * gamma[:, None]).reshape(-1, kernel.shape[-1])
        x = tf.concat([normalized(x), (-beta / gamma)[None]], 0)
        return product(tf.reshape(tf.gather(x, seen), [-1, kernel.shape[0]]), kernel, bias, True)

    def spread(self, x, page, wide):
        return tf.reshape(tf.reshape(x, wide) + page[:, None], [-1, x.shape[-1]])

    def pool(self, x, mask, wide):
        x3 = tf.reshape(x, wide) * mask[..., None]
        mean = tf.reduce_sum(x3, 1) / (tf.reduce_sum(mask, 1)[:, None] + 1e-6)
        top = tf.reduce_max(x3 + (mask[..., None] - 1.0) * 1e3, 1)
        return tf.reshape(tf.concat([mean, top], -1), [-1, 2 * x.shape[-1]])

    def kin(self, tags, attrs, numeric):
        """network.Kin as a number for each tie of each row, [ties * rows]: kin have the same one."""
        page = tf.zeros_like(tags[..., :1]) + tf.range(tf.shape(tags)[0])[:, None, None]
        return tf.unique(tf.reshape(tf.stack(network.Kin.ties(self.names, tags, attrs, numeric, page)), [-1])).idx

    def hear(self, x, i, kin, mask):
        """What a block's kin say on the average, as network.build() adds it."""
        y = self.dense(x, f"to_kin_{i}")
        real = tf.reshape(mask, [-1, 1])
        told = tf.tile(tf.concat([y, tf.ones_like(real)], -1) * real, [self.ties, 1])
        heard = tf.gather(tf.math.unsorted_segment_sum(told, kin, tf.size(kin)), kin)
        heard = tf.reshape(heard[:, :-1] / tf.maximum(heard[:, -1:], 1.0), [self.ties, -1, network.KIN])
        y = tf.concat([y, *tf.unstack(heard)], -1)
        return x + self.dense(self.dense(y, f"kin_{i}", True), f"from_kin_{i}")

    def blocks(self, x, page, kin, mask, wide):
        """All convolutions. page: what type_to_blocks takes."""
        seen = self.seen(network.DILATIONS, mask, wide)
        for i in range(len(seen)):
            x = x + self.dense(self.convolution(x, i, seen[i]), f"mix_{i}")
            if i in network.KIN_AFTER:
                x = self.hear(x, i, kin, mask)
            if i == network.TYPE_AFTER:
                x = self.spread(x, self.dense(page, "type_to_blocks"), wide)
            if i in network.SPREAD_AFTER:
                x = self.spread(x, self.dense(self.pool(x, mask, wide), f"page_{i}", True), wide)
        return x

    def heads(self, x):
        """Logits of main and role, side by side."""
        kernel = np.concatenate([self.w["main/kernel"], self.w["role/kernel"]], 1)
        bias = np.concatenate([self.w["main/bias"], self.w["role/bias"]]) + self.w["norm_out/beta"] @ kernel
        return product(normalized(x), kernel * self.w["norm_out/gamma"][:, None], bias, False)

    def threshold(self, logits, words, kind, mask):
        """network.PageThreshold."""
        kernel, bias, out, base = (self.w[f"page_threshold/{n}"] for n in ("kernel", "bias", "out", "base"))
        seen = network.PageThreshold.features(logits, words, kind, mask)
        return tf.matmul(tf.tanh(tf.matmul(seen, kernel) + bias), out) + base

    def __call__(self, inputs):
        given = tf.shape(inputs["node_mask"])
        pages, extra = given[0], tf.math.floormod(-given[1], ROUND)
        wide = tf.stack([pages, given[1] + extra, -1])

        def padded(name):
            return tf.pad(inputs[name], [[0, 0], [0, extra], [0, 0]])

        def rows(name):
            return tf.reshape(padded(name), [-1, inputs[name].shape[-1]])

        mask = tf.pad(inputs["node_mask"], [[0, 0], [0, extra]])
        real = tf.cast(tf.reshape(mask, [-1, 1]), tf.int32)
        t, own = self.tables, network.OWN
        tags, attrs, text = rows("tag_path"), rows("attr_tokens"), rows("text_tokens") * real
        counts, sums = self.counts(tf.transpose(tf.cast(padded("numeric"), tf.float32), [2, 0, 1]), mask)
        near = tf.reshape(tf.gather(t["tags/embeddings"], tags[:, :NEAR]), [-1, NEAR * t["tags/embeddings"].shape[1]])
        far = self.bags(self.far, tags[:, NEAR:], [tags.shape[1] - NEAR])
        around = self.bags(t["attrs/embeddings"], attrs, [own, own + 5, attrs.shape[1]])
        words = self.starts(t["words/embeddings"], text)
        x = self.dense(tf.concat([near, *far, *around, *words, counts], -1), "join", True)

        page = tf.stack([pages, -1])
        hidden, kind = self.page(
            sums, self.keywords(t["page_words/vectors"], tf.reshape(text, page)),
            self.keywords(t["page_attrs/vectors"], tf.reshape(attrs[:, :own] * real, page)),
            self.tag_counts(tags, mask, wide), inputs["url_tokens"], inputs["page_meta"],
        )  # fmt: skip
        kin = self.kin(padded("tag_path"), padded("attr_tokens"), padded("numeric"))
        x = self.blocks(x, tf.concat([hidden, kind], -1), kin, mask, wide)
        logits = tf.reshape(self.heads(x), wide)[:, : given[1]]
        lang = slice(*network.META_PARTS[1])
        (lang,) = self.bags(t["lang/embeddings"], inputs["page_meta"][:, lang], [lang.stop - lang.start])
        whole = tf.reduce_sum(tf.reshape(words[1], wide), 1) / (tf.reduce_sum(mask, 1)[:, None] + 1e-6)
        speech = tf.reshape(tf.concat([whole, lang], -1), [-1, words[1].shape[-1] + lang.shape[-1]])
        threshold = self.threshold(logits[..., :1], inputs["numeric"][..., self.at["words"]], kind, inputs["node_mask"])
        return {
            "main": tf.sigmoid(logits[..., :1] - threshold[:, None]),
            "role": tf.nn.softmax(logits[..., 1:]),
            "page_type": kind,
            "language": tf.nn.softmax(self.dense(speech, "language")),
        }


def compare(model, serve, x: Extractor) -> float:
    """The most that an answer about one of the project's own pages differs."""
    most = 0.0
    for page in sorted(PAGES.glob("*.html")):
        t = {k: tf.constant(v) for k, v in batch_of_one(x.extract(page.read_bytes())).items()}
        want, got = model(t, training=False), serve(t)
        most = max(most, *(float(tf.reduce_max(tf.abs(want[k] - got[k]))) for k in want))
    return most


def faster(model, x: Extractor, signature):
    """(function, the variables that it reads by path), or None where this file does not know the network, and says why."""
    try:
        lean = Lean(model, x.numeric_names)
        serve = tf.function(lean, input_signature=[signature])
        most = compare(model, serve, x)
    except (KeyError, ValueError) as e:
        print(f"export.py cannot make the graph faster, as the network is another one: {e}")
        return None
    if lean.w.left or not most <= SAME:
        print(f"export.py cannot make the graph faster: answers differ by {most:.1e}; not known: {sorted(lean.w.left)}")
        return None
    return serve, lean.tables


def export(model, out: Path, x: Extractor):
    """Writes the SavedModel with dict inputs and outputs, and what the handler needs beside it."""
    signature = {t.name: tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs}
    plain = tf.function(lambda inputs: model(inputs, training=False), input_signature=[signature])
    holder = tf.Module()  # keras' own export would store each variable twice
    holder.serve, own = faster(model, x, signature) or (plain, {v.path: v.value for v in model.weights})
    # all weights, as trained, though most stand in the graph as constants too
    holder.weights = [own[v.path] if v.path in own else tf.Variable(v.value, name=v.path) for v in model.weights]
    tf.saved_model.save(holder, str(out), signatures={"serving_default": holder.serve})
    extra = out / "assets.extra"
    extra.mkdir(exist_ok=True)
    config = {"handler": "html", "fingerprint": x.fingerprint, "thresholds": {"main": 0.5}}
    (extra / "tern.json").write_text(json.dumps(config, indent=2) + "\n")
