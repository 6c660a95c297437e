#!/bin/sh
# `make bench`: runs bench/run.py in the project's Python. QUICK=1 takes fewer rounds.
set -eu
cd "$(dirname -- "$0")/.."
exec "${TERN_DEPS:-.deps}/venv/bin/python" bench/run.py --build "${BUILD:-build}" "$@"
