"""Chooses what is added to the logit of `main` for each type of page (type_shifts.json), and says what it gives.

    python models/html/train/shifts.py --data FOLDER --cache FOLDER [--tag a] [--write]

Reads the cross-validated outputs that evaluate.py left in the cache. For the pages that the network takes for one type, the
threshold with the best word F1 is found, with a prior of PRIOR pages that follow the curve of all pages; the shift moves it
to the common threshold. Inside the network the shift is the mean over the types by their probabilities. Shifts are scored on
one half of the sites when chosen on the other half; --write keeps those chosen on all pages.
"""

import argparse
import json
import pickle
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import data  # noqa: E402

GRID = np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8])
COMMON = 0.3
PRIOR = 15


def logit(p):
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def smooth(v):
    return np.convolve(np.r_[v[0], v, v[-1]], [0.25, 0.5, 0.25], "valid")


def choose(curve, taken, rows) -> tuple[int, np.ndarray]:
    """Column of the best common threshold, and a shift for each type, from the given rows of the F1 curves."""
    common = smooth(curve[rows].mean(0))
    best = []
    for kind in range(len(data.PAGE_TYPES)):
        of = rows & (taken == kind)
        own = smooth(curve[of].sum(0)) if of.any() else 0.0
        best.append(GRID[np.argmax(own + PRIOR * common)])
    return int(common.argmax()), logit(COMMON) - logit(np.array(best))


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--cache", type=Path, required=True)
    a.add_argument("--tag", default="a")
    a.add_argument("--write", action="store_true")
    a = a.parse_args()
    pages = data.load(a.data, a.cache)
    outputs = {}
    for file in a.cache.glob(f"fold-{a.tag}-*.pickle"):
        outputs |= pickle.loads(file.read_bytes())
    if not outputs:
        raise SystemExit(f"No outputs fold-{a.tag}-*.pickle in {a.cache}: run evaluate.py first, with this cache and tag.")
    found = [outputs.get(p.name) for p in pages]
    half = np.zeros(len(pages), int)
    half[data.folds(pages, 2)[1]] = 1
    use = [i for i, p in enumerate(pages) if p.gold.get("main") is not None and found[i] is not None]
    pages, found, half = [pages[i] for i in use], [found[i] for i in use], half[use]
    bags = [[Counter(data.words(t)) for t in p.texts] for p in pages]
    want = [Counter(data.words(p.gold["main"])) for p in pages]

    def f1(i, chosen):
        return data.word_f1(sum((bags[i][b] for b in np.flatnonzero(chosen)), Counter()), want[i])

    main_of = [o["main"][:, 0] for o in found]
    types = np.array([o["page_type"] for o in found])
    taken = types.argmax(1)
    curve = np.array([[f1(i, m >= t) for t in GRID] for i, m in enumerate(main_of)])
    one, moved = np.zeros(len(use)), np.zeros(len(use))
    for k in (0, 1):
        column, shift = choose(curve, taken, half != k)
        for i in np.flatnonzero(half == k):
            one[i] = curve[i, column]
            moved[i] = f1(i, logit(main_of[i]) + types[i] @ shift >= logit(COMMON))
    kind = np.array([p.page_type for p in pages])
    for name, v in (("one threshold", one), ("by type", moved)):
        print(f"{name}: {v.mean():.4f}; " + ", ".join(f"{n} {v[kind == i].mean():.3f}" for i, n in enumerate(data.PAGE_TYPES)))
    dice = np.random.default_rng(7)
    gain = [dice.choice(moved - one, len(use)).mean() for _ in range(1000)]
    low, high = np.percentile(gain, [2.5, 97.5])
    print(f"gain {(moved - one).mean():.4f}, 95 % of resampled pages {low:.4f} to {high:.4f}")
    _, shift = choose(curve, taken, np.ones(len(use), bool))
    shifts = {n: round(float(v), 3) for n, v in zip(data.PAGE_TYPES, shift)}
    print(shifts)
    if a.write:
        (Path(__file__).resolve().parent / "type_shifts.json").write_text(json.dumps(shifts) + "\n")


if __name__ == "__main__":
    main()
