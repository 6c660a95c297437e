"""What is sent: pages and the same pages as tensors in JSON and protobuf, with what it costs a client to make them."""
import json
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTENT_TYPE = "text/html; charset=utf-8"


@dataclass
class Payload:
    """One case of the bench. html is None where the model has no handler."""

    name: str
    about: str
    model: str
    html: bytes | None
    tensors: dict
    json: bytes = b""
    proto: bytes = b""
    client_ms: dict = field(default_factory=dict)


def timed(function, repeat=3):
    """-> (result, best time in ms)"""
    best, result = float("inf"), None
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        best = min(best, (time.perf_counter() - start) * 1e3)
    return result, best


def encode(payload, tern_grpc):
    """Fills the wire forms: JSON in column form, and a PredictRequest with tensor_content."""
    lists, _ = timed(lambda: {"inputs": {k: v.tolist() for k, v in payload.tensors.items()}}, 1)
    payload.json, payload.client_ms["json"] = timed(lambda: json.dumps(
        {"inputs": {k: v.tolist() for k, v in payload.tensors.items()}}, separators=(",", ":")).encode())
    assert json.loads(payload.json) == lists
    payload.proto, payload.client_ms["gRPC"] = timed(
        lambda: tern_grpc.predict_request(payload.model, payload.tensors).SerializeToString())
    return payload


def data_pages(shared):
    """(name, bytes) of every page of the benchmark data, one after the other."""
    archive = shared / "data" / "wcxb-dev.tar.zst"
    with subprocess.Popen(["zstd", "-dcq", "--long=27", str(archive)], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".html"):
                    yield member.name, tar.extractfile(member).read()
        unpack.stdout.read()


def choose(shared, cache, extractor, errors, note):
    """The pages of the bench: {"median", "largest", "widest": (about, bytes)}, kept in the cache folder.

    median: of all pages by size; largest: in bytes; widest: most blocks. Without the data: the project's own pages."""
    if not (shared / "data" / "wcxb-dev.tar.zst").exists():
        own = sorted((ROOT / "models" / "html" / "pages").glob("*.html"), key=lambda p: p.stat().st_size)
        if not own:
            sys.exit("no pages: neither TERN_SHARED nor models/html/pages")
        middle = own[len(own) // 2]
        return {"median": (f"own page {middle.name}", middle.read_bytes()),
                "largest": (f"own page {own[-1].name}", own[-1].read_bytes())}
    index = cache / "index.json"
    if not index.exists():
        note("choosing pages of the data")
        cache.mkdir(parents=True, exist_ok=True)
        seen = []
        for name, page in data_pages(shared):
            try:
                blocks = extractor.extract(page, CONTENT_TYPE)["tag_path"].shape[0]
            except errors:
                continue
            seen.append((len(page), blocks, name))
        seen.sort()
        want = {"median": seen[len(seen) // 2], "largest": seen[-1], "widest": max(seen, key=lambda s: s[1])}
        for name, page in data_pages(shared):
            for key, (_, _, chosen) in want.items():
                if chosen == name:
                    (cache / f"{key}.html").write_bytes(page)
        index.write_text(json.dumps({k: f"page {Path(v[2]).name} of {len(seen)}" for k, v in want.items()}), encoding="utf-8")
    about = json.loads(index.read_text(encoding="utf-8"))
    return {key: (about[key], (cache / f"{key}.html").read_bytes()) for key in about}
