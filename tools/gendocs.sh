#!/bin/sh
# Writes the parts of docs/ that come from the program itself.
#   tools/gendocs.sh           puts the reference of keys into docs/configuration.md
#   tools/gendocs.sh --check   fails when it is not up to date
# BUSBAR names the program; default build/busbar.
set -eu
cd "$(dirname "$0")/.."
program=${BUSBAR:-build/busbar}
page=docs/configuration.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$program" check --keys >"$work/keys"
awk -v keys="$work/keys" '
	/^<!-- end of keys -->$/ { inside = 0; ends++ }
	!inside { print }
	/^<!-- keys: / {
		inside = 1; begins++
		print ""
		while ((getline line < keys) > 0) print line
		print ""
	}
	END { if (begins != 1 || ends != 1) exit 1 }
' "$page" >"$work/page" || {
	echo "$page: the two comments around the reference are missing" >&2
	exit 1
}

if [ "${1:-}" = --check ]; then
	diff -u "$page" "$work/page" || {
		echo "$page is not up to date: run tools/gendocs.sh" >&2
		exit 1
	}
else
	cat "$work/page" >"$page"
fi
