"""The version is the project's: its file VERSION, or in a source package what was written there when that was made."""
import pathlib
import re

import setuptools

here = pathlib.Path(__file__).resolve().parent
version_file = here.parent / "VERSION"
if version_file.exists():
    version = version_file.read_text(encoding="ascii").strip()
else:
    version = re.findall(r"^Version: (\S+)$", (here / "PKG-INFO").read_text(encoding="utf-8"), re.M)[0]
setuptools.setup(version=version)
