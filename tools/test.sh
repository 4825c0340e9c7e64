#!/bin/sh
# test.sh: everything that tells whether busbar works; about 15 minutes on two cores.
#
#   sh tools/test.sh                all lanes
#   sh tools/test.sh LANE...        only these (see --list)
#   --no-install                    install no packages
#   --list                          the lanes
#
# Installs what the tests need (packages.sh), builds, and runs lane after lane; each prints its
# name, its counts and its time, and its log is build/test/LANE.log. A lane that fails does not stop
# the others. The last line is the sum: `N passed, N failed, N skipped`; exit 1 when one failed.
set -u

cd "$(dirname "$0")/.." || exit 1
jobs=-j$(nproc)
logs=build/test
install=1
only=
lanes='tidy build unit docs system unit-asan clang fuzz-corpus coverage system-asan system-tsan'
passed=0; failed=0; skipped=0; failures=

while [ $# -gt 0 ]; do
	case $1 in
		--no-install) install= ;;
		--list) echo "$lanes"; exit 0 ;;
		-*) sed -n '2,11s/^# \{0,1\}//p' "$0"; [ "$1" = --help ] && exit 0; exit 2 ;;
		*)
			case " $lanes " in
				*" $1 "*) only="$only $1" ;;
				*) echo "test: no lane $1; there are: $lanes" >&2; exit 2 ;;
			esac ;;
	esac
	shift
done

# ---- lanes: each prints what it finds; its last line with counts is what counts ----

lane_tidy() {
	rc=0
	python3 tools/tidy.py || rc=1
	python3 tests/tidy/test_tidy.py || rc=1
	return $rc
}
count_tidy() {
	counts "$1"
	if grep -q '^tidy: ok' "$1"; then good=$((good + 1)); else bad=$((bad + 1)); fi
}

lane_build() { make "$jobs" all; }

# Programs that cannot be built do not keep the others from being run; the build fails the lane.
lane_unit() { make "$jobs" -k unit-build && make unit; }
lane_unit_asan() { make "$jobs" -k B=asan unit-build && make B=asan unit; }

lane_clang() {
	clang=
	for c in clang-14 clang clang-18 clang-19 clang-17 clang-16 clang-15; do
		if command -v $c >/dev/null 2>&1; then clang=$c; break; fi
	done
	if [ -z "$clang" ]; then
		echo "no clang: 0 passed, 0 failed, 1 skipped"
		return 0
	fi
	make "$jobs" CC="$clang" O=build/clang build/clang/busbar unit-build
}

lane_docs() {
	good=0; bad=0; skip=0
	if [ -f tools/gendocs.sh ]; then
		if sh tools/gendocs.sh --check; then good=$((good + 1)); else bad=$((bad + 1)); fi
	fi
	if build/busbar check docs/examples/busbar.yaml; then good=$((good + 1)); else bad=$((bad + 1)); fi
	# Every relative link of the documents leads somewhere.
	if python3 tests/docs/test_links.py; then good=$((good + 1)); else bad=$((bad + 1)); fi
	for page in docs/man/*.[1-8]; do
		if ! command -v man >/dev/null 2>&1; then skip=$((skip + 1)); break; fi
		# A page that is another one's second name.
		if read -r macro other <"$page" && [ "$macro" = .so ]; then
			if [ -f "docs/man/${other##*/}" ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
			continue
		fi
		if MANWIDTH=80 man --warnings -l "$page" 2>&1 >/dev/null | grep .; then
			echo "$page has warnings"
			bad=$((bad + 1))
		else
			good=$((good + 1))
		fi
	done
	echo "docs: $good passed, $bad failed, $skip skipped"
	[ $bad -eq 0 ]
}

lane_fuzz_corpus() { make "$jobs" fuzz-corpus; }
lane_coverage() { make "$jobs" coverage; }

# The SDKs: a virtual environment and a folder of node modules, made once for each requirements file.
prepare_system() {
	stamp=$(cat tests/requirements.txt tests/requirements-optional.txt | cksum | tr ' ' -)
	if [ ! -f "build/venv/$stamp" ]; then
		python3 -m venv build/venv || return 1
		build/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt ||
			return 1
		if build/venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
			-r tests/requirements-optional.txt; then
			touch "build/venv/$stamp"
		else
			echo "an optional package could not be had: its tests will be skipped"
		fi
	fi
	stamp=$(cksum <tests/package.json | tr ' ' -)
	if command -v npm >/dev/null 2>&1; then
		if [ ! -f "build/node/$stamp" ]; then
			mkdir -p build/node
			cp tests/package.json build/node/package.json
			if (cd build/node && npm install --no-audit --no-fund --loglevel=error); then
				touch "build/node/$stamp"
			else
				echo "the Node SDK could not be had: its tests will be skipped"
			fi
		fi
	else
		echo "no npm: tests of the Node SDK will be skipped"
	fi
	if ! sh tools/tokenizers.sh --usual; then
		echo "published tokenizers could not be had: tests that compare them will be skipped"
	fi
	if [ -z "${BUSBAR_MODEL:-}" ]; then
		if BUSBAR_MODEL=$(sh tools/model.sh); then
			export BUSBAR_MODEL
		else
			unset BUSBAR_MODEL
			echo "no real model: tests that ask one will be skipped"
		fi
	fi
	return 0
}
run_pytest() { build/venv/bin/python -m pytest -q -rfEs --timeout=300 "$@" tests/system; }

# Where the kernel randomises addresses by more bits than the sanitizers' runtimes of older
# compilers expect, they only start without that.
run_sanitized() {
	if setarch "$(uname -m)" -R true 2>/dev/null; then
		setarch "$(uname -m)" -R "$@"
	else
		"$@"
	fi
}

lane_system() {
	prepare_system || return 1
	run_pytest
}
lane_system_asan() {
	make "$jobs" B=asan build/asan/busbar build/asan/busbar-engine && prepare_system || return 1
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
	BUSBAR=$PWD/build/asan/busbar BUSBAR_ENGINE=$PWD/build/asan/busbar-engine \
		run_pytest -m 'not release_only' --ignore=tests/system/test_budgets.py
}
lane_system_tsan() {
	make "$jobs" B=tsan build/tsan/busbar && prepare_system || return 1
	export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
	BUSBAR=$PWD/build/tsan/busbar run_sanitized build/venv/bin/python -m pytest -q -rfEs \
		--timeout=300 -m tsan tests/system
}

# ---- counting ----

# counts LOG: good, bad and skip from every total that the lane wrote
counts() {
	# shellcheck disable=SC2046
	set -- $(awk '
		function number_before(word,   i) {
			for (i = 2; i <= NF; i++)
				if ($i ~ "^" word) return $(i - 1) + 0
			return 0
		}
		# ours: "unit: 3 passed, 0 failed, 1 skipped"; pytest: "1 failed, 2 passed, 3 skipped in 4s"
		/^[a-z-]+: [0-9]+ passed, [0-9]+ failed/ ||
		/^=* ?[0-9]+ (passed|failed|skipped|errors?)(,| in ).*/ ||
		/^no clang: / {
			gsub(/[=,]/, " ")
			good += number_before("passed"); skip += number_before("skipped")
			bad += number_before("failed") + number_before("error")
		}
		END { print good + 0, bad + 0, skip + 0 }' "$1")
	good=$1; bad=$2; skip=$3
}

run_lane() {
	lane=$1
	function=$(echo "lane_$lane" | tr - _)
	log=$logs/$lane.log
	begin=$(date +%s)
	printf '%-14s ' "$lane"
	( $function ) >"$log" 2>&1 </dev/null
	rc=$?
	case $lane in
		tidy) count_tidy "$log" ;;
		*) counts "$log" ;;
	esac
	case $lane in
		build | clang) # nothing to count but the build itself
			if [ $rc -eq 0 ] && [ $((good + skip)) -eq 0 ]; then good=1; fi ;;
	esac
	# A lane that broke off, or that ran nothing, has failed, whatever was counted.
	if [ $rc -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
	if [ $rc -eq 0 ] && [ $((good + bad + skip)) -eq 0 ]; then bad=1; echo "nothing was run" >>"$log"; fi
	passed=$((passed + good)); failed=$((failed + bad)); skipped=$((skipped + skip))
	printf '%5d passed, %d failed, %d skipped   %4d s\n' "$good" "$bad" "$skip" $(($(date +%s) - begin))
	if [ "$bad" -gt 0 ]; then
		failures="$failures $lane"
		sed 's/^/    /' "$log" | tail -60
	fi
}

begin_all=$(date +%s)
mkdir -p $logs
if [ -n "$install" ]; then
	sh tools/packages.sh engine test || { echo "0 passed, 1 failed"; exit 1; }
fi
for lane in ${only:-$lanes}; do run_lane "$lane"; done
printf 'time: %d s, logs in %s\n' $(($(date +%s) - begin_all)) $logs
[ -z "$failures" ] || printf 'failed:%s\n' "$failures"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
