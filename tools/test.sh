#!/bin/sh
# Runs tests and closes with one line, "N passed, N failed", over all of them.
#
#   tools/test.sh all             release, AddressSanitizer + UBSan, server tests on both, the Python package, checks
#   tools/test.sh unit            unit tests and corpus replays of the release build
#   tools/test.sh asan|ubsan|tsan unit tests, corpus replays and the server tests marked `example`, in that build
#
# Results lie in report/ (JUnit XML of pytest, meson's test logs, the output of every step). Exit 0 only when something
# ran and nothing failed. A step that cannot even build counts as one failure and the others still run.
set -u
cd "$(dirname -- "$0")/.."

what=${1:-all}
build=${BUILD:-build}
report=report
python=${TERN_DEPS:-.deps}/venv/bin/python
jobs=${JOBS:-$(nproc)}
# An absolute path, because pytest and the server change folders.
TERN_SHARED=${TERN_SHARED:-$PWD/../shared}
export TERN_SHARED
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}"

rm -rf "$report"
mkdir -p "$report"

# step NAME COMMAND...: runs it with its output in report/NAME.log, shows the log when it failed, notes the exit code.
step() {
    name=$1
    shift
    start=$(date +%s)
    printf 'test: %s ...\n' "$name"
    "$@" >"$report/$name.log" 2>&1 </dev/null
    code=$?
    echo "$code" >"$report/$name.exit"
    if [ "$code" -ne 0 ]; then
        tail -n 200 "$report/$name.log"
        printf 'test: %s FAILED (exit %s, %s s), whole output in %s\n' \
            "$name" "$code" "$(($(date +%s) - start))" "$report/$name.log"
        return 1
    fi
    printf 'test: %s ok (%s s)\n' "$name" "$(($(date +%s) - start))"
}

# Builds a folder with its tests on. The first setup is the Makefile's, which knows each folder's options.
compile() {
    make --no-print-directory "$1/build.ninja" BUILD="$build" &&
        meson configure "$1" -Dtests=true && ninja -j"$jobs" -C "$1"
}

unit_tests() {
    rm -f "$1/meson-logs/testlog.json"
    meson test -C "$1" --no-rebuild --print-errorlogs --num-processes "$jobs"
    code=$?
    cp "$1/meson-logs/testlog.json" "$report/$2.testlog.json" 2>/dev/null
    return $code
}

# Exit 5 is pytest's "no test was selected": not a failure here, as the tally fails a run in which nothing ran at all.
server_part() {
    folder=$1 file=$2 part=$3
    shift 3
    TERN_BUILD=$PWD/$folder TERN_PART=$part "$python" -m pytest tests --junitxml="$report/$file.junit.xml" -q "$@"
    code=$?
    [ "$code" -eq 5 ] && code=0
    return $code
}

# server_tests FOLDER NAME ARGUMENTS...: in parts (tests/conftest.py) that run at the same time; each mostly waits, so
# there are more than cores.
server_tests() {
    folder=$1 name=$2
    shift 2
    parts=$((jobs < 3 ? jobs + 1 : 4))
    i=0
    while [ "$i" -lt "$parts" ]; do
        i=$((i + 1))
        step "$name-$i" server_part "$folder" "$name-$i" "$i/$parts" "$@" &
    done
    wait
}

# The pip package has tests of its own, which some of them run against the server in $build.
package_tests() {
    TERN_BUILD=$PWD/$build "$python" -m pytest python -c python/pyproject.toml --rootdir python \
        --junitxml="$report/package.junit.xml" -q
}

# The SageMaker image, built and started.
image_tests() {
    deps/setup.sh image && deploy/sagemaker/build.py --build "$build" &&
        TERN_BUILD=$PWD/$build "$python" -m pytest tests/deploy -m image --junitxml="$report/image.junit.xml" -q
}

sanitized() {
    step "$1-build" compile "build-$1" || return
    step "$1-unit" unit_tests "build-$1" "$1-unit"
    server_tests "build-$1" "$1-server" -m example
}

if ! deps/setup.sh test; then
    echo "0 passed, 1 failed"
    exit 1
fi

case $what in
all)
    if step release-build compile "$build"; then
        step release-unit unit_tests "$build" release-unit
        server_tests "$build" release-server
        step image image_tests
    fi
    step package package_tests
    sanitized asan
    step check /usr/bin/python3 tools/check.py --json "$report/check.json"
    ;;
unit)
    step release-build compile "$build" && step release-unit unit_tests "$build" release-unit
    ;;
asan | ubsan | tsan)
    sanitized "$what"
    ;;
*)
    echo "usage: tools/test.sh all|unit|asan|ubsan|tsan" >&2
    exit 2
    ;;
esac

exec /usr/bin/python3 tools/tally.py "$report"
