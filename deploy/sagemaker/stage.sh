#!/bin/sh
# Lays out what the image has of this project: OUT/tern, OUT/tensorflow and OUT/openvino, a tree for each layer.
#
#   deploy/sagemaker/stage.sh BUILD OUT        BUILD: folder of the release build, built
#
# Symbols for debuggers are left out: a fifth of TensorFlow's library. What the dynamic loader reads stays as it is.
set -eu
build=$1 out=$2
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
rm -rf "$out"
mkdir -p "$out/tern" "$out/tensorflow/usr/local/lib/tern" "$out/openvino/usr/local/lib/tern"
out=$(CDPATH='' cd -- "$out" && pwd)
meson install -C "$build" --no-rebuild --quiet --destdir "$out/tern"
tern=$out/tern/usr/local
if [ ! -d "$tern/lib/tern/tensorflow" ]; then
    echo "stage: this build has no TensorFlow, or was set up with another prefix than /usr/local" >&2
    exit 1
fi
for engine in tensorflow openvino; do
    if [ -d "$tern/lib/tern/$engine" ]; then
        mv "$tern/lib/tern/$engine" "$out/$engine/usr/local/lib/tern/"
    fi
done
find "$out" -type f \( -name '*.so' -o -name '*.so.*' -o -path '*/bin/tern' \) -exec strip --strip-unneeded {} +
# Python's compiled form, so that no worker has to make it; without times, so that the same sources make the same files.
find "$tern/lib/tern/python" -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$out/tern" "$tern/lib/tern/python"
install -m 755 "$root/deploy/sagemaker/entrypoint.sh" "$tern/bin/tern-entrypoint"
install -d "$out/tern/opt/ml/model" "$out/tern/models" "$tern/share/doc/tern"
install -m 644 "$root/LICENSE" "$tern/share/doc/tern/"
