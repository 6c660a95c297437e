"""The ceiling: what word F1 the labels reach, the best set of blocks reaches, and how many words the blocks hold at all.

    python models/html/train/oracle.py --data FOLDER [--cache FOLDER] [--worst 20]

limit: from the labels, single blocks change sides as long as F1 rises (align.limit). recall: the share of the reference's
words that stand in any block; what is missing there was not in the page as fetched, or is not read from it.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import data  # noqa: E402
from align import limit, words  # noqa: E402


def measure(page) -> tuple[float, float, float]:
    tokens = [words(t) for t in page.texts]
    want = Counter(words(page.gold["main"]))
    have = Counter(w for t in tokens for w in t)
    recall = sum((have & want).values()) / sum(want.values()) if want else 1.0
    return page.oracle, limit(tokens, page.gold["main"], page.main), recall


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--cache", type=Path)
    a.add_argument("--worst", type=int, default=20)
    a = a.parse_args()
    pages = [p for p in data.load(a.data, a.cache) if p.gold.get("main") is not None]
    rows = np.array([measure(p) for p in pages])
    kind = np.array([p.page_type for p in pages])
    print("| | pages | labels | limit | recall | limit < 0.9 |\n" + "| --- " * 6 + "|")
    for name, of in [("all", kind >= 0)] + [(n, kind == i) for i, n in enumerate(data.PAGE_TYPES)]:
        labels, top, recall = rows[of].mean(0)
        print(f"| {name} | {of.sum()} | {labels:.3f} | {top:.3f} | {recall:.3f} | {(rows[of, 1] < 0.9).sum()} |")
    print("\nLowest limits: page, type, labels, limit, recall, blocks, address")
    for i in np.argsort(rows[:, 1])[: a.worst]:
        p = pages[i]
        print(p.name, data.PAGE_TYPES[p.page_type], *rows[i].round(3), len(p.texts), p.url)


if __name__ == "__main__":
    main()
