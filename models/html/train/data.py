"""The two sets of real pages, read from a folder, with a label for each block.

Sets (neither is part of the project; see ../MODEL_CARD.md):
  wcxb-dev/   WCXB, human-reviewed: page type, title, author, date and the whole main text
  evaldata.json + html/ (or trafilatura-pages/ holding both)   test pages of trafilatura: title, author, date, and
              snippets that belong, or do not belong, to the main text; everything else is unknown and masked

Labels are aligned from text to blocks (align.py). -1 means unknown.
"""

import hashlib
import json
import pickle
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from align import align_main, word_f1, words  # noqa: E402
from features import BIT, Extractor, FeatureError  # noqa: E402

PAGE_TYPES = "article service forum product listing collection documentation".split()
LANGUAGES = "en de fr es other".split()
ROLES = "other title author date navigation header footer aside form comment".split()
ROLE = {name: i for i, name in enumerate(ROLES)}
CACHE_VERSION = 5


@dataclass
class Page:
    name: str  # "wcxb/0001", "trafilatura/..."
    path: str
    url: str
    group: str  # registrable domain: never in two folds
    tensors: dict
    texts: list
    main: np.ndarray  # [N] 1, 0, -1
    role: np.ndarray  # [N] index of ROLES, -1
    page_type: int = -1
    language: int = -1
    gold: dict = field(default_factory=dict)  # title, author, date; main: the reference text (WCXB)
    oracle: float = 1.0  # word F1 of the labels themselves


def registrable(url: str, fallback: str) -> str:
    host = (urlsplit(url).hostname or "") if url else ""
    parts = host.lower().removeprefix("www.").split(".")
    if len(parts) < 2:
        return fallback
    second = {"co", "com", "org", "gov", "ac", "net", "edu", "or", "ne", "go", "gv"}
    keep = 3 if len(parts) > 2 and len(parts[-1]) == 2 and parts[-2] in second else 2
    return ".".join(parts[-keep:])


# ---- alignment ----


def align_snippets(texts: list[str], with_: list, without: list) -> np.ndarray:
    flat = [" ".join(t.split()) for t in texts]
    known = np.full(len(texts), -1, np.int8)
    for value, snippets in ((0, without or []), (1, with_ or [])):
        for s in snippets:
            s = " ".join((s or "").split())
            if len(s) < 3:
                continue
            hits = [i for i, t in enumerate(flat) if s in t]
            if value == 1 and len(hits) > 3:
                continue  # says too little
            for i in hits:
                known[i] = value if known[i] in (-1, value) else -1
    return known


def contains(tokens: list[str], needle: list[str]) -> bool:
    n = len(needle)
    return any(tokens[i : i + n] == needle for i in range(len(tokens) - n + 1))


def label_title(tokens, blocks, title, role):
    want = words(title or "")
    if not want:
        return
    best, score = -1, 0.0
    bag = Counter(want)
    for i, t in enumerate(tokens):
        if not t or len(t) > 3 * len(want) + 4:
            continue
        s = word_f1(Counter(t), bag) + (0.2 if blocks[i].heading == 1 else 0) - 1e-4 * min(i, 500)
        if s > score:
            best, score = i, s
    if score >= 0.75:
        role[best] = ROLE["title"]


def label_author(tokens, author, role):
    want = words(author or "")
    if not want or len(want) > 8:
        return
    hits = [i for i, t in enumerate(tokens) if len(want) <= len(t) <= len(want) + 10 and contains(t, want)]
    for i in hits[:3]:
        if role[i] != ROLE["title"]:
            role[i] = ROLE["author"]


def label_date(x, tokens, blocks, date, month_first, role):
    date = (date or "")[:10]
    if len(date) != 10:
        return
    hits = []
    for i, b in enumerate(blocks):
        if not 0 < len(tokens[i]) <= 30 or role[i] == ROLE["title"]:
            continue
        found = x.find_date(b.text, month_first) or (b.datetime and x.find_date(b.datetime))
        if found == date or x.find_date(b.text, not month_first) == date:
            hits.append(i)
    for i in hits[:2]:
        if role[i] != ROLE["author"]:
            role[i] = ROLE["date"]


def label_landmarks(blocks, main, role, page_type):
    """Distant supervision: what the page's own landmarks say about blocks that are not main content."""
    seen = 0
    for b in blocks:
        seen |= b.context
    explicit = bool(seen & BIT["nav"]) and bool(seen & BIT["footer"])
    order = [
        ("comment", "comment"), ("form", "form"), ("nav", "navigation"), ("footer", "footer"),
        ("header", "header"), ("aside", "aside"),
    ]  # fmt: skip
    for i, b in enumerate(blocks):
        if role[i] != -1:
            continue
        if main[i] == 1:
            role[i] = ROLE["comment"] if b.context & BIT["comment"] and page_type != "forum" else ROLE["other"]
            continue
        name = next((r for bit, r in order if b.context & BIT[bit]), None)
        if name:
            role[i] = ROLE[name]
        elif b.context & BIT["control"]:
            role[i] = ROLE["form"]
        elif main[i] == 0 and explicit:
            role[i] = ROLE["other"]


STOPWORDS = {
    "en": "the and of to in is that for with this are you it on".split(),
    "de": "der die das und ist nicht mit von den für auf ein eine sich".split(),
    "fr": "le la les et des est une dans pour que sur pas vous du".split(),
    "es": "el los las y del que una por con para es se en un".split(),
}


def guess_language(texts: list[str], attribute: str) -> int:
    """The lang attribute where the page's words do not contradict it; the words where it is missing."""
    bag = Counter()
    for t in texts:
        bag.update(words(t))
        if sum(bag.values()) > 20000:
            break
    total = sum(bag.values())
    rate = {k: sum(bag[w] for w in v) / max(total, 1) for k, v in STOPWORDS.items()}
    best = max(rate, key=rate.get)
    sure = total >= 80 and rate[best] > 0.08
    code = re.split(r"[-_]", attribute.lower())[0] if attribute else ""
    if sure:
        return LANGUAGES.index(best)
    if total >= 80 and len(code) == 2 and code not in STOPWORDS and rate[best] < 0.05:
        return LANGUAGES.index("other")
    return -1


# ---- the sets ----


def read_page(x: Extractor, path: Path, url: str):
    t = x.extract(path.read_bytes(), url=None)
    blocks = x.blocks()
    return t, blocks, x.meta()


def make_page(x, name, path, url, gold, page_type, main_of) -> Page | None:
    try:
        t, blocks, meta = read_page(x, path, url)
    except FeatureError:
        return None
    texts = [b.text for b in blocks]
    tokens = [words(s) for s in texts]
    main = main_of(texts, tokens)
    role = np.full(len(texts), -1, np.int8)
    language = guess_language(texts, meta.get("lang", ""))
    label_title(tokens, blocks, gold.get("title"), role)
    label_author(tokens, gold.get("author"), role)
    label_date(x, tokens, blocks, gold.get("date"), language != 1 and language != 2, role)
    label_landmarks(blocks, main, role, page_type)
    t = {k: v.astype(np.uint16 if k not in ("numeric",) else np.int32) for k, v in t.items()}
    return Page(
        name=name, path=str(path), url=url or "", group=registrable(url, name), tensors=t, texts=texts, main=main,
        role=role, page_type=PAGE_TYPES.index(page_type) if page_type in PAGE_TYPES else -1, language=language,
        gold=gold,
    )  # fmt: skip


def read_wcxb(x: Extractor, folder: Path) -> list[Page]:
    pages = []
    for truth in sorted((folder / "ground-truth").glob("*.json")):
        j = json.loads(truth.read_text())
        g = j["ground_truth"]
        reference = g.get("main_content") or ""
        gold = {"title": g.get("title"), "author": g.get("author"), "date": g.get("publish_date"), "main": reference}
        html = folder / "html" / f"{truth.stem}.html"
        if not html.exists():
            continue
        p = make_page(
            x, f"wcxb/{truth.stem}", html, j.get("url") or "", gold, j["_internal"]["page_type"]["primary"],
            lambda texts, tokens, r=reference: align_main(tokens, r),
        )  # fmt: skip
        if p is None:
            continue
        got = Counter(w for t, m in zip(p.texts, p.main) if m == 1 for w in words(t))
        p.oracle = word_f1(got, Counter(words(reference)))
        pages.append(p)
    return pages


def first(value) -> str | None:
    """Some answers are lists of names."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else None


def read_trafilatura(x: Extractor, folder: Path) -> list[Page]:
    if not (folder / "evaldata.json").exists():
        folder = folder / "trafilatura-pages"
    if not (folder / "evaldata.json").exists():
        return []
    files = {}
    for f in sorted((folder).rglob("*.html")):
        if "wcxb" not in str(f):
            files[f.name] = f
    pages = []
    for url, d in json.loads((folder / "evaldata.json").read_text()).items():
        path = files.get(d["file"])
        if path is None:
            continue
        gold = {k: first(d.get(k)) for k in ("title", "author", "date")} | {"main": None}
        p = make_page(
            x, f"trafilatura/{d['file']}", path, url, gold, None,
            lambda texts, tokens, d=d: align_snippets(texts, d["with"], d["without"]),
        )  # fmt: skip
        if p is not None:
            pages.append(p)
    return pages


def load(folder: Path, cache: Path | None = None, library=None) -> list[Page]:
    """All pages, with features and labels; kept in a file under `cache` for the next run."""
    x = Extractor(library)
    stamp = hashlib.sha256(f"{CACHE_VERSION} {x.fingerprint} {folder}".encode()).hexdigest()[:16]
    file = Path(cache) / f"html-pages-{stamp}.pickle" if cache else None
    if file and file.exists():
        return pickle.loads(file.read_bytes())
    pages = read_wcxb(x, Path(folder) / "wcxb-dev") + read_trafilatura(x, Path(folder))
    if not pages:
        raise SystemExit(f"No pages below {folder}: see models/html/MODEL_CARD.md for what is expected there.")
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(pages))
    return pages


def folds(pages: list[Page], n: int = 5) -> list[list[int]]:
    """Indices of each fold's pages; a domain is in one fold only. Deterministic."""
    groups = {}
    for i, p in enumerate(pages):
        groups.setdefault(p.group, []).append(i)
    out = [[] for _ in range(n)]
    order = sorted(groups, key=lambda g: (-len(groups[g]), hashlib.sha256(g.encode()).hexdigest()))
    for g in order:
        min(out, key=len).extend(groups[g])
    return out
