#!/bin/sh
# replay.sh FOLDER NAME...: run the replay program of each fuzz target over its corpus.
# Prints one line for each and a total; exit 1 when one of them failed or has no corpus.
set -u
folder=$1; shift
passed=0; failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for name in "$@"; do
	set -- tests/fuzz/corpus/"$name"/*
	if [ ! -f "$1" ]; then
		echo "fuzz-corpus: $name: there is no input in tests/fuzz/corpus/$name"
		failed=$((failed + 1))
	elif "$folder/$name" "$@" >"$log" 2>&1; then
		echo "fuzz-corpus: $name: $(tail -1 "$log")"
		passed=$((passed + 1))
	else
		cat "$log"
		echo "fuzz-corpus: $name: FAILED"
		failed=$((failed + 1))
	fi
done
echo "fuzz-corpus: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
