#!/usr/bin/python3
"""Who may include whom (docs: the house). Findings, one a line; exit 1 when there are any.

A folder of src uses only those before it in LAYERS; `observe` uses base only and may be used by all after base; `net`
and `model` never include each other. include/tern stands alone. Engines, handlers and models use include/tern, base,
tensor and codec. Includes are written from src/ ("base/arena.h") or from include/ ("tern/engine.h"). Foreign libraries
have one home each.
"""
import re
import sys

import tree

LAYERS = ["base", "observe", "tensor", "codec", "engine", "model", "schedule", "handler", "net", "api", "cli"]
APART = {("net", "model"), ("model", "net")}
PLUGIN_LAYERS = {"base", "tensor", "codec"}
# First word of an include -> where it may be named.
HOMES = {
    "tensorflow": ("engines/tensorflow/",),
    "openvino": ("engines/openvino/",),
    "lexbor": ("models/html/",),
    "llhttp.h": ("src/net/",),
    "nghttp2": ("src/net/",),
    "openssl": ("src/net/",),
    "uv.h": ("src/engine/", "src/model/", "src/schedule/", "src/handler/", "src/net/", "src/api/", "src/cli/"),
}
# Parsers are pure: no threads, sockets or files below the engine layer, except in base.
IMPURE = {"pthread.h", "sys/socket.h", "netinet/in.h", "fcntl.h", "unistd.h", "dlfcn.h"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def judge(path, quote, target):
    """Returns what is wrong with an include of `target` in `path`, or None."""
    parts, word = path.split("/"), target.split("/")[0]
    is_test = parts[0] == "tests"
    if word in HOMES and not is_test and not path.startswith(HOMES[word]):
        return f"<{target}> outside of {' '.join(HOMES[word])}, go through that module's header"
    if ".." in target:
        return f'"{target}" climbs folders, write it from src/ or include/'
    if path.startswith("include/tern/"):
        if quote == '"' and word != "tern":
            return f'"{target}" in the public contract, which stands alone'
        return None
    layer = word if word in LAYERS and "/" in target else None
    if parts[0] == "src" and len(parts) > 2:
        here = parts[1]
        if here not in LAYERS:
            return f"src/{here} is no layer, add it to LAYERS in tools/check_layers.py and to the design"
        if here in ("tensor", "codec") and target in IMPURE:
            return f"<{target}> in {here}, which is pure: leave it to a layer above"
        if layer and layer != here:
            if (here, layer) in APART:
                return f'"{target}": {here} and {layer} never include each other, they meet in api'
            if LAYERS.index(layer) > LAYERS.index(here) or (here == "observe" and layer != "base"):
                return f'"{target}": {here} may not use {layer}, which comes after it'
        elif quote == '"' and not layer and word != "tern" and not target.endswith(".pb-c.h"):
            return f'"{target}": write it as "{here}/{target}"'
    elif parts[0] in ("engines", "handlers", "models") and layer and layer not in PLUGIN_LAYERS:
        return f'"{target}": plugins use include/tern, base, tensor and codec only'
    return None


def check():
    for path in tree.files(".c", ".h"):
        text = tree.read(path)
        for match in INCLUDE.finditer(text):
            wrong = judge(path, *match.groups())
            if wrong:
                yield tree.finding(path, text.count("\n", 0, match.start(2)) + 1, wrong)


if __name__ == "__main__":
    found = list(check())
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
