#!/bin/sh
# release.sh [--no-engine] [OUT]: build/dist/busbar-VERSION-ARCH.tar.gz and its SHA-256.
#
# Holds the programs (without debug information), man pages, documentation, an example, the systemd
# unit and the SBOM. The gateway is linked statically with libyaml, libseccomp and utf8proc where
# their archives are there, and dynamically with OpenSSL, PCRE2, zlib and the C library, whose updates a
# distribution brings. The engine is built for any processor of the architecture (LLAMA_NATIVE=OFF).
#
# The same commit, tools and libraries give the same bytes: names are sorted, owners and times are
# fixed (SOURCE_DATE_EPOCH, else the commit's time). tools/reproducible.sh proves it.
set -eu
cd "$(dirname "$0")/.."
engine=yes
if [ "${1:-}" = --no-engine ]; then engine=no; shift; fi
out=${1:-build/dist}
make=${MAKE:-make}

say() { printf 'release: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

version=$(cat VERSION)
arch=$(uname -m)
name=busbar-$version-$arch
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
[ -n "$epoch" ] || die "no git history to take a time from: set SOURCE_DATE_EPOCH (seconds since 1970)"
export SOURCE_DATE_EPOCH="$epoch"
if [ -n "$(git status --porcelain 2>/dev/null | head -1)" ]; then
	say "warning: the tree has changes that no commit holds"
fi

# has_archive NAME: can the linker find libNAME.a?
has_archive() { [ "$(${CC:-gcc} -print-file-name="lib$1.a")" != "lib$1.a" ]; }
libs=
for pair in yaml:yaml seccomp:seccomp; do
	lib=${pair%%:*}
	if has_archive "$lib"; then libs="$libs -l:lib$lib.a"; else libs="$libs -l$lib"; fi
done
if ! pkg-config --exists libseccomp; then
	die "a release has the filter of system calls: install libseccomp-dev"
fi
libs="$libs $(pkg-config --libs openssl) -lpthread -lm"
text_libs="-lutf8proc $(pkg-config --libs libpcre2-8 zlib)"
if has_archive utf8proc; then text_libs="-l:libutf8proc.a $(pkg-config --libs libpcre2-8 zlib)"; fi

"$make" B=release O=build/dist-objects LIBS="$libs" TEXT_LIBS="$text_libs" build/dist-objects/busbar
programs=busbar
if [ "$engine" = yes ]; then
	"$make" B=release O=build/dist-objects LIBS="$libs" LLAMA_NATIVE=OFF build/dist-objects/busbar-engine
	programs="busbar busbar-engine"
fi

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
top=$tree/$name
mkdir -p "$top/bin" "$top/share/doc/busbar" "$top/lib/systemd/system"
for program in $programs; do
	strip --strip-debug -o "$top/bin/$program" "build/dist-objects/$program"
done
(cd "$top/bin" && python3 "$OLDPWD/tools/sbom.py" $programs) >"$top/share/doc/busbar/busbar.cdx.json"
for page in docs/man/*.[1-8]; do
	section=${page##*.}
	mkdir -p "$top/share/man/man$section"
	gzip -n -9 <"$page" >"$top/share/man/man$section/${page##*/}.gz"
done
cp README.md SECURITY.md CHANGELOG.md LICENSE NOTICE "$top/share/doc/busbar/"
mkdir -p "$top/share/doc/busbar/docs"
cp docs/*.md "$top/share/doc/busbar/docs/"
cp -R docs/examples "$top/share/doc/busbar/docs/examples"
cp packaging/systemd/busbar.service "$top/lib/systemd/system/"
find "$top" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
chmod 755 "$top"/bin/*

mkdir -p "$out"
tar --sort=name --format=gnu --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
	-C "$tree" -cf - "$name" | gzip -n -9 >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
cp "$top/share/doc/busbar/busbar.cdx.json" "$out/$name.cdx.json"
cat "$out/$name.tar.gz.sha256"
