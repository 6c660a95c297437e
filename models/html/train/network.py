"""The network: several named integer inputs, a masked stack of convolutions over blocks, several named heads.

Inputs are raw counts and ids (features/html_features.h); ratios and logarithms are computed here, inside the graph, so
that the border between C and TensorFlow holds integers only. Every layer is shape-polymorphic in the batch and the number
of blocks, and padding changes nothing: the mask is multiplied in before each convolution and pooling.
"""

import keras
from keras import layers, ops

from data import LANGUAGES, PAGE_TYPES, ROLES

TEXT_VOCAB, ATTR_VOCAB, URL_VOCAB, META_VOCAB = 16384, 8192, 4096, 8192
TAGS = 256
WIDTHS = {"tag_path": 12, "attr_tokens": 20, "text_tokens": 24, "url_tokens": 32, "page_meta": 48}
OWN = 6  # attr_tokens: the block's own, then its ancestors'


@keras.saving.register_keras_serializable(package="tern")
class Counts(layers.Layer):
    """Raw counts to features: logarithms, ratios, places relative to the page."""

    def __init__(self, names, **kw):
        super().__init__(**kw)
        self.names = list(names)
        self.at = {n: i for i, n in enumerate(self.names)}
        self.first_bit = self.at["in_p"]

    def get_config(self):
        return {**super().get_config(), "names": self.names}

    def call(self, numeric, mask):
        v = ops.cast(numeric, "float32")
        m = mask[..., None]

        def c(name):
            i = self.at[name]
            return v[..., i : i + 1]

        def ratio(a, b):
            return c(a) / (c(b) + 1.0)

        logs = ops.log1p(ops.maximum(v[..., : self.first_bit], 0.0)) * 0.3
        last = ops.max(c("index") * m, axis=1, keepdims=True)
        end = ops.max(c("offset") * m, axis=1, keepdims=True)
        total = ops.sum(c("bytes") * m, axis=1, keepdims=True)
        place = c("index") / (last + 1.0)
        extra = [
            ratio("link_bytes", "bytes"), ratio("upper", "bytes") * 3.0, ratio("digits", "bytes") * 3.0,
            ratio("punctuation", "words"), ratio("commas", "words") * 3.0, ratio("symbols", "bytes") * 5.0,
            ratio("sentences", "words") * 3.0, ratio("non_ascii", "bytes"), ratio("bytes", "words") * 0.1,
            ratio("title_words", "words"), ratio("author_words", "words"),
            ratio("l1_link_bytes", "l1_bytes"), ratio("l3_link_bytes", "l3_bytes"), ratio("l5_link_bytes", "l5_bytes"),
            ratio("l1_p_bytes", "l1_bytes"), ratio("l3_p_bytes", "l3_bytes"), ratio("l5_p_bytes", "l5_bytes"),
            c("l1_bytes") / (total + 1.0), c("l3_bytes") / (total + 1.0), c("l5_bytes") / (total + 1.0),
            c("bytes") / (total + 1.0), ops.log1p(c("l1_bytes") / (c("l1_blocks") + 1.0)) * 0.3,
            ops.log1p(c("l3_bytes") / (c("l3_blocks") + 1.0)) * 0.3, place, 1.0 - place, c("offset") / (end + 1.0),
            ops.cast(c("index") < 0.5, "float32"), ops.cast(c("title_words") > 0.5, "float32"),
            ops.cast(c("link_bytes") >= c("bytes"), "float32"),
        ]  # fmt: skip
        return ops.concatenate([logs, v[..., self.first_bit :]] + extra, axis=-1) * m


def masked_mean(x, mask):
    m = mask[..., None]
    return ops.sum(x * m, axis=1) / (ops.sum(m, axis=1) + 1e-6)


def masked_max(x, mask):
    m = mask[..., None]
    return ops.max(x * m + (m - 1.0) * 1e3, axis=1)


@keras.saving.register_keras_serializable(package="tern")
class Bag(layers.Layer):
    """Mean of embeddings over the last axis of token ids; id 0 counts for nothing."""

    def call(self, ids, vectors):
        m = ops.cast(ids > 0, "float32")[..., None]
        return ops.sum(vectors * m, axis=-2) / (ops.sum(m, axis=-2) + 1e-6)


@keras.saving.register_keras_serializable(package="tern")
class Pool(layers.Layer):
    """Mean and maximum over the blocks of a page."""

    def call(self, x, mask):
        return ops.concatenate([masked_mean(x, mask), masked_max(x, mask)], axis=-1)


@keras.saving.register_keras_serializable(package="tern")
class Mean(layers.Layer):
    def call(self, x, mask):
        return masked_mean(x, mask)


@keras.saving.register_keras_serializable(package="tern")
class Masked(layers.Layer):
    def call(self, x, mask):
        return x * mask[..., None]


@keras.saving.register_keras_serializable(package="tern")
class Spread(layers.Layer):
    """Adds a page vector to each of its blocks."""

    def call(self, x, page):
        return x + page[:, None, :]


def build(numeric_names, width=96, dilations=(1, 2, 4, 8, 16, 1), spread_after=(2, 4), dropout=0.15):
    """The model, untrained. Inputs and outputs are dicts of names."""
    inputs = {
        name: keras.Input((None, WIDTHS[name]) if name in ("tag_path", "attr_tokens", "text_tokens") else (WIDTHS[name],),
                          dtype="int32", name=name)
        for name in WIDTHS
    }  # fmt: skip
    inputs["numeric"] = keras.Input((None, len(numeric_names)), dtype="int32", name="numeric")
    inputs["node_mask"] = keras.Input((None,), dtype="float32", name="node_mask")
    mask = inputs["node_mask"]
    bag = Bag()

    tags = inputs["tag_path"]
    tag_vectors = layers.Embedding(TAGS, 16, name="tags")(tags)
    near = ops.concatenate([tag_vectors[:, :, k] for k in range(4)], axis=-1)
    far = bag(tags[:, :, 4:], tag_vectors[:, :, 4:])
    attrs = inputs["attr_tokens"]
    attr_vectors = layers.Embedding(ATTR_VOCAB, 24, name="attrs")(attrs)
    own = bag(attrs[:, :, :OWN], attr_vectors[:, :, :OWN])
    above = bag(attrs[:, :, OWN : OWN + 5], attr_vectors[:, :, OWN : OWN + 5])
    higher = bag(attrs[:, :, OWN + 5 :], attr_vectors[:, :, OWN + 5 :])
    text = inputs["text_tokens"]
    text_vectors = layers.Embedding(TEXT_VOCAB, 24, name="words")(text)
    start = bag(text[:, :, :4], text_vectors[:, :, :4])
    whole = bag(text, text_vectors)
    counts = Counts(numeric_names, name="counts")(inputs["numeric"], mask)
    counts = layers.Dense(64, activation="gelu", name="counts_dense")(counts)

    x = ops.concatenate([near, far, own, above, higher, start, whole, counts], axis=-1)
    x = layers.Dropout(dropout)(x)
    x = Masked()(layers.Dense(width, activation="gelu", name="join")(x), mask)
    for i, d in enumerate(dilations):
        y = Masked()(layers.LayerNormalization(name=f"norm_{i}")(x), mask)
        y = layers.Conv1D(width, 3, dilation_rate=d, padding="same", activation="gelu", name=f"conv_{i}")(y)
        y = layers.Dropout(dropout)(y)
        y = layers.Dense(width, name=f"mix_{i}")(y)
        x = Masked()(x + y, mask)
        if i in spread_after:
            page = layers.Dense(width, activation="gelu", name=f"page_{i}")(Pool()(x, mask))
            x = Masked()(Spread()(x, page), mask)
    x = layers.LayerNormalization(name="norm_out")(x)

    url = inputs["url_tokens"]
    meta = inputs["page_meta"]
    url_mean = bag(url, layers.Embedding(URL_VOCAB, 16, name="urls")(url))
    meta_vectors = layers.Embedding(META_VOCAB, 16, name="metas")(meta)
    parts = [bag(meta[:, a:b], meta_vectors[:, a:b]) for a, b in ((0, 24), (24, 26), (26, 28), (28, 30), (30, 48))]
    about = layers.Dropout(0.3)(ops.concatenate([url_mean] + parts, axis=-1))
    pooled = layers.Dropout(0.3)(Pool()(Masked()(x, mask), mask))
    hidden = layers.Dense(64, activation="gelu", name="type_hidden")(ops.concatenate([pooled, about], axis=-1))
    hidden = layers.Dropout(0.4)(hidden)
    speech = ops.concatenate([Mean()(whole, mask), parts[1]], axis=-1)

    outputs = {
        "main": layers.Dense(1, activation="sigmoid", name="main")(x),
        "role": layers.Dense(len(ROLES), activation="softmax", name="role")(x),
        "page_type": layers.Dense(len(PAGE_TYPES), activation="softmax", name="page_type")(hidden),
        "language": layers.Dense(len(LANGUAGES), activation="softmax", name="language")(speech),
    }
    return keras.Model(inputs, outputs, name="tern_html")
