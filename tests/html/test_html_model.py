"""The HTML model: its features from Python, the exported network, and both on real pages where they are at hand."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TERN_BUILD", ROOT / "build"))
SHARED = Path(os.environ.get("TERN_SHARED", ROOT.parent / "shared"))
HTML = ROOT / "models" / "html"
MODEL = HTML / "saved_model" / "1"
PAGES = sorted((HTML / "pages").glob("*.html"))
sys.path.insert(0, str(HTML / "train"))

from features import Extractor, FeatureError, batch_of_one  # noqa: E402

pytestmark = pytest.mark.timeout(600)  # importing TensorFlow alone takes minutes on a machine that is busy
LIBRARY = Path(os.environ.get("TERN_HTML_LIB", BUILD / "handlers" / "html.so"))


@pytest.fixture(scope="module")
def x():
    return Extractor(LIBRARY)


@pytest.fixture(scope="module")
def config():
    return json.loads((MODEL / "assets.extra" / "tern.json").read_text())


@pytest.fixture(scope="module")
def model():
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(str(MODEL))

    def run(tensors):
        out = loaded.signatures["serving_default"](**{k: tf.constant(v) for k, v in tensors.items()})
        return {k: v.numpy() for k, v in out.items()}

    run.keep = loaded
    return run


def tensors_hash(t: dict) -> str:
    h = hashlib.sha256()
    for name, v in t.items():
        h.update(name.encode())
        h.update(np.array(v.shape, "<i8").tobytes())
        h.update(v.astype("<i4").tobytes())
    return h.hexdigest()


# ---- features ----


def test_model_belongs_to_these_features(x, config):
    assert config["handler"] == "html"
    assert config["fingerprint"] == x.fingerprint
    assert set(config["thresholds"]) == {"main"}


def test_golden_tensors_from_python(x):
    first, *lines = (ROOT / "tests/vectors/html/golden.txt").read_text().splitlines()
    assert first == x.fingerprint
    want = {name: digest for digest, name in (line.split() for line in lines)}
    assert set(want) == {p.name for p in PAGES}
    for p in PAGES:
        assert tensors_hash(x.extract(p.read_bytes())) == want[p.name], p.name


FOLD = bytes(c + 32 if 65 <= c <= 90 else 48 if 48 <= c <= 57 else c for c in range(256))


def reference_words(text: bytes) -> list[int]:
    """The word tokens again, in slow and plain Python: letters, digits and bytes >= 0x80 but for signs."""
    out, word = [], b""
    i = 0
    while i <= len(text):
        c = text[i] if i < len(text) else 32
        sign = (c == 0xC2 or (c == 0xE2 and i + 1 < len(text) and text[i + 1] <= 0x81)) and i + 1 < len(text)
        letter = (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c >= 0x80) and not sign
        if letter:
            word += text[i : i + 1]
            i += 1
            continue
        if word:
            h = (2166136261 * 16777619) & 0xFFFFFFFF
            for b in word[:32].translate(FOLD):
                h = ((h ^ b) * 16777619) & 0xFFFFFFFF
            out.append(1 + h % 16383)
        word = b""
        i += 2 if c == 0xC2 else 3 if sign else 1
    return out


def test_words_are_what_plain_python_says(x):
    for p in PAGES:
        t = x.extract(p.read_bytes())
        for i, b in enumerate(x.blocks()):
            want = reference_words(b.text.encode())[:24]
            assert t["text_tokens"][i].tolist() == want + [0] * (24 - len(want)), b.text


def test_offsets_point_into_the_page(x):
    page = (HTML / "pages" / "article.html").read_bytes()
    x.extract(page)
    found = 0
    for b in x.blocks():
        first = b.text.split(" ")[0].encode()
        if b.text and not b.context & (1 << 20):
            found += page[b.offset : b.offset + len(first)] == first
    assert found >= 0.9 * len(x.blocks())


def test_refusals_are_sentences(x):
    for page, says in ((b"", "empty"), (b"plain", "not HTML"), (b"\x89PNG\r\n\x1a\n..", "PNG")):
        with pytest.raises(FeatureError, match=says):
            x.extract(page)


# ---- the exported model ----


def test_saved_model_is_small():
    assert sum(f.stat().st_size for f in MODEL.rglob("*") if f.is_file()) <= 10_000_000


@pytest.mark.tensorflow
def test_signature(model, x):
    f = model.keep.signatures["serving_default"]
    names = set(f.structured_input_signature[1])
    assert names == set(x.tensor_names) | {"node_mask"}
    assert set(f.structured_outputs) == {"main", "role", "page_type", "language"}
    for name, spec in f.structured_input_signature[1].items():
        assert spec.dtype.name == ("float32" if name == "node_mask" else "int32")
        assert spec.shape[0] is None


@pytest.mark.tensorflow
def test_padding_changes_nothing(model, x):
    rng = np.random.default_rng(1)
    for p in PAGES[:3]:
        alone = batch_of_one(x.extract(p.read_bytes()))
        n = alone["tag_path"].shape[1]
        padded = {}
        for k, v in alone.items():
            if k in ("url_tokens", "page_meta"):
                padded[k] = v
                continue
            fill = np.zeros((1, 137) + v.shape[2:], v.dtype)
            if k not in ("node_mask",):  # what stands under a mask of 0 must not matter
                fill = rng.integers(0, 200, fill.shape).astype(v.dtype)
            padded[k] = np.concatenate([v, fill], axis=1)
        a, b = model(alone), model(padded)
        for k in a:
            got = b[k][:, :n] if k in ("main", "role") else b[k]
            assert np.abs(a[k] - got).max() < 2e-5, (p.name, k)


@pytest.mark.tensorflow
def test_pages_of_a_batch_do_not_mix(model, x):
    one, two = (batch_of_one(x.extract(p.read_bytes())) for p in PAGES[:2])
    n = max(one["tag_path"].shape[1], two["tag_path"].shape[1])

    def widen(v):
        return np.concatenate([v, np.zeros((1, n - v.shape[1]) + v.shape[2:], v.dtype)], axis=1)

    both = {k: np.concatenate([one[k], two[k]] if k in ("url_tokens", "page_meta") else [widen(one[k]), widen(two[k])])
            for k in one}  # fmt: skip
    out = model(both)
    for i, t in enumerate((one, two)):
        alone = model(t)
        m = t["tag_path"].shape[1]
        assert np.abs(out["main"][i, :m] - alone["main"][0]).max() < 2e-5
        assert np.abs(out["page_type"][i] - alone["page_type"][0]).max() < 2e-5


@pytest.mark.tensorflow
def test_exported_graph_is_the_trained_network(model, x):
    """export.py writes another graph than network.py has; the weights beside it are those that were trained."""
    import network

    trained = network.build(x.numeric_names)
    weights = {v.name.split(":")[0]: v.numpy() for v in model.keep.weights}
    assert set(weights) == {v.path for v in trained.weights}
    for v in trained.weights:
        v.assign(weights[v.path])
    pages = [batch_of_one(x.extract(p.read_bytes())) for p in PAGES]
    n = max(t["tag_path"].shape[1] for t in pages)
    rng = np.random.default_rng(2)
    batch = {k: np.concatenate([np.pad(t[k], [(0, 0), (0, n - t[k].shape[1]), (0, 0)][: t[k].ndim]) if t[k].shape[1] != n and
                                k not in ("url_tokens", "page_meta") else t[k] for t in pages]) for k in pages[0]}  # fmt: skip
    for k in ("tag_path", "attr_tokens", "text_tokens", "numeric"):
        fill = rng.integers(0, 200, batch[k].shape).astype(np.int32)
        batch[k] = np.where(batch["node_mask"][..., None] > 0, batch[k], fill)
    for t in (*pages, batch):
        want, got = trained(t, training=False), model(t)
        known = t["node_mask"] > 0
        for k in want:
            differs = np.abs(want[k].numpy() - got[k])
            assert (differs[known] if k in ("main", "role") else differs).max() < 1e-5, k


EXPECTED = {
    "article.html": {
        "title": "How a night train learned to wait for the moon", "date": "2026-03-14", "language": "en",
        "author": "Ines Halvorsen",
        "in": "The conductor does not look at her watch.", "out": "store cookies",
    },
    "artikel.html": {
        "title": "Das Dorf, das seine Äpfel zählt", "language": "de", "author": "Jutta Ammerling",
        "date": "2025-10-12",
        "in": "Angefangen hat es mit einem Streit um die Umgehungsstraße.", "out": "Impressum",
    },
    "forum.html": {
        "title": "Pump runs but no pressure after the winter", "language": "en",
        "in": "Drain plug it was, a hair crack all around.", "out": "Powered by Bulletin",
    },
}  # fmt: skip


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_answer_about_own_pages(model, x, config, name):
    t = batch_of_one(x.extract((HTML / "pages" / name).read_bytes()))
    answer = json.loads(x.answer({k: v[0] for k, v in model(t).items()}, config["thresholds"]))
    want = EXPECTED[name]
    assert list(answer)[:5] == ["page_type", "language", "title", "author", "date"]
    assert answer["title"] == want["title"]
    assert answer["language"]["label"] == want["language"]
    for field in ("date", "author"):
        if field in want:
            assert answer[field] == want[field]
    assert want["in"] in answer["main_content"]
    assert want["out"] not in answer["main_content"]
    assert abs(sum(answer["page_type"]["probabilities"].values()) - 1) < 1e-3
    assert len(answer["blocks"]) == t["tag_path"].shape[1]


# ---- training ----


@pytest.mark.tensorflow
def test_network_has_the_vocabularies_of_the_library(x):
    import re

    import network

    text = (HTML / "features" / "html_limits.h").read_text()
    for name in ("TEXT", "ATTR", "URL", "META"):
        size = int(re.search(rf"TN_HTML_{name}_VOCAB\s+(\d+)u", text).group(1))
        assert getattr(network, f"{name}_VOCAB") == size
    t = x.extract(PAGES[0].read_bytes())
    assert {k: t[k].shape[-1] for k in network.WIDTHS} == network.WIDTHS
    assert network.OWN == int(re.search(r"TN_HTML_ATTR_OWN\s+(\d+)", text).group(1))


@pytest.mark.tensorflow
def test_training_from_a_folder_makes_a_model(tmp_path, x):
    """The one command, for one epoch on a set made from the project's own pages."""
    truth, pages = tmp_path / "wcxb-dev" / "ground-truth", tmp_path / "wcxb-dev" / "html"
    truth.mkdir(parents=True)
    pages.mkdir()
    for i, p in enumerate(PAGES):
        x.extract(p.read_bytes())
        blocks = [b.text for b in x.blocks() if b.tag in ("p", "h1", "h2") and len(b.text) > 30]
        answer = {"title": blocks[0], "author": None, "publish_date": None, "main_content": "\n".join(blocks)}
        (truth / f"{i:04d}.json").write_text(json.dumps({
            "url": f"https://site{i}.example/", "ground_truth": answer,
            "_internal": {"page_type": {"primary": "article"}},
        }))  # fmt: skip
        (pages / f"{i:04d}.html").write_bytes(p.read_bytes())
    out = tmp_path / "model"
    command = [sys.executable, HTML / "train" / "train.py", "--data", tmp_path, "--out", out, "--epochs", "1"]
    done = subprocess.run([*command, "--library", LIBRARY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    config = json.loads((out / "assets.extra" / "tern.json").read_text())
    assert config["fingerprint"] == x.fingerprint
    import tensorflow as tf

    f = tf.saved_model.load(str(out)).signatures["serving_default"]
    t = batch_of_one(x.extract(PAGES[0].read_bytes()))
    assert f(**{k: tf.constant(v) for k, v in t.items()})["main"].shape == (1, t["tag_path"].shape[1], 1)


# ---- real pages ----


@pytest.fixture(scope="module")
def real_pages(tmp_path_factory):
    archives = [SHARED / "data" / f"{n}.tar.zst" for n in ("wcxb-dev", "trafilatura-pages")]
    if not all(a.exists() for a in archives):
        pytest.skip(f"no real pages below {SHARED} (TERN_SHARED)")
    folder = tmp_path_factory.mktemp("pages")
    for a in archives:
        subprocess.run(f"zstd -dc --long=27 '{a}' | tar x -C '{folder}'", shell=True, check=True)
    yield sorted(folder.rglob("*.html"))
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.timeout(900)
def test_every_real_page_gives_the_same_from_c_and_python(x, real_pages):
    program = BUILD / "tests" / "unit" / "test_html_features"
    if not program.exists():
        pytest.skip(f"no {program}: the build has no unit tests")
    assert len(real_pages) > 2000
    listing = subprocess.run(
        [program, "--hash"], input="\n".join(map(str, real_pages)) + "\n", capture_output=True, text=True, check=True
    )
    got = listing.stdout.splitlines()
    assert len(got) == len(real_pages)
    for f, digest in zip(real_pages, got):
        assert tensors_hash(x.extract(f.read_bytes())) == digest, f.name
