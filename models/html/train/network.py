"""The network: several named integer inputs, a masked stack of convolutions over blocks, several named heads.

Inputs are raw counts and ids (features/html_features.h); ratios and logarithms are computed here, inside the graph, so
that the border between C and TensorFlow holds integers only. Every layer is shape-polymorphic in the batch and the number
of blocks, and padding changes nothing: the mask is multiplied in before each convolution and pooling.
"""

import keras
import numpy as np
from keras import layers, ops

from data import LANGUAGES, PAGE_TYPES, ROLES

TEXT_VOCAB, ATTR_VOCAB, URL_VOCAB, META_VOCAB = 16384, 8192, 4096, 8192
TAGS = 256
WIDTHS = {"tag_path": 12, "attr_tokens": 20, "text_tokens": 24, "url_tokens": 32, "page_meta": 64}
KIN = 32  # width of what a block tells its kin
KIN_LEVELS = ("l3", "l5")  # up from a block: the elements whose blocks are kin
CUT = 8  # hidden units of PageThreshold
OWN = 6  # attr_tokens: the block's own, then its ancestors'
URL_PARTS = ((0, 28), (28, 32))  # words of the address, its form
META_PARTS = ((0, 24), (24, 26), (26, 28), (28, 30), (30, 48), (48, 64))  # title, lang, og:type, generator, body, schema.org
DILATIONS = (1, 2, 4, 8, 16, 1)  # of the convolutions
TYPE_AFTER, SPREAD_AFTER, KIN_AFTER = 2, (2, 4), (0, 2, 4)  # after which of them what joins


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
        later = self.at["prices"]
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
        extra += [
            logs[..., later:],
            c("alike_index") / (c("alike") + 1.0), c("group_index") / (c("group") + 1.0),
            ratio("group_link_bytes", "group_bytes"), ops.log1p(c("group_bytes") / (c("group_blocks") + 1.0)) * 0.3,
            c("group") * c("group_bytes") / (total + 1.0) * 0.5, c("same") / (last + 2.0),
            ops.cast(c("prices") > 0.5, "float32"), ops.cast(c("group") > 3.5, "float32"),
        ]  # fmt: skip
        return ops.concatenate([logs[..., :later], v[..., self.first_bit :]] + extra, axis=-1) * m


@keras.saving.register_keras_serializable(package="tern")
class Sums(layers.Layer):
    """What the whole page holds: logarithms of the sums of all counts, and the share of its text in each context."""

    def __init__(self, names, **kw):
        super().__init__(**kw)
        self.names = list(names)

    def get_config(self):
        return {**super().get_config(), "names": self.names}

    def call(self, numeric, mask):
        v = ops.cast(numeric, "float32") * mask[..., None]
        first, at = self.names.index("in_p"), self.names.index
        bytes_ = v[..., :1]
        total = ops.sum(bytes_, axis=1) + 1.0
        blocks = ops.sum(mask, axis=1)[:, None] + 1e-6

        def share(of):
            return ops.sum(bytes_ * of, axis=1) / total

        repeated = [
            ops.cast(v[..., at(n) : at(n) + 1] > least, "float32") for n in ("same", "alike", "group") for least in (3.5, 11.5)
        ]
        long = [ops.cast(bytes_ > least, "float32") for least in (60.0, 200.0, 500.0)]
        link = ops.sum(v[..., at("link_bytes") : at("link_bytes") + 1], axis=1) / total
        return ops.concatenate(
            [ops.log1p(ops.maximum(ops.sum(v[..., :first], axis=1), 0.0)) * 0.15, ops.sum(v[..., first:], axis=1) / blocks,
             ops.log1p(ops.sum(v[..., first:], axis=1)) * 0.2, share(v[..., first:]), link] +
            [share(r) for r in repeated + long] + [ops.log1p(ops.sum(r, axis=1)) * 0.2 for r in repeated + long],
            axis=-1,
        )  # fmt: skip


@keras.saving.register_keras_serializable(package="tern")
class Keywords(layers.Layer):
    """What the words of a whole page say together: for each of `width` learnt lists of words the logarithm of how often they
    stand on the page, and the mean of the words' vectors.

    Called with ids [B, N, T] (0 counts for nothing) and a mask of the blocks; of_counts() with how often each id occurs,
    [B, vocab].
    """

    def __init__(self, vocab, width, **kw):
        super().__init__(**kw)
        self.vocab, self.width = vocab, width

    def get_config(self):
        return {**super().get_config(), "vocab": self.vocab, "width": self.width}

    def build(self, *_):
        init = keras.initializers.RandomUniform(-0.05, 0.05)
        self.vectors = self.add_weight(shape=(self.vocab, self.width), initializer=init, name="vectors")

    def join(self, lists, sums, total):
        return ops.concatenate([ops.log1p(lists) * 0.5, sums / (total + 1.0) * 10.0], axis=-1)

    def call(self, ids, mask):
        known = ops.cast(ids > 0, "float32") * mask[..., None]
        v = ops.take(self.vectors, ids, axis=0) * known[..., None]
        return self.join(ops.sum(ops.relu(v), axis=(1, 2)), ops.sum(v, axis=(1, 2)), ops.sum(known, axis=(1, 2))[:, None])

    def of_counts(self, counts):
        counts = ops.concatenate([ops.zeros_like(counts[:, :1]), counts[:, 1:]], axis=-1)
        return self.join(ops.matmul(counts, ops.relu(self.vectors)), ops.matmul(counts, self.vectors),
                         ops.sum(counts, axis=-1, keepdims=True))  # fmt: skip


@keras.saving.register_keras_serializable(package="tern")
class TagCounts(layers.Layer):
    """How often each tag is a block's own, and its parent's: [B, 2 * TAGS]."""

    def call(self, tags, mask):
        m = mask[..., None]
        return ops.concatenate([ops.sum(ops.one_hot(tags[:, :, k], TAGS) * m, axis=1) for k in (0, 1)], axis=-1)


def hashed(ids):
    """A hash of the last axis, below 2^30, from two below 2^15 whose steps are below 2^24: not all engines have integers."""
    rng, halves = np.random.default_rng(11), []
    for prime in (4093, 4091):
        salt = ops.convert_to_tensor(rng.integers(1, 4096, ids.shape[-1]), "int32")
        halves.append(ops.sum((ids % prime) * salt % 8191, axis=-1) % 32749)
    return halves[0] * 32768 + halves[1]


@keras.saving.register_keras_serializable(package="tern")
class Kin(layers.Layer):
    """Which blocks of a page belong together: for each of three ties a matrix [B, N, N] whose rows hold the same share for
    each of a block's kin (itself among them), 0 for others and padding.

    Tied are blocks of one template (the same path of tags with the same names), and blocks that lie in the same element three
    and five levels up, told by what all blocks of such an element share: its counts.
    """

    def __init__(self, names, **kw):
        super().__init__(**kw)
        self.names = list(names)

    def get_config(self):
        return {**super().get_config(), "names": self.names}

    @staticmethod
    def ties(names, tags, attrs, numeric, page=None):
        """A number for each tie, [B, N] int32: blocks with the same one are kin. page [B, N, 1]: makes those of pages, and of
        ties, differ."""
        ids = [ops.concatenate([tags, attrs], axis=-1)]
        for level in KIN_LEVELS:
            first = names.index(level + "_bytes")
            ids.append(numeric[:, :, first : first + 4])
        if page is not None:
            ids = [ops.concatenate([i, page * len(ids) + k], axis=-1) for k, i in enumerate(ids)]
        return [hashed(i) for i in ids]

    def call(self, tags, attrs, numeric, mask):
        out = []
        for h in self.ties(self.names, tags, attrs, numeric):
            same = ops.cast(ops.equal(h[:, :, None], h[:, None, :]), "float32") * mask[:, None, :]
            out.append(same / ops.maximum(ops.sum(same, axis=-1, keepdims=True), 1.0))
        return out


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


def page_part(widths) -> keras.Model:
    """From a page's pooled inputs (widths: sums, words, attrs, tags, url_tokens, page_meta) to a hidden vector and its type.

    It is fitted before the rest and by itself (train.fit_page_part): 1,300 page types are learnt in many short passes over
    pooled pages, and would be forgotten or overfitted at the pace of the blocks.
    """
    sums, words, attrs, tags, url, meta = ins = [
        keras.Input((w,), dtype="int32" if i > 3 else "float32") for i, w in enumerate(widths)
    ]
    bag = Bag()
    url_vectors = layers.Embedding(URL_VOCAB, 16, name="urls")(url)
    meta_vectors = layers.Embedding(META_VOCAB, 16, name="metas")(meta)
    tags = layers.BatchNormalization(momentum=0.9, name="tags_norm")(ops.log1p(tags))
    parts = [
        layers.Dropout(0.15)(layers.BatchNormalization(momentum=0.9, name="sums_norm")(sums)),
        layers.Dropout(0.3)(words), layers.Dropout(0.3)(attrs),
        layers.Dropout(0.3)(layers.Dense(24, activation="gelu", name="tags_dense")(tags)),
        layers.Dropout(0.3)(ops.concatenate([bag(url[:, a:b], url_vectors[:, a:b]) for a, b in URL_PARTS], axis=-1)),
        layers.Dropout(0.3)(ops.concatenate([bag(meta[:, a:b], meta_vectors[:, a:b]) for a, b in META_PARTS], axis=-1)),
    ]  # fmt: skip
    hidden = layers.Dense(64, activation="gelu", name="hidden")(ops.concatenate(parts, axis=-1))
    hidden = layers.Dropout(0.4)(hidden)
    return keras.Model(ins, [hidden, layers.Dense(len(PAGE_TYPES), activation="softmax", name="type")(hidden)], name="page")


@keras.saving.register_keras_serializable(package="tern")
class PageThreshold(layers.Layer):
    """The logit from which a block of a page is main content, [B, 1]: a small function of the page's type and of how the
    probabilities of its blocks lie.

    It is fitted last, to outputs of folds (page_threshold.py), and gives 0 before. Called with logits [B, N, 1], the words of
    each block [B, N], page_type [B, 7] and mask [B, N].
    """

    def build(self, *_):
        n = len(PAGE_TYPES) + 9
        shapes = {"kernel": (n, CUT), "bias": (CUT,), "out": (CUT, 1), "base": (1,)}
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name))

    @staticmethod
    def features(logits, words, page_type, mask):
        z = logits[..., 0]
        w = ops.cast(words, "float32") * mask
        p, total, blocks = ops.sigmoid(z) * mask, ops.sum(w, axis=1) + 1e-6, ops.sum(mask, axis=1) + 1e-6

        def over(t):  # soft steps: an answer must not hang on the last bit of a probability
            return ops.sigmoid(4.0 * (z - float(np.log(t / (1 - t)))))

        above = [ops.sum(w * over(t), axis=1) / total for t in (0.1, 0.3, 0.5, 0.8)]
        page = [ops.log1p(total) * 0.2, ops.log1p(ops.sum(w * p, axis=1)) * 0.2, *above, ops.max(p, axis=1),
                ops.log1p(blocks) * 0.2, ops.sum(over(0.3) * mask, axis=1) / blocks]  # fmt: skip
        return ops.concatenate([page_type, ops.stack(page, axis=-1)], axis=-1)

    def call(self, logits, words, page_type, mask):
        hidden = ops.tanh(ops.matmul(self.features(logits, words, page_type, mask), self.kernel) + self.bias)
        return ops.matmul(hidden, self.out) + self.base


@keras.saving.register_keras_serializable(package="tern")
class Above(layers.Layer):
    """Probabilities of logits [B, N, 1], 0.5 at the page's threshold [B, 1]."""

    def call(self, logits, threshold):
        return ops.sigmoid(logits - threshold[:, None, :])


def build(numeric_names, width=96, dilations=DILATIONS, type_after=TYPE_AFTER, spread_after=SPREAD_AFTER, kin_after=KIN_AFTER,
          dropout=0.15):  # fmt: skip
    """The model, untrained. Inputs and outputs are dicts of names.

    The page's type is decided first, by the part of page_part(), from what the page holds in sum, its address and its head;
    it and what was found on the way are given to every block after the convolution `type_after`. After those of `kin_after`
    each block hears what its kin (Kin) say on the average.
    """
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

    pooled = [
        Sums(numeric_names, name="sums")(inputs["numeric"], mask), Keywords(TEXT_VOCAB, 16, name="page_words")(text, mask),
        Keywords(ATTR_VOCAB, 16, name="page_attrs")(attrs[:, :, :OWN], mask), TagCounts(name="page_tags")(tags, mask),
        inputs["url_tokens"], inputs["page_meta"],
    ]  # fmt: skip
    hidden, page_type = page_part([p.shape[-1] for p in pooled])(pooled)
    meta = inputs["page_meta"]
    language_tokens = bag(meta[:, 24:26], layers.Embedding(META_VOCAB, 16, name="lang")(meta[:, 24:26]))

    kin = Kin(numeric_names, name="kin")(tags, attrs, inputs["numeric"], mask)

    x = ops.concatenate([near, far, own, above, higher, start, whole, counts], axis=-1)
    x = layers.Dropout(dropout)(x)
    x = Masked()(layers.Dense(width, activation="gelu", name="join")(x), mask)
    for i, d in enumerate(dilations):
        y = Masked()(layers.LayerNormalization(name=f"norm_{i}")(x), mask)
        y = layers.Conv1D(width, 3, dilation_rate=d, padding="same", activation="gelu", name=f"conv_{i}")(y)
        y = layers.Dropout(dropout)(y)
        y = layers.Dense(width, name=f"mix_{i}")(y)
        x = Masked()(x + y, mask)
        if i in kin_after:
            y = layers.Dense(KIN, name=f"to_kin_{i}")(x)
            y = layers.Dropout(dropout)(ops.concatenate([y] + [ops.matmul(k, y) for k in kin], axis=-1))
            y = layers.Dense(width, activation="gelu", name=f"kin_{i}")(y)
            x = Masked()(x + layers.Dense(width, kernel_initializer="zeros", name=f"from_kin_{i}")(y), mask)
        if i == type_after:
            page = layers.Dense(width, kernel_initializer="zeros", name="type_to_blocks")(
                ops.concatenate([hidden, page_type], axis=-1)
            )
            x = Masked()(Spread()(x, page), mask)
        if i in spread_after:
            page = layers.Dense(width, activation="gelu", name=f"page_{i}")(Pool()(x, mask))
            x = Masked()(Spread()(x, page), mask)
    x = layers.LayerNormalization(name="norm_out")(x)
    speech = ops.concatenate([Mean()(whole, mask), language_tokens], axis=-1)

    logits = layers.Dense(1, name="main")(x)
    words = inputs["numeric"][:, :, numeric_names.index("words")]
    threshold = PageThreshold(name="page_threshold")(logits, words, page_type, mask)
    outputs = {
        "main": Above(name="main_probability")(logits, threshold),
        "role": layers.Dense(len(ROLES), activation="softmax", name="role")(x),
        "page_type": layers.Identity(name="page_type")(page_type),
        "language": layers.Dense(len(LANGUAGES), activation="softmax", name="language")(speech),
    }
    return keras.Model(inputs, outputs, name="tern_html")
