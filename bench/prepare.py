"""What is measured with: models and payloads, made once a build folder by scripts of their own, two at a time.

Making the payloads needs TensorFlow in this process; loading it takes as long as one of the scripts, so they run meanwhile.
"""
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import payloads as p
import tern_server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HTML_MODEL = ROOT / "models" / "html" / "saved_model"


def run_script(script, *arguments):
    subprocess.run([sys.executable, str(script), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def heavy_model(build):
    """The base path of the heavy model."""
    folder = build / "bench-heavy"
    if not (folder / "request.json").exists():
        run_script(ROOT / "models" / "html" / "heavy.py", "--out", folder)
    return folder


def endpoint_models(build):
    """The folder with text/1, rows/1 and html/1 (bench/endpoint/models.py)."""
    script = HERE / "endpoint" / "models.py"
    folder, source = build / "bench-endpoint", script.read_text(encoding="utf-8")
    stamp = folder / ".made-from"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != source:
        shutil.rmtree(folder, ignore_errors=True)
        run_script(script, folder)
        shutil.copytree(HTML_MODEL, folder / "html")
        stamp.write_text(source, encoding="utf-8")
    return folder


def half_plus_two(build):
    return tern_server.make_models("server_models.py", "server", build) / "half_plus_two"


def large_model(build):
    return tern_server.make_models("engine_models.py", "engine", build) / "large"


def small_keras_models(build):
    return tern_server.make_models("openvino_models.py", "openvino", build)


# Which of them a part of the bench needs.
NEEDED = {"heavy": (heavy_model,), "wide": (endpoint_models,), "small": (half_plus_two,), "life": (half_plus_two, large_model),
          "limits": (heavy_model, endpoint_models), "sweep": (half_plus_two, endpoint_models),
          "engines": (heavy_model, endpoint_models, small_keras_models), "sagemaker": (endpoint_models,),
          "flame": (half_plus_two, heavy_model)}


class Models:
    """Makes what the parts need in the background; wait() before anything is measured."""

    def __init__(self, build, parts):
        self.pool = ThreadPoolExecutor(2)
        makers = dict.fromkeys(maker for part in parts for maker in NEEDED.get(part, ()))
        self.made = [self.pool.submit(maker, build) for maker in makers]

    def wait(self):
        """What could not be made is told by the part that needs it, which tries again."""
        for made in self.made:
            made.exception()
        self.pool.shutdown()


class Payloads:
    """The payloads, each made when it is first asked for."""

    def __init__(self, args, extractor, note):
        self.args, self.extractor, self.note, self.made = args, extractor, note, {}

    def pages(self):
        import features
        import tern_grpc
        if "pages" not in self.made:
            chosen = p.choose(self.args.shared, self.args.build / "bench-pages", self.extractor, features.FeatureError, self.note)
            self.made["pages"] = [
                p.encode(p.Payload(name, text, "html", page,
                                   features.batch_of_one(self.extractor.extract(page, p.CONTENT_TYPE))), tern_grpc)
                for name, (text, page) in chosen.items()]
        return self.made["pages"]

    def heavy(self):
        """-> (base path, payload): the heavy model's inputs at 8,192 elements of a real page."""
        import heavy
        import tern_grpc
        if "heavy" not in self.made:
            folder, cached = heavy_model(self.args.build), self.args.build / "bench-pages" / "widest.html"
            page = cached if cached.exists() else ROOT / "models" / "html" / "pages" / "article.html"
            text = f"{'the page with the most blocks' if page == cached else page.name}, repeated"
            tensors = heavy.payload(page.read_bytes(), 8192)
            self.made["heavy"] = folder, p.encode(p.Payload("heavy", text, "heavy", None, tensors), tern_grpc)
        return self.made["heavy"]

    def wide(self):
        """-> (base path, payload): the rows model, and 10,000 rows of ids below 10,000: 8 MB of JSON, 10 GFLOP."""
        import numpy as np
        import tern_grpc
        if "wide" not in self.made:
            ids = np.random.default_rng(7).integers(0, 10_000, size=(10_000, 160)).astype("i4")
            self.made["wide"] = endpoint_models(self.args.build) / "rows", p.encode(
                p.Payload("wide", "a table of ids and a few dense layers", "rows", None, {"ids": ids}), tern_grpc)
        return self.made["wide"]
