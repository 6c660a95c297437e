"""The part of tf.io.gfile that scripts open local files with."""

import glob as _glob
import os
from typing import IO, Any, List


def GFile(name: str, mode: str = "r") -> IO[Any]:  # noqa: N802, the original's name
    return open(name, mode, encoding=None if "b" in mode else "utf-8")


def exists(path: str) -> bool:
    return os.path.exists(path)


def isdir(path: str) -> bool:
    return os.path.isdir(path)


def listdir(path: str) -> List[str]:
    return os.listdir(path)


def glob(pattern: str) -> List[str]:
    return sorted(_glob.glob(pattern))
