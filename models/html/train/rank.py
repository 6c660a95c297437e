"""Fits the ranking of candidates for title, author and date, and writes its weights for C (../postprocess/html_rank.h).

The C library lists the candidates of a page with TN_HTML_FEATURES numbers each (postprocess/html_candidates.h). A linear
model gives each a score, "none of these" has the score 0, and a softmax over both makes probabilities: the likelihood of the
right ones is maximised over all pages whose answer is known (WCXB: also that there is none), with a little weight decay. So
what ranks best is also calibrated, without a second model on top.

evaluate.py calls cross_validate(): each fold's weights come from the other folds.
"""

from collections import Counter
from pathlib import Path

import numpy as np

import data

HERE = Path(__file__).resolve().parent
FIELDS = ("title", "author", "date")
HEADER = HERE.parent / "postprocess" / "html_rank.h"


def right_title(got, want) -> bool:
    return data.word_f1(Counter(data.words(got or "")), Counter(data.words(want))) >= 0.8


def right_author(got, want) -> bool:
    g, w = data.words(got or ""), data.words(want)
    return not (Counter(w) - Counter(g)) and len(g) <= len(w) + 3


def right_date(got, want) -> bool:
    return (got or "")[:10] == want[:10]


RIGHT = {"title": right_title, "author": right_author, "date": right_date}


class Field:
    """Candidates of one field on all pages, stacked: rows, the page of each row, and what is right."""

    def __init__(self, name, pages, lists):
        self.name, self.pages = name, pages
        rows, owner, right, self.texts = [], [], [], []
        for i, (p, one) in enumerate(zip(pages, lists)):
            want = p.gold.get(name)
            for c in one[name]["candidates"]:
                rows.append(c["features"])
                owner.append(i)
                right.append(bool(want) and RIGHT[name](c["text"], want))
                self.texts.append(c["text"])
        self.x = np.array(rows, np.float64)
        self.owner, self.right = np.array(owner), np.array(right)
        self.known = np.array([bool(p.gold.get(name)) for p in pages])
        self.usable = self.known | np.array([p.name.startswith("wcxb") for p in pages])
        self.found = np.bincount(self.owner[self.right], minlength=len(pages)) > 0  # a right one is among the candidates

    def probabilities(self, w):
        """Of each row, and of "none" for each page."""
        n = len(self.pages)
        score = self.x @ w
        top = np.zeros(n)
        np.maximum.at(top, self.owner, score)
        e = np.exp(score - top[self.owner])
        none = np.exp(-top)
        total = none + np.bincount(self.owner, e, n)
        return e / total[self.owner], none / total

    def fit(self, train, decay=0.02, steps=600, rate=0.05):
        """Weights by Adam on the whole set; deterministic."""
        mine = train & self.usable
        keep = mine[self.owner]
        w = np.zeros(self.x.shape[1])
        m, v = np.zeros_like(w), np.zeros_like(w)
        n = len(self.pages)
        scale = 1.0 / mine.sum()
        for t in range(1, steps + 1):
            p, none = self.probabilities(w)
            good = np.bincount(self.owner[self.right], p[self.right], n)
            # d log(sum of the right ones) / d score = share among the right ones - p; where none is right: 0 - p
            share = np.where(self.right, p / np.maximum(good, 1e-12)[self.owner], 0.0)
            g = self.x[keep].T @ (p - share)[keep] * scale + decay * w / len(w)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            w -= rate * (1 - 0.9 * t / steps) * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-9)
        return w

    def best(self, w):
        """(row of the most likely candidate or -1, its probability, that of none) for each page."""
        p, none = self.probabilities(w)
        best = np.full(len(self.pages), -1)
        for r in np.argsort(p, kind="stable"):
            best[self.owner[r]] = r
        return best, np.where(best >= 0, p[np.maximum(best, 0)], 0.0), none

    def choose_least(self, best, p, train):
        """The probability below which there is no answer: an answer where the page has none (WCXB) costs half of what a
        right one gains."""
        if self.name == "title":
            return 0.0
        mine = train & self.usable
        top, least = -1.0, 0.0
        for t in np.arange(0.02, 0.6, 0.02):
            given = mine & (best >= 0) & (p >= t)
            gain = self.right[best[given]].sum() - 0.5 * (given & ~self.known).sum()
            if gain > top + 1e-9:
                top, least = gain, float(t)
        return least


def cross_validate(pages, lists, folds):
    """{field: (text or None for each page, confidence for each page)}, and {field: its Field}."""
    out, fields = {}, {}
    for name in FIELDS:
        f = fields[name] = Field(name, pages, lists)
        texts, confidence = [None] * len(pages), np.zeros(len(pages))
        for fold in folds:
            train = np.ones(len(pages), bool)
            train[fold] = False
            w = f.fit(train)
            best, p, none = f.best(w)
            least = f.choose_least(best, p, train)
            for i in fold:
                given = best[i] >= 0 and p[i] >= least
                texts[i] = f.texts[best[i]] if given else None
                confidence[i] = p[i] if given else none[i]
        out[name] = (texts, confidence)
    return out, fields


def calibration(pages, texts, confidence, name, usable):
    """Expected calibration error over ten bins, of the answers given."""
    rows = [(c, RIGHT[name](t, p.gold[name]) if p.gold.get(name) else False)
            for p, t, c, u in zip(pages, texts, confidence, usable) if t is not None and u]  # fmt: skip
    c, ok = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    bins = np.minimum((c * 10).astype(int), 9)
    return sum(abs(c[bins == b].mean() - ok[bins == b].mean()) * (bins == b).mean() for b in set(bins)), len(rows)


def write(fields):
    """The header with weights fitted on all pages."""
    everything = None
    lines, least = [], []
    for name in FIELDS:
        f = fields[name]
        everything = np.ones(len(f.pages), bool)
        w = f.fit(everything)
        best, p, _ = f.best(w)
        least.append(f.choose_least(best, p, everything))
        numbers = [f"{v:.4f}f" for v in w]
        rows = [", ".join(numbers[i : i + 10]) for i in range(0, len(numbers), 10)]
        lines.append(f"    {{ /* {name} */\n     " + ",\n     ".join(rows) + "},")
    HEADER.write_text(
        "/*\n * html_rank.h - weights of the candidates' features (html_candidates.h), by field, and the probability that an\n"
        " * answer has at least. Made by train/evaluate.py --write; do not edit.\n */\n"
        "#ifndef TERN_HTML_RANK_H\n#define TERN_HTML_RANK_H\n\n/* clang-format off */\n"
        f"static const float tn_html_rank_weights[{len(FIELDS)}][{len(w)}] = {{\n" + "\n".join(lines) + "\n};\n"
        f"static const float tn_html_rank_least[{len(FIELDS)}] = {{" + ", ".join(f"{v:.2f}f" for v in least) + "};\n"
        "/* clang-format on */\n\n#endif\n"
    )
