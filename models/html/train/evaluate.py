"""Scores the page model by 5-fold cross-validation, beside trafilatura and readability-lxml on the same pages.

    python models/html/train/evaluate.py --data FOLDER --cache FOLDER [--write]

No site is in two folds. What is scored is the answer itself (the C postprocessing, called through ctypes), so the numbers
are those of the server. The thresholds used on a fold are chosen on the other four; --write keeps those chosen on all five
in thresholds.json (for train.py) and the table in scores.md.

Measures. Words: F1 of the bags of lower-cased \\w+ tokens, mean over pages (the measure of WCXB; an empty reference scores 1
when nothing was extracted). Title: word F1 >= 0.8. Author: all words of the name, and at most three more. Date: the day.
These three are counted on pages whose answer is known, over all of them (no answer is a wrong one).
"""

import argparse
import json
import pickle
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import data  # noqa: E402
from features import Extractor, batch_of_one  # noqa: E402

HERE = Path(__file__).resolve().parent
GRID = [round(0.15 + 0.025 * i, 3) for i in range(24)]


# ---- predictions ----


def cross_validate(pages, x, epochs, cache, tag, log=print, only=None):
    """Outputs of the model for each page from the fold that did not see it: a list of dicts."""
    import tensorflow as tf

    import train

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    outputs = [None] * len(pages)
    for k, fold in enumerate(data.folds(pages)):
        if only is not None and k not in only:
            continue
        file = Path(cache) / f"fold-{tag}-{k}.pickle"
        if file.exists():
            got = pickle.loads(file.read_bytes())
        else:
            held = set(fold)
            start = time.time()
            model = train.fit([p for i, p in enumerate(pages) if i not in held], x, epochs, log=log)
            run = tf.function(lambda t, m=model: m(t, training=False), reduce_retracing=True)
            got = {}
            for i in fold:
                t = batch_of_one({n: v.astype(np.int32) for n, v in pages[i].tensors.items()})
                got[pages[i].name] = {n: v.numpy()[0] for n, v in run({n: tf.constant(v) for n, v in t.items()}).items()}
            file.write_bytes(pickle.dumps(got))
            log(f"fold {k + 1}: {time.time() - start:.0f} s", flush=True)
        for i in fold:
            outputs[i] = got[pages[i].name]
    return outputs


# ---- the others ----


def run_others(pages, cache):
    """What trafilatura and readability-lxml say about each page, at their defaults."""
    file = Path(cache) / "others.pickle"
    if file.exists():
        return pickle.loads(file.read_bytes())
    import lxml.html
    import readability
    import trafilatura

    out = {"trafilatura": {}, "readability-lxml": {}}
    for p in pages:
        raw = Path(p.path).read_bytes()
        try:
            d = trafilatura.bare_extraction(raw, url=p.url or None, with_metadata=True)
            d = d.as_dict() if d is not None else {}
            r = {"main": d.get("text") or "", "title": d.get("title"), "author": d.get("author"), "date": d.get("date")}
        except Exception as e:  # a page that breaks an extractor counts as one without answer
            r = {"main": "", "error": str(e)}
        out["trafilatura"][p.name] = r
        try:
            doc = readability.Document(trafilatura.utils.decode_file(raw))
            html = lxml.html.fromstring(doc.summary(html_partial=True))
            text = "\n".join(t.strip() for t in html.itertext() if t.strip())
            r = {"main": text, "title": doc.short_title()}
        except Exception as e:
            r = {"main": "", "error": str(e)}
        out["readability-lxml"][p.name] = r
    file.write_bytes(pickle.dumps(out))
    return out


# ---- measures ----


def right_title(got, want) -> bool:
    return data.word_f1(Counter(data.words(got or "")), Counter(data.words(want))) >= 0.8


def right_author(got, want) -> bool:
    g, w = data.words(got or ""), data.words(want)
    return not (Counter(w) - Counter(g)) and len(g) <= len(w) + 3


def right_date(got, want) -> bool:
    return (got or "")[:10] == want[:10]


RIGHT = {"title": right_title, "author": right_author, "date": right_date}


def score_main(pages, texts):
    return np.array(
        [data.word_f1(Counter(data.words(t)), Counter(data.words(p.gold["main"]))) for p, t in zip(pages, texts)]
    )


def rate(pages, answers, field):
    known = [(p, a) for p, a in zip(pages, answers) if p.gold.get(field)]
    return np.mean([RIGHT[field](a.get(field), p.gold[field]) for p, a in known]), len(known)


def main_curve(pages, outputs):
    """[page, threshold] word F1 of the model's main text."""
    out = np.zeros((len(pages), len(GRID)))
    for i, (p, o) in enumerate(zip(pages, outputs)):
        want = Counter(data.words(p.gold["main"]))
        bags = [Counter(data.words(t)) for t in p.texts]
        prob = o["main"][:, 0]
        for k, t in enumerate(GRID):
            got = Counter()
            for b in np.flatnonzero(prob >= t):
                got.update(bags[b])
            out[i, k] = data.word_f1(got, want)
    return out


def best_field_threshold(x, pages, outputs, field):
    """The threshold with most right answers, each page asked once for each candidate."""
    known = [(p, o) for p, o in zip(pages, outputs) if p.gold.get(field)]
    best, top = 0.5, -1.0
    for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        n = 0
        for p, o in known[::2]:
            a = answer(x, p, o, {"main": 0.5, "title": t, "author": t, "date": t})
            n += RIGHT[field](a.get(field), p.gold[field])
        if n > top:
            best, top = t, n
    return best


def answer(x, page, outputs, thresholds):
    x.extract(Path(page.path).read_bytes())
    return json.loads(x.answer(outputs, thresholds))


def table(pages, rows):
    """rows: name -> (main F1 by page, answers, page types right or None)."""
    kinds = [p.page_type for p in pages]
    head = ["extractor", "all"] + data.PAGE_TYPES + ["title", "author", "date"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    count = ["pages", str(len(pages))] + [str(kinds.count(k)) for k in range(len(data.PAGE_TYPES))]
    count += [str(rate(pages, next(iter(rows.values()))[1], f)[1]) for f in RIGHT]
    lines.append("| " + " | ".join(count) + " |")
    for name, (f1, answers) in rows.items():
        cells = [name, f"{f1.mean():.3f}"]
        cells += [f"{f1[[i for i, q in enumerate(kinds) if q == k]].mean():.3f}" for k in range(len(data.PAGE_TYPES))]
        has = {k for a in answers for k, v in a.items() if v}
        cells += [f"{rate(pages, answers, f)[0]:.3f}" if f in has else "" for f in RIGHT]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--cache", type=Path, required=True)
    a.add_argument("--library", type=Path)
    a.add_argument("--epochs", type=int, default=8)
    a.add_argument("--tag", default="a", help="name of this configuration's folds in the cache")
    a.add_argument("--folds", type=int, nargs="*", help="only these folds (0 to 4)")
    a.add_argument("--write", action="store_true")
    a = a.parse_args()
    x = Extractor(a.library)
    pages = data.load(a.data, a.cache, a.library)
    outputs = cross_validate(pages, x, a.epochs, a.cache, a.tag, only=a.folds)
    fold_of = {}
    for k, fold in enumerate(data.folds(pages)):
        fold_of.update({pages[i].name: k for i in fold})
    both = [(p, o) for p, o in zip(pages, outputs) if o is not None]
    wcxb = [(p, o) for p, o in both if p.name.startswith("wcxb")]
    traf = [(p, o) for p, o in both if not p.name.startswith("wcxb")]
    wp, wo = [p for p, _ in wcxb], [o for _, o in wcxb]
    curve = main_curve(wp, wo)
    fold = np.array([fold_of[p.name] for p in wp])
    chosen = {"main": float(GRID[int(curve.mean(0).argmax())])}
    for f in RIGHT:
        chosen[f] = best_field_threshold(x, [p for p, _ in both], [o for _, o in both], f)
    ours = np.zeros(len(wp))
    used = np.zeros(len(wp))
    for k in sorted(set(fold)):
        rest = fold != k if (fold != k).any() else fold == k
        best = int(curve[rest].mean(0).argmax())
        ours[fold == k], used[fold == k] = curve[fold == k, best], GRID[best]
    answers = [answer(x, p, o, chosen | {"main": float(t)}) for p, o, t in zip(wp, wo, used)]
    direct = score_main(wp, [q["main_content"] for q in answers])
    others = run_others(pages, a.cache)
    rows = {"Tern": (direct, answers)}
    for name, got in others.items():
        rows[name] = (score_main(wp, [got[p.name]["main"] for p in wp]), [got[p.name] for p in wp])
    report = ["## WCXB, word F1 and facts\n", table(wp, rows)]
    type_right = np.array([o["page_type"].argmax() == p.page_type for p, o in wcxb])
    by = [f"{n} {type_right[[p.page_type == i for p in wp]].mean():.3f}" for i, n in enumerate(data.PAGE_TYPES)]
    report.append(f"\nPage type (WCXB): accuracy {type_right.mean():.3f}; recall " + ", ".join(by) + ".")
    known = [(p, o) for p, o in both if p.language >= 0]
    right = np.array([o["language"].argmax() == p.language for p, o in known])
    by = [f"{n} {right[[p.language == i for p, _ in known]].mean():.3f} of {sum(p.language == i for p, _ in known)}"
          for i, n in enumerate(data.LANGUAGES) if any(p.language == i for p, _ in known)]  # fmt: skip
    report.append(f"\nLanguage (both sets): accuracy {right.mean():.3f}; " + ", ".join(by) + ".")
    tp = [p for p, _ in traf]
    ta = [answer(x, p, o, chosen) for p, o in traf]
    lines = ["\n## trafilatura's pages (mostly German): facts, and its snippets\n"]
    lines += ["| extractor | title | author | date | with kept | without kept |", "| --- | --- | --- | --- | --- | --- |"]
    for name, got in [("Tern", ta)] + [(n, [g[p.name] for p in tp]) for n, g in others.items()]:
        has = {k for q in got for k, v in q.items() if v}
        cells = [f"{rate(tp, got, f)[0]:.3f}" if f in has else "" for f in RIGHT]
        keep = snippets(a.data, tp, [q.get("main_content", q.get("main")) for q in got])
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {keep[0]:.3f} | {keep[1]:.3f} |")
    report.append("\n".join(lines))
    report.append(f"\nThresholds: {chosen}; oracle of the labels {np.mean([p.oracle for p in wp]):.3f}; "
                  f"F1 by main threshold " + ", ".join(f"{t}: {v:.4f}" for t, v in zip(GRID, curve.mean(0))) + ".")  # fmt: skip
    print("\n".join(report))
    if a.write:
        (HERE / "thresholds.json").write_text(json.dumps(chosen) + "\n")
        (HERE / "scores.md").write_text("\n".join(report) + "\n")


def snippets(folder, pages, texts):
    """Shares of the `with` and `without` snippets that stand in the extracted text."""
    file = folder / "evaldata.json"
    if not file.exists():
        file = folder / "trafilatura-pages" / "evaldata.json"
    by_url = json.loads(file.read_text())
    counts = np.zeros((2, 2))
    for p, t in zip(pages, texts):
        flat = " ".join((t or "").split())
        for i, key in enumerate(("with", "without")):
            for s in by_url[p.url].get(key) or []:
                s = " ".join((s or "").split())
                if len(s) >= 3:
                    counts[i] += (s in flat, 1)
    return counts[:, 0] / counts[:, 1]


if __name__ == "__main__":
    main()
