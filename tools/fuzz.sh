#!/bin/sh
# Runs every libFuzzer target of a build folder for FUZZ_SECONDS (20), two at a time, and fails on a finding.
#
#   tools/fuzz.sh build-fuzz [NAME...]     only these targets
#
# New inputs are kept in BUILD/corpus/NAME and serve the next run; the tree's corpus (tests/fuzz/corpus/NAME) is only
# read. What made a target fail is BUILD/findings/NAME-*; once fixed, it belongs into the tree's corpus.
# tests/fuzz/NAME.dict is used if there.
set -u
cd "$(dirname -- "$0")/.."

build=${1:?usage: tools/fuzz.sh BUILD [NAME...]}
shift
seconds=${FUZZ_SECONDS:-20}
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}"
mkdir -p "$build/findings" "$build/fuzz-logs"

fuzz() {
    name=$1
    mkdir -p "$build/corpus/$name"
    set --
    [ -f "tests/fuzz/$name.dict" ] && set -- "-dict=tests/fuzz/$name.dict"
    [ -d "tests/fuzz/corpus/$name" ] && set -- "$@" "tests/fuzz/corpus/$name"
    "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$build/findings/$name-" "$build/corpus/$name" "$@" \
        >"$build/fuzz-logs/$name.log" 2>&1 </dev/null
    echo $? >"$build/fuzz-logs/$name.exit"
}

if [ $# -eq 0 ]; then
    for program in "$build"/tests/fuzz/fuzz_*; do
        [ -f "$program" ] && [ -x "$program" ] && set -- "$@" "${program##*/fuzz_}"
    done
fi
passed=0 failed=0
while [ $# -gt 0 ]; do
    pair=$1
    fuzz "$1" &
    shift
    if [ $# -gt 0 ]; then
        pair="$pair $1"
        fuzz "$1" &
        shift
    fi
    wait
    for name in $pair; do
        log=$build/fuzz-logs/$name.log
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        if [ "$(cat "$build/fuzz-logs/$name.exit")" = 0 ]; then
            passed=$((passed + 1))
            echo "fuzz: $name ok, $runs runs in $seconds s"
        else
            failed=$((failed + 1))
            tail -n 60 "$log"
            echo "fuzz: $name FAILED, input in $build/findings/, output in $log"
        fi
    done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
