"""Tables, the worst pages and the plot of an evaluation (evaluate.py)."""

from collections import Counter

import numpy as np

import data
import rank

PLAIN = {"Tern": "#1e8e3e"}


def interval(values, samples=2000) -> str:
    """Mean with 95 % of the means of bootstrap samples: "0.849 (0.837-0.861)"."""
    values = np.asarray(values, float)
    if values.size == 0:
        return ""
    rng = np.random.default_rng(1)
    means = np.sort([values[rng.integers(0, values.size, values.size)].mean() for _ in range(samples)])
    return f"{values.mean():.3f} ({means[int(0.025 * samples)]:.3f}-{means[int(0.975 * samples)]:.3f})"


def text_of(answer) -> str:
    return answer.get("main_content", answer.get("main")) or ""


def main_scores(pages, answers):
    bag = lambda text: Counter(data.words(text))  # noqa: E731
    return np.array([data.word_f1(bag(text_of(a)), bag(p.gold["main"])) for p, a in zip(pages, answers)])


def rights(pages, answers, field):
    """Right or not, where the answer is known."""
    return [float(rank.RIGHT[field](a.get(field), p.gold[field])) for p, a in zip(pages, answers) if p.gold.get(field)]


def table(pages, rows) -> str:
    """rows: name -> {page's name: answer}."""
    kinds = np.array([p.page_type for p in pages])
    head = ["extractor", "all"] + data.PAGE_TYPES + list(rank.FIELDS)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    count = ["pages", str(len(pages))] + [str((kinds == k).sum()) for k in range(len(data.PAGE_TYPES))]
    count += [str(sum(bool(p.gold.get(f)) for p in pages)) for f in rank.FIELDS]
    lines.append("| " + " | ".join(count) + " |")
    for name, by_name in rows.items():
        answers = [by_name[p.name] for p in pages]
        f1 = main_scores(pages, answers)
        cells = [name, interval(f1)] + [interval(f1[kinds == k]) for k in range(len(data.PAGE_TYPES))]
        has = {k for a in answers for k, v in a.items() if v}
        cells += [interval(rights(pages, answers, f)) if f in has else "" for f in rank.FIELDS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def facts(pages, answers, kept) -> str:
    lines = ["| extractor | title | author | date | with kept | without kept |", "| --- | --- | --- | --- | --- | --- |"]
    cells = [interval(rights(pages, answers, f)) for f in rank.FIELDS]
    return "\n".join(lines + ["| Tern | " + " | ".join(cells) + f" | {kept[0]:.3f} | {kept[1]:.3f} |"])


def times(seconds) -> str:
    """seconds: name -> CPU seconds of pages."""
    lines = ["| extractor | median ms | mean ms | p99 ms | pages/s |", "| --- | --- | --- | --- | --- |"]
    for name, s in seconds.items():
        ms = 1000 * np.asarray(s)
        lines.append(f"| {name} | {np.median(ms):.1f} | {ms.mean():.1f} | {np.percentile(ms, 99):.0f} | {1000 / ms.mean():.0f} |")
    return "\n".join(lines)


def reason(page, answer, outputs) -> str:
    """What was missed and what was added, by words; and whether the labels could have said it."""
    got, want = Counter(data.words(text_of(answer))), Counter(data.words(page.gold["main"]))
    missed, added = want - got, got - want
    n, m = sum(want.values()), sum(got.values())
    bags = [set(data.words(t)) for t in page.texts]
    main = outputs["main"][:, 0]
    say = [f"{sum(missed.values())} of {n} words missed, {sum(added.values())} of {m} added"]
    if page.oracle < 0.7:
        say.append(f"the blocks cannot give more than {page.oracle:.2f}: the text is not in the page, or split otherwise")
    lost = sorted(((len(b & set(missed)), i) for i, b in enumerate(bags) if page.main[i] == 1 and main[i] < 0.5), reverse=True)
    if lost and lost[0][0] > 5:
        i = lost[0][1]
        say.append(f'missed block {i} ({main[i]:.2f}): "{page.texts[i][:90]}"')
    extra = sorted(((len(b & set(added)), i) for i, b in enumerate(bags) if page.main[i] != 1 and main[i] >= 0.5), reverse=True)
    if extra and extra[0][0] > 5:
        i = extra[0][1]
        say.append(f'added block {i} ({main[i]:.2f}): "{page.texts[i][:90]}"')
    return "; ".join(say)


def worst(pages, answers, outputs, n=20) -> str:
    f1 = main_scores(pages, answers)
    lines = [f"# The {n} worst pages by word F1\n", "| page | type | F1 | why |", "| --- | --- | --- | --- |"]
    for i in np.argsort(f1, kind="stable")[:n]:
        why = reason(pages[i], answers[i], outputs[i]).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {pages[i].name} {pages[i].url[:80]} | {data.PAGE_TYPES[pages[i].page_type]} | {f1[i]:.3f} | {why} |")
    return "\n".join(lines) + "\n"


def plot(pages, rows, seconds, file):
    """Word F1 over pages a second, one point for each extractor, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 4.4), dpi=120)
    for name, by_name in rows.items():
        f1 = main_scores(pages, [by_name[p.name] for p in pages])
        rng = np.random.default_rng(1)
        means = np.sort([f1[rng.integers(0, f1.size, f1.size)].mean() for _ in range(500)])
        speed = 1 / np.mean(seconds[name])
        error = [[f1.mean() - means[12]], [means[487] - f1.mean()]]
        colour = PLAIN.get(name, "#5f6368")
        ax.errorbar([speed], [f1.mean()], yerr=error, fmt="o", color=colour, capsize=3, markersize=8 if name == "Tern" else 6)
        ax.annotate(name, (speed, f1.mean()), xytext=(8, 5), textcoords="offset points", color=colour,
                    fontweight="bold" if name == "Tern" else "normal")  # fmt: skip
    ax.set_xscale("log")
    ax.margins(x=0.18)
    ax.set_xlabel("pages a second on one core (CPU time, log)")
    ax.set_ylabel("word F1, mean over pages")
    ax.set_title(f"WCXB, {len(pages)} pages: main text", fontsize=11)
    ax.grid(alpha=0.25, which="both")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    fig.tight_layout()
    fig.savefig(file)
    plt.close(fig)


def curves(history, file):
    """The training's losses by epoch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3.2), dpi=110)
    epochs = [h["epoch"] for h in history]
    for name, colour, shift in (("main", "#1e8e3e", 1), ("role", "#1a73e8", -9), ("language", "#9aa0a6", -3)):
        values = [h[name] for h in history]
        ax.plot(epochs, values, color=colour, marker="o", markersize=3)
        ax.annotate(name, (epochs[-1], values[-1]), xytext=(6, shift), textcoords="offset points", color=colour)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss on the training pages")
    ax.margins(x=0.12)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    fig.tight_layout()
    fig.savefig(file)
    plt.close(fig)
