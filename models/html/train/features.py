"""The C feature library from Python: the same code, and so the same tensors, as in the server.

The library is the html handler's shared object, built by meson (build/handlers/html.so). TERN_HTML_LIB names another one.
One Extractor serves one thread.
"""

import ctypes
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
CODES = {0: "ok", 1: "empty", 2: "not html", 3: "charset", 4: "deadline", 5: "memory"}
CONTEXT = (
    "p list table form nav header footer aside main article section noscript hidden figure quote pre button dl "
    "details dialog control time strong comment"
).split()
BIT = {name: 1 << i for i, name in enumerate(CONTEXT)}
METAS = "title og_title author date og_type lang site_name url generator body_class".split()


class FeatureError(ValueError):
    """A document that the library refuses; the message is the library's own sentence."""


class _Block(ctypes.Structure):
    _fields_ = [
        ("text", ctypes.c_void_p),
        ("length", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("context", ctypes.c_uint32),
        ("tag", ctypes.c_uint32),
        ("heading", ctypes.c_uint32),
        ("datetime_length", ctypes.c_uint32),
        ("datetime", ctypes.c_void_p),
    ]


class _Outputs(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in ("main", "role", "page_type", "language")] + [("n", ctypes.c_uint32)]


class _Settings(ctypes.Structure):
    _fields_ = [("main", ctypes.c_float * 7), ("page_type_temperature", ctypes.c_float), ("language_temperature", ctypes.c_float)]


@dataclass
class Block:
    text: str
    offset: int
    context: int
    tag: str
    heading: int
    datetime: str | None


def find_library() -> Path:
    if "TERN_HTML_LIB" in os.environ:
        return Path(os.environ["TERN_HTML_LIB"])
    return ROOT / "build" / "handlers" / "html.so"


def load(path=None):
    lib = ctypes.CDLL(str(Path(path or find_library()).resolve()))
    p, s, u32, i = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_int
    signatures = {
        "tern_html_create": (p, []),
        "tern_html_free": (None, [p]),
        "tern_html_extract": (
            i,
            [p, s, ctypes.c_size_t, s, ctypes.c_size_t, s, ctypes.c_size_t, ctypes.c_int64],
        ),
        "tern_html_message": (s, [p]),
        "tern_html_clear": (None, [p]),
        "tern_html_block_count": (u32, [p]),
        "tern_html_block_at": (i, [p, u32, ctypes.POINTER(_Block)]),
        "tern_html_meta": (p, [p, i, ctypes.POINTER(u32)]),
        "tern_html_charset": (s, [p]),
        "tern_html_truncated": (i, [p]),
        "tern_html_tensor_shape": (i, [p, i, ctypes.POINTER(ctypes.c_int64)]),
        "tern_html_tensor_fill": (None, [p, i, p]),
        "tern_html_tensor_name": (s, [i]),
        "tern_html_numeric_name": (s, [i]),
        "tern_html_tag_name": (s, [u32]),
        "tern_html_tag_count": (u32, []),
        "tern_html_fingerprint": (s, []),
        "tern_html_find_date": (i, [s, ctypes.c_size_t, i, ctypes.c_char_p]),
        "tern_html_settings_read": (ctypes.c_bool, [ctypes.POINTER(_Settings), s, ctypes.c_size_t]),
        "tern_html_answer": (
            p,
            [p, ctypes.POINTER(_Outputs), ctypes.POINTER(_Settings), i, ctypes.POINTER(ctypes.c_size_t)],
        ),
        "tern_html_candidates_json": (p, [p, ctypes.POINTER(_Outputs), ctypes.POINTER(ctypes.c_size_t)]),
        "tern_html_answer_free": (None, [p]),
    }
    for name, (result, arguments) in signatures.items():
        f = getattr(lib, name)
        f.restype, f.argtypes = result, arguments
    return lib


class Extractor:
    """tern_html, with numpy arrays filled in place."""

    def __init__(self, path=None):
        self.lib = load(path)
        self.x = self.lib.tern_html_create()
        if not self.x:
            raise MemoryError
        self.tensor_names = [self.lib.tern_html_tensor_name(i).decode() for i in range(6)]
        self.numeric_names = []
        while (name := self.lib.tern_html_numeric_name(len(self.numeric_names))) is not None:
            self.numeric_names.append(name.decode())
        self.tags = [self.lib.tern_html_tag_name(i).decode() for i in range(self.lib.tern_html_tag_count())]

    def __del__(self):
        if getattr(self, "x", None):
            self.lib.tern_html_free(self.x)

    @property
    def fingerprint(self) -> str:
        return self.lib.tern_html_fingerprint().decode()

    def extract(self, page: bytes, content_type: str | None = None, url: str | None = None) -> dict:
        """Tensors of one page by name, without the batch dimension. Raises FeatureError."""
        ct = content_type.encode() if content_type else None
        u = url.encode() if url else None
        rc = self.lib.tern_html_extract(self.x, page, len(page), ct, len(ct or b""), u, len(u or b""), 0)
        if rc != 0:
            raise FeatureError(f"{CODES[rc]}: {self.lib.tern_html_message(self.x).decode(errors='replace')}")
        out = {}
        shape = (ctypes.c_int64 * 2)()
        for i, name in enumerate(self.tensor_names):
            rank = self.lib.tern_html_tensor_shape(self.x, i, shape)
            out[name] = np.empty(shape[:rank], np.int32)
            self.lib.tern_html_tensor_fill(self.x, i, out[name].ctypes.data)
        return out

    def find_date(self, text: str, month_first: bool = True) -> str | None:
        """The first calendar date in a text, as YYYY-MM-DD (postprocess/html_dates.h)."""
        out = ctypes.create_string_buffer(11)
        t = text.encode()
        return out.value.decode() if self.lib.tern_html_find_date(t, len(t), month_first, out) else None

    def blocks(self) -> list[Block]:
        """The last page's blocks."""
        out, b = [], _Block()
        for i in range(self.lib.tern_html_block_count(self.x)):
            self.lib.tern_html_block_at(self.x, i, ctypes.byref(b))
            tag = self.tags[b.tag] if b.tag < len(self.tags) else "other"
            dt = ctypes.string_at(b.datetime, b.datetime_length).decode() if b.datetime else None
            text = ctypes.string_at(b.text, b.length).decode()
            out.append(Block(text, b.offset, b.context, tag, b.heading, dt))
        return out

    def meta(self) -> dict:
        out, n = {}, ctypes.c_uint32()
        for i, name in enumerate(METAS):
            v = self.lib.tern_html_meta(self.x, i, ctypes.byref(n))
            if v:
                out[name] = ctypes.string_at(v, n.value).decode()
        return out

    def answer(self, outputs: dict, config: dict, evidence: bool = False) -> bytes:
        """The answer's JSON for the last page, as the server writes it. outputs: the model's, of a batch of one; config: the
        model's tern.json, or its thresholds alone."""
        settings = _Settings()
        text = json.dumps(config if "thresholds" in config else {"thresholds": config}).encode()
        if not self.lib.tern_html_settings_read(ctypes.byref(settings), text, len(text)):
            raise ValueError("the config is no JSON")
        return self._owned(self.lib.tern_html_answer, outputs, ctypes.byref(settings), evidence)

    def candidates(self, outputs: dict) -> dict:
        """What may be the last page's title, author and date, each with the numbers that rank it (rank.py)."""
        return json.loads(self._owned(self.lib.tern_html_candidates_json, outputs))

    def _owned(self, function, outputs: dict, *arguments) -> bytes:
        keep = {k: np.ascontiguousarray(v, np.float32) for k, v in outputs.items()}
        o = _Outputs(*(keep[k].ctypes.data for k in ("main", "role", "page_type", "language")), keep["main"].size)
        n = ctypes.c_size_t()
        text = function(self.x, ctypes.byref(o), *arguments, ctypes.byref(n))
        if not text:
            raise MemoryError
        try:
            return ctypes.string_at(text, n.value)
        finally:
            self.lib.tern_html_answer_free(text)

    @property
    def charset(self) -> str:
        return self.lib.tern_html_charset(self.x).decode()

    @property
    def truncated(self) -> bool:
        return bool(self.lib.tern_html_truncated(self.x))


def batch_of_one(tensors: dict) -> dict:
    """Adds the batch dimension and node_mask: what the model takes."""
    out = {name: t[None] for name, t in tensors.items()}
    out["node_mask"] = np.ones((1, tensors["tag_path"].shape[0]), np.float32)
    return out
