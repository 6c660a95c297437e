#!/usr/bin/python3
"""Makes python/tern/serving_stubs/descriptors.bin from proto/: run it after a change there; a test holds them together.

    tools/stubs.py [OUT]

The file is a FileDescriptorSet with the originals' file names (proto/original_files.txt), which the package makes its stand-ins
for tensorflow_serving.apis and tensorflow.core from. Unlike server reflection it has every message that has a name there.
"""
import pathlib
import subprocess
import sys
import tempfile

import reflection

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "python" / "tern" / "serving_stubs" / "descriptors.bin"
SOURCES = ("prediction_service.proto", "model_service.proto")  # they import the rest
PLACES = ("tensorflow/core/framework/", "tensorflow/core/example/", "tensorflow/core/protobuf/", "tensorflow_serving/")


def descriptor_set():
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, "set.bin")
        subprocess.run(["protoc", "--include_imports", f"--descriptor_set_out={path}", "-I", ROOT / "proto", *SOURCES], check=True)
        return path.read_bytes()


def make():
    items = reflection.read_items(descriptor_set())
    named = reflection.read_files((ROOT / "proto" / "original_files.txt").read_text(encoding="ascii"))
    home = {name: file for file, names in named.items() for name in names}
    out, done = b"", set()

    def add(file):  # what it imports comes first
        nonlocal out
        if file not in done:
            done.add(file)
            imports, body = reflection.make_file(file, named[file], items, home)
            for other in imports:
                if other.startswith(PLACES):
                    add(other)
            out += reflection.put(1, body)

    for file in named:
        if file.startswith(PLACES):
            add(file)
    return out


if __name__ == "__main__":
    pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else OUT).write_bytes(make())
