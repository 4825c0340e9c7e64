#!/bin/sh
# Writes the parts of docs/ that come from the program itself.
#   tools/gendocs.sh           puts the reference of keys into docs/configuration.md and the list of
#                              policies into docs/policies.md
#   tools/gendocs.sh --check   fails when one of them is not up to date
# BUSBAR names the program; default build/busbar.
set -eu
cd "$(dirname "$0")/.."
program=${BUSBAR:-build/busbar}
mode=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# put PAGE NAME: the text in $work/NAME between the two comments of that name
put() {
	awk -v text="$work/$2" -v name="$2" '
		$0 == "<!-- end of " name " -->" { inside = 0; ends++ }
		!inside { print }
		index($0, "<!-- " name ": ") == 1 {
			inside = 1; begins++
			print ""
			while ((getline line < text) > 0) print line
			print ""
		}
		END { if (begins != 1 || ends != 1) exit 1 }
	' "$1" >"$work/page" || {
		echo "$1: the two comments around the $2 are missing" >&2
		exit 1
	}
	if [ "$mode" != --check ]; then
		cat "$work/page" >"$1"
	elif ! diff -u "$1" "$work/page"; then
		echo "$1 is not up to date: run tools/gendocs.sh" >&2
		failed=1
	fi
}

"$program" check --keys >"$work/keys"
put docs/configuration.md keys

# The lines of the option's help: a name, blanks, a sentence.
"$program" serve --help | awk '
	/^ *--/ { inside = /--policy NAME/; next }
	inside { name = $1; sub(/^ *[^ ]+ +/, ""); rows = rows "| `" name "` | " $0 " |\n" }
	END {
		if (!rows) exit 1
		printf "| policy | takes |\n|---|---|\n%s", rows
	}
' >"$work/policies"
put docs/policies.md policies
exit $failed
