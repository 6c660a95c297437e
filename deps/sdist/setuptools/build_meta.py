"""A PEP 517 backend that builds nothing: it hands pip the PKG-INFO that the sdist already carries.

`pip download` asks a source package's build system for its metadata before it saves the file, which would mean
installing that build system (setuptools, Cython) and running the package's own code. Only the C sources inside are
wanted, so deps/setup.sh puts this module before the real setuptools, for those downloads alone.
"""
import email.parser
import os
import shutil
import sys

__legacy__ = sys.modules[__name__]


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    with open("PKG-INFO", encoding="utf-8") as text:
        info = email.parser.HeaderParser().parse(text)
    name = f"{info['Name']}-{info['Version']}.dist-info"
    os.mkdir(os.path.join(metadata_directory, name))
    shutil.copyfile("PKG-INFO", os.path.join(metadata_directory, name, "METADATA"))
    return name
