"""Finds and imports a handler script."""
from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, Callable, Optional

Handler = Callable[[Any, Any], Any]


class Script:
    """Its functions: handler, or input_handler with output_handler."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.handler: Optional[Handler] = getattr(module, "handler", None)
        self.input_handler: Optional[Handler] = None
        self.output_handler: Optional[Handler] = None
        if self.handler is None:
            self.input_handler = getattr(module, "input_handler", None)
            self.output_handler = getattr(module, "output_handler", None)
            if self.input_handler is None or self.output_handler is None:
                raise NotImplementedError("Handlers are not implemented correctly in user script.")

    @property
    def kind(self) -> str:
        return "handler" if self.handler is not None else "pair"


def load(path: str) -> Script:
    """Imports the file as module `inference`, as the container does."""
    spec = importlib.util.spec_from_file_location("inference", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("inference", module)
    spec.loader.exec_module(module)
    return Script(module)


def path_of(code: str) -> str:
    return os.path.join(code, "inference.py")
