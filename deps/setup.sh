#!/bin/sh
# Brings in what Tern is built from, by stage:
#
#   deps/setup.sh build    to build and run: Debian packages, TensorFlow's libraries and headers, llhttp, lexbor
#   deps/setup.sh test     besides that to test: compilers and tools, Python packages in .deps/venv
#   deps/setup.sh image    for the SageMaker image: what builds and starts it
#   deps/setup.sh bench    besides test to train, evaluate and compare: more Python packages in .deps/venv
#
# Debian packages (deps/apt.txt) are installed when missing, which needs root; everything else (deps/lock.txt, checked
# by hash) goes into .deps, or where TERN_DEPS says. The system's Python is left as it is. A second run does nothing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
stage=${1:-build}
case $stage in
build) sections='build' ;;
test) sections='build test' ;;
image) sections='build image' ;;
bench) sections='build test bench' ;;
*)
    echo "usage: deps/setup.sh build|test|image|bench" >&2
    exit 2
    ;;
esac

# Names the packages of the wanted sections that dpkg does not report as installed.
missing_packages() {
    wanted=$(awk -v want=" $sections " '
        /^#: / { on = index(want, " " $2 " ") }
        on && /^[a-z]/ { print $1 }' "$here/apt.txt")
    # shellcheck disable=SC2086
    dpkg-query -W -f='${Package} ${Status}\n' $wanted 2>/dev/null |
        awk -v want="$(echo $wanted)" '
            / install ok installed$/ { have[$1] = 1 }
            END { n = split(want, name, " "); for (i = 1; i <= n; i++) if (!(name[i] in have)) print name[i] }'
}

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not a Debian system; install by hand what deps/apt.txt lists, then run:" >&2
    echo "  python3 deps/fetch.py $stage" >&2
    exit 1
fi
missing=$(missing_packages | tr '\n' ' ')
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "deps: Debian packages are missing. As root, run:" >&2
        echo "  apt-get update && apt-get install --no-install-recommends $missing" >&2
        exit 1
    fi
    start=$(date +%s)
    echo "deps: installing Debian packages: $missing"
    log=$(mktemp)
    install="apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends"
    # shellcheck disable=SC2086
    if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive $install $missing; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        echo "deps: apt-get failed, see above" >&2
        exit 1
    fi
    rm -f "$log"
    echo "deps: Debian packages ready ($(($(date +%s) - start)) s)"
fi
exec /usr/bin/python3 "$here/fetch.py" "$stage"
