"""Scores the page model by 5-fold cross-validation, beside other extractors on the same pages (make html-eval).

    python models/html/train/evaluate.py --data FOLDER --cache FOLDER [--out FOLDER] [--write]
    python models/html/train/evaluate.py --data FOLDER --cache FOLDER --shipped     the model as it is, on the pages of FOLDER

No site is in two folds. What is scored is the answer itself (the C postprocessing, called through ctypes), so the numbers
are those of the server. The thresholds used on a fold are fitted to the other four; --write keeps what is fitted to all five
in page_threshold.json (for train.py), the table in scores.md, and the ranking's weights.

Measures. Words: F1 of the bags of lower-cased \\w+ tokens, mean over pages (the measure of WCXB; an empty reference scores 1
when nothing was extracted). Title: word F1 >= 0.8. Author: all words of the name, and at most three more. Date: the day.
These three are counted on pages whose answer is known, over all of them (no answer is a wrong one). Intervals are 95 % of
2,000 bootstrap samples of pages.

--shipped says nothing about unseen pages when FOLDER holds those of the training: it is for other folders.
--out writes report.md, worst.md (the 20 worst pages and why) and speed.svg.
"""

import argparse
import json
import pickle
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import data  # noqa: E402
import page_threshold  # noqa: E402
import peers  # noqa: E402
import rank  # noqa: E402
import report  # noqa: E402
from features import Extractor, batch_of_one  # noqa: E402

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "saved_model" / "1"
TIMED = 130  # pages of WCXB


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


# ---- measures ----


def answer(x, page, outputs, thresholds):
    x.extract(Path(page.path).read_bytes())
    return json.loads(x.answer(outputs, thresholds))


def shipped_outputs(pages):
    """Outputs of the model in saved_model/1."""
    import tensorflow as tf

    model = tf.saved_model.load(str(MODEL))
    run, x = model.signatures["serving_default"], Extractor()
    outputs = []
    for p in pages:
        t = batch_of_one(x.extract(Path(p.path).read_bytes()))
        outputs.append({n: v.numpy()[0] for n, v in run(**{n: tf.constant(v) for n, v in t.items()}).items()})
    return outputs


def time_all(pages, cache, library, others: bool):
    """CPU seconds of pages from bytes to answer, {extractor: list}: as tern.read() has it, and the others, all measured now."""
    sys.path.insert(0, str(HERE.parents[2] / "python"))
    from tern.html import Reader

    reader, raw = Reader(engine="tensorflow", model=MODEL, library=library), [Path(p.path).read_bytes() for p in pages]
    for r in raw[:20]:  # warms up
        reader.read(r)
    seconds = {"Tern": []}
    for r in raw:
        start = time.process_time()
        reader.read(r)
        seconds["Tern"].append(time.process_time() - start)
    if others:
        for name, by_page in peers.answers(pages, cache, again=True).items():
            seconds[name] = [by_page[p.name]["seconds"] for p in pages]
    (cache / "seconds.json").write_text(json.dumps(seconds))


def with_thresholds(pages, outputs, fold, x):
    """What page_threshold.py fits to the other folds, and the outputs with it inside; and what is to be said of it."""
    cut = page_threshold.Thresholds(pages, outputs, x.numeric_names.index("words"))
    used, one = cut.cross_validate(fold), cut.one(fold)
    lines = [
        f"Word F1 of the labels {np.mean([p.oracle for p, k in zip(pages, cut.known) if k]):.3f}; of the best threshold for each "
        f"page {cut.curves[cut.known].max(1).mean():.3f}; of one for all {report.interval(one)}.",
        f"What thresholds by page give beyond one for all: {report.interval(cut.f1(used) - one)}.",
    ]  # fmt: skip
    return cut, [page_threshold.move(o, t) for o, t in zip(outputs, used)], lines


def type_and_language(pages, outputs):
    w = [(p, o) for p, o in zip(pages, outputs) if p.page_type >= 0]
    right = np.array([o["page_type"].argmax() == p.page_type for p, o in w], float)
    kinds = np.array([p.page_type for p, _ in w])
    by = [f"{n} {right[kinds == i].mean():.3f}" for i, n in enumerate(data.PAGE_TYPES) if (kinds == i).any()]
    lines = [f"Page type (WCXB): accuracy {report.interval(right)}; recall " + ", ".join(by) + "."]
    known = [(p, o) for p, o in zip(pages, outputs) if p.language >= 0]
    right = np.array([o["language"].argmax() == p.language for p, o in known], float)
    of = np.array([p.language for p, _ in known])
    by = [f"{n} {right[of == i].mean():.3f} of {(of == i).sum()}" for i, n in enumerate(data.LANGUAGES) if (of == i).any()]
    lines.append(f"Language (both sets): accuracy {report.interval(right)}; " + ", ".join(by) + ".")
    return lines


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--cache", type=Path, required=True)
    a.add_argument("--out", type=Path, help="folder for report.md, worst.md and speed.svg")
    a.add_argument("--library", type=Path)
    a.add_argument("--epochs", type=int, default=8)
    a.add_argument("--tag", default="a", help="name of this configuration's folds in the cache")
    a.add_argument("--folds", type=int, nargs="*", help="only these folds (0 to 4)")
    a.add_argument("--shipped", action="store_true", help="the model as it is, instead of folds")
    a.add_argument("--sample", type=int, help="only so many pages of WCXB, drawn with a fixed seed, beside the other extractors")
    a.add_argument("--no-peers", action="store_true", help="without the other extractors")
    a.add_argument("--seconds", action="store_true", help=argparse.SUPPRESS)
    a.add_argument("--write", action="store_true", help="keep page_threshold.json, scores.md and ../postprocess/html_rank.h")
    a = a.parse_args()
    if a.shipped and a.write:
        raise SystemExit("--write keeps what is fitted to folds: not with --shipped.")
    x = Extractor(a.library)
    pages = data.load(a.data, a.cache, a.library)
    if a.seconds:
        some = [p for p in pages if p.name.startswith("wcxb")]
        return time_all(some[:: max(1, len(some) // TIMED)], a.cache, a.library, not a.no_peers)
    if a.shipped:
        outputs = shipped_outputs(pages)
    else:
        outputs = cross_validate(pages, x, a.epochs, a.cache, a.tag, only=a.folds)
    pages, outputs = zip(*[(p, o) for p, o in zip(pages, outputs) if o is not None])
    folds = data.folds(list(pages))
    fold = np.zeros(len(pages), int)
    for k, members in enumerate(folds):
        fold[members] = k
    wcxb = np.array([p.name.startswith("wcxb") for p in pages])
    w = np.flatnonzero(wcxb)
    cut, lines = None, []
    if len(w) and not a.shipped:
        cut, outputs, lines = with_thresholds(pages, outputs, fold, x)
    lists, answers = [], []
    for p, o in zip(pages, outputs):
        answers.append(answer(x, p, o, {"main": 0.5}))
        lists.append(x.candidates(o))
    picked, fields = rank.cross_validate(list(pages), lists, folds)
    for name in rank.FIELDS:
        for one, text in zip(answers, picked[name][0]):
            one[name] = text
    # in a process of its own: TensorFlow's threads are set once
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--seconds"], check=True)
    times = {n: np.array(v) for n, v in json.loads((a.cache / "seconds.json").read_text()).items()}
    others = {} if a.no_peers else peers.answers(drawn([pages[i] for i in w], a.sample), a.cache)
    text = [f"{len(pages)} pages, {len(w)} of them WCXB; " + ("the shipped model" if a.shipped else "5 folds by site") + ".\n"]
    rows = {"Tern": {pages[i].name: answers[i] for i in w}} | others
    both = [i for i in w if all(pages[i].name in r for r in rows.values())]
    some = [pages[i] for i in both]
    text += ["## WCXB: word F1 and facts\n", report.table(some, rows)]
    if len(both) < len(w):
        text += [f"\nTern on all {len(w)} pages of WCXB:\n", report.table([pages[i] for i in w], {"Tern": rows["Tern"]})]
    text += ["", *type_and_language(pages, outputs), ""]
    for name in rank.FIELDS:
        ece, n = rank.calibration(pages, *picked[name], name, fields[name].usable)
        text.append(f"Confidence of {name}: expected calibration error {ece:.3f} of {n} answers; a right one is among the "
                    f"candidates of {fields[name].found[fields[name].known].mean():.3f} of the pages that have one.")  # fmt: skip
    t = np.flatnonzero(~wcxb)
    if len(t):
        theirs, ours = [pages[i] for i in t], [answers[i] for i in t]
        kept = snippets(a.data, theirs, [one["main_content"] for one in ours])
        text += ["", "## trafilatura's pages (mostly German): facts, and its snippets\n", report.facts(theirs, ours, kept)]
    text += lines
    text += ["", f"## CPU time of a page, one core, {len(times['Tern'])} pages, all in one run\n", report.times(times)]
    print("\n".join(text))
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
        (a.out / "report.md").write_text("\n".join(text) + "\n")
        (a.out / "worst.md").write_text(report.worst([pages[i] for i in w], [answers[i] for i in w], [outputs[i] for i in w]))
        report.plot(some, rows, times, a.out / "speed.svg")
        report.plot(some, rows, times, a.out / "speed.png")
        print(f"{a.out}: report.md, worst.md, speed.svg, speed.png")
    if a.write:
        page_threshold.write(cut.fit(np.ones(len(pages), bool)))
        (HERE / "scores.md").write_text("\n".join(text) + "\n")
        rank.write(fields)


def drawn(pages, n):
    """n of the pages by a fixed seed, or all."""
    if n is None or n >= len(pages):
        return pages
    order = list(pages)
    random.Random(5).shuffle(order)
    return order[:n]


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
