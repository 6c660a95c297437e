"""Runs other extractors on the pages of an evaluation, in a virtual environment of their own.

    peers.answers(pages, cache)       from evaluate.py: makes CACHE/peers-venv out of peers.lock on first use, runs what is new
    python peers.py --lock            writes peers.lock anew, with the newest versions and their hashes (asks a pip of 24 or newer)
    python peers.py --run JOBS OUT    what runs inside the virtual environment; one page at a time, one extractor at a time

Each is called at its defaults, as its own documentation shows it (but newspaper4k may fetch no pictures); a page that breaks
one counts as a page without answer.
Times are CPU seconds of the process for one page, from its bytes to text and facts.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "peers.lock"
PACKAGES = ["trafilatura", "readability-lxml", "resiliparse", "jusText", "newspaper4k", "boilerpy3"]
STOPLISTS = {"en": "English", "de": "German", "fr": "French", "es": "Spanish"}


# ---- inside the virtual environment ----


def decode(raw: bytes) -> str:
    import trafilatura

    return trafilatura.utils.decode_file(raw)


def trafilatura_answer(raw, job):
    import trafilatura

    d = trafilatura.bare_extraction(raw, url=job["url"] or None, with_metadata=True)
    d = d.as_dict() if d is not None else {}
    return {"main": d.get("text") or "", "title": d.get("title"), "author": d.get("author"), "date": d.get("date")}


def readability_answer(raw, job):
    import lxml.html
    import readability

    doc = readability.Document(decode(raw))
    html = lxml.html.fromstring(doc.summary(html_partial=True))
    return {"main": "\n".join(t.strip() for t in html.itertext() if t.strip()), "title": doc.short_title()}


def resiliparse_answer(raw, job):
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    return {"main": extract_plain_text(bytes_to_str(raw, detect_encoding(raw)), main_content=True)}


def justext_answer(raw, job):
    import justext

    words = justext.get_stoplist(STOPLISTS.get(job["language"], "English"))
    return {"main": "\n".join(p.text for p in justext.justext(raw, words) if not p.is_boilerplate)}


def newspaper_answer(raw, job):
    import newspaper

    a = newspaper.article(job["url"] or "https://example.org/", input_html=decode(raw), fetch_images=False)  # asks nobody
    date = a.publish_date.isoformat()[:10] if a.publish_date else None
    return {"main": a.text, "title": a.title, "author": ", ".join(a.authors[:3]) or None, "date": date}


def boilerpy_answer(raw, job):
    from boilerpy3 import extractors

    doc = extractors.ArticleExtractor().get_doc(decode(raw))
    return {"main": doc.content, "title": doc.title}


RUN = {
    "trafilatura": trafilatura_answer, "readability-lxml": readability_answer, "resiliparse": resiliparse_answer,
    "jusText": justext_answer, "newspaper4k": newspaper_answer, "boilerpy3": boilerpy_answer,
}  # fmt: skip


def run(jobs: list, out: Path):
    import logging

    logging.disable(logging.CRITICAL)
    with out.open("a", encoding="utf-8") as lines:
        for i, job in enumerate(jobs):
            raw = Path(job["path"]).read_bytes()
            for name in job["extractors"]:
                start = time.process_time()
                try:
                    answer = RUN[name](raw, job)
                except Exception as e:
                    answer = {"main": "", "error": f"{type(e).__name__}: {e}"[:200]}
                answer["seconds"] = time.process_time() - start
                lines.write(json.dumps({"page": job["name"], "extractor": name, "answer": answer}) + "\n")
            if i % 100 == 99:
                lines.flush()
                print(f"peers: {i + 1} of {len(jobs)} pages", flush=True)


# ---- outside ----


def venv(cache: Path) -> Path:
    """The virtual environment's Python; made anew when the lock changes."""
    folder = cache / "peers-venv"
    stamp, digest = folder / "lock.sha256", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"peers: installing {', '.join(PACKAGES)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--require-hashes", "-r", str(LOCK)], check=True)  # fmt: skip
        stamp.write_text(digest)
    return python


def answers(pages, cache: Path, again=False) -> dict:
    """{extractor: {page's name: {"main", "title", "author", "date", "seconds"}}}; what the cache has is not run again.

    again: run everything, and keep it apart.
    """
    cache.mkdir(parents=True, exist_ok=True)
    out = cache / f"peers-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}.jsonl"
    if again:
        out = cache / "peers-again.jsonl"
        out.unlink(missing_ok=True)
    got = {name: {} for name in RUN}

    def read():
        for line in out.read_text(encoding="utf-8").splitlines() if out.exists() else ():
            row = json.loads(line)
            got[row["extractor"]][row["page"]] = row["answer"]

    read()
    languages = ["en", "de", "fr", "es", "other"]
    jobs = []
    for p in pages:
        missing = [n for n in RUN if p.name not in got[n]]
        if missing:
            jobs.append({"name": p.name, "path": p.path, "url": p.url, "extractors": missing,
                         "language": languages[p.language] if p.language >= 0 else "en"})  # fmt: skip
    if jobs:
        file = cache / "peers-jobs.json"
        file.write_text(json.dumps(jobs), encoding="utf-8")
        subprocess.run([str(venv(cache)), str(Path(__file__).resolve()), "--run", str(file), str(out)], check=True)
        read()
    return got


def lock():
    """Resolves the packages with pip (no installation) and writes their versions and hashes."""
    report = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report",
                             "-", *PACKAGES], check=True, stdout=subprocess.PIPE).stdout  # fmt: skip
    rows = sorted((i["metadata"]["name"].lower(), i["metadata"]["version"], i["download_info"]["archive_info"]["hashes"]["sha256"])
                  for i in json.loads(report)["install"])  # fmt: skip
    head = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    LOCK.write_text("\n".join(head + [f"{n}=={v} --hash=sha256:{h}" for n, v, h in rows]) + "\n", encoding="utf-8")


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--lock", action="store_true")
    a.add_argument("--run", nargs=2, type=Path, metavar=("JOBS", "OUT"))
    a = a.parse_args()
    if a.lock:
        lock()
    elif a.run:
        run(json.loads(a.run[0].read_text(encoding="utf-8")), a.run[1])


if __name__ == "__main__":
    main()
