"""From a page's reference text to labels of its blocks, and the limit that the block scheme itself sets.

Two steps. First the page's words are laid side by side, across block boundaries, and a block is main content when at least
half of its words lie in word 4-grams of the reference: that finds runs of short blocks too (prices, table cells, lists).
Then each block is asked, a few times over, whether the word F1 of the whole rises when it changes sides: out go the copies
of what is counted already (menus, sticky headers, "related" boxes); in come blocks near main content, whole lines of the
reference, and blocks of which a part is covered. A block far from all main content never comes in for its words alone, so
that labels stay something that can be learnt.
"""

import re
from collections import Counter

import numpy as np

WORD = re.compile(r"\w+")
GRAM = 4
NEAR = 3  # blocks


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def word_f1(got: Counter, want: Counter) -> float:
    """Bag-of-words F1; an empty reference scores 1 when nothing was extracted."""
    if not want:
        return 0.0 if got else 1.0
    both = sum((got & want).values())
    if both == 0:
        return 0.0
    p, r = both / sum(got.values()), both / sum(want.values())
    return 2 * p * r / (p + r)


def grams(tokens: list[str], n: int) -> set:
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def coverage(tokens: list[list[str]], want: list[str]) -> np.ndarray:
    """The share of each block's words that lie in 4-grams of the reference; grams may span blocks."""
    flat = [w for t in tokens for w in t]
    owner = np.repeat(np.arange(len(tokens)), [len(t) for t in tokens])
    four = grams(want, GRAM)
    covered = np.zeros(len(flat), bool)
    for k in range(len(flat) - GRAM + 1):
        if tuple(flat[k : k + GRAM]) in four:
            covered[k : k + GRAM] = True
    count = np.bincount(owner[covered], minlength=len(tokens)) if len(flat) else np.zeros(len(tokens))
    return count / np.maximum([len(t) for t in tokens], 1)


def search(tokens, want: Counter, y: np.ndarray, may_enter, passes: int) -> np.ndarray:
    """Changes single blocks of y (in place) as long as the word F1 rises; may_enter(y) says which may come in."""
    bags = [Counter(t) for t in tokens]
    got = Counter(w for t, k in zip(tokens, y) if k for w in t)
    both, size, target = sum((got & want).values()), sum(got.values()), sum(want.values())
    best = 2 * both / max(size + target, 1)
    for _ in range(passes):
        changed, enter = False, may_enter(y)
        for i in np.flatnonzero((y == 1) | enter):
            if not bags[i]:
                continue
            sign = -1 if y[i] else 1
            gain = sum(min(got[w] + sign * c, want[w]) - min(got[w], want[w]) for w, c in bags[i].items() if w in want)
            f1 = 2 * (both + gain) / max(size + sign * len(tokens[i]) + target, 1)
            if f1 <= best + 1e-6:
                continue
            best, both, size, changed = f1, both + gain, size + sign * len(tokens[i]), True
            for w, c in bags[i].items():
                got[w] += sign * c
            y[i] = 1 - y[i]
        if not changed:
            break
    return y


def align_main(tokens: list[list[str]], reference: str) -> np.ndarray:
    """int8 [N]: 1 for blocks of the reference text, else 0."""
    want = words(reference)
    bag = Counter(want)
    lines = {t for line in reference.splitlines() if len(t := tuple(words(line))) >= 2}
    share = coverage(tokens, want)
    inside = np.array([sum(w in bag for w in t) >= 0.8 * len(t) and len(t) > 0 for t in tokens], bool)
    doubtful = (share >= 0.3) | np.array([tuple(t) in lines for t in tokens], bool)

    def may_enter(y):
        near = np.convolve(y, np.ones(2 * NEAR + 1), "same")[: len(y)] > 0 if len(y) > 2 * NEAR else np.full(len(y), y.any())
        return doubtful | (near & inside)

    return search(tokens, bag, (share >= 0.5).astype(np.int8), may_enter, 4)


def limit(tokens: list[list[str]], reference: str, start: np.ndarray) -> float:
    """The word F1 of the best set of blocks that a search from `start` finds: what no choice of blocks goes far beyond."""
    bag = Counter(words(reference))
    y = search(tokens, bag, (start == 1).astype(np.int8), lambda y: np.ones(len(y), bool), 8)
    return word_f1(Counter(w for t, k in zip(tokens, y) if k for w in t), bag)
