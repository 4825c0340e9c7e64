#!/bin/sh
# reproducible.sh [--engine]: two builds in two folders must give the same bytes.
#
# What git would take is copied into two folders with names of different lengths, with caches of
# their own; the second build runs in another time zone and locale, under another umask, user name
# and number of jobs, and later. Both make the release tarball. Compared are all object files, the
# programs and the tarball. Exit 1 with the names of what differs.
set -eu
cd "$(dirname "$0")/.."
engine=--no-engine
if [ "${1:-}" = --engine ]; then engine=; fi

say() { printf 'reproducible: %s\n' "$*" >&2; }

cache=${BUSBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/busbar}
sh tools/deps.sh
if [ -z "$engine" ]; then LLAMA_NATIVE=OFF sh tools/deps.sh llama; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
first=$work/a
second=$work/a-folder-with-a-rather-longer-name
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1700000000)}
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# copy FOLDER: the tree without its history, and the fetched sources
copy() {
	mkdir -p "$1/tree" "$1/cache"
	if [ -d .git ]; then
		git ls-files -co --exclude-standard -z | xargs -0 -I{} sh -c '[ ! -f "$1" ] || printf "%s\0" "$1"' - {} |
			tar --null -T - -cf - | tar -xf - -C "$1/tree"
	else
		tar --exclude=./build -cf - . | tar -xf - -C "$1/tree"
	fi
	for d in "$cache"/httptools-* "$cache"/yyjson-* "$cache"/llama-cpp-*-OFF; do
		[ ! -d "$d" ] || cp -R "$d" "$1/cache/"
	done
}

# build FOLDER JOBS: the release in it, with `env` in front
build() {
	folder=$1; jobs=$2; shift 2
	(cd "$folder/tree" && env "$@" BUSBAR_CACHE="$folder/cache" SOURCE_DATE_EPOCH="$epoch" \
		COMMIT="$commit" MAKEFLAGS="-j$jobs COMMIT=$commit" sh tools/release.sh $engine) >"$folder/log" 2>&1 ||
		{ tail -20 "$folder/log" >&2; say "the build in $folder failed"; exit 1; }
}

# sums FOLDER: what is compared
sums() {
	(cd "$1/tree/build" && find . -type f \( -name '*.o' -o -perm -u+x -o -name '*.tar.gz' -o -name '*.json' \) |
		LC_ALL=C sort | xargs sha256sum)
}

copy "$first"
copy "$second"
say "the first build"
build "$first" 1 TZ=UTC LC_ALL=C USER=one
say "the second build"
(umask 077; build "$second" 2 TZ=Asia/Kolkata LC_ALL=C.UTF-8 USER=somebody-else)
sums "$first" >"$work/first"
sums "$second" >"$work/second"
if ! diff "$work/first" "$work/second" >"$work/diff"; then
	sed -n 's/^[<>] [0-9a-f]*  /differs: /p' "$work/diff" | sort -u >&2
	exit 1
fi
say "the same: $(wc -l <"$work/first") files"
grep -E 'tar\.gz$|/busbar(-engine)?$' "$work/first"
