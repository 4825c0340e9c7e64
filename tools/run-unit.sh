#!/bin/sh
# run-unit.sh PROGRAM...: run unit tests (cmocka) and count their cases.
#
# One program more at once than there are processors, since some wait (UNIT_JOBS). One line for each program as it
# ends, the whole output of one that failed, and a total in the last line. A program that crashes,
# hangs (UNIT_TIMEOUT seconds) or runs fewer cases than it announced has failed, whatever its cases
# said.
set -u

limit=${UNIT_TIMEOUT:-300}

# counts FILE: "passed failed skipped announced" of a TAP log; cmocka writes skipped cases as
# "not ok N # SKIP name" or "ok N # SKIP name", depending on its version.
counts() {
	awk '
		/^1\.\.[0-9]+/ { sub(/^1\.\./, ""); plan += $1 + 0; next }
		/^(not )?ok [0-9]+ *# *[Ss][Kk][Ii][Pp]/ { skip++; next }
		/^not ok / { bad++; next }
		/^ok / { good++ }
		END { print good + 0, bad + 0, skip + 0, plan + 0 }' "$1"
}

# run_one PROGRAM FOLDER: leaves "passed failed skipped" in FOLDER/NAME.counts, and what is to be
# said in FOLDER/NAME.said, so that it can be said in one piece.
run_one() {
	name=${1#*/unit/}
	file=$2/$(printf '%s' "$name" | tr / .)
	CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "$limit" "$1" >"$file.log" 2>&1 </dev/null
	rc=$?
	# shellcheck disable=SC2046
	set -- $(counts "$file.log")
	good=$1; bad=$2; skip=$3; plan=$4
	why=
	if [ "$rc" -eq 124 ] || [ "$rc" -eq 137 ]; then
		why="stopped after $limit s"
	elif [ "$rc" -gt 128 ]; then
		why="crashed, signal $((rc - 128))"
	elif [ $((good + bad + skip)) -ne "$plan" ] || [ "$plan" -eq 0 ]; then
		why="announced $plan cases and ran $((good + bad + skip)), exit $rc"
	elif [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
		why="exit $rc"
	fi
	[ -n "$why" ] && bad=$((bad + 1))
	echo "$good $bad $skip" >"$file.counts"
	if [ "$bad" -gt 0 ]; then
		cat "$file.log"
		printf 'unit: %-28s FAILED: %d of %d%s\n' "$name" "$bad" "$plan" "${why:+ ($why)}"
	elif [ "$skip" -gt 0 ]; then
		printf 'unit: %-28s ok %d, skipped %d\n' "$name" "$good" "$skip"
	else
		printf 'unit: %-28s ok %d\n' "$name" "$good"
	fi >"$file.said"
	cat "$file.said"
}

if [ "${1:-}" = --one ]; then
	run_one "$2" "$3"
	exit 0
fi

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
printf '%s\n' "$@" | xargs -P "${UNIT_JOBS:-$(($(nproc) + 1))}" -I PROGRAM sh "$0" --one PROGRAM "$folder"
# A program of which there is no count was not run: that is a failure, too.
cat "$folder"/*.counts | awk -v programs=$# '
	{ good += $1; bad += $2; skip += $3; ran++ }
	END {
		bad += programs - ran
		printf "unit: %d passed, %d failed, %d skipped\n", good, bad, skip
		exit bad > 0
	}'
